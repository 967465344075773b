//! What quotas and rates say holds for the relays of all threads together.

use proptest::prelude::*;

use super::super::*;
use super::world::*;
use crate::stun::{AttributeType, Builder, Method};

/// Two relays beside each other.
fn both(quotas: Quotas) -> [World; 2] {
    let together = Together::of_threads(2);
    [50_000, 60_000].map(|first| {
        let mut world =
            World::of(Setup { quotas, ports: Ports::Range { first, count: 40 }, ..setup() });
        world.relay.beside(Vec::new(), together.clone());
        world
    })
}

fn at(ip: [u8; 4], port: u16) -> Client {
    Client { listener: 0, transport: Transport::Udp, remote: SocketAddr::from((ip, port)) }
}

fn ask(
    world: &mut World,
    user: &str,
    client: Client,
    build: impl FnOnce(&mut Builder<'_>),
) -> Option<u16> {
    let user = format!("9999999999:{user}");
    let request = world.request(client, Method::ALLOCATE, &user, b"new", build);
    let Came::Answer(answer) = world.send(client, &request) else { panic!("no answer") };
    Answer::of(&answer, &user, b"new").error
}

/// Who has an allocation, as a list that is counted anew each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Had {
    thread: usize,
    user: usize,
    client: u8,
}

/// Users by their names: of two partners, and one of none.
const USERS: [&str; 4] = ["a@one.example", "b@one.example", "c@two.example", "d"];

proptest! {
    #[test]
    fn threads_grant_together_what_one_would(
        steps in prop::collection::vec((0_usize..2, 0..USERS.len(), 0_u8..8), 1..50),
    ) {
        let quotas = Quotas {
            allocations: 6,
            allocations_per_user: 2,
            allocations_per_partner: 3,
            allocations_per_source: 4,
            ..Quotas::default()
        };
        let mut worlds = both(quotas);
        let mut all: Vec<Had> = Vec::new();
        for (thread, user, client) in steps {
            let world = &mut worlds[thread];
            let remote = at([203, 0, client % 2, client], 1_000 + thread as u16);
            if let Some(place) =
                all.iter().position(|one| (one.thread, one.client) == (thread, client))
            {
                prop_assert!(world.relay.kill(&remote, &mut world.out));
                world.pass(0);
                all.swap_remove(place);
            } else {
                let partner = |user: usize| USERS[user].split_once('@').map(|(_, domain)| domain);
                let count = |own: &dyn Fn(&Had) -> bool| all.iter().filter(|one| own(one)).count();
                let of_partner = |one: &Had| {
                    partner(user).is_some() && partner(one.user) == partner(user)
                };
                let expected = if count(&|one: &Had| one.user == user) >= 2
                    || count(&of_partner) >= 3
                    || count(&|one: &Had| one.client % 2 == client % 2) >= 4
                {
                    Some(486)
                } else if all.len() >= 6 {
                    Some(508)
                } else {
                    all.push(Had { thread, user, client });
                    None
                };
                prop_assert_eq!(ask(world, USERS[user], remote, udp), expected);
            }
            let mut users: Vec<usize> = all.iter().map(|one| one.user).collect();
            users.sort_unstable();
            users.dedup();
            for (thread, world) in worlds.iter().enumerate() {
                let own = all.iter().filter(|one| one.thread == thread).count();
                prop_assert_eq!(world.relay.allocations(), own);
                prop_assert_eq!(world.relay.users(), users.len());
                prop_assert_eq!(world.relay.sample().allocations_left, 6 - all.len());
            }
        }
        // A thread that is gone holds nothing any more.
        let [one, other] = worlds;
        drop(one);
        all.retain(|had| had.thread == 1);
        let mut users: Vec<usize> = all.iter().map(|one| one.user).collect();
        users.sort_unstable();
        users.dedup();
        prop_assert_eq!(other.relay.users(), users.len());
        prop_assert_eq!(other.relay.sample().allocations_left, 6 - all.len());
    }

    /// What passes on both threads is what one rate lets pass, whoever sends when.
    #[test]
    fn the_rate_of_a_user_is_one_for_all_threads(
        steps in prop::collection::vec((0_usize..2, 0_u64..30, 1_usize..900), 1..150),
    ) {
        // 10,000 bytes a second, and half a second's at once.
        let quotas = Quotas { user_kbit_s: 80, allocation_kbit_s: 1_000_000, ..Quotas::default() };
        let mut worlds = both(quotas);
        let clients = [at([203, 0, 113, 5], 1), at([198, 51, 100, 5], 1)];
        for (world, client) in worlds.iter_mut().zip(clients) {
            world.allocate(client);
            assert_eq!(world.bind(client, 0x4000, address(PEER)).error, None);
        }
        let mut naive = bucket::Bucket::of_kbit_s(80, worlds[0].now.monotonic);
        for (thread, ms, bytes) in steps {
            for world in &mut worlds {
                world.pass(ms);
            }
            let world = &mut worlds[thread];
            let passes = naive.holds(world.now.monotonic, bytes as u64);
            if passes {
                naive.spend(bytes as u64);
            }
            let came = world.send(clients[thread], &channel(0x4000, &vec![0; bytes]));
            prop_assert_eq!(matches!(came, Came::ToPeer(..)), passes);
        }
        let passed = worlds.each_ref().map(|world| world.relay.counters().traffic.bytes_to_peers);
        for (world, passed) in worlds.iter().zip(passed) {
            let listed: Vec<u64> = world.relay.list().map(|one| one.2.bytes_to_peers).collect();
            prop_assert_eq!(listed, vec![passed], "what is refused is counted nowhere");
        }
    }
}

#[test]
fn tcp_allocations_are_so_many_with_all_threads() {
    let mut worlds = both(Quotas { tcp_allocations: 3, ..Quotas::default() });
    let stream =
        |number: u8| Client { transport: Transport::Stream, ..at([203, 0, 113, number], 1) };
    let tcp = |request: &mut Builder<'_>| {
        request.attribute(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
    };
    let answers: Vec<_> = (0..4_u8)
        .map(|n| ask(&mut worlds[usize::from(n % 2)], &format!("user{n}"), stream(n), tcp))
        .collect();
    assert_eq!(answers, [None, None, None, Some(508)]);
    let [one, other] = &mut worlds;
    assert!(one.relay.kill(&stream(0), &mut one.out));
    assert_eq!(ask(other, "user9", stream(9), tcp), None);
    let tcp = worlds.each_ref().map(|world| world.relay.classes().tcp);
    assert_eq!(tcp, [1, 2]);
}

/// A request that gets nothing in the end has counted for nothing.
#[test]
fn what_is_refused_after_it_was_counted_counts_no_more() {
    let quotas = Quotas { allocations_per_user: 1, tcp_allocations: 1, ..Quotas::default() };
    let [mut one, mut other] = both(quotas);
    let client = at([203, 0, 113, 5], 1);
    assert_eq!(ask(&mut one, "alice", client, |_| {}), Some(400), "without a transport");
    one.kernel_fails = Opened::Failed;
    assert_eq!(ask(&mut one, "alice", client, udp), Some(508), "its port cannot be opened");
    assert_eq!((one.relay.users(), one.relay.sample().allocations_left), (0, 50_000));
    assert_eq!(ask(&mut other, "alice", at([203, 0, 113, 9], 1), udp), None);
    one.kernel_fails = Opened::All;
    assert_eq!(ask(&mut one, "alice", client, udp), Some(486));
}

#[test]
fn a_reload_that_allows_less_ends_nothing_and_grants_nothing_with_either_thread() {
    let mut worlds = both(Quotas { allocations_per_user: 4, ..Quotas::default() });
    for n in 0..4_u8 {
        let world = &mut worlds[usize::from(n % 2)];
        assert_eq!(ask(world, "alice", at([203, 0, 113, n], 1), udp), None);
    }
    for world in &mut worlds {
        let less = Quotas { allocations_per_user: 2, ..Quotas::default() };
        let Setup { credentials, peers, .. } = setup();
        world.relay.adopt(credentials, peers, less);
    }
    let [one, other] = &mut worlds;
    assert_eq!((one.relay.allocations(), other.relay.allocations()), (2, 2));
    for n in [0, 2] {
        assert_eq!(ask(other, "alice", at([203, 0, 113, 9], 1), udp), Some(486));
        assert!(one.relay.kill(&at([203, 0, 113, n], 1), &mut one.out));
    }
    assert_eq!(ask(other, "alice", at([203, 0, 113, 9], 1), udp), Some(486), "he has two");
    assert!(other.relay.kill(&at([203, 0, 113, 1], 1), &mut other.out));
    assert_eq!(ask(one, "alice", at([203, 0, 113, 9], 1), udp), None);
}

/// RFC 8016: from where a client has gone another one may come, with any thread.
#[test]
fn an_allocation_that_moves_counts_for_its_new_source_alone() {
    let quotas = Quotas { allocations_per_source: 1, ..Quotas::default() };
    let [mut one, mut other] = both(quotas);
    let (home, away) = (at([203, 0, 113, 5], 1), at([198, 51, 100, 5], 1));
    let answer = one.ask(home, Method::ALLOCATE, |request| {
        udp(request);
        request.attribute(AttributeType::MOBILITY_TICKET, &[]);
    });
    let ticket = answer.message().attribute(AttributeType::MOBILITY_TICKET).unwrap().value.to_vec();
    assert_eq!(ask(&mut other, "bob", at([203, 0, 113, 6], 1), udp), Some(486));
    let moved = one.ask(away, Method::REFRESH, |request| {
        request.attribute(AttributeType::MOBILITY_TICKET, &ticket);
    });
    assert_eq!(moved.error, None);
    assert_eq!(ask(&mut other, "bob", at([203, 0, 113, 6], 1), udp), None);
    assert_eq!(ask(&mut other, "bob", at([198, 51, 100, 6], 1), udp), Some(486));
    assert!(one.relay.kill(&away, &mut one.out));
    assert_eq!(ask(&mut other, "bob", at([198, 51, 100, 6], 1), udp), None);
}

/// A train between two clients that one user has is paid at both ends; where the second end is not
/// paid, the first one is not either.
#[test]
fn a_train_within_that_is_refused_takes_nothing_of_any_rate() {
    let quotas = Quotas { user_kbit_s: 80, allocation_kbit_s: 1_000_000, ..Quotas::default() };
    let [mut one, mut other] = both(quotas);
    let (sender, receiver) = (at([203, 0, 113, 5], 1), at([203, 0, 113, 6], 1));
    let ports = [one.allocate(sender), one.allocate(receiver)];
    let within = |port: RelayPort| SocketAddr::new(RELAYED.parse().unwrap(), port.port);
    assert_eq!(one.bind(sender, 0x4000, within(ports[1])).error, None);
    assert_eq!(one.bind(receiver, 0x4001, within(ports[0])).error, None);
    let wire: Vec<u8> = (0..4).flat_map(|_| channel(0x4000, &[1; 900])).collect();
    let train = Train { bytes: &wire, segment: 904 };
    assert_eq!(one.relay.train_from_client(one.now, &sender, train), None);
    assert_eq!(one.relay.counters().traffic, Traffic::default());
    // All of the 5,000 bytes are there for the user's client of the other thread, and no more.
    let elsewhere = at([198, 51, 100, 5], 1);
    other.allocate(elsewhere);
    assert_eq!(other.bind(elsewhere, 0x4000, address(PEER)).error, None);
    for _ in 0..5 {
        let came = other.send(elsewhere, &channel(0x4000, &[0; 1_000]));
        assert!(matches!(came, Came::ToPeer(..)));
    }
    let came = other.send(elsewhere, &channel(0x4000, &[0]));
    assert_eq!(came, Came::Dropped(Dropped::Bandwidth));
    assert_eq!(one.send(sender, &channel(0x4000, &[0])), Came::Dropped(Dropped::Bandwidth));
}

/// What the allocation's rate refuses is not taken from the user's, nor the other way round.
#[test]
fn neither_rate_pays_for_what_the_other_refuses() {
    let quotas = Quotas { user_kbit_s: 80, allocation_kbit_s: 64, ..Quotas::default() };
    let [mut one, mut other] = both(quotas);
    let clients = [at([203, 0, 113, 5], 1), at([198, 51, 100, 5], 1)];
    for (world, client) in [&mut one, &mut other].into_iter().zip(clients) {
        world.allocate(client);
        assert_eq!(world.bind(client, 0x4000, address(PEER)).error, None);
    }
    let sent = |world: &mut World, client: Client, bytes: usize| {
        matches!(world.send(client, &channel(0x4000, &vec![0; bytes])), Came::ToPeer(..))
    };
    // 5,000 bytes of the user's, 4,000 of each allocation's.
    assert!(!sent(&mut one, clients[0], 4_001));
    assert!(sent(&mut one, clients[0], 3_000));
    assert!(!sent(&mut other, clients[1], 2_001));
    assert!(sent(&mut other, clients[1], 2_000));
    // 620 bytes flow in for the user; the second allocation has 2,000 left, and 496 more.
    for world in [&mut one, &mut other] {
        world.pass(62);
    }
    assert!(!sent(&mut other, clients[1], 621));
    assert!(sent(&mut other, clients[1], 620));
}
