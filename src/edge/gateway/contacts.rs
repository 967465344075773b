//! What is known of one user of ours and one contact.

use std::collections::BTreeMap;

use super::Gateway;
use super::authorisation::{Authorisation, Direction, Standing};
use super::slots::{Key, Slots};
use super::timers::{Due, TimerId};
use super::translate::Presence;
use crate::edge::Effects;
use crate::limits;
use crate::policy::XmppKind;
use crate::time::{Monotonic, Now};
use crate::xmpp::Jid;

/// One user of ours and one contact.
#[derive(Debug)]
pub(super) struct Contact {
    /// Our user's bare address.
    pub(super) ours: Jid<'static>,
    /// The contact's bare address.
    pub(super) theirs: Jid<'static>,
    pub(super) kind: XmppKind,
    /// Whether our user may see the contact.
    pub(super) outward: Standing,
    /// Whether the contact may see our user.
    pub(super) inward: Standing,
    /// When the contact was last asked.
    pub(super) asked_at: Option<Monotonic>,
    /// The contact's resources as they were last told; only while somebody watches.
    pub(super) shown: Vec<Presence>,
    /// Dialogs by which our user watches.
    pub(super) watches: Vec<Key>,
    /// By which we watch our user for the contact.
    pub(super) subscription: Option<Key>,
    /// What the contact was last told of our user.
    pub(super) told: Vec<Presence>,
    /// The chat session, on the SIP side a dialog.
    pub(super) chat: Option<Key>,
    /// What was said lately.
    pub(super) talk: Option<Box<Talk>>,
    timer: Option<TimerId>,
}

// What [`limits::GATEWAY_CONTACTS_MAX`] counts on: the addresses' own text comes to it.
const _: () = assert!(size_of::<Contact>() <= 512);

/// What was said lately between the two.
#[derive(Clone, Debug, Default)]
pub(super) struct Talk {
    pub(super) thread: Option<String>,
    /// The resource that the contact wrote from, which answers go to.
    pub(super) resource: Option<String>,
    /// Whether the contact's client says who types (XEP-0085 section 5.1).
    pub(super) states: States,
    /// Whether our user has written, so that the contact may answer.
    pub(super) begun: Begun,
    /// Whether single messages are a chat to the contact.
    pub(super) chats: Chats,
    /// Whether a SIP peer was told that the contact types.
    pub(super) they_type: States,
    /// When our user no longer counts as typing.
    pub(super) typing: Option<TimerId>,
}

/// See [`Talk::states`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum States {
    #[default]
    Unknown,
    Understood,
}

/// See [`Talk::begun`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Begun {
    #[default]
    ByThem,
    ByUs,
}

/// See [`Talk::chats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Chats {
    #[default]
    No,
    Yes,
}

impl Contact {
    fn new(ours: Jid<'static>, theirs: Jid<'static>, kind: XmppKind) -> Self {
        Self {
            ours,
            theirs,
            kind,
            outward: Standing::None,
            inward: Standing::None,
            asked_at: None,
            shown: Vec::new(),
            watches: Vec::new(),
            subscription: None,
            told: Vec::new(),
            chat: None,
            talk: None,
            timer: None,
        }
    }

    /// Tells whether the contact may begin something: its partner's users may unasked, or our user
    /// has added him or written to him (lync-federation 7.4).
    pub(super) fn may_begin(&self) -> bool {
        let written = self.talk.as_ref().is_some_and(|talk| talk.begun == Begun::ByUs);
        self.kind.may_begin() || self.outward != Standing::None || written
    }

    /// Returns where answers go: the resource that wrote last, else the user.
    pub(super) fn address(&self) -> Jid<'_> {
        let resource = self.talk.as_ref().and_then(|talk| talk.resource.as_deref());
        let full = resource.and_then(|resource| self.theirs.with_resource(resource).ok());
        full.unwrap_or_else(|| self.theirs.bare())
    }

    fn is_needed(&self) -> bool {
        self.outward != Standing::None
            || self.inward != Standing::None
            || !self.watches.is_empty()
            || self.subscription.is_some()
            || self.chat.is_some()
            || self.talk.is_some()
    }
}

/// All contacts, found by their addresses.
#[derive(Debug)]
pub(super) struct Contacts {
    slots: Slots<Contact>,
    by_addresses: BTreeMap<Box<str>, Key>,
    /// How many each domain of a partner has.
    of_domain: BTreeMap<Box<str>, usize>,
}

impl Default for Contacts {
    fn default() -> Self {
        Self {
            slots: Slots::new(limits::GATEWAY_CONTACTS_MAX),
            by_addresses: BTreeMap::new(),
            of_domain: BTreeMap::new(),
        }
    }
}

fn addresses(ours: &Jid<'_>, theirs: &Jid<'_>) -> String {
    // No address has white space in it.
    format!("{} {}", ours.bare(), theirs.bare())
}

impl Contacts {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.slots.keys()
    }

    pub(super) fn get(&self, key: Key) -> Option<&Contact> {
        self.slots.get(key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Contact> {
        self.slots.get_mut(key)
    }

    pub(super) fn key(&self, ours: &Jid<'_>, theirs: &Jid<'_>) -> Option<Key> {
        self.by_addresses.get(&*addresses(ours, theirs)).copied()
    }

    pub(super) fn find(&self, ours: &Jid<'_>, theirs: &Jid<'_>) -> Option<&Contact> {
        self.slots.get(self.key(ours, theirs)?)
    }

    /// Returns the contact, made if need be. `None`: there are too many, in all or of the domain.
    fn reach(&mut self, ours: &Jid<'_>, theirs: &Jid<'_>, kind: XmppKind) -> Option<Key> {
        let name = addresses(ours, theirs);
        if let Some(key) = self.by_addresses.get(&*name).copied() {
            self.slots.get_mut(key)?.kind = kind;
            return Some(key);
        }
        let held = self.of_domain.get(theirs.domain()).copied().unwrap_or(0);
        if held >= limits::GATEWAY_CONTACTS_PER_DOMAIN_MAX {
            return None;
        }
        let (ours, theirs) = (ours.bare().into_owned(), theirs.bare().into_owned());
        let domain: Box<str> = theirs.domain().into();
        let key = self.slots.insert(Contact::new(ours, theirs, kind))?;
        self.by_addresses.insert(name.into(), key);
        *self.of_domain.entry(domain).or_default() += 1;
        Some(key)
    }

    fn remove(&mut self, key: Key) -> Option<Contact> {
        let contact = self.slots.remove(key)?;
        self.by_addresses.remove(&*addresses(&contact.ours, &contact.theirs));
        if let Some(held) = self.of_domain.get_mut(contact.theirs.domain()) {
            *held -= 1;
            if *held == 0 {
                self.of_domain.remove(contact.theirs.domain());
            }
        }
        Some(contact)
    }
}

impl Gateway {
    /// Returns the contact, made if need be. `None`: there are too many.
    pub(super) fn contact(
        &mut self,
        ours: &Jid<'_>,
        theirs: &Jid<'_>,
        kind: XmppKind,
    ) -> Option<Key> {
        let key = self.contacts.reach(ours, theirs, kind);
        self.counters.refused_by_limit += u64::from(key.is_none());
        key
    }

    /// Forgets a contact of which nothing is left.
    pub(super) fn tidy(&mut self, key: Key) {
        if self.contacts.get(key).is_some_and(|contact| !contact.is_needed())
            && let Some(contact) = self.contacts.remove(key)
        {
            self.timers.stop(contact.timer);
        }
    }

    /// Changes who may see whom, and has the store know of it.
    pub(super) fn authorise(
        &mut self,
        key: Key,
        direction: Direction,
        standing: Standing,
        effects: &mut Effects,
    ) {
        let Some(contact) = self.contacts.get_mut(key) else { return };
        let held = match direction {
            Direction::Outward => &mut contact.outward,
            Direction::Inward => &mut contact.inward,
        };
        if std::mem::replace(held, standing) == standing {
            return;
        }
        let (ours, theirs) = (contact.ours.to_string(), contact.theirs.to_string());
        match standing {
            Standing::None => self.counters.forgotten += 1,
            Standing::Asked | Standing::Granted => self.counters.remembered += 1,
        }
        let one = Authorisation { ours, theirs, direction, standing, version: 0 };
        let change = self.decided(one);
        effects.authorisations.push(change);
    }

    /// Takes in what the store has kept; subscriptions to our users are made anew one by one.
    pub(super) fn recall(&mut self, remembered: Vec<Authorisation>) {
        let count = remembered.len() as u64;
        let spread_ms = limits::GATEWAY_RECALL_MS.max(count * limits::GATEWAY_RECALL_EACH_MS);
        for authorisation in remembered {
            let Some((ours, theirs)) = authorisation.addresses() else { continue };
            self.recall_version(&authorisation);
            if authorisation.standing == Standing::None {
                continue;
            }
            // What its partner is shows when one of the two is heard of.
            let kind = self.kind_of(&theirs);
            let Some(key) = self.contacts.reach(&ours, &theirs, kind) else { continue };
            let after_ms = self.random() % spread_ms;
            let Some(contact) = self.contacts.get_mut(key) else { continue };
            match authorisation.direction {
                Direction::Outward => contact.outward = authorisation.standing,
                Direction::Inward => {
                    contact.inward = authorisation.standing;
                    let at = Monotonic::default().plus_ms(after_ms);
                    contact.timer = Some(self.timers.start(at, Due::Contact(key)));
                }
            }
        }
    }

    pub(super) fn kind_of(&self, theirs: &Jid<'_>) -> XmppKind {
        let key = self.snapshot.xmpp_key(&theirs.to_domain());
        let partner = key.and_then(|key| self.snapshot.xmpp_partner(key));
        partner.map_or_else(XmppKind::default, |partner| partner.kind)
    }

    /// Notes that something was said, by which answers find their way for a while.
    pub(super) fn talked(&mut self, now: Now, key: Key, said: impl FnOnce(&mut Talk)) {
        let idle_ms = u64::from(self.setup.chat_idle_s) * 1_000;
        let Some(contact) = self.contacts.get_mut(key) else { return };
        said(contact.talk.get_or_insert_default());
        let timer = self.timers.start_in(now, idle_ms, Due::Contact(key));
        let old = self.contacts.get_mut(key).and_then(|contact| contact.timer.replace(timer));
        self.timers.stop(old);
    }

    /// Nothing was said for long, or a subscription of before the restart is to be made anew.
    pub(super) fn contact_due(&mut self, now: Now, key: Key, effects: &mut Effects) {
        let Some(contact) = self.contacts.get_mut(key) else { return };
        contact.timer = None;
        if contact.chat.is_none() {
            contact.talk = None;
        }
        self.taken_due(now, key, effects);
        self.tidy(key);
    }
}
