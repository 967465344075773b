//! Finding a partner's edge: names, questions, answers, target order and the cache are pure; only
//! [`resolver`] asks a server, on the control thread.

use std::net::IpAddr;
use std::sync::Arc;

use crate::time::{Monotonic, Now};

mod cache;
mod name;
mod order;
pub mod resolver;

pub use cache::{Cache, Want};
pub use name::{Domain, NotADomain};
pub use order::order;

/// What a shard may ask of the resolver.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Question {
    /// `_sipfederationtls._tcp.<domain>` SRV and the addresses of its targets.
    Federation(Domain),
    /// `_xmpp-server._tcp.<domain>` and `_xmpps-server._tcp.<domain>` SRV, ordered together
    /// (XEP-0368), and the addresses of their targets; where neither exists, A and AAAA of the
    /// domain itself, at port 5269.
    Xmpp(Domain),
    /// A and AAAA of one host, connected to at `port`.
    Host {
        /// The host's name.
        fqdn: Domain,
        /// Carried through to the target.
        port: u16,
    },
}

/// One host that may be connected to, with the addresses it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name that the certificate must carry.
    pub fqdn: Domain,
    /// TCP port.
    pub port: u16,
    /// SRV priority, lower first (RFC 2782); 0 for a host question.
    pub priority: u16,
    /// SRV weight.
    pub weight: u16,
    /// Addresses in the order the resolver gave them, both families.
    pub addresses: Vec<IpAddr>,
    /// TLS from the first byte; only a target of [`Question::Xmpp`] may be without.
    pub direct_tls: bool,
}

/// Why there are no targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No SRV record (NXDOMAIN or an empty answer): diagnostics 1008.
    NoSuchService,
    /// The service is refused with target "." (RFC 2782).
    ServiceRefused,
    /// Targets exist but none has an address: diagnostics 1014.
    NoAddress,
    /// The name server failed or refused.
    ServerFailure,
    /// No answer in time.
    Timeout,
}

/// An answer, shared by every shard that waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was asked.
    pub question: Question,
    /// At least one target, or why not.
    pub outcome: Result<Vec<Target>, Failure>,
    /// Seconds this answer may be used; for failures, how long they are held down.
    pub ttl_s: u32,
}

/// Answers travel between threads without copying.
pub type SharedAnswer = Arc<Answer>;

/// What a decision may know of DNS: answers that have come and not ended.
pub trait DnsView {
    /// Returns the answer to `question`, if there is one at `now`.
    fn look(&self, now: Now, question: &Question) -> Option<SharedAnswer>;

    /// Returns when that answer ends. A view that cannot tell says `now`: use it once.
    fn valid_until(&self, now: Now, question: &Question) -> Monotonic {
        let _ = question;
        now.monotonic
    }
}
