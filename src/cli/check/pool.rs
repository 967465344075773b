//! What the limits of partners amount to over the edges of a pool, each of which counts for itself.

use serde::Serialize;

use crate::config::Config;
use crate::control;
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
    /// The same while the partner is suspicious on every edge.
    suspicious_messages_per_s: u64,
    /// Distinct users it may address by way of the pool; `None`: any number.
    distinct_users: Option<u64>,
}

fn row(config: &Config, who: String, limits: &Limits) -> PoolRow {
    let edges = config.edge.pool_members;
    let times = |one: u32| u64::from(one) * u64::from(edges);
    PoolRow {
        who,
        edges,
        messages_per_s: times(limits.messages_per_s),
        suspicious_messages_per_s: times(limits.suspicious_per_s),
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
        let _ = writeln!(
            text,
            "{who:<44} {messages_per_s:>10} {suspicious_messages_per_s:>12} {users:>12}"
        );
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
limits of partners over 4 edges              messages/s   suspicious        users
a discovered partner                                 80            8         2000
one of kind allowed_server                         2000          200          any
fabrikam.example                                    800            8         8000
northwind.example                                   400            8        20000

"
        );
        let minimal = path.with_file_name("minimal.toml");
        let mut config = crate::config::load(&minimal).unwrap_or_else(|report| panic!("{report}"));
        config.federation.discovery = false;
        assert_eq!(text(&rows(&config)), "", "nobody has limits");
    }
}
