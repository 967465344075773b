//! Right and wrong use of `entente plan`.

use std::net::IpAddr;
use std::path::Path;

use clap::Parser as _;

use super::*;
use crate::cli::{Cli, Command};
use crate::config::HostPort;
use crate::dns::Domain;

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

#[test]
fn a_relay_alone_needs_nothing_of_an_access_edge() {
    let text = "[edge]\nexternal_fqdn = \"av.contoso.example\"\n\
                domains = [\"contoso.example\"]\n[av]\nrelayed = [\"192.0.2.12\"]\n\
                secrets = \"s.txt\"\n[[av_listener]]\naddress = \"192.0.2.12:3478\"\n";
    let config = config::parse(Path::new("e.toml"), text).unwrap();
    let plan = plan::plan(&deployment(&config));
    let records = plan.dns.iter().map(|row| (row.role, row.name.as_str())).collect::<Vec<_>>();
    let (name, av) = ("av.contoso.example", plan::Role::Av);
    let services = ["_stun._udp.contoso.example", "_turn._udp.contoso.example"];
    assert_eq!(records, [(av, name), (av, services[0]), (av, services[1])]);
    let relay = plan::Record::Addresses(vec!["192.0.2.12".parse().unwrap()]);
    assert_eq!(plan.dns[0].record, relay);
    assert!(plan.firewall.iter().all(|row| row.role == av), "{:?}", plan.firewall);
    assert!(!plan.notes.iter().any(|note| note.code == "addresses-unknown"), "{:?}", plan.notes);
}

#[test]
fn gateways_that_are_several_reach_each_other() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/configs/xmpp.toml");
    let mut config = config::load(Path::new(path)).unwrap();
    let own = config.internal_fqdn().clone();
    let other = |at: u8, port| (format!("gw{at}.contoso.example"), port, [10, 0, 0, at].into());
    let others: [(String, u16, IpAddr); 2] = [other(8, 5061), other(9, 5071)];
    let host = |name: &str, port| HostPort { host: Domain::parse(name.as_bytes()).unwrap(), port };
    config.xmpp.gateway_sip = vec![host(own.as_str(), 5061)];
    config.xmpp.gateway_addresses = vec!["10.0.0.7".parse().unwrap()];
    for (name, port, address) in &others {
        config.xmpp.gateway_sip.push(host(name, *port));
        config.xmpp.gateway_addresses.push(*address);
    }
    let between = |config: &config::Config| {
        let plan = plan::plan(&deployment(config));
        let ends = |end: &plan::Endpoint| {
            let nets = end.addresses.iter().map(|net| net.addr().to_string());
            (end.place, nets.collect::<Vec<_>>().join("+"))
        };
        let gateways = plan::Place::XmppGateways;
        let rows = plan.firewall.iter().filter(|row| row.role == plan::Role::XmppGateway);
        let rows = rows.map(|row| (row, ends(&row.source), ends(&row.destination)));
        let rows = rows.filter(|(_, from, to)| (from.0, to.0) == (gateways, gateways));
        rows.map(|(row, from, to)| {
            let beyond = if row.direction == plan::Direction::In { from.1 } else { to.1 };
            format!("{:?} {} {beyond}", row.direction, row.ports.start())
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(
        between(&config),
        ["In 5061 10.0.0.8+10.0.0.9", "Out 5061 10.0.0.8", "Out 5071 10.0.0.9"]
    );
    config.xmpp.gateway_sip.remove(0);
    config.xmpp.gateway_addresses.remove(0);
    assert!(between(&config).is_empty(), "this one is not in the list");
}

/// Rows of the A/V Edge as `side transport ports way: source -> destination`.
fn media_rows(plan: &plan::Plan) -> Vec<String> {
    let ends = |end: &plan::Endpoint| {
        let addresses: Vec<String> =
            end.addresses.iter().map(|net| net.addr().to_string()).collect();
        if addresses.is_empty() { end.place.label().to_owned() } else { addresses.join("+") }
    };
    let rows = plan.firewall.iter().filter(|row| row.role == plan::Role::Av);
    rows.map(|row| {
        assert!(row.served && !row.why.contains("planned, not served"), "{row:?}");
        let (first, last) = (row.ports.start(), row.ports.end());
        let ports = if first == last { first.to_string() } else { format!("{first}-{last}") };
        let (side, transport) = (row.side, row.transport.label());
        let (source, destination) = (ends(&row.source), ends(&row.destination));
        format!("{side:?} {transport} {ports} {:?}: {source} -> {destination}", row.direction)
    })
    .collect()
}

/// A relay that runs beside the edge of the file, without any role in `[plan]`.
fn relaying(more: &str) -> config::Config {
    relaying_in("single", more)
}

fn relaying_in(topology: &str, more: &str) -> config::Config {
    let text = std::fs::read_to_string(FILE).unwrap();
    let (before, _) = text.split_once("[plan]").unwrap();
    let text = format!(
        "{before}\n{more}[plan]\ntopology = \"{topology}\"\npartner_versions = [\"lync2013\"]\n\
         [[listener]]\naddress = \"10.0.0.10:5062\"\nclass = \"credentials\"\n\
         identity = \"inside\"\n\
         [[av_listener]]\naddress = \"192.168.10.12:3478\"\nnode = \"203.0.113.12:3478\"\n\
         [[av_listener]]\naddress = \"192.168.10.12:443\"\nnode = \"203.0.113.12:443\"\n\
         transport = \"tcp\"\n\
         [[av_listener]]\naddress = \"10.0.0.10:3478\"\nside = \"internal\"\n"
    );
    config::parse(Path::new("e.toml"), &text).unwrap_or_else(|report| panic!("{report}"))
}

const RELAYED: &str = "[av]\nrelayed = [\"192.168.10.13\"]\nrelayed_public = [\"203.0.113.13\"]\n\
    credentials_secrets = \"m.toml\"\nexternal_fqdn = \"turn.contoso.example\"\n\
    internal_fqdn = \"turn-in.contoso.example\"\n";

#[test]
fn media_is_planned_as_the_configuration_runs_it() {
    let plan = plan::plan(&deployment(&relaying(RELAYED)));
    let expected = [
        "External TCP 50000-59999 Out: 192.168.10.13 -> any",
        "External UDP 50000-59999 Out: 192.168.10.13 -> any",
        "External TCP 50000-59999 In: any -> 192.168.10.13",
        "External UDP 50000-59999 In: any -> 192.168.10.13",
        "External UDP 3478 Out: 192.168.10.12 -> any",
        "External UDP 3478 In: any -> 192.168.10.12",
        "External TCP 443 In: any -> 192.168.10.12",
        "External TCP 443 Out: 192.168.10.12 -> any",
        "Internal TCP 5062 In: Front Ends and branch appliances -> 10.0.0.10",
        "Internal UDP 3478 In: any inside -> 10.0.0.10",
    ];
    assert_eq!(media_rows(&plan), expected);
    let nat: Vec<String> = plan
        .nat
        .iter()
        .filter(|row| row.role == plan::Role::Av)
        .map(|row| format!("{} {}", row.bound, row.public))
        .collect();
    assert_eq!(nat, ["192.168.10.12 203.0.113.12", "192.168.10.13 203.0.113.13"]);
    let record = |name: &str| {
        let row = plan.dns.iter().find(|row| row.name == name);
        row.unwrap_or_else(|| panic!("no record of {name}")).record.clone()
    };
    let public = |last: u8| vec![std::net::IpAddr::from([203, 0, 113, last])];
    assert_eq!(record("turn.contoso.example"), plan::Record::Addresses(public(12)));
    let inside = vec![std::net::IpAddr::from([10, 0, 0, 10])];
    assert_eq!(record("turn-in.contoso.example"), plan::Record::Addresses(inside));
    let turn = record("_turn._tcp.contoso.example");
    assert!(matches!(turn, plan::Record::Srv { port: 443, .. }), "{turn:?}");
    let access = plan.certificates.iter().find(|row| row.name == "access").unwrap();
    assert!(access.shown.ends_with("media of users outside, over TLS"), "{}", access.shown);
    assert!(access.names.iter().any(|san| san.name == "turn.contoso.example"), "{access:?}");
    let signing = plan.certificates.iter().find(|row| row.name == "av-authentication");
    assert_eq!(signing, None, "secrets sign");
    let codes: Vec<_> = plan.notes.iter().map(|note| note.code).collect();
    assert!(codes.contains(&"av-authentication-by-secrets"), "{codes:?}");
}

#[test]
fn shared_ports_are_a_handful_of_rules() {
    let shared = format!("{RELAYED}shared_ports = [3480, 3481, 3482, 3490]\n");
    let plan = plan::plan(&deployment(&relaying(&shared)));
    let rows = media_rows(&plan);
    let opened: Vec<&String> = rows.iter().filter(|row| row.contains("192.168.10.13")).collect();
    let expected = [
        "External TCP 3480-3482 Out: 192.168.10.13 -> any",
        "External TCP 3490 Out: 192.168.10.13 -> any",
        "External UDP 3480-3482 Out: 192.168.10.13 -> any",
        "External UDP 3490 Out: 192.168.10.13 -> any",
        "External TCP 3480-3482 In: any -> 192.168.10.13",
        "External TCP 3490 In: any -> 192.168.10.13",
        "External UDP 3480-3482 In: any -> 192.168.10.13",
        "External UDP 3490 In: any -> 192.168.10.13",
    ];
    assert_eq!(opened, expected);
    let note = plan.notes.iter().find(|note| note.code == "media-without-tunnel").unwrap();
    assert!(note.sentence.contains("4 relayed ports"), "{}", note.sentence);
    let tcp = |row: &&plan::FirewallRow| row.transport == plan::Transport::Tcp;
    let of_tcp: Vec<_> =
        plan.firewall.iter().filter(tcp).filter(|r| r.ports == (3490..=3490)).collect();
    let [out, inwards] = &of_tcp[..] else { panic!("one each way: {of_tcp:?}") };
    assert_eq!((out.port_of, inwards.port_of), (plan::PortOf::Source, plan::PortOf::Destination));
    for row in of_tcp {
        assert!(row.why.contains("RFC 6062") && !row.why.contains("OCS"), "{}", row.why);
    }
}

/// Symptom: where peers connect to clients of shared ports there was no rule for it, and none
/// outwards without partners that run a version. Cause: rules of TCP went by partners' versions, as
/// those of the product's own relay do. Scenario: partners of each kind and of none, with and
/// without allocations of TCP.
#[test]
fn relayed_ports_are_open_to_tcp_where_clients_are_given_such_whatever_partners_run() {
    let shared = format!("{RELAYED}shared_ports = [3480]\n");
    let expected = [
        "External TCP 3480 Out: 192.168.10.13 -> any",
        "External TCP 3480 In: any -> 192.168.10.13",
    ];
    let of = |config: &config::Config, versions: &[plan::Version]| {
        let mut deployment = deployment(config);
        deployment.versions = versions.to_vec();
        let rows = media_rows(&plan::plan(&deployment));
        rows.into_iter().filter(|row| row.contains(" TCP 3480 ")).collect::<Vec<_>>()
    };
    let kinds: [&[plan::Version]; 3] = [&[], &[plan::Version::Lync2013], &[plan::Version::Ocs2007]];
    for versions in kinds {
        assert_eq!(of(&relaying(&shared), versions), expected, "{versions:?}");
        let none = relaying(&format!("{shared}tcp_allocations = 0\n"));
        assert_eq!(of(&none, versions), [""; 0], "{versions:?}");
        let mut datagrams = relaying(&shared);
        datagrams
            .av_listeners
            .retain(|listener| listener.transport == crate::edge::av::Transport::Udp);
        assert_eq!(of(&datagrams, versions), [""; 0], "only streams can ask for it");
    }
    let none = relaying(&format!("{shared}tcp_allocations = 0\n"));
    let plan = plan::plan(&deployment(&none));
    let note = plan.notes.iter().find(|note| note.code == "media-without-tunnel").unwrap();
    assert!(!note.sentence.contains("TCP"), "{}", note.sentence);
}

#[test]
fn each_edge_of_a_pool_has_the_relayed_ports_that_its_file_says() {
    let nodes = "[[plan_node]]\nname = \"edge1.inside.example\"\nav = [\"192.168.10.12\"]\n\
                 [[plan_node]]\nname = \"edge2.inside.example\"\nav = [\"203.0.113.22\"]\n\
                 [[plan_node]]\nname = \"edge3.inside.example\"\nav = [\"192.168.10.32\"]\n\
                 av_public = [\"203.0.113.32\"]\n";
    let pool = "[[edge]]\nname = \"edge1.inside.example\"\nrelayed = [\"203.0.113.13\"]\n\
                [[edge]]\nname = \"edge2.inside.example\"\nrelayed = [\"203.0.113.23\"]\n\
                ports = \"50000-50099\"\n\
                [[edge]]\nname = \"edge3.inside.example\"\nrelayed = [\"203.0.113.33\"]\n";
    let mut config = relaying_in("pool_dns", &format!("{RELAYED}{nodes}"));
    let pool = config::pool::Pool::parse(Path::new("pool.toml"), pool, &config).unwrap();
    config.pool = Some(std::sync::Arc::new(pool));
    let rows = media_rows(&plan::plan(&deployment(&config)));
    let opened: Vec<&String> = rows.iter().filter(|row| row.contains(" UDP 50000-")).collect();
    // What the third one binds behind its translation nobody has said but for its listeners.
    let expected = [
        "External UDP 50000-59999 Out: 192.168.10.13+192.168.10.32 -> any",
        "External UDP 50000-50099 Out: 203.0.113.23 -> any",
        "External UDP 50000-59999 In: any -> 192.168.10.13+192.168.10.32",
        "External UDP 50000-50099 In: any -> 203.0.113.23",
    ];
    assert_eq!(opened, expected);
}

#[test]
fn a_balancer_gets_the_ports_that_clients_of_the_pool_are_told() {
    let mut config = relaying(RELAYED);
    config.plan.topology = plan::Topology::PoolHlb;
    config.av_listeners[0].vip = Some("203.0.113.6:3478".parse().unwrap());
    let plan = plan::plan(&deployment(&config));
    let rows = plan.balancer.iter().filter(|row| row.role == plan::Role::Av);
    let rows: Vec<String> = rows
        .map(|row| {
            let addresses: Vec<String> = row.addresses.iter().map(ToString::to_string).collect();
            let transport = row.transport.label();
            format!("{:?} {transport} {} {}", row.side, row.port, addresses.join("+"))
        })
        .collect();
    let expected = [
        "External UDP 3478 203.0.113.6",
        "External TCP 443 203.0.113.6",
        "Internal UDP 3478 ",
        "Internal TCP 5062 ",
    ];
    assert_eq!(rows, expected);
}
