//! Requests of others that wait for what the other side says.

use super::dialog::write_body;
use super::slots::Key;
use super::timers::{Due, TimerId};
use super::translate::fault::{Addressed, Refusal, Transaction, reason_of, refusal_of};
use super::{Gateway, Settled};
use crate::edge::{Effects, Kind, LegId};
use crate::limits;
use crate::sip::{Message, reply};
use crate::time::Now;
use crate::xmpp::{Jid, ReceivedStanzaError, StanzaError};

/// A request that is not answered.
#[derive(Debug)]
pub(super) struct Server {
    leg: LegId,
    /// The header fields that an answer copies.
    lines: Box<[u8]>,
    addressed: Addressed,
    /// Under which id its stanza may fail, and in whose word.
    stanza: Option<(String, Jid<'static>)>,
    timer: Option<TimerId>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its stanza is on the way.
    Sent,
    /// The contact's server has it, and may still say that there is no such user.
    Taken,
}

/// What an answer carries beside its status.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answering<'a> {
    /// Whole lines with their CRLF.
    pub(super) lines: &'a str,
    /// Type and bytes of the body.
    pub(super) body: Option<(&'a str, &'a [u8])>,
}

const BEFORE: &[u8] = b"SIP/2.0 200 OK\r\n";
const BEHIND: &[u8] = b"Content-Length: 0\r\n\r\n";

/// Returns the header fields that every answer to `request` copies, with our tag.
pub(super) fn copied(request: &Message<'_>, tag: &str) -> Box<[u8]> {
    let mut out = Vec::with_capacity(request.head_len() + 64);
    reply::write(&mut out, request, 200, "OK", tag.as_bytes(), b"");
    let lines = out.strip_prefix(BEFORE).and_then(|rest| rest.strip_suffix(BEHIND));
    lines.unwrap_or_default().into()
}

/// Returns how long a contact's error is waited for while `held` requests wait: less, the fuller
/// their places are, and nothing once all are taken. So it is the machine and not the wait that
/// bounds how many messages pass in a second.
const fn grace_ms(whole_ms: u64, held: usize) -> u64 {
    let free = (limits::GATEWAY_SERVERS_MAX - 1).saturating_sub(held) as u64;
    let half = (limits::GATEWAY_SERVERS_MAX / 2) as u64;
    if free >= half { whole_ms } else { whole_ms * free / half }
}

impl Gateway {
    /// Keeps a request until its stanza is reported on. `None`: there is no room, and the request
    /// was answered so.
    pub(super) fn keep(
        &mut self,
        now: Now,
        leg: LegId,
        message: &Message<'_>,
        addressed: Addressed,
        effects: &mut Effects,
    ) -> Option<Key> {
        let tag = self.unguessable();
        let lines = copied(message, &tag);
        let server =
            Server { leg, lines, addressed, stanza: None, timer: None, stage: Stage::Sent };
        let Some(key) = self.servers.insert(server) else {
            self.counters.refused_by_limit += 1;
            let lines = "Retry-After: 10\r\n";
            self.reply(leg, message, 503, "Service Unavailable", lines, effects);
            return None;
        };
        let timer = self.timers.start_in(now, limits::GATEWAY_SERVER_MS, Due::Server(key));
        if let Some(server) = self.servers.get_mut(key) {
            server.timer = Some(timer);
        }
        Some(key)
    }

    /// Says by which stanza a request will be known if the contact answers with an error.
    pub(super) fn is_stanza(&mut self, key: Key, id: &str, to: &Jid<'_>) {
        if let Some(server) = self.servers.get_mut(key)
            && !self.by_stanza.contains_key(id)
        {
            server.stanza = Some((id.to_owned(), to.bare().into_owned()));
            self.by_stanza.insert(id.to_owned(), key);
        }
    }

    /// Answers a request that was kept.
    pub(super) fn answer(
        &mut self,
        key: Key,
        status: u16,
        reason: &str,
        answering: Answering<'_>,
        effects: &mut Effects,
    ) {
        let Some(server) = self.servers.remove(key) else { return };
        self.timers.stop(server.timer);
        if let Some((id, _)) = &server.stanza {
            self.by_stanza.remove(id);
        }
        self.write_answer(server.leg, &server.lines, (status, reason), answering, effects);
    }

    /// Writes an answer. `copied`: of [`copied`].
    pub(super) fn write_answer(
        &mut self,
        leg: LegId,
        copied: &[u8],
        (status, reason): (u16, &str),
        answering: Answering<'_>,
        effects: &mut Effects,
    ) {
        let mut out = format!("SIP/2.0 {status} {reason}\r\n").into_bytes();
        out.extend_from_slice(copied);
        out.extend_from_slice(answering.lines.as_bytes());
        write_body(answering.body, &mut out);
        match effects.stage(leg, Kind::Response, out.len()) {
            Some(staged) => staged.extend_from_slice(&out),
            None => self.counters.answers_undeliverable += 1,
        }
    }

    fn refuse_with(&mut self, key: Key, error: &ReceivedStanzaError, effects: &mut Effects) {
        let Some(server) = self.servers.get(key) else { return };
        let refusal = refusal_of(error, server.addressed, Transaction::NonInvite);
        self.count(refusal.losses);
        let Refusal { status, reason, contact } = refusal.value;
        let contact = contact.map(|uri| format!("Contact: <{uri}>\r\n")).unwrap_or_default();
        let lines = contact + &self.diagnostics(status, error.condition.as_str());
        self.answer(key, status, &reason, Answering { lines: &lines, body: None }, effects);
    }

    /// A request's stanza was reported on.
    pub(super) fn server_settled(
        &mut self,
        now: Now,
        key: Key,
        settled: Settled,
        effects: &mut Effects,
    ) {
        match settled {
            Settled::Bounced(error) => self.refuse_with(key, &error, effects),
            Settled::Taken => {
                let grace = grace_ms(self.setup.error_grace_ms, self.servers.len());
                let Some(server) = self.servers.get_mut(key) else { return };
                if grace == 0 || server.stanza.is_none() {
                    return self.answer(key, 200, "OK", Answering::default(), effects);
                }
                server.stage = Stage::Taken;
                let old = server.timer.take();
                self.timers.stop(old);
                let timer = self.timers.start_in(now, grace, Due::Server(key));
                if let Some(server) = self.servers.get_mut(key) {
                    server.timer = Some(timer);
                }
            }
        }
    }

    /// A contact answers a stanza with an error. Returns whether a request was waiting for it: one
    /// whose stanza went to him, whoever else may know its id.
    pub(super) fn failed(
        &mut self,
        id: &str,
        from: &Jid<'_>,
        error: &ReceivedStanzaError,
        effects: &mut Effects,
    ) -> bool {
        let Some(key) = self.by_stanza.get(id).copied() else { return false };
        let stanza = self.servers.get(key).and_then(|server| server.stanza.as_ref());
        if stanza.is_none_or(|(_, to)| to.bare() != from.bare()) {
            return false;
        }
        self.counters.errors_in_time += 1;
        self.refuse_with(key, error, effects);
        true
    }

    /// The time of a request is over: no error came, or nothing at all.
    pub(super) fn server_due(&mut self, _: Now, key: Key, effects: &mut Effects) {
        let Some(server) = self.servers.get_mut(key) else { return };
        server.timer = None;
        match server.stage {
            Stage::Taken => self.answer(key, 200, "OK", Answering::default(), effects),
            Stage::Sent => {
                let lines = self.diagnostics(504, StanzaError::RemoteServerTimeout.as_str());
                let answering = Answering { lines: &lines, body: None };
                self.answer(key, 504, reason_of(504), answering, effects);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuller_the_places_the_shorter_the_wait() {
        let max = limits::GATEWAY_SERVERS_MAX;
        assert_eq!((grace_ms(250, 1), grace_ms(250, max / 2 - 1)), (250, 250));
        assert_eq!(grace_ms(250, max - max / 4 - 1), 125);
        assert_eq!((grace_ms(250, max - 1), grace_ms(250, max)), (0, 0));
        assert_eq!(grace_ms(0, 1), 0);
    }
}
