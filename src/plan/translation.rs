//! What the external firewall translates.

use std::net::IpAddr;

use super::{Addresses, Deployment, NatRow, Planned, Role};

/// Returns what the external firewall translates, one to one and both ways.
pub(super) fn rows(d: &Deployment) -> Vec<NatRow> {
    let mut rows = Vec::new();
    for node in &d.nodes {
        let of_role = |role, addresses: &Addresses| {
            let pairs = addresses.bound.iter().zip(&addresses.public);
            let pairs = pairs.filter(|(bound, public)| bound != public);
            let why = match role {
                Role::Av => {
                    "in: the destination alone is rewritten, the source must stay for the choice \
                     of a media path; out: the source becomes this public address and no other; \
                     edges of one pool reach each other at it"
                }
                _ => "one to one: in the destination, out the source, never a port",
            };
            let row = |(bound, public): (&IpAddr, &IpAddr)| NatRow {
                node: node.name.to_string(),
                role,
                public: *public,
                bound: *bound,
                why: d.why(role, why),
            };
            pairs.map(row).collect::<Vec<_>>()
        };
        rows.extend(of_role(Role::Access, &node.access));
        if d.has(Planned::Conferencing) {
            rows.extend(of_role(Role::Conferencing, &node.conferencing));
        }
        if d.has(Planned::Av) {
            rows.extend(of_role(Role::Av, &node.av));
            let relayed = of_role(Role::Av, &node.relayed);
            let relayed: Vec<NatRow> =
                relayed.into_iter().filter(|row| !rows.contains(row)).collect();
            rows.extend(relayed);
        }
    }
    rows
}
