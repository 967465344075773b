//! A relay with no other role beside it.

use std::net::UdpSocket;

use base64::Engine as _;
use entente::stun::{AttributeType, Builder, Class, Key, Message, Method, TransactionId, Type};
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

const SECRET: &str = "a-secret-of-this-test";
const USER: &[u8] = b"9999999999:alice";
const REALM: &[u8] = b"contoso.example";
const OTHER: &str = "192.0.2.9:3478";

/// A client of a relay, with what its requests are proven by.
struct Client {
    socket: UdpSocket,
    key: Key,
    asked: u8,
}

/// What a request came to: its error, if it has one, and where a client is sent instead.
type Outcome = (Option<u16>, Option<SocketAddr>);

impl Client {
    fn of(relay: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.connect(relay).unwrap();
        let secret = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
        let password = hmac::sign(&secret, USER);
        let password = base64::engine::general_purpose::STANDARD.encode(password);
        let key = Key::long_term_md5(USER, REALM, password.as_bytes());
        Self { socket, key, asked: 0 }
    }

    fn say(&mut self, method: Method, nonce: Option<&[u8]>, lifetime_s: u32) -> Vec<u8> {
        self.asked += 1;
        let mut wire = Vec::new();
        let kind = Type { method, class: Class::Request };
        let mut request = Builder::new(&mut wire, kind, TransactionId([self.asked; 12]));
        request.number(AttributeType::LIFETIME, lifetime_s);
        if method == Method::ALLOCATE {
            request.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        }
        if let Some(nonce) = nonce {
            request
                .attribute(AttributeType::USERNAME, USER)
                .attribute(AttributeType::REALM, REALM)
                .attribute(AttributeType::NONCE, nonce)
                .integrity_sha1(&self.key);
        }
        self.socket.send(&wire).unwrap();
        let mut answer = [0; 1_500];
        let length = self.socket.recv(&mut answer).expect("an answer of the relay");
        answer[..length].to_vec()
    }

    fn ask(&mut self, method: Method, lifetime_s: u32) -> Outcome {
        let challenge = self.say(method, None, lifetime_s);
        let challenge = Message::read(&challenge).unwrap();
        let nonce = challenge.attribute(AttributeType::NONCE).expect("a nonce").value.to_vec();
        let answer = self.say(method, Some(&nonce), lifetime_s);
        let answer = Message::read(&answer).unwrap();
        let error = answer.attribute(AttributeType::ERROR_CODE).and_then(|code| code.error());
        let other = answer.attribute(AttributeType::ALTERNATE_SERVER);
        (error.map(|code| code.0), other.and_then(|other| other.address()))
    }
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
    assert_eq!(second.ask(Method::REFRESH, 0), (None, None));
    assert_eq!(exit_code(edge), Some(0), "with one left, long before its time is over");
}
