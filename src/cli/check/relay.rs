//! What the A/V Edge needs of this host.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;

use super::{Checker, Severity};
use crate::edge::av::Transport;

/// Where the kernel takes ports for outgoing connections from, and which of them it leaves alone.
const TAKEN_FROM: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
/// Where the kernel says which cores this process may run on.
const STATUS: &str = "/proc/self/status";

impl Checker<'_> {
    /// Looks at ports and addresses of the relay; `listeners` are not tried while an edge runs.
    pub(super) fn relay_listeners(&mut self) {
        for (place, listener) in self.config.av_listeners.iter().enumerate() {
            let address = listener.address;
            let bound = match listener.transport {
                Transport::Udp => UdpSocket::bind(address).map(drop),
                Transport::Stream => TcpListener::bind(address).map(drop),
            };
            if let Err(error) = bound {
                self.unusable(&format!("av_listener[{place}].address"), address, &error);
            }
        }
    }

    /// Looks at what clients are given.
    pub(super) fn relayed(&mut self) {
        let config = self.config;
        if config.av_listeners.is_empty() {
            return;
        }
        let av = &config.av;
        for (place, ip) in av.relayed.iter().enumerate() {
            let any_port = SocketAddr::new(*ip, 0);
            if let Err(error) = UdpSocket::bind(any_port) {
                self.unusable(&format!("av.relayed[{place}]"), any_port, &error);
            }
        }
        self.relay_cores();
        for (place, port) in av.shared_ports.iter().enumerate() {
            for address in av.relayed.iter().map(|ip| SocketAddr::new(*ip, *port)) {
                if let Err(error) = UdpSocket::bind(address)
                    && error.kind() != ErrorKind::AddrNotAvailable
                {
                    self.unusable(&format!("av.shared_ports[{place}]"), address, &error);
                }
            }
        }
        self.shared_ports_for_tcp();
        if !av.shared_ports.is_empty() || !av.relayed.iter().any(IpAddr::is_ipv4) {
            return;
        }
        let last = av.ports_first.saturating_add(av.ports_count - 1);
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let exposed = exposed(av.ports_first..=last, &text(TAKEN_FROM), &text(RESERVED));
        if exposed > 0 {
            let ports = format!("{}-{last}", av.ports_first);
            self.at(
                "av.ports_first",
                Severity::Warning,
                "relayed-ports-not-reserved",
                format!(
                    "the kernel may give {exposed} of the relayed ports {ports} to outgoing \
                     connections; who asks for one of these gets 508"
                ),
                format!("sysctl net.ipv4.ip_local_reserved_ports={ports}, as tuning/sysctl.d does"),
            );
        }
    }

    /// Looks for shared ports that this edge itself listens at: peers cannot connect there.
    fn shared_ports_for_tcp(&mut self) {
        let config = self.config;
        let av = &config.av;
        if !config.relays_tcp() {
            return;
        }
        let streams = config.av_listeners.iter().filter(|l| l.transport == Transport::Stream);
        let others = config.listeners.iter().map(|listener| listener.address);
        let listening: Vec<SocketAddr> =
            streams.map(|listener| listener.address).chain(others).collect();
        for (place, port) in av.shared_ports.iter().enumerate() {
            let here = |at: &&SocketAddr| {
                at.port() == *port && (at.ip().is_unspecified() || av.relayed.contains(&at.ip()))
            };
            let Some(address) = listening.iter().find(here) else { continue };
            self.at(
                &format!("av.shared_ports[{place}]"),
                Severity::Warning,
                "shared-port-listens",
                format!(
                    "this edge listens at {address} itself: TCP allocations (RFC 6062) get other \
                     shared ports, or 508 where there are none"
                ),
                "add a shared port that nothing listens at, or set av.tcp_allocations = 0",
            );
        }
    }

    /// Looks whether the relay's threads have the cores they are to run on.
    fn relay_cores(&mut self) {
        let av = &self.config.av;
        let status = fs::read_to_string(STATUS).unwrap_or_default();
        let Some(cores) = usable_cores(&status) else { return };
        let usable: usize = cores.iter().map(|range| range.end() - range.start() + 1).sum();
        let listed: Vec<String> = cores
            .iter()
            .map(|range| match range.start() == range.end() {
                true => range.start().to_string(),
                false => format!("{}-{}", range.start(), range.end()),
            })
            .collect();
        let listed = listed.join(",");
        let there = |core: &usize| cores.iter().any(|range| range.contains(core));
        if let Some(first) = av.core
            && let Some(missing) = (first..first + av.threads).find(|core| !there(core))
        {
            self.at(
                "av.core",
                Severity::Error,
                "relay-core-missing",
                format!("the relay is to run on core {missing}, and may run on {listed}"),
                "name a core of these; further threads run on those that follow it",
            );
        } else if av.threads > usable {
            self.at(
                "av.threads",
                Severity::Warning,
                "more-relay-threads-than-cores",
                format!("{} threads relay on {usable} cores", av.threads),
                "as many as there are cores beside those of signalling, at most",
            );
        }
    }
}

/// Returns the cores that the process may run on, from the text of `/proc/self/status`.
fn usable_cores(status: &str) -> Option<Vec<RangeInclusive<usize>>> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.trim().split(',').map(range).collect()
}

/// Returns how many of `ports` the kernel takes for connections that state none.
fn exposed(ports: RangeInclusive<u16>, taken_from: &str, reserved: &str) -> usize {
    let number = |text: &str| text.trim().parse::<u16>().ok();
    let mut bounds = taken_from.split_whitespace().filter_map(number);
    let (Some(first), Some(last)) = (bounds.next(), bounds.next()) else { return 0 };
    let reserved: Vec<RangeInclusive<u16>> = reserved
        .trim()
        .split(',')
        .filter_map(|range| match range.split_once('-') {
            Some((from, to)) => Some(number(from)?..=number(to)?),
            None => number(range).map(|port| port..=port),
        })
        .collect();
    let taken = |port: &u16| {
        (first..=last).contains(port) && !reserved.iter().any(|range| range.contains(port))
    };
    ports.filter(taken).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// The findings about a relay on loopback, by key and code.
    fn found(change: impl FnOnce(&mut config::Config)) -> Vec<(&'static str, String)> {
        let text = "[edge]\nexternal_fqdn = \"av.contoso.example\"\n\
                    domains = [\"contoso.example\"]\n[av]\nrelayed = [\"127.0.0.1\"]\n\
                    shared_ports = [1]\nsecrets = \"s.txt\"\n\
                    [[av_listener]]\naddress = \"127.0.0.1:3478\"\n";
        let mut config = config::parse(std::path::Path::new("e.toml"), text).unwrap();
        let held = UdpSocket::bind("127.0.0.1:0").unwrap();
        config.av.shared_ports = vec![held.local_addr().unwrap().port()];
        change(&mut config);
        let mut checker = Checker { config: &config, now_unix_s: 0, findings: Vec::new() };
        checker.relayed();
        checker.findings.into_iter().map(|finding| (finding.code, finding.sentence)).collect()
    }

    #[test]
    fn shared_ports_are_tried_like_listeners() {
        let found = found(|_| {});
        assert!(matches!(&found[..], [("port-in-use", _)]), "{found:?}");
    }

    #[test]
    fn threads_need_cores_and_a_core_that_is_not_there_is_named() {
        let code = |change: fn(&mut config::Config)| {
            let found = found(|config| {
                config.av.shared_ports = vec![];
                config.av.ports_first = 20_000;
                config.av.ports_count = 100;
                change(config);
            });
            found.into_iter().map(|(code, _)| code).collect::<Vec<_>>()
        };
        assert_eq!(code(|_| {}), Vec::<&str>::new());
        assert_eq!(code(|config| config.av.core = Some(4_095)), ["relay-core-missing"]);
        assert_eq!(code(|config| config.av.threads = 4_096), ["more-relay-threads-than-cores"]);
        let status = "Cpus_allowed:\tff\nCpus_allowed_list:\t0-3,8\n";
        assert_eq!(usable_cores(status), Some(vec![0..=3, 8..=8]));
        assert_eq!(usable_cores("Name:\tentente\n"), None);
    }

    #[test]
    fn a_shared_port_that_this_edge_listens_at_is_told() {
        let found = |more: &str| {
            let text = format!(
                "{}[av]\nrelayed = [\"192.0.2.12\"]\nshared_ports = [3480, 443]\nsecrets = \
                 \"s.txt\"\n{more}[[av_listener]]\naddress = \"192.0.2.12:443\"\ntransport = \
                 \"tcp\"\n",
                crate::config::fixture::LEAST
            );
            let path = std::path::Path::new("e.toml");
            let config = crate::config::parse(path, &text).unwrap();
            let mut checker = Checker { config: &config, now_unix_s: 0, findings: Vec::new() };
            checker.shared_ports_for_tcp();
            let told = checker.findings.into_iter();
            told.map(|finding| (finding.code, finding.sentence)).collect::<Vec<_>>()
        };
        let all = found("");
        assert_eq!(all.len(), 1, "3480 is free: {all:?}");
        assert_eq!(all[0].0, "shared-port-listens");
        assert!(all[0].1.starts_with("this edge listens at 192.0.2.12:443 itself"), "{all:?}");
        assert_eq!(found("tcp_allocations = 0\n"), []);
    }

    #[test]
    fn ports_that_are_reserved_are_not_exposed() {
        let range = "32768\t60999\n";
        assert_eq!(exposed(50_000..=59_999, range, "\n"), 10_000);
        assert_eq!(exposed(50_000..=59_999, range, "50000-59999\n"), 0);
        assert_eq!(exposed(50_000..=50_009, range, "8080,50000,50002-50003\n"), 7);
        assert_eq!(exposed(60_990..=61_009, range, ""), 10);
        assert_eq!(exposed(20_000..=29_999, range, ""), 0);
        assert_eq!(exposed(50_000..=59_999, "", ""), 0, "unknown");
    }
}
