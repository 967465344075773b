//! Stanzas that a gateway was not done with when its link was lost.
//!
//! They go to the gateway that has their pair now. While none is linked they wait for one: the same
//! gateway may only have lost its connection, or start anew. A gateway that has them already knows
//! them by their numbers; another may hand one on that the lost one had handed on before it died.

use std::collections::VecDeque;

use super::XmppProxy;
use super::links::{Dead, Link};
use crate::dns::Domain;
use crate::edge::xmpp_link::Outgoing;
use crate::edge::{Effects, Severity};
use crate::limits;
use crate::time::{Monotonic, Now};
use crate::xmpp::{Bounds, Element, Read, Reader, StanzaError, StreamHeader};

/// Stanzas that wait for a gateway, the oldest in front.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    waiting: VecDeque<(Monotonic, Outgoing)>,
    bytes: usize,
}

impl Orphans {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn push(&mut self, since: Monotonic, stanza: Outgoing) -> Result<(), Outgoing> {
        let bytes = self.bytes + stanza.bytes().len();
        if self.len() >= limits::XMPP_ORPHANS_MAX || bytes > limits::XMPP_ORPHANS_BYTES_MAX {
            return Err(stanza);
        }
        self.bytes = bytes;
        self.waiting.push_back((since, stanza));
        Ok(())
    }

    /// Returns since when the oldest waits.
    fn oldest(&self) -> Option<Monotonic> {
        self.waiting.front().map(|(since, _)| *since)
    }

    fn pop(&mut self) -> Option<(Monotonic, Outgoing)> {
        let (since, stanza) = self.waiting.pop_front()?;
        self.bytes -= stanza.bytes().len();
        Some((since, stanza))
    }
}

impl XmppProxy {
    /// A link is gone. What its gateway was not done with goes to the next, or waits for one; what
    /// it had brought, it sends again itself.
    pub(super) fn link_lost(&mut self, now: Now, link: Link, effects: &mut Effects) {
        self.linked_changed = true;
        if link.end.is_up() || link.dead == Dead::Yes {
            self.counters.links_lost += 1;
            let who = link.gateway.as_ref().map_or("", Domain::as_str);
            let sentence = format!("the link with the XMPP gateway {who} is gone");
            self.note(Some(link.leg), Severity::Warn, sentence, 0, effects);
        }
        self.routes.drop_of_link(link.leg);
        for stanza in link.end.into_kept() {
            self.counters.sent_again += 1;
            self.hand_over_again(now, now.monotonic, stanza.again(), effects);
        }
    }

    /// Hands out what waits, once a gateway is there.
    pub(super) fn adopt_orphans(&mut self, now: Now, effects: &mut Effects) {
        // Bound: each of them once, whatever becomes of it.
        for _ in 0..self.orphans.len() {
            if !self.legs.links().any(|link| link.is_up()) {
                return;
            }
            let Some((since, stanza)) = self.orphans.pop() else { return };
            self.hand_over_again(now, since, stanza, effects);
        }
    }

    /// Tells the senders of what no gateway has taken in time.
    pub(super) fn forget_orphans(&mut self, now: Now) {
        let over = |since| now.monotonic.ms_since(since) >= limits::XMPP_ORPHANS_MS;
        while self.orphans.oldest().is_some_and(over)
            && let Some((_, stanza)) = self.orphans.pop()
        {
            self.fail_orphan(&stanza, StanzaError::RemoteServerTimeout);
        }
    }

    fn hand_over_again(
        &mut self,
        now: Now,
        since: Monotonic,
        stanza: Outgoing,
        effects: &mut Effects,
    ) {
        let Some((ours, theirs)) = pair_of(&stanza) else { return };
        let handed = self.hand_over(now, ours.as_str(), theirs.as_str(), stanza, effects);
        let Err((error, stanza)) = handed else { return };
        let waits = error == StanzaError::RemoteServerTimeout && self.draining.is_none();
        let refused = if waits { self.orphans.push(since, stanza).err() } else { Some(stanza) };
        if let Some(stanza) = refused {
            self.fail_orphan(&stanza, error);
        }
    }

    fn fail_orphan(&mut self, stanza: &Outgoing, error: StanzaError) {
        self.counters.no_gateway += 1;
        let Some((ours, theirs)) = pair_of(stanza) else { return };
        with_element(stanza.bytes(), |element| {
            self.answer_error(element, &ours, &theirs, error, "no gateway takes it");
        });
    }
}

/// Returns the domains of our user and of the partner's.
fn pair_of(stanza: &Outgoing) -> Option<(Domain, Domain)> {
    let pair = with_element(stanza.bytes(), |element| {
        let (from, to) = (element.from_jid()?.ok()?, element.to_jid()?.ok()?);
        Some((to.to_domain(), from.to_domain()))
    });
    pair.flatten()
}

/// Reads a stanza that was written for a stream of ours.
fn with_element<R>(bytes: &[u8], work: impl FnOnce(&Element<'_>) -> R) -> Option<R> {
    let mut head = Vec::new();
    StreamHeader::between("", "").write(&mut head);
    let mut reader = Reader::new(Bounds::authenticated(limits::XMPP_LINK_ELEMENT_BYTES_MAX));
    reader.read(&head).ok()?;
    match reader.read(bytes).ok()? {
        Read::Element { element, .. } => Some(work(&element)),
        _ => None,
    }
}
