//! Reading a leg: socket, TLS, core; within the leg's share of the turn.

use std::io::ErrorKind;

use super::Shard;
use super::close::Why;
use super::counters::{Count, Counters};
use super::legs::{Established, Inbox, Joined, Leg, Secure, State};
use super::network::{Network, Stream};
use crate::edge::{Command, Core, Effects, Fed, LegId};
use crate::limits;
use crate::poll::Poller;
use crate::time::Now;
use crate::tls;

/// What one read brought.
pub(super) enum Took {
    Bytes(usize),
    /// There is nothing; the poller will tell.
    Nothing,
    /// The peer has sent its last byte.
    End,
    /// The connection is lost.
    Broken,
}

/// Reads once and keeps account of whether more may be there.
#[inline]
pub(super) fn take<S: Stream>(
    stream: &mut S,
    inbox: &mut Inbox,
    counters: &mut Counters,
    room: &mut [u8],
) -> Took {
    counters.add(Count::Reads, 1);
    match stream.read(room) {
        Ok(0) => {
            inbox.readable = false;
            Took::End
        }
        Ok(read) => {
            counters.add(Count::ReadBytes, read);
            let drained = S::SHORT_READ_DRAINS && read < room.len() && !inbox.hangup;
            inbox.readable = !drained;
            Took::Bytes(read)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            inbox.readable = false;
            Took::Nothing
        }
        // A signal came: the leg stays readable and is served again.
        Err(error) if error.kind() == ErrorKind::Interrupted => Took::Nothing,
        Err(_) => {
            inbox.readable = false;
            Took::Broken
        }
    }
}

/// Keeps what TLS did not consume of `whole`; holds no memory when that is nothing.
#[inline]
pub(super) fn keep_partial(partial: &mut Vec<u8>, whole: &[u8], consumed: usize) {
    let rest = whole.get(consumed..).unwrap_or_default();
    if rest.is_empty() {
        if partial.capacity() > 0 {
            *partial = Vec::new();
        }
    } else {
        partial.clear();
        partial.extend_from_slice(rest);
    }
}

/// How serving a leg ended.
enum Served {
    /// Nothing is left to do until the poller calls.
    Drained,
    /// Its share of the turn is used up.
    LeftOver,
    /// The peer will send no more.
    Ended(Why),
    /// TLS broke; an alert may be waiting in the out-buffer.
    Faulted(tls::Fault),
    /// The connection is lost.
    Broken,
    /// The core wants nothing more of it, or it outgrew every message.
    Dead,
}

impl<P: Poller, N: Network, C: Core> Shard<P, N, C> {
    /// Serves a leg that has something to read, in whatever state.
    pub(super) fn serve(&mut self, now: Now, id: LegId) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        match &leg.state {
            State::Established(_) => {
                self.serving(id);
                self.serve_established(now, id);
                self.run_commands(now);
            }
            State::Greeting(_) => self.greet(now, id),
            State::Handshaking(_) => self.queue_handshake(id),
            State::Flushing(_) | State::Lingering => {
                self.discard(now, id);
                self.run_commands(now);
            }
            State::Connecting { .. } => {}
        }
    }

    /// Puts a leg among those that are served next turn.
    pub(super) fn serve_later(&mut self, id: LegId) {
        if let Some(leg) = self.legs.get_mut(id)
            && !std::mem::replace(&mut leg.inbox.queued, true)
        {
            self.again.push_back(id);
        }
    }

    /// Hot: once for each leg that is readable, in each turn.
    fn serve_established(&mut self, now: Now, id: LegId) {
        if !self.still_trusted(now, id) {
            return;
        }
        let Self { legs, core, effects, read_buffer, out, counters, .. } = self;
        let Some(leg) = legs.get_mut(id) else { return };
        let Leg { stream, inbox, class, state: State::Established(established), .. } = leg else {
            return;
        };
        let Established { secure, ending: None, clear, .. } = &mut **established else { return };
        if clear.as_ref().is_some_and(|clear| clear.begins.is_some()) {
            return;
        }
        // A partner that does not read is not read; its socket keeps the rest. Next hops and
        // gateways always are, or two that wait for each other would stand still.
        let backlog = effects.backlog(id).unwrap_or(0);
        if !class.is_inside() && backlog > limits::LEG_OUT_HIGH_WATER_BYTES {
            counters.add(Count::LegsHeld, 1);
            return;
        }
        let messages = limits::MESSAGES_PER_TURN_MAX;
        let mut feeding =
            Feeding { now, id, core, effects, messages, dead: false, records: 0, joins: 0 };
        let served = read_and_feed(stream, inbox, secure, read_buffer, out, counters, &mut feeding);
        counters.add(Count::RecordsRead, feeding.records);
        counters.add(Count::RecordsJoined, feeding.joins);
        if !self.out.is_empty() && !self.send_out(now, id) {
            return;
        }
        match served {
            Served::Drained => {}
            Served::LeftOver => {
                self.counters.add(Count::LegBudgetsSpent, 1);
                self.serve_later(id);
            }
            Served::Ended(why) => self.end(id, why),
            Served::Faulted(fault) => self.fault(now, id, fault),
            Served::Broken => self.lose(now, id, Why::Reset),
            Served::Dead => {
                // The core's own reason, if it gave one, comes first.
                self.run_commands(now);
                self.end(id, Why::FRAMING_LOST);
            }
        }
    }

    /// Reads away what still comes on a leg that is being closed.
    fn discard(&mut self, now: Now, id: LegId) {
        let Self { legs, read_buffer, counters, .. } = self;
        let Some(leg) = legs.get_mut(id) else { return };
        let Leg { stream, inbox, .. } = leg;
        let room = read_buffer.get_mut(..limits::READ_BYTES_PER_TURN_MAX).unwrap_or_default();
        match take(stream, inbox, counters, room) {
            Took::Bytes(_) if inbox.readable => self.serve_later(id),
            Took::Bytes(_) => {}
            Took::Nothing => {}
            Took::End => self.peer_has_closed(id),
            Took::Broken => self.lose(now, id, Why::Reset),
        }
    }
}

/// Reads until the socket is empty or the leg's share is used up.
#[inline]
fn read_and_feed<S: Stream, C: Core>(
    stream: &mut S,
    inbox: &mut Inbox,
    secure: &mut Secure,
    read_buffer: &mut [u8],
    out: &mut Vec<u8>,
    counters: &mut Counters,
    feeding: &mut Feeding<'_, C>,
) -> Served {
    let Secure { session, partial, joined } = secure;
    feeding.joined(joined);
    let mut budget = limits::READ_BYTES_PER_TURN_MAX;
    // Bound: each pass takes from the budget, or finds the socket empty.
    let served = loop {
        if feeding.dead {
            break Served::Dead;
        }
        if feeding.messages == 0 || budget == 0 {
            break if joined.due() || inbox.readable { Served::LeftOver } else { Served::Drained };
        }
        if !inbox.readable {
            break Served::Drained;
        }
        let kept = partial.len();
        let Some((front, room)) = read_buffer.split_at_mut_checked(kept) else {
            break Served::Dead;
        };
        front.copy_from_slice(partial);
        let room = room.get_mut(..budget).unwrap_or_default();
        let read = match take(stream, inbox, counters, room) {
            Took::Bytes(read) => read,
            Took::Nothing if inbox.readable => break Served::LeftOver,
            Took::Nothing => break Served::Drained,
            // Without TLS there is no goodbye to miss; the core knows whether the stream had ended.
            Took::End if session.is_clear() => break Served::Ended(Why::ByPeer),
            Took::End => break Served::Ended(Why::ByPeerUncleanly),
            Took::Broken => break Served::Broken,
        };
        budget -= read;
        let whole = read_buffer.get_mut(..kept + read).unwrap_or_default();
        match session.feed(whole, out, |record| feeding.record(joined, record)) {
            Ok(fed) => {
                keep_partial(partial, whole, fed.consumed);
                if fed.state == tls::State::PeerClosed {
                    break Served::Ended(Why::ByPeer);
                }
            }
            Err(fault) => break Served::Faulted(fault),
        }
    };
    if matches!(served, Served::Ended(_)) {
        // What came before the end is still served; it is bounded by what one turn may read.
        feeding.messages = usize::MAX;
        feeding.joined(joined);
    }
    joined.compact();
    served
}

/// Hands plaintext of one leg to the core, message by message.
struct Feeding<'a, C> {
    now: Now,
    id: LegId,
    core: &'a mut C,
    effects: &'a mut Effects,
    /// Messages the leg may still have served in this turn.
    messages: usize,
    dead: bool,
    records: usize,
    joins: usize,
}

impl<C: Core> Feeding<'_, C> {
    /// Gives the core one message, and looks whether it closed the leg over it.
    #[inline]
    fn feed(&mut self, input: &[u8]) -> Fed {
        let before = self.effects.commands.len();
        let fed = self.core.feed(self.now, self.id, input, self.effects);
        // Commands are run after the read that led to them; these count at once.
        for command in self.effects.commands.iter().skip(before) {
            match command {
                Command::Close { leg, .. } if *leg == self.id => self.dead = true,
                // This was the last message in the clear: what comes behind it is not fed.
                Command::StartTls { leg, .. } if *leg == self.id => self.messages = 1,
                _ => {}
            }
        }
        fed
    }

    /// Takes one record's plaintext; what cannot be served at once is joined to what waits.
    #[inline]
    fn record(&mut self, joined: &mut Joined, record: &[u8]) {
        self.records += 1;
        if self.dead {
            return;
        }
        if !joined.is_empty() {
            self.joins += 1;
            joined.append(record);
            self.joined(joined);
            return;
        }
        let mut rest = record;
        let mut need = 0;
        // Bound: each pass serves one message of the share.
        while !rest.is_empty() && self.messages > 0 {
            match self.feed(rest) {
                Fed::Consumed(bytes) => {
                    assert!(bytes > 0 && bytes <= rest.len(), "a core consumes what it was given");
                    rest = rest.get(bytes..).unwrap_or_default();
                    self.messages -= 1;
                    if self.dead {
                        return;
                    }
                }
                Fed::NeedMore(bytes) => {
                    need = bytes.max(rest.len() + 1);
                    break;
                }
                Fed::Dead => {
                    self.dead = true;
                    return;
                }
            }
        }
        if !rest.is_empty() {
            joined.keep(rest, need);
        }
    }

    /// Serves what was joined, as far as it is whole and the share lasts.
    fn joined(&mut self, joined: &mut Joined) {
        while !self.dead && self.messages > 0 && joined.due() {
            match self.feed(joined.unread()) {
                Fed::Consumed(bytes) => {
                    assert!(bytes > 0, "a core consumes what it was given");
                    joined.consume(bytes);
                    self.messages -= 1;
                }
                Fed::NeedMore(bytes) => joined.need(bytes.max(joined.len() + 1)),
                Fed::Dead => self.dead = true,
            }
        }
        // The core refuses a message that is too long; this is for a core that does not.
        const MOST: usize = limits::SIP_MESSAGE_BYTES_MAX + limits::READ_BYTES_PER_TURN_MAX;
        self.dead |= joined.len() > MOST;
    }
}
