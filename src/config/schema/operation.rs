//! Keys of what the edge runs on: name servers, limits, management, log.

use std::net::SocketAddr;
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
    Shape, boolean, bytes, integer, list, log_level, milliseconds, network, one_of, path,
    socket_address,
};

/// How lines of the log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

section! {
    /// Name servers.
    Dns = "dns", repeated: false {
        /// Name servers with their ports, in order of preference.
        servers: Vec<SocketAddr> = list(socket_address(1), 16), default("[]"), Restart {
            beyond: "empty: those of the system",
            example: "[\"192.0.2.53:53\"]",
            see: [],
        }
        /// How long one question may take.
        timeout_ms: u64 = milliseconds(100, 10_000), default("2000"), Restart {
            beyond: "exceeded: the next server, then a failure that is held down",
            example: "1500",
            see: ["dns.attempts"],
        }
        /// Times a question is sent.
        attempts: usize = integer(1, 5), default("2"), Restart {
            beyond: "exceeded: the question failed",
            example: "3",
            see: ["dns.hold_down_s"],
        }
        /// Whether `_sips._tcp` (RFC 3263) counts where a domain has no `_sipfederationtls._tcp`.
        sips_srv: bool = boolean(), default("false"), Restart {
            beyond: "false: such a domain does not federate, as the product has it",
            example: "true",
            see: ["federation.discovery"],
        }
        /// How long a name that failed is not asked again.
        hold_down_s: u32 = integer(1, 3_600), default("30"), Restart {
            beyond: "until then the failure is the answer",
            example: "60",
            see: [],
        }
    }
}

section! {
    /// What the edge holds at most. `check` prints what it amounts to in memory.
    Limits = "limits", repeated: false {
        /// Connections, both sides, in and out.
        connections: usize = integer(16, 4_000_000), default("20000"), Restart {
            beyond: "exceeded: accepting pauses, counted by reason",
            example: "100000",
            see: ["limits.half_open"],
        }
        /// Connections whose handshake is not done.
        half_open: usize = integer(4, 1_000_000), default("1000"), Restart {
            beyond: "exceeded: accepting pauses, counted by reason",
            example: "2000",
            see: ["tls.handshake_timeout_ms"],
        }
        /// Of these, connections of one source: an IPv4 address, or a /64 of IPv6. Behind a
        /// balancer that is the address of its PROXY header.
        half_open_per_source: usize = integer(1, 1_000_000), default("100"), Restart {
            beyond: "exceeded: the connection is closed and counted, once told; above half_open: \
                no limit",
            example: "50",
            see: ["limits.half_open", "listener.proxy_protocol_from"],
        }
        /// Transactions under way.
        transactions: usize = integer(64, 16_000_000), default("100000"), Restart {
            beyond: "exceeded: 503 with Retry-After",
            example: "500000",
            see: [],
        }
        /// Size of the body of a SIP message; its head has a fixed bound of 64 KiB.
        message_bytes: usize = bytes(65_536, 1_048_576), default("1048576"), Restart {
            beyond: "exceeded: 513, and the connection is closed",
            example: "262144",
            see: [],
        }
    }
}

section! {
    /// Where metrics and health are asked, and where commands are taken.
    Management = "management", repeated: false {
        /// Addresses with ports; port 0 lets the kernel choose.
        listen: Vec<SocketAddr> = list(socket_address(0), 16),
            default("[\"127.0.0.1:9464\"]"), Restart {
            beyond: "empty: no metrics and no health",
            example: "[\"127.0.0.1:9464\", \"10.0.0.10:9464\"]",
            see: ["management.allow"],
        }
        /// Networks that may ask.
        allow: Vec<IpNet> = list(network(), 256), default("[\"127.0.0.0/8\", \"::1\"]"), Live {
            beyond: "others get 403",
            example: "[\"127.0.0.0/8\", \"10.0.0.0/24\"]",
            see: ["management.listen"],
        }
        /// Unix socket for `entente ctl`; only its owner and root may use it.
        socket: PathBuf = path(), optional, Restart {
            beyond: "unset: no socket; reload by SIGHUP, drain by SIGTERM",
            example: "\"/run/entente/admin.sock\"",
            see: ["management.listen"],
        }
    }
}

section! {
    /// The log, on standard error.
    Log = "log", repeated: false {
        /// How lines look.
        format: LogFormat = one_of(&[("text", LogFormat::Text), ("json", LogFormat::Json)]),
            default("\"text\""), Restart {
            beyond: "unset: for people",
            example: "\"json\"",
            see: [],
        }
        /// What is told; user parts of addresses only at debug. A level without a part is this
        /// program's; its libraries then tell warnings at most. At debug each message that passes
        /// leaves a line too, with the number of its decision.
        level: String = log_level(), default("\"info\""), Live {
            beyond: "lines that the writer cannot keep up with are dropped and counted",
            example: "\"info,entente::tls=debug\"",
            see: [],
        }
        /// File that gets a JSON object for each verdict newly reached, for `entente replay`: once
        /// for a pair of domains, a peer and a shard until the policy or the DNS answer changes,
        /// not once a message. Domains only, no users. Made with mode 0600, appended to, opened
        /// again on reload.
        decisions: PathBuf = path(), optional, Live {
            beyond: "unset: no decision log; unwritable: warned of once and counted, traffic \
                goes on; refusals above 50 a second: counted and left out",
            example: "\"decisions.log\"",
            see: ["log.decisions_bytes"],
        }
        /// Size at which that file is renamed to the same name with `.1`, in place of the one
        /// that has that name, and begun afresh: on disk it is twice as much at most.
        decisions_bytes: usize = bytes(65_536, 17_179_869_184), default("268435456"), Live {
            beyond: "exceeded: the older half of what is kept goes",
            example: "1073741824",
            see: ["log.decisions"],
        }
    }
}
