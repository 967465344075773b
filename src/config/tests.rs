//! The examples load; each class of error has its exact message.

use std::path::{Path, PathBuf};

mod av;
mod plan;
mod xmpp;

use toml::de::DeValue;

use super::section::Section;
use super::*;
use crate::config::fixture::LEAST;

const FILES: [&str; 6] = [
    "minimal.toml",
    "full.toml",
    "pool_behind_balancer.toml",
    "remote_users.toml",
    "clearing_house.toml",
    "xmpp.toml",
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/configs").join(name)
}

fn refuse(text: &str) -> String {
    parse(Path::new("e.toml"), text).expect_err("must be refused").to_string()
}

/// Reads `added` after the least configuration; lines are counted from `added`.
fn refuse_added(added: &str) -> Vec<(String, String, Option<String>)> {
    let text = format!("{LEAST}{added}");
    let report = parse(Path::new("e.toml"), &text).expect_err("must be refused");
    let told = |p: &Problem| (p.message.clone(), p.label.clone(), p.help.clone());
    report.problems().iter().map(told).collect()
}

fn one(added: &str) -> (String, String, Option<String>) {
    let mut problems = refuse_added(added);
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

fn triple(message: &str, label: &str, help: &str) -> (String, String, Option<String>) {
    (message.to_owned(), label.to_owned(), (!help.is_empty()).then(|| help.to_owned()))
}

#[test]
fn every_example_loads() {
    for name in FILES {
        let config = load(&fixture(name)).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(config.edge.external_fqdn.as_str(), "sip.contoso.example", "{name}");
    }
}

#[test]
fn the_minimal_example_has_ten_lines() {
    let text = std::fs::read_to_string(fixture("minimal.toml")).unwrap();
    assert_eq!(text.lines().count(), 10);
}

#[test]
fn the_full_example_names_every_key() {
    let config = load(&fixture("full.toml")).unwrap();
    let other = load(&fixture("clearing_house.toml")).unwrap();
    for section in sections() {
        // It excludes what the full example says.
        let config = if section.name == "default_route" { &other } else { &config };
        for key in &section.keys {
            let said = (0..4).any(|index| {
                config.source.says(&format!("{}[{index}].{}", section.name, key.name))
            }) || config.source.says(&format!("{}.{}", section.name, key.name));
            assert!(said, "full.toml does not say {}.{}", section.name, key.name);
        }
    }
    assert_eq!(config.secrets.as_ref().map(|secrets| secrets.0[0].id), Some(2));
    assert_eq!(config.edge.domains[1].as_str(), "xn--mnchen-3ya.example");
    assert_eq!(config.listeners[1].class, Class::RemoteUsers);
    assert_eq!(config.partners[1].names, PeerName::Both);
    assert_eq!(config.identities[0].certificate, fixture("pki/sip.pem"));
}

fn check_examples<S: Section>() {
    for key in S::entry().keys {
        let value = DeValue::parse(key.example).unwrap_or_else(|error| panic!("{error}"));
        let mut context = Context::default();
        let accepted = S::accepts(&mut context, key.name, &value);
        assert!(accepted, "example of {}.{}: {:?}", S::NAME, key.name, context.problems);
        if let Presence::Default(default) = key.presence {
            let value = DeValue::parse(default).unwrap_or_else(|error| panic!("{error}"));
            let accepted = S::accepts(&mut context, key.name, &value);
            assert!(accepted, "default of {}.{}: {:?}", S::NAME, key.name, context.problems);
        }
    }
}

#[test]
fn every_example_and_default_of_the_reference_is_accepted() {
    check_examples::<Edge>();
    check_examples::<Listener>();
    check_examples::<Identity>();
    check_examples::<Tls>();
    check_examples::<Internal>();
    check_examples::<NextHop>();
    check_examples::<Federation>();
    check_examples::<RemoteUsers>();
    check_examples::<Partner>();
    check_examples::<Blocked>();
    check_examples::<Provider>();
    check_examples::<DefaultRoute>();
    check_examples::<Addresses>();
    check_examples::<Dns>();
    check_examples::<Limits>();
    check_examples::<Management>();
    check_examples::<Log>();
    check_examples::<Plan>();
    check_examples::<PlanNode>();
    check_examples::<Xmpp>();
    check_examples::<XmppPartner>();
    check_examples::<Gateway>();
    check_examples::<GatewayEdge>();
    check_examples::<Av>();
    check_examples::<AvListener>();
    check_examples::<PoolEdge>();
}

#[test]
fn see_also_points_at_keys_that_exist() {
    let sections = sections();
    for section in sections.iter().chain(&schema::sections_of_pool()) {
        for key in &section.keys {
            for see in key.see {
                let (target, name) = see.split_once('.').unwrap();
                let found = sections
                    .iter()
                    .any(|s| s.name == target && s.keys.iter().any(|k| k.name == name));
                assert!(found, "{}.{} points at {see}", section.name, key.name);
            }
        }
    }
    let text = reference();
    assert!(text.contains("### edge.coalesce_us"), "{text}");
    assert!(text.contains("## [[edge]], in the file of `av.pool`"), "{text}");
    assert!(text.contains("| type | integer, microseconds |"), "{text}");
}

#[test]
fn what_is_unset_is_derived() {
    let config = parse(Path::new("e.toml"), LEAST).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(config.node(), &config.edge.external_fqdn);
    assert_eq!(config.internal_names()[0].as_str(), "pool.contoso.example");
    assert_eq!(config.internal_trust(), &Trust::System);
    assert_eq!(config.listener_identity(&config.listeners[0]), 0);
    assert_eq!(config.limits.connections, 20_000);
    assert_eq!(config.management.listen[0].port(), 9464);
}

#[test]
fn an_unknown_key_is_shown_with_line_caret_and_suggestion() {
    let text = LEAST.replace("domains =", "domians =");
    let expected = "\
error[config-missing-key]: `edge` needs `domains`
 --> e.toml:2:2
  |
2 | [edge]
  |  ^^^^ `domains` is missing here
  |
  = help: add for example: domains = [\"contoso.example\"]

error[config-unknown-key]: `edge` has no key `domians`
 --> e.toml:4:1
  |
4 | domians = [\"contoso.example\"]
  | ^^^^^^^ unknown key
  |
  = help: did you mean `domains`?

e.toml: 2 problems; nothing was changed
";
    assert_eq!(refuse(&text), expected);
}

#[test]
fn a_text_that_is_not_toml_is_shown_where_it_ends_being_it() {
    let expected = "\
error[config-syntax]: not TOML: string values must be quoted, expected literal string
 --> e.toml:2:8
  |
2 | node = edge1
  |        ^^^^^ here

e.toml: 1 problem; nothing was changed
";
    assert_eq!(refuse("[edge]\nnode = edge1\n"), expected);
}

#[test]
fn a_value_of_another_type_is_refused_with_a_hint() {
    assert_eq!(
        one("[dns]\nattempts = \"2\"\n"),
        triple(
            "`dns.attempts` must be an integer, not a string",
            "expected an integer",
            "write it without quotes: 2"
        )
    );
    assert_eq!(
        one("[dns]\nservers = \"192.0.2.53:53\"\n"),
        triple(
            "`dns.servers` must be a list of address with port, not a string",
            "expected a list of address with port",
            "write a list of one: [\"192.0.2.53:53\"]"
        )
    );
    assert_eq!(
        one("[federation]\ndiscovery = 1\n"),
        triple(
            "`federation.discovery` must be true or false, not an integer",
            "expected true or false",
            ""
        )
    );
    assert_eq!(
        one("[federation]\nhide_topology = \"via\"\n"),
        triple(
            "`federation.hide_topology` must be true or false, not a string",
            "expected true or false",
            ""
        )
    );
}

#[test]
fn a_value_outside_its_range_is_refused() {
    assert_eq!(
        one("[dns]\nattempts = 99\n"),
        triple("`dns.attempts` is out of range", "expected 1 to 5", "")
    );
    assert_eq!(
        one("[log]\ndecisions_bytes = 1000\n"),
        triple("`log.decisions_bytes` is out of range", "expected 65536 to 17179869184", "")
    );
    assert_eq!(
        one("[tls]\nmin_version = \"1.1\"\n"),
        triple(
            "`tls.min_version` cannot be `1.1`",
            "expected one of: 1.2, 1.3",
            "did you mean \"1.2\"?"
        )
    );
}

#[test]
fn a_malformed_name_address_or_network_is_refused() {
    assert_eq!(
        one("[[blocked]]\ndomain = \"lit ware.example\"\n"),
        triple(
            "`lit ware.example` is not a domain name",
            "expected letters, digits and hyphens, such as contoso.example",
            ""
        )
    );
    assert_eq!(one("[[blocked]]\ndomain = \"192.0.2.1\"\n").1, "expected a name, not an address");
    assert_eq!(
        one("[addresses]\nallow_networks = [\"10.0.0.1/8\"]\n"),
        triple("`10.0.0.1/8` is not a network", "the address has bits outside the prefix", "")
    );
    assert_eq!(
        one("[dns]\nservers = [\"192.0.2.53\"]\n").1,
        "expected an address with a port, such as 192.0.2.1:5061"
    );
    assert_eq!(one("[log]\nlevel = \"loud\"\n").0, "`loud` is not a log level");
    assert_eq!(one("[log]\ndecisions = \"\"\n").1, "expected the path of a file");
}

#[test]
fn a_section_that_does_not_exist_is_refused() {
    assert_eq!(
        one("[[partners]]\ndomain = \"fabrikam.example\"\n"),
        triple("there is no section `partners`", "unknown section", "did you mean [[partner]]?")
    );
    let outside = parse(Path::new("e.toml"), &format!("discovery = true\n{LEAST}")).unwrap_err();
    assert_eq!(outside.problems()[0].message, "`discovery` stands outside its section");
    let help = outside.problems()[0].help.as_deref();
    assert_eq!(help, Some("`discovery` belongs to [federation]"));
}

#[test]
fn a_section_written_in_the_wrong_number_is_refused() {
    assert_eq!(
        one("[partner]\ndomain = \"fabrikam.example\"\n"),
        triple(
            "`partner` may be written several times, as a list of sections",
            "a single section",
            "write [[partner]]"
        )
    );
    assert_eq!(
        one("[[log]]\nlevel = \"info\"\n"),
        triple("`log` is written once, as a section", "not a section", "write [log]")
    );
}

#[test]
fn a_key_in_the_wrong_section_is_sent_to_its_own() {
    assert_eq!(
        one("[log]\ncoalesce_us = 3\n"),
        triple("`log` has no key `coalesce_us`", "unknown key", "`coalesce_us` belongs to [edge]")
    );
}

#[test]
fn several_problems_are_told_at_once_in_the_order_of_the_file() {
    let text = format!("{LEAST}[dns]\nattempts = 9\ntimeout_ms = 0\n[log]\nformat = \"xml\"\n");
    let report = parse(Path::new("e.toml"), &text).unwrap_err();
    let places: Vec<_> = report
        .problems()
        .iter()
        .map(|p| p.span.clone().map(|span| report.source().line_and_column(span.start)))
        .collect();
    assert_eq!(places, [Some((14, 12)), Some((15, 14)), Some((17, 10))]);
}

#[test]
fn a_contradiction_shows_both_places() {
    let text = "\
[[partner]]
domain = \"litware.example\"
[[blocked]]
domain = \"LITWARE.example.\"
";
    let expected = "\
error[config-contradiction]: litware.example is a partner and blocked
  --> e.toml:14:10
   |
14 | domain = \"litware.example\"
   |          ^^^^^^^^^^^^^^^^^ never reached: blocked wins
15 | [[blocked]]
16 | domain = \"LITWARE.example.\"
   |          ------------------ blocked here

e.toml: 1 problem; nothing was changed
";
    assert_eq!(refuse(&format!("{LEAST}{text}")), expected);
}

#[test]
fn contradictions_of_partners_are_refused() {
    assert_eq!(
        one("[[partner]]\ndomain = \"fabrikam.example\"\nkind = \"allowed_server\"\n"),
        triple(
            "an allowed server without the name of its edge",
            "needs `edge` too",
            "add for example: edge = \"sip.fabrikam.example\""
        )
    );
    assert_eq!(
        one("[[partner]]\ndomain = \"fabrikam.example\"\nedge = \"sip.fabrikam.example\"\n"),
        triple(
            "the edge of an allowed domain is found by DNS SRV",
            "has no effect",
            "remove it, or write kind = \"allowed_server\""
        )
    );
    assert_eq!(
        one("[[partner]]\ndomain = \"contoso.example\"\n"),
        triple("contoso.example is an own domain", "cannot be a partner too", "")
    );
    let twice = "[[partner]]\ndomain = \"a.example\"\n[[partner]]\ndomain = \"A.example\"\n";
    assert_eq!(one(twice).0, "partner a.example is given twice");
    let none = "[[partner]]\ndomain = \"a.example\"\nsrv_target = []\n";
    assert_eq!(one(none).0, "an empty list of SRV targets admits none");
    let port = "[[partner]]\ndomain = \"a.example\"\nport = 5061\n";
    assert_eq!(one(port).0, "the port of an allowed domain comes from its SRV record");
}

#[test]
fn contradictions_of_listeners_and_identities_are_refused() {
    let again = "[[listener]]\naddress = \"192.0.2.1:5061\"\nclass = \"internal\"\n";
    assert_eq!(one(again).0, "address 192.0.2.1:5061 is given twice");
    let unknown = "[[listener]]\naddress = \"192.0.2.2:5061\"\nclass = \"internal\"\n\
                   identity = \"defaut\"\n";
    assert_eq!(
        one(unknown),
        triple("there is no identity `defaut`", "unknown identity", "did you mean \"default\"?")
    );
    let second = "[[identity]]\ncertificate = \"b.pem\"\nkey = \"b.key\"\n\
                  [[identity]]\ncertificate = \"c.pem\"\nkey = \"c.key\"\nname = \"c\"\n\
                  sip_domains = [\"elsewhere.example\"]\n";
    let problems = refuse_added(second);
    assert_eq!(problems[0].0, "identity default is given twice");
    assert_eq!(problems[1].0, "elsewhere.example is not an own domain");
}

#[test]
fn contradictions_of_threads_times_and_limits_are_refused() {
    let edge = LEAST.replace("[edge]\n", "[edge]\nshards = 2\ncores = [0]\ndrain_notice_s = 60\n");
    let report = parse(Path::new("e.toml"), &edge).unwrap_err();
    let messages: Vec<_> = report.problems().iter().map(|p| p.message.as_str()).collect();
    assert_eq!(messages, ["1 cores for 2 shards", "the drain would end before its notice does"]);
    assert_eq!(
        one("[limits]\nconnections = 100\nhalf_open = 200\n").0,
        "more half-open connections than connections"
    );
    assert_eq!(
        one("[federation]\nenabled = false\ndiscovery = true\n").0,
        "discovery of partners while federation is off"
    );
}

#[test]
fn contradictions_of_providers_are_refused() {
    let provider = |keys: &str| one(&format!("[[provider]]\n{keys}"));
    assert_eq!(
        provider("name = \"a\"\nkind = \"hosting\"\n"),
        triple(
            "a provider needs `edge`, or a preset",
            "`edge` is missing here",
            "add for example: edge = \"sipfed.hoster.example\""
        )
    );
    assert_eq!(
        provider("preset = \"aol\"\nname_decoration_excluded = []\n"),
        triple(
            "domains excluded from a decoration that there is not",
            "has no effect",
            "add name_decoration_domain"
        )
    );
    assert_eq!(
        provider("preset = \"push\"\nshared_address_space = [\"fabrikam.example\"]\n"),
        triple(
            "fabrikam.example is not an own domain",
            "not ours to share",
            "a domain that only the provider serves belongs to `domains`"
        )
    );
    assert_eq!(
        provider("preset = \"icq\"\n"),
        triple(
            "`provider[0].preset` cannot be `icq`",
            "expected one of: messenger, aol, yahoo, skype, lync_online, push",
            ""
        )
    );
}

#[test]
fn a_default_route_excludes_discovery_and_needs_an_edge() {
    assert_eq!(
        one("[federation]\ndiscovery = true\n[default_route]\nedge = \"hub.example\"\n"),
        triple(
            "a default route and discovery of partners exclude each other",
            "takes what discovery would find",
            ""
        )
    );
    assert_eq!(
        one("[default_route]\npublic = true\n"),
        triple(
            "a default route without the name of its edge",
            "needs `edge`",
            "add for example: edge = \"hub.clearing.example\""
        )
    );
}

#[test]
fn a_date_is_a_day_of_the_calendar_without_quotes() {
    let expires =
        |value: &str| one(&format!("[[partner]]\ndomain = \"a.example\"\nexpires = {value}\n"));
    assert_eq!(
        expires("\"2027-12-31\""),
        triple(
            "`partner[0].expires` must be a date, not a string",
            "expected a date",
            "write it without quotes: 2027-12-31"
        )
    );
    assert_eq!(
        expires("2027-12-31T10:00:00Z"),
        triple(
            "`partner[0].expires` is not a day from 1970 on",
            "expected a date such as 2026-12-31",
            ""
        )
    );
    assert_eq!(
        expires("5").0,
        "`partner[0].expires` must be a date such as 2026-12-31, not an integer"
    );
}

#[test]
fn a_star_stands_for_whole_labels_and_only_in_lists_of_domains() {
    let text = "[[partner]]\ndomain = \"*.adatum.example\"\n[[blocked]]\ndomain = \"*.top\"\n";
    let config = parse(Path::new("e.toml"), &format!("{LEAST}{text}")).unwrap();
    assert_eq!(config.partners[0].domain.to_string(), "*.adatum.example");
    assert_eq!(config.blocked[0].domain.to_string(), "*.top");
    assert_eq!(
        one("[[partner]]\ndomain = \"*adatum.example\"\n"),
        triple(
            "`*adatum.example` is not a domain name",
            "the star stands for whole labels: *.contoso.example",
            ""
        )
    );
    assert_eq!(one("[[blocked]]\ndomain = \"*.example\"\n").0, "contoso.example is an own domain");
    let edge = "kind = \"allowed_server\"\nedge = \"*.a.example\"\n";
    assert_eq!(
        one(&format!("[[partner]]\ndomain = \"a.example\"\n{edge}")).0,
        "`*.a.example` is not a domain name"
    );
}

#[test]
fn a_list_that_changes_under_its_name_is_a_change() {
    let old = load(&fixture("full.toml")).unwrap();
    let mut new = old.clone();
    let text = "domain\nspam.example\n".to_owned();
    let list = lists::BlockedList::parse(Path::new("blocked.csv"), text).unwrap();
    new.blocked_list = Some(Arc::new(list));
    let changes = difference(&old, &new);
    let told: Vec<_> = changes.iter().map(|c| (c.key.as_str(), c.reload)).collect();
    assert_eq!(told, [("federation.blocked_csv", Reload::Live)]);
}

#[test]
fn what_decided_is_found_by_file_and_line() {
    let config = load(&fixture("full.toml")).unwrap();
    let line = |place| {
        let whereabouts = config.whereabouts(place);
        let (path, line) = whereabouts.rsplit_once(':').unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().nth(line.parse::<usize>().unwrap() - 1).unwrap().to_owned()
    };
    assert_eq!(line(Place::Partner(0)), "[[partner]]");
    assert_eq!(line(Place::Provider(1)), "[[provider]]");
    assert!(line(Place::Partner(3)).starts_with("northwind.example,"));
    assert!(line(Place::Blocked(2)).starts_with("*.spam.example,"));
    assert!(line(Place::Key("federation.discovery")).starts_with("discovery = true"));
}

#[test]
fn contradictions_of_next_hops_are_refused() {
    assert_eq!(
        one("[[next_hop]]\nname = \"other.contoso.example\"\n").0,
        "the next hop of everything else is given twice"
    );
    assert_eq!(
        one("[internal]\nnames = [\"director.contoso.example\"]\n").0,
        "pool.contoso.example is no internal name"
    );
    let text = LEAST.replace("pool.contoso.example\"\n", "pool.contoso.example\"\ndomains = []\n");
    assert!(parse(Path::new("e.toml"), &text).is_ok());
}

#[test]
fn contradictions_of_limits_and_access_policies_are_refused() {
    let policy = |rest: &str| format!("[[external_access_policy]]\nname = {rest}\n");
    let global = policy("\"global\"");
    assert_eq!(
        one(&policy("\"sales\"")),
        triple(
            "there are external access policies and no global one",
            "what may those do who do not have this one?",
            "add one with name = \"global\"; what it does not open is closed",
        )
    );
    assert_eq!(
        one(&format!("{global}{global}")),
        triple("policy global is given twice", "given again here", "")
    );
    assert_eq!(
        one(&policy("\"global\"\nxmpp = true")),
        triple(
            "the policy global opens this without federation",
            "has no effect",
            "write federation = true, or leave this out",
        )
    );
    assert_eq!(
        one(&policy("\"site: redmond\"")),
        triple(
            "`site: redmond` is not a policy name",
            "expected global, site:name, or a name of letters, digits, `-`, `_`, `.`",
            "",
        )
    );
    assert_eq!(
        one("[federation]\nsuspicious_messages_per_s = 30\n"),
        triple(
            "a suspicious partner may send more than another one",
            "expected at most messages_per_s",
            "",
        )
    );
    assert_eq!(
        one("[[federation_limit]]\nkind = \"allowed_domain\"\nmessages_per_s = 5\n\
             suspicious_messages_per_s = 6\n"),
        triple(
            "a suspicious partner may send more than another one",
            "expected at most messages_per_s",
            "",
        )
    );
    assert_eq!(
        one("[federation]\narchiving_notice_value = \"x\"\n"),
        triple("an archiving notice without its header", "needs `archiving_notice_header` too", "",)
    );
    assert_eq!(
        one("[federation]\narchiving_notice_header = \"via\"\narchiving_notice_value = \"x\"\n"),
        triple("`via` is not a header name", "the edge reads or strips this header itself", "",)
    );
    assert_eq!(
        one("[[partner]]\ndomain = \"*.a.example\"\ndistinct_users = 5\n"),
        triple(
            "a limit of its own for many domains",
            "counts one domain, not what lies below it",
            "limit the kind with [[federation_limit]], or list the domain itself",
        )
    );
    let limit = "[[federation_limit]]\nkind = \"allowed_server\"\n";
    assert_eq!(
        one(&format!("{limit}{limit}")),
        triple("the limit of allowed_server is given twice", "given again here", "")
    );
}

#[test]
fn users_of_the_configuration_must_be_own_and_their_policies_known() {
    let policy = "[[external_access_policy]]\nname = \"global\"\n";
    assert_eq!(
        one("[[user]]\nuri = \"kim@fabrikam.example\"\n"),
        triple(
            "fabrikam.example is not an own domain",
            "not served here",
            "add \"fabrikam.example\" to edge.domains",
        )
    );
    assert_eq!(
        one(&format!("{policy}[[user]]\nuri = \"kim@contoso.example\"\npolicy = \"sales\"\n")),
        triple(
            "there is no external access policy `sales`",
            "unknown policy",
            "policies are declared with [[external_access_policy]]",
        )
    );
    assert_eq!(
        one("[[user]]\nuri = \"kim\"\n"),
        triple(
            "`kim` is not an address of a user",
            "expected an address such as kim@contoso.example",
            ""
        )
    );
}

#[test]
fn what_must_be_there_is_asked_for() {
    let text = "[edge]\nexternal_fqdn = \"sip.contoso.example\"\ndomains = []\n";
    let report = parse(Path::new("e.toml"), text).unwrap_err();
    let messages: Vec<_> = report.problems().iter().map(|p| p.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "the edge serves no domain",
            "there is no [[listener]]: nobody could connect",
            "there is no [[identity]]: TLS needs a certificate",
            "there is no [[next_hop]]: requests would have nowhere to go",
        ]
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let report = load(Path::new("/nowhere/e.toml")).unwrap_err().to_string();
    assert!(report.contains("cannot read /nowhere/e.toml: No such file"), "{report}");
}

#[test]
fn a_reload_tells_what_changes_and_when() {
    let old = parse(Path::new("e.toml"), LEAST).unwrap();
    let text = LEAST.replace("192.0.2.1:5061", "192.0.2.9:5061");
    let added = "[[partner]]\ndomain = \"fabrikam.example\"\n";
    let new = parse(Path::new("e.toml"), &format!("{text}{added}")).unwrap();
    let changes = difference(&old, &new);
    let told: Vec<_> =
        changes.iter().map(|c| (c.key.as_str(), c.reload, c.whereabouts.as_str())).collect();
    assert_eq!(
        told,
        [
            ("listener[0].address", Reload::Restart, "e.toml:6"),
            ("partner[0].domain", Reload::Live, "e.toml:14"),
        ]
    );
    assert_eq!(difference(&old, &old), []);
}
