//! Stanzas of contacts, sorted by what they are about, and what comes back to their senders.

use super::contacts::{Chats, States};
use super::judge::{hops_of_stanza, is_too_long};
use super::links::Tag;
use super::owed::Owed;
use super::translate::fault::{error_node, read_error};
use super::translate::message::{InstantMessage, MessageType};
use super::translate::receipt::ReceiptPart;
use super::translate::{ChatState, Loss, Losses};
use super::{Gateway, Settled};
use crate::edge::Effects;
use crate::edge::xmpp_link::Origin;
use crate::limits;
use crate::policy::{Dialect, XmppKind};
use crate::time::Now;
use crate::xmpp::{Jid, Node, ReceivedStanzaError, Stanza, StanzaError};

/// Who sent a stanza, and how an answer names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sender {
    /// The contact, with his resource.
    pub(super) from: Jid<'static>,
    /// Our user as he was addressed.
    pub(super) to: Jid<'static>,
    pub(super) id: Option<String>,
    pub(super) kind: MessageType,
    /// What the contact's partner may do.
    pub(super) partner: XmppKind,
    /// How many gateways the stanza has passed with this one.
    pub(super) hops: u32,
    /// What its edge keeps until the stanza is done with.
    pub(super) owed: Option<Owed>,
}

impl Gateway {
    /// A stanza from an edge. The edge has proved whose it is.
    pub(super) fn stanza(
        &mut self,
        now: Now,
        stanza: &Node,
        origin: &Origin,
        owed: Owed,
        effects: &mut Effects,
    ) {
        let address = |name| stanza.attribute(name).and_then(|text| Jid::parse(text).ok());
        let (Some(from), Some(to)) = (address("from"), address("to")) else {
            self.counters.dropped += 1;
            return self.done_with(now, Some(owed));
        };
        if is_too_long(&from) || is_too_long(&to) {
            self.counters.refused_address += 1;
            return self.done_with(now, Some(owed));
        }
        let sender = Sender {
            from: from.into_owned(),
            to: to.into_owned(),
            id: stanza.attribute("id").map(str::to_owned),
            kind: MessageType::of_stanza(stanza),
            partner: origin.kind,
            hops: hops_of_stanza(stanza).saturating_add(1),
            owed: Some(owed),
        };
        match stanza.name() {
            "message" => return self.message_from_xmpp(now, stanza, sender, effects),
            "presence" => self.presence_from_xmpp(now, stanza, &sender, effects),
            _ => self.query(now, stanza, &sender, effects),
        }
        self.done_with(now, sender.owed);
    }

    /// What became of a stanza of ours.
    pub(super) fn stanza_settled(
        &mut self,
        now: Now,
        tag: Tag,
        settled: Settled,
        effects: &mut Effects,
    ) {
        match (tag, settled) {
            (Tag::Answer(key), settled) => self.server_settled(now, key, settled, effects),
            (Tag::Ask(contact), Settled::Bounced(error)) => {
                self.asking_failed(now, contact, &error, effects);
            }
            (Tag::Probe(contact), Settled::Bounced(error)) => {
                self.contact_gone(now, contact, &error, effects);
            }
            (Tag::Failure(owed), _) => self.done_with(now, Some(owed)),
            (Tag::Ask(_) | Tag::Probe(_) | Tag::Nothing, _) => {}
        }
    }

    fn message_from_xmpp(
        &mut self,
        now: Now,
        stanza: &Node,
        sender: Sender,
        effects: &mut Effects,
    ) {
        match sender.kind {
            MessageType::Error => {
                self.message_failed(stanza, &sender, effects);
                return self.done_with(now, sender.owed);
            }
            MessageType::GroupChat => {
                return self.refuse_stanza(now, &sender, StanzaError::ServiceUnavailable, effects);
            }
            MessageType::Normal | MessageType::Chat | MessageType::Headline => {}
        }
        let read = InstantMessage::of_stanza(stanza);
        let mut message = read.value;
        // Checked before anything is counted as lost: it is refused, not degraded.
        if let Err(error) = self.may_write(&sender) {
            if message.words.is_some() {
                self.refuse_stanza(now, &sender, error, effects);
            } else {
                self.counters.dropped += 1;
                self.done_with(now, sender.owed);
            }
            return;
        }
        self.count(read.losses);
        self.note_talk(now, &sender, &message);
        let state = message.state.take();
        match message.receipt.take() {
            Some(ReceiptPart::Received(id)) => self.receipt_to_sip(now, &sender, &id, effects),
            Some(ReceiptPart::Request) => message.receipt = Some(ReceiptPart::Request),
            None => {}
        }
        let chat = self.contacts.find(&sender.to, &sender.from).and_then(|contact| contact.chat);
        // Whoever has begun a session is answered in it, however his server speaks otherwise.
        let dialect = match chat {
            Some(_) => Dialect::Lync,
            None => self.dialect(sender.to.domain()),
        };
        match (&message.words, dialect) {
            (None, _) => self.done_with(now, sender.owed),
            (Some(_), Dialect::Lync) => {
                self.say_in_session(now, message, sender.clone(), effects);
            }
            (Some(_), Dialect::Simple) => {
                self.page_to_sip(now, &message, sender.clone(), effects);
            }
        }
        if let Some(state) = state {
            self.state_to_sip(now, &sender, state, dialect, effects);
        }
    }

    /// Tells whether the contact may write to our user (lync-federation 7.4).
    fn may_write(&mut self, sender: &Sender) -> Result<(), StanzaError> {
        if sender.hops > limits::GATEWAY_HOPS_MAX {
            self.counters.refused_loop += 1;
            return Err(StanzaError::NotAcceptable);
        }
        if sender.to.local().is_none() || sender.from.local().is_none() {
            self.counters.refused_address += 1;
            return Err(StanzaError::ServiceUnavailable);
        }
        if self.next_hop(sender.to.domain()).is_none() {
            return Err(StanzaError::RemoteServerNotFound);
        }
        let known = self.contacts.find(&sender.to, &sender.from);
        let may = sender.partner.may_begin() || known.is_some_and(|contact| contact.may_begin());
        if !may {
            self.counters.refused_unasked += 1;
            return Err(StanzaError::SubscriptionRequired);
        }
        Ok(())
    }

    /// Remembers from where the contact writes and what his client can do.
    fn note_talk(&mut self, now: Now, sender: &Sender, message: &InstantMessage) {
        let Some(key) = self.contact(&sender.to, &sender.from, sender.partner) else { return };
        let resource = sender.from.resource().map(str::to_owned);
        let (thread, state, kind) = (message.thread.clone(), message.state, sender.kind);
        let wrote = message.words.is_some();
        self.talked(now, key, |talk| {
            talk.resource = resource;
            if wrote {
                talk.thread = thread;
                talk.chats = if kind == MessageType::Chat { Chats::Yes } else { Chats::No };
            }
            if state.is_some() {
                talk.states = States::Understood;
            }
        });
    }

    fn state_to_sip(
        &mut self,
        now: Now,
        sender: &Sender,
        state: ChatState,
        dialect: Dialect,
        effects: &mut Effects,
    ) {
        match dialect {
            Dialect::Lync => self.state_in_session(now, sender, state, effects),
            Dialect::Simple => self.state_by_page(now, sender, state, effects),
        }
    }

    /// A contact's client, or its server, answers one of our messages with an error.
    fn message_failed(&mut self, stanza: &Node, sender: &Sender, effects: &mut Effects) {
        let error = read_error(stanza);
        let in_time = sender.id.as_deref().zip(error.as_ref());
        let in_time =
            in_time.is_some_and(|(id, error)| self.failed(id, &sender.from, error, effects));
        self.counters.errors_late += u64::from(!in_time);
    }

    /// Answers a stanza with an error that is ours.
    pub(super) fn refuse_stanza(
        &mut self,
        now: Now,
        sender: &Sender,
        condition: StanzaError,
        effects: &mut Effects,
    ) {
        self.fail_message(now, sender, &condition.into(), effects);
    }

    /// Tells the sender of a message why it failed. It is done with when an edge has reported on
    /// that.
    pub(super) fn fail_message(
        &mut self,
        now: Now,
        sender: &Sender,
        error: &ReceivedStanzaError,
        effects: &mut Effects,
    ) {
        let stanza = self.error_stanza(Stanza::Message, sender, error);
        let tag = sender.owed.map_or(Tag::Nothing, Tag::Failure);
        self.send(now, &sender.to, &sender.from, &stanza, tag, effects);
    }

    /// Returns an error stanza to the sender of a stanza.
    pub(super) fn error_stanza(
        &self,
        stanza: Stanza,
        sender: &Sender,
        error: &ReceivedStanzaError,
    ) -> Node {
        Node::stanza(stanza)
            .with("from", sender.to.to_string())
            .with("to", sender.from.to_string())
            .with_some("id", sender.id.clone())
            .with("type", "error")
            .with_child(error_node(error))
    }

    /// Tells the sender of a message that it was delivered (XEP-0184 section 5.2).
    pub(super) fn receipt_to_xmpp(&mut self, now: Now, sender: &Sender, effects: &mut Effects) {
        let Some(id) = sender.id.clone() else { return };
        let (from, to) = (sender.to.clone(), sender.from.clone());
        self.send_receipt(now, &from, &to, id, effects);
    }

    pub(super) fn send_receipt(
        &mut self,
        now: Now,
        from: &Jid<'_>,
        to: &Jid<'_>,
        id: String,
        effects: &mut Effects,
    ) {
        self.counters.receipts_to_xmpp += 1;
        let own = self.unguessable();
        let stanza = Node::stanza(Stanza::Message)
            .with("from", from.to_string())
            .with("to", to.to_string())
            .with("id", own)
            .with("type", "chat")
            .with_child(ReceiptPart::Received(id).node());
        self.send(now, from, to, &stanza, Tag::Nothing, effects);
    }

    /// Counts one thing that was lost.
    pub(super) fn lost(&mut self, loss: Loss) {
        let mut losses = Losses::NONE;
        losses.add(loss);
        self.count(losses);
    }
}
