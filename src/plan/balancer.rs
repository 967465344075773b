//! What a load balancer may and must do.

use std::net::IpAddr;

use super::{Allowed, BalancerRow, Deployment, Doors, Planned, Role, Topology, Transport};
use crate::edge::Side;

/// Idle time that the guide states for web services, and that longer flows may count on.
const WEB_IDLE_S: u64 = 1_800;

const CONNECTION: &str = "none: each connection by itself";
const BY_SOURCE: &str = "source address";

/// Returns the rules: none for an edge alone, those of web services wherever they are planned,
/// because clients do not follow DNS load balancing there.
pub(super) fn rows(d: &Deployment) -> Vec<BalancerRow> {
    let mut rows = Vec::new();
    if d.topology == Topology::PoolHlb {
        rows.extend(access(d));
        rows.extend(media(d));
        rows.extend(one_by_one(d));
    }
    if d.has(Planned::Web) {
        rows.extend(web());
    }
    for row in &mut rows {
        row.served = d.serves(row.role);
        row.why = d.why(row.role, std::mem::take(&mut row.why));
    }
    rows
}

/// Starts a row for a service whose connections may be balanced as the balancer likes.
fn tcp(side: Side, role: Role, port: u16, addresses: &[IpAddr], why: &str) -> BalancerRow {
    BalancerRow {
        side,
        role,
        served: true,
        transport: Transport::Tcp,
        port,
        node_port: port,
        balancing: Allowed::Yes,
        addresses: addresses.to_vec(),
        affinity: CONNECTION,
        snat: Allowed::Yes,
        idle_timeout_s: None,
        health: String::new(),
        why: why.to_owned(),
    }
}

/// Returns how a balancer asks an edge: over the management address if there is one it can reach.
fn health(d: &Deployment, role: Role, port: u16) -> String {
    match d.management.first() {
        _ if !d.serves(role) => format!("a connection to {port} opens"),
        Some(address) => format!("GET http://<edge>:{}/readyz is 200", address.port()),
        None => format!("a connection to {port} opens; better /readyz, see management.listen"),
    }
}

fn access(d: &Deployment) -> Vec<BalancerRow> {
    let mut rows = Vec::new();
    // The edge closes idle connections by itself; a balancer that is faster loses messages.
    let idle = Some(d.idle_timeout_s + 60);
    let mut add = |side, role, port: Option<u16>, addresses: &[IpAddr], why: &str| {
        let Some(port) = port else { return };
        let row = tcp(side, role, port, addresses, why);
        let health = health(d, role, port);
        rows.push(BalancerRow { idle_timeout_s: idle, health, ..row });
    };
    let vip = &d.vips.access;
    let partners = "partners; the real source comes by a PROXY header where the balancer puts its \
                    own address in (proxy_protocol_from)";
    add(Side::External, Role::Access, d.federation_port, vip, partners);
    let users = "own users outside: each flow belongs to one edge, which its Path names";
    add(Side::External, Role::Access, d.remote_user_port, vip, users);
    let inside = "servers inside; dialogs continue at any edge of the pool";
    add(Side::Internal, Role::Access, d.internal_port, &d.vips.internal, inside);
    if d.has(Planned::Xmpp) {
        add(Side::External, Role::Xmpp, Some(d.xmpp.port), vip, "XMPP streams");
        let why = "XMPP streams that begin with TLS";
        add(Side::External, Role::Xmpp, d.xmpp.direct_port, vip, why);
    }
    if d.has(Planned::Conferencing) {
        let why = "content of meetings from outside";
        add(Side::External, Role::Conferencing, Some(443), &d.vips.conferencing, why);
    }
    rows
}

/// Returns the rows of the A/V Edge, where the balancer must stay out of the way.
fn media(d: &Deployment) -> Vec<BalancerRow> {
    if !d.has(Planned::Av) {
        return Vec::new();
    }
    let direct = "only the first packet comes here: the answer names the edge, and media goes to \
                  it directly; its source must stay for the choice of a path; Nagle off";
    let stun = |side, doors: &Doors, addresses| {
        let mut rows = Vec::new();
        // What asks whether the edge is alive needs an answer, which datagrams do not give.
        let asked = doors.tcp.first().or(doors.udp.first()).copied().unwrap_or_default();
        let udp = doors.udp.iter().map(|port| (Transport::Udp, *port));
        for (transport, port) in udp.chain(doors.tcp.iter().map(|port| (Transport::Tcp, *port))) {
            let row = tcp(side, Role::Av, port, addresses, direct);
            rows.push(BalancerRow {
                transport,
                affinity: if transport == Transport::Udp { BY_SOURCE } else { CONNECTION },
                snat: Allowed::No,
                idle_timeout_s: (transport == Transport::Tcp).then_some(WEB_IDLE_S),
                health: health(d, Role::Av, asked),
                ..row
            });
        }
        rows
    };
    let mut rows = stun(Side::External, &d.av.external, &d.vips.av);
    rows.extend(stun(Side::Internal, &d.av.internal, &d.vips.internal));
    if let Some(port) = d.av.credentials {
        let why = "relay credentials for users inside; any edge of the pool gives them";
        let row = tcp(Side::Internal, Role::Av, port, &d.vips.internal, why);
        let health = health(d, Role::Av, port);
        rows.push(BalancerRow { idle_timeout_s: Some(WEB_IDLE_S), health, ..row });
    }
    rows
}

/// Returns the services that must reach each edge by itself.
fn one_by_one(d: &Deployment) -> Vec<BalancerRow> {
    let mut rows = Vec::new();
    let mut add = |planned, role, port, why: &str| {
        if !d.has(planned) {
            return;
        }
        let row = tcp(Side::Internal, role, port, &[], why);
        rows.push(BalancerRow {
            balancing: Allowed::No,
            affinity: "each edge is connected to",
            snat: Allowed::No,
            health: "none".to_owned(),
            ..row
        });
    };
    let why = "a stream may leave through any edge, so the gateway keeps one to each";
    add(Planned::Xmpp, Role::Xmpp, d.xmpp.link_port, why);
    let why = "each conferencing server inside keeps a connection to each edge";
    add(Planned::Conferencing, Role::Conferencing, 8057, why);
    let why = "each edge has a configuration of its own to receive";
    add(Planned::CentralManagement, Role::CentralManagement, 4443, why);
    rows
}

/// Returns the rows of the web services of a pool of Front Ends.
fn web() -> Vec<BalancerRow> {
    let row = |side, port, node_port, affinity, why: &str| BalancerRow {
        node_port,
        affinity,
        idle_timeout_s: Some(WEB_IDLE_S),
        health: "a connection to 5061 of the Front End opens".to_owned(),
        ..tcp(side, Role::Web, port, &[], why)
    };
    let outside = "from the reverse proxy; the Host header stays as it was; every request within \
                   a connection is balanced by itself";
    vec![
        row(Side::Internal, 443, 443, BY_SOURCE, "clients inside"),
        row(Side::Internal, 80, 80, BY_SOURCE, "clients inside, first steps without TLS"),
        row(Side::External, 443, 4443, "none", outside),
        row(Side::External, 80, 8080, "none", outside),
    ]
}
