//! Other gateways: which of them has a pair of domains, and requests that reached the wrong one.
//!
//! The servers inside need not know which gateway has a pair. What begins something and reaches
//! another gateway is handed over: forwarded once, with our Via and a mark, and its answer passed
//! back. A redirect would be shorter, but neither Lync nor every Kamailio follows one. Whoever gets
//! a marked request serves it, so nothing goes in circles while gateways disagree; and what cannot
//! be handed over is served here. Within a dialog requests go to the Contact of whoever has it.

use super::Gateway;
use super::dialog::{self, Head};
use super::judge::host_of;
use super::server::{Answering, copied};
use super::slots::Key;
use super::translate::fault::reason_of;
use super::uac::{Answer, Local, Purpose};
use crate::dns::Domain;
use crate::edge::{Effects, Kind, LegId};
use crate::limits;
use crate::sip::{self, Edits, HeaderName, HeaderTable, Message, Method, Scan, Uri};
use crate::time::Now;

/// Marks what a gateway has handed over; its value is the gateway's name.
const HANDED_OVER: &str = "Entente-Handed-Over";

/// A request that another gateway serves.
#[derive(Clone, Debug)]
pub(super) struct HandedOver {
    /// Where it came from.
    leg: LegId,
    /// As it came, until it has been written: if it cannot be, it is served here.
    request: Box<[u8]>,
    /// The header fields that an answer of ours copies.
    lines: Box<[u8]>,
}

impl HandedOver {
    /// Forgets the request: the other gateway may have it, so it is served nowhere else.
    pub(super) fn written(&mut self) {
        self.request = Box::default();
    }
}

/// Who has a pair of domains, as the edges see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// This gateway.
    Ours,
    /// The one at this place among the next hops.
    Other(usize),
    /// No edge is linked that could tell; the one at this place may know better.
    Unknown(Option<usize>),
}

impl Gateway {
    /// Tells which gateway has a pair of domains: of those that are linked with the edge whose way
    /// the pair's stanzas take, the one that it falls to.
    pub(super) fn whose(&self, ours: &Domain, theirs: &Domain) -> Whose {
        if self.replicas.is_alone() {
            return Whose::Ours;
        }
        let places = self.snapshot.gateways_of(ours, theirs);
        let name_of = |place: &usize| &self.snapshot.next_hops()[*place].name;
        let Some(linked) = self.linked_with(ours.as_str(), theirs.as_str()) else {
            let other = places.iter().find(|place| *name_of(place) != self.setup.name);
            return Whose::Unknown(other.copied());
        };
        match places.iter().find(|place| linked.contains(name_of(place))) {
            Some(place) if *name_of(place) != self.setup.name => Whose::Other(*place),
            // An edge that does not tell leaves each gateway to serve what it gets.
            _ => Whose::Ours,
        }
    }

    /// Returns the place among the next hops of the gateway that a request is handed over to.
    fn handed_to(&self, message: &Message<'_>) -> Option<usize> {
        if self.replicas.is_alone() || message.find(HANDED_OVER).is_some() {
            return None;
        }
        let from = Uri::parse(message.from().ok()?.uri).ok()?;
        let to = Uri::parse(message.uri()).ok()?;
        let (ours, theirs) = (Domain::parse(from.host).ok()?, Domain::parse(to.host).ok()?);
        if !self.snapshot.is_own(from.host) {
            return None;
        }
        match self.whose(&ours, &theirs) {
            Whose::Ours | Whose::Unknown(None) => None,
            Whose::Other(place) | Whose::Unknown(Some(place)) => Some(place),
        }
    }

    /// Hands a request over that another gateway is to serve. `false`: it is to be served here.
    pub(super) fn hand_over_request(
        &mut self,
        now: Now,
        leg: LegId,
        method: Method,
        message: &Message<'_>,
        effects: &mut Effects,
    ) -> bool {
        let name = match method {
            Method::Message => "MESSAGE",
            Method::Invite => "INVITE",
            Method::Subscribe => "SUBSCRIBE",
            _ => return false,
        };
        let Some(place) = self.handed_to(message) else { return false };
        let Some(head) = head_of(message) else { return false };
        let at = self.hop_at(place);
        let tag = self.unguessable();
        let handed =
            HandedOver { leg, request: message.raw().into(), lines: copied(message, &tag) };
        let purpose = Purpose::HandedOver(Box::new(handed));
        let theirs = host_of(&head.uri);
        let invite = (method == Method::Invite).then_some(head);
        let Some(client) = self.reserve(now, at, name, theirs, invite, purpose) else {
            return false;
        };
        let bytes = self.marked(client, message);
        self.counters.handed_over += 1;
        self.send_inside(now, at, client, bytes, effects);
        true
    }

    /// Writes a request as it goes to another gateway.
    fn marked(&self, client: Key, message: &Message<'_>) -> Vec<u8> {
        let mut edits = Edits::new();
        let via_at = message.top_via().map_or(0, |top| top.line_start);
        let via = format!("Via: {}\r\n", self.via(client));
        edits.insert(via_at).extend_from_slice(via.as_bytes());
        if let (Some(field), Ok(Some(hops))) =
            (message.first(HeaderName::MaxForwards), message.max_forwards())
        {
            edits.replace(field.value_range, hops.saturating_sub(1).to_string().as_bytes());
        }
        let mark = format!("{HANDED_OVER}: {}\r\n", self.setup.name);
        edits.insert(message.head_len() - 2).extend_from_slice(mark.as_bytes());
        let mut out = Vec::with_capacity(message.raw().len() + 256);
        edits.apply(message.raw(), &mut out);
        out
    }

    /// What was handed over was answered, or did not get there.
    pub(super) fn handed_over_answered(
        &mut self,
        now: Now,
        handed: &HandedOver,
        answer: &Answer<'_>,
        effects: &mut Effects,
    ) {
        match answer {
            Answer::Response(message) => self.pass_back(handed.leg, message, effects),
            Answer::Local(Local::Unreachable | Local::Full) if !handed.request.is_empty() => {
                self.counters.handed_back += 1;
                self.serve(now, handed.leg, &handed.request, effects);
            }
            Answer::Local(_) => {
                let lines = self.diagnostics(504, "the gateway of this pair has not answered");
                let answering = Answering { lines: &lines, body: None };
                let status = (504, reason_of(504));
                self.write_answer(handed.leg, &handed.lines, status, answering, effects);
            }
        }
    }

    fn pass_back(&mut self, leg: LegId, message: &Message<'_>, effects: &mut Effects) {
        let mut edits = Edits::new();
        let Ok(top) = message.top_via() else { return };
        edits.remove(top.value.remove);
        let mut bytes = Vec::with_capacity(message.raw().len());
        edits.apply(message.raw(), &mut bytes);
        match effects.stage(leg, Kind::Response, bytes.len()) {
            Some(out) => out.extend_from_slice(&bytes),
            None => self.counters.answers_undeliverable += 1,
        }
    }

    /// Serves a request that could not be handed over.
    fn serve(&mut self, now: Now, leg: LegId, request: &[u8], effects: &mut Effects) {
        let mut table = Box::new(HeaderTable::with_body_bytes_max(limits::GATEWAY_BODY_BYTES_MAX));
        if let Ok(Scan::Message(scanned)) = sip::scan(request, &mut table) {
            let message = Message::new(request, &table, scanned);
            let method = message.method().unwrap_or(Method::Other);
            self.begins(now, leg, method, &message, effects);
        }
    }
}

/// Returns what the ACK of a refusal is made of.
fn head_of(message: &Message<'_>) -> Option<Head> {
    let value = |name| message.first(name).and_then(|field| dialog::text(field.value));
    Some(Head {
        uri: dialog::text(message.uri())?,
        routes: message.all(HeaderName::Route).filter_map(|f| dialog::text(f.value)).collect(),
        from: value(HeaderName::From)?,
        to: value(HeaderName::To)?,
        call_id: dialog::text(message.call_id())?,
        cseq: message.cseq().ok()?.number,
    })
}
