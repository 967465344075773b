//! Keys of the pool's own file, which `av.pool` names: the same on every edge.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

#[cfg(test)]
use toml::Spanned;
#[cfg(test)]
use toml::de::DeValue;

#[cfg(test)]
use crate::config::section::Context;
use crate::config::section::{
    Key, Presence, Reader, Reload, Section, SectionEntry, kept, presence, read_key, section,
};
use crate::config::shape::{Shape, address, domain, list, one_or_list, port_range, socket_address};
use crate::dns::Domain;

section! {
    /// An edge of the pool and what it relays by. The file that `av.pool` names has one for each of
    /// them, this one too.
    PoolEdge = "edge", repeated: true {
        /// The edge's own FQDN, as its `edge.node` says it.
        name: Domain = domain(), required, Live {
            beyond: "unset, or given twice: refused; the one of this edge is left out here",
            example: "\"edge1.contoso.example\"",
            see: ["edge.node"],
        }
        /// The addresses that its clients are given ports of, as the Internet sees them. They may
        /// be peers of clients of the other edges, wherever they lie.
        relayed: Vec<IpAddr> = list(address(), 2), required, Live {
            beyond: "empty, or another edge's too: refused",
            example: "[\"198.51.100.12\"]",
            see: ["av.relayed", "av.relayed_public"],
        }
        /// Its relayed ports: one range, or a list of ranges and single ports. What else is at its
        /// relayed addresses may not be reached, and what comes from these ports is no client.
        ports: Vec<RangeInclusive<u16>> = one_or_list(port_range, 64), default("\"50000-59999\""),
            Live {
            beyond: "unset: the range that an edge has where av.ports_first is unset",
            example: "[\"3480\", \"3482\"]",
            see: ["av.ports_first", "av.ports_count", "av.shared_ports"],
        }
        /// Where its clients come in, as they see it: what comes from there is no client either,
        /// and nobody's peer is there.
        listeners: Vec<SocketAddr> = list(socket_address(1), 16), default("[]"), Live {
            beyond: "empty: only its relayed ports are known to be no clients",
            example: "[\"198.51.100.12:3478\"]",
            see: ["av_listener.node", "av_listener.vip"],
        }
    }
}
