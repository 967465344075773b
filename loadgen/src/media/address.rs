//! Which address is whose.

use std::net::Ipv4Addr;

/// Networks of 256 addresses over which clients are spread, so that a relay which counts by the
/// source's network sees as many.
const NETWORKS: u32 = 4096;
/// Clients in each of them.
const CLIENTS_PER_NETWORK: u32 = 254;

/// Returns the address of peer `number`.
pub(super) fn peer_address(base: Ipv4Addr, number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(base).wrapping_add(1).wrapping_add(number))
}

/// Returns whose address this is.
pub(super) fn peer_number(base: Ipv4Addr, address: Ipv4Addr) -> Option<u32> {
    u32::from(address).checked_sub(u32::from(base))?.checked_sub(1)
}

/// Returns the address of client `number`.
pub(super) fn client_address(base: Ipv4Addr, number: u32) -> Ipv4Addr {
    let (round, place) = (number / NETWORKS, number % NETWORKS);
    let (block, host) = (round / CLIENTS_PER_NETWORK, 1 + round % CLIENTS_PER_NETWORK);
    let offset = (block * NETWORKS + place) << 8 | host;
    Ipv4Addr::from(u32::from(base).wrapping_add(offset))
}

/// Returns whose address this is.
pub(super) fn client_number(base: Ipv4Addr, address: Ipv4Addr) -> Option<u32> {
    let offset = u32::from(address).checked_sub(u32::from(base))?;
    let (network, host) = (offset >> 8, (offset & 0xFF).checked_sub(1)?);
    let (block, place) = (network / NETWORKS, network % NETWORKS);
    (host < CLIENTS_PER_NETWORK).then_some((block * CLIENTS_PER_NETWORK + host) * NETWORKS + place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_that_of_one_client() {
        let base = Ipv4Addr::new(127, 32, 0, 0);
        assert_eq!(client_address(base, 0), Ipv4Addr::new(127, 32, 0, 1));
        assert_eq!(client_address(base, 1), Ipv4Addr::new(127, 32, 1, 1));
        assert_eq!(client_address(base, 4096), Ipv4Addr::new(127, 32, 0, 2));
        for one in [0, 1, 255, 4095, 4096, 65_537, 1_040_383, 1_040_384, 5_000_000] {
            assert_eq!(client_number(base, client_address(base, one)), Some(one), "{one}");
            assert_eq!(peer_number(base, peer_address(base, one)), Some(one), "{one}");
        }
        for none in [base, Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 32, 0, 255)] {
            assert_eq!(client_number(base, none), None, "{none}");
        }
        assert_eq!(peer_number(base, base), None);
    }
}
