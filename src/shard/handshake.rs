//! How TLS comes about: handshakes, in steps that queue, so that a storm of them cannot stall
//! established traffic; and legs that begin in the clear and ask for TLS later (STARTTLS).

use std::sync::Arc;

use super::close::{Unborn, Why};
use super::connect::Connected;
use super::counters::{Count, Direction};
use super::legs::{
    Clear, Established, HalfOpen, Handshaking, Input, Joined, Known, Leg, Origin, Secure, State,
};
use super::network::Network;
use super::serve::{Took, keep_partial, take};
use super::{Shard, leg_timer};
use crate::dns::Domain;
use crate::edge::{Core, LegId, Opened, Secured};
use crate::limits;
use crate::poll::Poller;
use crate::time::Now;
use crate::tls::{self, Session};

/// Bytes read for one step: a chain and what goes with it.
const STEP_BYTES: usize = limits::TLS_RECORD_BYTES_MAX;

impl<P: Poller, N: Network, C: Core> Shard<P, N, C> {
    /// Begins to serve an accepted leg; `first` is what came behind the PROXY header.
    pub(super) fn begin_serving(&mut self, now: Now, id: LegId, first: Vec<u8>) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let Origin::Accepted { listener } = leg.origin else { return };
        let State::Greeting(greeting) = &mut leg.state else { return };
        let server = self.material.server(leg.class, usize::from(listener));
        let session = match leg.class.begins_in_the_clear() {
            true => Ok(Session::clear()),
            false => Session::server(server),
        };
        match session {
            Ok(session) if session.is_clear() => {
                let half_open = Some(HalfOpen(greeting.source.take()));
                let clear = Clear { half_open, connected: None, begins: None };
                self.begin_in_the_clear(now, id, clear, &first);
            }
            Ok(session) => {
                let input = if first.is_empty() { Input::Nothing } else { Input::Fresh };
                let half_open = Some(HalfOpen(greeting.source.take()));
                let edition = self.material.edition();
                let secure = Secure { session, partial: first, joined: Joined::default() };
                let known = Known::Not;
                let handshaking = Handshaking { secure, edition, input, half_open, known };
                leg.state = State::Handshaking(Box::new(handshaking));
                if self.timers.running(id.index) == Some(leg_timer::PROXY_HEADER) {
                    self.timers.start(now.monotonic, id.index, leg_timer::HANDSHAKE);
                }
                self.queue_handshake(id);
            }
            Err(fault) => self.unborn(now, id, &Unborn::Fault(fault)),
        }
    }

    /// Goes on with an outgoing leg whose connection stands.
    pub(super) fn begin_calling(&mut self, now: Now, id: LegId, connected: Connected) {
        if connected.class.begins_in_the_clear() {
            let clear = Clear { half_open: None, connected: Some(connected), begins: None };
            self.begin_in_the_clear(now, id, clear, &[]);
            return;
        }
        match self.client(&connected, &connected.server_name) {
            Ok(session) => {
                let secure = Secure { session, partial: Vec::new(), joined: Joined::default() };
                let edition = self.material.edition();
                if let Some(leg) = self.legs.get_mut(id) {
                    leg.state = State::Handshaking(Box::new(Handshaking {
                        secure,
                        edition,
                        input: Input::Seen,
                        half_open: None,
                        known: Known::Not,
                    }));
                }
                self.timers.start(now.monotonic, id.index, leg_timer::HANDSHAKE);
                self.send_out(now, id);
                self.queue_handshake(id);
            }
            Err(fault) => {
                self.out.clear();
                self.unborn(now, id, &Unborn::Fault(fault));
            }
        }
    }

    /// Returns a client's session whose hello is in the out-buffer.
    fn client(&mut self, connected: &Connected, name: &Domain) -> Result<Session, tls::Fault> {
        let Connected { class, expected_names, anchors, .. } = connected;
        let (client, name) = self.material.client(*class, *anchors, name, expected_names)?;
        let mut session = Session::client(&client, name)?;
        session.start(&mut self.out)?;
        Ok(session)
    }

    /// Shows a leg to the core on which TLS is still to come.
    fn begin_in_the_clear(&mut self, now: Now, id: LegId, clear: Clear, first: &[u8]) {
        let edition = self.material.edition();
        let mut joined = Joined::default();
        joined.keep(first, 0);
        let secure = Secure { session: Session::clear(), partial: Vec::new(), joined };
        let clear = Some(Box::new(clear));
        self.introduce(now, id, Established { secure, judged: edition, ending: None, clear });
        self.run_commands(now);
    }

    /// Begins TLS on a leg that began in the clear, once all that was staged in the clear is on
    /// its way. Returns whether there is anything left to do for the leg in this turn.
    pub(super) fn begin_tls(&mut self, now: Now, id: LegId) -> bool {
        let Some(leg) = self.legs.get_mut(id) else { return false };
        let State::Established(established) = &mut leg.state else { return true };
        let Some(clear) = &mut established.clear else { return true };
        let Some(name) = clear.begins.take() else { return true };
        if !established.secure.joined.is_empty() {
            // It would be taken for what was encrypted (RFC 3207 section 6, for all STARTTLS).
            self.lose(now, id, Why::BehindStartTls);
            return false;
        }
        let (half_open, connected) = (clear.half_open.take(), clear.connected.take());
        let origin = leg.origin;
        let server = match origin {
            Origin::Accepted { listener } => {
                Some(Arc::clone(self.material.server(leg.class, usize::from(listener))))
            }
            Origin::Outgoing { .. } => None,
        };
        let session = match (server, connected) {
            (Some(server), _) => Session::server_as(&server, Some(name)),
            (None, Some(connected)) => self.client(&connected, &name),
            (None, None) => Err(tls::Fault::NotConfigured { what: "a way to begin TLS" }),
        };
        let Some(leg) = self.legs.get_mut(id) else { return false };
        let State::Established(established) = &mut leg.state else { return false };
        match session {
            Ok(session) => {
                let secure = Secure { session, partial: Vec::new(), joined: Joined::default() };
                let edition = self.material.edition();
                let (input, known) = (Input::Seen, Known::Yes { ending: None });
                let handshaking = Handshaking { secure, edition, input, half_open, known };
                leg.state = State::Handshaking(Box::new(handshaking));
                self.timers.start(now.monotonic, id.index, leg_timer::HANDSHAKE);
                if self.send_out(now, id) {
                    self.queue_handshake(id);
                }
            }
            Err(fault) => {
                if let Some(clear) = &mut established.clear {
                    clear.half_open = half_open;
                }
                self.out.clear();
                self.fault(now, id, fault);
            }
        }
        false
    }

    /// Puts the leg's next step behind those of all others, if there is anything to do.
    pub(super) fn queue_handshake(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let State::Handshaking(handshaking) = &leg.state else { return };
        let due = leg.inbox.readable || handshaking.input == Input::Fresh;
        if due && !std::mem::replace(&mut leg.inbox.queued, true) {
            self.handshakes.push_back(id);
        }
    }

    /// Does the oldest steps, as many as one turn may.
    pub(super) fn step_handshakes(&mut self, now: Now) {
        for _ in 0..limits::HANDSHAKES_PER_TURN_MAX {
            let Some(id) = self.handshakes.pop_front() else { return };
            if let Some(leg) = self.legs.get_mut(id) {
                leg.inbox.queued = false;
                self.serving(id);
                self.step_handshake(now, id);
                self.run_commands(now);
            }
        }
    }

    fn step_handshake(&mut self, now: Now, id: LegId) {
        let Self { legs, read_buffer, counters, out, .. } = self;
        let Some(leg) = legs.get_mut(id) else { return };
        let Leg { stream, inbox, state: State::Handshaking(handshaking), .. } = leg else { return };
        let Handshaking { secure: Secure { session, partial, joined }, input, .. } =
            &mut **handshaking;
        let kept = partial.len();
        let Some((front, room)) = read_buffer.split_at_mut_checked(kept) else { return };
        front.copy_from_slice(partial);
        let room = room.get_mut(..STEP_BYTES).unwrap_or_default();
        let took = if inbox.readable { take(stream, inbox, counters, room) } else { Took::Nothing };
        let read = match took {
            Took::Bytes(read) => read,
            Took::Nothing if *input == Input::Fresh => 0,
            Took::Nothing => return,
            Took::End | Took::Broken => {
                let probe = *input == Input::Nothing;
                self.unborn(now, id, if probe { &Unborn::Probe } else { &Unborn::Closed });
                return;
            }
        };
        *input = Input::Seen;
        counters.add(Count::HandshakeSteps, 1);
        let whole = read_buffer.get_mut(..kept + read).unwrap_or_default();
        // Plaintext may come with the last step already; the core gets it once it knows the leg.
        let fed = session.feed(whole, out, |record| joined.keep(record, 0));
        if let Ok(fed) = &fed {
            keep_partial(partial, whole, fed.consumed);
        }
        if !self.send_out(now, id) {
            return;
        }
        match fed {
            Ok(tls::Fed { state: tls::State::Handshaking, .. }) => self.queue_handshake(id),
            Ok(tls::Fed { state: tls::State::Established, .. }) => self.establish(now, id),
            Ok(tls::Fed { state: tls::State::PeerClosed, .. }) => {
                self.establish(now, id);
                self.end(id, Why::ByPeer);
            }
            Err(fault) => self.unborn(now, id, &Unborn::Fault(fault)),
        }
    }

    /// Shows a leg whose TLS stands to the core.
    fn establish(&mut self, now: Now, id: LegId) {
        self.give_half_open(id);
        let Some(leg) = self.legs.get_mut(id) else { return };
        let before = std::mem::replace(&mut leg.state, State::Lingering);
        let State::Handshaking(handshaking) = before else {
            leg.state = before;
            return;
        };
        let Handshaking { mut secure, edition, known, .. } = *handshaking;
        secure.session.share_peer(|names| self.names.shared(names));
        let ending = match &known {
            Known::Not => None,
            Known::Yes { ending } => ending.clone(),
        };
        let established = Established { secure, judged: edition, ending, clear: None };
        match known {
            Known::Not => self.introduce(now, id, established),
            Known::Yes { .. } => self.introduce_again(now, id, established),
        }
    }

    /// Makes the core's acquaintance with a leg.
    fn introduce(&mut self, now: Now, id: LegId, established: Established) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let (outlet, direction) = match leg.origin {
            Origin::Accepted { .. } => (None, Direction::In),
            Origin::Outgoing { outlet } => (Some(outlet), Direction::Out),
        };
        let opened = Opened {
            class: leg.class,
            outlet,
            peer: established.secure.session.peer(),
            doubt: established.secure.session.doubt(),
            remote: leg.remote,
            local: leg.local,
        };
        let more = !established.secure.joined.is_empty() || leg.inbox.readable;
        leg.state = State::Established(Box::new(established));
        self.timers.stop(id.index);
        self.effects.open(id);
        self.note_unsent(now, id);
        self.counters.leg_opened(opened.class, direction);
        self.core.leg_opened(now, id, opened, &mut self.effects);
        if more {
            self.serve_later(id);
        }
    }

    /// Tells the core that a leg which it knows has TLS.
    fn introduce_again(&mut self, now: Now, id: LegId, established: Established) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let session = &established.secure.session;
        let secured = Secured { peer: session.peer(), doubt: session.doubt() };
        let more = !established.secure.joined.is_empty() || leg.inbox.readable;
        leg.state = State::Established(Box::new(established));
        self.timers.stop(id.index);
        self.note_unsent(now, id);
        self.core.leg_secured(now, id, secured, &mut self.effects);
        // What was staged or decided meanwhile waited for TLS.
        self.dirty.push(id);
        if more {
            self.serve_later(id);
        }
    }
}
