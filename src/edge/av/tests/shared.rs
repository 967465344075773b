use proptest::prelude::*;

use super::super::*;
use super::world::*;
use crate::stun::Method;

/// A relay whose clients share these ports.
pub(super) fn world(ports: &[u16]) -> World {
    let mut shared = setup();
    shared.ports = Ports::Shared(ports.to_vec());
    shared.quotas.allocations_per_user = 1_000;
    shared.quotas.allocations = 1_000;
    World::of(shared)
}

#[test]
fn a_peer_belongs_to_one_allocation_on_a_shared_port() {
    let mut world = world(&[3_480]);
    let (alice, bob) = (world.client(1), world.client(2));
    assert_eq!(world.allocate(alice), world.allocate(bob));
    assert!(world.open.is_empty(), "the port is open already");
    let port = RelayPort { address: 0, port: 3_480 };
    let peer = address(PEER);
    assert_eq!(world.bind(alice, 0x4000, peer).error, None);
    assert_eq!(world.bind(bob, 0x4000, peer).error, Some(403));
    let same_host = SocketAddr::new(peer.ip(), 6_000);
    assert_eq!(world.bind(bob, 0x4001, same_host).error, None, "another port is another peer");
    let to_alice = world.peer_sends(port, peer, b"a");
    assert_eq!(to_alice, Came::ToClient(alice, channel(0x4000, b"a")));
    let to_bob = world.peer_sends(port, same_host, b"b");
    assert_eq!(to_bob, Came::ToClient(bob, channel(0x4001, b"b")));
    let nobodys = SocketAddr::new(peer.ip(), 7_000);
    assert_eq!(world.peer_sends(port, nobodys, b"c"), Came::Dropped(Dropped::NoPermission));
    // A Send to a peer of another one is dropped as if the peer were refused.
    world.permit(bob, peer);
    assert_eq!(world.send_data(bob, peer, b"d"), Came::Dropped(Dropped::PeerRefused));
    world.ask(alice, Method::REFRESH, |r| {
        r.number(crate::stun::AttributeType::LIFETIME, 0);
    });
    assert_eq!(world.bind(bob, 0x4002, peer).error, None, "what nobody owns can be owned");
}

#[test]
fn even_ports_cannot_be_kept_where_all_share() {
    let mut world = world(&[3_480]);
    let client = world.client(1);
    let answer = world.ask(client, Method::ALLOCATE, |request| {
        udp(request);
        request.attribute(crate::stun::AttributeType::EVEN_PORT, &[0x80]);
    });
    assert_eq!(answer.error, Some(508));
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Allocate(u16),
    Release(u16),
    Bind(u16, u8),
    Send(u16, u8),
    Hear(u8, u8),
    Pass(u32),
}

fn act() -> impl Strategy<Value = Act> {
    let (client, peer) = (0_u16..6, 0_u8..4);
    prop_oneof![
        client.clone().prop_map(Act::Allocate),
        client.clone().prop_map(Act::Release),
        (client.clone(), peer.clone()).prop_map(|(c, p)| Act::Bind(c, p)),
        (client, peer.clone()).prop_map(|(c, p)| Act::Send(c, p)),
        (0_u8..2, peer).prop_map(|(port, p)| Act::Hear(port, p)),
        (0_u32..400_000).prop_map(Act::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// No packet ever crosses: what a peer sends reaches only a client that has itself sent to, or
    /// bound, exactly this address and port from this relayed port, and at most one.
    #[test]
    fn no_packet_crosses_between_allocations_of_one_port(
        acts in prop::collection::vec(act(), 1..60),
    ) {
        let mut world = world(&[3_480, 3_482]);
        let ports = [3_480, 3_482].map(|port| RelayPort { address: 0, port });
        let peer = |p: u8| SocketAddr::new([93, 184, 216, 34 + p % 2].into(), 5_000 + u16::from(p));
        let mut spoke = std::collections::BTreeSet::new();
        let mut port_of = std::collections::BTreeMap::new();
        for act in acts {
            match act {
                Act::Allocate(c) => {
                    let client = world.client(c);
                    let answer = world.ask(client, Method::ALLOCATE, udp);
                    if answer.error.is_none() {
                        port_of.insert(c, world.relayed(&answer));
                        spoke.retain(|(who, _, _)| *who != c);
                    }
                }
                Act::Release(c) => {
                    let client = world.client(c);
                    world.ask(client, Method::REFRESH, |r| {
                        r.number(crate::stun::AttributeType::LIFETIME, 0);
                    });
                    port_of.remove(&c);
                    spoke.retain(|(who, _, _)| *who != c);
                }
                Act::Bind(c, p) => {
                    let client = world.client(c);
                    let answer = world.bind(client, 0x4000 + u16::from(p), peer(p));
                    if answer.error.is_none() {
                        spoke.insert((c, port_of[&c], peer(p)));
                    }
                }
                Act::Send(c, p) => {
                    let client = world.client(c);
                    world.permit(client, peer(p));
                    if let Came::ToPeer(port, to, _) = world.send_data(client, peer(p), b"x") {
                        prop_assert_eq!((port, to), (port_of[&c], peer(p)));
                        spoke.insert((c, port, to));
                    }
                }
                Act::Hear(port, p) => {
                    let port = ports[usize::from(port)];
                    if let Came::ToClient(client, _) = world.peer_sends(port, peer(p), b"y") {
                        let number = client.remote.port() - 10_000;
                        prop_assert!(spoke.contains(&(number, port, peer(p))));
                    }
                }
                Act::Pass(ms) => world.pass(u64::from(ms)),
            }
        }
    }
}
