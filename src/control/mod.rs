//! What starts, feeds and watches the shards.

mod convert;

pub use convert::{identity_plan, rules, tls_plan, trust_sources};
