//! How much may be on its way.

use crate::limits;

/// How much one side may send before it is accounted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Stanzas.
    pub stanzas: usize,
    /// Bytes of them. One stanza may pass alone, however large.
    pub bytes: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { stanzas: limits::XMPP_LINK_STANZAS_MAX, bytes: limits::XMPP_LINK_BYTES_MAX }
    }
}

/// The window is used up, or the link is not up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Window {
    /// Nothing at all: the other side has not said anything.
    pub(super) const CLOSED: Self = Self { stanzas: 0, bytes: 0 };

    /// Tells whether `bytes` more fit when so much is on its way.
    pub(super) const fn admits(self, stanzas: usize, held: usize, bytes: usize) -> bool {
        stanzas < self.stanzas && (stanzas == 0 || held + bytes <= self.bytes)
    }
}
