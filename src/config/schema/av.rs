//! Keys of the A/V Edge: the relay for media. Its own words are those of lync-federation 6.8 and
//! 6.9.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
#[cfg(test)]
use toml::Spanned;
#[cfg(test)]
use toml::de::DeValue;

use crate::config::schema::Poller;
#[cfg(test)]
use crate::config::section::Context;
use crate::config::section::{
    Key, Presence, Reader, Reload, Section, SectionEntry, kept, presence, read_key, section,
};
use crate::config::shape::{
    Shape, address, domain, integer, label, list, microseconds, network, one_of, path, seconds,
    socket_address,
};
use crate::dns::Domain;
use crate::edge::Side;
use crate::edge::av::Transport;

section! {
    /// The A/V Edge, a relay for media (TURN and the Microsoft dialect of it): what holds for all
    /// its listeners together. It is on where there is an `[[av_listener]]`.
    Av = "av", repeated: false {
        /// Addresses whose ports clients are given, at most one of each family. Peers see them as
        /// the source of what clients send.
        relayed: Vec<IpAddr> = list(address(), 2), default("[]"), Restart {
            beyond: "empty beside an [[av_listener]], or two of one family: refused",
            example: "[\"192.0.2.12\"]",
            see: ["av.relayed_public", "av.ports_first"],
        }
        /// The same addresses as the Internet sees them, in the same order; different behind NAT,
        /// which must pass ports unchanged.
        relayed_public: Vec<IpAddr> = list(address(), 2), default("[]"), Restart {
            beyond: "empty: as `relayed`; otherwise one for each of them",
            example: "[\"198.51.100.12\"]",
            see: ["av.relayed", "av_listener.node"],
        }
        /// The lowest relayed port, where each allocation has one of its own.
        ports_first: u16 = integer(1_024, 65_535), default("50000"), Restart {
            beyond: "others are tried in place of one that another program has; after eight: 508",
            example: "50000",
            see: ["av.ports_count", "av.shared_ports"],
        }
        /// How many relayed ports there are, each a descriptor while an allocation has it.
        ports_count: u16 = integer(1, 64_512), default("10000"), Restart {
            beyond: "all taken: 508; beyond port 65535: refused",
            example: "10000",
            see: ["av.ports_first"],
        }
        /// A few relayed ports that all allocations share, in place of the range: each allocation
        /// owns the peers it talks to on its port, so the firewall opens a handful of ports. For
        /// TCP (RFC 6062) one listens while an allocation has it: it owns the peers it is connected
        /// with, and the addresses whose connections it takes, until 64 s after its permission.
        shared_ports: Vec<u16> = list(integer(1, 65_535), 64), default("[]"), Restart {
            beyond: "empty: the range; a peer that another allocation owns on the same port, and \
                     TCP from one to itself: 403",
            example: "[3480, 3482, 3484, 3486]",
            see: ["av.ports_first"],
        }
        /// The realm of long-term credentials; at most 36 bytes.
        realm: Domain = domain(), optional, Restart {
            beyond: "unset: the first own domain; longer: refused",
            example: "\"contoso.example\"",
            see: ["av.secrets"],
        }
        /// File with the secrets that issuers of time-limited credentials (TURN REST) share with
        /// this edge: one on each line, the newest first, at most three.
        secrets: PathBuf = path(), optional, Live {
            beyond: "unset: only credentials that this pool hands out itself count, under \
                edge.secrets",
            example: "\"turn-secrets.txt\"",
            see: ["edge.secrets"],
        }
        /// Names, one of which the certificate of a server must carry that asks for credentials for
        /// its users (MRAS): Front Ends, branch appliances.
        credentials_names: Vec<Domain> = list(domain(), 1_000), default("[]"), Live {
            beyond: "empty: those that count as servers inside; others are refused by TLS",
            example: "[\"pool.contoso.example\", \"sba.contoso.example\"]",
            see: ["listener.class", "internal.names"],
        }
        /// How long credentials hold at most (MaxTokenLifetime): as long as clients that asked once
        /// may begin calls.
        credentials_lifetime_s: u64 = seconds(60, 15_552_000), default("28800"), Live {
            beyond: "asked for longer: this long",
            example: "14400",
            see: ["edge.secrets"],
        }
        /// File with the secrets that credentials are made from, of the form of `edge.secrets` and
        /// the same on every edge of the pool: the first one signs, the first three verify. To
        /// roll, add the new one as the second on every edge, then put it first, then drop the old
        /// one when the lifetime is over.
        credentials_secrets: PathBuf = path(), optional, Live {
            beyond: "unset: made from edge.secrets, which only a restart changes",
            example: "\"media-secrets.toml\"",
            see: ["edge.secrets", "av.credentials_lifetime_s"],
        }
        /// The name that users outside are told with their credentials; it leads to the A/V Edges
        /// of the pool, or to their balancer.
        external_fqdn: Domain = domain(), optional, Live {
            beyond: "unset: they are told the address of the first external [[av_listener]]",
            example: "\"av.contoso.example\"",
            see: ["av_listener.side", "plan.av_fqdn"],
        }
        /// The name that users inside are told.
        internal_fqdn: Domain = domain(), optional, Live {
            beyond: "unset: they are told the address of the first internal [[av_listener]]",
            example: "\"lsedge.contoso.example\"",
            see: ["av_listener.side", "edge.internal_fqdn"],
        }
        /// Networks whose addresses may be peers of clients on the internal side, beside what is
        /// globally routable: users in the office. This edge's own addresses never may.
        internal_networks: Vec<IpNet> = list(network(), 256), default("[]"), Live {
            beyond: "empty: their peers are globally routable, or in addresses.allow_networks",
            example: "[\"10.0.0.0/8\"]",
            see: ["av_listener.side", "av.external_networks", "addresses.allow_networks"],
        }
        /// The same for clients on the external side, who have nothing to seek inside: users there
        /// have relayed addresses of their own.
        external_networks: Vec<IpNet> = list(network(), 256), default("[]"), Live {
            beyond: "empty: their peers are globally routable, or in addresses.allow_networks",
            example: "[\"100.64.0.0/16\"]",
            see: ["av_listener.side", "av.internal_networks"],
        }
        /// File that lists the edges of the pool and what each relays by, the same on all of them
        /// (its keys are below). Their relayed addresses may be peers at relayed ports, wherever
        /// they lie, and what comes from there is no client: relays do not go in circles. Who talks
        /// to a relay that a reload takes out goes on until his permission is to be renewed.
        pool: PathBuf = path(), optional, Live {
            beyond: "unset: other edges of the pool are peers like any others",
            example: "\"pool.toml\"",
            see: ["edge.node", "edge.pool_members", "av.relayed_public"],
        }
        /// Allocations at once, about 2 KB each.
        allocations: usize = integer(1, 1_000_000), default("50000"), Live {
            beyond: "exceeded: 508",
            example: "20000",
            see: ["av.allocations_per_user"],
        }
        /// Allocations of one user at once, from whatever addresses; a call with video makes about
        /// eight.
        allocations_per_user: u32 = integer(1, 100_000), default("32"), Live {
            beyond: "exceeded: 486",
            example: "64",
            see: ["av.allocations"],
        }
        /// Allocations at once of all users of one partner, told by the domain in their names
        /// (`expiry:user@domain`).
        allocations_per_partner: u32 = integer(1, 1_000_000), default("10000"), Live {
            beyond: "exceeded: 486; names without a domain, and tokens made before they carried \
                one, count for their user alone",
            example: "2000",
            see: ["av.allocations_per_user"],
        }
        /// Allocations at once of clients in one /24, or one /48 of IPv6: a company behind one
        /// address is one source.
        allocations_per_source: u32 = integer(1, 1_000_000), default("2000"), Live {
            beyond: "exceeded: 486",
            example: "500",
            see: ["av.allocations_per_user"],
        }
        /// Allocations at once whose data goes to peers over TCP (RFC 6062), each asked for over
        /// TCP or TLS; at most 2048 connections of 16 each.
        tcp_allocations: usize = integer(0, 100_000), default("1000"), Live {
            beyond: "exceeded: 508; 0: 442",
            example: "0",
            see: ["av.tcp_low_ports", "av.shared_ports"],
        }
        /// Ports of peers below 1024 that clients may connect to over TCP, from a relayed port;
        /// those from 1024 on always may.
        tcp_low_ports: Vec<u16> = list(integer(1, 1_023), 64), default("[443]"), Live {
            beyond: "others: 403",
            example: "[80, 443]",
            see: ["av.tcp_allocations"],
        }
        /// Kilobits a second of one allocation, both ways together (MaxBandwidthPerPortKb).
        allocation_kbit_s: u32 = integer(64, 10_000_000), default("3000"), Live {
            beyond: "exceeded: datagrams above it are dropped and counted; allocations that are \
                there keep the rate they began with",
            example: "10000",
            see: ["av.allocations"],
        }
        /// Kilobits a second of all allocations of one user, both ways together
        /// (MaxBandwidthPerUserKb), whichever of `av.threads` they are with.
        user_kbit_s: u32 = integer(64, 10_000_000), default("10000"), Live {
            beyond: "exceeded: datagrams above it are dropped and counted, TCP waits; a user with \
                allocations keeps the rate he began with",
            example: "20000",
            see: ["av.allocation_kbit_s"],
        }
        /// Kilobits a second that the link carries, both ways together: for the forecast of when it
        /// is full.
        link_kbit_s: u64 = integer(64, 1_000_000_000), optional, Restart {
            beyond: "unset: no forecast of bandwidth",
            example: "1000000",
            see: ["av.allocation_kbit_s"],
        }
        /// DSCP that relayed audio is marked with: RTP of a payload type that is audio, or of an
        /// allocation whose packets are small, or that its client said is for audio.
        dscp_audio: u8 = integer(0, 63), optional, Restart {
            beyond: "unset: as everything else; 46 is expedited forwarding, for voice",
            example: "46",
            see: ["av.dscp", "av.dscp_video"],
        }
        /// DSCP that relayed video is marked with: any other RTP.
        dscp_video: u8 = integer(0, 63), optional, Restart {
            beyond: "unset: as everything else; 34 is assured forwarding 41",
            example: "34",
            see: ["av.dscp", "av.dscp_audio"],
        }
        /// DSCP that everything else is marked with: answers, connectivity checks, data.
        dscp: u8 = integer(0, 63), default("0"), Restart {
            beyond: "0: unmarked",
            example: "0",
            see: ["av.dscp_audio"],
        }
        /// How the relay's thread waits for the network.
        poller: Poller = one_of(&[
            ("auto", Poller::Auto), ("io_uring", Poller::IoUring), ("epoll", Poller::Epoll),
        ]), default("\"auto\""), Restart {
            beyond: "auto takes io_uring and falls back to epoll; the log says which",
            example: "\"epoll\"",
            see: ["edge.poller"],
        }
        /// How long the relay's thread waits for company after a small turn; saves CPU below full
        /// load, costs that much delay.
        coalesce_us: u64 = microseconds(0, 200), default("0"), Restart {
            beyond: "0: never waits",
            example: "200",
            see: ["edge.coalesce_us"],
        }
        /// How many threads relay, each with a core, a ring and a part of the ports of its own. All
        /// that comes from one address, or one /64 of IPv6, is served by one thread. Quotas and the
        /// rates of users hold for all of them together.
        threads: usize = integer(1, 64), default("1"), Restart {
            beyond: "more than there are relayed ports: refused",
            example: "4",
            see: [
                "av.core", "av.ports_count", "av.shared_ports", "av.allocations_per_user",
                "av.allocations_per_partner",
            ],
        }
        /// Processor core that the relay's first thread is pinned to; further threads are to those
        /// that follow.
        core: usize = integer(0, 4_095), optional, Restart {
            beyond: "unset: the kernel chooses",
            example: "3",
            see: ["edge.cores"],
        }
        /// Where clients are sent that ask for an allocation while this edge drains.
        drain_to: SocketAddr = socket_address(1), optional, Live {
            beyond: "unset, or not of the client's family: they get 508 and try their next server",
            example: "\"198.51.100.13:3478\"",
            see: ["edge.drain_timeout_s", "av.drain_below"],
        }
        /// A drain is over as soon as no more than so many allocations are left.
        drain_below: usize = integer(0, 1_000_000), default("0"), Live {
            beyond: "edge.drain_timeout_s ends what is left in any case",
            example: "20",
            see: ["edge.drain_timeout_s"],
        }
    }
}

section! {
    /// A place where clients of the A/V Edge come in.
    AvListener = "av_listener", repeated: true {
        /// Address and port to bind. Answers leave from it, so it is no wildcard.
        address: SocketAddr = socket_address(1), required, Restart {
            beyond: "unset or a wildcard: refused; in use by another process: no start",
            example: "\"192.0.2.12:3478\"",
            see: ["av_listener.node"],
        }
        /// Datagrams, or streams: TURN over TCP and over TLS, and frames of the Microsoft dialect
        /// behind its own hello, told apart by their first bytes.
        transport: Transport = one_of(&[("udp", Transport::Udp), ("tcp", Transport::Stream)]),
            default("\"udp\""), Restart {
            beyond: "tcp: at most 8192 streams, 1024 of them without an allocation yet",
            example: "\"tcp\"",
            see: ["av_listener.identity"],
        }
        /// Name of the identity shown to TLS, on streams.
        identity: String = label(), optional, NewConnections {
            beyond: "unset: the first identity of the file; without any: TLS is not accepted",
            example: "\"access\"",
            see: ["identity.name", "av_listener.transport"],
        }
        /// The side that clients are on.
        side: Side = one_of(&[("external", Side::External), ("internal", Side::Internal)]),
            default("\"external\""), Restart {
            beyond: "unset: towards the Internet",
            example: "\"internal\"",
            see: ["plan.roles"],
        }
        /// The address of this very node that clients here are told: different behind NAT, and
        /// where the listener takes what comes by the pool's address.
        node: SocketAddr = socket_address(1), optional, Restart {
            beyond: "unset: `address`",
            example: "\"198.51.100.12:3478\"",
            see: ["av_listener.vip"],
        }
        /// Set where this listener takes what clients send to the pool's address, at a balancer:
        /// that address. Whoever comes here is sent on to `node` once he has proven who he is.
        vip: SocketAddr = socket_address(1), optional, Restart {
            beyond: "unset: clients are served here",
            example: "\"198.51.100.6:3478\"",
            see: ["plan.av_vip"],
        }
    }
}
