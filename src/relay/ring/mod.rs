//! Where datagrams are lent to the kernel: the relay's one home of `unsafe` (STYLE 15).
//!
//! Neither std nor a crate of the house has a form of `recvmmsg` and `sendmmsg` that reuses its
//! memory, and a ring is pushed to by its user's promise alone. Each routine here has a safe twin,
//! `UdpSocket::recv_from` and `send_to`, that its tests compare it with.

pub(super) mod control;
mod memory;
mod name;
pub(super) mod sends;
pub(super) mod slots;
pub(super) mod spread;
pub(super) mod trains;
pub(super) mod uring;
pub(super) mod whole;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;

use super::hops::Hops;

/// Has the kernel say beside each datagram how many hops it has left.
///
/// # Errors
/// The kernel's; none is expected.
pub(super) fn tell_hops(fd: RawFd, bound: &SocketAddr) -> io::Result<()> {
    match bound {
        SocketAddr::V4(_) => set_option(fd, libc::IPPROTO_IP, libc::IP_RECVTTL, 1),
        SocketAddr::V6(_) => set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1),
    }
}

/// Has what a socket sends go so many hops where nothing else is said beside it.
///
/// # Errors
/// The kernel's; none is expected.
pub(super) fn give_hops(fd: RawFd, bound: IpAddr, hops: Hops) -> io::Result<()> {
    let number = match hops {
        // What is usual.
        Hops::Fresh => -1,
        Hops::Left(hops) => hops.into(),
    };
    match bound {
        IpAddr::V4(_) => set_option(fd, libc::IPPROTO_IP, libc::IP_TTL, number),
        IpAddr::V6(_) => set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, number),
    }
}

fn set_option(
    fd: RawFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the value is an integer that lives during the call, and its true length is passed.
    let set = unsafe {
        libc::setsockopt(
            fd,
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A vector that points nowhere.
const NO_VECTOR: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

/// A header of nothing.
const NO_HEADER: libc::msghdr = libc::msghdr {
    msg_name: std::ptr::null_mut(),
    msg_namelen: 0,
    msg_iov: std::ptr::null_mut(),
    msg_iovlen: 0,
    msg_control: std::ptr::null_mut(),
    msg_controllen: 0,
    msg_flags: 0,
};

#[cfg(test)]
mod tests;
