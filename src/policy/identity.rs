//! What a peer's certificate says, read once after the handshake, and what it ought to say.

use super::{Revocation, RevocationState};
use crate::dns::Domain;

/// Names one partner's own set of trust anchors.
///
/// Whoever makes the rules chooses the name, the same for the same set with every reload: open legs
/// and connections on their way are judged under one configuration by what another one called them.
pub type AnchorSet = u64;

/// Which trust anchors a chain led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Anchors {
    /// The general set.
    General,
    /// The set of one partner: it may speak for that partner alone.
    OfPartner(AnchorSet),
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
    /// What counts between XMPP servers alone; `None` on all other legs.
    pub xmpp: Option<Box<XmppNames>>,
    /// The extended key usage allows client authentication (or there is no such extension).
    pub client_auth: bool,
    /// Where the chain led.
    pub anchors: Anchors,
    /// SHA-256 of the end-entity certificate.
    pub fingerprint: [u8; 32],
    /// The earliest notAfter of the chain, Unix seconds.
    pub expires_unix_s: u64,
    /// What is known of its revocation; a chain that is known to be revoked has no names at all.
    pub revocation: RevocationState,
}

/// What a certificate says that counts between XMPP servers alone (RFC 6120 section 13.7.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XmppNames {
    /// Domains of SAN id-on-dnsSRV entries for `_xmpp-server` (RFC 4985).
    pub services: Vec<Domain>,
    /// SAN id-on-xmppAddr entries that are domains (RFC 6120 section 13.7.1.4).
    pub addresses: Vec<Domain>,
    /// What the `*.` of SAN dNSName entries stands before; it stands for one label.
    pub wildcards: Vec<Domain>,
}

impl PeerNames {
    /// Tells whether the certificate carries the XMPP domain: as host name, as `_xmpp-server`
    /// service, as XMPP address or by a wildcard for its leftmost label (RFC 6120 section 13.7.2).
    #[must_use]
    pub fn carries_xmpp_domain(&self, domain: &Domain) -> bool {
        let by_xmpp = self.xmpp.as_deref().is_some_and(|xmpp| {
            let parent = domain.as_str().split_once('.').map(|(_, parent)| parent);
            xmpp.services.contains(domain)
                || xmpp.addresses.contains(domain)
                || parent.is_some_and(|parent| xmpp.wildcards.iter().any(|w| w.as_str() == parent))
        });
        by_xmpp || self.dns_names.contains(domain)
    }

    /// Tells whether the certificate carries `host` as a host name; `by_common_name`: the subject
    /// common name counts like a dNSName.
    #[must_use]
    pub fn carries_host(&self, host: &Domain, by_common_name: bool) -> bool {
        self.dns_names.contains(host) || (by_common_name && self.common_name.as_ref() == Some(host))
    }

    /// Tells whether the certificate carries the SIP domain itself (RFC 5922 section 7.1).
    #[must_use]
    pub fn carries_sip_domain(&self, domain: &Domain, by_common_name: bool) -> bool {
        self.sip_domains.contains(domain) || self.carries_host(domain, by_common_name)
    }
}

/// What the certificate at the other end of an outgoing leg must carry: all that is named here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedNames {
    /// The host connected to.
    pub host: Option<Domain>,
    /// The SIP domain it serves (RFC 5922 section 7.1).
    pub sip_domain: Option<Domain>,
    /// The subject common name counts like a dNSName.
    pub common_name: bool,
    /// Whether it has to be known that it is not revoked.
    pub revocation: Revocation,
}

impl ExpectedNames {
    /// Returns the demand for a host name as exact dNSName.
    #[must_use]
    pub const fn host(host: Domain) -> Self {
        Self {
            host: Some(host),
            sip_domain: None,
            common_name: false,
            revocation: Revocation::Soft,
        }
    }

    /// Returns what `peer` lacks; nothing if it may be spoken to.
    #[must_use]
    pub fn missing_from(&self, peer: &PeerNames) -> Vec<Domain> {
        let host = self.host.as_ref().filter(|host| !peer.carries_host(host, self.common_name));
        let sip_domain = self
            .sip_domain
            .as_ref()
            .filter(|domain| !peer.carries_sip_domain(domain, self.common_name));
        host.into_iter().chain(sip_domain).cloned().collect()
    }
}
