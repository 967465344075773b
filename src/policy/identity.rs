//! What a peer's certificate says, read once after the handshake.

use crate::dns::Domain;

/// Which trust anchors a chain led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Anchors {
    /// The general set.
    General,
    /// The set of one partner, by its index in the snapshot: it may speak for that partner alone.
    OfPartner(u16),
}

/// The names and marks of a verified peer certificate (DESIGN 6.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerNames {
    /// SAN dNSName entries that are exact names; wildcards are left out (RFC 5922 section 7.2).
    pub dns_names: Vec<Domain>,
    /// Hosts of SAN `sip:` URIs without userinfo (RFC 5922 section 7.1).
    pub sip_domains: Vec<Domain>,
    /// Subject common name, if it is a domain name; counts only by setting.
    pub common_name: Option<Domain>,
    /// The extended key usage allows client authentication (or there is no such extension).
    pub client_auth: bool,
    /// Where the chain led.
    pub anchors: Anchors,
    /// SHA-256 of the end-entity certificate.
    pub fingerprint: [u8; 32],
    /// The earliest notAfter of the chain, Unix seconds.
    pub expires_unix_s: u64,
}
