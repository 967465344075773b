//! What of the A/V Edge cannot hold together, with its exact message.

use super::*;

/// A relay that holds together, beside the least configuration.
const RELAY: &str = "
[av]
relayed = [\"192.0.2.12\"]
secrets = \"turn-secrets.txt\"
";

fn listener(address: &str) -> String {
    format!("[[av_listener]]\naddress = \"{address}\"\n")
}

#[test]
fn a_relay_needs_no_role_beside_it() {
    let edge = "[edge]\nexternal_fqdn = \"a.example\"\ndomains = [\"contoso.example\"]\n";
    let text = format!("{edge}{RELAY}{}", listener("192.0.2.11:3478"));
    let config = parse(Path::new("e.toml"), &text).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(config.av_listeners.len(), 1);
    assert_eq!((config.av.ports_first, config.av.ports_count), (50_000, 10_000));
}

#[test]
fn a_listener_needs_an_address_to_relay_by_and_somebody_to_believe() {
    let problems = refuse_added(&listener("192.0.2.11:3478"));
    let told: Vec<&str> = problems.iter().map(|(message, ..)| message.as_str()).collect();
    assert_eq!(told, ["no address to relay by", "nobody could prove who he is to the A/V Edge"]);
}

#[test]
fn answers_leave_from_the_address_that_was_addressed_so_there_is_no_wildcard() {
    let problems = one(&format!("{RELAY}{}", listener("0.0.0.0:3478")));
    assert_eq!(
        problems,
        triple(
            "0.0.0.0:3478 stands for every address",
            "expected one address",
            "answers leave from it; write a listener for each address"
        )
    );
}

#[test]
fn a_listener_is_no_relayed_port() {
    let taken = triple("192.0.2.12:50007 is a relayed port too", "taken", "");
    assert_eq!(one(&format!("{RELAY}{}", listener("192.0.2.12:50007"))), taken);
    let shared = format!("{RELAY}shared_ports = [3480]\n{}", listener("192.0.2.12:3480"));
    assert_eq!(one(&shared), triple("192.0.2.12:3480 is a relayed port too", "taken", ""));
}

#[test]
fn one_relayed_address_of_each_family_and_a_public_one_for_each() {
    let two = "[av]\nrelayed = [\"192.0.2.12\", \"192.0.2.13\"]\nsecrets = \"s\"\n";
    let problem = one(&format!("{two}{}", listener("192.0.2.11:3478")));
    assert_eq!(problem, triple("two relayed addresses of one family", "expected one of each", ""));
    let public = format!("{RELAY}relayed_public = [\"2001:db8::1\"]\n");
    let problem = one(&format!("{public}{}", listener("192.0.2.11:3478")));
    let message = "not one public address for each relayed one, in their order";
    assert_eq!(problem, triple(message, "does not match", ""));
}

#[test]
fn ports_end_at_65535() {
    let ports = format!("{RELAY}ports_first = 60000\n{}", listener("192.0.2.11:3478"));
    let message = "10000 ports from 60000 on end above 65535";
    assert_eq!(one(&ports), triple(message, "too many", ""));
}

#[test]
fn each_thread_has_a_port() {
    let few = format!("{RELAY}shared_ports = [3480]\nthreads = 2\n{}", listener("192.0.2.11:3478"));
    let message = "2 threads and 1 relayed ports";
    assert_eq!(one(&few), triple(message, "each has a port at least", ""));
}

#[test]
fn a_realm_fits_an_answer_to_strangers() {
    let long = "a-name-of-more-than-thirty-six-bytes.contoso.example";
    let realm = format!("{RELAY}realm = \"{long}\"\n{}", listener("192.0.2.11:3478"));
    let message = format!("the realm `{long}` has more than 36 bytes");
    let (label, help) = ("too long for an answer to strangers", "av.realm sets a shorter one");
    assert_eq!(one(&realm), triple(&message, label, help));
}

#[test]
fn the_pools_address_is_not_the_nodes() {
    let vip = format!("{RELAY}{}vip = \"192.0.2.11:3478\"\n", listener("192.0.2.11:3478"));
    let message = "clients of the pool would be sent to where they came";
    assert_eq!(one(&vip), triple(message, "this is the node as well", ""));
    let node = format!("{RELAY}{}node = \"[2001:db8::1]:3478\"\n", listener("192.0.2.11:3478"));
    let message = "`node` is of another family than `address`";
    assert_eq!(one(&node), triple(message, "of the other family", ""));
}

#[test]
fn an_identity_is_one_of_the_file() {
    let stream = format!("{RELAY}{}transport = \"tcp\"\n", listener("192.0.2.11:443"));
    let unknown = format!("{stream}identity = \"other\"\n");
    assert_eq!(one(&unknown), triple("there is no identity `other`", "unknown identity", ""));
    let text = format!("{LEAST}{stream}{}", listener("192.0.2.11:443"));
    assert!(parse(Path::new("e.toml"), &text).is_ok(), "datagrams and streams on one port");
}

/// A listener for servers inside that ask for credentials.
const HANDS_OUT: &str = "[[listener]]\naddress = \"10.0.0.9:5062\"\nclass = \"credentials\"\n";

#[test]
fn credentials_need_an_av_edge_and_something_they_are_made_from() {
    let none = triple(
        "credentials are handed out for an A/V Edge that does not run here",
        "no [[av_listener]]",
        "",
    );
    let secrets = "[av]\ncredentials_secrets = \"m.toml\"\n";
    assert_eq!(one(&format!("{secrets}{HANDS_OUT}")), none);
    let relay = format!("{RELAY}{}{HANDS_OUT}", listener("192.0.2.11:3478"));
    let unmade = triple(
        "there is nothing that credentials could be made from",
        "neither av.credentials_secrets nor edge.secrets is set",
        "every edge of the pool needs the same file",
    );
    assert_eq!(one(&relay), unmade);
    let whole = relay.replace("[av]\n", "[av]\ncredentials_secrets = \"m.toml\"\n");
    let config = parse(Path::new("e.toml"), &format!("{LEAST}{whole}")).unwrap();
    assert_eq!(config.credentials_names(), config.internal_names());
}

#[test]
fn nothing_is_said_of_credentials_that_nobody_can_ask_for() {
    let names = format!(
        "{}credentials_names = [\"sba.contoso.example\"]\n{}",
        RELAY,
        listener("192.0.2.11:3478")
    );
    let problem = triple(
        "nobody can ask for credentials",
        "has no effect",
        "add a listener with class = \"credentials\", inside at port 5062",
    );
    assert_eq!(one(&names), problem);
}

#[test]
fn an_edge_that_only_relays_and_hands_out_credentials_needs_no_next_hop() {
    let edge = "[edge]\nexternal_fqdn = \"a.example\"\ndomains = [\"contoso.example\"]\n";
    let identity = "[[identity]]\ncertificate = \"c.pem\"\nkey = \"c.key\"\n";
    let relay = format!("{RELAY}credentials_secrets = \"m.toml\"\n");
    let text = format!("{edge}{identity}{relay}{}{HANDS_OUT}", listener("192.0.2.11:3478"));
    let nobody = parse(Path::new("e.toml"), &text).unwrap_err();
    assert!(nobody.to_string().contains("nobody may ask for credentials"), "{nobody}");
    let named = text.replace("[av]\n", "[av]\ncredentials_names = [\"pool.contoso.example\"]\n");
    let config = parse(Path::new("e.toml"), &named).unwrap_or_else(|report| panic!("{report}"));
    assert!(config.runs_access_edge() && config.next_hops.is_empty());
}

#[test]
fn whoever_is_sent_away_by_a_drain_is_not_sent_back() {
    let sent_to = |to: &str| {
        let relay = format!("{RELAY}drain_to = \"{to}\"\n{}", listener("192.0.2.11:3478"));
        format!("{relay}node = \"198.51.100.11:3478\"\nvip = \"198.51.100.6:3478\"\n")
    };
    let expected = triple(
        "clients would be sent to the edge that drains",
        "this edge itself",
        "name another edge of the pool, or leave it out: clients try their next server",
    );
    assert_eq!(one(&sent_to("192.0.2.11:3478")), expected);
    assert_eq!(one(&sent_to("198.51.100.11:3478")), expected);
    for other in ["198.51.100.12:3478", "198.51.100.6:3478"] {
        let text = format!("{LEAST}{}", sent_to(other));
        let parsed = parse(Path::new("e.toml"), &text);
        assert!(parsed.is_ok(), "another edge, or the balancer that leads to one: {other}");
    }
}

#[test]
fn a_relay_without_a_listener_is_told_what_it_lacks() {
    let edge = "[edge]\nexternal_fqdn = \"a.example\"\ndomains = [\"contoso.example\"]\n";
    let report = parse(Path::new("e.toml"), &format!("{edge}{RELAY}")).unwrap_err();
    let help = report.problems().iter().find_map(|problem| problem.help.as_deref());
    let expected = "for an A/V Edge alone, say where: [[av_listener]] with its address";
    assert_eq!(help, Some(expected), "{report}");
}

#[test]
fn a_file_that_cannot_be_used_is_told_with_the_key_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("e.toml");
    let edge = "[edge]\nexternal_fqdn = \"a.example\"\ndomains = [\"contoso.example\"]\n";
    std::fs::write(&path, format!("{edge}{RELAY}{}", listener("192.0.2.11:3478"))).unwrap();
    let help = || {
        let report = load(&path).unwrap_err();
        report.problems()[0].help.clone().unwrap_or_default()
    };
    let named = format!("av.secrets names it ({}:7)", path.display());
    assert_eq!(help(), named);
    std::fs::write(directory.path().join("turn-secrets.txt"), "short\n").unwrap();
    assert!(help().ends_with(&format!("the newest first; {named}")), "{}", help());
}
