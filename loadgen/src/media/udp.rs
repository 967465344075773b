//! One UDP socket that speaks for many addresses of this machine at one port: thousands of clients
//! or peers, without a descriptor each.

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::net::sockopt;

/// Bytes that the kernel may keep for us, so that a pause of ours is no loss of the relay's.
const KERNEL_BYTES: usize = 32 << 20;
/// Bytes of one datagram, or of a train that the kernel hands over as one.
const RECEIVE_BYTES: usize = 64 * 1024;

/// The socket.
pub(crate) struct Port {
    socket: UdpSocket,
    state: UdpSocketState,
    buffer: Vec<u8>,
    meta: [RecvMeta; BATCH_SIZE],
}

/// A datagram that came.
pub(crate) struct Datagram<'a> {
    /// Which of our addresses it was sent to.
    pub(crate) to: Ipv4Addr,
    /// Who sent it.
    pub(crate) from: SocketAddr,
    /// What it holds.
    pub(crate) bytes: &'a [u8],
}

impl Port {
    /// Opens a socket for all addresses, at a port that the kernel chooses.
    pub(crate) fn open() -> Result<Self> {
        Self::bind((Ipv4Addr::UNSPECIFIED, 0).into())
    }

    /// Opens a socket at `address`.
    pub(crate) fn bind(address: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind(address).with_context(|| format!("binding {address}"))?;
        // More than an ordinary user may have; who is none gets as much as there is.
        if sockopt::set_socket_recv_buffer_size_force(&socket, KERNEL_BYTES).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, KERNEL_BYTES)?;
        }
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let buffer = vec![0; RECEIVE_BYTES * BATCH_SIZE];
        Ok(Self { socket, state, buffer, meta: [RecvMeta::default(); BATCH_SIZE] })
    }

    /// Returns the port's number.
    pub(crate) fn number(&self) -> Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// Sends `bytes` from one of our addresses; as datagrams of `segment` bytes each, if said.
    /// Returns false if the kernel did not take them.
    pub(crate) fn send(
        &self,
        from: Option<Ipv4Addr>,
        to: SocketAddr,
        bytes: &[u8],
        segment: Option<usize>,
    ) -> bool {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: bytes,
            segment_size: segment,
            src_ip: from.map(IpAddr::V4),
        };
        self.state.try_send(UdpSockRef::from(&self.socket), &transmit).is_ok()
    }

    /// Hands out what one call of the kernel brings; returns how many datagrams that were.
    pub(crate) fn receive(&mut self, mut take: impl FnMut(Datagram<'_>)) -> usize {
        let mut chunks = self.buffer.chunks_exact_mut(RECEIVE_BYTES);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        // What is not there yet and what went wrong are alike: there is nothing to hand out.
        let count = self
            .state
            .recv(UdpSockRef::from(&self.socket), &mut slices, &mut self.meta)
            .unwrap_or(0);
        let mut datagrams = 0;
        for (meta, slice) in self.meta.iter().zip(&slices).take(count) {
            let Some(IpAddr::V4(to)) = meta.dst_ip else { continue };
            for bytes in slice[..meta.len].chunks(meta.stride.max(1)) {
                datagrams += 1;
                take(Datagram { to, from: meta.addr, bytes });
            }
        }
        datagrams
    }

    /// Returns how many datagrams the kernel dropped because we did not fetch them in time.
    pub(crate) fn dropped(&self) -> u64 {
        let Ok(port) = self.number() else { return 0 };
        let text = std::fs::read_to_string("/proc/net/udp").unwrap_or_default();
        let mine = |line: &&str| {
            let local = line.split_ascii_whitespace().nth(1).and_then(|l| l.rsplit_once(':'));
            local.is_some_and(|(_, digits)| u16::from_str_radix(digits, 16) == Ok(port))
        };
        let drops = |line: &str| line.split_ascii_whitespace().last()?.parse::<u64>().ok();
        text.lines().filter(mine).filter_map(drops).sum()
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(port: &mut Port) -> Vec<(Ipv4Addr, SocketAddr, Vec<u8>)> {
        let mut found = Vec::new();
        for _ in 0..1000 {
            port.receive(|one| found.push((one.to, one.from, one.bytes.to_vec())));
            if !found.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        found
    }

    #[test]
    fn one_socket_sends_from_and_receives_at_many_addresses() {
        let (sender, mut receiver) = (Port::open().unwrap(), Port::open().unwrap());
        for last in 1..4 {
            let (from, to) = (Ipv4Addr::new(127, 32, 0, last), Ipv4Addr::new(127, 128, 0, last));
            let address = (to, receiver.number().unwrap()).into();
            assert!(sender.send(Some(from), address, &[last; 9], None));
            let found = receive(&mut receiver);
            let source = (from, sender.number().unwrap()).into();
            assert_eq!(found, [(to, source, vec![last; 9])]);
        }
        assert_eq!(receiver.dropped(), 0);
    }

    #[test]
    fn a_train_arrives_as_its_datagrams() {
        let (sender, mut receiver) = (Port::open().unwrap(), Port::open().unwrap());
        let to = (Ipv4Addr::LOCALHOST, receiver.number().unwrap()).into();
        assert!(sender.send(None, to, &[5; 1000], Some(100)));
        let mut found = Vec::new();
        while found.len() < 10 {
            let more = receive(&mut receiver);
            assert!(!more.is_empty(), "{} came", found.len());
            found.extend(more);
        }
        assert!(found.iter().all(|(_, _, bytes)| bytes.len() == 100));
    }
}
