//! Every series, declared once: the exporter describes them from here, and so does the
//! documentation.
//!
//! Names are `entente_<part>_<noun>_<unit>_total`; labels take words of closed sets.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::edge::{access, gateway, xmpp_proxy};
use crate::shard;

/// What kind of number a series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many fell below each of several bounds, and the sum of all.
    Histogram,
}

/// One series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// Its name in the exposition.
    pub name: Cow<'static, str>,
    /// What kind of number.
    pub kind: Kind,
    /// One sentence.
    pub help: &'static str,
    /// Names of its labels.
    pub labels: Cow<'static, [&'static str]>,
}

macro_rules! catalogue {
    ($(
        $(#[doc = $help:literal])+
        $constant:ident: $kind:ident, $name:literal, [$($label:literal),*];
    )+) => {
        $(
            $(#[doc = $help])+
            pub const $constant: Series = Series {
                name: Cow::Borrowed($name),
                kind: Kind::$kind,
                help: concat!($($help),+).trim_ascii(),
                labels: Cow::Borrowed(&[$($label),*]),
            };
        )+
        /// What control counts and measures itself, in the order of the documentation.
        const OF_CONTROL: &[Series] = &[$($constant),+];
    };
}

catalogue! {
    /// How long senders waited for their final responses, by the way of the request.
    REQUEST_SECONDS: Histogram, "entente_access_request_seconds", ["crossing"];
    /// XMPP streams with servers of partners.
    XMPP_STREAMS: Gauge, "entente_xmpp_proxy_streams", [];
    /// Bytes of stanzas that wait for a stream to a partner.
    XMPP_QUEUED_BYTES: Gauge, "entente_xmpp_proxy_queued_bytes", [];
    /// Links between the gateway and edges that are up.
    GATEWAY_LINKS: Gauge, "entente_gateway_links", [];
    /// What the gateway keeps: contacts, dialogs by which users watch contacts and contacts users,
    /// and chats.
    GATEWAY_HELD: Gauge, "entente_gateway_held", ["kind"];
    /// Authorisations that could not be written to the store, so that they are asked for again
    /// after a restart.
    GATEWAY_UNWRITTEN: Counter, "entente_gateway_unwritten_total", [];
    /// What translations between SIP and XMPP left out or made less of, by what it was.
    GATEWAY_LOSSES: Counter, "entente_gateway_losses_total", ["loss"];
    /// Connections that exist, by kind; half-open ones are among the accepted.
    CONNECTIONS: Gauge, "entente_shard_connections", ["kind"];
    /// Limits of the configuration.
    LIMITS: Gauge, "entente_control_limit", ["limit"];
    /// Shards that run, with what they wait by.
    SHARDS: Gauge, "entente_control_shards", ["poller"];
    /// Number of the configuration in force, from 1 at the start.
    EPOCH: Gauge, "entente_control_config_epoch", [];
    /// Reloads of the configuration by result.
    RELOADS: Counter, "entente_control_reloads_total", ["result"];
    /// How long the steps of reloads took: read, compile, compare and publish.
    RELOAD_SECONDS: Histogram, "entente_control_reload_seconds", ["step"];
    /// Life of the process: 0 starting, 1 serving, 2 drain announced, 3 listeners closed.
    STAGE: Gauge, "entente_control_stage", [];
    /// Partners that the configuration lists.
    PARTNERS: Gauge, "entente_control_partners", [];
    /// Names of partners under limits that have a score, by standing: ordinary or suspicious.
    SCORES: Gauge, "entente_policy_scores", ["standing"];
    /// Requests refused by the rule of policy that refused them.
    REFUSALS: Counter, "entente_policy_refusals_total", ["rule"];
    /// Verdicts that the candidate policy would make refusals by this rule.
    SHADOW_REFUSALS: Counter, "entente_policy_shadow_refusals_total", ["rule"];
    /// Scores that made room for others.
    SCORES_EVICTED: Counter, "entente_policy_scores_evicted_total", [];
    /// When an identity's certificate ends, in seconds since 1970.
    CERTIFICATE_ENDS: Gauge, "entente_tls_certificate_not_after_seconds", ["identity"];
    /// Fetches of revocation lists by what came of them.
    REVOCATION_FETCHES: Counter, "entente_tls_revocation_fetches_total", ["result"];
    /// Revocation lists that are held or wanted: in force, out of date, or never fetched.
    REVOCATION_LISTS: Gauge, "entente_tls_revocation_lists", ["state"];
    /// Certificates on all fetched revocation lists.
    REVOCATION_ENTRIES: Gauge, "entente_tls_revocation_entries", [];
    /// When the first of the fetched revocation lists in force ends, in seconds since 1970; 0
    /// without one.
    REVOCATION_ENDS: Gauge, "entente_tls_revocation_next_update_seconds", [];
    /// Partners' chains that passed TLS although it is not known whether they are revoked.
    REVOCATION_UNKNOWN: Counter, "entente_tls_revocation_unknown_total", [];
    /// Wishes for a revocation list that found the control thread busy; they come again.
    REVOCATION_REPORTS_DROPPED: Counter, "entente_tls_revocation_reports_dropped_total", [];
    /// Allocations of the relay that exist: of RFC 8656, RFC 6062 or the Microsoft dialect.
    RELAY_ALLOCATIONS: Gauge, "entente_relay_allocations", ["class"];
    /// Relayed ports that no allocation has; not told where ports are shared.
    RELAY_FREE_PORTS: Gauge, "entente_relay_free_ports", [];
    /// Allocations that were made, by dialect.
    RELAY_ALLOCATED: Counter, "entente_relay_allocations_made_total", ["dialect"];
    /// Allocations that ran out because nobody refreshed them.
    RELAY_EXPIRED: Counter, "entente_relay_allocations_expired_total", [];
    /// Requests to the relay that were answered with an error, by its number; `challenge` is the
    /// 401 that each client gets once because it has not tried to prove who it is, and 401 those
    /// whose proof was wrong or over.
    RELAY_ERRORS: Counter, "entente_relay_errors_total", ["code"];
    /// Datagrams that were relayed, by where they went.
    RELAY_DATAGRAMS: Counter, "entente_relay_datagrams_total", ["direction"];
    /// Payload of datagrams that were relayed, by where they went.
    RELAY_BYTES: Counter, "entente_relay_bytes_total", ["direction"];
    /// Datagrams that the relay received or sent in trains: several of one flow in one call of the
    /// kernel (UDP GRO and GSO).
    RELAY_IN_TRAINS: Counter, "entente_relay_datagrams_in_trains_total", ["way"];
    /// Datagrams that were given from client to client without the kernel between; what the second
    /// one did not permit is among those dropped.
    RELAY_WITHIN: Counter, "entente_relay_within_total", [];
    /// Datagrams that the relay dropped, by reason; `hop_limit` are those that had no hop left to
    /// go on with, as what goes round between relays has in the end.
    RELAY_DROPPED: Counter, "entente_relay_dropped_total", ["reason"];
    /// Relayed ports that could not be opened.
    RELAY_UNOPENED: Counter, "entente_relay_ports_unopened_total", [];
    /// Streams of the relay's clients.
    RELAY_STREAMS: Gauge, "entente_relay_streams", [];
    /// Streams of the relay that were closed at once, because there were too many.
    RELAY_STREAMS_REFUSED: Counter, "entente_relay_streams_refused_total", [];
    /// TCP connections between the relay and peers.
    RELAY_CONNECTIONS: Gauge, "entente_relay_connections", [];
    /// TCP connections between the relay and peers that were opened, from either side.
    RELAY_CONNECTED: Counter, "entente_relay_connections_opened_total", [];
    /// Peers that connected to a relayed port and were closed at once: no allocation there permits
    /// their address, or there are as many connections as there may be.
    RELAY_NOT_ACCEPTED: Counter, "entente_relay_connections_refused_total", ["reason"];
    /// Requests refused because another allocation at the same shared port has the peer: a channel
    /// to it, a TCP connection with it, or the permission that its TCP connections come by. More
    /// shared ports make them fewer.
    RELAY_CONTENDED: Counter, "entente_relay_contended_total", ["what"];
    /// Users with allocations of the relay; one whom several threads serve counts for each.
    RELAY_USERS: Gauge, "entente_relay_users", [];
    /// 1 while the relay takes no new allocations.
    RELAY_DRAINING: Gauge, "entente_relay_draining", [];
    /// Time until something of the relay runs out at the rate of the last five minutes: ports,
    /// allocations, the bandwidth of av.link_kbit_s. Not told while it does not run out.
    RELAY_RUNS_OUT: Gauge, "entente_relay_runs_out_seconds", ["what"];
    /// Threads of the relay, by what they move datagrams by.
    RELAY_THREADS: Gauge, "entente_relay_threads", ["path"];
    /// Turns of the relay's loop.
    RELAY_TURNS: Counter, "entente_relay_turns_total", [];
    /// Lines of the log that were sampled away above a rate.
    LINES_SUPPRESSED: Counter, "entente_log_lines_suppressed_total", [];
    /// Lines of the log that its writer could not keep up with.
    LINES_DROPPED: Counter, "entente_log_lines_dropped_total", [];
    /// Lines of the decision log by what became of them; those that found its writer busy are
    /// counted by the shards.
    DECISION_LINES: Counter, "entente_log_decisions_total", ["result"];
    /// Always 1; the label tells the version.
    BUILD: Gauge, "entente_build_info", ["version"];
    /// When the process started, in seconds since 1970.
    START_TIME: Gauge, "process_start_time_seconds", [];
    /// Processor time used, user and system, in seconds.
    CPU_SECONDS: Counter, "process_cpu_seconds_total", [];
    /// Resident memory in bytes.
    RESIDENT_BYTES: Gauge, "process_resident_memory_bytes", [];
    /// Descriptors that are open.
    OPEN_DESCRIPTORS: Gauge, "process_open_fds", [];
    /// Descriptors that may be open.
    DESCRIPTORS_MAX: Gauge, "process_max_fds", [];
    /// Threads of the process.
    THREADS: Gauge, "process_threads", [];
}

/// Returns the series a shard counts under; series without labels get the shard's number as one.
#[must_use]
pub fn of_shard(series: &shard::Series) -> Series {
    let (kind, suffix) = match series.kind {
        shard::Kind::Counter => (Kind::Counter, "_total"),
        shard::Kind::Gauge => (Kind::Gauge, ""),
    };
    let own = series.labels.iter().map(|label| label.0).filter(|name| !name.is_empty());
    let mut labels: Vec<&'static str> = own.collect();
    if labels.is_empty() {
        labels.push("shard");
    }
    Series {
        name: format!("entente_shard_{}{suffix}", series.name).into(),
        kind,
        help: series.help,
        labels: labels.into(),
    }
}

/// Returns what the Access Edge counts, in the order of its own names.
#[must_use]
pub fn access() -> Vec<Series> {
    use access::counters::Counters;
    of_core("access", Counters::NAMES, Counters::HELP)
}

/// Returns what the XMPP proxy counts, in the order of its own names.
#[must_use]
pub fn xmpp_proxy() -> Vec<Series> {
    use xmpp_proxy::counters::Counters;
    of_core("xmpp_proxy", Counters::NAMES, Counters::HELP)
}

/// Returns what the gateway counts, in the order of its own names.
#[must_use]
pub fn gateway() -> Vec<Series> {
    use gateway::counters::Counters;
    of_core("gateway", Counters::NAMES, Counters::HELP)
}

fn of_core(part: &str, names: &[&str], help: &'static [&'static str]) -> Vec<Series> {
    let counters = names.iter().zip(help);
    counters
        .map(|(name, help)| Series {
            name: format!("entente_{part}_{name}_total").into(),
            kind: Kind::Counter,
            help: help.trim_ascii(),
            labels: Cow::Borrowed(&[]),
        })
        .collect()
}

/// Returns every series, in the order of the documentation.
#[must_use]
pub fn all() -> Vec<Series> {
    let mut all = access();
    all.extend(xmpp_proxy());
    all.extend(gateway());
    shard::Counters::default().visit(|series, _| {
        let series = of_shard(&series);
        // A series is visited once for each of its label values.
        if all.last().is_none_or(|last| last.name != series.name) {
            all.push(series);
        }
    });
    all.extend_from_slice(OF_CONTROL);
    all
}

/// Returns the catalogue as a Markdown table.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from(
        "# Metrics\n\n| name | kind | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for series in all() {
        let kind = match series.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels = if series.labels.is_empty() { "-".into() } else { series.labels.join(", ") };
        let _ = writeln!(text, "| `{}` | {kind} | {labels} | {} |", series.name, series.help);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_follows_the_convention() {
        let mut names = BTreeSet::new();
        for series in all() {
            assert!(names.insert(series.name.clone()), "{} is declared twice", series.name);
            let prefixed =
                series.name.starts_with("entente_") || series.name.starts_with("process_");
            assert!(prefixed, "{}", series.name);
            let counter = series.kind == Kind::Counter;
            assert_eq!(series.name.ends_with("_total"), counter, "{}", series.name);
            assert!(series.help.ends_with('.') && !series.help.contains('\n'), "{}", series.name);
        }
    }

    #[test]
    fn the_reference_has_a_row_for_every_series() {
        assert_eq!(reference().lines().count(), 4 + all().len());
    }
}
