//! Clients and peers that do anything, and a shell that opens and closes ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use entente::edge::av::{
    Around, Arrival, Carrier, Client, ConnectionId, Credentials, Listener, MrasKey, Opened, Output,
    Peers, Ports, Quotas, Relay, RelayPort, RelayedAddress, Secret, Setup, Step, Traffic,
    Transport,
};
use entente::limits;
use entente::stun::{
    AttributeType, Builder, ChannelData, ChannelNumber, Class, ErrorCode, Key, Message, Method,
    TransactionId, Type,
};
use entente::time::{Monotonic, Now};

use super::model::{Asks, Goes, Holding, Model, V4, V6};
use super::tcp::Kernel;
use crate::clock::Chance;

const REALM: &str = "contoso.example";
pub(super) const RELAYED: [&str; 2] = ["192.0.2.20", "2001:db8::20"];
const CLIENTS: u64 = 18;
/// Clients that are one user, who may have two allocations.
const CLIENTS_PER_USER: u64 = 3;
const ALLOCATIONS_PER_USER: u32 = 2;
const ALLOCATIONS: usize = 11;
const PORTS: u16 = 9;
pub(super) const FIRST_PORT: u16 = 50_000;
/// The longest that an address is nobody's once its allocation has ended.
const RESTS_MS: u64 = 64_000;

/// Everything both sides know.
pub(crate) struct World {
    pub(super) relay: Relay,
    pub(super) model: Model,
    pub(super) chance: Chance,
    pub(super) now_ms: u64,
    pub(super) out: Output,
    open: BTreeSet<RelayPort>,
    /// What the kernel has of TCP.
    pub(super) kernel: Kernel,
    /// The last one of each client, behind the time when it was made.
    pub(super) nonces: BTreeMap<Client, Vec<u8>>,
    keys: Vec<Key>,
    ids: u64,
    /// How much of everything was found to be the same.
    pub(crate) told: Told,
}

/// What a run has shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) granted: u64,
    pub(crate) refused: u64,
    pub(crate) relayed: u64,
    pub(crate) dropped: u64,
    pub(crate) ended: u64,
    /// Of TCP: connections to peers, those that came in, those that were closed at once, and those
    /// that were claimed.
    pub(crate) reached: u64,
    pub(crate) let_in: u64,
    pub(crate) turned_away: u64,
    pub(crate) claimed: u64,
}

impl Told {
    pub(crate) fn add(&mut self, other: Self) {
        self.granted += other.granted;
        self.refused += other.refused;
        self.relayed += other.relayed;
        self.dropped += other.dropped;
        self.ended += other.ended;
        self.reached += other.reached;
        self.let_in += other.let_in;
        self.turned_away += other.turned_away;
        self.claimed += other.claimed;
    }
}

/// What a relay did with a datagram, owned.
pub(super) enum Came {
    Nothing,
    Answer(Vec<u8>),
    Goes(Goes),
    Connect(u32, RelayPort, SocketAddr),
    Bind(u32, Vec<u8>),
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed.wrapping_add(4_242));
        let shared = chance.percent(40);
        let some: BTreeSet<u16> = (FIRST_PORT..FIRST_PORT + PORTS).collect();
        let (ports, holding) = match shared {
            true => (Ports::Shared(vec![3_480, 3_481]), Holding::Shared),
            false => (Ports::Range { first: FIRST_PORT, count: PORTS }, Holding::Alone),
        };
        let relayed = RELAYED.map(|ip| {
            let ip: IpAddr = ip.parse().expect("an address");
            RelayedAddress { bound: ip, public: ip }
        });
        let setup = Setup {
            realm: REALM.to_owned(),
            relayed: relayed.to_vec(),
            ports,
            listeners: vec![Listener { node: listener(), vip: None }],
            credentials: Credentials {
                rest: vec![Secret::new(b"secret")],
                mras: vec![MrasKey::new(b"secret")],
            },
            nonce_keys: vec![[1; 32]],
            peers: Peers::default(),
            quotas: Quotas {
                allocations: ALLOCATIONS,
                allocations_per_user: ALLOCATIONS_PER_USER,
                ..Quotas::default()
            },
            seed,
        };
        let keys = (0..CLIENTS / CLIENTS_PER_USER).map(|user| key(&username(user))).collect();
        let per_user = ALLOCATIONS_PER_USER as usize;
        let mut world = Self {
            relay: Relay::new(setup),
            model: Model::new(holding, some, ALLOCATIONS, per_user),
            chance,
            now_ms: 1_000,
            out: Output::default(),
            open: BTreeSet::new(),
            kernel: Kernel::default(),
            nonces: BTreeMap::new(),
            keys,
            ids: 0,
            told: Told::default(),
        };
        world.pass(0);
        world
    }

    /// How long it has gone on.
    pub(crate) fn passed_ms(&self) -> u64 {
        self.now_ms
    }

    pub(super) fn now(&self) -> Now {
        Now {
            monotonic: Monotonic(self.now_ms * 1_000_000),
            unix_s: 1_700_000_000 + self.now_ms / 1_000,
        }
    }

    /// Something happens, and both say the same of it.
    pub(crate) fn step(&mut self) {
        // Several things at one time now and then.
        for _ in 0..=self.chance.below(8) {
            let client = self.somebody();
            match self.chance.below(34) {
                0..3 => self.allocate(client),
                3..5 => self.refresh(client),
                5..9 => self.create_permission(client),
                9..12 => self.channel_bind(client),
                12..14 => self.channel_data(client),
                14..16 => self.send(client),
                16..20 => self.peer_sends(),
                20 => self.is_gone(client),
                _ => self.tcp_step(),
            }
            self.compare();
        }
    }

    /// Time passes on both sides, and what ends does so when it is due.
    fn pass(&mut self, milliseconds: u64) {
        let until = self.now_ms + milliseconds;
        self.settle();
        // Bound: what is due has ended after each pass.
        while let Some(due) = self.model.next_ms().filter(|due| *due <= until) {
            self.now_ms = due.max(self.now_ms);
            self.settle();
        }
        self.now_ms = until;
        self.settle();
    }

    /// The relay is told the time.
    fn settle(&mut self) {
        // Bound: a deadline moves on with every call.
        while self.relay.next_deadline().is_some_and(|due| due <= self.now().monotonic) {
            self.relay.expire(self.now(), &mut self.out);
        }
        self.close_ports();
        let before = self.model.all.len();
        self.model.pass(self.now_ms);
        self.told.ended += (before - self.model.all.len()) as u64;
        self.ended();
        self.compare();
    }

    /// Some of the time in which things happen: mostly little, now and then much.
    pub(crate) fn pause(&mut self, at_most_ms: u64) {
        let most = match self.chance.below(10) {
            0..2 => at_most_ms,
            2..7 => at_most_ms / 10,
            _ => at_most_ms / 100,
        };
        // Whole seconds: what ends in between may be kept until the next one begins.
        let for_ms = self.chance.below(most) / 1_000 * 1_000;
        if self.chance.percent(15) {
            // The machine stood still: what has come is served before anybody looks at the time.
            self.settle();
            self.now_ms += for_ms;
        } else {
            self.pass(for_ms);
        }
    }

    /// Nobody comes any more: all that is left ends by itself.
    pub(crate) fn ends(&mut self) {
        let longest_ms = u64::from(limits::TURN_LIFETIME_S_MAX) * 1_000;
        self.pass(longest_ms);
        assert_eq!((self.relay.allocations(), self.open.len()), (0, 0));
        assert_eq!((self.relay.connections(), self.kernel.doors.len()), (0, 0));
        self.pass(RESTS_MS);
        assert_eq!(self.relay.next_deadline(), None);
        assert_eq!((self.relay.list().count(), self.relay.users()), (0, 0));
    }

    fn compare(&self) {
        assert_eq!(self.relay.allocations(), self.model.all.len());
        let mut listed = self.relay.list().collect::<Vec<_>>();
        listed.sort_by_key(|(client, ..)| *client);
        let mut known = self.model.all.iter().collect::<Vec<_>>();
        known.sort_by_key(|one| one.client);
        for ((client, ports, traffic, until), known) in listed.into_iter().zip(known) {
            assert_eq!((client, ports), (known.client, &*known.ports));
            assert_eq!(until, Monotonic(known.until_ms * 1_000_000));
            let Traffic { bytes_to_peers, bytes_to_client, .. } = traffic;
            let of_tcp = known.carrier == Carrier::Tcp;
            assert!(!of_tcp || bytes_to_peers + bytes_to_client == known.bytes);
        }
        assert_eq!(self.relay.connections(), self.model.tcp.all.len());
        let held = |carrier| -> BTreeSet<RelayPort> {
            let of = self.model.all.iter().filter(|one| one.carrier == carrier);
            of.flat_map(|one| one.ports.iter().copied()).collect()
        };
        assert_eq!(self.kernel.doors, held(Carrier::Tcp), "who may be connected to listens");
        if self.model.holding == Holding::Alone {
            assert_eq!(self.open, held(Carrier::Udp), "sockets are open while one has them");
            assert_eq!(self.relay.free_ports(), Some(self.model.free_ports()));
        }
    }

    /// A client, rather one that has an allocation.
    fn somebody(&mut self) -> Client {
        let known: Vec<Client> = self.model.all.iter().map(|one| one.client).collect();
        match self.one_of(&known) {
            Some(client) if self.chance.percent(60) => client,
            _ => self.client(),
        }
    }

    pub(super) fn one_of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(usize::try_from(self.chance.below(all.len() as u64)).expect("small")).copied()
    }

    pub(super) fn client(&mut self) -> Client {
        let number = u16::try_from(self.chance.below(CLIENTS)).expect("small");
        // Each in a network of its own: strangers' answers are counted by network.
        let ip = Ipv4Addr::new(203, 0, u8::try_from(number).expect("small"), 1);
        let transport = if number % 2 == 1 { Transport::Stream } else { Transport::Udp };
        let remote = SocketAddr::new(ip.into(), 10_000 + number);
        Client { listener: 0, transport, remote }
    }

    pub(super) fn user(client: &Client) -> u64 {
        u64::from(client.remote.port() - 10_000) / CLIENTS_PER_USER
    }

    /// A relayed address of this very relay, at a port that may be somebody's.
    pub(super) fn relayed(&mut self) -> (RelayPort, SocketAddr) {
        let ports: Vec<RelayPort> =
            self.model.all.iter().flat_map(|one| one.ports.iter().copied()).collect();
        let place = usize::try_from(self.chance.below(ports.len() as u64 + 1)).expect("small");
        let nobodys = RelayPort { address: 0, port: FIRST_PORT - 1 };
        let port = ports.get(place).copied().unwrap_or(nobodys);
        (port, address_of(port))
    }

    pub(super) fn peer(&mut self) -> SocketAddr {
        let port = 5_000 + u16::try_from(self.chance.below(2)).expect("small");
        let last = u8::try_from(self.chance.below(4)).expect("small");
        match self.chance.percent(70) {
            true => SocketAddr::new(IpAddr::from([93, 184, 216, last]), port),
            false => {
                SocketAddr::new(format!("2600:1900::{last}").parse().expect("an address"), port)
            }
        }
    }

    fn allocate(&mut self, client: Client) {
        let (family, places) = match self.chance.below(6) {
            0 => (Some((AttributeType::REQUESTED_ADDRESS_FAMILY, 2)), vec![V6]),
            1 => (Some((AttributeType::ADDITIONAL_ADDRESS_FAMILY, 2)), vec![V4, V6]),
            2 => (Some((AttributeType::REQUESTED_ADDRESS_FAMILY, 1)), vec![V4]),
            _ => (None, vec![V4]),
        };
        let of_stream = client.transport == Transport::Stream;
        let carrier = match self.chance.percent(if of_stream { 70 } else { 5 }) {
            true => Carrier::Tcp,
            false => Carrier::Udp,
        };
        let even = self.model.holding == Holding::Alone
            && self.chance.percent(if carrier == Carrier::Udp { 20 } else { 3 });
        let lifetime = self.lifetime();
        let opens = if self.chance.percent(5) { Opened::Failed } else { Opened::All };
        let user = Self::user(&client);
        let user = usize::try_from(user).expect("small");
        let asks = Asks { user, places: &places, even, carrier };
        let expected = self.model.may_allocate(&client, asks);
        let tcp = carrier == Carrier::Tcp;
        let (error, answer) = self.ask(client, Method::ALLOCATE, opens, |request| {
            let transport = if tcp { 6 } else { 17 };
            request.attribute(AttributeType::REQUESTED_TRANSPORT, &[transport, 0, 0, 0]);
            if let Some((kind, family)) = family {
                request.attribute(kind, &[family, 0, 0, 0]);
            }
            if even {
                request.attribute(AttributeType::EVEN_PORT, &[0]);
            }
            request.number(AttributeType::LIFETIME, lifetime);
        });
        let granted = match expected {
            Err(expected) => {
                assert_eq!(error, Some(expected), "Allocate of {client:?}");
                return;
            }
            Ok(_) if self.kernel.failed => {
                assert_eq!(error, Some(508), "no socket");
                return;
            }
            Ok(granted) => granted,
        };
        assert_eq!(error, None, "Allocate of {client:?}");
        assert!(opens == Opened::All || self.model.holding == Holding::Shared);
        let ports = relayed(&answer);
        let got: Vec<usize> = ports.iter().map(|port| usize::from(port.address)).collect();
        assert_eq!(got, granted, "the families that were asked for");
        assert!(!even || ports.iter().all(|port| port.port % 2 == 0));
        let until_ms = self.now_ms + granted_ms(lifetime);
        self.model.allocated((client, user, carrier), ports, until_ms);
    }

    fn lifetime(&mut self) -> u32 {
        u32::try_from(self.chance.below(4_500)).expect("small")
    }

    fn refresh(&mut self, client: Client) {
        let lifetime = if self.chance.percent(30) { 0 } else { self.lifetime().max(1) };
        let until_ms = (lifetime > 0).then(|| self.now_ms + granted_ms(lifetime));
        let expected = self.model.refresh(&client, until_ms, self.now_ms);
        let (error, _) = self.ask(client, Method::REFRESH, Opened::All, |request| {
            request.number(AttributeType::LIFETIME, lifetime);
        });
        assert_eq!(error, expected.err(), "Refresh of {client:?}");
    }

    fn create_permission(&mut self, client: Client) {
        let count = 1 + self.chance.below(3);
        let mut peers: Vec<SocketAddr> = (0..count).map(|_| self.peer()).collect();
        if self.chance.percent(25) {
            peers.push(self.relayed().1);
        }
        // Now and then one that the address rule refuses, and all the others with it.
        let refused = self.chance.percent(10);
        if refused {
            peers.insert(0, SocketAddr::from(([10, 0, 0, 1], 5_000)));
        }
        let expected = match self.model.of(&client) {
            Some(_) if refused => Err(403),
            _ => self.model.permit(&client, &peers, self.now_ms),
        };
        let (error, _) = self.ask(client, Method::CREATE_PERMISSION, Opened::All, |request| {
            for peer in peers {
                request.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
            }
        });
        assert_eq!(error, expected.err(), "CreatePermission of {client:?}");
    }

    fn number(&mut self) -> u16 {
        0x4000 + u16::try_from(self.chance.below(4)).expect("small")
    }

    fn channel_bind(&mut self, client: Client) {
        let (number, peer) = (self.number(), self.peer());
        let expected = self.model.bind(&client, number, peer, self.now_ms);
        let (error, _) = self.ask(client, Method::CHANNEL_BIND, Opened::All, |request| {
            let [n0, n1] = number.to_be_bytes();
            request.attribute(AttributeType::CHANNEL_NUMBER, &[n0, n1, 0, 0]);
            request.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        });
        assert_eq!(error, expected.err(), "ChannelBind {number:#x} of {client:?} to {peer}");
    }

    fn channel_data(&mut self, client: Client) {
        let number = self.number();
        let header = ChannelData::header(ChannelNumber::new(number).expect("in its range"), 4);
        let datagram = [&header[..], b"data"].concat();
        let expected = self.model.channel_data(&client, number, self.now_ms);
        let came = self.arrive(client, &datagram, Opened::All);
        self.went(&came, &expected);
    }

    fn send(&mut self, client: Client) {
        let peer = self.peer();
        let kind = Type { method: Method::SEND, class: Class::Indication };
        let mut datagram = Vec::new();
        Builder::new(&mut datagram, kind, self.id())
            .xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
            .attribute(AttributeType::DATA, b"data");
        let expected = self.model.send(&client, peer, self.now_ms);
        let came = self.arrive(client, &datagram, Opened::All);
        self.went(&came, &expected);
    }

    fn peer_sends(&mut self) {
        let peer = self.peer();
        let address = u8::from(peer.is_ipv6());
        let ports = self.model.all.iter().flat_map(|one| one.ports.iter().copied());
        let ports: Vec<RelayPort> = ports.filter(|port| port.address == address).collect();
        let place = usize::try_from(self.chance.below(ports.len() as u64 + 1)).expect("small");
        let nobody = RelayPort { address, port: FIRST_PORT };
        let port = ports.get(place).copied().unwrap_or(nobody);
        let expected = self.model.peer_sends(port, peer, self.now_ms);
        let step = self.relay.from_peer(self.now(), port, peer, b"data", &mut self.out);
        let came = came(step, &self.out);
        self.went(&came, &expected);
    }

    fn is_gone(&mut self, client: Client) {
        if client.transport == Transport::Stream {
            self.relay.client_gone(&client, &mut self.out);
        } else {
            let killed = self.relay.kill(&client, &mut self.out);
            assert_eq!(killed, self.model.of(&client).is_some());
        }
        self.model.end(&client, self.now_ms);
        self.close_ports();
    }

    fn went(&mut self, came: &Came, expected: &Goes) {
        let goes = match came {
            Came::Goes(goes) => goes,
            Came::Nothing => &Goes::Nowhere,
            Came::Answer(_) => panic!("data is not answered"),
            Came::Connect(..) | Came::Bind(..) => panic!("data asks for nothing"),
        };
        assert_eq!(goes, expected);
        match goes {
            Goes::Nowhere => self.told.dropped += 1,
            _ => self.told.relayed += 1,
        }
    }

    fn id(&mut self) -> TransactionId {
        self.ids += 1;
        let mut id = [0; 12];
        id[4..].copy_from_slice(&self.ids.to_be_bytes());
        TransactionId(id)
    }

    /// Sends a proven request; asks for another nonce where the last one is stale.
    fn ask(
        &mut self,
        client: Client,
        method: Method,
        opens: Opened,
        build: impl FnOnce(&mut Builder<'_>),
    ) -> (Option<u16>, Vec<u8>) {
        let wire = self.request(client, Self::user(&client), method, build);
        let Came::Answer(answer) = self.arrive(client, &wire, opens) else { panic!("no answer") };
        (self.error(&answer), answer)
    }

    /// Writes a request that `user` has proven.
    pub(super) fn request(
        &mut self,
        client: Client,
        user: u64,
        method: Method,
        build: impl FnOnce(&mut Builder<'_>),
    ) -> Vec<u8> {
        let nonce = self.fresh_nonce(client);
        let kind = Type { method, class: Class::Request };
        let mut wire = Vec::new();
        let mut request = Builder::new(&mut wire, kind, self.id());
        build(&mut request);
        request.attribute(AttributeType::USERNAME, username(user).as_bytes());
        request.attribute(AttributeType::REALM, REALM.as_bytes());
        request.attribute(AttributeType::NONCE, nonce.get(8..).expect("stamped"));
        let key = &self.keys[usize::try_from(user).expect("small")];
        request.integrity_sha1(key).fingerprint();
        wire
    }

    /// Returns the error of an answer, if it is one, and counts it.
    pub(super) fn error(&mut self, answer: &[u8]) -> Option<u16> {
        let message = Message::read(answer).expect("a message");
        let error = message.attribute(AttributeType::ERROR_CODE).and_then(|error| error.error());
        let error = error.map(|ErrorCode(number)| number);
        match error {
            Some(_) => self.told.refused += 1,
            None => self.told.granted += 1,
        }
        error
    }

    fn fresh_nonce(&mut self, client: Client) -> Vec<u8> {
        if let Some(nonce) = self.nonces.get(&client)
            && self.chance.percent(90)
            && !self.is_old(nonce)
        {
            return nonce.clone();
        }
        let kind = Type { method: Method::REFRESH, class: Class::Request };
        let mut bare = Vec::new();
        Builder::new(&mut bare, kind, self.id());
        let came = self.arrive(client, &bare, Opened::All);
        let Came::Answer(answer) = came else { panic!("no challenge") };
        let message = Message::read(&answer).expect("a message");
        let nonce = message.attribute(AttributeType::NONCE).expect("a nonce").value.to_vec();
        let stamped = [&self.now_ms.to_be_bytes()[..], &nonce].concat();
        self.nonces.insert(client, stamped.clone());
        stamped
    }

    fn is_old(&self, stamped: &[u8]) -> bool {
        let (at, _) = stamped.split_first_chunk::<8>().expect("stamped");
        self.now_ms - u64::from_be_bytes(*at) > limits::TURN_NONCE_S * 1_000 / 2
    }

    pub(super) fn arrive(&mut self, client: Client, datagram: &[u8], opens: Opened) -> Came {
        let arrival = Arrival { client, addressed: listener(), datagram };
        let now = self.now();
        self.kernel.failed = false;
        let step = self.relay.from_client(now, arrival, &mut self.out);
        let came = match step {
            Step::Open(carrier) => {
                self.kernel.failed = opens == Opened::Failed;
                if opens == Opened::All {
                    let open = match carrier {
                        Carrier::Udp => &mut self.open,
                        Carrier::Tcp => &mut self.kernel.doors,
                    };
                    for port in &self.out.opens {
                        assert!(open.insert(*port), "a port is opened once");
                    }
                }
                self.relay.opened(now, opens, &mut self.out);
                Came::Answer(self.out.answer.clone())
            }
            step => came(step, &self.out),
        };
        self.close_ports();
        came
    }

    fn close_ports(&mut self) {
        for (carrier, port) in self.out.closes.drain(..) {
            let closed = match carrier {
                Carrier::Udp => self.open.remove(&port),
                Carrier::Tcp => self.kernel.close(port),
            };
            assert!(closed, "a port is closed once");
        }
    }
}

/// The address of a relayed port, as clients and peers know it.
pub(super) fn address_of(port: RelayPort) -> SocketAddr {
    let ip = RELAYED[usize::from(port.address)].parse().expect("an address");
    SocketAddr::new(ip, port.port)
}

fn listener() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 10], 3_478))
}

fn username(user: u64) -> String {
    format!("9999999999:user{user}")
}

fn key(user: &str) -> Key {
    let password = Secret::new(b"secret").password(user.as_bytes());
    Key::long_term_md5(user.as_bytes(), REALM.as_bytes(), password.as_bytes())
}

/// RFC 8656 section 7.2: what is asked, within bounds.
fn granted_ms(asked_s: u32) -> u64 {
    u64::from(asked_s.clamp(limits::TURN_LIFETIME_S, limits::TURN_LIFETIME_S_MAX)) * 1_000
}

fn relayed(answer: &[u8]) -> Vec<RelayPort> {
    let message = Message::read(answer).expect("a message");
    let kind = AttributeType::XOR_RELAYED_ADDRESS;
    let given = message.attributes().filter(|attribute| attribute.kind == kind);
    let port = |address: SocketAddr| RelayPort {
        address: u8::from(address.is_ipv6()),
        port: address.port(),
    };
    given.filter_map(|a| a.xor_address(message.transaction())).map(port).collect()
}

fn came(step: Step<'_>, out: &Output) -> Came {
    match step {
        Step::Drop(_) => Came::Nothing,
        Step::Answer => Came::Answer(out.answer.clone()),
        Step::Open(_) => panic!("only an Allocate opens ports"),
        Step::Connect { connection: ConnectionId(id), port, peer } => Came::Connect(id, port, peer),
        Step::Bind { connection: ConnectionId(id) } => Came::Bind(id, out.answer.clone()),
        Step::ToSibling { .. } => panic!("there is one thread"),
        Step::ToPeer { port, peer, payload, .. } => {
            assert_eq!(payload, b"data");
            Came::Goes(Goes::ToPeer(port, peer))
        }
        Step::ToClient { client, around, payload, .. } => {
            assert_eq!(payload, b"data");
            let channel = match around {
                Around::Channel([n0, n1, 0, 4]) => Some(u16::from_be_bytes([n0, n1])),
                Around::Indication { padding: 0 } => None,
                other => panic!("four bytes are wrapped in {other:?}"),
            };
            Came::Goes(Goes::ToClient(client, channel))
        }
    }
}
