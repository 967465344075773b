//! What the decision log is told: enough to ask another policy the same question later.

use std::sync::Arc;

/// Marks of what was told, 8 bytes each; a core has them from the first that it sets.
const MARKS: usize = 2_048;

use crate::dns::{Domain, SharedAnswer};
use crate::policy::{Decision, Direction, PeerNames};

/// A verdict newly reached, or a refusal that no verdict holds. It names domains, never users.
///
/// What was looked at is shared, not copied; whoever writes the log turns it into text.
#[derive(Clone, Debug)]
pub struct Decided {
    /// The number that the answer on the wire and the log carry.
    pub decision_id: u64,
    /// Number of the snapshot that decided.
    pub epoch: u64,
    /// Which way the request was to cross.
    pub direction: Direction,
    /// Who sent it, where the decision looks at that.
    pub peer: Option<Arc<PeerNames>>,
    /// Domain of the From URI.
    pub from: Domain,
    /// The domain it was for; `None` where it named none.
    pub to: Option<Domain>,
    /// The answers of DNS that were looked at, in the order of their questions.
    pub answers: Vec<SharedAnswer>,
    /// What was decided.
    pub said: Said,
}

/// What was decided.
#[derive(Clone, Debug)]
pub enum Said {
    /// Policy decided on the domains: a permit or a refusal.
    Verdict(Decision),
    /// Policy let the domains pass, and something else refused.
    Refused {
        /// What did.
        by: RefusedBy,
        /// SIP status of the answer; 0 where it is none of SIP.
        status: u16,
        /// ErrorId of `ms-diagnostics`; 0 for none.
        diagnostics: u16,
        /// Why, without user parts of addresses.
        sentence: String,
    },
}

/// What refuses beyond the domains. A log that names no users cannot ask these again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusedBy {
    /// The own user's external access policy.
    User,
    /// The limits of the partner.
    Limit,
    /// What the connection carries already.
    Connection,
    /// What the message offers.
    Message,
    /// The rules of XMPP streams: who may open one, and how the peer proves whom it speaks for.
    Stream,
}

/// What was told already and is in no cache of verdicts.
#[derive(Debug, Default)]
pub(super) struct Told(Vec<u64>);

impl Told {
    /// Sets `mark`; returns whether it was not set.
    #[allow(clippy::cast_possible_truncation, reason = "only the low bits are used")]
    pub(super) fn first(&mut self, mark: u64) -> bool {
        if self.0.is_empty() {
            self.0.resize(MARKS, 0);
        }
        // Zero is a place that was never taken.
        let mark = mark.max(1);
        std::mem::replace(&mut self.0[mark as usize % MARKS], mark) != mark
    }
}
