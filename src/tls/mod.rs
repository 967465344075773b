//! TLS at the border: who we are, whom we trust, and one [`Session`] per leg.
//!
//! ```text
//!  control:  Plan ── files ──> Material { identities, Trust, a Server per listener }  one per epoch
//!  shard:    ciphertext ──> Session::feed ──> plaintext     plaintext ──> Session::seal ──> ciphertext
//! ```
//!
//! A [`Session`] owns no buffer and no socket: it decrypts in the shard's buffer and appends to the
//! leg's. The peer is judged once, during the handshake, by [`Trust`]; what its certificate says
//! goes to policy as [`crate::policy::PeerNames`]. With a new epoch [`Session::rejudge`] asks again.
//!
//! rustls does the protocol; nothing outside this module names it.

mod fault;
mod hello;
mod identity;
mod key_log;
mod load;
mod material;
mod peer;
mod session;
mod suites;
mod ticket;
mod trust;
mod verify;

pub use fault::{Alert, Blame, Distrust, Fault};
pub use hello::Offer;
pub use identity::IdentityPlan;
pub use load::LoadError;
pub use material::{Client, ListenerPlan, Material, Plan, Server, TrustSource};
pub use session::{Fed, Session, State};
pub use suites::{Described, Version};
pub use trust::{Trust, Whose};

#[cfg(test)]
mod tests;
