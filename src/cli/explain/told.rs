//! What an explanation says, drawn from the decision and from what the edge did.

use serde::Serialize;

use super::own_user::{self, OwnUser};
use super::screens::{self, Said, Screen, Step};
use super::throttle::{self, Throttle};
use super::trial::Outcome;
use super::{Case, Direction, live, show};
use crate::config::Remarks;
use crate::dns::Domain;
use crate::policy::{Anchors, Decision};

/// What a message would meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// It would be forwarded.
    Passes,
    /// It would be answered with a refusal.
    Refused,
    /// The edge would answer it itself.
    AnsweredHere,
    /// DNS decides, and was not asked.
    Undecided,
}

/// Everything there is to say.
#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) method: String,
    pub(super) direction: Direction,
    pub(super) verdict: Verdict,
    /// What decided, as the log would say it.
    pub(super) sentence: String,
    /// What the caller may have meant instead.
    pub(super) hint: Option<String>,
    /// Status, reason phrase and diagnostics of the answer.
    pub(super) status: Option<u16>,
    pub(super) reason: Option<String>,
    pub(super) diagnostics: Option<String>,
    /// The entry or switch, and where it is written.
    pub(super) rule: Option<String>,
    pub(super) place: Option<String>,
    /// Who answers for the entry behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
    /// Where that entry was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ticket: Option<String>,
    pub(super) screens: Vec<Step>,
    /// Names the partner's certificate must carry.
    pub(super) certificate_names: Vec<String>,
    /// What was taken for granted of the sender.
    pub(super) assumed: Option<String>,
    /// Questions to DNS, with what came back.
    pub(super) dns: Vec<Asked>,
    /// Where it would go.
    pub(super) next: Option<Next>,
    /// What the own user may, and who says so.
    pub(super) own_user: Option<OwnUser>,
    /// The limits of whoever sends, and how he stands.
    pub(super) throttle: Option<Throttle>,
    pub(super) evidence: Option<live::Evidence>,
}

/// A question to DNS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Asked {
    pub(super) question: String,
    pub(super) answer: String,
}

/// A connection that would be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Next {
    pub(super) name: String,
    /// Empty where DNS was not asked.
    pub(super) addresses: Vec<String>,
}

/// The rule that decided about the partner.
struct Ruled {
    sentence: Option<String>,
    place: Option<String>,
    remarks: Remarks,
}

impl Case<'_> {
    /// Draws the conclusion from what is known.
    pub(super) fn conclude(self, evidence: Option<live::Evidence>) -> Explanation {
        let policy = self.decide(&self.peer);
        let outcome = self.attempt();
        let own_user = own_user::of(&self, &policy);
        let throttle = throttle::of(&self, &policy);
        let partner = self.ruled(&policy);
        let (verdict, sentence) = self.verdict(&outcome, &policy, own_user.as_ref());
        let mut screens = screens::walk(&self.request(), &outcome, Some(&policy));
        let next = self.next(&outcome);
        for step in &mut screens {
            let told = match (step.said, step.screen) {
                (Said::Stopped | Said::Waits, _) => (reason(&sentence), None),
                (Said::Passed, Screen::Partner) => {
                    (partner.sentence.clone().unwrap_or_default(), partner.place.clone())
                }
                (Said::Passed, Screen::Route) => {
                    (next.as_ref().map(|next| next.name.clone()).unwrap_or_default(), None)
                }
                (Said::Passed, Screen::Rate) => {
                    (throttle.as_ref().map(Throttle::sentence).unwrap_or_default(), None)
                }
                (Said::Passed, Screen::User) => passed_user(own_user.as_ref()),
                (Said::Passed | Said::NotReached, _) => (String::new(), None),
            };
            (step.sentence, step.place) = told;
        }
        // What stopped it: the own user's policy, or what was decided of the partner.
        let stopped = screens.iter_mut().find(|step| step.said == Said::Stopped);
        let mut place = partner.place;
        if let Some(step) = stopped {
            if step.screen == Screen::User {
                place = own_user.as_ref().and_then(OwnUser::gate).and_then(|g| g.place.clone());
            } else if screens::before_policy(step.screen, &policy) {
                place = None;
            }
            step.place.clone_from(&place);
        }
        let (status, reason, diagnostics) = match &outcome {
            Outcome::Answered(answered) => {
                let reason = Some(answered.reason.clone());
                (Some(answered.status), reason, answered.diagnostics.clone())
            }
            _ => (None, None, None),
        };
        Explanation {
            from: self.from.uri.clone(),
            to: self.to.uri.clone(),
            method: self.args.method.clone(),
            direction: self.direction,
            hint: self.hint(&verdict),
            verdict,
            sentence,
            status,
            reason,
            diagnostics,
            rule: partner.sentence,
            // Whose the entry is that policy found, whatever else may have decided.
            owner: partner.remarks.owner,
            ticket: partner.remarks.ticket,
            place,
            screens,
            certificate_names: self.certificate_names(&outcome),
            assumed: self.assumed(evidence.as_ref()),
            dns: self.asked(&outcome),
            next,
            own_user,
            throttle,
            evidence,
        }
    }

    fn is_gateway(&self, name: &Domain) -> bool {
        let hops = self.snapshot.next_hops().get(self.snapshot.gateway_hops());
        hops.is_some_and(|hops| hops.iter().any(|hop| hop.name == *name))
    }

    fn ruled(&self, policy: &Decision) -> Ruled {
        let (sentence, entry) = match policy {
            Decision::Permit(permit) => {
                (Some(permit.rule().sentence()), Some(permit.rule().entry()))
            }
            Decision::Refuse(refusal) => (None, refusal.entry()),
            Decision::Ask(_) => (None, None),
        };
        let place = entry.map(|entry| format!("{entry}, {}", self.config.whereabouts(entry)));
        let remarks = entry.map(|entry| self.config.remarks(entry)).unwrap_or_default();
        Ruled { sentence, place, remarks }
    }

    fn verdict(
        &self,
        outcome: &Outcome,
        policy: &Decision,
        own_user: Option<&OwnUser>,
    ) -> (Verdict, String) {
        match (outcome, policy) {
            (Outcome::Answered(answered), _) if answered.status == 200 => {
                (Verdict::AnsweredHere, "it is for the edge itself, which answers".to_owned())
            }
            (Outcome::Answered(answered), _) => (Verdict::Refused, answered.sentence.clone()),
            (Outcome::Asks(question), Decision::Permit(permit)) => {
                let rule = permit.rule().sentence();
                let told = show::question(question);
                (Verdict::Passes, format!("{rule}; then DNS is asked for {told}"))
            }
            (Outcome::Asks(question), _) => {
                let told = show::question(question);
                let mut sentence = format!("it depends on {told}; --live asks");
                if let Some(closed) = own_user.and_then(OwnUser::closed_to_all) {
                    sentence.push_str("; whatever it says, ");
                    sentence.push_str(&closed.why);
                }
                (Verdict::Undecided, sentence)
            }
            (Outcome::Connects(_), Decision::Permit(permit)) => {
                (Verdict::Passes, permit.rule().sentence())
            }
            (Outcome::Connects(connect), _) if self.is_gateway(&connect.server_name) => {
                let name = &connect.server_name;
                let sentence = format!("XMPP partner, by way of the gateway {name}");
                (Verdict::Passes, sentence)
            }
            (Outcome::Connects(_), _) => (Verdict::Passes, "it is forwarded".to_owned()),
            (Outcome::Silent, _) => {
                (Verdict::Refused, "it is dropped without an answer".to_owned())
            }
        }
    }

    /// Returns what a caller may have meant who put own and foreign domains together otherwise.
    fn hint(&self, verdict: &Verdict) -> Option<String> {
        let ours = |domain: &Domain| self.snapshot.is_own(domain.as_str().as_bytes());
        let (from, to) = (ours(&self.from.domain), ours(&self.to.domain));
        let own: Vec<&str> = self.config.edge.domains.iter().map(Domain::as_str).take(3).collect();
        let more = if self.config.edge.domains.len() > 3 { ", ..." } else { "" };
        let refused = *verdict == Verdict::Refused;
        match (self.direction, from, to) {
            (_, false, false) => Some(format!(
                "neither domain is ours ({}{more}): the edge is no relay between others",
                own.join(", ")
            )),
            (Direction::Out, true, true) if refused => Some(
                "both domains are ours: the pool delivers such a message without the edge; for a \
                 user outside say --direction user"
                    .to_owned(),
            ),
            (Direction::Out, false, true) => {
                Some("the sender is not ours: without --direction it comes in".to_owned())
            }
            (Direction::In, true, false) => {
                Some("the sender is ours: without --direction it goes out".to_owned())
            }
            (Direction::In | Direction::User, ..) if !self.args.mark.is_empty() => {
                Some("--mark has no effect here: only inner servers mark what they send".to_owned())
            }
            _ => None,
        }
    }

    /// Returns the names that the partner's certificate must carry, as far as known.
    fn certificate_names(&self, outcome: &Outcome) -> Vec<String> {
        let names: Vec<&Domain> = match (self.direction, outcome) {
            (Direction::In, _) if self.args.certificate.is_empty() => {
                self.peer.dns_names.iter().collect()
            }
            (Direction::Out, Outcome::Connects(connect)) => {
                let expected = &connect.expected_names;
                expected.host.iter().chain(&expected.sip_domain).collect()
            }
            _ => Vec::new(),
        };
        names.into_iter().map(ToString::to_string).collect()
    }

    fn assumed(&self, evidence: Option<&live::Evidence>) -> Option<String> {
        if self.direction != Direction::In {
            return None;
        }
        let names: Vec<&str> = self.peer.dns_names.iter().map(Domain::as_str).collect();
        let anchors = match self.peer.anchors {
            Anchors::General => "tls.trust",
            Anchors::OfPartner(_) => "the partner's own anchors",
        };
        let whose = if evidence.is_some_and(|evidence| evidence.peer.is_some()) {
            "the sender shows the certificate its edge showed us"
        } else if self.args.certificate.is_empty() {
            "the sender's certificate is as policy wants it"
        } else {
            "the sender's certificate is as --certificate says"
        };
        Some(match names.is_empty() {
            // Which names those are depends on an answer, or none would have helped.
            true => format!("{whose}; it leads to {anchors}"),
            false => format!("{whose}: it carries {} and leads to {anchors}", names.join(", ")),
        })
    }

    fn asked(&self, outcome: &Outcome) -> Vec<Asked> {
        let not_asked = || "not asked; --live does".to_owned();
        let mut asked: Vec<Asked> = self
            .answers
            .0
            .iter()
            .map(|answer| Asked {
                question: show::question(&answer.question),
                answer: match &self.assumed_hop {
                    Some(assumed) if *assumed == answer.question => not_asked(),
                    _ => show::answer(&answer.outcome),
                },
            })
            .collect();
        if let Outcome::Asks(question) = outcome {
            asked.push(Asked { question: show::question(question), answer: not_asked() });
        }
        asked
    }

    fn next(&self, outcome: &Outcome) -> Option<Next> {
        let Outcome::Connects(connect) = outcome else { return None };
        let addresses = match self.assumed_hop {
            Some(_) => Vec::new(),
            None => connect.addresses.iter().map(ToString::to_string).collect(),
        };
        Some(Next { name: connect.server_name.to_string(), addresses })
    }
}

/// Returns what the screen of the own user says of one who may.
fn passed_user(own_user: Option<&OwnUser>) -> (String, Option<String>) {
    match own_user.and_then(OwnUser::gate) {
        Some(gate) => (gate.why.clone(), gate.place.clone()),
        None => (String::new(), None),
    }
}

/// Returns the reason in a sentence of the log, which the verdict repeats in full.
fn reason(sentence: &str) -> String {
    let reason = sentence.split_once(" refused with ").and_then(|(_, rest)| rest.split_once(": "));
    reason.map_or(sentence, |(_, reason)| reason).to_owned()
}
