//! What goes out for one domain pair: its queue, its stream, and its attempts to get one.

use std::collections::VecDeque;
use std::net::SocketAddr;

use hashbrown::{Equivalent, HashMap};

use crate::dns::{Domain, Question};
use crate::edge::{Class, LegId, OutletId};
use crate::limits;
use crate::policy::XmppPermit;
use crate::time::{Monotonic, Now};

/// A stanza that waits for a stream.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) report: Option<(LegId, u64)>,
    pub(super) bytes: Box<[u8]>,
    pub(super) deadline: Monotonic,
}

/// How the route stands to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Idle,
    Resolving(Question),
    Connecting(OutletId),
    /// A stream of ours, ready or not.
    Open(LegId),
}

/// One place to connect to.
#[derive(Clone, Debug)]
pub(super) struct Goal {
    pub(super) class: Class,
    pub(super) addresses: Vec<SocketAddr>,
}

/// Why the last attempts failed, which decides the stanza error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failing {
    No,
    /// The name leads nowhere.
    NotFound,
    /// It does, and no stream comes about there.
    Unreachable,
    /// We have no room.
    Exhausted,
}

/// Stanzas out between one domain of ours and one of a partner's.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) ours: Domain,
    pub(super) theirs: Domain,
    pub(super) permit: XmppPermit,
    pub(super) queue: VecDeque<Queued>,
    pub(super) queued_bytes: usize,
    pub(super) standing: Standing,
    /// A stream that the peer opened and that carries stanzas both ways.
    pub(super) bidi: Option<LegId>,
    /// Targets left to try in this round.
    pub(super) goals: VecDeque<Goal>,
    /// Rounds that failed in a row.
    pub(super) failures: u32,
    pub(super) failing: Failing,
    pub(super) rest_until: Monotonic,
    /// Until when the pace of failed rounds would have it rest.
    paced_until: Monotonic,
    /// A dialback claim waits to be verified by this route.
    pub(super) claims: usize,
}

impl Route {
    pub(super) fn is_wanted(&self) -> bool {
        !self.queue.is_empty() || self.claims > 0
    }

    /// The peer claims to be there, which is worth a round out of turn.
    pub(super) fn heard_of(&mut self) {
        self.rest_until = Monotonic::default();
    }

    /// Takes the round as failed; the wait until the next doubles, a half of it by chance. A round
    /// out of turn leaves the pace as it was: a peer that knocks while its name leads nowhere would
    /// otherwise have us rest for minutes after a second of it.
    pub(super) fn failed(&mut self, now: Now, why: Failing, random: u64) {
        self.failing = why;
        self.standing = Standing::Idle;
        self.goals.clear();
        if now.monotonic < self.paced_until {
            self.rest_until = self.paced_until;
            return;
        }
        let longest = limits::XMPP_REST_MS << self.failures.min(16);
        let longest = longest.min(limits::XMPP_REST_MS_MAX);
        let rest = longest / 2 + random % (longest / 2 + 1);
        self.failures = self.failures.saturating_add(1);
        self.paced_until = now.monotonic.plus_ms(rest);
        self.rest_until = self.paced_until;
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.failing = Failing::No;
        self.rest_until = Monotonic::default();
        self.paced_until = Monotonic::default();
        self.goals.clear();
    }
}

#[derive(Hash)]
struct PairRef<'a>(&'a str, &'a str);

impl Equivalent<(Domain, Domain)> for PairRef<'_> {
    fn equivalent(&self, (ours, theirs): &(Domain, Domain)) -> bool {
        self.0 == ours.as_str() && self.1 == theirs.as_str()
    }
}

/// All routes; walked in the order of their places.
#[derive(Debug, Default)]
pub(super) struct Routes {
    places: Vec<Option<Route>>,
    free: Vec<u32>,
    by_pair: HashMap<(Domain, Domain), u32, foldhash::quality::RandomState>,
    /// Bytes in all queues.
    pub(super) bytes: usize,
}

impl Routes {
    pub(super) fn find(&self, ours: &str, theirs: &str) -> Option<u32> {
        self.by_pair.get(&PairRef(ours, theirs)).copied()
    }

    pub(super) fn get(&self, at: u32) -> Option<&Route> {
        self.places.get(at as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut Route> {
        self.places.get_mut(at as usize)?.as_mut()
    }

    /// Finds the route of a pair, or makes it. `None`: there are too many.
    pub(super) fn reach(
        &mut self,
        ours: &Domain,
        theirs: &Domain,
        permit: XmppPermit,
    ) -> Option<u32> {
        if let Some(at) = self.find(ours.as_str(), theirs.as_str()) {
            return Some(at);
        }
        if self.by_pair.len() >= limits::XMPP_ROUTES_MAX {
            return None;
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        self.places[at as usize] = Some(Route {
            ours: ours.clone(),
            theirs: theirs.clone(),
            permit,
            queue: VecDeque::new(),
            queued_bytes: 0,
            standing: Standing::Idle,
            bidi: None,
            goals: VecDeque::new(),
            failures: 0,
            failing: Failing::No,
            rest_until: Monotonic::default(),
            paced_until: Monotonic::default(),
            claims: 0,
        });
        self.by_pair.insert((ours.clone(), theirs.clone()), at);
        Some(at)
    }

    pub(super) fn forget(&mut self, at: u32) {
        let Some(route) = self.places.get_mut(at as usize).and_then(Option::take) else { return };
        self.bytes -= route.queued_bytes;
        self.by_pair.remove(&(route.ours, route.theirs));
        self.free.push(at);
    }

    /// Puts a stanza into the queue: behind the others, or before them if it comes back.
    pub(super) fn queue(&mut self, at: u32, queued: Queued, place: Place) -> Result<(), Queued> {
        let total = self.bytes;
        let Some(route) = self.get_mut(at) else { return Err(queued) };
        let size = queued.bytes.len();
        // What comes back had its place before.
        let full = route.queue.len() >= limits::XMPP_QUEUE_STANZAS_MAX
            || (route.queued_bytes + size > limits::XMPP_QUEUE_BYTES_MAX
                && !route.queue.is_empty())
            || total + size > limits::XMPP_QUEUES_BYTES_MAX;
        if full && place == Place::Behind {
            return Err(queued);
        }
        route.queued_bytes += size;
        match place {
            Place::Behind => route.queue.push_back(queued),
            Place::Before => route.queue.push_front(queued),
        }
        self.bytes += size;
        Ok(())
    }

    pub(super) fn pop(&mut self, at: u32) -> Option<Queued> {
        let route = self.get_mut(at)?;
        let queued = route.queue.pop_front()?;
        route.queued_bytes -= queued.bytes.len();
        self.bytes -= queued.bytes.len();
        Some(queued)
    }

    /// Drops what a link that is gone has queued; its gateway sends it again by another.
    pub(super) fn drop_of_link(&mut self, link: LegId) {
        let mut dropped = 0;
        for route in self.places.iter_mut().flatten() {
            let of_link = |queued: &Queued| queued.report.is_some_and(|(leg, _)| leg == link);
            let bytes: usize =
                route.queue.iter().filter(|q| of_link(q)).map(|q| q.bytes.len()).sum();
            route.queue.retain(|queued| !of_link(queued));
            route.queued_bytes -= bytes;
            dropped += bytes;
        }
        self.bytes -= dropped;
    }

    pub(super) fn ids(&self) -> Vec<u32> {
        let taken = self.places.iter().zip(0..).filter(|(place, _)| place.is_some());
        taken.map(|(_, at)| at).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.by_pair.len()
    }

    pub(super) fn queued(&self) -> usize {
        self.places.iter().flatten().map(|route| route.queue.len()).sum()
    }
}

/// Where in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Behind,
    Before,
}
