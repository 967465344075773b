//! Waiting for company: a setting that saves turns, and keeps no lonely datagram for long.

use super::turn::{Edge, POLLERS, Wanted, hear};
use crate::world::eventually;

/// Longer than the longest that there may be is as long as that: the kernel would otherwise keep a
/// lonely datagram for an hour, and the counters, and the order to end.
const LONGEST: [u32; 3] = [1, 200, u32::MAX];

#[test]
fn a_lonely_datagram_arrives_however_long_the_wait_for_company() {
    for poller in POLLERS {
        for company_us in LONGEST {
            let edge = Edge::start(Wanted { company_us, ..Wanted::with(poller) });
            let (client, peer, relayed) = edge.flow();
            // Each waits for the one before to be through, so that none has company.
            for n in 0..20_u8 {
                client.send_channel(0x4000, &[n; 160]);
                assert_eq!(hear(&peer), (vec![n; 160], relayed));
                peer.send_to(&[n; 100], relayed).unwrap();
                assert_eq!(client.hear_channel(), (0x4000, vec![n; 100]));
            }
            eventually("deadlines are kept as well: counters are left once a second", || {
                edge.handle.observed().core.traffic.to_client == 20
            });
            edge.handle.end();
        }
    }
}

#[test]
fn all_of_what_comes_at_once_arrives_while_company_is_waited_for() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted { company_us: 200, ..Wanted::with(poller) });
        let mut flows: Vec<_> = (0..10).map(|_| edge.flow()).collect();
        for round in 0..20_u8 {
            for (client, ..) in &mut flows {
                client.send_channel(0x4000, &[round; 160]);
            }
            for (_, peer, relayed) in &flows {
                assert_eq!(hear(peer), (vec![round; 160], *relayed));
            }
        }
        edge.handle.end();
    }
}
