//! The records to publish, in both views.

use std::net::IpAddr;

use super::{Deployment, DnsRow, Node, Planned, Record, Role, Topology};
use crate::dns::Domain;
use crate::edge::Side;

/// How long a record may be kept; a day's work moves a name.
const TTL_S: u32 = 3_600;
/// How long addresses of a pool without balancer may be kept: taking an edge out takes that long.
const POOL_TTL_S: u32 = 300;

struct Zone<'a> {
    d: &'a Deployment,
    rows: Vec<DnsRow>,
}

/// Returns every record set once, external ones first.
pub(super) fn rows(d: &Deployment) -> Vec<DnsRow> {
    let mut zone = Zone { d, rows: Vec::new() };
    for domain in &d.domains {
        zone.services(domain);
    }
    for domain in d.xmpp_domains.iter().filter(|_| d.has(Planned::Xmpp)) {
        let why = "XMPP servers of partners find the proxy; once per domain with XMPP users";
        let (name, port) = (format!("_xmpp-server._tcp.{domain}"), d.xmpp.port);
        zone.srv(Role::Xmpp, &name, port, &d.xmpp_fqdn, why);
        if let Some(port) = d.xmpp.direct_port {
            let why = "the same for servers that begin with TLS (XEP-0368)";
            let name = format!("_xmpps-server._tcp.{domain}");
            zone.srv(Role::Xmpp, &name, port, &d.xmpp_fqdn, why);
        }
    }
    zone.edges();
    zone.web();
    zone.inside();
    zone.rows
}

impl Zone<'_> {
    fn services(&mut self, domain: &Domain) {
        let d = self.d;
        let target = d.access_name(domain);
        if let Some(port) = d.federation_port {
            let mut why = "partners that list no name of this edge find it; the target stands \
                           directly below the domain, as strict partners demand"
                .to_owned();
            if d.has(Planned::Push) {
                why.push_str("; the clearing house of mobile push needs it for each domain");
            }
            if d.has(Planned::PublicIm) {
                why.push_str("; public IM providers need it too");
            }
            let name = format!("_sipfederationtls._tcp.{domain}");
            self.srv(Role::Access, &name, port, &target, &why);
        }
        if let Some(port) = d.remote_user_port {
            let why = "clients outside find where to sign in; the target's domain must be the \
                       user's own";
            self.srv(Role::Access, &format!("_sip._tls.{domain}"), port, &target, why);
        }
    }

    /// Adds the addresses of every role that the Internet reaches.
    fn edges(&mut self) {
        let d = self.d;
        let access = self.public(|node| &node.access.public, &d.vips.access);
        let why = "the Access Edge, under the name that its certificate carries";
        self.external(Role::Access, d.external_fqdn.as_str(), access.clone(), why);
        for domain in &d.domains {
            let why = "the same Access Edge, for peers that accept only names of this domain";
            self.external(Role::Access, &d.access_name(domain), access.clone(), why);
        }
        if d.has(Planned::Xmpp) {
            let why = "the target of the XMPP record: the proxy shares the Access Edge's address";
            self.external(Role::Xmpp, &d.xmpp_fqdn, access, why);
        }
        if d.has(Planned::Conferencing) {
            let addresses = self.public(|node| &node.conferencing.public, &d.vips.conferencing);
            let why = "invitations to meetings name it";
            self.external(Role::Conferencing, &d.conferencing_fqdn, addresses, why);
        }
        if d.has(Planned::Av) {
            let addresses = self.public(|node| &node.av.public, &d.vips.av);
            let why = match d.relay_alone() {
                true => "clients are told it, and it leads to the relay",
                false => "relay credentials name it",
            };
            self.external(Role::Av, &d.av_fqdn, addresses, why);
        }
        if d.serves(Role::Av) {
            self.relays();
        }
    }

    /// Adds what clients that are given no credentials service look for (RFC 5928, RFC 8489).
    fn relays(&mut self) {
        let d = self.d;
        let Some(domain) = d.domains.first() else { return };
        let doors = &d.av.external;
        let (udp, tcp) = (doors.udp.first(), doors.tcp.first());
        for (service, port) in [("_stun._udp", udp), ("_turn._udp", udp), ("_turn._tcp", tcp)] {
            let why = "clients that are told the domain alone find the relay";
            if let Some(port) = port {
                self.srv(Role::Av, &format!("{service}.{domain}"), *port, &d.av_fqdn, why);
            }
        }
    }

    fn web(&mut self) {
        let d = self.d;
        if !d.has(Planned::Web) {
            return;
        }
        let why = "address book, meeting content and join pages, published by the reverse proxy";
        self.external(Role::Web, &d.web_fqdn, d.web_addresses.clone(), why);
        for name in web_names(d) {
            let why = "published by the reverse proxy under a name of its own";
            self.external(Role::Web, &name, d.web_addresses.clone(), why);
        }
        for domain in &d.domains {
            let why = "clients look here before any SRV record; once per domain";
            let name = format!("lyncdiscover.{domain}");
            self.external(Role::Web, &name, d.web_addresses.clone(), why);
        }
    }

    fn inside(&mut self) {
        let d = self.d;
        let nodes: Vec<IpAddr> = d.nodes.iter().flat_map(|n| n.internal.clone()).collect();
        let behind = d.topology == Topology::PoolHlb;
        let addresses = if behind { d.vips.internal.clone() } else { nodes };
        let why = "servers inside send what is for partners here";
        self.add(Side::Internal, Role::Access, d.internal_fqdn.as_str(), addresses, why);
        if d.pool() {
            for node in &d.nodes {
                let why = "this edge alone: what must reach each edge, and its internal Via";
                let name = node.name.as_str();
                self.add(Side::Internal, Role::Access, name, node.internal.clone(), why);
            }
        }
        if let Some(name) = d.av.internal_fqdn.as_ref().filter(|_| d.has(Planned::Av)) {
            let nodes: Vec<IpAddr> = d.nodes.iter().flat_map(|n| n.internal.clone()).collect();
            let addresses = if behind { d.vips.internal.clone() } else { nodes };
            let why = "relay credentials name it to users inside";
            self.add(Side::Internal, Role::Av, name, addresses, why);
        }
        for edge in &d.xmpp.edges {
            let why = "the gateway connects to the proxy of this edge";
            let (name, addresses) = (edge.name.as_str(), edge.addresses.clone());
            self.add(Side::Internal, Role::XmppGateway, name, addresses, why);
        }
        let Some(hop) = d.next_hops.first().filter(|_| d.has(Planned::Web)) else { return };
        for domain in &d.domains {
            let why = "clients inside look here first; the web services of the pool answer";
            let name = format!("lyncdiscoverinternal.{domain}");
            let alias = Record::Alias(hop.name.to_string());
            self.push(Side::Internal, Role::Web, &name, alias, why);
        }
    }

    /// Returns what the Internet is told: the virtual address, or every edge's own.
    fn public(&self, of_node: fn(&Node) -> &Vec<IpAddr>, vip: &[IpAddr]) -> Vec<IpAddr> {
        if self.d.topology == Topology::PoolHlb {
            return vip.to_vec();
        }
        self.d.nodes.iter().flat_map(|node| of_node(node).iter().copied()).collect()
    }

    fn srv(&mut self, role: Role, name: &str, port: u16, target: &str, why: &str) {
        let record = Record::Srv { priority: 0, weight: 0, port, target: target.to_owned() };
        self.push(Side::External, role, name, record, why);
    }

    fn external(&mut self, role: Role, name: &str, addresses: Vec<IpAddr>, why: &str) {
        self.add(Side::External, role, name, addresses, why);
    }

    fn add(&mut self, side: Side, role: Role, name: &str, addresses: Vec<IpAddr>, why: &str) {
        self.push(side, role, name, Record::Addresses(addresses), why);
    }

    /// Adds a record set unless its name is there already: names of several roles may coincide.
    fn push(&mut self, side: Side, role: Role, name: &str, record: Record, why: &str) {
        let nobody_there = role == Role::Access && self.d.relay_alone();
        if nobody_there || self.rows.iter().any(|row| row.side == side && row.name == name) {
            return;
        }
        let pooled = self.d.topology == Topology::PoolDns
            && role != Role::Web
            && matches!(record, Record::Addresses(_));
        self.rows.push(DnsRow {
            side,
            role,
            served: self.d.serves(role),
            name: name.to_owned(),
            ttl_s: if pooled { POOL_TTL_S } else { TTL_S },
            record,
            why: self.d.why(role, why),
        });
    }
}

/// Returns what the reverse proxy publishes beside its own name and lyncdiscover.
pub(super) fn web_names(d: &Deployment) -> Vec<String> {
    let mut names: Vec<String> = d.web_names.iter().map(Domain::to_string).collect();
    names.extend(d.domains.first().map(|domain| format!("dialin.{domain}")));
    names.extend(d.domains.iter().map(|domain| format!("meet.{domain}")));
    let mut kept = Vec::with_capacity(names.len());
    for name in names {
        if name != d.web_fqdn && !kept.contains(&name) {
            kept.push(name);
        }
    }
    kept
}
