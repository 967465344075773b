//! Connecting: the addresses of one target, a little apart, and the first that answers (RFC 8305).

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use slab::Slab;
use smallvec::SmallVec;

use super::Shard;
use super::close::class_text;
use super::commands::Deferred;
use super::counters::Count;
use super::legs::{Inbox, Leg, Origin, Source, State, Unsent};
use super::network::{Network, Stream};
use super::timers::Fifos;
use crate::dns::Domain;
use crate::edge::{Class, Connect, ConnectFailure, Core, LegId, OutletId, Severity};
use crate::limits;
use crate::policy::{AnchorSet, ExpectedNames};
use crate::poll::{Interest, Poller};
use crate::time::{Monotonic, Now};

/// Timer until the next address is tried.
const STAGGER: usize = 0;
/// Timer until the last address tried counts as dead.
const LAST: usize = 1;

/// One target that is being connected to.
struct Dial {
    outlet: OutletId,
    connected: Connected,
    /// Addresses not tried yet.
    left: VecDeque<SocketAddr>,
    /// Attempts under way: legs in the state [`State::Connecting`].
    attempts: SmallVec<[LegId; 2]>,
}

/// What TLS needs once a connection stands, or once it is asked for.
pub(super) struct Connected {
    pub(super) class: Class,
    pub(super) server_name: Domain,
    pub(super) expected_names: ExpectedNames,
    pub(super) anchors: Option<AnchorSet>,
}

/// The targets of one shard.
pub(super) struct Dials {
    dials: Slab<Dial>,
    timers: Fifos<2>,
}

impl Dials {
    pub(super) fn new() -> Self {
        let timers = Fifos::new([limits::CONNECT_STAGGER_MS, limits::CONNECT_MS]);
        Self { dials: Slab::new(), timers }
    }

    pub(super) fn len(&self) -> usize {
        self.dials.len()
    }

    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        self.timers.next_deadline()
    }

    /// Takes a dial whose timer has run out.
    pub(super) fn pop_due(&mut self, now: Monotonic) -> Option<u32> {
        self.timers.pop_due(now).map(|(dial, _)| dial)
    }
}

impl<P: Poller, N: Network, C: Core> Shard<P, N, C> {
    /// Begins to connect to a target.
    pub(super) fn dial(&mut self, now: Now, connect: Connect) {
        let Connect { outlet, class, server_name, expected_names, addresses, anchors } = connect;
        let connected = Connected { class, server_name, expected_names, anchors };
        let left = interleave(&addresses);
        let dial = Dial { outlet, connected, left, attempts: SmallVec::new() };
        let dial = self.dials.dials.insert(dial) as u32;
        self.try_next(now, dial, "it has no address");
    }

    /// Tries the next address that the kernel does not refuse at once.
    ///
    /// `before`: why the one before failed, for the log if there is none left.
    fn try_next(&mut self, now: Now, dial: u32, before: &str) {
        let mut why = before.to_owned();
        // Bound: each pass takes an address.
        while let Some(this) = self.dials.dials.get_mut(dial as usize) {
            let Some(address) = this.left.pop_front() else {
                match this.attempts.is_empty() {
                    true => self.dial_failed(dial, ConnectFailure::Unreachable, &why),
                    false => self.dials.timers.start(now.monotonic, dial, LAST),
                }
                return;
            };
            let timer = if this.left.is_empty() { LAST } else { STAGGER };
            match self.attempt(now, dial, address) {
                Ok(()) => {
                    self.dials.timers.start(now.monotonic, dial, timer);
                    return;
                }
                Err(error) if exhausted(&error) => {
                    let error = error.to_string();
                    self.dial_failed(dial, ConnectFailure::Exhausted, &error);
                    return;
                }
                Err(error) => why = format!("{address}: {error}"),
            }
        }
    }

    /// Begins one attempt.
    fn attempt(&mut self, now: Now, dial: u32, address: SocketAddr) -> io::Result<()> {
        let Some(this) = self.dials.dials.get_mut(dial as usize) else { return Ok(()) };
        if self.links.fabric.budget.take_outgoing().is_err() {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        self.counters.add(Count::ConnectAttempts, 1);
        let stream = self.network.connect(address).inspect_err(|_| {
            self.links.fabric.budget.give_outgoing();
        })?;
        let fd = stream.fd();
        let id = self.legs.insert(Leg {
            stream,
            class: this.connected.class,
            check: false,
            origin: Origin::Outgoing { outlet: this.outlet },
            remote: address,
            local: address,
            since: now.monotonic,
            inbox: Inbox::default(),
            unsent: Unsent::default(),
            state: State::Connecting { dial },
        });
        this.attempts.push(id);
        self.count_load();
        if let Err(error) = self.poller.add(fd, Source::Leg(id).token(), Interest::ReadWrite) {
            self.release(id);
            if let Some(this) = self.dials.dials.get_mut(dial as usize) {
                this.attempts.retain(|attempt| *attempt != id);
            }
            return Err(error);
        }
        Ok(())
    }

    /// The poller called about an attempt.
    pub(super) fn attempt_ready(&mut self, now: Now, id: LegId, dial: u32) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        match leg.stream.connected() {
            Ok(()) => {
                leg.local = leg.stream.local_address().unwrap_or(leg.local);
                self.attempt_won(now, id, dial);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                let why = format!("{}: {error}", leg.remote);
                self.attempt_failed(now, id, dial, &why);
            }
        }
    }

    /// The first connection that stands ends all other attempts.
    fn attempt_won(&mut self, now: Now, id: LegId, dial: u32) {
        let Some(dial) = self.remove_dial(dial) else { return };
        for other in dial.attempts.iter().filter(|attempt| **attempt != id) {
            self.forget(*other);
        }
        self.begin_calling(now, id, dial.connected);
        self.run_commands(now);
    }

    /// An attempt that failed does not make the next one wait (RFC 8305 section 5).
    pub(super) fn attempt_failed(&mut self, now: Now, id: LegId, dial: u32, why: &str) {
        self.forget(id);
        if let Some(this) = self.dials.dials.get_mut(dial as usize) {
            this.attempts.retain(|attempt| *attempt != id);
            if !this.left.is_empty() || this.attempts.is_empty() {
                self.try_next(now, dial, why);
            }
        }
    }

    /// The next address is due, or there is none and the last has had its time.
    pub(super) fn dial_timed_out(&mut self, now: Now, dial: u32) {
        let Some(this) = self.dials.dials.get_mut(dial as usize) else { return };
        if !this.left.is_empty() {
            self.try_next(now, dial, "no answer");
            return;
        }
        for attempt in std::mem::take(&mut this.attempts) {
            self.forget(attempt);
        }
        self.dial_failed(dial, ConnectFailure::Unreachable, "no answer in time");
    }

    /// Ends a dial; the core hears of it next turn, so that it may dial again at once.
    fn dial_failed(&mut self, dial: u32, failure: ConnectFailure, why: &str) {
        let Some(dial) = self.remove_dial(dial) else { return };
        self.counters.connect_failed(failure);
        let Connected { class, server_name, .. } = &dial.connected;
        let sentence =
            format!("a connection to {server_name} ({}) failed: {why}", class_text(*class));
        self.note_of(None, Severity::Info, sentence);
        self.deferred.push_back(Deferred::ConnectFailed(dial.outlet, failure));
    }

    fn remove_dial(&mut self, dial: u32) -> Option<Dial> {
        self.dials.timers.stop(dial);
        self.dials.dials.try_remove(dial as usize)
    }
}

/// Whether the kernel has nothing left to connect with, so that other addresses would not help.
fn exhausted(error: &io::Error) -> bool {
    let out_of = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    error.raw_os_error().is_some_and(|code| out_of.contains(&code))
}

/// Orders addresses so that families take turns, beginning with the first one's (RFC 8305 section
/// 4), and keeps no more than will be tried.
fn interleave(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let first_is_ipv6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let of_family =
        |first: bool| addresses.iter().filter(move |a| (a.is_ipv6() == first_is_ipv6) == first);
    let (mut first, mut second) = (of_family(true), of_family(false));
    let mut ordered = VecDeque::new();
    for _ in 0..limits::CONNECT_ADDRESSES_MAX {
        ordered.extend(first.next());
        ordered.extend(second.next());
    }
    ordered.truncate(limits::CONNECT_ADDRESSES_MAX);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &[&str]) -> Vec<SocketAddr> {
        text.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn families_take_turns_beginning_with_the_preferred_one() {
        let given =
            addresses(&["[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1", "192.0.2.2:1"]);
        let ordered: Vec<_> = interleave(&given).into();
        assert_eq!(
            ordered,
            addresses(&["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "192.0.2.2:1"])
        );
        let one_family = addresses(&["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"]);
        assert_eq!(Vec::from(interleave(&one_family)), one_family);
    }

    #[test]
    fn no_more_addresses_are_tried_than_the_limit() {
        let many: Vec<_> = (1..=40).map(|port| SocketAddr::from(([192, 0, 2, 1], port))).collect();
        assert_eq!(interleave(&many).len(), limits::CONNECT_ADDRESSES_MAX);
        assert!(interleave(&[]).is_empty());
    }
}
