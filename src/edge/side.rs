//! The two sides of an edge.

use serde::Serialize;

/// A side of the edge (DESIGN 1): every listener and every leg is on one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Towards the Internet.
    External,
    /// Towards the organisation.
    Internal,
}
