//! The firewall as rules for nft: one table for each firewall, which touches only what comes from
//! the edge's addresses or goes to them.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use super::sheet;
use crate::edge::Side;
use crate::plan::{At, Direction, Endpoint, FirewallRow, NatRow, Plan, PortOf, Transport};

/// A family of addresses, in the words of nft.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Family {
    /// Keyword before an address.
    word: &'static str,
    /// Type of a set.
    kind: &'static str,
    /// End of a set's name.
    suffix: &'static str,
}

const V4: Family = Family { word: "ip", kind: "ipv4_addr", suffix: "4" };
const V6: Family = Family { word: "ip6", kind: "ipv6_addr", suffix: "6" };

/// Returns a ruleset that `nft -f` loads, for the sides that the plan has.
#[must_use]
pub fn nftables(plan: &Plan) -> String {
    let mut text = String::from(
        "#!/usr/sbin/nft -f\n\
         # Rules for the firewalls around the edge, one table each; load what belongs to the box.\n\
         # A packet that has nothing to do with the edge's addresses is left to other tables.\n",
    );
    for (side, name) in [(Side::External, "external"), (Side::Internal, "internal")] {
        let rows: Vec<&FirewallRow> = plan.firewall.iter().filter(|row| row.side == side).collect();
        if !rows.is_empty() {
            write_table(&mut text, name, &rows);
        }
    }
    write_nat(&mut text, &plan.nat);
    text
}

fn write_table(text: &mut String, name: &str, rows: &[&FirewallRow]) {
    // Made before it is deleted, so that loading again replaces it and loading first succeeds.
    let _ = write!(
        text,
        "\ntable inet entente_{name} {{ }}\ndelete table inet entente_{name}\n\
         table inet entente_{name} {{\n"
    );
    for (name, family, addresses) in sets(rows) {
        let _ = writeln!(text, "    set {name} {{");
        let _ = writeln!(text, "        type {}; flags interval; auto-merge;", family.kind);
        if addresses.is_empty() {
            let _ = writeln!(text, "        # The addresses are not known: fill them in.");
        } else {
            let elements: Vec<String> = addresses.iter().map(element).collect();
            let _ = writeln!(text, "        elements = {{ {} }}", elements.join(", "));
        }
        let _ = writeln!(text, "    }}");
    }
    let _ = write!(
        text,
        "\n    chain forward {{\n        type filter hook forward priority filter; policy accept;\n\
         \x20       ct state established,related accept\n        ct state invalid drop\n"
    );
    for row in rows {
        write_rule(text, row);
    }
    let _ = writeln!(text, "        # Whatever else would pass from or to the edge.");
    for (name, family, _) in sets(rows).iter().filter(|(name, ..)| name.starts_with("edge_")) {
        for end in ["saddr", "daddr"] {
            let _ = writeln!(text, "        {} {end} @{name} counter drop", family.word);
        }
    }
    let _ = write!(text, "    }}\n}}\n");
}

fn element(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

const fn of_family(family: Family, net: &IpNet) -> bool {
    matches!((family.suffix.as_bytes(), net), (b"4", IpNet::V4(_)) | (b"6", IpNet::V6(_)))
}

/// Returns the name of an end's set without its family; `None` when the end has no bound.
fn set_name(row: &FirewallRow, end: &Endpoint) -> Option<String> {
    if end.addresses.is_empty() && !end.place.is_edge() {
        return None;
    }
    let place: String = end
        .place
        .label()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .collect();
    let place = place.replace("_edge", "");
    Some(match (end.place.is_edge(), row.at, row.direction) {
        (false, ..) => format!("{place}_{}_", row.ports.start()),
        (true, At::Node, _) => format!("edge_{place}_"),
        (true, At::Vip, Direction::In) => format!("edge_{place}_vip_"),
        // The balancer's address and those of the edges behind it.
        (true, At::Vip, Direction::Out) => format!("edge_{place}_all_"),
    })
}

/// Returns every set once, with its family and addresses.
fn sets(rows: &[&FirewallRow]) -> Vec<(String, Family, Vec<IpNet>)> {
    let mut sets: Vec<(String, Family, Vec<IpNet>)> = Vec::new();
    for row in rows {
        for end in [&row.source, &row.destination] {
            let Some(name) = set_name(row, end) else { continue };
            for family in [V4, V6] {
                let of_this = end.addresses.iter().filter(|net| of_family(family, net));
                let addresses: Vec<IpNet> = of_this.copied().collect();
                // A set whose addresses are not known is there once, to be filled in.
                let wanted = !addresses.is_empty() || (end.addresses.is_empty() && family == V4);
                let name = format!("{name}{}", family.suffix);
                if !wanted {
                    continue;
                }
                match sets.iter_mut().find(|(known, ..)| *known == name) {
                    Some((_, _, known)) => {
                        known.extend(addresses);
                        known.sort();
                        known.dedup();
                    }
                    None => sets.push((name, family, addresses)),
                }
            }
        }
    }
    sets
}

/// Returns how a rule names an end; `None` when the end has no address of `family`.
fn matching(row: &FirewallRow, end: &Endpoint, side: &str, family: Family) -> Option<String> {
    let Some(name) = set_name(row, end) else { return Some(String::new()) };
    let unknown = end.addresses.is_empty() && family == V4;
    if !unknown && !end.addresses.iter().any(|net| of_family(family, net)) {
        return None;
    }
    Some(format!("{} {side} @{name}{} ", family.word, family.suffix))
}

fn write_rule(text: &mut String, row: &FirewallRow) {
    let _ = writeln!(text, "        # {}", row.why);
    let transport = match row.transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    };
    let port = match row.port_of {
        PortOf::Destination => "dport",
        PortOf::Source => "sport",
    };
    let (first, last) = (row.ports.start(), row.ports.end());
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    let way = match row.direction {
        Direction::In => "in",
        Direction::Out => "out",
    };
    let comment = format!("{} {} {way}", row.role.label(), sheet::ports(row));
    let mut written = false;
    for family in [V4, V6] {
        let source = matching(row, &row.source, "saddr", family);
        let destination = matching(row, &row.destination, "daddr", family);
        let (Some(source), Some(destination)) = (source, destination) else { continue };
        let _ = writeln!(
            text,
            "        {source}{destination}{transport} {port} {range} accept comment \"{comment}\""
        );
        written = true;
    }
    if !written {
        let _ = writeln!(text, "        # (no rule: the two ends have no family in common)");
    }
}

/// Writes translations for both families; each pair is of one.
fn write_nat(text: &mut String, rows: &[NatRow]) {
    for (family, word) in [(V4, "ip"), (V6, "ip6")] {
        let same = |address: IpAddr| address.is_ipv4() == (family == V4);
        let rows: Vec<&NatRow> =
            rows.iter().filter(|row| same(row.public) && same(row.bound)).collect();
        if rows.is_empty() {
            continue;
        }
        let _ = write!(
            text,
            "\ntable {word} entente_nat {{ }}\ndelete table {word} entente_nat\n\
             table {word} entente_nat {{\n    chain prerouting {{\n\
             \x20       type nat hook prerouting priority dstnat; policy accept;\n"
        );
        for row in &rows {
            let (public, bound) = (row.public, row.bound);
            let _ = writeln!(text, "        {word} daddr {public} dnat to {bound}");
        }
        let _ = write!(
            text,
            "    }}\n    chain postrouting {{\n\
             \x20       type nat hook postrouting priority srcnat; policy accept;\n"
        );
        for row in &rows {
            let (public, bound) = (row.public, row.bound);
            let _ = writeln!(text, "        {word} saddr {bound} snat to {public}");
        }
        let _ = write!(text, "    }}\n}}\n");
    }
}
