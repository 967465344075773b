//! DSCP marks and hops of single datagrams, where they differ from what their socket has.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;

use smallvec::SmallVec;

use super::hops::Hops;
use super::ring::control::Control;
use super::ring::whole;
use crate::edge::av::Medium;

/// Which mark each medium has: a DSCP of 0 to 63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Of audio.
    pub audio: u8,
    /// Of video.
    pub video: u8,
    /// Of everything else, answers included: sockets have it by themselves.
    pub other: u8,
}

impl Marks {
    /// Returns the mark of a medium.
    pub(super) const fn of(&self, medium: Medium) -> u8 {
        match medium {
            Medium::Audio => self.audio,
            Medium::Video => self.video,
            Medium::Other => self.other,
        }
    }

    /// Returns the mark that a datagram needs beside its socket's own.
    pub(super) const fn beside(&self, medium: Medium) -> Option<u8> {
        let mark = self.of(medium);
        if mark == self.other { None } else { Some(mark) }
    }
}

/// Sends one datagram, marked where it has to be, with the hops that it has left; in fragments
/// where it is too long to go whole.
///
/// # Errors
/// The kernel's.
pub(super) fn send_to(
    socket: &UdpSocket,
    datagram: &[u8],
    to: SocketAddr,
    mark: Option<u8>,
    hops: Hops,
) -> io::Result<usize> {
    let mut controls: SmallVec<[u8; 48]> = SmallVec::new();
    if let Some(mark) = mark {
        controls.extend_from_slice(Control::mark(&to, mark).bytes());
    }
    if let Hops::Left(hops) = hops {
        controls.extend_from_slice(Control::hops(&to, hops).bytes());
    }
    if controls.is_empty() {
        let send = || socket.send_to(datagram, to);
        return whole::or_cut(socket.as_raw_fd(), send(), send);
    }
    let (address, parts) = (to.into(), [IoSlice::new(datagram)]);
    let message =
        socket2::MsgHdr::new().with_addr(&address).with_buffers(&parts).with_control(&controls);
    let send = || socket2::SockRef::from(socket).sendmsg(&message, 0);
    whole::or_cut(socket.as_raw_fd(), send(), send)
}

/// Marks a stream from here on. A kernel that will not leaves it as it is.
pub(super) fn mark_stream(socket: &TcpStream, remote: &SocketAddr, mark: u8) {
    let (options, marks) = (socket2::SockRef::from(socket), u32::from(mark) << 2);
    let _ = match remote {
        SocketAddr::V4(_) => options.set_tos_v4(marks),
        SocketAddr::V6(_) => options.set_tclass_v6(marks),
    };
}
