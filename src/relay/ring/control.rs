//! Control messages: what the kernel says beside what comes, and is told beside what goes.
//!
//! ```text
//! control message:  length 8 | level 4 | kind 4 | number | zeros up to a multiple of 8
//!
//! comes:  size of each datagram of a train, 4 (where it is one)  | hops left, 4
//! goes:   mark, 4 (where it has one)   | hops left, 4   | size of each datagram, 2 (of a train)
//! ```

use std::net::SocketAddr;

use crate::relay::hops::Hops;

/// Bytes of a control message with one number.
pub(super) const CONTROL_BYTES: usize = 24;
/// Where its number is.
const NUMBER_AT: usize = 16;
/// Control messages that may come with a datagram or train.
const COME: usize = 2;
/// Their bytes.
pub(super) const COME_BYTES: usize = COME * CONTROL_BYTES;

const _: () = assert!(size_of::<libc::cmsghdr>() == NUMBER_AT);

/// A control message in the kernel's form, or room for one.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(in crate::relay) struct Control([u8; CONTROL_BYTES]);

impl Control {
    pub(super) const EMPTY: Self = Self([0; CONTROL_BYTES]);

    /// Says that what is sent is to be cut into datagrams of `segment` bytes.
    pub(super) fn cut(segment: u16) -> Self {
        Self::new(libc::SOL_UDP, libc::UDP_SEGMENT, segment.to_ne_bytes())
    }

    /// Says that what is sent to `to` is to be marked with a DSCP.
    pub(in crate::relay) fn mark(to: &SocketAddr, dscp: u8) -> Self {
        let (level, kind) = match to {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        };
        Self::new(level, kind, (libc::c_int::from(dscp) << 2).to_ne_bytes())
    }

    /// Says how many hops what is sent to `to` has left; at least one.
    pub(in crate::relay) fn hops(to: &SocketAddr, hops: u8) -> Self {
        let (level, kind) = match to {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TTL),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT),
        };
        Self::new(level, kind, libc::c_int::from(hops).to_ne_bytes())
    }

    fn new<const N: usize>(level: libc::c_int, kind: libc::c_int, number: [u8; N]) -> Self {
        let mut bytes = [0; CONTROL_BYTES];
        bytes[..8].copy_from_slice(&(NUMBER_AT + N).to_ne_bytes());
        bytes[8..12].copy_from_slice(&level.to_ne_bytes());
        bytes[12..NUMBER_AT].copy_from_slice(&kind.to_ne_bytes());
        bytes[NUMBER_AT..][..N].copy_from_slice(&number);
        Self(bytes)
    }

    /// Returns it as the kernel takes it.
    pub(in crate::relay) const fn bytes(&self) -> &[u8; CONTROL_BYTES] {
        &self.0
    }
}

/// Room for the control messages that come with a datagram or train.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Room([u8; COME_BYTES]);

impl Room {
    pub(super) const EMPTY: Self = Self([0; COME_BYTES]);

    /// Returns what the kernel wrote into it, of which `length` bytes count.
    pub(super) fn written(&self, length: usize) -> &[u8] {
        self.0.get(..length).unwrap_or_default()
    }
}

/// What the kernel said beside a datagram or train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// How long each datagram of a train is; `None` where it is none.
    pub(super) segment: Option<u16>,
    pub(super) hops: Hops,
}

impl Said {
    /// Reads control messages as the kernel writes them. Hot: once per datagram.
    pub(super) fn read(control: &[u8]) -> Self {
        let mut said = Self { segment: None, hops: Hops::Fresh };
        for message in control.chunks(CONTROL_BYTES) {
            let Some((level, kind, number)) = fields(message) else { break };
            match (level, kind) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    said.segment = u16::try_from(number).ok().filter(|segment| *segment > 0);
                }
                (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                    said.hops = u8::try_from(number).map_or(Hops::Fresh, Hops::Left);
                }
                _ => {}
            }
        }
        said
    }
}

/// Returns level, kind and number; `None` where it is cut off.
fn fields(message: &[u8]) -> Option<(libc::c_int, libc::c_int, libc::c_int)> {
    let word = |at: usize| {
        let bytes = message.get(at..at + 4)?;
        Some(libc::c_int::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    Some((word(8)?, word(12)?, word(NUMBER_AT)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read_where_it_writes_it_and_nowhere_else() {
        let v4: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let v6: SocketAddr = "[::1]:9".parse().unwrap();
        let mut train = Control::cut(1_200).0;
        assert_eq!(Said::read(&train), Said::read(&[]), "that is one that goes");
        train[12..16].copy_from_slice(&libc::UDP_GRO.to_ne_bytes());
        let alone = Said { segment: Some(1_200), hops: Hops::Fresh };
        assert_eq!(Said::read(&train), alone);
        for to in [v4, v6] {
            let hops = Control::hops(&to, 63).0;
            let both = [train, hops].concat();
            assert_eq!(Said::read(&both), Said { hops: Hops::Left(63), ..alone });
            assert_eq!(Said::read(&hops), Said { segment: None, hops: Hops::Left(63) });
            assert_eq!(Said::read(&both[..44]), Said { hops: Hops::Left(63), ..alone });
            assert_eq!(Said::read(&both[..43]), alone, "cut off");
            assert_eq!(Said::read(&Control::mark(&to, 46).0), Said::read(&[]));
        }
        let nothing = Said { segment: None, hops: Hops::Fresh };
        assert_eq!(Said::read(&train[..19]), nothing, "cut off");
        assert_eq!(Said::read(&[]), nothing);
        assert_eq!(Said::read(Room::EMPTY.written(COME_BYTES)), nothing);
    }
}
