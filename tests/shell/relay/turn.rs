//! A relay on loopback, clients of it and peers. Each relay has an address of its own, so that
//! tests beside each other do not meet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use entente::edge::av::{
    Credentials, Listener, MrasKey, Peers, Ports, Quotas, RelayedAddress, Secret, Setup, Transport,
};
use entente::poll::Choice;
use entente::relay::{self, Handle, Listen, Settings, Trains};
use entente::stun::{
    AttributeType, Builder, ChannelData, ChannelNumber, Class, Key, Message, Method, Proof,
    TransactionId, Type,
};
use entente::time::Clock;
use entente::tls;

pub(crate) const REALM: &str = "contoso.example";
pub(crate) const USER: &str = "9999999999:alice";
pub(crate) const SECRET: &[u8] = b"shared";
/// Nobody waits longer for a datagram that has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing has to come.
const SILENCE: Duration = Duration::from_millis(150);

pub(crate) const POLLERS: [Choice; 2] = [Choice::IoUring, Choice::Epoll];

/// What a relay is to be.
pub(crate) struct Wanted {
    pub(crate) poller: Choice,
    pub(crate) ports: Ports,
    pub(crate) quotas: Quotas,
    pub(crate) vip: Option<SocketAddr>,
    pub(crate) tls: Option<Arc<tls::Server>>,
    pub(crate) trains: Trains,
    pub(crate) threads: usize,
    pub(crate) company_us: u32,
}

impl Wanted {
    pub(crate) fn with(poller: Choice) -> Self {
        let ports = Ports::Range { first: 50_000, count: 200 };
        // All clients are one user's, and no test but those of quotas and rates is to meet them.
        let quotas = Quotas {
            allocations_per_user: 200,
            allocation_kbit_s: 1_000_000,
            user_kbit_s: 1_000_000,
            ..Quotas::default()
        };
        let trains = Trains::Auto;
        Self { poller, ports, quotas, vip: None, tls: None, trains, threads: 1, company_us: 0 }
    }
}

/// A running relay and where it is.
pub(crate) struct Edge {
    pub(crate) handle: Handle,
    /// Where clients come in by datagrams.
    pub(crate) server: SocketAddr,
    /// Where they come in by streams.
    pub(crate) door: SocketAddr,
    /// Where relayed ports are.
    pub(crate) relayed: IpAddr,
}

static RELAYS: AtomicU8 = AtomicU8::new(1);

pub(crate) fn credentials() -> Credentials {
    Credentials { rest: vec![Secret::new(SECRET)], mras: vec![MrasKey::new(SECRET)] }
}

pub(crate) fn peers() -> Peers {
    let loopback = ["127.0.0.0/8", "::1/128"].map(|network| network.parse().unwrap());
    Peers { external: loopback.to_vec(), ..Peers::default() }
}

impl Edge {
    pub(crate) fn start(wanted: Wanted) -> Self {
        let number = RELAYS.fetch_add(1, Ordering::Relaxed);
        let relayed = IpAddr::V4(Ipv4Addr::new(127, 77, number, 1));
        let node = IpAddr::V4(Ipv4Addr::new(127, 77, number, 2));
        Self::at(wanted, number, RelayedAddress { bound: relayed, public: relayed }, node)
    }

    /// At the one address of IPv6 that loopback has; relayed ones are told as others, or a peer
    /// there would be taken for a relayed address.
    pub(crate) fn start_v6(wanted: Wanted) -> Self {
        let number = RELAYS.fetch_add(1, Ordering::Relaxed);
        let bound = IpAddr::V6(Ipv6Addr::LOCALHOST);
        let public = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()));
        Self::at(wanted, number, RelayedAddress { bound, public }, bound)
    }

    fn at(wanted: Wanted, number: u8, relayed: RelayedAddress, node: IpAddr) -> Self {
        let node = SocketAddr::new(node, 0);
        let core = Setup {
            realm: REALM.to_owned(),
            relayed: vec![relayed],
            ports: wanted.ports,
            listeners: vec![Listener { node, vip: wanted.vip }, Listener { node, vip: wanted.vip }],
            credentials: credentials(),
            nonce_keys: vec![[1; 32]],
            peers: peers(),
            quotas: wanted.quotas,
            seed: u64::from(number),
        };
        let settings = Settings {
            poller: wanted.poller,
            trains: wanted.trains,
            threads: wanted.threads,
            company_us: wanted.company_us,
            ..Settings::default()
        };
        let listen = |transport, tls| Listen { address: node, transport, tls };
        let listen = vec![listen(Transport::Udp, None), listen(Transport::Stream, wanted.tls)];
        let setup = relay::Setup { core, listen, settings };
        let handle = relay::spawn(setup, Clock::start()).expect("the relay starts");
        let (server, door) = (handle.listeners()[0], handle.listeners()[1]);
        Self { handle, server, door, relayed: relayed.bound }
    }

    pub(crate) fn client(&self) -> Client {
        Client::at(self.server)
    }

    /// Returns a client, a peer that it reaches by channel 0x4000, and its relayed address.
    pub(crate) fn flow(&self) -> (Client, UdpSocket, SocketAddr) {
        let (mut client, peer) = (self.client(), peer());
        let relayed = client.allocate();
        assert_eq!(client.bind(0x4000, peer.local_addr().unwrap()), None);
        (client, peer, relayed)
    }
}

fn key() -> Key {
    let password = Secret::new(SECRET).password(USER.as_bytes());
    Key::long_term_md5(USER.as_bytes(), REALM.as_bytes(), password.as_bytes())
}

/// Runs a test once for each poller.
pub(crate) fn each_poller(test: impl Fn(Edge)) {
    for poller in POLLERS {
        test(Edge::start(Wanted::with(poller)));
    }
}

/// A socket with patience.
pub(crate) fn socket(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A peer on loopback, at another address than clients have.
pub(crate) fn peer() -> UdpSocket {
    socket("127.0.0.3:0")
}

/// Receives one datagram.
pub(crate) fn hear(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = [0; 65_536];
    let (length, from) = socket.recv_from(&mut bytes).expect("a datagram");
    (bytes[..length].to_vec(), from)
}

/// Tells that nothing comes for a while.
pub(crate) fn hears_nothing(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    let silent = socket.recv_from(&mut [0; 65_536]).is_err();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    silent
}

/// How a client's messages travel.
pub(crate) trait Wire {
    /// Sends one message or one datagram's worth of channel data.
    fn say(&self, message: &[u8]);
    /// Receives one.
    fn hear(&self) -> Vec<u8>;
}

/// Datagrams to and from one address.
pub(crate) struct Datagrams {
    socket: UdpSocket,
    server: SocketAddr,
}

impl Datagrams {
    pub(crate) const fn between(socket: UdpSocket, server: SocketAddr) -> Self {
        Self { socket, server }
    }
}

impl std::ops::Deref for Datagrams {
    type Target = UdpSocket;

    fn deref(&self) -> &UdpSocket {
        &self.socket
    }
}

impl Wire for Datagrams {
    fn say(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.server).unwrap();
    }

    fn hear(&self) -> Vec<u8> {
        let (datagram, from) = hear(&self.socket);
        assert_eq!(from, self.server, "replies come from where requests went");
        datagram
    }
}

/// A client of a relay.
pub(crate) struct Client<W = Datagrams> {
    pub(crate) socket: W,
    nonce: Vec<u8>,
    ids: u64,
}

/// An answer.
pub(crate) struct Answer {
    wire: Vec<u8>,
    pub(crate) error: Option<u16>,
}

impl Answer {
    pub(crate) fn number(&self, kind: AttributeType) -> Option<u32> {
        Message::read(&self.wire).unwrap().attribute(kind)?.number()
    }

    pub(crate) fn address(&self, kind: AttributeType) -> Option<SocketAddr> {
        let message = Message::read(&self.wire).unwrap();
        message.attribute(kind)?.xor_address(message.transaction())
    }
}

impl Answer {
    pub(crate) fn value(&self, kind: AttributeType) -> Option<Vec<u8>> {
        let message = Message::read(&self.wire).unwrap();
        message.attribute(kind).map(|attribute| attribute.value.to_vec())
    }
}

impl Client {
    pub(crate) fn at(server: SocketAddr) -> Self {
        Self::by(Datagrams { socket: socket("127.0.0.1:0"), server })
    }
}

impl<W: Wire> Client<W> {
    pub(crate) const fn by(socket: W) -> Self {
        Self { socket, nonce: Vec::new(), ids: 0 }
    }

    pub(crate) fn say(&self, message: &[u8]) {
        self.socket.say(message);
    }

    pub(crate) fn hear(&self) -> Vec<u8> {
        self.socket.hear()
    }

    pub(crate) fn id(&mut self) -> TransactionId {
        self.ids += 1;
        let mut id = [0; 12];
        id[4..].copy_from_slice(&self.ids.to_be_bytes());
        TransactionId(id)
    }

    /// Builds a proven request, with a nonce from a challenge where it has none.
    pub(crate) fn request(
        &mut self,
        method: Method,
        build: impl Fn(&mut Builder<'_>),
    ) -> (TransactionId, Vec<u8>) {
        if self.nonce.is_empty() {
            let answer = self.challenged(method);
            let message = Message::read(&answer).unwrap();
            self.nonce = message.attribute(AttributeType::NONCE).unwrap().value.to_vec();
        }
        let mut wire = Vec::new();
        let kind = Type { method, class: Class::Request };
        let id = self.id();
        let mut request = Builder::new(&mut wire, kind, id);
        build(&mut request);
        request.attribute(AttributeType::USERNAME, USER.as_bytes());
        request.attribute(AttributeType::REALM, REALM.as_bytes());
        request.attribute(AttributeType::NONCE, &self.nonce);
        request.integrity_sha1(&key()).fingerprint();
        (id, wire)
    }

    /// Sends a proven request and returns its answer.
    pub(crate) fn ask(&mut self, method: Method, build: impl Fn(&mut Builder<'_>)) -> Answer {
        let (id, wire) = self.request(method, build);
        self.say(&wire);
        let wire = self.hear();
        let message = Message::read(&wire).unwrap();
        assert_eq!(message.transaction(), id);
        assert_eq!(message.integrity(&key()), Proof::Good);
        let error = message.attribute(AttributeType::ERROR_CODE).map(|e| e.error().unwrap().0);
        Answer { wire, error }
    }

    /// Asks without proof and returns the answer.
    pub(crate) fn challenged(&mut self, method: Method) -> Vec<u8> {
        let mut bare = Vec::new();
        let id = self.id();
        Builder::new(&mut bare, Type { method, class: Class::Request }, id);
        self.say(&bare);
        self.hear()
    }

    pub(crate) fn allocation(&mut self) -> Answer {
        self.ask(Method::ALLOCATE, |request| {
            request.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        })
    }

    pub(crate) fn allocate(&mut self) -> SocketAddr {
        let answer = self.allocation();
        assert_eq!(answer.error, None);
        answer.address(AttributeType::XOR_RELAYED_ADDRESS).expect("an address")
    }

    /// Ends the allocation.
    pub(crate) fn release(&mut self) {
        let answer = self.ask(Method::REFRESH, |request| {
            request.number(AttributeType::LIFETIME, 0);
        });
        assert_eq!(answer.error, None);
    }

    pub(crate) fn permit(&mut self, peer: SocketAddr) -> Option<u16> {
        let permit = |request: &mut Builder<'_>| {
            request.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        };
        self.ask(Method::CREATE_PERMISSION, permit).error
    }

    pub(crate) fn bind(&mut self, number: u16, peer: SocketAddr) -> Option<u16> {
        let bind = |request: &mut Builder<'_>| {
            let [n0, n1] = number.to_be_bytes();
            request.attribute(AttributeType::CHANNEL_NUMBER, &[n0, n1, 0, 0]);
            request.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        };
        self.ask(Method::CHANNEL_BIND, bind).error
    }

    pub(crate) fn send_channel(&self, number: u16, payload: &[u8]) {
        let number = ChannelNumber::new(number).unwrap();
        let header = ChannelData::header(number, payload.len() as u16);
        self.say(&[&header[..], payload].concat());
    }

    pub(crate) fn hear_channel(&self) -> (u16, Vec<u8>) {
        let datagram = self.hear();
        let data = ChannelData::read(&datagram).expect("channel data");
        (data.channel.number(), data.payload.to_vec())
    }

    pub(crate) fn send_indication(&mut self, peer: SocketAddr, payload: &[u8]) {
        let mut wire = Vec::new();
        let id = self.id();
        Builder::new(&mut wire, Type { method: Method::SEND, class: Class::Indication }, id)
            .xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
            .attribute(AttributeType::DATA, payload);
        self.say(&wire);
    }

    pub(crate) fn hear_indication(&self) -> (SocketAddr, Vec<u8>) {
        let datagram = self.hear();
        let message = Message::read(&datagram).expect("a message");
        assert_eq!(message.kind(), Type { method: Method::DATA, class: Class::Indication });
        let peer = message.attribute(AttributeType::XOR_PEER_ADDRESS).unwrap();
        let data = message.attribute(AttributeType::DATA).unwrap().value.to_vec();
        (peer.xor_address(message.transaction()).unwrap(), data)
    }
}
