//! Verdicts, screens and places; the verdict is the Access Edge's own, and where policy decides it
//! must be policy's.

use std::path::Path;

use super::screens::{Said, Screen};
use super::*;
use crate::dns::{Answer, Target};

const TEXT: &str = concat!(
    include_str!("../../../tests/fixtures/least.toml"),
    r#"addresses = ["10.0.0.20"]
[[partner]]
domain = "fabrikam.example"
[[partner]]
domain = "tailspin.example"
kind = "allowed_server"
edge = "sip.tailspin.example"
names = "both"
[[blocked]]
domain = "litware.example"
"#
);

fn read(text: &str) -> Config {
    config::parse(Path::new("e.toml"), text).unwrap_or_else(|report| panic!("{report}"))
}

fn args(from: &str, to: &str) -> Args {
    Args {
        from: from.to_owned(),
        to: vec![to.to_owned()],
        config: "e.toml".into(),
        method: "INVITE".to_owned(),
        direction: None,
        certificate: Vec::new(),
        live: false,
        json: false,
    }
}

fn explained(text: &str, args: &Args) -> Explanation {
    let (from, to) = (party(&args.from).unwrap(), party(&args.to[0]).unwrap());
    explain(args, &read(text), &from, &to).unwrap()
}

fn stopped(explained: &Explanation) -> Option<(Screen, Said)> {
    let step = explained.screens.iter().find(|step| step.said != Said::Passed)?;
    Some((step.screen, step.said))
}

/// Returns the verdict and where the walk ended.
fn told(text: &str, from: &str, to: &str) -> (Verdict, Option<(Screen, Said)>) {
    let explained = explained(text, &args(from, to));
    let end = stopped(&explained);
    (explained.verdict, end)
}

const ALICE: &str = "sip:alice@contoso.example";

#[test]
fn the_walk_ends_where_the_edge_stops() {
    let refused = |screen| (Verdict::Refused, Some((screen, Said::Stopped)));
    let waits = (Verdict::Undecided, Some((Screen::Dns, Said::Waits)));
    let in_and_out = [
        ("sip:eve@litware.example", refused(Screen::Blocked)),
        ("sip:eve@wingtip.example", refused(Screen::Partner)),
        ("sip:bob@fabrikam.example", waits.clone()),
    ];
    for (stranger, expected) in in_and_out {
        assert_eq!(told(TEXT, stranger, ALICE), expected, "from {stranger}");
        assert_eq!(told(TEXT, ALICE, stranger), expected, "to {stranger}");
    }
    // The name of its edge is stated: nothing is asked about who comes from there.
    assert_eq!(told(TEXT, "sip:bob@tailspin.example", ALICE), (Verdict::Passes, None));
    assert_eq!(told(TEXT, ALICE, "sip:bob@tailspin.example"), waits);
    let relay = told(TEXT, "sip:bob@fabrikam.example", "sip:eve@wingtip.example");
    assert_eq!(relay, refused(Screen::Destination));
    let off = TEXT.replace(
        "[[partner]]\ndomain = \"fab",
        "[federation]\nenabled = false\n[[partner]]\ndomain = \"fab",
    );
    assert_eq!(told(&off, ALICE, "sip:bob@fabrikam.example"), refused(Screen::Switches));
}

#[test]
fn an_own_domain_claimed_from_outside_is_refused_there() {
    let mut args = args("sip:mallory@contoso.example", ALICE);
    args.direction = Some(Direction::In);
    let explained = explained(TEXT, &args);
    assert_eq!(stopped(&explained), Some((Screen::OwnDomains, Said::Stopped)));
    assert_eq!(explained.status, Some(403));
    assert!(explained.diagnostics.unwrap().starts_with("ms-diagnostics-public: 1017;"));
}

#[test]
fn a_kind_of_request_that_does_not_cross_is_refused_before_policy() {
    let mut args = args("sip:bob@tailspin.example", ALICE);
    args.method = "PUBLISH".to_owned();
    let refused = explained(TEXT, &args);
    assert_eq!(stopped(&refused), Some((Screen::Method, Said::Stopped)));
    args.method = "MESSAGE".to_owned();
    assert_eq!(explained(TEXT, &args).verdict, Verdict::Passes);
}

#[test]
fn a_refusal_names_its_rule_with_file_and_line() {
    let blocked = explained(TEXT, &args(ALICE, "sip:eve@litware.example"));
    assert_eq!(blocked.place.as_deref(), Some("blocked[0], e.toml:21"));
    assert_eq!(
        (blocked.status, blocked.reason.as_deref()),
        (Some(403), Some("Cannot route to destination domain"),)
    );
    let allowed = explained(TEXT, &args("sip:bob@tailspin.example", ALICE));
    assert_eq!(allowed.place.as_deref(), Some("partner[1], e.toml:16"));
    assert_eq!(
        allowed.rule.as_deref(),
        Some("allowed partner server sip.tailspin.example of tailspin.example")
    );
    assert_eq!(allowed.certificate_names, ["tailspin.example", "sip.tailspin.example"]);
    let next = allowed.next.unwrap();
    assert_eq!(
        (next.name.as_str(), next.addresses),
        ("pool.contoso.example", vec!["10.0.0.20:5061".to_owned()],)
    );
}

#[test]
fn a_certificate_that_is_given_is_judged() {
    let mut args = args("sip:bob@tailspin.example", ALICE);
    args.certificate = vec![Domain::parse(b"sip.tailspin.example").unwrap()];
    let refused = explained(TEXT, &args);
    assert_eq!(stopped(&refused), Some((Screen::Name, Said::Stopped)));
    assert!(refused.sentence.contains("the certificate does not carry tailspin.example"));
    args.certificate.push(Domain::parse(b"tailspin.example").unwrap());
    assert_eq!(explained(TEXT, &args).verdict, Verdict::Passes);
}

/// What explain says and what the core does are one: each pair of domains, both ways, with and
/// without discovery, and with DNS silent, right and wrong.
#[test]
fn the_verdict_is_that_of_policy_wherever_policy_is_asked() {
    let open = format!("{TEXT}[federation]\ndiscovery = true\n");
    let domains = ["fabrikam.example", "tailspin.example", "litware.example", "wingtip.example"];
    for (text, domain) in [TEXT, open.as_str()].into_iter().flat_map(|t| domains.map(|d| (t, d))) {
        let config = read(text);
        for direction in [Direction::In, Direction::Out] {
            for edge in [None, Some(format!("sip.{domain}")), Some("sip.evil.example".to_owned())] {
                let bob = format!("sip:bob@{domain}");
                let (from, to) = match direction {
                    Direction::In => (bob.as_str(), ALICE),
                    _ => (ALICE, bob.as_str()),
                };
                let args = args(from, to);
                let (from, to) = (party(from).unwrap(), party(to).unwrap());
                let answers = answers(domain, edge.as_deref());
                let mut case = case(&args, &config, (&from, &to), direction, answers);
                case.assume();
                let policy = case.decide(&case.peer);
                let explained = case.conclude(None);
                let what = format!("{direction:?} {domain} {edge:?}: {}", explained.sentence);
                match policy {
                    Decision::Permit(_) => assert_eq!(explained.verdict, Verdict::Passes, "{what}"),
                    Decision::Ask(_) => assert_eq!(explained.verdict, Verdict::Undecided, "{what}"),
                    Decision::Refuse(refusal) => {
                        assert_eq!(explained.verdict, Verdict::Refused, "{what}");
                        assert_eq!(explained.status, Some(refusal.status()), "{what}");
                        assert!(explained.sentence.ends_with(&refusal.sentence()), "{what}");
                    }
                }
            }
        }
    }
}

fn case<'a>(
    args: &'a Args,
    config: &'a Config,
    (from, to): (&'a Party, &'a Party),
    direction: Direction,
    answers: Answers,
) -> Case<'a> {
    let peer = PeerNames {
        dns_names: Vec::new(),
        sip_domains: Vec::new(),
        common_name: None,
        client_auth: true,
        anchors: Anchors::General,
        fingerprint: [0; 32],
        expires_unix_s: u64::MAX,
        revocation: RevocationState::Good,
    };
    Case {
        args,
        config,
        snapshot: Arc::new(control::policy(config).unwrap()),
        from,
        to,
        direction,
        now: Now { unix_s: 1_800_000_000, ..Now::default() },
        answers,
        peer: Arc::new(peer),
    }
}

/// DNS that names `edge` for the domain, and an address for every host.
fn answers(domain: &str, edge: Option<&str>) -> Answers {
    let Some(edge) = edge else { return Answers::default() };
    let name = |text: &str| Domain::parse(text.as_bytes()).unwrap();
    let target = |fqdn: &str| Target {
        fqdn: name(fqdn),
        port: 5061,
        priority: 0,
        weight: 0,
        addresses: vec!["93.184.216.34".parse().unwrap()],
    };
    let federation = Question::Federation(name(domain));
    let stated = format!("sip.{domain}");
    let host = Question::Host { fqdn: name(&stated), port: 5061 };
    let answer = |question, fqdn: &str| {
        Arc::new(Answer { question, outcome: Ok(vec![target(fqdn)]), ttl_s: 300 })
    };
    Answers(vec![answer(federation, edge), answer(host, &stated)])
}

#[test]
fn text_tells_the_walk_and_the_verdict() {
    let explained = explained(TEXT, &args("sip:eve@litware.example", ALICE));
    let text = show::text(&explained);
    assert!(text.starts_with(
        "INVITE sip:eve@litware.example to sip:alice@contoso.example, from a partner\n\n"
    ));
    assert!(text.contains("  destination          passed\n"), "{text}");
    assert!(text.contains("  blocked domains      STOPPED  INVITE refused with 403"), "{text}");
    assert!(text.contains("  partner              -\n"), "{text}");
    assert!(text.contains("\nrule              blocked[0], e.toml:21\n"), "{text}");
}

#[test]
fn an_address_is_read_as_people_write_it() {
    assert_eq!(party("alice@contoso.example").unwrap().uri, "sip:alice@contoso.example");
    assert_eq!(party("sips:Alice@CONTOSO.example").unwrap().uri, "sip:Alice@contoso.example");
    assert_eq!(party("contoso.example").unwrap().uri, "sip:contoso.example");
    let refused = party("sip:alice").unwrap_err().to_string();
    let expected = "`sip:alice` names no domain: expected a full name with at least one dot";
    assert_eq!(refused, expected);
    assert!(party("sip:a\r\nb@contoso.example").is_err());
}
