//! Server dialback (XEP-0220): claims of partners and how they are verified, and our answers as
//! the authoritative server of our own domains.
//!
//! ```text
//! partner ── db:result, key ──> claim ── route to the claimed domain ── db:verify, key ──> its
//!         <── db:result, valid ──┘      <──────── db:verify, valid ─────────────────── own server
//! ```

use super::XmppProxy;
use super::stream::{Cover, End, Going, Pair, Side, State, Stream};
use crate::dns::Domain;
use crate::edge::xmpp_link::Proof;
use crate::edge::{Command, Effects, LegId};
use crate::limits;
use crate::policy::{XmppKey, XmppPermit};
use crate::time::{Monotonic, Now};
use crate::xmpp::dialback::{self, Answer, Dialback, DialbackFault, Says, Step};
use crate::xmpp::{Jid, StanzaError, StreamError};

/// A domain that a partner claims and whose own server is asked.
#[derive(Debug)]
pub(super) struct Claim {
    /// The stream it was made on, and its id.
    leg: LegId,
    id: String,
    ours: Domain,
    pub(super) theirs: Domain,
    partner: XmppKey,
    key: String,
    proof: Proof,
    pub(super) deadline: Monotonic,
    /// The stream of ours that the question went out on.
    pub(super) asked: Option<LegId>,
}

impl XmppProxy {
    pub(super) fn dialback_received(
        &mut self,
        now: Now,
        stream: &mut Stream,
        dialback: Result<Dialback, DialbackFault>,
        effects: &mut Effects,
    ) -> Going {
        let dialback = dialback.map_err(|fault| match fault {
            DialbackFault::Addressing => {
                End::abuse(StreamError::ImproperAddressing, "dialback without from or to")
            }
            DialbackFault::Format => End::abuse(StreamError::BadFormat, "malformed dialback"),
        })?;
        match (stream.side, dialback.step, &dialback.says) {
            (Side::Receiving, Step::Result, Says::Key(_)) => {
                self.claimed(now, stream, dialback, effects)
            }
            (Side::Receiving, Step::Verify, Says::Key(_)) => {
                self.asked_about(now, stream, &dialback, effects)
            }
            (Side::Initiating(_), Step::Verify, says) if !matches!(says, Says::Key(_)) => {
                self.verified(now, stream, &dialback, effects);
                Ok(())
            }
            (Side::Initiating(_), Step::Result, says) if !matches!(says, Says::Key(_)) => {
                self.proved(now, stream, &dialback, effects)
            }
            _ => Err(End::abuse(StreamError::UnsupportedStanzaType, "dialback out of place")),
        }
    }

    /// A partner claims a domain.
    fn claimed(
        &mut self,
        now: Now,
        stream: &mut Stream,
        dialback: Dialback,
        effects: &mut Effects,
    ) -> Going {
        let (ours, theirs) = (domain(&dialback.to), domain(&dialback.from));
        let (Some(ours), Some(theirs)) = (ours, theirs) else {
            return self.refuse_claim(stream, &dialback, StanzaError::JidMalformed, effects);
        };
        if !self.snapshot.is_own(ours.as_str().as_bytes()) {
            return self.refuse_claim(stream, &dialback, StanzaError::ItemNotFound, effects);
        }
        let Ok(permit) = self.snapshot.xmpp(now, &ours, &theirs) else {
            return self.refuse_claim(stream, &dialback, StanzaError::PolicyViolation, effects);
        };
        let partner = self.snapshot.xmpp_partner(permit.partner());
        // A stream speaks for one partner: its limits, its trust anchors, its methods.
        let Some(partner) = partner.filter(|_| stream.partner == Some(permit.partner())) else {
            return self.refuse_claim(stream, &dialback, StanzaError::PolicyViolation, effects);
        };
        let methods = partner.methods();
        let allowed = match stream.cover {
            Cover::Clear => methods.dialback_clear,
            Cover::Tls => methods.dialback_tls,
        };
        if !allowed {
            return self.refuse_claim(stream, &dialback, StanzaError::PolicyViolation, effects);
        }
        if stream.inbound_pair(ours.as_str(), theirs.as_str()).is_some() {
            self.answer_claim(stream, &ours, &theirs, Answer::Valid, effects);
            return Ok(());
        }
        if stream.inbound.len() >= limits::XMPP_PAIRS_PER_STREAM_MAX {
            return self.refuse_claim(stream, &dialback, StanzaError::ResourceConstraint, effects);
        }
        if stream.proves(partner, &theirs) {
            // Dialback without dialback (XEP-0344): the certificate says it already.
            let pair = Pair { ours, theirs, proof: Proof::External, permit };
            self.claim_granted(stream, pair, effects);
            return Ok(());
        }
        let Says::Key(key) = dialback.says.clone() else { return Ok(()) };
        self.ask_about(now, stream, (ours, theirs, permit), key, &dialback, effects)
    }

    fn ask_about(
        &mut self,
        now: Now,
        stream: &mut Stream,
        (ours, theirs, permit): (Domain, Domain, XmppPermit),
        key: String,
        dialback: &Dialback,
        effects: &mut Effects,
    ) -> Going {
        let of_partner = self.claims.iter().filter(|c| c.partner == permit.partner()).count();
        let twice = self
            .claims
            .iter()
            .any(|c| c.leg == stream.leg && (&c.ours, &c.theirs) == (&ours, &theirs));
        let full = self.claims.len() >= limits::XMPP_CLAIMS_MAX
            || of_partner >= limits::XMPP_CLAIMS_PER_PARTNER_MAX
            || key.len() > KEY_BYTES_MAX;
        let route = self.routes.reach(&ours, &theirs, permit).filter(|_| !full && !twice);
        let Some(at) = route else {
            return self.refuse_claim(stream, dialback, StanzaError::ResourceConstraint, effects);
        };
        if let Some(route) = self.routes.get_mut(at) {
            route.claims += 1;
            route.heard_of();
        }
        self.claims.push(Claim {
            leg: stream.leg,
            id: stream.id.clone(),
            ours,
            theirs,
            partner: permit.partner(),
            key,
            proof: stream.dialback_proof(),
            deadline: now.monotonic.plus_ms(limits::XMPP_DIALBACK_MS),
            asked: None,
        });
        self.due.push(at);
        Ok(())
    }

    fn refuse_claim(
        &mut self,
        stream: &Stream,
        dialback: &Dialback,
        error: StanzaError,
        effects: &mut Effects,
    ) -> Going {
        self.counters.dialback_refused += 1;
        let why = format!("a dialback claim: {}", error.as_str());
        self.tell(stream.leg, &why, effects);
        if !stream.modern {
            let error = match error {
                StanzaError::ItemNotFound => StreamError::HostUnknown,
                _ => StreamError::PolicyViolation,
            };
            return Err(End::refused(error, why));
        }
        let mut out = Vec::new();
        dialback::write_result(&dialback.to, &dialback.from, Answer::Error(error), &mut out);
        self.stage(stream.leg, &out, effects);
        Ok(())
    }

    fn answer_claim(
        &self,
        stream: &Stream,
        ours: &Domain,
        theirs: &Domain,
        answer: Answer,
        effects: &mut Effects,
    ) {
        let mut out = Vec::new();
        dialback::write_result(ours.as_str(), theirs.as_str(), answer, &mut out);
        self.stage(stream.leg, &out, effects);
    }

    fn claim_granted(&mut self, stream: &mut Stream, pair: Pair, effects: &mut Effects) {
        match pair.proof {
            Proof::External => self.counters.authenticated_external += 1,
            Proof::Dialback => self.counters.authenticated_dialback += 1,
            Proof::DialbackClear => self.counters.authenticated_dialback_clear += 1,
        }
        self.answer_claim(stream, &pair.ours, &pair.theirs, Answer::Valid, effects);
        if stream.cover == Cover::Clear {
            effects.commands.push(Command::Admitted { leg: stream.leg });
        }
        self.authenticated(stream, pair, effects);
    }

    /// A partner's server asks whether a key is ours: we are the authoritative server.
    fn asked_about(
        &mut self,
        now: Now,
        stream: &Stream,
        dialback: &Dialback,
        effects: &mut Effects,
    ) -> Going {
        let (Some(ours), Some(theirs)) = (domain(&dialback.to), domain(&dialback.from)) else {
            return Err(End::abuse(StreamError::ImproperAddressing, "dialback for no domain"));
        };
        self.permit(now, &ours, &theirs)?;
        let (Some(id), Says::Key(key)) = (&dialback.id, &dialback.says) else { return Ok(()) };
        let secrets = &self.setup.secrets;
        let answer = if secrets.verify(theirs.as_str(), ours.as_str(), id, key) {
            self.counters.dialback_keys_valid += 1;
            Answer::Valid
        } else {
            self.counters.dialback_keys_invalid += 1;
            Answer::Invalid
        };
        let mut out = Vec::new();
        dialback::write_verify(&dialback.to, &dialback.from, id, answer, &mut out);
        self.stage(stream.leg, &out, effects);
        Ok(())
    }

    /// Puts the questions of a route's claims, now that it has a stream.
    pub(super) fn ask_claims(&mut self, stream: &mut Stream, effects: &mut Effects) {
        let (Some(ours), Some(theirs)) = (&stream.ours, &stream.theirs) else { return };
        let mut out = Vec::new();
        for claim in &mut self.claims {
            if claim.asked.is_some() || (&claim.ours, &claim.theirs) != (ours, theirs) {
                continue;
            }
            claim.asked = Some(stream.leg);
            let (from, to) = (ours.as_str(), theirs.as_str());
            dialback::write_verify_key(from, to, &claim.id, &claim.key, &mut out);
        }
        if !out.is_empty() {
            self.stage(stream.leg, &out, effects);
        }
    }

    /// The authoritative server of a partner's domain has answered.
    fn verified(&mut self, now: Now, stream: &Stream, dialback: &Dialback, effects: &mut Effects) {
        let (ours, theirs) = (domain(&dialback.to), domain(&dialback.from));
        let is = |claim: &Claim| {
            claim.asked == Some(stream.leg)
                && Some(claim.id.as_str()) == dialback.id.as_deref()
                && Some(&claim.ours) == ours.as_ref()
                && Some(&claim.theirs) == theirs.as_ref()
        };
        let Some(at) = self.claims.iter().position(is) else { return };
        let claim = self.take_claim(at);
        let answer = match &dialback.says {
            Says::Valid => Answer::Valid,
            Says::Invalid => Answer::Invalid,
            // What the server of the domain cannot say, nobody can.
            Says::Error(_) | Says::Key(_) => Answer::Error(StanzaError::RemoteServerNotFound),
        };
        self.settle_claim(now, &claim, answer, effects);
    }

    pub(super) fn take_claim(&mut self, at: usize) -> Claim {
        let claim = self.claims.remove(at);
        let route = self.routes.find(claim.ours.as_str(), claim.theirs.as_str());
        if let Some(route) = route.and_then(|at| self.routes.get_mut(at)) {
            route.claims -= 1;
        }
        claim
    }

    /// Tells a partner what became of its claim.
    pub(super) fn settle_claim(
        &mut self,
        now: Now,
        claim: &Claim,
        answer: Answer,
        effects: &mut Effects,
    ) {
        let Some(mut stream) = self.legs.take_stream(claim.leg) else { return };
        if stream.id == claim.id && stream.state == State::Open {
            self.settle_on(now, &mut stream, claim, answer, effects);
        }
        self.legs.put(claim.leg, super::Held::Stream(stream));
    }

    fn settle_on(
        &mut self,
        now: Now,
        stream: &mut Stream,
        claim: &Claim,
        answer: Answer,
        effects: &mut Effects,
    ) {
        let (ours, theirs) = (claim.ours.clone(), claim.theirs.clone());
        // Policy may have changed while the question was out.
        let permit = self.snapshot.xmpp(now, &ours, &theirs).ok();
        let answer = match (answer, permit) {
            (Answer::Valid, Some(permit)) if self.permits_proof(permit, claim.proof) => {
                let pair = Pair { ours, theirs, proof: claim.proof, permit };
                return self.claim_granted(stream, pair, effects);
            }
            (Answer::Valid, _) => Answer::Error(StanzaError::PolicyViolation),
            (answer, _) => answer,
        };
        let error = match answer {
            Answer::Invalid => {
                self.counters.dialback_denied += 1;
                Some((StreamError::NotAuthorized, "its domain's own server denies the key"))
            }
            _ => {
                self.counters.dialback_unverified += 1;
                None
            }
        };
        if stream.modern || error.is_some() {
            self.answer_claim(stream, &ours, &theirs, answer, effects);
        }
        let legacy = (StreamError::RemoteConnectionFailed, "its domain's server cannot be asked");
        let end = error.or_else(|| (!stream.modern).then_some(legacy));
        // XEP-0220 section 2.4: a stream that carries other pairs lives on.
        if let Some((error, why)) = end.filter(|_| !stream.is_authenticated()) {
            self.end_stream(stream, &End::refused(error, format!("{theirs}: {why}")), effects);
        }
    }

    pub(super) fn permits_proof(&self, permit: XmppPermit, proof: Proof) -> bool {
        self.snapshot.xmpp_partner(permit.partner()).is_some_and(|partner| {
            let methods = partner.methods();
            match proof {
                Proof::External => methods.external || methods.dialback_tls,
                Proof::Dialback => methods.dialback_tls,
                Proof::DialbackClear => methods.dialback_clear,
            }
        })
    }

    /// Gives up the claims that `which` names.
    pub(super) fn fail_claims(
        &mut self,
        now: Now,
        error: StanzaError,
        which: impl Fn(&Claim) -> bool,
        effects: &mut Effects,
    ) {
        while let Some(at) = self.claims.iter().position(&which) {
            let claim = self.take_claim(at);
            self.settle_claim(now, &claim, Answer::Error(error), effects);
        }
    }

    /// Forgets the claims made on a stream that is gone.
    pub(super) fn forget_claims(&mut self, leg: LegId) {
        while let Some(at) = self.claims.iter().position(|claim| claim.leg == leg) {
            self.take_claim(at);
        }
    }
}

impl Claim {
    pub(super) fn is_of(&self, ours: &Domain, theirs: &Domain) -> bool {
        (&self.ours, &self.theirs) == (ours, theirs)
    }

    pub(super) const fn partner_mut(&mut self) -> &mut XmppKey {
        &mut self.partner
    }
}

/// The longest key: XEP-0185's have 64 bytes, and any other is relayed as it came.
const KEY_BYTES_MAX: usize = 512;

fn domain(text: &str) -> Option<Domain> {
    Jid::new(None, text, None).ok().map(|jid| jid.to_domain())
}
