//! What is judged for every message and never cached: limits of the partner, and the access policy
//! of the own user (DESIGN 6.5).
//!
//! A verdict says whether a peer may speak for a domain at all; only then is it known whose score a
//! message counts for, so a forged From spends nobody else's. Listed partners without limits do
//! not come past the first comparison.

use super::Access;
use super::diagnostics::Fault;
use super::headers::{Crossing, host_of};
use super::held;
use super::refusals::Owed;
use super::screen::{Plan, Stop};
use super::transaction::Upstream;
use crate::edge::{Effects, LegId, Severity};
use crate::limits;
use crate::policy::scores::{Addressed, Outcome, Parties, Toll};
use crate::policy::users::{Closed, Directory, Gate, Marks, Role};
use crate::policy::{Limits, PartnerKey};
use crate::sip::{self, Edits, HeaderName, Message, Method, Scan, Uri};
use crate::time::Now;

/// Whether a message has paid for its place in its sender's second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It comes from the wire and has not, though it may have waited for DNS.
    Fresh,
    /// It was held and has, though it may have had to wait for DNS after that.
    Held,
}

impl Access {
    /// Screens a request that is neither CANCEL nor for another shard, and judges what is judged
    /// for every message.
    pub(super) fn screen_each(
        &mut self,
        now: Now,
        leg: LegId,
        message: &Message<'_>,
        edits: &mut Edits,
        arrival: Arrival,
        effects: &mut Effects,
    ) -> Result<Plan, Stop> {
        let plan = self.screen(now, leg, message, edits, effects)?;
        self.judge_each(now, leg, message, plan, arrival, effects)
    }

    /// Judges what is judged for every message that screening let pass.
    pub(super) fn judge_each(
        &mut self,
        now: Now,
        leg: LegId,
        message: &Message<'_>,
        mut plan: Plan,
        arrival: Arrival,
        effects: &mut Effects,
    ) -> Result<Plan, Stop> {
        let limits = match plan.crossing {
            Crossing::PartnerToInside => {
                self.snapshot.limits(plan.admission.partner, plan.admission.kind).copied()
            }
            _ => None,
        };
        if let Some(limits) = limits {
            plan.score =
                Some(self.judge_limits(now, leg, message, &plan, limits, arrival, effects)?);
        }
        if let Err(closed) = self.judge_user(message, &plan) {
            if let (Some(score), Some(held)) = (plan.score, self.legs.get(leg)) {
                self.scores.answered(now, score, held.peer, Outcome::Failed);
            }
            return Err(Fault::user(&closed).into());
        }
        if !plan.admission.audio_video && offers_media(message) {
            return Err(Fault::no_media().into());
        }
        Ok(plan)
    }

    /// Judges the access policy of the own user that a request is from or for.
    ///
    /// A candidate policy is asked too, for every message: nothing of this is cached.
    fn judge_user(&mut self, message: &Message<'_>, plan: &Plan) -> Result<(), Closed> {
        let directory = self.snapshot.directory();
        let candidate = self.snapshot.candidate().map(|candidate| candidate.directory());
        let marked = matches!(plan.crossing, Crossing::InsideToPartner | Crossing::InsideToGateway)
            && message.present(HeaderName::MsUserData);
        let open = directory.is_open() && candidate.is_none_or(Directory::is_open);
        if open && !marked {
            return Ok(());
        }
        let from = || message.from().map_or(&[][..], |from| from.uri);
        let partner = Gate::towards(plan.admission.stamp.network);
        let partner = if offers_media(message) { partner.of_media() } else { partner };
        let (role, gate, uri) = match plan.crossing {
            Crossing::InsideToPartner => (Role::Sender, partner, from()),
            Crossing::InsideToGateway => (Role::Sender, Gate::Xmpp, from()),
            Crossing::UserToInside => (Role::Sender, Gate::Outside, from()),
            // In a dialog the Request-URI is a contact.
            Crossing::PartnerToInside if plan.by_token => {
                let to = message.to().map_or(&[][..], |to| to.uri);
                (Role::Recipient, partner, to)
            }
            Crossing::PartnerToInside => (Role::Recipient, partner, message.uri()),
            Crossing::InsideToUser => return Ok(()),
        };
        let Ok(uri) = Uri::parse(uri) else { return Ok(()) };
        // A guest who joins a conference of ours has no policy; his own switch let him pass.
        if role == Role::Sender && !self.snapshot.is_own(uri.host) {
            return Ok(());
        }
        let marks = if marked { user_marks(message) } else { Marks::default() };
        let user = uri.user_unescaped();
        let judge = |directory: &Directory| directory.judge(&user, uri.host, gate, role, marks);
        let judged = judge(directory);
        match (&judged, candidate.map(judge)) {
            (Ok(()), Some(Err(_))) => self.counters.shadow_would_refuse_user += 1,
            (Err(_), Some(Ok(()))) => self.counters.shadow_would_permit_user += 1,
            _ => {}
        }
        judged
    }

    /// Judges a message against its sender's limits; returns the key of the sender's score.
    fn judge_limits(
        &mut self,
        now: Now,
        leg: LegId,
        message: &Message<'_>,
        plan: &Plan,
        limits: Limits,
        arrival: Arrival,
        effects: &mut Effects,
    ) -> Result<u64, Stop> {
        let partner = plan.admission.partner;
        let from = message.from().ok().and_then(|from| host_of(from.uri)).unwrap_or_default();
        let Some(held) = self.legs.get(leg) else { return Err(Fault::not_for_us().into()) };
        let host = held.names.as_ref().and_then(|names| names.dns_names.first());
        let parties = Parties {
            domain: self.snapshot.partner_domain(partner).map_or(from, str::as_bytes),
            listed: !matches!(partner, PartnerKey::Discovered(_)),
            domain_key: self.score_key(partner, from),
            certificate: held.peer,
            host: host.map_or("", |host| host.as_str()),
        };
        // What cannot be held does not pay for being held.
        let hold_ms = if self.held.has_room(leg, message.raw().len()) { limits.hold_ms } else { 0 };
        let limits = Limits { hold_ms, ..limits };
        let scores = &self.scores;
        let (toll, turned) = match arrival {
            Arrival::Fresh => scores.charge(now, &parties, &limits),
            Arrival::Held => (Toll::Paid, false),
        };
        let addressed = match toll {
            // Inside a dialog of ours nobody new is addressed.
            Toll::Paid if !plan.by_token => {
                let to = Uri::parse(message.uri()).ok();
                to.map_or(Addressed::Admitted, |to| {
                    scores.address(now, &parties, &to.user_unescaped(), to.host, &limits)
                })
            }
            _ => Addressed::Admitted,
        };
        let (domain_key, certificate) = (parties.domain_key, parties.certificate);
        // Without its ACK a call that stands would end after 32 s (RFC 3261 section 13.3.1.4), and
        // no answer could tell its sender why. It pays like any other and does not wait; beyond
        // what it could pay, its leg's allowance is the bound.
        let completes_call = plan.by_token && message.method() == Some(Method::Ack);
        let toll = match toll {
            Toll::Hold { .. } if completes_call => Toll::Paid,
            Toll::TooFast { .. }
                if completes_call && self.charge_refusal(leg, effects) == Owed::Reasons =>
            {
                Toll::Paid
            }
            toll => toll,
        };
        if turned {
            self.tell_suspicion(leg, from, &limits, effects);
        }
        match (toll, addressed) {
            (Toll::TooFast { wait_ms }, _) => Err(Fault::beyond_rate(wait_ms).into()),
            (Toll::Hold { wait_ms }, _) => Err(Stop::Hold { wait_ms }),
            (Toll::Paid, Addressed::Admitted) => Ok(domain_key),
            (Toll::Paid, Addressed::TooMany { wait_s }) => {
                self.counters.users_blocked += 1;
                // Guessing counts as such, whether or not the pool has to say so.
                self.scores.answered(now, domain_key, certificate, Outcome::Failed);
                Err(Fault::one_user_too_many(wait_s).into())
            }
        }
    }

    fn score_key(&self, partner: PartnerKey, from: &[u8]) -> u64 {
        match (partner, self.snapshot.partner_domain(partner)) {
            (PartnerKey::Discovered(key), _) => key.max(1),
            (_, Some(listed)) => self.scores.domain_key(listed.as_bytes()),
            (_, None) => self.scores.domain_key(from),
        }
    }

    fn tell_suspicion(&mut self, leg: LegId, from: &[u8], limits: &Limits, effects: &mut Effects) {
        self.counters.suspicions += 1;
        let sentence = format!(
            "{} is suspicious: {} % or more of its requests fail; it is limited to {} messages a \
             second until that changes",
            String::from_utf8_lossy(from),
            limits.failed_percent,
            limits.suspicious_per_s,
        );
        self.note(Some(leg), Severity::Warn, sentence, 0, effects);
    }

    /// Holds a message that is paid for until it is in time.
    pub(super) fn hold(&mut self, now: Now, leg: LegId, message: &Message<'_>, wait_ms: u64) {
        let waiting = held::Waiting {
            leg,
            bytes: message.raw().to_vec(),
            key: self.transaction_key(leg, message),
        };
        self.held.hold(now.monotonic.plus_ms(wait_ms), waiting);
        self.counters.held += 1;
    }

    /// Takes up a held message, which is decided afresh.
    pub(super) fn release(&mut self, now: Now, waiting: &held::Waiting, effects: &mut Effects) {
        let deadline = now.monotonic.plus_ms(limits::PARKED_MS);
        self.with_scratch(|access, scratch| {
            let super::Scratch { table, edits } = scratch;
            if let Ok(Scan::Message(scanned)) = sip::scan(&waiting.bytes, table) {
                let message = Message::new(&waiting.bytes, table, scanned);
                let leg = waiting.leg;
                access.admit(now, leg, &message, edits, deadline, Arrival::Held, effects);
            }
        });
    }

    /// Counts the final answer to a request of a partner under limits.
    pub(super) fn count_answer(&self, now: Now, index: u32, status: u16) {
        let slot = self.slots.get(index);
        let (Some(score), Upstream::Leg { peer, .. }) = (slot.score, slot.upstream) else { return };
        if let Some(outcome) = Outcome::of_status(status) {
            self.scores.answered(now, score, peer, outcome);
        }
    }
}

/// Tells whether a request offers or answers audio or video.
///
/// Its body may have several parts, so every line of it counts. A stream with port 0 is refused or
/// ended (RFC 3264 sections 6 and 8.2).
pub(super) fn offers_media(message: &Message<'_>) -> bool {
    let may = matches!(
        message.method(),
        Some(Method::Invite | Method::Ack | Method::Update | Method::Prack)
    );
    may && message.body().split(|byte| *byte == b'\n').any(|line| {
        let media = line.strip_prefix(b"m=audio ").or_else(|| line.strip_prefix(b"m=video "));
        media.is_some_and(|rest| !rest.starts_with(b"0 "))
    })
}

/// Reads what an inner server says of the sender's rights (lync-federation 5.2).
fn user_marks(message: &Message<'_>) -> Marks {
    let mut marks = Marks::default();
    for field in message.all(HeaderName::MsUserData) {
        for (name, value) in sip::params(field.value) {
            let value = match value {
                Some(value) if value.eq_ignore_ascii_case(b"true") => Some(true),
                Some(value) if value.eq_ignore_ascii_case(b"false") => Some(false),
                _ => continue,
            };
            if name.eq_ignore_ascii_case(b"ms-federation") {
                marks.federation = value;
            } else if name.eq_ignore_ascii_case(b"ms-publiccloud") {
                marks.public_im = value;
            }
        }
    }
    marks
}
