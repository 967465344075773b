//! Handshakes with servers on loopback that are real but for their certificates.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use super::*;
use crate::control;

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

/// What is found of partners and next hops.
fn told(world: &World, partner: SocketAddr, more: &str) -> Vec<(&'static str, String)> {
    let text = text_for(free_port())
        .replace("[[next_hop]]", "[[next_hop]]\naddresses = [\"127.0.0.1\"]\nport = 9")
        + &format!(
            "kind = \"allowed_server\"\n\
             edge = \"sip.fabrikam.example\"\nport = {}\n{more}",
            partner.port()
        );
    let path = world.directory.path().join("e.toml");
    let config = config::parse(&path, &text).unwrap_or_else(|report| panic!("{report}"));
    let mut checker = Checker { config: &config, now_unix_s: now(), findings: Vec::new() };
    let plan = control::tls_plan(&config, 1, checker.now_unix_s, None);
    let material = crate::tls::Material::build(&plan).unwrap();
    let fqdn = crate::dns::Domain::parse(b"sip.fabrikam.example").unwrap();
    let target = crate::dns::Target {
        fqdn,
        port: partner.port(),
        priority: 0,
        weight: 0,
        addresses: vec![partner.ip()],
    };
    checker.partner("partner[0].domain", &config.partners[0], &material, None, &target);
    checker.findings.into_iter().map(|finding| (finding.code, finding.sentence)).collect()
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
        told[0].1.starts_with("the certificate of fabrikam.example ends in 9 days"),
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
    let findings = check(&config, now(), Look::Connecting);
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
