//! What the loop needs of a transport, and the kernel's TCP as one.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use crate::limits;

/// One connection. All calls return at once.
pub trait Stream: Sized {
    /// Whether a read of fewer bytes than asked for means that nothing is left.
    ///
    /// True for the kernel's TCP (epoll(7), question 9) unless a hang-up was reported; it saves the
    /// read that would say "would block".
    const SHORT_READ_DRAINS: bool;

    /// Returns what the poller knows it by.
    fn fd(&self) -> RawFd;

    /// Reads what is there; 0 after the peer's last byte.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing is there, else the connection is lost.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Writes what fits.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing fits, else the connection is lost.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Ends one direction or both. A connection that is lost already stays lost.
    fn shutdown(&mut self, how: Shutdown);

    /// Returns how an attempt to connect ended.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] while it is under way, else why it failed.
    fn connected(&mut self) -> io::Result<()>;

    /// Returns our end's address.
    ///
    /// # Errors
    /// The kernel's, when the connection is lost.
    fn local_address(&self) -> io::Result<SocketAddr>;
}

/// Where connections come from and go to.
pub trait Network {
    /// A connection.
    type Stream: Stream + Send + 'static;
    /// Something that accepts connections.
    type Listener: AsRawFd;

    /// Takes one connection that waits, with the peer's address.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if none waits; the kernel's, among them that no descriptor
    /// is left.
    fn accept(&mut self, listener: &Self::Listener) -> io::Result<(Self::Stream, SocketAddr)>;

    /// Begins to connect; how it ends, [`Stream::connected`] says after the poller called.
    ///
    /// # Errors
    /// The kernel's: no route, refused at once, no descriptor left.
    fn connect(&mut self, to: SocketAddr) -> io::Result<Self::Stream>;
}

/// TCP by the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kernel;

impl Network for Kernel {
    type Stream = TcpStream;
    type Listener = TcpListener;

    fn accept(&mut self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        // NODELAY, keep-alive and the user time-out come with it from the listener.
        let (stream, peer) = listener.accept()?;
        stream.set_nonblocking(true)?;
        Ok((stream, peer))
    }

    fn connect(&mut self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(to),
            socket2::Type::STREAM.nonblocking().cloexec(),
            Some(socket2::Protocol::TCP),
        )?;
        tune(&socket)?;
        match socket.connect(&to.into()) {
            Ok(()) => Ok(socket.into()),
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket.into()),
            Err(error) => Err(error),
        }
    }
}

impl Stream for TcpStream {
    const SHORT_READ_DRAINS: bool = true;

    fn fd(&self) -> RawFd {
        self.as_raw_fd()
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Read::read(self, into)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(self, bytes)
    }

    fn shutdown(&mut self, how: Shutdown) {
        // The only failure is that there is no connection any more.
        let _ = Self::shutdown(self, how);
    }

    fn connected(&mut self) -> io::Result<()> {
        if let Some(error) = self.take_error()? {
            return Err(error);
        }
        match self.peer_addr() {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(error) => Err(error),
        }
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}

/// Sets what every connection of the edge has, on a connecting socket or on a listener whose
/// connections inherit it.
///
/// # Errors
/// The kernel's; it knows all these options since Linux 2.6.37.
pub(super) fn tune(socket: &socket2::Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keep_alive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(limits::TCP_KEEP_ALIVE_S))
        .with_interval(Duration::from_secs(limits::TCP_KEEP_ALIVE_INTERVAL_S))
        .with_retries(limits::TCP_KEEP_ALIVE_PROBES);
    socket.set_tcp_keepalive(&keep_alive)?;
    socket.set_tcp_user_timeout(Some(Duration::from_millis(limits::TCP_USER_TIMEOUT_MS)))
}
