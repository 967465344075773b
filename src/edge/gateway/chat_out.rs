//! Chat sessions as contacts begin, use and end them.

use super::Gateway;
use super::chat::{Chat, InSession, Leaving, Phase, offer_of};
use super::contacts::States;
use super::dialog::{Dialog, Rest};
use super::pager::Wish;
use super::slots::Key;
use super::stanzas::Sender;
use super::translate::address::aor_of;
use super::translate::chat_state::{Typing, TypingForm};
use super::translate::message::{InstantMessage, Setting, call_id_of};
use super::translate::receipt::ReceiptPart;
use super::translate::{ChatState, Loss};
use super::uac::{Answer, Purpose};
use crate::edge::Effects;
use crate::limits;
use crate::time::Now;
use crate::xmpp::StanzaError;

impl Gateway {
    /// A message of a contact, to a next hop that takes messages in sessions.
    pub(super) fn say_in_session(
        &mut self,
        now: Now,
        message: InstantMessage,
        sender: Sender,
        effects: &mut Effects,
    ) {
        let contact = self.contact(&sender.to, &sender.from, sender.partner);
        let Some(contact) = contact else {
            return self.refuse_stanza(now, &sender, StanzaError::ResourceConstraint, effects);
        };
        let chat = self.contacts.get(contact).and_then(|contact| contact.chat);
        let phase = chat.and_then(|key| Some((key, self.chats.get(key)?.phase)));
        match phase {
            Some((key, Phase::Inviting)) => {
                let Some(chat) = self.chats.get_mut(key) else { return };
                chat.leaving = Leaving::No;
                if chat.waiting.len() < limits::GATEWAY_CHAT_WAITING_MAX {
                    chat.waiting.push_back((message, sender));
                } else {
                    self.counters.refused_by_limit += 1;
                    let error = StanzaError::ResourceConstraint;
                    self.refuse_stanza(now, &sender, error, effects);
                }
            }
            Some((key, _)) => self.send_in_session(now, key, message, sender, 0, effects),
            None => self.invite(now, contact, message, sender, effects),
        }
    }

    fn invite(
        &mut self,
        now: Now,
        contact: Key,
        message: InstantMessage,
        sender: Sender,
        effects: &mut Effects,
    ) {
        let (Ok(ours), Ok(theirs)) = (aor_of(&sender.to), aor_of(&sender.from)) else {
            self.counters.refused_address += 1;
            return self.refuse_stanza(now, &sender, StanzaError::JidMalformed, effects);
        };
        if self.is_draining() {
            let error = StanzaError::RemoteServerTimeout;
            return self.refuse_stanza(now, &sender, error, effects);
        }
        let (tag, fresh) = (self.unguessable(), self.unguessable());
        let call_id = match message.thread.as_deref().and_then(call_id_of) {
            Some(thread) => thread.to_owned(),
            None => format!("{fresh}@{}", self.setup.name),
        };
        let dialog = Dialog::begin(call_id, tag, theirs, ours);
        let domain = sender.to.domain().to_owned();
        let subject = message.subject.clone();
        let (partner, hops) = (sender.partner, sender.hops);
        let mut chat = Chat::new(contact, dialog, domain.clone(), Phase::Inviting);
        let head = chat.dialog.next();
        chat.waiting.push_back((message, sender.clone()));
        let Some(key) = self.put_chat(now, chat) else {
            return self.refuse_stanza(now, &sender, StanzaError::ResourceConstraint, effects);
        };
        self.counters.sessions_from_xmpp += 1;
        let mut lines = self.own_lines(partner, hops);
        lines.push_str(super::uas::ALLOW);
        if let Some(subject) = subject {
            lines.push_str(&format!("Subject: {subject}\r\n"));
        }
        let body = self.description(super::chat::OWN_MEDIA);
        let rest = Rest { lines: &lines, body: Some(("application/sdp", body.as_bytes())) };
        self.ask(now, &domain, "INVITE", head, rest, Purpose::Invite(key), effects);
    }

    /// Our INVITE was answered, or was not.
    pub(super) fn invite_answered(
        &mut self,
        now: Now,
        key: Key,
        answer: &Answer<'_>,
        effects: &mut Effects,
    ) {
        let Some(chat) = self.chats.get_mut(key) else { return };
        let waiting = std::mem::take(&mut chat.waiting);
        let accepted = match answer {
            Answer::Response(message) if answer.is_success() => Some(message),
            _ => None,
        };
        let Some(message) = accepted else {
            self.remove_chat(now, key, effects);
            let error = answer.error();
            self.count(error.losses);
            for (_, sender) in waiting {
                self.fail_message(now, &sender, &error.value, effects);
            }
            return;
        };
        chat.dialog.answered(message);
        chat.phase = Phase::Up;
        if let Some(offer) = offer_of(message.body()) {
            chat.form = offer.form;
        }
        let (dialog, domain) = (chat.dialog.clone(), chat.domain.clone());
        let leaving = chat.leaving;
        let cseq = message.cseq().map_or(1, |cseq| cseq.number);
        let leg = self.open_leg(&domain);
        self.acknowledge(leg, &dialog, cseq, effects);
        self.chat_used(now, key);
        for (message, sender) in waiting {
            self.send_in_session(now, key, message, sender, 0, effects);
        }
        if leaving == Leaving::Yes {
            self.end_chat(now, key, effects);
        }
    }

    fn send_in_session(
        &mut self,
        now: Now,
        key: Key,
        message: InstantMessage,
        sender: Sender,
        tries: u8,
        effects: &mut Effects,
    ) {
        let Some(chat) = self.chats.get_mut(key) else {
            return self.refuse_stanza(now, &sender, StanzaError::RemoteServerTimeout, effects);
        };
        let Some(parts) = message.to_sip(Setting::Session, chat.form) else {
            return self.done_with(now, sender.owed);
        };
        let (head, domain) = (chat.dialog.next(), chat.domain.clone());
        chat.they_type = States::Unknown;
        self.count(parts.losses);
        let mut lines = self.own_lines(sender.partner, sender.hops);
        if let Some(language) = &parts.value.language {
            lines.push_str(&format!("Content-Language: {language}\r\n"));
        }
        let asks = message.receipt == Some(ReceiptPart::Request);
        let receipt = if asks { Wish::ByAnswer } else { Wish::None };
        self.counters.messages_to_sip += 1;
        self.chat_used(now, key);
        let sent = Box::new(InSession { sender, message, receipt, tries });
        let body = Some((&*parts.value.body.content_type, &*parts.value.body.bytes));
        let rest = Rest { lines: &lines, body };
        let purpose = Purpose::InSession(key, sent);
        self.ask(now, &domain, "MESSAGE", head, rest, purpose, effects);
    }

    /// A message in a session was answered. Where the other side knows nothing of the session, it
    /// goes again in another one, once.
    pub(super) fn in_session_answered(
        &mut self,
        now: Now,
        key: Key,
        sent: InSession,
        answer: &Answer<'_>,
        effects: &mut Effects,
    ) {
        if answer.is_success() {
            if sent.receipt == Wish::ByAnswer {
                self.receipt_to_xmpp(now, &sent.sender, effects);
            }
            return self.done_with(now, sent.sender.owed);
        }
        let error = answer.error();
        match (answer, answer.status()) {
            (Answer::Response(_), 481) => {
                self.remove_chat(now, key, effects);
                if sent.tries == 0 {
                    return self.say_again(now, sent, effects);
                }
            }
            // RFC 3261 section 12.2.1.2.
            (_, 408) => self.end_chat(now, key, effects),
            _ => {}
        }
        self.count(error.losses);
        self.fail_message(now, &sent.sender, &error.value, effects);
    }

    fn say_again(&mut self, now: Now, sent: InSession, effects: &mut Effects) {
        let InSession { sender, message, .. } = sent;
        let contact = self.contact(&sender.to, &sender.from, sender.partner);
        let chat = contact.and_then(|contact| self.contacts.get(contact)?.chat);
        match (contact, chat.and_then(|key| Some((key, self.chats.get(key)?.phase)))) {
            (_, Some((key, Phase::Up | Phase::Accepted))) => {
                self.send_in_session(now, key, message, sender, 1, effects);
            }
            (Some(_), _) => self.say_in_session(now, message, sender, effects),
            (None, _) => {
                self.refuse_stanza(now, &sender, StanzaError::ResourceConstraint, effects);
            }
        }
    }

    /// Sends something in the session with the contact, if there is one; its answer says nothing.
    pub(super) fn other_in_session(
        &mut self,
        now: Now,
        sender: &Sender,
        method: &'static str,
        body: Option<(&str, &[u8])>,
        effects: &mut Effects,
    ) {
        let key = self.contacts.find(&sender.to, &sender.from).and_then(|contact| contact.chat);
        let chat = key.and_then(|key| self.chats.get_mut(key));
        let Some(chat) = chat.filter(|chat| chat.phase != Phase::Inviting) else { return };
        let (head, domain) = (chat.dialog.next(), chat.domain.clone());
        let lines = self.own_lines(sender.partner, sender.hops);
        let rest = Rest { lines: &lines, body };
        self.ask(now, &domain, method, head, rest, Purpose::Nothing, effects);
    }

    /// Tells a peer of sessions who types, and ends the session when the contact has left.
    pub(super) fn state_in_session(
        &mut self,
        now: Now,
        sender: &Sender,
        state: ChatState,
        effects: &mut Effects,
    ) {
        let key = self.contacts.find(&sender.to, &sender.from).and_then(|contact| contact.chat);
        let Some(key) = key else {
            self.lost(Loss::ChatState);
            return;
        };
        let Some(chat) = self.chats.get_mut(key) else { return };
        let Some(typing) = state.typing() else {
            // What he has said before he left is still to be delivered.
            if chat.phase == Phase::Inviting && !chat.waiting.is_empty() {
                chat.leaving = Leaving::Yes;
                return;
            }
            return self.end_chat(now, key, effects);
        };
        let active = matches!(typing, Typing::Active { .. });
        // A peer that knows of nobody typing need not be told that nobody does.
        if chat.phase == Phase::Inviting || (!active && chat.they_type == States::Unknown) {
            return;
        }
        chat.they_type = if active { States::Understood } else { States::Unknown };
        let form = TypingForm::KeyboardActivity;
        let body = typing.write(form);
        self.counters.typing_to_sip += 1;
        let body = Some((form.content_type(), &*body));
        self.other_in_session(now, sender, "INFO", body, effects);
    }
}
