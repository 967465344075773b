//! Servers inside ask for credentials of the A/V Edge: SERVICE on a listener of its own, answered
//! here and never forwarded (wire-protocols E.9). Who may ask at all, TLS has judged by name.

use super::Access;
use super::diagnostics::{Blame, Fault};
use super::screen::Stop;
use crate::edge::mras::{self, Service};
use crate::edge::{Effects, Kind, LegId, Severity};
use crate::limits;
use crate::policy::Snapshot;
use crate::sip::{HeaderName, Message, Method, Uri, reply};
use crate::time::Now;

/// Returns the service of a policy, where it has one.
pub(super) fn service(snapshot: &Snapshot) -> Option<Box<Service>> {
    snapshot.media().map(|media| Box::new(Service::new(media)))
}

impl Access {
    /// Serves a request on a leg of [`crate::edge::Class::Credentials`].
    pub(super) fn serve_credentials(
        &mut self,
        now: Now,
        leg: LegId,
        message: &Message<'_>,
        effects: &mut Effects,
    ) {
        match self.screen_credentials(leg, message) {
            Ok(()) => {}
            Err(Stop::Local) => return self.answer_ok(leg, message, effects),
            Err(Stop::Refuse(fault)) => return self.refuse(leg, message, &fault, effects),
            Err(Stop::Ask(_) | Stop::Hold { .. }) => {
                unreachable!("nothing is asked and nobody waits on this listener")
            }
        }
        let Some(service) = &self.media else {
            return self.refuse(leg, message, &no_service(), effects);
        };
        let answer = if self.draining.is_some() {
            Service::busy(message.body())
        } else {
            let judge = |identity: &str| self.judge_identity(message, identity);
            service.answer(now.unix_s, message.body(), judge)
        };
        self.tell_credentials(leg, answer.outcome, effects);
        self.reply_credentials(leg, message, &answer, effects);
    }

    fn screen_credentials(&self, leg: LegId, message: &Message<'_>) -> Result<(), Stop> {
        let seen = message.check().map_err(|fault| Fault::syntax(&fault))?;
        let Some(uri) = seen.request_uri else { return Err(Fault::scheme().into()) };
        self.screen_local(leg, message, &uri, seen.max_forwards)?;
        if message.method() != Some(Method::Service) {
            return Err(not_here().into());
        }
        if message.present(HeaderName::ProxyRequire) {
            return Err(Fault::bad_extension(message).into());
        }
        if !self.snapshot.is_own(uri.host) && !self.is_this_edge(leg, uri.host) {
            return Err(elsewhere().into());
        }
        let content = message.first(HeaderName::ContentType).map(|field| field.value);
        let content = content.and_then(|value| value.split(|byte| *byte == b';').next());
        if !content.is_some_and(|kind| {
            kind.trim_ascii().eq_ignore_ascii_case(mras::CONTENT_TYPE.as_bytes())
        }) {
            return Err(no_such_content().into());
        }
        Ok(())
    }

    /// Judges whom credentials are wanted for: whoever asks, and for a server anybody of ours.
    ///
    /// Returns the name that quotas count by. Which sender a request has is the word of the server
    /// that sent it; without this rule a user could ask under any name, and each has a quota.
    fn judge_identity(&self, message: &Message<'_>, identity: &str) -> Result<String, mras::Fault> {
        let read = Uri::parse(identity.as_bytes());
        let uri = read.map_err(|_| mras::Fault::Malformed("the identity is no SIP URI"))?;
        if !self.snapshot.is_own(uri.host) && !self.snapshot.is_internal_host(uri.host) {
            return Err(mras::Fault::Forbidden("the identity is not of this organisation"));
        }
        let from = message.from().ok().and_then(|from| Uri::parse(from.uri).ok());
        let from = from.ok_or(mras::Fault::Forbidden("the sender is no SIP URI"))?;
        let name = |uri: &Uri<'_>| {
            let user = uri.user_unescaped().to_ascii_lowercase();
            (user, uri.host.to_ascii_lowercase())
        };
        if from.user.is_some() && name(&from) != name(&uri) {
            return Err(mras::Fault::Forbidden("the identity is not the sender's"));
        }
        let (user, host) = name(&uri);
        Ok(String::from_utf8_lossy(&[&user[..], b"@", &host].concat()).into_owned())
    }

    fn tell_credentials(
        &mut self,
        leg: LegId,
        outcome: Result<usize, mras::Fault>,
        effects: &mut Effects,
    ) {
        let (severity, sentence) = match outcome {
            Ok(issued) => {
                self.counters.credentials_issued += issued as u64;
                (Severity::Debug, format!("{issued} relay credentials handed out"))
            }
            Err(fault) => {
                self.counters.credentials_refused += 1;
                let (phrase, why) = (fault.phrase(), fault.sentence());
                (Severity::Info, format!("relay credentials refused with {phrase}: {why}"))
            }
        };
        self.note(Some(leg), severity, sentence, 0, effects);
    }

    fn reply_credentials(
        &mut self,
        leg: LegId,
        message: &Message<'_>,
        answer: &mras::Answer,
        effects: &mut Effects,
    ) {
        let (status, reason) = answer.outcome.map_or_else(mras::Fault::status, |_| (200, "OK"));
        let mut lines = format!("Content-Type: {}\r\n", mras::CONTENT_TYPE).into_bytes();
        if status == 503 {
            lines.extend_from_slice(b"Retry-After: 30\r\n");
        }
        let bytes =
            message.head_len() + lines.len() + answer.body.len() + limits::OWN_RESPONSE_BYTES_MAX;
        let mut tag = [0_u8; 16];
        super::branch::hex(&mut tag, self.random());
        if let Some(out) = effects.stage(leg, Kind::Response, bytes) {
            reply::write_with(out, message, (status, reason), &tag, &lines, &answer.body);
        } else {
            self.counters.responses_undeliverable += 1;
        }
    }
}

fn not_here() -> Fault {
    let sentence = "only SERVICE is answered where credentials are handed out";
    let fault = Fault::new(405, "Method Not Allowed", 0, Blame::Syntax, sentence);
    fault.with_headers(b"Allow: SERVICE, OPTIONS\r\n")
}

fn elsewhere() -> Fault {
    let sentence = "the Request-URI leads to no credentials service of this organisation";
    Fault::new(404, "Not Found", 1003, Blame::Policy, sentence)
}

fn no_such_content() -> Fault {
    let sentence = "the body is of another kind than a request for relay credentials";
    let fault = Fault::new(415, "Unsupported Media Type", 0, Blame::Syntax, sentence);
    fault.with_headers(b"Accept: application/msrtc-media-relay-auth+xml\r\n")
}

fn no_service() -> Fault {
    let sentence = "this edge hands out no relay credentials";
    Fault::new(480, "Temporarily Unavailable", 0, Blame::Policy, sentence)
}
