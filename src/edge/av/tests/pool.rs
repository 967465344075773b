//! Relays of the pool's other edges: peers at their relayed ports, and never clients.

use proptest::prelude::*;

use super::super::*;
use super::world::*;
use crate::edge::Side;
use crate::stun::Method;

/// Beside it, whose ports are others.
const THIRD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 78));

fn pool() -> World {
    let mut pool = setup();
    pool.peers.pool = vec![
        of_pool("edge2.contoso.example", SECOND, 60_000..=60_009),
        of_pool("edge3.contoso.example", THIRD, 3_480..=3_480),
    ];
    World::of(pool)
}

fn at(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

#[test]
fn a_relay_of_the_pool_is_a_peer_at_its_own_relayed_ports_alone() {
    let mut world = pool();
    let client = world.client(1);
    world.allocate(client);
    assert_eq!(world.bind(client, 0x4000, at(SECOND, 60_000)).error, None, "wherever it lies");
    assert_eq!(world.bind(client, 0x4001, at(THIRD, 3_480)).error, None);
    // The ports of this edge and of the other one are nothing there.
    for refused in [at(SECOND, 22), at(SECOND, 50_000), at(SECOND, 3_480), at(THIRD, 60_000)] {
        assert_eq!(world.bind(client, 0x4002, refused).error, Some(403), "{refused}");
        let dropped = Came::Dropped(Dropped::PeerRefused);
        assert_eq!(world.send_data(client, refused, b"x"), dropped, "{refused}");
    }
    assert!(matches!(world.send_data(client, at(SECOND, 60_009), b"x"), Came::ToPeer(..)));
}

/// A client of this edge would be one of the other by the pool's own doing.
#[test]
fn where_clients_of_another_edge_come_in_is_no_peer_wherever_it_lies() {
    let beside: SocketAddr = "198.51.100.12:3478".parse().unwrap();
    let mut setup = setup();
    setup.peers.rule.allow_networks = vec!["198.51.100.0/24".parse().unwrap()];
    let relay = of_pool("edge2.contoso.example", SECOND, 60_000..=60_009);
    setup.peers.pool = vec![PoolRelay { listeners: vec![beside], ..relay }];
    let mut world = World::of(setup);
    let client = world.client(1);
    world.allocate(client);
    let mapped = at("::ffff:198.51.100.12".parse().unwrap(), 3_478);
    for door in [beside, mapped] {
        assert_eq!(world.bind(client, 0x4000, door).error, Some(403), "{door}");
    }
    // A permission is for an address, whatever its ports; others may be peers there.
    assert_eq!(world.bind(client, 0x4000, at(beside.ip(), 3_479)).error, None);
    let dropped = Came::Dropped(Dropped::PeerRefused);
    assert_eq!(world.send_data(client, beside, b"x"), dropped);
    assert!(matches!(world.send_data(client, at(beside.ip(), 3_480), b"x"), Came::ToPeer(..)));
    let translated: IpAddr = "64:ff9b::198.51.100.12".parse().unwrap();
    assert!(!world.relay.setup.peers.reaches(at(translated, 3_478)));
}

#[test]
fn what_a_relay_sends_from_is_no_client() {
    let mut world = pool();
    let mut from = |remote: SocketAddr| {
        let client = Client { remote, ..world.client(1) };
        world.ask(client, Method::ALLOCATE, udp).error
    };
    let mapped: IpAddr = "::ffff:192.0.2.77".parse().unwrap();
    for relay in [at(SECOND, 60_009), at(mapped, 60_009), at(THIRD, 3_480), at(THIRD, 3_478)] {
        assert_eq!(from(relay), Some(403), "{relay}");
    }
    assert_eq!(from(address(NODE)), Some(403), "this edge's own listener");
    assert_eq!(from(address(VIP)), Some(403));
    assert_eq!(from(at(SECOND, 50_000)), None, "somebody beside the relay");
}

#[test]
fn what_a_translator_is_asked_for_is_judged_like_what_it_leads_to() {
    let peers = Peers {
        pool: vec![of_pool("edge2.contoso.example", SECOND, 60_000..=60_009)],
        ..Peers::default()
    };
    let translated: IpAddr = "64:ff9b::192.0.2.77".parse().unwrap();
    assert!(!peers.reaches(at(translated, 22)));
    assert!(peers.reaches(at(translated, 60_000)));
    assert!(peers.judge(Side::External, translated).is_err(), "not named by the pool");
}

/// The rule by listing each port of each address, one after the other.
fn is_given(pool: &[PoolRelay], address: SocketAddr) -> bool {
    pool.iter().any(|relay| {
        let mut ports = relay.ports.iter().flat_map(Clone::clone);
        relay.relayed.contains(&address.ip()) && ports.any(|port| port == address.port())
    })
}

/// Few addresses and ports, so that they meet.
fn place() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        (70_u8..76).prop_map(|last| IpAddr::from([192, 0, 2, last])),
        (70_u8..76).prop_map(|last| IpAddr::from([93, 184, 216, last])),
    ];
    (ip, 1_000_u16..1_040).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn edges() -> impl Strategy<Value = Vec<PoolRelay>> {
    let ports = prop::collection::vec((1_000_u16..1_040, 0_u16..12), 1..4);
    let edge = (place(), ports).prop_map(|(first, ports)| {
        let ports = ports.into_iter().map(|(low, more)| low..=low + more).collect();
        PoolRelay { ports, ..of_pool("edge2.contoso.example", first.ip(), 1..=1) }
    });
    prop::collection::vec(edge, 0..4)
}

proptest! {
    #[test]
    fn ranges_of_the_pool_decide_what_is_reached_and_who_is_no_client(
        mut pool in edges(),
        asked in place(),
    ) {
        // Each address is one edge's, as the file of the pool has it.
        let mut seen = std::collections::BTreeSet::new();
        pool.retain(|relay| seen.insert(relay.relayed[0]));
        let listed = pool.iter().any(|relay| relay.relayed.contains(&asked.ip()));
        let given = is_given(&pool, asked);
        let peers = Peers { pool, ..Peers::default() };
        prop_assert_eq!(peers.reaches(asked), given || !listed);
        prop_assert_eq!(peers.is_of_pool(asked), given);
        let judged = peers.judge(Side::External, asked.ip()).is_ok();
        prop_assert_eq!(judged, listed || asked.ip().to_string().starts_with("93."));
    }
}
