//! Who may talk to whom: the only maker of permits.

mod identity;

pub use identity::{Anchors, PeerNames};

/// Placeholder until the policy lands in the same change.
#[derive(Debug)]
pub struct Snapshot {
    /// Number of this snapshot, growing by one with each publication.
    pub epoch: u64,
}
