//! What starts, feeds and watches the shards.

mod convert;
mod log;
mod notes;

pub use convert::{identity_plan, rules, tls_plan, trust_sources};
pub use log::Log;
