//! TCP connections with peers (RFC 6062) over the kernel.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use entente::edge::av::{Ports, Quotas};
use entente::stun::{AttributeType, Builder, Class, Message, Method, Type};

use super::streams::{Framed, connect, each_poller_with_tls, plain, secure};
use super::turn::{Client, Edge, PATIENCE, POLLERS, Wanted, each_poller};
use crate::world::eventually;

pub(super) fn tcp(request: &mut Builder<'_>) {
    request.attribute(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
}

pub(super) fn allocate(client: &mut Client<Framed>) -> SocketAddr {
    let answer = client.ask(Method::ALLOCATE, tcp);
    assert_eq!(answer.error, None);
    answer.address(AttributeType::XOR_RELAYED_ADDRESS).expect("an address")
}

/// Asks for a connection; returns its number, or the error.
pub(super) fn reach(client: &mut Client<Framed>, peer: SocketAddr) -> Result<u32, u16> {
    let answer = client.ask(Method::CONNECT, |request| {
        request.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
    });
    answer.error.map_or_else(|| Ok(answer.number(AttributeType::CONNECTION_ID).unwrap()), Err)
}

/// Claims a connection by a stream.
pub(super) fn claim(stream: &mut Client<Framed>, id: u32) -> Option<u16> {
    let bind = |request: &mut Builder<'_>| {
        request.number(AttributeType::CONNECTION_ID, id);
    };
    stream.ask(Method::CONNECTION_BIND, bind).error
}

/// Claims a connection and returns the stream that is one with the peer's from then on.
pub(super) fn bound(edge: &Edge, id: u32) -> TcpStream {
    let stream = connect(edge.door);
    let mut client = Client::by(Framed::new(stream.try_clone().unwrap()));
    assert_eq!(claim(&mut client, id), None);
    assert!(client.socket.came.borrow().is_empty(), "nothing of the peer has come yet");
    stream
}

/// A client's stream and a peer's, made one by its relay.
struct Pair {
    client: Client<Framed>,
    relayed: SocketAddr,
    /// Where the peer sees the connection come from.
    from: SocketAddr,
    data: TcpStream,
    peer: TcpStream,
}

fn pair(edge: &Edge) -> Pair {
    let mut client = plain(edge);
    let relayed = allocate(&mut client);
    let listener = listener();
    let id = reach(&mut client, listener.local_addr().unwrap()).unwrap();
    let (peer, from) = accept(&listener);
    Pair { client, relayed, from, data: bound(edge, id), peer }
}

pub(super) fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.3:0").unwrap()
}

pub(super) fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let (stream, from) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    (stream, from)
}

/// Tells that a stream is over, in order or not.
pub(super) fn is_over(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(bytes) => bytes == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

pub(super) fn exchange(one: &mut (impl std::io::Read + std::io::Write), other: &mut TcpStream) {
    for n in 1..20_usize {
        let there: Vec<u8> = (0..n * 700).map(|at| (at * n) as u8).collect();
        one.write_all(&there).unwrap();
        one.flush().unwrap();
        let mut came = vec![0; there.len()];
        other.read_exact(&mut came).unwrap();
        assert!(came == there);
        other.write_all(&there).unwrap();
        came.fill(0);
        one.read_exact(&mut came).unwrap();
        assert!(came == there);
    }
}

#[test]
fn s5_2_a_client_reaches_a_peer_from_its_relayed_port() {
    each_poller(|edge| {
        let Pair { client: _client, relayed, from, mut data, mut peer } = pair(&edge);
        assert_eq!(from, relayed, "the planning guide: from the range to a peer's port");
        exchange(&mut data, &mut peer);
        // What one side has to say last, the other hears, and may answer.
        data.write_all(b"last words").unwrap();
        data.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        peer.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"last words");
        peer.write_all(b"farewell").unwrap();
        drop(peer);
        heard.clear();
        data.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"farewell");
        eventually("the pair is gone and the allocation is not", || {
            let observed = edge.handle.observed();
            (observed.connections, observed.streams, observed.allocations) == (0, 1, 1)
        });
        edge.handle.end();
    });
}

#[test]
fn s5_2_a_peer_that_refuses_is_447_and_one_that_is_there_446() {
    each_poller(|edge| {
        let mut client = plain(&edge);
        allocate(&mut client);
        let there = listener();
        let gone = listener();
        let nobody = gone.local_addr().unwrap();
        drop(gone);
        assert_eq!(reach(&mut client, nobody), Err(447));
        assert_eq!(reach(&mut client, "127.0.0.3:25".parse().unwrap()), Err(403));
        let address = there.local_addr().unwrap();
        reach(&mut client, address).unwrap();
        assert_eq!(reach(&mut client, address), Err(446));
        edge.handle.end();
    });
}

#[test]
fn s5_3_a_permitted_peer_comes_in_and_what_it_says_waits() {
    each_poller(|edge| {
        let mut client = plain(&edge);
        let relayed = allocate(&mut client);
        let mut refused = connect(relayed);
        assert!(is_over(&mut refused), "nobody is permitted");
        assert_eq!(client.permit("127.0.0.1:0".parse().unwrap()), None);
        let mut peer = connect(relayed);
        peer.write_all(b"before anybody listens").unwrap();
        let attempt = client.hear();
        let message = Message::read(&attempt).unwrap();
        let kind = Type { method: Method::CONNECTION_ATTEMPT, class: Class::Indication };
        assert_eq!(message.kind(), kind);
        let from = message.attribute(AttributeType::XOR_PEER_ADDRESS).unwrap();
        let from = from.xor_address(message.transaction());
        assert_eq!(from, Some(peer.local_addr().unwrap()));
        let id = message.attribute(AttributeType::CONNECTION_ID).unwrap().number().unwrap();
        let mut data = Client::by(Framed::new(connect(edge.door)));
        assert_eq!(claim(&mut data, id), None);
        let mut heard = data.socket.came.borrow().clone();
        heard.resize(22, 0);
        let already = data.socket.came.borrow().len();
        data.socket.stream.borrow_mut().read_exact(&mut heard[already..]).unwrap();
        assert_eq!(heard, b"before anybody listens");
        exchange(&mut *data.socket.stream.borrow_mut(), &mut peer);
        edge.handle.end();
    });
}

#[test]
fn a_connection_is_claimed_over_tls_as_well() {
    each_poller_with_tls(|edge, pki| {
        let mut client = secure(&edge, pki);
        allocate(&mut client);
        let listener = listener();
        let id = reach(&mut client, listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = accept(&listener);
        let mut data = secure(&edge, pki);
        assert_eq!(claim(&mut data, id), None);
        exchange(&mut *data.socket.stream.borrow_mut(), &mut peer);
        drop(data);
        assert!(is_over(&mut peer));
        edge.handle.end();
    });
}

#[test]
fn whoever_does_not_read_keeps_the_other_from_writing_and_loses_nothing() {
    const BYTES: usize = 8 * 1024 * 1024;
    each_poller(|edge| {
        let Pair { client: _client, mut data, mut peer, .. } = pair(&edge);
        let pattern = |salt: usize| (0..BYTES).map(move |at| (at * 31 + salt + at / 251) as u8);
        let mut writers = Vec::new();
        for (stream, salt) in [(&data, 1), (&peer, 2)] {
            let mut stream = stream.try_clone().unwrap();
            writers.push(std::thread::spawn(move || {
                let all: Vec<u8> = pattern(salt).collect();
                stream.write_all(&all).unwrap();
            }));
        }
        let mut came = vec![0; BYTES];
        peer.read_exact(&mut came).unwrap();
        assert!(came.iter().copied().eq(pattern(1)), "the client's, whole");
        data.read_exact(&mut came).unwrap();
        assert!(came.iter().copied().eq(pattern(2)), "the peer's, whole");
        for writer in writers {
            writer.join().unwrap();
        }
        edge.handle.end();
    });
}

#[test]
fn two_clients_of_one_relay_reach_each_other_by_their_relayed_ports() {
    each_poller(|edge| {
        let (mut one, mut other) = (plain(&edge), plain(&edge));
        let (of_one, of_other) = (allocate(&mut one), allocate(&mut other));
        assert_eq!(other.permit(of_one), None);
        let id = reach(&mut one, of_other).unwrap();
        let attempt = other.hear();
        let message = Message::read(&attempt).unwrap();
        let theirs = message.attribute(AttributeType::CONNECTION_ID).unwrap().number().unwrap();
        let (mut here, mut there) = (bound(&edge, id), bound(&edge, theirs));
        exchange(&mut here, &mut there);
        // What listens there besides is no peer's.
        assert_eq!(reach(&mut one, SocketAddr::new(edge.relayed, 3_478)), Err(403));
        edge.handle.end();
    });
}

/// Symptom: a peer that connected to one allocation's port could come to another's, which permitted
/// it too. Cause: a listener that was to go and was wanted again within one turn stayed, with all
/// that waited there. Scenario: a port is given back, and by the next message another is asked for.
#[test]
fn a_port_is_not_given_on_with_what_waits_there() {
    for poller in POLLERS {
        let ports = Ports::Range { first: 50_000, count: 8 };
        let edge = Edge::start(Wanted { ports, ..Wanted::with(poller) });
        let mut client = plain(&edge);
        for _ in 0..64 {
            let before = allocate(&mut client);
            let (_, release) = client.request(Method::REFRESH, |request| {
                request.number(AttributeType::LIFETIME, 0);
            });
            let (_, again) = client.request(Method::ALLOCATE, tcp);
            client.say(&[release, again].concat());
            client.hear();
            let answer = client.hear();
            let message = Message::read(&answer).unwrap();
            let relayed = message.attribute(AttributeType::XOR_RELAYED_ADDRESS).expect("granted");
            assert_ne!(relayed.xor_address(message.transaction()), Some(before));
            client.release();
        }
        edge.handle.end();
    }
}

#[test]
fn the_end_of_an_allocation_is_the_end_of_its_connections_and_frees_its_port() {
    each_poller(|edge| {
        let Pair { mut client, relayed, mut data, mut peer, .. } = pair(&edge);
        client.release();
        assert!(is_over(&mut data));
        assert!(is_over(&mut peer));
        eventually("nobody listens", || TcpStream::connect(relayed).is_err());
        eventually("nothing is left", || {
            let observed = edge.handle.observed();
            (observed.connections, observed.allocations, observed.streams) == (0, 0, 1)
        });
        edge.handle.end();
    });
}

#[test]
fn a_connection_waits_where_its_rate_is_used_up() {
    for poller in POLLERS {
        // 500,000 bytes a second, and half of them at once.
        let quotas = Quotas { allocation_kbit_s: 4_000, ..Quotas::default() };
        let edge = Edge::start(Wanted { quotas, ..Wanted::with(poller) });
        let Pair { client: _client, mut data, mut peer, .. } = pair(&edge);
        let sent = vec![7; 400_000];
        let writer = std::thread::spawn(move || {
            data.write_all(&sent).unwrap();
            data
        });
        let mut came = vec![0; 400_000];
        peer.read_exact(&mut came).unwrap();
        assert!(came.iter().all(|byte| *byte == 7));
        drop(writer.join().unwrap());
        edge.handle.end();
    }
}
