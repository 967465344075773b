//! Writing: what a turn staged for a leg is sealed at its end and goes out in one write.

use std::io::ErrorKind;
use std::net::Shutdown;

use super::close::Why;
use super::counters::{Count, Counters};
use super::legs::{Established, HalfOpen, Known, Leg, State};
use super::network::{Network, Stream};
use super::{Shard, leg_timer};
use crate::edge::{Core, LegId};
use crate::limits;
use crate::poll::Poller;
use crate::time::Now;

/// What became of bytes for the socket.
enum Wrote {
    All,
    /// So many; the poller will tell when there is room again.
    Part(usize),
    /// The connection is lost.
    Broken,
}

/// Writes until all is taken or the socket is full.
///
/// One call in the ordinary case. After a short write a second one makes sure that the kernel knows
/// somebody waits for room.
#[inline]
fn write<S: Stream>(stream: &mut S, bytes: &[u8], counters: &mut Counters) -> Wrote {
    let mut done = 0;
    // Bound: each pass writes at least one byte or ends.
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        counters.add(Count::Writes, 1);
        match stream.write(rest) {
            Ok(0) => return Wrote::Broken,
            Ok(taken) => {
                done += taken;
                counters.add(Count::WrittenBytes, taken);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                counters.add(Count::WritesPartial, 1);
                return Wrote::Part(done);
            }
            Err(_) => return Wrote::Broken,
        }
    }
    Wrote::All
}

impl<P: Poller, N: Network, C: Core> Shard<P, N, C> {
    /// Seals and writes what is staged on every leg, and goes on with what was left unsent.
    pub(super) fn flush(&mut self, now: Now) {
        self.effects.take_dirty(&mut self.dirty);
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            self.flush_leg(now, id);
        }
        // What the flush itself caused (a lost leg's messages fail over) is for the next turn,
        // which then does not wait.
        self.effects.take_dirty(&mut dirty);
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
    }

    /// Hot: once for each leg that has something to say, in each turn.
    fn flush_leg(&mut self, now: Now, id: LegId) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        if !leg.unsent.is_empty() && !self.flush_unsent(now, id) {
            return;
        }
        if !self.still_trusted(now, id) {
            return;
        }
        let Self { legs, effects, out, .. } = self;
        let Some(leg) = legs.get_mut(id) else { return };
        match &mut leg.state {
            State::Established(established) => {
                let Established { secure, ending, clear, .. } = &mut **established;
                let mut sealed = Ok(());
                if let Some(staged) = effects.staged_mut(id)
                    && !staged.is_empty()
                {
                    sealed = secure.session.seal(staged, out);
                    effects.clear_staged(id);
                }
                if let Err(fault) = sealed {
                    self.fault(now, id, fault);
                    return;
                }
                let why = ending.take();
                if let Some(why) = why {
                    if let Some(HalfOpen(source)) = clear.take().and_then(|clear| clear.half_open) {
                        self.links.fabric.budget.give_half_open(source);
                    }
                    secure.session.close_notify(out);
                    leg.state = State::Flushing(Box::new(why));
                    effects.close(id);
                    self.timers.start(now.monotonic, id.index, leg_timer::LINGER);
                }
                if self.send_out(now, id) && self.begin_tls(now, id) {
                    self.finish_flushing(now, id);
                    self.read_again(id);
                }
            }
            State::Flushing(_) => self.finish_flushing(now, id),
            State::Lingering => leg.stream.shutdown(Shutdown::Write),
            State::Handshaking(handshaking) => {
                if let Known::Yes { ending } = &mut handshaking.known
                    && let Some(why) = ending.take()
                {
                    self.conclude(now, id, &why);
                    self.forget(id);
                }
            }
            State::Connecting { .. } | State::Greeting(_) => {}
        }
        self.run_commands(now);
    }

    /// Ends a leg whose last bytes are out.
    fn finish_flushing(&mut self, now: Now, id: LegId) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        if !leg.unsent.is_empty() || !matches!(leg.state, State::Flushing(_)) {
            return;
        }
        if let State::Flushing(why) = std::mem::replace(&mut leg.state, State::Lingering) {
            leg.stream.shutdown(Shutdown::Write);
            self.conclude(now, id, &why);
            self.serve_later(id);
        }
    }

    /// Writes what waits for the socket; returns whether all of it went.
    fn flush_unsent(&mut self, now: Now, id: LegId) -> bool {
        let Self { legs, counters, .. } = self;
        let Some(Leg { stream, unsent, .. }) = legs.get_mut(id) else { return false };
        match write(stream, unsent.bytes(), counters) {
            Wrote::All => {
                unsent.sent(unsent.len());
                self.note_unsent(now, id);
                true
            }
            Wrote::Part(0) => false,
            Wrote::Part(taken) => {
                unsent.sent(taken);
                self.note_unsent(now, id);
                false
            }
            Wrote::Broken => {
                self.lose(now, id, Why::Reset);
                false
            }
        }
    }

    /// Writes the out-buffer to the leg, behind what waits already; keeps what does not fit.
    ///
    /// Returns whether the leg is still there.
    pub(super) fn send_out(&mut self, now: Now, id: LegId) -> bool {
        let Self { legs, counters, out, .. } = self;
        let Some(Leg { stream, unsent, .. }) = legs.get_mut(id) else {
            out.clear();
            return false;
        };
        let wrote = match unsent.is_empty() {
            true => write(stream, out, counters),
            false => Wrote::Part(0),
        };
        let there = match wrote {
            Wrote::All => true,
            Wrote::Part(taken) => {
                unsent.keep(out.get(taken..).unwrap_or_default());
                self.note_unsent(now, id);
                true
            }
            Wrote::Broken => {
                self.lose(now, id, Why::Reset);
                false
            }
        };
        self.out.clear();
        self.out.shrink_to(limits::LEG_OUT_BYTES_MAX);
        there
    }

    /// Tells the core how much waits for the socket, and watches that it goes on.
    pub(super) fn note_unsent(&mut self, now: Now, id: LegId) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let waiting = leg.unsent.len();
        if !matches!(leg.state, State::Established(_)) {
            return;
        }
        self.effects.set_unsent(id, waiting);
        if waiting > 0 {
            self.timers.start(now.monotonic, id.index, leg_timer::WRITE_STALL);
            return;
        }
        self.timers.stop(id.index);
        self.read_again(id);
    }

    /// Reads a leg again that was held because of what waited for it; the poller will not tell.
    fn read_again(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        if leg.inbox.readable && matches!(leg.state, State::Established(_)) {
            let backlog = self.effects.backlog(id).unwrap_or(0);
            if backlog <= limits::LEG_OUT_HIGH_WATER_BYTES {
                self.serve_later(id);
            }
        }
    }
}
