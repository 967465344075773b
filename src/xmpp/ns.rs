//! The namespaces of the grammar.

/// Stanzas between servers, the default namespace of a stream (RFC 6120 section 4.8.2).
pub const SERVER: &str = "jabber:server";
/// Stanzas between a client and its server.
pub const CLIENT: &str = "jabber:client";
/// The stream itself, its features and its errors (RFC 6120 section 4.8.1).
pub const STREAMS: &str = "http://etherx.jabber.org/streams";
/// Server dialback (XEP-0220).
pub const DIALBACK: &str = "jabber:server:dialback";
/// STARTTLS (RFC 6120 section 5).
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// SASL (RFC 6120 section 6).
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// Conditions of stream errors (RFC 6120 section 4.9.2).
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// Conditions of stanza errors (RFC 6120 section 8.3.2).
pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// The stream feature of dialback (XEP-0220 section 2.3).
pub const DIALBACK_FEATURE: &str = "urn:xmpp:features:dialback";
/// Stanzas both ways on one stream (XEP-0288).
pub const BIDI: &str = "urn:xmpp:bidi";
/// The stream feature of the same.
pub const BIDI_FEATURE: &str = "urn:xmpp:features:bidi";
/// Stream management (XEP-0198).
pub const MANAGEMENT: &str = "urn:xmpp:sm:3";
/// Ping (XEP-0199).
pub const PING: &str = "urn:xmpp:ping";
/// The prefix `xml`, bound everywhere (Namespaces in XML section 3).
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// The prefix `xmlns`, bound everywhere (Namespaces in XML section 3).
pub const XMLNS: &str = "http://www.w3.org/2000/xmlns/";
