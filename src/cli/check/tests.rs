//! Findings about real files in a directory of their own.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

mod live;
mod published;

use super::*;
use crate::control::fixture::{free_port, free_ports, world};

fn text_for(federation: u16) -> String {
    let [internal, name_server] = free_ports();
    format!(
        r#"[edge]
external_fqdn = "sip.contoso.example"
domains = ["contoso.example"]
shards = 1
poller = "epoll"
[[listener]]
address = "127.0.0.1:{federation}"
class = "federation"
[[listener]]
address = "127.0.0.1:{}"
class = "internal"
[[identity]]
certificate = "sip.pem"
key = "sip.key"
[tls]
trust = ["ca.pem"]
[[next_hop]]
name = "pool.contoso.example"
[dns]
servers = ["127.0.0.1:{}"]
timeout_ms = 100
attempts = 1
[limits]
connections = 16
half_open = 4
transactions = 64
[management]
listen = ["127.0.0.1:0"]
[[partner]]
domain = "fabrikam.example"
"#,
        internal, name_server
    )
}

fn found(directory: &Path, text: &str, now_unix_s: u64) -> Vec<Finding> {
    let config = config::parse(&directory.join("e.toml"), text).unwrap_or_else(|r| panic!("{r}"));
    let mut findings = check(&config, now_unix_s, Look::Asking);
    // Whether this host keeps its clock, and has the descriptors, is not what is tested here.
    findings.retain(|finding| {
        !["clock-not-synchronised", "clock-unkept", "descriptors-too-few"].contains(&finding.code)
    });
    findings
}

/// A moment at which certificates made by these tests hold, rcgen's being without end.
fn now() -> u64 {
    Clock::start().now().unix_s
}

fn codes(findings: &[Finding]) -> Vec<(&'static str, Severity)> {
    findings.iter().map(|finding| (finding.code, finding.severity)).collect()
}

#[test]
fn a_decision_log_that_cannot_be_written_is_found_and_none_is_made() {
    let directory = world(&["sip.contoso.example"]);
    let look = |log: &str| {
        let text = format!("{}[log]\ndecisions = \"{log}\"\n", text_for(free_port()));
        let findings = found(directory.path(), &text, now());
        findings.into_iter().find(|finding| finding.code == "decision-log-unwritable")
    };
    let before = fs::read_dir(directory.path()).unwrap().count();
    assert!(look("decisions.log").is_none());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), before, "nothing is left behind");

    let missing = look("nowhere/decisions.log").expect("no directory");
    assert_eq!(missing.severity, Severity::Warning);
    let path = directory.path().join("nowhere/decisions.log");
    let expected = format!(
        "{} cannot be written: its directory is not there (No such file or directory (os error \
         2)); nothing will be logged",
        path.display()
    );
    assert_eq!(missing.sentence, expected);
    assert_eq!(missing.advice, "make the directory, owned by the edge's user");

    fs::create_dir(directory.path().join("folder")).unwrap();
    assert!(look("folder").expect("no file").sentence.contains(": it is a directory ("));
    assert!(look("sip.pem/decisions.log").expect("no file").sentence.contains("not there"));
}

#[test]
fn a_sound_configuration_has_nothing_but_a_silent_name_server() {
    let directory = world(&["sip.contoso.example"]);
    let findings = found(directory.path(), &text_for(free_port()), now());
    assert_eq!(codes(&findings), [("dns-server-silent", Severity::Warning)], "{findings:?}");
    let place = directory.path().join("e.toml:20");
    assert_eq!(findings[0].place, place.display().to_string());
}

#[test]
fn a_key_of_another_certificate_is_an_error_at_its_line() {
    let directory = world(&["sip.contoso.example"]);
    let text = text_for(free_port()).replace("sip.key", "other.key");
    let findings = found(directory.path(), &text, now());
    assert_eq!(findings[0].code, "identity-unusable");
    assert!(findings[0].sentence.contains("is not the private key of"), "{findings:?}");
    assert!(findings[0].place.ends_with("e.toml:14"), "{findings:?}");
}

#[test]
fn a_name_that_peers_expect_must_be_in_the_certificate() {
    let directory = world(&["www.contoso.example", "*.contoso.example"]);
    let findings = found(directory.path(), &text_for(free_port()), now());
    let missing: Vec<_> =
        findings.iter().filter(|f| f.code == "certificate-name-missing").collect();
    assert_eq!(missing.len(), 2, "a wildcard is no name among servers: {findings:?}");
    assert_eq!(
        missing[0].sentence,
        "the certificate of default does not carry sip.contoso.example, as partners expect"
    );
}

#[test]
fn an_unreadable_file_is_named() {
    let directory = world(&["sip.contoso.example"]);
    fs::remove_file(directory.path().join("ca.pem")).unwrap();
    fs::remove_file(directory.path().join("sip.pem")).unwrap();
    let findings = found(directory.path(), &text_for(free_port()), now());
    let errors: Vec<_> = findings.iter().filter(|f| f.severity == Severity::Error).collect();
    assert_eq!(errors.len(), 2, "{findings:?}");
    assert!(errors[0].sentence.contains("sip.pem: cannot be read"), "{findings:?}");
    assert!(errors[1].sentence.contains("ca.pem: cannot be read"), "{findings:?}");
}

#[test]
fn a_key_that_everybody_can_read_is_a_warning() {
    let directory = world(&["sip.contoso.example"]);
    let key = directory.path().join("sip.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let findings = found(directory.path(), &text_for(free_port()), now());
    assert!(
        codes(&findings).contains(&("key-readable-by-others", Severity::Warning)),
        "{findings:?}"
    );
}

#[test]
fn a_port_in_use_is_an_error() {
    let directory = world(&["sip.contoso.example"]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let findings = found(directory.path(), &text_for(address.port()), now());
    assert_eq!(findings[0].code, "port-in-use");
    assert_eq!(findings[0].sentence, format!("{address} is in use"));
    assert!(findings[0].place.ends_with("e.toml:7"), "{findings:?}");
}

#[test]
fn an_address_of_another_host_is_an_error() {
    let directory = world(&["sip.contoso.example"]);
    let text = text_for(5061).replace("127.0.0.1:5061", "192.0.2.1:5061");
    let findings = found(directory.path(), &text, now());
    assert_eq!(findings[0].code, "address-not-local");
}

#[test]
fn a_clock_that_is_years_behind_is_an_error() {
    let directory = world(&["sip.contoso.example"]);
    let findings = found(directory.path(), &text_for(free_port()), 3600);
    assert!(codes(&findings).contains(&("clock-wrong", Severity::Error)), "{findings:?}");
}

#[test]
fn what_the_policy_probably_does_not_mean_is_a_warning_at_its_line() {
    let directory = world(&["sip.contoso.example"]);
    let added = "expires = 2001-09-09\n[[provider]]\npreset = \"aol\"\nenabled = true\n";
    let text = format!("{}{added}", text_for(free_port()));
    let findings = found(directory.path(), &text, now());
    let warnings: Vec<_> = findings
        .iter()
        .filter(|finding| finding.code.starts_with('W'))
        .map(|finding| (finding.code, finding.place.rsplit(':').next().unwrap_or_default()))
        .collect();
    assert_eq!(warnings, [("W105", "29"), ("W107", "32")], "{findings:?}");
}

#[test]
fn rows_of_lists_are_judged_with_the_rest_and_found_by_file_and_line() {
    let directory = world(&["sip.contoso.example"]);
    let lists = "[federation]\npartners_csv = \"p.csv\"\nblocked_csv = \"b.csv\"\n";
    let text = format!("{}{lists}", text_for(free_port()));
    let path = directory.path().join("e.toml");
    fs::write(&path, text).unwrap();
    let partners = "domain,expires\n# old\nnorthwind.example,2001-09-09\nlitware.example,\n";
    fs::write(directory.path().join("p.csv"), partners).unwrap();
    fs::write(directory.path().join("b.csv"), "domain\nlitware.example\n").unwrap();
    let config = config::load(&path).unwrap_or_else(|report| panic!("{report}"));
    let findings = check(&config, now(), Look::Asking);
    let told = |code: &str| {
        let finding = findings.iter().find(|finding| finding.code == code);
        finding.unwrap_or_else(|| panic!("{code} is missing in {findings:?}"))
    };
    assert!(told("W105").place.ends_with("p.csv:3"), "{findings:?}");
    let contradiction = told("policy-contradiction");
    assert!(contradiction.place.ends_with("p.csv:4"), "{findings:?}");
    assert!(contradiction.sentence.ends_with("b.csv:2"), "{findings:?}");
    assert!(contradiction.sentence.starts_with("litware.example is both allowed"), "{findings:?}");
}

#[test]
fn limits_beyond_the_host_are_a_warning_with_both_sums() {
    let directory = world(&["sip.contoso.example"]);
    let text = text_for(free_port())
        .replace("connections = 16", "connections = 4000000")
        .replace("transactions = 64", "transactions = 16000000");
    let findings = found(directory.path(), &text, now());
    let memory = findings.iter().find(|finding| finding.code == "memory-beyond-host");
    // A host with more than 46 GiB would not be warned, and rightly.
    if let Some(memory) = memory {
        assert!(memory.sentence.starts_with("the limits amount to 46."), "{memory:?}");
    }
}

#[test]
fn the_table_of_memory_has_its_sum() {
    let directory = world(&["sip.contoso.example"]);
    let text = text_for(free_port());
    let config = config::parse(&directory.path().join("e.toml"), &text).unwrap();
    let printed = super::text(&config, &[], &host::memory(&config));
    assert!(printed.contains("memory at most"), "{printed}");
    assert!(
        printed.contains("transactions                                         64"),
        "{printed}"
    );
    assert!(printed.ends_with("e.toml: 0 errors, 0 warnings, 0 notes\n"), "{printed}");
    assert_eq!(sized(1536), "1.5 KiB");
    assert_eq!(sized(3 << 30), "3.0 GiB");
}

#[test]
fn a_directory_where_revocation_lists_cannot_be_kept_is_told() {
    let directory = world(&["sip.contoso.example"]);
    let text = text_for(free_port());
    let with = |name: &str| {
        let line = format!("trust = [\"ca.pem\"]\nrevocation_cache = \"{name}\"");
        let findings = found(directory.path(), &text.replace("trust = [\"ca.pem\"]", &line), now());
        findings.iter().any(|finding| finding.code == "revocation-cache-unusable")
    };
    assert!(with("nowhere"));
    assert!(with("/proc"), "nobody can write there");
    assert!(!with("."));
}

#[test]
fn a_certificate_must_be_for_servers_and_lead_to_a_known_authority() {
    let directory = world(&["sip.contoso.example"]);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut name = rcgen::CertificateParams::new(Vec::new()).unwrap();
    name.distinguished_name.push(rcgen::DnType::CommonName, "Somebody's CA");
    let issuer = rcgen::Issuer::from_params(&name, &key);
    let own = rcgen::KeyPair::generate().unwrap();
    let names = vec!["sip.contoso.example".to_owned()];
    let mut leaf = rcgen::CertificateParams::new(names).unwrap();
    leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = leaf.signed_by(&own, &issuer).unwrap();
    fs::write(directory.path().join("sip.pem"), leaf.pem()).unwrap();
    fs::write(directory.path().join("sip.key"), own.serialize_pem()).unwrap();
    let findings = found(directory.path(), &text_for(free_port()), now());
    let found = codes(&findings);
    assert!(found.contains(&("certificate-not-for-servers", Severity::Error)), "{findings:?}");
    let chain = findings.iter().find(|f| f.code == "certificate-chain-incomplete").unwrap();
    assert!(chain.sentence.ends_with("knows: CN=Somebody's CA"), "{chain:?}");
}

#[test]
fn a_name_of_the_plan_that_no_certificate_carries_is_a_warning() {
    let directory = world(&["sip.contoso.example"]);
    let text = text_for(free_port()).replace(
        "domains = [\"contoso.example\"]",
        "domains = [\"contoso.example\", \"contoso-eu.example\"]",
    );
    let findings = found(directory.path(), &text, now());
    let planned = findings.iter().find(|f| f.code == "certificate-name-planned").unwrap();
    assert_eq!(planned.severity, Severity::Warning);
    assert_eq!(
        planned.sentence,
        "the certificate of default does not carry sip.contoso-eu.example: strict peers of \
         contoso-eu.example are told this name by DNS"
    );
    assert_eq!(
        planned.advice,
        "order it with that name: entente plan --format csr --certificate default"
    );
}

#[test]
fn the_exit_code_is_that_of_the_worst_finding_from_the_asked_severity_on() {
    let finding = |severity| Finding {
        code: "x",
        severity,
        sentence: String::new(),
        place: String::new(),
        advice: String::new(),
    };
    let (note, warning) = (finding(Severity::Note), finding(Severity::Warning));
    let error = finding(Severity::Error);
    let both = [warning.clone(), note.clone()];
    assert_eq!(exit_code(&[], Severity::Note), 0);
    assert_eq!(exit_code(&both, Severity::Error), 0);
    assert_eq!(exit_code(&both, Severity::Warning), 3);
    assert_eq!(exit_code(&both, Severity::Note), 3);
    assert_eq!(exit_code(std::slice::from_ref(&note), Severity::Warning), 0);
    assert_eq!(exit_code(&[note], Severity::Note), 4);
    assert_eq!(exit_code(&[warning, error], Severity::Note), 1);
}
