//! What the Access Edge counts. Plain numbers; the shard copies them out once a second.

use crate::edge::counted::counters;

/// Ways of a request across the border, as [`Latency`] tells them apart.
pub const CROSSINGS: [&str; 5] = [
    "partner_to_inside",
    "inside_to_partner",
    "user_to_inside",
    "inside_to_user",
    "inside_to_gateway",
];

/// Upper bounds of the buckets of [`Latency`] in microseconds, from a forward on loopback to the
/// end of a transaction (RFC 3261 Timer F).
pub const LATENCY_BOUNDS_US: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    4_000_000, 32_000_000,
];

/// How long senders waited for their final responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency([OfCrossing; CROSSINGS.len()]);

/// One crossing's histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfCrossing {
    /// Not cumulative; the last one is for what is above every bound.
    pub counts: [u64; LATENCY_BOUNDS_US.len() + 1],
    /// All waits together.
    pub sum_us: u64,
}

impl Latency {
    /// Counts one wait. `crossing`: a place in [`CROSSINGS`].
    pub(super) fn observe(&mut self, crossing: usize, us: u64) {
        let of_crossing = &mut self.0[crossing];
        // Most waits end in the first few buckets, so a walk from the start is short.
        let place = LATENCY_BOUNDS_US.iter().take_while(|bound| us > **bound).count();
        of_crossing.counts[place] += 1;
        of_crossing.sum_us = of_crossing.sum_us.saturating_add(us);
    }

    /// Returns the histograms in the order of [`CROSSINGS`].
    #[must_use]
    pub const fn crossings(&self) -> &[OfCrossing; CROSSINGS.len()] {
        &self.0
    }
}

counters! {
    /// Counters of one shard's Access Edge, in the order of [`Counters::NAMES`].
    Counters:
    /// Requests received from partners.
    requests_from_partners,
    /// Requests received from next hops.
    requests_from_inside,
    /// Requests received from own users outside.
    requests_from_users,
    /// Requests forwarded to a next hop.
    requests_to_inside,
    /// Requests forwarded to a partner.
    requests_to_partners,
    /// Requests forwarded to an own user outside.
    requests_to_users,
    /// Requests of own users to XMPP partners, forwarded to the gateway.
    requests_to_gateway,
    /// Responses forwarded.
    responses_forwarded,
    /// Responses absorbed: 100, provisional answers to a non-INVITE, late 408.
    responses_absorbed,
    /// Responses dropped because their branch is not ours or its transaction is over.
    responses_unmatched,
    /// Responses dropped because they came from someone who was not asked.
    responses_from_stranger,
    /// Responses dropped because no leg of the requester is left.
    responses_undeliverable,
    /// Requests refused by policy.
    refused_by_policy,
    /// Requests refused for their syntax.
    refused_by_syntax,
    /// Requests refused because a rate or quota was used up.
    refused_by_rate,
    /// Refusals beyond what one connection may be refused: answered without reasons, or not at all.
    refused_without_reasons,
    /// ACKs that went nowhere: not permitted, or of no transaction and no dialog.
    acks_dropped,
    /// Requests refused because a bound of the whole edge was reached (503).
    refused_by_overload,
    /// Requests refused because their partner could not be reached or was full (504).
    refused_unreachable,
    /// Loops found by our own branch (482).
    loops,
    /// Requests answered by the edge itself: OPTIONS, NEGOTIATE.
    answered_locally,
    /// Requests received on listeners where credentials of the A/V Edge are handed out.
    credentials_requests,
    /// Credentials of the A/V Edge handed out.
    credentials_issued,
    /// Requests for them that were refused.
    credentials_refused,
    /// Keep-alive pings answered.
    pings,
    /// Keep-alive pings sent on own connections.
    pings_sent,
    /// Answers to them.
    pongs,
    /// Connections closed because a peer that answered pings did not any more.
    pings_unanswered,
    /// Messages that could not be framed; the leg was closed.
    framing_lost,
    /// Verdicts found in the cache.
    verdict_hits,
    /// Verdicts worked out.
    verdict_misses,
    /// Verdicts that the candidate policy would turn into a refusal.
    shadow_would_refuse,
    /// Refusals that the candidate policy would let pass.
    shadow_would_permit,
    /// Refusals that the candidate policy would make under another rule.
    shadow_other_refusal,
    /// Permits that the candidate policy would give under another rule.
    shadow_other_rule,
    /// Verdicts for which the candidate policy would ask DNS first.
    shadow_would_ask,
    /// Requests that the candidate policy would refuse for the sake of the own user.
    shadow_would_refuse_user,
    /// Requests refused for the sake of the own user that the candidate policy would let pass.
    shadow_would_permit_user,
    /// Questions put to the resolver.
    questions,
    /// Messages that waited for DNS.
    parked,
    /// Messages that waited in vain.
    parked_expired,
    /// Requests sent again to the next target.
    retries,
    /// Transactions ended by Timer B or F.
    timeouts,
    /// INVITE transactions ended by Timer C.
    timer_c,
    /// Outgoing legs asked for.
    connects,
    /// Outgoing legs that did not come up.
    connect_failures,
    /// Route tokens that did not verify.
    bad_route_tokens,
    /// Hidden routes that could not be opened or sealed: requests refused, responses dropped.
    bad_seals,
    /// Requests for a flow that this edge does not have (430).
    flows_lost,
    /// Sign-in attempts refused because too many failed.
    sign_ins_throttled,
    /// Messages held because their sender was beyond its rate.
    held,
    /// Messages refused because a partner addressed one local user too many.
    users_blocked,
    /// Times a partner turned suspicious because too many of its requests fail.
    suspicions,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_counted_in_the_bucket_whose_bound_it_does_not_exceed() {
        let mut latency = Latency::default();
        for us in [0, 100, 101, 32_000_000, 32_000_001] {
            latency.observe(1, us);
        }
        let counts = latency.crossings()[1].counts;
        assert_eq!((counts[0], counts[1], counts[13], counts[14]), (2, 1, 1, 1));
        assert_eq!(latency.crossings()[1].sum_us, 64_000_202);
        assert_eq!(latency.crossings()[0], OfCrossing::default());
    }
}
