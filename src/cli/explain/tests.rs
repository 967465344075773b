//! Verdicts, screens and places; the verdict is the Access Edge's own, and where policy decides it
//! must be policy's.

use std::path::Path;

mod own_user;
mod throttle;

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
        config: Some("e.toml".into()),
        method: "INVITE".to_owned(),
        direction: None,
        certificate: Vec::new(),
        audio: false,
        mark: Vec::new(),
        live: false,
        json: false,
    }
}

/// Returns what is said of a command line that asks nothing.
fn refused(words: &str) -> String {
    use clap::Parser as _;
    let cli = crate::cli::Cli::try_parse_from(format!("entente explain {words}").split(' '));
    let crate::cli::Command::Explain(args) = cli.unwrap().command else { panic!("{words}") };
    asked(&args).map(drop).expect_err(words)
}

/// Symptom: who left out what he asks about was told the usage of all that can be asked.
#[test]
fn what_is_left_out_is_told_in_the_words_of_what_was_asked() {
    let example = "entente explain relay 203.0.113.7:3478 -c entente.toml";
    for (words, told) in [
        ("relay", "what about the relay? Say an address"),
        ("relay -c e.toml", "what about the relay? Say an address"),
        ("relay to", "what about the relay? Say an address"),
        ("relay nonsense", "`nonsense` is neither an address, with or without a port, nor a user"),
    ] {
        let refused = refused(words);
        assert!(refused.contains(told) && refused.ends_with(example), "{words}: {refused}");
    }
    let whom = "entente explain sip:a@contoso.com to sip:bob@fabrikam.com -c entente.toml";
    for words in ["sip:a@contoso.com", "sip:a@contoso.com to", "sip:a@contoso.com -c e.toml"] {
        assert!(refused(words).ends_with(whom), "{}", refused(words));
    }
    let more = refused("sip:a@contoso.com sip:b@fabrikam.com sip:c@fabrikam.com");
    assert!(more.contains("is more than whom it is for"), "{more}");
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
fn an_entry_is_shown_with_its_owner_and_ticket() {
    let stated = "domain = \"litware.example\"\n";
    assert!(TEXT.contains(stated), "{TEXT}");
    let owned = format!("{stated}owner = \"abuse desk\"\nticket = \"SEC-7\"\n");
    let text = TEXT.replace(stated, &owned);
    let blocked = explained(&text, &args(ALICE, "sip:eve@litware.example"));
    assert_eq!(blocked.owner.as_deref(), Some("abuse desk"));
    assert_eq!(blocked.ticket.as_deref(), Some("SEC-7"));
    let shown = show::text(&blocked);
    assert!(shown.contains("owner             abuse desk\nticket            SEC-7\n"), "{shown}");
    let other = explained(&text, &args("sip:bob@tailspin.example", ALICE));
    assert_eq!((other.owner, other.ticket), (None, None));
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
        xmpp: None,
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
        entry: Entry::covering(config, &from.domain),
        assumed_hop: None,
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
        direct_tls: true,
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
    assert!(text.contains("  blocked domains      STOPPED  litware.example is blocked"), "{text}");
    assert!(text.contains("  partner              -\n"), "{text}");
    assert!(text.contains("\nverdict           it is refused: INVITE refused with 403"), "{text}");
    assert!(text.contains("\nrule              blocked[0], e.toml:21\n"), "{text}");
}

#[test]
fn a_certificate_is_assumed_as_providers_and_the_default_route_want_it() {
    let provider = "[[provider]]\nname = \"hoster\"\nkind = \"hosting\"\nenabled = true\n\
                    edge = \"sipfed.hoster.example\"\ndomains = [\"tenant.example\"]\n\
                    shared_address_space = [\"contoso.example\"]\ntrust = [\"ca.pem\"]\n";
    let text = format!("{TEXT}{provider}");
    let hosted = explained(&text, &args("sip:x@tenant.example", ALICE));
    assert_eq!(hosted.verdict, Verdict::Passes, "{}", hosted.sentence);
    assert_eq!(
        hosted.assumed.as_deref(),
        Some(
            "the sender's certificate is as policy wants it: it carries sipfed.hoster.example and \
             leads to the partner's own anchors"
        )
    );
    let mut shared = args("sip:lee@contoso.example", ALICE);
    shared.direction = Some(Direction::In);
    let shared = explained(&text, &shared);
    assert_eq!(shared.verdict, Verdict::Passes, "{}", shared.sentence);
    assert!(shared.sentence.starts_with("hosting provider hoster for the shared own domain"));

    let hub = format!("{TEXT}[default_route]\nedge = \"hub.example\"\ntrust = [\"ca.pem\"]\n");
    let anybody = explained(&hub, &args("sip:x@anything.example", ALICE));
    assert_eq!(anybody.verdict, Verdict::Passes, "{}", anybody.sentence);
    assert_eq!(anybody.certificate_names, ["hub.example"]);
}

#[test]
fn what_comes_after_an_unknown_address_of_the_next_hop_is_seen() {
    let text = TEXT.replace("addresses = [\"10.0.0.20\"]\n", "");
    let passes = explained(&text, &args("sip:bob@tailspin.example", ALICE));
    assert_eq!(
        (passes.verdict, &passes.sentence),
        (Verdict::Passes, passes.rule.as_ref().unwrap())
    );
    let next = passes.next.unwrap();
    assert_eq!((next.name.as_str(), next.addresses.len()), ("pool.contoso.example", 0));
    assert_eq!(passes.dns[0].answer, "not asked; --live does");
    let closed = format!("{text}[[external_access_policy]]\nname = \"global\"\n");
    let refused = explained(&closed, &args("sip:bob@tailspin.example", ALICE));
    assert_eq!(stopped(&refused), Some((Screen::User, Said::Stopped)));
}

#[test]
fn domains_on_the_wrong_sides_are_answered_with_a_hint() {
    let hint = |from: &str, to: &str, direction| {
        let args = Args { direction, ..args(from, to) };
        explained(TEXT, &args).hint.unwrap_or_default()
    };
    let (bob, eve) = ("sip:bob@fabrikam.example", "sip:eve@wingtip.example");
    assert_eq!(
        hint(bob, eve, None),
        "neither domain is ours (contoso.example): the edge is no relay between others"
    );
    assert!(hint(ALICE, ALICE, None).starts_with("both domains are ours: the pool delivers"));
    assert_eq!(
        hint(ALICE, bob, Some(Direction::In)),
        "the sender is ours: without --direction it goes out"
    );
    assert_eq!(
        hint(bob, ALICE, Some(Direction::Out)),
        "the sender is not ours: without --direction it comes in"
    );
    assert_eq!(hint(bob, ALICE, None), "");
}

#[test]
fn a_provider_that_lets_no_calls_pass_stops_them_at_their_own_screen() {
    let provider = "[[provider]]\nname = \"im\"\nkind = \"public\"\nenabled = true\n\
                    edge = \"sip.im.example\"\ndomains = [\"im.example\"]\n";
    let text = format!("{TEXT}{provider}");
    let mut args = args("sip:x@im.example", ALICE);
    assert_eq!(explained(&text, &args).verdict, Verdict::Passes);
    args.audio = true;
    let refused = explained(&text, &args);
    assert_eq!(stopped(&refused), Some((Screen::Media, Said::Stopped)));
    assert_eq!(refused.status, Some(488));
}

#[test]
fn words_of_the_command_line_are_read_or_refused() {
    assert_eq!(method("message"), Ok("MESSAGE".to_owned()));
    assert_eq!(method("IN VITE"), Err("expected a method such as INVITE".to_owned()));
    assert_eq!(mark("federation=false"), Ok(Mark::Federation(false)));
    assert_eq!(mark("ms-publiccloud=true"), Ok(Mark::PublicCloud(true)));
    for wrong in ["federation", "federation=yes", "xmpp=true", ""] {
        assert!(mark(wrong).unwrap_err().starts_with("expected federation=true, "), "{wrong}");
    }
}
