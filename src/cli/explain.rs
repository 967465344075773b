//! `entente explain`: why a message would pass or not.
//!
//! Nothing is decided here. The policy is asked for its rule ([`Snapshot::inbound`],
//! [`Snapshot::outbound`], [`Snapshot::remote_user`]), and the message itself is put to an Access
//! Edge of its own (`trial`), so the verdict is the one that a running edge would give.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use crate::config::{self, Config, read_domain};
use crate::control;
use crate::dns::{Answer, DnsView, Domain, Question, SharedAnswer, Target};
use crate::edge::{Class, Connect};
use crate::policy::users::Marks;
use crate::policy::{
    AnchorSet, Anchors, Decision, Inbound, Outbound, PeerNames, Place, Refusal, RefusalRule,
    RevocationState, Snapshot,
};
use crate::time::{Clock, Now};

mod live;
mod own_user;
mod party;
mod relay;
mod screens;
mod show;
mod throttle;
mod told;
mod trial;
mod xmpp;

pub(in crate::cli) use live::chain;
pub(in crate::cli) use xmpp::door as xmpp_door;

use party::{Party, party};
use told::{Explanation, Verdict};
use trial::{Outcome, Request};

/// Questions, and properties of the certificate that are assumed, one after the other: anchors, the
/// name of the edge, that of the domain, and the address of the next hop.
const ASSUMPTIONS_MAX: usize = 4;

/// Arguments of `entente explain`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    override_usage = "entente explain [OPTIONS] <FROM> to <TO> -c <FILE>\n       \
                            entente explain [OPTIONS] relay <ADDRESS or USERNAME> -c <FILE>",
    after_help = "Example: entente explain sip:alice@contoso.com to sip:bob@fabrikam.com \
                        -c entente.toml --live\nExit codes: 0 it would pass, 1 it would not, \
                        2 called wrongly or the file is refused, 3 it depends on DNS (--live \
                        asks)"
)]
pub struct Args {
    /// Who sends, as a sip or xmpp URI or user@domain; with xmpp it is a stanza. The word `relay`
    /// and an address ask whether clients of the A/V Edge may reach it; the word and a username
    /// of relay credentials, whether they are believed.
    #[arg(value_name = "FROM")]
    pub from: String,
    /// The word `to`, then whom it is for.
    // What is missing is told in the words of what was asked, and not in those of all there is.
    #[arg(value_name = "to TO", num_args = 1..=2)]
    pub to: Vec<String>,
    /// The configuration file; there is none without it.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The kind of request.
    #[arg(long, default_value = "INVITE", value_parser = method)]
    pub method: String,
    /// Which way; without it, an own sender goes out and anybody else comes in.
    #[arg(long, value_enum)]
    pub direction: Option<Direction>,
    /// A name in the sender's certificate; without it, one that policy wants is assumed.
    #[arg(long, value_name = "NAME", value_parser = domain)]
    pub certificate: Vec<Domain>,
    /// The INVITE offers audio, as a call does; without it, it is one for instant messages.
    #[arg(long)]
    pub audio: bool,
    /// What an inner server marks the own sender with, on the way out: federation=true or false,
    /// publiccloud=true or false.
    #[arg(long, value_name = "MARK", value_parser = mark)]
    pub mark: Vec<Mark>,
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

/// One mark of `ms-user-data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// `ms-federation`.
    Federation(bool),
    /// `ms-publiccloud`.
    PublicCloud(bool),
}

fn mark(text: &str) -> Result<Mark, String> {
    let expected = || {
        "expected federation=true, federation=false, publiccloud=true or \
                       publiccloud=false"
            .to_owned()
    };
    let (name, value) = text.split_once('=').ok_or_else(expected)?;
    let open = value.parse().map_err(|_| expected())?;
    match name.strip_prefix("ms-").unwrap_or(name) {
        "federation" => Ok(Mark::Federation(open)),
        "publiccloud" => Ok(Mark::PublicCloud(open)),
        _ => Err(expected()),
    }
}

/// Returns what policy makes of the marks; the last of a kind counts.
fn marks(marks: &[Mark]) -> Marks {
    let mut all = Marks::default();
    for mark in marks {
        match *mark {
            Mark::Federation(open) => all.federation = Some(open),
            Mark::PublicCloud(open) => all.public_im = Some(open),
        }
    }
    all
}

fn domain(text: &str) -> Result<Domain, String> {
    read_domain(text).map_err(str::to_owned)
}

fn method(text: &str) -> Result<String, String> {
    let token = !text.is_empty() && text.len() <= 32;
    if token && text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        Ok(text.to_ascii_uppercase())
    } else {
        Err("expected a method such as INVITE".to_owned())
    }
}

/// Answers collected so far.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Answers(pub(in crate::cli) Vec<SharedAnswer>);

impl DnsView for Answers {
    fn look(&self, _: Now, question: &Question) -> Option<SharedAnswer> {
        self.0.iter().find(|answer| answer.question == *question).cloned()
    }
}

/// Returns whom it is for.
///
/// # Errors
/// What to say instead, where that is nobody.
fn addressee(args: &Args) -> Result<&str, String> {
    match args.to.as_slice() {
        [to] if to != "to" => Ok(to),
        [word, to] if word == "to" => Ok(to),
        [one, other] => Err(format!(
            "`{one} {other}` is more than whom it is for; say it as: entente explain {} to {other} \
             -c entente.toml",
            args.from
        )),
        _ => Err(format!(
            "whom is it for? Say it as: entente explain {} to sip:bob@fabrikam.com -c entente.toml",
            args.from
        )),
    }
}

/// Reads what the command line asks about.
///
/// # Errors
/// What to say instead.
fn asked(args: &Args) -> Result<Asked, String> {
    if args.from == "relay" {
        return relay::asked(addressee(args).ok()).map(Asked::Relay);
    }
    let to = addressee(args)?;
    if xmpp::is_meant(&args.from) || xmpp::is_meant(to) {
        xmpp::address(&args.from).and_then(|from| Ok(Asked::Stanza(from, xmpp::address(to)?)))
    } else {
        party(&args.from).and_then(|from| Ok(Asked::Message(from, party(to)?)))
    }
}

/// Runs `entente explain`; the exit code tells the verdict.
///
/// # Errors
/// The policy contradicts itself, or what `--live` needs cannot be had.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    use std::io::Write as _;
    let wrongly = |why: &str| {
        eprintln!("entente: {why}");
        Ok(ExitCode::from(2))
    };
    let asked = match asked(args) {
        Ok(asked) => asked,
        Err(why) => return wrongly(&why),
    };
    let Some(file) = &args.config else {
        return wrongly("say by which configuration, such as: -c entente.toml");
    };
    let config = match config::load(file) {
        Ok(config) => config,
        // 1 would say that the message does not pass.
        Err(report) => {
            super::tell(&report.into());
            return Ok(ExitCode::from(2));
        }
    };
    let (text, verdict) = match &asked {
        Asked::Relay(subject) => return relay::run(&config, subject, args.json),
        Asked::Message(from, to) => {
            let explained = explain(args, &config, from, to)?;
            let text = match args.json {
                true => serde_json::to_string_pretty(&explained)? + "\n",
                false => show::text(&explained),
            };
            (text, explained.verdict)
        }
        Asked::Stanza(from, to) => {
            let explained = xmpp::explain(&config, from, to, args.live)?;
            let text = match args.json {
                true => serde_json::to_string_pretty(&explained)? + "\n",
                false => xmpp::text(&explained),
            };
            (text, explained.verdict)
        }
    };
    write!(std::io::stdout().lock(), "{text}")?;
    Ok(match verdict {
        Verdict::Passes | Verdict::AnsweredHere => ExitCode::SUCCESS,
        Verdict::Refused => ExitCode::FAILURE,
        Verdict::Undecided => ExitCode::from(3),
    })
}

/// What is asked about.
enum Asked {
    /// A SIP message.
    Message(Party, Party),
    /// An XMPP stanza.
    Stanza(xmpp::Address, xmpp::Address),
    /// A peer of the relay, or a username.
    Relay(relay::Subject),
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
    /// The entry of the lists that covers the sender's domain most closely.
    entry: Option<Entry>,
    /// The question about a next hop whose answer is assumed: nobody was asked.
    assumed_hop: Option<Question>,
    peer: Arc<PeerNames>,
}

fn explain(args: &Args, config: &Config, from: &Party, to: &Party) -> anyhow::Result<Explanation> {
    let snapshot = control::policy(config)?;
    let ours = |party: &Party| snapshot.is_own(party.domain.as_str().as_bytes());
    let direction =
        args.direction.unwrap_or(if ours(from) { Direction::Out } else { Direction::In });
    let entry = Entry::covering(config, &from.domain);
    let peer = PeerNames {
        dns_names: args.certificate.clone(),
        sip_domains: Vec::new(),
        common_name: None,
        client_auth: true,
        anchors: entry.and_then(|entry| entry.anchors).map_or(Anchors::General, Anchors::OfPartner),
        fingerprint: [0; 32],
        expires_unix_s: u64::MAX,
        revocation: RevocationState::Good,
        xmpp: None,
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
        entry,
        assumed_hop: None,
        peer: Arc::new(peer),
    };
    let probe = if args.live { Some(live::Probe::new(config)?) } else { None };
    let evidence = case.look(probe.as_ref());
    Ok(case.conclude(evidence))
}

/// An entry of the partner lists.
#[derive(Clone, Copy, Debug)]
struct Entry {
    index: u32,
    /// It names the domain itself, and not what it lies below.
    exact: bool,
    anchors: Option<AnchorSet>,
}

impl Entry {
    /// Returns the most specific entry that covers `domain`; it speaks for it.
    fn covering(config: &Config, domain: &Domain) -> Option<Self> {
        let rules = control::rules(config);
        let covering = (0_u32..).zip(&rules.partners).filter(|(_, p)| p.domain.covers(domain));
        let most = covering.max_by_key(|(_, partner)| {
            (partner.domain.exact().is_some(), partner.domain.name().as_str().len())
        });
        most.map(|(index, partner)| Self {
            index,
            exact: partner.domain.exact().is_some(),
            anchors: partner.anchors,
        })
    }
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

    fn request(&self) -> Request<'_> {
        Request {
            method: &self.args.method,
            from: &self.from.uri,
            to: &self.to.uri,
            class: self.direction.class(),
            audio: self.args.audio,
            marks: marks(&self.args.mark),
        }
    }

    fn attempt(&self) -> Outcome {
        let peer = (self.direction != Direction::User).then(|| Arc::clone(&self.peer));
        trial::run(&self.snapshot, peer, &self.request(), &self.answers.0, self.now)
    }

    /// Finds out what may be found out: answers of DNS, and what stands at the partner's door.
    fn look(&mut self, probe: Option<&live::Probe>) -> Option<live::Evidence> {
        let mut evidence = None;
        if let Some(probe) = probe {
            self.resolve(probe);
            let door = self.partners_door(probe);
            evidence = door.map(|connect| probe.look(&connect, self.now.unix_s));
        }
        if self.direction == Direction::In {
            match evidence.as_ref().and_then(|evidence| evidence.peer.clone()) {
                Some(peer) if self.args.certificate.is_empty() => self.peer = peer,
                _ => self.assume(),
            }
        }
        match probe {
            // With a certificate that passes, the way in is looked up too.
            Some(probe) => self.resolve(probe),
            None => self.assume_next_hop(),
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
        // Who stands there does not depend on what a user of ours may.
        let open = control::policy(self.config).ok()?.with_directory(Arc::default());
        let open = Arc::new(open);
        let (from, to, marks) = (from.uri.as_str(), to.uri.as_str(), Marks::default());
        let class = Class::Internal;
        let request = Request { method: "INVITE", from, to, class, audio: false, marks };
        for _ in 0..ASSUMPTIONS_MAX {
            match trial::run(
                &open,
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

    /// Gives the sender's certificate what policy wants to see there: the anchors, and the names
    /// unless some were given.
    fn assume(&mut self) {
        let mut peer = PeerNames::clone(&self.peer);
        for _ in 0..ASSUMPTIONS_MAX {
            let Decision::Refuse(refusal) = self.decide(&peer) else { break };
            if !self.please(&refusal, &mut peer) {
                break;
            }
        }
        self.peer = Arc::new(peer);
    }

    /// Changes the certificate so that this refusal would not come; tells whether that helps.
    fn please(&self, refusal: &Refusal, peer: &mut PeerNames) -> bool {
        let rules = self.snapshot.rules();
        if refusal.rule() == RefusalRule::AnchorsOfAnother {
            let set = match refusal.entry() {
                Some(Place::Provider(index)) => {
                    rules.providers.get(usize::from(index)).and_then(|provider| provider.anchors)
                }
                Some(Place::DefaultRoute) => rules.default_route.as_ref().and_then(|r| r.anchors),
                _ => None,
            };
            let wanted = set.map_or(Anchors::General, Anchors::OfPartner);
            let helps = peer.anchors != wanted;
            peer.anchors = wanted;
            return helps;
        }
        if !self.args.certificate.is_empty() {
            return false;
        }
        let from = &self.from.domain;
        let name = match refusal.rule() {
            RefusalRule::UnknownDomain => rules.default_route.as_ref().map(|route| &route.edge),
            RefusalRule::OwnDomainFromOutside => {
                let mut providers = rules.providers.iter().filter(|provider| provider.enabled);
                providers.find(|provider| provider.shared.contains(from)).map(|p| &p.edge)
            }
            _ => refusal.expected_names().first(),
        };
        let Some(name) = name.filter(|name| !peer.dns_names.contains(name)) else { return false };
        peer.dns_names.push(name.clone());
        true
    }

    /// Lets the next hop have an address, so that what comes after it is seen: whether it has one
    /// is no question of policy.
    fn assume_next_hop(&mut self) {
        let Decision::Permit(_) = self.decide(&self.peer) else { return };
        let Outcome::Asks(question @ Question::Host { .. }) = self.attempt() else { return };
        let Question::Host { fqdn, port } = question.clone() else { return };
        let addresses = vec![std::net::Ipv4Addr::new(192, 0, 2, 1).into()];
        let target = Target { fqdn, port, priority: 0, weight: 0, addresses, direct_tls: true };
        let answer = Answer { question: question.clone(), outcome: Ok(vec![target]), ttl_s: 60 };
        self.answers.0.push(Arc::new(answer));
        self.assumed_hop = Some(question);
    }
}

#[cfg(test)]
mod tests;
