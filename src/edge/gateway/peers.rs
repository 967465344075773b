//! SIP connections with servers inside: framing, and what is a request and what a response.

use super::Gateway;
use crate::edge::{CloseReason, Command, Effects, Fed, Kind, LegId, Severity};
use crate::limits;
use crate::sip::{self, HeaderTable, Message, Method, Scan, reply};
use crate::time::Now;

/// What is at the other end of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// An edge, by its place in the setup.
    Link(usize),
    /// A server inside.
    Sip {
        /// The next hop that we have connected to; `None`: it has connected to us.
        hop: Option<usize>,
    },
}

impl Gateway {
    pub(super) fn sip_fed(
        &mut self,
        now: Now,
        leg: LegId,
        input: &[u8],
        effects: &mut Effects,
    ) -> Fed {
        // Taken out for as long as the message is looked at.
        let mut table = self.table.take().unwrap_or_else(|| {
            Box::new(HeaderTable::with_body_bytes_max(limits::GATEWAY_BODY_BYTES_MAX))
        });
        let fed = self.sip_read(now, leg, input, &mut table, effects);
        self.table = Some(table);
        fed
    }

    fn sip_read(
        &mut self,
        now: Now,
        leg: LegId,
        input: &[u8],
        table: &mut HeaderTable,
        effects: &mut Effects,
    ) -> Fed {
        match sip::scan(input, table) {
            Ok(Scan::NeedMore(bytes)) => Fed::NeedMore(bytes),
            Ok(Scan::KeepAlive { consumed, ping }) => {
                if ping && let Some(out) = effects.stage(leg, Kind::Response, 2) {
                    out.extend_from_slice(b"\r\n");
                }
                Fed::Consumed(consumed)
            }
            Ok(Scan::Message(scanned)) => {
                let message = Message::new(input, table, scanned);
                if message.status().is_some() {
                    self.response(now, leg, &message, effects);
                } else {
                    self.counters.requests_in += 1;
                    self.request(now, leg, &message, effects);
                }
                Fed::Consumed(scanned.total())
            }
            Ok(Scan::Broken(scanned, fault)) => {
                self.counters.malformed += 1;
                let message = Message::new(input, table, scanned);
                let silent = matches!(message.method(), None | Some(Method::Ack));
                if !silent {
                    self.reply(leg, &message, fault.status(), fault.reason(), "", effects);
                }
                self.close_broken(leg, fault.reason(), effects)
            }
            Err(fault) => {
                self.counters.malformed += 1;
                self.close_broken(leg, fault.sentence(), effects)
            }
        }
    }

    fn close_broken(&mut self, leg: LegId, why: &str, effects: &mut Effects) -> Fed {
        self.note(Some(leg), Severity::Warn, format!("closing: {why}"), effects);
        effects.commands.push(Command::Close { leg, reason: CloseReason::FramingLost });
        Fed::Dead
    }

    /// Answers a request at once, without a body. `lines`: whole, with their CRLF.
    pub(super) fn reply(
        &mut self,
        leg: LegId,
        message: &Message<'_>,
        status: u16,
        reason: &str,
        lines: &str,
        effects: &mut Effects,
    ) {
        let bytes = message.head_len() + lines.len() + limits::OWN_RESPONSE_BYTES_MAX;
        let tag = self.unguessable();
        match effects.stage(leg, Kind::Response, bytes) {
            Some(out) => {
                reply::write(out, message, status, reason, tag.as_bytes(), lines.as_bytes());
            }
            None => self.counters.answers_undeliverable += 1,
        }
    }
}
