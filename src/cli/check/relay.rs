//! What the A/V Edge needs of this host.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;

use super::{Checker, Severity};
use crate::edge::av::Transport;

/// Where the kernel takes ports for outgoing connections from, and which of them it leaves alone.
const TAKEN_FROM: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

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
