//! Right and wrong use of `entente plan`.

use std::path::Path;

use clap::Parser as _;

use super::*;
use crate::cli::{Cli, Command};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/plan/single.toml");

fn args(words: &str) -> Args {
    let cli = Cli::try_parse_from(format!("entente plan {words}").split(' ')).unwrap();
    let Command::Plan(args) = cli.command else { panic!("another command: {cli:?}") };
    args
}

fn refused(words: &str) -> String {
    let error = Cli::try_parse_from(format!("entente plan {words}").split(' ')).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

fn printed(words: &str) -> String {
    let args = args(&format!("-c {FILE} {words}").trim_end().replace("  ", " "));
    text(&args, &config::load(&args.config).unwrap()).unwrap()
}

#[test]
fn without_a_file_nothing_is_planned() {
    let expected = "\
error: the following required arguments were not provided:
  --config <FILE>

Usage: entente plan --config <FILE> --format <FORMAT>

For more information, try '--help'.
";
    assert_eq!(refused("--format json"), expected);
}

#[test]
fn an_unknown_format_is_refused_with_those_there_are() {
    let expected = "\
error: invalid value 'xml' for '--format <FORMAT>'
  [possible values: table, markdown, json, nftables, zone, csr]

For more information, try '--help'.
";
    assert_eq!(refused("-c e.toml --format xml"), expected);
}

#[test]
fn an_unknown_section_is_refused_with_those_there_are() {
    let expected = "\
error: invalid value 'ports' for '--section <SECTION>'
  [possible values: firewall, dns, certificates, balancer]

For more information, try '--help'.
";
    assert_eq!(refused("-c e.toml --section ports"), expected);
}

#[test]
fn a_format_that_says_one_part_is_not_asked_for_another() {
    let args = args("-c e.toml --format nftables --section dns");
    assert_eq!(
        contradiction(args.format, args.section.unwrap(), args.format.says_only().unwrap()),
        "error: --format nftables says firewall only, not --section dns\n\n\
         tip: leave --section out, or use --format table, markdown or json"
    );
    assert_eq!(run(&args).unwrap(), ExitCode::from(2));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = run(&args("-c /nowhere/e.toml")).unwrap_err();
    let report = error.downcast_ref::<config::Report>().expect("a report");
    let text = report.to_string();
    assert!(text.starts_with("error[config-unreadable]: "), "{text}");
    assert!(text.contains("/nowhere/e.toml"), "{text}");
}

#[test]
fn a_bad_file_is_refused_like_run_refuses_it() {
    let text = std::fs::read_to_string(FILE).unwrap().replace("topology =", "topologie =");
    let report = config::parse(Path::new("e.toml"), &text).unwrap_err().to_string();
    assert!(
        report.starts_with("error[config-unknown-key]: `plan` has no key `topologie`\n"),
        "{report}"
    );
    assert!(report.contains("= help: did you mean `topology`?"), "{report}");
}

#[test]
fn an_unknown_certificate_is_refused_with_those_there_are() {
    let args = args(&format!("-c {FILE} --certificate acces"));
    let config = config::load(&args.config).unwrap();
    assert_eq!(
        text(&args, &config).unwrap_err().to_string(),
        "no certificate is called `acces`; there are: access, inside, av-authentication, \
         reverse-proxy"
    );
}

#[test]
fn a_part_alone_has_no_other() {
    let dns = printed("--section dns");
    assert!(dns.starts_with("DNS, external view\n"), "{dns}");
    assert!(!dns.contains("Firewall") && !dns.contains("Certificates"), "{dns}");
    let inside = printed("--section dns --side internal");
    assert!(inside.starts_with("DNS, internal view\n"), "{inside}");
    assert!(!inside.contains("_sipfederationtls"), "{inside}");
    let request = printed("--format csr --certificate access");
    assert!(request.contains("[ req ]") && !request.contains("lsedge"), "{request}");
}

#[test]
fn an_empty_part_is_said_to_be_empty() {
    let args = args("-c e.toml --section balancer");
    let text = std::fs::read_to_string(FILE).unwrap().replace("\"web\", ", "");
    let lines = text.lines().filter(|line| !line.starts_with("web_"));
    let text = lines.collect::<Vec<_>>().join("\n");
    let config = config::parse(Path::new("e.toml"), &text).unwrap_or_else(|r| panic!("{r}"));
    assert_eq!(
        super::text(&args, &config).unwrap(),
        "Nothing: this deployment needs no rule of `balancer`. See plan.topology, plan.roles.\n"
    );
}

#[test]
fn the_addresses_of_this_node_come_from_its_listeners() {
    let config = config::load(Path::new(FILE)).unwrap();
    let deployment = deployment(&config);
    let node = &deployment.nodes[0];
    assert_eq!(node.access.bound, ["192.168.10.10".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(node.access.public, ["203.0.113.10".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(node.internal, ["10.0.0.10".parse::<std::net::IpAddr>().unwrap()]);
}

/// Rows of a plan as `side protocol ports direction why`, those of one role alone.
fn rows_of(plan: &plan::Plan, role: plan::Role) -> Vec<String> {
    let rows = plan.firewall.iter().filter(|row| row.role == role);
    rows.map(|row| {
        let (first, last) = (row.ports.start(), row.ports.end());
        assert!(row.served, "{row:?}");
        assert_eq!(first, last);
        format!("{:?} {first} {:?}: {}", row.side, row.direction, row.why)
    })
    .collect()
}

#[test]
fn xmpp_is_planned_as_the_configuration_runs_it() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/configs/xmpp.toml");
    let mut config = config::load(Path::new(path)).unwrap();
    let plan = plan::plan(&deployment(&config));
    let link = "the gateway inside connects to every edge by itself, never through a balancer";
    let streams = "XMPP partners open streams to the proxy, which shares the Access Edge's address";
    let own = "the proxy opens a stream of its own for each direction and for dialback";
    assert_eq!(
        rows_of(&plan, plan::Role::Xmpp),
        [
            format!("External 5269 In: {streams}"),
            format!("External 5269 Out: {own}"),
            format!("External 5270 Out: {own}"),
            format!("Internal 23456 In: {link}"),
        ]
    );
    assert_eq!(
        rows_of(&plan, plan::Role::XmppGateway),
        [
            "Internal 23456 Out: the gateway connects to the proxy of each edge",
            "Internal 5061 In: what own users send to XMPP partners, from servers inside and from \
             edges",
            "Internal 5061 Out: what XMPP partners send to own users",
        ]
    );
    let records: Vec<_> = plan.dns.iter().map(|row| row.name.as_str()).collect();
    assert!(records.contains(&"_xmpp-server._tcp.contoso.example"), "{records:?}");
    assert!(!records.contains(&"_xmpps-server._tcp.contoso.example"), "{records:?}");
    let access = plan.certificates.iter().find(|row| row.name == "access").unwrap();
    assert_eq!(access.shown, "XMPP partners");
    assert!(access.names.iter().any(|san| san.name == "contoso.example"), "{access:?}");
    let inside = plan.certificates.iter().find(|row| row.name == "inside").unwrap();
    assert_eq!(inside.shown, "XMPP gateways, the gateway's edges and servers");

    // A listener that begins with TLS brings its record and its rule, at the port it has.
    let mut direct = config.listeners[0].clone();
    direct.class = crate::edge::Class::XmppDirectTls;
    direct.address.set_port(5223);
    config.listeners.push(direct);
    let plan = plan::plan(&deployment(&config));
    let record = plan.dns.iter().find(|row| row.name == "_xmpps-server._tcp.contoso.example");
    let record = record.expect("a record for the listener");
    assert!(matches!(record.record, plan::Record::Srv { port: 5223, .. }), "{record:?}");
    let ports = rows_of(&plan, plan::Role::Xmpp);
    assert!(ports[1].starts_with("External 5223 In: "), "{ports:?}");
}
