//! The sockets of one thread, by number and by relayed port.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, RawFd};

use slab::Slab;

use super::hops::Hops;
use super::ring::spread;
use super::ring::trains::{self, Trains};
use super::ring::{give_hops, tell_hops, whole};
use crate::edge::av::{RelayPort, RelayedAddress};
use crate::limits;
use crate::poll::Token;

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Clients come in by it.
    Listener {
        /// Its number.
        number: u16,
        /// The address that clients send to: the node's own, or the pool's.
        addressed: SocketAddr,
    },
    /// A relayed port.
    Port(RelayPort),
}

/// A socket, as its owner knows it: 16 bytes, since where ports are not shared there is one for
/// each allocation.
#[derive(Debug)]
struct Open {
    socket: UdpSocket,
    of: Kind,
    generation: u32,
    /// What its datagrams have where nothing is said beside them; `None`: what is usual, as it has
    /// several senders.
    hops: Option<Hops>,
}

/// What a socket is for; of a listener, its place among [`Sockets::listeners`].
#[derive(Clone, Copy, Debug)]
enum Kind {
    Listener(u16),
    Port(RelayPort),
}

const _: () = assert!(size_of::<Open>() == 16);

/// All sockets of one thread.
#[derive(Debug)]
pub(super) struct Sockets {
    open: Slab<Open>,
    /// Number and address of each listener.
    listeners: Vec<(u16, SocketAddr)>,
    /// For each relayed address, the number of each port's socket: a look-up without a hash, for
    /// 256 KiB an address.
    ports: Vec<Box<[u32]>>,
    relayed: Vec<RelayedAddress>,
    how: How,
    generation: u32,
}

/// What every socket for datagrams has.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// How its datagrams are marked.
    pub(super) dscp: u8,
    /// Whether trains come as one, or as their datagrams.
    pub(super) trains: Trains,
}

/// No socket.
const NONE: u32 = u32::MAX;

impl Sockets {
    /// Returns no sockets yet; those of ports will be bound to the addresses of `relayed`.
    pub(super) fn new(relayed: Vec<RelayedAddress>, how: How) -> Self {
        let ports = relayed.iter().map(|_| vec![NONE; 1 << 16].into()).collect();
        Self { open: Slab::new(), listeners: Vec::new(), ports, relayed, how, generation: 0 }
    }

    /// Takes a listener's socket.
    pub(super) fn listener(
        &mut self,
        socket: UdpSocket,
        number: u16,
        addressed: SocketAddr,
    ) -> u32 {
        let place = self.listeners.len() as u16;
        self.listeners.push((number, addressed));
        self.insert(socket, Kind::Listener(place), None)
    }

    /// Opens the socket of a relayed port that is one client's.
    ///
    /// # Errors
    /// The kernel's: the port is somebody else's, no descriptor is left, the address is not here.
    pub(super) fn open_port(&mut self, port: RelayPort) -> io::Result<u32> {
        self.open(port, Some(Hops::Fresh))
    }

    /// Opens the socket of a relayed port that clients share.
    ///
    /// # Errors
    /// As [`Self::open_port`].
    pub(super) fn open_shared_port(&mut self, port: RelayPort) -> io::Result<u32> {
        self.open(port, None)
    }

    fn open(&mut self, port: RelayPort, hops: Option<Hops>) -> io::Result<u32> {
        let address = SocketAddr::new(self.relayed[usize::from(port.address)].bound, port.port);
        let socket = bind(address, self.how)?;
        let number = self.insert(socket, Kind::Port(port), hops);
        let place = &mut self.ports[usize::from(port.address)][usize::from(port.port)];
        assert_eq!(*place, NONE, "a port is opened once");
        *place = number;
        Ok(number)
    }

    fn insert(&mut self, socket: UdpSocket, of: Kind, hops: Option<Hops>) -> u32 {
        self.generation = self.generation.wrapping_add(1) & GENERATION_MAX;
        let open = Open { socket, of, generation: self.generation, hops };
        self.open.insert(open) as u32
    }

    /// Tells whether what a socket sends has so many hops with nothing said beside it. Where all of
    /// it is one client's the socket is told to give them: they change when the client's way does,
    /// and a message beside each datagram costs more. Hot: once for what leaves together.
    pub(super) fn gives(&mut self, number: u32, hops: Hops) -> bool {
        let Some(open) = self.open.get_mut(number as usize) else { return false };
        let (Some(own), Kind::Port(port)) = (open.hops, open.of) else {
            return hops == Hops::Fresh;
        };
        if own == hops {
            return true;
        }
        let address = self.relayed[usize::from(port.address)].bound;
        let told = give_hops(open.socket.as_raw_fd(), address, hops).is_ok();
        if told {
            open.hops = Some(hops);
        }
        told
    }

    /// Closes a socket that no poller knows any more.
    pub(super) fn close(&mut self, number: u32) {
        let Some(Open { of, .. }) = self.open.try_remove(number as usize) else { return };
        if let Kind::Port(port) = of {
            self.ports[usize::from(port.address)][usize::from(port.port)] = NONE;
        }
    }

    /// Returns the socket of a port. Hot: once per datagram to a peer.
    pub(super) fn of_port(&self, port: RelayPort) -> Option<u32> {
        let number = self.ports[usize::from(port.address)][usize::from(port.port)];
        (number != NONE).then_some(number)
    }

    /// Returns what a socket is for. Hot: once per datagram.
    pub(super) fn of(&self, number: u32) -> Option<Use> {
        match self.open.get(number as usize)?.of {
            Kind::Port(port) => Some(Use::Port(port)),
            Kind::Listener(place) => {
                let (number, addressed) = *self.listeners.get(usize::from(place))?;
                Some(Use::Listener { number, addressed })
            }
        }
    }

    pub(super) fn get(&self, number: u32) -> Option<&UdpSocket> {
        self.open.get(number as usize).map(|open| &open.socket)
    }

    pub(super) fn fd(&self, number: u32) -> Option<RawFd> {
        self.get(number).map(|socket| socket.as_raw_fd())
    }

    /// Returns how a poller is to name a socket.
    pub(super) fn token(&self, number: u32) -> Option<Token> {
        let open = self.open.get(number as usize)?;
        Some(Token(u64::from(open.generation) << 32 | u64::from(number)))
    }

    /// Returns the number that a token stands for; `None` once its socket is closed.
    pub(super) fn named(&self, token: Token) -> Option<u32> {
        let number = token.0 as u32;
        (self.token(number) == Some(token)).then_some(number)
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.open.iter().map(|(number, _)| number as u32)
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

/// Generations wrap below the tokens of streams.
const GENERATION_MAX: u32 = 0x1fff_ffff;

/// One of the threads that clients come in to by the same address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Its number.
    pub(super) number: usize,
    /// How many there are.
    pub(super) threads: usize,
}

impl Share {
    /// Binds `socket` to `address`, which no other program may have, and has the kernel choose
    /// among those of all threads by source. `alone`: a socket like it.
    fn bind(
        self,
        socket: &socket2::Socket,
        address: SocketAddr,
        alone: impl FnOnce() -> io::Result<socket2::Socket>,
    ) -> io::Result<()> {
        if self.threads == 1 {
            return socket.bind(&address.into());
        }
        socket.set_reuse_port(true)?;
        if self.number > 0 {
            return socket.bind(&address.into());
        }
        // A socket that shares would share with another edge's, too.
        alone()?.bind(&address.into())?;
        socket.bind(&address.into())?;
        // Those that follow come under what the first one says.
        spread::by_source(socket.as_raw_fd(), address, self.threads as u32)
    }
}

/// Makes a socket for datagrams.
fn datagram_socket(address: SocketAddr, how: How) -> io::Result<socket2::Socket> {
    let domain = socket2::Domain::for_address(address);
    let kind = socket2::Type::DGRAM.nonblocking().cloexec();
    let socket = socket2::Socket::new(domain, kind, Some(socket2::Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if how.dscp > 0 {
        let marks = u32::from(how.dscp) << 2;
        if address.is_ipv6() {
            socket.set_tclass_v6(marks)?;
        } else {
            socket.set_tos_v4(marks)?;
        }
    }
    if how.trains.come {
        trains::take(socket.as_raw_fd())?;
    }
    tell_hops(socket.as_raw_fd(), &address)?;
    whole::keep(socket.as_raw_fd(), &address)?;
    Ok(socket)
}

/// Makes a socket for a relayed port. Nobody else may have the address: a second edge on one
/// machine is an error, not half of the traffic.
fn bind(address: SocketAddr, how: How) -> io::Result<UdpSocket> {
    let socket = datagram_socket(address, how)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Makes a socket for clients, with room for a burst of all of them.
///
/// # Errors
/// The kernel's.
pub(super) fn bind_listener(address: SocketAddr, how: How, share: Share) -> io::Result<UdpSocket> {
    let socket = datagram_socket(address, how)?;
    // The kernel gives what net.core.rmem_max allows.
    socket.set_recv_buffer_size(limits::RELAY_LISTENER_BUFFER_BYTES)?;
    socket.set_send_buffer_size(limits::RELAY_LISTENER_BUFFER_BYTES)?;
    share.bind(&socket, address, || datagram_socket(address, how))?;
    Ok(socket.into())
}

/// Makes a socket that peers connect to. From its port others connect out to peers, so the kernel
/// is told to let them have it too; that no other program has it is looked at before.
///
/// # Errors
/// The kernel's.
pub(super) fn bind_relayed_door(address: SocketAddr) -> io::Result<TcpListener> {
    let alone = stream_socket(address)?;
    alone.bind(&address.into())?;
    drop(alone);
    let socket = stream_socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::RELAY_PEER_BACKLOG)?;
    Ok(socket.into())
}

/// Begins to connect to a peer from a relayed port.
///
/// # Errors
/// The kernel's.
pub(super) fn connect_from(local: SocketAddr, peer: SocketAddr) -> io::Result<TcpStream> {
    let socket = stream_socket(local)?;
    socket.set_reuse_port(true)?;
    socket.bind(&local.into())?;
    match socket.connect(&peer.into()) {
        Ok(()) => Ok(socket.into()),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket.into()),
        Err(error) => Err(error),
    }
}

/// Makes a socket for streams, whose address connections that linger do not keep.
fn stream_socket(address: SocketAddr) -> io::Result<socket2::Socket> {
    let domain = socket2::Domain::for_address(address);
    let kind = socket2::Type::STREAM.nonblocking().cloexec();
    let socket = socket2::Socket::new(domain, kind, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Makes a socket that streams are accepted by. Nobody else may have the address.
///
/// # Errors
/// The kernel's.
pub(super) fn bind_door(address: SocketAddr, share: Share) -> io::Result<TcpListener> {
    // Connections of a process before this one do not keep it from starting.
    let socket = stream_socket(address)?;
    share.bind(&socket, address, || stream_socket(address))?;
    socket.listen(limits::RELAY_STREAM_BACKLOG)?;
    Ok(socket.into())
}
