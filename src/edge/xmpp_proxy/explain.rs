//! What passes, told where somebody asked for it: at the start, or by the level of the log.

use super::XmppProxy;
use super::stream::Pair;
use crate::edge::xmpp_link::{Origin, Proof};
use crate::edge::{Effects, LegId, Severity};
use crate::limits;
use crate::policy::{Place, XmppKey};
use crate::xmpp::{Element, ns};

impl XmppProxy {
    fn explains(&self) -> bool {
        self.setup.explain || self.snapshot.telling().permits
    }

    /// Tells which domain was believed by what.
    pub(super) fn explain_proof(&mut self, leg: LegId, pair: &Pair, effects: &mut Effects) {
        if self.explains() {
            let (who, proof) = (self.listed(pair.permit.partner()), in_words(pair.proof));
            let Pair { ours, theirs, .. } = pair;
            let sentence = format!("{theirs} may talk to {ours}, proved by {proof}: {who}");
            self.tell_permit(leg, sentence, effects);
        }
    }

    /// Tells that a partner's stanza was handed to a gateway, and who was believed by what.
    pub(super) fn explain_in(
        &mut self,
        leg: LegId,
        stanza: &Element<'_>,
        (partner, origin): (XmppKey, &Origin),
        effects: &mut Effects,
    ) {
        if self.explains() {
            let (who, proof) = (self.listed(partner), in_words(origin.proof));
            let (what, body) = (stanza.name(), self.body_of(stanza));
            let sentence =
                format!("{what} forwarded, XMPP partner to inside: {who}, by {proof}{body}");
            self.tell_permit(leg, sentence, effects);
        }
    }

    /// Tells that a stanza of an own user may go to a partner.
    pub(super) fn explain_out(
        &mut self,
        leg: LegId,
        stanza: &Element<'_>,
        partner: XmppKey,
        effects: &mut Effects,
    ) {
        if self.explains() {
            let who = self.listed(partner);
            let (what, body) = (stanza.name(), self.body_of(stanza));
            let sentence = format!("{what} forwarded, inside to XMPP partner: {who}{body}");
            self.tell_permit(leg, sentence, effects);
        }
    }

    /// Returns what people wrote, where the configuration lets it be logged.
    fn body_of(&self, stanza: &Element<'_>) -> String {
        if !self.snapshot.rules().xmpp.log_bodies {
            return String::new();
        }
        let Some(body) = stanza.child("body", ns::SERVER) else { return String::new() };
        let body = body.text();
        let body: String = body.chars().take(limits::XMPP_LOGGED_BODY_CHARS_MAX).collect();
        // Quoted, because a line feed in it would look like another line of the log.
        format!(": {body:?}")
    }

    fn listed(&self, key: XmppKey) -> String {
        let place = Place::XmppPartner(key.0);
        let partner = self.snapshot.xmpp_partner(key);
        let named = partner.map(|partner| {
            let kind = partner.kind.as_str();
            format!("listed partner domain {}, {kind} ({place})", partner.domain)
        });
        named.unwrap_or_else(|| place.to_string())
    }

    fn tell_permit(&mut self, leg: LegId, sentence: String, effects: &mut Effects) {
        let decision = self.next_decision();
        self.note(Some(leg), Severity::Debug, sentence, decision, effects);
    }
}

const fn in_words(proof: Proof) -> &'static str {
    match proof {
        Proof::External => "its certificate",
        Proof::Dialback => "dialback over TLS",
        Proof::DialbackClear => "dialback in the clear",
    }
}
