//! RFC 6062 at relayed ports that allocations share.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::super::*;
use super::shared::world;
use super::tcp::{connect, error, stream, tcp, told};
use super::world::*;
use crate::stun::{AttributeType, Method};

const PORT: RelayPort = RelayPort { address: 0, port: 3_480 };

fn allocate(world: &mut World, number: u16) -> (Client, RelayPort) {
    let client = stream(world, number);
    let port = super::tcp::allocate(world, client);
    (client, port)
}

fn release(world: &mut World, client: Client) {
    let answer = world.ask(client, Method::REFRESH, |request| {
        request.number(AttributeType::LIFETIME, 0);
    });
    assert_eq!(answer.error, None);
}

fn accept(world: &mut World, port: RelayPort, peer: SocketAddr) -> Option<ConnectionId> {
    world.relay.accepted(world.now.monotonic, port, peer, &mut world.out)
}

fn contended(world: &World, what: Contended) -> u64 {
    world.relay.counters().contended[what as usize]
}

#[test]
fn a_shared_port_listens_while_an_allocation_of_tcp_has_it() {
    let mut world = world(&[3_480]);
    let datagrams = world.client(9);
    assert_eq!(world.allocate(datagrams), PORT);
    assert!(world.open.is_empty(), "for datagrams it is open already");
    let (one, of_one) = allocate(&mut world, 1);
    let (other, of_other) = allocate(&mut world, 2);
    assert_eq!((of_one, of_other), (PORT, PORT));
    assert_eq!(world.open, BTreeSet::from([PORT]), "opened once");
    assert_eq!(world.relay.classes(), Classes { udp: 1, tcp: 2, microsoft: 0 });
    release(&mut world, one);
    assert_eq!(world.open, BTreeSet::from([PORT]), "another has it");
    world.relay.kill(&other, &mut world.out);
    assert_eq!(world.out.closes, [(Carrier::Tcp, PORT)]);
    world.pass(0);
    assert!(world.open.is_empty());
    assert_eq!(allocate(&mut world, 3).1, PORT);
    assert_eq!(world.open, BTreeSet::from([PORT]), "and again");
}

#[test]
fn a_connection_to_a_peer_is_one_allocations_at_a_shared_port() {
    let mut world = world(&[3_480]);
    let ((alice, _), (bob, _)) = (allocate(&mut world, 1), allocate(&mut world, 2));
    let peer = address(PEER);
    let Came::Connect(id, from, to) = connect(&mut world, alice, peer) else { panic!() };
    assert_eq!((from, to), (PORT, peer));
    assert_eq!(error(connect(&mut world, bob, peer)), Some(403), "while it is tried");
    assert_eq!(error(connect(&mut world, alice, peer)), Some(446), "it is her own");
    world.relay.connected(world.now, id, Connected::Open, &mut world.out);
    told(&mut world, alice);
    assert_eq!(error(connect(&mut world, bob, peer)), Some(403), "while it is open");
    assert_eq!(contended(&world, Contended::Connect), 2);
    let same_host = SocketAddr::new(peer.ip(), 6_000);
    assert!(matches!(connect(&mut world, bob, same_host), Came::Connect(..)));
    world.relay.connection_gone(id);
    assert!(matches!(connect(&mut world, bob, peer), Came::Connect(..)), "nobody's any more");
}

#[test]
fn an_address_may_connect_to_the_one_allocation_that_permits_it() {
    let mut world = world(&[3_480]);
    let ((alice, _), (bob, _)) = (allocate(&mut world, 1), allocate(&mut world, 2));
    let (peer, other) = (address(PEER), address("93.184.216.35:5000"));
    assert_eq!(accept(&mut world, PORT, peer), None, "nobody's");
    assert_eq!(world.permit(alice, peer).error, None);
    assert_eq!(world.permit(alice, peer).error, None, "it is hers, again");
    let both = world.ask(bob, Method::CREATE_PERMISSION, |request| {
        request.xor_address(AttributeType::XOR_PEER_ADDRESS, other);
        request.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
    });
    assert_eq!(both.error, Some(403));
    assert_eq!(contended(&world, Contended::Permission), 1);
    assert_eq!(accept(&mut world, PORT, other), None, "all of them, or none");
    assert_eq!(world.permit(bob, other).error, None);
    for (peer, whose) in [(peer, alice), (other, bob), (SocketAddr::new(peer.ip(), 9), alice)] {
        accept(&mut world, PORT, peer).expect("let in");
        told(&mut world, whose);
    }
    let nobody = address("93.184.216.36:5000");
    assert_eq!(accept(&mut world, PORT, nobody), None);
    assert_eq!(accept(&mut world, PORT, peer), None, "the pair is there");
    assert_eq!(world.relay.counters().not_accepted, [3, 1]);
    // Whom one may connect to is nobody's permission.
    assert!(matches!(connect(&mut world, bob, SocketAddr::new(peer.ip(), 443)), Came::Connect(..)));
}

#[test]
fn an_address_that_was_anothers_is_nobodys_for_a_while() {
    let mut world = world(&[3_480]);
    let peer = address(PEER);
    let ((alice, _), (bob, _)) = (allocate(&mut world, 1), allocate(&mut world, 2));
    world.permit(alice, peer);
    release(&mut world, alice);
    world.pass(0);
    // The kernel may have a connection that the peer began while the address was hers.
    assert_eq!(accept(&mut world, PORT, peer), None);
    assert_eq!(world.permit(bob, peer).error, Some(403));
    world.pass(limits::TURN_CLAIM_AFTER_MS - 1_000);
    assert_eq!(world.permit(bob, peer).error, Some(403));
    world.pass(1_000);
    assert_eq!(world.permit(bob, peer).error, None);
    accept(&mut world, PORT, peer).expect("let in");
    told(&mut world, bob);
}

#[test]
fn a_users_allocations_are_at_different_ports_where_there_are_some() {
    let mut world = world(&[3_480, 3_482, 3_484]);
    let mut ports: Vec<u16> = (1..=3).map(|n| allocate(&mut world, n).1.port).collect();
    ports.sort_unstable();
    assert_eq!(ports, [3_480, 3_482, 3_484]);
}

#[test]
fn who_calls_the_same_peer_again_does_so_from_another_port() {
    let mut world = world(&[3_480, 3_482]);
    let (client, before) = allocate(&mut world, 1);
    assert_eq!(world.permit(client, address(PEER)).error, None);
    release(&mut world, client);
    let (client, after) = allocate(&mut world, 1);
    assert_ne!(after, before);
    assert_eq!(world.permit(client, address(PEER)).error, None);
}

#[test]
fn where_a_shared_port_is_somebody_elses_another_one_is_given() {
    let mut world = world(&[3_480, 3_482]);
    let client = stream(&world, 1);
    let request = world.request(client, Method::ALLOCATE, USER, b"new", tcp);
    let arrival = Arrival { client, addressed: address(NODE), datagram: &request };
    let step = world.relay.from_client(world.now, arrival, &mut world.out);
    assert_eq!(step, Step::Open(Carrier::Tcp));
    assert_eq!(world.out.opens, [PORT]);
    assert_eq!(world.relay.another(world.now, PORT, &mut world.out), Another::Open);
    let other = RelayPort { address: 0, port: 3_482 };
    assert_eq!(world.out.opens, [other]);
    assert_eq!(world.relay.another(world.now, other, &mut world.out), Another::None);
    world.relay.opened(world.now, Opened::Failed, &mut world.out);
    assert_eq!(Answer::of(&world.out.answer, USER, b"new").error, Some(508));
    assert_eq!(world.relay.allocations(), 0);
    // Both are tried again; one that has come free is taken.
    let (_, taken) = allocate(&mut world, 2);
    assert_eq!(taken, PORT);
}

#[test]
fn datagrams_and_connections_of_one_port_and_peer_do_not_meet() {
    let mut world = world(&[3_480]);
    let peer = address(PEER);
    let (alice, _) = allocate(&mut world, 1);
    let bob = world.client(2);
    world.allocate(bob);
    assert_eq!(world.permit(alice, peer).error, None);
    assert_eq!(world.bind(bob, 0x4000, peer).error, None, "by datagrams");
    let Came::Connect(..) = connect(&mut world, alice, peer) else { panic!() };
    let to_bob = world.peer_sends(PORT, peer, b"b");
    assert_eq!(to_bob, Came::ToClient(bob, channel(0x4000, b"b")));
    accept(&mut world, PORT, SocketAddr::new(peer.ip(), 9)).expect("hers");
    told(&mut world, alice);
    let alone = SocketAddr::new(peer.ip(), 7_000);
    assert_eq!(world.peer_sends(PORT, alone, b"x"), Came::Dropped(Dropped::NoPermission));
}

#[test]
fn clients_at_two_shared_ports_reach_each_other_and_at_one_they_do_not() {
    let mut world = world(&[3_480, 3_482]);
    let ((alice, of_alice), (bob, of_bob)) = (allocate(&mut world, 1), allocate(&mut world, 2));
    let at = |port: RelayPort| SocketAddr::new(RELAYED.parse().unwrap(), port.port);
    assert_eq!(error(connect(&mut world, alice, at(of_alice))), Some(403), "a port with itself");
    let Came::Connect(_, from, to) = connect(&mut world, alice, at(of_bob)) else { panic!() };
    assert_eq!((from, to), (of_alice, at(of_bob)));
    assert_eq!(world.permit(bob, at(of_alice)).error, None);
    accept(&mut world, of_bob, at(of_alice)).expect("let in");
    told(&mut world, bob);
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Allocate(u16),
    Release(u16),
    Permit(u16, u8),
    Connect(u16, u8),
    /// A peer's connection comes to the kernel.
    Arrive(u8, u8),
    /// It is accepted.
    Accept(u8),
    Gone(u8),
    Pass(u32),
}

fn act() -> impl Strategy<Value = Act> {
    let (client, peer, port) = (0_u16..5, 0_u8..4, 0_u8..2);
    prop_oneof![
        3 => client.clone().prop_map(Act::Allocate),
        2 => client.clone().prop_map(Act::Release),
        4 => (client.clone(), peer.clone()).prop_map(|(c, p)| Act::Permit(c, p)),
        2 => (client, peer.clone()).prop_map(|(c, p)| Act::Connect(c, p)),
        4 => (port.clone(), peer).prop_map(|(at, p)| Act::Arrive(at, p)),
        4 => port.prop_map(Act::Accept),
        1 => any::<u8>().prop_map(Act::Gone),
        2 => prop_oneof![0_u32..20_000, 0_u32..400_000].prop_map(Act::Pass),
    ]
}

/// An allocation, told from those that its client has had before.
type Holder = (u16, u32);

/// A connection that the kernel has for us: from whom, since when, and who had permitted him then.
struct Arrived {
    peer: SocketAddr,
    since: Monotonic,
    permitted: BTreeSet<Holder>,
}

/// What a naive observer knows.
#[derive(Default)]
struct Seen {
    /// Port of each client's allocation, and how many it has had.
    at: BTreeMap<u16, (RelayPort, u32)>,
    made: u32,
    /// When permissions end.
    permissions: BTreeMap<(Holder, IpAddr), Monotonic>,
    backlog: BTreeMap<u16, VecDeque<Arrived>>,
    connections: BTreeMap<ConnectionId, (RelayPort, SocketAddr)>,
}

impl Seen {
    fn holder(&self, client: u16) -> Option<Holder> {
        self.at.get(&client).map(|(_, made)| (client, *made))
    }

    /// Those at `port` that permit `ip`.
    fn permitting(&self, now: Monotonic, port: RelayPort, ip: IpAddr) -> BTreeSet<Holder> {
        let there = |(client, (at, _)): (&u16, &(RelayPort, u32))| {
            (*at == port).then(|| self.holder(*client)).flatten()
        };
        let permits = |holder: &Holder| {
            self.permissions.get(&(*holder, ip)).is_some_and(|until| *until > now)
        };
        self.at.iter().filter_map(there).filter(permits).collect()
    }

    fn opened(&mut self, id: ConnectionId, port: RelayPort, peer: SocketAddr) {
        let twice = self.connections.values().any(|there| *there == (port, peer));
        assert!(!twice, "{peer} at {port:?} is one connection");
        self.connections.insert(id, (port, peer));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// No connection ever crosses: whoever is given one has permitted its address, and if anybody
    /// at that port had when the peer began it, it is the same allocation. A port and a peer are
    /// never two connections.
    #[test]
    fn no_connection_crosses_between_allocations_of_one_port(
        acts in prop::collection::vec(act(), 1..80),
    ) {
        // The kernel gives up on what it has not opened by then.
        const KERNEL_MS: u64 = 63_000;
        let mut world = world(&[3_480, 3_482]);
        let mut seen = Seen::default();
        let ports = [3_480, 3_482].map(|port| RelayPort { address: 0, port });
        let peer = |p: u8| SocketAddr::new([93, 184, 216, 34 + p % 2].into(), 5_000 + u16::from(p));
        for act in acts {
            let now = world.now.monotonic;
            match act {
                Act::Allocate(c) => {
                    let client = stream(&world, c);
                    let answer = world.ask(client, Method::ALLOCATE, tcp);
                    if answer.error.is_none() {
                        seen.made += 1;
                        seen.at.insert(c, (world.relayed(&answer), seen.made));
                    }
                }
                Act::Release(c) => {
                    let client = stream(&world, c);
                    if world.relay.has_allocation(&client) {
                        release(&mut world, client);
                    }
                }
                Act::Permit(c, p) => {
                    let client = stream(&world, c);
                    let granted = world.permit(client, peer(p)).error;
                    if let Some(holder) = seen.holder(c) {
                        let others = seen.permitting(now, seen.at[&c].0, peer(p).ip());
                        let contended = others.iter().any(|other| *other != holder);
                        prop_assert!(!contended || granted == Some(403));
                        if granted.is_none() {
                            let until = now.plus_ms(limits::TURN_PERMISSION_MS);
                            seen.permissions.insert((holder, peer(p).ip()), until);
                        }
                    }
                }
                Act::Connect(c, p) => {
                    let client = stream(&world, c);
                    if let Came::Connect(id, port, to) = connect(&mut world, client, peer(p)) {
                        prop_assert_eq!((port, to), (seen.at[&c].0, peer(p)));
                        seen.opened(id, port, to);
                    }
                }
                Act::Arrive(at, p) => {
                    let port = ports[usize::from(at)];
                    if world.open.contains(&port) {
                        let permitted = seen.permitting(now, port, peer(p).ip());
                        let arrived = Arrived { peer: peer(p), since: now, permitted };
                        seen.backlog.entry(port.port).or_default().push_back(arrived);
                    }
                }
                Act::Accept(at) => {
                    let port = ports[usize::from(at)];
                    let arrived = seen.backlog.entry(port.port).or_default().pop_front();
                    if let Some(Arrived { peer, permitted, .. }) = arrived
                        && let Some(id) = accept(&mut world, port, peer)
                    {
                        let [(client, _)] = &world.out.messages[..] else { panic!("one is told") };
                        let holder = seen.holder(client.remote.port() - 10_000).unwrap();
                        let permitting = seen.permitting(now, port, peer.ip());
                        prop_assert_eq!(&permitting, &BTreeSet::from([holder]));
                        prop_assert!(permitted.is_subset(&permitting), "{:?}", permitted);
                        seen.opened(id, port, peer);
                    }
                }
                Act::Gone(n) => {
                    let ids: Vec<_> = seen.connections.keys().copied().collect();
                    if let Some(id) = ids.get(usize::from(n) % ids.len().max(1)) {
                        world.relay.connection_gone(*id);
                        seen.connections.remove(id);
                    }
                }
                Act::Pass(ms) => world.pass(u64::from(ms)),
            }
            world.out.messages.clear();
            for id in world.out.ends.drain(..) {
                seen.connections.remove(&id);
            }
            let there = |c: &u16| world.relay.has_allocation(&stream(&world, *c));
            seen.at.retain(|c, _| there(c));
            let now = world.now.monotonic;
            for (port, backlog) in &mut seen.backlog {
                let port = RelayPort { address: 0, port: *port };
                backlog.retain(|one| {
                    world.open.contains(&port) && one.since.plus_ms(KERNEL_MS) > now
                });
            }
        }
        world.pass(3_600_000);
        prop_assert!(world.open.is_empty());
        prop_assert_eq!(world.relay.next_deadline(), None, "nothing is left");
    }
}
