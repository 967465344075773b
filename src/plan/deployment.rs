//! What the configuration says of a deployment, in the words of the plan.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde::Serialize;

use crate::dns::Domain;
use crate::edge::{Class, Side};
use crate::policy::XmppServed;

use super::Role;

/// How peers find a living edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Topology {
    /// One edge.
    Single,
    /// Several edges whose addresses stand under one name; whoever connects tries the next one.
    PoolDns,
    /// Several edges behind virtual addresses of a hardware load balancer.
    PoolHlb,
}

/// A role beside the SIP Access Edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Planned {
    /// A/V Edge: media relay, with its authentication service.
    Av,
    /// Web Conferencing Edge.
    Conferencing,
    /// XMPP proxy on the edge, XMPP gateway inside.
    Xmpp,
    /// Reverse proxy for web services.
    Web,
    /// Clearing house for mobile push.
    Push,
    /// Public IM providers.
    PublicIm,
    /// Replication and logging of a Lync deployment that manages the edge.
    CentralManagement,
}

/// What a partner runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Version {
    /// Office Communications Server 2007.
    Ocs2007,
    /// Office Communications Server 2007 R2.
    Ocs2007R2,
    /// Lync Server 2010.
    Lync2010,
    /// Lync Server 2013 and its successors.
    Lync2013,
    /// Windows Live Messenger.
    Messenger,
    /// Another product that follows RFC 8445 and RFC 8656.
    Other,
}

impl Version {
    /// Returns the product as people call it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ocs2007 => "OCS 2007",
            Self::Ocs2007R2 => "OCS 2007 R2",
            Self::Lync2010 => "Lync 2010",
            Self::Lync2013 => "Lync 2013",
            Self::Messenger => "Messenger",
            Self::Other => "others",
        }
    }

    /// Returns whether it tries the next address of a name when one is dead.
    #[must_use]
    pub const fn follows_dns_balancing(self) -> bool {
        matches!(self, Self::Lync2010 | Self::Lync2013 | Self::Other)
    }
}

/// Addresses of one role on one edge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// As the edge has them.
    pub bound: Vec<IpAddr>,
    /// As the Internet sees them; the same where nothing translates.
    pub public: Vec<IpAddr>,
}

/// One edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its own FQDN.
    pub name: Domain,
    /// Access Edge.
    pub access: Addresses,
    /// Web Conferencing Edge.
    pub conferencing: Addresses,
    /// A/V Edge.
    pub av: Addresses,
    /// What its clients are given ports of; empty: the same addresses.
    pub relayed: Addresses,
    /// The ports of these; empty: those of [`Av::relayed`].
    pub relayed_ports: Vec<RangeInclusive<u16>>,
    /// Internal side.
    pub internal: Vec<IpAddr>,
}

/// Virtual addresses at the hardware balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vips {
    /// Access Edge, and the XMPP proxy with it.
    pub access: Vec<IpAddr>,
    /// Web Conferencing Edge.
    pub conferencing: Vec<IpAddr>,
    /// A/V Edge.
    pub av: Vec<IpAddr>,
    /// Internal side.
    pub internal: Vec<IpAddr>,
}

/// A certificate of the configuration, and where it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What the configuration calls it.
    pub name: String,
    /// Classes of the listeners that show it, each once.
    pub classes: Vec<Class>,
    /// Whether the XMPP gateway shows it too.
    pub gateway: Shows,
    /// Sides of the A/V Edge whose streams show it, each once.
    pub media: Vec<Side>,
}

/// Whether the XMPP gateway shows a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shows {
    /// Only listeners do.
    #[default]
    ToNobody,
    /// To the edges and servers it speaks with.
    ToGatewaysPeers,
}

/// A server inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inner {
    /// Its FQDN.
    pub name: Domain,
    /// Its port.
    pub port: u16,
    /// Its addresses; empty when DNS says.
    pub addresses: Vec<IpAddr>,
}

/// Ports and peers of XMPP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xmpp {
    /// What of it this process runs; nothing: it is planned beside.
    pub served: XmppServed,
    /// Where partners open streams.
    pub port: u16,
    /// Where partners open streams that begin with TLS; `None`: nobody listens there.
    pub direct_port: Option<u16>,
    /// Where gateways connect to the proxy.
    pub link_port: u16,
    /// Ports at which partners are connected to, lowest first.
    pub partner_ports: Vec<u16>,
    /// Where the gateway of this process takes SIP; empty: it runs elsewhere.
    pub gateway_ports: Vec<u16>,
    /// Edges that the gateway of this process connects to.
    pub edges: Vec<Inner>,
    /// The gateways that this process sends own users' requests to.
    pub gateways: Vec<Inner>,
    /// The other gateways, where the one of this process is one of several.
    pub others: Vec<Inner>,
}

impl Default for Xmpp {
    fn default() -> Self {
        Self {
            served: XmppServed::Nothing,
            port: 5269,
            direct_port: None,
            link_port: 23_456,
            partner_ports: vec![5269],
            gateway_ports: Vec::new(),
            edges: Vec::new(),
            gateways: Vec::new(),
            others: Vec::new(),
        }
    }
}

/// Where clients of the A/V Edge come in on one side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doors {
    /// Ports of datagrams, lowest first.
    pub udp: Vec<u16>,
    /// Ports of streams.
    pub tcp: Vec<u16>,
}

/// Ports of the A/V Edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Av {
    /// Whether this process runs it, or it is planned beside.
    pub runs: Runs,
    /// Towards the Internet.
    pub external: Doors,
    /// Towards the organisation.
    pub internal: Doors,
    /// Ports that clients are given, in ranges, lowest first.
    pub relayed: Vec<RangeInclusive<u16>>,
    /// Whether such ports are given for TCP as well (RFC 6062).
    pub relays_tcp: bool,
    /// Where servers inside fetch credentials; `None`: nowhere.
    pub credentials: Option<u16>,
    /// The name that users inside are told.
    pub internal_fqdn: Option<String>,
}

/// Whether this process runs a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// It does.
    Here,
    /// Something else does, or will.
    Elsewhere,
}

impl Default for Av {
    /// What the guide has.
    fn default() -> Self {
        let doors = Doors { udp: vec![3478], tcp: vec![443] };
        Self {
            runs: Runs::Elsewhere,
            external: doors.clone(),
            internal: doors,
            relayed: vec![50_000..=59_999],
            relays_tcp: false,
            credentials: Some(5062),
            internal_fqdn: None,
        }
    }
}

/// What the configuration says of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// How peers find a living edge.
    pub topology: Topology,
    /// Roles beside the Access Edge.
    pub roles: Vec<Planned>,
    /// What partners run.
    pub versions: Vec<Version>,
    /// FQDN of the Access Edge.
    pub external_fqdn: Domain,
    /// FQDN of the pool inside.
    pub internal_fqdn: Domain,
    /// Own SIP domains, at least one.
    pub domains: Vec<Domain>,
    /// FQDN of the Web Conferencing Edge.
    pub conferencing_fqdn: String,
    /// FQDN of the A/V Edge.
    pub av_fqdn: String,
    /// Ports of the A/V Edge.
    pub av: Av,
    /// Target of the XMPP records.
    pub xmpp_fqdn: String,
    /// Own domains with XMPP users.
    pub xmpp_domains: Vec<Domain>,
    /// Ports and peers of XMPP.
    pub xmpp: Xmpp,
    /// FQDN of the external web services.
    pub web_fqdn: String,
    /// What the reverse proxy publishes beside meet, dialin and lyncdiscover.
    pub web_names: Vec<Domain>,
    /// Addresses of the reverse proxy.
    pub web_addresses: Vec<IpAddr>,
    /// The edges, at least one.
    pub nodes: Vec<Node>,
    /// Virtual addresses.
    pub vips: Vips,
    /// Port for partners; `None` where federation is off or has no listener.
    pub federation_port: Option<u16>,
    /// Ports at which partners are connected to.
    pub partner_ports: Vec<u16>,
    /// Port for own users outside; `None` where they are off or have no listener.
    pub remote_user_port: Option<u16>,
    /// Port for inner servers; `None` without a listener.
    pub internal_port: Option<u16>,
    /// Certificates of the configuration.
    pub identities: Vec<Identity>,
    /// Servers inside.
    pub next_hops: Vec<Inner>,
    /// Name servers; empty: whatever the system asks.
    pub name_servers: Vec<SocketAddr>,
    /// Where metrics and health are asked, loopback left out.
    pub management: Vec<SocketAddr>,
    /// Networks that may ask, loopback left out.
    pub management_allow: Vec<IpNet>,
    /// Whether revocation lists are fetched.
    pub fetches_lists: bool,
    /// Whether the external certificate must be for clients too.
    pub client_eku: bool,
    /// How long an idle connection is kept.
    pub idle_timeout_s: u64,
}

impl Deployment {
    /// Returns whether `role` is planned.
    #[must_use]
    pub fn has(&self, role: Planned) -> bool {
        self.roles.contains(&role)
    }

    /// Returns whether any partner runs one of `versions`.
    #[must_use]
    pub fn meets(&self, versions: &[Version]) -> bool {
        self.versions.iter().any(|version| versions.contains(version))
    }

    /// Returns the name under which `domain`'s servers are published: directly below it, as strict
    /// peers and clients demand (a target elsewhere ends in ms-diagnostics 1009).
    #[must_use]
    pub fn access_name(&self, domain: &Domain) -> String {
        let below = self.external_fqdn.as_str().split_once('.').map(|(_, above)| above);
        if below == Some(domain.as_str()) {
            self.external_fqdn.to_string()
        } else {
            format!("sip.{domain}")
        }
    }

    /// Returns whether an address is translated on its way to an edge.
    #[must_use]
    pub fn translates(&self) -> bool {
        let services =
            self.nodes.iter().flat_map(|n| [&n.access, &n.conferencing, &n.av, &n.relayed]);
        services.into_iter().any(|addresses| addresses.bound != addresses.public)
    }

    /// Returns whether this process runs the A/V Edge and nothing else.
    pub(super) fn relay_alone(&self) -> bool {
        let sip = [self.federation_port, self.remote_user_port, self.internal_port];
        let signals = sip.iter().any(Option::is_some)
            || self.av.credentials.is_some()
            || self.xmpp.served != XmppServed::Nothing
            || !self.xmpp.edges.is_empty();
        self.serves(Role::Av) && !signals
    }

    /// Returns whether this process runs a role.
    pub(super) fn serves(&self, role: Role) -> bool {
        match role {
            Role::Access | Role::Management => true,
            Role::Xmpp => self.xmpp.served == XmppServed::Proxy,
            Role::XmppGateway => !self.xmpp.edges.is_empty(),
            Role::Av => self.av.runs == Runs::Here,
            Role::Conferencing | Role::Web | Role::CentralManagement => false,
        }
    }

    /// Returns `why`, with what must be said of a role that this process does not run.
    pub(super) fn why(&self, role: Role, why: impl Into<String>) -> String {
        let why = why.into();
        if self.serves(role) { why } else { format!("{why}; planned, not served by this process") }
    }

    pub(super) fn pool(&self) -> bool {
        self.topology != Topology::Single
    }
}
