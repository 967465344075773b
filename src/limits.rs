//! Every bound of the data path, with its unit in its name and its reason beside it.
//!
//! What an operator may change is in the configuration; its default and its ceiling are here.

/// Shards of one process. Eight bits of a branch name the shard.
pub const SHARDS_MAX: usize = 256;

/// Bytes read from one leg in one turn, so that a flood on one leg leaves the others their turn.
pub const READ_BYTES_PER_TURN_MAX: usize = 64 * 1024;
/// Messages served from one leg in one turn; the rest waits in the socket or in the leg's joiner.
pub const MESSAGES_PER_TURN_MAX: usize = 64;
/// Mails taken from other shards in one turn.
pub const MAILS_PER_TURN_MAX: usize = 256;
/// Timers run in one turn.
pub const EXPIRIES_PER_TURN_MAX: usize = 256;
/// Handshake steps (each up to a private-key operation, about 130 us) in one turn.
pub const HANDSHAKES_PER_TURN_MAX: usize = 8;

/// A PROXY protocol line with its CRLF (version 1, section 2.1).
pub const PROXY_V1_BYTES_MAX: usize = 107;
/// A PROXY protocol header with its TLVs (version 2). The format allows 65,551; addresses, SSL and
/// a cloud's own TLVs stay below 1 KiB, and the bytes are held before anyone is authenticated.
pub const PROXY_V2_BYTES_MAX: usize = 4096;

/// Connections accepted in one turn from one listener.
pub const ACCEPTS_PER_TURN_MAX: usize = 64;
/// Legs judged again in one turn after new certificates or CRLs, a chain (about 100 us) each.
pub const REJUDGEMENTS_PER_TURN_MAX: usize = 4;
/// How often chains are looked at for expiry; they end by the day.
pub const EXPIRY_SWEEP_MS: u64 = 60_000;
/// Turns with fewer events than this are worth waiting for company, where that is configured.
pub const SMALL_TURN_EVENTS: usize = 8;
/// The longest coalescing wait: latency that is added to a lonely message.
pub const COALESCE_US_MAX: u32 = 200;
/// How often a shard's counters are copied to where the exporter reads them.
pub const COUNTERS_PUBLISH_MS: u64 = 1_000;

/// How long a PROXY header may take; a balancer sends it with its first segment.
pub const PROXY_HEADER_MS: u64 = 3_000;
/// Default time for a TLS handshake, from accept or connect to the peer's Finished.
pub const HANDSHAKE_MS: u64 = 10_000;
/// How long accepting rests when descriptors, connections or half-open handshakes are used up and
/// no leg of the shard closes meanwhile.
pub const ACCEPT_PAUSE_MS: u64 = 100;
/// RFC 8305 section 5: the next address is tried this long after the one before.
pub const CONNECT_STAGGER_MS: u64 = 250;
/// How long the last address tried may take: one lost SYN (1 s, RFC 6298) and a round trip. Half
/// of [`PARKED_MS`], so that a second target has its turn before the messages that wait give up.
pub const CONNECT_MS: u64 = 2_000;
/// Addresses tried for one connection.
pub const CONNECT_ADDRESSES_MAX: usize = 8;
/// How long a leg that we close may take to read its last bytes and to close its side.
pub const LINGER_MS: u64 = 5_000;
/// Over how long the drain closes legs that have nothing left to do, so that peers do not all
/// connect elsewhere in the same instant.
pub const DRAIN_SPREAD_MS: u64 = 2_000;
/// Silence before the kernel probes a connection. With the probes below a dead peer is found
/// within 85 s, under the 90 s after which balancers forget a silent connection (DESIGN 9).
pub const TCP_KEEP_ALIVE_S: u64 = 45;
/// Time between probes.
pub const TCP_KEEP_ALIVE_INTERVAL_S: u64 = 10;
/// Probes without an answer that end a connection.
pub const TCP_KEEP_ALIVE_PROBES: u32 = 4;
/// How long sent bytes may go without acknowledgement (RFC 5482).
pub const TCP_USER_TIMEOUT_MS: u64 = 80_000;

/// How long the answer to a ping may take (RFC 5626 section 4.4.1).
pub const PONG_MS: u64 = 10_000;

/// Descriptors beside those of connections: listeners, rings, wakers, management, log.
pub const OTHER_DESCRIPTORS: usize = 256;

/// Mails from one shard to another that await nothing: memory 128 bytes each and pair of shards.
pub const MAIL_ROOM: usize = 1024;
/// Requests of one shard that await their answer from one other; the same memory.
pub const MAIL_RESERVED_MAX: usize = 4096;
/// How long a place stays reserved for an answer that does not come: Timer C and a margin.
pub const MAIL_RESERVATION_MS: u64 = TIMER_C_MS + 5_000;
/// Accepted sockets that wait for another shard to take them over.
pub const HANDOVERS_MAX: usize = 256;
/// Questions to the resolver that one shard may have outstanding.
pub const QUESTIONS_MAX: usize = 1024;

/// A TLS record's payload (RFC 8446 section 5.1).
pub const TLS_RECORD_BYTES_MAX: usize = 16 * 1024;
/// A TLS record on the wire: header, payload and expansion (RFC 5246 section 6.2.3).
pub const TLS_RECORD_WIRE_BYTES_MAX: usize = 5 + TLS_RECORD_BYTES_MAX + 2048;
/// Bytes of handshake a peer may send unauthenticated: a chain of ten 4 KiB certificates.
/// Bytes of handshake a peer may send before it is authenticated: a chain of ten 4 KiB
/// certificates.
pub const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;
/// Certificates between a peer's own and the anchor; more are not searched for a path.
pub const CHAIN_CERTIFICATES_MAX: usize = 10;
/// Names kept of one certificate, of each kind; hosters' certificates carry up to a hundred.
pub const CERTIFICATE_NAMES_MAX: usize = 256;
/// How long a remote user's session ticket is good (DESIGN 7.3); none outlives its material.
pub const TICKET_LIFETIME_S: u32 = 3600;

/// Distribution points whose lists are kept. Memory: about 1 KiB each without what is on the list;
/// only chains of peers that policy has named as partners count.
pub const CRL_POINTS_MAX: usize = 1024;
/// Distribution points on their way from the shards to the control thread.
pub const CRL_REPORTS_MAX: usize = 256;
/// Places of one list that are kept of a certificate.
pub const CRL_URLS_MAX: usize = 8;
/// Bytes of one such place; longer ones are left out.
pub const CRL_URL_BYTES_MAX: usize = 2048;
/// Certificates on all fetched lists together, 16 bytes each: 128 MiB.
pub const CRL_REVOKED_MAX: usize = 8 * 1024 * 1024;
/// Fetches under way at once, each with up to `tls.revocation_list_bytes` of memory for what comes
/// and less than as much again for what is read of it.
pub const CRL_FETCHES_MAX: usize = 4;
/// Pause before a list that could not be fetched is asked for again; it doubles with each failure
/// up to [`CRL_RETRY_MS_MAX`].
pub const CRL_RETRY_MS_MIN: u64 = 5_000;
/// See [`CRL_RETRY_MS_MIN`].
pub const CRL_RETRY_MS_MAX: u64 = 600_000;
/// Shortest time between two fetches of a list that is in force, however short-lived it is.
pub const CRL_REFRESH_MS_MIN: u64 = 1_000;
/// A list that nobody asked about for this long is forgotten: a week, as peers come and go.
pub const CRL_FORGET_MS: u64 = 7 * 86_400_000;
/// Before a list is forgotten every open leg is judged again, and it stays if one was judged by it
/// within this time. A list that nobody asked about for as long makes room for one that is wanted.
pub const CRL_UNUSED_MS: u64 = 3_600_000;
/// New lists that come within this time are published together, since each publication makes the
/// shards look every open leg up again.
pub const CRL_PUBLISH_MS: u64 = 200;

/// Plaintext staged plus ciphertext unsent on one leg; above it the sender of more is refused.
pub const LEG_OUT_BYTES_MAX: usize = 256 * 1024;
/// Kept free on every leg for responses, which must not be refused for want of room.
pub const LEG_OUT_RESPONSE_RESERVE_BYTES: usize = 64 * 1024;
/// A partner leg with more than this unsent is not read until it drains.
pub const LEG_OUT_HIGH_WATER_BYTES: usize = 128 * 1024;
/// Staging buffers a shard keeps between turns, and the largest kept: 4 MiB together.
pub const STAGING_SPARE_MAX: usize = 64;
/// See [`STAGING_SPARE_MAX`].
pub const STAGING_SPARE_BYTES_MAX: usize = 64 * 1024;
/// A leg whose socket takes nothing for this long is closed.
pub const WRITE_STALL_MS: u64 = 30_000;

/// Request line or status line (wire-protocols B.4).
pub const SIP_START_LINE_BYTES_MAX: usize = 8 * 1024;
/// One header field, folded lines included.
pub const SIP_HEADER_BYTES_MAX: usize = 16 * 1024;
/// All header fields with the start line.
pub const SIP_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Header fields of one message; memory of a shard's table: 16 bytes each.
pub const SIP_HEADER_FIELDS_MAX: usize = 256;
/// Via values of one message.
pub const SIP_VIAS_MAX: usize = 100;
/// Route values of one message.
pub const SIP_ROUTES_MAX: usize = 32;
/// What one seal holds of the Record-Route entries of the inside; more is refused with 513. The
/// product's servers sign theirs, which then have about 300 bytes each.
pub const SEALED_ROUTES_BYTES_MAX: usize = 8 * 1024;
/// Body of one message; conference rosters are the largest seen.
pub const SIP_BODY_BYTES_MAX: usize = 1024 * 1024;
/// A whole message, which is what one leg may join from records.
pub const SIP_MESSAGE_BYTES_MAX: usize = SIP_HEAD_BYTES_MAX + SIP_BODY_BYTES_MAX;

/// Outgoing TLS connections per partner over all shards (the product's own bound).
pub const CONNECTIONS_PER_PARTNER_MAX: usize = 4;
/// In-flight transactions towards one partner on one shard (DESIGN 8).
pub const IN_FLIGHT_PER_PARTNER_MAX: usize = 2_000;
/// Bytes retained for one partner on one shard: failover copies and parked messages.
pub const RETAINED_BYTES_PER_PARTNER_MAX: usize = 4 * 1024 * 1024;
/// How long a message waits for DNS or a connection before it is answered 504.
pub const PARKED_MS: u64 = 4_000;
/// Look-ups one leg may have outstanding.
pub const LOOKUPS_PER_LEG_MAX: usize = 8;

/// Requests of one leg that are refused with their reasons, before there is a permit whose limits
/// would count them. A busy partner that one of our rules refuses stays below; each costs an answer
/// and a line of the log.
pub const REFUSALS_PER_LEG_MAX: u32 = 200;
/// How many more of them each second gives.
pub const REFUSALS_PER_LEG_PER_S: u32 = 20;

/// Targets one request is sent to, the first included; four bits of a branch count them.
pub const TARGETS_TRIED_MAX: u8 = 4;
/// Legs closed in one sweep, so that a drain or a quiet night does not close thousands at once.
pub const CLOSES_PER_SWEEP_MAX: usize = 256;
/// What a response of the edge itself adds to what it copies from the request.
pub const OWN_RESPONSE_BYTES_MAX: usize = 512;

/// RFC 3261 Timer F: 64 * T1.
pub const TIMER_F_MS: u64 = 32_000;
/// RFC 3261 Timer H: 64 * T1.
pub const TIMER_H_MS: u64 = 32_000;
/// RFC 3261 Timer C: more than three minutes.
pub const TIMER_C_MS: u64 = 185_000;
/// RFC 6026 Timers L and M: 64 * T1.
pub const TIMER_L_MS: u64 = 32_000;

const _: () =
    assert!(LEG_OUT_HIGH_WATER_BYTES < LEG_OUT_BYTES_MAX - LEG_OUT_RESPONSE_RESERVE_BYTES);
const _: () = assert!(READ_BYTES_PER_TURN_MAX >= TLS_RECORD_WIRE_BYTES_MAX);

/// Contradictions of one configuration that are reported; a million lines help nobody.
/// Contradictions of one configuration that are reported; a list of a million wrong lines helps
/// nobody.
pub const CONTRADICTIONS_MAX: usize = 100;
/// Providers of one configuration; each decision that DNS had a part in walks through them.
pub const PROVIDERS_MAX: usize = 256;
/// Rows of a list in a file of its own, about 100 bytes each while the configuration is held.
pub const LIST_ROWS_MAX: usize = 4_000_000;
/// Wrong rows of such a list that are told of before its reading ends.
pub const LIST_PROBLEMS_MAX: usize = 100;
/// Warnings of one kind that `check` prints of one policy; the rest is counted.
pub const LINT_WARNINGS_MAX: usize = 20;
/// Permits a shard remembers, about 250 bytes each: 1 MiB. A power of two times the ways of a set.
pub const VERDICT_PERMITS: usize = 4096;
/// Refusals a shard remembers, about 150 bytes each; apart, so that strangers push no partner out.
pub const VERDICT_REFUSALS: usize = 1024;
/// Answers with targets that one shard (or the control thread) keeps, about 1 KiB each.
pub const DNS_ANSWERS_MAX: usize = 16 * 1024;
/// Failures held down beside them; apart, so that invented names push no partner out.
pub const DNS_FAILURES_MAX: usize = 4 * 1024;
/// Questions one shard may have on their way to the control thread.
pub const DNS_PENDING_MAX: usize = 4 * 1024;
/// Questions the control thread has out at the name servers; the rest of them waits in its queue.
pub const DNS_IN_FLIGHT_MAX: usize = 256;
/// How long the control thread tries to answer one question, over all servers and tries.
pub const DNS_QUESTION_MS: u64 = 20_000;
/// How long a shard counts a question as on its way; only a lost answer runs into it.
pub const DNS_PENDING_MS: u64 = 30_000;
/// SRV records taken from one answer, the best by priority.
pub const DNS_TARGETS_MAX: usize = 16;
/// Addresses taken per target and family.
pub const DNS_ADDRESSES_MAX: usize = 8;
/// Longest time an answer is used, whatever its TTL (RFC 8767 section 4 advises a ceiling).
pub const DNS_TTL_S_MAX: u32 = 86_400;
/// Shortest time an answer is used: a TTL of zero must not mean a question per message.
pub const DNS_TTL_S_MIN: u32 = 1;
/// Shortest and longest time a negative answer is used (RFC 2308 section 5).
pub const DNS_NEGATIVE_TTL_S: std::ops::RangeInclusive<u32> = 5..=900;
/// Most distinct local users that can be counted for one partner under limits (the product's own
/// default is 1,000): 8 bytes each under each of its two names, while it is heard of.
pub const DISTINCT_USERS_MAX: u32 = 10_000;
/// Names (SIP domains and certificates of partners under limits) with a score, in the whole
/// process: 250 bytes each. When a name more comes, the one longest silent makes room, an
/// unsuspicious one first, and begins afresh when it is back. A power of two times the set's ways.
pub const SCORES: usize = 4096;
/// Combinations of external access policy and home that users may have; 32 bytes each. Sixteen bits
/// of a user's 10 bytes name his.
pub const USER_CLASSES_MAX: usize = 4096;
/// Longest time a message that comes too early may be held, below the time after which the sender's
/// own transaction gives up on us ([`TIMER_F_MS`]).
pub const HOLD_MS_MAX: u32 = 10_000;
/// Messages one shard holds because they came too early; the next one is refused with 480.
pub const HELD_MESSAGES_MAX: usize = 4096;
/// Bytes of them.
pub const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of those that came by one leg.
pub const HELD_BYTES_PER_LEG_MAX: usize = 256 * 1024;

/// Differences between the policy in force and a candidate that one shard tells in a second; the
/// rest are only counted.
pub const SHADOW_FINDINGS_MAX: usize = 8;

// STUN and TURN.

/// Attributes of one message that are looked at; more than twice what any request of RFC 8656 has.
/// A datagram of 64 KiB could hold 16,000.
pub const STUN_ATTRIBUTES_MAX: usize = 64;
/// Seconds a nonce is good for; then 438 gives another (RFC 8656 section 5 suggests an hour).
pub const TURN_NONCE_S: u64 = 3_600;
/// Secrets of one kind that count at once: the newest, the one before, and one for an issuer that
/// is slow. Each costs a proof for a request with a wrong password.
pub const TURN_SECRETS_MAX: usize = 3;
/// Lifetime of an allocation that asks for none, in seconds (RFC 8656 section 6).
pub const TURN_LIFETIME_S: u32 = 600;
/// Longest lifetime granted (RFC 8656 section 7.2 suggests an hour).
pub const TURN_LIFETIME_S_MAX: u32 = 3_600;
/// Lifetime of a permission, in milliseconds (RFC 8656 section 9).
pub const TURN_PERMISSION_MS: u64 = 300_000;
/// Lifetime of a channel, in milliseconds (RFC 8656 section 12).
pub const TURN_CHANNEL_MS: u64 = 600_000;
/// Time for which a reserved port is kept, in milliseconds (RFC 8656 section 7.2: at least 30 s).
pub const TURN_RESERVATION_MS: u64 = 30_000;
/// Ports reserved at once, in all.
pub const TURN_RESERVATIONS_MAX: usize = 1_024;
/// Permissions of one allocation; a browser with all its candidates asks for about twenty. 40 bytes
/// each.
pub const TURN_PERMISSIONS_MAX: usize = 64;
/// Channels of one allocation, and peers owned on a shared port; 48 bytes each.
pub const TURN_CHANNELS_MAX: usize = 64;
/// How long the ticket before an allocation's own is known, in milliseconds (RFC 8016 section
/// 3.2.2: at least 30 s); 50 bytes beside the ticket.
pub const TURN_TICKET_BEFORE_MS: u64 = 30_000;
/// How long a TCP connection with a peer may take to open, and then to be claimed, in milliseconds
/// (RFC 6062 sections 5.2 and 5.3: 30 s).
pub const TURN_CONNECTION_PENDING_MS: u64 = 30_000;
/// TCP connections with peers of one allocation; a client has one or two.
pub const TURN_CONNECTIONS_PER_ALLOCATION_MAX: usize = 16;
/// TCP connections with peers of all relay threads together: two descriptors, 300 bytes and at most
/// 256 KiB of data on its way each.
pub const TURN_CONNECTIONS_MAX: usize = 2_048;
/// How long after its permission an address at a shared port of TCP is out of the reach of other
/// allocations, in milliseconds: what the kernel was opening for the one that had it has ended by
/// then (63 s, as `net.ipv4.tcp_synack_retries` is by default).
pub const TURN_CLAIM_AFTER_MS: u64 = 64_000;
/// Addresses that one user's allocations have at shared ports of TCP, those allocations included:
/// what 32 with every permission have.
pub const TURN_CLAIMS_PER_USER_MAX: usize = 32 * (TURN_PERMISSIONS_MAX + 1);
/// The same of all users of one relay thread; 120 bytes each.
pub const TURN_CLAIMS_MAX: usize = 65_536;
/// How long a shared port that could not be opened for TCP is passed over where there are others,
/// in milliseconds.
pub const TURN_SHARED_PORT_BARRED_MS: u64 = 60_000;
/// How far the samples of a relay's forecast are apart, in milliseconds: a minute's call moves them
/// little.
pub const FORECAST_STEP_MS: u64 = 10_000;
/// Samples of a forecast, 60 bytes each: five minutes.
pub const FORECAST_SAMPLES: usize = 31;
/// Bytes that packets of audio have at most on average: 20 ms at 128 kbit/s. Video's are longer.
pub const AUDIO_BYTES_MAX: u64 = 320;
/// Bytes of a realm, so that an unauthenticated answer keeps to [`TURN_UNAUTHENTICATED_BYTES_MAX`].
pub const TURN_REALM_BYTES_MAX: usize = 36;
/// Bytes of an answer to somebody who has proven nothing: not more than about what a request has,
/// so that spoofed ones gain nothing.
pub const TURN_UNAUTHENTICATED_BYTES_MAX: usize = 128;
/// The same in the Microsoft dialect, whose answer names another server as well.
pub const MS_TURN_UNAUTHENTICATED_BYTES_MAX: usize = 160;
/// Unauthenticated answers a second of all relay threads to one source (a /24, a /48), and at once.
pub const TURN_UNAUTHENTICATED_PER_SOURCE: u32 = 50;
/// Unauthenticated answers a second of all relay threads to everybody, and at once.
pub const TURN_UNAUTHENTICATED_IN_ALL: u32 = 5_000;
/// How far lines of the log are apart that say how many strangers were not answered, in
/// milliseconds; the flood is over when nobody was for so long.
pub const STRANGERS_TOLD_MS: u64 = 60_000;
/// Cells that sources are counted in; 24 bytes each. Two sources that share one share its rate.
pub const TURN_SOURCES: usize = 4_096;
/// Tables of accounts, of each kind, with a lock each: threads that begin allocations meet at one
/// with a chance of one in so many, and the growth of one holds up the others for so short a time.
/// 64 bytes each.
pub const TURN_ACCOUNT_STRIPES: usize = 64;
/// Tries to take from a user's rate before it is taken without looking first; each one fails
/// because another thread has taken something for the same user in that instant.
pub const RATE_TRIES_MAX: usize = 4;
/// Bytes of a request for relay credentials: a hundred times what one of them takes.
pub const MRAS_BODY_BYTES_MAX: usize = 64 * 1024;
/// Credentials that one request may want: each costs four MACs, and a kilobyte of the answer.
pub const MRAS_CREDENTIALS_MAX: usize = 32;

// The relay's threads.

/// Bytes of a datagram that is relayed: above any path's MTU but those of jumbo frames that were
/// put together again; longer ones are dropped and counted.
pub const RELAY_DATAGRAM_BYTES_MAX: usize = 4_096;
/// Bytes that the kernel hands over as one: a train of datagrams (UDP GRO) is at most so long.
pub const RELAY_TRAIN_BYTES_MAX: usize = 65_536;
/// Datagrams of one train: twice what a card's driver joins (64), as much as the kernel's own
/// senders make. A longer one is dropped and counted.
pub const RELAY_TRAIN_MAX: usize = 128;
/// Datagrams that are sent as one (UDP GSO): what every kernel that can takes.
pub const RELAY_GSO_MAX: usize = 64;
/// Bytes that are sent as one; with their headers the kernel puts no more than 65,520 together.
pub const RELAY_GSO_BYTES_MAX: usize = 65_400;
/// Longest datagram that is sent as part of a train: with the headers of IPv6 and UDP it fits the
/// Ethernet's 1,500 bytes. A longer one might have to be cut by IP, which a train's cannot.
pub const RELAY_GSO_DATAGRAM_BYTES_MAX: usize = 1_452;
/// Slots that one thread receives into between two flushes by epoll, 66 KB of addresses each, of
/// which a datagram uses 8 KB at most and only a train all: 2 MB, under video 16 MB.
pub const RELAY_SLOTS: usize = 256;
/// Slots that a relay's ring is lent, for what comes while a turn is served: 4 MB, under video
/// 32 MB.
pub const RELAY_LENT_SLOTS: usize = 512;
/// Batches of [`RELAY_SLOTS`] completions served in one turn of a relay's ring.
pub const RELAY_BATCHES_PER_TURN: usize = 4;
/// Datagrams served from one socket in one turn; the rest waits in the socket.
pub const RELAY_DATAGRAMS_PER_TURN_MAX: usize = 256;
/// Datagrams asked for in a turn's first call for a socket: a relayed port mostly has one or two.
pub const RELAY_FIRST_BATCH: usize = 4;
/// Datagrams asked for in one call.
pub const RELAY_BATCH_MAX: usize = 64;
/// Relayed ports tried for one allocation before 508: other programs of this machine have some.
pub const RELAY_PORT_TRIES_MAX: usize = 8;
/// Bytes a listener's socket may hold each way; 20 ms of 150,000 packets a second.
pub const RELAY_LISTENER_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// A message on a client's stream: channel data of a datagram that no path carries whole, and room
/// for any request. A longer one ends the stream.
pub const RELAY_STREAM_MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Bytes that wait for one stream to be written: a quarter of a second of video. What a peer sends
/// beyond is lost, as it would be on a full link.
pub const RELAY_STREAM_OUT_BYTES_MAX: usize = 128 * 1024;
/// Those of them that data leaves free, for answers: who is sent more than he reads is told what he
/// asks all the same. Some fifty answers.
pub const RELAY_STREAM_ANSWERS_BYTES: usize = 8 * 1024;
/// Streams of all relay threads together, a descriptor and about 1 KB each (12 KB with TLS).
pub const RELAY_STREAMS_MAX: usize = 8_192;
/// Streams that the kernel accepts ahead of us; two turns' worth of a storm.
pub const RELAY_STREAM_BACKLOG: i32 = 1_024;
/// Connections of peers that the kernel accepts ahead of us at one relayed port.
pub const RELAY_PEER_BACKLOG: i32 = 16;
/// How soon a TCP connection whose rate is used up is looked at again: a hundredth of a second's
/// worth has flowed by then.
pub const RELAY_PAUSE_MS: u64 = 10;
/// Streams without an allocation at once: strangers hold no more than these.
pub const RELAY_STREAMS_UNPROVEN_MAX: usize = 1_024;
/// Those of one source network.
pub const RELAY_STREAMS_UNPROVEN_PER_SOURCE_MAX: usize = 128;
/// How long a stream may be without an allocation: a handshake and two requests over a bad link.
pub const RELAY_STREAM_UNPROVEN_MS: u64 = 30_000;
/// Streams looked at in one turn for whether their time is over.
pub const RELAY_STREAMS_SWEPT_PER_TURN: usize = 128;
/// Edges that the file of a pool lists: `edge.pool_members` allows no more. Each is looked at for
/// the address of a peer that a client names, about 200 bytes.
pub const POOL_EDGES_MAX: usize = 64;
/// Relay threads: a core each. A thread has a part of the ports, so there are as many at least.
pub const RELAY_THREADS_MAX: usize = 64;
/// Payloads that wait for a relay thread from the others, about 1.3 KB each at most for media; what
/// comes beyond is lost, as it would be in a full socket.
pub const RELAY_MAIL_MAX: usize = 1_024;
/// Of them, taken in one turn.
pub const RELAY_MAIL_PER_TURN_MAX: usize = 256;
/// Orders that wait for a relay thread; who has more waits for a turn.
pub const RELAY_ORDERS_MAX: usize = 16;
/// Allocations told at once to an operator, about 150 bytes each: listing takes time from media.
pub const RELAY_LISTED_MAX: usize = 1_000;

// XMPP streams.

/// Elements within elements of one stanza, the stream not counted. Real stanzas stay below 12.
pub const XMPP_DEPTH_MAX: u16 = 64;
/// Default size of a stanza; RFC 6120 section 13.12 allows no limit below 10,000.
pub const XMPP_STANZA_BYTES_MAX: u32 = 262_144;
/// A stream header with the XML declaration before it: four addresses of 1,023 bytes would be
/// absurd, and it comes before anyone is authenticated.
pub const XMPP_HEADER_BYTES_MAX: u32 = 4_096;
/// Attributes of one tag, declarations included; each is compared with all others, so that a stanza
/// of nothing but attributes costs some nanoseconds a byte. Real tags have below 10.
pub const XMPP_ATTRIBUTES_MAX: u16 = 32;
/// Bytes of one element or attribute name with its prefix.
pub const XMPP_NAME_BYTES_MAX: u16 = 256;
/// Namespace declarations in force at one place of a stanza beside the stream header's. Searched
/// from the innermost for each prefix.
pub const XMPP_NAMESPACES_MAX: u16 = 64;
/// Namespace declarations of one stream header; a bit of a word says which a stanza uses.
pub const XMPP_HEADER_NAMESPACES_MAX: u16 = 16;
/// One element before authentication: what RFC 6120 section 13.12 demands and no more.
pub const XMPP_UNAUTHENTICATED_ELEMENT_BYTES_MAX: u32 = 10_000;
/// Depth before authentication; features and dialback errors need four.
pub const XMPP_UNAUTHENTICATED_DEPTH_MAX: u16 = 8;
/// Attributes of one tag before authentication; a stream header has eight.
pub const XMPP_UNAUTHENTICATED_ATTRIBUTES_MAX: u16 = 16;
/// All a peer may send before it is authenticated, over all restarts of the stream: three headers,
/// STARTTLS, features, SASL, and dialback for some dozen domains.
pub const XMPP_UNAUTHENTICATED_BYTES_MAX: u64 = 48 * 1024;
/// One part of an address (RFC 7622 section 3.1).
pub const XMPP_JID_PART_BYTES_MAX: usize = 1_023;
/// Text of a stream or stanza error that is read; more is cut.
pub const XMPP_ERROR_TEXT_BYTES_MAX: usize = 512;

// The XMPP proxy, and its link with the gateway.

/// Stanzas on their way over one link in one direction that are not accounted for.
pub const XMPP_LINK_STANZAS_MAX: usize = 4_096;
/// Bytes of them: held by the sender, for each link.
pub const XMPP_LINK_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Stanzas of an edge that a gateway says at once that it is done with.
pub const XMPP_LINK_DONE_MAX: usize = 256;
/// Stanzas of lost links that wait at an edge for a gateway; as many as were on one link.
pub const XMPP_ORPHANS_MAX: usize = XMPP_LINK_STANZAS_MAX;
/// Bytes of them.
pub const XMPP_ORPHANS_BYTES_MAX: usize = XMPP_LINK_BYTES_MAX;
/// How long they wait until their senders are told: a gateway starts anew in less, and a SIP
/// user's message waits as long for a link ([`GATEWAY_WAITING_MS`]).
pub const XMPP_ORPHANS_MS: u64 = 10_000;
/// One stanza on a link: the largest that a configuration may allow, and the link's attributes.
pub const XMPP_LINK_ELEMENT_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// Links of gateways at once; each holds at most [`XMPP_LINK_BYTES_MAX`].
pub const XMPP_LINKS_MAX: usize = 16;
/// Streams accepted and not authenticated at once: each may hold
/// [`XMPP_UNAUTHENTICATED_ELEMENT_BYTES_MAX`] of input. More are answered `resource-constraint`.
pub const XMPP_HALF_OPEN_MAX: usize = 256;
/// Dialback claims of all partners that wait to be verified; a few hundred bytes each.
pub const XMPP_CLAIMS_MAX: usize = 256;
/// Those of one partner: each may cost a connection.
pub const XMPP_CLAIMS_PER_PARTNER_MAX: usize = 8;
/// Domain pairs on one stream, the first included.
pub const XMPP_PAIRS_PER_STREAM_MAX: usize = 32;
/// Domain pairs that stanzas go out for at once, each with a queue and its attempts; some hundred
/// bytes each while idle.
pub const XMPP_ROUTES_MAX: usize = 4_096;
/// Stanzas that wait for one domain pair's stream.
pub const XMPP_QUEUE_STANZAS_MAX: usize = 512;
/// Bytes of them.
pub const XMPP_QUEUE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of stanzas that wait for all domain pairs together.
pub const XMPP_QUEUES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a stanza waits for a stream; its sender's own patience is about as long
/// ([`TIMER_F_MS`]).
pub const XMPP_QUEUE_MS: u64 = 30_000;
/// Stanzas written to one stream that are not known to be taken.
pub const XMPP_ON_WAY_STANZAS_MAX: usize = 1_024;
/// Bytes of them.
pub const XMPP_ON_WAY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Time for a dialback claim to be verified (wire-protocols C.8).
pub const XMPP_DIALBACK_MS: u64 = 60_000;
/// Wait before the second attempt to reach a domain; doubles with each that follows.
pub const XMPP_REST_MS: u64 = 2_000;
/// The longest wait between attempts.
pub const XMPP_REST_MS_MAX: u64 = 300_000;
/// Silence after a ping until its stream counts as dead.
pub const XMPP_PONG_MS: u64 = 60_000;
/// Time for the peer to end its direction of a stream after we have ended ours.
pub const XMPP_CLOSE_MS: u64 = 5_000;
/// How often silent streams, queues and attempts are looked at.
pub const XMPP_CHORES_MS: u64 = 1_000;
/// How long after a write it is looked whether the kernel took it.
pub const XMPP_SETTLE_MS: u64 = 5;
/// SASL failures on one stream before it is closed (RFC 6120 section 6.4.5).
pub const XMPP_SASL_FAILURES_MAX: u8 = 3;
/// Silence after which a link gets white space.
pub const XMPP_LINK_KEEP_ALIVE_MS: u64 = 30_000;
/// Refusals told in a second; the rest are only counted.
pub const XMPP_NOTES_PER_S_MAX: u32 = 32;
/// Characters of a message in the log, where bodies are logged at all; they wait in memory for it.
pub const XMPP_LOGGED_BODY_CHARS_MAX: usize = 1_024;

// Translation between SIP and XMPP.

/// A SIP body that is translated. Messages of real clients stay below 8 KiB, their HTML included.
pub const GATEWAY_BODY_BYTES_MAX: usize = 64 * 1024;
/// Text of one message; a stanza has to carry it twice, escaped ([`XMPP_STANZA_BYTES_MAX`]).
pub const GATEWAY_TEXT_BYTES_MAX: usize = 16 * 1024;
/// Depth of an XML document or of groups of RTF in a SIP body; presence documents need eight.
pub const GATEWAY_DOCUMENT_DEPTH_MAX: u16 = 32;
/// Parts of one body; Lync sends two.
pub const GATEWAY_PARTS_MAX: usize = 8;
/// Elements of one formatted message, about 200 bytes each while it is translated.
pub const GATEWAY_XHTML_ELEMENTS_MAX: usize = 1_000;
/// Depth of one formatted message. Deeper ones keep their words.
pub const GATEWAY_XHTML_DEPTH_MAX: u16 = 24;
/// One value of a style; a list of fonts is the longest.
pub const GATEWAY_STYLE_VALUE_BYTES_MAX: usize = 64;
/// The target of one link, as browsers take it.
pub const GATEWAY_LINK_BYTES_MAX: usize = 2_048;
/// A reason phrase made of an error's text.
pub const GATEWAY_REASON_BYTES_MAX: usize = 256;
/// A subject; a header line of SIP has to hold it.
pub const GATEWAY_SUBJECT_BYTES_MAX: usize = 512;
/// A thread, and a Call-ID made of it: it is the key of a dialog and repeated in each message.
pub const GATEWAY_THREAD_BYTES_MAX: usize = 128;
/// The id of a message, which a receipt repeats.
pub const GATEWAY_MESSAGE_ID_BYTES_MAX: usize = 256;
/// A status note; Lync lets its users write 500 characters.
pub const GATEWAY_NOTE_BYTES_MAX: usize = 2_048;
/// Resources of one user in one presence document.
pub const GATEWAY_RESOURCES_MAX: usize = 16;
/// A MESSAGE outside of a dialog (RFC 3428 section 8, RFC 7572 section 4).
pub const GATEWAY_PAGER_BYTES_MAX: usize = 1_300;
/// After so long who still types is said to type again (RFC 3994 section 3.2: 60 at least).
pub const GATEWAY_COMPOSING_REFRESH_S: u32 = 90;
/// What a peer may ask for at least; less would make a message of each key (RFC 3994 section 4).
pub const GATEWAY_COMPOSING_REFRESH_S_MIN: u32 = 60;
/// What a peer may ask for at most; longer nobody is shown as typing without another word.
pub const GATEWAY_COMPOSING_REFRESH_S_MAX: u32 = 600;
/// Nobody types any more who has been silent for so long (RFC 3994 section 3.2).
pub const GATEWAY_COMPOSING_IDLE_S: u32 = 15;
/// An INFO of Lync about typing holds so long; its clients send one every few seconds.
pub const GATEWAY_KEYBOARD_ACTIVITY_S: u32 = 15;

// The gateway between SIP and XMPP.

/// Gateways that one message may pass, ours among them: two organisations with one each, and one
/// more behind the second.
pub const GATEWAY_HOPS_MAX: u32 = 3;
/// One address of a user, as it is kept; real ones stay below 100 bytes.
pub const GATEWAY_ADDRESS_BYTES_MAX: usize = 512;
/// Requests of ours that wait for their answers, some 500 bytes each.
pub const GATEWAY_CLIENTS_MAX: usize = 16 * 1024;
/// Those to one next hop for contacts of one domain, so that no partner takes the room of others
/// when our side is slow ([`IN_FLIGHT_PER_PARTNER_MAX`]).
pub const GATEWAY_IN_FLIGHT_PER_DOMAIN_MAX: usize = IN_FLIGHT_PER_PARTNER_MAX / 4;
/// Requests from inside that wait for a stanza to be reported on, about 1 KiB each.
pub const GATEWAY_SERVERS_MAX: usize = 16 * 1024;
/// How long they wait: their sender gives up after [`TIMER_F_MS`], and a stanza waits for its
/// stream for [`XMPP_QUEUE_MS`].
pub const GATEWAY_SERVER_MS: u64 = 31_000;
/// Pairs of a user of ours and a contact of whom something is known, about 1 KiB each: 64 MiB.
pub const GATEWAY_CONTACTS_MAX: usize = 64 * 1024;
/// Those of one domain of a partner, so that no partner takes the place of all.
pub const GATEWAY_CONTACTS_PER_DOMAIN_MAX: usize = GATEWAY_CONTACTS_MAX / 2;
/// Dialogs by which our users watch contacts, about 1 KiB each.
pub const GATEWAY_WATCHES_MAX: usize = 64 * 1024;
/// Those of one user and one contact: his devices.
pub const GATEWAY_WATCHES_PER_CONTACT_MAX: usize = 8;
/// Dialogs by which contacts watch our users, about 1 KiB each.
pub const GATEWAY_SUBSCRIPTIONS_MAX: usize = 64 * 1024;
/// Chat sessions at once, about 1 KiB each without what waits in them.
pub const GATEWAY_CHATS_MAX: usize = 32 * 1024;
/// Messages that wait for a chat session to be accepted, up to [`GATEWAY_TEXT_BYTES_MAX`] each.
pub const GATEWAY_CHAT_WAITING_MAX: usize = 16;
/// The media lines of a session's description; a device with all media has below 2 KiB.
pub const GATEWAY_DESCRIPTION_BYTES_MAX: usize = 4 * 1024;
/// The port in our media line. Nothing listens there and nothing connects: messages pass in the
/// dialog (wire-protocols A.11).
pub const GATEWAY_MESSAGE_PORT: u16 = 5060;
/// Requests that wait for a connection to one next hop.
pub const GATEWAY_HOP_WAITING_MAX: usize = 1_024;
/// Stanzas that wait for a link with any edge.
pub const GATEWAY_WAITING_STANZAS_MAX: usize = 4_096;
/// Bytes of them.
pub const GATEWAY_WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long: an edge that restarts is back within a few seconds.
pub const GATEWAY_WAITING_MS: u64 = 10_000;
/// Links that one stanza is sent by, one after the other, each lost before it was reported on.
pub const GATEWAY_LINKS_TRIED_MAX: u8 = 4;
/// Stanzas of one edge that are remembered as done with, eight bytes each and as much to find them:
/// no more can be on their way, so those that an edge has not heard of are among them.
pub const GATEWAY_DONE_MAX: usize = XMPP_LINK_STANZAS_MAX;
/// Rest of an edge or next hop that was not reached; doubles with each failure.
pub const GATEWAY_REST_MS: u64 = 1_000;
/// The longest.
pub const GATEWAY_REST_MS_MAX: u64 = 30_000;
/// A subscription without Expires (RFC 3856 section 6.4).
pub const GATEWAY_SUBSCRIPTION_DEFAULT_S: u32 = 3_600;
/// The shortest subscription taken, in either direction.
pub const GATEWAY_SUBSCRIPTION_S_MIN: u32 = 60;
/// The longest granted to a SIP user; a longer one is shortened (RFC 6665 section 4.2.1.1). So long
/// he may see a contact as he was when the gateway that told it has died: no other knows the
/// dialog, and the client learns of its end when it refreshes. All [`GATEWAY_WATCHES_MAX`] of them
/// make some hundred refreshes in a second.
pub const GATEWAY_SUBSCRIPTION_S_MAX: u32 = 600;
/// The longest asked for because a server demands it in Min-Expires.
pub const GATEWAY_EXPIRES_S_MAX: u32 = 604_800;
/// How long a SIP user's question how a contact is waits for the contact's server.
pub const GATEWAY_POLL_MS: u64 = 4_000;
/// A contact is not asked again for the same user within this time.
pub const GATEWAY_ASK_AGAIN_MS: u64 = 60_000;
/// Wait before a subscription is tried again; doubles with each failure.
pub const GATEWAY_RETRY_MS: u64 = 30_000;
/// The longest.
pub const GATEWAY_RETRY_MS_MAX: u64 = 3_600_000;
/// Attempts before a contact's wish, which nobody has granted, is forgotten: about two hours. His
/// server asks again when he signs in.
pub const GATEWAY_SUBSCRIBE_TRIES_MAX: u32 = 8;
/// Over how long the subscriptions of before a restart are made anew, at least.
pub const GATEWAY_RECALL_MS: u64 = 2_000;
/// For how many of them there is a longer time: this much for each.
pub const GATEWAY_RECALL_EACH_MS: u64 = 2;
/// How long a gateway goes on with the pairs of one that is back, which learns meanwhile what it
/// has missed.
pub const GATEWAY_GIVE_BACK_MS: u64 = 2_000;
/// Authorisations that were taken back and are remembered as such, some 150 bytes each; only with
/// several gateways. Beyond it one that was away may bring one back, and people's servers decide
/// anew.
pub const GATEWAY_GRAVES_MAX: usize = 64 * 1024;
/// How long they are: a gateway that was away for longer is not to come back with its store.
pub const GATEWAY_GRAVE_S: u64 = 30 * 86_400;
/// Changes that wait to be told to one other gateway, by their keys of some 100 bytes; more, and it
/// is told everything again.
pub const GATEWAY_NEWS_MAX: usize = 4_096;
/// Those whom our users have written to, that another gateway has not been told; the oldest are
/// forgotten.
pub const GATEWAY_WRITTEN_MAX: usize = 1_024;
/// The body of one publication to another gateway, some 300 authorisations.
pub const GATEWAY_PUBLISH_BYTES_MAX: usize = 32 * 1024;
/// How far ahead of ours another gateway's clock may be; what it decides later is not believed.
pub const GATEWAY_CLOCK_AHEAD_S: u64 = 3_600;
/// Dialogs ended in a second when the gateway ends.
pub const GATEWAY_ENDINGS_PER_CHORE_MAX: usize = 2_000;
/// Outcomes told in one turn; the rest in the next, at once.
pub const GATEWAY_OUTCOMES_PER_TURN_MAX: usize = 4_096;
/// Memory in which pages of the store are kept: all of a store of some thousand authorisations.
pub const GATEWAY_STORE_CACHE_BYTES: usize = 4 * 1024 * 1024;
/// Changes that wait to be written, about 200 bytes each. A disk that commits in 10 ms writes
/// [`GATEWAY_STORE_BATCH_MAX`] of them in that time.
pub const GATEWAY_STORE_QUEUE_MAX: usize = 64 * 1024;
/// Changes written in one transaction.
pub const GATEWAY_STORE_BATCH_MAX: usize = 1_024;

const _: () = assert!(GATEWAY_SERVER_MS < TIMER_F_MS && XMPP_QUEUE_MS < GATEWAY_SERVER_MS);
const _: () = assert!(GATEWAY_PUBLISH_BYTES_MAX < GATEWAY_BODY_BYTES_MAX);
const _: () = assert!(GATEWAY_WAITING_MS + GATEWAY_POLL_MS < XMPP_QUEUE_MS);
const _: () = assert!(DNS_QUESTION_MS < DNS_PENDING_MS);
const _: () = assert!(
    TCP_KEEP_ALIVE_S + TCP_KEEP_ALIVE_INTERVAL_S * TCP_KEEP_ALIVE_PROBES as u64 <= 85
        && TCP_USER_TIMEOUT_MS < 90_000
);
const _: () = assert!(2 * CONNECT_MS <= PARKED_MS);
const _: () = assert!(
    XMPP_UNAUTHENTICATED_BYTES_MAX
        >= 3 * XMPP_HEADER_BYTES_MAX as u64 + 3 * XMPP_UNAUTHENTICATED_ELEMENT_BYTES_MAX as u64
);
const _: () = assert!(XMPP_CLAIMS_PER_PARTNER_MAX <= XMPP_CLAIMS_MAX);
const _: () = assert!(XMPP_QUEUE_BYTES_MAX <= XMPP_QUEUES_BYTES_MAX);
const _: () = assert!(XMPP_HEADER_NAMESPACES_MAX as u32 <= u32::BITS);
// A message may wait for DNS before it is held and once more after.
const _: () = assert!(HOLD_MS_MAX as u64 + 2 * PARKED_MS < TIMER_F_MS);
// A text of ampersands is five times as long in a stanza, and there twice.
const _: () = assert!(10 * GATEWAY_TEXT_BYTES_MAX < XMPP_STANZA_BYTES_MAX as usize);
