//! A train is judged as its datagrams would be, or not at all.

use proptest::prelude::*;

use super::super::*;
use super::world::{Came, PEER, RELAYED, World, address, channel, setup};

/// Two worlds alike: a client with a channel, and one that it reaches within.
fn worlds(kbit_s: u32) -> [(World, Vec<RelayPort>); 2] {
    [(), ()].map(|()| {
        let mut setup = setup();
        setup.quotas.allocation_kbit_s = kbit_s;
        let mut world = World::of(setup);
        let clients = [world.client(0), world.client(1)];
        let ports: Vec<RelayPort> = clients.iter().map(|one| world.allocate(*one)).collect();
        let within = |port: &RelayPort| SocketAddr::new(RELAYED.parse().unwrap(), port.port);
        assert_eq!(world.bind(clients[0], 0x4000, address(PEER)).error, None);
        assert_eq!(world.bind(clients[0], 0x4001, within(&ports[1])).error, None);
        assert_eq!(world.bind(clients[1], 0x4005, within(&ports[0])).error, None);
        (world, ports)
    })
}

/// Makes of a train's outcome what each of its datagrams would have been.
fn carried(carried: Carried, train: Train<'_>) -> Vec<Came> {
    let each = train.bytes.chunks(train.segment).map(|datagram| {
        let payload = &datagram[usize::from(carried.skip)..];
        match carried.to {
            Toward::Peer { port, peer } => Came::ToPeer(port, peer, payload.to_vec()),
            Toward::Client { client, channel: Some(number) } => {
                Came::ToClient(client, channel(number.number(), payload))
            }
            Toward::Client { client, channel: None } => Came::ToClient(client, payload.to_vec()),
        }
    });
    each.collect()
}

/// What a datagram of a train may be.
#[derive(Clone, Copy, Debug)]
enum Odd {
    No,
    OtherChannel,
    UnboundChannel,
    WrongLength,
    Message,
}

fn datagram(odd: Odd, number: u16, bytes: usize, fill: u8) -> Vec<u8> {
    let payload = vec![fill; bytes];
    match odd {
        Odd::No => channel(number, &payload),
        Odd::OtherChannel => channel(number ^ 1, &payload),
        Odd::UnboundChannel => channel(0x4777, &payload),
        Odd::WrongLength => {
            let mut wire = channel(number, &payload);
            wire[3] = wire[3].wrapping_sub(1);
            wire
        }
        Odd::Message => vec![0; bytes + 4],
    }
}

fn odd() -> impl Strategy<Value = Odd> {
    prop_oneof![
        20 => Just(Odd::No),
        1 => Just(Odd::OtherChannel),
        1 => Just(Odd::UnboundChannel),
        1 => Just(Odd::WrongLength),
        1 => Just(Odd::Message),
    ]
}

proptest! {
    #[test]
    fn a_train_of_a_client_goes_as_its_datagrams_would(
        odd in prop::collection::vec(odd(), 2..20),
        number in 0x4000_u16..0x4002,
        bytes in 0_usize..1_200,
        last in 0_usize..1_200,
        kbit_s in prop_oneof![Just(1_000_000_u32), Just(64)],
    ) {
        let [(mut one, _), (mut other, _)] = worlds(kbit_s);
        let client = one.client(0);
        let count = odd.len();
        let length = |n: usize| if n + 1 == count { last.min(bytes) } else { bytes };
        let wire: Vec<u8> = odd
            .iter()
            .enumerate()
            .flat_map(|(n, odd)| datagram(*odd, number, length(n), n as u8))
            .collect();
        let train = Train { bytes: &wire, segment: bytes + 4 };
        prop_assert_eq!(train.count(), count);
        let before = *one.relay.counters();
        match one.relay.train_from_client(one.now, &client, train) {
            Some(whole) => {
                let parts: Vec<Came> =
                    wire.chunks(bytes + 4).map(|one| other.send(client, one)).collect();
                prop_assert_eq!(carried(whole, train), parts);
                prop_assert_eq!(one.relay.counters(), other.relay.counters());
            }
            None => {
                prop_assert_eq!(*one.relay.counters(), before);
                let plain = odd.iter().all(|odd| matches!(odd, Odd::No));
                prop_assert!(!plain || kbit_s == 64, "a train of one channel goes as one");
            }
        }
    }

    #[test]
    fn a_train_of_a_peer_comes_as_its_datagrams_would(
        segment in 1_usize..1_200,
        bytes in 1_usize..12_000,
        known in any::<bool>(),
        kbit_s in prop_oneof![Just(1_000_000_u32), Just(64)],
    ) {
        let [(mut one, ports), (mut other, _)] = worlds(kbit_s);
        let peer = if known { address(PEER) } else { address("93.184.216.34:5001") };
        let wire: Vec<u8> = (0..bytes).map(|n| n as u8).collect();
        let train = Train { bytes: &wire, segment };
        let before = *one.relay.counters();
        match one.relay.train_from_peer(one.now, ports[0], peer, train) {
            Some(whole) => {
                prop_assert!(known, "without a channel it is an indication");
                let parts: Vec<Came> =
                    wire.chunks(segment).map(|one| other.peer_sends(ports[0], peer, one)).collect();
                prop_assert_eq!(carried(whole, train), parts);
                prop_assert_eq!(one.relay.counters(), other.relay.counters());
            }
            None => {
                prop_assert_eq!(*one.relay.counters(), before);
                prop_assert!(!known || kbit_s == 64);
            }
        }
    }
}

#[test]
fn what_a_train_takes_of_the_rate_its_sender_has_no_more() {
    let [(mut one, ports), _] = worlds(64);
    let client = one.client(0);
    // Half a second of 8,000 bytes.
    let wire: Vec<u8> = (0..4).flat_map(|_| channel(0x4000, &[1; 900])).collect();
    let train = Train { bytes: &wire, segment: 904 };
    assert!(one.relay.train_from_client(one.now, &client, train).is_some());
    assert!(one.relay.train_from_client(one.now, &client, train).is_none());
    let came = one.send(client, &channel(0x4000, &[1; 500]));
    assert_eq!(came, Came::Dropped(Dropped::Bandwidth));
    // Towards the other one, within: the sender has no rate left and the receiver loses none.
    let wire: Vec<u8> = (0..4).flat_map(|_| channel(0x4001, &[1; 900])).collect();
    let train = Train { bytes: &wire, segment: 904 };
    assert!(one.relay.train_from_client(one.now, &client, train).is_none());
    let back = SocketAddr::new(RELAYED.parse().unwrap(), ports[1].port);
    let train = Train { bytes: &[1; 3_600], segment: 900 };
    assert!(one.relay.train_from_peer(one.now, ports[0], back, train).is_none());
    let there = SocketAddr::new(RELAYED.parse().unwrap(), ports[0].port);
    assert!(one.relay.train_from_peer(one.now, ports[1], there, train).is_some());
}

#[test]
fn one_user_at_both_ends_pays_twice_and_is_served_one_by_one() {
    let mut setup = setup();
    // 31,250 bytes at once.
    setup.quotas.user_kbit_s = 500;
    let mut world = World::of(setup);
    let [one, other] = [world.client(0), world.client(1)];
    let ports = [world.allocate(one), world.allocate(other)];
    let within = |port: RelayPort| SocketAddr::new(RELAYED.parse().unwrap(), port.port);
    assert_eq!(world.bind(one, 0x4001, within(ports[1])).error, None);
    assert_eq!(world.bind(other, 0x4005, within(ports[0])).error, None);
    let wire: Vec<u8> = (0..20).flat_map(|_| channel(0x4001, &[1; 900])).collect();
    let train = Train { bytes: &wire, segment: 904 };
    assert!(world.relay.train_from_client(world.now, &one, train).is_none());
    let came: Vec<Came> = wire.chunks(904).map(|datagram| world.send(one, datagram)).collect();
    let passed = came.iter().filter(|came| matches!(came, Came::ToClient(..))).count();
    assert!((10..20).contains(&passed), "{passed} of 18,000 bytes that count twice");
}
