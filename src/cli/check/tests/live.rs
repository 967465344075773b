//! Handshakes with servers on loopback that are real but for their certificates.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use super::*;
use crate::cli::check::live::doors::{Examiner, Found};
use crate::control;
use crate::dns::{Answer, Domain, Failure, Question, Target};

/// Whose certificates a stand-in accepts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accepts {
    Everybody,
    Nobody,
}

/// A directory with `ca.pem`, `sip.pem`, `sip.key`, and a partner's chain by the same authority.
struct World {
    directory: tempfile::TempDir,
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

fn world_of(partner: &str, days: i64, purposes: Vec<ExtendedKeyUsagePurpose>) -> World {
    let directory = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&key).unwrap();
    let issuer = Issuer::from_params(&authority, &key);
    let own = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["sip.contoso.example".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&own, &issuer).unwrap();
    let write = |name: &str, text: String| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("ca.pem", ca.pem());
    write("sip.pem", leaf.pem());
    write("sip.key", own.serialize_pem());
    let theirs = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec![partner.to_owned()]).unwrap();
    leaf.extended_key_usages = purposes;
    let now = i64::try_from(now()).unwrap();
    let day = |day: i64| {
        let (year, month, day) = date(now / 86_400 + day);
        rcgen::date_time_ymd(year, month, day)
    };
    leaf.not_before = day(-2);
    leaf.not_after = day(days);
    let leaf = leaf.signed_by(&theirs, &issuer).unwrap();
    World { directory, chain: vec![leaf.der().clone()], key: theirs.serialize_der() }
}

/// Returns the calendar date of a day counted from 1970-01-01 (proleptic Gregorian).
fn date(days: i64) -> (i32, u8, u8) {
    let (mut year, mut left) = (1970, days);
    let leap = |year: i32| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    while left >= 365 + i64::from(leap(year)) {
        left -= 365 + i64::from(leap(year));
        year += 1;
    }
    let february = 28 + i64::from(leap(year));
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= months[month] {
        left -= months[month];
        month += 1;
    }
    (year, u8::try_from(month + 1).unwrap(), u8::try_from(left + 1).unwrap())
}

/// Serves one handshake with the partner's certificate.
fn partner(world: &World, accepts: Accepts) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(world.key.clone()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match accepts {
        Accepts::Everybody => builder.with_no_client_auth(),
        Accepts::Nobody => {
            let stranger = world_of("stranger.example", 90, Vec::new());
            let mut roots = RootCertStore::empty();
            let text = fs::read(stranger.directory.path().join("ca.pem")).unwrap();
            roots.add(CertificateDer::from_pem_slice(&text).unwrap()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let config = Arc::new(builder.with_single_cert(world.chain.clone(), key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut connection = ServerConnection::new(config).unwrap();
        // Until the other side has seen enough; its words are told by `check`.
        while connection.complete_io(&mut stream).is_ok_and(|(read, _)| read > 0) {}
    });
    address
}

/// The configuration of a world whose partner is stated, with `more` in its entry.
fn config_of(world: &World, partner: SocketAddr, more: &str) -> config::Config {
    let text = text_for(free_port())
        .replace("[[next_hop]]", "[[next_hop]]\naddresses = [\"127.0.0.1\"]\nport = 9")
        + &format!(
            "kind = \"allowed_server\"\n\
             edge = \"sip.fabrikam.example\"\nport = {}\n{more}",
            partner.port()
        );
    let path = world.directory.path().join("e.toml");
    config::parse(&path, &text).unwrap_or_else(|report| panic!("{report}"))
}

/// Everybody is at one address, and every record names the host `edge` of its domain.
fn dns(address: SocketAddr, edge: &'static str) -> impl Fn(&Question) -> Answer {
    move |question| {
        let fqdn = match question {
            Question::Federation(domain) | Question::Xmpp(domain) => {
                Domain::parse(format!("{edge}.{domain}").as_bytes()).unwrap()
            }
            Question::Host { fqdn, .. } => fqdn.clone(),
        };
        let addresses = vec![address.ip()];
        let target = Target {
            fqdn,
            port: address.port(),
            priority: 0,
            weight: 0,
            addresses,
            direct_tls: true,
        };
        Answer { question: question.clone(), outcome: Ok(vec![target]), ttl_s: 60 }
    }
}

/// Lets `look` look at the doors of a configuration.
fn examined(
    config: &config::Config,
    ask: impl Fn(&Question) -> Answer,
    look: impl FnOnce(&Examiner<'_, &dyn Fn(&Question) -> Answer>) -> Vec<Found>,
) -> Vec<(&'static str, String, String)> {
    let plan = control::tls_plan(config, 1, now(), None);
    let material = crate::tls::Material::build(&plan).unwrap();
    let (rules, snapshot) = (control::rules(config), control::policy(config).unwrap());
    let now = crate::time::Now { unix_s: now(), ..crate::time::Now::default() };
    let ask: &dyn Fn(&Question) -> Answer = &ask;
    let (rules, snapshot, material) = (&rules, &snapshot, &material);
    let examiner = Examiner { rules, snapshot, material, now, ask };
    look(&examiner).into_iter().map(|f| (f.code, f.sentence, f.advice)).collect()
}

const LOOPBACK: &str = "allow_networks = [\"127.0.0.0/8\"]\n";

/// What is found of the partner.
fn told(world: &World, partner: SocketAddr, more: &str) -> Vec<(&'static str, String)> {
    let config = config_of(world, partner, &format!("{LOOPBACK}{more}"));
    let found = examined(&config, dns(partner, "sip"), |examiner| examiner.partner(0));
    found.into_iter().map(|(code, sentence, _)| (code, sentence)).collect()
}

#[test]
fn a_partner_in_order_is_no_finding() {
    let world = world_of("sip.fabrikam.example", 90, Vec::new());
    let address = partner(&world, Accepts::Everybody);
    assert_eq!(told(&world, address, ""), []);
}

#[test]
fn a_partner_whose_certificate_ends_soon_is_named() {
    let world = world_of("sip.fabrikam.example", 10, Vec::new());
    let told = told(&world, partner(&world, Accepts::Everybody), "");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, "partner-certificate-expires-soon");
    assert!(
        told[0].1.starts_with("the certificate of fabrikam.example ends in 9 days, on 20"),
        "{told:?}"
    );
}

#[test]
fn a_partner_without_client_usage_is_named_where_it_is_demanded() {
    let servers = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let world = world_of("sip.fabrikam.example", 90, servers);
    assert_eq!(told(&world, partner(&world, Accepts::Everybody), ""), []);
    let demanded = "require_client_eku = true\n";
    let told = told(&world, partner(&world, Accepts::Everybody), demanded);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, "partner-without-client-eku");
    assert_eq!(
        told[0].1,
        "the certificate of fabrikam.example has no clientAuth, which its entry demands: what it \
         opens is refused"
    );
}

#[test]
fn a_partner_with_another_name_does_not_become_a_peer() {
    let world = world_of("www.fabrikam.example", 90, Vec::new());
    let address = partner(&world, Accepts::Everybody);
    let told = told(&world, address, "");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, "partner-handshake");
    let start = format!("sip.fabrikam.example:{} of fabrikam.example does not become a peer: ", {
        address.port()
    });
    assert!(told[0].1.starts_with(&start), "{told:?}");
}

#[test]
fn a_partner_that_does_not_accept_this_edge_is_named() {
    let world = world_of("sip.fabrikam.example", 90, Vec::new());
    let told = told(&world, partner(&world, Accepts::Nobody), "");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, "partner-handshake");
    assert!(told[0].1.contains("it refuses this edge's certificate: "), "{told:?}");
}

#[test]
fn a_partner_that_is_not_there_is_unreachable() {
    let world = world_of("sip.fabrikam.example", 90, Vec::new());
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    assert_eq!(
        told(&world, address, ""),
        [(
            "partner-unreachable",
            format!(
                "sip.fabrikam.example:{} of fabrikam.example cannot be reached: connection refused",
                address.port()
            )
        )]
    );
}

#[test]
fn a_next_hop_that_is_not_there_is_unreachable() {
    let world = world_of("sip.fabrikam.example", 90, Vec::new());
    let port = free_port();
    let text = text_for(free_port()).replace(
        "[[next_hop]]",
        &format!("[[next_hop]]\naddresses = [\"127.0.0.1\"]\nport = {port}"),
    );
    let path = world.directory.path().join("e.toml");
    let config = config::parse(&path, &text).unwrap_or_else(|report| panic!("{report}"));
    let findings = check(&config, now(), Look::Connecting { partners: 64, running: false });
    let found: Vec<_> = findings.iter().filter(|f| f.code.starts_with("next-hop")).collect();
    assert_eq!(found.len(), 1, "{findings:?}");
    assert_eq!(
        found[0].sentence,
        format!("pool.contoso.example at 127.0.0.1:{port} cannot be reached: connection refused")
    );
    assert_eq!(
        found[0].advice,
        "start it, or let the rule of `entente plan --section firewall` through"
    );
}

/// Returns code, sentence and advice of the partner of a configuration.
fn of_partner(
    config: &config::Config,
    ask: impl Fn(&Question) -> Answer,
) -> Vec<(&'static str, String, String)> {
    examined(config, ask, |examiner| examiner.partner(0))
}

#[test]
fn a_partner_at_an_address_that_the_rule_refuses_is_not_connected_to() {
    let world = world_of("sip.fabrikam.example", 90, Vec::new());
    // Whoever listened there would never be asked.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let found = of_partner(&config_of(&world, address, ""), dns(address, "sip"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "partner-address-refused");
    assert!(found[0].1.contains("127.0.0.1 is an address of this edge"), "{found:?}");
    assert!(found[0].2.contains("allow_networks of its entry"), "{found:?}");
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn what_dns_says_of_a_partner_is_judged_as_the_edge_does() {
    let world = world_of("sip.fabrikam.example", 90, Vec::new());
    let address = SocketAddr::from(([127, 0, 0, 1], 9));
    let text = text_for(free_port()) + LOOPBACK;
    let path = world.directory.path().join("e.toml");
    let config = config::parse(&path, &text).unwrap_or_else(|report| panic!("{report}"));
    let elsewhere = of_partner(&config, dns(address, "sip.eu"));
    assert_eq!(elsewhere[0].0, "partner-srv-elsewhere", "{elsewhere:?}");
    assert!(elsewhere[0].1.contains("names sip.eu.fabrikam.example, which may not be its edge"));
    let silent = of_partner(&config, |question| Answer {
        question: question.clone(),
        outcome: Err(Failure::NoSuchService),
        ttl_s: 60,
    });
    assert_eq!(silent[0].0, "partner-not-found");
    assert!(silent[0].1.starts_with("fabrikam.example publishes no federation SRV record"));
    assert_eq!(
        silent[0].2,
        "ask its administrator to publish _sipfederationtls._tcp.fabrikam.example, or state its \
         edge in the entry"
    );
}

#[test]
fn providers_and_the_default_route_are_looked_at_too() {
    let world = world_of("sipfed.hoster.example", 10, vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let entry = "name = \"hoster\"\nkind = \"hosting\"\nenabled = true\n";
    let stated = "edge = \"sipfed.hoster.example\"\nrequire_client_eku = true\n\
                  allow_networks = [\"127.0.0.0/8\"]\n";
    let read = |section: &str| {
        let text = text_for(free_port()) + section;
        let path = world.directory.path().join("e.toml");
        config::parse(&path, &text).unwrap_or_else(|report| panic!("{report}"))
    };
    let codes = |found: Vec<(&'static str, String, String)>| -> Vec<_> {
        found.into_iter().map(|(code, sentence, _)| (code, sentence)).collect()
    };
    let both = |who: &str, told: &[(&'static str, String)]| {
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0].0, "partner-certificate-expires-soon");
        assert!(told[0].1.starts_with(&format!("the certificate of {who} ends in 9 days, on 20")));
        assert_eq!(told[1].0, "partner-without-client-eku");
    };
    let config = read(&format!("[[provider]]\n{entry}{stated}"));
    let ask = dns(partner(&world, Accepts::Everybody), "sip");
    let found = examined(&config, ask, |examiner| examiner.provider(&examiner.rules.providers[0]));
    both("provider hoster", &codes(found));

    let config = read(&format!("[default_route]\n{stated}"));
    let ask = dns(partner(&world, Accepts::Everybody), "sip");
    let found = examined(&config, ask, |examiner| {
        examiner.default_route(examiner.rules.default_route.as_ref().unwrap())
    });
    both("the default route", &codes(found));

    let away = |question: &Question| Answer {
        question: question.clone(),
        outcome: Err(Failure::NoAddress),
        ttl_s: 60,
    };
    let found = examined(&config, away, |examiner| {
        examiner.default_route(examiner.rules.default_route.as_ref().unwrap())
    });
    let sentence =
        "the edge of the default route is not found: sipfed.hoster.example has no address";
    assert_eq!(codes(found), [("partner-not-found", sentence.to_owned())]);
}

#[test]
fn of_a_long_list_a_sample_is_connected_to_and_said_so() {
    let world = world_of("sip.fabrikam.example", 90, Vec::new());
    let mut list = "domain,edge,port\n".to_owned();
    for number in 0..100 {
        list.push_str(&format!("p{number}.example,sip.p{number}.example,9\n"));
    }
    fs::write(world.directory.path().join("p.csv"), list).unwrap();
    let path = world.directory.path().join("e.toml");
    let text = text_for(free_port())
        .replace("[[next_hop]]", "[[next_hop]]\naddresses = [\"127.0.0.1\"]\nport = 9")
        .replace("[[partner]]\ndomain = \"fabrikam.example\"\n", "");
    fs::write(&path, format!("{text}[federation]\npartners_csv = \"p.csv\"\n")).unwrap();
    let config = config::load(&path).unwrap_or_else(|report| panic!("{report}"));
    let look = Look::Connecting { partners: 4, running: false };
    let findings = check(&config, now(), look);
    let of = |code: &str| findings.iter().filter(|f| f.code == code).collect::<Vec<_>>();
    // The name server of these tests answers nobody.
    let places: Vec<_> = of("partner-not-found")
        .iter()
        .map(|finding| finding.place.rsplit(':').next().unwrap_or_default())
        .collect();
    assert_eq!(places, ["2", "27", "52", "77"], "every 25th row: {findings:?}");
    let sampled = of("partners-sampled");
    assert_eq!(sampled.len(), 1, "{findings:?}");
    assert_eq!(
        sampled[0].sentence,
        format!(
            "0 of 0 partners of the file and 4 of 100 rows of {} were connected to, evenly spread \
             from the first on",
            world.directory.path().join("p.csv").display()
        )
    );
    assert_eq!(sampled[0].advice, "--limit 100 connects to all of them");
}

#[test]
fn an_edge_that_is_said_to_run_is_connected_to() {
    let world = world_of("sip.fabrikam.example", 90, Vec::new());
    // It shows the partner's certificate, which is not that of the file.
    let address = partner(&world, Accepts::Everybody);
    let text = text_for(address.port());
    let path = world.directory.path().join("e.toml");
    let config = config::parse(&path, &text).unwrap_or_else(|report| panic!("{report}"));
    let mut checker = Checker { config: &config, now_unix_s: now(), findings: Vec::new() };
    checker.own();
    let found: Vec<_> = checker
        .findings
        .iter()
        .filter(|finding| finding.code.starts_with("listener-"))
        .map(|finding| (finding.code, finding.severity, finding.sentence.clone()))
        .collect();
    let file = world.directory.path().join("sip.pem");
    let internal = config.listeners[1].address;
    assert_eq!(
        found,
        [
            (
                "listener-certificate-differs",
                Severity::Warning,
                format!("{address} shows another certificate than {} has", file.display())
            ),
            (
                "listener-unreachable",
                Severity::Error,
                format!("nobody takes connections at {internal}: connection refused")
            ),
        ]
    );
}

#[test]
fn an_edge_that_cannot_be_loaded_connects_to_nobody_and_says_so() {
    let world = world_of("sip.fabrikam.example", 90, Vec::new());
    fs::remove_file(world.directory.path().join("sip.pem")).unwrap();
    let path = world.directory.path().join("e.toml");
    let text = text_for(free_port());
    let config = config::parse(&path, &text).unwrap_or_else(|report| panic!("{report}"));
    let findings = check(&config, now(), Look::Connecting { partners: 64, running: false });
    assert!(findings.iter().any(|finding| finding.code == "live-not-done"), "{findings:?}");
    assert!(findings.iter().all(|finding| !finding.code.starts_with("next-hop")), "{findings:?}");
}
