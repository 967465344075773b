//! Addresses of peers as an allocation keeps them.
//!
//! The language's own take 17 and 32 bytes, of which IPv4 uses four and six. Here every address has
//! the form of IPv6, IPv4 the mapped one: 16 and 18 bytes, compared without asking for the kind.
//! The core knows peers by their canonical addresses alone, so that nothing is lost on the way.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A peer's IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PeerIp([u8; 16]);

/// A peer's IP address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    pub(super) ip: PeerIp,
    pub(super) port: u16,
}

impl From<IpAddr> for PeerIp {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self(ip.to_ipv6_mapped().octets()),
            IpAddr::V6(ip) => Self(ip.octets()),
        }
    }
}

impl From<PeerIp> for IpAddr {
    fn from(PeerIp(octets): PeerIp) -> Self {
        Ipv6Addr::from(octets).to_canonical()
    }
}

impl From<SocketAddr> for Peer {
    fn from(peer: SocketAddr) -> Self {
        Self { ip: peer.ip().into(), port: peer.port() }
    }
}

impl From<Peer> for SocketAddr {
    fn from(Peer { ip, port }: Peer) -> Self {
        Self::new(ip.into(), port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canonical_address_comes_back_as_it_was() {
        for text in ["192.0.2.1:7", "0.0.0.0:0", "[2001:db8::1]:65535", "[::]:1", "[::1]:9"] {
            let peer: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketAddr::from(Peer::from(peer)), peer);
            assert_eq!(IpAddr::from(PeerIp::from(peer.ip())), peer.ip());
        }
        assert_eq!(size_of::<Peer>(), 18);
    }
}
