//! The relay as a whole: what clients and peers may send it, in any order.
//!
//! An input is a script of steps, each a letter, a byte that says who, a length and so many bytes:
//! `D` a datagram of a client, `R` the attributes of a request that is then proven, of the method
//! in the first byte, `M` the same in the Microsoft dialect, `P` a datagram of a peer, `C` a peer
//! connects, `T` time, `G` a client is gone.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use entente::edge::av::{
    Arrival, Client, Connected, Credentials, Listener, MrasKey, Opened, Output, Peers, Ports,
    Quotas, Relay, RelayPort, RelayedAddress, Secret, Setup, Step, Token, Transport,
};
use entente::limits;
use entente::stun::{AttributeType, Builder, Class, Key, Message, Method, TransactionId, Type, ms};
use entente::time::{Monotonic, Now};

const REALM: &str = "contoso.example";
const USER: &str = "9999999999:alice";
/// More than any script of a corpus has.
const STEPS_MAX: usize = 200;
const ALLOCATIONS: usize = 6;

struct World {
    relay: Relay,
    out: Output,
    now_ms: u64,
    open: BTreeSet<RelayPort>,
    key: Key,
    token: Token,
    ids: u8,
}

/// Whatever is sent, nothing panics, ports are opened and closed once, no more is given than may
/// be, and nothing is left when its time is over.
pub fn relay(input: &[u8]) {
    let (shared, mut rest) = match input.split_first() {
        Some((first, rest)) => (first % 2 == 1, rest),
        None => return,
    };
    let mut world = World::new(shared);
    for _ in 0..STEPS_MAX {
        let [step, who, length, after @ ..] = rest else { break };
        let (bytes, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        world.step(*step, *who, bytes);
        assert!(world.relay.allocations() <= ALLOCATIONS);
        assert_eq!(world.relay.list().count(), world.relay.allocations());
    }
    world.pass(u64::from(limits::TURN_LIFETIME_S_MAX) * 1_000 + limits::TURN_RESERVATION_MS + 1);
    assert_eq!((world.relay.allocations(), world.open.len()), (0, 0), "something is left");
    assert_eq!(world.relay.connections(), 0);
    assert_eq!(world.relay.next_deadline(), None);
}

impl World {
    fn new(shared: bool) -> Self {
        let relayed = |ip: &str| {
            let ip: IpAddr = ip.parse().expect("an address");
            RelayedAddress { bound: ip, public: ip }
        };
        let setup = Setup {
            realm: REALM.to_owned(),
            relayed: vec![relayed("192.0.2.20"), relayed("2001:db8::20")],
            ports: match shared {
                true => Ports::Shared(vec![3_480, 3_481]),
                false => Ports::Range { first: 50_000, count: 5 },
            },
            listeners: vec![Listener { node: node(), vip: Some(vip()) }],
            credentials: Credentials {
                rest: vec![Secret::new(b"secret")],
                mras: vec![MrasKey::new(b"secret")],
            },
            nonce_keys: vec![[1; 32]],
            peers: Peers::default(),
            quotas: Quotas { allocations: ALLOCATIONS, ..Quotas::default() },
            seed: 7,
        };
        let password = Secret::new(b"secret").password(USER.as_bytes());
        Self {
            relay: Relay::new(setup),
            out: Output::default(),
            now_ms: 1_000,
            open: BTreeSet::new(),
            key: Key::long_term_md5(USER.as_bytes(), REALM.as_bytes(), password.as_bytes()),
            token: MrasKey::new(b"secret").issue("sip:alice@contoso.example", 4_000_000_000),
            ids: 0,
        }
    }

    fn now(&self) -> Now {
        Now {
            monotonic: Monotonic(self.now_ms * 1_000_000),
            unix_s: 1_700_000_000 + self.now_ms / 1_000,
        }
    }

    fn step(&mut self, step: u8, who: u8, bytes: &[u8]) {
        let client = client(who);
        match step {
            b'D' => {
                let addressed = if who & 0x80 == 0 { node() } else { vip() };
                self.arrive(client, addressed, bytes);
            }
            b'R' => self.request(client, bytes),
            b'M' => self.ms_request(client, bytes),
            b'P' => {
                let address = u8::from(who & 1 == 1);
                let port = RelayPort { address, port: 50_000 + u16::from(who >> 1 & 7) };
                let now = self.now();
                let step = self.relay.from_peer(now, port, peer(who), bytes, &mut self.out);
                assert!(matches!(step, Step::Drop(_) | Step::ToClient { .. }));
            }
            b'C' => {
                let port = RelayPort { address: who & 1, port: 50_000 + u16::from(who >> 1 & 7) };
                let now = self.now().monotonic;
                let accepted = self.relay.accepted(now, port, peer(who), &mut self.out);
                if let (Some(connection), true) = (accepted, bytes.is_empty()) {
                    self.relay.connection_gone(connection);
                }
                self.close();
            }
            b'T' => {
                let ms =
                    bytes.iter().fold(0_u64, |all, byte| (all << 8 | u64::from(*byte)) & 0xff_ffff);
                self.pass(ms);
            }
            b'G' if client.transport == Transport::Stream => {
                self.relay.client_gone(&client, &mut self.out);
                self.close();
            }
            _ => {
                let had = self.relay.has_allocation(&client);
                assert_eq!(self.relay.kill(&client, &mut self.out), had);
                self.close();
            }
        }
    }

    fn arrive(
        &mut self,
        client: Client,
        addressed: SocketAddr,
        datagram: &[u8],
    ) -> Option<Vec<u8>> {
        let now = self.now();
        let arrival = Arrival { client, addressed, datagram };
        let step = self.relay.from_client(now, arrival, &mut self.out);
        let answer = match step {
            Step::Open(_) => {
                for port in &self.out.opens {
                    assert!(self.open.insert(*port), "a port is opened once");
                }
                self.relay.opened(now, Opened::All, &mut self.out);
                Some(self.out.answer.clone())
            }
            Step::Answer => Some(self.out.answer.clone()),
            Step::ToPeer { payload, peer, .. } => {
                super::assert_inside(datagram, payload);
                let own = ["192.0.2.20", "2001:db8::20"].map(|ip| ip.parse::<IpAddr>().ok());
                assert!(
                    self.relay.judge_peer(client.listener, peer.ip()).is_ok()
                        && !own.contains(&Some(peer.ip()))
                );
                None
            }
            Step::ToClient { payload, .. } => {
                super::assert_inside(datagram, payload);
                None
            }
            Step::Connect { connection, peer, .. } => {
                assert!(self.relay.judge_peer(client.listener, peer.ip()).is_ok());
                let how = if datagram.len().is_multiple_of(8) {
                    Connected::Failed
                } else {
                    Connected::Open
                };
                self.relay.connected(now, connection, how, &mut self.out);
                None
            }
            Step::ToSibling { .. } => panic!("there is one thread"),
            Step::Bind { .. } | Step::Drop(_) => None,
        };
        self.close();
        answer
    }

    fn id<const N: usize>(&mut self) -> [u8; N] {
        self.ids = self.ids.wrapping_add(1);
        [self.ids; N]
    }

    /// Asks for a nonce and sends a request that is proven: attributes are type, length, value.
    fn request(&mut self, client: Client, bytes: &[u8]) {
        let Some((method, mut rest)) = bytes.split_first() else { return };
        let method = Method::new(u16::from(*method));
        let kind = Type { method, class: Class::Request };
        let mut bare = Vec::new();
        Builder::new(&mut bare, kind, TransactionId(self.id()));
        let Some(challenge) = self.arrive(client, node(), &bare) else { return };
        let challenge = Message::read(&challenge).expect("an answer is a message");
        let Some(nonce) = challenge.attribute(AttributeType::NONCE) else { return };
        let nonce = nonce.value.to_vec();
        let mut wire = Vec::new();
        let mut request = Builder::new(&mut wire, kind, TransactionId(self.id()));
        while let [t0, t1, length, after @ ..] = rest {
            let (value, after) = after.split_at(usize::from(*length).min(after.len()));
            rest = after;
            request.attribute(AttributeType(u16::from_be_bytes([*t0, *t1])), value);
        }
        request.attribute(AttributeType::USERNAME, USER.as_bytes());
        request.attribute(AttributeType::REALM, REALM.as_bytes());
        request.attribute(AttributeType::NONCE, &nonce);
        request.integrity_sha1(&self.key).fingerprint();
        if let Some(answer) = self.arrive(client, node(), &wire) {
            Message::read(&answer).expect("an answer is a message");
        }
    }

    fn ms_request(&mut self, client: Client, bytes: &[u8]) {
        let Some((kind, mut rest)) = bytes.split_first() else { return };
        let kind = ms::MessageType(u16::from(*kind));
        let mut bare = Vec::new();
        let id = ms::TransactionId(self.id());
        ms::Builder::new(&mut bare, ms::MessageType::ALLOCATE, id)
            .number(ms::AttributeType::MS_VERSION, 1);
        let Some(challenge) = self.arrive(client, node(), &bare) else { return };
        let challenge = ms::Message::read(&challenge).expect("an answer is a message");
        let nonce = challenge.attribute(ms::AttributeType::NONCE).map(|nonce| nonce.value.to_vec());
        let nonce = nonce.unwrap_or_default();
        let mut wire = Vec::new();
        let id = ms::TransactionId(self.id());
        let mut request = ms::Builder::new(&mut wire, kind, id);
        request.number(ms::AttributeType::MS_VERSION, 1);
        while let [t0, t1, length, after @ ..] = rest {
            let (value, after) = after.split_at(usize::from(*length).min(after.len()));
            rest = after;
            request.attribute(ms::AttributeType(u16::from_be_bytes([*t0, *t1])), value);
        }
        request.attribute(ms::AttributeType::USERNAME, &self.token.username);
        request.attribute(ms::AttributeType::NONCE, &nonce);
        request.attribute(ms::AttributeType::REALM, REALM.as_bytes());
        request.integrity(&ms::Key::long_term(
            &self.token.username,
            REALM.as_bytes(),
            &self.token.password,
        ));
        if let Some(answer) = self.arrive(client, node(), &wire) {
            ms::Message::read(&answer).expect("an answer is a message");
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        // Bound: a deadline moves on with every call.
        while self.relay.next_deadline().is_some_and(|due| due <= self.now().monotonic) {
            self.relay.expire(self.now(), &mut self.out);
        }
        self.close();
    }

    fn close(&mut self) {
        for (_, port) in self.out.closes.drain(..) {
            assert!(self.open.remove(&port), "a port is closed once");
        }
        self.out.ends.clear();
        for (client, message) in self.out.messages.drain(..) {
            assert_eq!(client.transport, Transport::Stream, "TCP is asked for on streams");
            Message::read(&message).expect("what is said is a message");
        }
    }
}

fn node() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 10], 3_478))
}

fn vip() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 3_478))
}

fn client(who: u8) -> Client {
    let transport = if who & 4 == 0 { Transport::Udp } else { Transport::Stream };
    let remote = SocketAddr::from(([203, 0, 113, who & 7], 4_000));
    Client { listener: u16::from(who >> 6 & 1), transport, remote }
}

fn peer(who: u8) -> SocketAddr {
    match who & 1 {
        0 => SocketAddr::from(([93, 184, 216, 34 + (who >> 4 & 1)], 5_000)),
        _ => "[2600:1900::1]:5000".parse().expect("an address"),
    }
}
