//! Trains: datagrams of one flow that the kernel carries as one, all of one size but the last,
//! which may be shorter (UDP GRO where they come, UDP GSO where they go).

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd as _, RawFd};

use super::set_option;

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
            go: set_option(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok(),
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
    set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1)
}
