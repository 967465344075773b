//! Every key of the configuration, declared once.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

mod plan;

pub use plan::{Plan, PlanNode};

#[cfg(test)]
use super::section::Context;
use super::section::{
    Key, Presence, Reader, Reload, Section, SectionEntry, kept, presence, read_key, section,
};
use super::shape::{
    Shape, address, boolean, bytes, date, domain, header_name, header_value, integer, label, list,
    log_level, microseconds, milliseconds, network, one_of, path, pattern, remark, seconds,
    socket_address, word_or_list,
};
use crate::dns::Domain;
use crate::edge::Class;
use crate::policy::{Date, Pattern, Revocation, Version};
#[cfg(test)]
use toml::Spanned;
#[cfg(test)]
use toml::de::DeValue;

mod access;
mod provider;

pub use access::{ExternalAccessPolicy, FederationLimit, SingleUser, Users};
pub use provider::{DefaultRoute, Preset, Provider};

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

/// How a partner's edge is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartnerKind {
    /// By DNS SRV of its SIP domain.
    AllowedDomain,
    /// By the name in `edge`.
    AllowedServer,
}

/// Which SRV targets are believed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SrvTarget {
    /// Directly below the SIP domain, one label deep.
    Strict,
    /// Anywhere below the SIP domain.
    SameDomain,
    /// These names only.
    Names(Vec<Domain>),
}

/// Which name of the certificate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerName {
    /// The FQDN of the edge.
    Fqdn,
    /// The SIP domain (RFC 5922).
    SipDomain,
    /// Both must be there.
    Both,
}

/// Whether the partner's word on who its user is counts as verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verification {
    /// Always.
    Always,
    /// As the partner says.
    Source,
    /// Never.
    Never,
}

/// How lines of the log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
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
        /// File with the secrets of the pool, each with a key id.
        secrets: PathBuf = path(), optional, Restart {
            beyond: "unset: made at each start; dialogs do not survive a restart or another node",
            example: "\"secrets.toml\"",
            see: [],
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
        /// Who connects here: partners, the organisation's users outside, or its inner servers.
        class: Class = one_of(&[
            ("federation", Class::Federation),
            ("remote_users", Class::RemoteUsers),
            ("internal", Class::Internal),
        ]), required, Restart {
            beyond: "unset: refused",
            example: "\"federation\"",
            see: ["internal.names", "remote_users.enabled"],
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
                504 with ms-diagnostics 1010; off: nothing is fetched, tls.crl counts still",
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
    }
}

section! {
    /// Federation with partners.
    Federation = "federation", repeated: false {
        /// Whether partners get in at all.
        enabled: bool = boolean(), default("true"), Live {
            beyond: "false: every partner is refused and nothing goes out to partners",
            example: "false",
            see: [],
        }
        /// Whether partners that are not listed are found by DNS SRV.
        discovery: bool = boolean(), default("false"), Live {
            beyond: "false: an unlisted domain is refused without a DNS question",
            example: "true",
            see: ["federation.messages_per_s"],
        }
        /// Outgoing TLS connections to one partner, over all shards.
        connections_per_partner: u8 = integer(1, 4), default("4"), Live {
            beyond: "exceeded: messages share the connections there are",
            example: "2",
            see: [],
        }
        /// Whether the word of a discovered partner on who its user is counts.
        discovered_verification: Verification = one_of(&[
            ("always", Verification::Always),
            ("source", Verification::Source),
            ("never", Verification::Never),
        ]), default("\"source\""), Live {
            beyond: "as partner.verification; always believes anybody with an SRV record",
            example: "\"never\"",
            see: ["federation.discovery", "partner.verification"],
        }
        /// File with more partners, one a line: CSV whose first line names its columns, of domain,
        /// edge, port, srv_target, names, require_client_eku, verification, version, expires,
        /// owner, ticket and comment, each as the key of `[[partner]]`.
        partners_csv: PathBuf = path(), optional, Live {
            beyond: "unset: [[partner]] alone; a row that is wrong is shown and nothing is changed",
            example: "\"partners.csv\"",
            see: ["partner.domain", "federation.blocked_csv"],
        }
        /// File with more blocked domains: CSV with the columns domain, owner, ticket and comment.
        blocked_csv: PathBuf = path(), optional, Live {
            beyond: "unset: [[blocked]] alone; a row that is wrong is shown and nothing is changed",
            example: "\"blocked.csv\"",
            see: ["blocked.domain", "federation.partners_csv"],
        }
        /// Messages a discovered partner may send. Like all its limits this counts the partner over
        /// all its connections to this edge, under its SIP domain and its certificate each.
        messages_per_s: u32 = integer(1, 1_000_000), default("20"), Live {
            beyond: "exceeded: held, then 480 with Retry-After",
            example: "50",
            see: ["federation.discovery", "federation_limit.kind", "edge.pool_members"],
        }
        /// The same while the partner is suspicious, because too many of its requests fail.
        suspicious_messages_per_s: u32 = integer(1, 1_000_000), default("1"), Live {
            beyond: "exceeded: held, then 480 with Retry-After",
            example: "2",
            see: ["federation.failed_percent"],
        }
        /// How long a message that comes too early is held.
        hold_ms: u64 = milliseconds(0, 10_000), default("2000"), Live {
            beyond: "would be exceeded: 480 with Retry-After at once; 0: nothing is held",
            example: "500",
            see: ["federation.messages_per_s"],
        }
        /// Distinct local users a discovered partner may address within the window, whether or not
        /// they exist.
        distinct_users: u32 = integer(0, 10_000), default("1000"), Live {
            beyond: "exceeded: messages to additional users get 480; 0: any number",
            example: "200",
            see: ["federation.distinct_users_window_s"],
        }
        /// The window: a grid that begins with the process; at its end everybody is forgotten.
        distinct_users_window_s: u64 = seconds(60, 2_592_000), default("86400"), Live {
            beyond: "unset: a day",
            example: "3600",
            see: ["federation.distinct_users"],
        }
        /// Share of failing requests (403, 404, 410, 484, 604, or one user too many) from which on
        /// a partner is suspicious.
        failed_percent: u8 = integer(0, 100), default("50"), Live {
            beyond: "reached: suspicious_messages_per_s holds until the share has fallen; 0: never",
            example: "80",
            see: ["federation.failed_least", "federation.failed_half_life_s"],
        }
        /// Answered requests from which on that share says anything.
        failed_least: u32 = integer(1, 100_000), default("20"), Live {
            beyond: "fewer: not suspicious",
            example: "50",
            see: ["federation.failed_percent"],
        }
        /// Decay of that share: whenever so much time has passed, answers count half as much.
        failed_half_life_s: u64 = seconds(1, 86_400), default("300"), Live {
            beyond: "unset: five minutes",
            example: "900",
            see: ["federation.failed_percent"],
        }
        /// Whether own users are marked as verified towards partners.
        mark_verifiable: bool = boolean(), default("true"), Live {
            beyond: "false: partners that go by the mark take our users as unverified",
            example: "false",
            see: ["partner.verification"],
        }
        /// Header of the notice to partners that messages may be archived. No document names the
        /// product's own header, so it has to be agreed with them.
        archiving_notice_header: String = header_name(), optional, Live {
            beyond: "unset: no notice",
            example: "\"X-Archiving-Notice\"",
            see: ["federation.archiving_notice_value"],
        }
        /// Its value, put on every MESSAGE and INVITE to a partner.
        archiving_notice_value: String = header_value(), optional, Live {
            beyond: "unset: no notice",
            example: "\"this conversation may be archived\"",
            see: ["federation.archiving_notice_header"],
        }
    }
}

section! {
    /// The organisation's own users outside.
    RemoteUsers = "remote_users", repeated: false {
        /// Whether they get in at all.
        enabled: bool = boolean(), default("true"), Live {
            beyond: "false: listeners of class remote_users refuse every request",
            example: "false",
            see: ["listener.class"],
        }
        /// Whether guests without an account may join conferences.
        anonymous: bool = boolean(), default("false"), Live {
            beyond: "false: the anonymous form of From is refused",
            example: "true",
            see: [],
        }
    }
}

section! {
    /// A listed partner.
    Partner = "partner", repeated: true {
        /// Its SIP domain, exactly; `*.` before it: all domains below it, and not itself.
        domain: Pattern = pattern(), required, Live {
            beyond: "unset, an own or a blocked one: refused; of several the narrowest counts",
            example: "\"fabrikam.example\"",
            see: ["blocked.domain"],
        }
        /// How its edge is found.
        kind: PartnerKind = one_of(&[
            ("allowed_domain", PartnerKind::AllowedDomain),
            ("allowed_server", PartnerKind::AllowedServer),
        ]), default("\"allowed_domain\""), Live {
            beyond: "allowed_server needs `edge`, allowed_domain must not have it",
            example: "\"allowed_server\"",
            see: ["partner.edge"],
        }
        /// FQDN of its edge.
        edge: Domain = domain(), optional, Live {
            beyond: "unset: found by DNS SRV of the domain",
            example: "\"sip.fabrikam.example\"",
            see: ["partner.kind"],
        }
        /// Port of its edge.
        port: u16 = integer(1, 65_535), default("5061"), Live {
            beyond: "only with `edge`; otherwise the SRV record says",
            example: "5061",
            see: ["partner.edge"],
        }
        /// Which hosts its SRV record may name.
        srv_target: SrvTarget = word_or_list(
            &[("strict", SrvTarget::Strict), ("same_domain", SrvTarget::SameDomain)],
            list(domain(), 64), SrvTarget::Names,
        ), default("\"strict\""), Live {
            beyond: "a target that does not fit is refused with ms-diagnostics 1009",
            example: "[\"edge.hoster.example\"]",
            see: [],
        }
        /// Which name its certificate must carry.
        names: PeerName = one_of(&[
            ("fqdn", PeerName::Fqdn),
            ("sip_domain", PeerName::SipDomain),
            ("both", PeerName::Both),
        ]), default("\"fqdn\""), Live {
            beyond: "not carried: refused",
            example: "\"both\"",
            see: ["partner.common_name"],
        }
        /// Whether a name in the common name counts too.
        common_name: bool = boolean(), default("false"), Live {
            beyond: "false: only subjectAltName counts",
            example: "true",
            see: ["partner.names"],
        }
        /// Whether its certificate must be made for clients too.
        require_client_eku: bool = boolean(), default("false"), Live {
            beyond: "false: a certificate for servers only is accepted, as public CAs issue them",
            example: "true",
            see: [],
        }
        /// Trust anchors of its own, PEM files.
        trust: Vec<PathBuf> = list(path(), 16), default("[]"), NewConnections {
            beyond: "empty: tls.trust; what these anchors sign may speak for this partner alone",
            example: "[\"pki/fabrikam-ca.pem\"]",
            see: ["tls.trust"],
        }
        /// Networks its edge may be in although they are not public.
        allow_networks: Vec<IpNet> = list(network(), 64), default("[]"), Live {
            beyond: "empty: addresses.allow_networks alone",
            example: "[\"10.20.0.0/16\"]",
            see: ["addresses.allow_networks"],
        }
        /// Whether its word on who its user is counts.
        verification: Verification = one_of(&[
            ("always", Verification::Always),
            ("source", Verification::Source),
            ("never", Verification::Never),
        ]), default("\"source\""), Live {
            beyond: "source: a user whose edge says nothing counts as not verified, and is not \
                refused",
            example: "\"never\"",
            see: ["federation.discovered_verification"],
        }
        /// What its edge runs.
        version: Version = one_of(&[
            ("ocs2007", Version::Ocs2007),
            ("ocs2007r2", Version::Ocs2007R2),
            ("lync2010", Version::Lync2010),
            ("lync2013", Version::Lync2013),
            ("other", Version::Other),
        ]), optional, Live {
            beyond: "unset: unknown; decides which ports media needs, and warnings",
            example: "\"lync2013\"",
            see: [],
        }
        /// The last day on which the entry allows anything.
        expires: Date = date(), optional, Live {
            beyond: "unset: never; past: refused, by discovery and providers too",
            example: "2027-12-31",
            see: [],
        }
        /// Who answers for the entry.
        owner: String = remark(), optional, Live {
            beyond: "only shown",
            example: "\"unified communications\"",
            see: ["partner.ticket"],
        }
        /// Where it was asked for.
        ticket: String = remark(), optional, Live {
            beyond: "only shown",
            example: "\"UC-1042\"",
            see: ["partner.owner"],
        }
        /// Messages it may send a second, for this partner alone.
        messages_per_s: u32 = integer(1, 1_000_000), optional, Live {
            beyond: "unset: as its kind, which has no limit unless federation_limit gives it one",
            example: "100",
            see: ["federation.messages_per_s", "federation_limit.kind"],
        }
        /// Distinct local users it may address within the window, for this partner alone.
        distinct_users: u32 = integer(0, 10_000), optional, Live {
            beyond: "unset: as its kind, which has no limit unless federation_limit gives it one",
            example: "5000",
            see: ["federation.distinct_users", "federation_limit.kind"],
        }
        /// What holds while it is not known whether its certificate has been revoked.
        revocation: Revocation = one_of(&[
            ("off", Revocation::Off), ("soft", Revocation::Soft), ("hard", Revocation::Hard),
        ]), optional, Live {
            beyond: "unset: tls.revocation; off: nothing is fetched where this edge connects to \
                it; a certificate that a known list revokes is refused in any case",
            example: "\"hard\"",
            see: ["tls.revocation"],
        }
    }
}

section! {
    /// A domain nobody here talks to, whatever else is said of it.
    Blocked = "blocked", repeated: true {
        /// Its name, exactly; `*.` before it: all domains below it, and not itself.
        domain: Pattern = pattern(), required, Live {
            beyond: "refused in both directions, in open dialogs too, whatever is allowed",
            example: "\"litware.example\"",
            see: ["partner.domain"],
        }
        /// Who answers for the entry.
        owner: String = remark(), optional, Live {
            beyond: "only shown",
            example: "\"abuse desk\"",
            see: ["blocked.ticket"],
        }
        /// Where it was asked for.
        ticket: String = remark(), optional, Live {
            beyond: "only shown",
            example: "\"SEC-7\"",
            see: ["blocked.owner"],
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

section! {
    /// Name servers.
    Dns = "dns", repeated: false {
        /// Name servers with their ports, in order of preference.
        servers: Vec<SocketAddr> = list(socket_address(1), 16), default("[]"), Restart {
            beyond: "empty: those of the system",
            example: "[\"192.0.2.53:53\"]",
            see: [],
        }
        /// How long one question may take.
        timeout_ms: u64 = milliseconds(100, 10_000), default("2000"), Restart {
            beyond: "exceeded: the next server, then a failure that is held down",
            example: "1500",
            see: ["dns.attempts"],
        }
        /// Times a question is sent.
        attempts: usize = integer(1, 5), default("2"), Restart {
            beyond: "exceeded: the question failed",
            example: "3",
            see: ["dns.hold_down_s"],
        }
        /// Whether `_sips._tcp` (RFC 3263) counts where a domain has no `_sipfederationtls._tcp`.
        sips_srv: bool = boolean(), default("false"), Restart {
            beyond: "false: such a domain does not federate, as the product has it",
            example: "true",
            see: ["federation.discovery"],
        }
        /// How long a name that failed is not asked again.
        hold_down_s: u32 = integer(1, 3_600), default("30"), Restart {
            beyond: "until then the failure is the answer",
            example: "60",
            see: [],
        }
    }
}

section! {
    /// What the edge holds at most. `check` prints what it amounts to in memory.
    Limits = "limits", repeated: false {
        /// Connections, both sides, in and out.
        connections: usize = integer(16, 4_000_000), default("20000"), Restart {
            beyond: "exceeded: accepting pauses, counted by reason",
            example: "100000",
            see: ["limits.half_open"],
        }
        /// Connections whose handshake is not done.
        half_open: usize = integer(4, 1_000_000), default("1000"), Restart {
            beyond: "exceeded: accepting pauses, counted by reason",
            example: "2000",
            see: ["tls.handshake_timeout_ms"],
        }
        /// Of these, connections of one source: an IPv4 address, or a /64 of IPv6. Behind a
        /// balancer that is the address of its PROXY header.
        half_open_per_source: usize = integer(1, 1_000_000), default("100"), Restart {
            beyond: "exceeded: the connection is closed and counted, once told; above half_open: \
                no limit",
            example: "50",
            see: ["limits.half_open", "listener.proxy_protocol_from"],
        }
        /// Transactions under way.
        transactions: usize = integer(64, 16_000_000), default("100000"), Restart {
            beyond: "exceeded: 503 with Retry-After",
            example: "500000",
            see: [],
        }
        /// Size of the body of a SIP message; its head has a fixed bound of 64 KiB.
        message_bytes: usize = bytes(65_536, 1_048_576), default("1048576"), Restart {
            beyond: "exceeded: 513, and the connection is closed",
            example: "262144",
            see: [],
        }
    }
}

section! {
    /// Where metrics and health are asked, and where commands are taken.
    Management = "management", repeated: false {
        /// Addresses with ports; port 0 lets the kernel choose.
        listen: Vec<SocketAddr> = list(socket_address(0), 16),
            default("[\"127.0.0.1:9464\"]"), Restart {
            beyond: "empty: no metrics and no health",
            example: "[\"127.0.0.1:9464\", \"10.0.0.10:9464\"]",
            see: ["management.allow"],
        }
        /// Networks that may ask.
        allow: Vec<IpNet> = list(network(), 256), default("[\"127.0.0.0/8\", \"::1\"]"), Live {
            beyond: "others get 403",
            example: "[\"127.0.0.0/8\", \"10.0.0.0/24\"]",
            see: ["management.listen"],
        }
        /// Unix socket for `entente ctl`; only its owner and root may use it.
        socket: PathBuf = path(), optional, Restart {
            beyond: "unset: no socket; reload by SIGHUP, drain by SIGTERM",
            example: "\"/run/entente/admin.sock\"",
            see: ["management.listen"],
        }
    }
}

section! {
    /// The log, on standard error.
    Log = "log", repeated: false {
        /// How lines look.
        format: LogFormat = one_of(&[("text", LogFormat::Text), ("json", LogFormat::Json)]),
            default("\"text\""), Restart {
            beyond: "unset: for people",
            example: "\"json\"",
            see: [],
        }
        /// What is told; user parts of addresses only at debug. A level without a part is this
        /// program's; its libraries then tell warnings at most.
        level: String = log_level(), default("\"info\""), Live {
            beyond: "lines that the writer cannot keep up with are dropped and counted",
            example: "\"info,entente::tls=debug\"",
            see: [],
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
        Addresses::entry(),
        Dns::entry(),
        Limits::entry(),
        Management::entry(),
        Log::entry(),
        Plan::entry(),
        PlanNode::entry(),
    ]
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
