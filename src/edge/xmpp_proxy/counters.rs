//! What the XMPP proxy counts. Plain numbers; the shard copies them out once a second.

use crate::edge::counted::counters;

counters! {
    /// Counters of one XMPP proxy, in the order of [`Counters::NAMES`].
    Counters:
    /// Connections accepted from XMPP servers.
    streams_accepted,
    /// Connections to XMPP servers asked for.
    streams_opened,
    /// Connections to XMPP servers that did not come up.
    connect_failures,
    /// Streams closed before a domain was authenticated on them.
    closed_unauthenticated,
    /// Streams closed with a stream error of ours.
    stream_errors_sent,
    /// Stream errors received.
    stream_errors_received,
    /// Domain pairs that partners authenticated by certificate.
    authenticated_external,
    /// Domain pairs that partners authenticated by dialback over TLS.
    authenticated_dialback,
    /// Domain pairs that partners authenticated by dialback in the clear.
    authenticated_dialback_clear,
    /// Domain pairs of ours that partners took by certificate.
    proved_external,
    /// Domain pairs of ours that partners took by dialback.
    proved_dialback,
    /// SASL refused to partners.
    sasl_refused,
    /// SASL refused by partners.
    sasl_failed,
    /// Dialback keys asked about and found right.
    dialback_keys_valid,
    /// Dialback keys asked about and found wrong.
    dialback_keys_invalid,
    /// Dialback claims refused before anything was asked.
    dialback_refused,
    /// Dialback claims that their domain's own server denied.
    dialback_denied,
    /// Dialback claims that could not be verified.
    dialback_unverified,
    /// Streams refused because their domains may not talk.
    refused_by_policy,
    /// Streams refused because there are too many.
    refused_by_limit,
    /// Stanzas refused for the sake of the own user.
    refused_user,
    /// Stanzas refused because their partner sends too many.
    refused_by_rate,
    /// Streams closed for a stanza under a domain pair that was not authenticated.
    forged,
    /// Streams closed for what breaks XMPP's grammar.
    malformed,
    /// Messages from partners handed to a gateway.
    messages_in,
    /// Presence from partners handed to a gateway.
    presence_in,
    /// Queries from partners handed to a gateway.
    queries_in,
    /// Messages from gateways written to partners.
    messages_out,
    /// Presence from gateways written to partners.
    presence_out,
    /// Queries from gateways written to partners.
    queries_out,
    /// Stanzas from gateways reported as taken.
    taken,
    /// Stanzas from gateways bounced: no such server.
    bounced_not_found,
    /// Stanzas from gateways bounced: the server could not be reached in time.
    bounced_timeout,
    /// Stanzas from gateways bounced: no room.
    bounced_full,
    /// Stanzas from gateways bounced: policy.
    bounced_policy,
    /// Stanzas from gateways bounced: malformed.
    bounced_malformed,
    /// Stanzas from partners answered with an error because no gateway took them.
    no_gateway,
    /// Stanzas from partners dropped without an answer, as the protocol demands.
    dropped,
    /// Stanzas sent again because what carried them died.
    sent_again,
    /// Pings answered.
    pings,
    /// Pings sent on silent streams.
    pings_sent,
    /// Streams closed because a ping was not answered.
    pings_unanswered,
    /// Links of gateways that came up.
    links,
    /// Links of gateways that were lost.
    links_lost,
    /// Questions put to the resolver.
    questions,
}
