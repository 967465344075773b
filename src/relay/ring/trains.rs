//! Trains: datagrams of one flow that the kernel carries as one, all of one size but the last,
//! which may be shorter (UDP GRO where they come, UDP GSO where they go).
//!
//! ```text
//! control message:  length 8 | level 4 | kind 4 | size of each datagram, 2 where it goes, 4 where
//!                                                 it comes | zeros
//! ```

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd as _, RawFd};

/// Which of both the kernel knows (since 4.18 and 5.0).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::relay) struct Trains {
    /// It hands trains over as one.
    pub(in crate::relay) come: bool,
    /// It cuts what is sent as one.
    pub(in crate::relay) go: bool,
}

impl Trains {
    /// Neither.
    pub(in crate::relay) const NEVER: Self = Self { come: false, go: false };

    /// Finds out, by a socket that nothing is sent by.
    pub(in crate::relay) fn detect() -> Self {
        let addresses = ["127.0.0.1:0", "[::1]:0"];
        let socket = addresses.iter().find_map(|address| UdpSocket::bind(address).ok());
        socket.map_or(Self::NEVER, |socket| Self {
            come: take(socket.as_raw_fd()).is_ok(),
            // No size: every send says its own.
            go: set(socket.as_raw_fd(), libc::UDP_SEGMENT, 0).is_ok(),
        })
    }

    /// Returns it in words for the log.
    pub(in crate::relay) const fn name(self) -> &'static str {
        match (self.come, self.go) {
            (true, true) => "by GRO and GSO",
            (true, false) => "by GRO",
            (false, true) => "by GSO",
            (false, false) => "none",
        }
    }
}

/// Lets trains come to a socket as they are.
///
/// # Errors
/// The kernel's; it does not know them then.
pub(in crate::relay) fn take(fd: RawFd) -> io::Result<()> {
    set(fd, libc::UDP_GRO, 1)
}

fn set(fd: RawFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the value is an integer that lives during the call, and its true length is passed.
    let set = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_UDP,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Bytes of a control message with one number.
pub(super) const CONTROL_BYTES: usize = 24;
/// Where its number is.
const NUMBER_AT: usize = 16;

const _: () = assert!(size_of::<libc::cmsghdr>() == NUMBER_AT);

/// A control message in the kernel's form, or room for one.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(in crate::relay) struct Control([u8; CONTROL_BYTES]);

impl Control {
    pub(super) const EMPTY: Self = Self([0; CONTROL_BYTES]);

    /// Says that what is sent is to be cut into datagrams of `segment` bytes.
    pub(super) fn cut(segment: u16) -> Self {
        let mut bytes = [0; CONTROL_BYTES];
        bytes[..8].copy_from_slice(&(NUMBER_AT + size_of::<u16>()).to_ne_bytes());
        bytes[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
        bytes[12..NUMBER_AT].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
        bytes[NUMBER_AT..][..2].copy_from_slice(&segment.to_ne_bytes());
        Self(bytes)
    }

    /// Says that what is sent to `to` is to be marked with a DSCP.
    pub(in crate::relay) fn mark(to: &SocketAddr, dscp: u8) -> Self {
        let (level, kind) = match to {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        };
        let mut bytes = [0; CONTROL_BYTES];
        bytes[..8].copy_from_slice(&(NUMBER_AT + size_of::<libc::c_int>()).to_ne_bytes());
        bytes[8..12].copy_from_slice(&level.to_ne_bytes());
        bytes[12..NUMBER_AT].copy_from_slice(&kind.to_ne_bytes());
        bytes[NUMBER_AT..][..4].copy_from_slice(&(libc::c_int::from(dscp) << 2).to_ne_bytes());
        Self(bytes)
    }

    /// Returns it as the kernel takes it.
    pub(in crate::relay) const fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns what the kernel wrote into it, of which `length` bytes count.
    pub(super) fn written(&self, length: usize) -> &[u8] {
        self.0.get(..length).unwrap_or_default()
    }
}

/// Returns how long each datagram of a train is; `None` where it is none.
pub(super) fn segment(control: &[u8]) -> Option<u16> {
    let word = |at: usize| {
        let bytes = control.get(at..at + 4)?;
        Some(libc::c_int::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    if word(8)? != libc::SOL_UDP || word(12)? != libc::UDP_GRO {
        return None;
    }
    u16::try_from(word(NUMBER_AT)?).ok().filter(|segment| *segment > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_where_the_kernel_writes_it_and_nowhere_else() {
        let mut control = Control::cut(1_200);
        assert_eq!(segment(&control.0), None, "that is one that goes");
        control.0[12..16].copy_from_slice(&libc::UDP_GRO.to_ne_bytes());
        assert_eq!(segment(&control.0), Some(1_200));
        assert_eq!(segment(control.written(19)), None, "cut off");
        assert_eq!(segment(&[]), None);
        assert_eq!(segment(&Control::EMPTY.0), None);
    }
}
