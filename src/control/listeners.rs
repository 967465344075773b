//! Where connections are accepted: sockets of our own, or those the service manager passes.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::roles::Roles;
use crate::config::Config;
use crate::edge::Class;
use crate::shard::{self, ListenerPlan, ListenerSocket, Locks};

/// Directories for lock files, the first that can be written to.
const LOCK_DIRECTORIES: [&str; 3] = ["/run/entente", "/run/lock", "/tmp"];

/// Listens for the shards of each role; a socket of `passed` serves the listener of its address,
/// shared by all of these, and needs no lock because its owner keeps others away.
pub(super) fn listen(
    config: &Config,
    roles: &Roles,
    mut passed: Vec<TcpListener>,
) -> anyhow::Result<(Vec<Vec<ListenerSocket>>, Locks)> {
    let mut own = Vec::new();
    let mut adopted = Vec::new();
    for (index, plan) in plans(config, roles).into_iter().enumerate() {
        let index = u16::try_from(index).context("more listeners than can be numbered")?;
        let has_address =
            |socket: &TcpListener| socket.local_addr().is_ok_and(|address| address == plan.address);
        match passed.iter().position(has_address) {
            Some(place) => adopted.push((index, plan, passed.swap_remove(place))),
            None => own.push((index, plan)),
        }
    }
    if let Some(stranger) = passed.first() {
        let address = stranger.local_addr()?;
        bail!("a socket for {address} was passed, which no listener of the configuration names");
    }
    let plans: Vec<ListenerPlan> = own.iter().map(|(_, plan)| plan.clone()).collect();
    let (mut sockets, locks) = shard::listen(&plans, roles.total(), lock_directory()?)?;
    for socket in sockets.iter_mut().flatten() {
        // Numbered among our own so far; everybody else counts all listeners.
        socket.index = own[usize::from(socket.index)].0;
    }
    for (index, plan, socket) in adopted {
        shard::adopt(&socket).with_context(|| format!("socket for {}", plan.address))?;
        let proxy_from: Arc<[_]> = plan.proxy_from.as_slice().into();
        for of_shard in sockets.iter_mut().take(plan.shards.end).skip(plan.shards.start) {
            of_shard.push(ListenerSocket {
                listener: socket.try_clone()?,
                class: plan.class,
                index,
                proxy_from: Arc::clone(&proxy_from),
            });
        }
    }
    Ok((sockets, locks))
}

/// Returns what is listened on, in the order in which TLS knows it: the listeners of the edge, then
/// those of the gateway.
fn plans(config: &Config, roles: &Roles) -> Vec<ListenerPlan> {
    let of_edge = config.listeners.iter().map(|listener| ListenerPlan {
        address: listener.address,
        class: listener.class,
        proxy_from: listener.proxy_protocol_from.clone(),
        shards: roles.of_class(listener.class),
    });
    let of_gateway = config.gateway_listeners().iter().map(|address| ListenerPlan {
        address: *address,
        class: Class::Internal,
        proxy_from: Vec::new(),
        shards: roles.gateway(),
    });
    of_edge.chain(of_gateway).collect()
}

/// Returns every address that a process with this configuration serves: those of the edge, then
/// those of the gateway, then those of the A/V Edge.
#[must_use]
pub fn listening(config: &Config) -> Vec<SocketAddr> {
    let of_edge = config.listeners.iter().map(|listener| listener.address);
    let of_gateway = config.gateway_listeners().iter().copied();
    let of_relay = config.av_listeners.iter().map(|listener| listener.address);
    of_edge.chain(of_gateway).chain(of_relay).collect()
}

fn lock_directory() -> anyhow::Result<&'static Path> {
    let writable = |directory: &&&str| {
        let path = Path::new(directory).join(format!(".entente-{}", std::process::id()));
        let made = std::fs::File::create(&path).is_ok();
        made && std::fs::remove_file(&path).is_ok()
    };
    let directory = LOCK_DIRECTORIES.iter().find(writable).context("no directory for locks")?;
    Ok(Path::new(directory))
}
