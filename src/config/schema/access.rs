//! Keys of what partners and own users may do: limits, external access policies, users.

use std::path::PathBuf;

#[cfg(test)]
use toml::Spanned;
#[cfg(test)]
use toml::de::DeValue;

#[cfg(test)]
use crate::config::section::Context;
use crate::config::section::{
    Key, Presence, Reader, Reload, Section, SectionEntry, kept, presence, read_key, section,
};
use crate::config::shape::{Shape, User, boolean, integer, label, one_of, path, policy_name, user};
use crate::policy::PartnerKind;
use crate::policy::users::{Home, MarksCount};

section! {
    /// Limits of a kind of listed partner; those of discovered partners are in `[federation]`.
    FederationLimit = "federation_limit", repeated: true {
        /// Which kind.
        kind: PartnerKind = one_of(&[
            ("allowed_domain", PartnerKind::AllowedDomain),
            ("allowed_server", PartnerKind::AllowedServer),
            ("hosting_provider", PartnerKind::HostingProvider),
            ("public_provider", PartnerKind::PublicProvider),
            ("default_route", PartnerKind::DefaultRoute),
        ]), required, Live {
            beyond: "a kind that is not named here has no limits; a provider counts under its name \
                     for all its domains, the default route under each of them",
            example: "\"allowed_domain\"",
            see: ["partner.kind", "partner.messages_per_s"],
        }
        /// Messages one partner of the kind may send.
        messages_per_s: u32 = integer(1, 1_000_000), optional, Live {
            beyond: "unset: as federation.messages_per_s; exceeded: held, then 480",
            example: "200",
            see: ["federation.messages_per_s"],
        }
        /// The same while too many of its requests fail.
        suspicious_messages_per_s: u32 = integer(1, 1_000_000), optional, Live {
            beyond: "unset: as federation.suspicious_messages_per_s",
            example: "20",
            see: ["federation.suspicious_messages_per_s"],
        }
        /// Distinct local users one partner of the kind may address within the window.
        distinct_users: u32 = integer(0, 10_000), optional, Live {
            beyond: "unset: as federation.distinct_users; 0: any number",
            example: "5000",
            see: ["federation.distinct_users", "federation.distinct_users_window_s"],
        }
        /// Share of failing requests, in percent, that makes one of the kind suspicious.
        failed_percent: u8 = integer(0, 100), optional, Live {
            beyond: "unset: as federation.failed_percent; 0: never suspicious",
            example: "80",
            see: ["federation.failed_percent"],
        }
    }
}

section! {
    /// What users may do beyond the organisation. `global` is that of everybody who has no other,
    /// `site:` and the name of a site that of its users; any other is granted to single users.
    ExternalAccessPolicy = "external_access_policy", repeated: true {
        /// What it is called.
        name: String = policy_name(), required, Live {
            beyond: "a user's own wins over that of his site, and that over the global one; \
                     without any policy users may do all that the organisation may",
            example: "\"site:redmond\"",
            see: ["user.policy", "user.site"],
        }
        /// Whether users may talk with federated SIP partners (EnableFederationAccess).
        federation: bool = boolean(), default("false"), Live {
            beyond: "false: 403 with ms-diagnostics 1002, or 1012 where public_im is closed too",
            example: "true",
            see: ["federation.enabled"],
        }
        /// Whether users may talk with XMPP partners (EnableXmppAccess); needs federation too.
        xmpp: bool = boolean(), default("false"), Live {
            beyond: "false: 403 with ms-diagnostics 1002",
            example: "true",
            see: ["user.home"],
        }
        /// Whether users may talk with public IM providers (EnablePublicCloudAccess).
        public_im: bool = boolean(), default("false"), Live {
            beyond: "false: 403 with ms-diagnostics 1001",
            example: "true",
            see: [],
        }
        /// Whether audio and video with them may pass too (EnablePublicCloudAudioVideoAccess).
        public_av: bool = boolean(), default("false"), Live {
            beyond: "false: 403 with ms-diagnostics 1001",
            example: "true",
            see: [],
        }
        /// Whether users may sign in from outside (EnableOutsideAccess).
        outside: bool = boolean(), default("false"), Live {
            beyond: "false: 403 with ms-diagnostics 4003",
            example: "true",
            see: ["remote_users.enabled"],
        }
    }
}

section! {
    /// Where users are named who have a policy, site or home of their own.
    Users = "users", repeated: false {
        /// CSV file; its first line names its columns: `uri`, and any of `site`, `policy`, `home`.
        file: PathBuf = path(), optional, Live {
            beyond: "unset: only [[user]]; read again with every reload",
            example: "\"users.csv\"",
            see: ["user.uri"],
        }
        /// How much the word of an inner server on the sender's rights counts (`ms-user-data`).
        marks: MarksCount = one_of(&[
            ("decide", MarksCount::Decide),
            ("restrict", MarksCount::Restrict),
            ("ignore", MarksCount::Ignore),
        ]), default("\"decide\""), Live {
            beyond: "decide: it wins over the policies here; restrict: it only closes",
            example: "\"restrict\"",
            see: ["external_access_policy.name"],
        }
    }
}

section! {
    /// A user who has a policy, site or home of his own.
    SingleUser = "user", repeated: true {
        /// His address, with or without `sip:`.
        uri: User = user(), required, Live {
            beyond: "unset: refused; his domain must be an own one",
            example: "\"kim@contoso.example\"",
            see: ["users.file", "edge.domains"],
        }
        /// His site.
        site: String = label(), optional, Live {
            beyond: "unset: none, so the global policy is his, unless he is granted one",
            example: "\"redmond\"",
            see: ["external_access_policy.name"],
        }
        /// The policy granted to him.
        policy: String = policy_name(), optional, Live {
            beyond: "unset: that of his site, else the global one",
            example: "\"sales\"",
            see: ["external_access_policy.name"],
        }
        /// Where his account is served: a pool, or a survivable branch appliance.
        home: Home = one_of(&[("pool", Home::Pool), ("sba", Home::BranchAppliance)]),
            default("\"pool\""), Live {
            beyond: "sba: XMPP is refused with a reason, as the appliance cannot do it",
            example: "\"sba\"",
            see: ["external_access_policy.xmpp"],
        }
    }
}
