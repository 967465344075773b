//! Keys of listed partners and blocked domains.

use std::path::PathBuf;

use ipnet::IpNet;
#[cfg(test)]
use toml::Spanned;
#[cfg(test)]
use toml::de::DeValue;

#[cfg(test)]
use crate::config::section::Context;
use crate::config::section::{
    Key, Presence, Reader, Reload, Section, SectionEntry, kept, presence, read_key, section,
};
use crate::config::shape::{
    Shape, boolean, date, domain, integer, list, network, one_of, path, pattern, remark,
    word_or_list,
};
use crate::dns::Domain;
use crate::policy::{Date, Pattern, Revocation, Version};

/// How a partner's edge is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartnerKind {
    /// By DNS SRV of its SIP domain.
    AllowedDomain,
    /// By the name in `edge`.
    AllowedServer,
}

/// Which SRV targets are believed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SrvTarget {
    /// Directly below the SIP domain, one label deep.
    Strict,
    /// Anywhere below the SIP domain.
    SameDomain,
    /// These names only.
    Names(Vec<Domain>),
}

/// Which name of the certificate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerName {
    /// The FQDN of the edge.
    Fqdn,
    /// The SIP domain (RFC 5922).
    SipDomain,
    /// Both must be there.
    Both,
}

/// Whether the partner's word on who its user is counts as verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verification {
    /// Always.
    Always,
    /// As the partner says.
    Source,
    /// Never.
    Never,
}

section! {
    /// A listed partner.
    Partner = "partner", repeated: true {
        /// Its SIP domain, exactly; `*.` before it: all domains below it, and not itself.
        domain: Pattern = pattern(), required, Live {
            beyond: "unset, an own or a blocked one: refused; of several the narrowest counts",
            example: "\"fabrikam.example\"",
            see: ["blocked.domain"],
        }
        /// How its edge is found.
        kind: PartnerKind = one_of(&[
            ("allowed_domain", PartnerKind::AllowedDomain),
            ("allowed_server", PartnerKind::AllowedServer),
        ]), default("\"allowed_domain\""), Live {
            beyond: "allowed_server needs `edge`, allowed_domain must not have it",
            example: "\"allowed_server\"",
            see: ["partner.edge"],
        }
        /// FQDN of its edge.
        edge: Domain = domain(), optional, Live {
            beyond: "unset: found by DNS SRV of the domain",
            example: "\"sip.fabrikam.example\"",
            see: ["partner.kind"],
        }
        /// Port of its edge.
        port: u16 = integer(1, 65_535), default("5061"), Live {
            beyond: "only with `edge`; otherwise the SRV record says",
            example: "5061",
            see: ["partner.edge"],
        }
        /// Which hosts its SRV record may name.
        srv_target: SrvTarget = word_or_list(
            &[("strict", SrvTarget::Strict), ("same_domain", SrvTarget::SameDomain)],
            list(domain(), 64), SrvTarget::Names,
        ), default("\"strict\""), Live {
            beyond: "a target that does not fit is refused with ms-diagnostics 1009",
            example: "[\"edge.hoster.example\"]",
            see: [],
        }
        /// Which name its certificate must carry.
        names: PeerName = one_of(&[
            ("fqdn", PeerName::Fqdn),
            ("sip_domain", PeerName::SipDomain),
            ("both", PeerName::Both),
        ]), default("\"fqdn\""), Live {
            beyond: "not carried: refused",
            example: "\"both\"",
            see: ["partner.common_name"],
        }
        /// Whether a name in the common name counts too.
        common_name: bool = boolean(), default("false"), Live {
            beyond: "false: only subjectAltName counts",
            example: "true",
            see: ["partner.names"],
        }
        /// Whether its certificate must be made for clients too.
        require_client_eku: bool = boolean(), default("false"), Live {
            beyond: "false: a certificate for servers only is accepted, as public CAs issue them",
            example: "true",
            see: [],
        }
        /// Trust anchors of its own, PEM files.
        trust: Vec<PathBuf> = list(path(), 16), default("[]"), NewConnections {
            beyond: "empty: tls.trust; what these anchors sign may speak for this partner alone",
            example: "[\"pki/fabrikam-ca.pem\"]",
            see: ["tls.trust"],
        }
        /// Networks its edge may be in although they are not public.
        allow_networks: Vec<IpNet> = list(network(), 64), default("[]"), Live {
            beyond: "empty: addresses.allow_networks alone",
            example: "[\"10.20.0.0/16\"]",
            see: ["addresses.allow_networks"],
        }
        /// Whether its word on who its user is counts.
        verification: Verification = one_of(&[
            ("always", Verification::Always),
            ("source", Verification::Source),
            ("never", Verification::Never),
        ]), default("\"source\""), Live {
            beyond: "source: a user whose edge says nothing counts as not verified, and is not \
                refused",
            example: "\"never\"",
            see: ["federation.discovered_verification"],
        }
        /// What its edge runs.
        version: Version = one_of(&[
            ("ocs2007", Version::Ocs2007),
            ("ocs2007r2", Version::Ocs2007R2),
            ("lync2010", Version::Lync2010),
            ("lync2013", Version::Lync2013),
            ("other", Version::Other),
        ]), optional, Live {
            beyond: "unset: unknown; decides which ports media needs, and warnings",
            example: "\"lync2013\"",
            see: [],
        }
        /// The last day on which the entry allows anything.
        expires: Date = date(), optional, Live {
            beyond: "unset: never; past: refused, by discovery and providers too",
            example: "2027-12-31",
            see: [],
        }
        /// Who answers for the entry.
        owner: String = remark(), optional, Live {
            beyond: "only shown",
            example: "\"unified communications\"",
            see: ["partner.ticket"],
        }
        /// Where it was asked for.
        ticket: String = remark(), optional, Live {
            beyond: "only shown",
            example: "\"UC-1042\"",
            see: ["partner.owner"],
        }
        /// Messages it may send a second, for this partner alone.
        messages_per_s: u32 = integer(1, 1_000_000), optional, Live {
            beyond: "unset: as its kind, which has no limit unless federation_limit gives it one",
            example: "100",
            see: ["federation.messages_per_s", "federation_limit.kind"],
        }
        /// Distinct local users it may address within the window, for this partner alone.
        distinct_users: u32 = integer(0, 10_000), optional, Live {
            beyond: "unset: as its kind, which has no limit unless federation_limit gives it one",
            example: "5000",
            see: ["federation.distinct_users", "federation_limit.kind"],
        }
        /// What holds while it is not known whether its certificate has been revoked.
        revocation: Revocation = one_of(&[
            ("off", Revocation::Off), ("soft", Revocation::Soft), ("hard", Revocation::Hard),
        ]), optional, Live {
            beyond: "unset: tls.revocation; off: no list is fetched for it; a certificate that a \
                list revokes which is there for others, or in tls.crl, is refused in any case",
            example: "\"hard\"",
            see: ["tls.revocation"],
        }
    }
}

section! {
    /// A domain nobody here talks to, whatever else is said of it.
    Blocked = "blocked", repeated: true {
        /// Its name, exactly; `*.` before it: all domains below it, and not itself.
        domain: Pattern = pattern(), required, Live {
            beyond: "refused in both directions, in open dialogs too, whatever is allowed",
            example: "\"litware.example\"",
            see: ["partner.domain"],
        }
        /// Who answers for the entry.
        owner: String = remark(), optional, Live {
            beyond: "only shown",
            example: "\"abuse desk\"",
            see: ["blocked.ticket"],
        }
        /// Where it was asked for.
        ticket: String = remark(), optional, Live {
            beyond: "only shown",
            example: "\"SEC-7\"",
            see: ["blocked.owner"],
        }
    }
}
