//! Where clients and peers send from: the transport to the relay, and the peers' socket.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::udp::Port;

/// Both sides.
pub(crate) struct Ports {
    /// All clients.
    pub(crate) clients: Port,
    /// All peers.
    pub(crate) peers: Port,
}

impl Ports {
    /// Opens both.
    pub(crate) fn open() -> Result<Self> {
        Ok(Self { clients: Port::open()?, peers: Port::open()? })
    }

    /// Sends from a client; as datagrams of `segment` bytes each, if said. Returns false if the
    /// kernel did not take it.
    pub(crate) fn send_to_relay(
        &mut self,
        from: Ipv4Addr,
        to: SocketAddr,
        bytes: &[u8],
        segment: Option<usize>,
    ) -> bool {
        self.clients.send(Some(from), to, bytes, segment)
    }

    /// Waits until something has come, at most `wait_ns`.
    pub(crate) fn wait(&self, wait_ns: u64) -> Result<()> {
        let mut fds = [
            PollFd::from_borrowed_fd(self.clients.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.peers.as_fd(), PollFlags::IN),
        ];
        let timeout = Timespec {
            tv_sec: (wait_ns / 1_000_000_000) as i64,
            tv_nsec: (wait_ns % 1_000_000_000) as i64,
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("poll"),
        }
    }

    /// Returns how many datagrams the kernel dropped because we did not fetch them in time.
    pub(crate) fn dropped(&self) -> u64 {
        self.clients.dropped() + self.peers.dropped()
    }
}
