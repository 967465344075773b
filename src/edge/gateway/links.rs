//! Links with the proxies of the edges: one to each, and what is on its way over them.

use super::owed::{Debts, Owed};
use super::peers::Held;
use super::whereabouts::Whereabouts;
use super::{EdgeAddress, Gateway, Settled};
use crate::dns::{Domain, Question};
use crate::edge::gateway::slots::Key;
use crate::edge::xmpp_link::{FromEdge, GatewayEnd, LinkFault};
use crate::edge::{
    Class, CloseReason, Command, Connect, ConnectFailure, Effects, Fed, Kind, LegId, OutletId,
    Severity,
};
use crate::limits;
use crate::policy::rendezvous::{Among, weight};
use crate::policy::{ExpectedNames, PeerNames};
use crate::time::{Monotonic, Now};
use crate::xmpp::{Jid, Node, StanzaError};

/// What is kept with a stanza until it is reported on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// Nobody waits for it.
    Nothing,
    /// A request from inside is answered when it is taken or bounces.
    Answer(Key),
    /// A contact was asked whether he may be watched.
    Ask(Key),
    /// Whether a contact who watches one of our users is still there.
    Probe(Key),
    /// Whoever sent a message is told that it failed; then it is done with.
    Failure(Owed),
}

/// A stanza on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    ours: Box<str>,
    theirs: Box<str>,
    pub(super) tag: Tag,
    since: Monotonic,
    /// By how many links it was sent.
    tries: u8,
}

/// An edge, and the link with it.
#[derive(Debug)]
pub(super) struct Edge {
    at: EdgeAddress,
    standing: Standing,
    failures: u32,
    /// What it keeps for us.
    pub(super) debts: Debts,
}

#[derive(Debug)]
enum Standing {
    Resting(Monotonic),
    Resolving(Question),
    Connecting(OutletId),
    Linked(Box<Linked>),
}

#[derive(Debug)]
struct Linked {
    leg: LegId,
    end: GatewayEnd<Sent>,
    written_at: Monotonic,
    /// The gateways that the edge is linked with; none if it does not tell.
    gateways: Vec<Domain>,
}

/// The element that says what is done with, without numbers; and with each of them.
const DONE_BYTES: usize = 64;
const DONE_BYTES_EACH: usize = 21;

impl Edge {
    pub(super) fn new(at: EdgeAddress) -> Self {
        let standing = Standing::Resting(Monotonic::default());
        Self { at, standing, failures: 0, debts: Debts::default() }
    }

    fn linked(&self) -> Option<&Linked> {
        match &self.standing {
            Standing::Linked(linked) => Some(linked),
            _ => None,
        }
    }

    fn linked_mut(&mut self) -> Option<&mut Linked> {
        match &mut self.standing {
            Standing::Linked(linked) => Some(linked),
            _ => None,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.linked().is_some_and(|linked| linked.end.is_up())
    }

    pub(super) fn unreported(&self) -> usize {
        self.linked().map_or(0, |linked| linked.end.unreported())
    }

    pub(super) fn leg(&self) -> Option<LegId> {
        self.linked().map(|linked| linked.leg)
    }

    /// Returns what is kept with the stanzas that it has not reported on.
    #[cfg(test)]
    pub(super) fn tags(&self) -> impl Iterator<Item = &Tag> {
        self.linked().into_iter().flat_map(|linked| linked.end.tags().map(|sent| &sent.tag))
    }

    /// Tells it what is done with, as far as there is room.
    pub(super) fn report_done(&mut self, effects: &mut Effects) {
        let Standing::Linked(linked) = &mut self.standing else { return };
        // Bound: what one link may keep.
        loop {
            let numbers = self.debts.take_reports();
            if numbers.is_empty() {
                return;
            }
            let size = DONE_BYTES + numbers.len() * DONE_BYTES_EACH;
            let Some(out) = effects.stage(linked.leg, Kind::Response, size) else {
                return self.debts.tell_again(numbers);
            };
            linked.end.done(&numbers, out);
        }
    }

    fn weight(&self, ours: &str, theirs: &str) -> u64 {
        weight(Among::Edges, self.at.name.as_str(), ours, theirs)
    }
}

impl Gateway {
    /// Connects to an edge whose rest is over, and keeps a silent link open.
    pub(super) fn look_after_edge(&mut self, now: Now, at: usize, effects: &mut Effects) {
        let Some(edge) = self.edges.get_mut(at) else { return };
        match &mut edge.standing {
            Standing::Resting(until) if *until > now.monotonic => {}
            Standing::Resting(_) | Standing::Resolving(_) => self.pursue_edge(now, at, effects),
            Standing::Connecting(_) => {}
            Standing::Linked(linked) => {
                if now.monotonic.ms_since(linked.written_at) >= limits::XMPP_LINK_KEEP_ALIVE_MS {
                    linked.written_at = now.monotonic;
                    if let Some(out) = effects.stage(linked.leg, Kind::Response, 1) {
                        linked.end.keep_alive(out);
                    }
                }
            }
        }
    }

    fn pursue_edge(&mut self, now: Now, at: usize, effects: &mut Effects) {
        if self.is_closing() {
            return;
        }
        let Some(edge) = self.edges.get(at) else { return };
        let address = edge.at.clone();
        let of_edge = (&address.name, address.port);
        let addresses = match self.whereabouts(now, of_edge, &address.addresses, effects) {
            Whereabouts::Known(addresses) => addresses,
            Whereabouts::Asked(question) => {
                return self.set_edge(at, Standing::Resolving(question));
            }
        };
        if addresses.is_empty() {
            return self.edge_rests(now, at, "its name has no address", effects);
        }
        let outlet = self.next_outlet();
        self.set_edge(at, Standing::Connecting(outlet));
        effects.commands.push(Command::Connect(Connect {
            outlet,
            class: Class::XmppLink,
            server_name: address.name.clone(),
            expected_names: ExpectedNames::host(address.name),
            addresses,
            anchors: None,
        }));
    }

    fn set_edge(&mut self, at: usize, standing: Standing) {
        if let Some(edge) = self.edges.get_mut(at) {
            edge.standing = standing;
        }
    }

    fn edge_rests(&mut self, now: Now, at: usize, why: &str, effects: &mut Effects) {
        let random = self.random();
        let Some(edge) = self.edges.get_mut(at) else { return };
        let rest = super::rest_ms(edge.failures, random);
        edge.failures = edge.failures.saturating_add(1);
        edge.standing = Standing::Resting(now.monotonic.plus_ms(rest));
        let first = edge.failures == 1;
        let sentence = format!("no link with the edge {}: {why}", edge.at.name);
        let severity = if first { Severity::Warn } else { Severity::Debug };
        self.note(None, severity, sentence, effects);
    }

    /// An edge has connected to us with SIP: if there is no link with it, it is tried at once.
    pub(super) fn edge_shown(&mut self, now: Now, peer: &PeerNames) {
        for edge in self.edges.iter_mut().filter(|edge| peer.carries_host(&edge.at.name, false)) {
            if let Standing::Resting(until) = &mut edge.standing {
                *until = now.monotonic;
                self.chores_at = now.monotonic;
            }
        }
    }

    pub(super) fn edges_resolved(&mut self, now: Now, asked: &Question, effects: &mut Effects) {
        for at in 0..self.edges.len() {
            let standing = self.edges.get(at).map(|edge| &edge.standing);
            if matches!(standing, Some(Standing::Resolving(question)) if question == asked) {
                self.pursue_edge(now, at, effects);
            }
        }
    }

    fn edge_of(&self, outlet: OutletId) -> Option<usize> {
        let connects =
            |edge: &Edge| matches!(edge.standing, Standing::Connecting(o) if o == outlet);
        self.edges.iter().position(connects)
    }

    pub(super) fn edge_unreachable(
        &mut self,
        now: Now,
        outlet: OutletId,
        why: ConnectFailure,
        effects: &mut Effects,
    ) {
        if let Some(at) = self.edge_of(outlet) {
            self.edge_rests(now, at, &format!("{why:?}"), effects);
        }
    }

    pub(super) fn link_opened(
        &mut self,
        now: Now,
        leg: LegId,
        outlet: OutletId,
        effects: &mut Effects,
    ) {
        let name = self.setup.name.clone();
        let Some(at) = self.edge_of(outlet) else {
            effects.commands.push(Command::Close { leg, reason: CloseReason::Ended });
            return;
        };
        let Some(edge) = self.edges.get_mut(at) else { return };
        let mut out = Vec::new();
        let end = GatewayEnd::connect(&name, &edge.at.name, &mut out);
        let linked = Linked { leg, end, written_at: now.monotonic, gateways: Vec::new() };
        edge.standing = Standing::Linked(Box::new(linked));
        if let Some(staged) = effects.stage(leg, Kind::Response, out.len()) {
            staged.extend_from_slice(&out);
        }
        self.legs.insert(leg, Held::Link(at));
    }

    pub(super) fn link_fed(
        &mut self,
        now: Now,
        leg: LegId,
        at: usize,
        input: &[u8],
        effects: &mut Effects,
    ) -> Fed {
        let linked = self.edges.get_mut(at).and_then(Edge::linked_mut);
        let Some(linked) = linked.filter(|linked| linked.leg == leg) else { return Fed::Dead };
        let mut out = Vec::new();
        let read = linked.end.read(input, &mut out);
        if !out.is_empty() {
            linked.written_at = now.monotonic;
            if let Some(staged) = effects.stage(leg, Kind::Response, out.len()) {
                staged.extend_from_slice(&out);
            }
        }
        match read {
            Ok(FromEdge::NeedMore(bytes)) => Fed::NeedMore(bytes),
            Ok(FromEdge::Done { consumed }) => Fed::Consumed(consumed),
            Ok(FromEdge::Up { consumed }) => {
                self.link_is_up(now, leg, at, effects);
                Fed::Consumed(consumed)
            }
            Ok(FromEdge::Stanza { element, origin, number, again, consumed }) => {
                if let Some(owed) = self.owe(now, (at, leg), number, again) {
                    self.stanza(now, &Node::from(&element), &origin, owed, effects);
                }
                Fed::Consumed(consumed)
            }
            Ok(FromEdge::Gateways { names, consumed }) => {
                linked.gateways = names;
                self.gateways_changed(now);
                Fed::Consumed(consumed)
            }
            Ok(FromEdge::Taken { stanza, consumed }) => {
                self.counters.taken += 1;
                self.settled.push_back((stanza.tag.tag, Settled::Taken));
                Fed::Consumed(consumed)
            }
            Ok(FromEdge::Bounced { stanza, error, consumed }) => {
                self.counters.bounced += 1;
                self.settled.push_back((stanza.tag.tag, Settled::Bounced(error)));
                Fed::Consumed(consumed)
            }
            Ok(FromEdge::Ended { .. }) => {
                self.end_link(leg, at, None, effects);
                Fed::Dead
            }
            Err(fault) => {
                self.end_link(leg, at, Some(fault), effects);
                Fed::Dead
            }
        }
    }

    fn link_is_up(&mut self, now: Now, leg: LegId, at: usize, effects: &mut Effects) {
        self.counters.links += 1;
        let Some(edge) = self.edges.get_mut(at) else { return };
        edge.failures = 0;
        let sentence = format!("linked with the edge {}", edge.at.name);
        self.note(Some(leg), Severity::Info, sentence, effects);
        self.waiting_bytes = 0;
        for (bytes, sent) in std::mem::take(&mut self.waiting) {
            self.hand_over(now, bytes, sent, effects);
        }
    }

    /// Ends a link; what is on its way is looked after when its leg is gone.
    pub(super) fn end_link(
        &mut self,
        leg: LegId,
        at: usize,
        fault: Option<LinkFault>,
        effects: &mut Effects,
    ) {
        let Some(edge) = self.edges.get_mut(at) else { return };
        let name = edge.at.name.clone();
        let Some(linked) = edge.linked_mut() else { return };
        let mut out = Vec::new();
        match fault {
            Some(fault) => linked.end.refuse(fault, &mut out),
            None => linked.end.end(&mut out),
        }
        if let Some(staged) = effects.stage(leg, Kind::Response, out.len()) {
            staged.extend_from_slice(&out);
        }
        let (why, reason) = match fault {
            Some(fault) => (fault.sentence(), CloseReason::Abuse),
            None => ("it has ended".into(), CloseReason::Ended),
        };
        let sentence = format!("closing the link with the edge {name}: {why}");
        let severity = if fault.is_some() { Severity::Warn } else { Severity::Info };
        self.note(Some(leg), severity, sentence, effects);
        effects.commands.push(Command::Close { leg, reason });
    }

    /// A link is gone: what the edge did not report on goes by another one, or waits for one.
    pub(super) fn link_lost(&mut self, now: Now, leg: LegId, at: usize, effects: &mut Effects) {
        let Some(edge) = self.edges.get_mut(at) else { return };
        if edge.leg() != Some(leg) {
            return;
        }
        let rest = Standing::Resting(now.monotonic.plus_ms(limits::GATEWAY_REST_MS));
        let Standing::Linked(linked) = std::mem::replace(&mut edge.standing, rest) else { return };
        edge.debts.link_lost();
        if linked.end.is_up() {
            self.counters.links_lost += 1;
            let sentence = format!("the link with the edge {} is gone", edge.at.name);
            self.note(Some(leg), Severity::Warn, sentence, effects);
        } else {
            self.edge_rests(now, at, "its stream has ended", effects);
        }
        self.gateways_changed(now);
        for stanza in linked.end.into_unreported() {
            self.counters.sent_again += 1;
            self.hand_over(now, stanza.bytes, stanza.tag, effects);
        }
    }

    /// Sends a stanza to a contact.
    pub(super) fn send(
        &mut self,
        now: Now,
        from: &Jid<'_>,
        to: &Jid<'_>,
        stanza: &Node,
        tag: Tag,
        effects: &mut Effects,
    ) {
        let (ours, theirs) = (from.domain().into(), to.domain().into());
        let sent = Sent { ours, theirs, tag, since: now.monotonic, tries: 0 };
        let mut bytes = Vec::with_capacity(512);
        stanza.write(&mut bytes);
        self.hand_over(now, bytes.into(), sent, effects);
    }

    /// Returns the edge that the stanzas of a pair of domains go by: of those linked, the one that
    /// the pair falls to. When an edge goes, only its own pairs move.
    fn edge_for(&self, ours: &str, theirs: &str) -> Option<usize> {
        let up = self.edges.iter().enumerate().filter(|(_, edge)| edge.is_up());
        up.max_by_key(|(at, edge)| (edge.weight(ours, theirs), *at)).map(|(at, _)| at)
    }

    /// Returns the gateways that are linked with the edge that a pair's stanzas go by; `None` if
    /// no edge is linked.
    pub(super) fn linked_with(&self, ours: &str, theirs: &str) -> Option<&[Domain]> {
        let edge = self.edges.get(self.edge_for(ours, theirs)?)?;
        Some(&edge.linked()?.gateways)
    }

    fn hand_over(&mut self, now: Now, bytes: Box<[u8]>, mut sent: Sent, effects: &mut Effects) {
        if sent.tries >= limits::GATEWAY_LINKS_TRIED_MAX {
            return self.bounce(sent.tag, StanzaError::RemoteServerTimeout);
        }
        let Some(at) = self.edge_for(&sent.ours, &sent.theirs) else {
            sent.since = now.monotonic;
            return self.wait_for_link(bytes, sent);
        };
        let Some(linked) = self.edges.get_mut(at).and_then(Edge::linked_mut) else { return };
        // Room for the number and the declaration of its prefix.
        let staged = effects.stage(linked.leg, Kind::Request, bytes.len() + 96);
        let Some(out) = staged else {
            self.counters.refused_by_limit += 1;
            return self.bounce(sent.tag, StanzaError::ResourceConstraint);
        };
        sent.tries += 1;
        linked.written_at = now.monotonic;
        if let Err((_, sent)) = linked.end.send_bytes(bytes, sent, out) {
            self.counters.refused_by_limit += 1;
            self.bounce(sent.tag, StanzaError::ResourceConstraint);
        }
    }

    fn wait_for_link(&mut self, bytes: Box<[u8]>, sent: Sent) {
        let fits = self.waiting.len() < limits::GATEWAY_WAITING_STANZAS_MAX
            && self.waiting_bytes + bytes.len() <= limits::GATEWAY_WAITING_BYTES_MAX;
        if fits && !self.is_closing() {
            self.waiting_bytes += bytes.len();
            self.waiting.push_back((bytes, sent));
        } else {
            self.counters.no_link += 1;
            self.bounce(sent.tag, StanzaError::RemoteServerTimeout);
        }
    }

    /// Gives up on stanzas that have waited for a link as long as they may.
    pub(super) fn forget_waiting(&mut self, now: Now) {
        let over = |sent: &Sent| now.monotonic.ms_since(sent.since) >= limits::GATEWAY_WAITING_MS;
        while self.waiting.front().is_some_and(|(_, sent)| over(sent)) {
            let Some((bytes, sent)) = self.waiting.pop_front() else { return };
            self.waiting_bytes -= bytes.len();
            self.counters.no_link += 1;
            self.bounce(sent.tag, StanzaError::RemoteServerTimeout);
        }
    }

    fn bounce(&mut self, tag: Tag, condition: StanzaError) {
        self.settled.push_back((tag, Settled::Bounced(condition.into())));
    }

    /// Returns the names of the edges that are linked, for tests and status.
    #[must_use]
    pub fn linked_edges(&self) -> Vec<Domain> {
        self.edges.iter().filter(|edge| edge.is_up()).map(|edge| edge.at.name.clone()).collect()
    }
}
