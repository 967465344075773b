//! Which of several sockets at one address gets what comes there: one for each source address, so
//! that all flows of a client are served by one thread.
//!
//! ```text
//! IPv4   A = source                          A * odd >> 16 mod threads ──> number of the socket,
//! IPv6   A = bytes 0 to 3 ^ bytes 4 to 7                                   in the order of binding
//! ```
//!
//! The kernel's own choice is by address and port; a client that reserves a port would then claim
//! it from another thread than it was kept by.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

/// Where a source begins behind the network header's start.
const V4_SOURCE_AT: u32 = 12;
const V6_SOURCE_AT: u32 = 8;
/// An odd number whose product mixes high bits well (2^32 divided by the golden ratio).
const MIX: u32 = 0x9E37_79B1;

/// Lets the sockets that share `address` with the one of `fd` be chosen by source.
///
/// # Errors
/// The kernel's.
pub(in crate::relay) fn by_source(fd: RawFd, address: SocketAddr, sockets: u32) -> io::Result<()> {
    let mut program = program(address, sockets);
    let program =
        libc::sock_fprog { len: program.len() as libc::c_ushort, filter: program.as_mut_ptr() };
    // SAFETY: the option's value is a program whose length and instructions live during the call,
    // and the kernel copies both.
    let set = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn program(address: SocketAddr, sockets: u32) -> Vec<libc::sock_filter> {
    let one = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let load = |at: u32| {
        one(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (libc::SKF_NET_OFF as u32).wrapping_add(at))
    };
    let mut program = match address {
        SocketAddr::V4(_) => vec![load(V4_SOURCE_AT)],
        SocketAddr::V6(_) => vec![
            load(V6_SOURCE_AT),
            one(libc::BPF_MISC | libc::BPF_TAX, 0),
            load(V6_SOURCE_AT + 4),
            one(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0),
        ],
    };
    program.extend([
        one(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K, MIX),
        one(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 16),
        one(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, sockets),
        one(libc::BPF_RET | libc::BPF_A, 0),
    ]);
    program
}
