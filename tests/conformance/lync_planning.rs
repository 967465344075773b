//! The tables of the planning guide for edges (lync-federation 2, 3 and 4.1), row by row, for the
//! three topologies. The rows are in `tests/fixtures/plan`, the deployments beside them.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use entente::cli::plan::deployment;
use entente::config;
use entente::edge::Side;
use entente::plan::{self, Deployment, Planned, Topology, Version, render};
use serde_json::Value;

const TOPOLOGIES: [&str; 3] = ["single", "pool_dns", "pool_hlb"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plan").join(name)
}

fn deployed(topology: &str) -> Deployment {
    let path = fixture(&format!("{topology}.toml"));
    deployment(&config::load(&path).unwrap_or_else(|report| panic!("{report}")))
}

/// The plan as programs get it.
fn planned(deployment: &Deployment) -> Value {
    serde_json::from_str(&render::json(&plan::plan(deployment))).expect("JSON")
}

/// Rows of a table without its comments and head; a cell in quotes may have commas.
fn rows(name: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(fixture(name)).unwrap_or_else(|why| panic!("{name}: {why}"));
    let lines = text.lines().filter(|line| !line.starts_with('#')).skip(1);
    let rows: Vec<Vec<String>> = lines.map(cells).collect();
    assert!(rows.len() > 3, "{name} has only {} rows", rows.len());
    rows
}

fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            _ => cells.last_mut().expect("never empty").push(c),
        }
    }
    cells
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// A rule as the guide writes it: role, protocol, transport, ports, source, destination.
fn rule(row: &Value) -> Vec<String> {
    let (first, last) = (&row["ports"][0], &row["ports"][1]);
    let ports = if first == last { first.to_string() } else { format!("{first}-{last}") };
    let end = |end: &str| word(&row[end]["place"]);
    vec![
        word(&row["role"]),
        word(&row["protocol"]),
        word(&row["transport"]),
        ports,
        end("source"),
        end("destination"),
    ]
}

fn rules(plan: &Value, keep: impl Fn(&Value) -> bool) -> Vec<Vec<String>> {
    let all = plan["firewall"].as_array().expect("rows");
    all.iter().filter(|row| keep(row)).map(rule).collect()
}

/// Fails with the rows that only one side has; neither may repeat a row.
fn same(found: Vec<Vec<String>>, expected: Vec<Vec<String>>, what: &str) {
    let sets: [BTreeSet<Vec<String>>; 2] =
        [found.iter().cloned().collect(), expected.iter().cloned().collect()];
    let missing: Vec<_> = sets[1].difference(&sets[0]).collect();
    let beyond: Vec<_> = sets[0].difference(&sets[1]).collect();
    assert!(
        missing.is_empty() && beyond.is_empty(),
        "{what}\nmissing: {missing:#?}\nbeyond the guide: {beyond:#?}"
    );
    assert_eq!(found.len(), expected.len(), "{what}: a row is there twice");
}

#[test]
fn s2_1_every_row_of_the_federation_summary_is_covered_in_every_topology() {
    for topology in TOPOLOGIES {
        let found = rules(&planned(&deployed(topology)), |_| true);
        for row in rows("ports_federation.csv") {
            assert!(found.contains(&row), "{topology}: {row:?}");
        }
    }
}

#[test]
fn s2_2_the_external_firewall_of_an_edge_and_of_each_edge_of_a_dns_pool() {
    for topology in ["single", "pool_dns"] {
        let found = rules(&planned(&deployed(topology)), |row| row["side"] == "external");
        same(found, rows("ports_external.csv"), topology);
    }
}

#[test]
fn s2_3_the_internal_firewall_of_an_edge_and_of_each_edge_of_a_dns_pool() {
    for topology in ["single", "pool_dns"] {
        let found = rules(&planned(&deployed(topology)), |row| row["side"] == "internal");
        same(found, rows("ports_internal.csv"), topology);
    }
}

#[test]
fn s2_4_both_firewalls_of_a_pool_behind_a_hardware_balancer() {
    let plan = planned(&deployed("pool_hlb"));
    let all = plan["firewall"].as_array().expect("rows");
    let place = |row: &Value| vec![word(&row["side"]), word(&row["at"])];
    let found = all.iter().map(|row| [place(row), rule(row)].concat()).collect();
    same(found, rows("ports_balancer.csv"), "pool_hlb");
}

#[test]
fn s2_5_the_ports_of_media_follow_what_the_partners_run() {
    let version = |word: &str| match word {
        "lync_2013" => Version::Lync2013,
        "lync_2010" => Version::Lync2010,
        "ocs_2007_r2" => Version::Ocs2007R2,
        "ocs_2007" => Version::Ocs2007,
        "messenger" => Version::Messenger,
        "other" => Version::Other,
        _ => panic!("{word}"),
    };
    for row in rows("ports_by_version.csv") {
        let mut deployment = deployed("single");
        deployment.versions = vec![version(&row[0])];
        let found =
            rules(&planned(&deployment), |row| row["side"] == "external" && row["role"] == "av");
        let columns =
            [("tcp", "443"), ("udp", "3478"), ("udp", "50000-59999"), ("tcp", "50000-59999")];
        for ((transport, ports), expected) in columns.into_iter().zip(&row[1..]) {
            let of_column: Vec<_> =
                found.iter().filter(|r| r[2] == transport && r[3] == ports).collect();
            let mut ways = Vec::new();
            if of_column.iter().any(|rule| rule[5] == "av_edge") {
                ways.push("in");
            }
            if of_column.iter().any(|rule| rule[4] == "av_edge") {
                ways.push("out");
            }
            let ways = if ways.is_empty() { "-".to_owned() } else { ways.join(" ") };
            assert_eq!(ways, *expected, "{} {transport} {ports}", row[0]);
        }
    }
}

#[test]
fn s2_5_media_leaves_from_the_range_and_enters_at_it() {
    let plan = planned(&deployed("single"));
    let range: Vec<_> = plan["firewall"]
        .as_array()
        .expect("rows")
        .iter()
        .filter(|row| row["protocol"] == "RTP")
        .map(|row| (word(&row["direction"]), word(&row["port_of"])))
        .collect();
    let pair = |way: &str, of: &str| (way.to_owned(), of.to_owned());
    let (out, within) = (pair("out", "source"), pair("in", "destination"));
    assert_eq!(range, [out.clone(), out, within.clone(), within]);
}

#[test]
fn s2_6_nat_is_one_to_one_and_never_behind_a_hardware_balancer() {
    let plan = planned(&deployed("single"));
    let pairs: Vec<_> = plan["nat"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| [word(&row["role"]), word(&row["public"]), word(&row["bound"])].join(" "))
        .collect();
    let expected = [
        "access 203.0.113.10 192.168.10.10",
        "conferencing 203.0.113.11 192.168.10.11",
        "av 203.0.113.12 192.168.10.12",
    ];
    assert_eq!(pairs, expected);
    assert!(noted(&plan, "nat-one-to-one") && noted(&plan, "nat-av-address"));
    let plan = planned(&deployed("pool_hlb"));
    assert_eq!(plan["nat"].as_array().map(Vec::len), Some(0));
    assert!(noted(&plan, "nat-forbidden"));
}

fn noted(plan: &Value, code: &str) -> bool {
    plan["notes"].as_array().expect("notes").iter().any(|note| note["code"] == code)
}

#[test]
fn s2_7_what_a_hardware_balancer_may_do() {
    let plan = planned(&deployed("pool_hlb"));
    let found = plan["balancer"].as_array().expect("rows").iter().map(|row| {
        let affinity = word(&row["affinity"]);
        let affinity = ["source address", "none", "each"]
            .into_iter()
            .find(|start| affinity.starts_with(start))
            .unwrap_or_else(|| panic!("{affinity}"));
        vec![
            word(&row["side"]),
            word(&row["role"]),
            word(&row["transport"]),
            row["port"].to_string(),
            row["node_port"].to_string(),
            word(&row["balancing"]),
            word(&row["snat"]),
            affinity.to_owned(),
        ]
    });
    same(found.collect(), rows("balancer.csv"), "pool_hlb");
    for row in plan["balancer"].as_array().expect("rows") {
        if row["role"] == "web" {
            assert_eq!(row["idle_timeout_s"], 1800);
            assert!(word(&row["health"]).contains("5061"));
        }
    }
    assert!(noted(&plan, "same-kind-both-sides"));
}

#[test]
fn s2_7_a_service_needs_a_public_address_per_edge_and_one_more() {
    let mut deployment = deployed("pool_hlb");
    for (nodes, addresses) in [(2, 9), (3, 12), (4, 15), (5, 18)] {
        while deployment.nodes.len() < nodes {
            deployment.nodes.push(deployment.nodes[0].clone());
        }
        let plan = plan::plan(&deployment);
        let note = plan.notes.iter().find(|note| note.code == "public-addresses").expect("a note");
        let start = format!("public addresses: {addresses} ");
        assert!(note.sentence.starts_with(&start), "{}", note.sentence);
    }
}

#[test]
fn s2_8_partners_that_do_not_follow_dns_balancing_are_named() {
    let mut deployment = deployed("pool_dns");
    let told = |deployment: &Deployment| {
        let notes = plan::plan(deployment).notes;
        let notes = notes.into_iter().filter(|note| note.code == "partners-without-failover");
        notes.map(|note| note.sentence).collect::<Vec<_>>()
    };
    let sentences = told(&deployment);
    assert!(
        sentences[0].starts_with("partners with OCS 2007, OCS 2007 R2, Messenger stay at"),
        "{sentences:?}"
    );
    assert_eq!(sentences.len(), 3, "XMPP partners and public IM providers too: {sentences:?}");
    deployment.versions = vec![Version::Lync2010, Version::Lync2013, Version::Other];
    deployment.roles.retain(|role| ![Planned::Xmpp, Planned::PublicIm].contains(role));
    assert_eq!(told(&deployment), [""; 0]);
    deployment.versions = vec![Version::Ocs2007];
    deployment.topology = Topology::PoolHlb;
    assert_eq!(told(&deployment), [""; 0]);
}

#[test]
fn s3_1_certificates_with_subject_names_usage_and_issuer() {
    for topology in TOPOLOGIES {
        let plan = planned(&deployed(topology));
        let found = plan["certificates"].as_array().expect("rows").iter().map(|row| {
            let names = row["names"].as_array().expect("names");
            let names: Vec<String> = names.iter().map(|san| word(&san["name"])).collect();
            let cell = |key: &str| word(&row[key]);
            vec![cell("name"), cell("subject"), names.join(" "), cell("eku"), cell("issuer")]
        });
        let nodes = match topology {
            "single" => "",
            _ => " edge1.inside.example edge2.inside.example",
        };
        let expected = rows("certificates.csv").into_iter().map(|row| {
            row.into_iter().map(|cell| cell.replace(" NODES", nodes)).collect::<Vec<_>>()
        });
        same(found.collect(), expected.collect(), topology);
    }
}

#[test]
fn s3_2_a_provider_like_aol_makes_the_external_certificate_one_for_clients_too() {
    let mut deployment = deployed("single");
    deployment.client_eku = true;
    let plan = planned(&deployment);
    assert_eq!(plan["certificates"][0]["eku"], "server_and_client");
    assert_eq!(plan["certificates"][1]["eku"], "server", "the internal one stays as it was");
}

#[test]
fn s3_2_a_pool_shares_certificate_and_key() {
    for (topology, shared) in [("single", false), ("pool_dns", true), ("pool_hlb", true)] {
        let plan = planned(&deployed(topology));
        for index in 0..3 {
            assert_eq!(plan["certificates"][index]["shared"], shared, "{topology} {index}");
        }
    }
}

/// The addresses that a word of `records.csv` stands for.
fn addresses(topology: &str, word: &str) -> Vec<&'static str> {
    match (topology, word) {
        (_, "WEB") => vec!["203.0.113.40"],
        ("single", "ACCESS") => vec!["203.0.113.10"],
        ("single", "CONFERENCING") => vec!["203.0.113.11"],
        ("single", "AV") => vec!["203.0.113.12"],
        ("single", "INTERNAL") => vec!["10.0.0.10"],
        ("pool_dns", "ACCESS") => vec!["203.0.113.10", "203.0.113.20"],
        ("pool_dns", "CONFERENCING") => vec!["203.0.113.11", "203.0.113.21"],
        ("pool_dns", "AV") => vec!["203.0.113.12", "203.0.113.22"],
        ("pool_dns", "INTERNAL") => vec!["10.0.0.10", "10.0.0.11"],
        ("pool_hlb", "ACCESS") => vec!["203.0.113.4"],
        ("pool_hlb", "CONFERENCING") => vec!["203.0.113.5"],
        ("pool_hlb", "AV") => vec!["203.0.113.6"],
        ("pool_hlb", "INTERNAL") => vec!["10.0.0.4"],
        _ => panic!("{topology} {word}"),
    }
}

fn record(row: &Value) -> Vec<String> {
    let record = &row["record"];
    let (kind, value) = if let Some(srv) = record.get("srv") {
        ("SRV", format!("{} {}", srv["port"], word(&srv["target"])))
    } else if let Some(target) = record.get("alias") {
        ("CNAME", word(target))
    } else {
        let all = record["addresses"].as_array().expect("addresses");
        ("A", all.iter().map(word).collect::<Vec<_>>().join(" "))
    };
    vec![word(&row["side"]), word(&row["name"]), kind.to_owned(), value]
}

#[test]
fn s4_1_the_records_to_publish() {
    for topology in TOPOLOGIES {
        let plan = planned(&deployed(topology));
        let found = plan["dns"].as_array().expect("rows").iter().map(record).collect();
        let mut expected = Vec::new();
        for row in rows("records.csv") {
            if row[1] == "NODES" {
                if topology != "single" {
                    for (node, address) in [("edge1", "10.0.0.10"), ("edge2", "10.0.0.11")] {
                        let name = format!("{node}.inside.example");
                        expected.push(vec!["internal".into(), name, "A".into(), address.into()]);
                    }
                }
            } else if row[2] == "A" {
                let value = addresses(topology, &row[3]).join(" ");
                expected.push(vec![row[0].clone(), row[1].clone(), "A".into(), value]);
            } else {
                expected.push(row);
            }
        }
        same(found, expected, topology);
    }
}

#[test]
fn s11_each_contradiction_of_the_guide_that_matters_here_is_told() {
    let plan = planned(&deployed("pool_hlb"));
    for code in [
        "guide-xmpp-port",
        "guide-xmpp-name",
        "guide-xmpp-target",
        "guide-media-address",
        "guide-srv-failover",
        "guide-av-authentication",
    ] {
        assert!(noted(&plan, code), "{code}");
    }
    let mut deployment = deployed("single");
    let av = deployment.nodes[0].av.clone();
    deployment.nodes[0].conferencing = av;
    assert!(noted(&planned(&deployment), "guide-one-address"));
    deployment.roles.clear();
    let plan = planned(&deployment);
    assert!(!noted(&plan, "guide-xmpp-port") && !noted(&plan, "guide-one-address"));
}

#[test]
fn what_this_program_does_not_serve_is_labelled() {
    let plan = planned(&deployed("pool_hlb"));
    let mut labelled = 0;
    for part in ["firewall", "dns", "certificates", "balancer"] {
        for row in plan[part].as_array().expect("rows") {
            let told = word(&row["why"]).ends_with("; planned, not served by this process");
            assert_eq!(told, row["served"] == false, "{row}");
            labelled += usize::from(told);
        }
    }
    assert!(labelled > 20, "{labelled}");
}

/// Runs a program with `input`; `None` where it is not installed (`tests/run` installs it).
fn program(name: &str, args: &[&str], input: &str) -> Option<String> {
    let child = Command::new(name)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("{name} is not installed");
            return None;
        }
        Err(error) => panic!("{name}: {error}"),
    };
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("written");
    drop(stdin);
    let output = child.wait_with_output().expect("ended");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {args:?}: {told}\n{input}");
    // Some tell on the one what they found, on the other what they made.
    Some(String::from_utf8_lossy(&output.stdout).into_owned() + &told)
}

#[test]
fn nft_accepts_the_ruleset_of_every_topology() {
    // Checking needs the right to configure a network: one of its own, where nothing else is.
    if program("unshare", &["--user", "--map-root-user", "--net", "true"], "").is_none()
        || program("nft", &["--version"], "").is_none()
    {
        return;
    }
    for topology in TOPOLOGIES {
        let text = render::nftables(&plan::plan(&deployed(topology)));
        let args = ["--user", "--map-root-user", "--net", "nft", "--check", "--file", "-"];
        program("unshare", &args, &text);
    }
}

/// A zone of one view: what `render::zone` writes below its `$ORIGIN`.
struct Fragment {
    view: String,
    zone: String,
    records: String,
}

fn fragments(text: &str) -> Vec<Fragment> {
    let mut fragments: Vec<Fragment> = Vec::new();
    let mut view = String::new();
    for line in text.lines() {
        if let Some((named, _)) = line.strip_prefix("; ").and_then(|l| l.split_once(" view, zone "))
        {
            view = named.to_owned();
        } else if let Some(zone) = line.strip_prefix("$ORIGIN ") {
            let (view, zone) = (view.clone(), zone.trim_end_matches('.').to_owned());
            fragments.push(Fragment { view, zone, records: String::new() });
        } else if let Some(fragment) = fragments.last_mut() {
            fragment.records.push_str(line);
            fragment.records.push('\n');
        }
    }
    fragments
}

/// Returns name, type and value of the records of a zone in BIND's canonical form.
fn canonical(text: &str) -> BTreeSet<Vec<String>> {
    let rows = text.lines().map(|line| line.split_whitespace().map(str::to_owned));
    rows.map(|words| words.collect::<Vec<_>>())
        .filter(|words| {
            words.len() > 4 && words[2] == "IN" && !["SOA", "NS"].contains(&words[3].as_str())
        })
        .map(|words| [&words[..1], &words[3..]].concat())
        .collect()
}

/// Returns the same of the plan.
fn of_plan(plan: &plan::Plan, fragment: &Fragment) -> BTreeSet<Vec<String>> {
    let within =
        |name: &str| name == fragment.zone || name.ends_with(&format!(".{}", fragment.zone));
    let rows = plan.dns.iter().filter(|row| {
        let view = if row.side == Side::External { "external" } else { "internal" };
        view == fragment.view && within(&row.name)
    });
    let row = |name: &str, kind: &str, value: &str| -> Vec<String> {
        let start = [format!("{name}."), kind.to_owned()];
        start.into_iter().chain(value.split(' ').map(str::to_owned)).collect()
    };
    rows.flat_map(|found| match &found.record {
        plan::Record::Srv { priority, weight, port, target } => {
            vec![row(&found.name, "SRV", &format!("{priority} {weight} {port} {target}."))]
        }
        plan::Record::Alias(target) => vec![row(&found.name, "CNAME", &format!("{target}."))],
        plan::Record::Addresses(addresses) => addresses
            .iter()
            .map(|ip| row(&found.name, if ip.is_ipv4() { "A" } else { "AAAA" }, &ip.to_string()))
            .collect(),
    })
    .collect()
}

#[test]
fn bind_accepts_the_zones_of_every_topology_and_reads_the_records_of_the_plan() {
    for topology in TOPOLOGIES {
        let deployment = deployed(topology);
        let plan = plan::plan(&deployment);
        let domains: Vec<&str> = deployment.domains.iter().map(|domain| domain.as_str()).collect();
        let fragments = fragments(&render::zone(&plan, &domains));
        assert!(fragments.len() >= 4, "{topology}: both domains in both views");
        let mut read = 0;
        for fragment in &fragments {
            let Fragment { zone, records, .. } = fragment;
            // What every zone has, and is the organisation's own.
            let text = format!(
                "$TTL 3600\n@ IN SOA ns.elsewhere.example. hostmaster 1 3600 600 86400 300\n\
                 @ IN NS ns.elsewhere.example.\n$ORIGIN {zone}.\n{records}"
            );
            // In-zone targets must have addresses, names must be host names, nothing beside CNAME.
            let args =
                ["-i", "local", "-k", "fail", "-n", "fail", "-S", "fail", "-D", zone.as_str()];
            let args = [&args[..], &["/dev/stdin"]].concat();
            let Some(told) = program("named-checkzone", &args, &text) else { return };
            assert!(!told.contains("has no address records"), "{topology} {zone}: {told}");
            let found = canonical(&told);
            assert_eq!(found, of_plan(&plan, fragment), "{topology} {} {zone}", fragment.view);
            read += found.len();
        }
        assert!(read > 15, "{topology}: only {read} records were read");
    }
}

#[test]
fn openssl_makes_a_request_of_every_certificate_and_reads_back_what_was_planned() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("plan.cnf");
    let file = file.to_str().expect("UTF-8");
    let key = directory.path().join("plan.key");
    let key = key.to_str().expect("UTF-8");
    for topology in TOPOLOGIES {
        let mut deployment = deployed(topology);
        for client_eku in [false, true] {
            deployment.client_eku = client_eku;
            let plan = plan::plan(&deployment);
            std::fs::write(file, render::csr(&plan)).expect("written");
            for row in &plan.certificates {
                let section = ["-section", row.name.as_str(), "-keyout", key];
                let args = ["req", "-new", "-config", file, "-noenc", "-text", "-newkey", "ec"];
                let curve = ["-pkeyopt", "ec_paramgen_curve:P-256"];
                let args = [&args[..], &section[..], &curve[..]].concat();
                let Some(text) = program("openssl", &args, "") else { return };
                requested(row, &text);
            }
        }
    }
}

/// Compares a request, as openssl tells it, with the row that it was made from.
fn requested(row: &plan::CertificateRow, text: &str) {
    let after = |heading: &str| -> String {
        let mut lines = text.lines().map(str::trim).skip_while(|line| !line.starts_with(heading));
        lines.nth(1).unwrap_or_else(|| panic!("{heading}: {text}")).to_owned()
    };
    assert!(text.contains(&format!("Subject: CN = {}\n", row.subject)), "{text}");
    let names: Vec<String> = row.names.iter().map(|san| format!("DNS:{}", san.name)).collect();
    assert_eq!(after("X509v3 Subject Alternative Name"), names.join(", "));
    let usages = match row.eku {
        plan::Eku::Server => "TLS Web Server Authentication",
        plan::Eku::ServerAndClient => {
            "TLS Web Server Authentication, TLS Web Client Authentication"
        }
    };
    assert_eq!(after("X509v3 Extended Key Usage"), usages);
    assert_eq!(after("X509v3 Key Usage"), "Digital Signature, Key Encipherment");
    assert_eq!(after("X509v3 Basic Constraints"), "CA:FALSE");
}

#[test]
fn json_says_all_that_the_plan_has() {
    for topology in TOPOLOGIES {
        let plan = plan::plan(&deployed(topology));
        let read: Value = serde_json::from_str(&render::json(&plan)).expect("JSON");
        assert_eq!(read, serde_json::to_value(&plan).expect("plain values"), "{topology}");
        for (part, rows) in [
            ("firewall", plan.firewall.len()),
            ("nat", plan.nat.len()),
            ("dns", plan.dns.len()),
            ("certificates", plan.certificates.len()),
            ("balancer", plan.balancer.len()),
            ("notes", plan.notes.len()),
        ] {
            assert_eq!(read[part].as_array().map(Vec::len), Some(rows), "{topology} {part}");
        }
        for row in read["firewall"].as_array().expect("rows") {
            assert!(!word(&row["why"]).is_empty(), "each row says why it is there: {row}");
        }
    }
}
