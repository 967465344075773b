//! Screening: the order of DESIGN 6.5, in which the first failure answers.

use super::Access;
use super::branch::BRANCH_BYTES;
use super::diagnostics::Fault;
use super::headers::Crossing;
use super::outlet::GroupId;
use super::route::{self, Flow, Routes, StrictRoute, Token};
use super::route_token::Facing;
use super::told::Asked;
use super::transaction::Stamp;
use crate::dns::{self, Domain, Question};
use crate::edge::{Class, Effects, LegId, Note, RefusedBy, Severity};
use crate::limits;
use crate::policy::shadow::{self, Difference};
use crate::policy::{
    Connection, Decision, Direction, Inbound, Outbound, PartnerKey, PartnerKind, Permit, Snapshot,
    Verdict, VerdictKey,
};
use crate::sip::{Edits, Essentials, HeaderName, Message, Method, Scheme, Uri};
use crate::time::Now;

/// Why a request is not forwarded.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It is answered with this.
    Refuse(Fault),
    /// It is for the edge itself and answered 200.
    Local,
    /// It waits for this answer.
    Ask(Question),
    /// It came too early for its sender's limits and is held.
    Hold { wait_ms: u64 },
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Refuse(fault)
    }
}

/// Where a screened request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Egress {
    /// To the connections of a partner or next hop.
    Group(GroupId),
    /// To a remote user's connection on some shard.
    Flow { shard: u16, leg: LegId },
}

/// A request that may pass, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) crossing: Crossing,
    pub(crate) egress: Egress,
    /// What policy said, in the parts that forwarding needs.
    pub(crate) admission: Admission,
    /// Record-Route is pushed: the request may begin a dialog.
    pub(crate) dialog_forming: bool,
    /// A route token, not the Request-URI, said which domain it goes to.
    pub(crate) by_token: bool,
    pub(crate) places: Places,
    /// The score its answer counts for, once its sender's limits have been judged.
    pub(crate) score: Option<u64>,
}

/// What forwarding changes, as screening found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// Our own Via goes here.
    pub(crate) via_line: usize,
    /// The end of the sender's Via value.
    pub(crate) via_end: usize,
    pub(crate) hops: Option<u32>,
}

/// The parts of a permit that outlive the borrow of the cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admission {
    pub(crate) partner: PartnerKey,
    pub(crate) kind: PartnerKind,
    /// Audio and video may pass.
    pub(crate) audio_video: bool,
    pub(crate) stamp: Stamp,
    /// It matters whether the partner's certificate has been revoked.
    pub(crate) minds_revocation: bool,
    /// What a connection carries with it; `None` where no partner is involved.
    pub(crate) connection: Option<Connection>,
    /// Number of the decision, where it was reached for this request; 0: it is an older one.
    pub(crate) decision: u64,
}

impl Admission {
    fn of(permit: &Permit) -> Self {
        Self {
            partner: permit.partner(),
            kind: permit.kind(),
            audio_video: permit.audio_video(),
            minds_revocation: permit.minds_revocation(),
            connection: Some(permit.connection()),
            decision: 0,
            stamp: Stamp {
                source_type: permit.source_type(),
                always: permit.source_verified(false),
                if_asserted: permit.source_verified(true),
                network: permit.source_network(),
                split_domain: permit.is_split_domain(),
            },
        }
    }
}

/// A request's parts that several steps look at.
pub(super) struct Parts<'a> {
    pub(super) from_host: &'a [u8],
    to_host: &'a [u8],
    uri: Uri<'a>,
    routes: Routes<'a>,
    pub(super) in_dialog: bool,
    pub(super) places: Places,
}

impl Parts<'_> {
    /// Tells whether a route token of ours says which dialog the request is of.
    pub(super) fn good(&self) -> bool {
        self.routes.token == Token::Good
    }
}

impl Access {
    /// Judges a request that is neither ACK nor CANCEL. Own Route entries are taken off in `edits`.
    pub(super) fn screen(
        &mut self,
        now: Now,
        leg: LegId,
        message: &Message<'_>,
        edits: &mut Edits,
        effects: &mut Effects,
    ) -> Result<Plan, Stop> {
        let seen = message.check().map_err(|fault| Fault::syntax(&fault))?;
        let (class, facing) = match self.legs.get(leg).map(|leg| leg.class) {
            Some(Class::Federation) | None => (Class::Federation, Facing::Partner),
            Some(Class::RemoteUsers) => (Class::RemoteUsers, Facing::RemoteUser),
            Some(Class::Internal) => (Class::Internal, Facing::Inside),
            Some(Class::Xmpp | Class::XmppDirectTls | Class::XmppLink | Class::Credentials) => {
                unreachable!("what is screened came from a SIP peer of either side")
            }
        };
        let Some(written) = seen.request_uri else { return Err(Fault::scheme().into()) };
        let strict = StrictRoute::of(message, &self.names, &written);
        let uri = strict.as_ref().map_or(written, |strict| strict.target);
        let hops = seen.max_forwards;
        self.screen_local(leg, message, &uri, hops)?;
        if hops == Some(0) {
            return Err(Fault::too_many_hops().into());
        }
        self.screen_loop(message, class)?;
        if !matches!(uri.scheme, Scheme::Sip | Scheme::Sips) {
            return Err(Fault::scheme().into());
        }
        if class != Class::RemoteUsers && message.present(HeaderName::ProxyRequire) {
            return Err(Fault::bad_extension(message).into());
        }
        screen_method(class, message.method().unwrap_or(Method::Other))?;

        let parts = self.parts(message, &seen, uri, facing, strict.as_ref())?;
        if parts.routes.token == Token::Bad {
            self.counters.bad_route_tokens += 1;
            return Err(Fault::dead_dialog().into());
        }
        if let Some(strict) = &strict {
            strict.restore(message, edits);
        }
        match class {
            Class::Federation => self.screen_partner(now, leg, message, &parts, edits, effects),
            Class::Internal => self.screen_inside(now, message, &parts, edits, effects),
            Class::RemoteUsers => self.screen_user(now, leg, message, &parts, edits, effects),
            Class::Xmpp | Class::XmppDirectTls | Class::XmppLink | Class::Credentials => {
                unreachable!("what is screened came from a SIP peer of either side")
            }
        }
    }

    fn parts<'a>(
        &self,
        message: &Message<'a>,
        seen: &Essentials<'a>,
        uri: Uri<'a>,
        facing: Facing,
        strict: Option<&StrictRoute<'a>>,
    ) -> Result<Parts<'a>, Stop> {
        let (Some(from), Some(to)) = (seen.from_uri, seen.to_uri) else {
            return Err(Fault::scheme().into());
        };
        let keys = &self.setup.pool_keys;
        let routes = route::read(message, &self.names, keys, self.flow_key, facing, strict);
        let places = Places {
            via_line: seen.top_via.line_start,
            via_end: seen.top_via.value.range.end,
            hops: seen.max_forwards,
        };
        let in_dialog = seen.to.tag().is_some();
        Ok(Parts { from_host: from.host, to_host: to.host, uri, routes, in_dialog, places })
    }

    /// What is for the edge itself: OPTIONS and NEGOTIATE (wire-protocols A.7).
    pub(super) fn screen_local(
        &self,
        leg: LegId,
        message: &Message<'_>,
        uri: &Uri<'_>,
        hops: Option<u32>,
    ) -> Result<(), Stop> {
        match message.method() {
            // Its Max-Forwards is 0, so this comes before the hop test.
            Some(Method::Negotiate) => Err(Fault::compression_declined().into()),
            Some(Method::Options) => {
                let ours = uri.user.is_none() && self.is_this_edge(leg, uri.host);
                if !ours && hops != Some(0) {
                    return Ok(());
                }
                Err(if self.draining.is_some() { Fault::draining().into() } else { Stop::Local })
            }
            _ => Ok(()),
        }
    }

    /// Balancers probe by address, so the address a leg arrived at counts as our name.
    pub(super) fn is_this_edge(&self, leg: LegId, host: &[u8]) -> bool {
        self.names.contains(host)
            || self.legs.get(leg).is_some_and(|leg| *leg.local_ip.as_bytes() == *host)
    }

    /// RFC 5393 section 4: a Via of ours with the same hash is a loop, with another a spiral.
    fn screen_loop(&mut self, message: &Message<'_>, class: Class) -> Result<(), Stop> {
        // Whoever sends us our own message back has put a Via above ours.
        if message.count(HeaderName::Via) < 2 && message.values(HeaderName::Via).nth(1).is_none() {
            return Ok(());
        }
        let mut hash = None;
        for via in message.vias().flatten() {
            let Some(branch) = via.branch.filter(|branch| branch.len() == BRANCH_BYTES) else {
                continue;
            };
            let Some(ours) = self.branch_key.read(branch) else { continue };
            if ours.loop_hash == *hash.get_or_insert_with(|| self.loop_hash(message, class)) {
                self.counters.loops += 1;
                return Err(Fault::loop_detected().into());
            }
        }
        Ok(())
    }

    fn screen_partner(
        &mut self,
        now: Now,
        leg: LegId,
        message: &Message<'_>,
        parts: &Parts<'_>,
        edits: &mut Edits,
        effects: &mut Effects,
    ) -> Result<Plan, Stop> {
        let good = parts.routes.token == Token::Good;
        if !good && !self.snapshot.is_own(parts.uri.host) {
            return Err(Fault::not_for_us().into());
        }
        if good {
            // The inner part of the Route set was recorded by our own servers on the way in; the
            // next hop finds its way by it.
            route::remove_own(message, &parts.routes, edits);
            if let Some(sealed) = parts.routes.sealed {
                self.open_route(message, sealed, edits)?;
            }
        } else {
            // Nobody outside tells us how to route inside.
            route::remove_all(message, HeaderName::Route, edits);
        }
        let to = if good { parts.to_host } else { parts.uri.host };
        let admission = self.admit_partner(now, leg, parts.from_host, to, effects)?;
        self.screen_connection(leg, admission, parts.from_host)?;
        let egress = self.next_hop(now, to)?;
        Ok(Plan {
            crossing: Crossing::PartnerToInside,
            egress,
            admission,
            dialog_forming: forms_dialog(message, parts.in_dialog),
            by_token: good,
            places: parts.places,
            score: None,
        })
    }

    /// One connection carries one kind of federation, set by its first request
    /// (lync-federation 4.2 rule 10).
    fn screen_connection(
        &mut self,
        leg: LegId,
        admission: Admission,
        from: &[u8],
    ) -> Result<(), Stop> {
        let (Some(held), Some(permitted)) = (self.legs.get_mut(leg), admission.connection) else {
            return Ok(());
        };
        match self.snapshot.one_kind(held.carries, permitted, from) {
            Ok(carries) => {
                held.carries = Some(carries);
                Ok(())
            }
            Err(refusal) => Err(Fault::policy(&refusal).by(RefusedBy::Connection).into()),
        }
    }

    fn screen_inside(
        &mut self,
        now: Now,
        message: &Message<'_>,
        parts: &Parts<'_>,
        edits: &mut Edits,
        effects: &mut Effects,
    ) -> Result<Plan, Stop> {
        route::remove_own(message, &parts.routes, edits);
        let dialog_forming = forms_dialog(message, parts.in_dialog);
        match parts.routes.flow {
            Some(Flow::Lost) => {
                self.counters.flows_lost += 1;
                return Err(Fault::flow_failed().into());
            }
            Some(Flow::Known { shard, leg }) => {
                if shard == self.setup.shard && self.legs.get(leg).is_none() {
                    self.counters.flows_lost += 1;
                    return Err(Fault::flow_failed().into());
                }
                return Ok(Plan {
                    crossing: Crossing::InsideToUser,
                    egress: Egress::Flow { shard, leg },
                    admission: Admission {
                        partner: PartnerKey::NextHop,
                        kind: PartnerKind::RemoteUser,
                        audio_video: true,
                        minds_revocation: false,
                        stamp: Stamp::default(),
                        connection: None,
                        decision: 0,
                    },
                    dialog_forming,
                    by_token: false,
                    places: parts.places,
                    score: None,
                });
            }
            None => {}
        }
        let to = if parts.good() { parts.to_host } else { parts.uri.host };
        // Users of a shared address space may live with a hosting provider.
        if self.snapshot.is_own(to) && !self.snapshot.shares(to) {
            return Err(Fault::unknown_user().into());
        }
        self.screen_out(now, message, parts, to, effects)
    }

    fn screen_user(
        &mut self,
        now: Now,
        leg: LegId,
        message: &Message<'_>,
        parts: &Parts<'_>,
        edits: &mut Edits,
        effects: &mut Effects,
    ) -> Result<Plan, Stop> {
        if parts.routes.token == Token::Good || parts.routes.total == parts.routes.own {
            route::remove_own(message, &parts.routes, edits);
        } else {
            route::remove_all(message, HeaderName::Route, edits);
        }
        let from = domain(parts.from_host)?;
        let to = domain(parts.to_host).ok();
        let decision = self.snapshot.remote_user(&from, to.as_ref());
        let number = self.next_decision();
        self.tell_remote_user(number, &from, to.as_ref(), &decision, effects);
        let permit = match decision {
            Decision::Permit(permit) => permit,
            Decision::Refuse(refusal) => {
                return Err(Fault::policy(&refusal).decided(number).into());
            }
            Decision::Ask(question) => return Err(Stop::Ask(question)),
        };
        if message.method() == Some(Method::Register) {
            let source = self.legs.get(leg).map(|leg| leg.remote.ip());
            if source.is_some_and(|ip| self.sign_ins.throttled(now, ip, parts.to_host, message)) {
                self.counters.sign_ins_throttled += 1;
                return Err(Fault::sign_ins().into());
            }
        }
        let inside =
            if self.snapshot.is_own(parts.from_host) { parts.from_host } else { parts.to_host };
        self.explain(|| format!("{} ({})", permit.rule().sentence(), permit.rule().place()));
        let egress = self.next_hop(now, inside)?;
        Ok(Plan {
            crossing: Crossing::UserToInside,
            egress,
            admission: Admission { decision: number, ..Admission::of(&permit) },
            dialog_forming: forms_dialog(message, parts.in_dialog),
            by_token: false,
            places: parts.places,
            score: None,
        })
    }

    /// May this peer say this From, to this domain of ours? Cached per peer and pair of domains.
    fn admit_partner(
        &mut self,
        now: Now,
        leg: LegId,
        from: &[u8],
        to: &[u8],
        effects: &mut Effects,
    ) -> Result<Admission, Stop> {
        let Some(held) = self.legs.get(leg) else { return Err(Fault::not_for_us().into()) };
        let Some(peer) = &held.names else { return Err(Fault::not_for_us().into()) };
        let key = self.verdicts.key_of_hosts(Direction::Inbound, Some(peer), from, to);
        match self.cached(now, key) {
            Ok(Some(admission)) => {
                if admission.minds_revocation {
                    self.name_partner(leg);
                }
                return Ok(admission);
            }
            Ok(None) => {}
            Err(stop) => {
                let refused = self.verdicts.get(now, self.snapshot.epoch, key);
                if refused.is_some_and(|verdict| verdict.minds_revocation()) {
                    self.name_partner(leg);
                }
                return Err(stop);
            }
        }
        let Some(peer) = self.legs.get(leg).and_then(|leg| leg.names.clone()) else {
            return Err(Fault::not_for_us().into());
        };
        let (from, to) = (domain(from)?, domain(to)?);
        let question = Inbound { peer: &peer, from: &from, to: &to };
        let witness = self.witness();
        let decision = self.snapshot.inbound(now, &question, &witness);
        let answers = witness.into_answers();
        let decision_id = self.next_decision();
        self.compare(decision_id, &decision, [&from, &to], |candidate, dns| {
            candidate.inbound(now, &question, dns)
        });
        if decision.minds_revocation() {
            self.name_partner(leg);
        }
        let (direction, peer, to) = (Direction::Inbound, Some(peer), Some(to));
        let asked = Asked { decision_id, direction, peer, from, to, answers };
        self.remember(now, key, decision, asked, effects)
    }

    /// Has the shard told, once in each epoch, that a leg's peer is a partner whose lists are worth
    /// fetching.
    fn name_partner(&mut self, leg: LegId) {
        let epoch = Some(self.snapshot.epoch);
        if let Some(held) = self.legs.get_mut(leg)
            && held.named_in != epoch
        {
            held.named_in = epoch;
            self.named.push(leg);
        }
    }

    /// May this user of ours write to this domain, and over which connections?
    pub(super) fn admit_outbound(
        &mut self,
        now: Now,
        from: &[u8],
        to: &[u8],
        effects: &mut Effects,
    ) -> Result<(Admission, GroupId), Stop> {
        let key = self.verdicts.key_of_hosts(Direction::Outbound, None, from, to);
        let epoch = self.snapshot.epoch;
        if let Some(admission) = self.cached(now, key)?
            && let Some(group) = self.outlets.of_partner(epoch, admission.partner)
        {
            return Ok((admission, group));
        }
        let (from, to) = (domain(from)?, domain(to)?);
        let question = Outbound { from: &from, to: &to };
        let witness = self.witness();
        let decision = self.snapshot.outbound(now, &question, &witness);
        let answers = witness.into_answers();
        let decision_id = self.next_decision();
        self.compare(decision_id, &decision, [&from, &to], |candidate, dns| {
            candidate.outbound(now, &question, dns)
        });
        if let Decision::Permit(permit) = &decision {
            self.partner_group(permit, &to)?;
        }
        let (direction, to) = (Direction::Outbound, Some(to));
        let asked = Asked { decision_id, direction, peer: None, from, to, answers };
        let admission = self.remember(now, key, decision, asked, effects)?;
        let Some(group) = self.outlets.of_partner(epoch, admission.partner) else {
            return Err(Fault::overload().into());
        };
        Ok((admission, group))
    }

    fn cached(&mut self, now: Now, key: VerdictKey) -> Result<Option<Admission>, Stop> {
        let epoch = self.snapshot.epoch;
        match self.verdicts.get(now, epoch, key) {
            Some(Verdict::Permit(permit)) => {
                self.counters.verdict_hits += 1;
                let admission = Admission::of(permit);
                if self.explains {
                    let rule = permit.rule();
                    self.explanation = format!("{} ({})", rule.sentence(), rule.place());
                }
                Ok(Some(admission))
            }
            Some(Verdict::Refuse(refusal)) => {
                self.counters.verdict_hits += 1;
                Err(Fault::policy(refusal).into())
            }
            None => Ok(None),
        }
    }

    fn remember(
        &mut self,
        now: Now,
        key: VerdictKey,
        decision: Decision,
        asked: Asked,
        effects: &mut Effects,
    ) -> Result<Admission, Stop> {
        self.counters.verdict_misses += 1;
        self.verdicts.put(now, key, &decision);
        let number = asked.decision_id;
        let result = match &decision {
            Decision::Permit(permit) => {
                self.explain(|| {
                    let rule = permit.rule();
                    format!("{} ({})", rule.sentence(), rule.place())
                });
                Ok(Admission { decision: number, ..Admission::of(permit) })
            }
            Decision::Refuse(refusal) => Err(Fault::policy(refusal).decided(number).into()),
            // It is decided afresh when the answer has come.
            Decision::Ask(question) => return Err(Stop::Ask(question.clone())),
        };
        self.tell_verdict(asked, decision, effects);
        result
    }

    /// Returns the connections to the next hop of one of our domains.
    fn next_hop(&mut self, now: Now, domain: &[u8]) -> Result<Egress, Stop> {
        let Some(index) = self.snapshot.next_hop_of(domain) else {
            return Err(Fault::no_next_hop().into());
        };
        self.next_hop_group(now, index).map(Egress::Group)
    }
}

impl Access {
    /// Asks the candidate policy, if there is one, and counts where it would decide otherwise.
    ///
    /// Once per verdict, not per message: what the cache answers was compared when it came there.
    fn compare(
        &mut self,
        decision_id: u64,
        live: &Decision,
        [from, to]: [&Domain; 2],
        ask: impl FnOnce(&Snapshot, &dns::Cache) -> Decision,
    ) {
        let Some(candidate) = self.snapshot.candidate() else { return };
        let would = ask(candidate, &self.dns);
        let Some(difference) = Difference::between(live, &would) else { return };
        let counter = match difference {
            Difference::WouldRefuse(_) => &mut self.counters.shadow_would_refuse,
            Difference::WouldPermit => &mut self.counters.shadow_would_permit,
            Difference::OtherRefusal(_) => &mut self.counters.shadow_other_refusal,
            Difference::OtherRule => &mut self.counters.shadow_other_rule,
            Difference::WouldAsk => &mut self.counters.shadow_would_ask,
        };
        *counter += 1;
        if let Difference::WouldRefuse(rule) | Difference::OtherRefusal(rule) = difference {
            self.by_rule.would_refuse(rule);
        }
        if self.shadow_findings.len() < limits::SHADOW_FINDINGS_MAX {
            let would = shadow::sentence(&would);
            self.shadow_findings.push(Note {
                leg: None,
                severity: Severity::Info,
                sentence: format!("{from} to {to}: the candidate policy would {would}"),
                decision_id,
                epoch: self.snapshot.epoch,
            });
        }
    }

    /// Keeps the sentence that explains the decision at hand, where somebody asked for it.
    pub(super) fn explain(&mut self, sentence: impl FnOnce() -> String) {
        if self.explains {
            self.explanation = sentence();
        }
    }
}

/// Methods that do not cross (wire-protocols A.5b).
fn screen_method(class: Class, method: Method) -> Result<(), Stop> {
    let refused = match class {
        Class::Federation | Class::Internal => {
            matches!(method, Method::Register | Method::Service | Method::Publish)
        }
        // What is not for the other side never comes here.
        Class::RemoteUsers
        | Class::Xmpp
        | Class::XmppDirectTls
        | Class::XmppLink
        | Class::Credentials => false,
    };
    if refused {
        return Err(Fault::method("this kind of request does not cross between partners").into());
    }
    Ok(())
}

/// RFC 3261 section 12.1, RFC 6665, RFC 3515: these begin dialogs; in a dialog the set is fixed.
pub(super) fn forms_dialog(message: &Message<'_>, in_dialog: bool) -> bool {
    !in_dialog
        && matches!(
            message.method(),
            Some(Method::Invite | Method::Subscribe | Method::Refer | Method::Register)
        )
}

pub(super) fn domain(host: &[u8]) -> Result<Domain, Stop> {
    Domain::parse(host).map_err(|_| Fault::not_a_domain().into())
}
