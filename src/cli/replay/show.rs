//! What a replay found, as text and as JSON.

use std::cmp::Reverse;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Args;
use super::tally::{Group, Pair, Reason, Tally};
use crate::control::decisions::Way;
use crate::policy::shadow::Difference;

/// Pairs of domains that the text tells for one reason, those with most decisions first; `--json`
/// has all that are kept.
const PAIRS_TOLD_MAX: usize = 20;

/// Returns what was found as text.
pub(super) fn text(args: &Args, tally: &Tally) -> String {
    let mut text = String::new();
    let policy = args.policy.display();
    let time = tally.time.map(|(first, last)| format!(", {first} to {last}")).unwrap_or_default();
    let _ = writeln!(text, "{policy} asked about {}{time}\n", decisions(tally.decisions()));
    let mut count = |many: u64, what: &str| {
        if many > 0 {
            let _ = writeln!(text, "{many:>10}  {what}");
        }
    };
    count(tally.same, "the same");
    count(tally.differ(), "decided otherwise");
    count(
        tally.not_asked,
        "not asked again: a user, a limit, a connection, a stream or a content decided, which no \
         log holds",
    );
    if let Some(first) = &tally.unreadable.first {
        count(tally.unreadable.lines, &format!("unreadable; the first: {first}"));
    }
    count(tally.torn, "torn: the last line of a log, left out");
    for (difference, reason) in &tally.reasons {
        let title = title(*difference, reason.decisions);
        let _ = writeln!(text, "\n{title}");
        tell_pairs(reason, &mut text);
    }
    if tally.differ() == 0 {
        text.push_str("\nnothing would be decided otherwise\n");
    }
    text
}

fn tell_pairs(reason: &Reason, text: &mut String) {
    let mut pairs: Vec<(&Pair, &Group)> = reason.pairs.iter().collect();
    pairs.sort_by_key(|(_, group)| Reverse(group.decisions));
    for (pair, group) in pairs.iter().take(PAIRS_TOLD_MAX) {
        let (who, many) = (who(pair), decisions(group.decisions));
        let time = if group.first == group.last {
            format!("at {}", group.first)
        } else {
            format!("{} to {}", group.first, group.last)
        };
        let _ = writeln!(text, "  {who}: {many}, {time}");
        let _ = writeln!(text, "    was {}", group.told.before);
        let _ = writeln!(text, "    {}", group.told.now);
    }
    let untold = pairs.iter().skip(PAIRS_TOLD_MAX);
    let further: u64 = untold.map(|(_, group)| group.decisions).sum::<u64>() + reason.beyond;
    if further > 0 {
        let _ = writeln!(text, "  further pairs of domains: {}", decisions(further));
    }
}

fn decisions(many: u64) -> String {
    if many == 1 { "1 decision".to_owned() } else { format!("{many} decisions") }
}

fn who(pair: &Pair) -> String {
    let way = match pair.way {
        Way::In => "from a partner",
        Way::Out => "to a partner",
        Way::User => "from an own user outside",
    };
    match &pair.to {
        Some(to) => format!("{} to {to}, {way}", pair.from),
        None => format!("{}, {way}", pair.from),
    }
}

fn title(difference: Difference, many: u64) -> String {
    let told = decisions(many);
    let were = if many == 1 { "was" } else { "were" };
    match difference {
        Difference::WouldRefuse(rule) => {
            format!("{told} passed and would be refused ({})", words(rule.label()))
        }
        Difference::WouldPermit => format!("{told} {were} refused and would pass"),
        Difference::OtherRefusal(rule) => format!(
            "{told} {were} refused and would be under another rule ({})",
            words(rule.label())
        ),
        Difference::OtherRule => format!("{told} passed and would under another rule"),
        Difference::WouldAsk => format!("{told} would ask DNS first"),
    }
}

fn words(label: &str) -> String {
    label.replace('_', " ")
}

/// Returns the same as one JSON object, with every pair that is kept.
pub(super) fn json(args: &Args, tally: &Tally) -> Value {
    let reasons = tally.reasons.iter().map(|(difference, reason)| {
        let (kind, rule) = match difference {
            Difference::WouldRefuse(rule) => ("would_refuse", Some(rule.label())),
            Difference::WouldPermit => ("would_permit", None),
            Difference::OtherRefusal(rule) => ("other_refusal", Some(rule.label())),
            Difference::OtherRule => ("other_rule", None),
            Difference::WouldAsk => ("would_ask", None),
        };
        json!({
            "difference": kind,
            "rule": rule,
            "decisions": reason.decisions,
            "pairs": reason.pairs.iter().map(|(pair, group)| of_pair(pair, group))
                .collect::<Vec<_>>(),
            "decisions_of_further_pairs": reason.beyond,
        })
    });
    let logs: Vec<String> = args.logs.iter().map(|log| log.display().to_string()).collect();
    json!({
        "policy": args.policy.display().to_string(),
        "logs": logs,
        "decisions": tally.decisions(),
        "first": tally.time.map(|(first, _)| first),
        "last": tally.time.map(|(_, last)| last),
        "same": tally.same,
        "differ": tally.differ(),
        "not_asked": tally.not_asked,
        "unreadable": tally.unreadable.lines,
        "first_unreadable": tally.unreadable.first,
        "torn": tally.torn,
        "differences": reasons.collect::<Vec<_>>(),
    })
}

fn of_pair(pair: &Pair, group: &Group) -> Value {
    json!({
        "direction": pair.way,
        "from": pair.from.as_str(),
        "to": pair.to.as_ref().map(crate::dns::Domain::as_str),
        "decisions": group.decisions,
        "first": group.first,
        "last": group.last,
        "decision": group.decision,
        "before": group.told.before,
        "now": group.told.now,
    })
}
