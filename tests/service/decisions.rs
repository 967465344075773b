//! The decision log of a whole process, and `entente replay` on it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{World, exit_code, free, said, signal, within};

/// A partner's certificate, and an edge that knows it.
struct Scene {
    world: World,
    ca: CertificateDer<'static>,
    partner: (CertificateDer<'static>, PrivateKeyDer<'static>),
    /// What all its configurations have in common.
    common: String,
    /// The next hop: connections come up and nothing is ever said there.
    _hop: TcpListener,
}

impl Scene {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap();
        let authority = Issuer::new(params, key);
        let sign = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &authority).unwrap(), key.serialize_pem())
        };
        let directory = tempfile::tempdir().unwrap();
        let world = World { directory, federation: free(), management: free() };
        let (chain, key) = sign("sip.contoso.example");
        world.put("sip.pem", &chain.pem());
        world.put("sip.key", &key);
        world.put("ca.pem", &ca.pem());
        let (chain, key) = sign("sip.fabrikam.example");
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let hop = TcpListener::bind("127.0.0.1:0").unwrap();
        let stated = format!(
            "name = \"pool.contoso.example\"\naddresses = [\"127.0.0.1\"]\nport = {}",
            hop.local_addr().unwrap().port()
        );
        let common = world.text().replace("name = \"pool.contoso.example\"", &stated);
        let (ca, partner) = (ca.der().clone(), (chain.der().clone(), key));
        let scene = Self { world, ca, partner, common, _hop: hop };
        scene.world.write(&scene.text("decisions = \"decisions.log\"\n", FABRIKAM));
        scene
    }

    /// A configuration with these keys of the log and these entries.
    fn text(&self, log: &str, partners: &str) -> String {
        let text = self.common.replace("format = \"json\"\n", &format!("format = \"json\"\n{log}"));
        format!("{text}[addresses]\nallow_networks = [\"127.0.0.0/8\"]\n{partners}")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.directory.path().join(name)
    }

    fn connect(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (chain, key) = &self.partner;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![chain.clone()], key.clone_key())
            .unwrap();
        let name = ServerName::try_from("sip.contoso.example").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(self.world.federation).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        StreamOwned::new(connection, stream)
    }

    fn lines(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.path("decisions.log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn replay(&self, policy: &str, more: &[&str]) -> Output {
        let mut entente = Command::new(env!("CARGO_BIN_EXE_entente"));
        entente.current_dir(self.world.directory.path()).args(["replay", "--policy", policy]);
        entente.args(more).output().unwrap()
    }
}

impl World {
    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join(name), text).unwrap();
    }
}

const FABRIKAM: &str = "[[partner]]\ndomain = \"fabrikam.example\"\nkind = \"allowed_server\"\n\
                        edge = \"sip.fabrikam.example\"\n";

/// Sends a MESSAGE from a user of `domain`.
fn send(tls: &mut StreamOwned<ClientConnection, TcpStream>, domain: &str, number: u32) {
    let request = format!(
        "MESSAGE sip:alice@contoso.example SIP/2.0\r\n\
         Via: SIP/2.0/TLS sip.fabrikam.example:5061;branch=z9hG4bK{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:secretname@{domain}>;tag=1\r\n\
         To: <sip:alice@contoso.example>\r\nCall-ID: {number}@fabrikam.example\r\n\
         CSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
    );
    tls.write_all(request.as_bytes()).unwrap();
    tls.flush().unwrap();
}

/// Returns the head of the next answer.
fn answer(tls: &mut StreamOwned<ClientConnection, TcpStream>) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        tls.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn decisions_are_logged_once_a_verdict_and_replayed_under_a_policy_that_blocks_the_partner() {
    let scene = Scene::new();
    let edge = scene.world.run(|_| {});
    let mut partner = scene.connect();
    // Nothing answers them in time, and they have been decided on all the same.
    for number in 0..3 {
        send(&mut partner, "fabrikam.example", number);
    }
    send(&mut partner, "stranger.example", 3);
    let refused = answer(&mut partner);
    assert!(refused.starts_with("SIP/2.0 403"), "{refused}");
    let (_, number) = refused.split_once("decision=\"").unwrap();
    let number = &number[..16];
    assert!(within(|| scene.lines().len() == 2), "{:?}", scene.lines());
    let [permit, refusal] = scene.lines().try_into().unwrap();
    assert_eq!(permit["rule"], "allowed partner server sip.fabrikam.example of fabrikam.example");
    assert_eq!(permit["peer"]["names"][0], "sip.fabrikam.example");
    assert_eq!((&refusal["decision"], &refusal["diagnostics"]), (&number.into(), &1005.into()));
    let told = |line: &&str| line.contains(number) && line.contains("\"epoch\":1");
    let once = || scene.world.logged().lines().filter(told).count() == 1;
    assert!(within(once), "{}", scene.world.logged());
    let written = std::fs::read_to_string(scene.path("decisions.log")).unwrap();
    assert!(!written.contains("secretname") && !written.contains("alice"), "{written}");
    let mode = std::fs::metadata(scene.path("decisions.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let counted = "entente_log_decisions_total{result=\"written\"} 2\n";
    assert!(scene.world.ask("/metrics").contains(counted));
    signal(&edge, "TERM");
    assert_eq!(exit_code(edge), Some(0));

    let same = scene.replay("entente.toml", &["decisions.log"]);
    assert_eq!(same.status.code(), Some(0), "{}", said(&same));
    let blocked = "[[blocked]]\ndomain = \"fabrikam.example\"\n";
    scene.world.put("new.toml", &scene.text("", blocked));
    let found = scene.replay("new.toml", &["decisions.log"]);
    let told = said(&found);
    assert_eq!(found.status.code(), Some(1), "{told}");
    assert!(told.contains("1 decision passed and would be refused (blocked)"), "{told}");
    assert!(told.contains("fabrikam.example to contoso.example, from a partner"), "{told}");
    assert!(told.contains("fabrikam.example is blocked (rule blocked[0]), new.toml:"), "{told}");
    let json = scene.replay("new.toml", &["decisions.log", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["same"], &json["differ"]), (&1.into(), &1.into()), "{json:#}");
    let missing = scene.replay("new.toml", &["none.log"]);
    assert_eq!(missing.status.code(), Some(2));
    let why = "entente: cannot read none.log: No such file or directory (os error 2)\n";
    assert_eq!(said(&missing), why);
}

#[test]
fn a_reload_begins_and_ends_the_decision_log_and_permits_are_told_at_debug() {
    let scene = Scene::new();
    scene.world.write(&scene.text("", FABRIKAM));
    let edge = scene.world.run(|_| {});
    let mut partner = scene.connect();
    let reloaded = |epoch: u32| {
        signal(&edge, "HUP");
        let line = format!("entente_control_config_epoch {epoch}\n");
        assert!(within(|| scene.world.ask("/metrics").contains(&line)), "{}", scene.world.logged());
    };
    send(&mut partner, "fabrikam.example", 0);
    let forwarded = "entente_access_requests_to_inside_total 1\n";
    assert!(within(|| scene.world.ask("/metrics").contains(forwarded)));
    scene.world.write(&scene.text("decisions = \"decisions.log\"\nlevel = \"debug\"\n", FABRIKAM));
    reloaded(2);
    send(&mut partner, "fabrikam.example", 1);
    assert!(within(|| scene.lines().len() == 1), "{}", scene.world.logged());
    let line = scene.lines().remove(0);
    assert_eq!(line["epoch"], 2);
    let forwarded = format!("\"decision\":\"{}\",\"epoch\":2", line["decision"].as_str().unwrap());
    let told = || {
        let log = scene.world.logged();
        log.lines().any(|l| l.contains("MESSAGE forwarded") && l.contains(&forwarded))
    };
    assert!(within(told), "{forwarded}: {}", scene.world.logged());
    scene.world.write(&scene.text("", FABRIKAM));
    reloaded(3);
    send(&mut partner, "fabrikam.example", 2);
    let forwarded = "entente_access_requests_to_inside_total 3\n";
    assert!(within(|| scene.world.ask("/metrics").contains(forwarded)));
    signal(&edge, "TERM");
    assert_eq!(exit_code(edge), Some(0));
    assert_eq!(scene.lines().len(), 1);
}
