//! Chat sessions as our users begin, use and end them.

use super::Gateway;
use super::chat::{Chat, Phase, offer_of};
use super::dialog::{Dialog, record_route_lines};
use super::judge::{Parties, Refused, hops_of_header};
use super::server::{Answering, copied};
use super::slots::Key;
use super::translate::content::first_text;
use super::translate::fault::Addressed;
use super::translate::message::{InstantMessage, OfSip, Setting};
use super::uas::ALLOW;
use crate::edge::{Effects, LegId};
use crate::limits;
use crate::sip::Message;
use crate::time::Now;

impl Gateway {
    /// One of our users begins a session. It is accepted at once: whether the contact is there, the
    /// messages in it will tell.
    pub(super) fn invited(
        &mut self,
        now: Now,
        leg: LegId,
        message: &Message<'_>,
        effects: &mut Effects,
    ) {
        let parties = match self.parties(now, message) {
            Ok(parties) => parties,
            Err(refused) => return self.refuse(leg, message, &refused, "", effects),
        };
        if self.is_draining() {
            let lines = "Retry-After: 30\r\n";
            return self.reply(leg, message, 503, "Service Unavailable", lines, effects);
        }
        let Some(offer) = offer_of(message.body()) else {
            self.counters.refused_content += 1;
            let sentence = "the session offers no messages";
            let refused = Refused::new(488, "Not Acceptable Here", sentence);
            return self.refuse(leg, message, &refused, "", effects);
        };
        let tag = self.unguessable();
        let Some(dialog) = Dialog::of_request(message, tag.clone()) else {
            self.counters.malformed += 1;
            return self.reply(leg, message, 400, "Bad Request", "", effects);
        };
        let domain = parties.ours.domain().to_owned();
        let contact = self.contact(&parties.ours, &parties.theirs, parties.kind);
        let chat = contact.map(|contact| {
            let mut chat = Chat::new(contact, dialog, domain, Phase::Accepted);
            chat.form = offer.form;
            chat
        });
        let Some(key) = chat.and_then(|chat| self.put_chat(now, chat)) else {
            let lines = "Retry-After: 30\r\n";
            return self.reply(leg, message, 503, "Service Unavailable", lines, effects);
        };
        self.counters.sessions_from_sip += 1;
        self.chat_waits(now, key, limits::TIMER_H_MS);
        let body = self.description(&offer.lines);
        let lines = format!(
            "{}{}{ALLOW}{}",
            record_route_lines(message),
            self.contact_line(),
            self.trust(parties.kind)
        );
        let copied = copied(message, &tag);
        let body = Some(("application/sdp", body.as_bytes()));
        let answering = Answering { lines: &lines, body };
        self.write_answer(leg, &copied, (200, "OK"), answering, effects);
        self.say_first_text(now, key, message, &parties, effects);
    }

    /// The words that Lync puts in the INVITE itself.
    fn say_first_text(
        &mut self,
        now: Now,
        key: Key,
        message: &Message<'_>,
        parties: &Parties,
        effects: &mut Effects,
    ) {
        let field = message.find("ms-text-format");
        let Some(first) = field.and_then(|field| first_text(field.value)) else { return };
        self.count(first.losses);
        if let Some(chat) = self.chats.get_mut(key) {
            chat.first_text = Some(first.value.plain.clone());
        }
        let words = InstantMessage { words: Some(first.value), ..InstantMessage::default() };
        let what = OfSip::Message(Box::new(words));
        self.hand_to_contact(now, parties, what, Setting::Session, None, effects);
    }

    /// The acceptance of a session is acknowledged.
    pub(super) fn acknowledged(&mut self, now: Now, tag: &[u8], message: &Message<'_>) {
        let tag = std::str::from_utf8(tag).unwrap_or_default();
        let Some(super::DialogOf::Chat(key)) = self.dialogs.get(tag).copied() else { return };
        let Some(chat) = self.chats.get_mut(key) else { return };
        if chat.phase == Phase::Accepted && chat.dialog.is_of(message) {
            chat.phase = Phase::Up;
            self.chat_used(now, key);
        }
    }

    /// A session is described anew: nothing changes.
    pub(super) fn invited_again(
        &mut self,
        leg: LegId,
        key: Key,
        message: &Message<'_>,
        effects: &mut Effects,
    ) {
        let Some(chat) = self.chats.get(key) else { return };
        let kind = self.contacts.get(chat.contact).map(|contact| contact.kind).unwrap_or_default();
        let body = match (message.body(), offer_of(message.body())) {
            (b"", _) => None,
            (_, Some(offer)) => Some(self.description(&offer.lines)),
            (_, None) => {
                return self.reply(leg, message, 488, "Not Acceptable Here", "", effects);
            }
        };
        let lines = format!("{}{ALLOW}{}", self.contact_line(), self.trust(kind));
        let body = body.as_deref().map(|body| ("application/sdp", body.as_bytes()));
        let copied = copied(message, "");
        let answering = Answering { lines: &lines, body };
        self.write_answer(leg, &copied, (200, "OK"), answering, effects);
    }

    fn parties_of(&self, key: Key, message: &Message<'_>) -> Option<Parties> {
        let contact = self.contacts.get(self.chats.get(key)?.contact)?;
        Some(Parties {
            ours: contact.ours.clone(),
            theirs: contact.theirs.clone(),
            kind: contact.kind,
            hops: hops_of_header(message).saturating_add(1),
        })
    }

    pub(super) fn message_in_session(
        &mut self,
        now: Now,
        leg: LegId,
        key: Key,
        message: &Message<'_>,
        effects: &mut Effects,
    ) {
        let read = match InstantMessage::of_sip(message, Setting::Session) {
            Ok(read) => read,
            Err(fault) => return self.refuse_content(leg, message, fault, effects),
        };
        let Some(parties) = self.parties_of(key, message) else { return };
        if parties.hops > limits::GATEWAY_HOPS_MAX {
            self.counters.refused_loop += 1;
            return self.reply(leg, message, 482, "Loop Detected", "", effects);
        }
        self.chat_used(now, key);
        let first = self.chats.get_mut(key).and_then(|chat| chat.first_text.take());
        if let (Some(first), OfSip::Message(message_read)) = (first, &read.value)
            && message_read.words.as_ref().is_some_and(|words| words.plain == first)
        {
            // It was said with the INVITE.
            self.counters.repeated += 1;
            return self.reply(leg, message, 200, "OK", "", effects);
        }
        self.count(read.losses);
        let addressed = Addressed::Bare;
        let Some(server) = self.keep(now, leg, message, addressed, effects) else { return };
        let what = read.value;
        self.hand_to_contact(now, &parties, what, Setting::Session, Some(server), effects);
    }

    /// Typing; anything else that an INFO may be about has no counterpart.
    pub(super) fn info_in_session(
        &mut self,
        now: Now,
        leg: LegId,
        key: Key,
        message: &Message<'_>,
        effects: &mut Effects,
    ) {
        let typing = match InstantMessage::of_sip(message, Setting::Session) {
            Ok(read) => match read.value {
                OfSip::Typing(typing) => Some(typing),
                _ => None,
            },
            Err(_) => None,
        };
        let (Some(typing), Some(parties)) = (typing, self.parties_of(key, message)) else {
            self.counters.refused_content += 1;
            return self.reply(leg, message, 415, "Unsupported Media Type", "", effects);
        };
        self.reply(leg, message, 200, "OK", "", effects);
        let what = OfSip::Typing(typing);
        self.hand_to_contact(now, &parties, what, Setting::Session, None, effects);
    }

    /// One of our users has left.
    pub(super) fn bye(
        &mut self,
        now: Now,
        leg: LegId,
        key: Key,
        message: &Message<'_>,
        effects: &mut Effects,
    ) {
        self.reply(leg, message, 200, "OK", "", effects);
        let Some(chat) = self.remove_chat(now, key, effects) else { return };
        // A session that another one has taken the place of ends without a word.
        let other = self.contacts.get(chat.contact).is_some_and(|contact| contact.chat.is_some());
        if !other {
            self.tell_gone(now, chat.contact, effects);
        }
    }
}
