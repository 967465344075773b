//! Who is at both ends of a rule: addresses of the edges, and of whoever is beyond them.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::edge::Side;
use crate::plan::{At, Deployment, Direction, Endpoint, Inner, Node, Place};

pub(super) fn nets(addresses: impl IntoIterator<Item = IpAddr>) -> Vec<IpNet> {
    let mut nets: Vec<IpNet> = addresses.into_iter().map(IpNet::from).collect();
    nets.sort();
    nets.dedup();
    nets
}

/// Returns the addresses of a role: bound ones, because a firewall that translates filters what
/// it has translated.
pub(super) fn edge_end(d: &Deployment, place: Place, at: At, direction: Direction) -> Endpoint {
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

/// Returns the ports that clients of an edge's relay are given.
fn ports_of<'a>(d: &'a Deployment, node: &'a Node) -> &'a [RangeInclusive<u16>] {
    match node.relayed_ports.as_slice() {
        [] => &d.av.relayed,
        ports => ports,
    }
}

/// Returns the ranges of relayed ports that any edge has, each once.
pub(super) fn relayed_ports(d: &Deployment) -> Vec<RangeInclusive<u16>> {
    let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
    for range in d.nodes.iter().flat_map(|node| ports_of(d, node)) {
        if !ranges.contains(range) {
            ranges.push(range.clone());
        }
    }
    ranges
}

/// Returns the addresses that clients of the A/V Edge are given these ports of.
pub(super) fn relayed_end(d: &Deployment, ports: &RangeInclusive<u16>) -> Endpoint {
    let of_node = |node: &Node| match node.relayed.bound.as_slice() {
        [] => node.av.bound.clone(),
        relayed => relayed.to_vec(),
    };
    let having = d.nodes.iter().filter(|node| ports_of(d, node).contains(ports));
    Endpoint { place: Place::AvEdge, addresses: nets(having.flat_map(of_node)) }
}

pub(super) fn peer_end(d: &Deployment, place: Place) -> Endpoint {
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

/// Returns servers inside by their port.
pub(super) fn by_port(
    servers: &[Inner],
    place: Place,
) -> Vec<(Side, Endpoint, RangeInclusive<u16>)> {
    let mut ports: Vec<u16> = servers.iter().map(|hop| hop.port).collect();
    ports.sort_unstable();
    ports.dedup();
    let of_port = |port: u16| {
        let hops = servers.iter().filter(|hop| hop.port == port);
        (Side::Internal, self::servers(hops, place), port..=port)
    };
    ports.into_iter().map(of_port).collect()
}

/// Returns servers inside by their addresses; by none if DNS has to say those of one.
pub(super) fn servers<'a>(
    servers: impl IntoIterator<Item = &'a Inner> + Clone,
    place: Place,
) -> Endpoint {
    let known = servers.clone().into_iter().all(|server| !server.addresses.is_empty());
    let servers = servers.into_iter().filter(|_| known);
    Endpoint { place, addresses: nets(servers.flat_map(|server| server.addresses.iter().copied())) }
}

/// Returns the configured name servers by side and port.
pub(super) fn name_servers(servers: &[SocketAddr]) -> Vec<(Side, Endpoint, RangeInclusive<u16>)> {
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
