//! Peers that show one certificate share one copy of what it says.

use std::sync::{Arc, Weak};

use crate::policy::PeerNames;

/// Certificates remembered, 8 bytes each and what the last of them said; a power of two.
const PLACES: usize = 1024;

/// The latest names by a certificate's fingerprint. Two certificates that fall on one place take
/// turns, and then merely share less.
#[derive(Debug)]
pub(super) struct Names {
    places: Box<[Weak<PeerNames>]>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { places: (0..PLACES).map(|_| Weak::new()).collect() }
    }

    /// Returns `names`, or the copy that another leg of the same certificate holds.
    pub(super) fn shared(&mut self, names: Arc<PeerNames>) -> Arc<PeerNames> {
        let [first, second, ..] = names.fingerprint;
        let place = usize::from(u16::from_le_bytes([first, second])) & (PLACES - 1);
        let Some(held) = self.places.get_mut(place) else { return names };
        // All of it counts: the same certificate may lead to another anchor after a reload.
        match held.upgrade() {
            Some(same) if *same == *names => same,
            _ => {
                *held = Arc::downgrade(&names);
                names
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Anchors, RevocationState};

    fn names(fingerprint: [u8; 32], anchors: Anchors) -> Arc<PeerNames> {
        Arc::new(PeerNames {
            dns_names: Vec::new(),
            sip_domains: Vec::new(),
            common_name: None,
            xmpp: None,
            client_auth: true,
            anchors,
            fingerprint,
            expires_unix_s: 0,
            revocation: RevocationState::Unknown,
        })
    }

    #[test]
    fn legs_of_one_certificate_share_its_names_and_only_if_all_is_the_same() {
        let mut table = Names::new();
        let first = table.shared(names([1; 32], Anchors::General));
        let second = table.shared(names([1; 32], Anchors::General));
        assert!(Arc::ptr_eq(&first, &second));
        let partner = table.shared(names([1; 32], Anchors::OfPartner(3)));
        assert_eq!(partner.anchors, Anchors::OfPartner(3));
        let mut other = [1; 32];
        other[31] = 2;
        assert_eq!(table.shared(names(other, Anchors::General)).fingerprint, other);
    }

    #[test]
    fn nobody_is_kept_alive_by_the_table() {
        let mut table = Names::new();
        let kept = Arc::downgrade(&table.shared(names([7; 32], Anchors::General)));
        assert_eq!(kept.strong_count(), 0);
    }
}
