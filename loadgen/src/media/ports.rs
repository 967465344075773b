//! Where clients and peers send from: the transport to the relay, and the peers' socket.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::address::{client_address, client_number};
use super::load::Load;
use super::stream::{Event, Streams};
use super::udp::Port;
use crate::net::Counters;
use crate::options::{self, Transport};

/// All clients.
enum Clients<'a> {
    Datagrams(Port),
    Streams(Box<Streams<'a>>),
}

/// Both sides.
pub(crate) struct Ports<'a> {
    options: &'a options::Media,
    clients: Clients<'a>,
    /// All peers.
    pub(crate) peers: Port,
    /// Reads that brought something, and what they brought.
    pub(crate) counters: Counters,
}

impl<'a> Ports<'a> {
    /// Opens both.
    pub(crate) fn open(options: &'a options::Media) -> Result<Self> {
        let clients = match options.transport {
            Transport::Udp => Clients::Datagrams(Port::open()?),
            Transport::Tcp | Transport::Tls => Clients::Streams(Box::new(Streams::new(options)?)),
        };
        Ok(Self { options, clients, peers: Port::open()?, counters: Counters::default() })
    }

    /// Sends from a client; as datagrams of `segment` bytes each, if said. Returns false if that
    /// was not possible.
    pub(crate) fn send_to_relay(
        &mut self,
        number: u32,
        to: SocketAddr,
        bytes: &[u8],
        segment: Option<usize>,
    ) -> bool {
        match &mut self.clients {
            Clients::Datagrams(port) => {
                let from = client_address(self.options.clients, number);
                port.send(Some(from), to, bytes, segment)
            }
            Clients::Streams(streams) => streams.send(number, to, bytes),
        }
    }

    /// Ends what a client has open.
    pub(crate) fn close(&mut self, number: u32) {
        match &mut self.clients {
            Clients::Datagrams(_) => {}
            Clients::Streams(streams) => streams.close(number),
        }
    }

    /// Gives `load` what has come; returns how much that was.
    pub(crate) fn receive(&mut self, load: &mut Load<'_>) -> Result<usize> {
        let base = self.options.clients;
        let at_clients = match &mut self.clients {
            Clients::Datagrams(port) => port.receive(|one| {
                if let Some(number) = client_number(base, one.to) {
                    load.at_client(number, one.bytes);
                }
            }),
            Clients::Streams(streams) => streams.turn(|event| match event {
                Event::Came(number, bytes) => load.at_client(number, bytes),
                Event::Ended(number, why) => load.cut_off(number, why),
            })?,
        };
        let at_peers = self.peers.receive(|one| load.at_peer(&one));
        self.counters.reads += u64::from(at_clients > 0) + u64::from(at_peers > 0);
        self.counters.messages += (at_clients + at_peers) as u64;
        Ok(at_clients + at_peers)
    }

    /// Waits until something has come, at most `wait_ns`.
    pub(crate) fn wait(&self, wait_ns: u64) -> Result<()> {
        let mut fds = [self.clients_fd(), self.peers.as_fd()]
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let timeout = Timespec {
            tv_sec: (wait_ns / 1_000_000_000) as i64,
            tv_nsec: (wait_ns % 1_000_000_000) as i64,
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("poll"),
        }
    }

    fn clients_fd(&self) -> BorrowedFd<'_> {
        match &self.clients {
            Clients::Datagrams(port) => port.as_fd(),
            Clients::Streams(streams) => streams.as_fd(),
        }
    }

    /// Returns how many datagrams the kernel dropped because we did not fetch them in time.
    pub(crate) fn dropped(&self) -> u64 {
        let at_clients = match &self.clients {
            Clients::Datagrams(port) => port.dropped(),
            Clients::Streams(_) => 0,
        };
        at_clients + self.peers.dropped()
    }

    /// Returns the suite that clients negotiated.
    pub(crate) fn suite(&self) -> Option<String> {
        match &self.clients {
            Clients::Datagrams(_) => None,
            Clients::Streams(streams) => streams.suite(),
        }
    }
}
