//! The rows of a plan.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde::Serialize;

use super::Topology;
use crate::edge::Side;

/// A part of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// Rules of both firewalls.
    Firewall,
    /// Records to publish.
    Dns,
    /// Certificates to order.
    Certificates,
    /// Rules of the load balancer.
    Balancer,
}

/// Which address of a pool a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// Each edge's own.
    Node,
    /// The balancer's virtual one.
    Vip,
}

/// A service, for grouping and for names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// SIP Access Edge: what this program runs.
    Access,
    /// XMPP proxy.
    Xmpp,
    /// XMPP gateway, inside.
    XmppGateway,
    /// Web Conferencing Edge.
    Conferencing,
    /// A/V Edge.
    Av,
    /// Reverse proxy.
    Web,
    /// Metrics and health of this program.
    Management,
    /// Replication and logging.
    CentralManagement,
}

impl Role {
    /// Returns its name.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Access => "Access Edge",
            Self::Xmpp => "XMPP proxy",
            Self::XmppGateway => "XMPP gateway",
            Self::Conferencing => "Web Conferencing Edge",
            Self::Av => "A/V Edge",
            Self::Web => "reverse proxy",
            Self::Management => "management",
            Self::CentralManagement => "central management",
        }
    }
}

/// Who is at one end of a firewall rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The Internet.
    Any,
    /// Anything inside.
    Inside,
    /// The Access Edge; the XMPP proxy shares its addresses.
    AccessEdge,
    /// The Web Conferencing Edge.
    ConferencingEdge,
    /// The A/V Edge.
    AvEdge,
    /// The internal side of the edge.
    InternalEdge,
    /// The servers inside that SIP is exchanged with.
    NextHops,
    /// Those of them that run the XMPP gateway.
    XmppGateways,
    /// The edges whose XMPP proxy the gateway connects to.
    XmppProxies,
    /// Front End servers.
    FrontEnds,
    /// Front End servers and branch appliances.
    FrontEndsAndBranches,
    /// Whoever holds the central management store.
    CentralStore,
    /// Name servers.
    NameServers,
    /// Where metrics and health are asked.
    ManagementAddresses,
    /// Who may ask.
    ManagementNetworks,
}

impl Place {
    /// Returns its name.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Inside => "any inside",
            Self::AccessEdge => "Access Edge",
            Self::ConferencingEdge => "Web Conferencing Edge",
            Self::AvEdge => "A/V Edge",
            Self::InternalEdge => "internal edge",
            Self::NextHops => "next hops",
            Self::XmppGateways => "XMPP gateways",
            Self::XmppProxies => "XMPP proxies",
            Self::FrontEnds => "Front Ends",
            Self::FrontEndsAndBranches => "Front Ends and branch appliances",
            Self::CentralStore => "central store",
            Self::NameServers => "name servers",
            Self::ManagementAddresses => "management address",
            Self::ManagementNetworks => "management networks",
        }
    }

    /// Returns whether it is an address of the edge itself.
    #[must_use]
    pub const fn is_edge(self) -> bool {
        matches!(
            self,
            Self::AccessEdge
                | Self::ConferencingEdge
                | Self::AvEdge
                | Self::InternalEdge
                | Self::ManagementAddresses
        )
    }
}

/// One end of a firewall rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Who it is.
    pub place: Place,
    /// Its addresses; empty when not known, or when there is no bound.
    pub addresses: Vec<IpNet>,
}

/// Transport protocol of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// Returns its name.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// Which end of a packet has the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PortOf {
    /// The destination, as usual.
    Destination,
    /// The source: media leaves from the range towards whatever port the other relay has.
    Source,
}

/// Who opens a connection, seen from the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Towards the edge.
    In,
    /// From the edge.
    Out,
}

/// One rule of a firewall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FirewallRow {
    /// Which firewall.
    pub side: Side,
    /// Each edge, or the virtual address.
    pub at: At,
    /// The service.
    pub role: Role,
    /// Whether this program runs that service.
    pub served: bool,
    /// What is spoken.
    pub protocol: &'static str,
    /// Over what.
    pub transport: Transport,
    /// First and last port.
    #[serde(serialize_with = "range")]
    pub ports: RangeInclusive<u16>,
    /// Whose port it is.
    pub port_of: PortOf,
    /// Who opens.
    pub direction: Direction,
    /// From.
    pub source: Endpoint,
    /// To.
    pub destination: Endpoint,
    /// Why it is there.
    pub why: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form serde asks for")]
fn range<S: serde::Serializer>(ports: &RangeInclusive<u16>, to: S) -> Result<S::Ok, S::Error> {
    [ports.start(), ports.end()].serialize(to)
}

/// One address that the external firewall translates, both ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NatRow {
    /// The edge.
    pub node: String,
    /// The service.
    pub role: Role,
    /// As the Internet sees it.
    pub public: IpAddr,
    /// As the edge has it.
    pub bound: IpAddr,
    /// What to keep to.
    pub why: String,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// RFC 2782.
    Srv {
        /// Lower first.
        priority: u16,
        /// Share among equals.
        weight: u16,
        /// TCP port.
        port: u16,
        /// The host.
        target: String,
    },
    /// A and AAAA; empty when not known.
    Addresses(Vec<IpAddr>),
    /// CNAME.
    Alias(String),
}

/// One record set to publish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DnsRow {
    /// In which view.
    pub side: Side,
    /// The service.
    pub role: Role,
    /// Whether this program runs that service.
    pub served: bool,
    /// Full name without the last dot.
    pub name: String,
    /// Seconds it may be kept.
    pub ttl_s: u32,
    /// What it says.
    pub record: Record,
    /// Why it is there.
    pub why: String,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Eku {
    /// serverAuth.
    Server,
    /// serverAuth and clientAuth.
    ServerAndClient,
}

impl Eku {
    /// Returns its names as OpenSSL writes them.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Server => "serverAuth",
            Self::ServerAndClient => "serverAuth, clientAuth",
        }
    }
}

/// Who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Issuer {
    /// An authority that strangers trust.
    Public,
    /// The organisation's own or a public one.
    PrivateOrPublic,
}

impl Issuer {
    /// Returns its name.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::PrivateOrPublic => "private or public",
        }
    }
}

/// A name in a certificate, and why it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct San {
    /// A dNSName.
    pub name: String,
    /// Who looks for it.
    pub why: String,
}

/// One certificate to order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateRow {
    /// What it is called: the configuration's name for what this program shows.
    pub name: String,
    /// Where it is shown.
    pub shown: String,
    /// Whether this program shows it.
    pub served: bool,
    /// Common name.
    pub subject: String,
    /// subjectAltName, in order.
    pub names: Vec<San>,
    /// extendedKeyUsage.
    pub eku: Eku,
    /// Who signs.
    pub issuer: Issuer,
    /// Whether every edge of the pool has this certificate and its key.
    pub shared: bool,
    /// Why it is there.
    pub why: String,
}

/// May or may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Allowed {
    /// It may.
    Yes,
    /// It must not.
    No,
}

impl Allowed {
    /// Returns it as a word.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Yes => "allowed",
            Self::No => "forbidden",
        }
    }
}

/// One rule of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BalancerRow {
    /// Which side.
    pub side: Side,
    /// The service.
    pub role: Role,
    /// Whether this program runs that service.
    pub served: bool,
    /// Over what.
    pub transport: Transport,
    /// Port of the virtual address.
    pub port: u16,
    /// Port of the servers behind it.
    pub node_port: u16,
    /// Whether it may be balanced at all; if not, peers go to each edge.
    pub balancing: Allowed,
    /// The virtual addresses; empty when not known.
    pub addresses: Vec<IpAddr>,
    /// Who must come back to the same edge, and by what.
    pub affinity: &'static str,
    /// Whether the balancer may put its own source address in.
    pub snat: Allowed,
    /// Least idle time before the balancer may drop a connection, seconds; `None` for datagrams.
    pub idle_timeout_s: Option<u64>,
    /// How it learns that an edge is alive.
    pub health: String,
    /// Why it is so.
    pub why: String,
}

/// What no row says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The part of the plan it is about.
    pub section: Section,
    /// Stable name.
    pub code: &'static str,
    /// What is to be known.
    pub sentence: String,
}

/// Everything a deployment needs around it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// How peers find a living edge.
    pub topology: Topology,
    /// Rules of both firewalls.
    pub firewall: Vec<FirewallRow>,
    /// Translations of the external firewall.
    pub nat: Vec<NatRow>,
    /// Records.
    pub dns: Vec<DnsRow>,
    /// Certificates.
    pub certificates: Vec<CertificateRow>,
    /// Load balancing.
    pub balancer: Vec<BalancerRow>,
    /// What no row says.
    pub notes: Vec<Note>,
}

impl Plan {
    /// Leaves one part of it.
    #[must_use]
    pub fn only(mut self, section: Section) -> Self {
        if section != Section::Firewall {
            self.firewall.clear();
            self.nat.clear();
        }
        if section != Section::Dns {
            self.dns.clear();
        }
        if section != Section::Certificates {
            self.certificates.clear();
        }
        if section != Section::Balancer {
            self.balancer.clear();
        }
        self.notes.retain(|note| note.section == section);
        self
    }

    /// Leaves one side of firewall, records and balancer.
    #[must_use]
    pub fn side(mut self, side: Side) -> Self {
        self.firewall.retain(|row| row.side == side);
        self.dns.retain(|row| row.side == side);
        self.balancer.retain(|row| row.side == side);
        if side == Side::Internal {
            self.nat.clear();
        }
        self
    }
}
