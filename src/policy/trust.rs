//! What the inside is told of a message from outside: the values of `ms-edge-proxy-message-trust`
//! per kind of federation and verification level (wire-protocols A.3 and A.4).

use super::{PartnerKind, Permit, Verification};
use crate::dns::Domain;

/// Where a message came from, as `ms-source-network` says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SourceNetwork {
    /// Partners and their providers.
    #[default]
    Federation,
    /// A public instant messaging service.
    PublicCloud,
}

impl SourceNetwork {
    /// Returns the value on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Federation => "federation",
            Self::PublicCloud => "publiccloud",
        }
    }
}

/// The values of the trust header, but for the edge's own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// `ms-source-type`.
    pub source_type: &'static str,
    /// `ms-source-verified-user` is `verified`.
    pub verified: bool,
    /// `ms-source-network`.
    pub network: SourceNetwork,
    /// `ms-remote-fqdn`: the edge of a public service, which many domains share.
    pub remote: Option<Domain>,
}

impl Trust {
    /// Appends the header's value, stamped by the edge that the inside knows as `edge`.
    pub fn write(&self, edge: &str, out: &mut Vec<u8>) {
        let verified = if self.verified { "verified" } else { "unverified" };
        let network = self.network.as_str();
        let parts = [
            "ms-source-type=",
            self.source_type,
            ";ms-ep-fqdn=",
            edge,
            ";ms-source-verified-user=",
            verified,
            ";ms-source-network=",
            network,
        ];
        for part in parts {
            out.extend_from_slice(part.as_bytes());
        }
        if let Some(remote) = &self.remote {
            out.extend_from_slice(b";ms-remote-fqdn=");
            out.extend_from_slice(remote.as_str().as_bytes());
        }
    }
}

impl PartnerKind {
    /// Returns the `ms-source-type` of what comes under this kind.
    ///
    /// The documents give a default route no value of its own; like a provider it is one server
    /// that is trusted for many domains.
    #[must_use]
    pub const fn source_type(self) -> &'static str {
        match self {
            Self::AllowedServer => "DirectPartner",
            Self::AllowedDomain | Self::Discovered => "AutoFederation",
            Self::HostingProvider | Self::PublicProvider | Self::DefaultRoute => "AuthorizedServer",
            Self::RemoteUser => "InternetUser",
        }
    }
}

impl Verification {
    /// Returns whether the sender is stamped `verified`; `asserted`: its own edge said so.
    ///
    /// The documents disagree on a message that carries no level under `Source`: marked unverified
    /// in one place, rejected in another. It is marked.
    #[must_use]
    pub const fn verified(self, asserted: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Source => asserted,
            Self::Never => false,
        }
    }
}

impl Permit {
    /// Returns what to stamp on a message under this permit; `asserted`: the sender's edge vouched
    /// for its user.
    #[must_use]
    pub fn trust(&self, asserted: bool) -> Trust {
        Trust {
            source_type: self.source_type(),
            verified: self.source_verified(asserted),
            network: self.source_network(),
            remote: self.remote_edge().cloned(),
        }
    }
}
