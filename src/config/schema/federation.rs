//! Keys of federation as a whole and of own users outside.

use std::path::PathBuf;

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
    Shape, boolean, header_name, header_value, integer, milliseconds, one_of, path, seconds,
};

section! {
    /// Federation with partners.
    Federation = "federation", repeated: false {
        /// Whether partners get in at all.
        enabled: bool = boolean(), default("true"), Live {
            beyond: "false: every partner is refused and nothing goes out to partners",
            example: "false",
            see: [],
        }
        /// Whether partners that are not listed are found by DNS SRV.
        discovery: bool = boolean(), default("false"), Live {
            beyond: "false: an unlisted domain is refused, without a DNS question unless a \
                provider is enabled",
            example: "true",
            see: ["federation.messages_per_s"],
        }
        /// Outgoing TLS connections to one partner, over all shards.
        connections_per_partner: u8 = integer(1, 4), default("4"), Live {
            beyond: "exceeded: messages share the connections there are",
            example: "2",
            see: [],
        }
        /// Whether the word of a discovered partner on who its user is counts.
        discovered_verification: Verification = one_of(&[
            ("always", Verification::Always),
            ("source", Verification::Source),
            ("never", Verification::Never),
        ]), default("\"source\""), Live {
            beyond: "as partner.verification; always believes anybody with an SRV record",
            example: "\"never\"",
            see: ["federation.discovery", "partner.verification"],
        }
        /// File with more partners, one a line: CSV whose first line names its columns, of domain,
        /// edge, port, srv_target, names, common_name, require_client_eku, revocation,
        /// verification, version, messages_per_s, distinct_users, expires, owner, ticket and
        /// comment, each as the key of `[[partner]]`; srv_target is a word here.
        partners_csv: PathBuf = path(), optional, Live {
            beyond: "unset: [[partner]] alone; a row that is wrong is shown and nothing is changed",
            example: "\"partners.csv\"",
            see: ["partner.domain", "federation.blocked_csv"],
        }
        /// File with more blocked domains: CSV with the columns domain, owner, ticket and comment.
        blocked_csv: PathBuf = path(), optional, Live {
            beyond: "unset: [[blocked]] alone; a row that is wrong is shown and nothing is changed",
            example: "\"blocked.csv\"",
            see: ["blocked.domain", "federation.partners_csv"],
        }
        /// Messages a discovered partner may send. Like all its limits this counts the partner over
        /// all its connections to this edge, under its SIP domain and its certificate each.
        messages_per_s: u32 = integer(1, 1_000_000), default("20"), Live {
            beyond: "exceeded: held, then 480 with Retry-After",
            example: "50",
            see: ["federation.discovery", "federation_limit.kind", "edge.pool_members"],
        }
        /// The same while the partner is suspicious, because too many of its requests fail.
        suspicious_messages_per_s: u32 = integer(1, 1_000_000), default("1"), Live {
            beyond: "exceeded: held, then 480 with Retry-After",
            example: "2",
            see: ["federation.failed_percent"],
        }
        /// How long a message that comes too early is held.
        hold_ms: u64 = milliseconds(0, 10_000), default("2000"), Live {
            beyond: "would be exceeded: 480 with Retry-After at once; 0: nothing is held",
            example: "500",
            see: ["federation.messages_per_s"],
        }
        /// Distinct local users a discovered partner may address within the window, whether or not
        /// they exist.
        distinct_users: u32 = integer(0, 10_000), default("1000"), Live {
            beyond: "exceeded: messages to additional users get 480; 0: any number",
            example: "200",
            see: ["federation.distinct_users_window_s"],
        }
        /// The window: a grid that begins with the process; at its end everybody is forgotten.
        distinct_users_window_s: u64 = seconds(60, 2_592_000), default("86400"), Live {
            beyond: "unset: a day",
            example: "3600",
            see: ["federation.distinct_users"],
        }
        /// Share of failing requests (403, 404, 410, 484, 604, or one user too many) from which on
        /// a partner is suspicious.
        failed_percent: u8 = integer(0, 100), default("50"), Live {
            beyond: "reached: suspicious_messages_per_s holds until the share has fallen; 0: never",
            example: "80",
            see: ["federation.failed_least", "federation.failed_half_life_s"],
        }
        /// Answered requests from which on that share says anything.
        failed_least: u32 = integer(1, 100_000), default("20"), Live {
            beyond: "fewer: not suspicious",
            example: "50",
            see: ["federation.failed_percent"],
        }
        /// Decay of that share: whenever so much time has passed, answers count half as much.
        failed_half_life_s: u64 = seconds(1, 86_400), default("300"), Live {
            beyond: "unset: five minutes",
            example: "900",
            see: ["federation.failed_percent"],
        }
        /// Whether own users are marked as verified towards partners.
        mark_verifiable: bool = boolean(), default("true"), Live {
            beyond: "false: partners that go by the mark take our users as unverified",
            example: "false",
            see: ["partner.verification"],
        }
        /// Whether partners see nothing of how the inside is built: its Vias stay here, its
        /// Record-Route entries go sealed into one entry of ours, which any edge of the pool opens.
        /// Contact, Call-ID, addresses in SDP and whatever else the ends write for each other stay
        /// as they are: the far end needs them to answer, to match and to send media.
        hide_topology: bool = boolean(), default("false"), Live {
            beyond: "false: Via and Record-Route of inner servers pass unchanged; more than 8 KiB \
                     of Record-Route is refused with 513; dialogs go on when it is switched",
            example: "true",
            see: ["edge.secrets"],
        }
        /// Header of the notice to partners that messages may be archived. No document names the
        /// product's own header, so it has to be agreed with them.
        archiving_notice_header: String = header_name(), optional, Live {
            beyond: "unset: no notice",
            example: "\"X-Archiving-Notice\"",
            see: ["federation.archiving_notice_value"],
        }
        /// Its value, put on every MESSAGE and INVITE to a partner.
        archiving_notice_value: String = header_value(), optional, Live {
            beyond: "unset: no notice",
            example: "\"this conversation may be archived\"",
            see: ["federation.archiving_notice_header"],
        }
    }
}

section! {
    /// The organisation's own users outside.
    RemoteUsers = "remote_users", repeated: false {
        /// Whether they get in at all.
        enabled: bool = boolean(), default("true"), Live {
            beyond: "false: listeners of class remote_users refuse every request",
            example: "false",
            see: ["listener.class"],
        }
        /// Whether guests without an account may join conferences.
        anonymous: bool = boolean(), default("false"), Live {
            beyond: "false: the anonymous form of From is refused",
            example: "true",
            see: [],
        }
    }
}
