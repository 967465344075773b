//! The rules of the external and the internal firewall.
//!
//! `guide` is the table, `ends` knows the addresses; here a rule of the table becomes rows of this
//! very deployment.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use super::{
    At, Deployment, Direction, Doors, Endpoint, FirewallRow, Place, Planned, PortOf, Role,
    Topology, Transport, Version,
};
use crate::edge::Side;

mod ends;
mod guide;

use ends::{by_port, edge_end, name_servers, nets, peer_end, relayed_end, relayed_ports, servers};
use guide::{INSIDE, Need, OUTSIDE, Ports, Spec, Where};

/// Versions that reach an edge of this organisation by STUN on UDP 3478.
const BY_STUN: &[Version] =
    &[Version::Ocs2007R2, Version::Lync2010, Version::Lync2013, Version::Messenger, Version::Other];

/// Returns every rule, external ones first, in the order of the guide.
pub(super) fn rows(d: &Deployment) -> Vec<FirewallRow> {
    let mut rows = Vec::new();
    for at in [At::Node, At::Vip] {
        for spec in OUTSIDE.iter().chain(INSIDE) {
            let somebody_there = spec.role != Role::Access || !d.relay_alone();
            if somebody_there && needed(d, spec.need) && stands(d, spec.place, at) {
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
        Need::OtherGateways => !d.xmpp.others.is_empty(),
        Need::GatewayHop => !d.xmpp.gateways.is_empty(),
        Need::Partners => av && !d.versions.is_empty(),
        Need::Stun => av && (d.meets(BY_STUN) || d.pool()),
        Need::Relayed => av && (d.serves(Role::Av) || d.meets(&[Version::Ocs2007])),
        Need::RelayedTcpOut if d.serves(Role::Av) => d.av.relays_tcp,
        Need::RelayedTcpIn if d.serves(Role::Av) => d.av.relays_tcp,
        Need::RelayedTcpOut => needed(d, Need::Partners),
        Need::RelayedTcpIn => needed(d, Need::Relayed),
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
                Ports::Relayed => relayed_end(d, &ports),
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
            Ports::NextHops => return by_port(&d.next_hops, Place::NextHops),
            Ports::Xmpp => vec![one(d.xmpp.port)],
            Ports::XmppDirect => d.xmpp.direct_port.map(one).into_iter().collect(),
            Ports::XmppPartners => d.xmpp.partner_ports.iter().copied().map(one).collect(),
            Ports::XmppLink => vec![one(d.xmpp.link_port)],
            Ports::Gateway => d.xmpp.gateway_ports.iter().copied().map(one).collect(),
            Ports::GatewayFromOthers => {
                let from = servers(&d.xmpp.others, Place::XmppGateways);
                let ports = d.xmpp.gateway_ports.iter().copied().map(one);
                return ports.map(|port| (self.side, from.clone(), port)).collect();
            }
            Ports::OtherGateways => return by_port(&d.xmpp.others, Place::XmppGateways),
            Ports::GatewayHop => return by_port(&d.xmpp.gateways, Place::XmppGateways),
            Ports::GatewayEdges => return by_port(&d.xmpp.edges, Place::XmppProxies),
            Ports::Relayed => relayed_ports(d),
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
        if self.ports == Ports::Relayed && d.serves(self.role) {
            // The relay here speaks to peers from the relayed port alone, whatever they run.
            why = match (self.transport, self.direction) {
                (Transport::Udp, Direction::Out) => {
                    "what clients send to their peers leaves from these ports"
                }
                (Transport::Udp, Direction::In) => {
                    "peers send to these ports; a firewall that knows flows may let in what \
                     answers what went out, and nothing else"
                }
                (Transport::Tcp, Direction::Out) => {
                    "clients' TCP connections to their peers leave from these ports (RFC 6062)"
                }
                (Transport::Tcp, Direction::In) => {
                    "peers that a client permits connect to these ports (RFC 6062); closed, \
                     clients still connect to their peers"
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
