//! How connections end: in order, at once, or before they were legs; and the one line each leaves.

use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::Ordering;

use super::counters::{Count, HandshakeEnd};
use super::legs::{Known, Leg, Origin, Source, State};
use super::network::{Network, Stream};
use super::spawn::DecidedOn;
use super::{Shard, leg_timer, sources};
use crate::edge::{Class, CloseReason, ConnectFailure, Core, Decided, LegId, Lost, Note, Severity};
use crate::poll::Poller;
use crate::proxy_protocol::Malformed;
use crate::time::Now;
use crate::tls::{Blame, Fault};

/// What ended a leg that the core knew.
#[derive(Clone, Debug)]
pub(super) enum Why {
    /// The peer said goodbye.
    ByPeer,
    /// The peer closed the connection without TLS's goodbye (RFC 8446 section 6.1).
    ByPeerUncleanly,
    /// The connection was reset or timed out in the kernel.
    Reset,
    /// The peer took nothing for too long.
    WriteStalled,
    /// TLS broke.
    Tls(Fault),
    /// The certificate does not pass any more.
    NoLongerTrusted(Fault),
    /// A certificate of the chain has expired.
    Expired,
    /// Something came in the clear behind the request for TLS.
    BehindStartTls,
    /// The TLS that was asked for on a leg in the clear took too long.
    HandshakeTimeout,
    /// The core wanted it, or the drain in its name.
    Core(CloseReason),
}

impl Why {
    /// For the shell's own bound on what it joins.
    pub(super) const FRAMING_LOST: Self = Self::Core(CloseReason::FramingLost);

    /// In the order of [`Why::place`].
    pub(super) const LABELS: [&'static str; 16] = [
        "peer",
        "peer_unclean",
        "reset",
        "write_stalled",
        "tls",
        "no_longer_trusted",
        "expired",
        "framing_lost",
        "not_permitted",
        "idle",
        "draining",
        "abuse",
        "no_pong",
        "ended",
        "behind_starttls",
        "handshake_timeout",
    ];

    pub(super) const fn place(&self) -> usize {
        match self {
            Self::ByPeer => 0,
            Self::ByPeerUncleanly => 1,
            Self::Reset => 2,
            Self::WriteStalled => 3,
            Self::Tls(_) => 4,
            Self::NoLongerTrusted(_) => 5,
            Self::Expired => 6,
            Self::Core(CloseReason::FramingLost) => 7,
            Self::Core(CloseReason::NotPermitted) => 8,
            Self::Core(CloseReason::Idle) => 9,
            Self::Core(CloseReason::Draining) => 10,
            Self::Core(CloseReason::Abuse) => 11,
            Self::Core(CloseReason::NoPong) => 12,
            Self::Core(CloseReason::Ended) => 13,
            Self::BehindStartTls => 14,
            Self::HandshakeTimeout => 15,
        }
    }

    /// Returns whether the peer ended it, in whatever manner.
    const fn is_peers(&self) -> bool {
        matches!(self, Self::ByPeer | Self::ByPeerUncleanly | Self::Reset)
    }

    const fn lost(&self) -> Lost {
        match self {
            Self::ByPeer | Self::ByPeerUncleanly => Lost::ClosedByPeer,
            Self::Reset => Lost::Reset,
            Self::WriteStalled => Lost::WriteStalled,
            Self::Tls(_) | Self::BehindStartTls | Self::HandshakeTimeout => Lost::TlsFault,
            Self::NoLongerTrusted(_) | Self::Expired | Self::Core(_) => Lost::ClosedByUs,
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::ByPeer => "closed by the peer".to_owned(),
            Self::ByPeerUncleanly => "closed by the peer without a TLS goodbye".to_owned(),
            Self::Reset => "lost: the connection was reset or timed out".to_owned(),
            Self::WriteStalled => "closed by us: the peer took nothing for too long".to_owned(),
            Self::Tls(fault) => format!("lost: {fault}"),
            Self::NoLongerTrusted(fault) => format!("closed by us, judged again: {fault}"),
            Self::Expired => "closed by us: a certificate of the peer has expired".to_owned(),
            Self::BehindStartTls => {
                "closed by us: something came in the clear behind the request for TLS".to_owned()
            }
            Self::HandshakeTimeout => {
                "closed by us: the TLS handshake that was asked for took too long".to_owned()
            }
            Self::Core(reason) => {
                let rule = match reason {
                    CloseReason::FramingLost => "what the peer sent cannot be told apart any more",
                    CloseReason::NotPermitted => "the policy in force does not let it in",
                    CloseReason::Idle => "nothing passed for the idle time",
                    CloseReason::NoPong => "a ping was not answered, as those before it were",
                    CloseReason::Draining => "the edge drains",
                    CloseReason::Ended => "the stream has ended",
                    CloseReason::Abuse => "the peer used up what it may use",
                };
                format!("closed by us: {rule}")
            }
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::NoLongerTrusted(_)
            | Self::Expired
            | Self::WriteStalled
            | Self::BehindStartTls => Severity::Warn,
            Self::Core(CloseReason::Abuse | CloseReason::NotPermitted) => Severity::Warn,
            _ => Severity::Info,
        }
    }
}

/// What ended a connection before its TLS stood.
#[derive(Clone, Debug)]
pub(super) enum Unborn {
    /// Closed before its first byte, as health checks do: counted, not logged.
    Probe,
    /// Closed in the middle.
    Closed,
    /// It took too long.
    Timeout,
    /// A PROXY header from somewhere that is no listed balancer.
    ProxyRefused,
    /// A listed balancer owed a PROXY header.
    ProxyMalformed(Malformed),
    /// Its source, told by the balancer, has as many half-open connections as it may.
    SourceFull(sources::Refused),
    /// TLS could not be agreed.
    Fault(Fault),
}

impl Unborn {
    const fn connect_failure(&self) -> ConnectFailure {
        match self {
            Self::Fault(fault) => fault.connect_failure(),
            _ => ConnectFailure::TlsFailed,
        }
    }

    pub(super) fn sentence(&self) -> String {
        match self {
            Self::Probe => "it was closed before its first byte".to_owned(),
            Self::Closed => "the peer closed it during the handshake".to_owned(),
            Self::Timeout => "the handshake took too long".to_owned(),
            Self::ProxyRefused => {
                "it began with a PROXY header, and the sender is no listed balancer".to_owned()
            }
            Self::ProxyMalformed(malformed) => format!("a balancer owes a header: {malformed}"),
            Self::SourceFull(_) => {
                "its source has too many connections in their handshake; more of the same are \
                 counted and not told"
                    .to_owned()
            }
            Self::Fault(fault) => fault.to_string(),
        }
    }

    /// Returns whether the log should hear of it.
    const fn is_told(&self) -> bool {
        !matches!(self, Self::Probe | Self::SourceFull(sources::Refused::Again))
    }
}

/// Says why an accepted connection was not kept.
pub(super) fn refusal(remote: SocketAddr, class: Class, why: &str) -> String {
    format!("refused a connection from {remote} ({}): {why}", class_text(class))
}

impl<P: Poller, N: Network, C: Core> Shard<P, N, C> {
    /// Closes a leg in order: what is staged goes out first, nothing more is read.
    pub(super) fn end(&mut self, id: LegId, why: Why) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let ending = match &mut leg.state {
            State::Established(established) => &mut established.ending,
            // There is nothing to say before TLS stands: it is closed without a goodbye.
            State::Handshaking(handshaking) => match &mut handshaking.known {
                Known::Yes { ending } => ending,
                Known::Not => return,
            },
            _ => return,
        };
        if ending.is_none() {
            *ending = Some(why);
            self.dirty.push(id);
        }
    }

    /// Ends a leg whose TLS broke or whose peer may not stay; the alert goes out if it can.
    pub(super) fn fault(&mut self, now: Now, id: LegId, fault: Fault) {
        let why = match fault.blame() {
            Blame::Denied => Why::NoLongerTrusted(fault),
            _ => Why::Tls(fault),
        };
        if let Some(leg) = self.legs.get_mut(id)
            && let State::Established(established) = &mut leg.state
        {
            // It says nothing where TLS is over already.
            established.secure.session.close_notify(&mut self.out);
        }
        if self.send_out(now, id) {
            self.conclude(now, id, &why);
            self.linger(now, id);
        }
    }

    /// Ends a connection at once.
    pub(super) fn lose(&mut self, now: Now, id: LegId, why: Why) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        match &leg.state {
            State::Connecting { dial } => {
                let dial = *dial;
                self.attempt_failed(now, id, dial, "given up");
            }
            State::Handshaking(handshaking) if matches!(handshaking.known, Known::Yes { .. }) => {
                self.conclude(now, id, &why);
                self.forget(id);
            }
            State::Greeting(_) | State::Handshaking(_) => self.unborn(now, id, &Unborn::Closed),
            State::Established(_) => {
                self.conclude(now, id, &why);
                self.forget(id);
            }
            State::Flushing(_) => {
                if let State::Flushing(first) = std::mem::replace(&mut leg.state, State::Lingering)
                {
                    self.conclude(now, id, &first);
                }
                self.forget(id);
            }
            State::Lingering => self.forget(id),
        }
    }

    /// Ends a connection whose TLS does not come about.
    pub(super) fn unborn(&mut self, now: Now, id: LegId, unborn: &Unborn) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        if let State::Handshaking(handshaking) = &leg.state
            && let Known::Yes { .. } = handshaking.known
        {
            self.unsecured(now, id, unborn);
            return;
        }
        match unborn {
            // A balancer that looks whether we live may end it wherever it has seen enough.
            _ if leg.check => self.counters.add(Count::Probes, 1),
            Unborn::Probe => self.counters.add(Count::Probes, 1),
            Unborn::SourceFull(_) => self.counters.add(Count::SourceRefused, 1),
            Unborn::ProxyRefused => self.counters.add(Count::ProxyRefused, 1),
            Unborn::ProxyMalformed(_) => self.counters.add(Count::ProxyMalformed, 1),
            Unborn::Closed => self.counters.handshake_failed(HandshakeEnd::Closed),
            Unborn::Timeout => self.counters.handshake_failed(HandshakeEnd::Timeout),
            Unborn::Fault(fault) => self.counters.handshake_failed(HandshakeEnd::Fault(fault)),
        }
        let (class, remote, origin) = (leg.class, leg.remote, leg.origin);
        if unborn.is_told() && !leg.check {
            let why = unborn.sentence();
            let sentence = match origin {
                Origin::Accepted { .. } => refusal(remote, class, &why),
                Origin::Outgoing { .. } => {
                    format!("a connection to {remote} ({}) failed: {why}", class_text(class))
                }
            };
            self.note(id, Severity::Info, sentence);
        }
        if let Origin::Accepted { .. } = origin {
            self.give_half_open(id);
        }
        if let Some(leg) = self.legs.get_mut(id) {
            leg.state = State::Lingering;
        }
        match origin {
            Origin::Accepted { .. } => {}
            Origin::Outgoing { outlet } => {
                let failure = unborn.connect_failure();
                self.counters.connect_failed(failure);
                self.core.connect_failed(now, outlet, failure, &mut self.effects);
                self.run_commands(now);
            }
        }
        match unborn {
            // The alert should arrive, and a reset because of unread bytes would overtake it.
            Unborn::Fault(_) => self.linger(now, id),
            _ => self.forget(id),
        }
    }

    /// Ends a leg that the core knows and that does not get the TLS it was to have.
    fn unsecured(&mut self, now: Now, id: LegId, unborn: &Unborn) {
        let (end, why) = match unborn {
            Unborn::Fault(fault) => (HandshakeEnd::Fault(fault), Why::Tls(fault.clone())),
            Unborn::Timeout => (HandshakeEnd::Timeout, Why::HandshakeTimeout),
            _ => (HandshakeEnd::Closed, Why::ByPeerUncleanly),
        };
        self.counters.handshake_failed(end);
        self.conclude(now, id, &why);
        match unborn {
            Unborn::Fault(_) => self.linger(now, id),
            _ => self.forget(id),
        }
    }

    /// Tells the core, the counters and the log that a leg has ended.
    pub(super) fn conclude(&mut self, now: Now, id: LegId, why: &Why) {
        self.give_half_open(id);
        let Some(leg) = self.legs.get_mut(id) else { return };
        let unsent = self.effects.backlog(id).unwrap_or(leg.unsent.len());
        let class = leg.class;
        let seconds = now.monotonic.ms_since(leg.since) / 1000;
        let sentence = format!(
            "{} leg {} {}{} {}, after {seconds} s{}",
            class_text(class),
            match leg.origin {
                Origin::Accepted { .. } => "from",
                Origin::Outgoing { .. } => "to",
            },
            leg.remote,
            peer_text(leg),
            why.sentence(),
            if unsent > 0 { format!(", {unsent} bytes unsent") } else { String::new() },
        );
        let accepted = matches!(leg.origin, Origin::Accepted { .. });
        // From here on the leg is nothing to the core, whatever the socket still has to say.
        leg.state = State::Lingering;
        self.effects.close(id);
        self.counters.leg_closed(class, why);
        let mut severity = why.severity();
        if accepted && why.is_peers() && self.core.only_probed(id) {
            self.counters.add(Count::Probes, 1);
            severity = Severity::Debug;
        }
        self.note(id, severity, sentence);
        self.core.leg_closed(now, id, why.lost(), unsent, &mut self.effects);
    }

    /// Lets the last bytes out and waits, not for long, until the peer closes too.
    fn linger(&mut self, now: Now, id: LegId) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        if leg.unsent.is_empty() {
            leg.stream.shutdown(Shutdown::Write);
        }
        self.timers.start(now.monotonic, id.index, leg_timer::LINGER);
        self.serve_later(id);
    }

    /// The peer closed its side of a leg that is being closed.
    pub(super) fn peer_has_closed(&mut self, id: LegId) {
        let Some(leg) = self.legs.get(id) else { return };
        if matches!(leg.state, State::Lingering) && leg.unsent.is_empty() {
            self.forget(id);
        }
    }

    /// Closes the descriptor and frees the place.
    pub(super) fn forget(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        self.poller.remove(leg.stream.fd(), Source::Leg(id).token());
        leg.stream.shutdown(Shutdown::Both);
        self.release(id);
    }

    /// Frees the place of a connection that the poller does not know.
    pub(super) fn release(&mut self, id: LegId) {
        let Some(leg) = self.legs.remove(id) else { return };
        self.timers.stop(id.index);
        match leg.origin {
            Origin::Accepted { .. } => self.links.fabric.budget.give_accepted(),
            Origin::Outgoing { .. } => self.links.fabric.budget.give_outgoing(),
        }
        if let Some(own) = self.links.fabric.neighbour(self.settings.shard) {
            own.load.fetch_sub(1, Ordering::Relaxed);
        }
        self.resume_accepting();
    }

    /// A leg's one timer ran out.
    pub(super) fn leg_timed_out(&mut self, now: Now, index: u32, class: usize) {
        let Some(id) = self.legs.at(index) else { return };
        match class {
            leg_timer::PROXY_HEADER | leg_timer::HANDSHAKE => {
                self.unborn(now, id, &Unborn::Timeout);
            }
            leg_timer::WRITE_STALL => self.lose(now, id, Why::WriteStalled),
            _ => self.lose(now, id, Why::Reset),
        }
        self.run_commands(now);
    }

    /// Writes a line to the log, if it has time.
    pub(super) fn note(&mut self, id: LegId, severity: Severity, sentence: String) {
        self.note_of(Some(id), severity, sentence);
    }

    /// The same for what may be about no leg.
    pub(super) fn note_of(&mut self, leg: Option<LegId>, severity: Severity, sentence: String) {
        let epoch = self.snapshot_epoch;
        self.send_note(Note { leg, severity, sentence, decision_id: 0, epoch });
    }

    pub(super) fn send_note(&mut self, note: Note) {
        if self.links.notes.try_send((self.settings.shard, note)).is_err() {
            self.counters.add(Count::NotesDropped, 1);
        }
    }

    /// Hands a verdict to whoever writes the decision log, if he has time.
    pub(super) fn send_decided(&mut self, now: Now, decided: Box<Decided>) {
        let Some(decisions) = &self.links.decisions else { return };
        let told = DecidedOn { shard: self.settings.shard, unix_s: now.unix_s, decided };
        if decisions.try_send(told).is_err() {
            self.counters.add(Count::DecisionsDropped, 1);
        }
    }
}

pub(super) const fn class_text(class: Class) -> &'static str {
    match class {
        Class::Federation => "federation",
        Class::RemoteUsers => "remote user",
        Class::Internal => "internal",
        Class::Xmpp | Class::XmppDirectTls => "XMPP",
        Class::XmppLink => "XMPP link",
        Class::Credentials => "relay credentials",
    }
}

/// Names the peer by its certificate, while TLS is still there.
fn peer_text<S>(leg: &Leg<S>) -> String {
    let State::Established(established) = &leg.state else { return String::new() };
    let peer = established.secure.session.peer();
    let name =
        peer.as_ref().and_then(|names| names.dns_names.first().or(names.sip_domains.first()));
    name.map_or_else(String::new, |name| format!(" ({name})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_label() {
        let core = [
            CloseReason::FramingLost,
            CloseReason::NotPermitted,
            CloseReason::Idle,
            CloseReason::Draining,
            CloseReason::Abuse,
            CloseReason::NoPong,
            CloseReason::Ended,
        ];
        let mut all = vec![
            Why::ByPeer,
            Why::ByPeerUncleanly,
            Why::Reset,
            Why::WriteStalled,
            Why::Tls(Fault::BadRecord),
            Why::NoLongerTrusted(Fault::Revoked),
            Why::Expired,
        ];
        all.extend(core.map(Why::Core));
        all.extend([Why::BehindStartTls, Why::HandshakeTimeout]);
        let places: Vec<_> = all.iter().map(Why::place).collect();
        assert_eq!(places, (0..Why::LABELS.len()).collect::<Vec<_>>());
    }
}
