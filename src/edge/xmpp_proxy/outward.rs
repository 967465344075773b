//! Stanzas from gateways: judged, stripped of the link's marks, and sent out.

use super::XmppProxy;
use crate::dns::Domain;
use crate::edge::xmpp_link::without_marks;
use crate::edge::{Effects, LegId};
use crate::policy::users::Role;
use crate::policy::{XmppKey, XmppRefusal};
use crate::time::Now;
use crate::xmpp::{Element, Jid, Stanza, StanzaError};

impl XmppProxy {
    /// A stanza that a gateway sends to a partner.
    ///
    /// Hot: once per stanza.
    pub(super) fn stanza_out(
        &mut self,
        now: Now,
        link: LegId,
        element: &Element<'_>,
        number: u64,
        effects: &mut Effects,
    ) {
        let (from, to) = match (element.from_jid(), element.to_jid()) {
            (Some(Ok(from)), Some(Ok(to))) => (from, to),
            (None, _) | (_, None) => {
                let why = Some("a stanza without from or to".to_owned());
                return self.bounce_as(link, number, StanzaError::BadRequest, why);
            }
            _ => {
                let why = Some("from or to is no address".to_owned());
                return self.bounce_as(link, number, StanzaError::JidMalformed, why);
            }
        };
        let (ours, theirs, partner) = match self.permitted_route(now, &from, &to) {
            Ok(permitted) => permitted,
            Err(refusal) => {
                self.counters.refused_by_policy += 1;
                let (ours, theirs) = (from.domain(), to.domain());
                let sentence = format!("a stanza from {ours} to {theirs}: {refusal}");
                let decision = self.tell(link, &sentence, effects);
                let error = match refusal {
                    XmppRefusal::NotListed => StanzaError::RemoteServerNotFound,
                    XmppRefusal::NotOurs => StanzaError::BadRequest,
                    _ => StanzaError::NotAllowed,
                };
                let why = Some(format!("{refusal} ({decision})"));
                return self.bounce_as(link, number, error, why);
            }
        };
        if let Some(why) = self.user_refused(link, &from, Role::Sender, effects) {
            return self.bounce_as(link, number, StanzaError::Forbidden, Some(why));
        }
        let counter = match element.stanza() {
            Some(Stanza::Message) | None => &mut self.counters.messages_out,
            Some(Stanza::Presence) => &mut self.counters.presence_out,
            Some(Stanza::Iq) => &mut self.counters.queries_out,
        };
        *counter += 1;
        let bytes = without_marks(element);
        self.explain_out(link, element, partner, effects);
        self.send_out(now, &ours, &theirs, Some((link, number)), bytes, effects);
    }

    /// Decides whether the two domains may talk; a route that is there remembers the answer.
    fn permitted_route(
        &mut self,
        now: Now,
        from: &Jid<'_>,
        to: &Jid<'_>,
    ) -> Result<(Domain, Domain, XmppKey), XmppRefusal> {
        let route = self.routes.find(from.domain(), to.domain());
        if let Some(route) = route.and_then(|at| self.routes.get(at)) {
            let permit = route.permit;
            if permit.epoch() == self.snapshot.epoch && now.monotonic < permit.valid_until() {
                return Ok((route.ours.clone(), route.theirs.clone(), permit.partner()));
            }
        }
        let (ours, theirs) = (from.to_domain(), to.to_domain());
        let permit = self.snapshot.xmpp(now, &ours, &theirs)?;
        if let Some(route) =
            self.routes.find(ours.as_str(), theirs.as_str()).and_then(|at| self.routes.get_mut(at))
        {
            route.permit = permit;
        }
        Ok((ours, theirs, permit.partner()))
    }
}
