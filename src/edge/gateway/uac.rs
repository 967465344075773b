//! Requests of ours and their answers (RFC 3261 section 17.1, over connections that lose nothing).

use super::chat::InSession;
use super::dialog::{Dialog, Head, Rest};
use super::pager::Paged;
use super::siblings::HandedOver;
use super::slots::Key;
use super::timers::{Due, TimerId};
use super::translate::Translated;
use super::translate::fault::stanza_error_of;
use super::{Gateway, keyed};
use crate::dns::Domain;
use crate::edge::{Effects, Kind, LegId};
use crate::limits;
use crate::sip::{HeaderName, Message, NameAddr};
use crate::time::Now;
use crate::xmpp::{ReceivedStanzaError, StanzaError};

/// A request of ours that waits for its final answer.
#[derive(Debug)]
pub(super) struct Client {
    hop: usize,
    /// Where it was written to, and so the only leg that may answer.
    pub(super) leg: Option<LegId>,
    method: &'static str,
    /// The domain of the contact for whom it was sent.
    theirs: String,
    purpose: Purpose,
    timer: Option<TimerId>,
    invite: Option<Box<Invite>>,
}

#[cfg(test)]
impl Client {
    pub(super) const fn purpose(&self) -> &Purpose {
        &self.purpose
    }
}

/// What an INVITE is kept with.
#[derive(Debug)]
struct Invite {
    head: Head,
    via: String,
    heard: Heard,
}

/// What was heard of an INVITE, and said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    Provisional,
    /// Nobody wants an answer any more; a CANCEL goes out as soon as one may.
    Given,
    Cancelled,
}

/// What an answer means.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// Nothing.
    Nothing,
    /// A message outside of dialogs.
    Pager(Box<Paged>),
    /// The begin of a chat session.
    Invite(Key),
    /// An INVITE that nobody wants any more; if it is accepted all the same, it is ended.
    Abandoned(Box<Dialog>),
    /// A message in a chat session.
    InSession(Key, Box<InSession>),
    /// A subscription, or its refresh.
    Subscribe(Key),
    /// The end of a subscription.
    Unsubscribe(Key),
    /// A notification.
    Notify(Key),
    /// What another gateway is told.
    Publish(Domain),
    /// A request that another gateway serves.
    HandedOver(Box<HandedOver>),
}

/// An answer that came from nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Local {
    /// None in time.
    Timeout,
    /// No connection.
    Unreachable,
    /// The connection was lost after the request had been written.
    Lost,
    /// No room.
    Full,
}

/// A final answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer<'a> {
    /// Of the other side.
    Response(Message<'a>),
    /// Of ours.
    Local(Local),
}

impl Answer<'_> {
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Response(message) => message.status().unwrap_or(0),
            Self::Local(Local::Timeout) => 408,
            Self::Local(Local::Unreachable | Local::Lost) => 504,
            Self::Local(Local::Full) => 500,
        }
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status())
    }

    /// Returns the error that the sender of a stanza is told.
    pub(super) fn error(&self) -> Translated<ReceivedStanzaError> {
        let of = |condition: StanzaError, text: &str| ReceivedStanzaError {
            text: Some(text.to_owned()),
            ..condition.into()
        };
        Translated::whole(match self {
            Self::Response(message) => {
                let contact = message.values(HeaderName::Contact).next();
                let contact = contact.and_then(|value| NameAddr::parse(value.bytes).ok());
                let status = self.status();
                match stanza_error_of(status, message.reason(), contact.map(|c| c.uri)) {
                    Some(error) => return error,
                    None => of(StanzaError::UndefinedCondition, "the answer has no meaning"),
                }
            }
            Self::Local(Local::Timeout) => {
                of(StanzaError::RemoteServerTimeout, "no answer in time")
            }
            Self::Local(Local::Unreachable | Local::Lost) => {
                of(StanzaError::RemoteServerTimeout, "the server of the user is not reached")
            }
            Self::Local(Local::Full) => {
                of(StanzaError::ResourceConstraint, "too much is on its way")
            }
        })
    }
}

impl Gateway {
    /// Sends a request to the next hop of an own domain. Its answer comes by
    /// [`Gateway::answered`], never before this has returned.
    pub(super) fn ask(
        &mut self,
        now: Now,
        domain: &str,
        method: &'static str,
        head: Head,
        rest: Rest<'_>,
        purpose: Purpose,
        effects: &mut Effects,
    ) {
        let Some(at) = self.hop_of(domain) else {
            self.counters.unreachable += 1;
            self.concluded.push_back((purpose, Local::Unreachable));
            return;
        };
        let theirs = contact_domain(&head.from);
        if !self.has_room(at, &theirs) {
            self.counters.refused_by_limit += 1;
            self.concluded.push_back((purpose, Local::Full));
            return;
        }
        let kept = (method == "INVITE").then(|| head.clone());
        let Some(key) = self.reserve(now, at, method, theirs, kept, purpose) else { return };
        let bytes = head.write(method, &self.via(key), rest);
        self.send_inside(now, at, key, bytes, effects);
    }

    fn has_room(&self, at: usize, theirs: &str) -> bool {
        let of_domain = self.in_flight.get(theirs).copied().unwrap_or(0);
        let of_hop = self.hops.get(at).map_or(usize::MAX, |hop| hop.in_flight);
        of_hop < limits::IN_FLIGHT_PER_PARTNER_MAX
            && of_domain < limits::GATEWAY_IN_FLIGHT_PER_DOMAIN_MAX
            && !self.clients.is_full()
    }

    /// Takes a place for a request to a next hop, for contacts of `theirs`; `invite`: what an
    /// INVITE begins with. `None`: there is none.
    pub(super) fn reserve(
        &mut self,
        now: Now,
        at: usize,
        method: &'static str,
        theirs: String,
        invite: Option<Head>,
        purpose: Purpose,
    ) -> Option<Key> {
        if !self.has_room(at, &theirs) {
            return None;
        }
        *self.in_flight.entry(theirs.clone()).or_default() += 1;
        let client =
            Client { hop: at, leg: None, method, theirs, purpose, timer: None, invite: None };
        let key = self.clients.insert(client)?;
        if let Some(hop) = self.hops.get_mut(at) {
            hop.in_flight += 1;
        }
        let via = self.via(key);
        let answer_ms = u64::from(self.setup.answer_timeout_s) * 1_000;
        let timer = self.timers.start_in(now, answer_ms, Due::Client(key));
        let client = self.clients.get_mut(key)?;
        client.timer = Some(timer);
        let kept = |head| Box::new(Invite { head, via, heard: Heard::Nothing });
        client.invite = invite.map(kept);
        Some(key)
    }

    /// Returns our Via: its branch is the request's place and a proof that we have made it.
    pub(super) fn via(&self, key: Key) -> String {
        let Key { index, generation } = key;
        let number = u64::from(index) << 32 | u64::from(generation);
        let proof = keyed(self.setup.process_key, b"branch", number);
        format!(
            "SIP/2.0/TLS {}:{};branch=z9hG4bK{index:08x}{generation:08x}{proof:016x}",
            self.setup.name, self.setup.sip_port
        )
    }

    fn key_of(&self, branch: &[u8]) -> Option<Key> {
        let text = std::str::from_utf8(branch).ok()?.strip_prefix("z9hG4bK")?;
        let number = |from, to| u32::from_str_radix(text.get(from..to)?, 16).ok();
        let key = Key { index: number(0, 8)?, generation: number(8, 16)? };
        self.via(key).as_bytes().ends_with(branch).then_some(key)
    }

    pub(super) fn client_written(&mut self, key: Key, leg: LegId) {
        if let Some(client) = self.clients.get_mut(key) {
            client.leg = Some(leg);
            if let Purpose::HandedOver(handed) = &mut client.purpose {
                handed.written();
            }
        }
    }

    fn remove_client(&mut self, key: Key) -> Option<Client> {
        let client = self.clients.remove(key)?;
        self.timers.stop(client.timer);
        if let Some(hop) = self.hops.get_mut(client.hop) {
            assert!(hop.in_flight > 0, "a request is counted until its end");
            hop.in_flight -= 1;
        }
        if let Some(in_flight) = self.in_flight.get_mut(&client.theirs) {
            *in_flight -= 1;
            if *in_flight == 0 {
                self.in_flight.remove(&client.theirs);
            }
        }
        Some(client)
    }

    /// Ends a request that will not be answered.
    pub(super) fn conclude(&mut self, key: Key, local: Local) {
        if let Some(client) = self.remove_client(key) {
            self.concluded.push_back((client.purpose, local));
        }
    }

    /// A response. One that is not to a request of ours, or comes from somebody who was not asked,
    /// is dropped.
    pub(super) fn response(
        &mut self,
        now: Now,
        leg: LegId,
        message: &Message<'_>,
        effects: &mut Effects,
    ) {
        let seen = message.check();
        let branch = seen.as_ref().ok().and_then(|seen| seen.top_via.via.branch);
        let key = branch.and_then(|branch| self.key_of(branch));
        let method = seen.as_ref().map_or(&[][..], |seen| seen.cseq.method);
        let client = key.and_then(|key| Some((key, self.clients.get_mut(key)?)));
        let client = client
            .filter(|(_, client)| client.leg == Some(leg) && client.method.as_bytes() == method);
        let Some((key, client)) = client else {
            // A CANCEL has the branch of its INVITE, and its answer says nothing.
            self.counters.stray_responses += u64::from(method != b"CANCEL");
            return;
        };
        let status = message.status().unwrap_or(0);
        if status < 200 {
            if let Some(invite) = &mut client.invite {
                match invite.heard {
                    Heard::Nothing => invite.heard = Heard::Provisional,
                    Heard::Given => self.cancel(key, effects),
                    Heard::Provisional | Heard::Cancelled => {}
                }
            }
            return;
        }
        let Some(client) = self.remove_client(key) else { return };
        if status >= 300
            && let Some(invite) = &client.invite
        {
            self.acknowledge_refusal(leg, message, invite, effects);
        }
        self.counters.refused_inside += u64::from(status >= 300);
        self.answered(now, client.purpose, &Answer::Response(*message), effects);
    }

    /// The ACK of a refusal is of the INVITE's transaction (RFC 3261 section 17.1.1.3).
    fn acknowledge_refusal(
        &self,
        leg: LegId,
        message: &Message<'_>,
        invite: &Invite,
        effects: &mut Effects,
    ) {
        let mut head = invite.head.clone();
        if let Some(to) = message.first(HeaderName::To).and_then(|to| super::dialog::text(to.value))
        {
            head.to = to;
        }
        let bytes = head.write("ACK", &invite.via, Rest::default());
        if let Some(out) = effects.stage(leg, Kind::Response, bytes.len()) {
            out.extend_from_slice(&bytes);
        }
    }

    fn cancel(&mut self, key: Key, effects: &mut Effects) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let (Some(leg), Some(invite)) = (client.leg, &mut client.invite) else { return };
        invite.heard = Heard::Cancelled;
        let bytes = invite.head.write("CANCEL", &invite.via, Rest::default());
        if let Some(out) = effects.stage(leg, Kind::Response, bytes.len()) {
            out.extend_from_slice(&bytes);
        }
    }

    /// Gives up an INVITE: cancels it, and ends the dialog if it is accepted all the same.
    pub(super) fn abandon(&mut self, now: Now, chat: Key, dialog: &Dialog, effects: &mut Effects) {
        let of_chat = |client: &Client| matches!(client.purpose, Purpose::Invite(c) if c == chat);
        let found =
            self.clients.keys().into_iter().find(|key| self.clients.get(*key).is_some_and(of_chat));
        if let Some(key) = found {
            self.abandon_client(now, key, dialog.clone(), effects);
        }
    }

    fn abandon_client(&mut self, now: Now, key: Key, dialog: Dialog, effects: &mut Effects) {
        let timer = self.timers.start_in(now, limits::TIMER_H_MS, Due::Client(key));
        let Some(client) = self.clients.get_mut(key) else { return };
        client.purpose = Purpose::Abandoned(Box::new(dialog));
        let old = client.timer.replace(timer);
        let heard = client.invite.as_ref().map(|invite| invite.heard);
        self.timers.stop(old);
        match heard {
            Some(Heard::Provisional) => self.cancel(key, effects),
            Some(Heard::Nothing) => {
                // RFC 3261 section 9.1: no CANCEL before a provisional answer.
                let client = self.clients.get_mut(key);
                if let Some(invite) = client.and_then(|client| client.invite.as_mut()) {
                    invite.heard = Heard::Given;
                }
            }
            _ => {}
        }
    }

    /// A request was not answered in time.
    pub(super) fn client_unanswered(&mut self, now: Now, key: Key, effects: &mut Effects) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.timer = None;
        self.counters.unanswered += 1;
        if let Purpose::Invite(chat) = client.purpose
            && client.leg.is_some()
            && let Some(dialog) = self.chats.get(chat).map(|chat| chat.dialog.clone())
        {
            self.abandon_client(now, key, dialog, effects);
            return self.concluded.push_back((Purpose::Invite(chat), Local::Timeout));
        }
        self.conclude(key, Local::Timeout);
    }

    /// What an answer leads to.
    pub(super) fn answered(
        &mut self,
        now: Now,
        purpose: Purpose,
        answer: &Answer<'_>,
        effects: &mut Effects,
    ) {
        match purpose {
            Purpose::Nothing => {}
            Purpose::Pager(sent) => self.page_answered(now, *sent, answer, effects),
            Purpose::Invite(chat) => self.invite_answered(now, chat, answer, effects),
            Purpose::Abandoned(dialog) => self.too_late(now, *dialog, answer, effects),
            Purpose::InSession(chat, sent) => {
                self.in_session_answered(now, chat, *sent, answer, effects);
            }
            Purpose::Subscribe(key) => self.subscribe_answered(now, key, answer, effects),
            Purpose::Unsubscribe(key) => self.unsubscribe_answered(now, key, effects),
            Purpose::Notify(key) => self.notify_answered(now, key, answer, effects),
            Purpose::Publish(name) => self.publish_answered(now, &name, answer),
            Purpose::HandedOver(handed) => {
                self.handed_over_answered(now, &handed, answer, effects);
            }
        }
    }

    /// Acknowledges the acceptance of an INVITE. It has a branch of its own and no answer.
    pub(super) fn acknowledge(
        &mut self,
        leg: Option<LegId>,
        dialog: &Dialog,
        cseq: u32,
        effects: &mut Effects,
    ) {
        self.numbers += 1;
        let proof = keyed(self.setup.process_key, b"ack", self.numbers);
        let via = format!(
            "SIP/2.0/TLS {}:{};branch=z9hG4bKack{proof:016x}",
            self.setup.name, self.setup.sip_port
        );
        let bytes = dialog.head(cseq).write("ACK", &via, Rest::default());
        if let Some(out) = leg.and_then(|leg| effects.stage(leg, Kind::Response, bytes.len())) {
            out.extend_from_slice(&bytes);
        }
    }

    /// An INVITE that was given up is accepted: it is acknowledged and ended.
    fn too_late(
        &mut self,
        now: Now,
        mut dialog: Dialog,
        answer: &Answer<'_>,
        effects: &mut Effects,
    ) {
        let Answer::Response(message) = answer else { return };
        if !answer.is_success() {
            return;
        }
        dialog.answered(message);
        let cseq = message.cseq().map_or(1, |cseq| cseq.number);
        let domain = super::judge::host_of(&dialog.their_uri);
        let leg = self.open_leg(&domain);
        self.acknowledge(leg, &dialog, cseq, effects);
        let head = dialog.next();
        self.ask(now, &domain, "BYE", head, Rest::default(), Purpose::Nothing, effects);
    }
}

/// Returns the domain of whoever a request of ours is from.
fn contact_domain(from: &str) -> String {
    let address = NameAddr::parse(from.as_bytes()).ok();
    let uri = address.and_then(|address| super::dialog::text(address.uri));
    uri.map(|uri| super::judge::host_of(&uri)).unwrap_or_default()
}
