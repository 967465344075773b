//! Messages that wait for an answer of the resolver (DESIGN 6.6): in order per question, copied,
//! charged to their sender, and only for so long.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::diagnostics::Fault;
use super::toll::Arrival;
use super::{Access, Scratch};
use crate::dns::{self, Question};
use crate::edge::{Command, Effects, LegId, MailRoute, SlotRef};
use crate::limits;
use crate::sip::{self, Message, Scan};
use crate::time::{Monotonic, Now};

/// Who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A leg of this shard.
    Leg(LegId),
    /// Another shard's transaction.
    Mail { origin: SlotRef, route: MailRoute },
}

/// One waiting message.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) source: Source,
    /// It was this message that made us ask.
    pub(crate) asked: bool,
    pub(crate) bytes: Vec<u8>,
    /// The sender's transaction key, by which a CANCEL finds an INVITE.
    pub(crate) key: Option<u128>,
    pub(crate) deadline: Monotonic,
    /// Whether it has paid for its place in its sender's second.
    pub(crate) arrival: Arrival,
}

impl Waiting {
    const fn leg(&self) -> Option<LegId> {
        match self.source {
            Source::Leg(leg) => Some(leg),
            Source::Mail { .. } => None,
        }
    }
}

/// Messages that may wait for one question.
const PER_QUESTION_MAX: usize = 256;
/// Bytes that may wait on one shard.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes that messages of one leg may wait with.
const BYTES_PER_LEG_MAX: usize = 512 * 1024;

/// All waiting messages of a shard.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    queues: HashMap<Question, VecDeque<Waiting>, foldhash::quality::RandomState>,
    per_leg: HashMap<LegId, usize, foldhash::quality::RandomState>,
    /// Questions in the order their oldest message was parked. The wait is the same for all, so
    /// the first to run out is at the front; questions answered meanwhile are skipped.
    order: VecDeque<(Monotonic, Question)>,
    bytes: usize,
}

/// Nothing more may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Parked {
    /// Parks a copy of `bytes`. `first_seen` is when the message first came, so that a message
    /// parked a second time does not wait a second time.
    pub(crate) fn park(&mut self, question: &Question, waiting: Waiting) -> Result<(), Full> {
        let size = waiting.bytes.len();
        let of_leg = waiting.leg().and_then(|leg| self.per_leg.get(&leg)).copied().unwrap_or(0);
        if self.bytes + size > BYTES_MAX || of_leg + size > BYTES_PER_LEG_MAX {
            return Err(Full);
        }
        let queue = self.queues.entry(question.clone()).or_default();
        if queue.len() >= PER_QUESTION_MAX {
            return Err(Full);
        }
        self.bytes += size;
        if let Some(leg) = waiting.leg() {
            *self.per_leg.entry(leg).or_default() += size;
        }
        self.order.push_back((waiting.deadline, question.clone()));
        queue.push_back(waiting);
        Ok(())
    }

    /// Returns the messages that waited for `question`, oldest first.
    pub(crate) fn release(&mut self, question: &Question) -> VecDeque<Waiting> {
        let queue = self.queues.remove(question).unwrap_or_default();
        for waiting in &queue {
            self.uncharge(waiting);
        }
        queue
    }

    /// Tells whether a message of `leg` waits.
    pub(crate) fn holds_of(&self, leg: LegId) -> bool {
        self.per_leg.contains_key(&leg)
    }

    /// Removes the messages of a leg that is gone.
    pub(crate) fn forget(&mut self, leg: LegId) {
        if !self.per_leg.contains_key(&leg) {
            return;
        }
        let mut freed = 0;
        self.queues.retain(|_, queue| {
            queue.retain(|waiting| {
                if waiting.leg() == Some(leg) {
                    freed += waiting.bytes.len();
                }
                waiting.leg() != Some(leg)
            });
            !queue.is_empty()
        });
        self.bytes -= freed;
        self.per_leg.remove(&leg);
    }

    /// Takes out the INVITE that a CANCEL is about.
    pub(crate) fn cancel(&mut self, key: u128) -> Option<Waiting> {
        // A CANCEL for a waiting INVITE is rare and the queues are bounded, so they are searched.
        let mut found = None;
        self.queues.retain(|_, queue| {
            if found.is_none()
                && let Some(at) = queue.iter().position(|waiting| waiting.key == Some(key))
            {
                found = queue.remove(at);
            }
            !queue.is_empty()
        });
        if let Some(waiting) = &found {
            self.uncharge(waiting);
        }
        found
    }

    /// Returns one message whose time is up.
    pub(crate) fn due(&mut self, now: Now) -> Option<Waiting> {
        while let Some((deadline, question)) = self.order.front() {
            if *deadline > now.monotonic {
                return None;
            }
            let expired = self.queues.get_mut(question).and_then(|queue| {
                let due = queue.front().is_some_and(|waiting| waiting.deadline <= now.monotonic);
                due.then(|| queue.pop_front()).flatten()
            });
            if expired.is_none() {
                // Answered, cancelled or forgotten meanwhile.
                self.drop_front();
                continue;
            }
            self.drop_front();
            if let Some(waiting) = &expired {
                self.uncharge(waiting);
            }
            return expired;
        }
        None
    }

    fn drop_front(&mut self) {
        if let Some((_, question)) = self.order.pop_front()
            && self.queues.get(&question).is_some_and(VecDeque::is_empty)
        {
            self.queues.remove(&question);
        }
    }

    fn uncharge(&mut self, waiting: &Waiting) {
        self.bytes -= waiting.bytes.len();
        let Some(leg) = waiting.leg() else { return };
        if let Some(held) = self.per_leg.get_mut(&leg) {
            *held -= waiting.bytes.len();
            if *held == 0 {
                self.per_leg.remove(&leg);
            }
        }
    }

    /// Returns when the oldest message runs out of time.
    pub(crate) fn next_deadline(&self) -> Option<Monotonic> {
        self.order.front().map(|(deadline, _)| *deadline)
    }

    pub(crate) fn len(&self) -> usize {
        self.queues.len()
    }
}

const _: () = assert!(BYTES_PER_LEG_MAX * 16 <= BYTES_MAX);
const _: () = assert!(BYTES_PER_LEG_MAX < limits::SIP_MESSAGE_BYTES_MAX);

impl Access {
    /// Parks a request of `leg` until `question` is answered, or refuses it.
    pub(super) fn park(
        &mut self,
        now: Now,
        leg: LegId,
        message: &Message<'_>,
        question: Question,
        (deadline, arrival): (Monotonic, Arrival),
        effects: &mut Effects,
    ) {
        let Some(held) = self.legs.get_mut(leg) else { return };
        // What is known and asked for again is an answer whose own time has run out.
        let asked = !matches!(self.dns.want(now, &question), dns::Want::Asked);
        if asked {
            if held.lookups >= limits::LOOKUPS_PER_LEG_MAX {
                self.dns.withdraw(&question);
                return self.refuse(leg, message, &Fault::too_fast(), effects);
            }
            held.lookups += 1;
        }
        let waiting = Waiting {
            source: Source::Leg(leg),
            asked,
            bytes: message.raw().to_vec(),
            key: self.transaction_key(leg, message),
            deadline,
            arrival,
        };
        if self.wait_for(question, waiting, effects).is_err() {
            self.lookup_over(leg, asked);
            self.refuse(leg, message, &Fault::partner_full(), effects);
        }
    }

    /// Parks another shard's request.
    pub(super) fn park_mail(
        &mut self,
        now: Now,
        question: Question,
        origin: SlotRef,
        route: MailRoute,
        bytes: &[u8],
        deadline: Monotonic,
        effects: &mut Effects,
    ) {
        let asked = !matches!(self.dns.want(now, &question), dns::Want::Asked);
        let source = Source::Mail { origin, route };
        let (bytes, arrival) = (bytes.to_vec(), Arrival::Fresh);
        let waiting = Waiting { source, asked, bytes, key: None, deadline, arrival };
        if self.wait_for(question, waiting, effects).is_err() {
            self.not_delivered(origin, effects);
        }
    }

    /// Lets `waiting` wait for `question`, and puts the question if this is who asks it.
    fn wait_for(
        &mut self,
        question: Question,
        waiting: Waiting,
        effects: &mut Effects,
    ) -> Result<(), Full> {
        let asked = waiting.asked;
        if let Err(full) = self.parked.park(&question, waiting) {
            if asked {
                // Nobody will ask it now; left pending, it would hold up everybody after us.
                self.dns.withdraw(&question);
            }
            return Err(full);
        }
        self.counters.parked += 1;
        if asked {
            self.counters.questions += 1;
            effects.commands.push(Command::Ask(question));
        }
        Ok(())
    }

    /// Takes up the messages that waited for `question`, each decided afresh.
    pub(super) fn unpark(&mut self, now: Now, question: &Question, effects: &mut Effects) {
        for waiting in self.parked.release(question) {
            let Waiting { source, bytes, deadline, arrival, asked, .. } = waiting;
            match source {
                Source::Leg(leg) => {
                    self.lookup_over(leg, asked);
                    self.with_scratch(|access, scratch| {
                        let Scratch { table, edits } = scratch;
                        if let Ok(Scan::Message(scanned)) = sip::scan(&bytes, table) {
                            let message = Message::new(&bytes, table, scanned);
                            access.admit(now, leg, &message, edits, deadline, arrival, effects);
                        }
                    });
                }
                Source::Mail { origin, route } => {
                    self.piped_request(now, origin, route, &bytes, deadline, effects);
                }
            }
        }
    }

    /// Answers for a message whose question nobody has answered in time.
    pub(super) fn waited_in_vain(&mut self, waiting: &Waiting, effects: &mut Effects) {
        self.counters.parked_expired += 1;
        let leg = match waiting.source {
            Source::Leg(leg) => leg,
            Source::Mail { origin, .. } => return self.not_delivered(origin, effects),
        };
        self.lookup_over(leg, waiting.asked);
        self.with_scratch(|access, scratch| {
            if let Ok(Scan::Message(scanned)) = sip::scan(&waiting.bytes, &mut scratch.table) {
                let message = Message::new(&waiting.bytes, &scratch.table, scanned);
                access.refuse(leg, &message, &Fault::dns(dns::Failure::Timeout), effects);
            }
        });
    }

    /// Gives back the look-up of a leg whose message made us ask.
    pub(super) fn lookup_over(&mut self, leg: LegId, asked: bool) {
        if asked && let Some(leg) = self.legs.get_mut(leg) {
            leg.lookups = leg.lookups.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Domain;

    fn question(name: &str) -> Question {
        Question::Federation(Domain::parse(name.as_bytes()).unwrap())
    }

    fn waiting(leg: u32, text: &str, deadline_ms: u64) -> Waiting {
        Waiting {
            source: Source::Leg(LegId { index: leg, generation: 0 }),
            asked: false,
            bytes: text.as_bytes().to_vec(),
            key: Some(u128::from(leg)),
            deadline: Now::default().plus_ms(deadline_ms).monotonic,
            arrival: Arrival::Fresh,
        }
    }

    #[test]
    fn messages_leave_in_the_order_they_came() {
        let mut parked = Parked::default();
        parked.park(&question("a.example"), waiting(1, "one", 4)).unwrap();
        parked.park(&question("b.example"), waiting(1, "other", 4)).unwrap();
        parked.park(&question("a.example"), waiting(2, "two", 5)).unwrap();
        let texts: Vec<_> =
            parked.release(&question("a.example")).into_iter().map(|w| w.bytes).collect();
        assert_eq!(texts, [b"one".to_vec(), b"two".to_vec()]);
        assert_eq!(parked.bytes, 5);
    }

    #[test]
    fn a_message_whose_time_is_up_leaves_alone() {
        let mut parked = Parked::default();
        parked.park(&question("a.example"), waiting(1, "one", 4)).unwrap();
        parked.park(&question("a.example"), waiting(2, "two", 9)).unwrap();
        assert!(parked.due(Now::default().plus_ms(3)).is_none());
        assert_eq!(parked.due(Now::default().plus_ms(5)).unwrap().bytes, b"one");
        assert!(parked.due(Now::default().plus_ms(5)).is_none());
        assert_eq!(parked.release(&question("a.example")).len(), 1);
        assert_eq!(parked.bytes, 0);
        assert!(parked.due(Now::default().plus_ms(50)).is_none());
    }

    #[test]
    fn a_lost_leg_takes_its_messages_along() {
        let mut parked = Parked::default();
        parked.park(&question("a.example"), waiting(1, "one", 4)).unwrap();
        parked.park(&question("a.example"), waiting(2, "two", 4)).unwrap();
        parked.forget(LegId { index: 1, generation: 0 });
        assert_eq!(parked.release(&question("a.example")).len(), 1);
        assert_eq!((parked.bytes, parked.len()), (0, 0));
    }

    #[test]
    fn cancel_finds_one_message() {
        let mut parked = Parked::default();
        parked.park(&question("a.example"), waiting(1, "one", 4)).unwrap();
        assert!(parked.cancel(7).is_none());
        assert_eq!(parked.cancel(1).unwrap().bytes, b"one");
        assert!(parked.cancel(1).is_none());
    }

    #[test]
    fn one_leg_cannot_fill_the_room_of_all() {
        let mut parked = Parked::default();
        let large = "x".repeat(BYTES_PER_LEG_MAX / 2);
        assert!(parked.park(&question("a.example"), waiting(1, &large, 4)).is_ok());
        assert!(parked.park(&question("b.example"), waiting(1, &large, 4)).is_ok());
        assert_eq!(parked.park(&question("c.example"), waiting(1, &large, 4)), Err(Full));
        assert!(parked.park(&question("c.example"), waiting(2, &large, 4)).is_ok());
    }
}
