//! Handshakes and records in memory, ours beside the bare library, and what an idle session holds.
//!
//! Only the measured side's time counts; the other end is the same bare library in both cases.
//! Budgets: a full mutual handshake at most 1.15 of the bare library (DESIGN 12).

use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use entente::dns::Domain;
use entente::edge::Class;
use entente::policy::ExpectedNames;
use entente::time::Clock;
use entente::tls::{IdentityPlan, ListenerPlan, Material, Plan, Session, State, TrustSource};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};

// As the program itself has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NAME: &str = "sip.contoso.example";
/// The message of DESIGN 12.
const MESSAGE_BYTES: usize = 700;

/// A throw-away authority, one pair for both ends, and configurations of both kinds.
struct Bench {
    material: Material,
    bare_server: Arc<ServerConfig>,
    bare_client: Arc<ClientConfig>,
}

impl Bench {
    fn new(version: &'static SupportedProtocolVersion) -> Self {
        let (root, chain, key) = pki();
        let directory = tempfile::TempDir::new().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let identity = IdentityPlan {
            name: "access".to_owned(),
            certificate: file("access.pem", &chain),
            key: file("access.key", &key),
            client: false,
            sip_domains: Vec::new(),
        };
        let listener = ListenerPlan { class: Class::Federation, identity: "access".to_owned() };
        let material = Material::build(&Plan {
            now_unix_s: Clock::start().now().unix_s,
            identities: vec![identity],
            listeners: vec![listener],
            trust: vec![TrustSource::File(file("root.pem", &root))],
            ..Plan::default()
        })
        .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
        let certificates: Vec<_> =
            CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        Self {
            material,
            bare_server: bare_server(&roots, certificates.clone(), key.clone_key()),
            bare_client: bare_client(version, roots, certificates, key),
        }
    }

    fn our_server(&self) -> Session {
        Session::server(self.material.server(Class::Federation, 0)).unwrap()
    }

    fn our_client(&self) -> Session {
        let name = Domain::parse(NAME.as_bytes()).unwrap();
        let expected = &ExpectedNames::host(name.clone());
        let (client, sni) = self.material.client(Class::Federation, None, &name, expected).unwrap();
        Session::client(&client, sni).unwrap()
    }

    fn bare_client(&self) -> ClientConnection {
        let name = ServerName::try_from(NAME).unwrap();
        ClientConnection::new(Arc::clone(&self.bare_client), name).unwrap()
    }

    fn bare_server(&self) -> ServerConnection {
        ServerConnection::new(Arc::clone(&self.bare_server)).unwrap()
    }
}

/// Returns root, chain and key in PEM form.
fn pki() -> (String, String, String) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "Root");
    let root = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    let chain = leaf.signed_by(&key, &issuer).unwrap().pem();
    (root, chain, key.serialize_pem())
}

fn bare_server(
    roots: &RootCertStore,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(roots.clone());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .clear_root_hint_subjects()
        .build()
        .unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

fn bare_client(
    version: &'static SupportedProtocolVersion,
    roots: RootCertStore,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// Adds up the time of one side.
struct Stopwatch {
    clock: Clock,
    spent_ns: u64,
}

impl Stopwatch {
    fn new() -> Self {
        Self { clock: Clock::start(), spent_ns: 0 }
    }

    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = self.clock.now().monotonic.0;
        let done = work();
        self.spent_ns += self.clock.now().monotonic.0 - start;
        done
    }

    fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent_ns)
    }
}

/// The buffered library, either side.
trait Bare {
    fn receive(&mut self, bytes: &[u8]);
    fn take_out(&mut self) -> Vec<u8>;
    fn established(&self) -> bool;
}

macro_rules! bare {
    ($connection:ty) => {
        impl Bare for $connection {
            fn receive(&mut self, mut bytes: &[u8]) {
                while !bytes.is_empty() {
                    self.read_tls(&mut bytes).unwrap();
                    self.process_new_packets().unwrap();
                    // Ends in "would block" when there is no more plaintext.
                    let _ = std::io::copy(&mut self.reader(), &mut std::io::sink());
                }
            }

            fn take_out(&mut self) -> Vec<u8> {
                let mut out = Vec::with_capacity(4096);
                while self.wants_write() {
                    self.write_tls(&mut out).unwrap();
                }
                out
            }

            fn established(&self) -> bool {
                !self.is_handshaking()
            }
        }
    };
}
bare!(ClientConnection);
bare!(ServerConnection);

/// Our session with the buffers a shard lends it.
struct Ours {
    session: Session,
    input: Vec<u8>,
    out: Vec<u8>,
    state: State,
}

impl Ours {
    fn new(mut session: Session) -> Self {
        let mut out = Vec::with_capacity(4096);
        session.start(&mut out).unwrap();
        Self { session, input: Vec::with_capacity(4096), out, state: State::Handshaking }
    }
}

impl Bare for Ours {
    fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        let fed = self.session.feed(&mut self.input, &mut self.out, |bytes| {
            black_box(bytes);
        });
        let fed = fed.unwrap();
        self.state = fed.state;
        self.input.drain(..fed.consumed);
    }

    fn take_out(&mut self) -> Vec<u8> {
        std::mem::replace(&mut self.out, Vec::with_capacity(4096))
    }

    fn established(&self) -> bool {
        self.state == State::Established
    }
}

/// Runs a handshake, the clock running only for `measured`.
fn shake<M: Bare>(watch: &mut Stopwatch, make: impl FnOnce() -> M, other: &mut impl Bare) -> M {
    let mut measured = watch.time(make);
    for _ in 0..4 {
        let out = other.take_out();
        let answer = watch.time(|| {
            measured.receive(&out);
            measured.take_out()
        });
        other.receive(&answer);
        if measured.established() && other.established() {
            return measured;
        }
    }
    panic!("the handshake does not end");
}

fn handshakes(criterion: &mut Criterion) {
    for (label, version) in [("1.3", &rustls::version::TLS13), ("1.2", &rustls::version::TLS12)] {
        let bench = Bench::new(version);
        let mut group = criterion.benchmark_group(format!("tls/handshake_{label}"));
        group.bench_function("server_bare", |b| {
            b.iter_custom(|rounds| {
                let mut watch = Stopwatch::new();
                for _ in 0..rounds {
                    shake(&mut watch, || bench.bare_server(), &mut bench.bare_client());
                }
                watch.spent()
            });
        });
        group.bench_function("server_ours", |b| {
            b.iter_custom(|rounds| {
                let mut watch = Stopwatch::new();
                for _ in 0..rounds {
                    let make = || Ours::new(bench.our_server());
                    shake(&mut watch, make, &mut bench.bare_client());
                }
                watch.spent()
            });
        });
        if label == "1.3" {
            group.bench_function("client_bare", |b| {
                b.iter_custom(|rounds| {
                    let mut watch = Stopwatch::new();
                    for _ in 0..rounds {
                        shake(&mut watch, || bench.bare_client(), &mut bench.bare_server());
                    }
                    watch.spent()
                });
            });
            group.bench_function("client_ours", |b| {
                b.iter_custom(|rounds| {
                    let mut watch = Stopwatch::new();
                    for _ in 0..rounds {
                        let make = || Ours::new(bench.our_client());
                        shake(&mut watch, make, &mut bench.bare_server());
                    }
                    watch.spent()
                });
            });
        }
        group.finish();
    }
}

/// An established connection, our side the server's.
struct Line {
    client: ClientConnection,
    server: Ours,
    message: Vec<u8>,
}

/// Records per reading of the clock, which costs as much as a tenth of a record.
const BATCH: u64 = 32;

impl Line {
    fn new() -> Self {
        let bench = Bench::new(&rustls::version::TLS13);
        let mut client = bench.bare_client();
        let make = || Ours::new(bench.our_server());
        let server = shake(&mut Stopwatch::new(), make, &mut client);
        Self { client, server, message: vec![b'm'; MESSAGE_BYTES] }
    }

    /// Feeds a batch of records that came in one read.
    fn feed_batch(&mut self, watch: &mut Stopwatch) {
        self.server.input.clear();
        for _ in 0..BATCH {
            self.client.writer().write_all(&self.message).unwrap();
            let record = self.client.take_out();
            self.server.input.extend_from_slice(&record);
        }
        watch.time(|| self.server.receive(&[]));
    }

    fn seal_batch(&mut self, watch: &mut Stopwatch) {
        self.server.out.clear();
        watch.time(|| {
            for _ in 0..BATCH {
                self.server.session.seal(&self.message, &mut self.server.out).unwrap();
            }
        });
        self.client.receive(&self.server.out);
    }
}

fn records(criterion: &mut Criterion) {
    let mut line = Line::new();
    let mut group = criterion.benchmark_group("tls");
    type Batch = fn(&mut Line, &mut Stopwatch);
    for (name, batch) in
        [("feed_700", Line::feed_batch as Batch), ("seal_700", Line::seal_batch as Batch)]
    {
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| {
                let mut watch = Stopwatch::new();
                let batches = rounds.div_ceil(BATCH);
                for _ in 0..batches {
                    batch(&mut line, &mut watch);
                }
                watch.spent().mul_f64(rounds as f64 / (batches * BATCH) as f64)
            });
        });
    }
    group.finish();
}

/// Prints what a record costs beside the cipher alone, by the lower decile.
fn record_floor(_: &mut Criterion) {
    use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    const BATCHES: usize = 2_000;
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).unwrap());
    let nonce = || Nonce::assume_unique_for_key([1; 12]);
    let mut line = Line::new();
    let mut sealed = vec![b'm'; MESSAGE_BYTES];
    key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut sealed).unwrap();
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..BATCHES {
        let [feed, seal, floor_open, floor_seal] = &mut times;
        let lap = |times: &mut Vec<u64>, work: &mut dyn FnMut(&mut Stopwatch)| {
            let mut watch = Stopwatch::new();
            work(&mut watch);
            times.push(watch.spent_ns / BATCH);
        };
        lap(feed, &mut |watch| line.feed_batch(watch));
        lap(seal, &mut |watch| line.seal_batch(watch));
        let mut copies: Vec<Vec<u8>> = (0..BATCH).map(|_| sealed.clone()).collect();
        lap(floor_open, &mut |watch| {
            watch.time(|| {
                for copy in &mut copies {
                    key.open_in_place(nonce(), Aad::empty(), copy).unwrap();
                }
            });
        });
        lap(floor_seal, &mut |watch| {
            watch.time(|| {
                for copy in &mut copies {
                    let tag = key.seal_in_place_separate_tag(nonce(), Aad::empty(), copy);
                    let _ = black_box(tag.unwrap());
                }
            });
        });
    }
    for (name, times) in ["feed", "seal", "cipher_open", "cipher_seal"].iter().zip(&mut times) {
        println!("tls/{name}_700: {} ns", lower_decile(times).unwrap_or_default());
    }
}

/// Prints ratios from handshakes that alternate between ours and the bare library, by the lower
/// decile of their times: a busy machine only ever adds to them.
fn ratios(_: &mut Criterion) {
    const ROUNDS: usize = 2_000;
    for (label, version) in [("1.3", &rustls::version::TLS13), ("1.2", &rustls::version::TLS12)] {
        let bench = Bench::new(version);
        let mut times = [const { Vec::new() }; 4];
        for _ in 0..ROUNDS {
            let [server_bare, server_ours, client_bare, client_ours] = &mut times;
            server_bare.push(timed(|| bench.bare_server(), &mut bench.bare_client()));
            let ours = || Ours::new(bench.our_server());
            server_ours.push(timed(ours, &mut bench.bare_client()));
            if label == "1.3" {
                client_bare.push(timed(|| bench.bare_client(), &mut bench.bare_server()));
                let ours = || Ours::new(bench.our_client());
                client_ours.push(timed(ours, &mut bench.bare_server()));
            }
        }
        for (side, pair) in ["server", "client"].iter().zip(times.chunks_exact_mut(2)) {
            let [bare, ours] = pair else { continue };
            let (Some(bare), Some(ours)) = (lower_decile(bare), lower_decile(ours)) else {
                continue;
            };
            let ratio = ours as f64 / bare as f64;
            println!("tls/handshake_{label}/{side}: bare {bare} ns, ours {ours} ns, {ratio:.3}");
        }
    }
}

fn timed<M: Bare>(make: impl FnOnce() -> M, other: &mut impl Bare) -> u64 {
    let mut watch = Stopwatch::new();
    shake(&mut watch, make, other);
    watch.spent_ns
}

fn lower_decile(times: &mut [u64]) -> Option<u64> {
    times.sort_unstable();
    times.get(times.len() / 10).copied()
}

/// Prints what an established session holds when nothing passes.
fn memory(_: &mut Criterion) {
    const WARMING: u64 = 3_000;
    const SESSIONS: u64 = 5_000;
    let bench = Bench::new(&rustls::version::TLS13);
    let mut kept = Vec::with_capacity((WARMING + SESSIONS) as usize);
    let mut before = 0;
    for n in 0..WARMING + SESSIONS {
        // The first ones warm the allocator up.
        if n == WARMING {
            before = resident_bytes();
        }
        let make = || Ours::new(bench.our_server());
        let server = shake(&mut Stopwatch::new(), make, &mut bench.bare_client());
        kept.push(server.session);
    }
    let each = (resident_bytes() - before) / SESSIONS;
    let inline = size_of::<Session>() as u64;
    println!("tls/idle_session: {each} B resident each, {inline} B of it the session itself");
    drop(kept);
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(20);
    targets = memory, ratios, record_floor, handshakes, records
}
criterion_main!(benches);
