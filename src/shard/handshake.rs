//! TLS handshakes, in steps that queue, so that a storm of them cannot stall established traffic.

use super::close::{Unborn, Why};
use super::connect::Connected;
use super::counters::{Count, Direction};
use super::legs::{Established, Handshaking, Input, Joined, Leg, Origin, Secure, State};
use super::network::Network;
use super::serve::{Took, keep_partial, take};
use super::{Shard, leg_timer, sources};
use crate::edge::{Core, LegId, Opened};
use crate::limits;
use crate::poll::Poller;
use crate::time::Now;
use crate::tls::{self, Session};

/// Bytes read for one step: a chain and what goes with it.
const STEP_BYTES: usize = limits::TLS_RECORD_BYTES_MAX;

impl<P: Poller, N: Network, C: Core> Shard<P, N, C> {
    /// Begins TLS on an accepted leg; `first` is what came behind the PROXY header.
    pub(super) fn begin_serving(&mut self, now: Now, id: LegId, first: Vec<u8>) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let Origin::Accepted { listener } = leg.origin else { return };
        let State::Greeting(greeting) = &mut leg.state else { return };
        let server = self.material.server(leg.class, usize::from(listener));
        match Session::server(server) {
            Ok(session) => {
                let input = if first.is_empty() { Input::Nothing } else { Input::Fresh };
                let edition = self.material.edition();
                let source = greeting.source.take();
                leg.state = handshaking(session, edition, first, input, source);
                if self.timers.running(id.index) == Some(leg_timer::PROXY_HEADER) {
                    self.timers.start(now.monotonic, id.index, leg_timer::HANDSHAKE);
                }
                self.queue_handshake(id);
            }
            Err(fault) => self.unborn(now, id, &Unborn::Fault(fault)),
        }
    }

    /// Begins TLS on an outgoing leg whose connection stands.
    pub(super) fn begin_calling(&mut self, now: Now, id: LegId, connected: &Connected) {
        let client = self.material.client(
            connected.class,
            connected.anchors,
            &connected.server_name,
            &connected.expected_names,
        );
        let started = client.and_then(|(client, name)| Session::client(&client, name));
        let started = started.and_then(|mut session| {
            session.start(&mut self.out)?;
            Ok(session)
        });
        match started {
            Ok(session) => {
                let edition = self.material.edition();
                if let Some(leg) = self.legs.get_mut(id) {
                    leg.state = handshaking(session, edition, Vec::new(), Input::Seen, None);
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
        let Some(leg) = self.legs.get_mut(id) else { return };
        let before = std::mem::replace(&mut leg.state, State::Lingering);
        let State::Handshaking(handshaking) = before else {
            leg.state = before;
            return;
        };
        let Handshaking { mut secure, edition, source, .. } = *handshaking;
        secure.session.share_peer(|names| self.names.shared(names));
        let (outlet, direction) = match leg.origin {
            Origin::Accepted { .. } => (None, Direction::In),
            Origin::Outgoing { outlet } => (Some(outlet), Direction::Out),
        };
        let opened = Opened {
            class: leg.class,
            outlet,
            peer: secure.session.peer(),
            doubt: None,
            remote: leg.remote,
            local: leg.local,
        };
        let more = !secure.joined.is_empty() || leg.inbox.readable;
        leg.state =
            State::Established(Box::new(Established { secure, judged: edition, ending: None }));
        if direction == Direction::In {
            self.links.fabric.budget.give_half_open(source);
            self.resume_accepting();
        }
        self.timers.stop(id.index);
        self.effects.open(id);
        self.note_unsent(now, id);
        self.counters.leg_opened(opened.class, direction);
        self.core.leg_opened(now, id, opened, &mut self.effects);
        if more {
            self.serve_later(id);
        }
    }
}

fn handshaking(
    session: Session,
    edition: u64,
    partial: Vec<u8>,
    input: Input,
    source: Option<sources::Place>,
) -> State {
    let secure = Secure { session, partial, joined: Joined::default() };
    State::Handshaking(Box::new(Handshaking { secure, edition, input, source }))
}
