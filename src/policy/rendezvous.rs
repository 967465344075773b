//! Which of several servers a pair of domains falls to: rendezvous hashing, so that when a server
//! goes only its own pairs move, and whoever knows the names of the servers reckons alike.
//!
//! Edges choose the gateway of a pair by it, for stanzas and for requests of own users; gateways
//! choose the edge, and know by it whether a pair is theirs. It is no secret and need not be one:
//! who falls where is the operator's to see (`entente explain`), and partners' domains are listed.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// What the servers are. Both are reckoned apart, so that the edges of one gateway's pairs do not
/// all fall together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// Gateways, by the names that they link with edges under.
    Gateways,
    /// Edges, by the names that gateways connect to.
    Edges,
}

/// Returns how much a pair of domains leans to `server`: it falls to the one with the most.
///
/// Names are compared byte for byte, so all have to be as [`crate::dns::Domain`] has them.
#[must_use]
pub fn weight(among: Among, server: &str, ours: &str, theirs: &str) -> u64 {
    let apart = match among {
        Among::Gateways => 1,
        Among::Edges => 2,
    };
    let mut hasher = SipHasher13::new_with_keys(0x656e_7465_6e74_6521, apart);
    for text in [server, "\0", ours, "\0", theirs] {
        hasher.write(text.as_bytes());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVERS: [&str; 3] = ["gw1.contoso.example", "gw2.contoso.example", "gw3.example"];

    fn falls_to(servers: &[&'static str], theirs: &str) -> &'static str {
        let weight = |server: &&&str| weight(Among::Gateways, server, "contoso.example", theirs);
        servers.iter().max_by_key(weight).unwrap()
    }

    #[test]
    fn each_server_has_its_share_and_only_its_own_pairs_move_when_it_goes() {
        let partners: Vec<String> = (0..300).map(|number| format!("p{number}.example")).collect();
        for server in SERVERS {
            let share = partners.iter().filter(|p| falls_to(&SERVERS, p) == server).count();
            assert!((60..140).contains(&share), "{server}: {share}");
        }
        for partner in &partners {
            let before = falls_to(&SERVERS, partner);
            let after = falls_to(&SERVERS[..2], partner);
            assert!(before == after || before == SERVERS[2], "{partner}");
        }
    }

    #[test]
    fn names_do_not_run_together() {
        let of = |server, ours, theirs| weight(Among::Gateways, server, ours, theirs);
        assert_ne!(of("a", "bc", "d"), of("ab", "c", "d"));
        assert_ne!(of("a", "b", "cd"), of("a", "bc", "d"));
    }
}
