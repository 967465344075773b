//! An explanation as text.

use std::fmt::Write as _;

use super::screens::Said;
use super::{Explanation, Verdict, failure};
use crate::dns::{Failure, Question, Target};

/// Returns a question as an operator would put it to `dig`.
pub(super) fn question(question: &Question) -> String {
    match question {
        Question::Federation(domain) => format!("_sipfederationtls._tcp.{domain} SRV"),
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
        if step.said == Said::Stopped || step.said == Said::Waits {
            if let Some(place) = &explained.place {
                let _ = writeln!(text, "  {:<29} rule {place}", "");
            }
        }
    }
    text.push('\n');
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<18}{value}");
    };
    let verdict = match explained.verdict {
        Verdict::Passes => "it passes",
        Verdict::Refused => "it is refused",
        Verdict::AnsweredHere => "the edge answers it",
        Verdict::Undecided => "undecided",
    };
    line("verdict", &format!("{verdict}: {}", explained.sentence));
    if let Some((status, reason)) = explained.status.zip(explained.reason.as_ref()) {
        line("answer", &format!("{status} {reason}"));
    }
    if let Some(diagnostics) = &explained.diagnostics {
        line("", diagnostics);
    }
    if let Some(place) = &explained.place {
        line("rule", place);
    }
    for asked in &explained.dns {
        line("DNS", &format!("{}: {}", asked.question, asked.answer));
    }
    if !explained.certificate_names.is_empty() {
        line("certificate", &format!("must carry {}", explained.certificate_names.join(" and ")));
    }
    if let Some(assumed) = &explained.assumed {
        line("assumed", assumed);
    }
    if let Some(next) = &explained.next {
        line("goes to", &format!("{} ({})", next.name, next.addresses.join(", ")));
    }
    if let Some(evidence) = &explained.evidence {
        for sentence in &evidence.sentences {
            line("live", sentence);
        }
    }
    text
}
