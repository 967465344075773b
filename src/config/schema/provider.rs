//! Keys of providers and of the default route.

use std::path::PathBuf;

use ipnet::IpNet;
#[cfg(test)]
use toml::Spanned;
#[cfg(test)]
use toml::de::DeValue;

use super::Verification;
#[cfg(test)]
use crate::config::section::Context;
use crate::config::section::{
    Key, Presence, Reader, Reload, Section, SectionEntry, kept, presence, read_key, section,
};
use crate::config::shape::{
    Shape, boolean, date, domain, integer, label, list, network, one_of, path, web_address,
};
use crate::dns::Domain;
use crate::policy::{Date, ProviderKind};

/// A provider that the planning guide names, with what it says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Preset {
    /// Windows Live Messenger.
    Messenger,
    /// AOL Instant Messenger.
    Aol,
    /// Yahoo! Messenger.
    Yahoo,
    /// Skype, at the same edge as Messenger.
    Skype,
    /// Lync Online.
    LyncOnline,
    /// The mobile push notification clearing house, at the same edge as Lync Online.
    Push,
}

section! {
    /// A provider: one edge that speaks for many domains, those whose SRV record names it.
    Provider = "provider", repeated: true {
        /// What it is called in logs and metrics.
        name: String = label(), optional, Live {
            beyond: "unset: the name of the preset; without one refused",
            example: "\"online\"",
            see: ["provider.preset"],
        }
        /// Fills in what the planning guide says of a provider: kind, edge, verification, domains,
        /// what it demands and when it ended. Keys beside it win.
        preset: Preset = one_of(&[
            ("messenger", Preset::Messenger),
            ("aol", Preset::Aol),
            ("yahoo", Preset::Yahoo),
            ("skype", Preset::Skype),
            ("lync_online", Preset::LyncOnline),
            ("push", Preset::Push),
        ]), optional, Live {
            beyond: "unset: name, kind and edge are needed; the public services of the guide have \
                ended, so one that is enabled is warned of",
            example: "\"push\"",
            see: ["provider.enabled", "provider.ends"],
        }
        /// What it is: a host of organisations, or a public messaging service.
        kind: ProviderKind = one_of(&[
            ("hosting", ProviderKind::Hosting), ("public", ProviderKind::Public),
        ]), optional, Live {
            beyond: "hosting: without discovery its domains must be listed as partners one by one",
            example: "\"hosting\"",
            see: ["federation.discovery"],
        }
        /// FQDN of its edge; an SRV record that names it makes a domain the provider's.
        edge: Domain = domain(), optional, Live {
            beyond: "unset: that of the preset; two providers of one edge: refused",
            example: "\"sipfed.hoster.example\"",
            see: ["provider.domains"],
        }
        /// Port of its edge.
        port: u16 = integer(1, 65_535), default("5061"), Live {
            beyond: "unset: the port of SIP over TLS between servers",
            example: "5061",
            see: [],
        }
        /// Whether anything passes to and from it.
        enabled: bool = boolean(), default("false"), Live {
            beyond: "false: a domain whose SRV record names its edge is refused with 1009",
            example: "true",
            see: [],
        }
        /// Domains it speaks for without any DNS record that says so; they need no other entry.
        domains: Vec<Domain> = list(domain(), 10_000), optional, Live {
            beyond: "unset: those of the preset; an entry elsewhere for one of them: refused",
            example: "[\"live.example\"]",
            see: ["partner.domain"],
        }
        /// Own domains that some of the organisation's users have there (split domain).
        shared_address_space: Vec<Domain> = list(domain(), 1_000), default("[]"), Live {
            beyond: "empty: it may not speak for ours; never for a public provider",
            example: "[\"contoso.example\"]",
            see: ["edge.domains"],
        }
        /// Whether its word on who its user is counts. The documents give two defaults for each
        /// kind; the safer ones hold.
        verification: Verification = one_of(&[
            ("always", Verification::Always),
            ("source", Verification::Source),
            ("never", Verification::Never),
        ]), optional, Live {
            beyond: "unset: source for a hosting provider, never for a public one",
            example: "\"never\"",
            see: ["partner.verification"],
        }
        /// Whether audio and video may pass.
        audio_video: bool = boolean(), optional, Live {
            beyond: "unset: that of the preset; otherwise true for hosting, false for public",
            example: "true",
            see: [],
        }
        /// Whether it demands a certificate of ours that is made for clients too, as AOL did.
        needs_client_eku: bool = boolean(), optional, Live {
            beyond: "true: `check` looks for it in the certificate shown to partners",
            example: "true",
            see: ["identity.client"],
        }
        /// The last day on which anything passes.
        ends: Date = date(), optional, Live {
            beyond: "unset: no end; the dates of presets, all past, only warn",
            example: "2027-06-30",
            see: ["provider.preset"],
        }
        /// Domain that addresses of other domains are sent to: user@other as user(other)@domain.
        name_decoration_domain: Domain = domain(), optional, Live {
            beyond: "unset: that of the preset, or no decoration; is one of its domains",
            example: "\"msn.example\"",
            see: ["provider.name_decoration_excluded"],
        }
        /// Domains whose addresses are sent undecorated.
        name_decoration_excluded: Vec<Domain> = list(domain(), 1_000), optional, Live {
            beyond: "unset: those of the preset",
            example: "[\"live.example\"]",
            see: ["provider.name_decoration_domain"],
        }
        /// Picture that clients may show for it.
        icon_url: String = web_address(), optional, Live {
            beyond: "only shown",
            example: "\"https://www.contoso.example/skype.png\"",
            see: [],
        }
        /// Whether a name in the common name of its certificate counts too.
        common_name: bool = boolean(), default("false"), Live {
            beyond: "false: only subjectAltName counts",
            example: "true",
            see: ["partner.common_name"],
        }
        /// Whether its certificate must be made for clients too.
        require_client_eku: bool = boolean(), default("false"), Live {
            beyond: "false: a certificate for servers only is accepted, as public CAs issue them",
            example: "true",
            see: ["partner.require_client_eku"],
        }
        /// Trust anchors of its own, PEM files.
        trust: Vec<PathBuf> = list(path(), 16), default("[]"), NewConnections {
            beyond: "empty: tls.trust; what these anchors sign may speak for this provider alone",
            example: "[\"pki/hoster-ca.pem\"]",
            see: ["tls.trust", "partner.trust"],
        }
        /// Networks its edge may be in although they are not public.
        allow_networks: Vec<IpNet> = list(network(), 64), default("[]"), Live {
            beyond: "empty: addresses.allow_networks alone",
            example: "[\"10.30.0.0/16\"]",
            see: ["addresses.allow_networks"],
        }
    }
}

section! {
    /// Whoever takes what no entry names: a clearing house or another edge. Listed partners go
    /// their own way; discovery and enabled providers exclude it.
    DefaultRoute = "default_route", repeated: false {
        /// FQDN of its edge.
        edge: Domain = domain(), optional, Live {
            beyond: "unset: there is none; a domain that nothing names is refused",
            example: "\"hub.clearing.example\"",
            see: ["federation.discovery"],
        }
        /// Port of its edge.
        port: u16 = integer(1, 65_535), default("5061"), Live {
            beyond: "unset: the port of SIP over TLS between servers",
            example: "5061",
            see: [],
        }
        /// Whether what is behind it counts as public messaging.
        public: bool = boolean(), default("false"), Live {
            beyond: "true: the inside is told publiccloud as the network of its senders",
            example: "true",
            see: [],
        }
        /// Whether its word on who a user is counts.
        verification: Verification = one_of(&[
            ("always", Verification::Always),
            ("source", Verification::Source),
            ("never", Verification::Never),
        ]), default("\"source\""), Live {
            beyond: "source: a user of whom nothing is said counts as not verified",
            example: "\"never\"",
            see: ["partner.verification"],
        }
        /// Whether a name in the common name of its certificate counts too.
        common_name: bool = boolean(), default("false"), Live {
            beyond: "false: only subjectAltName counts",
            example: "true",
            see: ["partner.common_name"],
        }
        /// Whether its certificate must be made for clients too.
        require_client_eku: bool = boolean(), default("false"), Live {
            beyond: "false: a certificate for servers only is accepted",
            example: "true",
            see: ["partner.require_client_eku"],
        }
        /// Trust anchors of its own, PEM files.
        trust: Vec<PathBuf> = list(path(), 16), default("[]"), NewConnections {
            beyond: "empty: tls.trust",
            example: "[\"pki/hub-ca.pem\"]",
            see: ["tls.trust"],
        }
        /// Networks it may be in although they are not public.
        allow_networks: Vec<IpNet> = list(network(), 64), default("[]"), Live {
            beyond: "empty: addresses.allow_networks alone",
            example: "[\"10.40.0.0/16\"]",
            see: ["addresses.allow_networks"],
        }
    }
}

impl Provider {
    /// Returns the own domains it shares.
    pub fn shared(&self) -> impl Iterator<Item = &Domain> {
        self.shared_address_space.iter()
    }
}
