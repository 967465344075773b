//! `entente explain`: why a message would pass or not.
//!
//! Nothing is decided here. The policy is asked for its rule ([`Snapshot::inbound`],
//! [`Snapshot::outbound`], [`Snapshot::remote_user`]), and the message itself is put to an Access
//! Edge of its own (`trial`), so the verdict is the one that a running edge would give.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{anyhow, bail};
use serde::Serialize;

use crate::config::{self, Config, read_domain};
use crate::control;
use crate::dns::{DnsView, Domain, Failure, Question, SharedAnswer};
use crate::edge::{Class, Connect};
use crate::policy::{Anchors, Decision, Inbound, Outbound, PeerNames, RevocationState, Snapshot};
use crate::time::{Clock, Now};

mod live;
mod screens;
mod show;
mod trial;

use screens::Step;
use trial::{Outcome, Request};

/// Questions, and certificate names that are assumed, one after the other: of the domain, of its
/// edge, of the next hop.
const ASSUMPTIONS_MAX: usize = 3;

/// Arguments of `entente explain`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example: entente explain sip:alice@contoso.com to sip:bob@fabrikam.com \
                        -c entente.toml --live\nExit codes: 0 it would pass, 1 it would not, \
                        2 called wrongly")]
pub struct Args {
    /// Who sends, as a sip URI or user@domain.
    #[arg(value_name = "FROM")]
    pub from: String,
    /// The word `to`, then whom it is for.
    #[arg(value_name = "to TO", num_args = 1..=2, required = true)]
    pub to: Vec<String>,
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// The kind of request.
    #[arg(long, default_value = "INVITE", value_parser = method)]
    pub method: String,
    /// Which way; without it, an own sender goes out and anybody else comes in.
    #[arg(long, value_enum)]
    pub direction: Option<Direction>,
    /// A name in the sender's certificate; without it, one that policy wants is assumed.
    #[arg(long, value_name = "NAME", value_parser = domain)]
    pub certificate: Vec<Domain>,
    /// Asks DNS, connects and handshakes for real, and judges what is found there.
    #[arg(long)]
    pub live: bool,
    /// Prints one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From a partner to us.
    In,
    /// From us to a partner.
    Out,
    /// From an own user outside, by the listener for remote users.
    User,
}

impl Direction {
    const fn class(self) -> Class {
        match self {
            Self::In => Class::Federation,
            Self::Out => Class::Internal,
            Self::User => Class::RemoteUsers,
        }
    }
}

fn domain(text: &str) -> Result<Domain, String> {
    read_domain(text).map_err(str::to_owned)
}

fn method(text: &str) -> Result<String, String> {
    let token = !text.is_empty() && text.len() <= 32;
    if token && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        Ok(text.to_owned())
    } else {
        Err("expected a method in capitals, such as INVITE".to_owned())
    }
}

/// An address of a user.
#[derive(Clone, Debug)]
struct Party {
    uri: String,
    domain: Domain,
}

/// Reads `sip:alice@contoso.example`, or the same without its scheme.
fn party(text: &str) -> anyhow::Result<Party> {
    let bare = text.strip_prefix("sip:").or_else(|| text.strip_prefix("sips:")).unwrap_or(text);
    let host = bare.rsplit_once('@').map_or(bare, |(_, host)| host);
    let domain = read_domain(host).map_err(|why| anyhow!("`{text}` names no domain: {why}"))?;
    let user = bare.rsplit_once('@').map_or("", |(user, _)| user);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/%".contains(&byte);
    if !user.bytes().all(plain) {
        bail!("`{text}` is no sip URI: its user part has a character that must be escaped");
    }
    let at = if user.is_empty() { "" } else { "@" };
    Ok(Party { uri: format!("sip:{user}{at}{domain}"), domain })
}

/// What a message would meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
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
struct Explanation {
    from: String,
    to: String,
    method: String,
    direction: Direction,
    verdict: Verdict,
    /// What decided, as the log would say it.
    sentence: String,
    /// Status, reason phrase and diagnostics of the answer.
    status: Option<u16>,
    reason: Option<String>,
    diagnostics: Option<String>,
    /// The entry or switch, and where it is written.
    rule: Option<String>,
    place: Option<String>,
    screens: Vec<Step>,
    /// Names the partner's certificate must carry.
    certificate_names: Vec<String>,
    /// What was taken for granted of the sender.
    assumed: Option<String>,
    /// Questions to DNS, with what came back.
    dns: Vec<Asked>,
    /// Where it would go.
    next: Option<Next>,
    evidence: Option<live::Evidence>,
}

/// A question to DNS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Asked {
    question: String,
    answer: String,
}

/// A connection that would be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Next {
    name: String,
    addresses: Vec<String>,
}

/// Answers collected so far.
#[derive(Clone, Debug, Default)]
struct Answers(Vec<SharedAnswer>);

impl DnsView for Answers {
    fn look(&self, _: Now, question: &Question) -> Option<SharedAnswer> {
        self.0.iter().find(|answer| answer.question == *question).cloned()
    }
}

/// Runs `entente explain`; exit code 0 if the message would pass.
///
/// # Errors
/// The configuration is refused ([`config::Report`]), or an address is none.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    use std::io::Write as _;
    let to = match args.to.as_slice() {
        [word, to] if word == "to" => to,
        [to] => to,
        _ => {
            eprintln!("entente: say it as: entente explain FROM to TO");
            return Ok(ExitCode::from(2));
        }
    };
    let (from, to) = (party(&args.from)?, party(to)?);
    let config = config::load(&args.config)?;
    let explained = explain(args, &config, &from, &to)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&explained)?)?;
    } else {
        write!(out, "{}", show::text(&explained))?;
    }
    let passes = matches!(explained.verdict, Verdict::Passes | Verdict::AnsweredHere);
    Ok(if passes { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One message and what is known about it.
struct Case<'a> {
    args: &'a Args,
    config: &'a Config,
    snapshot: Arc<Snapshot>,
    from: &'a Party,
    to: &'a Party,
    direction: Direction,
    now: Now,
    answers: Answers,
    peer: Arc<PeerNames>,
}

fn explain(args: &Args, config: &Config, from: &Party, to: &Party) -> anyhow::Result<Explanation> {
    let rules = control::rules(config);
    // The most specific entry that covers the domain speaks for it.
    let covering = rules.partners.iter().filter(|partner| partner.domain.covers(&from.domain));
    let entry = covering.max_by_key(|partner| {
        (partner.domain.exact().is_some(), partner.domain.name().as_str().len())
    });
    let anchors = entry.and_then(|partner| partner.anchors);
    let anchors = anchors.map_or(Anchors::General, Anchors::OfPartner);
    let snapshot = control::policy(config)?;
    let ours = |party: &Party| snapshot.is_own(party.domain.as_str().as_bytes());
    let direction =
        args.direction.unwrap_or(if ours(from) { Direction::Out } else { Direction::In });
    let peer = PeerNames {
        dns_names: args.certificate.clone(),
        sip_domains: Vec::new(),
        common_name: None,
        client_auth: true,
        anchors,
        fingerprint: [0; 32],
        expires_unix_s: u64::MAX,
        revocation: RevocationState::Good,
    };
    let mut case = Case {
        args,
        config,
        snapshot: Arc::new(snapshot),
        from,
        to,
        direction,
        now: Clock::start().now(),
        answers: Answers::default(),
        peer: Arc::new(peer),
    };
    let probe = if args.live { Some(live::Probe::new(config)?) } else { None };
    let evidence = case.look(probe.as_ref());
    Ok(case.conclude(evidence))
}

impl Case<'_> {
    /// Asks policy, as the Access Edge does once a message has come that far.
    fn decide(&self, peer: &PeerNames) -> Decision {
        let (from, to) = (&self.from.domain, &self.to.domain);
        match self.direction {
            Direction::In => {
                self.snapshot.inbound(self.now, &Inbound { peer, from, to }, &self.answers)
            }
            Direction::Out => {
                self.snapshot.outbound(self.now, &Outbound { from, to }, &self.answers)
            }
            Direction::User => self.snapshot.remote_user(from, Some(to)),
        }
    }

    fn attempt(&self) -> Outcome {
        let request = Request {
            method: &self.args.method,
            from: &self.from.uri,
            to: &self.to.uri,
            class: self.direction.class(),
        };
        let peer = (self.direction != Direction::User).then(|| Arc::clone(&self.peer));
        trial::run(&self.snapshot, peer, &request, &self.answers.0, self.now)
    }

    /// Finds out what may be found out: answers of DNS, and what stands at the partner's door.
    fn look(&mut self, probe: Option<&live::Probe>) -> Option<live::Evidence> {
        let mut evidence = None;
        if let Some(probe) = probe {
            self.resolve(probe);
            let door = self.partners_door(probe);
            evidence = door.map(|connect| probe.look(&connect, self.now.unix_s));
        }
        if self.direction == Direction::In && self.args.certificate.is_empty() {
            match evidence.as_ref().and_then(|evidence| evidence.peer.clone()) {
                Some(peer) => self.peer = peer,
                None => self.assume(),
            }
        }
        if let Some(probe) = probe {
            // With a certificate that passes, the way in is looked up too.
            self.resolve(probe);
        }
        evidence
    }

    /// Asks DNS what policy and the way out want to know.
    fn resolve(&mut self, probe: &live::Probe) {
        for _ in 0..ASSUMPTIONS_MAX {
            let asked = match self.decide(&self.peer) {
                Decision::Ask(question) => Some(question),
                _ => match self.attempt() {
                    Outcome::Asks(question) => Some(question),
                    _ => None,
                },
            };
            let Some(question) = asked else { return };
            let answer = probe.answer(&question);
            self.answers.0.push(Arc::new(answer));
        }
    }

    /// Returns how the edge would connect to the partner, whichever way the message goes.
    fn partners_door(&mut self, probe: &live::Probe) -> Option<Connect> {
        let (from, to) = match self.direction {
            Direction::Out => (self.from, self.to),
            Direction::In => (self.to, self.from),
            Direction::User => return None,
        };
        let request =
            Request { method: "INVITE", from: &from.uri, to: &to.uri, class: Class::Internal };
        for _ in 0..ASSUMPTIONS_MAX {
            match trial::run(
                &self.snapshot,
                Some(Arc::clone(&self.peer)),
                &request,
                &self.answers.0,
                self.now,
            ) {
                Outcome::Connects(connect) => return Some(connect),
                Outcome::Asks(question) => {
                    let answer = probe.answer(&question);
                    self.answers.0.push(Arc::new(answer));
                }
                Outcome::Answered(_) | Outcome::Silent => break,
            }
        }
        None
    }

    /// Gives the sender's certificate the names that policy wants to see there.
    fn assume(&mut self) {
        let mut peer = PeerNames::clone(&self.peer);
        for _ in 0..ASSUMPTIONS_MAX {
            let Decision::Refuse(refusal) = self.decide(&peer) else { break };
            let Some(name) = refusal.expected_names().first() else { break };
            peer.dns_names.push(name.clone());
        }
        self.peer = Arc::new(peer);
    }

    fn conclude(self, evidence: Option<live::Evidence>) -> Explanation {
        let policy = self.decide(&self.peer);
        let outcome = self.attempt();
        let mut screens = screens::walk(self.direction.class(), &outcome, Some(&policy));
        let (rule, entry) = match &policy {
            Decision::Permit(permit) => {
                (Some(permit.rule().sentence()), Some(permit.rule().entry()))
            }
            Decision::Refuse(refusal) => (None, refusal.entry()),
            Decision::Ask(_) => (None, None),
        };
        let place = entry.map(|entry| format!("{entry}, {}", self.config.whereabouts(entry)));
        let (verdict, sentence) = self.verdict(&outcome, &policy);
        for step in &mut screens {
            step.sentence = match step.said {
                screens::Said::Stopped | screens::Said::Waits => sentence.clone(),
                screens::Said::Passed if step.screen == screens::Screen::Partner => {
                    rule.clone().unwrap_or_default()
                }
                screens::Said::Passed | screens::Said::NotReached => String::new(),
            };
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
            verdict,
            sentence,
            status,
            reason,
            diagnostics,
            rule,
            place,
            screens,
            certificate_names: self.certificate_names(&outcome),
            assumed: self.assumed(evidence.as_ref()),
            dns: self.asked(&outcome),
            next: next(&outcome),
            evidence,
        }
    }

    fn verdict(&self, outcome: &Outcome, policy: &Decision) -> (Verdict, String) {
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
                (Verdict::Undecided, format!("it depends on {told}; --live asks"))
            }
            (Outcome::Connects(_), Decision::Permit(permit)) => {
                (Verdict::Passes, permit.rule().sentence())
            }
            (Outcome::Connects(_), _) => (Verdict::Passes, "it is forwarded".to_owned()),
            (Outcome::Silent, _) => {
                (Verdict::Refused, "it is dropped without an answer".to_owned())
            }
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
        let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
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
        Some(format!("{whose}: it carries {names} and leads to {anchors}"))
    }

    fn asked(&self, outcome: &Outcome) -> Vec<Asked> {
        let mut asked: Vec<Asked> = self
            .answers
            .0
            .iter()
            .map(|answer| Asked {
                question: show::question(&answer.question),
                answer: show::answer(&answer.outcome),
            })
            .collect();
        if let Outcome::Asks(question) = outcome {
            let answer = "not asked; --live does".to_owned();
            asked.push(Asked { question: show::question(question), answer });
        }
        asked
    }
}

fn next(outcome: &Outcome) -> Option<Next> {
    let Outcome::Connects(connect) = outcome else { return None };
    Some(Next {
        name: connect.server_name.to_string(),
        addresses: connect.addresses.iter().map(ToString::to_string).collect(),
    })
}

/// Returns why DNS has no edge, in words.
const fn failure(failure: Failure) -> &'static str {
    match failure {
        Failure::NoSuchService => "there is none",
        Failure::ServiceRefused => "the domain says that it has no such service",
        Failure::NoAddress => "what it names has no address",
        Failure::ServerFailure => "the name servers failed",
        Failure::Timeout => "no answer in time",
    }
}

#[cfg(test)]
mod tests;
