//! The rules of the external and the internal firewall, and what the external one translates.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::{
    Addresses, At, Deployment, Direction, Doors, Endpoint, FirewallRow, Inner, NatRow, Node, Place,
    Planned, PortOf, Role, Topology, Transport, Version,
};
use crate::edge::Side;

/// Versions that reach an edge of this organisation by STUN on UDP 3478.
const BY_STUN: &[Version] =
    &[Version::Ocs2007R2, Version::Lync2010, Version::Lync2013, Version::Messenger, Version::Other];

/// Which ports a rule is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ports {
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
enum Need {
    Always,
    /// Revocation lists are fetched.
    Lists,
    Federation,
    RemoteUsers,
    Inside,
    Role(Planned),
    /// The XMPP gateway runs in this process.
    Gateway,
    /// The edge sends own users' requests to an XMPP gateway elsewhere.
    GatewayHop,
    /// Media with partners at all.
    Partners,
    /// Media with partners, or between the edges of a pool, by STUN.
    Stun,
    /// Media with partners that run OCS 2007.
    Ocs2007,
    /// The same, and whatever a relay of this process sends and gets.
    Relayed,
}

/// Which addresses a rule is about, by topology.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    /// Each edge, behind a balancer too.
    Node,
    /// The virtual address where there is a balancer, else each edge.
    Balanced,
    /// Each edge, and the virtual address where there is a balancer.
    Both,
    /// The virtual address alone.
    VipOnly,
}

struct Spec {
    side: Side,
    place: Where,
    role: Role,
    protocol: &'static str,
    transport: Transport,
    ports: Ports,
    direction: Direction,
    edge: Place,
    peer: Place,
    need: Need,
    why: &'static str,
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
const OUTSIDE: &[Spec] = &[
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
        Need::Partners,
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
        Need::Ocs2007,
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
const INSIDE: &[Spec] = &[
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

/// Returns every rule, external ones first, in the order of the guide.
pub(super) fn rows(d: &Deployment) -> Vec<FirewallRow> {
    let mut rows = Vec::new();
    for at in [At::Node, At::Vip] {
        for spec in OUTSIDE.iter().chain(INSIDE) {
            if needed(d, spec.need) && stands(d, spec.place, at) {
                spec.rows(d, at, &mut rows);
            }
        }
    }
    management(d, &mut rows);
    rows.sort_by_key(|row| (row.side == Side::Internal, row.at == At::Vip));
    rows
}

fn needed(d: &Deployment, need: Need) -> bool {
    let av = d.has(Planned::Av);
    match need {
        Need::Always => true,
        Need::Lists => d.fetches_lists,
        Need::Federation => d.federation_port.is_some(),
        Need::RemoteUsers => d.remote_user_port.is_some(),
        Need::Inside => d.internal_port.is_some(),
        Need::Role(role) => d.has(role),
        Need::Gateway => !d.xmpp.edges.is_empty(),
        Need::GatewayHop => !d.xmpp.gateways.is_empty(),
        Need::Partners => av && !d.versions.is_empty(),
        Need::Stun => av && (d.meets(BY_STUN) || d.pool()),
        Need::Ocs2007 => av && d.meets(&[Version::Ocs2007]),
        Need::Relayed => av && (d.serves(Role::Av) || d.meets(&[Version::Ocs2007])),
    }
}

fn stands(d: &Deployment, place: Where, at: At) -> bool {
    let behind = d.topology == Topology::PoolHlb;
    match (at, place) {
        (At::Node, Where::Node | Where::Both) => true,
        (At::Node, Where::Balanced) => !behind,
        (At::Node, Where::VipOnly) | (At::Vip, Where::Node) => false,
        (At::Vip, Where::Balanced | Where::Both | Where::VipOnly) => behind,
    }
}

impl Spec {
    fn rows(&self, d: &Deployment, at: At, rows: &mut Vec<FirewallRow>) {
        for (side, peer, ports) in self.peers(d) {
            // Name servers inside are asked from the internal side.
            let inside = side != self.side;
            let edge = if inside { Place::InternalEdge } else { self.edge };
            let edge = match self.ports {
                Ports::Relayed => relayed_end(d),
                _ => edge_end(d, edge, at, self.direction),
            };
            let (source, destination) = match self.direction {
                Direction::In => (peer, edge),
                Direction::Out => (edge, peer),
            };
            // Media leaves from the range; only OCS 2007 is met at a port of the range.
            let from_range = self.ports == Ports::Relayed && self.direction == Direction::Out;
            rows.push(FirewallRow {
                side,
                at,
                role: self.role,
                served: d.serves(self.role),
                protocol: self.protocol,
                transport: self.transport,
                ports,
                port_of: if from_range { PortOf::Source } else { PortOf::Destination },
                direction: self.direction,
                source,
                destination,
                why: self.reason(d, at),
            });
        }
    }

    /// Returns who is at the other end, once for each port and side that differ.
    fn peers(&self, d: &Deployment) -> Vec<(Side, Endpoint, RangeInclusive<u16>)> {
        let one = |port: u16| port..=port;
        let peer = peer_end(d, self.peer);
        if self.peer == Place::NameServers && !d.name_servers.is_empty() {
            return name_servers(&d.name_servers);
        }
        let ports: Vec<RangeInclusive<u16>> = match self.ports {
            Ports::Fixed(first, last) => vec![first..=last],
            Ports::Federation => d.federation_port.map(one).into_iter().collect(),
            Ports::RemoteUsers => d.remote_user_port.map(one).into_iter().collect(),
            Ports::Internal => d.internal_port.map(one).into_iter().collect(),
            Ports::Partners => d.partner_ports.iter().copied().map(one).collect(),
            Ports::NextHops => return next_hops(d),
            Ports::Xmpp => vec![one(d.xmpp.port)],
            Ports::XmppDirect => d.xmpp.direct_port.map(one).into_iter().collect(),
            Ports::XmppPartners => d.xmpp.partner_ports.iter().copied().map(one).collect(),
            Ports::XmppLink => vec![one(d.xmpp.link_port)],
            Ports::Gateway => d.xmpp.gateway_ports.iter().copied().map(one).collect(),
            Ports::GatewayHop => return by_port(&d.xmpp.gateways, Place::XmppGateways),
            Ports::GatewayEdges => return by_port(&d.xmpp.edges, Place::XmppProxies),
            Ports::Relayed => d.av.relayed.clone(),
            Ports::TurnUdp => self.doors(d).udp.iter().copied().map(one).collect(),
            Ports::TurnTcp => self.doors(d).tcp.iter().copied().map(one).collect(),
            Ports::Credentials => d.av.credentials.map(one).into_iter().collect(),
        };
        ports.into_iter().map(|ports| (self.side, peer.clone(), ports)).collect()
    }

    const fn doors<'a>(&self, d: &'a Deployment) -> &'a Doors {
        match self.side {
            Side::External => &d.av.external,
            Side::Internal => &d.av.internal,
        }
    }

    fn reason(&self, d: &Deployment, at: At) -> String {
        let mut why = self.why.to_owned();
        if self.ports == Ports::Relayed && self.transport == Transport::Udp && d.serves(self.role) {
            // The relay here speaks to peers from the relayed port alone, whatever they run.
            why = match self.direction {
                Direction::Out => "what clients send to their peers leaves from these ports",
                Direction::In => {
                    "peers send to these ports; a firewall that knows flows may let \
                                  in what answers what went out, and nothing else"
                }
            }
            .to_owned();
        }
        if self.ports == Ports::Partners {
            if d.has(Planned::PublicIm) {
                why.push_str("; to public IM providers too");
            }
            if d.has(Planned::Push) {
                why.push_str("; to the clearing house of mobile push too");
            }
        }
        if self.ports == Ports::Federation && d.has(Planned::PublicIm) {
            why.push_str("; public IM providers too");
        }
        if at == At::Vip && self.direction == Direction::Out {
            why.push_str("; from the edge's own address where the balancer does not translate");
        }
        d.why(self.role, why)
    }
}

fn nets(addresses: impl IntoIterator<Item = IpAddr>) -> Vec<IpNet> {
    let mut nets: Vec<IpNet> = addresses.into_iter().map(IpNet::from).collect();
    nets.sort();
    nets.dedup();
    nets
}

/// Returns the addresses of a role: bound ones, because a firewall that translates filters what
/// it has translated.
fn edge_end(d: &Deployment, place: Place, at: At, direction: Direction) -> Endpoint {
    let (of_node, vip): (fn(&Node) -> &Vec<IpAddr>, _) = match place {
        Place::ConferencingEdge => (|node| &node.conferencing.bound, &d.vips.conferencing),
        Place::AvEdge => (|node| &node.av.bound, &d.vips.av),
        // A gateway in this process has the addresses of the inside too.
        Place::InternalEdge | Place::XmppGateways => (|node| &node.internal, &d.vips.internal),
        _ => (|node| &node.access.bound, &d.vips.access),
    };
    let nodes = d.nodes.iter().flat_map(|node| of_node(node).iter().copied());
    let addresses = match (at, direction) {
        (At::Node, _) => nets(nodes),
        (At::Vip, Direction::In) => nets(vip.iter().copied()),
        // Whether the balancer puts its own address in, the plan cannot know.
        (At::Vip, Direction::Out) => nets(vip.iter().copied().chain(nodes)),
    };
    Endpoint { place, addresses }
}

/// Returns the addresses that clients of the A/V Edge are given ports of.
fn relayed_end(d: &Deployment) -> Endpoint {
    let of_node = |node: &Node| match node.relayed.bound.as_slice() {
        [] => node.av.bound.clone(),
        relayed => relayed.to_vec(),
    };
    Endpoint { place: Place::AvEdge, addresses: nets(d.nodes.iter().flat_map(of_node)) }
}

fn peer_end(d: &Deployment, place: Place) -> Endpoint {
    let inner = matches!(
        place,
        Place::NextHops | Place::XmppGateways | Place::FrontEnds | Place::FrontEndsAndBranches
    );
    // One server whose addresses only DNS knows makes the list no bound.
    let known = inner && d.next_hops.iter().all(|hop| !hop.addresses.is_empty());
    let hops = d.next_hops.iter().filter(|_| known).flat_map(|hop| hop.addresses.iter().copied());
    let addresses = if place == Place::FrontEndsAndBranches { Vec::new() } else { nets(hops) };
    let place = if place == Place::NameServers { Place::Any } else { place };
    Endpoint { place, addresses }
}

/// Returns the servers inside by their port.
fn next_hops(d: &Deployment) -> Vec<(Side, Endpoint, RangeInclusive<u16>)> {
    by_port(&d.next_hops, Place::NextHops)
}

/// Returns servers inside by their port.
fn by_port(servers: &[Inner], place: Place) -> Vec<(Side, Endpoint, RangeInclusive<u16>)> {
    let mut ports: Vec<u16> = servers.iter().map(|hop| hop.port).collect();
    ports.sort_unstable();
    ports.dedup();
    let of_port = |port: u16| {
        let hops = servers.iter().filter(|hop| hop.port == port);
        let known = hops.clone().all(|hop| !hop.addresses.is_empty());
        let addresses = hops.filter(|_| known).flat_map(|hop| hop.addresses.iter().copied());
        let end = Endpoint { place, addresses: nets(addresses) };
        (Side::Internal, end, port..=port)
    };
    ports.into_iter().map(of_port).collect()
}

/// Returns the configured name servers by side and port.
fn name_servers(servers: &[SocketAddr]) -> Vec<(Side, Endpoint, RangeInclusive<u16>)> {
    let side = |address: IpAddr| {
        if private(address) { Side::Internal } else { Side::External }
    };
    let beyond: Vec<&SocketAddr> = servers.iter().filter(|s| !s.ip().is_loopback()).collect();
    let mut kinds: Vec<(bool, u16)> = Vec::new();
    for server in &beyond {
        let kind = (private(server.ip()), server.port());
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let of_kind = |(inside, port): (bool, u16)| {
        let same = beyond.iter().filter(|s| (private(s.ip()), s.port()) == (inside, port));
        let addresses = nets(same.clone().map(|server| server.ip()));
        let side = same.map(|server| side(server.ip())).next().unwrap_or(Side::External);
        (side, Endpoint { place: Place::NameServers, addresses }, port..=port)
    };
    kinds.into_iter().map(of_kind).collect()
}

/// Returns whether an address belongs to no public network (RFC 1918, RFC 4193).
const fn private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// Adds the way of metrics and health checks, which the guide does not have.
fn management(d: &Deployment, rows: &mut Vec<FirewallRow>) {
    let mut ports: Vec<u16> = d.management.iter().map(SocketAddr::port).collect();
    ports.sort_unstable();
    ports.dedup();
    for port in ports {
        let own = d.management.iter().filter(|address| address.port() == port).map(SocketAddr::ip);
        let own = nets(own.filter(|address| !address.is_unspecified()));
        let mut asking = d.management_allow.clone();
        asking.sort();
        asking.dedup();
        rows.push(FirewallRow {
            side: Side::Internal,
            at: At::Node,
            role: Role::Management,
            served: true,
            protocol: "HTTP",
            transport: Transport::Tcp,
            ports: port..=port,
            port_of: PortOf::Destination,
            direction: Direction::In,
            source: Endpoint { place: Place::ManagementNetworks, addresses: asking },
            destination: Endpoint { place: Place::ManagementAddresses, addresses: own },
            why: "metrics for Prometheus, /readyz for balancers".to_owned(),
        });
    }
}

/// Returns what the external firewall translates, one to one and both ways.
pub(super) fn translations(d: &Deployment) -> Vec<NatRow> {
    let mut rows = Vec::new();
    for node in &d.nodes {
        let of_role = |role, addresses: &Addresses| {
            let pairs = addresses.bound.iter().zip(&addresses.public);
            let pairs = pairs.filter(|(bound, public)| bound != public);
            let why = match role {
                Role::Av => {
                    "in: the destination alone is rewritten, the source must stay for the choice \
                     of a media path; out: the source becomes this public address and no other; \
                     edges of one pool reach each other at it"
                }
                _ => "one to one: in the destination, out the source, never a port",
            };
            let row = |(bound, public): (&IpAddr, &IpAddr)| NatRow {
                node: node.name.to_string(),
                role,
                public: *public,
                bound: *bound,
                why: d.why(role, why),
            };
            pairs.map(row).collect::<Vec<_>>()
        };
        rows.extend(of_role(Role::Access, &node.access));
        if d.has(Planned::Conferencing) {
            rows.extend(of_role(Role::Conferencing, &node.conferencing));
        }
        if d.has(Planned::Av) {
            rows.extend(of_role(Role::Av, &node.av));
            let relayed = of_role(Role::Av, &node.relayed);
            let relayed: Vec<NatRow> =
                relayed.into_iter().filter(|row| !rows.contains(row)).collect();
            rows.extend(relayed);
        }
    }
    rows
}
