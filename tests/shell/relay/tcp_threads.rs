//! TCP between clients of different relay threads (RFC 6062): each one's relayed port is a peer to
//! the other, and the kernel brings them together.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use entente::edge::av::Ports;

use super::quotas::SOURCES;
use super::shared_tcp::{attempt, client_at};
use super::streams::{Framed, connect_from};
use super::tcp::{allocate, claim, exchange, is_over, reach};
use super::turn::{Client, Edge, POLLERS, Wanted};
use crate::world::eventually;

const THREADS: usize = 2;

/// A client, where it is, and its relayed address.
struct Relayed {
    client: Client<Framed>,
    last: u8,
    at: SocketAddr,
}

/// Clients at different relayed ports, two of each thread.
fn clients(edge: &Edge, ports: &[Ports]) -> Vec<Relayed> {
    let mut of: Vec<Vec<Relayed>> = (0..THREADS).map(|_| Vec::new()).collect();
    for last in 1..=SOURCES {
        if of.iter().all(|clients| clients.len() == 2) {
            break;
        }
        let mut client = client_at(edge, last);
        let at = allocate(&mut client);
        let thread = ports.iter().position(|ports| ports.holds(at.port())).unwrap();
        let also = of[thread].iter().any(|one| one.at == at);
        if of[thread].len() < 2 && !also {
            of[thread].push(Relayed { client, last, at });
        }
    }
    assert!(of.iter().all(|clients| clients.len() == 2), "some of each thread");
    of.into_iter().flatten().collect()
}

/// Claims a connection from a client's own address: all that comes from there is one thread's.
fn bound(edge: &Edge, last: u8, id: u32) -> TcpStream {
    let stream = connect_from([127, 0, 4, last], edge.door);
    let mut client = Client::by(Framed::new(stream.try_clone().unwrap()));
    assert_eq!(claim(&mut client, id), None);
    stream
}

fn each(test: impl Fn(Edge, &[Ports])) {
    let range = Ports::Range { first: 50_000, count: 200 };
    let shared = Ports::Shared(vec![3_480, 3_482, 3_484, 3_486]);
    for (poller, ports) in POLLERS.iter().flat_map(|poller| [(poller, &range), (poller, &shared)]) {
        let wanted = Wanted { ports: ports.clone(), threads: THREADS, ..Wanted::with(*poller) };
        test(Edge::start(wanted), &ports.split(THREADS));
    }
}

#[test]
fn clients_of_all_threads_connect_with_each_other_and_each_hears_its_own_peer() {
    each(|edge, ports| {
        let mut clients = clients(&edge, ports);
        for one in &mut clients {
            assert_eq!(one.client.permit(SocketAddr::new(edge.relayed, 0)), None);
        }
        let mut pairs = Vec::new();
        for from in 0..clients.len() {
            for to in from + 1..clients.len() {
                let (of_from, of_to) = (clients[from].at, clients[to].at);
                let id = reach(&mut clients[from].client, of_to).unwrap();
                let (theirs, peer) = attempt(&clients[to].client);
                assert_eq!(peer, of_from, "who connects is known by his relayed address");
                // The other way it is the same connection.
                assert_eq!(reach(&mut clients[to].client, of_from), Err(446));
                let here = bound(&edge, clients[from].last, id);
                pairs.push((here, bound(&edge, clients[to].last, theirs), [from as u8, to as u8]));
            }
        }
        for (here, _, names) in &mut pairs {
            here.write_all(names).unwrap();
        }
        for (here, there, names) in &mut pairs {
            let mut heard = [0; 2];
            there.read_exact(&mut heard).unwrap();
            assert_eq!(heard, *names);
            exchange(here, there);
        }
        // What ends on one thread ends on the other.
        let (last, ..) = pairs.pop().unwrap();
        let count = 2 * pairs.len();
        drop(last);
        eventually("both ends are gone", || edge.handle.observed().connections == count);
        edge.handle.end();
    });
}

#[test]
fn a_client_of_another_thread_lets_in_whom_it_permits() {
    each(|edge, ports| {
        let mut clients = clients(&edge, ports);
        let (to, from) = (clients.pop().unwrap(), &mut clients[0]);
        let id = reach(&mut from.client, to.at).expect("the kernel has opened it");
        eventually("it is closed", || edge.handle.observed().core.not_accepted[0] == 1);
        assert!(is_over(&mut bound(&edge, from.last, id)));
        // Its allocation ends with its stream, and nobody is there any more.
        drop(to.client);
        eventually("nobody listens", || reach(&mut from.client, to.at) == Err(403));
        edge.handle.end();
    });
}

#[test]
fn at_a_relayed_address_nothing_is_reached_but_ports_for_tcp_of_some_thread() {
    each(|edge, ports| {
        let mut clients = clients(&edge, ports);
        let at = |port| SocketAddr::new(edge.relayed, port);
        let own = clients[0].at;
        assert_eq!(reach(&mut clients[0].client, own), Err(403), "a port with itself");
        for port in [22, 3_478, edge.door.port(), 60_000] {
            assert_eq!(reach(&mut clients[0].client, at(port)), Err(403));
        }
        // A port of the other thread's range that some program has.
        if let Ports::Range { first, count } = &ports[1] {
            let taken = |port: &u16| clients.iter().any(|one| one.at.port() == *port);
            let free = (*first..first + count).rev().find(|port| !taken(port)).unwrap();
            let program = TcpListener::bind(at(free)).unwrap();
            program.set_nonblocking(true).unwrap();
            assert_eq!(reach(&mut clients[0].client, at(free)), Err(403));
            assert!(program.accept().is_err(), "nobody has come");
        }
        edge.handle.end();
    });
}
