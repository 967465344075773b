//! What the gateway counts. Plain numbers; the shard copies them out once a second.

use super::translate::{Loss, Losses};
use crate::edge::counted::counters;

counters! {
    /// Counters of one gateway, in the order of [`Counters::NAMES`].
    Counters:
    /// Messages of SIP users handed to an edge.
    messages_to_xmpp,
    /// Messages of XMPP contacts sent to a next hop.
    messages_to_sip,
    /// Words about typing handed to an edge.
    typing_to_xmpp,
    /// Words about typing sent to a next hop.
    typing_to_sip,
    /// Receipts handed to an edge.
    receipts_to_xmpp,
    /// Receipts sent to a next hop.
    receipts_to_sip,
    /// Presence handed to an edge.
    presence_to_xmpp,
    /// Presence sent to a next hop.
    presence_to_sip,
    /// Chat sessions that SIP users began.
    sessions_from_sip,
    /// Chat sessions that XMPP contacts began.
    sessions_from_xmpp,
    /// Chat sessions ended because nobody wrote.
    sessions_idle,
    /// Dialogs by which SIP users watch contacts, begun.
    watches,
    /// Dialogs by which contacts watch SIP users, begun.
    subscriptions,
    /// Subscriptions refreshed.
    refreshes,
    /// Probes answered or asked on.
    probes,
    /// Queries of contacts answered here.
    queries,
    /// Requests from inside received.
    requests_in,
    /// Requests sent inside.
    requests_out,
    /// Requests from inside that were malformed.
    malformed,
    /// Requests from inside refused because the domains may not talk.
    refused_by_policy,
    /// Requests and stanzas refused for an address that has no counterpart.
    refused_address,
    /// Messages from inside refused for their body.
    refused_content,
    /// Stanzas refused because our user has not added their sender.
    refused_unasked,
    /// Stanzas and requests refused because there are too many.
    refused_by_limit,
    /// Stanzas and requests refused because they had passed too many gateways.
    refused_loop,
    /// Requests from inside whose method or package is not known here.
    refused_method,
    /// Messages too large for a single SIP message.
    refused_size,
    /// Requests of ours that were refused inside.
    refused_inside,
    /// Requests of ours that were not answered in time.
    unanswered,
    /// Requests of ours that found no connection.
    unreachable,
    /// Responses from inside that belong to no request.
    stray_responses,
    /// Answers that found their connection gone.
    answers_undeliverable,
    /// Stanzas reported as taken.
    taken,
    /// Stanzas that bounced.
    bounced,
    /// Stanzas that contacts answered with an error in time for the SIP user to hear it.
    errors_in_time,
    /// Those that came too late.
    errors_late,
    /// Stanzas sent again because their link died.
    sent_again,
    /// Stanzas that found no link.
    no_link,
    /// Stanzas dropped without an answer, as the protocol demands.
    dropped,
    /// Links with edges that came up.
    links,
    /// Links with edges that were lost.
    links_lost,
    /// Connections to edges and next hops that did not come up.
    connect_failures,
    /// Authorisations remembered.
    remembered,
    /// Authorisations forgotten.
    forgotten,
    /// Requests from inside handed over to the gateway whose pair they are of.
    handed_over,
    /// Those of them served here all the same, because it was not reached.
    handed_back,
    /// Publications of authorisations to other gateways.
    published,
    /// Authorisations that another gateway told and that were news.
    replicated,
    /// Contacts whose subscriptions were given back to the gateway that has their pair.
    given_back,
    /// Requests that came again in a dialog although they were served.
    repeated,
    /// Stanzas that came again by another link although they were here already.
    repeated_stanzas,
}

/// What translations have lost so far, by what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossCounters([u64; Loss::ALL.len()]);

impl Default for LossCounters {
    fn default() -> Self {
        Self([0; Loss::ALL.len()])
    }
}

impl LossCounters {
    /// Returns how often something was lost.
    #[must_use]
    pub fn of(&self, loss: Loss) -> u64 {
        let place = Loss::ALL.iter().position(|known| *known == loss);
        place.and_then(|place| self.0.get(place)).copied().unwrap_or(0)
    }

    /// Returns each loss by its name in metrics, and how often it happened.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Loss::ALL.iter().map(|loss| loss.as_str()).zip(self.0.iter().copied())
    }

    pub(super) fn add(&mut self, losses: Losses) {
        for (loss, count) in Loss::ALL.into_iter().zip(&mut self.0) {
            *count += u64::from(losses.has(loss));
        }
    }
}
