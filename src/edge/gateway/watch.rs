//! Presence of contacts for our users: the notifier's side of SIP subscriptions (RFC 8048 sections
//! 4.3 and 5, RFC 6665).
//!
//! ```text
//!  SUBSCRIBE ──> Pending ── subscribed ──> Active ── expiry, Expires: 0, unsubscribed ──> gone
//!  SUBSCRIBE with Expires: 0 ──> Polled ── what is known, or a moment later ──> gone
//! ```

use super::authorisation::{Direction, Standing};
use super::dialog::{Dialog, record_route_lines};
use super::judge::{Parties, Refused, hops_node};
use super::links::Tag;
use super::notify::Notifying;
use super::server::{Answering, copied};
use super::slots::Key;
use super::timers::{Due, TimerId};
use super::{DialogOf, Gateway};
use crate::edge::{Effects, LegId};
use crate::limits;
use crate::sip::{HeaderName, Message};
use crate::time::{Monotonic, Now};
use crate::xmpp::{Jid, Node, Stanza};

/// A dialog by which one of our users watches a contact.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) contact: Key,
    pub(super) dialog: Dialog,
    pub(super) domain: String,
    pub(super) phase: Phase,
    pub(super) expires_at: Monotonic,
    pub(super) notifying: Notifying,
    timer: Option<TimerId>,
}

// What [`limits::GATEWAY_WATCHES_MAX`] counts on: the text of the dialog comes to it.
const _: () = assert!(size_of::<Watch>() <= 512);

/// How far a dialog has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The contact has not decided.
    Pending,
    /// The contact lets himself be seen.
    Active,
    /// Only what is so at present was asked for.
    Polled,
}

/// Why a subscription to a contact ends, as Subscription-State says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Its time is over.
    Timeout,
    /// The contact does not want it.
    Rejected,
    /// There is no such contact.
    NoResource,
    /// It could not be asked; later.
    GiveUp,
    /// The gateway ends; another one, or the next start, takes over at once.
    Deactivated,
}

impl Ending {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Rejected => "rejected",
            Self::NoResource => "noresource",
            Self::GiveUp => "giveup;retry-after=300",
            Self::Deactivated => "deactivated",
        }
    }
}

/// What a SUBSCRIBE asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Lasting { expires_s: u32 },
    Poll,
}

/// Reads what a SUBSCRIBE asks for.
fn wanted(message: &Message<'_>) -> Result<Wanted, (Refused, String)> {
    let event = message.first(HeaderName::Event).map_or(&b""[..], |field| field.value);
    let package = event.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if !package.eq_ignore_ascii_case(b"presence") {
        let refused = Refused::new(489, "Bad Event", "only presence may be subscribed to");
        return Err((refused, "Allow-Events: presence\r\n".to_owned()));
    }
    if !accepts_pidf(message) {
        let refused = Refused::new(406, "Not Acceptable", "application/pidf+xml is not accepted");
        return Err((refused, String::new()));
    }
    let expires = message.first(HeaderName::Expires);
    let expires = expires.and_then(|field| std::str::from_utf8(field.value).ok());
    let expires: u32 = match expires {
        None => limits::GATEWAY_SUBSCRIPTION_DEFAULT_S,
        // RFC 3261 section 20.19: what cannot be read counts as the default.
        Some(text) => text.trim().parse().unwrap_or(limits::GATEWAY_SUBSCRIPTION_DEFAULT_S),
    };
    match expires {
        0 => Ok(Wanted::Poll),
        1..limits::GATEWAY_SUBSCRIPTION_S_MIN => {
            let refused = Refused::new(423, "Interval Too Brief", "the subscription is too short");
            let min = limits::GATEWAY_SUBSCRIPTION_S_MIN;
            Err((refused, format!("Min-Expires: {min}\r\n")))
        }
        _ => Ok(Wanted::Lasting { expires_s: expires.min(limits::GATEWAY_SUBSCRIPTION_S_MAX) }),
    }
}

/// RFC 3856 section 6.5: without Accept it is PIDF that is accepted.
fn accepts_pidf(message: &Message<'_>) -> bool {
    let mut fields = message.fields().filter(|f| f.name_text.eq_ignore_ascii_case(b"Accept"));
    let lists = |value: &[u8]| {
        value.split(|byte| *byte == b',').any(|one| {
            let name = one.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            [&b"application/pidf+xml"[..], b"application/*", b"*/*"]
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
        })
    };
    let mut any = false;
    let found = fields.any(|field| {
        any = true;
        lists(field.value)
    });
    found || !any
}

impl Gateway {
    /// One of our users subscribes to a contact.
    pub(super) fn subscribed_by_sip(
        &mut self,
        now: Now,
        leg: LegId,
        message: &Message<'_>,
        effects: &mut Effects,
    ) {
        let wanted = match wanted(message) {
            Ok(wanted) => wanted,
            Err((refused, lines)) => {
                self.counters.refused_method += 1;
                return self.refuse(leg, message, &refused, &lines, effects);
            }
        };
        let parties = match self.parties(now, message) {
            Ok(parties) => parties,
            Err(refused) => return self.refuse(leg, message, &refused, "", effects),
        };
        if parties.theirs.local().is_none() || self.is_draining() {
            let refused = Refused::new(480, "Temporarily Unavailable", "no subscription now");
            return self.refuse(leg, message, &refused, "Retry-After: 30\r\n", effects);
        }
        let tag = self.unguessable();
        let Some(dialog) = Dialog::of_request(message, tag.clone()) else {
            self.counters.malformed += 1;
            return self.reply(leg, message, 400, "Bad Request", "", effects);
        };
        let Some(key) = self.put_watch(now, &parties, dialog, wanted) else {
            let refused = Refused::new(480, "Temporarily Unavailable", "too many subscriptions");
            return self.refuse(leg, message, &refused, "Retry-After: 300\r\n", effects);
        };
        self.counters.watches += 1;
        let lines = record_route_lines(message);
        self.accept(leg, message, (&tag, &lines), wanted, &parties, effects);
        self.begin_watch(now, key, &parties, effects);
    }

    fn accept(
        &mut self,
        leg: LegId,
        message: &Message<'_>,
        (tag, routes): (&str, &str),
        wanted: Wanted,
        parties: &Parties,
        effects: &mut Effects,
    ) {
        let expires_s = match wanted {
            Wanted::Lasting { expires_s } => expires_s,
            Wanted::Poll => 0,
        };
        let lines = format!(
            "{routes}{}Expires: {expires_s}\r\n{}",
            self.contact_line(),
            self.trust(parties.kind)
        );
        let copied = copied(message, tag);
        let answering = Answering { lines: &lines, body: None };
        self.write_answer(leg, &copied, (200, "OK"), answering, effects);
    }

    fn put_watch(
        &mut self,
        now: Now,
        parties: &Parties,
        dialog: Dialog,
        wanted: Wanted,
    ) -> Option<Key> {
        let key = self.contact(&parties.ours, &parties.theirs, parties.kind)?;
        let contact = self.contacts.get(key)?;
        if contact.watches.len() >= limits::GATEWAY_WATCHES_PER_CONTACT_MAX {
            self.counters.refused_by_limit += 1;
            self.tidy(key);
            return None;
        }
        let phase = match (wanted, contact.outward) {
            (Wanted::Poll, _) => Phase::Polled,
            (Wanted::Lasting { .. }, Standing::Granted) => Phase::Active,
            (Wanted::Lasting { .. }, _) => Phase::Pending,
        };
        let for_ms = match wanted {
            Wanted::Lasting { expires_s } => u64::from(expires_s) * 1_000,
            Wanted::Poll => limits::GATEWAY_POLL_MS,
        };
        let tag = dialog.our_tag.clone();
        let watch = Watch {
            contact: key,
            dialog,
            domain: parties.ours.domain().to_owned(),
            phase,
            expires_at: now.monotonic.plus_ms(for_ms),
            notifying: Notifying::Idle,
            timer: None,
        };
        let Some(watch) = self.watches.insert(watch) else {
            self.counters.refused_by_limit += 1;
            self.tidy(key);
            return None;
        };
        self.dialogs.insert(tag, DialogOf::Watch(watch));
        self.contacts.get_mut(key)?.watches.push(watch);
        self.watch_lasts(now, watch, for_ms);
        Some(watch)
    }

    fn watch_lasts(&mut self, now: Now, key: Key, for_ms: u64) {
        let timer = self.timers.start_in(now, for_ms, Due::Watch(key));
        let old = match self.watches.get_mut(key) {
            Some(watch) => {
                watch.expires_at = now.monotonic.plus_ms(for_ms);
                watch.timer.replace(timer)
            }
            None => Some(timer),
        };
        self.timers.stop(old);
    }

    /// Asks the contact whether he may be seen, or how he is, and says what is known.
    fn begin_watch(&mut self, now: Now, key: Key, parties: &Parties, effects: &mut Effects) {
        let Some(watch) = self.watches.get(key) else { return };
        let (contact_key, phase) = (watch.contact, watch.phase);
        let Some(contact) = self.contacts.get(contact_key) else { return };
        let (outward, known) = (contact.outward, !contact.shown.is_empty());
        match (phase, outward) {
            (Phase::Polled, Standing::Granted) if !known => {
                // Answered when the contact's server has said something, or after a moment.
                self.probe_contact(now, contact_key, effects);
                return;
            }
            (Phase::Polled, _) => {
                return self.end_watch(now, key, Ending::Timeout, effects);
            }
            (_, Standing::Granted) => {
                if !known {
                    self.probe_contact(now, contact_key, effects);
                }
            }
            (_, Standing::None | Standing::Asked) => {
                self.ask_contact(now, contact_key, parties.hops, effects);
            }
        }
        self.notify(now, key, effects);
    }

    /// Asks the contact whether our user may see him; not again within a minute.
    fn ask_contact(&mut self, now: Now, key: Key, hops: u32, effects: &mut Effects) {
        let Some(contact) = self.contacts.get_mut(key) else { return };
        let asked = contact.asked_at.map(|at| now.monotonic.ms_since(at));
        if asked.is_some_and(|ms| ms < limits::GATEWAY_ASK_AGAIN_MS) {
            return;
        }
        contact.asked_at = Some(now.monotonic);
        let (ours, theirs) = (contact.ours.clone(), contact.theirs.clone());
        self.authorise(key, Direction::Outward, Standing::Asked, effects);
        let stanza = presence(&ours, &theirs, "subscribe").with_child(hops_node(hops));
        self.counters.presence_to_xmpp += 1;
        self.send(now, &ours, &theirs, &stanza, Tag::Ask(key), effects);
    }

    pub(super) fn probe_contact(&mut self, now: Now, key: Key, effects: &mut Effects) {
        let Some(contact) = self.contacts.get(key) else { return };
        let (ours, theirs) = (contact.ours.clone(), contact.theirs.clone());
        self.counters.probes += 1;
        let stanza = presence(&ours, &theirs, "probe");
        self.send(now, &ours, &theirs, &stanza, Tag::Probe(key), effects);
    }

    /// One of our users goes on watching, or ends it.
    pub(super) fn watch_refreshed(
        &mut self,
        now: Now,
        leg: LegId,
        key: Key,
        message: &Message<'_>,
        effects: &mut Effects,
    ) {
        let wanted = match wanted(message) {
            Ok(wanted) => wanted,
            Err((refused, lines)) => return self.refuse(leg, message, &refused, &lines, effects),
        };
        let Some(watch) = self.watches.get(key) else { return };
        let Some(contact) = self.contacts.get(watch.contact) else { return };
        let parties = Parties {
            ours: contact.ours.clone(),
            theirs: contact.theirs.clone(),
            kind: contact.kind,
            hops: 1,
        };
        self.accept(leg, message, ("", ""), wanted, &parties, effects);
        match wanted {
            Wanted::Lasting { expires_s } => {
                self.watch_lasts(now, key, u64::from(expires_s) * 1_000);
                self.notify(now, key, effects);
            }
            Wanted::Poll => {
                let contact = watch_contact(self, key);
                self.end_watch(now, key, Ending::Timeout, effects);
                if let Some(contact) = contact {
                    self.left(now, contact, effects);
                }
            }
        }
    }

    /// The last dialog of a user who watches a contact has ended in order: he has signed out, as
    /// far as the contact can tell, unless a subscription of the contact's tells otherwise (RFC
    /// 8048 section 4.3.3).
    fn left(&mut self, now: Now, key: Key, effects: &mut Effects) {
        let Some(contact) = self.contacts.get(key) else { return };
        let told_otherwise = contact.subscription.is_some() || !contact.watches.is_empty();
        if told_otherwise || contact.outward != Standing::Granted {
            return;
        }
        let (ours, theirs) = (contact.ours.clone(), contact.theirs.clone());
        let stanza = presence(&ours, &theirs, "unavailable");
        self.counters.presence_to_xmpp += 1;
        self.send(now, &ours, &theirs, &stanza, Tag::Nothing, effects);
    }

    /// Takes a watching dialog away; nothing is said about it.
    pub(super) fn remove_watch(&mut self, key: Key) -> Option<Watch> {
        let watch = self.watches.remove(key)?;
        self.timers.stop(watch.timer);
        self.dialogs.remove(&watch.dialog.our_tag);
        if let Some(contact) = self.contacts.get_mut(watch.contact) {
            contact.watches.retain(|other| *other != key);
            if contact.watches.is_empty() {
                contact.shown = Vec::new();
            }
        }
        self.tidy(watch.contact);
        Some(watch)
    }

    /// The time of a watching dialog is over.
    pub(super) fn watch_due(&mut self, now: Now, key: Key, effects: &mut Effects) {
        if let Some(watch) = self.watches.get_mut(key) {
            watch.timer = None;
            self.end_watch(now, key, Ending::Timeout, effects);
        }
    }
}

fn watch_contact(gateway: &Gateway, key: Key) -> Option<Key> {
    gateway.watches.get(key).map(|watch| watch.contact)
}

/// Returns a presence stanza about a subscription.
pub(super) fn presence(from: &Jid<'_>, to: &Jid<'_>, kind: &str) -> Node {
    Node::stanza(Stanza::Presence)
        .with("from", from.bare().to_string())
        .with("to", to.to_string())
        .with("type", kind)
}
