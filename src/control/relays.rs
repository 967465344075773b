//! The A/V Edge as control starts, feeds and ends it.
//!
//! `setup` reads from the configuration what it is made from, `told` says how it is.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::board::Board;
use super::start::Running;
use crate::admin::{Outcome, RelayOrder, Reply};
use crate::config::Config;
use crate::edge::av::{Admission, Client, Dropped, Transport};
use crate::relay::{self, Handle, Listed, Observed};
use crate::time::{Clock, Monotonic};
use crate::tls;

mod setup;
mod strangers;
mod told;

pub(super) use setup::{descriptors, media_credentials, tls_plan};
use setup::{quotas, setup, tls_servers};
pub use setup::{relay_credentials, relay_peers};
use strangers::Line;
pub(super) use strangers::Strangers;

/// How often a drain looks whether it is over.
const DRAIN_LOOK: Duration = Duration::from_millis(100);

/// The relay. Readers of its counters meet its start and its end.
#[derive(Debug, Default)]
pub(super) struct Relays(Mutex<State>);

/// How the relay is.
#[derive(Debug, Default)]
enum State {
    /// It was never started: there is no `[[av_listener]]`.
    #[default]
    None,
    Running(Arc<Handle>),
    /// Its threads have ended; the rest of the process may take longer to drain, and is scraped.
    Ended(Ended),
}

/// What is left of a relay.
#[derive(Clone, Debug)]
struct Ended {
    /// What it has counted.
    observed: Observed,
    /// What its threads moved datagrams by: there are none by any of these any more.
    paths: Vec<&'static str>,
}

impl Relays {
    /// Starts what `config` wants; nothing without an `[[av_listener]]`.
    ///
    /// `seed`: random, for keys that no secret of the pool stands for.
    /// # Errors
    /// In an operator's words: an address cannot be bound.
    pub(super) fn start(
        &self,
        config: &Config,
        material: &tls::Material,
        clock: &Clock,
        seed: &[u64; 2],
    ) -> anyhow::Result<()> {
        if config.av_listeners.is_empty() {
            return Ok(());
        }
        let handle = relay::spawn(setup(config, material, seed), *clock);
        let handle = handle.map_err(|error| {
            let place = setup::place(config, &error);
            anyhow::Error::new(error).context(format!(
                "the A/V Edge cannot start ({place}; `entente check` says what to do)"
            ))
        })?;
        let listeners: Vec<String> = handle.listeners().iter().map(ToString::to_string).collect();
        let (listeners, path) = (listeners.join(", "), told::path(&handle.paths()));
        let (trains, threads) = (handle.trains(), handle.threads());
        tracing::info!(listeners, path, trains, threads, "the A/V Edge serves");
        *self.held() = State::Running(Arc::new(handle));
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self) -> Option<Arc<Handle>> {
        match &*self.held() {
            State::Running(handle) => Some(Arc::clone(handle)),
            State::None | State::Ended(_) => None,
        }
    }

    fn ended(&self) -> Option<Ended> {
        match &*self.held() {
            State::Ended(ended) => Some(ended.clone()),
            State::None | State::Running(_) => None,
        }
    }

    /// Puts what a reload may change in force; allocations stay.
    pub(super) fn adopt(&self, config: &Config, material: &tls::Material) {
        if let Some(handle) = self.handle() {
            handle.adopt_tls(&tls_servers(config, material));
            handle.adopt(relay_credentials(config), relay_peers(config), quotas(config));
        }
    }

    /// Takes no new allocations from here on.
    pub(super) fn announce_drain(&self, config: &Config) {
        if let Some(handle) = self.handle() {
            handle.admit(Admission::Draining { alternate: config.av.drain_to });
        }
    }

    /// Takes new allocations again.
    fn open(&self) {
        if let Some(handle) = self.handle() {
            handle.admit(Admission::Open);
        }
    }

    /// Waits until few enough allocations are left, at most `patience`, and ends.
    pub(super) fn drain(&self, config: &Config, patience: Duration) {
        let Some(handle) = self.handle() else { return };
        handle.admit(Admission::Draining { alternate: config.av.drain_to });
        let looks = patience.as_millis() / DRAIN_LOOK.as_millis();
        // Asked, since what was observed may be a second old and lack the allocation made last.
        let left = || handle.list(usize::MAX).allocations;
        let (allocations, below) = (left(), config.av.drain_below);
        let at_most_s = patience.as_secs();
        tracing::info!(allocations, below, at_most_s, "the A/V Edge drains");
        for _ in 0..looks {
            if left() <= config.av.drain_below {
                break;
            }
            std::thread::sleep(DRAIN_LOOK);
        }
        let left = left();
        tracing::info!(left, "the A/V Edge ends");
        drop(handle);
        self.end();
    }

    /// Ends the relay and every allocation. A second call finds none left.
    pub(super) fn end(&self) {
        let Some(handle) = self.handle() else { return };
        let paths = handle.paths().into_keys().collect();
        let observed = handle.observed().ended();
        // Held no longer than that: who scrapes does not wait for the threads.
        *self.held() = State::Ended(Ended { observed, paths });
        // Where somebody is asking it just now, it ends when he lets go, and what it counted in its
        // last second is left out.
        if let Some(handle) = Arc::into_inner(handle) {
            let last = handle.into_counted();
            if let State::Ended(ended) = &mut *self.held() {
                ended.observed = last;
            }
        }
    }

    /// Returns how the relay was at most a second ago.
    pub(super) fn observed(&self) -> Option<Observed> {
        self.handle().map(|handle| handle.observed())
    }

    /// Tells of strangers that are not answered, if there is something to tell: neither the log nor
    /// whoever reads it has anything of a line for each.
    pub(super) fn tell_of_strangers(&self, strangers: &mut Strangers, now: Monotonic) {
        let Some(observed) = self.observed() else { return };
        let withheld = observed.core.dropped[Dropped::AnswerRate as usize];
        match strangers.look(now, withheld) {
            Some(Line::Goes { unanswered }) => {
                let mostly = observed.withheld.mostly();
                let network = mostly.map(|(network, _)| tracing::field::display(network));
                let of_network_in_a_second = mostly.map(|(_, at_least)| at_least);
                tracing::warn!(
                    unanswered,
                    network,
                    of_network_in_a_second,
                    "strangers ask the A/V Edge more than it answers them: requests were dropped"
                );
            }
            Some(Line::Over { unanswered, lasted_s }) => tracing::info!(
                unanswered,
                lasted_s,
                "strangers ask the A/V Edge no more than it answers them"
            ),
            None => {}
        }
    }

    /// Ends the allocation of the client at `remote`, by whatever listener it came; `None` where
    /// no relay runs.
    pub(super) fn kill(&self, remote: SocketAddr) -> Option<bool> {
        let handle = self.handle()?;
        let listeners = handle.listeners().len() as u16;
        let clients = (0..listeners).flat_map(|listener| {
            [Transport::Udp, Transport::Stream].map(|transport| Client {
                listener,
                transport,
                remote,
            })
        });
        // Not `any`: the same address may have come by two listeners.
        Some(clients.map(|client| handle.kill(client)).fold(false, |one, other| one | other))
    }
}

/// Takes orders for the relay for as long as it runs, through the whole of a drain.
#[derive(Clone)]
pub struct RelayDesk(Arc<Board>);

impl RelayDesk {
    /// Carries out an order while the edge drains; `who` gave it, for the log. There is no way back
    /// to new allocations.
    #[must_use]
    pub fn carry_out(&self, order: &RelayOrder, who: &str) -> Reply {
        match order {
            RelayOrder::Open => Reply::not_done(Outcome::Conflict, "the edge drains, to its end"),
            order => carry_out(&self.0, order, who),
        }
    }
}

impl Running {
    /// Returns who takes orders for the relay while this edge drains.
    #[must_use]
    pub fn relay_desk(&self) -> RelayDesk {
        RelayDesk(Arc::clone(&self.board))
    }

    /// Returns the first allocations of the relay, at most [`crate::limits::RELAY_LISTED_MAX`];
    /// none where no relay runs.
    #[must_use]
    pub fn allocations(&self) -> Vec<Listed> {
        self.board.relays.handle().map_or_else(Vec::new, |handle| handle.list(0).listed)
    }

    /// Carries out an order for the relay; `who` gave it, for the log.
    pub(super) fn relay(&self, order: &RelayOrder, who: &str) -> Reply {
        carry_out(&self.board, order, who)
    }
}

fn carry_out(board: &Board, order: &RelayOrder, who: &str) -> Reply {
    let relays = &board.relays;
    let body = match order {
        RelayOrder::List { skip } => relays.list(*skip),
        RelayOrder::Kill { client } => {
            let killed = relays.kill(*client);
            if killed == Some(true) {
                tracing::info!(%client, "an allocation was ended, asked by {who}");
            }
            killed.map(|killed| json!({ "ended": killed }))
        }
        RelayOrder::Status => relays.full_status(&board.config.load()),
        RelayOrder::Drain => relays.observed().map(|observed| {
            tracing::info!("drain of the A/V Edge asked by {who}");
            let config = board.config.load();
            relays.announce_drain(&config);
            let status = relays.full_status(&config);
            status.unwrap_or_else(|| json!({ "allocations": observed.allocations }))
        }),
        RelayOrder::Open => relays.observed().map(|observed| {
            tracing::info!("the A/V Edge takes allocations again, asked by {who}");
            relays.open();
            json!({ "allocations": observed.allocations })
        }),
    };
    match body {
        Some(body) => Reply { outcome: Outcome::Done, body },
        None if relays.ended().is_some() => {
            Reply::not_done(Outcome::Conflict, "the A/V Edge has ended: the edge drains")
        }
        None => Reply::not_done(Outcome::Conflict, "this edge has no [[av_listener]]"),
    }
}
