//! Every key of the configuration, declared once.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

#[cfg(test)]
use super::section::Context;
use super::section::{
    Key, Presence, Reader, Reload, Section, SectionEntry, kept, presence, read_key, section,
};
use super::shape::{
    Shape, address, boolean, bytes, domain, integer, label, list, microseconds, milliseconds,
    network, one_of, path, seconds, socket_address, word_or_list,
};
use crate::dns::Domain;
use crate::edge::Class;
use crate::policy::{Dialect, Revocation};
#[cfg(test)]
use toml::Spanned;
#[cfg(test)]
use toml::de::DeValue;

mod access;
mod av;
mod federation;
mod operation;
mod partner;
mod plan;
mod pool;
mod provider;
mod xmpp;

pub use access::{ExternalAccessPolicy, FederationLimit, SingleUser, Users};
pub use av::{Av, AvListener};
pub use federation::{Federation, RemoteUsers};
pub use operation::{Dns, Limits, Log, LogFormat, Management};
pub use partner::{Blocked, Partner, PartnerKind, PeerName, SrvTarget, Verification};
pub use plan::{Plan, PlanNode};
pub use pool::PoolEdge;
pub use provider::{DefaultRoute, Preset, Provider};
pub use xmpp::{Dnd, Gateway, GatewayEdge, Xmpp, XmppPartner};

/// How readiness is learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Poller {
    /// `io_uring` where the kernel allows it, else epoll.
    Auto,
    /// `io_uring` or no start.
    IoUring,
    /// epoll.
    Epoll,
}

/// Where trust anchors come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The anchors of the operating system.
    System,
    /// Those of PEM files.
    Files(Vec<PathBuf>),
}

/// The lowest TLS version spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

section! {
    /// The node, its names and its threads.
    Edge = "edge", repeated: false {
        /// This node's own FQDN, in internal Via headers and in flows and dialogs of remote users,
        /// whose connection only this node has: their clients must find it in DNS, and the
        /// certificate they are shown must carry it.
        node: Domain = domain(), optional, Restart {
            beyond: "unset: external_fqdn, which is right for a pool of one",
            example: "\"edge1.contoso.example\"",
            see: ["edge.external_fqdn"],
        }
        /// The Access Edge FQDN of the pool: external Via, Record-Route, and the certificate.
        external_fqdn: Domain = domain(), required, Restart {
            beyond: "unset: refused; dialogs opened under another name end when it changes",
            example: "\"sip.contoso.example\"",
            see: ["identity.certificate"],
        }
        /// The FQDN of the pool as the inside knows it: internal Record-Route and ms-ep-fqdn.
        internal_fqdn: Domain = domain(), optional, Restart {
            beyond: "unset: external_fqdn",
            example: "\"lsedge.contoso.example\"",
            see: ["internal.names"],
        }
        /// Own SIP domains. Requests from outside must be for one of them.
        domains: Vec<Domain> = list(domain(), 10_000), required, Live {
            beyond: "unset or empty: refused",
            example: "[\"contoso.example\"]",
            see: ["next_hop.domains"],
        }
        /// Threads that carry signalling.
        shards: usize = integer(1, 256), optional, Restart {
            beyond: "unset: one per core the process may use",
            example: "1",
            see: ["edge.cores"],
        }
        /// Cores that the shards are pinned to, in order.
        cores: Vec<usize> = list(integer(0, 4095), 256), default("[]"), Restart {
            beyond: "empty: the kernel chooses; otherwise one core for each shard",
            example: "[0, 1]",
            see: ["edge.shards"],
        }
        /// How the shards wait for the network.
        poller: Poller = one_of(&[
            ("auto", Poller::Auto), ("io_uring", Poller::IoUring), ("epoll", Poller::Epoll),
        ]), default("\"auto\""), Restart {
            beyond: "auto takes io_uring and falls back to epoll with one line in the log",
            example: "\"epoll\"",
            see: [],
        }
        /// How long a shard waits for company after a small turn; saves CPU, costs latency.
        coalesce_us: u64 = microseconds(0, 200), default("0"), Restart {
            beyond: "0: never waits",
            example: "100",
            see: [],
        }
        /// How long a connection without traffic is kept.
        idle_timeout_s: u64 = seconds(30, 86_400), default("600"), Restart {
            beyond: "exceeded: closed in order, to or from a partner; not while its pings are \
                answered",
            example: "900",
            see: ["edge.ping_interval_s"],
        }
        /// How long a connection this edge has opened may be silent before it is pinged (RFC 5626);
        /// below the time after which balancers in between forget it.
        ping_interval_s: u64 = seconds(0, 3_600), default("60"), Restart {
            beyond: "0: no pings; a peer that never answers keeps its connection for the idle time",
            example: "75",
            see: ["edge.idle_timeout_s"],
        }
        /// How long readiness fails before listeners close, so that balancers take notice.
        drain_notice_s: u64 = seconds(0, 3_600), default("5"), Live {
            beyond: "0: listeners close at once",
            example: "15",
            see: ["edge.drain_timeout_s"],
        }
        /// How long a drain may take in all.
        drain_timeout_s: u64 = seconds(1, 86_400), default("60"), Restart {
            beyond: "exceeded: what is left is closed and the process ends",
            example: "120",
            see: ["edge.drain_notice_s"],
        }
        /// Edges of the pool. Each counts for itself, so a partner may do as many times as much.
        pool_members: u32 = integer(1, 64), default("1"), Live {
            beyond: "`entente check` prints what the limits amount to; nothing else depends on it",
            example: "4",
            see: ["federation.messages_per_s"],
        }
        /// File with the secrets of the pool, each with a key id: the first one signs, all of them
        /// verify. Route tokens, the keys of XMPP dialback and credentials of the A/V Edge are made
        /// from them.
        secrets: PathBuf = path(), optional, Restart {
            beyond: "unset: made at each start; dialogs do not survive a restart or another node, \
                and a dialback key is only verified by the edge that made it",
            example: "\"secrets.toml\"",
            see: ["av.credentials_secrets"],
        }
    }
}

section! {
    /// A place where connections are accepted.
    Listener = "listener", repeated: true {
        /// Address and port.
        address: SocketAddr = socket_address(1), required, Restart {
            beyond: "unset: refused; in use by another process: no start",
            example: "\"192.0.2.10:5061\"",
            see: [],
        }
        /// Who connects here: partners, the organisation's users outside, or its inner servers;
        /// XMPP partners (5269), those of them who begin with TLS (5270), or gateways (23456);
        /// servers inside that ask for credentials of the A/V Edge (5062).
        class: Class = one_of(&[
            ("federation", Class::Federation),
            ("remote_users", Class::RemoteUsers),
            ("internal", Class::Internal),
            ("xmpp", Class::Xmpp),
            ("xmpp_direct_tls", Class::XmppDirectTls),
            ("xmpp_link", Class::XmppLink),
            ("credentials", Class::Credentials),
        ]), required, Restart {
            beyond: "unset: refused",
            example: "\"federation\"",
            see: [
                "internal.names", "remote_users.enabled", "xmpp.gateways", "av.credentials_names",
            ],
        }
        /// Name of the identity shown when the client asks for no name of another one.
        identity: String = label(), optional, NewConnections {
            beyond: "unset: the first identity of the file",
            example: "\"access\"",
            see: ["identity.name"],
        }
        /// Balancers that must begin with a PROXY header; from all others it is refused.
        proxy_protocol_from: Vec<IpNet> = list(network(), 256), default("[]"), Restart {
            beyond: "empty: no PROXY header is accepted from anybody",
            example: "[\"198.51.100.0/28\"]",
            see: [],
        }
    }
}

section! {
    /// A certificate with its key.
    Identity = "identity", repeated: true {
        /// What listeners call it.
        name: String = label(), default("\"default\""), NewConnections {
            beyond: "two of one name: refused",
            example: "\"access\"",
            see: ["listener.identity"],
        }
        /// PEM file: the certificate, then its intermediates.
        certificate: PathBuf = path(), required, NewConnections {
            beyond: "unreadable or expired: no start; on reload the old one stays",
            example: "\"pki/sip.pem\"",
            see: ["identity.key"],
        }
        /// PEM file: the private key of the certificate.
        key: PathBuf = path(), required, NewConnections {
            beyond: "not the key of the certificate: no start; on reload the old one stays",
            example: "\"pki/sip.key\"",
            see: ["identity.certificate"],
        }
        /// Shown also when this edge connects out, on the side whose listeners use it.
        client: bool = boolean(), default("false"), NewConnections {
            beyond: "false everywhere: the identity of the first listener of the side",
            example: "true",
            see: ["listener.identity"],
        }
        /// SIP domains whose name in SNI chooses this identity, beside the names it carries.
        sip_domains: Vec<Domain> = list(domain(), 10_000), default("[]"), NewConnections {
            beyond: "empty: chosen by the names in the certificate alone",
            example: "[\"contoso.example\"]",
            see: ["edge.domains"],
        }
    }
}

section! {
    /// Whom TLS trusts, and how.
    Tls = "tls", repeated: false {
        /// Trust anchors for partners.
        trust: Trust = word_or_list(
            &[("system", Trust::System)], list(path(), 64), Trust::Files,
        ), default("\"system\""), NewConnections {
            beyond: "open connections whose chain no longer passes are closed on reload",
            example: "[\"pki/ca.pem\"]",
            see: ["partner.trust", "tls.internal_trust"],
        }
        /// Trust anchors for next hops and other inner servers.
        internal_trust: Trust = word_or_list(
            &[("system", Trust::System)], list(path(), 64), Trust::Files,
        ), optional, NewConnections {
            beyond: "unset: tls.trust",
            example: "[\"pki/inner-ca.pem\"]",
            see: ["internal.names"],
        }
        /// Revocation lists, PEM or DER.
        crl: Vec<PathBuf> = list(path(), 1_000), default("[]"), NewConnections {
            beyond: "what a list past its date revoked stays revoked; an issuer without one: see \
                tls.revocation",
            example: "[\"pki/ca.crl\"]",
            see: ["tls.revocation"],
        }
        /// Whether lists are fetched from where partners' certificates say, by HTTP, and what holds
        /// while one is lacking. No redirect is followed; delta and indirect lists, lists for some
        /// reasons only, and places other than http:// are not supported and count as lacking.
        revocation: Revocation = one_of(&[
            ("off", Revocation::Off), ("soft", Revocation::Soft), ("hard", Revocation::Hard),
        ]), default("\"soft\""), Live {
            beyond: "soft: the partner passes, counted and with a warning; hard: its requests get \
                504 with ms-diagnostics 1010; off: nothing is fetched; tls.crl counts still, \
                and a list fetched for a partner that has its own word",
            example: "\"hard\"",
            see: ["partner.revocation", "addresses.allow_networks"],
        }
        /// Directory where fetched lists are kept over a restart.
        revocation_cache: PathBuf = path(), optional, Live {
            beyond: "unset: in memory alone, so partners under hard wait for their lists at start",
            example: "\"crls\"",
            see: ["tls.revocation"],
        }
        /// Longest time between two fetches of a list; a list whose own time is shorter is fetched
        /// again before it ends.
        revocation_refresh_s: u64 = seconds(60, 604_800), default("14400"), Live {
            beyond: "how late a revocation is seen that is published before the old list ends",
            example: "3600",
            see: ["tls.revocation"],
        }
        /// How long a fetch may take: name, connection and list.
        revocation_timeout_ms: u64 = milliseconds(500, 60_000), default("10000"), Live {
            beyond: "exceeded: the list is lacking; asked for again after 5 s, then ever later up \
                to 10 min",
            example: "5000",
            see: ["tls.revocation"],
        }
        /// Size of a list.
        revocation_list_bytes: usize = bytes(65_536, 134_217_728), default("16777216"), Live {
            beyond: "exceeded: the list is lacking",
            example: "33554432",
            see: ["tls.revocation"],
        }
        /// How long a handshake may take from the first byte.
        handshake_timeout_ms: u64 = milliseconds(500, 60_000), default("10000"), Restart {
            beyond: "exceeded: the connection is closed and counted",
            example: "5000",
            see: ["limits.half_open"],
        }
        /// The lowest version spoken.
        min_version: TlsVersion = one_of(&[
            ("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13),
        ]), default("\"1.2\""), NewConnections {
            beyond: "a peer that speaks only older ones is named in the log",
            example: "\"1.3\"",
            see: [],
        }
    }
}

section! {
    /// Who may speak from the inside.
    Internal = "internal", repeated: false {
        /// Names of which an inner server's certificate must carry one.
        names: Vec<Domain> = list(domain(), 10_000), default("[]"), Live {
            beyond: "empty: the names of the next hops",
            example: "[\"pool.contoso.example\"]",
            see: ["next_hop.name"],
        }
    }
}

section! {
    /// A server inside that gets what is for the organisation.
    NextHop = "next_hop", repeated: true {
        /// Its FQDN; its certificate must carry it.
        name: Domain = domain(), required, Live {
            beyond: "unset: refused",
            example: "\"pool.contoso.example\"",
            see: ["internal.names"],
        }
        /// Its port.
        port: u16 = integer(1, 65_535), default("5061"), Live {
            beyond: "unset: the port of SIP over TLS between servers",
            example: "5061",
            see: [],
        }
        /// Its addresses, in order of preference.
        addresses: Vec<IpAddr> = list(address(), 16), default("[]"), Live {
            beyond: "empty: asked of DNS, A and AAAA",
            example: "[\"10.0.0.20\"]",
            see: ["dns.servers"],
        }
        /// Own domains that go there.
        domains: Vec<Domain> = list(domain(), 10_000), default("[]"), Live {
            beyond: "empty: all that no other next hop names",
            example: "[\"contoso.example\"]",
            see: ["edge.domains"],
        }
        /// Connections to it from each shard.
        connections: u8 = integer(1, 4), default("1"), Live {
            beyond: "exceeded: further messages wait in the connections there are",
            example: "2",
            see: [],
        }
        /// How it speaks of messages, for the XMPP gateway: `lync` in sessions (INVITE, MESSAGE in
        /// the dialog, typing by INFO), `simple` in single MESSAGE requests (RFC 3428) with
        /// is-composing notices (RFC 3994).
        dialect: Dialect = one_of(&[("lync", Dialect::Lync), ("simple", Dialect::Simple)]),
            default("\"lync\""), Live {
            beyond: "unset: as Lync Server speaks",
            example: "\"simple\"",
            see: ["gateway.chat_idle_s"],
        }
    }
}

section! {
    /// Which addresses the edge connects to.
    Addresses = "addresses", repeated: false {
        /// Networks that count as reachable although they are not globally routable.
        allow_networks: Vec<IpNet> = list(network(), 256), default("[]"), Live {
            beyond: "empty: partners are reached at globally routable addresses only",
            example: "[\"10.0.0.0/8\"]",
            see: ["partner.allow_networks"],
        }
    }
}

/// Returns the reference, section by section in the order of the documentation.
#[must_use]
pub fn sections() -> Vec<SectionEntry> {
    vec![
        Edge::entry(),
        Listener::entry(),
        Identity::entry(),
        Tls::entry(),
        Internal::entry(),
        NextHop::entry(),
        Federation::entry(),
        FederationLimit::entry(),
        RemoteUsers::entry(),
        ExternalAccessPolicy::entry(),
        Users::entry(),
        SingleUser::entry(),
        Partner::entry(),
        Blocked::entry(),
        Provider::entry(),
        DefaultRoute::entry(),
        Xmpp::entry(),
        XmppPartner::entry(),
        Gateway::entry(),
        GatewayEdge::entry(),
        Av::entry(),
        AvListener::entry(),
        Addresses::entry(),
        Dns::entry(),
        Limits::entry(),
        Management::entry(),
        Log::entry(),
        Plan::entry(),
        PlanNode::entry(),
    ]
}

/// Returns the sections of the file that `av.pool` names.
pub(super) fn sections_of_pool() -> Vec<SectionEntry> {
    vec![PoolEdge::entry()]
}

/// Returns how the section that has `key` is written, for a key that stands in the wrong one.
pub(super) fn section_with_key(key: &str) -> Option<String> {
    let section = sections().into_iter().find(|s| s.keys.iter().any(|k| k.name == key))?;
    Some(header(section.name, section.repeated))
}

/// Returns how a section is opened in the file.
#[must_use]
pub fn header(name: &str, repeated: bool) -> String {
    if repeated { format!("[[{name}]]") } else { format!("[{name}]") }
}
