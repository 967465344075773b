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
