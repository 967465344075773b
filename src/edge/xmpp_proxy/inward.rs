//! Stanzas from partners: each is checked against what its stream has proved, then against policy,
//! then handed to a gateway.

use super::XmppProxy;
use super::stream::{End, Going, Stream};
use crate::dns::Domain;
use crate::edge::xmpp_link::{Origin, Outgoing};
use crate::edge::{Effects, LegId};
use crate::policy::users::{Gate, Marks, Role};
use crate::time::Now;
use crate::xmpp::{Element, Jid, Stanza, StanzaError, StreamError, ping, unescape};

impl XmppProxy {
    /// A stanza from a partner.
    ///
    /// Hot: once per stanza. The text is copied once with the marks of the link, and from there to
    /// staging.
    /// Source: RFC 6120 sections 8.1.1.2, 8.1.2.2 and 10.1.
    pub(super) fn stanza_in(
        &mut self,
        now: Now,
        stream: &mut Stream,
        element: &Element<'_>,
        kind: Stanza,
        effects: &mut Effects,
    ) -> Going {
        if stream.inbound.is_empty() {
            let why = "a stanza before its domain was authenticated";
            return Err(End::abuse(StreamError::NotAuthorized, why));
        }
        let (Some(from), Some(to)) = (element.from_jid(), element.to_jid()) else {
            let why = "a stanza without from or to";
            return Err(End::abuse(StreamError::ImproperAddressing, why));
        };
        let Ok(from) = from else {
            let why = "a stanza whose from is no address";
            return Err(End::abuse(StreamError::InvalidFrom, why));
        };
        // Whatever becomes of it, it was handled (XEP-0198 section 4).
        stream.handled = stream.handled.map(|handled| handled.wrapping_add(1));
        let Ok(to) = to else {
            return self.malformed_to(stream, element, &from);
        };
        let at = match stream.inbound_pair(to.domain(), from.domain()) {
            Some(at) => self.permitted_pair(now, stream, at)?,
            None => return Err(self.unproved(stream, &from, &to)),
        };
        stream.stanza_at = now.monotonic;
        if kind == Stanza::Iq && to.local().is_none() && self.own_query(stream, element) {
            return Ok(());
        }
        let partner = stream.inbound[at].permit.partner();
        if !self.accounts.charge(now, partner, element.raw().len()) {
            self.counters.refused_by_rate += 1;
            let why = "too many stanzas in a short time";
            self.tell(stream.leg, "the partner sends too many stanzas", effects);
            return self.answer(stream, at, element, StanzaError::ResourceConstraint, why);
        }
        if let Some(why) = self.user_refused(stream.leg, &to, Role::Recipient, effects) {
            return self.answer(stream, at, element, StanzaError::PolicyViolation, &why);
        }
        self.pass_in(now, stream, at, element, kind, effects)
    }

    fn pass_in(
        &mut self,
        now: Now,
        stream: &Stream,
        at: usize,
        element: &Element<'_>,
        kind: Stanza,
        effects: &mut Effects,
    ) -> Going {
        let pair = &stream.inbound[at];
        let Some(partner) = self.snapshot.xmpp_partner(pair.permit.partner()) else {
            return Ok(());
        };
        let origin =
            Origin { partner: partner.domain.clone(), kind: partner.kind, proof: pair.proof };
        let number = self.next_number();
        let Some(outgoing) = Outgoing::of(element, &origin, number) else {
            let why = "the stanza has a prefix that is ours";
            return self.answer(stream, at, element, StanzaError::BadRequest, why);
        };
        let (ours, theirs) = (pair.ours.as_str(), pair.theirs.as_str());
        match self.hand_over(now, ours, theirs, outgoing, effects) {
            Ok(()) => {
                let counter = match kind {
                    Stanza::Message => &mut self.counters.messages_in,
                    Stanza::Presence => &mut self.counters.presence_in,
                    Stanza::Iq => &mut self.counters.queries_in,
                };
                *counter += 1;
                let partner = pair.permit.partner();
                self.explain_in(stream.leg, element, (partner, &origin), effects);
                Ok(())
            }
            Err((error, _)) => {
                self.counters.no_gateway += 1;
                self.answer(stream, at, element, error, "no gateway takes it")
            }
        }
    }

    /// Returns the pair's place if the policy in force still permits it.
    fn permitted_pair(&mut self, now: Now, stream: &mut Stream, at: usize) -> Result<usize, End> {
        let pair = &stream.inbound[at];
        let permit = pair.permit;
        if permit.epoch() == self.snapshot.epoch && now.monotonic < permit.valid_until() {
            return Ok(at);
        }
        let (ours, theirs) = (pair.ours.clone(), pair.theirs.clone());
        stream.inbound[at].permit = self.permit(now, &ours, &theirs)?;
        Ok(at)
    }

    fn unproved(&self, stream: &Stream, from: &Jid<'_>, to: &Jid<'_>) -> End {
        let proved = stream.inbound.iter().any(|pair| pair.theirs.as_str() == from.domain());
        if !proved {
            let why = format!("a stanza from {}, which was not authenticated", from.domain());
            return End::abuse(StreamError::InvalidFrom, why);
        }
        if !self.snapshot.is_own(to.domain().as_bytes()) {
            let why = format!("a stanza for {}, which is none of ours", to.domain());
            return End::abuse(StreamError::HostUnknown, why);
        }
        let why = format!(
            "a stanza from {} to {}, a pair that was not authenticated",
            from.domain(),
            to.domain()
        );
        End::abuse(StreamError::InvalidFrom, why)
    }

    fn malformed_to(&mut self, stream: &Stream, element: &Element<'_>, from: &Jid<'_>) -> Going {
        let pair = stream.inbound.iter().position(|pair| pair.theirs.as_str() == from.domain());
        let Some(at) = pair else {
            let why = "a stanza whose from was not authenticated";
            return Err(End::abuse(StreamError::InvalidFrom, why));
        };
        self.answer(stream, at, element, StanzaError::JidMalformed, "to is no address")
    }

    /// Answers what is for the server itself: pings, and answers to ours.
    fn own_query(&mut self, stream: &Stream, element: &Element<'_>) -> bool {
        let pair = element.to_jid().zip(element.from_jid());
        let Some((Ok(to), Ok(from))) = pair else { return false };
        if ping::is_ping(element) {
            self.counters.pings += 1;
            let mut out = Vec::new();
            ping::write_pong(element, &mut out);
            self.replies.push((to.to_domain(), from.to_domain(), out.into()));
            return true;
        }
        let Some(leg) = element.id().and_then(|id| self.pinged_leg(&id)) else { return false };
        if leg == stream.leg {
            return true;
        }
        if let Some(pinged) = self.legs.stream(leg)
            && pinged.theirs.as_ref().is_some_and(|theirs| theirs.as_str() == from.domain())
        {
            pinged.heard_at = stream.heard_at;
            pinged.pinged_at = None;
        }
        true
    }

    pub(super) fn ping_id(&self, leg: LegId) -> String {
        let seal = super::keyed(self.setup.process_key, b"ping", u64::from(leg.generation));
        format!("ping-{}-{}-{:08x}", leg.index, leg.generation, seal >> 32)
    }

    fn pinged_leg(&self, id: &str) -> Option<LegId> {
        let mut parts = id.strip_prefix("ping-")?.split('-');
        let index = parts.next()?.parse().ok()?;
        let generation = parts.next()?.parse().ok()?;
        let leg = LegId { index, generation };
        (self.ping_id(leg) == id).then_some(leg)
    }

    /// Judges the own user at one end of a stanza. Returns what its sender is told if he may not.
    pub(super) fn user_refused(
        &mut self,
        leg: LegId,
        own: &Jid<'_>,
        role: Role,
        effects: &mut Effects,
    ) -> Option<String> {
        let directory = self.snapshot.directory();
        if directory.is_open() {
            return None;
        }
        let user = unescape(own.local()?);
        let host = own.domain().as_bytes();
        let judged = directory.judge(user.as_bytes(), host, Gate::Xmpp, role, Marks::default());
        let closed = judged.err()?;
        self.counters.refused_user += 1;
        let decision = self.tell(leg, &closed.sentence(), effects);
        Some(format!("{} ({decision})", closed.reason()))
    }

    fn answer(
        &mut self,
        stream: &Stream,
        at: usize,
        element: &Element<'_>,
        error: StanzaError,
        text: &str,
    ) -> Going {
        let pair = &stream.inbound[at];
        let (ours, theirs) = (pair.ours.clone(), pair.theirs.clone());
        self.answer_error(element, &ours, &theirs, error, text);
        Ok(())
    }

    /// Answers a partner's stanza with an error, by the route back to it.
    pub(super) fn answer_error(
        &mut self,
        element: &Element<'_>,
        ours: &Domain,
        theirs: &Domain,
        error: StanzaError,
        text: &str,
    ) {
        let mut out = Vec::new();
        // RFC 6121 section 8.5.1: presence that goes nowhere is not answered; a request to
        // subscribe is, or its sender would wait for ever.
        let silent = element.stanza() == Some(Stanza::Presence)
            && element.kind().as_deref() != Some("subscribe");
        if silent || error.reply(element, Some(text), &mut out).is_none() {
            self.counters.dropped += 1;
            return;
        }
        self.replies.push((ours.clone(), theirs.clone(), out.into()));
    }
}
