//! What the inside is told of a message from outside: the values of `ms-edge-proxy-message-trust`
//! per kind of federation and verification level (wire-protocols A.3 and A.4).

use super::{PartnerKind, Verification};

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
