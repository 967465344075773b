//! A relay and the wire before it, for the documents of STUN and TURN.

use std::net::{IpAddr, SocketAddr};

use entente::edge::av::{
    Around, Arrival, Client, ConnectionId, Credentials, Dropped, Listener, MrasKey, Opened, Output,
    Peers, Ports, Quotas, Relay, RelayPort, RelayedAddress, Secret, Setup, Step, Transport,
};
use entente::stun::{
    AttributeType, Builder, Class, Key, Message, Method, Proof, TransactionId, Type,
};
use entente::time::{Monotonic, Now};

pub(crate) const REALM: &str = "contoso.example";
pub(crate) const USER: &str = "9999999999:alice";
pub(crate) const PEER: &str = "93.184.216.34:5000";
pub(crate) const OTHER: &str = "93.184.216.35:5000";
pub(crate) const PEER6: &str = "[2600:1900::1]:5000";

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Reads bytes written in hexadecimal, white space between.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.chars().filter_map(|digit| digit.to_digit(16));
    let digits: Vec<u8> = digits.map(|digit| u8::try_from(digit).expect("a digit")).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// What came of a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    Dropped(Dropped),
    Answer(Vec<u8>),
    ToPeer(RelayPort, SocketAddr, Vec<u8>),
    /// With what goes around the data.
    ToClient(Client, Vec<u8>),
    /// From where, to whom.
    Connect(ConnectionId, RelayPort, SocketAddr),
    /// With the answer that the stream's last message is.
    Bind(ConnectionId, Vec<u8>),
}

pub(crate) struct World {
    pub(crate) relay: Relay,
    pub(crate) out: Output,
    pub(crate) now: Now,
    ids: u8,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// With a setup that is changed first.
    pub(crate) fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let relayed = |ip: &str| {
            let ip: IpAddr = ip.parse().expect("an address");
            RelayedAddress { bound: ip, public: ip }
        };
        let node = address("192.0.2.10:3478");
        let mut setup = Setup {
            realm: REALM.to_owned(),
            relayed: vec![relayed("192.0.2.20"), relayed("2001:db8::20")],
            ports: Ports::Range { first: 50_000, count: 20 },
            listeners: vec![Listener { node, vip: None }],
            credentials: Credentials {
                rest: vec![Secret::new(b"secret")],
                mras: vec![MrasKey::new(b"secret")],
            },
            nonce_keys: vec![[1; 32]],
            peers: Peers::default(),
            quotas: Quotas::default(),
            seed: 7,
        };
        change(&mut setup);
        let now = Now { monotonic: Monotonic(1_000_000_000), unix_s: 1_700_000_000 };
        Self { relay: Relay::new(setup), out: Output::default(), now, ids: 0 }
    }

    pub(crate) fn client(number: u8) -> Client {
        let remote = SocketAddr::from(([203, 0, 113, number], 40_000));
        Client { listener: 0, transport: Transport::Udp, remote }
    }

    /// One that comes by TCP or TLS.
    pub(crate) fn stream(number: u8) -> Client {
        Client { transport: Transport::Stream, ..Self::client(number) }
    }

    pub(crate) fn id(&mut self) -> TransactionId {
        self.ids += 1;
        TransactionId([self.ids; 12])
    }

    pub(crate) fn send(&mut self, client: Client, datagram: &[u8]) -> Came {
        let addressed = address("192.0.2.10:3478");
        let arrival = Arrival { client, addressed, datagram };
        match self.relay.from_client(self.now, arrival, &mut self.out) {
            Step::Open(_) => {
                self.relay.opened(self.now, Opened::All, &mut self.out);
                Came::Answer(self.out.answer.clone())
            }
            step => came(step, &self.out),
        }
    }

    pub(crate) fn peer_sends(&mut self, port: RelayPort, peer: &str, data: &[u8]) -> Came {
        let step = self.relay.from_peer(self.now, port, address(peer), data, &mut self.out);
        came(step, &self.out)
    }

    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now = self.now.plus_ms(seconds * 1_000);
        // Bound: a deadline moves on with every call.
        while self.relay.next_deadline().is_some_and(|due| due <= self.now.monotonic) {
            self.relay.expire(self.now, &mut self.out);
        }
    }

    /// The answer to a request without proof.
    pub(crate) fn challenge(&mut self, client: Client, method: Method) -> Vec<u8> {
        let mut bare = Vec::new();
        let id = self.id();
        Builder::new(&mut bare, Type { method, class: Class::Request }, id);
        match self.send(client, &bare) {
            Came::Answer(answer) => answer,
            other => panic!("no challenge: {other:?}"),
        }
    }

    pub(crate) fn nonce(&mut self, client: Client) -> Vec<u8> {
        let challenge = self.challenge(client, Method::ALLOCATE);
        let message = Message::read(&challenge).expect("a message");
        message.attribute(AttributeType::NONCE).expect("a nonce").value.to_vec()
    }

    /// Builds a proven request.
    pub(crate) fn request(
        &mut self,
        client: Client,
        method: Method,
        build: impl FnOnce(&mut Builder<'_>),
    ) -> Vec<u8> {
        let (nonce, id) = (self.nonce(client), self.id());
        let mut wire = Vec::new();
        let mut request = Builder::new(&mut wire, Type { method, class: Class::Request }, id);
        build(&mut request);
        prove(&mut request, &nonce);
        wire
    }

    /// Sends a proven request and returns its answer.
    pub(crate) fn ask(
        &mut self,
        client: Client,
        method: Method,
        build: impl FnOnce(&mut Builder<'_>),
    ) -> Answer {
        let wire = self.request(client, method, build);
        match self.send(client, &wire) {
            Came::Answer(answer) => Answer::of(answer),
            other => panic!("no answer: {other:?}"),
        }
    }

    pub(crate) fn allocate(&mut self, client: Client) -> RelayPort {
        let answer = self.ask(client, Method::ALLOCATE, udp);
        answer.relayed()[0]
    }

    pub(crate) fn permit(&mut self, client: Client, peers: &[&str]) -> Option<u16> {
        let answer = self.ask(client, Method::CREATE_PERMISSION, |request| {
            for peer in peers {
                request.xor_address(AttributeType::XOR_PEER_ADDRESS, address(peer));
            }
        });
        answer.error
    }

    pub(crate) fn bind(&mut self, client: Client, number: u16, peer: &str) -> Option<u16> {
        let answer = self.ask(client, Method::CHANNEL_BIND, |request| {
            let [n0, n1] = number.to_be_bytes();
            request.attribute(AttributeType::CHANNEL_NUMBER, &[n0, n1, 0, 0]);
            request.xor_address(AttributeType::XOR_PEER_ADDRESS, address(peer));
        });
        answer.error
    }

    pub(crate) fn indicate(&mut self, client: Client, peer: &str, data: &[u8]) -> Came {
        let mut wire = Vec::new();
        let kind = Type { method: Method::SEND, class: Class::Indication };
        let id = self.id();
        Builder::new(&mut wire, kind, id)
            .xor_address(AttributeType::XOR_PEER_ADDRESS, address(peer))
            .attribute(AttributeType::DATA, data);
        self.send(client, &wire)
    }
}

fn came(step: Step<'_>, out: &Output) -> Came {
    match step {
        Step::Drop(dropped) => Came::Dropped(dropped),
        Step::Answer => Came::Answer(out.answer.clone()),
        Step::ToPeer { port, peer, payload, .. } => Came::ToPeer(port, peer, payload.to_vec()),
        Step::ToClient { client, around, payload, .. } => {
            let (mut wire, padding) = match around {
                Around::Channel(header) => (header.to_vec(), 0),
                Around::Indication { padding } => (out.head.clone(), padding),
                Around::Bare => (Vec::new(), 0),
            };
            wire.extend_from_slice(payload);
            wire.extend(std::iter::repeat_n(0, usize::from(padding)));
            Came::ToClient(client, wire)
        }
        Step::Connect { connection, port, peer } => Came::Connect(connection, port, peer),
        Step::Bind { connection } => Came::Bind(connection, out.answer.clone()),
        other => panic!("of several relays: {other:?}"),
    }
}

pub(crate) fn udp(request: &mut Builder<'_>) {
    request.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
}

pub(crate) fn key() -> Key {
    key_of(USER)
}

fn key_of(user: &str) -> Key {
    let password = Secret::new(b"secret").password(user.as_bytes());
    Key::long_term_md5(user.as_bytes(), REALM.as_bytes(), password.as_bytes())
}

pub(crate) fn prove(request: &mut Builder<'_>, nonce: &[u8]) {
    prove_as(USER, request, nonce);
}

/// Proves a request as another user of the same organisation would.
pub(crate) fn prove_as(user: &str, request: &mut Builder<'_>, nonce: &[u8]) {
    request.attribute(AttributeType::USERNAME, user.as_bytes());
    request.attribute(AttributeType::REALM, REALM.as_bytes());
    request.attribute(AttributeType::NONCE, nonce);
    request.integrity_sha1(&key_of(user)).fingerprint();
}

/// An answer, proven wherever its request was.
pub(crate) struct Answer {
    wire: Vec<u8>,
    pub(crate) error: Option<u16>,
}

impl Answer {
    pub(crate) fn of(wire: Vec<u8>) -> Self {
        let message = Message::read(&wire).expect("a message");
        let error = message.attribute(AttributeType::ERROR_CODE).and_then(|error| error.error());
        let error = error.map(|error| error.0);
        if !matches!(error, Some(400 | 401 | 438)) {
            assert_eq!(message.integrity(&key()), Proof::Good, "an answer is proven");
        }
        Self { error, wire }
    }

    pub(crate) fn message(&self) -> Message<'_> {
        Message::read(&self.wire).expect("a message")
    }

    pub(crate) fn number(&self, kind: AttributeType) -> Option<u32> {
        self.message().attribute(kind)?.number()
    }

    pub(crate) fn relayed(&self) -> Vec<RelayPort> {
        let message = self.message();
        let given = message.attributes().filter(|a| a.kind == AttributeType::XOR_RELAYED_ADDRESS);
        let of = |at: SocketAddr| RelayPort { address: u8::from(at.is_ipv6()), port: at.port() };
        given.filter_map(|a| a.xor_address(message.transaction())).map(of).collect()
    }
}
