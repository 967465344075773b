//! Credentials of the A/V Edge from end to end: a server inside asks over mutual TLS, and a client
//! allocates with what it got, by either dialect, while the keys roll.

use std::net::UdpSocket;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entente::stun::{self, ms};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::*;

const REALM: &str = "contoso.example";
const PATIENCE: Duration = Duration::from_secs(20);

/// An edge with a relay and the listener for servers that want credentials.
struct Lab {
    world: World,
    relay: SocketAddr,
    inside: SocketAddr,
    text: String,
}

impl Lab {
    fn new() -> Self {
        let world = World::new();
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (relay, inside) = (taken.local_addr().unwrap(), free());
        let text = format!(
            "[edge]\nexternal_fqdn = \"sip.contoso.example\"\ndomains = [\"contoso.example\"]\n\
             shards = 1\ndrain_notice_s = 0\ndrain_timeout_s = 2\n\
             [[identity]]\ncertificate = \"sip.pem\"\n\
             key = \"sip.key\"\n[tls]\ntrust = [\"ca.pem\"]\n\
             [av]\nrelayed = [\"127.0.0.1\"]\nports_first = 10000\n\
             credentials_secrets = \"media.toml\"\ncredentials_names = [\"sip.contoso.example\"]\n\
             [[av_listener]]\naddress = \"{relay}\"\n\
             [[listener]]\naddress = \"{inside}\"\nclass = \"credentials\"\n\
             [management]\nlisten = [\"{}\"]\n[log]\nformat = \"json\"\nlevel = \"debug\"\n",
            world.management
        );
        let lab = Self { world, relay, inside, text };
        lab.write_keys(&[1]);
        lab.world.write(&lab.text);
        lab
    }

    /// Writes keys, the first of which signs.
    fn write_keys(&self, ids: &[u8]) {
        let section = |id: &u8| {
            let key = format!("{id:02x}").repeat(32);
            format!("[[secret]]\nid = {id}\nkey = \"{key}\"\n")
        };
        let text: String = ids.iter().map(section).collect();
        fs::write(self.world.directory.path().join("media.toml"), text).unwrap();
    }

    /// Connects with the certificate of a file; `None`: without one.
    fn server(&self, shows: Option<&str>) -> StreamOwned<ClientConnection, TcpStream> {
        let path = |name: &str| self.world.directory.path().join(name);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(path("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = match shows {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::from_pem_file(path(&format!("{name}.pem"))).unwrap();
                let key = PrivateKeyDer::from_pem_file(path(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(vec![chain], key).unwrap()
            }
        };
        let name = ServerName::try_from("sip.contoso.example").unwrap();
        let socket = TcpStream::connect(self.inside).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), socket)
    }

    /// Asks for credentials and returns username and password as they were given.
    fn credentials(&self) -> (String, String) {
        let mut server = self.server(Some("sip"));
        let answer = ask(&mut server).expect("an answer");
        assert!(answer.starts_with("SIP/2.0 200 OK\r\n"), "{answer}");
        assert!(answer.contains("reasonPhrase='OK'"), "{answer}");
        let port = format!("<udpPort>{}</udpPort>", self.relay.port());
        assert!(answer.contains(&port), "{answer}");
        let between = |from: &str, to: &str| {
            let (_, behind) = answer.split_once(from).unwrap_or_else(|| panic!("{answer}"));
            behind.split_once(to).unwrap().0.to_owned()
        };
        (between("<username>", "</username>"), between("<password>", "</password>"))
    }

    fn reload(&self, edge: &Edge, epoch: u32) {
        signal(edge, "HUP");
        let told = format!("entente_control_config_epoch {epoch}\n");
        assert!(within(|| self.world.ask("/metrics").contains(&told)), "{}", self.world.logged());
    }
}

/// Sends SERVICE and reads its answer; `None`: the edge closed.
fn ask(server: &mut StreamOwned<ClientConnection, TcpStream>) -> Option<String> {
    let (to, kim) = ("sip:sip.contoso.example", "sip:kim@contoso.example");
    let body = format!(
        "<request requestID=\"7\" from=\"{kim}\" version=\"2.0\" to=\"{to}\" \
         xmlns=\"http://schemas.microsoft.com/2006/09/sip/mrasp\"><credentialsRequest \
         credentialsRequestID=\"7\"><identity>{kim}</identity><location>internet</location>\
         <duration>480</duration></credentialsRequest></request>"
    );
    let request = format!(
        "SERVICE {to} SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:5061;branch=z9hG4bK7\r\n\
         Max-Forwards: 70\r\nFrom: <{kim}>;tag=1\r\nTo: <{to}>\r\nCall-ID: 7\r\n\
         CSeq: 1 SERVICE\r\nContent-Type: application/msrtc-media-relay-auth+xml\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    server.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    // Bound: each pass reads something, and the answer ends the loop.
    while !answer.ends_with("</response>") {
        let mut piece = [0; 4_096];
        let bytes = server.read(&mut piece).ok().filter(|bytes| *bytes > 0)?;
        answer.push_str(std::str::from_utf8(&piece[..bytes]).unwrap());
    }
    Some(answer)
}

fn client(relay: SocketAddr) -> impl Fn(&[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(relay).unwrap();
    move |message| {
        socket.send(message).unwrap();
        let mut answer = [0; 1_500];
        let length = socket.recv(&mut answer).expect("an answer of the relay");
        answer[..length].to_vec()
    }
}

/// Allocates by RFC 8656 with credentials as they were given; tells whether it was granted.
fn allocates(relay: SocketAddr, (username, password): &(String, String)) -> bool {
    let say = client(relay);
    let kind = stun::Type { method: stun::Method::ALLOCATE, class: stun::Class::Request };
    let mut bare = Vec::new();
    stun::Builder::new(&mut bare, kind, stun::TransactionId([1; 12]));
    let challenge = say(&bare);
    let challenge = stun::Message::read(&challenge).unwrap();
    let nonce = challenge.attribute(stun::AttributeType::NONCE).unwrap().value;
    let (username, password) = (username.as_bytes(), password.as_bytes());
    let key = stun::Key::long_term_md5(username, REALM.as_bytes(), password);
    let mut wire = Vec::new();
    stun::Builder::new(&mut wire, kind, stun::TransactionId([2; 12]))
        .attribute(stun::AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
        .attribute(stun::AttributeType::USERNAME, username)
        .attribute(stun::AttributeType::REALM, REALM.as_bytes())
        .attribute(stun::AttributeType::NONCE, nonce)
        .integrity_sha1(&key);
    let answer = say(&wire);
    let answer = stun::Message::read(&answer).unwrap();
    let granted = answer.kind().class == stun::Class::Success;
    assert_eq!(granted, answer.integrity(&key) == stun::Proof::Good, "who grants proves himself");
    granted
}

/// The same by the Microsoft dialect, which takes the base64 off.
fn allocates_by_ms(relay: SocketAddr, (username, password): &(String, String)) -> bool {
    let say = client(relay);
    let mut bare = Vec::new();
    ms::Builder::new(&mut bare, ms::MessageType::ALLOCATE, ms::TransactionId([1; 16]));
    let challenge = say(&bare);
    let challenge = ms::Message::read(&challenge).unwrap();
    let nonce = challenge.attribute(ms::AttributeType::NONCE).unwrap().value;
    let decoded = |text: &str| STANDARD.decode(text).unwrap();
    let (username, password) = (decoded(username), decoded(password));
    let key = ms::Key::long_term(&username, REALM.as_bytes(), &password);
    let mut wire = Vec::new();
    ms::Builder::new(&mut wire, ms::MessageType::ALLOCATE, ms::TransactionId([2; 16]))
        .attribute(ms::AttributeType::USERNAME, &username)
        .attribute(ms::AttributeType::NONCE, nonce)
        .attribute(ms::AttributeType::REALM, REALM.as_bytes())
        .integrity(&key);
    let answer = say(&wire);
    let answer = ms::Message::read(&answer).unwrap();
    let granted = answer.kind() == ms::MessageType::ALLOCATE_RESPONSE;
    assert_eq!(granted, answer.integrity(&key) == stun::Proof::Good, "who grants proves himself");
    granted
}

#[test]
fn what_a_server_inside_gets_opens_the_relay_by_either_dialect_until_its_key_is_gone() {
    let lab = Lab::new();
    let edge = lab.world.run(|_| {});
    let both =
        |given: &(String, String)| [allocates(lab.relay, given), allocates_by_ms(lab.relay, given)];
    let old = lab.credentials();
    assert_eq!(both(&old), [true, true]);
    assert_eq!(both(&(old.0.clone(), STANDARD.encode([9; 20]))), [false, false]);

    // The new key signs and the old one verifies; then it is dropped.
    lab.write_keys(&[2, 1]);
    lab.reload(&edge, 2);
    let new = lab.credentials();
    assert_ne!(new.0, old.0);
    assert_eq!((both(&old), both(&new)), ([true, true], [true, true]));
    lab.write_keys(&[2]);
    lab.reload(&edge, 3);
    // The relay is told by a box, so it may be a moment behind the epoch.
    assert!(within(|| both(&old) == [false, false]), "{}", lab.world.logged());
    assert_eq!(both(&new), [true, true]);
    let issued = "entente_access_credentials_issued_total 2\n";
    assert!(within(|| lab.world.ask("/metrics").contains(issued)), "{}", lab.world.ask("/metrics"));
    assert!(lab.world.logs("1 relay credentials handed out"), "{}", lab.world.logged());
    signal(&edge, "TERM");
    assert_eq!(exit_code(edge), Some(0));
}

#[test]
fn who_shows_no_certificate_of_a_listed_name_gets_none() {
    let lab = Lab::new();
    let other = "credentials_names = [\"pool.contoso.example\"]";
    let named = "credentials_names = [\"sip.contoso.example\"]";
    let edge = lab.world.run(|_| {});
    assert_eq!(ask(&mut lab.server(None)), None, "without a certificate");
    assert!(ask(&mut lab.server(Some("sip"))).is_some());
    lab.world.write(&lab.text.replace(named, other));
    lab.reload(&edge, 2);
    assert_eq!(ask(&mut lab.server(Some("sip"))), None, "with another name");
    assert!(lab.world.logs("pool.contoso.example"), "{}", lab.world.logged());
}
