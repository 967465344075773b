//! The rows of a plan as cells, the same for every kind of table.

use std::net::IpAddr;

use crate::edge::Side;
use crate::plan::{
    At, BalancerRow, CertificateRow, Direction, DnsRow, Endpoint, FirewallRow, NatRow, Plan,
    PortOf, Record, Section, Topology,
};

/// One table: a title, columns, and for each row its cells and its reason.
pub(super) struct Sheet {
    pub(super) title: String,
    pub(super) columns: Vec<&'static str>,
    pub(super) rows: Vec<(Vec<String>, String)>,
    /// What is to be known beside the rows.
    pub(super) notes: Vec<String>,
}

/// Returns the tables that have rows or notes.
pub(super) fn sheets(plan: &Plan) -> Vec<Sheet> {
    let mut sheets = Vec::new();
    for (side, name) in [(Side::External, "external"), (Side::Internal, "internal")] {
        let rows = plan.firewall.iter().filter(|row| row.side == side);
        sheets.push(Sheet {
            title: format!("Firewall, {name}"),
            columns: vec!["way", "protocol", "", "port", "from", "to"],
            rows: rows.map(|row| firewall(plan, row)).collect(),
            notes: Vec::new(),
        });
    }
    sheets.push(Sheet {
        title: "Address translation, external firewall".to_owned(),
        columns: vec!["edge", "service", "Internet sees", "edge has"],
        rows: plan.nat.iter().map(nat).collect(),
        notes: notes(plan, Section::Firewall),
    });
    for (side, name) in [(Side::External, "external"), (Side::Internal, "internal")] {
        let rows = plan.dns.iter().filter(|row| row.side == side);
        sheets.push(Sheet {
            title: format!("DNS, {name} view"),
            columns: vec!["name", "type", "value"],
            rows: rows.map(dns).collect(),
            notes: Vec::new(),
        });
    }
    attach(&mut sheets, notes(plan, Section::Dns));
    sheets.push(Sheet {
        title: "Certificates".to_owned(),
        columns: vec!["certificate", "shown to", "subject", "usage", "issuer", "pool"],
        rows: plan.certificates.iter().map(certificate).collect(),
        notes: notes(plan, Section::Certificates),
    });
    sheets.push(Sheet {
        title: "Load balancer".to_owned(),
        columns: vec![
            "side", "service", "port", "address", "balance", "affinity", "SNAT", "idle", "health",
        ],
        rows: plan.balancer.iter().map(balancer).collect(),
        notes: notes(plan, Section::Balancer),
    });
    sheets.retain(|sheet| !sheet.rows.is_empty() || !sheet.notes.is_empty());
    for sheet in &mut sheets {
        // Where nothing is translated, the notes of the firewall stand under no table.
        if sheet.rows.is_empty() {
            sheet.title = sheet.title.split(',').next().unwrap_or_default().to_owned();
            sheet.title = sheet.title.replace("Address translation", "Firewall");
            sheet.title.push_str(", what else to know");
        }
    }
    sheets
}

/// Puts notes under the last table that has rows.
fn attach(sheets: &mut [Sheet], notes: Vec<String>) {
    let at = sheets.iter().rposition(|sheet| !sheet.rows.is_empty());
    if let Some(sheet) = at.and_then(|at| sheets.get_mut(at)) {
        sheet.notes.extend(notes);
    }
}

fn notes(plan: &Plan, section: Section) -> Vec<String> {
    let of = plan.notes.iter().filter(|note| note.section == section);
    of.map(|note| format!("{} ({})", note.sentence, note.code)).collect()
}

/// Returns the port or the range, with a word where it is not the destination's.
pub(super) fn ports(row: &FirewallRow) -> String {
    let (first, last) = (row.ports.start(), row.ports.end());
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    match row.port_of {
        PortOf::Destination => range,
        PortOf::Source => format!("{range} (source)"),
    }
}

fn firewall(plan: &Plan, row: &FirewallRow) -> (Vec<String>, String) {
    let direction = match row.direction {
        Direction::In => "in",
        Direction::Out => "out",
    };
    let cells = vec![
        direction.to_owned(),
        row.protocol.to_owned(),
        row.transport.label().to_owned(),
        ports(row),
        end(plan.topology, row.at, &row.source),
        end(plan.topology, row.at, &row.destination),
    ];
    (cells, row.why.clone())
}

/// Returns an end by name and addresses.
fn end(topology: Topology, at: At, end: &Endpoint) -> String {
    let label = end.place.label();
    let label = match (topology, at) {
        _ if !end.place.is_edge() => label.to_owned(),
        (Topology::Single, _) => label.to_owned(),
        (_, At::Node) => format!("each {label}"),
        (_, At::Vip) => format!("{label} VIP"),
    };
    if end.addresses.is_empty() {
        return if end.place.is_edge() { format!("{label} (?)") } else { label };
    }
    let addresses: Vec<String> = end
        .addresses
        .iter()
        .map(|net| {
            let alone = net.prefix_len() == net.max_prefix_len();
            if alone { net.addr().to_string() } else { net.to_string() }
        })
        .collect();
    format!("{label} {}", addresses.join(" "))
}

fn nat(row: &NatRow) -> (Vec<String>, String) {
    let cells = vec![
        row.node.clone(),
        row.role.label().to_owned(),
        row.public.to_string(),
        row.bound.to_string(),
    ];
    (cells, row.why.clone())
}

/// Returns type and value of each record of a set.
pub(super) fn records(record: &Record) -> Vec<(&'static str, String)> {
    match record {
        Record::Srv { priority, weight, port, target } => {
            vec![("SRV", format!("{priority} {weight} {port} {target}."))]
        }
        Record::Alias(target) => vec![("CNAME", format!("{target}."))],
        Record::Addresses(addresses) => {
            let kind = |address: &IpAddr| if address.is_ipv4() { "A" } else { "AAAA" };
            addresses.iter().map(|address| (kind(address), address.to_string())).collect()
        }
    }
}

fn dns(row: &DnsRow) -> (Vec<String>, String) {
    let records = records(&row.record);
    let kinds: Vec<&str> = records.iter().map(|(kind, _)| *kind).collect();
    let mut kinds_once = kinds.clone();
    kinds_once.dedup();
    let values: Vec<&str> = records.iter().map(|(_, value)| value.as_str()).collect();
    let (kind, value) = if records.is_empty() {
        ("A".to_owned(), "?".to_owned())
    } else {
        (kinds_once.join(" "), values.join(" "))
    };
    (vec![row.name.clone(), kind, value], row.why.clone())
}

fn certificate(row: &CertificateRow) -> (Vec<String>, String) {
    let pool = if row.shared { "same key on every edge" } else { "" };
    let names = row.names.iter().map(|san| format!("DNS:{}  {}", san.name, san.why));
    let why: Vec<String> = std::iter::once(row.why.clone()).chain(names).collect();
    let why = why.join("\n");
    let cells = vec![
        row.name.clone(),
        row.shown.clone(),
        format!("CN={}", row.subject),
        row.eku.label().to_owned(),
        row.issuer.label().to_owned(),
        pool.to_owned(),
    ];
    (cells, why)
}

fn balancer(row: &BalancerRow) -> (Vec<String>, String) {
    let addresses: Vec<String> = row.addresses.iter().map(ToString::to_string).collect();
    let port = if row.port == row.node_port {
        format!("{} {}", row.transport.label(), row.port)
    } else {
        format!("{} {} to {}", row.transport.label(), row.port, row.node_port)
    };
    let cells = vec![
        match row.side {
            Side::External => "external".to_owned(),
            Side::Internal => "internal".to_owned(),
        },
        row.role.label().to_owned(),
        port,
        addresses.join(" "),
        row.balancing.label().to_owned(),
        row.affinity.to_owned(),
        row.snat.label().to_owned(),
        row.idle_timeout_s.map(|s| format!("at least {s} s")).unwrap_or_default(),
        row.health.clone(),
    ];
    (cells, row.why.clone())
}
