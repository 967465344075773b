//! A relay with no other role beside it.

use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};

use base64::Engine as _;
use entente::stun::{
    AttributeType, Builder, ChannelData, ChannelNumber, Class, Key, Message, Method, TransactionId,
    Type,
};
use ring::hmac;

use super::ctl::ctl_ends;
use super::*;

/// An Allocate for UDP without credentials (RFC 8656 section 7.1), which is challenged.
const ALLOCATE: [u8; 28] = [
    0x00, 0x03, 0x00, 0x08, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x00,
    0x19, 0x00, 0x04, 17, 0, 0, 0,
];

#[test]
fn a_relay_alone_starts_answers_reloads_and_ends() {
    let world = World::new();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listener = taken.local_addr().unwrap();
    drop(taken);
    fs::write(world.directory.path().join("turn-secrets.txt"), "a-secret-of-this-test\n").unwrap();
    let text = format!(
        "[edge]\nexternal_fqdn = \"sip.contoso.example\"\ndomains = [\"contoso.example\"]\n\
         drain_notice_s = 1\n[av]\nrelayed = [\"127.0.0.1\"]\nports_first = 10000\n\
         secrets = \"turn-secrets.txt\"\n[[av_listener]]\naddress = \"{listener}\"\n\
         [management]\nlisten = [\"{}\"]\n\
         [log]\nformat = \"json\"\n",
        world.management
    );
    world.write(&text);
    let edge = world.run(|_| {});
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    client.connect(listener).unwrap();
    let mut answer = [0; 1500];
    let answered = || client.send(&ALLOCATE).is_ok() && client.recv(&mut answer).is_ok();
    assert!(within(answered), "{}", world.logged());
    assert_eq!(answer[..2], [0x01, 0x13], "an error response to Allocate");
    assert_eq!(answer[8..20], ALLOCATE[8..20], "of its transaction");

    world.write(&text.replace("[av]", "[av]\nallocations = 100"));
    signal(&edge, "HUP");
    let epoch = "entente_control_config_epoch 2\n";
    assert!(within(|| world.ask("/metrics").contains(epoch)), "{}", world.logged());
    signal(&edge, "TERM");
    assert_eq!(exit_code(edge), Some(0));
}

/// Symptom: a flood of strangers was seen in the metrics alone.
#[test]
fn a_flood_of_strangers_is_told_with_the_network_that_it_comes_from() {
    let world = World::new();
    let relay = Relay::configured(&world, "");
    let edge = world.run(|_| {});
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(relay.udp).unwrap();
    for _ in 0..1_000 {
        client.send(&ALLOCATE).unwrap();
    }
    assert!(world.logs("strangers ask the A/V Edge more than it answers"), "{}", world.logged());
    let logged = world.logged();
    let line = logged.lines().find(|line| line.contains("strangers ask")).unwrap();
    for told in ["\"level\":\"WARN\"", "\"unanswered\":", "\"network\":\"127.0.0.0/24\""] {
        assert!(line.contains(told), "{line}");
    }
    signal(&edge, "TERM");
    assert_eq!(exit_code(edge), Some(0));
}

const SECRET: &str = "a-secret-of-this-test";
const USER: &[u8] = b"9999999999:alice";
pub(super) const REALM: &[u8] = b"contoso.example";
const OTHER: &str = "192.0.2.9:3478";

/// Networks of relays, so that none has the ports of another.
static RELAYS: AtomicU8 = AtomicU8::new(1);

/// Where the relay of an edge is.
pub(super) struct Relay {
    pub(super) udp: SocketAddr,
    pub(super) tcp: SocketAddr,
    /// What its clients are given ports of.
    pub(super) relayed: IpAddr,
}

impl Relay {
    /// Writes the configuration of an edge that has nothing but a relay, with an address of its own
    /// for everything; `more` goes to `[av]`. Peers are anywhere on loopback.
    pub(super) fn configured(world: &World, more: &str) -> Self {
        let number = RELAYS.fetch_add(1, Ordering::Relaxed);
        let (udp, tcp) = (format!("127.88.{number}.2:3478"), format!("127.88.{number}.2:3443"));
        let write = |name: &str, text: String| fs::write(world.directory.path().join(name), text);
        write("turn-secrets.txt", format!("{SECRET}\n")).unwrap();
        write("media-secrets.toml", format!("[[secret]]\nid = 1\nkey = \"{}\"\n", "5a".repeat(32)))
            .unwrap();
        world.write(&format!(
            "[edge]\nexternal_fqdn = \"sip.contoso.example\"\ndomains = [\"contoso.example\"]\n\
             drain_notice_s = 0\n[av]\nrelayed = [\"127.88.{number}.1\"]\n\
             external_networks = [\"127.0.0.0/8\"]\nsecrets = \"turn-secrets.txt\"\n\
             credentials_secrets = \"media-secrets.toml\"\n{more}\
             [[av_listener]]\naddress = \"{udp}\"\n\
             [[av_listener]]\naddress = \"{tcp}\"\ntransport = \"tcp\"\n\
             [[identity]]\ncertificate = \"sip.pem\"\nkey = \"sip.key\"\n\
             [management]\nlisten = [\"{}\"]\nsocket = \"admin.sock\"\n[log]\nformat = \"json\"\n",
            world.management
        ));
        let relayed = IpAddr::from([127, 88, number, 1]);
        Self { udp: udp.parse().unwrap(), tcp: tcp.parse().unwrap(), relayed }
    }
}

/// A peer, at no address that a relay or a client has.
pub(super) fn peer() -> UdpSocket {
    let peer = UdpSocket::bind("127.0.0.3:0").unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    peer
}

/// What a client's messages go by.
enum Wire {
    Datagrams(UdpSocket),
    Stream(TcpStream),
}

/// A client of a relay, with what its requests are proven by.
pub(super) struct Client {
    wire: Wire,
    key: Key,
    asked: u8,
}

/// What a request came to: its error, if it has one, and where a client is sent instead.
type Outcome = (Option<u16>, Option<SocketAddr>);

impl Client {
    pub(super) fn of(relay: SocketAddr) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), relay)
    }

    /// One at an address of its own.
    pub(super) fn at(own: SocketAddr, relay: SocketAddr) -> Self {
        let socket = UdpSocket::bind(own).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.connect(relay).unwrap();
        Self::by(Wire::Datagrams(socket))
    }

    /// One on a stream, from an address of its own.
    pub(super) fn by_stream(own: SocketAddr, relay: SocketAddr) -> Self {
        let (domain, kind) = (socket2::Domain::for_address(own), socket2::Type::STREAM);
        let socket = socket2::Socket::new(domain, kind, None).unwrap();
        socket.bind(&own.into()).unwrap();
        socket.connect(&relay.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self::by(Wire::Stream(stream))
    }

    fn by(wire: Wire) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
        let password = hmac::sign(&secret, USER);
        let password = base64::engine::general_purpose::STANDARD.encode(password);
        let key = Key::long_term_md5(USER, REALM, password.as_bytes());
        Self { wire, key, asked: 0 }
    }

    /// Its own address, as the relay sees it.
    pub(super) fn address(&self) -> SocketAddr {
        match &self.wire {
            Wire::Datagrams(socket) => socket.local_addr().unwrap(),
            Wire::Stream(stream) => stream.local_addr().unwrap(),
        }
    }

    /// The socket of one that sends datagrams.
    pub(super) fn udp(&self) -> &UdpSocket {
        match &self.wire {
            Wire::Datagrams(socket) => socket,
            Wire::Stream(_) => panic!("it has a stream"),
        }
    }

    pub(super) fn send(&self, message: &[u8]) {
        match &self.wire {
            Wire::Datagrams(socket) => assert_eq!(socket.send(message).unwrap(), message.len()),
            Wire::Stream(stream) => {
                let mut stream = stream;
                stream.write_all(message).unwrap();
            }
        }
    }

    /// Receives a message, or channel data whose length is a multiple of four.
    pub(super) fn hear(&self) -> Vec<u8> {
        match &self.wire {
            Wire::Datagrams(socket) => {
                let mut came = [0; 1_500];
                let length = socket.recv(&mut came).expect("something of the relay");
                came[..length].to_vec()
            }
            Wire::Stream(stream) => {
                let (mut stream, mut head) = (stream, [0; 4]);
                stream.read_exact(&mut head).expect("something of the relay");
                let rest = usize::from(u16::from_be_bytes([head[2], head[3]]));
                let rest = if head[0] < 0x40 { rest + 16 } else { rest };
                let mut message = head.to_vec();
                message.resize(4 + rest, 0);
                stream.read_exact(&mut message[4..]).expect("the rest of it");
                message
            }
        }
    }

    pub(super) fn send_channel(&self, number: u16, payload: &[u8]) {
        self.send(&channel_data(number, payload));
    }

    fn say(
        &mut self,
        method: Method,
        nonce: Option<&[u8]>,
        build: &dyn Fn(&mut Builder<'_>),
    ) -> Vec<u8> {
        self.asked += 1;
        let mut wire = Vec::new();
        let kind = Type { method, class: Class::Request };
        let mut request = Builder::new(&mut wire, kind, TransactionId([self.asked; 12]));
        build(&mut request);
        if let Some(nonce) = nonce {
            request
                .attribute(AttributeType::USERNAME, USER)
                .attribute(AttributeType::REALM, REALM)
                .attribute(AttributeType::NONCE, nonce)
                .integrity_sha1(&self.key);
        }
        self.send(&wire);
        self.hear()
    }

    /// Asks, proven by a nonce of a challenge; returns the answer.
    fn answer(&mut self, method: Method, build: &dyn Fn(&mut Builder<'_>)) -> Vec<u8> {
        let challenge = self.say(method, None, build);
        let challenge = Message::read(&challenge).unwrap();
        let nonce = challenge.attribute(AttributeType::NONCE).expect("a nonce").value.to_vec();
        self.say(method, Some(&nonce), build)
    }

    /// Asks without proof; returns what it is answered.
    pub(super) fn challenge(&mut self, method: Method) -> Vec<u8> {
        self.say(method, None, &|_| {})
    }

    pub(super) fn ask(&mut self, method: Method, lifetime_s: u32) -> Outcome {
        let answer = self.answer(method, &|request| {
            request.number(AttributeType::LIFETIME, lifetime_s);
            if method == Method::ALLOCATE {
                request.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
            }
        });
        let message = Message::read(&answer).unwrap();
        let other = message.attribute(AttributeType::ALTERNATE_SERVER);
        (error(&answer), other.and_then(|other| other.address()))
    }

    /// Asks for an allocation whose peers come by TCP.
    pub(super) fn allocate_tcp(&mut self) -> Option<u16> {
        error(&self.answer(Method::ALLOCATE, &|request| {
            request.attribute(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
        }))
    }

    pub(super) fn bind(&mut self, number: u16, peer: SocketAddr) -> Option<u16> {
        error(&self.answer(Method::CHANNEL_BIND, &|request| {
            let [n0, n1] = number.to_be_bytes();
            request.attribute(AttributeType::CHANNEL_NUMBER, &[n0, n1, 0, 0]);
            request.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        }))
    }
}

fn error(answer: &[u8]) -> Option<u16> {
    let message = Message::read(answer).unwrap();
    message.attribute(AttributeType::ERROR_CODE).and_then(|code| code.error()).map(|code| code.0)
}

pub(super) fn channel_data(number: u16, payload: &[u8]) -> Vec<u8> {
    let number = ChannelNumber::new(number).unwrap();
    [&ChannelData::header(number, payload.len() as u16)[..], payload].concat()
}

#[test]
fn a_relay_that_drains_names_another_may_open_again_and_ends_at_its_threshold() {
    let world = World::new();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let relay = taken.local_addr().unwrap();
    drop(taken);
    fs::write(world.directory.path().join("turn-secrets.txt"), format!("{SECRET}\n")).unwrap();
    world.write(&format!(
        "[edge]\nexternal_fqdn = \"sip.contoso.example\"\ndomains = [\"contoso.example\"]\n\
         drain_notice_s = 0\ndrain_timeout_s = 300\n\
         [av]\nrelayed = [\"127.0.0.1\"]\nports_first = 10000\n\
         secrets = \"turn-secrets.txt\"\ndrain_to = \"{OTHER}\"\ndrain_below = 1\n\
         [[av_listener]]\naddress = \"{relay}\"\n\
         [management]\nlisten = [\"{}\"]\nsocket = \"admin.sock\"\n[log]\nformat = \"json\"\n",
        world.management
    ));
    let mut edge = world.run(|_| {});
    let [mut first, mut second] = [Client::of(relay), Client::of(relay)];
    assert_eq!(first.ask(Method::ALLOCATE, 600), (None, None));
    ctl_ends(&world, 0, &["relay", "drain"]);
    let sent_on = (Some(300), Some(OTHER.parse().unwrap()));
    let drains = || {
        let mut client = Client::of(relay);
        let outcome = client.ask(Method::ALLOCATE, 600);
        if outcome == (None, None) {
            client.ask(Method::REFRESH, 0);
        }
        outcome == sent_on
    };
    assert!(within(drains));
    assert_eq!(first.ask(Method::REFRESH, 600), (None, None), "those that there are go on");
    ctl_ends(&world, 0, &["relay", "open"]);
    assert!(within(|| second.ask(Method::ALLOCATE, 600) == (None, None)));

    signal(&edge, "TERM");
    assert!(within(drains), "it drains");
    assert_eq!(edge.0.try_wait().unwrap(), None, "two are more than it may end");
    let told = ctl_ends(&world, 0, &["relay", "status"]);
    assert!(told.contains("no new allocations are taken\ndown to 1: "), "{told}");
    let told = ctl_ends(&world, 0, &["relay", "list"]);
    assert!(told.contains("2 of 2 allocations"), "{told}");
    let told = ctl_ends(&world, 1, &["relay", "open"]);
    assert!(told.contains("the edge drains"), "{told}");
    let told = ctl_ends(&world, 1, &["reload"]);
    assert!(told.contains("the edge drains"), "{told}");
    assert_eq!(second.ask(Method::REFRESH, 0), (None, None));
    assert_eq!(exit_code(edge), Some(0), "with one left, long before its time is over");
}
