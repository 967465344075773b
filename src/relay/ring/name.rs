//! Socket addresses as the kernel writes and reads them.
//!
//! ```text
//! AF_INET   family 2 | port 2 | address 4 | (zeros)
//! AF_INET6  family 2 | port 2 | flow 4 | address 16 | scope 4
//! ```

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Bytes of the longer form.
pub(super) const NAME_BYTES: usize = 28;
/// Bytes of the IPv4 form, padding included.
const V4_BYTES: usize = 16;

/// An address in the kernel's form.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Name([u8; NAME_BYTES]);

impl Name {
    pub(super) const EMPTY: Self = Self([0; NAME_BYTES]);

    /// Returns the name at the start of `bytes`, which are as many at least.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut name = Self::EMPTY;
        name.0.copy_from_slice(&bytes[..NAME_BYTES]);
        name
    }

    /// Writes `address`, and returns how many bytes of it count.
    pub(super) fn write(&mut self, address: SocketAddr) -> u32 {
        let bytes = &mut self.0;
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                bytes[8..V4_BYTES].fill(0);
                V4_BYTES as u32
            }
            SocketAddr::V6(v6) => {
                bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                bytes[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..].copy_from_slice(&v6.scope_id().to_ne_bytes());
                NAME_BYTES as u32
            }
        }
    }

    /// Reads the address; `None` for a family that no socket of ours has.
    pub(super) fn read(&self) -> Option<SocketAddr> {
        let bytes = &self.0;
        let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let port = u16::from_be_bytes([bytes[2], bytes[3]]);
        match libc::c_int::from(u16::from_ne_bytes([bytes[0], bytes[1]])) {
            libc::AF_INET => {
                let ip = Ipv4Addr::from(word(4));
                Some(SocketAddr::V4(SocketAddrV4::new(ip, port)))
            }
            libc::AF_INET6 => {
                let mut ip = [0; 16];
                ip.copy_from_slice(&bytes[8..24]);
                // Not the flow label: it is for routers, and no part of who a peer is.
                let scope = u32::from_ne_bytes(word(24));
                Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in ["192.0.2.1:3478", "[2001:db8::1]:50000", "0.0.0.0:0", "[fe80::1%3]:9"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut name = Name([0xff; NAME_BYTES]);
            name.write(address);
            assert_eq!(name.read(), Some(address), "{text}");
        }
        assert_eq!(Name::EMPTY.read(), None);
    }

    #[test]
    fn the_form_is_the_one_that_other_programs_use() {
        for text in ["192.0.2.1:3478", "[2001:db8::1]:50000"] {
            let address: SocketAddr = text.parse().unwrap();
            let theirs = socket2::SockAddr::from(address);
            let mut ours = Name::EMPTY;
            let length = ours.write(address);
            assert_eq!(length, theirs.len());
            assert_eq!(theirs.as_socket(), ours.read());
        }
    }
}
