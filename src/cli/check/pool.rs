//! The pool: whether the file says one thing about it, and what the limits of partners amount to
//! over its edges, each of which counts for itself.

use serde::Serialize;

use super::{Checker, Severity};
use crate::config::Config;
use crate::control;
use crate::plan::Topology;
use crate::policy::Limits;

/// Partners with limits of their own that are shown; a list of thousands helps nobody.
const PARTNERS_SHOWN_MAX: usize = 20;

/// What one partner, or each partner of a kind, may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PoolRow {
    /// Which partner or kind.
    who: String,
    /// Edges of the pool.
    edges: u32,
    /// Messages a second that the pool lets pass.
    messages_per_s: u64,
    /// The same while the partner is suspicious on every edge; `None`: it never is.
    suspicious_messages_per_s: Option<u64>,
    /// Distinct users it may address by way of the pool; `None`: any number.
    distinct_users: Option<u64>,
}

impl Checker<'_> {
    /// Compares what limits are reckoned with, what the plan has, and what the listeners say.
    pub(super) fn pool(&mut self) {
        let config = self.config;
        let members = config.edge.pool_members as usize;
        let nodes = config.plan_nodes.len();
        let topology = config.plan.topology;
        if nodes > 0 && nodes != members {
            let edges = |number: usize| match number {
                1 => "1 edge".to_owned(),
                many => format!("{many} edges"),
            };
            self.at(
                "edge.pool_members",
                Severity::Warning,
                "pool-members-differ",
                format!(
                    "limits are reckoned for {} (edge.pool_members), and the plan has {}",
                    edges(members),
                    edges(nodes)
                ),
                format!("set edge.pool_members = {nodes}, or correct the [[plan_node]] entries"),
            );
        } else if topology == Topology::Single && members > 1 {
            self.at(
                "edge.pool_members",
                Severity::Warning,
                "pool-topology-unsaid",
                format!("a pool of {members} edges, and plan.topology is that of a single one"),
                "set plan.topology = \"pool_dns\" or \"pool_hlb\": plan, records and warnings \
                 depend on it",
            );
        }
        let balanced = config.listeners.iter().position(|l| !l.proxy_protocol_from.is_empty());
        if let Some(index) = balanced.filter(|_| topology != Topology::PoolHlb) {
            self.at(
                &format!("listener[{index}].proxy_protocol_from"),
                Severity::Note,
                "balancer-not-planned",
                "a balancer stands before this listener, and plan.topology knows none",
                "set plan.topology = \"pool_hlb\" with the virtual addresses, if the plan and the \
                 records are to follow it",
            );
        }
    }
}

fn row(config: &Config, who: String, limits: &Limits) -> PoolRow {
    let edges = config.edge.pool_members;
    let times = |one: u32| u64::from(one) * u64::from(edges);
    PoolRow {
        who,
        edges,
        messages_per_s: times(limits.messages_per_s),
        suspicious_messages_per_s: (limits.failed_percent > 0)
            .then(|| times(limits.suspicious_per_s)),
        distinct_users: (limits.users > 0).then(|| times(limits.users)),
    }
}

/// Returns the limits of the pool: discovered partners, kinds, and single partners.
pub(super) fn rows(config: &Config) -> Vec<PoolRow> {
    let throttles = control::throttles(config);
    let mut rows = Vec::new();
    if config.federation.discovery {
        rows.push(row(config, "a discovered partner".to_owned(), &throttles.discovered));
    }
    for (kind, limits) in &throttles.kinds {
        rows.push(row(config, format!("one of kind {}", kind.label()), limits));
    }
    for (name, limits) in control::limited(config).take(PARTNERS_SHOWN_MAX) {
        rows.push(row(config, name.to_string(), &limits));
    }
    rows
}

/// Returns the table as text; empty where no partner has limits.
pub(super) fn text(rows: &[PoolRow]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let Some(first) = rows.first() else { return text };
    let edges = match first.edges {
        1 => "1 edge".to_owned(),
        many => format!("{many} edges"),
    };
    let heading = format!("limits of partners over {edges}");
    let _ =
        writeln!(text, "{heading:<44} {:>10} {:>12} {:>12}", "messages/s", "suspicious", "users");
    for row in rows {
        let PoolRow { who, messages_per_s, suspicious_messages_per_s, distinct_users, .. } = row;
        let users = distinct_users.map_or_else(|| "any".to_owned(), |users| users.to_string());
        let suspicious = suspicious_messages_per_s.map_or("never".to_owned(), |n| n.to_string());
        let _ = writeln!(text, "{who:<44} {messages_per_s:>10} {suspicious:>12} {users:>12}");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_pool_lets_pass_as_many_times_as_it_has_edges() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/configs/full.toml");
        let config = crate::config::load(&path).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(
            text(&rows(&config)),
            "\
limits of partners over 2 edges              messages/s   suspicious        users
a discovered partner                                 40            4         1000
one of kind allowed_server                         1000          100          any
fabrikam.example                                    400        never         4000
northwind.example                                   200        never        10000

"
        );
        let minimal = path.with_file_name("minimal.toml");
        let mut config = crate::config::load(&minimal).unwrap_or_else(|report| panic!("{report}"));
        config.federation.discovery = false;
        assert_eq!(text(&rows(&config)), "", "nobody has limits");
    }
    /// Returns codes and sentences about the pool of the least file with `edge` and `more`.
    fn told(edge: &str, more: &str) -> Vec<(&'static str, Severity, String)> {
        let least = crate::config::fixture::LEAST;
        let text = least.replace("[edge]\n", &format!("[edge]\n{edge}")) + more;
        let config = crate::config::parse(Path::new("e.toml"), &text)
            .unwrap_or_else(|report| panic!("{report}"));
        let mut checker = Checker { config: &config, now_unix_s: 0, findings: Vec::new() };
        checker.pool();
        checker.findings.into_iter().map(|f| (f.code, f.severity, f.sentence)).collect()
    }

    const PLAN: &str = "[plan]\ntopology = \"pool_dns\"\n[[plan_node]]\nname = \"a.example.org\"\n\
                        [[plan_node]]\nname = \"b.example.org\"\n";

    #[test]
    fn members_that_limits_count_are_those_of_the_plan() {
        assert_eq!(told("", ""), []);
        assert_eq!(told("pool_members = 2\n", PLAN), []);
        let differs =
            |sentence: &str| vec![("pool-members-differ", Severity::Warning, sentence.to_owned())];
        assert_eq!(
            told("pool_members = 4\n", PLAN),
            differs(
                "limits are reckoned for 4 edges (edge.pool_members), and the plan has 2 edges"
            )
        );
        assert_eq!(
            told("", PLAN),
            differs("limits are reckoned for 1 edge (edge.pool_members), and the plan has 2 edges")
        );
    }

    #[test]
    fn a_pool_without_a_topology_is_told() {
        let sentence = "a pool of 3 edges, and plan.topology is that of a single one";
        assert_eq!(
            told("pool_members = 3\n", ""),
            [("pool-topology-unsaid", Severity::Warning, sentence.to_owned())]
        );
        assert_eq!(told("pool_members = 3\n", "[plan]\ntopology = \"pool_hlb\"\n"), []);
    }

    #[test]
    fn a_balancer_that_the_plan_does_not_know_is_a_note() {
        let listener = "[[listener]]\naddress = \"192.0.2.1:443\"\nclass = \"remote_users\"\n\
                        proxy_protocol_from = [\"198.51.100.1\"]\n";
        let codes = |more: &str| -> Vec<_> {
            let told = told("", &format!("{listener}{more}"));
            told.into_iter().map(|(code, severity, _)| (code, severity)).collect()
        };
        assert_eq!(codes(""), [("balancer-not-planned", Severity::Note)]);
        assert_eq!(codes("[plan]\ntopology = \"pool_hlb\"\n"), []);
    }
}
