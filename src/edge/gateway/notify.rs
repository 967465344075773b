//! NOTIFY to our users: what a contact's presence is at present, one request at a time on each
//! dialog, so that a contact who changes often costs no more than our side takes.

use super::Gateway;
use super::authorisation::{Direction, Standing};
use super::dialog::Rest;
use super::slots::Key;
use super::translate::presence::{Availability, Notes};
use super::translate::{Presence, pidf};
use super::uac::{Answer, Local, Purpose};
use super::watch::{Ending, Phase};
use crate::edge::Effects;
use crate::limits;
use crate::time::Now;
use crate::xmpp::{ReceivedStanzaError, StanzaError};

/// Whether a NOTIFY is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notifying {
    Idle,
    OnWay,
    /// And what it says is out of date.
    OutOfDate,
    /// There was no room for it; it has its turn when there is.
    Starved,
}

impl Gateway {
    /// Tells a dialog how things are, now or when its last NOTIFY is answered.
    pub(super) fn notify(&mut self, now: Now, key: Key, effects: &mut Effects) {
        let Some(watch) = self.watches.get_mut(key) else { return };
        match watch.notifying {
            Notifying::Idle => watch.notifying = Notifying::OnWay,
            Notifying::OnWay => {
                watch.notifying = Notifying::OutOfDate;
                return;
            }
            Notifying::OutOfDate | Notifying::Starved => return,
        }
        let left_s = watch.expires_at.ms_since(now.monotonic) / 1_000;
        let state = match watch.phase {
            Phase::Pending => format!("pending;expires={left_s}"),
            Phase::Active | Phase::Polled => format!("active;expires={left_s}"),
        };
        self.write_notify(now, key, &state, Purpose::Notify(key), effects);
    }

    fn write_notify(
        &mut self,
        now: Now,
        key: Key,
        state: &str,
        purpose: Purpose,
        effects: &mut Effects,
    ) {
        let Some(watch) = self.watches.get_mut(key) else { return };
        let Some(contact) = self.contacts.get(watch.contact) else { return };
        let head = watch.dialog.next();
        let domain = watch.domain.clone();
        // Who may not see the contact learns nothing, and of nobody known nothing is said.
        let body = (contact.outward == Standing::Granted && !contact.shown.is_empty()).then(|| {
            let busy = self.setup.busy_as;
            let aor = &watch.dialog.our_uri;
            pidf::write_as(aor, &contact.shown, Notes::Shown, busy)
        });
        let mut lines = format!("{}{}", self.contact_line(), self.trust(contact.kind));
        lines.push_str(&format!("Event: presence\r\nSubscription-State: {state}\r\n"));
        if let Some(body) = &body {
            self.count(body.losses);
        }
        let body = body.as_ref().map(|body| (pidf::CONTENT_TYPE, &*body.value));
        self.counters.presence_to_sip += 1;
        self.ask(now, &domain, "NOTIFY", head, Rest { lines: &lines, body }, purpose, effects);
    }

    /// Ends a dialog with a last NOTIFY.
    pub(super) fn end_watch(&mut self, now: Now, key: Key, why: Ending, effects: &mut Effects) {
        let state = format!("terminated;reason={}", why.as_str());
        self.write_notify(now, key, &state, Purpose::Nothing, effects);
        self.remove_watch(key);
    }

    /// A NOTIFY was answered. Some answers mean that the dialog is over (RFC 6665 section 4.2.2).
    pub(super) fn notify_answered(
        &mut self,
        now: Now,
        key: Key,
        answer: &Answer<'_>,
        effects: &mut Effects,
    ) {
        let over = match answer {
            Answer::Local(Local::Timeout) => true,
            Answer::Local(_) => false,
            Answer::Response(_) => {
                matches!(answer.status(), 404 | 405 | 410 | 416 | 480..=485 | 489 | 501 | 604)
            }
        };
        if over {
            self.remove_watch(key);
            return;
        }
        let Some(watch) = self.watches.get_mut(key) else { return };
        if matches!(answer, Answer::Local(Local::Full)) {
            watch.notifying = Notifying::Starved;
            self.starved.push_back(key);
            return;
        }
        let again = watch.notifying == Notifying::OutOfDate;
        watch.notifying = Notifying::Idle;
        if again {
            self.notify(now, key, effects);
        }
    }

    /// Gives dialogs their turn whose NOTIFY found no room, in the order in which they came.
    pub(super) fn feed_starved(&mut self, now: Now, effects: &mut Effects) {
        let turn = self.starved.len().min(limits::GATEWAY_IN_FLIGHT_PER_DOMAIN_MAX);
        for _ in 0..turn {
            let Some(key) = self.starved.pop_front() else { return };
            let Some(watch) = self.watches.get_mut(key) else { continue };
            if watch.notifying == Notifying::Starved {
                watch.notifying = Notifying::Idle;
                self.notify(now, key, effects);
            }
        }
    }

    fn watches_of(&self, contact: Key) -> Vec<Key> {
        self.contacts.get(contact).map(|contact| contact.watches.clone()).unwrap_or_default()
    }

    /// A contact lets himself be seen.
    pub(super) fn granted(&mut self, now: Now, contact: Key, effects: &mut Effects) {
        self.authorise(contact, Direction::Outward, Standing::Granted, effects);
        for key in self.watches_of(contact) {
            if let Some(watch) = self.watches.get_mut(key)
                && watch.phase == Phase::Pending
            {
                watch.phase = Phase::Active;
                self.notify(now, key, effects);
            }
        }
    }

    /// A contact does not let himself be seen, or no more.
    pub(super) fn denied(&mut self, now: Now, contact: Key, effects: &mut Effects) {
        self.authorise(contact, Direction::Outward, Standing::None, effects);
        for key in self.watches_of(contact) {
            self.end_watch(now, key, Ending::Rejected, effects);
        }
        self.tidy(contact);
    }

    /// The question whether a contact may be seen did not get to him.
    pub(super) fn asking_failed(
        &mut self,
        now: Now,
        contact: Key,
        error: &ReceivedStanzaError,
        effects: &mut Effects,
    ) {
        let for_good = is_for_good(error.condition);
        let Some(held) = self.contacts.get_mut(contact) else { return };
        held.asked_at = None;
        if held.outward != Standing::Asked {
            return;
        }
        self.authorise(contact, Direction::Outward, Standing::None, effects);
        let why = if for_good { Ending::NoResource } else { Ending::GiveUp };
        for key in self.watches_of(contact) {
            self.end_watch(now, key, why, effects);
        }
        self.tidy(contact);
    }

    /// A contact's resource is there, or is no more.
    pub(super) fn shown(
        &mut self,
        now: Now,
        contact: Key,
        presence: Presence,
        effects: &mut Effects,
    ) {
        let Some(held) = self.contacts.get_mut(contact) else { return };
        merge(&mut held.shown, presence);
        for key in self.watches_of(contact) {
            match self.watches.get(key).map(|watch| watch.phase) {
                Some(Phase::Active) => self.notify(now, key, effects),
                Some(Phase::Polled) => self.end_watch(now, key, Ending::Timeout, effects),
                Some(Phase::Pending) | None => {}
            }
        }
    }
}

/// Tells whether an error says that there is nobody to ask.
pub(super) const fn is_for_good(condition: StanzaError) -> bool {
    matches!(
        condition,
        StanzaError::Forbidden
            | StanzaError::Gone
            | StanzaError::ItemNotFound
            | StanzaError::JidMalformed
            | StanzaError::NotAllowed
            | StanzaError::PolicyViolation
            | StanzaError::RemoteServerNotFound
            | StanzaError::ServiceUnavailable
    )
}

/// Puts a resource in its place among the others. Of those that are not there the last one is kept
/// if there is no other, since it says that the user is known not to be there.
pub(super) fn merge(known: &mut Vec<Presence>, presence: Presence) {
    let closed = presence.availability == Availability::Closed;
    if closed && presence.resource.is_none() {
        known.clear();
    }
    known.retain(|other| {
        other.resource != presence.resource && other.availability != Availability::Closed
    });
    if !closed || known.is_empty() {
        if known.len() >= limits::GATEWAY_RESOURCES_MAX {
            known.remove(0);
        }
        known.push(presence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::gateway::translate::presence::Show;

    fn at(resource: &str, availability: Availability) -> Presence {
        Presence { availability, ..Presence::closed(Some(resource.to_owned())) }
    }

    #[test]
    fn resources_come_and_go_one_by_one() {
        let open = Availability::Open(Show::Available);
        let mut known = Vec::new();
        merge(&mut known, at("a", open));
        merge(&mut known, at("b", open));
        merge(&mut known, at("a", Availability::Open(Show::Away)));
        assert_eq!(known, [at("b", open), at("a", Availability::Open(Show::Away))]);
        merge(&mut known, at("b", Availability::Closed));
        assert_eq!(known.len(), 1);
        merge(&mut known, at("a", Availability::Closed));
        assert_eq!(known, [at("a", Availability::Closed)], "known not to be there");
        merge(&mut known, at("c", open));
        assert_eq!(known, [at("c", open)]);
        merge(&mut known, Presence::closed(None));
        assert_eq!(known, [Presence::closed(None)], "no resource at all");
    }

    #[test]
    fn more_resources_than_a_document_lists_push_the_oldest_out() {
        let open = Availability::Open(Show::Available);
        let mut known = Vec::new();
        for n in 0..100 {
            merge(&mut known, at(&n.to_string(), open));
        }
        assert_eq!(known.len(), limits::GATEWAY_RESOURCES_MAX);
        assert_eq!(known.last(), Some(&at("99", open)));
    }
}
