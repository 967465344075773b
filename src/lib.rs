//! entente: a federation edge.
//!
//! The way of a message, and the modules in the order it meets them:
//!
//! ```text
//!  partner ── TLS 5061 ──> shard ─> proxy_protocol ─> tls ─> sip ─> edge::access ─> policy ─> dns
//!                            ^                                          │ permit
//!                            └────────── staged, sealed, one write <────┘ ──> shard ──> next hop
//!
//!  XMPP partner ── TLS 5269 ──> shard ─> tls ─> xmpp ─> edge::xmpp_proxy ─> policy ─> dns
//!                                                             │ edge::xmpp_link, TLS 23456
//!                next hop <── SIP, TLS <── shard <── edge::gateway
//!
//!  client ── UDP 3478, TCP 443 ──> relay ─> stun ─> edge::av ─> relay ── relayed port ──> peer
//! ```
//!
//! Between XMPP servers the grammar is [`xmpp`] in place of [`sip`]: streams that are cut into
//! stanzas, rather than messages. [`edge::xmpp_proxy`] speaks to partners' servers, and
//! [`edge::gateway`], in the same process or on a server inside, translates between the two; what
//! [`edge::access`] gets for an XMPP partner it hands to the gateway as to a next hop. Each role
//! has shards of its own. Media is datagrams: [`stun`] in place of [`sip`], and
//! [`edge::av`] in place of [`edge::access`], run by [`relay`] in place of [`shard`].
//!
//! One contract holds for every core: bytes in by `feed`, time in by `expire`, the next moment it
//! wants to be woken by `next_deadline`, and everything it wants done out through
//! [`edge::Effects`]. Cores ([`sip`], [`xmpp`], [`stun`], [`proxy_protocol`], [`policy`], [`dns`]
//! without its resolver, [`edge`], [`plan`]) never touch a socket, a thread, a clock, a file or a
//! log.

mod chunked;
pub mod limits;
pub mod time;

// The data path, outside in.
pub mod dns;
pub mod edge;
pub mod policy;
pub mod poll;
pub mod proxy_protocol;
pub mod relay;
pub mod shard;
pub mod sip;
pub mod stun;
pub mod tls;
pub mod xmpp;

// Around it: what starts, feeds and watches the shards.
pub mod admin;
pub mod cli;
pub mod config;
pub mod control;
pub mod metrics;
pub mod plan;
