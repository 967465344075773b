//! Starting a shard's thread, and what it is given.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::fabric::{Fabric, Published};
use super::listen::ListenerSocket;
use super::network::Kernel;
use super::{Shard, network};
use crate::dns::Question;
use crate::edge::{Core, Decided, Note, gateway};
use crate::limits;
use crate::policy::Snapshot;
use crate::poll::epoll::{self, Epoll};
use crate::poll::uring::Uring;
use crate::poll::{Choice, Poller};
use crate::time::Clock;

/// What one shard is to be.
#[derive(Debug)]
pub struct Setup {
    /// Its listeners, from [`super::listen`].
    pub listeners: Vec<ListenerSocket>,
    /// The core it is pinned to.
    pub core: Option<usize>,
    /// How it waits.
    pub poller: Choice,
    /// Numbers.
    pub settings: Settings,
}

/// The numbers a shard works by.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Which shard, counted from 0.
    pub shard: u16,
    /// Microseconds to wait for company after a small turn, at most [`limits::COALESCE_US_MAX`].
    pub coalesce_us: u32,
    /// Time for a TLS handshake.
    pub handshake_ms: u64,
    /// Time between [`crate::edge::Drain::Closing`] and the end, whatever is left.
    pub drain_timeout_ms: u64,
}

impl Settings {
    /// Returns the defaults for shard `shard`.
    #[must_use]
    pub const fn new(shard: u16) -> Self {
        Self { shard, coalesce_us: 0, handshake_ms: limits::HANDSHAKE_MS, drain_timeout_ms: 60_000 }
    }
}

/// What ties a shard to the rest of the process.
pub struct Links<C, S = TcpStream> {
    /// The other shards.
    pub fabric: Arc<Fabric<S>>,
    /// What control publishes.
    pub published: Arc<Published>,
    /// Where a snapshot goes that this shard has left; control frees it. Unbounded: it holds at
    /// most one for each publication and shard.
    pub retired: crossbeam::channel::Sender<Arc<Snapshot>>,
    /// Where questions go, with the number of this shard. Bounded by
    /// [`limits::QUESTIONS_MAX`] for each shard.
    pub questions: tokio::sync::mpsc::Sender<(u16, Question)>,
    /// Lines for the log, with the number of this shard; dropped and counted when it is full.
    pub notes: crossbeam::channel::Sender<(u16, Note)>,
    /// Verdicts for the decision log; dropped and counted when it is full. `None`: nobody writes.
    pub decisions: Option<crossbeam::channel::Sender<DecidedOn>>,
    /// Called once a second at most, for what the core counts.
    pub observe: Option<Observe<C>>,
    /// Takes what the store of authorisations is to write, without waiting for it; of a gateway.
    pub remember: Option<Remember>,
}

/// A verdict, with the shard that reached it and when.
#[derive(Debug)]
pub struct DecidedOn {
    /// Which shard.
    pub shard: u16,
    /// Seconds since 1970.
    pub unix_s: u64,
    /// What.
    pub decided: Box<Decided>,
}

/// Takes changes for the store of authorisations, in order.
pub type Remember = Box<dyn FnMut(&mut Vec<gateway::Change>) + Send>;

/// Looks at a core from its own thread.
pub type Observe<C> = Box<dyn FnMut(&C) + Send>;

/// Starts a shard's thread. `make` makes the core there, from the snapshot in force.
///
/// Returns once the thread runs, with its handle and the name of its poller. The thread ends when
/// the drain is complete; it panics when its poller fails, which none is expected to.
/// # Errors
/// The kernel's: no thread, the core cannot be used, or the poller asked for is not available.
pub fn spawn<C, F>(
    setup: Setup,
    links: Links<C>,
    clock: Clock,
    make: F,
) -> io::Result<(JoinHandle<io::Result<()>>, &'static str)>
where
    C: Core + 'static,
    F: FnOnce(Arc<Snapshot>) -> C + Send + 'static,
{
    let (started, starting) = crossbeam::channel::bounded(1);
    let name = format!("shard-{}", setup.settings.shard);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let begin = Begin { setup, links, clock, make, started };
        begin.run()
    })?;
    match starting.recv() {
        Ok(poller) => Ok((thread, poller)),
        // It ended before it said anything, and its own error says why.
        Err(_) => match thread.join() {
            Ok(Err(error)) => Err(error),
            _ => Err(io::Error::other("the shard's thread did not start")),
        },
    }
}

/// What the new thread takes with it.
struct Begin<C, F> {
    setup: Setup,
    links: Links<C>,
    clock: Clock,
    make: F,
    started: crossbeam::channel::Sender<&'static str>,
}

impl<C: Core, F: FnOnce(Arc<Snapshot>) -> C> Begin<C, F> {
    fn run(self) -> io::Result<()> {
        if let Some(core) = self.setup.core {
            epoll::pin(core)?;
        }
        // Where a filter of system calls forbids it, messages wait longer and nothing else happens.
        let _ = epoll::wake_promptly();
        // The ring belongs to the thread that makes it, so it is made here.
        match self.setup.poller {
            Choice::Epoll => self.run_with(Epoll::new()?),
            Choice::IoUring => self.run_with(Uring::new()?),
            Choice::Auto => match Uring::new() {
                Ok(ring) => self.run_with(ring),
                Err(_) => self.run_with(Epoll::new()?),
            },
        }
    }

    fn run_with<P: Poller>(self, poller: P) -> io::Result<()> {
        let name = poller.name();
        let snapshot = self.links.published.snapshot.load_full();
        let epoch = snapshot.epoch;
        let core = (self.make)(snapshot);
        let Setup { listeners, settings, .. } = self.setup;
        let network: network::Kernel = Kernel;
        let mut shard = Shard::new(poller, network, core, listeners, settings, self.links, epoch)?;
        let _ = self.started.send(name);
        outlive(settings.shard, shard.run(&self.clock));
        Ok(())
    }
}

/// A shard that stops serving ends the process, and what watches over it starts another: its
/// listeners would still take connections, and its legs would look alive to their peers.
fn outlive(shard: u16, ended: io::Result<()>) {
    if let Err(error) = ended {
        panic!("shard {shard} cannot wait for the network any more: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "shard 3 cannot wait for the network any more: out of memory")]
    fn a_shard_without_its_poller_ends_the_process() {
        outlive(3, Err(io::ErrorKind::OutOfMemory.into()));
    }

    #[test]
    fn a_shard_that_drained_ends_quietly() {
        outlive(3, Ok(()));
    }
}
