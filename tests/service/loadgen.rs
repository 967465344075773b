//! The load generator's XMPP scenarios against an edge: what `entente-loadgen` says it carried, the
//! edge has carried. The generator is every partner's server, and what stands behind the edge; of
//! media, what it says where a relay refuses it.

use std::net::UdpSocket;
use std::sync::Once;

use super::ctl::ctl_ends;
use super::relay::Relay;
use super::*;

const PROXY: &str = include_str!("../../benches/compare/xmpp/entente.toml");
const WITH_GATEWAY: &str = include_str!("../../benches/compare/xmpp/gateway.toml");
const DOMAINS: usize = 3;

/// Returns the generator, built as the edge was, and of the whole workspace: its dependencies are
/// then the ones that the tests have been built with.
fn generator() -> PathBuf {
    static BUILT: Once = Once::new();
    let edge = Path::new(env!("CARGO_BIN_EXE_entente"));
    BUILT.call_once(|| {
        let folder = edge.parent().and_then(Path::file_name).unwrap();
        let profile = if folder == "debug" { "dev" } else { folder.to_str().unwrap() };
        let mut cargo = Command::new(env!("CARGO"));
        // What cargo told this test of its package: `ring` is built anew wherever that is another,
        // and everything on top of it, here and once more in the next call without it.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                cargo.env_remove(&*name);
            }
        }
        let built = cargo
            .args(["build", "--locked", "--workspace", "--bin", "entente-loadgen"])
            .args(["--profile", profile])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", said(&built));
    });
    edge.with_file_name("entente-loadgen")
}

/// Answers every name with 127.0.0.1, and every partner's service with one port there (RFC 1035
/// section 4.1, RFC 2782); until the process ends.
fn name_server(partners: u16) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let _ = socket.send_to(&answer(&query[..length], partners), from);
        }
    });
    address
}

fn answer(query: &[u8], partners: u16) -> Vec<u8> {
    let mut end = 12;
    while query[end] != 0 {
        end += 1 + usize::from(query[end]);
    }
    let (name, kind) = (&query[12..=end], &query[end + 1..end + 3]);
    let service = b"\x0c_xmpp-server\x04_tcp";
    let data = match kind {
        [0, 1] if name[1] != b'_' => vec![127, 0, 0, 1],
        [0, 33] if name.starts_with(service) => {
            let mut data = vec![0, 0, 0, 0];
            data.extend(partners.to_be_bytes());
            data.extend(&name[service.len()..]);
            data
        }
        _ => Vec::new(),
    };
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(!data.is_empty()), 0, 0, 0, 0]);
    answer.extend(&query[12..end + 5]);
    if !data.is_empty() {
        answer.extend([0xc0, 12]);
        answer.extend(kind);
        answer.extend([0, 1, 0, 0, 0, 60]);
        answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        answer.extend(data);
    }
    answer
}

/// An edge for XMPP, and where it and the generator are.
struct Lab {
    world: World,
    edge: SocketAddr,
    inner: SocketAddr,
    partner: SocketAddr,
    gateway: SocketAddr,
    next_hop: SocketAddr,
}

impl Lab {
    fn new(template: &str) -> Self {
        let world = World::new();
        let [edge, inner, partner, gateway, next_hop] = [(); 5].map(|()| free());
        let leaves: [(&str, &[&str]); 3] = [
            ("edge", &["contoso.example", "sip.contoso.example", "lsedge.contoso.example"]),
            ("partner", &["*.partners.example"]),
            ("gateway", &["gw.contoso.example"]),
        ];
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = authority.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::from_params(&authority, &authority_key);
        let write = |name: String, text: String| {
            fs::write(world.directory.path().join(name), text).unwrap();
        };
        write("ca.pem".into(), ca.pem());
        for (name, names) in leaves {
            let key = rcgen::KeyPair::generate().unwrap();
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let leaf = rcgen::CertificateParams::new(names).unwrap();
            write(format!("{name}.pem"), leaf.signed_by(&key, &issuer).unwrap().pem());
            write(format!("{name}.key"), key.serialize_pem());
        }
        let partners = (0..DOMAINS).map(|at| {
            let domain = format!("p{at}.partners.example");
            format!("[[xmpp_partner]]\ndomain = \"{domain}\"\nkind = \"federated\"\n\n")
        });
        let port = |address: SocketAddr| address.port().to_string();
        let directory = world.directory.path().to_str().unwrap().to_owned();
        let filled = [
            ("cores = [@CORE@]\n", String::new()),
            ("@DIR@", directory),
            ("@EDGE@", port(edge)),
            ("@INNER@", port(inner)),
            ("@GATEWAY@", port(gateway)),
            ("@NEXT_HOP@", port(next_hop)),
            ("@MANAGEMENT@", port(world.management)),
            ("@DNS@", port(name_server(partner.port()))),
            ("@PARTNERS@", partners.collect()),
        ];
        let text = filled
            .iter()
            .fold(template.to_owned(), |text, (mark, value)| text.replace(mark, value));
        world.write(&text);
        Self { world, edge, inner, partner, gateway, next_hop }
    }

    /// Runs a scenario for a second; returns its report, which has no errors.
    fn carries(&self, scenario: &str, inner: SocketAddr, more: &str) -> serde_json::Value {
        let file = |name: &str| self.world.directory.path().join(name).display().to_string();
        let mut words = vec![scenario.to_owned()];
        for (name, value) in [
            ("--edge", self.edge.to_string()),
            ("--inner-address", inner.to_string()),
            ("--listen", self.partner.to_string()),
            ("--ca", file("ca.pem")),
            ("--cert", file("partner.pem")),
            ("--key", file("partner.key")),
            ("--inner-cert", file("gateway.pem")),
            ("--inner-key", file("gateway.key")),
            ("--domains", DOMAINS.to_string()),
        ] {
            words.extend([name.to_owned(), value]);
        }
        let common = "--server-name contoso.example --json --seconds 1 --rate 60 --timeout 20";
        words.extend(common.split(' ').chain(more.split(' ')).map(str::to_owned));
        let ran = Command::new(generator()).args(&words).output().unwrap();
        assert!(ran.status.success(), "{}{}", said(&ran), self.world.logged());
        let report: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!(report["errors"], serde_json::json!({}), "{report}");
        assert!(report["done"].as_u64().unwrap() > 0, "{report}");
        report
    }

    /// Waits until a counter has come to at least what a report says was done.
    fn counts(&self, name: &str, report: &serde_json::Value) {
        let done = report["done"].as_u64().unwrap();
        let counted = |text: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        };
        let reached =
            || counted(&self.world.ask("/metrics")).is_some_and(|count| count >= done as f64);
        assert!(within(reached), "{name} of {done}");
    }
}

/// What a run that failed leaves at the relay would be in the way of the next one for minutes.
#[test]
fn media_says_what_refused_it_and_gives_back_what_it_had() {
    let world = World::new();
    let relay = Relay::configured(&world, "ports_count = 50\nallocations_per_user = 4\n");
    let _edge = world.run(|_| {});
    let media = |more: &str| {
        let relay = relay.udp.to_string();
        let run = Command::new(generator())
            .args(["media", "--relay", &relay, "--seconds", "0.2", "--allocations", "8"])
            .args(more.split(' '))
            .output()
            .unwrap();
        (run.status.code(), said(&run))
    };
    assert!(within(|| world.ask("/readyz").contains("200 OK")), "{}", world.logged());
    let (code, told) = media("--secret a-secret-of-nobody-here");
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("Allocate: 401: compare --secret"), "{told}");
    let (code, told) = media("--secret a-secret-of-this-test");
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("Allocate: 486: a quota of the relay"), "{told}");
    let left = ctl_ends(&world, 0, &["relay", "list"]);
    assert_eq!(left, "0 of 0 allocations, from the one after 0; 50 ports free\n");
    let (code, told) = media("--secret a-secret-of-this-test --users 2");
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn xmpp_carries_messages_and_presence_both_ways_by_a_link() {
    let lab = Lab::new(PROXY);
    let _edge = lab.world.run(|_| {});
    let report = lab.carries("xmpp", lab.inner, "--inner link --way in");
    lab.counts("entente_xmpp_proxy_messages_in_total", &report);
    let report = lab.carries("xmpp", lab.inner, "--inner link --way out");
    lab.counts("entente_xmpp_proxy_messages_out_total", &report);
    let report = lab.carries("xmpp", lab.inner, "--inner link --way in --what presence");
    lab.counts("entente_xmpp_proxy_presence_in_total", &report);
}

#[test]
fn gateway_carries_messages_and_subscriptions_between_sip_and_xmpp() {
    let lab = Lab::new(WITH_GATEWAY);
    let _edge = lab.world.run(|_| {});
    let linked = || lab.world.ask("/metrics").lines().any(|line| line == "entente_gateway_links 1");
    assert!(within(linked), "{}", lab.world.logged());
    let next_hop = format!("--next-hop {}", lab.next_hop);
    let report = lab.carries("gateway", lab.gateway, &format!("{next_hop} --way in"));
    lab.counts("entente_gateway_messages_to_sip_total", &report);
    let report = lab.carries("gateway", lab.gateway, &format!("{next_hop} --way out"));
    lab.counts("entente_gateway_messages_to_xmpp_total", &report);
    let mixed = "--way both --presence 0.5 --subscriptions 0.1 --users 4";
    lab.carries("gateway", lab.gateway, &format!("{next_hop} {mixed}"));
    let watches = |line: &str| {
        let count = line.strip_prefix("entente_gateway_watches_total ")?.parse::<f64>().ok()?;
        (count > 0.0).then_some(())
    };
    let some = || lab.world.ask("/metrics").lines().any(|line| watches(line).is_some());
    assert!(within(some), "nobody has watched");
}
