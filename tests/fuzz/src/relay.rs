//! The relay as a whole: what clients and peers may send it, in any order.
//!
//! An input is a script of steps, each a letter, a byte that says who, a length and so many
//! bytes: `D` a datagram of a client, `R` the attributes of a request that is then proven, of
//! the method in the first byte, `M` the same in the Microsoft dialect, `P` a datagram of a
//! peer, `T` time, `S` time while the relay stands still, `G` a client is gone. Of connections
//! with peers: `C` a peer connects, `A` one that a client asked for is open, or not, `B` one is
//! claimed, `E` one ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use entente::edge::av::{
    Arrival, Carrier, Client, Connected, ConnectionId, Credentials, Listener, MrasKey, Opened,
    Output, Peers, Ports, Quotas, Relay, RelayPort, RelayedAddress, Secret, Setup, Step, Token,
    Transport,
};
use entente::limits;
use entente::stun::{AttributeType, Builder, Class, Key, Message, Method, TransactionId, Type, ms};
use entente::time::{Monotonic, Now};

const REALM: &str = "contoso.example";
const USERS: [&str; 2] = ["9999999999:alice", "9999999999:mallory"];
const SHARED: [u16; 2] = [3_480, 3_481];
/// More than any script of a corpus has.
const STEPS_MAX: usize = 200;
const ALLOCATIONS: usize = 6;

struct World {
    relay: Relay,
    out: Output,
    now_ms: u64,
    shared: bool,
    open: BTreeSet<RelayPort>,
    doors: BTreeSet<RelayPort>,
    connections: BTreeMap<ConnectionId, Connection>,
    keys: [Key; 2],
    token: Token,
    ids: u8,
}

/// A connection with a peer, as a shell knows it.
#[derive(Clone, Copy)]
struct Connection {
    port: RelayPort,
    peer: SocketAddr,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asked,
    Waiting,
    Bound,
}

/// Whatever is sent, nothing panics, ports are opened and closed once, no more is given than may
/// be, a port and a peer are one connection, which whoever has the port is told of and whose user
/// claims it, and nothing is left when its time is over.
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
        assert_eq!(world.relay.connections(), world.connections.len());
    }
    world.pass(u64::from(limits::TURN_LIFETIME_S_MAX) * 1_000 + limits::TURN_RESERVATION_MS + 1);
    assert_eq!((world.relay.allocations(), world.open.len()), (0, 0), "something is left");
    assert_eq!((world.connections.len(), world.doors.len()), (0, 0), "something is left");
    world.pass(limits::TURN_CLAIM_AFTER_MS);
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
                true => Ports::Shared(SHARED.to_vec()),
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
        let key = |user: &str| {
            let password = Secret::new(b"secret").password(user.as_bytes());
            Key::long_term_md5(user.as_bytes(), REALM.as_bytes(), password.as_bytes())
        };
        Self {
            relay: Relay::new(setup),
            out: Output::default(),
            now_ms: 1_000,
            shared,
            open: BTreeSet::new(),
            doors: BTreeSet::new(),
            connections: BTreeMap::new(),
            keys: USERS.map(key),
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
            b'R' => self.request(client, 0, bytes),
            b'M' => self.ms_request(client, bytes),
            b'P' => {
                let (now, port) = (self.now(), self.port(who));
                let step = self.relay.from_peer(now, port, peer(who), bytes, &mut self.out);
                assert!(matches!(step, Step::Drop(_) | Step::ToClient { .. }));
            }
            b'C' => self.peer_connects(self.port(who), tcp_peer(who, bytes)),
            b'A' => {
                let how = if who & 1 == 0 { Connected::Open } else { Connected::Failed };
                if let Some(id) = self.connection(Stage::Asked, bytes) {
                    self.outcome(id, how);
                }
            }
            b'B' => self.claim(client, who, bytes),
            b'E' => {
                for stage in [Stage::Waiting, Stage::Bound] {
                    if let Some(id) = self.connection(stage, bytes) {
                        self.relay.connection_gone(id);
                        self.connections.remove(&id);
                    }
                }
            }
            b'T' | b'S' => {
                let ms =
                    bytes.iter().fold(0_u64, |all, byte| (all << 8 | u64::from(*byte)) & 0xff_ffff);
                self.now_ms += ms;
                if step == b'T' {
                    self.expire();
                }
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
            Step::Open(carrier) => {
                let open = match carrier {
                    Carrier::Udp => &mut self.open,
                    Carrier::Tcp => &mut self.doors,
                };
                for port in &self.out.opens {
                    assert!(open.insert(*port), "a port is opened once");
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
            Step::Connect { connection, port, peer } => {
                assert!(self.relay.judge_peer(client.listener, peer.ip()).is_ok());
                assert!(self.doors.contains(&port), "who connects has a port that listens");
                self.begins(connection, Connection { port, peer, stage: Stage::Asked });
                match datagram.len() % 3 {
                    0 => self.outcome(connection, Connected::Failed),
                    1 => self.outcome(connection, Connected::Open),
                    _ => {}
                }
                None
            }
            Step::Bind { connection } => {
                let bound = self.connections.get_mut(&connection).expect("there is one");
                assert!(bound.stage == Stage::Waiting, "a connection is claimed once");
                bound.stage = Stage::Bound;
                None
            }
            Step::ToSibling { .. } => panic!("there is one thread"),
            Step::Drop(_) => None,
        };
        self.close();
        answer
    }

    /// Returns a relayed port, somebody's or nobody's.
    fn port(&self, who: u8) -> RelayPort {
        let place = who >> 1 & 7;
        let port = match self.shared {
            true => SHARED[usize::from(place) % SHARED.len()],
            false => 50_000 + u16::from(place),
        };
        RelayPort { address: who & 1, port }
    }

    /// Returns one of the connections at a stage.
    fn connection(&self, stage: Stage, which: &[u8]) -> Option<ConnectionId> {
        let at: Vec<_> = self.connections.iter().filter(|(_, one)| one.stage == stage).collect();
        let which = usize::from(which.first().copied().unwrap_or_default());
        at.get(which % at.len().max(1)).map(|(id, _)| **id)
    }

    fn begins(&mut self, id: ConnectionId, connection: Connection) {
        let Connection { port, peer, .. } = connection;
        let twice = self.connections.values().any(|one| (one.port, one.peer) == (port, peer));
        assert!(!twice, "a port and a peer are one connection");
        assert!(self.connections.insert(id, connection).is_none(), "a number names one");
    }

    fn outcome(&mut self, id: ConnectionId, how: Connected) {
        match (how, self.connections.get_mut(&id)) {
            (Connected::Open, Some(one)) => one.stage = Stage::Waiting,
            _ => drop(self.connections.remove(&id)),
        }
        self.relay.connected(self.now(), id, how, &mut self.out);
        assert_eq!(self.out.messages.len(), 1, "who asked is told");
        self.close();
    }

    fn peer_connects(&mut self, port: RelayPort, peer: SocketAddr) {
        let now = self.now().monotonic;
        let Some(id) = self.relay.accepted(now, port, peer, &mut self.out) else { return };
        self.begins(id, Connection { port, peer, stage: Stage::Waiting });
        let [(client, _)] = &self.out.messages[..] else { panic!("one is told") };
        let at = |of: (Client, &[RelayPort])| of.0 == *client && of.1.contains(&port);
        assert!(self.relay.list().any(|(client, ports, ..)| at((client, ports))), "whose it is");
        self.close();
    }

    /// A stream, mostly a fresh one of the user's, claims a connection.
    fn claim(&mut self, client: Client, who: u8, bytes: &[u8]) {
        let user = usize::from(who & 0x20 != 0);
        let remote = SocketAddr::new(client.remote.ip(), 5_000 + u16::from(self.ids));
        let by = if who & 0x10 == 0 { Client { remote, ..client } } else { client };
        let Some(ConnectionId(id)) = self.connection(Stage::Waiting, bytes) else { return };
        let bound = |world: &Self| {
            world.connections.values().filter(|one| one.stage == Stage::Bound).count()
        };
        let before = bound(self);
        let mut request = vec![CONNECTION_BIND, 0, 0x2a, 4];
        request.extend_from_slice(&id.to_be_bytes());
        self.request(by, user, &request);
        assert!(user == 0 || bound(self) == before, "it is another user's");
        assert!(by.transport == Transport::Stream || bound(self) == before, "by datagrams");
    }

    fn id<const N: usize>(&mut self) -> [u8; N] {
        self.ids = self.ids.wrapping_add(1);
        [self.ids; N]
    }

    /// Asks for a nonce and sends a request that is proven: attributes are type, length, value.
    fn request(&mut self, client: Client, user: usize, bytes: &[u8]) {
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
        request.attribute(AttributeType::USERNAME, USERS[user].as_bytes());
        request.attribute(AttributeType::REALM, REALM.as_bytes());
        request.attribute(AttributeType::NONCE, &nonce);
        request.integrity_sha1(&self.keys[user]).fingerprint();
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
        self.expire();
    }

    fn expire(&mut self) {
        // Bound: a deadline moves on with every call.
        while self.relay.next_deadline().is_some_and(|due| due <= self.now().monotonic) {
            self.relay.expire(self.now(), &mut self.out);
        }
        self.close();
    }

    fn close(&mut self) {
        for (carrier, port) in self.out.closes.drain(..) {
            let open = match carrier {
                Carrier::Udp => &mut self.open,
                Carrier::Tcp => &mut self.doors,
            };
            assert!(open.remove(&port), "a port is closed once");
        }
        for id in self.out.ends.drain(..) {
            assert!(self.connections.remove(&id).is_some(), "a connection ends once");
        }
        for (client, message) in self.out.messages.drain(..) {
            assert_eq!(client.transport, Transport::Stream, "TCP is asked for on streams");
            Message::read(&message).expect("what is said is a message");
        }
    }
}

/// The method of ConnectionBind.
const CONNECTION_BIND: u8 = 0x0b;

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

/// Who connects: one of several at that address, or another client's relayed port.
fn tcp_peer(who: u8, bytes: &[u8]) -> SocketAddr {
    let port = bytes.first().copied().unwrap_or_default();
    match port & 0x80 {
        0 => SocketAddr::new(peer(who).ip(), 5_000 + u16::from(port & 3)),
        _ => SocketAddr::from(([192, 0, 2, 20], SHARED[usize::from(port & 1)])),
    }
}
