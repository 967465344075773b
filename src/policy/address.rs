//! Where a connection may go, however the address was learned (DESIGN 7.9).
//!
//! A name server, a Contact or an XOR-PEER-ADDRESS may name any address; without this rule the
//! edge would connect for outsiders to the inside, to itself, or to its management.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The parts of the rule that an operator states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRule {
    /// Exceptions: what lies here is permitted whatever else is said of it.
    pub allow_networks: Vec<IpNet>,
    /// Addresses that the edge listens on.
    pub own: Vec<IpAddr>,
    /// Networks of its management.
    pub management: Vec<IpNet>,
}

/// Why an address may not be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressRefusal {
    /// Private, loopback, link-local, multicast, documentation, reserved (the IANA registries).
    NotGloballyRoutable(IpAddr),
    /// The edge's own listener.
    OwnListener(IpAddr),
    /// Inside a management network.
    Management(IpAddr),
}

impl fmt::Display for AddressRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGloballyRoutable(ip) => write!(f, "{ip} is not globally routable"),
            Self::OwnListener(ip) => write!(f, "{ip} is an address of this edge"),
            Self::Management(ip) => write!(f, "{ip} is in a management network"),
        }
    }
}

/// Returns `ip` in the form to connect to: an IPv4-mapped address as the IPv4 address it is.
///
/// `partner`: the partner's own exceptions. An address that carries an IPv4 address for a
/// translator or tunnel (NAT64, 6to4) is judged by what it carries as well as by itself.
///
/// # Errors
/// [`AddressRefusal`], about the address that was found wanting.
/// Source: RFC 6890 with the IANA special-purpose registries; RFC 6052, RFC 3056, RFC 4291.
pub fn permitted(
    rule: &AddressRule,
    partner: &[IpNet],
    ip: IpAddr,
) -> Result<IpAddr, AddressRefusal> {
    let ip = ip.to_canonical();
    let carried = carried(ip);
    judge(rule, partner, carried)?;
    if carried != ip {
        judge_claims(rule, partner, ip)?;
    }
    Ok(ip)
}

fn judge(rule: &AddressRule, partner: &[IpNet], ip: IpAddr) -> Result<(), AddressRefusal> {
    judge_claims(rule, partner, ip)?;
    if globally_routable(ip) || excepted(rule, partner, ip) {
        return Ok(());
    }
    Err(AddressRefusal::NotGloballyRoutable(ip))
}

/// Refuses what this edge itself has a claim on.
fn judge_claims(rule: &AddressRule, partner: &[IpNet], ip: IpAddr) -> Result<(), AddressRefusal> {
    if excepted(rule, partner, ip) {
        return Ok(());
    }
    if rule.own.iter().any(|own| own.to_canonical() == ip) {
        return Err(AddressRefusal::OwnListener(ip));
    }
    if rule.management.iter().any(|network| network.contains(&ip)) {
        return Err(AddressRefusal::Management(ip));
    }
    Ok(())
}

fn excepted(rule: &AddressRule, partner: &[IpNet], ip: IpAddr) -> bool {
    partner.iter().chain(&rule.allow_networks).any(|network| network.contains(&ip))
}

/// Returns the IPv4 address that a canonical address carries for a translator, else itself.
pub(crate) fn carried(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    match v6.segments() {
        // The well-known NAT64 prefix (RFC 6052 section 2.1).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => IpAddr::V4(joined(high, low)),
        // 6to4 (RFC 3056 section 2).
        [0x2002, high, low, ..] => IpAddr::V4(joined(high, low)),
        _ => ip,
    }
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

fn globally_routable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4_globally_routable(v4),
        IpAddr::V6(v6) => v6_globally_routable(v6),
    }
}

/// The IANA IPv4 special-purpose registry, each block that is not globally reachable.
fn v4_globally_routable(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = match a {
        0 | 10 | 127 => true,
        // Carrier-grade NAT (RFC 6598).
        100 => b & 0xc0 == 64,
        169 => b == 254,
        172 => b & 0xf0 == 16,
        // 192.0.0.0/24 IETF, 192.0.2.0/24 documentation, 192.88.99.0/24 the former 6to4 relays.
        192 => matches!((b, c), (0, 0 | 2) | (88, 99) | (168, _)),
        // 198.18.0.0/15 benchmarking, 198.51.100.0/24 documentation.
        198 => b & 0xfe == 18 || (b, c) == (51, 100),
        203 => (b, c) == (0, 113),
        // Multicast and reserved, the broadcast address among them.
        224..=255 => true,
        _ => false,
    };
    !special
}

/// The IANA IPv6 registries: global unicast is 2000::/3 without its special blocks.
fn v6_globally_routable(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    let global_unicast = a & 0xe000 == 0x2000;
    let special = match a {
        // 2001::/23 IETF protocols (Teredo, ORCHID, benchmarking), 2001:db8::/32 documentation.
        0x2001 => b < 0x200 || b == 0xdb8,
        // 6to4 is judged by the address it carries, never by itself.
        0x2002 => true,
        // Documentation (RFC 9637).
        0x3fff => b < 0x1000,
        _ => false,
    };
    global_unicast && !special
}

#[cfg(test)]
mod tests;
