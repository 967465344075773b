//! The records as zone file fragments, grouped by view and zone.

use std::fmt::Write as _;

use super::sheet::records;
use crate::edge::Side;
use crate::plan::{DnsRow, Plan};

/// Returns fragments to include in the zone files of the organisation.
///
/// `domains`: the own domains; names outside them are put into the zone directly above them.
#[must_use]
pub fn zone(plan: &Plan, domains: &[&str]) -> String {
    let mut text =
        String::from("; Records for the zones of the organisation. Serials are yours to raise.\n");
    for (side, name) in [(Side::External, "external"), (Side::Internal, "internal")] {
        let rows: Vec<&DnsRow> = plan.dns.iter().filter(|row| row.side == side).collect();
        let mut zones: Vec<&str> = Vec::new();
        for row in &rows {
            let of = zone_of(&row.name, domains);
            if !zones.contains(&of) {
                zones.push(of);
            }
        }
        for zone in zones {
            let _ = writeln!(text, "\n; {name} view, zone {zone}\n$ORIGIN {zone}.");
            for row in rows.iter().filter(|row| zone_of(&row.name, domains) == zone) {
                write_row(&mut text, row, zone);
            }
        }
    }
    text
}

/// Returns the longest own domain that `name` is in, else what stands above it.
fn zone_of<'a>(name: &'a str, domains: &[&'a str]) -> &'a str {
    let within = |domain: &str| {
        name == domain || name.strip_suffix(domain).is_some_and(|head| head.ends_with('.'))
    };
    let own = domains.iter().copied().filter(|domain| within(domain)).max_by_key(|d| d.len());
    own.or_else(|| name.split_once('.').map(|(_, above)| above)).unwrap_or(name)
}

fn write_row(text: &mut String, row: &DnsRow, zone: &str) {
    let _ = writeln!(text, "; {}", row.why);
    let name = if row.name == zone {
        "@"
    } else {
        row.name.strip_suffix(zone).and_then(|head| head.strip_suffix('.')).unwrap_or(&row.name)
    };
    let records = records(&row.record);
    if records.is_empty() {
        let _ = writeln!(text, "; {name:<28} {} IN A  (the address is not known)", row.ttl_s);
    }
    for (kind, value) in records {
        let _ = writeln!(text, "{name:<30} {} IN {kind:<5} {value}", row.ttl_s);
    }
}
