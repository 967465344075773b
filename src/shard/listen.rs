//! Listening sockets: one per address and shard, and a lock that keeps a second process away.
//!
//! SO_REUSEPORT lets every shard accept from a queue of its own, but it would as well let a second
//! edge of the same user take half of the connections without anybody noticing. So each address
//! and port has a lock file, held as long as the process lives.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;

use super::network;
use crate::edge::Class;

/// Connections that wait in the kernel for one shard; more are answered by SYN cookies.
const BACKLOG: i32 = 4096;

/// What to listen on.
#[derive(Clone, Debug)]
pub struct ListenerPlan {
    /// Where; port 0 takes one that is free.
    pub address: SocketAddr,
    /// What for.
    pub class: Class,
    /// Balancers: they owe a PROXY header, everybody else may not send one.
    pub proxy_from: Vec<IpNet>,
    /// The shards that accept there: those that serve its role.
    pub shards: Range<usize>,
}

/// One shard's socket of one listener.
#[derive(Debug)]
pub struct ListenerSocket<L = TcpListener> {
    /// The descriptor, non-blocking.
    pub listener: L,
    /// What its connections are for.
    pub class: Class,
    /// Place in the configuration's list, by which [`crate::tls::Material`] knows its identity.
    pub index: u16,
    /// Balancers: they owe a PROXY header, everybody else may not send one.
    pub proxy_from: Arc<[IpNet]>,
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process has the lock.
    #[error("{address} is served already by process {process}")]
    Taken {
        /// Which address.
        address: SocketAddr,
        /// The other process as its lock file names it.
        process: String,
    },
    /// The lock file cannot be made.
    #[error("cannot lock {address} with {path}: {error}")]
    Lock {
        /// Which address.
        address: SocketAddr,
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel refused the socket.
    #[error("cannot listen on {address}: {error}")]
    Socket {
        /// Which address.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
}

/// Keeps other processes from the addresses until it is dropped.
#[derive(Debug)]
pub struct Locks {
    /// Open files are what holds the locks; nothing is read from them.
    _held: Vec<File>,
}

/// Listens on every address of `plans` once for each shard that accepts there, with TCP options
/// that the accepted connections inherit; the outer list has one entry for each of `shards`.
///
/// `lock_directory`: where lock files lie; two edges that might clash must name the same one.
/// # Errors
/// [`ListenError`]; nothing is left open then.
pub fn listen(
    plans: &[ListenerPlan],
    shards: usize,
    lock_directory: &Path,
) -> Result<(Vec<Vec<ListenerSocket>>, Locks), ListenError> {
    let mut sockets: Vec<Vec<ListenerSocket>> = (0..shards).map(|_| Vec::new()).collect();
    let mut locks = Vec::new();
    for (index, plan) in plans.iter().enumerate() {
        let mut address = plan.address;
        if address.port() != 0 {
            locks.push(lock(address, lock_directory)?);
        }
        let proxy_from: Arc<[IpNet]> = plan.proxy_from.as_slice().into();
        for of_shard in sockets.iter_mut().take(plan.shards.end).skip(plan.shards.start) {
            let failed = |error| ListenError::Socket { address, error };
            let listener = socket(address).map_err(failed)?;
            if address.port() == 0 {
                address = listener.local_addr().map_err(failed)?;
                locks.push(lock(address, lock_directory)?);
            }
            of_shard.push(ListenerSocket {
                listener,
                class: plan.class,
                index: index as u16,
                proxy_from: Arc::clone(&proxy_from),
            });
        }
    }
    Ok((sockets, Locks { _held: locks }))
}

/// Prepares a socket that came from outside (systemd) as [`listen`] prepares its own.
///
/// # Errors
/// The kernel's: it is no listening TCP socket.
pub fn adopt(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    network::tune(&socket2::SockRef::from(listener))
}

fn socket(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let kind = socket2::Type::STREAM.nonblocking().cloexec();
    let socket = socket2::Socket::new(domain, kind, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    network::tune(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn lock(address: SocketAddr, directory: &Path) -> Result<File, ListenError> {
    let name = format!("entente-{}.lock", address.to_string().replace([':', '[', ']', '%'], "_"));
    let path = directory.join(name);
    let failed = |error| ListenError::Lock { address, path: path.clone(), error };
    let options = File::options().create(true).truncate(false).read(true).write(true).clone();
    let mut file = options.open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            let named = file.read_to_string(&mut process).is_ok() && !process.trim().is_empty();
            let process = if named { process.trim().to_owned() } else { "unknown".to_owned() };
            return Err(ListenError::Taken { address, process });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    fn plan(address: &str) -> ListenerPlan {
        let address = address.parse().expect("an address");
        ListenerPlan { address, class: Class::Federation, proxy_from: Vec::new(), shards: 0..3 }
    }

    #[test]
    fn every_shard_has_its_own_socket_on_the_same_port() {
        let directory = tempfile::tempdir().expect("a directory");
        let (sockets, _locks) =
            listen(&[plan("127.0.0.1:0"), plan("127.0.0.1:0")], 3, directory.path())
                .expect("listen");
        assert_eq!(sockets.len(), 3);
        let address = |shard: usize, place: usize| {
            sockets[shard][place].listener.local_addr().expect("an address")
        };
        assert_eq!(address(0, 0), address(2, 0));
        assert_eq!(address(1, 1), address(2, 1));
        assert_ne!(address(0, 0), address(0, 1));
        assert_eq!(sockets[2][1].index, 1);
    }

    #[test]
    fn a_second_instance_is_refused_and_told_who_is_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let (sockets, locks) = listen(&[plan("127.0.0.1:0")], 1, directory.path()).expect("listen");
        let address = sockets[0][0].listener.local_addr().expect("an address");
        let again = listen(&[plan(&address.to_string())], 1, directory.path());
        let error = again.expect_err("the address is taken").to_string();
        assert_eq!(error, format!("{address} is served already by process {}", std::process::id()));
        drop((sockets, locks));
        listen(&[plan(&address.to_string())], 1, directory.path()).expect("free again");
    }

    #[test]
    fn accepted_connections_inherit_what_was_set_on_the_listener() {
        let directory = tempfile::tempdir().expect("a directory");
        let (sockets, _locks) =
            listen(&[plan("127.0.0.1:0")], 1, directory.path()).expect("listen");
        let listener = &sockets[0][0].listener;
        let _client = std::net::TcpStream::connect(listener.local_addr().expect("an address"));
        listener.set_nonblocking(false).expect("blocking");
        let (accepted, _) = listener.accept().expect("accept");
        let socket = socket2::SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().expect("an option"));
        assert!(socket.keepalive().expect("an option"));
        let keep_alive = socket.tcp_keepalive_time().expect("an option");
        assert_eq!(keep_alive.as_secs(), limits::TCP_KEEP_ALIVE_S);
        let user_timeout = socket.tcp_user_timeout().expect("an option").expect("set");
        assert_eq!(user_timeout.as_millis(), u128::from(limits::TCP_USER_TIMEOUT_MS));
    }
}
