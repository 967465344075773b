//! A relay, clients that speak to it, and the wire between.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::super::*;
use crate::dns::Domain;
use crate::stun::{
    AttributeType, Builder, ChannelData, ChannelNumber, Class, Key, Message, Method, TransactionId,
    Type,
};

pub(super) const REALM: &str = "contoso.example";
pub(super) const USER: &str = "9999999999:alice";
pub(super) const NODE: &str = "192.0.2.10:3478";
pub(super) const VIP: &str = "192.0.2.1:3478";
pub(super) const RELAYED: &str = "192.0.2.20";
/// Somebody out there, at an address that is globally routable.
pub(super) const PEER: &str = "93.184.216.34:5000";

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A relayed address of another edge of the pool, in a network that no rule lets through.
pub(super) const SECOND: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 77));

pub(super) fn of_pool(name: &str, relayed: IpAddr, ports: RangeInclusive<u16>) -> PoolRelay {
    let name = Domain::parse(name.as_bytes()).unwrap();
    let listeners = vec![SocketAddr::new(relayed, 3_478)];
    PoolRelay { name, relayed: vec![relayed], ports: vec![ports], listeners }
}

pub(super) fn setup() -> Setup {
    let relayed =
        |ip: &str| RelayedAddress { bound: ip.parse().unwrap(), public: ip.parse().unwrap() };
    Setup {
        realm: REALM.to_owned(),
        relayed: vec![relayed(RELAYED), relayed("2001:db8::20")],
        ports: Ports::Range { first: 50_000, count: 100 },
        listeners: vec![Listener { node: address(NODE), vip: Some(address(VIP)) }],
        credentials: Credentials {
            rest: vec![Secret::new(b"new"), Secret::new(b"old")],
            mras: vec![MrasKey::new(b"new"), MrasKey::new(b"old")],
        },
        nonce_keys: vec![[1; 32]],
        peers: Peers { tcp_low_ports: vec![443], ..Peers::default() },
        quotas: Quotas { allocations_per_user: 3, allocations: 80, ..Quotas::default() },
        seed: 7,
    }
}

/// A relay with a clock and the sockets that its shell would have.
pub(super) struct World {
    pub(super) relay: Relay,
    pub(super) now: Now,
    pub(super) out: Output,
    /// Ports whose sockets are open.
    pub(super) open: std::collections::BTreeSet<RelayPort>,
    /// Opening a socket fails.
    pub(super) kernel_fails: Opened,
    ids: u64,
}

/// What came of a datagram, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Came {
    Dropped(Dropped),
    Answer(Vec<u8>),
    ToPeer(RelayPort, SocketAddr, Vec<u8>),
    ToSibling(RelayPort, SocketAddr, Vec<u8>),
    ToClient(Client, Vec<u8>),
    Connect(ConnectionId, RelayPort, SocketAddr),
    Bind(ConnectionId, Vec<u8>),
}

impl World {
    pub(super) fn new() -> Self {
        Self::of(setup())
    }

    pub(super) fn of(setup: Setup) -> Self {
        let now = Now { monotonic: Monotonic(1_000_000_000), unix_s: 1_700_000_000 };
        Self {
            relay: Relay::new(setup),
            now,
            out: Output::default(),
            open: std::collections::BTreeSet::new(),
            kernel_fails: Opened::All,
            ids: 0,
        }
    }

    pub(super) fn client(&self, number: u16) -> Client {
        let remote = SocketAddr::new(IpAddr::from([203, 0, 113, 5]), 10_000 + number);
        Client { listener: 0, transport: Transport::Udp, remote }
    }

    pub(super) fn id(&mut self) -> TransactionId {
        self.ids += 1;
        let mut id = [0; 12];
        id[4..].copy_from_slice(&self.ids.to_be_bytes());
        TransactionId(id)
    }

    /// Passes a client's datagram to the relay, opening and closing ports as a shell would.
    pub(super) fn send(&mut self, client: Client, datagram: &[u8]) -> Came {
        self.send_to(client, address(NODE), datagram)
    }

    pub(super) fn send_to(
        &mut self,
        client: Client,
        addressed: SocketAddr,
        datagram: &[u8],
    ) -> Came {
        let arrival = Arrival { client, addressed, datagram };
        let step = self.relay.from_client(self.now, arrival, &mut self.out);
        let came = match step {
            Step::Open(_) => {
                if self.kernel_fails == Opened::All {
                    for port in &self.out.opens {
                        assert!(self.open.insert(*port), "a port is opened once");
                    }
                }
                let step = self.relay.opened(self.now, self.kernel_fails, &mut self.out);
                assert_eq!(step, Step::Answer);
                Came::Answer(self.out.answer.clone())
            }
            step => came(step, &self.out),
        };
        self.close_ports();
        came
    }

    pub(super) fn peer_sends(&mut self, port: RelayPort, peer: SocketAddr, data: &[u8]) -> Came {
        let step = self.relay.from_peer(self.now, port, peer, data, &mut self.out);
        came(step, &self.out)
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        // Bound: a deadline moves on with every call.
        while self.relay.next_deadline().is_some_and(|deadline| deadline <= self.now.monotonic) {
            self.relay.expire(self.now, &mut self.out);
        }
        self.close_ports();
    }

    fn close_ports(&mut self) {
        for (_, port) in self.out.closes.drain(..) {
            assert!(self.open.remove(&port), "a port is closed once");
        }
    }

    /// Builds a request of `method` with proof under `user`.
    pub(super) fn request(
        &mut self,
        client: Client,
        method: Method,
        user: &str,
        secret: &[u8],
        build: impl FnOnce(&mut Builder<'_>),
    ) -> Vec<u8> {
        let nonce = self.nonce(client);
        let id = self.id();
        proven(id, method, user, secret, &nonce, build)
    }

    /// Asks for a nonce as a client does: by a request without proof.
    pub(super) fn nonce(&mut self, client: Client) -> Vec<u8> {
        let kind = Type { method: Method::REFRESH, class: Class::Request };
        let mut bare = Vec::new();
        let id = self.id();
        Builder::new(&mut bare, kind, id);
        let Came::Answer(answer) = self.send(client, &bare) else { panic!("no challenge") };
        let message = Message::read(&answer).unwrap();
        message.attribute(AttributeType::NONCE).unwrap().value.to_vec()
    }

    /// Sends a proven request and returns the answer.
    pub(super) fn ask(
        &mut self,
        client: Client,
        method: Method,
        build: impl FnOnce(&mut Builder<'_>),
    ) -> Answer {
        let request = self.request(client, method, USER, b"new", build);
        let Came::Answer(answer) = self.send(client, &request) else { panic!("no answer") };
        Answer::of(&answer, USER, b"new")
    }

    pub(super) fn allocate(&mut self, client: Client) -> RelayPort {
        let answer = self.ask(client, Method::ALLOCATE, udp);
        assert_eq!(answer.error, None);
        self.relayed(&answer)
    }

    pub(super) fn relayed(&self, answer: &Answer) -> RelayPort {
        let relayed = answer.address(AttributeType::XOR_RELAYED_ADDRESS).expect("an address");
        let place = setup().relayed.iter().position(|known| known.public == relayed.ip()).unwrap();
        RelayPort { address: place as u8, port: relayed.port() }
    }

    pub(super) fn permit(&mut self, client: Client, peer: SocketAddr) -> Answer {
        self.ask(client, Method::CREATE_PERMISSION, |request| {
            request.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        })
    }

    pub(super) fn bind(&mut self, client: Client, number: u16, peer: SocketAddr) -> Answer {
        self.ask(client, Method::CHANNEL_BIND, |request| {
            let [n0, n1] = number.to_be_bytes();
            request.attribute(AttributeType::CHANNEL_NUMBER, &[n0, n1, 0, 0]);
            request.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        })
    }

    pub(super) fn send_data(&mut self, client: Client, peer: SocketAddr, data: &[u8]) -> Came {
        let kind = Type { method: Method::SEND, class: Class::Indication };
        let mut wire = Vec::new();
        let id = self.id();
        Builder::new(&mut wire, kind, id)
            .xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
            .attribute(AttributeType::DATA, data);
        self.send(client, &wire)
    }
}

pub(super) fn proven(
    id: TransactionId,
    method: Method,
    user: &str,
    secret: &[u8],
    nonce: &[u8],
    build: impl FnOnce(&mut Builder<'_>),
) -> Vec<u8> {
    let kind = Type { method, class: Class::Request };
    let mut wire = Vec::new();
    let mut request = Builder::new(&mut wire, kind, id);
    build(&mut request);
    request.attribute(AttributeType::USERNAME, user.as_bytes());
    request.attribute(AttributeType::REALM, REALM.as_bytes());
    request.attribute(AttributeType::NONCE, nonce);
    request.integrity_sha1(&key(user, secret)).fingerprint();
    wire
}

pub(super) fn key(user: &str, secret: &[u8]) -> Key {
    let password = Secret::new(secret).password(user.as_bytes());
    Key::long_term_md5(user.as_bytes(), REALM.as_bytes(), password.as_bytes())
}

pub(super) fn udp(request: &mut Builder<'_>) {
    request.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
}

pub(super) fn channel(number: u16, data: &[u8]) -> Vec<u8> {
    let number = ChannelNumber::new(number).unwrap();
    [&ChannelData::header(number, data.len() as u16)[..], data].concat()
}

fn came(step: Step<'_>, out: &Output) -> Came {
    match step {
        Step::Drop(dropped) => Came::Dropped(dropped),
        Step::Answer => Came::Answer(out.answer.clone()),
        Step::Open(_) => panic!("only a client's request opens a port"),
        Step::Connect { connection, port, peer } => Came::Connect(connection, port, peer),
        Step::Bind { connection } => Came::Bind(connection, out.answer.clone()),
        Step::ToPeer { port, peer, payload, .. } => Came::ToPeer(port, peer, payload.to_vec()),
        Step::ToSibling { port, from, payload } => Came::ToSibling(port, from, payload.to_vec()),
        Step::ToClient { client, around, payload, .. } => {
            let mut wire = match around {
                Around::Channel(header) => header.to_vec(),
                Around::Indication { .. } => out.head.clone(),
                Around::Bare => Vec::new(),
            };
            wire.extend_from_slice(payload);
            if let Around::Indication { padding } = around {
                wire.resize(wire.len() + usize::from(padding), 0);
            }
            Came::ToClient(client, wire)
        }
    }
}

/// An answer that was proven, or needed no proof.
#[derive(Debug)]
pub(super) struct Answer {
    wire: Vec<u8>,
    pub(super) error: Option<u16>,
}

impl Answer {
    pub(super) fn of(wire: &[u8], user: &str, secret: &[u8]) -> Self {
        let message = Message::read(wire).expect("a message");
        let error = message.attribute(AttributeType::ERROR_CODE).map(|e| e.error().unwrap().0);
        assert_eq!(error.is_some(), message.kind().class == Class::Error);
        let bare = matches!(error, Some(400 | 401 | 438));
        if !bare || message.attribute(AttributeType::MESSAGE_INTEGRITY).is_some() {
            let proof = message.integrity(&key(user, secret));
            assert_eq!(proof, crate::stun::Proof::Good, "an answer is proven as its request was");
        }
        Self { wire: wire.to_vec(), error }
    }

    pub(super) fn address(&self, kind: AttributeType) -> Option<SocketAddr> {
        let message = self.message();
        message.attribute(kind)?.xor_address(message.transaction())
    }

    pub(super) fn message(&self) -> Message<'_> {
        Message::read(&self.wire).unwrap()
    }

    pub(super) fn number(&self, kind: AttributeType) -> Option<u32> {
        self.message().attribute(kind)?.number()
    }
}
