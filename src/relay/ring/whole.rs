//! Datagrams that go whole, and in fragments where they are longer than their way lets.
//!
//! ```text
//! send ──> taken
//!   └────> longer than the way lets ──> fragments are let, sent again ──> whole from here on
//! ```
//!
//! IPv4 numbers each datagram that may be cut, from counters that all processors share; one that
//! must not be cut needs no number (RFC 6864 section 4.1). What a socket sends says "must not be
//! cut" either way where it fits, but the kernel saves the number only where the socket forbids
//! fragments for all it sends: some 5 in 100 of what sending a short datagram costs.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use super::set_option;

/// Has what a socket sends go whole. IPv6 has no such numbers, and its sockets stay as they are.
///
/// # Errors
/// The kernel's; none is expected.
pub(in crate::relay) fn keep(fd: RawFd, bound: &SocketAddr) -> io::Result<()> {
    match bound {
        SocketAddr::V4(_) => discover(fd, libc::IP_PMTUDISC_DO),
        SocketAddr::V6(_) => Ok(()),
    }
}

/// Returns what became of a datagram; where it was too long for its way, it is sent again in
/// fragments.
///
/// # Errors
/// The kernel's, of the first time or of the second.
pub(in crate::relay) fn or_cut<T>(
    fd: RawFd,
    sent: io::Result<T>,
    again: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    match sent {
        Err(error) if too_long(&error) => {
            if discover(fd, libc::IP_PMTUDISC_WANT).is_err() {
                return Err(error);
            }
            let sent = again();
            // What fails here costs time, no datagram.
            let _ = discover(fd, libc::IP_PMTUDISC_DO);
            sent
        }
        other => other,
    }
}

/// Tells whether it was refused for its length.
pub(super) fn too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

fn discover(fd: RawFd, how: libc::c_int) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, how)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd as _;

    use super::*;

    /// How a socket treats what is too long, as the kernel knows it.
    fn treats(socket: &UdpSocket) -> libc::c_int {
        let (mut how, mut length) = (-1, size_of::<libc::c_int>() as libc::socklen_t);
        // SAFETY: the integer lives during the call, and its true length is passed.
        let got = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_IP,
                libc::IP_MTU_DISCOVER,
                (&raw mut how).cast(),
                &raw mut length,
            )
        };
        assert_eq!(got, 0, "{}", io::Error::last_os_error());
        how
    }

    fn socket() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        keep(socket.as_raw_fd(), &socket.local_addr().unwrap()).unwrap();
        assert_eq!(treats(&socket), libc::IP_PMTUDISC_DO);
        socket
    }

    #[test]
    fn what_is_too_long_is_sent_once_more_in_fragments_and_alone_so() {
        let (socket, too_long) = (socket(), io::Error::from_raw_os_error(libc::EMSGSIZE));
        let mut again = 0;
        let sent = or_cut(socket.as_raw_fd(), Err(too_long), || {
            again += 1;
            assert_eq!(treats(&socket), libc::IP_PMTUDISC_WANT);
            Ok(7)
        });
        assert_eq!((sent.unwrap(), again), (7, 1));
        assert_eq!(treats(&socket), libc::IP_PMTUDISC_DO, "the next goes whole");
    }

    /// More than IP carries is refused both times.
    #[test]
    fn what_nothing_carries_is_refused_with_the_kernels_word() {
        let socket = socket();
        let at = socket.local_addr().unwrap();
        let send = || socket.send_to(&vec![0; 65_508], at);
        let refused = or_cut(socket.as_raw_fd(), send(), send).unwrap_err();
        assert!(too_long(&refused), "{refused}");
        assert_eq!(treats(&socket), libc::IP_PMTUDISC_DO);
    }

    #[test]
    fn what_was_taken_or_refused_for_another_reason_is_not_sent_again() {
        let socket = socket();
        let never = || -> io::Result<usize> { panic!("sent again") };
        assert_eq!(or_cut(socket.as_raw_fd(), Ok(3), never).unwrap(), 3);
        let full = io::ErrorKind::WouldBlock;
        let refused = or_cut(socket.as_raw_fd(), Err(full.into()), never).unwrap_err();
        assert_eq!(refused.kind(), full);
    }

    #[test]
    fn a_socket_of_ipv6_stays_as_it_is() {
        let Ok(socket) = UdpSocket::bind("[::1]:0") else { return };
        keep(socket.as_raw_fd(), &socket.local_addr().unwrap()).unwrap();
    }
}
