//! A line of the decision log: a running edge writes it, `entente replay` reads it.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dns::{Answer, Domain, Failure, Question, SharedAnswer, Target};
use crate::edge::{Decided, RefusedBy, Said};
use crate::policy::shadow::Before;
use crate::policy::{
    Anchors, Date, Decision, Direction, PartnerKind, PeerNames, Permit, Place, RefusalRule,
    RevocationState,
};

/// Seconds of a day.
const DAY_S: u64 = 86_400;
/// What an answer of the log is good for: the one question it stands with.
const TTL_S: u32 = 60;

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When it was reached.
    pub time: Moment,
    /// Its number as the answer on the wire and the log have it: sixteen hexadecimal digits.
    pub decision: String,
    /// Which shard reached it.
    pub shard: u16,
    /// Under which configuration.
    pub epoch: u64,
    /// Which way the request was to cross.
    pub direction: Way,
    /// What the sender's certificate says, where that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
    /// Domain of the sender.
    pub from: Name,
    /// Domain it was for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Name>,
    /// What DNS had answered, as far as it was looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<Looked>,
    /// Passed or not.
    pub verdict: Verdict,
    /// What decided.
    pub by: By,
    /// The kind of federation, of what passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// How far the sender's word on its users counts, of what passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// The rule of policy that refused, in the word that metrics use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// The rule in a sentence.
    pub rule: String,
    /// The entry of the configuration behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Where that is written, as `file:line`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whereabouts: Option<String>,
    /// SIP status of a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// ErrorId of its `ms-diagnostics`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnostics: Option<u16>,
}

/// Which way a request crosses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// From a partner to us.
    In,
    /// From us to a partner.
    Out,
    /// From an own user outside.
    User,
}

/// Passed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It was forwarded.
    Permit,
    /// It was refused.
    Refuse,
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Policy, by the domains and the certificate: what can be asked again.
    Policy,
    /// The own user's external access policy.
    User,
    /// The limits of the partner.
    Limit,
    /// What the connection carried already.
    Connection,
    /// What the message offered.
    Message,
    /// The rules of XMPP streams.
    Stream,
}

/// How far a sender's word on its users counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verification {
    /// Everything counts as verified.
    Always,
    /// What the sender's edge marked does.
    Source,
    /// Nothing does.
    Never,
}

/// A moment, written as RFC 3339 has it, in UTC and whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(pub u64);

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (day, second) = (Date::of_unix_s(self.0), self.0 % DAY_S);
        let (hours, minutes) = (second / 3_600, second / 60 % 60);
        write!(f, "{day}T{hours:02}:{minutes:02}:{:02}Z", second % 60)
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

impl TryFrom<String> for Moment {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        read_moment(&text).map(Self).ok_or("expected a time such as 2026-11-22T21:04:05Z")
    }
}

fn read_moment(text: &str) -> Option<u64> {
    let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
    let day = Date::parse(day).ok()?.end_unix_s() - DAY_S;
    let mut parts = time.splitn(3, ':').map(|part| {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse::<u64>().ok()).flatten()
    });
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let holds = hours < 24 && minutes < 60 && seconds < 60;
    holds.then_some(day + hours * 3_600 + minutes * 60 + seconds)
}

/// A domain name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(pub Domain);

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.as_str().to_owned()
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Domain::parse(text.as_bytes()).map(Self).map_err(|_| format!("{text:?} is no domain name"))
    }
}

/// What the sender's certificate says, as far as policy looks at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its host names.
    pub names: Vec<Name>,
    /// SIP domains it carries as URIs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sip_domains: Vec<Name>,
    /// Its common name, if that is a domain name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<Name>,
    /// It may be used by a client.
    pub client_auth: bool,
    /// Where its chain leads.
    pub anchors: Led,
    /// It is known not to be revoked.
    pub known_good: bool,
}

/// Where a chain leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Led {
    /// To the anchors for everybody.
    General,
    /// To those of one partner.
    Partner,
}

impl Peer {
    fn of(names: &PeerNames) -> Self {
        let all = |names: &[Domain]| names.iter().cloned().map(Name).collect();
        Self {
            names: all(&names.dns_names),
            sip_domains: all(&names.sip_domains),
            common_name: names.common_name.clone().map(Name),
            client_auth: names.client_auth,
            anchors: match names.anchors {
                Anchors::General => Led::General,
                Anchors::OfPartner(_) => Led::Partner,
            },
            known_good: names.revocation == RevocationState::Good,
        }
    }

    /// Returns the same as policy is asked about it. `anchors`: where the chain leads there.
    #[must_use]
    pub fn asked(&self, anchors: Anchors) -> PeerNames {
        let all = |names: &[Name]| names.iter().map(|name| name.0.clone()).collect();
        PeerNames {
            dns_names: all(&self.names),
            sip_domains: all(&self.sip_domains),
            common_name: self.common_name.as_ref().map(|name| name.0.clone()),
            client_auth: self.client_auth,
            anchors,
            fingerprint: [0; 32],
            expires_unix_s: u64::MAX,
            revocation: if self.known_good {
                RevocationState::Good
            } else {
                RevocationState::Unknown
            },
            xmpp: None,
        }
    }
}

/// A question to DNS with its answer: targets, or a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// The domain whose federation SRV record was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub srv: Option<Name>,
    /// Or the host whose addresses were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Name>,
    /// With the port it is connected to at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Found>,
    /// Why nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<NotFound>,
}

/// A host that DNS names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its name.
    pub fqdn: Name,
    /// Its port.
    pub port: u16,
    /// SRV priority.
    #[serde(default)]
    pub priority: u16,
    /// SRV weight.
    #[serde(default)]
    pub weight: u16,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// [`Failure`] as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are those of the failures they stand for")]
pub enum NotFound {
    NoSuchService,
    ServiceRefused,
    NoAddress,
    ServerFailure,
    Timeout,
}

impl From<Failure> for NotFound {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoSuchService => Self::NoSuchService,
            Failure::ServiceRefused => Self::ServiceRefused,
            Failure::NoAddress => Self::NoAddress,
            Failure::ServerFailure => Self::ServerFailure,
            Failure::Timeout => Self::Timeout,
        }
    }
}

impl From<NotFound> for Failure {
    fn from(found: NotFound) -> Self {
        match found {
            NotFound::NoSuchService => Self::NoSuchService,
            NotFound::ServiceRefused => Self::ServiceRefused,
            NotFound::NoAddress => Self::NoAddress,
            NotFound::ServerFailure => Self::ServerFailure,
            NotFound::Timeout => Self::Timeout,
        }
    }
}

impl Looked {
    fn of(answer: &Answer) -> Self {
        let (srv, host, port) = match &answer.question {
            // Verdicts on XMPP rest on no answer of DNS.
            Question::Federation(domain) | Question::Xmpp(domain) => {
                (Some(Name(domain.clone())), None, None)
            }
            Question::Host { fqdn, port } => (None, Some(Name(fqdn.clone())), Some(*port)),
        };
        let targets = answer.outcome.iter().flatten().map(|target| Found {
            fqdn: Name(target.fqdn.clone()),
            port: target.port,
            priority: target.priority,
            weight: target.weight,
            addresses: target.addresses.clone(),
        });
        let failure = answer.outcome.as_ref().err().map(|failure| NotFound::from(*failure));
        Self { srv, host, port, targets: targets.collect(), failure }
    }

    fn answer(&self) -> Result<SharedAnswer, &'static str> {
        let question = match (&self.srv, &self.host, self.port) {
            (Some(domain), None, None) => Question::Federation(domain.0.clone()),
            (None, Some(fqdn), Some(port)) => Question::Host { fqdn: fqdn.0.clone(), port },
            _ => return Err("`dns` has a question that is neither srv nor host with port"),
        };
        let target = |found: &Found| Target {
            fqdn: found.fqdn.0.clone(),
            port: found.port,
            priority: found.priority,
            weight: found.weight,
            addresses: found.addresses.clone(),
            direct_tls: true,
        };
        let outcome = match (self.failure, self.targets.as_slice()) {
            (Some(failure), []) => Err(failure.into()),
            (None, [_, ..]) => Ok(self.targets.iter().map(target).collect()),
            _ => return Err("`dns` has an answer that is neither targets nor a failure"),
        };
        Ok(Arc::new(Answer { question, outcome, ttl_s: TTL_S }))
    }
}

impl Line {
    /// Returns the line of a decision. `whereabouts` knows where an entry is written.
    #[must_use]
    pub fn of(
        decided: &Decided,
        shard: u16,
        unix_s: u64,
        whereabouts: impl Fn(Place) -> Option<String>,
    ) -> Self {
        let blank = Self {
            time: Moment(unix_s),
            decision: format!("{:016x}", decided.decision_id),
            shard,
            epoch: decided.epoch,
            direction: match decided.direction {
                Direction::Inbound => Way::In,
                Direction::Outbound => Way::Out,
                Direction::RemoteUser => Way::User,
            },
            peer: decided.peer.as_deref().map(Peer::of),
            from: Name(decided.from.clone()),
            to: decided.to.clone().map(Name),
            dns: decided.answers.iter().map(|answer| Looked::of(answer)).collect(),
            verdict: Verdict::Refuse,
            by: By::Policy,
            kind: None,
            verification: None,
            refusal: None,
            rule: String::new(),
            place: None,
            whereabouts: None,
            status: None,
            diagnostics: None,
        };
        match &decided.said {
            Said::Verdict(Decision::Permit(permit)) => Self {
                verdict: Verdict::Permit,
                kind: Some(permit.kind().label().to_owned()),
                verification: Some(Verification::of(permit)),
                rule: permit.rule().sentence(),
                place: Some(permit.rule().place()),
                whereabouts: whereabouts(permit.rule().entry()),
                ..blank
            },
            Said::Verdict(Decision::Refuse(refusal)) => Self {
                refusal: Some(refusal.rule().label().to_owned()),
                rule: refusal.sentence(),
                place: refusal.place(),
                whereabouts: refusal.entry().and_then(whereabouts),
                status: Some(refusal.status()),
                diagnostics: Some(refusal.diagnostics()),
                ..blank
            },
            Said::Verdict(Decision::Ask(_)) => unreachable!("a question is no verdict"),
            Said::Refused { by, status, diagnostics, sentence } => Self {
                by: By::of(*by),
                rule: sentence.clone(),
                status: Some(*status).filter(|status| *status != 0),
                diagnostics: Some(*diagnostics).filter(|_| *by != RefusedBy::Stream),
                ..blank
            },
        }
    }

    /// Appends it to `out`, with its line feed. What stands in quotes is escaped, so a line is one
    /// line whatever names are in it.
    pub fn write(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(&mut *out, self).expect("plain data becomes JSON in memory");
        out.push(b'\n');
    }

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, in a few words.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        let line: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if line.direction == Way::In && line.by == By::Policy && line.peer.is_none() {
            return Err("a decision on a partner's request without `peer`".to_owned());
        }
        if line.direction == Way::Out && line.by == By::Policy && line.to.is_none() {
            return Err("a decision on a request to a partner without `to`".to_owned());
        }
        if line.by == By::Policy {
            line.before()?;
        }
        for looked in &line.dns {
            looked.answer()?;
        }
        Ok(line)
    }

    /// Returns the answers of DNS it rests on.
    #[must_use]
    pub fn answers(&self) -> Vec<SharedAnswer> {
        self.dns.iter().filter_map(|looked| looked.answer().ok()).collect()
    }

    /// Returns what policy said, to compare it with what another one says.
    ///
    /// # Errors
    /// Words that this program does not know, or that lack.
    pub fn before(&self) -> Result<Before<'_>, String> {
        match self.verdict {
            Verdict::Permit => {
                let known = |label: &str| PartnerKind::ALL.into_iter().find(|k| k.label() == label);
                let kind = self.kind.as_deref().ok_or("a permit without `kind`")?;
                let kind = known(kind).ok_or_else(|| format!("there is no kind {kind:?}"))?;
                let verified = self.verification.ok_or("a permit without `verification`")?;
                Ok(Before::Permitted { kind, rule: &self.rule, verified: verified.marks() })
            }
            Verdict::Refuse => {
                let known = |label: &str| RefusalRule::ALL.into_iter().find(|r| r.label() == label);
                let rule = self.refusal.as_deref().ok_or("a refusal without `refusal`")?;
                let rule = known(rule).ok_or_else(|| format!("there is no refusal {rule:?}"))?;
                Ok(Before::Refused(rule))
            }
        }
    }
}

impl Verification {
    /// Returns what holds under a permit.
    #[must_use]
    pub fn of(permit: &Permit) -> Self {
        match (permit.source_verified(false), permit.source_verified(true)) {
            (true, _) => Self::Always,
            (false, true) => Self::Source,
            (false, false) => Self::Never,
        }
    }

    /// Returns whether a user counts as verified, without the sender's word and with it.
    const fn marks(self) -> [bool; 2] {
        match self {
            Self::Always => [true, true],
            Self::Source => [false, true],
            Self::Never => [false, false],
        }
    }
}

impl By {
    const fn of(by: RefusedBy) -> Self {
        match by {
            RefusedBy::User => Self::User,
            RefusedBy::Limit => Self::Limit,
            RefusedBy::Connection => Self::Connection,
            RefusedBy::Message => Self::Message,
            RefusedBy::Stream => Self::Stream,
        }
    }
}

#[cfg(test)]
mod tests;
