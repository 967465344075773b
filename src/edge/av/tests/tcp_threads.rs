//! RFC 6062 between clients of two threads, whose relayed ports are peers to each other.

use proptest::prelude::*;

use super::super::*;
use super::siblings::{at, pair};
use super::tcp::{connect, error, stream, tcp};
use super::world::*;
use crate::stun::{AttributeType, Method};

#[derive(Clone, Copy, Debug)]
enum Act {
    Allocate(u16),
    Release(u16),
    /// Lets in whoever is relayed by this edge.
    Permit(u16),
    /// To a port, of whichever thread.
    Connect(u16, u8),
    /// A thread accepts what waits longest.
    Accept(u8),
    Break(u8),
    Pass(u32),
}

fn act() -> impl Strategy<Value = Act> {
    let client = 0_u16..8;
    prop_oneof![
        5 => client.clone().prop_map(Act::Allocate),
        1 => client.clone().prop_map(Act::Release),
        3 => client.clone().prop_map(Act::Permit),
        6 => (client, 0_u8..8).prop_map(|(client, port)| Act::Connect(client, port)),
        5 => (0_u8..2).prop_map(Act::Accept),
        1 => any::<u8>().prop_map(Act::Break),
        1 => prop_oneof![0_u32..20_000, 0_u32..400_000].prop_map(Act::Pass),
    ]
}

/// A connection through the kernel, between a port of one thread and one of any.
struct Wire {
    ports: [RelayPort; 2],
    /// What its ends are known by; of the second one, once it is accepted.
    ends: [Option<ConnectionId>; 2],
    waits: bool,
    /// Who had permitted it when it began, by the numbers of allocations.
    meant: Vec<u32>,
}

/// An allocation as a naive observer knows it.
struct Seen {
    client: u16,
    made: u32,
    port: RelayPort,
    permits_until: Monotonic,
}

struct Threads {
    worlds: [World; 2],
    parts: Vec<Ports>,
    ports: Vec<u16>,
    all: Vec<Seen>,
    made: u32,
    wires: Vec<Wire>,
}

impl Threads {
    fn new(ports: &Ports) -> Self {
        let ports_of = match ports {
            Ports::Range { first, count } => (*first..first + count).collect(),
            Ports::Shared(ports) => ports.clone(),
        };
        let (worlds, parts) = (pair(ports), ports.split(2));
        Self { worlds, parts, ports: ports_of, all: Vec::new(), made: 0, wires: Vec::new() }
    }

    fn thread(&self, port: RelayPort) -> usize {
        self.parts.iter().position(|ports| ports.holds(port.port)).unwrap()
    }

    fn world(&mut self, client: u16) -> (&mut World, Client) {
        let world = &mut self.worlds[usize::from(client % 2)];
        let client = stream(world, client);
        (world, client)
    }

    fn listens(&self, port: RelayPort) -> bool {
        self.worlds[self.thread(port)].open.contains(&port)
    }

    fn permitting(&self, port: RelayPort) -> Vec<u32> {
        let now = self.worlds[0].now.monotonic;
        let permits = |one: &&Seen| one.port == port && one.permits_until > now;
        self.all.iter().filter(permits).map(|one| one.made).collect()
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Allocate(number) => {
                let (world, client) = self.world(number);
                let answer = world.ask(client, Method::ALLOCATE, tcp);
                if answer.error.is_none() {
                    let port = world.relayed(&answer);
                    let permits_until = Monotonic::default();
                    self.made += 1;
                    let made = self.made;
                    self.all.push(Seen { client: number, made, port, permits_until });
                }
            }
            Act::Release(number) => {
                let (world, client) = self.world(number);
                world.ask(client, Method::REFRESH, |request| {
                    request.number(AttributeType::LIFETIME, 0);
                });
            }
            Act::Permit(number) => {
                let (world, client) = self.world(number);
                let until = world.now.monotonic.plus_ms(limits::TURN_PERMISSION_MS);
                let peer = SocketAddr::new(RELAYED.parse().unwrap(), 0);
                let error = world.permit(client, peer).error;
                let own = self.all.iter_mut().find(|one| one.client == number);
                if let Some(own) = own.filter(|_| error.is_none()) {
                    own.permits_until = until;
                }
            }
            Act::Connect(number, place) => self.connect(number, usize::from(place)),
            Act::Accept(thread) => self.accept(usize::from(thread)),
            Act::Break(place) => {
                let place = usize::from(place) % self.wires.len().max(1);
                if place < self.wires.len() {
                    self.gone(place);
                }
            }
            Act::Pass(ms) => self.worlds.iter_mut().for_each(|world| world.pass(ms.into())),
        }
    }

    fn connect(&mut self, number: u16, place: usize) {
        let port = self.ports[place % self.ports.len()];
        let to = RelayPort { address: 0, port };
        let listens = self.listens(to);
        let own = self.all.iter().find(|one| one.client == number).map(|one| one.port);
        let (world, client) = self.world(number);
        let came = connect(world, client, at(to));
        let Some(from) = own else { return assert_eq!(error(came), Some(437)) };
        let Came::Connect(id, left, reached) = came else {
            let error = error(came);
            let expected = if from == to || !listens { &[403][..] } else { &[403, 446, 508] };
            return assert!(expected.contains(&error.unwrap()), "{error:?}");
        };
        assert_eq!((left, reached), (from, at(to)));
        assert!(listens && from != to, "to a port that listens, and to no port from itself");
        // The kernel has one connection between two addresses, whoever began it.
        let same = |wire: &Wire| wire.ports == [from, to] || wire.ports == [to, from];
        let taken = self.wires.iter().any(same);
        let (world, _) = self.world(number);
        let how = if taken { Connected::Failed } else { Connected::Open };
        world.relay.connected(world.now, id, how, &mut world.out);
        if !taken {
            let meant = self.permitting(to);
            self.wires.push(Wire { ports: [from, to], ends: [Some(id), None], waits: true, meant });
        }
    }

    fn accept(&mut self, thread: usize) {
        let waits = |wire: &Wire| wire.waits && self.thread(wire.ports[1]) == thread;
        let Some(place) = self.wires.iter().position(waits) else { return };
        let [from, to] = self.wires[place].ports;
        let world = &mut self.worlds[thread];
        world.out.messages.clear();
        let now = world.now.monotonic;
        let accepted = world.relay.accepted(now, to, at(from), &mut world.out);
        let told = world.out.messages.first().map(|(client, _)| client.remote.port() - 10_000);
        let of = told.and_then(|told| self.all.iter().find(|one| one.client == told));
        let of = of.map(|one| (one.port, one.made));
        let wire = &self.wires[place];
        match accepted {
            Some(_) => {
                let (port, made) = of.expect("whose it is, is told");
                assert_eq!(port, to, "it is told at the port that it came to");
                assert_eq!(self.permitting(to), [made], "who lets it in has permitted it");
                assert!(wire.meant.iter().all(|meant| *meant == made), "it was meant for another");
                let wire = &mut self.wires[place];
                (wire.ends[1], wire.waits) = (accepted, false);
            }
            None => self.gone(place),
        }
    }

    /// One side of a connection has closed it, and so does the other.
    fn gone(&mut self, place: usize) {
        let Wire { ports, ends, .. } = self.wires.remove(place);
        for (port, end) in ports.into_iter().zip(ends) {
            let thread = self.thread(port);
            if let Some(end) = end {
                self.worlds[thread].relay.connection_gone(end);
            }
        }
    }

    /// What the cores have ended, the shells and the kernel end.
    fn settle(&mut self) {
        for thread in 0..2 {
            let world = &mut self.worlds[thread];
            // A client asks for a nonce before each request, and is answered 50 times a second.
            world.pass(40);
            world.out.messages.clear();
            for id in std::mem::take(&mut world.out.ends) {
                let of = |wire: &Wire, end: usize| {
                    wire.ends[end] == Some(id) && self.thread(wire.ports[end]) == thread
                };
                let place = self.wires.iter().position(|wire| of(wire, 0) || of(wire, 1));
                if let Some(place) = place {
                    self.gone(place);
                }
            }
        }
        while let Some(place) =
            self.wires.iter().position(|wire| wire.waits && !self.listens(wire.ports[1]))
        {
            self.gone(place);
        }
        let worlds = &self.worlds;
        self.all.retain(|one| {
            let world = &worlds[usize::from(one.client % 2)];
            world.relay.has_allocation(&stream(world, one.client))
        });
        for port in &self.ports {
            let port = RelayPort { address: 0, port: *port };
            for world in &self.worlds {
                assert_eq!(world.relay.connections.is_open(port), self.listens(port));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// Whoever connects to a relayed port reaches one that listens, of whichever thread, never the
    /// own; who is told of it has that port and has permitted it, then as when it began. When all
    /// is over nothing listens and nothing is left.
    #[test]
    fn no_connection_between_threads_crosses(
        shared in any::<bool>(),
        acts in prop::collection::vec(act(), 1..120),
    ) {
        let mut threads = Threads::new(&match shared {
            true => Ports::Shared(vec![3_480, 3_482, 3_484]),
            false => Ports::Range { first: 50_000, count: 6 },
        });
        for act in acts {
            threads.act(act);
            threads.settle();
        }
        threads.worlds.iter_mut().for_each(|world| world.pass(3_600_000));
        threads.settle();
        threads.worlds.iter_mut().for_each(|world| world.pass(limits::TURN_CLAIM_AFTER_MS));
        for world in &threads.worlds {
            prop_assert!(world.open.is_empty());
            prop_assert_eq!((world.relay.connections(), world.relay.next_deadline()), (0, None));
        }
        prop_assert!(threads.wires.is_empty() && threads.all.is_empty());
    }
}
