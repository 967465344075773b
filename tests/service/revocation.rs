//! Revocation lists over a whole process: a partner whose certificate is revoked while its
//! connection is open, lists that cannot be had, and a restart.

use std::io::{ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use entente::time::Clock;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    DnType, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use super::ctl::{ctl_ends, epoch};
use super::{Edge, World, exit_code, free, signal, within};

/// Serial number of the partner's certificate.
const PARTNER: u64 = 66;

/// An edge, its authority, where the authority's list is, and a server inside.
struct Scene {
    world: World,
    authority: Issuer<'static, KeyPair>,
    lists: Lists,
    pool: Pool,
}

/// A server of HTTP whose one file may be put there and taken away.
struct Lists {
    address: SocketAddr,
    file: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Lists {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let file = Arc::new(Mutex::new(None::<Vec<u8>>));
        let served = Arc::clone(&file);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let _ = read_head(&mut stream);
                let answer = match &*served.lock().unwrap() {
                    Some(list) => {
                        let length = list.len();
                        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                        [head.as_bytes(), list].concat()
                    }
                    None => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
                };
                let _ = stream.write_all(&answer);
            }
        });
        Self { address, file }
    }

    fn put(&self, list: Option<Vec<u8>>) {
        *self.file.lock().unwrap() = list;
    }
}

/// The next hop: answers every request with 200 and counts them.
struct Pool {
    address: SocketAddr,
    heard: Arc<AtomicUsize>,
}

impl Pool {
    fn start(chain: &str, key: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates(chain), private_key(key))
            .unwrap();
        let (config, heard) = (Arc::new(config), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || {
                    let mut tls = StreamOwned::new(connection, stream);
                    while let Some(request) = read_head(&mut tls) {
                        let mut body = [0; 5];
                        if tls.read_exact(&mut body).is_err() {
                            return;
                        }
                        counter.fetch_add(1, Ordering::SeqCst);
                        let _ = tls.write_all(ok(&request).as_bytes());
                    }
                });
            }
        });
        Self { address, heard }
    }

    fn heard(&self) -> usize {
        self.heard.load(Ordering::SeqCst)
    }
}

/// The 200 to a request: what RFC 3261 section 8.2.6.2 wants copied.
fn ok(request: &str) -> String {
    let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let lines = request.lines().filter(|line| copied.iter().any(|name| line.starts_with(name)));
    let lines: Vec<String> = lines
        .map(|line| match line.strip_prefix("To:") {
            Some(_) => format!("{line};tag=p\r\n"),
            None => format!("{line}\r\n"),
        })
        .collect();
    format!("SIP/2.0 200 OK\r\n{}Content-Length: 0\r\n\r\n", lines.concat())
}

/// Reads up to an empty line; `None` at the end of the stream.
fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}

/// The partner's edge: one connection.
struct Partner {
    tls: StreamOwned<ClientConnection, TcpStream>,
    sent: u32,
}

impl Partner {
    /// Sends one MESSAGE; returns the answer's head, `None` if the edge has closed.
    fn message(&mut self) -> Option<String> {
        self.sent += 1;
        let number = self.sent;
        let request = format!(
            "MESSAGE sip:alice@contoso.example SIP/2.0\r\n\
             Via: SIP/2.0/TLS sip.fabrikam.example:5061;branch=z9hG4bK{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:bob@fabrikam.example>;tag=1\r\n\
             To: <sip:alice@contoso.example>\r\nCall-ID: {number}@fabrikam.example\r\n\
             CSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
        );
        self.tls.write_all(request.as_bytes()).ok()?;
        read_head(&mut self.tls)
    }
}

impl Scene {
    fn new() -> Self {
        let lists = Lists::start();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Partners' authority");
        let ca = params.self_signed(&key).unwrap().pem();
        let authority = Issuer::new(params, key);
        let world = World {
            directory: tempfile::tempdir().unwrap(),
            federation: free(),
            management: free(),
        };
        let write = |name: &str, text: &str| {
            std::fs::write(world.directory.path().join(name), text).unwrap();
        };
        let sign = |name: &str, serial: u64| {
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.serial_number = Some(SerialNumber::from(serial));
            let uris = vec![format!("http://{}/ca.crl", lists.address)];
            params.crl_distribution_points = vec![CrlDistributionPoint { uris }];
            let key = KeyPair::generate().unwrap();
            let pem = params.signed_by(&key, &authority).unwrap().pem();
            (pem, key.serialize_pem())
        };
        let (chain, key) = sign("sip.contoso.example", 1);
        write("sip.pem", &chain);
        write("sip.key", &key);
        let (chain, key) = sign("sip.fabrikam.example", PARTNER);
        write("partner.pem", &chain);
        write("partner.key", &key);
        write("ca.pem", &ca);
        let (chain, key) = sign("pool.contoso.example", 2);
        let pool = Pool::start(&chain, &key);
        Self { world, authority, lists, pool }
    }

    /// Writes the configuration; `tls` and `partner` are further lines of these sections.
    fn configure(&self, tls: &str, partner: &str) {
        let text = self.world.text();
        let hop = format!(
            "name = \"pool.contoso.example\"\naddresses = [\"127.0.0.1\"]\nport = {}",
            self.pool.address.port()
        );
        let text = text
            .replace("name = \"pool.contoso.example\"", &hop)
            .replace("trust = [\"ca.pem\"]", &format!("trust = [\"ca.pem\"]\n{tls}"));
        let entry = format!(
            "[[partner]]\ndomain = \"fabrikam.example\"\nkind = \"allowed_server\"\n\
             edge = \"sip.fabrikam.example\"\n{partner}\n\
             [addresses]\nallow_networks = [\"127.0.0.0/8\"]\n"
        );
        self.world.write(&format!("{text}{entry}"));
    }

    /// Writes the configuration with `soft` spelt out and a socket for `entente ctl`.
    fn configure_with_socket(&self) {
        self.configure("revocation = \"soft\"", "");
        let text = std::fs::read_to_string(self.world.file()).unwrap();
        self.world.write(&text.replace("[log]", "socket = \"admin.sock\"\n[log]"));
    }

    /// A list that is good for `seconds` from now.
    fn list(&self, serials: &[u64], seconds: u64) -> Vec<u8> {
        let now = Clock::start().now().unix_s;
        let time = |unix_s: u64| date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_s);
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: time(now),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: time(now),
            next_update: time(now + seconds),
            crl_number: SerialNumber::from(now),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.authority).unwrap().der().to_vec()
    }

    fn connect(&self) -> Partner {
        let read =
            |name: &str| std::fs::read_to_string(self.world.directory.path().join(name)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificates(&read("ca.pem")).remove(0)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                certificates(&read("partner.pem")),
                private_key(&read("partner.key")),
            )
            .unwrap();
        let name = ServerName::try_from("sip.contoso.example").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(self.world.federation).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Partner { tls: StreamOwned::new(connection, stream), sent: 0 }
    }

    fn shows(&self, line: &str) -> bool {
        self.world.ask("/metrics").lines().any(|shown| shown == line)
    }

    fn drain(&self, edge: Edge) {
        signal(&edge, "TERM");
        assert_eq!(exit_code(edge), Some(0));
    }
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

fn private_key(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap()
}

const IN_FORCE: &str = "entente_tls_revocation_lists{state=\"in_force\"} 1";

#[test]
fn a_partner_that_is_revoked_while_its_connection_is_open_has_no_further_message_forwarded() {
    let scene = Scene::new();
    scene.configure("", "");
    scene.lists.put(Some(scene.list(&[1], 8)));
    let edge = scene.world.run(|_| {});
    let mut partner = scene.connect();
    let answer = partner.message().unwrap();
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    assert!(within(|| scene.shows(IN_FORCE)), "{}", scene.world.logged());
    let in_force = "the revocation list of this authority is in force";
    assert!(scene.world.logs(in_force), "{}", scene.world.logged());
    assert!(scene.world.logs("CN=Partners' authority"), "{}", scene.world.logged());
    assert!(partner.message().unwrap().starts_with("SIP/2.0 200"), "known to be good");

    // The list in force ends in 8 s, so its successor is fetched within 6.4 s.
    scene.lists.put(Some(scene.list(&[1, PARTNER], 3_600)));
    assert!(within(|| scene.shows("entente_tls_revocation_entries 2")), "{}", scene.world.logged());
    assert_eq!(partner.message(), None, "the connection is closed");
    assert_eq!(scene.pool.heard(), 2, "nothing of it has come through");
    let closed = "closed by us, judged again: the peer's certificate has been revoked";
    assert!(scene.world.logs(closed), "{}", scene.world.logged());

    let mut again = scene.connect();
    assert_eq!(again.message(), None, "the handshake fails");
    let refused = "entente_shard_handshakes_failed_total{reason=\"revoked\"} 1";
    assert!(within(|| scene.shows(refused)), "{}", scene.world.ask("/metrics"));
    let why = "refused a connection from";
    let told = |line: &str| line.contains(why) && line.contains("has been revoked");
    assert!(within(|| scene.world.logged().lines().any(told)), "{}", scene.world.logged());
    scene.drain(edge);
}

#[test]
fn hard_refuses_with_diagnostics_until_there_is_a_list_and_the_open_leg_recovers() {
    let scene = Scene::new();
    scene.configure("", "revocation = \"hard\"");
    let edge = scene.world.run(|_| {});
    let mut partner = scene.connect();
    let answer = partner.message().unwrap();
    assert!(answer.starts_with("SIP/2.0 504"), "{answer}");
    assert!(answer.contains("ms-diagnostics-public: 1010;"), "{answer}");
    assert!(within(|| {
        scene.shows("entente_tls_revocation_fetches_total{result=\"status\"} 1")
            && scene.shows("entente_tls_revocation_lists{state=\"missing\"} 1")
    }));
    let failed = "a revocation list cannot be fetched: the answer has the status 404";
    assert!(scene.world.logs(failed), "{}", scene.world.logged());
    let sentence = "it is not known whether the certificate of fabrikam.example has been revoked, \
                    which its entry demands (rule partner[0])";
    assert!(scene.world.logs(sentence), "{}", scene.world.logged());
    assert_eq!(scene.pool.heard(), 0);

    scene.lists.put(Some(scene.list(&[], 3_600)));
    assert!(within(|| scene.shows(IN_FORCE)), "{}", scene.world.logged());
    let answer = partner.message().unwrap();
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    let judged = "is judged again: its whole chain is known not to be revoked";
    assert!(scene.world.logs(judged), "{}", scene.world.logged());
    scene.drain(edge);
}

#[test]
fn soft_lets_a_partner_pass_unchecked_counts_it_and_says_so() {
    let scene = Scene::new();
    scene.configure("revocation = \"soft\"", "");
    scene.lists.put(Some(b"<html>welcome to the hotel</html>".to_vec()));
    let edge = scene.world.run(|_| {});
    assert!(scene.connect().message().unwrap().starts_with("SIP/2.0 200"));
    assert!(within(|| {
        scene.shows("entente_tls_revocation_fetches_total{result=\"bad_list\"} 1")
            && scene.shows("entente_tls_revocation_unknown_total 1")
    }));
    let why = "a revocation list cannot be fetched: what was fetched is no revocation list; \
               partners under \\\"soft\\\" pass unchecked";
    assert!(scene.world.logs(why), "{}", scene.world.logged());
    scene.drain(edge);
}

#[test]
fn off_fetches_nothing() {
    let scene = Scene::new();
    scene.configure("revocation = \"off\"", "");
    scene.lists.put(Some(scene.list(&[PARTNER], 3_600)));
    let edge = scene.world.run(|_| {});
    let mut partner = scene.connect();
    assert!(partner.message().unwrap().starts_with("SIP/2.0 200"));
    // Turned on by a reload, the next message names the peer as a partner whose list is fetched.
    assert!(scene.shows("entente_tls_revocation_lists{state=\"missing\"} 0"));
    let text = std::fs::read_to_string(scene.world.file()).unwrap();
    scene.world.write(&text.replace("revocation = \"off\"", "revocation = \"soft\""));
    signal(&edge, "HUP");
    assert!(within(|| scene.shows("entente_control_config_epoch 2")), "{}", scene.world.logged());
    assert!(partner.message().unwrap().starts_with("SIP/2.0 200"));
    let closed = "closed by us, judged again: the peer's certificate has been revoked";
    assert!(scene.world.logs(closed), "{}", scene.world.logged());
    scene.drain(edge);
}

/// Writes the file anew with `from` replaced by `to`, and reloads it under reserve.
fn reload_under_reserve(world: &World, from: &str, to: &str, seconds: &str) {
    let text = std::fs::read_to_string(world.file()).unwrap();
    assert!(text.contains(from), "{text}");
    world.write(&text.replace(from, to));
    ctl_ends(world, 0, &["reload", "--confirm-within", seconds]);
    assert_eq!(epoch(world), 2);
}

#[test]
fn a_roll_back_keeps_the_list_that_came_after_what_it_goes_back_to() {
    let scene = Scene::new();
    scene.configure_with_socket();
    scene.lists.put(Some(scene.list(&[1], 8)));
    let edge = scene.world.run(|_| {});
    let mut partner = scene.connect();
    assert!(partner.message().unwrap().starts_with("SIP/2.0 200"));
    assert!(within(|| scene.shows(IN_FORCE)), "{}", scene.world.logged());

    scene.lists.put(Some(scene.list(&[1, PARTNER], 3_600)));
    reload_under_reserve(&scene.world, "drain_notice_s = 1", "drain_notice_s = 2", "10s");
    assert!(within(|| scene.shows("entente_tls_revocation_entries 2")), "{}", scene.world.logged());
    assert_eq!(epoch(&scene.world), 2, "the list came before the roll-back");
    assert!(within(|| epoch(&scene.world) == 3), "{}", scene.world.logged());
    assert!(scene.world.logs("not confirmed in time: rolled back"), "{}", scene.world.logged());

    assert_eq!(partner.message(), None, "the connection is closed");
    assert_eq!(scene.connect().message(), None, "the handshake fails");
    assert_eq!(scene.pool.heard(), 1, "nothing more has come through");
    assert!(scene.shows("entente_tls_revocation_entries 2"));
    scene.drain(edge);
}

#[test]
fn a_list_that_is_held_counts_while_none_is_fetched_and_after_a_roll_back() {
    let scene = Scene::new();
    scene.configure_with_socket();
    scene.lists.put(Some(scene.list(&[PARTNER], 3_600)));
    let edge = scene.world.run(|_| {});
    let mut first = scene.connect();
    assert!(first.message().unwrap().starts_with("SIP/2.0 200"), "soft, and no list is known yet");
    let closed = "closed by us, judged again: the peer's certificate has been revoked";
    assert!(scene.world.logs(closed), "{}", scene.world.logged());

    // Whoever fetched the list anew would not get it.
    scene.lists.put(None);
    let (soft, off) = ("revocation = \"soft\"", "revocation = \"off\"");
    reload_under_reserve(&scene.world, soft, off, "5s");
    assert_eq!(scene.connect().message(), None, "off fetches nothing, and forgets nothing");
    assert!(within(|| epoch(&scene.world) == 3), "{}", scene.world.logged());
    assert!(scene.shows("entente_tls_revocation_entries 1"));
    assert_eq!(scene.connect().message(), None, "the handshake fails");
    scene.drain(edge);
}

#[test]
fn a_list_on_disk_serves_after_a_restart_while_its_place_is_gone() {
    let scene = Scene::new();
    scene.configure("revocation = \"hard\"\nrevocation_cache = \".\"", "");
    scene.lists.put(Some(scene.list(&[], 3_600)));
    let edge = scene.world.run(|_| {});
    let mut partner = scene.connect();
    let passes = |partner: &mut Partner| partner.message().unwrap().starts_with("SIP/2.0 200");
    assert!(within(|| passes(&mut partner)), "{}", scene.world.logged());
    drop(partner);
    scene.drain(edge);
    scene.lists.put(None);
    let edge = scene.world.run(|_| {});
    let mut partner = scene.connect();
    assert!(within(|| passes(&mut partner)), "{}", scene.world.logged());
    assert!(scene.shows(IN_FORCE));
    scene.drain(edge);
}
