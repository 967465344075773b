//! Presence of our users for contacts: the subscriber's side of SIP subscriptions (RFC 8048
//! sections 4.2 and 6, RFC 6665).
//!
//! ```text
//!  subscribe ──> Asking ── 2xx ──> Lasting ── before it expires ──> Asking (a refresh)
//!                  │ later               │ terminated, but still wanted
//!                  └──> Resting <────────┘ ── time ──> Asking, in a new dialog
//! ```

use super::authorisation::{Direction, Standing};
use super::dialog::{Dialog, Rest};
use super::slots::Key;
use super::timers::{Due, TimerId};
use super::translate::address::aor_of;
use super::translate::subscription::{SubscribeFailed, SubscriptionState, Termination};
use super::translate::{Presence, pidf};
use super::uac::{Answer, Purpose};
use super::{DialogOf, Gateway};
use crate::edge::{Effects, LegId};
use crate::limits;
use crate::sip::{HeaderName, Message, Method};
use crate::time::Now;

/// A dialog by which we watch one of our users for a contact.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) contact: Key,
    pub(super) dialog: Dialog,
    domain: String,
    phase: Phase,
    expires_s: u32,
    failures: u32,
    timer: Option<TimerId>,
}

// What [`limits::GATEWAY_SUBSCRIPTIONS_MAX`] counts on: the text of the dialog comes to it.
const _: () = assert!(size_of::<Subscription>() <= 512);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asking,
    Lasting,
    Resting,
    /// The contact does not want it any more.
    Ending,
}

/// What is written when a subscription is asked for.
const ACCEPT: &str = "Event: presence\r\n\
    Accept: application/pidf+xml, application/msrtc-event-categories+xml\r\n";

impl Gateway {
    /// Subscribes to one of our users for a contact, unless that is done already.
    pub(super) fn subscribe_to_sip(&mut self, now: Now, contact: Key, effects: &mut Effects) {
        let fresh = self.fresh_dialog(contact);
        let Some(held) = self.contacts.get_mut(contact) else { return };
        if held.subscription.is_some() {
            return;
        }
        let Some(dialog) = fresh else { return };
        // A tenth more than the time after which it is refreshed.
        let refresh_s = self.setup.subscription_refresh_s;
        let expires_s = refresh_s.saturating_add(refresh_s / 10);
        let tag = dialog.our_tag.clone();
        let subscription = Subscription {
            contact,
            dialog,
            domain: held.ours.domain().to_owned(),
            phase: Phase::Asking,
            expires_s,
            failures: 0,
            timer: None,
        };
        let Some(key) = self.subscriptions.insert(subscription) else {
            self.counters.refused_by_limit += 1;
            return;
        };
        held.subscription = Some(key);
        self.dialogs.insert(tag, DialogOf::Subscription(key));
        self.counters.subscriptions += 1;
        self.write_subscribe(now, key, effects);
    }

    fn fresh_dialog(&mut self, contact: Key) -> Option<Dialog> {
        let (tag, call_id) = (self.unguessable(), self.unguessable());
        let contact = self.contacts.get(contact)?;
        let (ours, theirs) = (aor_of(&contact.ours).ok()?, aor_of(&contact.theirs).ok()?);
        let call_id = format!("{call_id}@{}", self.setup.name);
        Some(Dialog::begin(call_id, tag, theirs, ours))
    }

    fn write_subscribe(&mut self, now: Now, key: Key, effects: &mut Effects) {
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        let Some(contact) = self.contacts.get(subscription.contact) else { return };
        let head = subscription.dialog.next();
        let (domain, expires_s) = (subscription.domain.clone(), subscription.expires_s);
        let ending = subscription.phase == Phase::Ending;
        let mut lines = self.own_lines(contact.kind, 1);
        let expires_s = if ending { 0 } else { expires_s };
        lines.push_str(&format!("{ACCEPT}Expires: {expires_s}\r\n"));
        let purpose = if ending { Purpose::Unsubscribe(key) } else { Purpose::Subscribe(key) };
        let rest = Rest { lines: &lines, body: None };
        self.ask(now, &domain, "SUBSCRIBE", head, rest, purpose, effects);
    }

    fn subscription_waits(&mut self, now: Now, key: Key, milliseconds: u64) {
        let timer = self.timers.start_in(now, milliseconds, Due::Subscription(key));
        let old = match self.subscriptions.get_mut(key) {
            Some(subscription) => subscription.timer.replace(timer),
            None => Some(timer),
        };
        self.timers.stop(old);
    }

    /// A subscription, or its refresh, was answered.
    pub(super) fn subscribe_answered(
        &mut self,
        now: Now,
        key: Key,
        answer: &Answer<'_>,
        effects: &mut Effects,
    ) {
        let jitter = self.random() % 1_000;
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        if subscription.phase == Phase::Ending {
            return;
        }
        if let Answer::Response(message) = answer
            && answer.is_success()
        {
            subscription.dialog.answered(message);
            subscription.phase = Phase::Lasting;
            let asked_s = subscription.expires_s;
            let granted_s = seconds(message, HeaderName::Expires).unwrap_or(asked_s);
            let wait_ms = refresh_ms(granted_s.min(asked_s), jitter);
            return self.subscription_waits(now, key, wait_ms);
        }
        match SubscribeFailed::of_status(answer.status()) {
            SubscribeFailed::ForGood => self.refused_by_user(now, key, effects),
            SubscribeFailed::TryAgain => {
                let Some(subscription) = self.subscriptions.get_mut(key) else { return };
                if let Answer::Response(message) = answer
                    && let Some(min_s) = seconds(message, HeaderName::MinExpires)
                {
                    let demanded_s = min_s.min(limits::GATEWAY_EXPIRES_S_MAX);
                    subscription.expires_s = subscription.expires_s.max(demanded_s);
                }
                // At once, but not for ever.
                let wait_ms = if subscription.failures < 2 { 0 } else { limits::GATEWAY_RETRY_MS };
                self.rest(now, key, wait_ms, effects);
            }
            SubscribeFailed::Later => self.rest(now, key, limits::GATEWAY_RETRY_MS, effects),
        }
    }

    /// Tries again later, in a dialog of its own.
    fn rest(&mut self, now: Now, key: Key, wait_ms: u64, effects: &mut Effects) {
        let jitter = self.random() % 1_000;
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        subscription.failures = subscription.failures.saturating_add(1);
        subscription.phase = Phase::Resting;
        let (failures, contact) = (subscription.failures, subscription.contact);
        let granted = self.contacts.get(contact).is_some_and(|c| c.inward == Standing::Granted);
        if !granted && failures >= limits::GATEWAY_SUBSCRIBE_TRIES_MAX {
            self.remove_subscription(key);
            // The contact's server asks again when he signs in.
            self.authorise(contact, Direction::Inward, Standing::None, effects);
            return self.tidy(contact);
        }
        let doubled = wait_ms.saturating_mul(1 << failures.min(8)) / 2;
        let wait_ms = doubled.min(limits::GATEWAY_RETRY_MS_MAX);
        self.subscription_waits(now, key, wait_ms + wait_ms * jitter / 4_000);
    }

    /// Our user, or his server, does not want to be seen by the contact.
    fn refused_by_user(&mut self, now: Now, key: Key, effects: &mut Effects) {
        let Some(subscription) = self.remove_subscription(key) else { return };
        let contact = subscription.contact;
        self.hide(now, contact, effects);
        self.authorise(contact, Direction::Inward, Standing::None, effects);
        self.say_subscription(now, contact, "unsubscribed", effects);
        self.tidy(contact);
    }

    pub(super) fn remove_subscription(&mut self, key: Key) -> Option<Subscription> {
        let subscription = self.subscriptions.remove(key)?;
        self.timers.stop(subscription.timer);
        self.dialogs.remove(&subscription.dialog.our_tag);
        if let Some(contact) = self.contacts.get_mut(subscription.contact)
            && contact.subscription == Some(key)
        {
            contact.subscription = None;
        }
        Some(subscription)
    }

    /// The end of a subscription was answered, or will not be: the contact hears of it.
    pub(super) fn unsubscribe_answered(&mut self, now: Now, key: Key, effects: &mut Effects) {
        let Some(subscription) = self.remove_subscription(key) else { return };
        self.say_subscription(now, subscription.contact, "unsubscribed", effects);
        self.tidy(subscription.contact);
    }

    /// Ends a subscription. `false`: there is none that has begun.
    pub(super) fn end_subscription(&mut self, now: Now, key: Key, effects: &mut Effects) -> bool {
        let Some(subscription) = self.subscriptions.get_mut(key) else { return false };
        if subscription.phase != Phase::Lasting {
            self.remove_subscription(key);
            return false;
        }
        subscription.phase = Phase::Ending;
        let old = subscription.timer.take();
        self.timers.stop(old);
        self.write_subscribe(now, key, effects);
        true
    }

    /// Ends a subscription because the gateway ends: its answer says nothing to anybody.
    pub(super) fn leave_subscription(&mut self, now: Now, key: Key, effects: &mut Effects) {
        let Some(mut subscription) = self.remove_subscription(key) else { return };
        let Some(contact) = self.contacts.get(subscription.contact) else { return };
        if subscription.phase != Phase::Lasting {
            return;
        }
        let lines = format!("{}{ACCEPT}Expires: 0\r\n", self.own_lines(contact.kind, 1));
        let (head, domain) = (subscription.dialog.next(), subscription.domain);
        let rest = Rest { lines: &lines, body: None };
        self.ask(now, &domain, "SUBSCRIBE", head, rest, Purpose::Nothing, effects);
    }

    /// A subscription is refreshed or tried again, or its NOTIFY has not come.
    pub(super) fn subscription_due(&mut self, now: Now, key: Key, effects: &mut Effects) {
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        subscription.timer = None;
        let contact = subscription.contact;
        match subscription.phase {
            Phase::Lasting => {
                self.counters.refreshes += 1;
                // Whoever is there no more must not be subscribed for for ever (RFC 8048 section
                // 7); the error that his server sends ends it.
                let asks = self.contacts.get(contact);
                if asks.is_some_and(|contact| contact.outward == Standing::Granted) {
                    self.probe_contact(now, contact, effects);
                }
                if let Some(subscription) = self.subscriptions.get_mut(key) {
                    subscription.phase = Phase::Asking;
                }
                self.write_subscribe(now, key, effects);
            }
            Phase::Resting => {
                let Some(dialog) = self.fresh_dialog(contact) else { return };
                let Some(subscription) = self.subscriptions.get_mut(key) else { return };
                let old = std::mem::replace(&mut subscription.dialog, dialog);
                subscription.phase = Phase::Asking;
                let tag = subscription.dialog.our_tag.clone();
                self.dialogs.remove(&old.our_tag);
                self.dialogs.insert(tag, DialogOf::Subscription(key));
                self.write_subscribe(now, key, effects);
            }
            Phase::Asking | Phase::Ending => {}
        }
    }

    /// A NOTIFY about one of our users.
    pub(super) fn notified(
        &mut self,
        now: Now,
        leg: LegId,
        key: Key,
        message: &Message<'_>,
        effects: &mut Effects,
    ) {
        let state = message.first(HeaderName::SubscriptionState);
        let state = state.and_then(|field| SubscriptionState::read(field.value));
        // Nobody answers a BENOTIFY.
        if message.method() == Some(Method::Notify) {
            let (status, reason) = match state {
                Some(_) => (200, "OK"),
                None => (400, "Missing Subscription-State"),
            };
            self.reply(leg, message, status, reason, "", effects);
        }
        let Some(state) = state else { return };
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        let (contact, phase) = (subscription.contact, subscription.phase);
        let presences = self.presences_of(message);
        let shows = !matches!(state, SubscriptionState::Pending) && phase != Phase::Ending;
        if matches!(state, SubscriptionState::Active { .. }) && phase != Phase::Ending {
            if let Some(subscription) = self.subscriptions.get_mut(key) {
                subscription.failures = 0;
            }
            self.visible(now, contact, effects);
        }
        if shows && let Some(presences) = presences {
            self.show_to_contact(now, contact, presences, effects);
        }
        match state {
            SubscriptionState::Active { .. } | SubscriptionState::Pending => {}
            SubscriptionState::Terminated(_) if phase == Phase::Ending => {}
            SubscriptionState::Terminated(why) => self.terminated(now, key, why, effects),
        }
    }

    fn terminated(&mut self, now: Now, key: Key, why: Termination, effects: &mut Effects) {
        match why {
            Termination::Rejected | Termination::NoResource => {
                self.refused_by_user(now, key, effects);
            }
            Termination::Resubscribe => self.rest(now, key, 1_000, effects),
            Termination::ResubscribeLater { retry_after_s } => {
                let after_s = retry_after_s.map_or(limits::GATEWAY_RETRY_MS / 1_000, u64::from);
                let after_ms = (after_s * 1_000).clamp(1_000, limits::GATEWAY_RETRY_MS_MAX);
                self.rest(now, key, after_ms, effects);
            }
        }
    }

    fn presences_of(&mut self, message: &Message<'_>) -> Option<Vec<Presence>> {
        if message.body().is_empty() {
            return None;
        }
        let read = match pidf::read(message.body()) {
            Some(read) => Some((read.value, read.losses)),
            None => {
                pidf::read_categories(message.body()).map(|read| (vec![read.value], read.losses))
            }
        };
        match read {
            Some((presences, losses)) => {
                self.count(losses);
                Some(presences)
            }
            None => {
                self.counters.refused_content += 1;
                None
            }
        }
    }
}

fn seconds(message: &Message<'_>, name: HeaderName) -> Option<u32> {
    let field = message.first(name)?;
    std::str::from_utf8(field.value).ok()?.trim().parse().ok()
}

/// Returns how long a subscription is left alone: ten elevenths of its time, a little less for
/// each so that those that began together do not stay together.
const fn refresh_ms(granted_s: u32, jitter: u64) -> u64 {
    let granted_ms = if granted_s < limits::GATEWAY_SUBSCRIPTION_S_MIN {
        limits::GATEWAY_SUBSCRIPTION_S_MIN as u64 * 1_000
    } else {
        granted_s as u64 * 1_000
    };
    let whole = granted_ms * 10 / 11;
    whole - whole / 20 * jitter / 1_000
}
