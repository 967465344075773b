//! TLS at the border: who we are, whom we trust, and one [`Session`] per leg.
//!
//! ```text
//!  control:  Plan ── files ──> Material { identities, Trust, a Server per listener }
//!  shard:    ciphertext ──> Session::feed ──> plaintext
//!            plaintext  ──> Session::seal ──> ciphertext
//! ```
//!
//! A [`Session`] owns no buffer and no socket: it decrypts in the shard's buffer and appends to the
//! leg's. The peer is judged once, during the handshake, by [`Trust`]; what its certificate says
//! goes to policy as [`crate::policy::PeerNames`]. [`Session::rejudge`] asks again in a new
//! edition: another configuration, or other fetched lists ([`Revocation`]).
//!
//! rustls does the protocol; nothing outside this module names it.

mod fault;
mod hello;
mod identity;
mod key_log;
mod load;
mod material;
mod peer;
mod plan;
mod revocation;
mod session;
mod shown;
mod step;
mod suites;
mod ticket;
mod trust;
mod verify;

pub use fault::{Alert, Blame, Distrust, Fault};
pub use hello::Offer;
pub use identity::IdentityPlan;
pub use load::LoadError;
pub use material::{Client, Material, Server};
pub use plan::{AnchorPlan, ListenerPlan, Plan, TrustSource};
pub use revocation::{Issuer, ListFault, Point, PointKey, Reports, Revocation, RevocationList};
pub use session::{Fed, Session, State};
pub(crate) use shown::shown_chain;
pub use suites::{Described, Version, algorithms};
pub use trust::{Trust, Whose};

#[cfg(test)]
mod tests;
