//! The relays of a pool: whether its file says what this edge and the plan say.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::{Checker, Severity};
use crate::config::pool::{Pool, runs, written};

impl Checker<'_> {
    /// Compares the file of the pool with this edge and with the plan.
    pub(super) fn relay_pool(&mut self) {
        let config = self.config;
        if config.av_listeners.is_empty() {
            return;
        }
        let Some(pool) = &config.pool else {
            if self.is_pool() && config.av.pool.is_none() {
                self.at(
                    "av",
                    Severity::Warning,
                    "relay-pool-unsaid",
                    "this edge knows no relay of the pool beside its own: a client's relayed \
                     address there is a peer only where the address rule lets it through, and \
                     relays may be pointed at each other in a circle",
                    "set av.pool to a file that lists the edges, the same on all of them",
                );
            }
            return;
        };
        self.own_edge(pool);
        self.edges_of_pool(pool);
    }

    /// What the other edges read of this one.
    fn own_edge(&mut self, pool: &Pool) {
        let config = self.config;
        let (node, relayed) = (config.node(), config.relayed_public());
        let ports = config.relayed_ports();
        let listed = |addresses: &[IpAddr]| {
            let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            all.join(", ")
        };
        let Some((place, own)) = pool.edge(node) else {
            let file = pool.source.path.display();
            self.at(
                "av.pool",
                Severity::Warning,
                "relay-pool-own-missing",
                format!("{file} lists no edge {node}, so the others do not know this one's relay"),
                format!(
                    "add an [[edge]] with name = \"{node}\", relayed {}, ports {}; or set \
                     edge.node to the name it has there",
                    listed(relayed),
                    written(&ports)
                ),
            );
            return;
        };
        if !same(&own.relayed, relayed) {
            let (said, is) = (listed(&own.relayed), listed(relayed));
            self.in_pool(
                pool,
                &format!("edge[{place}].relayed"),
                "relay-pool-own-differs",
                format!("the others are told that {node} relays by {said}, and it does by {is}"),
            );
        }
        if sorted(&own.ports) != sorted(&ports) {
            let (said, is) = (written(&own.ports), written(&ports));
            self.in_pool(
                pool,
                &format!("edge[{place}].ports"),
                "relay-pool-own-differs",
                format!("the others are told that {node} relays at {said}, and it does at {is}"),
            );
        }
    }

    /// Whom the pool has by its file, by the plan and by its number.
    fn edges_of_pool(&mut self, pool: &Pool) {
        let config = self.config;
        let members = config.edge.pool_members as usize;
        if pool.edges.len() > members {
            let listed = pool.edges.len();
            self.in_pool(
                pool,
                "edge",
                "relay-pool-members-differ",
                format!("{listed} edges relay, and the pool has {members} (edge.pool_members)"),
            );
        }
        let planned = |name| config.plan_nodes.iter().any(|node| node.name == name);
        if config.plan_nodes.is_empty() {
            return;
        }
        for (place, edge) in pool.edges.iter().enumerate() {
            if !planned(edge.name.clone()) {
                self.in_pool(
                    pool,
                    &format!("edge[{place}].name"),
                    "relay-pool-not-planned",
                    format!("{} relays for the pool, and no [[plan_node]] is it", edge.name),
                );
            }
        }
    }

    fn in_pool(&mut self, pool: &Pool, key: &str, code: &'static str, sentence: String) {
        let place = pool.source.whereabouts(key);
        let advice = "correct the file on every edge of the pool, or the configuration of this one";
        let (severity, advice) = (Severity::Warning, advice.to_owned());
        self.findings.push(super::Finding { code, severity, sentence, place, advice });
    }
}

fn same(one: &[IpAddr], other: &[IpAddr]) -> bool {
    let canonical = |of: &[IpAddr]| {
        let mut all: Vec<IpAddr> = of.iter().map(IpAddr::to_canonical).collect();
        all.sort_unstable();
        all
    };
    canonical(one) == canonical(other)
}

/// Returns the same ports, however they were cut into ranges.
fn sorted(ranges: &[RangeInclusive<u16>]) -> Vec<RangeInclusive<u16>> {
    let mut ranges = ranges.to_vec();
    ranges.sort_unstable_by_key(|range| *range.start());
    runs(ranges)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::config;
    use crate::config::fixture::LEAST;

    const RELAY: &str = "
[av]
relayed = [\"192.0.2.12\"]
shared_ports = [3482, 3480, 3481]
secrets = \"turn-secrets.txt\"
[[av_listener]]
address = \"192.0.2.12:3478\"
";
    const POOL: &str = "\
[[edge]]
name = \"edge1.contoso.example\"
relayed = [\"192.0.2.12\"]
ports = [\"3481-3482\", \"3480\"]
[[edge]]
name = \"edge2.contoso.example\"
relayed = [\"192.0.2.22\"]
";

    fn found(more: &str, pool: Option<&str>) -> Vec<(&'static str, String)> {
        let named = "[edge]\nnode = \"edge1.contoso.example\"\npool_members = 2\n";
        let text = format!("{}{RELAY}{more}", LEAST.replace("[edge]\n", named));
        let mut config = config::parse(Path::new("e.toml"), &text).unwrap();
        let read = |text| Pool::parse(Path::new("pool.toml"), text, &config).unwrap();
        config.pool = pool.map(read).map(Arc::new);
        let mut checker = Checker { config: &config, now_unix_s: 0, findings: Vec::new() };
        checker.relay_pool();
        let told = checker.findings.into_iter();
        told.map(|finding| (finding.code, format!("{} {}", finding.place, finding.sentence)))
            .collect()
    }

    fn codes(more: &str, pool: Option<&str>) -> Vec<&'static str> {
        found(more, pool).into_iter().map(|(code, _)| code).collect()
    }

    #[test]
    fn a_pool_whose_file_fits_is_no_finding() {
        assert_eq!(found("", Some(POOL)), []);
        assert_eq!(codes("", None), ["relay-pool-unsaid"]);
    }

    #[test]
    fn what_others_are_told_of_this_edge_is_what_it_does() {
        let missing = found("", Some(&POOL[POOL.find("[[edge]]\nname = \"edge2").unwrap()..]));
        assert_eq!(missing[0].0, "relay-pool-own-missing");
        assert!(missing[0].1.contains("pool.toml lists no edge edge1.contoso"), "{missing:?}");
        let ports = found("", Some(&POOL.replace("3481-3482", "3481-3483")));
        let told = "pool.toml:4 the others are told that edge1.contoso.example relays at \
                    3481-3483, 3480, and it does at 3480-3482";
        assert_eq!(ports, [("relay-pool-own-differs", told.to_owned())]);
        let address = found("", Some(&POOL.replace("192.0.2.12", "192.0.2.13")));
        let told = "pool.toml:3 the others are told that edge1.contoso.example relays by \
                    192.0.2.13, and it does by 192.0.2.12";
        assert_eq!(address, [("relay-pool-own-differs", told.to_owned())]);
    }

    #[test]
    fn the_file_the_plan_and_the_number_of_edges_are_of_one_pool() {
        let third = format!(
            "{POOL}[[edge]]\nname = \"edge3.contoso.example\"\nrelayed = [\"192.0.2.32\"]\n"
        );
        assert_eq!(codes("", Some(&third)), ["relay-pool-members-differ"]);
        let node = "[[plan_node]]\nname = \"edge1.contoso.example\"\n";
        let found = found(node, Some(POOL));
        assert_eq!(found[0].0, "relay-pool-not-planned");
        assert!(found[0].1.starts_with("pool.toml:6 edge2.contoso.example"), "{found:?}");
    }
}
