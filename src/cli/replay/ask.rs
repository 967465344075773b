//! The question of a line put to another policy.

use crate::config::Config;
use crate::control;
use crate::control::decisions::{By, Led, Line, Verdict, Verification, Way};
use crate::dns::{DnsView, Question, SharedAnswer};
use crate::policy::shadow::{self, Difference};
use crate::policy::{
    AnchorSet, Anchors, Decision, Inbound, Outbound, Place, RefusalRule, Snapshot,
};
use crate::time::Now;

use super::tally::{Differing, Tally};

/// Stands for anchors that no partner of the new policy has.
const NOBODYS: Anchors = Anchors::OfPartner(AnchorSet::MAX);

/// The policy that is asked.
pub(super) struct Candidate<'a> {
    config: &'a Config,
    snapshot: Snapshot,
    /// The sets of anchors that its partners have of their own.
    anchor_sets: Vec<AnchorSet>,
}

/// The answers of DNS that a line holds, and no others.
struct Logged(Vec<SharedAnswer>);

impl DnsView for Logged {
    fn look(&self, _: Now, question: &Question) -> Option<SharedAnswer> {
        self.0.iter().find(|answer| answer.question == *question).cloned()
    }
}

impl<'a> Candidate<'a> {
    /// Compiles the policy of `config` as a running edge would.
    pub(super) fn new(config: &'a Config) -> anyhow::Result<Self> {
        let snapshot = control::policy(config)?;
        let sets = control::tls_plan(config, 1, 0, None).partner_trust;
        let anchor_sets = sets.iter().map(|set| set.name).collect();
        Ok(Self { config, snapshot, anchor_sets })
    }

    /// Asks what the line was about and counts what comes of it.
    pub(super) fn put(&self, line: &Line, tally: &mut Tally) {
        tally.seen(line.time);
        let before = match line.before() {
            Ok(before) if line.by == By::Policy => before,
            // It rested on what the log does not hold.
            _ => return tally.not_asked += 1,
        };
        let Some(decision) = self.ask(line) else { return tally.not_asked += 1 };
        let Some(difference) = Difference::since(&before, &decision) else {
            return tally.same += 1;
        };
        tally.differs(difference, line, || {
            let mut told = Differing { before: told_before(line), now: self.told(&decision) };
            if let (Some(before), Decision::Permit(permit)) = (line.verification, &decision)
                && before != Verification::of(permit)
            {
                told.before.push_str(verified(before));
                told.now.push_str(verified(Verification::of(permit)));
            }
            told
        });
    }

    /// Asks as of the time of the line, so an entry that expires counts as it did then.
    fn ask(&self, line: &Line) -> Option<Decision> {
        let now = Now { unix_s: line.time.0, ..Now::default() };
        let dns = Logged(line.answers());
        let from = &line.from.0;
        let to = line.to.as_ref().map(|to| &to.0);
        Some(match line.direction {
            Way::In => {
                let (to, logged) = (to?, line.peer.as_ref()?);
                let ask = |anchors| {
                    let peer = logged.asked(anchors);
                    self.snapshot.inbound(now, &Inbound { peer: &peer, from, to }, &dns)
                };
                match (logged.anchors, line.refusal.as_deref()) {
                    (Led::General, _) => ask(Anchors::General),
                    // It led to somebody else's anchors then, and does so still.
                    (Led::Partner, Some(refusal))
                        if refusal == RefusalRule::AnchorsOfAnother.label() =>
                    {
                        ask(NOBODYS)
                    }
                    (Led::Partner, _) => self.ask_with_own_anchors(ask),
                }
            }
            Way::Out => self.snapshot.outbound(now, &Outbound { from, to: to? }, &dns),
            Way::User => self.snapshot.remote_user(from, to),
        })
    }

    /// A chain that led to the partner's own anchors leads to those that it has now, if it has any:
    /// which files they were is not in the log.
    fn ask_with_own_anchors(&self, ask: impl Fn(Anchors) -> Decision) -> Decision {
        let mut decisions = self.anchor_sets.iter().map(|set| ask(Anchors::OfPartner(*set)));
        decisions.find(|decision| !of_another(decision)).unwrap_or_else(|| ask(NOBODYS))
    }

    fn told(&self, decision: &Decision) -> String {
        let entry: Option<Place> = match decision {
            Decision::Permit(permit) => Some(permit.rule().entry()),
            Decision::Refuse(refusal) => refusal.entry(),
            Decision::Ask(_) => None,
        };
        let whereabouts = entry.map(|entry| format!(", {}", self.config.whereabouts(entry)));
        let asked = match decision {
            Decision::Ask(Question::Federation(domain)) => {
                format!(": _sipfederationtls._tcp.{domain} SRV, which the log does not hold")
            }
            Decision::Ask(Question::Host { fqdn, .. }) => {
                format!(": the addresses of {fqdn}, which the log does not hold")
            }
            Decision::Ask(Question::Xmpp(_)) | Decision::Permit(_) | Decision::Refuse(_) => {
                String::new()
            }
        };
        let sentence = shadow::sentence(decision);
        format!("would {sentence}{asked}{}", whereabouts.unwrap_or_default())
    }
}

fn told_before(line: &Line) -> String {
    let verb = match line.verdict {
        Verdict::Permit => "permitted",
        Verdict::Refuse => "refused",
    };
    // A refusal names its rule itself.
    let place = line.place.as_ref().filter(|_| line.verdict == Verdict::Permit);
    let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
    let whereabouts = line.whereabouts.as_ref().map(|at| format!(", {at}")).unwrap_or_default();
    format!("{verb}: {}{place}{whereabouts}", line.rule)
}

const fn verified(verification: Verification) -> &'static str {
    match verification {
        Verification::Always => "; users count as verified: all",
        Verification::Source => "; users count as verified: if their edge says so",
        Verification::Never => "; users count as verified: none",
    }
}

fn of_another(decision: &Decision) -> bool {
    match decision {
        Decision::Refuse(refusal) => refusal.rule() == RefusalRule::AnchorsOfAnother,
        Decision::Permit(_) | Decision::Ask(_) => false,
    }
}
