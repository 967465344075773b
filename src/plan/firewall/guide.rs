//! The rules of both firewalls as the planning guide has them, each with when it is needed.

use crate::edge::Side;
use crate::plan::{Direction, Place, Planned, Role, Transport};

/// Which ports a rule is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ports {
    Fixed(u16, u16),
    Federation,
    Partners,
    RemoteUsers,
    Internal,
    NextHops,
    Xmpp,
    XmppDirect,
    XmppPartners,
    XmppLink,
    Gateway,
    GatewayHop,
    GatewayEdges,
    /// Where other gateways connect to this one.
    GatewayFromOthers,
    /// Where it connects to them.
    OtherGateways,
    /// Those that clients of the A/V Edge are given.
    Relayed,
    /// Where its clients come in by datagrams, on the side of the rule.
    TurnUdp,
    /// The same by streams.
    TurnTcp,
    /// Where servers inside fetch credentials.
    Credentials,
}

/// When a rule is needed.
#[derive(Clone, Copy)]
pub(super) enum Need {
    Always,
    /// Revocation lists are fetched.
    Lists,
    Federation,
    RemoteUsers,
    Inside,
    Role(Planned),
    /// The XMPP gateway runs in this process.
    Gateway,
    /// The same, one of several.
    OtherGateways,
    /// The edge sends own users' requests to an XMPP gateway elsewhere.
    GatewayHop,
    /// Media with partners at all.
    Partners,
    /// Media with partners, or between the edges of a pool, by STUN.
    Stun,
    /// Media with partners that run OCS 2007, and whatever a relay of this process sends and gets.
    Relayed,
    /// TCP from relayed ports: of a relay of this process where clients are given such, of another
    /// with every partner.
    RelayedTcpOut,
    /// TCP to relayed ports: the same, but of another with partners that run OCS 2007.
    RelayedTcpIn,
}

/// Which addresses a rule is about, by topology.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    /// Each edge, behind a balancer too.
    Node,
    /// The virtual address where there is a balancer, else each edge.
    Balanced,
    /// Each edge, and the virtual address where there is a balancer.
    Both,
    /// The virtual address alone.
    VipOnly,
}

pub(super) struct Spec {
    pub(super) side: Side,
    pub(super) place: Where,
    pub(super) role: Role,
    pub(super) protocol: &'static str,
    pub(super) transport: Transport,
    pub(super) ports: Ports,
    pub(super) direction: Direction,
    pub(super) edge: Place,
    pub(super) peer: Place,
    pub(super) need: Need,
    pub(super) why: &'static str,
}

/// Writes a rule in the order a reader asks: who, what, which port, which way, why.
const fn spec(
    (side, place, role): (Side, Where, Role),
    (protocol, transport, ports): (&'static str, Transport, Ports),
    (direction, edge, peer): (Direction, Place, Place),
    need: Need,
    why: &'static str,
) -> Spec {
    Spec { side, place, role, protocol, transport, ports, direction, edge, peer, need, why }
}

use Direction::{In, Out};
use Side::{External, Internal};
use Transport::{Tcp, Udp};

const SIP: &str = "SIP over mutual TLS";
const STUN: &str = "STUN, TURN";

/// The external firewall.
pub(super) const OUTSIDE: &[Spec] = &[
    spec(
        (External, Where::Balanced, Role::Xmpp),
        ("XMPP", Tcp, Ports::Xmpp),
        (In, Place::AccessEdge, Place::Any),
        Need::Role(Planned::Xmpp),
        "XMPP partners open streams to the proxy, which shares the Access Edge's address",
    ),
    spec(
        (External, Where::Balanced, Role::Xmpp),
        ("XMPP", Tcp, Ports::XmppDirect),
        (In, Place::AccessEdge, Place::Any),
        Need::Role(Planned::Xmpp),
        "XMPP partners open streams that begin with TLS (XEP-0368)",
    ),
    spec(
        (External, Where::Balanced, Role::Xmpp),
        ("XMPP", Tcp, Ports::XmppPartners),
        (Out, Place::AccessEdge, Place::Any),
        Need::Role(Planned::Xmpp),
        "the proxy opens a stream of its own for each direction and for dialback",
    ),
    spec(
        (External, Where::Node, Role::Access),
        ("HTTP", Tcp, Ports::Fixed(80, 80)),
        (Out, Place::AccessEdge, Place::Any),
        Need::Lists,
        "revocation lists of peers' certificates are fetched over HTTP, wherever their issuers \
         publish them",
    ),
    spec(
        (External, Where::Node, Role::Access),
        ("DNS", Tcp, Ports::Fixed(53, 53)),
        (Out, Place::AccessEdge, Place::NameServers),
        Need::Always,
        "answers that do not fit a datagram",
    ),
    spec(
        (External, Where::Node, Role::Access),
        ("DNS", Udp, Ports::Fixed(53, 53)),
        (Out, Place::AccessEdge, Place::NameServers),
        Need::Always,
        "SRV, A and AAAA of partners",
    ),
    spec(
        (External, Where::Balanced, Role::Access),
        ("SIP over TLS", Tcp, Ports::RemoteUsers),
        (In, Place::AccessEdge, Place::Any),
        Need::RemoteUsers,
        "own users outside sign in here",
    ),
    spec(
        (External, Where::Balanced, Role::Access),
        (SIP, Tcp, Ports::Federation),
        (In, Place::AccessEdge, Place::Any),
        Need::Federation,
        "partners connect here; who may is decided by certificate and policy, not by address",
    ),
    spec(
        (External, Where::Balanced, Role::Access),
        (SIP, Tcp, Ports::Partners),
        (Out, Place::AccessEdge, Place::Any),
        Need::Federation,
        "the edge connects to partners wherever DNS says they are",
    ),
    spec(
        (External, Where::Balanced, Role::Conferencing),
        ("PSOM over TLS", Tcp, Ports::Fixed(443, 443)),
        (In, Place::ConferencingEdge, Place::Any),
        Need::Role(Planned::Conferencing),
        "participants outside join the content of meetings",
    ),
    spec(
        (External, Where::Node, Role::Av),
        ("RTP", Tcp, Ports::Relayed),
        (Out, Place::AvEdge, Place::Any),
        Need::RelayedTcpOut,
        "media towards partners' relays leaves from this range, as the fallback to UDP and for \
         application sharing and file transfer",
    ),
    spec(
        (External, Where::Node, Role::Av),
        ("RTP", Udp, Ports::Relayed),
        (Out, Place::AvEdge, Place::Any),
        Need::Relayed,
        "only for partners with OCS 2007, which do not multiplex media on 3478",
    ),
    spec(
        (External, Where::Node, Role::Av),
        ("RTP", Tcp, Ports::Relayed),
        (In, Place::AvEdge, Place::Any),
        Need::RelayedTcpIn,
        "only for partners with OCS 2007, which connect to the relayed port itself",
    ),
    spec(
        (External, Where::Node, Role::Av),
        ("RTP", Udp, Ports::Relayed),
        (In, Place::AvEdge, Place::Any),
        Need::Relayed,
        "only for partners with OCS 2007, which send to the relayed port itself",
    ),
    spec(
        (External, Where::Node, Role::Av),
        (STUN, Udp, Ports::Fixed(3478, 3478)),
        (Out, Place::AvEdge, Place::Any),
        Need::Stun,
        "media between relays, and how the relay learns what the partner's one understands",
    ),
    spec(
        (External, Where::Both, Role::Av),
        (STUN, Udp, Ports::TurnUdp),
        (In, Place::AvEdge, Place::Any),
        Need::Role(Planned::Av),
        "users outside and partners' relays ask for candidates and send media",
    ),
    spec(
        (External, Where::Both, Role::Av),
        (STUN, Tcp, Ports::TurnTcp),
        (In, Place::AvEdge, Place::Any),
        Need::Role(Planned::Av),
        "the same where UDP is closed; connections of partners' relays come from 50000 to 59999",
    ),
    spec(
        (External, Where::Node, Role::Av),
        (STUN, Tcp, Ports::Fixed(443, 443)),
        (Out, Place::AvEdge, Place::Any),
        Need::Partners,
        "the relay connects to partners' relays where UDP is closed",
    ),
];

/// The internal firewall.
pub(super) const INSIDE: &[Spec] = &[
    spec(
        (Internal, Where::Node, Role::Xmpp),
        ("XMPP over mutual TLS", Tcp, Ports::XmppLink),
        (In, Place::InternalEdge, Place::XmppGateways),
        Need::Role(Planned::Xmpp),
        "the gateway inside connects to every edge by itself, never through a balancer",
    ),
    spec(
        (Internal, Where::Node, Role::XmppGateway),
        ("XMPP over mutual TLS", Tcp, Ports::GatewayEdges),
        (Out, Place::XmppGateways, Place::XmppProxies),
        Need::Gateway,
        "the gateway connects to the proxy of each edge",
    ),
    spec(
        (Internal, Where::Node, Role::XmppGateway),
        (SIP, Tcp, Ports::Gateway),
        (In, Place::XmppGateways, Place::NextHops),
        Need::Gateway,
        "what own users send to XMPP partners, from servers inside and from edges",
    ),
    spec(
        (Internal, Where::Node, Role::XmppGateway),
        (SIP, Tcp, Ports::NextHops),
        (Out, Place::XmppGateways, Place::NextHops),
        Need::Gateway,
        "what XMPP partners send to own users",
    ),
    spec(
        (Internal, Where::Node, Role::XmppGateway),
        (SIP, Tcp, Ports::GatewayFromOthers),
        (In, Place::XmppGateways, Place::XmppGateways),
        Need::OtherGateways,
        "other gateways hand over requests that reached them, and tell who may see whom",
    ),
    spec(
        (Internal, Where::Node, Role::XmppGateway),
        (SIP, Tcp, Ports::OtherGateways),
        (Out, Place::XmppGateways, Place::XmppGateways),
        Need::OtherGateways,
        "the same, to other gateways",
    ),
    spec(
        (Internal, Where::Node, Role::Access),
        (SIP, Tcp, Ports::GatewayHop),
        (Out, Place::InternalEdge, Place::XmppGateways),
        Need::GatewayHop,
        "requests of own users to XMPP partners that come by way of the edge",
    ),
    spec(
        (Internal, Where::Balanced, Role::Access),
        (SIP, Tcp, Ports::Internal),
        (In, Place::InternalEdge, Place::NextHops),
        Need::Inside,
        "requests of the organisation's users for partners",
    ),
    spec(
        (Internal, Where::Balanced, Role::Access),
        (SIP, Tcp, Ports::NextHops),
        (Out, Place::InternalEdge, Place::NextHops),
        Need::Always,
        "requests of partners and remote users for the organisation",
    ),
    spec(
        (Internal, Where::Node, Role::Conferencing),
        ("PSOM over mutual TLS", Tcp, Ports::Fixed(8057, 8057)),
        (In, Place::InternalEdge, Place::FrontEnds),
        Need::Role(Planned::Conferencing),
        "each conferencing server inside connects to each edge, never through a balancer",
    ),
    spec(
        (Internal, Where::Balanced, Role::Av),
        (SIP, Tcp, Ports::Credentials),
        (In, Place::InternalEdge, Place::FrontEndsAndBranches),
        Need::Role(Planned::Av),
        "servers inside fetch relay credentials for their users",
    ),
    spec(
        (Internal, Where::Both, Role::Av),
        (STUN, Udp, Ports::TurnUdp),
        (In, Place::InternalEdge, Place::Inside),
        Need::Role(Planned::Av),
        "media of users and servers inside, the preferred way",
    ),
    spec(
        (Internal, Where::Both, Role::Av),
        (STUN, Tcp, Ports::TurnTcp),
        (In, Place::InternalEdge, Place::Inside),
        Need::Role(Planned::Av),
        "the same where UDP is closed; file transfer and desktop sharing need it",
    ),
    spec(
        (Internal, Where::VipOnly, Role::Av),
        (STUN, Tcp, Ports::TurnTcp),
        (Out, Place::InternalEdge, Place::Inside),
        Need::Role(Planned::Av),
        "the guide lists the virtual address in both directions",
    ),
    spec(
        (Internal, Where::Node, Role::CentralManagement),
        ("HTTPS", Tcp, Ports::Fixed(4443, 4443)),
        (In, Place::InternalEdge, Place::CentralStore),
        Need::Role(Planned::CentralManagement),
        "replication pushes the configuration to each edge; this is not the 4443 of a reverse \
         proxy",
    ),
    spec(
        (Internal, Where::Node, Role::CentralManagement),
        ("logging control", Tcp, Ports::Fixed(50_001, 50_003)),
        (In, Place::InternalEdge, Place::Inside),
        Need::Role(Planned::CentralManagement),
        "the controller of the central logging service reaches the agent of each edge",
    ),
];
