//! TCP connections with peers (RFC 6062) at relayed ports that allocations share.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use entente::edge::av::{Ports, Transport};
use entente::poll::Choice;
use entente::stun::{AttributeType, Builder, Class, Message, Method, Type};

use super::streams::{Framed, connect_from, plain};
use super::tcp::{accept, allocate, bound, exchange, is_over, listener, reach, tcp};
use super::turn::{Client, Edge, POLLERS, Wanted};
use crate::world::eventually;

fn edge(poller: Choice, ports: &[u16], threads: usize) -> Edge {
    Edge::start(Wanted { ports: Ports::Shared(ports.to_vec()), threads, ..Wanted::with(poller) })
}

fn each(ports: &[u16], test: impl Fn(Edge)) {
    for poller in POLLERS {
        test(edge(poller, ports, 1));
    }
}

/// A client at an address of its own.
pub(super) fn client_at(edge: &Edge, last: u8) -> Client<Framed> {
    Client::by(Framed::new(connect_from([127, 0, 4, last], edge.door)))
}

fn permit(client: &mut Client<Framed>, ip: [u8; 4]) -> Option<u16> {
    client.permit(SocketAddr::from((ip, 0)))
}

/// Hears of a connection; returns its number and whose it is.
pub(super) fn attempt(client: &Client<Framed>) -> (u32, SocketAddr) {
    let wire = client.hear();
    let message = Message::read(&wire).unwrap();
    let kind = Type { method: Method::CONNECTION_ATTEMPT, class: Class::Indication };
    assert_eq!(message.kind(), kind);
    let id = message.attribute(AttributeType::CONNECTION_ID).unwrap().number().unwrap();
    let peer = message.attribute(AttributeType::XOR_PEER_ADDRESS).unwrap();
    (id, peer.xor_address(message.transaction()).unwrap())
}

#[test]
fn clients_at_one_port_each_reach_their_own_peer() {
    each(&[3_480], |edge| {
        let (mut alice, mut bob) = (plain(&edge), plain(&edge));
        let relayed = allocate(&mut alice);
        assert_eq!(allocate(&mut bob), relayed, "they share it");
        let (to_alice, to_bob) = (listener(), listener());
        let peer = to_alice.local_addr().unwrap();
        let of_alice = reach(&mut alice, peer).unwrap();
        assert_eq!(reach(&mut bob, peer), Err(403), "that one is hers");
        assert_eq!(reach(&mut alice, peer), Err(446));
        let of_bob = reach(&mut bob, to_bob.local_addr().unwrap()).unwrap();
        let (mut hers, from) = accept(&to_alice);
        let (mut his, also_from) = accept(&to_bob);
        assert_eq!((from, also_from), (relayed, relayed));
        let (mut here, mut there) = (bound(&edge, of_alice), bound(&edge, of_bob));
        here.write_all(b"of alice").unwrap();
        there.write_all(b"of bob..").unwrap();
        let mut heard = [0; 8];
        hers.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"of alice");
        his.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"of bob..");
        exchange(&mut here, &mut hers);
        exchange(&mut there, &mut his);
        // Once hers is over the peer may be his, at once.
        drop(here);
        assert!(is_over(&mut hers));
        drop(hers);
        eventually("one is left", || edge.handle.observed().connections == 1);
        let again = reach(&mut bob, peer).expect("the kernel lets go of it as well");
        let (mut hers, _) = accept(&to_alice);
        exchange(&mut bound(&edge, again), &mut hers);
        edge.handle.end();
    });
}

#[test]
fn a_peer_that_connects_comes_to_whoever_has_permitted_it() {
    for (poller, threads) in POLLERS.iter().flat_map(|poller| [(*poller, 1), (*poller, 2)]) {
        let edge = edge(poller, &[3_480, 3_482, 3_484], threads);
        let mut clients: Vec<_> = (1..=9)
            .map(|last| {
                let mut client = client_at(&edge, last);
                let relayed = allocate(&mut client);
                assert_eq!(permit(&mut client, [127, 0, 5, last]), None);
                (client, relayed, last)
            })
            .collect();
        let peers: Vec<_> = clients
            .iter()
            .map(|(_, relayed, last)| connect_from([127, 0, 5, *last], *relayed))
            .collect();
        let mut pairs: Vec<_> = clients
            .iter()
            .zip(peers)
            .map(|((client, ..), peer)| {
                let (id, from) = attempt(client);
                assert_eq!(from, peer.local_addr().unwrap());
                (bound_at(&edge, from.ip(), id), peer)
            })
            .collect();
        for (here, there) in &mut pairs {
            exchange(here, there);
        }
        // At another's port an address is a stranger's, or another's.
        let (first, port, _) = &mut clients[0];
        let other = (permit(first, [127, 0, 5, 9]), *port);
        let shares = clients[8].1 == other.1;
        assert_eq!(other.0, shares.then_some(403));
        edge.handle.end();
    }
}

/// Claims a connection from the address of the client whose peer is at `peer`: all that comes from
/// one address is with one thread.
fn bound_at(edge: &Edge, peer: IpAddr, id: u32) -> TcpStream {
    let IpAddr::V4(peer) = peer else { panic!("of loopback") };
    let stream = connect_from([127, 0, 4, Ipv4Addr::octets(&peer)[3]], edge.door);
    let mut client = Client::by(Framed::new(stream.try_clone().unwrap()));
    assert_eq!(super::tcp::claim(&mut client, id), None);
    stream
}

#[test]
fn a_flood_of_strangers_is_closed_counted_and_in_nobodys_way() {
    const STRANGERS: usize = 300;
    each(&[3_480], |edge| {
        let (mut alice, mut bob) = (plain(&edge), plain(&edge));
        let relayed = allocate(&mut alice);
        allocate(&mut bob);
        assert_eq!(permit(&mut alice, [127, 0, 5, 1]), None);
        assert_eq!(permit(&mut bob, [127, 0, 5, 1]), Some(403), "it is hers");
        assert_eq!(permit(&mut bob, [127, 0, 5, 2]), None);
        let mut peer = connect_from([127, 0, 5, 1], relayed);
        let (id, _) = attempt(&alice);
        let mut data = bound(&edge, id);
        for round in 0..STRANGERS {
            let mut stranger = connect_from([127, 0, 5, 3], relayed);
            if round % 50 == 0 {
                exchange(&mut data, &mut peer);
                assert!(is_over(&mut stranger));
            }
        }
        let mut his = connect_from([127, 0, 5, 2], relayed);
        let (id, _) = attempt(&bob);
        exchange(&mut bound(&edge, id), &mut his);
        eventually("all are counted", || {
            edge.handle.observed().core.not_accepted[0] == STRANGERS as u64
        });
        assert_eq!(edge.handle.observed().core.contended, [0, 0, 1]);
        edge.handle.end();
    });
}

#[test]
fn a_shared_port_listens_while_anybody_has_it_for_tcp() {
    each(&[3_480], |edge| {
        let port = SocketAddr::new(edge.relayed, 3_480);
        let listens = || TcpStream::connect(port).is_ok();
        assert!(!listens(), "nobody has it");
        let mut datagrams = edge.client();
        assert_eq!(datagrams.allocate(), port);
        assert!(!listens(), "for datagrams alone");
        let (mut alice, mut bob) = (plain(&edge), plain(&edge));
        assert_eq!((allocate(&mut alice), allocate(&mut bob)), (port, port));
        alice.release();
        assert!(listens());
        // The last one gives it back, and by the next message of the same read has it again.
        let (_, release) = bob.request(Method::REFRESH, |request| {
            request.number(AttributeType::LIFETIME, 0);
        });
        let (_, again) = bob.request(Method::ALLOCATE, tcp);
        bob.say(&[release, again].concat());
        for _ in 0..2 {
            let answer = bob.hear();
            assert_eq!(Message::read(&answer).unwrap().kind().class, Class::Success);
        }
        assert!(listens());
        assert_eq!(permit(&mut bob, [127, 0, 5, 1]), None);
        let _peer = connect_from([127, 0, 5, 1], port);
        attempt(&bob);
        drop(bob);
        eventually("nobody listens", || !listens());
        // What is for datagrams stays all the while.
        let peer = super::turn::peer();
        assert_eq!(datagrams.bind(0x4000, peer.local_addr().unwrap()), None);
        datagrams.send_channel(0x4000, b"still there");
        assert_eq!(super::turn::hear(&peer), (b"still there".to_vec(), port));
        edge.handle.end();
    });
}

#[test]
fn an_operator_ends_one_and_the_others_at_the_port_go_on() {
    each(&[3_480], |edge| {
        let (mut alice, mut bob) = (client_at(&edge, 1), client_at(&edge, 2));
        allocate(&mut alice);
        allocate(&mut bob);
        let (to_alice, to_bob) = (listener(), listener());
        let of_alice = reach(&mut alice, to_alice.local_addr().unwrap()).unwrap();
        let of_bob = reach(&mut bob, to_bob.local_addr().unwrap()).unwrap();
        let ((mut hers, _), (mut his, _)) = (accept(&to_alice), accept(&to_bob));
        let (mut here, mut there) = (bound(&edge, of_alice), bound(&edge, of_bob));
        let of_address = |ip: [u8; 4]| {
            let listed = edge.handle.list(0).listed;
            listed.into_iter().find(|one| one.client.remote.ip() == IpAddr::from(ip)).unwrap()
        };
        let listed = of_address([127, 0, 4, 1]);
        assert_eq!(listed.client.transport, Transport::Stream);
        assert_eq!(listed.ports[0].port, 3_480);
        assert!(edge.handle.kill(listed.client));
        assert!(is_over(&mut here));
        assert!(is_over(&mut hers));
        exchange(&mut there, &mut his);
        edge.handle.end();
    });
}

#[test]
fn a_shared_port_that_another_program_has_for_tcp_is_passed_over() {
    each(&[3_480, 3_482], |edge| {
        let held = TcpListener::bind(SocketAddr::new(edge.relayed, 3_480)).unwrap();
        let mut clients: Vec<_> = (0..4).map(|_| plain(&edge)).collect();
        for client in &mut clients {
            assert_eq!(allocate(client).port(), 3_482);
        }
        eventually("it is counted once a while", || edge.handle.observed().shell.unopened == 1);
        drop(clients);
        eventually("all have ended", || edge.handle.observed().allocations == 0);
        let also = TcpListener::bind(SocketAddr::new(edge.relayed, 3_482)).unwrap();
        let mut client = plain(&edge);
        assert_eq!(client.ask(Method::ALLOCATE, tcp).error, Some(508));
        drop((held, also));
        let asked = |request: &mut Builder<'_>| tcp(request);
        assert_eq!(client.ask(Method::ALLOCATE, asked).error, None);
        edge.handle.end();
    });
}
