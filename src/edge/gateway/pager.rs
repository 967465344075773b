//! Messages outside of dialogs (RFC 7572), and what is said by them in a chat without sessions.

use super::Gateway;
use super::contacts::{Chats, States, Talk};
use super::dialog::{Head, Rest};
use super::judge::{Parties, Refused, hops_node};
use super::links::Tag;
use super::server::Answering;
use super::slots::Key;
use super::stanzas::Sender;
use super::timers::Due;
use super::translate::address::aor_of;
use super::translate::chat_state::{Typing, TypingForm};
use super::translate::content::{ACCEPTED, ContentFault, TextForm};
use super::translate::cpim::{self, Asks};
use super::translate::fault::{Addressed, reason_of};
use super::translate::message::{
    InstantMessage, MessageType, OfSip, Setting, SipParts, fits_pager,
};
use super::translate::receipt::{Disposition, Receipt, ReceiptPart};
use super::translate::{ChatState, Loss};
use super::uac::{Answer, Purpose};
use crate::edge::{Effects, LegId};
use crate::policy::Dialect;
use crate::sip::Message;
use crate::time::Now;
use crate::xmpp::{Jid, Node, Stanza, StanzaError};

/// A message outside of dialogs, on its way inside.
#[derive(Clone, Debug)]
pub(super) struct Paged {
    sender: Sender,
    receipt: Wish,
    /// The same without the wrapper that asks for a receipt, for a peer that does not know it.
    plain: Option<Box<SipParts>>,
}

/// Whether the sender of a message wants to know of its delivery, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    None,
    /// The addressee's client does.
    ByClient,
    /// We do, when it was accepted: its client cannot.
    ByAnswer,
}

#[cfg(test)]
impl Paged {
    pub(super) const fn owed(&self) -> Option<super::owed::Owed> {
        self.sender.owed
    }
}

impl Gateway {
    /// A message of one of our users that is in no dialog.
    pub(super) fn page_from_sip(
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
        let read = match InstantMessage::of_sip(message, Setting::Pager) {
            Ok(read) => read,
            Err(fault) => return self.refuse_content(leg, message, fault, effects),
        };
        self.count(read.losses);
        let addressed = Addressed::of(&parties.theirs);
        let Some(server) = self.keep(now, leg, message, addressed, effects) else { return };
        self.hand_to_contact(now, &parties, read.value, Setting::Pager, Some(server), effects);
    }

    pub(super) fn refuse_content(
        &mut self,
        leg: LegId,
        message: &Message<'_>,
        fault: ContentFault,
        effects: &mut Effects,
    ) {
        self.counters.refused_content += 1;
        let status = fault.status();
        let refused = Refused::new(status, reason_of(status), fault.to_string());
        let lines = if status == 415 { format!("Accept: {ACCEPTED}\r\n") } else { String::new() };
        self.refuse(leg, message, &refused, &lines, effects);
    }

    /// Hands what one of our users says to the contact. `server`: the request that is answered when
    /// the contact's server has it.
    pub(super) fn hand_to_contact(
        &mut self,
        now: Now,
        parties: &Parties,
        what: OfSip,
        setting: Setting,
        server: Option<Key>,
        effects: &mut Effects,
    ) {
        let key = self.contact(&parties.ours, &parties.theirs, parties.kind);
        let talk = key.and_then(|key| self.contacts.get(key)?.talk.as_deref().cloned());
        let talk = talk.unwrap_or_default();
        // An answer goes to the resource that asked (RFC 6121 section 5.1).
        let mut to = parties.theirs.clone();
        if to.is_bare()
            && let Some(resource) = &talk.resource
            && let Ok(full) = parties.theirs.with_resource(resource)
        {
            to = full.into_owned();
        }
        match what {
            OfSip::Message(message) => {
                self.words_to_contact(
                    now,
                    parties,
                    &to,
                    *message,
                    (setting, &talk),
                    server,
                    effects,
                );
                if let Some(key) = key {
                    self.written_to(now, key);
                }
            }
            OfSip::Typing(typing) => {
                self.typing_to_contact(now, parties, &to, typing, (key, &talk), effects);
                self.done(server, effects);
            }
            OfSip::Receipt(receipt) => {
                self.receipt_to_contact(now, parties, &to, receipt, effects);
                self.done(server, effects);
            }
        }
    }

    fn done(&mut self, server: Option<Key>, effects: &mut Effects) {
        if let Some(server) = server {
            self.answer(server, 200, "OK", Answering::default(), effects);
        }
    }

    fn words_to_contact(
        &mut self,
        now: Now,
        parties: &Parties,
        to: &Jid<'_>,
        mut message: InstantMessage,
        (setting, talk): (Setting, &Talk),
        server: Option<Key>,
        effects: &mut Effects,
    ) {
        if setting == Setting::Session || talk.chats == Chats::Yes {
            message.kind = MessageType::Chat;
            message.state = Some(ChatState::Active);
            if talk.thread.is_some() {
                message.thread.clone_from(&talk.thread);
            }
        }
        let id = match &message.id {
            Some(id) => id.clone(),
            None => self.unguessable(),
        };
        let mut stanza = message.to_stanza(&parties.ours, to, &id);
        stanza.push(hops_node(parties.hops));
        self.counters.messages_to_xmpp += 1;
        let tag = match server {
            Some(server) => {
                self.is_stanza(server, stanza.attribute("id").unwrap_or(&id), to);
                Tag::Answer(server)
            }
            None => Tag::Nothing,
        };
        self.send(now, &parties.ours, to, &stanza, tag, effects);
    }

    fn typing_to_contact(
        &mut self,
        now: Now,
        parties: &Parties,
        to: &Jid<'_>,
        typing: Typing,
        (key, talk): (Option<Key>, &Talk),
        effects: &mut Effects,
    ) {
        if talk.states == States::Unknown {
            self.lost(Loss::ChatState);
            return;
        }
        self.state_to_contact(now, &parties.ours, to, typing.into(), talk, effects);
        let Some(key) = key else { return };
        let timer = match typing {
            Typing::Active { refresh_s } => {
                let after_ms = u64::from(refresh_s) * 1_000;
                Some(self.timers.start_in(now, after_ms, Due::Typing(key)))
            }
            Typing::Idle => None,
        };
        let talk = self.contacts.get_mut(key).and_then(|contact| contact.talk.as_mut());
        let old = match talk {
            Some(talk) => std::mem::replace(&mut talk.typing, timer),
            None => timer,
        };
        self.timers.stop(old);
    }

    /// Says to a contact who types.
    pub(super) fn state_to_contact(
        &mut self,
        now: Now,
        ours: &Jid<'_>,
        to: &Jid<'_>,
        state: ChatState,
        talk: &Talk,
        effects: &mut Effects,
    ) {
        self.counters.typing_to_xmpp += 1;
        let message = InstantMessage {
            kind: MessageType::Chat,
            thread: talk.thread.clone(),
            state: Some(state),
            ..InstantMessage::default()
        };
        let id = self.unguessable();
        let stanza = message.to_stanza(ours, to, &id);
        self.send(now, ours, to, &stanza, Tag::Nothing, effects);
    }

    /// Whoever typed has not been heard of for as long as it counts.
    pub(super) fn typing_due(&mut self, now: Now, key: Key, effects: &mut Effects) {
        let Some(contact) = self.contacts.get_mut(key) else { return };
        let Some(talk) = contact.talk.as_mut() else { return };
        talk.typing = None;
        let talk = talk.clone();
        let (ours, to) = (contact.ours.clone(), contact.address().into_owned());
        self.state_to_contact(now, &ours, &to, ChatState::Paused, &talk, effects);
    }

    fn receipt_to_contact(
        &mut self,
        now: Now,
        parties: &Parties,
        to: &Jid<'_>,
        receipt: Receipt,
        effects: &mut Effects,
    ) {
        match receipt.disposition {
            Disposition::Delivered => {
                self.send_receipt(now, &parties.ours, to, receipt.message_id, effects);
            }
            Disposition::Failed => {
                let error = StanzaError::RecipientUnavailable.into();
                let stanza = Node::stanza(Stanza::Message)
                    .with("from", parties.ours.to_string())
                    .with("to", to.to_string())
                    .with("id", receipt.message_id)
                    .with("type", "error")
                    .with_child(super::translate::fault::error_node(&error));
                self.send(now, &parties.ours, to, &stanza, Tag::Nothing, effects);
            }
        }
    }

    /// A message of a contact, to a next hop that takes single messages.
    pub(super) fn page_to_sip(
        &mut self,
        now: Now,
        message: &InstantMessage,
        sender: Sender,
        effects: &mut Effects,
    ) {
        let Some(parts) = message.to_sip(Setting::Pager, TextForm::Plain) else {
            return self.done_with(now, sender.owed);
        };
        self.count(parts.losses);
        let (Ok(from), Ok(_)) = (aor_of(&sender.from), aor_of(&sender.to)) else {
            self.counters.refused_address += 1;
            return self.refuse_stanza(now, &sender, StanzaError::JidMalformed, effects);
        };
        let mut parts = parts.value;
        let (mut receipt, mut plain) = (Wish::None, None);
        if message.receipt == Some(ReceiptPart::Request)
            && let (Some(id), Ok(to)) = (&message.id, aor_of(&sender.to))
        {
            (receipt, plain) = (Wish::ByClient, Some(Box::new(parts.clone())));
            parts = parts.asking_for_receipt(&from, &to, id);
        }
        self.counters.messages_to_sip += 1;
        self.page(now, &parts, Paged { sender, receipt, plain }, effects);
    }

    /// Sends a MESSAGE outside of dialogs.
    fn page(&mut self, now: Now, parts: &SipParts, paged: Paged, effects: &mut Effects) {
        let sender = &paged.sender;
        let Some(mut head) = self.page_head(&sender.from, &sender.to) else {
            return self.refuse_stanza(now, sender, StanzaError::JidMalformed, effects);
        };
        if let Some(call_id) = &parts.call_id {
            head.call_id.clone_from(call_id);
        }
        let mut lines = self.page_lines(sender);
        let optional = [
            ("Subject", &parts.subject),
            ("Content-Language", &parts.language),
            ("Date", &parts.date),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                lines.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        let body = Some((&*parts.body.content_type, &*parts.body.bytes));
        let rest = Rest { lines: &lines, body };
        // As long as the Via that it gets.
        let via = format!("SIP/2.0/TLS {}:{};branch={:>39}", self.setup.name, 5061, "");
        if let Err(error) = fits_pager(head.write("MESSAGE", &via, rest).len()) {
            self.counters.refused_size += 1;
            let sender = paged.sender;
            return self.refuse_stanza(now, &sender, error, effects);
        }
        let domain = sender.to.domain().to_owned();
        let purpose = Purpose::Pager(Box::new(paged));
        self.ask(now, &domain, "MESSAGE", head, rest, purpose, effects);
    }

    fn page_head(&mut self, from: &Jid<'_>, to: &Jid<'_>) -> Option<Head> {
        let (from, to) = (aor_of(from).ok()?, aor_of(to).ok()?);
        let (tag, call_id) = (self.unguessable(), self.unguessable());
        Some(Head {
            uri: to.clone(),
            routes: Vec::new(),
            from: format!("<{from}>;tag={tag}"),
            to: format!("<{to}>"),
            call_id: format!("{call_id}@{}", self.setup.name),
            cseq: 1,
        })
    }

    /// A MESSAGE has no Contact (RFC 3428 section 4).
    fn page_lines(&self, sender: &Sender) -> String {
        let hops = sender.hops;
        format!("{}{}: {hops}\r\n", self.trust(sender.partner), super::judge::HOPS_HEADER)
    }

    pub(super) fn page_answered(
        &mut self,
        now: Now,
        mut sent: Paged,
        answer: &Answer<'_>,
        effects: &mut Effects,
    ) {
        if answer.is_success() {
            if sent.receipt == Wish::ByAnswer {
                self.receipt_to_xmpp(now, &sent.sender, effects);
            }
            return self.done_with(now, sent.sender.owed);
        }
        if matches!(answer.status(), 406 | 415 | 488)
            && let Some(plain) = sent.plain.take()
        {
            self.lost(Loss::Receipt);
            sent.receipt = Wish::ByAnswer;
            return self.page(now, &plain, sent, effects);
        }
        let error = answer.error();
        self.count(error.losses);
        self.fail_message(now, &sent.sender, &error.value, effects);
    }

    /// Tells a peer of single messages who types.
    pub(super) fn state_by_page(
        &mut self,
        now: Now,
        sender: &Sender,
        state: ChatState,
        effects: &mut Effects,
    ) {
        let Some(typing) = state.typing() else {
            self.lost(Loss::ChatState);
            return;
        };
        // What comes with words, or after nothing was said, tells a SIP peer nothing.
        let known = self.contacts.find(&sender.to, &sender.from);
        let talk = known.and_then(|contact| contact.talk.as_ref());
        let typed = talk.is_some_and(|talk| talk.they_type == States::Understood);
        if typing == Typing::Idle && !typed {
            return;
        }
        if let Some(key) = self.contacts.key(&sender.to, &sender.from) {
            self.talked(now, key, |talk| {
                let active = matches!(typing, Typing::Active { .. });
                talk.they_type = if active { States::Understood } else { States::Unknown };
            });
        }
        let Some(head) = self.page_head(&sender.from, &sender.to) else { return };
        let form = TypingForm::IsComposing;
        let body = typing.write(form);
        let lines = self.page_lines(sender);
        let rest = Rest { lines: &lines, body: Some((form.content_type(), &body)) };
        self.counters.typing_to_sip += 1;
        let domain = sender.to.domain().to_owned();
        self.ask(now, &domain, "MESSAGE", head, rest, Purpose::Nothing, effects);
    }

    /// Tells one of our users that a message of his was delivered (RFC 5438 section 7).
    pub(super) fn receipt_to_sip(
        &mut self,
        now: Now,
        sender: &Sender,
        id: &str,
        effects: &mut Effects,
    ) {
        let (Ok(from), Ok(to)) = (aor_of(&sender.from), aor_of(&sender.to)) else { return };
        let receipt = Receipt { message_id: id.to_owned(), disposition: Disposition::Delivered };
        let imdn = receipt.write(&rfc3339(now.unix_s));
        let own = self.unguessable();
        let body = cpim::write(&from, &to, &own, Asks::Nothing, "message/imdn+xml", &imdn);
        let body = Some(("message/cpim", &*body));
        self.counters.receipts_to_sip += 1;
        if self.dialect(sender.to.domain()) == Dialect::Lync {
            return self.other_in_session(now, sender, "MESSAGE", body, effects);
        }
        let Some(head) = self.page_head(&sender.from, &sender.to) else { return };
        let lines = self.page_lines(sender);
        let domain = sender.to.domain().to_owned();
        let rest = Rest { lines: &lines, body };
        self.ask(now, &domain, "MESSAGE", head, rest, Purpose::Nothing, effects);
    }
}

/// Returns a time as RFC 3339 has it.
pub(super) fn rfc3339(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Days since 0000-03-01, in eras of 400 years (H. Hinnant, `civil_from_days`).
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn a_time_is_written_as_rfc_3339_has_it() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_700_000_000), "2023-11-14T22:13:20Z");
    }
}
