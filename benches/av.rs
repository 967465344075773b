//! The relay's core on one datagram each way, and on one life of an allocation.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};

use criterion::{Criterion, criterion_group, criterion_main};
use entente::edge::av::{
    Arrival, Client, Credentials, Listener, Opened, Output, Peers, Ports, Quotas, Relay, RelayPort,
    RelayedAddress, Secret, Setup, Step, Transport,
};
use entente::stun::{
    AttributeType, Builder, ChannelData, ChannelNumber, Class, Key, Message, Method, TransactionId,
    Type,
};
use entente::time::{Monotonic, Now};

const REALM: &str = "contoso.example";
/// It ends in the year 2286.
const USER: &str = "9999999999:alice";
const CHANNEL: u16 = 0x4000;
/// More than the caches nearest to a core hold.
const ALLOCATIONS: u32 = 4_096;
/// Ports that allocations share, where they do.
const SHARED: [u16; 4] = [50_000, 50_001, 50_002, 50_003];
/// From one datagram to the next: what they take of the user's rate flows in.
const STEP_NS: u64 = 200;
/// A packet of audio.
const PAYLOAD: [u8; 160] = [0x80; 160];

/// A relay with allocations, each with a channel to a peer of its own.
struct Bench {
    relay: Relay,
    out: Output,
    now: Now,
    key: Key,
    nonce: Vec<u8>,
    serial: u64,
    ports: Vec<RelayPort>,
}

impl Bench {
    fn new(ports: Ports, allocations: u32) -> Self {
        let now = Now { monotonic: Monotonic(1_000_000_000), unix_s: 1_700_000_000 };
        let secret = Secret::new(b"secret");
        let password = secret.password(USER.as_bytes());
        let relayed = "192.0.2.20".parse().expect("an address");
        let setup = Setup {
            realm: REALM.to_owned(),
            relayed: vec![RelayedAddress { bound: relayed, public: relayed }],
            ports,
            listeners: vec![Listener { node: node(), vip: None }],
            credentials: Credentials { rest: vec![secret], mras: Vec::new() },
            nonce_keys: vec![[1; 32]],
            peers: Peers::default(),
            quotas: Quotas {
                allocations_per_user: u32::MAX,
                allocations_per_source: u32::MAX,
                allocation_kbit_s: 10_000_000,
                user_kbit_s: 10_000_000,
                ..Quotas::default()
            },
            seed: 7,
        };
        let mut bench = Self {
            relay: Relay::new(setup),
            out: Output::default(),
            now,
            key: Key::long_term_md5(USER.as_bytes(), REALM.as_bytes(), password.as_bytes()),
            nonce: Vec::new(),
            serial: 0,
            ports: Vec::new(),
        };
        bench.challenge();
        for number in 0..allocations {
            bench.begin(number);
        }
        bench
    }

    /// One nonce serves all: they come from one address.
    fn challenge(&mut self) {
        let kind = Type { method: Method::ALLOCATE, class: Class::Request };
        let mut bare = Vec::new();
        Builder::new(&mut bare, kind, TransactionId([0; 12]));
        self.ask(client(0), &bare);
        let answer = Message::read(&self.out.answer).expect("a challenge");
        let nonce = answer.attribute(AttributeType::NONCE).expect("a nonce");
        self.nonce = nonce.value.to_vec();
    }

    fn ask(&mut self, client: Client, request: &[u8]) {
        let arrival = Arrival { client, addressed: node(), datagram: request };
        match self.relay.from_client(self.now, arrival, &mut self.out) {
            Step::Answer => {}
            Step::Open(_) => {
                self.relay.opened(self.now, Opened::All, &mut self.out);
            }
            step => panic!("no answer: {step:?}"),
        }
    }

    fn request(
        &mut self,
        number: u32,
        method: Method,
        build: impl FnOnce(&mut Builder<'_>),
    ) -> Message<'_> {
        self.serial += 1;
        let mut id = [0; 12];
        id[4..].copy_from_slice(&self.serial.to_be_bytes());
        let mut wire = Vec::with_capacity(256);
        let kind = Type { method, class: Class::Request };
        let mut request = Builder::new(&mut wire, kind, TransactionId(id));
        build(&mut request);
        request.attribute(AttributeType::USERNAME, USER.as_bytes());
        request.attribute(AttributeType::REALM, REALM.as_bytes());
        request.attribute(AttributeType::NONCE, &self.nonce);
        request.integrity_sha1(&self.key);
        self.ask(client(number), &wire);
        let answer = Message::read(&self.out.answer).expect("an answer");
        assert_eq!(answer.kind().class, Class::Success);
        answer
    }

    fn begin(&mut self, number: u32) {
        let answer = self.request(number, Method::ALLOCATE, |request| {
            request.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        });
        let relayed = answer.attribute(AttributeType::XOR_RELAYED_ADDRESS);
        let relayed = relayed.and_then(|relayed| relayed.xor_address(answer.transaction()));
        let port = relayed.expect("an address").port();
        self.ports.push(RelayPort { address: 0, port });
        self.request(number, Method::CHANNEL_BIND, |request| {
            let [high, low] = CHANNEL.to_be_bytes();
            request.attribute(AttributeType::CHANNEL_NUMBER, &[high, low, 0, 0]);
            request.xor_address(AttributeType::XOR_PEER_ADDRESS, peer(number));
        });
    }

    fn end(&mut self, number: u32) {
        self.request(number, Method::REFRESH, |request| {
            request.number(AttributeType::LIFETIME, 0);
        });
        self.out.closes.clear();
        self.ports.pop();
    }
}

fn node() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 10], 3478))
}

fn client(number: u32) -> Client {
    let remote = SocketAddr::from(([203, 0, 113, 5], 1_024 + number as u16));
    Client { listener: 0, transport: Transport::Udp, remote }
}

fn peer(number: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(0x5DB8_0000 + number), 5_000))
}

/// Returns another number of an allocation each time, in no order.
fn another(number: &mut u32) -> u32 {
    *number = (*number + 2_731) % ALLOCATIONS;
    *number
}

/// Each datagram is one of another allocation.
fn data(criterion: &mut Criterion) {
    let own = || Ports::Range { first: 50_000, count: 10_000 };
    let shared = || Ports::Shared(SHARED.to_vec());
    let mut group = criterion.benchmark_group("av");
    for (ports, of) in [(own as fn() -> Ports, ""), (shared, "_shared")] {
        let mut bench = Bench::new(ports(), ALLOCATIONS);
        let mut datagram = Vec::new();
        let channel = ChannelNumber::new(CHANNEL).expect("a channel");
        datagram.extend_from_slice(&ChannelData::header(channel, PAYLOAD.len() as u16));
        datagram.extend_from_slice(&PAYLOAD);
        let mut number = 0;
        group.bench_function(format!("channel_data{of}"), |b| {
            b.iter(|| {
                bench.now.monotonic.0 += STEP_NS;
                let client = client(another(&mut number));
                let arrival = Arrival { client, addressed: node(), datagram: &datagram };
                match bench.relay.from_client(bench.now, black_box(arrival), &mut bench.out) {
                    Step::ToPeer { port, .. } => port,
                    step => panic!("the bench datagram is none: {step:?}"),
                }
            });
        });
        let mut bench = Bench::new(ports(), ALLOCATIONS);
        group.bench_function(format!("peer_data{of}"), |b| {
            b.iter(|| {
                bench.now.monotonic.0 += STEP_NS;
                let number = another(&mut number);
                let (port, peer) = (bench.ports[number as usize], peer(number));
                let (now, out) = (bench.now, &mut bench.out);
                match bench.relay.from_peer(now, port, black_box(peer), &PAYLOAD, out) {
                    Step::ToClient { client, .. } => client,
                    step => panic!("the bench datagram is none: {step:?}"),
                }
            });
        });
    }
    group.finish();
}

/// Allocate, ChannelBind and Refresh with a lifetime of zero, without sockets and with what the
/// client has to compute; among others that stay.
fn life(criterion: &mut Criterion) {
    let mut bench = Bench::new(Ports::Range { first: 50_000, count: 10_000 }, ALLOCATIONS);
    criterion.bench_function("av/life", |b| {
        b.iter(|| {
            bench.begin(ALLOCATIONS);
            bench.end(ALLOCATIONS);
        });
    });
}

criterion_group!(benches, data, life);
criterion_main!(benches);
