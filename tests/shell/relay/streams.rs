//! Clients on streams: plain, TLS, and the Microsoft dialect behind its own hello, at one door.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use entente::edge::Class;
use entente::edge::av::MrasKey;
use entente::limits;
use entente::stun::ms::{self, Frame, FrameKind};
use entente::stun::{ChannelData, Method};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::turn::{
    Client, Edge, PATIENCE, POLLERS, REALM, SECRET, Wanted, Wire, each_poller, hear, peer,
};
use crate::world::{EDGE, Pki, eventually};

pub(super) trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// Messages after each other on a stream (RFC 8656 section 12.5).
pub(super) struct Framed {
    pub(super) stream: RefCell<Box<dyn Stream>>,
    /// What was read and is no whole message.
    pub(super) came: RefCell<Vec<u8>>,
}

impl Framed {
    pub(super) fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: RefCell::new(Box::new(stream)), came: RefCell::new(Vec::new()) }
    }

    fn read_until(&self, length: impl Fn(&[u8]) -> Option<usize>) -> Vec<u8> {
        let mut came = self.came.borrow_mut();
        loop {
            if let Some(length) = length(&came).filter(|length| came.len() >= *length) {
                return came.drain(..length).collect();
            }
            let mut piece = [0; 4_096];
            let bytes = self.stream.borrow_mut().read(&mut piece).expect("bytes");
            assert!(bytes > 0, "the relay closed");
            came.extend_from_slice(&piece[..bytes]);
        }
    }
}

impl Wire for Framed {
    fn say(&self, message: &[u8]) {
        let mut stream = self.stream.borrow_mut();
        stream.write_all(message).unwrap();
        if matches!(message.first(), Some(0x40..=0x7f)) {
            stream.write_all(&[0; 3][..message.len().next_multiple_of(4) - message.len()]).unwrap();
        }
        stream.flush().unwrap();
    }

    fn hear(&self) -> Vec<u8> {
        self.read_until(|came| match came {
            [0x40..=0x7f, ..] => ChannelData::length_in_stream(came),
            [_, _, l0, l1, ..] => Some(20 + usize::from(u16::from_be_bytes([*l0, *l1]))),
            _ => None,
        })
    }
}

pub(super) fn connect(address: SocketAddr) -> TcpStream {
    patient(TcpStream::connect(address).unwrap())
}

/// Connects from an address of its own on loopback.
pub(super) fn connect_from(ip: [u8; 4], to: SocketAddr) -> TcpStream {
    let kind = socket2::Type::STREAM;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, kind, None).unwrap();
    socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    patient(TcpStream::from(socket))
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub(super) fn plain(edge: &Edge) -> Client<Framed> {
    Client::by(Framed::new(connect(edge.door)))
}

pub(super) fn secure(edge: &Edge, pki: &Pki) -> Client<Framed> {
    let name = ServerName::try_from(EDGE).unwrap();
    let tls = ClientConnection::new(pki.client_config(None), name).unwrap();
    Client::by(Framed::new(StreamOwned::new(tls, connect(edge.door))))
}

/// Runs a test once for each poller, with TLS at the door.
pub(super) fn each_poller_with_tls(test: impl Fn(Edge, &Pki)) {
    let pki = Pki::new();
    for poller in POLLERS {
        let material = pki.material(1, "ca", &[Class::RemoteUsers]);
        let tls = Some(Arc::clone(material.server(Class::RemoteUsers, 0)));
        test(Edge::start(Wanted { tls, ..Wanted::with(poller) }), &pki);
    }
}

/// What a client on a stream does, whatever is below it.
fn relays_both_ways(mut client: Client<Framed>) -> Client<Framed> {
    let peer = peer();
    let address = peer.local_addr().unwrap();
    let relayed = client.allocate();
    assert_eq!(client.permit(address), None);
    client.send_indication(address, b"by indication");
    assert_eq!(hear(&peer), (b"by indication".to_vec(), relayed));
    peer.send_to(b"five5", relayed).unwrap();
    assert_eq!(client.hear_indication(), (address, b"five5".to_vec()));
    assert_eq!(client.bind(0x4001, address), None);
    for n in 0..300_usize {
        let payload: Vec<u8> = (0..n * 4).map(|at| (at + n) as u8).chain([7]).collect();
        client.send_channel(0x4001, &payload);
        assert_eq!(hear(&peer), (payload.clone(), relayed), "its padding stays behind");
        peer.send_to(&payload, relayed).unwrap();
        assert_eq!(client.hear_channel(), (0x4001, payload));
    }
    client
}

#[test]
fn a_client_on_tcp_is_relayed_for() {
    each_poller(|edge| {
        let client = relays_both_ways(plain(&edge));
        drop(client);
        eventually("its allocation ends with its stream", || {
            let observed = edge.handle.observed();
            (observed.allocations, observed.streams, observed.sockets) == (0, 0, 1)
                && observed.core.allocations == 1
        });
        edge.handle.end();
    });
}

#[test]
fn a_client_on_tls_is_relayed_for() {
    each_poller_with_tls(|edge, pki| {
        relays_both_ways(secure(&edge, pki));
        edge.handle.end();
    });
}

#[test]
fn one_on_a_stream_and_one_on_datagrams_reach_each_other_within_the_relay() {
    each_poller(|edge| {
        let (mut one, mut other) = (plain(&edge), edge.client());
        let (of_one, of_other) = (one.allocate(), other.allocate());
        assert_eq!(one.bind(0x4000, of_other), None);
        assert_eq!(other.bind(0x4001, of_one), None);
        for n in 0..100_u8 {
            one.send_channel(0x4000, &[n; 9]);
            assert_eq!(other.hear_channel(), (0x4001, vec![n; 9]));
            other.send_channel(0x4001, &[n; 11]);
            let (channel, payload) = one.hear_channel();
            assert_eq!((channel, payload), (0x4000, vec![n; 11]));
        }
        edge.handle.end();
    });
}

#[test]
fn two_on_streams_reach_each_other_within_the_relay() {
    each_poller(|edge| {
        let (mut one, mut other) = (plain(&edge), plain(&edge));
        let (of_one, of_other) = (one.allocate(), other.allocate());
        assert_eq!(one.bind(0x4000, of_other), None);
        assert_eq!(other.bind(0x4001, of_one), None);
        for round in 0..20_u8 {
            for n in 0..10_u8 {
                one.send_channel(0x4000, &[n; 160]);
                other.send_channel(0x4001, &[n + round; 171]);
            }
            for n in 0..10_u8 {
                assert_eq!(other.hear_channel(), (0x4001, vec![n; 160]));
                assert_eq!(one.hear_channel(), (0x4000, vec![n + round; 171]));
            }
        }
        edge.handle.end();
    });
}

#[test]
fn messages_may_come_byte_by_byte_and_many_at_once() {
    each_poller(|edge| {
        let mut client = plain(&edge);
        client.allocate();
        let peer = peer();
        assert_eq!(client.bind(0x4000, peer.local_addr().unwrap()), None);
        let mut wire = Vec::new();
        for n in 0..50_u8 {
            wire.extend_from_slice(&[0x40, 0, 0, 3, n, n, n, 0]);
        }
        for piece in wire[..80].chunks(1) {
            client.socket.stream.borrow_mut().write_all(piece).unwrap();
        }
        client.socket.stream.borrow_mut().write_all(&wire[80..]).unwrap();
        for n in 0..50_u8 {
            assert_eq!(hear(&peer).0, vec![n; 3]);
        }
        edge.handle.end();
    });
}

#[test]
fn the_microsoft_dialect_speaks_behind_its_own_hello() {
    each_poller_with_tls(|edge, _| {
        let mut stream = connect(edge.door);
        let mut hello = vec![0x16, 3, 1, 0, 0x2d, 1, 0, 0, 0x29, 3, 1];
        hello.extend([9; 32]);
        hello.extend([0, 0, 2, 0, 0x18, 1, 0]);
        assert_eq!(ms::is_client_hello(&hello), Some(true));
        stream.write_all(&hello[..20]).unwrap();
        stream.write_all(&hello[20..]).unwrap();
        let mut answer = [0; 83];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!((answer[0], answer[5]), (0x16, 2), "a hello of a server");
        microsoft(&edge, Framed::new(stream));
        edge.handle.end();
    });
}

#[test]
fn the_microsoft_dialect_speaks_in_frames_alone() {
    each_poller(|edge| {
        microsoft(&edge, Framed::new(connect(edge.door)));
        edge.handle.end();
    });
}

fn say_frame(wire: &Framed, kind: FrameKind, content: &[u8]) {
    let mut stream = wire.stream.borrow_mut();
    stream.write_all(&Frame::header(kind, content.len() as u16)).unwrap();
    stream.write_all(content).unwrap();
}

fn hear_frame(wire: &Framed) -> (FrameKind, Vec<u8>) {
    let whole = wire.read_until(|came| match came {
        [_, _, l0, l1, ..] => Some(4 + usize::from(u16::from_be_bytes([*l0, *l1]))),
        _ => None,
    });
    let frame = Frame::read(&whole).unwrap().unwrap();
    (frame.kind, frame.content.to_vec())
}

/// A whole allocation: challenge, proof, a peer named, data both ways with no header but the frame.
fn microsoft(edge: &Edge, wire: Framed) {
    let token = MrasKey::new(SECRET).issue("sip:alice@contoso.example", 9_999_999_999);
    let key = ms::Key::long_term(&token.username, REALM.as_bytes(), &token.password);
    let request = |kind, nonce: Option<&[u8]>, add: &dyn Fn(&mut ms::Builder<'_>)| {
        let mut message = Vec::new();
        let mut builder = ms::Builder::new(&mut message, kind, ms::TransactionId([5; 16]));
        add(&mut builder);
        if let Some(nonce) = nonce {
            builder.attribute(ms::AttributeType::USERNAME, &token.username);
            builder.attribute(ms::AttributeType::REALM, REALM.as_bytes());
            builder.attribute(ms::AttributeType::NONCE, nonce);
            builder.integrity(&key);
        }
        say_frame(&wire, FrameKind::Control, &message);
        let (kind, answer) = hear_frame(&wire);
        assert_eq!(kind, FrameKind::Control);
        answer
    };
    let nothing = |_: &mut ms::Builder<'_>| {};
    let challenge = request(ms::MessageType::ALLOCATE, None, &nothing);
    let challenge = ms::Message::read(&challenge).unwrap();
    let alternate = challenge.attribute(ms::AttributeType::ALTERNATE_SERVER).unwrap();
    assert_eq!(alternate.address(), Some(edge.door), "this very node");
    let nonce = challenge.attribute(ms::AttributeType::NONCE).unwrap().value.to_vec();
    let answer = request(ms::MessageType::ALLOCATE, Some(&nonce), &nothing);
    let answer = ms::Message::read(&answer).unwrap();
    assert_eq!(answer.kind(), ms::MessageType::ALLOCATE_RESPONSE);
    let relayed = answer.attribute(ms::AttributeType::MAPPED_ADDRESS).unwrap().address().unwrap();
    let peer = peer();
    let address = peer.local_addr().unwrap();
    let named = request(ms::MessageType::SET_ACTIVE_DESTINATION, Some(&nonce), &|builder| {
        builder.address(ms::AttributeType::DESTINATION_ADDRESS, address);
    });
    let kind = ms::Message::read(&named).unwrap().kind();
    assert_eq!(kind, ms::MessageType::SET_ACTIVE_DESTINATION_RESPONSE);
    for n in 0..50_u8 {
        say_frame(&wire, FrameKind::Data, &[n; 33]);
        assert_eq!(hear(&peer), (vec![n; 33], relayed));
        peer.send_to(&[n; 21], relayed).unwrap();
        assert_eq!(hear_frame(&wire), (FrameKind::Data, vec![n; 21]));
    }
}

#[test]
fn what_is_no_message_ends_its_stream_and_no_other() {
    each_poller_with_tls(|edge, _| {
        let good = plain(&edge);
        for nonsense in [
            &b"\x80\x80\x80\x80 RTP has no stream"[..],
            b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n",
            b"\x16\x03\x01\x00\x05hello",
            b"\x02\x00\x00\x00\x09",
            &[0, 1, 0xff, 0xff, 0, 0, 0, 0],
        ] {
            let mut stream = connect(edge.door);
            stream.write_all(nonsense).unwrap();
            let mut answer = Vec::new();
            // Closed in order or reset, but closed, with an alert at the most.
            let _ = stream.read_to_end(&mut answer);
            assert!(answer.len() <= 7, "{answer:?}");
        }
        relays_both_ways(good);
        edge.handle.end();
    });
}

#[test]
fn strangers_of_one_network_hold_no_more_streams_than_theirs() {
    each_poller(|edge| {
        let most = limits::RELAY_STREAMS_UNPROVEN_PER_SOURCE_MAX;
        let idle: Vec<_> = (0..most).map(|_| connect(edge.door)).collect();
        eventually("all are there", || edge.handle.observed().streams == most);
        let mut late = connect(edge.door);
        assert_eq!(late.read(&mut [0; 1]).unwrap_or(0), 0, "closed at once");
        drop(idle);
        eventually("all are gone", || edge.handle.observed().streams == 0);
        assert_eq!(edge.handle.observed().shell.streams_refused, 1);
        relays_both_ways(plain(&edge));
        edge.handle.end();
    });
}

#[test]
fn a_reader_that_reads_nothing_loses_what_does_not_fit_and_costs_no_memory() {
    each_poller(|edge| {
        let mut client = plain(&edge);
        let peer = peer();
        let relayed = client.allocate();
        assert_eq!(client.bind(0x4000, peer.local_addr().unwrap()), None);
        // More than both sockets hold; what is lost on the way to the relay does not matter.
        for n in 0..16_000_usize {
            peer.send_to(&[0; 1_000], relayed).unwrap();
            if n.is_multiple_of(32) && edge.handle.observed().shell.full > 0 {
                break;
            }
        }
        eventually("what did not fit is counted", || {
            peer.send_to(&[0; 1_000], relayed).unwrap();
            edge.handle.observed().shell.full > 0
        });
        // Whoever reads is served meanwhile.
        relays_both_ways(plain(&edge));
        let refreshed = client.challenged_among_data(Method::REFRESH);
        assert!(refreshed, "answers come behind what was kept");
        edge.handle.end();
    });
}

/// A stream into which the kernel takes little that nobody reads.
fn narrow(door: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&door.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn who_asks_and_reads_no_answer_is_let_go_of_while_others_are_served() {
    each_poller(|edge| {
        let (mut good, peer) = (plain(&edge), peer());
        let relayed = good.allocate();
        assert_eq!(good.bind(0x4000, peer.local_addr().unwrap()), None);
        let stream = narrow(edge.door);
        let mut client = Client::by(Framed::new(stream.try_clone().unwrap()));
        client.allocate();
        let (_, refresh) = client.request(Method::REFRESH, |_| {});
        let asked = refresh.repeat(50);
        let mut stream = stream;
        // Bound: what all buffers hold for sure, many times over. An error tells that it is closed.
        let served = (0..10_000_u32).take_while(|n| {
            good.send_channel(0x4000, &n.to_be_bytes());
            assert_eq!(hear(&peer), (n.to_be_bytes().to_vec(), relayed));
            stream.write_all(&asked).is_ok()
        });
        assert!(served.count() < 10_000, "it was let go of");
        eventually("its allocation is gone with it", || {
            let observed = edge.handle.observed();
            (observed.allocations, observed.streams) == (1, 1)
        });
        edge.handle.end();
    });
}

impl Client<Framed> {
    /// Asks without proof, and reads what was sent before the answer.
    fn challenged_among_data(&mut self, method: Method) -> bool {
        let mut bare = Vec::new();
        let id = self.id();
        let kind = entente::stun::Type { method, class: entente::stun::Class::Request };
        entente::stun::Builder::new(&mut bare, kind, id);
        self.say(&bare);
        (0..100_000).any(|_| self.hear().first() == Some(&1))
    }
}

#[test]
fn the_end_of_a_relay_ends_its_streams() {
    each_poller(|edge| {
        let (mut client, idle) = (plain(&edge), connect(edge.door));
        client.allocate();
        let door = edge.door;
        edge.handle.end();
        let mut idle = idle;
        assert_eq!(idle.read(&mut [0; 1]).unwrap_or(0), 0);
        assert!(TcpStream::connect(door).is_err(), "nobody listens");
        let _ = idle.shutdown(Shutdown::Both);
    });
}
