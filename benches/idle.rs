//! What an idle mutual-TLS leg holds, by owner.
//!
//! `cargo bench --bench idle`. Counts what the program asks its allocator for, so the figures are
//! exact and the same on every machine; what the allocator makes of them shows in the resident
//! memory that `benches/compare/sip/run` reads beside HAProxy's.

use std::net::SocketAddr;
use std::sync::Arc;

use cap::Cap;
use entente::dns::Domain;
use entente::edge::access::{Access, Setup};
use entente::edge::{Class, Core as _, Effects, LegId, Opened};
use entente::policy::{self, Rules};
use entente::time::{Clock, Now};
use entente::tls::{IdentityPlan, ListenerPlan, Material, Plan, Session, State, TrustSource};
use rustls::ClientConnection;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

const NAME: &str = "sip.contoso.example";
/// Enough that what is made once does not count.
const LEGS: usize = 2_000;
/// Counts the bytes alive. A library's, because an allocator cannot be written without `unsafe`.
#[global_allocator]
static ALLOCATOR: Cap<mimalloc::MiMalloc> = Cap::new(mimalloc::MiMalloc, usize::MAX);

fn main() {
    let pki = Pki::new();
    let names = pki.session().peer().expect("a mutual handshake");
    let sessions = owner("TLS session after its handshake", || {
        let session = || {
            let mut session = pki.session();
            // As a shard does for peers of one certificate.
            session.share_peer(|_| Arc::clone(&names));
            session
        };
        (0..LEGS).map(|_| session()).collect::<Vec<_>>()
    });
    println!("  of it {} B the session itself", size_of::<Session>());
    let (access, effects) = core();
    owner("Access Edge, with the way out", || legs_of_core(access, effects, &sessions));
}

/// Makes something, and prints what it holds for each leg.
fn owner<T>(what: &str, make: impl FnOnce() -> T) -> T {
    let before = ALLOCATOR.allocated();
    let made = make();
    let held = ALLOCATOR.allocated() - before;
    println!("{what}: {} B for each leg", held / LEGS);
    made
}

/// Shows every session to the core.
fn legs_of_core(
    mut access: Access,
    mut effects: Effects,
    sessions: &[Session],
) -> (Access, Effects) {
    let local: SocketAddr = "192.0.2.1:5061".parse().expect("an address");
    for (index, session) in sessions.iter().enumerate() {
        let leg = LegId { index: index as u32, generation: 0 };
        let remote = SocketAddr::from(([198, 51, 100, 7], 40_000 + index as u16));
        effects.open(leg);
        let peer = session.peer();
        let opened =
            Opened { class: Class::Federation, outlet: None, peer, doubt: None, remote, local };
        access.leg_opened(Now::default(), leg, opened, &mut effects);
    }
    (access, effects)
}

/// A core without legs.
fn core() -> (Access, Effects) {
    let domain = |text: &str| Domain::parse(text.as_bytes()).expect("a domain");
    let rules = Rules {
        remote_users: policy::RemoteUserSwitches { enabled: false, anonymous: false },
        ..Rules::new(
            domain("edge1.fabrikam.example"),
            domain("sip.fabrikam.example"),
            domain("lsedge.fabrikam.example"),
            vec![domain("fabrikam.example")],
        )
    };
    let setup = Setup {
        transactions: 16,
        idle_timeout_ms: u64::MAX,
        ping_interval_ms: 0,
        ..Setup::single([1, 2], [9; 16])
    };
    let snapshot = Arc::new(policy::compile(rules, 1).expect("rules without contradiction"));
    (Access::new(setup, snapshot), Effects::default())
}

/// A throw-away authority and one pair for both ends.
struct Pki {
    material: Material,
    client: Arc<rustls::ClientConfig>,
}

impl Pki {
    fn new() -> Self {
        let authority_key = rcgen::KeyPair::generate().expect("a key");
        let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = authority.self_signed(&authority_key).expect("a certificate").pem();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().expect("a key");
        let leaf = rcgen::CertificateParams::new(vec![NAME.to_owned()]).expect("parameters");
        let chain = leaf.signed_by(&key, &issuer).expect("a certificate").pem();
        let directory = tempfile::TempDir::new().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let identity = IdentityPlan {
            name: "access".to_owned(),
            certificate: file("access.pem", &chain),
            key: file("access.key", &key.serialize_pem()),
            client: false,
            sip_domains: Vec::new(),
        };
        let material = Material::build(&Plan {
            now_unix_s: Clock::start().now().unix_s,
            identities: vec![identity],
            listeners: vec![ListenerPlan {
                class: Class::Federation,
                identity: "access".to_owned(),
            }],
            trust: vec![TrustSource::File(file("root.pem", &root))],
            ..Plan::default()
        });
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(root.as_bytes()).expect("PEM")).expect("a root");
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("PEM");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .expect("a pair");
        client.resumption = rustls::client::Resumption::disabled();
        Self { material: material.expect("good files"), client: Arc::new(client) }
    }

    /// An edge's session after a full mutual handshake; the client is gone.
    fn session(&self) -> Session {
        let server = self.material.server(Class::Federation, 0);
        let mut session = Session::server(server).expect("a session");
        let name = ServerName::try_from(NAME).expect("a name");
        let mut client = ClientConnection::new(Arc::clone(&self.client), name).expect("a client");
        // Bound: a handshake is two flights each way at most.
        for _ in 0..4 {
            let (mut to_edge, mut to_client) = (Vec::new(), Vec::new());
            while client.wants_write() {
                client.write_tls(&mut to_edge).expect("memory");
            }
            let fed = session.feed(&mut to_edge, &mut to_client, |_| ()).expect("a handshake");
            assert_eq!(fed.consumed, to_edge.len(), "a flight is whole");
            let mut rest = to_client.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).expect("memory");
                client.process_new_packets().expect("a handshake");
            }
            if fed.state == State::Established {
                return session;
            }
        }
        panic!("the handshake does not end");
    }
}
