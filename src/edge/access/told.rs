//! What is told of decisions: their numbers, and which of them go to the decision log.
//!
//! The log gets a line per verdict, not per message. Verdicts on partners come newly where the
//! cache has none. What no cache holds (remote users, refusals by a user's policy, by limits or by
//! what a connection carries) goes by marks: told once until others have taken its place.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::quality::FixedState;
use siphasher::sip::SipHasher13;

use super::Access;
use super::diagnostics::Fault;
use super::headers::host_of;
use crate::dns::{self, DnsView, Domain, Question, SharedAnswer};
use crate::edge::{Class, Command, Decided, Effects, LegId, RefusedBy, Said};
use crate::policy::{Decision, Direction, PeerNames};
use crate::sip::Message;
use crate::time::{Monotonic, Now};

/// Returns the number before that of a process's first decision.
///
/// It differs between two runs and between two edges of a pool, whose logs may be read together.
pub(super) fn first_decision([k0, k1]: [u64; 2]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(k0, k1);
    hasher.write(b"decision");
    hasher.finish()
}

/// A look at the cache of DNS that remembers the answers it gave, where they are wanted.
#[derive(Debug)]
pub(super) struct Witness<'a> {
    dns: &'a dns::Cache,
    seen: Option<RefCell<Vec<SharedAnswer>>>,
}

impl Witness<'_> {
    pub(super) fn into_answers(self) -> Vec<SharedAnswer> {
        self.seen.map(RefCell::into_inner).unwrap_or_default()
    }
}

impl DnsView for Witness<'_> {
    fn look(&self, now: Now, question: &Question) -> Option<SharedAnswer> {
        let answer = self.dns.look(now, question)?;
        if let Some(seen) = &self.seen {
            let mut seen = seen.borrow_mut();
            if !seen.iter().any(|known| known.question == *question) {
                seen.push(Arc::clone(&answer));
            }
        }
        Some(answer)
    }

    fn valid_until(&self, now: Now, question: &Question) -> Monotonic {
        self.dns.valid_until(now, question)
    }
}

/// A question that policy was asked, with the number of its decision.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) decision_id: u64,
    pub(super) direction: Direction,
    pub(super) peer: Option<Arc<PeerNames>>,
    pub(super) from: Domain,
    pub(super) to: Option<Domain>,
    pub(super) answers: Vec<SharedAnswer>,
}

impl Access {
    /// Returns the view of DNS that a verdict for the decision log is reached with.
    pub(super) fn witness(&self) -> Witness<'_> {
        let seen = self.snapshot.telling().verdicts.then(RefCell::default);
        Witness { dns: &self.dns, seen }
    }

    /// Tells the decision log of a verdict newly reached.
    pub(super) fn tell_verdict(&self, asked: Asked, decision: Decision, effects: &mut Effects) {
        if self.snapshot.telling().verdicts {
            self.tell(asked, Said::Verdict(decision), effects);
        }
    }

    /// The same for a decision on a remote user, which no cache holds.
    pub(super) fn tell_remote_user(
        &mut self,
        decision_id: u64,
        from: &Domain,
        to: Option<&Domain>,
        decision: &Decision,
        effects: &mut Effects,
    ) {
        if !self.snapshot.telling().verdicts {
            return;
        }
        let mark = self.mark(|hasher| (Direction::RemoteUser, from, to).hash(hasher));
        if !self.told.first(mark) {
            return;
        }
        let (direction, answers) = (Direction::RemoteUser, Vec::new());
        let (from, to) = (from.clone(), to.cloned());
        let asked = Asked { decision_id, direction, peer: None, from, to, answers };
        self.tell(asked, Said::Verdict(decision.clone()), effects);
    }

    /// Tells the decision log of a refusal that does not follow from the domains alone.
    pub(super) fn tell_refused(
        &mut self,
        leg: LegId,
        message: &Message<'_>,
        fault: &Fault,
        by: RefusedBy,
        decision_id: u64,
        effects: &mut Effects,
    ) {
        if !self.snapshot.telling().verdicts {
            return;
        }
        let Some(held) = self.legs.get(leg) else { return };
        let (direction, peer) = match held.class {
            Class::Federation => (Direction::Inbound, held.names.clone()),
            Class::Internal => (Direction::Outbound, None),
            Class::RemoteUsers => (Direction::RemoteUser, None),
            Class::Xmpp | Class::XmppDirectTls | Class::XmppLink | Class::Credentials => return,
        };
        let domain = |uri| host_of(uri).and_then(|host| Domain::parse(host).ok());
        let Some(from) = message.from().ok().and_then(|from| domain(from.uri)) else { return };
        let to = domain(message.uri());
        let (status, diagnostics) = (fault.status, fault.diagnostics);
        let sender = held.peer;
        let mark = self
            .mark(|hasher| (by, direction, sender, status, diagnostics, &from, &to).hash(hasher));
        if self.told.first(mark) {
            let asked = Asked { decision_id, direction, peer, from, to, answers: Vec::new() };
            let sentence = fault.sentence.clone();
            self.tell(asked, Said::Refused { by, status, diagnostics, sentence }, effects);
        }
    }

    fn tell(&self, asked: Asked, said: Said, effects: &mut Effects) {
        let Asked { decision_id, direction, peer, from, to, answers } = asked;
        let epoch = self.snapshot.epoch;
        let decided = Decided { decision_id, epoch, direction, peer, from, to, answers, said };
        effects.commands.push(Command::Decided(Box::new(decided)));
    }

    /// What is told under one policy is told again under the next.
    fn mark(&self, add: impl FnOnce(&mut <FixedState as BuildHasher>::Hasher)) -> u64 {
        let mut hasher = FixedState::with_seed(self.transaction_key[1]).build_hasher();
        hasher.write_u64(self.snapshot.epoch);
        add(&mut hasher);
        hasher.finish()
    }
}
