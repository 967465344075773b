//! Taking over the pairs of domains of a gateway that is gone, and giving back those of one that
//! has returned.
//!
//! Edges tell when the gateways that are linked with them change. Whoever has got a pair subscribes
//! to its users for the contacts that may see them, spread over time as after a restart. Whoever
//! has lost one waits a moment, in which the other one learns what it missed, and then ends its own
//! subscriptions without a word to the contacts, and the watches of SIP users with `deactivated`:
//! they subscribe again at once, at the other one. For that moment contacts may be told twice.
//! Chats go on where they are until nobody writes.

use std::collections::BTreeMap;

use super::Gateway;
use super::authorisation::{Direction, Standing};
use super::siblings::Whose;
use super::slots::Key;
use super::timers::Due;
use super::watch::Ending;
use crate::dns::Domain;
use crate::edge::Effects;
use crate::limits;
use crate::time::{Monotonic, Now};
use crate::xmpp::Jid;

/// What a change of the linked gateways leads to.
#[derive(Debug, Default)]
pub(super) struct Turn {
    take_at: Option<Monotonic>,
    give_at: Option<Monotonic>,
    /// Contacts of pairs that another gateway has.
    giving: Vec<Key>,
}

impl Gateway {
    /// The edges see other gateways than before.
    pub(super) fn gateways_changed(&mut self, now: Now) {
        if self.replicas.is_alone() {
            return;
        }
        self.turn.take_at = Some(now.monotonic);
        self.turn.give_at = Some(now.monotonic.plus_ms(limits::GATEWAY_GIVE_BACK_MS));
        self.chores_at = now.monotonic;
    }

    /// Does what is due after a change.
    pub(super) fn take_and_give(&mut self, now: Now, effects: &mut Effects) {
        let due = |at: Option<Monotonic>| at.is_some_and(|at| at <= now.monotonic);
        if due(self.turn.take_at) && !self.is_draining() {
            self.turn.take_at = None;
            self.take_pairs(now);
        }
        if due(self.turn.give_at) {
            self.turn.give_at = None;
            self.turn.giving = self.contacts_of(|whose| matches!(whose, Whose::Other(_)));
        }
        for _ in 0..limits::GATEWAY_ENDINGS_PER_CHORE_MAX {
            let Some(key) = self.turn.giving.pop() else { return };
            self.give_back(now, key, effects);
        }
    }

    /// Returns the contacts of pairs that a gateway has. A walk over all of them; each pair of
    /// domains is reckoned once.
    fn contacts_of(&self, is_wanted: impl Fn(Whose) -> bool) -> Vec<Key> {
        let mut pairs: BTreeMap<(String, String), bool> = BTreeMap::new();
        let mut wanted = Vec::new();
        for key in self.contacts.keys() {
            let Some(contact) = self.contacts.get(key) else { continue };
            let pair = (contact.ours.domain().to_owned(), contact.theirs.domain().to_owned());
            let is_wanted =
                || is_wanted(self.whose(&contact.ours.to_domain(), &contact.theirs.to_domain()));
            if *pairs.entry(pair).or_insert_with(is_wanted) {
                wanted.push(key);
            }
        }
        wanted
    }

    fn take_pairs(&mut self, now: Now) {
        let lacks = |key: &Key| {
            self.contacts.get(*key).is_some_and(|contact| {
                contact.inward != Standing::None && contact.subscription.is_none()
            })
        };
        let mut taken = self.contacts_of(|whose| whose == Whose::Ours);
        taken.retain(lacks);
        let each_ms = taken.len() as u64 * limits::GATEWAY_RECALL_EACH_MS;
        let spread_ms = limits::GATEWAY_RECALL_MS.max(each_ms);
        for key in taken {
            let after_ms = self.random() % spread_ms;
            self.timers.start_in(now, after_ms, Due::Taken(key));
        }
    }

    /// Subscribes for a contact whose pair this gateway has, if it has not been done meanwhile.
    pub(super) fn taken_due(&mut self, now: Now, key: Key, effects: &mut Effects) {
        let Some(contact) = self.contacts.get(key) else { return };
        let lacks = contact.inward != Standing::None && contact.subscription.is_none();
        let (ours, theirs) = (contact.ours.to_domain(), contact.theirs.to_domain());
        if lacks && !self.is_draining() && self.whose(&ours, &theirs) == Whose::Ours {
            self.subscribe_to_sip(now, key, effects);
        }
    }

    fn give_back(&mut self, now: Now, key: Key, effects: &mut Effects) {
        let Some(contact) = self.contacts.get(key) else { return };
        let (ours, theirs) = (contact.ours.to_domain(), contact.theirs.to_domain());
        if !matches!(self.whose(&ours, &theirs), Whose::Other(_)) {
            return;
        }
        let (subscription, watches) = (contact.subscription, contact.watches.clone());
        self.counters.given_back += u64::from(subscription.is_some() || !watches.is_empty());
        if let Some(subscription) = subscription {
            // The contact is told nothing: he still may see our user.
            self.leave_subscription(now, subscription, effects);
        }
        for watch in watches {
            self.end_watch(now, watch, Ending::Deactivated, effects);
        }
        if let Some(contact) = self.contacts.get_mut(key) {
            contact.told = Vec::new();
        }
        self.tidy(key);
    }

    /// Another gateway has told of a decision: what is known of the contact follows it, and what is
    /// subscribed to, where the pair is ours.
    pub(super) fn replicate(
        &mut self,
        now: Now,
        (ours, theirs): (&Jid<'_>, &Jid<'_>),
        direction: Direction,
        standing: Standing,
        effects: &mut Effects,
    ) {
        let known = self.contacts.key(ours, theirs);
        if known.is_none() && standing == Standing::None {
            return;
        }
        let kind = self.kind_of(theirs);
        let Some(key) = known.or_else(|| self.contact(ours, theirs, kind)) else { return };
        let Some(contact) = self.contacts.get_mut(key) else { return };
        match direction {
            Direction::Outward => contact.outward = standing,
            Direction::Inward => contact.inward = standing,
        }
        let subscription = contact.subscription;
        let has_it = self.has_pair(&ours.to_domain(), &theirs.to_domain());
        match (direction, standing, subscription) {
            (Direction::Inward, Standing::None, Some(subscription)) => {
                self.leave_subscription(now, subscription, effects);
            }
            (Direction::Inward, Standing::Asked | Standing::Granted, None) if has_it => {
                let after_ms = self.random() % limits::GATEWAY_RECALL_MS;
                self.timers.start_in(now, after_ms, Due::Taken(key));
            }
            _ => {}
        }
        self.tidy(key);
    }

    fn has_pair(&self, ours: &Domain, theirs: &Domain) -> bool {
        self.whose(ours, theirs) == Whose::Ours
    }
}
