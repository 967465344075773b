//! Answers until they end, failures held down, and which questions are already on their way.
//!
//! One per shard, one more in the resolver's service. Three shelves of fixed room: whoever makes us
//! ask for invented names wears out the failures and leaves the partners' answers alone.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashMap;
use siphasher::sip::SipHasher13;

use super::{Answer, DnsView, Failure, Question, SharedAnswer};
use crate::limits;
use crate::time::{Monotonic, Now};

/// How long a question that found no room to be asked is held down.
const NO_ROOM_TTL_S: u32 = 1;

/// What became of a wish to know.
#[derive(Clone, Debug)]
pub enum Want {
    /// Known already, or refused for want of room: decide again.
    Known(SharedAnswer),
    /// On its way already: wait.
    Asked,
    /// Ask the resolver, then wait.
    Ask,
}

/// The cache. Memory is bounded by [`limits::DNS_ANSWERS_MAX`] and its neighbours.
#[derive(Debug)]
pub struct Cache {
    answers: Shelf<SharedAnswer>,
    failures: Shelf<SharedAnswer>,
    pending: Shelf<()>,
}

impl Cache {
    /// Returns an empty cache; `key` is random per process (and fixed in a simulation).
    #[must_use]
    pub fn new(key: [u64; 2]) -> Self {
        Self::with_room(
            key,
            limits::DNS_ANSWERS_MAX,
            limits::DNS_FAILURES_MAX,
            limits::DNS_PENDING_MAX,
        )
    }

    fn with_room(key: [u64; 2], answers: usize, failures: usize, pending: usize) -> Self {
        Self {
            answers: Shelf::new(key, answers),
            failures: Shelf::new(key, failures),
            pending: Shelf::new(key, pending),
        }
    }

    /// Says whether `question` must be asked, and notes it as asked if so.
    pub fn want(&mut self, now: Now, question: &Question) -> Want {
        if let Some(answer) = self.look(now, question) {
            return Want::Known(answer);
        }
        if self.pending.find(now, question).is_some() {
            return Want::Asked;
        }
        if self.pending.is_full(now) {
            let outcome = Err(Failure::ServerFailure);
            let question = question.clone();
            let answer = Arc::new(Answer { question, outcome, ttl_s: NO_ROOM_TTL_S });
            self.put(now, &answer);
            return Want::Known(answer);
        }
        self.pending.put(question, now.monotonic.plus_ms(limits::DNS_PENDING_MS), ());
        Want::Ask
    }

    /// Takes an answer in; its question is no longer on its way.
    pub fn put(&mut self, now: Now, answer: &SharedAnswer) {
        let until = now.monotonic.plus_ms(u64::from(answer.ttl_s) * 1_000);
        self.pending.remove(&answer.question);
        let shelf = match answer.outcome {
            Ok(_) => {
                self.failures.remove(&answer.question);
                &mut self.answers
            }
            Err(_) => &mut self.failures,
        };
        shelf.put(&answer.question, until, answer.clone());
    }

    /// Forgets that `question` is on its way: it was not asked after all.
    pub fn withdraw(&mut self, question: &Question) {
        self.pending.remove(question);
    }

    /// Returns how many answers and failures are held, those included that have ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.answers.held.len() + self.failures.held.len()
    }

    /// Tells whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many questions are on their way, those included that were lost.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.held.len()
    }

    fn held(&self, now: Now, question: &Question) -> Option<&Held<SharedAnswer>> {
        self.answers.find(now, question).or_else(|| self.failures.find(now, question))
    }
}

impl DnsView for Cache {
    fn look(&self, now: Now, question: &Question) -> Option<SharedAnswer> {
        self.held(now, question).map(|held| held.value.clone())
    }

    fn valid_until(&self, now: Now, question: &Question) -> Monotonic {
        self.held(now, question).map_or(now.monotonic, |held| held.until)
    }
}

#[derive(Debug)]
struct Held<V> {
    value: V,
    until: Monotonic,
    /// Ties the entry to its place in the line; a place whose number differs is void.
    number: u64,
}

/// Things by question with an end, at most so many; the one put first goes first.
#[derive(Debug)]
struct Shelf<V> {
    held: HashMap<Question, Held<V>, Keyed>,
    line: VecDeque<(Question, u64)>,
    next_number: u64,
    max: usize,
}

impl<V> Shelf<V> {
    fn new(key: [u64; 2], max: usize) -> Self {
        let held = HashMap::with_hasher(Keyed(key));
        Self { held, line: VecDeque::new(), next_number: 0, max }
    }

    fn find(&self, now: Now, question: &Question) -> Option<&Held<V>> {
        self.held.get(question).filter(|held| now.monotonic < held.until)
    }

    fn put(&mut self, question: &Question, until: Monotonic, value: V) {
        if let Some(held) = self.held.get_mut(question) {
            held.value = value;
            held.until = until;
            return;
        }
        while self.held.len() >= self.max && self.drop_first() {}
        self.compact();
        let number = self.next_number;
        self.next_number += 1;
        self.line.push_back((question.clone(), number));
        self.held.insert(question.clone(), Held { value, until, number });
        assert!(self.held.len() <= self.line.len(), "everything held stands in the line");
    }

    /// Drops what was put first; `false` if there is nothing.
    fn drop_first(&mut self) -> bool {
        while let Some((question, number)) = self.line.pop_front() {
            if self.held.get(&question).is_some_and(|held| held.number == number) {
                self.held.remove(&question);
                return true;
            }
        }
        false
    }

    fn remove(&mut self, question: &Question) {
        self.held.remove(question);
    }

    /// Drops what has ended from the head of the line, then tells whether there is no room left.
    fn is_full(&mut self, now: Now) -> bool {
        while let Some((question, number)) = self.line.front() {
            match self.held.get(question) {
                Some(held) if held.number == *number && now.monotonic < held.until => break,
                Some(held) if held.number == *number => {
                    self.held.remove(question);
                }
                _ => {}
            }
            self.line.pop_front();
        }
        self.held.len() >= self.max
    }

    /// Removals leave void places; once they outnumber the room they are swept, which costs each
    /// put a constant on average.
    fn compact(&mut self) {
        if self.line.len() < self.max * 2 {
            return;
        }
        let held = &self.held;
        self.line.retain(|(question, number)| {
            held.get(question).is_some_and(|held| held.number == *number)
        });
    }
}

/// Peers choose the names, so the hash has a key they do not know.
#[derive(Clone, Copy, Debug)]
struct Keyed([u64; 2]);

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0[0], self.0[1])
    }
}

#[cfg(test)]
mod tests;
