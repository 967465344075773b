//! Presence stanzas of contacts: subscriptions, probes, and how they are.

use super::authorisation::{Direction, Standing};
use super::links::Tag;
use super::slots::Key;
use super::stanzas::Sender;
use super::translate::Presence;
use super::translate::fault::read_error;
use super::translate::presence::{Availability, Notes};
use super::watch::presence;
use super::{Gateway, notify};
use crate::edge::Effects;
use crate::limits;
use crate::time::Now;
use crate::xmpp::{Node, ReceivedStanzaError, Stanza, StanzaError};

impl Gateway {
    /// A contact's presence, or what he says of who may see whom.
    pub(super) fn presence_from_xmpp(
        &mut self,
        now: Now,
        stanza: &Node,
        sender: &Sender,
        effects: &mut Effects,
    ) {
        if sender.to.local().is_none() || sender.from.local().is_none() {
            self.counters.dropped += 1;
            return;
        }
        let known = self.contacts.key(&sender.to, &sender.from);
        if let Some(contact) = known.and_then(|key| self.contacts.get_mut(key)) {
            contact.kind = sender.partner;
        }
        match (stanza.attribute("type"), known) {
            (Some("subscribe"), _) => self.subscribe_asked(now, sender, effects),
            (Some("unsubscribe"), _) => self.unsubscribe_asked(now, sender, known, effects),
            (Some("probe"), _) => self.probed(now, sender, known, effects),
            (Some("subscribed"), Some(key)) => {
                let asked = self.contacts.get(key).is_some_and(|c| c.outward != Standing::None);
                if asked {
                    self.granted(now, key, effects);
                }
            }
            (Some("unsubscribed"), Some(key)) => self.denied(now, key, effects),
            (Some("error"), Some(key)) => {
                if let Some(error) = read_error(stanza) {
                    self.asking_failed(now, key, &error, effects);
                    self.contact_gone(now, key, &error, effects);
                }
            }
            (None | Some("unavailable"), Some(key)) => {
                let sees = self.contacts.get(key).is_some_and(|contact| {
                    contact.outward == Standing::Granted && !contact.watches.is_empty()
                });
                match Presence::of_stanza(stanza).filter(|_| sees) {
                    Some(read) => {
                        self.count(read.losses);
                        self.shown(now, key, read.value, effects);
                    }
                    None => self.counters.dropped += 1,
                }
            }
            _ => self.counters.dropped += 1,
        }
    }

    /// Tells the sender of presence why it failed, where that is told at all (RFC 6121 section
    /// 8.5.1).
    fn refuse_presence(
        &mut self,
        now: Now,
        sender: &Sender,
        condition: StanzaError,
        effects: &mut Effects,
    ) {
        let stanza = self.error_stanza(Stanza::Presence, sender, &condition.into());
        let (from, to) = (sender.to.clone(), sender.from.clone());
        self.send(now, &from, &to, &stanza, Tag::Nothing, effects);
    }

    fn answer_presence(&mut self, now: Now, sender: &Sender, kind: &str, effects: &mut Effects) {
        let (from, to) = (sender.to.clone(), sender.from.bare().into_owned());
        let stanza = presence(&from, &to, kind);
        self.send(now, &from, &to, &stanza, Tag::Nothing, effects);
    }

    /// Says something about the contact's subscription to our user.
    pub(super) fn say_subscription(
        &mut self,
        now: Now,
        key: Key,
        kind: &str,
        effects: &mut Effects,
    ) {
        let Some(contact) = self.contacts.get(key) else { return };
        let (from, to) = (contact.ours.clone(), contact.theirs.clone());
        let stanza = presence(&from, &to, kind);
        self.counters.presence_to_xmpp += 1;
        self.send(now, &from, &to, &stanza, Tag::Nothing, effects);
    }

    /// A contact wants to see one of our users.
    fn subscribe_asked(&mut self, now: Now, sender: &Sender, effects: &mut Effects) {
        if sender.hops > limits::GATEWAY_HOPS_MAX {
            self.counters.refused_loop += 1;
            return self.refuse_presence(now, sender, StanzaError::NotAcceptable, effects);
        }
        if self.next_hop(sender.to.domain()).is_none() {
            return self.refuse_presence(now, sender, StanzaError::RemoteServerNotFound, effects);
        }
        let known = self.contacts.find(&sender.to, &sender.from);
        let added = known.is_some_and(|contact| contact.outward != Standing::None);
        if !sender.partner.may_begin() && !added {
            self.counters.refused_unasked += 1;
            return self.answer_presence(now, sender, "unsubscribed", effects);
        }
        let contact = self.contact(&sender.to, &sender.from, sender.partner);
        let Some(key) = contact.filter(|_| !self.subscriptions.is_full()) else {
            return self.refuse_presence(now, sender, StanzaError::ResourceConstraint, effects);
        };
        let inward = self.contacts.get(key).map(|contact| contact.inward);
        if inward == Some(Standing::Granted) {
            // It need not be asked again (RFC 6121 section 3.1.3).
            self.answer_presence(now, sender, "subscribed", effects);
            self.tell_all(now, key, effects);
        } else {
            self.authorise(key, Direction::Inward, Standing::Asked, effects);
        }
        self.subscribe_to_sip(now, key, effects);
    }

    /// A contact does not want to see one of our users any more.
    fn unsubscribe_asked(
        &mut self,
        now: Now,
        sender: &Sender,
        known: Option<Key>,
        effects: &mut Effects,
    ) {
        let ends = known.is_some_and(|key| self.forget_inward(now, key, effects));
        if !ends {
            self.answer_presence(now, sender, "unsubscribed", effects);
        }
        if let Some(key) = known {
            self.tidy(key);
        }
    }

    /// Ends what a contact sees of our user. `true`: it is told when the SIP side has answered.
    fn forget_inward(&mut self, now: Now, key: Key, effects: &mut Effects) -> bool {
        self.hide(now, key, effects);
        self.authorise(key, Direction::Inward, Standing::None, effects);
        let subscription = self.contacts.get(key).and_then(|contact| contact.subscription);
        subscription.is_some_and(|key| self.end_subscription(now, key, effects))
    }

    /// A contact who does not see our user any more is told that he is not there (RFC 6121 section
    /// 3.2.4): each resource that he was told of.
    pub(super) fn hide(&mut self, now: Now, key: Key, effects: &mut Effects) {
        let Some(contact) = self.contacts.get_mut(key) else { return };
        let told = std::mem::take(&mut contact.told);
        for presence in told {
            if presence.availability != Availability::Closed {
                self.tell_one(now, key, &Presence::closed(presence.resource), effects);
            }
        }
    }

    /// A contact's server asks how one of our users is.
    fn probed(&mut self, now: Now, sender: &Sender, known: Option<Key>, effects: &mut Effects) {
        self.counters.probes += 1;
        let standing = known.and_then(|key| Some((key, self.contacts.get(key)?.inward)));
        match standing {
            Some((key, Standing::Granted)) => {
                self.tell_all(now, key, effects);
                self.subscribe_to_sip(now, key, effects);
            }
            // Its answer comes when our user has decided.
            Some((_, Standing::Asked)) => {}
            _ => self.probed_by_stranger(now, sender, effects),
        }
    }

    /// A contact that nothing is known of. His server says by the probe that he may see our user
    /// (RFC 6121 section 4.3), which another gateway may have seen granted before it died: so he is
    /// subscribed for, and the SIP side decides.
    ///
    /// Of a stranger's contact only the history says whether he may, and it is not here; to answer
    /// `unsubscribed` would end at his server what our user may have granted. Nothing is said until
    /// our user watches him again.
    fn probed_by_stranger(&mut self, now: Now, sender: &Sender, effects: &mut Effects) {
        let known = self.contacts.find(&sender.to, &sender.from);
        let added = known.is_some_and(|contact| contact.outward != Standing::None);
        let has_way = self.next_hop(sender.to.domain()).is_some();
        if !(sender.partner.may_begin() || added) || !has_way {
            self.counters.refused_unasked += 1;
            return;
        }
        if let Some(key) = self.contact(&sender.to, &sender.from, sender.partner) {
            self.subscribe_to_sip(now, key, effects);
            self.tidy(key);
        }
    }

    /// Our user lets the contact see him.
    pub(super) fn visible(&mut self, now: Now, key: Key, effects: &mut Effects) {
        let Some(contact) = self.contacts.get(key) else { return };
        let before = contact.inward;
        if before == Standing::Granted {
            return;
        }
        self.authorise(key, Direction::Inward, Standing::Granted, effects);
        if before == Standing::Asked {
            self.say_subscription(now, key, "subscribed", effects);
        }
    }

    /// Tells the contact how our user is: what has changed, and which resources are gone.
    pub(super) fn show_to_contact(
        &mut self,
        now: Now,
        key: Key,
        presences: Vec<Presence>,
        effects: &mut Effects,
    ) {
        let Some(contact) = self.contacts.get_mut(key) else { return };
        let before = std::mem::take(&mut contact.told);
        let has =
            |presence: &Presence| presences.iter().any(|other| other.resource == presence.resource);
        let gone = before
            .iter()
            .filter(|presence| presence.availability != Availability::Closed && !has(presence));
        let mut news: Vec<Presence> =
            gone.map(|presence| Presence::closed(presence.resource.clone())).collect();
        news.extend(presences.iter().filter(|presence| !before.contains(presence)).cloned());
        if presences.is_empty() && before.is_empty() {
            news.push(Presence::closed(None));
        }
        contact.told = presences;
        for presence in news {
            self.tell_one(now, key, &presence, effects);
        }
    }

    /// Tells the contact all that is known of our user.
    fn tell_all(&mut self, now: Now, key: Key, effects: &mut Effects) {
        let told = self.contacts.get(key).map(|contact| contact.told.clone());
        for presence in told.unwrap_or_default() {
            self.tell_one(now, key, &presence, effects);
        }
    }

    fn tell_one(&mut self, now: Now, key: Key, presence: &Presence, effects: &mut Effects) {
        let Some(contact) = self.contacts.get(key) else { return };
        let (from, to) = (contact.ours.clone(), contact.theirs.clone());
        let stanza = presence.to_stanza(&from, &to, Notes::of(contact.kind));
        self.count(stanza.losses);
        self.counters.presence_to_xmpp += 1;
        self.send(now, &from, &to, &stanza.value, Tag::Nothing, effects);
    }

    /// A contact's server says that he is no more, or an edge that his server is not reached, which
    /// changes nothing of what was granted: it may be back tomorrow.
    pub(super) fn contact_gone(
        &mut self,
        now: Now,
        key: Key,
        error: &ReceivedStanzaError,
        effects: &mut Effects,
    ) {
        let gone = matches!(error.condition, StanzaError::Gone | StanzaError::ItemNotFound);
        if self.contacts.get(key).is_none() {
            return;
        }
        if gone {
            self.forget_inward(now, key, effects);
        }
        if notify::is_for_good(error.condition) {
            self.shown(now, key, Presence::closed(None), effects);
        }
        self.tidy(key);
    }
}
