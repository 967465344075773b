//! Why a stanza would pass or not: the screens of the XMPP proxy and what the gateway adds.
//!
//! Policy is asked for its rule ([`Snapshot::xmpp`]) and for the own user's rights; what may prove
//! the domains comes from the matrix of the entry ([`crate::policy::Methods`]).

use std::cmp::Reverse;

use serde::Serialize;

use super::screens::Said;
use super::told::{Asked, Verdict};
use super::{Direction, party, show};
use crate::config::Config;
use crate::control;
use crate::dns::{Domain, Question};
use crate::policy::rendezvous::{Among, weight};
use crate::policy::users::{Gate, Marks, Role};
use crate::policy::{Methods, Place, Snapshot, XmppKey, XmppKind, XmppPartner, XmppRefusal};
use crate::time::Clock;
use crate::xmpp::Jid;

mod live;
#[cfg(test)]
mod tests;

/// An address of either side.
pub(super) struct Address {
    text: String,
    /// The part before the `@`, as SIP would have it; empty where there is none.
    user: String,
    domain: Domain,
}

/// Tells whether an address is meant for XMPP: it says so.
pub(super) fn is_meant(text: &str) -> bool {
    text.trim().get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("xmpp:"))
}

/// Reads `xmpp:alice@contoso.example`, or a SIP address of the same user.
///
/// # Errors
/// What is wrong with it, for whoever wrote it.
pub(super) fn address(text: &str) -> Result<Address, String> {
    if !is_meant(text) {
        let party = party::party(text)?;
        let at = if party.user.is_empty() { "" } else { "@" };
        let text = format!("{}{at}{}", party.user, party.domain);
        return Ok(Address { text, user: party.user, domain: party.domain });
    }
    let bare = text.trim()[5..].split(['?', ';']).next().unwrap_or_default();
    let jid = Jid::parse(bare).map_err(|_| format!("`{text}` is no XMPP address"))?;
    let domain = crate::config::read_domain(jid.domain())
        .map_err(|why| format!("`{text}` names no domain: {why}"))?;
    let user = jid.local().unwrap_or_default().to_owned();
    Ok(Address { text: jid.bare().to_string(), user, domain })
}

/// One line of the walk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Step {
    screen: &'static str,
    said: Said,
    sentence: String,
    place: Option<String>,
}

/// Everything there is to say.
#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    from: String,
    to: String,
    direction: Direction,
    pub(super) verdict: Verdict,
    sentence: String,
    place: Option<String>,
    screens: Vec<Step>,
    /// What proves the partner's domain to us and ours to it.
    methods: Vec<&'static str>,
    /// What the partner's users may do before one of ours has added them.
    unasked: Option<&'static str>,
    /// Questions to DNS, with what came back.
    dns: Vec<Asked>,
    /// Gateways in the order in which they have the pair of domains: the first that is there.
    gateways: Vec<String>,
    /// Names of which the partner's certificate must carry one, where a certificate proves it.
    certificate_names: Vec<String>,
    /// Names of which ours must carry one.
    own_certificate_names: Vec<String>,
    live: Option<live::Evidence>,
}

/// A reason, and the entry that gives it.
type Told = (String, Option<String>);

/// Looks at a partner's server as the proxy would; `Ok(Err)` says why there is no way.
///
/// # Errors
/// A file of TLS, or the system's resolver.
pub(in crate::cli) fn door(
    config: &Config,
    snapshot: &Snapshot,
    partner: &XmppPartner,
    ours: &Domain,
) -> anyhow::Result<Result<(), String>> {
    let (asked, evidence) = live::look(config, snapshot, partner, ours, &partner.domain)?;
    if evidence.satisfied {
        return Ok(Ok(()));
    }
    let dns = asked.first().map(|asked| format!("{}: {}", asked.question, asked.answer));
    Ok(Err(evidence.sentences.last().cloned().or(dns).unwrap_or_default()))
}

/// What is asked.
struct Case<'a> {
    config: &'a Config,
    snapshot: &'a Snapshot,
    ours: &'a Address,
    theirs: &'a Address,
    direction: Direction,
}

/// Explains a stanza; `live` asks DNS and opens a stream.
///
/// # Errors
/// The policy contradicts itself, or what `--live` needs cannot be had.
pub(super) fn explain(
    config: &Config,
    from: &Address,
    to: &Address,
    live: bool,
) -> anyhow::Result<Explanation> {
    let snapshot = control::policy(config)?;
    let out = snapshot.is_own(from.domain.as_str().as_bytes());
    let (ours, theirs, direction) =
        if out { (from, to, Direction::Out) } else { (to, from, Direction::In) };
    let case = Case { config, snapshot: &snapshot, ours, theirs, direction };
    let mut explained = case.conclude(from, to);
    if let Some(partner) = case.partner().filter(|_| live) {
        let (answers, evidence) =
            live::look(config, &snapshot, partner, &ours.domain, &theirs.domain)?;
        explained.dns = answers;
        explained.live = Some(evidence);
    }
    Ok(explained)
}

impl Case<'_> {
    fn key(&self) -> Option<XmppKey> {
        self.snapshot.xmpp_key(&self.theirs.domain)
    }

    fn partner(&self) -> Option<&XmppPartner> {
        self.snapshot.xmpp_partner(self.key()?)
    }

    fn place(&self, place: Place) -> String {
        format!("{place}, {}", self.config.whereabouts(place))
    }

    fn entry(&self) -> Option<String> {
        self.key().map(|key| self.place(Place::XmppPartner(key.0)))
    }

    fn conclude(&self, from: &Address, to: &Address) -> Explanation {
        let now = Clock::start().now();
        let decided = self.snapshot.xmpp(now, &self.ours.domain, &self.theirs.domain);
        let methods = self.partner().map_or(Methods::NONE, XmppPartner::methods);
        let user = self.user();
        let screens = self.walk(decided.err(), methods, &user);
        let stopped = screens.iter().find(|step| step.said == Said::Stopped);
        let verdict = if stopped.is_some() { Verdict::Refused } else { Verdict::Passes };
        let sentence = match (stopped, self.partner()) {
            (Some(step), _) => step.sentence.clone(),
            (None, Some(partner)) => format!("XMPP partner {}", partner.domain),
            (None, None) => String::new(),
        };
        let place = match stopped {
            Some(step) => step.place.clone(),
            None => self.entry(),
        };
        let listed = decided.is_ok();
        let names = |domain: &Domain| match methods.external && listed {
            true => vec![
                format!("dNSName {domain}"),
                format!("SRVName _xmpp-server.{domain}"),
                format!("xmppAddr {domain}"),
            ],
            false => Vec::new(),
        };
        Explanation {
            from: from.text.clone(),
            to: to.text.clone(),
            direction: self.direction,
            verdict,
            sentence,
            place,
            screens,
            methods: told(methods),
            unasked: self.partner().map(|partner| unasked(partner.kind)),
            dns: if listed { self.unasked_dns() } else { Vec::new() },
            gateways: if listed { self.gateways() } else { Vec::new() },
            certificate_names: names(&self.theirs.domain),
            own_certificate_names: names(&self.ours.domain),
            live: None,
        }
    }

    /// Walks the screens in the order in which policy and gateway look.
    fn walk(
        &self,
        refusal: Option<XmppRefusal>,
        methods: Methods,
        user: &Result<Told, Told>,
    ) -> Vec<Step> {
        let blocked = self.blocked();
        let kind =
            self.partner().map(|partner| format!("{} ({})", partner.domain, partner.kind.as_str()));
        let switch = self.place(Place::Key("federation.enabled"));
        let nothing = String::new;
        let screens = [
            ("switches", XmppRefusal::FederationOff, (nothing(), Some(switch))),
            ("blocked domains", XmppRefusal::Blocked, (nothing(), blocked)),
            ("own domains", XmppRefusal::NotOurs, (nothing(), None)),
            ("XMPP partner", XmppRefusal::NotListed, (kind.unwrap_or_default(), self.entry())),
        ];
        let mut steps = Vec::new();
        let mut ended = false;
        for (screen, stops_at, (sentence, place)) in screens {
            let expired = refusal == Some(XmppRefusal::Expired) && screen == "XMPP partner";
            let stops = !ended && (expired || refusal == Some(stops_at));
            let (said, sentence, place) = match (ended, stops) {
                (true, _) => (Said::NotReached, String::new(), None),
                (_, true) => {
                    (Said::Stopped, refusal.map(|r| r.to_string()).unwrap_or_default(), place)
                }
                _ => (Said::Passed, sentence, self.entry().filter(|_| screen == "XMPP partner")),
            };
            ended |= stops;
            steps.push(Step { screen, said, sentence, place });
        }
        let proof = Step {
            screen: "proof of the domain",
            said: if ended { Said::NotReached } else { Said::Passed },
            sentence: if ended { String::new() } else { told(methods).join(", or ") },
            place: None,
        };
        steps.push(proof);
        let (said, (sentence, place)) = match (ended, user) {
            (true, _) => (Said::NotReached, (String::new(), None)),
            (false, Ok(why)) => (Said::Passed, why.clone()),
            (false, Err(why)) => (Said::Stopped, why.clone()),
        };
        ended |= said == Said::Stopped;
        steps.push(Step { screen: "the own user", said, sentence, place });
        if self.direction == Direction::In {
            let said = if ended { Said::NotReached } else { Said::Passed };
            let sentence = self.partner().filter(|_| !ended).map(|partner| unasked(partner.kind));
            let sentence = sentence.unwrap_or_default().to_owned();
            steps.push(Step { screen: "unasked", said, sentence, place: None });
        }
        steps
    }

    /// Returns the names of the gateways, that of the pair first: those that take SIP, or where
    /// only stanzas pass here those that may link.
    fn gateways(&self) -> Vec<String> {
        let (ours, theirs) = (&self.ours.domain, &self.theirs.domain);
        let hops = self.snapshot.gateways_of(ours, theirs);
        if !hops.is_empty() {
            let name = |hop: usize| self.snapshot.next_hops()[hop].name.to_string();
            return hops.into_iter().map(name).collect();
        }
        let mut linked = self.snapshot.rules().xmpp.gateways.clone();
        linked.sort_by_cached_key(|gateway| {
            let names = (gateway.as_str(), ours.as_str(), theirs.as_str());
            Reverse(weight(Among::Gateways, names.0, names.1, names.2))
        });
        linked.iter().map(ToString::to_string).collect()
    }

    fn blocked(&self) -> Option<String> {
        let blocked = (0_u32..).zip(&self.config.blocked);
        let mut covering = blocked.filter(|(_, entry)| entry.domain.covers(&self.theirs.domain));
        covering.next().map(|(index, _)| self.place(Place::Blocked(index)))
    }

    /// Judges the own user; either way why, and where that is said.
    fn user(&self) -> Result<Told, Told> {
        if self.ours.user.is_empty() {
            return Ok(("no user is named".to_owned(), None));
        }
        let role = match self.direction {
            Direction::In => Role::Recipient,
            Direction::Out | Direction::User => Role::Sender,
        };
        let (user, host) = (self.ours.user.as_bytes(), self.ours.domain.as_str().as_bytes());
        let directory = self.snapshot.directory();
        let at = |place: String| {
            let found = self.config.source.whereabouts(&place);
            format!("{place}, {found}")
        };
        match directory.judge(user, host, Gate::Xmpp, role, Marks::default()) {
            Err(closed) => Err((closed.sentence(), closed.place().map(at))),
            Ok(()) => Ok(match directory.standing(user, host).policy {
                Some(grant) => (
                    format!("policy {} opens {}", grant.name, Gate::Xmpp.what()),
                    Some(at(format!("external_access_policy[{}]", grant.index))),
                ),
                None => ("no external access policy: open".to_owned(), None),
            }),
        }
    }

    /// Returns the records that would be asked for.
    fn unasked_dns(&self) -> Vec<Asked> {
        let answer = "not asked; --live does".to_owned();
        let question = |question: &Question| Asked {
            question: show::question(question),
            answer: answer.clone(),
        };
        match self.partner().and_then(|partner| partner.proxy.clone()) {
            Some((fqdn, port)) => vec![question(&Question::Host { fqdn, port })],
            None => {
                let domain = &self.theirs.domain;
                let fallback = Question::Host { fqdn: domain.clone(), port: 5269 };
                vec![
                    question(&Question::Xmpp(domain.clone())),
                    Asked {
                        question: format!(
                            "{} (port 5269), if neither exists",
                            show::question(&fallback)
                        ),
                        answer: answer.clone(),
                    },
                ]
            }
        }
    }
}

/// Returns what proves a domain, the best first.
fn told(methods: Methods) -> Vec<&'static str> {
    [
        ("SASL EXTERNAL over TLS", methods.external),
        ("dialback over TLS", methods.dialback_tls),
        ("dialback in the clear", methods.dialback_clear),
    ]
    .into_iter()
    .filter(|(_, there)| *there)
    .map(|(name, _)| name)
    .collect()
}

/// Returns what users of such a partner may do before one of ours has added them.
const fn unasked(kind: XmppKind) -> &'static str {
    match kind {
        XmppKind::Federated => "may add our users, write to them and see their notes",
        XmppKind::PublicVerified => "may add our users and write to them, and never see notes",
        XmppKind::PublicUnverified => {
            "nothing: only after our user has added the contact, and never notes"
        }
    }
}

/// Returns all of it as text.
pub(super) fn text(explained: &Explanation) -> String {
    use std::fmt::Write as _;
    let way = match explained.direction {
        Direction::In => "from an XMPP partner",
        Direction::Out | Direction::User => "to an XMPP partner",
    };
    let mut text = format!("stanza {} to {}, {way}\n\n", explained.from, explained.to);
    for step in &explained.screens {
        let line = format!("  {:<20} {:<8} {}", step.screen, step.said.word(), step.sentence);
        let _ = writeln!(text, "{}", line.trim_end());
        if let Some(place) = &step.place {
            let _ = writeln!(text, "  {:<29} rule {place}", "");
        }
    }
    let verdict = match explained.verdict {
        Verdict::Refused => "it is refused",
        _ => "it passes",
    };
    let mut lines = vec![("verdict", format!("{verdict}: {}", explained.sentence))];
    lines.extend(explained.place.clone().map(|place| ("rule", place)));
    let dns = explained.dns.iter();
    lines.extend(dns.map(|asked| ("DNS", format!("{}: {}", asked.question, asked.answer))));
    if let Some((first, others)) = explained.gateways.split_first() {
        let others: String = others.iter().map(|name| format!(", else {name}")).collect();
        lines.push(("gateway", format!("{first}{others}")));
    }
    if !explained.certificate_names.is_empty() {
        let names = explained.certificate_names.join(" or ");
        lines.push(("certificate", format!("must carry {names}")));
        let names = explained.own_certificate_names.join(" or ");
        lines.push(("own certificate", format!("must carry {names}")));
    }
    if let Some(evidence) = &explained.live {
        lines.extend(evidence.sentences.iter().map(|sentence| ("live", sentence.clone())));
    }
    text.push('\n');
    for (name, value) in lines {
        let _ = writeln!(text, "{name:<18}{value}");
    }
    text
}
