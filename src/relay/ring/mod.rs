//! Where datagrams are lent to the kernel: the relay's one home of `unsafe` (STYLE 15).
//!
//! Neither std nor a crate of the house has a form of `recvmmsg` and `sendmmsg` that reuses its
//! memory, and a ring is pushed to by its user's promise alone. Each routine here has a safe twin,
//! `UdpSocket::recv_from` and `send_to`, that its tests compare it with.

mod memory;
mod name;
pub(super) mod sends;
pub(super) mod slots;
pub(super) mod spread;
pub(super) mod trains;
pub(super) mod uring;

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
