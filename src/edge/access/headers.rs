//! What may cross the border in a header (wire-protocols A.5), and the trust header (A.4).

use super::transaction::Stamp;
use crate::dns::Domain;
use crate::policy::Snapshot;
use crate::sip::{Edits, HeaderName, HeaderSet, Message};

/// Which way a message crosses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Crossing {
    /// From a partner to the inside.
    PartnerToInside,
    /// From the inside to a partner.
    InsideToPartner,
    /// From one of our own users outside to the inside.
    UserToInside,
    /// From the inside to one of our own users outside.
    InsideToUser,
    /// From the inside to the XMPP gateway, which is inside too.
    InsideToGateway,
}

impl Crossing {
    /// Returns the way the response to a request that crosses this way goes.
    pub(crate) const fn reverse(self) -> Self {
        match self {
            Self::PartnerToInside => Self::InsideToPartner,
            Self::InsideToPartner => Self::PartnerToInside,
            Self::UserToInside => Self::InsideToUser,
            Self::InsideToUser => Self::UserToInside,
            Self::InsideToGateway => Self::InsideToGateway,
        }
    }

    pub(crate) const fn to_inside(self) -> bool {
        matches!(self, Self::PartnerToInside | Self::UserToInside)
    }

    pub(crate) const fn with_partner(self) -> bool {
        matches!(self, Self::PartnerToInside | Self::InsideToPartner)
    }
}

/// Stripped between organisations, whichever way: hop credentials and inner topology.
const BETWEEN_ORGANISATIONS: HeaderSet = HeaderSet::of(&[
    HeaderName::MsEdgeProxyMessageTrust,
    HeaderName::MsAssertedVerificationLevel,
    HeaderName::MsUserLogonData,
    HeaderName::MsDiagnostics,
    HeaderName::MsClientDiagnostics,
    HeaderName::PAssertedIdentity,
    HeaderName::PPreferredIdentity,
    HeaderName::ProxyAuthorization,
    HeaderName::Authorization,
    HeaderName::AuthenticationInfo,
    HeaderName::ProxyAuthenticationInfo,
    HeaderName::WwwAuthenticate,
    HeaderName::ProxyAuthenticate,
    HeaderName::MsSplitDomainInfo,
    HeaderName::MsSubnet,
    HeaderName::MsRoutingPhase,
    HeaderName::MsApplicationVia,
    HeaderName::MsApplicationAor,
    HeaderName::MsLocationInfo,
    HeaderName::MsUserData,
    HeaderName::MsTelemetryId,
    HeaderName::MsKeepAlive,
    HeaderName::Compression,
]);

/// Own users outside authenticate end to end with the inside, so credentials and diagnostics pass;
/// what they may not claim is what only an edge or a server may say.
const FROM_USER: HeaderSet = HeaderSet::of(&[
    HeaderName::MsEdgeProxyMessageTrust,
    HeaderName::MsAssertedVerificationLevel,
    HeaderName::MsUserLogonData,
    HeaderName::PAssertedIdentity,
    HeaderName::MsSplitDomainInfo,
    HeaderName::MsRoutingPhase,
    HeaderName::MsApplicationVia,
    HeaderName::MsApplicationAor,
    HeaderName::MsLocationInfo,
    HeaderName::MsUserData,
    HeaderName::Compression,
]);

/// Towards own users only the marks between edges and servers go.
const TO_USER: HeaderSet = HeaderSet::of(&[
    HeaderName::MsEdgeProxyMessageTrust,
    HeaderName::MsAssertedVerificationLevel,
    HeaderName::MsUserLogonData,
    HeaderName::MsSplitDomainInfo,
    HeaderName::Compression,
]);

/// Removes what may not cross.
pub(crate) fn strip(message: &Message<'_>, crossing: Crossing, stamp: Stamp, edits: &mut Edits) {
    let names = match crossing {
        Crossing::PartnerToInside | Crossing::InsideToPartner => BETWEEN_ORGANISATIONS,
        Crossing::UserToInside => FROM_USER,
        Crossing::InsideToUser => TO_USER,
        // Both are servers of ours, and tell each other what they like.
        Crossing::InsideToGateway => return,
    };
    for field in message.all_of(names) {
        // The two halves of one organisation tell each other how a message is to be routed.
        let between_halves = stamp.split_domain && field.name == HeaderName::MsSplitDomainInfo;
        if !between_halves {
            edits.remove(field.line);
        }
    }
    if crossing == Crossing::PartnerToInside {
        strip_foreign_delegate(message, edits);
        relabel_location(message, edits);
    }
}

/// `P-Session-On-Behalf-Of` may name only somebody the sender's own organisation speaks for.
fn strip_foreign_delegate(message: &Message<'_>, edits: &mut Edits) {
    if !message.present(HeaderName::PSessionOnBehalfOf) {
        return;
    }
    let sender = message.from().ok().and_then(|from| host_of(from.uri));
    for field in message.all(HeaderName::PSessionOnBehalfOf) {
        let named =
            crate::sip::NameAddr::parse(field.value).ok().and_then(|name| host_of(name.uri));
        let same = match (sender, named) {
            (Some(sender), Some(named)) => sender.eq_ignore_ascii_case(named),
            _ => false,
        };
        if !same {
            edits.remove(field.line);
        }
    }
}

/// An outsider is on the Internet, whatever the message says of the sender's own intranet.
fn relabel_location(message: &Message<'_>, edits: &mut Edits) {
    for field in message.all(HeaderName::MsEndpointLocationData) {
        edits.replace(field.value_range, b"NetworkScope;ms-media-location-type=Internet");
    }
}

/// Returns the host of a SIP URI.
pub(crate) fn host_of(uri: &[u8]) -> Option<&[u8]> {
    crate::sip::Uri::parse(uri).ok().map(|uri| uri.host)
}

/// The trust header's lines, made once per snapshot because they are put on every inbound message.
#[derive(Debug)]
pub(crate) struct TrustHeader {
    internal_fqdn: String,
}

impl TrustHeader {
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        Self { internal_fqdn: snapshot.rules().internal_fqdn.to_string() }
    }

    /// Appends the header an edge puts on what comes from a partner.
    ///
    /// `remote`: the edge of the public service that it comes from.
    pub(crate) fn write(
        &self,
        stamp: Stamp,
        verified: bool,
        remote: Option<&Domain>,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(b"ms-edge-proxy-message-trust: ms-source-type=");
        out.extend_from_slice(stamp.source_type.as_bytes());
        out.extend_from_slice(b";ms-ep-fqdn=");
        out.extend_from_slice(self.internal_fqdn.as_bytes());
        let rest: &[u8] = if verified {
            b";ms-source-verified-user=verified;ms-source-network="
        } else {
            b";ms-source-verified-user=unverified;ms-source-network="
        };
        out.extend_from_slice(rest);
        out.extend_from_slice(stamp.network.as_str().as_bytes());
        if let Some(remote) = remote {
            out.extend_from_slice(b";ms-remote-fqdn=");
            out.extend_from_slice(remote.as_str().as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Appends the header an edge puts on what it says itself to the inside (wire-protocols A.3).
    pub(crate) fn write_own(&self, out: &mut Vec<u8>) {
        let stamp = Stamp { source_type: "EdgeProxyGenerated", ..Stamp::default() };
        self.write(stamp, false, None, out);
    }
}

/// Returns whether the sender's edge vouches for the user (`ms-asserted-verification-level`).
pub(crate) fn asserted_verified(message: &Message<'_>) -> bool {
    message.first(HeaderName::MsAssertedVerificationLevel).is_some_and(|field| {
        crate::sip::params(field.value).any(|(name, value)| {
            name.eq_ignore_ascii_case(b"ms-source-verified-user")
                && value.is_some_and(|value| value.eq_ignore_ascii_case(b"verified"))
        })
    })
}

/// What tells the far edge that we vouch for our user.
pub(crate) const ASSERT_VERIFIED: &[u8] =
    b"ms-asserted-verification-level: ms-source-verified-user=verified\r\n";
