//! What a partner does not see of the inside where `federation.hide_topology` is on.
//!
//! ```text
//!  inside ── Via: client, proxy, pool ─────────────┐ kept in the slot, put back on responses
//!         ── Record-Route: pool, front end ──> our entry + one sealed entry ──> partner
//!         <── Record-Route / Route: pool, front end <── opened <── sealed entry ──
//! ```
//!
//! Vias need not travel: a response is of use only where its transaction is, in this process, so
//! they wait in the slot. Record-Route entries must, because a dialog outlives transactions,
//! processes and keys: they go as a seal ([`super::seal`]), our own inner entry among them.
//!
//! What was hidden is put back whether or not the switch is still on, and what went out in the
//! open comes back as it is after it was turned on: the message tells which of the two it was.
//!
//! A loop over a partner is found one round later than without, when it leaves the inside again:
//! our Via of the round before is among those that stayed here.

use super::Access;
use super::diagnostics::{Blame, Fault};
use super::headers::Crossing;
use super::route::{self, Entry};
use super::screen::{self, Plan};
use super::seal::{self, Entries, Made};
use crate::edge::{Effects, LegId};
use crate::limits;
use crate::sip::{self, Edits, HeaderName, Message, Method, NameAddr, Uri, Value};
use crate::time::Now;

/// Whether a response may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recorded {
    /// What it recorded can be opened, or sealed.
    Good,
    /// It cannot; the response has been dealt with.
    Bad,
}

impl Access {
    /// Returns whether a message that crosses this way leaves without the inside's names.
    pub(super) fn hides(&self, crossing: Crossing) -> bool {
        crossing == Crossing::InsideToPartner && self.snapshot.outgoing().hide_topology
    }

    /// Refuses a request whose recorded entries are more than a seal holds.
    pub(super) fn screen_recorded(&self, message: &Message<'_>, plan: &Plan) -> Result<(), Fault> {
        if self.hides(plan.crossing) && !self.fits(message, usize::MAX) {
            let sentence = "the Record-Route entries of the inside are too long to be sealed";
            return Err(too_long(513, "Message Too Large", sentence));
        }
        Ok(())
    }

    /// Returns the Via lines of a request that hides them, as its responses will carry them.
    pub(super) fn keep_vias(&self, leg: LegId, message: &Message<'_>, plan: &Plan) -> Box<[u8]> {
        let answered = !matches!(message.method(), Some(Method::Ack | Method::Benotify));
        if !self.hides(plan.crossing) || !answered {
            return Box::default();
        }
        let suffix = self.legs.get(leg).map_or("", |held| &held.via_suffix);
        let lines = message.all(HeaderName::Via).map(|field| field.line.len()).sum::<usize>();
        let mut kept = Vec::with_capacity(lines + suffix.len());
        for field in message.all(HeaderName::Via) {
            let line = message.raw().get(field.line.clone()).unwrap_or(&[]);
            let top_end = plan.places.via_end.checked_sub(field.line.start);
            match top_end.filter(|_| kept.is_empty()).and_then(|end| line.split_at_checked(end)) {
                Some((top, rest)) => {
                    kept.extend_from_slice(top);
                    kept.extend_from_slice(suffix.as_bytes());
                    kept.extend_from_slice(rest);
                }
                None => kept.extend_from_slice(line),
            }
        }
        kept.into_boxed_slice()
    }

    /// Takes off a request what only the inside may see, and pushes our entry with the seal.
    pub(super) fn hide(&self, leg: LegId, message: &Message<'_>, plan: &Plan, edits: &mut Edits) {
        route::remove_all(message, HeaderName::Via, edits);
        remove_registered_paths(message, edits);
        if !plan.dialog_forming && !message.present(HeaderName::RecordRoute) {
            return;
        }
        let field = message.first(HeaderName::RecordRoute);
        let at = field.map_or(plan.places.via_line, |field| field.line.start);
        let mut hidden = Entries::default();
        let out = edits.insert(at);
        if plan.dialog_forming {
            self.write_record_routes(leg, message, plan, Some(&mut hidden), out);
        }
        message.values(HeaderName::RecordRoute).for_each(|value| hidden.push(value.bytes));
        self.write_seal(Made::InRequest, message, &hidden, out);
        route::remove_all(message, HeaderName::RecordRoute, edits);
    }

    /// Looks at what a response recorded before anything is done with it.
    pub(super) fn screen_response(
        &mut self,
        now: Now,
        index: u32,
        status: u16,
        message: &Message<'_>,
        effects: &mut Effects,
    ) -> Recorded {
        if !message.present(HeaderName::RecordRoute) {
            return Recorded::Good;
        }
        let slot = self.slots.get(index);
        if slot.crossing == Crossing::InsideToPartner && !slot.vias.is_empty() {
            if self.own_seals(message).all(|value| self.open_value(message, &value).is_some()) {
                return Recorded::Good;
            }
            self.counters.bad_seals += 1;
            return Recorded::Bad;
        }
        let settled = slot.state().is_settled();
        // A failure begins no dialog and goes without.
        let hides = self.hides(slot.crossing.reverse()) && status < 300;
        if !hides || self.fits_response(index, message) {
            return Recorded::Good;
        }
        self.counters.bad_seals += 1;
        if status >= 200 && !settled {
            let sentence = "the response's Record-Route entries are too long to be sealed";
            let fault = too_long(500, "Server Internal Error", sentence);
            self.fail(now, index, &fault, effects);
        }
        Recorded::Bad
    }

    /// Puts back what was hidden from the partner whose response this is.
    pub(super) fn restore(&self, index: u32, message: &Message<'_>, edits: &mut Edits) {
        if let Some(top) = message.first(HeaderName::Via) {
            edits.insert(top.line.start).extend_from_slice(&self.slots.get(index).vias);
        }
        route::remove_all(message, HeaderName::Via, edits);
        for value in self.own_seals(message) {
            let Some(hidden) = self.open_value(message, &value) else { continue };
            let mut text = Vec::new();
            for entry in hidden.iter() {
                // A comma and the begin of another line of the same name mean the same (RFC 3261
                // section 7.3.1); each had a line of its own.
                text.extend_from_slice(if text.is_empty() { b"" } else { b"\r\nRecord-Route: " });
                text.extend_from_slice(entry);
            }
            edits.replace(value.range, &text);
        }
    }

    /// Seals what the inside recorded in a response to a partner's request.
    pub(super) fn seal_response(&mut self, index: u32, message: &Message<'_>, edits: &mut Edits) {
        remove_registered_paths(message, edits);
        let Some(first) = message.first(HeaderName::RecordRoute) else { return };
        let inner = self.inner_entries(index, message);
        let mut hidden = Entries::default();
        if self.fits(message, inner) {
            // The partner's user goes this way from its own end: the other way round.
            let mut values: Vec<_> = message.values(HeaderName::RecordRoute).take(inner).collect();
            values.reverse();
            values.iter().for_each(|value| hidden.push(value.bytes));
        }
        self.write_seal(Made::InResponse, message, &hidden, edits.insert(first.line.start));
        let mut at = 0;
        message.remove_values(HeaderName::RecordRoute, edits, |_| {
            at += 1;
            at <= inner
        });
    }

    /// Puts the entries of a partner's Route that were sealed back, but for our own.
    pub(super) fn open_route(
        &mut self,
        message: &Message<'_>,
        sealed: &[u8],
        edits: &mut Edits,
    ) -> Result<(), Fault> {
        let (Some(hidden), Some(route)) =
            (self.seals.open(sealed, route::dialogs(message)), message.first(HeaderName::Route))
        else {
            self.counters.bad_seals += 1;
            let sentence = "the sealed route does not belong to this dialog".to_owned();
            return Err(Fault { sentence, ..Fault::dead_dialog() });
        };
        let is_own = |entry: &&[u8]| {
            let uri = NameAddr::parse(entry).ok().map(|name| name.uri);
            uri.and_then(super::headers::host_of).is_some_and(|host| self.names.contains(host))
        };
        let out = edits.insert(route.line.start);
        for entry in hidden.iter().skip_while(is_own) {
            out.extend_from_slice(b"Route: ");
            out.extend_from_slice(entry);
            out.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    /// Returns how many entries at the top of a response's Record-Route a partner may not see: all
    /// but those that its request already had when we passed it on, without our inner one.
    fn inner_entries(&mut self, index: u32, response: &Message<'_>) -> usize {
        let slot = self.slots.get(index);
        let head = slot.sent[..slot.head_len].to_vec();
        let (sent, ours) = self.with_scratch(|_, scratch| {
            let Some(request) = sip::read_head(&head, &mut scratch.table) else { return (0, 0) };
            let in_dialog = request.to().is_ok_and(|to| to.tag().is_some());
            let forming = screen::forms_dialog(&request, in_dialog);
            (request.values(HeaderName::RecordRoute).count(), usize::from(forming))
        });
        let total = response.values(HeaderName::RecordRoute).count();
        // Whoever lost some of them cannot be trusted with the order of the rest.
        if total < sent { total } else { total - sent + ours }
    }

    fn fits_response(&mut self, index: u32, response: &Message<'_>) -> bool {
        let inner = self.inner_entries(index, response);
        self.fits(response, inner)
    }

    /// Returns whether the first `count` recorded entries, and one of ours, fit in a seal.
    fn fits(&self, message: &Message<'_>, count: usize) -> bool {
        let recorded = message.values(HeaderName::RecordRoute).take(count);
        let bytes: usize = recorded.map(|value| seal::packed_bytes(value.bytes.len())).sum();
        bytes + seal::packed_bytes(route::ENTRY_BYTES_MAX) <= limits::SEALED_ROUTES_BYTES_MAX
    }

    fn write_seal(&self, made: Made, message: &Message<'_>, hidden: &Entries, out: &mut Vec<u8>) {
        let Some(dialog) = route::dialog_begun(message).filter(|_| !hidden.is_empty()) else {
            return;
        };
        let mut sealed = Vec::new();
        self.seals.seal(made, &dialog, hidden, &mut sealed);
        let entry = Entry {
            header: "Record-Route",
            user: Some(&sealed),
            host: &self.names.external,
            port: self.names.external_port,
            token: None,
        };
        entry.write(out);
    }

    /// Walks the recorded entries of a partner's response that are seals of requests of ours.
    fn own_seals<'a>(&self, message: &Message<'a>) -> impl Iterator<Item = Value<'a>> {
        message.values(HeaderName::RecordRoute).filter(|value| {
            let uri = uri_of(value.bytes);
            let ours =
                uri.filter(|uri| uri.host.eq_ignore_ascii_case(self.names.external.as_bytes()));
            ours.and_then(|uri| seal::read(uri.user?)) == Some(Made::InRequest)
        })
    }

    fn open_value(&self, message: &Message<'_>, value: &Value<'_>) -> Option<Entries> {
        self.seals.open(uri_of(value.bytes)?.user?, route::dialog_begun(message).into_iter())
    }
}

fn uri_of(entry: &[u8]) -> Option<Uri<'_>> {
    Uri::parse(NameAddr::parse(entry).ok()?.uri).ok()
}

/// Path and Service-Route belong to REGISTER (RFC 3327, RFC 3608), which does not cross.
fn remove_registered_paths(message: &Message<'_>, edits: &mut Edits) {
    route::remove_all(message, HeaderName::Path, edits);
    for field in message.all(HeaderName::Other) {
        if field.name_text.eq_ignore_ascii_case(b"Service-Route") {
            edits.remove(field.line);
        }
    }
}

fn too_long(status: u16, reason: &'static str, sentence: &str) -> Fault {
    Fault::new(status, reason, 0, Blame::Syntax, sentence)
}
