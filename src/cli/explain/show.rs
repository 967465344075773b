//! An explanation as text.

use std::fmt::Write as _;

use super::told::{Explanation, Verdict};
use crate::dns::{Failure, Question, Target};

/// Returns a question as an operator would put it to `dig`.
pub(super) fn question(question: &Question) -> String {
    match question {
        Question::Federation(domain) => format!("_sipfederationtls._tcp.{domain} SRV"),
        Question::Xmpp(domain) => {
            format!("_xmpp-server._tcp.{domain} and _xmpps-server._tcp.{domain} SRV")
        }
        Question::Host { fqdn, .. } => format!("{fqdn} A and AAAA"),
    }
}

/// Returns an answer in a line.
pub(super) fn answer(outcome: &Result<Vec<Target>, Failure>) -> String {
    let targets = match outcome {
        Ok(targets) => targets,
        Err(why) => return failure(*why).to_owned(),
    };
    let told = targets.iter().map(|target| {
        let addresses: Vec<String> = target.addresses.iter().map(ToString::to_string).collect();
        format!("{}:{} ({})", target.fqdn, target.port, addresses.join(", "))
    });
    told.collect::<Vec<_>>().join("; ")
}

/// Returns all of it as text.
pub(super) fn text(explained: &Explanation) -> String {
    let mut text = String::new();
    let way = match explained.direction {
        super::Direction::In => "from a partner",
        super::Direction::Out => "to a partner",
        super::Direction::User => "from an own user outside",
    };
    let Explanation { method, from, to, .. } = explained;
    let _ = writeln!(text, "{method} {from} to {to}, {way}\n");
    for step in &explained.screens {
        let line =
            format!("  {:<20} {:<8} {}", step.screen.title(), step.said.word(), step.sentence);
        let _ = writeln!(text, "{}", line.trim_end());
        if let Some(place) = &step.place {
            let _ = writeln!(text, "  {:<29} rule {place}", "");
        }
    }
    text.push('\n');
    for (name, value) in lines(explained) {
        let _ = writeln!(text, "{name:<18}{value}");
    }
    text
}

/// Returns what stands below the walk: names and values; a name is empty where it goes on.
fn lines(explained: &Explanation) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let verdict = match explained.verdict {
        Verdict::Passes => "it passes",
        Verdict::Refused => "it is refused",
        Verdict::AnsweredHere => "the edge answers it",
        Verdict::Undecided => "undecided",
    };
    lines.push(("verdict", format!("{verdict}: {}", explained.sentence)));
    lines.extend(explained.hint.clone().map(|hint| ("hint", hint)));
    if let Some((status, reason)) = explained.status.zip(explained.reason.as_ref()) {
        lines.push(("answer", format!("{status} {reason}")));
    }
    lines.extend(explained.diagnostics.clone().map(|diagnostics| ("", diagnostics)));
    lines.extend(explained.place.clone().map(|place| ("rule", place)));
    lines.extend(explained.owner.clone().map(|owner| ("owner", owner)));
    lines.extend(explained.ticket.clone().map(|ticket| ("ticket", ticket)));
    let dns = explained.dns.iter();
    lines.extend(dns.map(|asked| ("DNS", format!("{}: {}", asked.question, asked.answer))));
    if !explained.certificate_names.is_empty() {
        let names = explained.certificate_names.join(" and ");
        lines.push(("certificate", format!("must carry {names}")));
    }
    lines.extend(explained.assumed.clone().map(|assumed| ("assumed", assumed)));
    if let Some(next) = &explained.next {
        let at = match next.addresses.is_empty() {
            true => "wherever DNS says".to_owned(),
            false => next.addresses.join(", "),
        };
        lines.push(("goes to", format!("{} ({at})", next.name)));
    }
    let own_user = explained.own_user.as_ref().map(|user| user.lines()).unwrap_or_default();
    let throttle = explained.throttle.as_ref();
    let limits = throttle.map(|throttle| throttle.limit_lines()).unwrap_or_default();
    let score = throttle.map(|throttle| throttle.score_lines()).unwrap_or_default();
    for (name, values) in [("own user", own_user), ("limits", limits), ("score", score)] {
        let named = std::iter::once(name).chain(std::iter::repeat(""));
        lines.extend(named.zip(values));
    }
    if let Some(evidence) = &explained.evidence {
        lines.extend(evidence.sentences.iter().map(|sentence| ("live", sentence.clone())));
    }
    lines
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
