//! How far a datagram may still go: what cuts the loop of two relays that take each other for their
//! clients (RFC 8656 section 21.1.7).
//!
//! ```text
//!   client ──(64)──> relay ──(63)──> relay ──(62)──> peer
//! ```
//!
//! A relay takes a hop from what it passes on, as a router does (RFC 8656 section 13.2), so does
//! the way within the process. What it says itself, and what it makes of a stream's messages, is
//! new.

/// What a datagram's TTL (IPv4) or Hop Limit (IPv6) says, or is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hops {
    /// It is a new one, and has what its socket gives.
    Fresh,
    /// So many routers and relays, this one included where it was received.
    Left(u8),
}

impl Hops {
    /// Returns what a datagram has once a relay has taken its hop; `None`: it ends here. Hot: once
    /// per datagram.
    pub(super) const fn onward(self) -> Option<Self> {
        match self {
            Self::Fresh => Some(Self::Fresh),
            Self::Left(0 | 1) => None,
            Self::Left(hops) => Some(Self::Left(hops - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_takes_one_hop_and_passes_nothing_on_without() {
        assert_eq!(Hops::Left(0).onward(), None);
        assert_eq!(Hops::Left(1).onward(), None);
        for hops in 2..=u8::MAX {
            assert_eq!(Hops::Left(hops).onward(), Some(Hops::Left(hops - 1)));
        }
    }

    #[test]
    fn what_is_new_has_what_its_socket_gives() {
        assert_eq!(Hops::Fresh.onward(), Some(Hops::Fresh));
    }

    #[test]
    fn a_loop_ends_after_as_many_rounds_as_there_were_hops() {
        for hops in 1..=u8::MAX {
            let rounds = std::iter::successors(Some(Hops::Left(hops)), |hops| hops.onward());
            assert_eq!(rounds.count(), usize::from(hops));
        }
    }
}
