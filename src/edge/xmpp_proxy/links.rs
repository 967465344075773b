//! Links with gateways, and which of them a domain pair's stanzas go to.

use std::sync::Arc;

use super::XmppProxy;
use super::stream::Held;
use crate::dns::Domain;
use crate::edge::xmpp_link::{EdgeEnd, FromGateway, LinkFault, Outgoing};
use crate::edge::{CloseReason, Command, Effects, Fed, Kind, LegId, Opened, Severity};
use crate::limits;
use crate::policy::PeerNames;
use crate::policy::rendezvous::{Among, weight};
use crate::time::{Monotonic, Now};
use crate::xmpp::{StanzaError, StreamError};

/// A link with a gateway.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) leg: LegId,
    pub(super) end: EdgeEnd,
    pub(super) names: Option<Arc<PeerNames>>,
    pub(super) gateway: Option<Domain>,
    pub(super) written_at: Monotonic,
    pub(super) scratch: Vec<u8>,
    pub(super) dead: Dead,
}

/// Whether a close was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dead {
    No,
    Yes,
}

impl Link {
    pub(super) fn is_up(&self) -> bool {
        self.end.is_up() && self.dead == Dead::No
    }
}

impl XmppProxy {
    pub(super) fn link_opened(
        &mut self,
        now: Now,
        leg: LegId,
        opened: Opened,
        effects: &mut Effects,
    ) {
        let id = self.next_id();
        let edge = self.snapshot.rules().internal_fqdn.clone();
        let mut link = Box::new(Link {
            leg,
            end: EdgeEnd::accept(edge, id),
            names: opened.peer,
            gateway: None,
            written_at: now.monotonic,
            scratch: Vec::new(),
            dead: Dead::No,
        });
        if self.legs.links().count() >= limits::XMPP_LINKS_MAX {
            let why = "there are too many links of gateways";
            self.end_link(&mut link, Some(StreamError::ResourceConstraint), why, effects);
        }
        self.legs.put(leg, Held::Link(link));
    }

    pub(super) fn link_fed(
        &mut self,
        now: Now,
        link: &mut Link,
        input: &[u8],
        effects: &mut Effects,
    ) -> Fed {
        if link.dead == Dead::Yes {
            return Fed::Dead;
        }
        let mut out = std::mem::take(&mut link.scratch);
        let read = link.end.read(input, &mut out);
        if !out.is_empty() {
            link.written_at = now.monotonic;
            self.stage(link.leg, &out, effects);
            out.clear();
        }
        link.scratch = out;
        match read {
            Ok(FromGateway::NeedMore(bytes)) => Fed::NeedMore(bytes),
            Ok(FromGateway::Done { consumed }) => Fed::Consumed(consumed),
            Ok(FromGateway::Named { gateway, consumed }) => {
                // The certificate carries a listed name; it has to be this one, since the name
                // decides which pairs the gateway gets.
                let names = link.names.as_deref();
                if names.is_some_and(|names| names.carries_host(&gateway, false)) {
                    link.gateway = Some(gateway);
                    return Fed::Consumed(consumed);
                }
                let why = format!("the gateway calls itself {gateway}, its certificate does not");
                self.end_link(link, Some(StreamError::InvalidFrom), &why, effects);
                Fed::Dead
            }
            Ok(FromGateway::Up { consumed }) => {
                self.counters.links += 1;
                let who = link.gateway.as_ref().map_or("", Domain::as_str);
                let sentence = format!("the XMPP gateway {who} is linked");
                self.note(Some(link.leg), Severity::Info, sentence, 0, effects);
                self.linked_changed = true;
                Fed::Consumed(consumed)
            }
            Ok(FromGateway::Stanza { element, number, consumed }) => {
                self.stanza_out(now, link.leg, &element, number, effects);
                Fed::Consumed(consumed)
            }
            Ok(FromGateway::Ended { .. }) => {
                self.end_link(link, None, "the gateway has ended it", effects);
                Fed::Dead
            }
            Err(fault) => {
                self.fault(link, fault, effects);
                Fed::Dead
            }
        }
    }

    fn fault(&mut self, link: &mut Link, fault: LinkFault, effects: &mut Effects) {
        self.end_link(link, fault.stream_error(), &fault.sentence(), effects);
    }

    pub(super) fn end_link(
        &mut self,
        link: &mut Link,
        error: Option<StreamError>,
        why: &str,
        effects: &mut Effects,
    ) {
        if link.dead == Dead::Yes {
            return;
        }
        let mut out = Vec::new();
        link.end.end(error, &mut out);
        self.stage(link.leg, &out, effects);
        link.dead = Dead::Yes;
        self.linked_changed = true;
        let reason = match error {
            None => CloseReason::Ended,
            Some(StreamError::SystemShutdown) => CloseReason::Draining,
            Some(_) => CloseReason::Abuse,
        };
        let severity = if error.is_some() { Severity::Warn } else { Severity::Info };
        let sentence = format!("closing the link with the XMPP gateway: {why}");
        self.note(Some(link.leg), severity, sentence, 0, effects);
        effects.commands.push(Command::Close { leg: link.leg, reason });
    }

    /// Tells the gateways which of them are linked.
    pub(super) fn tell_gateways(&mut self, now: Now, effects: &mut Effects) {
        let up = self.legs.links().filter(|link| link.is_up());
        let mut names: Vec<&str> =
            up.filter_map(|link| link.gateway.as_ref().map(Domain::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        let names = names.join(" ");
        let legs: Vec<LegId> = self.legs.links().map(|link| link.leg).collect();
        for leg in legs {
            let Some(link) = self.legs.link(leg).filter(|link| link.is_up()) else { continue };
            let mut out = Vec::new();
            link.end.tell_gateways(&names, &mut out);
            if !out.is_empty() {
                link.written_at = now.monotonic;
                self.stage(leg, &out, effects);
            }
        }
    }

    pub(super) fn drop_link(&mut self, leg: LegId, why: &str, effects: &mut Effects) {
        if let Some(mut link) = self.legs.take_link(leg) {
            self.end_link(&mut link, Some(StreamError::PolicyViolation), why, effects);
            self.legs.put(leg, Held::Link(link));
        }
    }

    /// Returns the link that a pair's stanzas go by: of the gateways that are linked, the one that
    /// the pair falls to. Every edge reckons alike, so that one gateway knows a pair's history.
    pub(super) fn gateway_for(&self, ours: &str, theirs: &str) -> Option<LegId> {
        let weight = |link: &Link| {
            let gateway = link.gateway.as_ref()?;
            Some(weight(Among::Gateways, gateway.as_str(), ours, theirs))
        };
        self.legs
            .links()
            .filter(|link| link.is_up())
            .filter_map(|link| Some((weight(link)?, link.written_at, link.leg)))
            .max()
            .map(|(_, _, leg)| leg)
    }

    /// Hands a partner's stanza to the gateway of its pair. `Err`: no gateway can take it.
    pub(super) fn hand_over(
        &mut self,
        now: Now,
        ours: &str,
        theirs: &str,
        stanza: Outgoing,
        effects: &mut Effects,
    ) -> Result<(), (StanzaError, Outgoing)> {
        let Some(leg) = self.gateway_for(ours, theirs) else {
            return Err((StanzaError::RemoteServerTimeout, stanza));
        };
        let Some(link) = self.legs.link(leg) else {
            return Err((StanzaError::RemoteServerTimeout, stanza));
        };
        // Room for the mark of one that goes again.
        let size = stanza.bytes().len() + 32;
        let admitted = link.end.admits(stanza.bytes().len());
        let out = if admitted { effects.stage(leg, Kind::Request, size) } else { None };
        let Some(out) = out else { return Err((StanzaError::ResourceConstraint, stanza)) };
        link.written_at = now.monotonic;
        link.end.send(stanza, out).map_err(|(_, s)| (StanzaError::ResourceConstraint, s))
    }
}
