//! Chat sessions with peers that hold them in dialogs: INVITE with `m=message`, MESSAGE in the
//! dialog, typing by INFO (wire-protocols A.11 and D.5, RFC 7573).
//!
//! ```text
//!  XMPP            message ──> Inviting ── 200 ──> Up ── gone, or silence ──> BYE
//!  SIP   INVITE ──> 200 ──> Accepted ── ACK ────> Up ── BYE ──> gone
//! ```

use std::collections::VecDeque;

use super::contacts::States;
use super::dialog::{Dialog, Rest};
use super::pager::Wish;
use super::slots::Key;
use super::stanzas::Sender;
use super::timers::{Due, TimerId};
use super::translate::ChatState;
use super::translate::content::TextForm;
use super::translate::message::InstantMessage;
use super::uac::Purpose;
use super::{DialogOf, Gateway};
use crate::edge::Effects;
use crate::limits;
use crate::time::Now;
use crate::xmpp::StanzaError;

/// A chat session.
#[derive(Debug)]
pub(super) struct Chat {
    pub(super) contact: Key,
    pub(super) dialog: Dialog,
    /// Our user's domain, whose next hop the session is with.
    pub(super) domain: String,
    pub(super) phase: Phase,
    /// Messages that wait for the session to come up.
    pub(super) waiting: VecDeque<(InstantMessage, Sender)>,
    /// The words that came with the INVITE, which some peers say once more.
    pub(super) first_text: Option<String>,
    /// What the other side lists as acceptable.
    pub(super) form: TextForm,
    /// Whether the other side was told that the contact types.
    pub(super) they_type: States,
    /// Whether the contact has left although his words still wait for the session.
    pub(super) leaving: Leaving,
    timer: Option<TimerId>,
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Our INVITE is not answered.
    Inviting,
    /// Theirs was, and not acknowledged.
    Accepted,
    /// Messages pass.
    Up,
}

/// See [`Chat::leaving`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    No,
    Yes,
}

/// A message on its way in a session.
#[derive(Clone, Debug)]
pub(super) struct InSession {
    pub(super) sender: Sender,
    pub(super) message: InstantMessage,
    pub(super) receipt: Wish,
    pub(super) tries: u8,
}

impl Chat {
    pub(super) const fn new(contact: Key, dialog: Dialog, domain: String, phase: Phase) -> Self {
        Self {
            contact,
            dialog,
            domain,
            phase,
            waiting: VecDeque::new(),
            first_text: None,
            form: TextForm::Plain,
            they_type: States::Unknown,
            leaving: Leaving::No,
            timer: None,
        }
    }
}

impl Gateway {
    /// Puts a session in its place. `None`: there are too many.
    pub(super) fn put_chat(&mut self, now: Now, chat: Chat) -> Option<Key> {
        let (contact, tag) = (chat.contact, chat.dialog.our_tag.clone());
        let Some(key) = self.chats.insert(chat) else {
            self.counters.refused_by_limit += 1;
            return None;
        };
        self.dialogs.insert(tag, DialogOf::Chat(key));
        if let Some(contact) = self.contacts.get_mut(contact) {
            contact.chat = Some(key);
        }
        // What was said finds its way by the contact for as long as the session is there.
        self.talked(now, contact, |_| {});
        Some(key)
    }

    /// Starts the time after which a session is looked at again.
    pub(super) fn chat_waits(&mut self, now: Now, key: Key, milliseconds: u64) {
        let timer = self.timers.start_in(now, milliseconds, Due::Chat(key));
        let old = match self.chats.get_mut(key) {
            Some(chat) => chat.timer.replace(timer),
            None => Some(timer),
        };
        self.timers.stop(old);
    }

    /// Somebody wrote: the session is kept for another while.
    pub(super) fn chat_used(&mut self, now: Now, key: Key) {
        let idle_ms = u64::from(self.setup.chat_idle_s) * 1_000;
        if let Some(chat) = self.chats.get(key) {
            let contact = chat.contact;
            if chat.phase == Phase::Up {
                self.chat_waits(now, key, idle_ms);
            }
            self.talked(now, contact, |_| {});
        }
    }

    /// Takes a session away; nothing is said about it, but to whose words were waiting for it.
    pub(super) fn remove_chat(
        &mut self,
        now: Now,
        key: Key,
        effects: &mut Effects,
    ) -> Option<Chat> {
        let mut chat = self.chats.remove(key)?;
        for (_, sender) in std::mem::take(&mut chat.waiting) {
            self.refuse_stanza(now, &sender, StanzaError::RemoteServerTimeout, effects);
        }
        self.timers.stop(chat.timer);
        self.dialogs.remove(&chat.dialog.our_tag);
        if let Some(contact) = self.contacts.get_mut(chat.contact)
            && contact.chat == Some(key)
        {
            contact.chat = None;
        }
        self.talked(now, chat.contact, |_| {});
        Some(chat)
    }

    /// Ends a session: by BYE, or by giving its INVITE up.
    pub(super) fn end_chat(&mut self, now: Now, key: Key, effects: &mut Effects) {
        if let Some(Chat { phase: Phase::Inviting, dialog, .. }) = self.chats.get(key) {
            let dialog = dialog.clone();
            self.abandon(now, key, &dialog, effects);
            self.remove_chat(now, key, effects);
            return;
        }
        let Some(mut chat) = self.remove_chat(now, key, effects) else { return };
        let head = chat.dialog.next();
        let purpose = Purpose::Nothing;
        self.ask(now, &chat.domain, "BYE", head, Rest::default(), purpose, effects);
    }

    /// Nobody wrote for long, or our acceptance was not acknowledged.
    pub(super) fn chat_due(&mut self, now: Now, key: Key, effects: &mut Effects) {
        let Some(chat) = self.chats.get_mut(key) else { return };
        chat.timer = None;
        if chat.phase == Phase::Up {
            self.counters.sessions_idle += 1;
        }
        self.end_chat(now, key, effects);
    }

    /// Tells the contact that our user has left, if his client understands it.
    pub(super) fn tell_gone(&mut self, now: Now, contact: Key, effects: &mut Effects) {
        let Some(contact) = self.contacts.get(contact) else { return };
        let Some(talk) = contact.talk.as_deref().cloned() else { return };
        if talk.states == States::Understood {
            let (ours, to) = (contact.ours.clone(), contact.address().into_owned());
            self.state_to_contact(now, &ours, &to, ChatState::Gone, &talk, effects);
        }
    }

    /// Returns what a session is described with: to offer one, and to accept one.
    pub(super) fn description(&self, lines: &str) -> String {
        let name = &self.setup.name;
        let accepted = "text/plain text/html";
        let port = limits::GATEWAY_MESSAGE_PORT;
        let lines = lines.replace(
            OWN_MEDIA,
            &format!("m=message {port} sip null\r\na=accept-types:{accepted}\r\n"),
        );
        format!("v=0\r\no=- 0 0 IN IP4 {name}\r\ns=session\r\nc=IN IP4 {name}\r\nt=0 0\r\n{lines}")
    }
}

/// Where our own media line stands among those that are refused.
pub(super) const OWN_MEDIA: &str = "{message}";

/// What a description offers beside messages, and in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// The media lines of an answer.
    pub(super) lines: String,
    pub(super) form: TextForm,
}

/// Reads a description. `None`: it offers no messages.
pub(super) fn offer_of(body: &[u8]) -> Option<Offer> {
    let text = std::str::from_utf8(body).ok()?;
    let (mut lines, mut form, mut found) = (String::new(), TextForm::Plain, false);
    for line in text.lines().map(str::trim_end) {
        if let Some(media) = line.strip_prefix("m=") {
            let mut parts = media.split_ascii_whitespace();
            let (kind, port) = (parts.next()?, parts.next()?);
            if kind == "message" && port != "0" && !found {
                found = true;
                lines.push_str(OWN_MEDIA);
            } else {
                let rest: Vec<&str> = parts.collect();
                lines.push_str(&format!("m={kind} 0 {}\r\n", rest.join(" ")));
            }
        }
        if let Some(types) = line.strip_prefix("a=accept-types:")
            && found
            && types.split_ascii_whitespace().any(|t| t.eq_ignore_ascii_case("text/html"))
        {
            form = TextForm::Html;
        }
        if lines.len() > limits::GATEWAY_DESCRIPTION_BYTES_MAX {
            return None;
        }
    }
    found.then_some(Offer { lines, form })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_of_messages_is_found_and_other_media_get_port_0() {
        let text = "v=0\r\no=- 0 0 IN IP4 192.0.2.1\r\ns=session\r\nt=0 0\r\n\
                    m=audio 4000 RTP/AVP 0 8\r\na=sendrecv\r\n\
                    m=message 5060 sip null\r\na=accept-types:text/plain text/HTML\r\n";
        let offer = offer_of(text.as_bytes()).expect("it offers messages");
        assert_eq!(offer.lines, "m=audio 0 RTP/AVP 0 8\r\n{message}");
        assert_eq!(offer.form, TextForm::Html);
    }

    #[test]
    fn without_a_message_line_that_is_on_there_is_no_offer() {
        assert_eq!(offer_of(b"v=0\r\nm=audio 4000 RTP/AVP 0\r\n"), None);
        assert_eq!(offer_of(b"v=0\r\nm=message 0 sip null\r\n"), None);
        assert_eq!(offer_of(b"v=0\r\nm=message\r\n"), None);
        assert_eq!(offer_of(b"\xff"), None);
    }
}
