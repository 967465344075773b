//! What is told of the running relay: its status, its allocations, its metrics.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Ended, Relays};
use crate::config::Config;
use crate::edge::av::{Classes, Contended, Dropped, Errors, NotAccepted, Transport};
use crate::metrics::{Exporter, catalogue};
use crate::relay::{Listed, Listing, Observed};

impl Relays {
    /// Returns what `/status` shows; null where no relay runs.
    pub(in crate::control) fn status(&self) -> Value {
        let Some(handle) = self.handle() else { return Value::Null };
        let observed = handle.observed();
        json!({
            "listeners": handle.listeners().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "path": path(&handle.paths()),
            "trains": handle.trains(),
            "threads": handle.threads(),
            "allocations": observed.allocations,
            "free_ports": observed.free_ports,
            "users": observed.users,
            "connections": observed.connections,
            "streams": observed.streams,
            "draining": observed.draining,
            "kbit_s": observed.outlook.kbit_s,
            "ports_run_out_s": observed.outlook.ports_run_out_s,
            "allocations_run_out_s": observed.outlook.allocations_run_out_s,
            "bandwidth_run_out_s": observed.outlook.bandwidth_run_out_s,
        })
    }

    /// Tells the same with how long a drain takes, or would. What there is is asked for: what was
    /// observed may be a second old, and say that a drain is over that has just begun.
    pub(super) fn full_status(&self, config: &Config) -> Option<Value> {
        let handle = self.handle()?;
        let mut status = self.status();
        let below = config.av.drain_below;
        let Listing { allocations, free_ports, .. } = handle.list(usize::MAX);
        let at_rate = handle.observed().outlook.drained_s(below).filter(|seconds| *seconds > 0);
        let drained_s = if allocations <= below { Some(0) } else { at_rate };
        status["allocations"] = json!(allocations);
        status["free_ports"] = json!(free_ports);
        status["drain_below"] = json!(below);
        status["drained_s"] = json!(drained_s);
        status["drained_unrefreshed_s"] = json!(handle.unrefreshed_s(below));
        Some(status)
    }

    /// Lists allocations, from the one after `skip` on.
    pub(super) fn list(&self, skip: usize) -> Option<Value> {
        let handle = self.handle()?;
        let Listing { allocations, free_ports, listed } = handle.list(skip);
        let listed: Vec<Value> = listed.iter().map(|one| told(one, handle.listeners())).collect();
        Some(json!({
            "allocations": allocations,
            "free_ports": free_ports,
            "skipped": skip,
            "listed": listed,
        }))
    }

    /// Sets the relay's metrics; none where no relay ever ran. Those of a relay that has ended,
    /// while the rest of the edge drains, are what it had counted and what it has: nothing.
    pub(in crate::control) fn export(&self, exporter: &mut Exporter) {
        let (observed, paths) = match (self.handle(), self.ended()) {
            (Some(handle), _) => (handle.observed(), handle.paths()),
            (None, Some(Ended { observed, paths })) => {
                (observed, paths.into_iter().map(|path| (path, 0)).collect())
            }
            (None, None) => return,
        };
        let Observed { core, shell, free_ports, streams, classes, .. } = observed;
        let Observed { connections, users, draining, outlook, .. } = observed;
        let Classes { udp, tcp, microsoft } = classes;
        for (class, count) in [("udp", udp), ("tcp", tcp), ("microsoft", microsoft)] {
            exporter.set(&catalogue::RELAY_ALLOCATIONS, &[class], count as u64);
        }
        match free_ports {
            Some(free) => exporter.set(&catalogue::RELAY_FREE_PORTS, &[], free as u64),
            None => exporter.withhold(&catalogue::RELAY_FREE_PORTS, &[]),
        }
        let made = core.allocations - core.ms_allocations;
        let made = made - core.tcp_allocations;
        exporter.set(&catalogue::RELAY_ALLOCATED, &["rfc"], made);
        exporter.set(&catalogue::RELAY_ALLOCATED, &["rfc_tcp"], core.tcp_allocations);
        exporter.set(&catalogue::RELAY_ALLOCATED, &["microsoft"], core.ms_allocations);
        exporter.set(&catalogue::RELAY_EXPIRED, &[], core.expired);
        for (code, count) in Errors::LABELS.iter().zip(core.errors.counts()) {
            exporter.set(&catalogue::RELAY_ERRORS, &[code], *count);
        }
        let traffic = core.traffic;
        exporter.set(&catalogue::RELAY_DATAGRAMS, &["to_peer"], traffic.to_peers);
        exporter.set(&catalogue::RELAY_DATAGRAMS, &["to_client"], traffic.to_client);
        exporter.set(&catalogue::RELAY_BYTES, &["to_peer"], traffic.bytes_to_peers);
        exporter.set(&catalogue::RELAY_BYTES, &["to_client"], traffic.bytes_to_client);
        exporter.set(&catalogue::RELAY_IN_TRAINS, &["received"], shell.received_in_trains);
        exporter.set(&catalogue::RELAY_IN_TRAINS, &["sent"], shell.sent_in_trains);
        exporter.set(&catalogue::RELAY_WITHIN, &[], core.within);
        for (reason, count) in Dropped::ALL.iter().zip(core.dropped) {
            exporter.set(&catalogue::RELAY_DROPPED, &[reason.label()], count);
        }
        let of_shell = [
            ("oversized", shell.oversized),
            ("hop_limit", shell.hop_limit),
            ("buffer_full", shell.full),
            ("refused", shell.refused),
        ];
        for (reason, count) in of_shell {
            exporter.set(&catalogue::RELAY_DROPPED, &[reason], count);
        }
        exporter.set(&catalogue::RELAY_UNOPENED, &[], shell.unopened);
        for (path, threads) in paths {
            exporter.set(&catalogue::RELAY_THREADS, &[path], threads as u64);
        }
        exporter.set(&catalogue::RELAY_TURNS, &[], shell.turns);
        exporter.set(&catalogue::RELAY_STREAMS, &[], streams as u64);
        exporter.set(&catalogue::RELAY_CONNECTIONS, &[], connections as u64);
        exporter.set(&catalogue::RELAY_CONNECTED, &[], core.connections);
        for (reason, count) in NotAccepted::ALL.iter().zip(core.not_accepted) {
            exporter.set(&catalogue::RELAY_NOT_ACCEPTED, &[reason.label()], count);
        }
        for (what, count) in Contended::ALL.iter().zip(core.contended) {
            exporter.set(&catalogue::RELAY_CONTENDED, &[what.label()], count);
        }
        exporter.set(&catalogue::RELAY_USERS, &[], users as u64);
        exporter.set(&catalogue::RELAY_DRAINING, &[], u64::from(draining));
        let outlook = [
            ("ports", outlook.ports_run_out_s),
            ("allocations", outlook.allocations_run_out_s),
            ("bandwidth", outlook.bandwidth_run_out_s),
        ];
        for (what, seconds) in outlook {
            match seconds {
                Some(seconds) => exporter.set(&catalogue::RELAY_RUNS_OUT, &[what], seconds),
                None => exporter.withhold(&catalogue::RELAY_RUNS_OUT, &[what]),
            }
        }
        exporter.set(&catalogue::RELAY_STREAMS_REFUSED, &[], shell.streams_refused);
    }
}

/// Says by what the relay moves datagrams: one name where all threads do alike, else each with the
/// number of its threads.
pub(super) fn path(paths: &BTreeMap<&'static str, usize>) -> String {
    let alone = paths.len() == 1;
    let told = |(path, threads): (&&str, &usize)| match alone {
        true => (*path).to_owned(),
        false => format!("{path} ({threads})"),
    };
    paths.iter().map(told).collect::<Vec<_>>().join(", ")
}

fn told(listed: &Listed, listeners: &[SocketAddr]) -> Value {
    let ports: Vec<u16> = listed.ports.iter().map(|port| port.port).collect();
    json!({
        "client": listed.client.remote.to_string(),
        "domain": listed.domain.as_deref(),
        "listener": listed.client.listener,
        "at": listeners.get(usize::from(listed.client.listener)).map(ToString::to_string),
        "transport": match listed.client.transport {
            Transport::Udp => "udp",
            Transport::Stream => "stream",
        },
        "relayed_ports": ports,
        "datagrams_to_peers": listed.traffic.to_peers,
        "bytes_to_peers": listed.traffic.bytes_to_peers,
        "datagrams_to_client": listed.traffic.to_client,
        "bytes_to_client": listed.traffic.bytes_to_client,
        "ends_in_s": listed.ends_in_s,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_not_every_thread_has_is_told_with_those_that_have_it() {
        assert_eq!(path(&BTreeMap::from([("io_uring", 2)])), "io_uring");
        let apart = BTreeMap::from([("io_uring", 3), ("epoll", 1)]);
        assert_eq!(path(&apart), "epoll (1), io_uring (3)");
    }
}
