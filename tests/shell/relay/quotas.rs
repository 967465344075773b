//! Quotas and rates hold for all threads together: over the kernel, and with threads that race.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Barrier;

use entente::edge::av::{
    self, Arrival, Dropped, Opened, Output, Ports, Quotas, Relay, RelayedAddress, Setup, Step,
    Together, Transport,
};
use entente::limits;
use entente::poll::Choice;
use entente::stun::{Builder, Class, Method, TransactionId, Type};
use entente::time::{Clock, Monotonic, Now};

use super::streams::plain;
use super::threads::apart;
use super::turn::{
    Client, Datagrams, Edge, POLLERS, REALM, Wanted, Wire, credentials, peer, peers, socket,
};
use crate::world::eventually;

/// Sources so many that both threads have some for sure.
pub(super) const SOURCES: u8 = 40;

pub(super) fn edge(poller: Choice, quotas: Quotas) -> Edge {
    let ports = Ports::Range { first: 50_000, count: 200 };
    Edge::start(Wanted { ports, quotas, threads: 2, ..Wanted::with(poller) })
}

/// A client of the one network.
pub(super) fn client(edge: &Edge, number: u8) -> Client<Datagrams> {
    Client::by(Datagrams::between(socket(&format!("127.0.4.{number}:0")), edge.server))
}

fn thread_of(port: SocketAddr) -> usize {
    usize::from(port.port() >= 50_100)
}

/// Returns an allocated client of each thread, with no other allocation left.
pub(super) fn one_of_each_thread(edge: &Edge) -> [Client<Datagrams>; 2] {
    let mut found = [None, None];
    for number in 1..=SOURCES {
        let mut client = apart(edge, number);
        let place = &mut found[thread_of(client.allocate())];
        match place {
            None => *place = Some(client),
            Some(_) => client.release(),
        }
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found.map(|client| client.expect("both threads have some of so many sources"))
}

#[test]
fn a_user_has_one_quota_whichever_threads_his_clients_are_with() {
    for poller in POLLERS {
        // Three, for while they are looked for there is one more than two.
        let edge = edge(poller, Quotas { allocations_per_user: 3, ..Quotas::default() });
        let [mut one, other] = one_of_each_thread(&edge);
        // By a stream it is counted as well.
        let mut stream = plain(&edge);
        stream.allocate();
        for number in 1..=SOURCES {
            assert_eq!(apart(&edge, number).allocation().error, Some(486), "{number}");
        }
        assert_eq!(plain(&edge).allocation().error, Some(486));
        eventually("he is one user", || {
            let observed = edge.handle.observed();
            (observed.users, observed.allocations) == (1, 3)
        });
        // What one thread lets go of the other one may give.
        one.release();
        let mut next = Client::by(Datagrams::between(
            socket(&format!("{}:0", other.socket.local_addr().unwrap().ip())),
            edge.server,
        ));
        next.allocate();
        assert_eq!(one.allocation().error, Some(486));
        edge.handle.end();
    }
}

/// All of these are in one /24, and have a thread each by their address.
#[test]
fn a_source_network_has_one_quota_whichever_threads_its_clients_are_with() {
    for poller in POLLERS {
        let edge = edge(poller, Quotas { allocations_per_source: 12, ..Quotas::default() });
        let mut clients: Vec<_> = (1..=SOURCES).map(|number| client(&edge, number)).collect();
        let granted: Vec<SocketAddr> = clients
            .iter_mut()
            .filter_map(|client| {
                let answer = client.allocation();
                assert!(matches!(answer.error, None | Some(486)));
                answer.address(entente::stun::AttributeType::XOR_RELAYED_ADDRESS)
            })
            .collect();
        assert_eq!(granted.len(), 12);
        let of_first = granted.iter().filter(|port| thread_of(**port) == 0).count();
        assert!((1..12).contains(&of_first), "{of_first} of the first thread's");
        edge.handle.end();
    }
}

#[test]
fn a_user_has_one_rate_whichever_threads_his_clients_are_with() {
    for poller in POLLERS {
        // 10,000 bytes a second, and half a second's at once.
        let quotas = Quotas { user_kbit_s: 80, allocation_kbit_s: 1_000_000, ..Quotas::default() };
        let edge = edge(poller, quotas);
        let mut clients = one_of_each_thread(&edge);
        let peer = peer();
        // A thread's time is that of its turn, and the turn of a datagram comes after that of the
        // request before.
        let clock = Clock::start();
        for client in &mut clients {
            assert_eq!(client.bind(0x4000, peer.local_addr().unwrap()), None);
        }
        for _ in 0..50 {
            for client in &clients {
                client.send_channel(0x4000, &[7; 100]);
            }
        }
        // Answered behind all that was sent before.
        for client in &mut clients {
            assert_eq!(client.permit(peer.local_addr().unwrap()), None);
        }
        // However long that took, no more has flowed in.
        let granted = 5_000 + clock.now().monotonic.0 / 100_000 + 1;
        let carried = || {
            let core = edge.handle.observed().core;
            (core.traffic.to_peers, core.dropped[Dropped::Bandwidth as usize])
        };
        eventually("all is counted", || {
            let (passed, dropped) = carried();
            passed + dropped == 100
        });
        let bytes = carried().0 * 100;
        assert!(bytes >= 5_000 && bytes <= granted, "{bytes} of {granted}");
        edge.handle.end();
    }
}

/// A relay's core as a client's wire.
struct Core {
    of: RefCell<(Relay, Output)>,
    client: av::Client,
}

const NOW: Now = Now { monotonic: Monotonic(1_000_000_000), unix_s: 1_700_000_000 };

impl Wire for &Core {
    fn say(&self, message: &[u8]) {
        let mut of = self.of.borrow_mut();
        let (relay, out) = &mut *of;
        out.answer.clear();
        let addressed = SocketAddr::from(([127, 0, 0, 1], 3_478));
        let arrival = Arrival { client: self.client, addressed, datagram: message };
        if let Step::Open(_) = relay.from_client(NOW, arrival, out) {
            relay.opened(NOW, Opened::All, out);
        }
    }

    fn hear(&self) -> Vec<u8> {
        self.of.borrow().1.answer.clone()
    }
}

/// Returns the core of thread `number`, and a client of it.
fn core(number: u8, quotas: Quotas, together: &Together) -> Core {
    let relayed = [127, 0, 0, 9].into();
    let node = SocketAddr::from(([127, 0, 0, 1], 3_478));
    let setup = Setup {
        realm: REALM.to_owned(),
        relayed: vec![RelayedAddress { bound: relayed, public: relayed }],
        ports: Ports::Range { first: 50_000 + 100 * u16::from(number), count: 100 },
        listeners: vec![av::Listener { node, vip: None }],
        credentials: credentials(),
        nonce_keys: vec![[1; 32]],
        peers: peers(),
        quotas,
        seed: u64::from(number),
    };
    let mut relay = Relay::new(setup);
    relay.beside(Vec::new(), together.clone());
    let remote = SocketAddr::from(([127, 0, number, 1], 1));
    let client = av::Client { listener: 0, transport: Transport::Udp, remote };
    Core { of: RefCell::new((relay, Output::default())), client }
}

/// Runs four threads with a core each, of which each begins when all are there.
fn race<T: Send>(quotas: Quotas, together: &Together, of: impl Fn(Core) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let (barrier, of) = (&barrier, &of);
                scope.spawn(move || {
                    let core = core(number, quotas, together);
                    barrier.wait();
                    of(core)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn of_threads_that_race_for_a_quota_as_many_are_granted_as_it_has() {
    let together = Together::of_threads(4);
    let quotas = Quotas { allocations_per_user: 50, ..Quotas::default() };
    for round in 10..13 {
        let granted = race(quotas, &together, |mut core| {
            let mut granted = 0;
            let IpAddr::V4(own) = core.client.remote.ip() else { panic!("IPv4") };
            for network in 1..=40 {
                // In networks of their own, which are challenged as often as they ask.
                core.client.remote.set_ip([round, own.octets()[2], network, 1].into());
                let answer = Client::by(&core).allocation();
                assert!(matches!(answer.error, None | Some(486)));
                granted += usize::from(answer.error.is_none());
            }
            (granted, core.of.into_inner().0)
        });
        assert_eq!(granted.iter().map(|(granted, _)| granted).sum::<usize>(), 50);
        let users = |relay: &Relay| (relay.users(), relay.sample().allocations_left);
        let [.., (_, last)] = &granted[..] else { panic!("four threads") };
        assert_eq!(users(last), (1, quotas.allocations - 50));
    }
    // Nothing is kept of what the relays had that are gone.
    let core = core(0, quotas, &together);
    let relay = core.of.into_inner().0;
    assert_eq!((relay.users(), relay.sample().allocations_left), (0, quotas.allocations));
}

/// The clock stands here as well.
#[test]
fn of_threads_that_race_for_answers_to_strangers_as_many_are_given_as_there_are() {
    let of_source = limits::TURN_UNAUTHENTICATED_PER_SOURCE as usize;
    let in_all = limits::TURN_UNAUTHENTICATED_IN_ALL as usize;
    // Of one network, and of so many that what is for everybody is used up.
    for (networks, expected) in [(1, of_source), (300, in_all)] {
        let together = Together::of_threads(4);
        let answered = race(Quotas::default(), &together, |mut core| {
            let asks = (0..networks).flat_map(|network| vec![network; of_source]);
            let answered = asks.filter(|network| {
                core.client.remote.set_ip([10, (network >> 8) as u8, *network as u8, 1].into());
                let mut wire = Vec::new();
                let kind = Type { method: Method::BINDING, class: Class::Request };
                Builder::new(&mut wire, kind, TransactionId([7; 12]));
                (&core).say(&wire);
                !(&core).hear().is_empty()
            });
            answered.count()
        });
        assert_eq!(answered.iter().sum::<usize>(), expected, "{networks} networks");
    }
}

/// The clock stands: what is there at first is all there is.
#[test]
fn of_threads_that_race_for_a_rate_as_much_passes_as_there_is() {
    let together = Together::of_threads(4);
    // 500,000 bytes at once.
    let quotas = Quotas { user_kbit_s: 8_000, allocation_kbit_s: 1_000_000, ..Quotas::default() };
    let to: SocketAddr = SocketAddr::from(([127, 0, 0, 3], 5_000));
    let passed = race(quotas, &together, |core| {
        let mut client = Client::by(&core);
        client.allocate();
        assert_eq!(client.bind(0x4000, to), None);
        for _ in 0..2_000 {
            client.send_channel(0x4000, &[0; 100]);
        }
        let traffic = core.of.borrow().0.counters().traffic;
        (traffic.bytes_to_peers, core)
    });
    assert_eq!(passed.iter().map(|(bytes, _)| bytes).sum::<u64>(), 500_000);
}
