//! Answers of the edge as text for people.

use std::fmt::Write as _;

use serde_json::Value;

use crate::time::Clock;

/// Scores told to people; `--json` has more of them.
const SCORES_TOLD_MAX: usize = 5;

/// Returns what is the matter with the edge, a line each.
pub(super) fn status(status: &Value) -> String {
    let now = Clock::start().now().unix_s;
    status_at(status, now)
}

fn status_at(status: &Value, now_unix_s: u64) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<13}{value}");
    };
    line("node", &format!("{} ({})", word(&status["node"]), word(&status["external_fqdn"])));
    line("version", &word(&status["version"]));
    line("stage", &word(&status["stage"]));
    let reasons = words(&status["not_ready"]);
    line("ready", &if reasons.is_empty() { "yes".to_owned() } else { reasons.join("; ") });
    let since = now_unix_s.saturating_sub(status["started_unix_s"].as_u64().unwrap_or(now_unix_s));
    line("up", &span(since));
    line("epoch", &format!("{} of {}", status["epoch"], word(&status["configuration"])));
    if let Some(candidate) = status["candidate"].as_str() {
        line("candidate", &format!("{candidate} is asked too, without effect"));
    }
    let unconfirmed = &status["reloads"]["unconfirmed"];
    if let Some(until) = unconfirmed["until_unix_s"].as_u64() {
        let left = span(until.saturating_sub(now_unix_s));
        let epoch = &unconfirmed["epoch"];
        line("unconfirmed", &format!("epoch {epoch}: rolled back in {left} unless confirmed"));
    }
    let connections = &status["connections"];
    let (accepted, outgoing) = (&connections["accepted"], &connections["outgoing"]);
    let half_open = &connections["half_open"];
    line(
        "connections",
        &format!("{accepted} accepted, {outgoing} outgoing, {half_open} half-open"),
    );
    line("roles", &words(&status["roles"]).join(", "));
    line("shards", &format!("{} ({})", status["shards"], word(&status["poller"])));
    line("listeners", &words(&status["listeners"]).join(", "));
    line("partners", &format!("{} listed", status["partners"]));
    scores(&status["scores"], &mut line);
    let lists = &status["revocation_lists"];
    if let Some(in_force) = lists["in_force"].as_u64() {
        let (lapsed, missing) = (&lists["lapsed"], &lists["missing"]);
        line("revocation", &format!("{in_force} lists, {lapsed} lapsed, {missing} missing"));
    }
    for certificate in status["certificates"].as_array().into_iter().flatten() {
        let ends = certificate["not_after_unix_s"].as_u64().unwrap_or_default();
        let left = match ends.checked_sub(now_unix_s) {
            Some(left) => format!("ends in {}", span(left)),
            None => "has ended".to_owned(),
        };
        line("certificate", &format!("{} {left}", word(&certificate["identity"])));
    }
    let reloads = &status["reloads"];
    let counts = ["accepted", "refused", "rolled_back"]
        .map(|name| format!("{} {}", reloads[name], name.replace('_', " ")));
    line("reloads", &counts.join(", "));
    if let Some(refusal) = reloads["last_refusal"].as_str() {
        line("last refusal", refusal);
    }
    text
}

/// Tells the scores of partners under limits: the worst first, and whom one might list.
fn scores(scores: &Value, line: &mut impl FnMut(&str, &str)) {
    let Some(known) = scores["known"].as_u64() else { return };
    line("scores", &format!("{known} known, {} suspicious", scores["suspicious"]));
    let first = scores["first"].as_array().into_iter().flatten();
    for score in first.take(SCORES_TOLD_MAX) {
        let standing = if score["suspicious"] == true { ", suspicious" } else { "" };
        let told = format!(
            "{} {}: {} messages, {} held, {} refused, {} users, {} % failed{standing}",
            score["holder"].as_str().unwrap_or("-"),
            score["name"].as_str().unwrap_or("-"),
            score["messages"],
            score["held"],
            score["refused"],
            score["users"],
            score["failed_percent"],
        );
        line("", &told);
    }
    for suggestion in words(&scores["suggestions"]) {
        line("suggestion", suggestion);
    }
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Returns seconds in the two largest units.
pub(in crate::cli) fn span(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, _) => format!("{minutes} min {rest} s"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Returns which candidate is asked.
pub(super) fn shadow(done: &Value) -> String {
    match done["candidate"].as_str() {
        Some(file) => format!(
            "{file} is asked beside the policy in force until the next reload; what it would \
             decide otherwise is in the log and in entente_access_shadow_*\n"
        ),
        None => "no candidate is asked any more\n".to_owned(),
    }
}

/// Returns what a reload did.
pub(super) fn reloaded(done: &Value) -> String {
    let mut text = difference(&done["difference"]);
    let file = done["file"].as_str().unwrap_or_default();
    let _ = writeln!(text, "epoch {} is in force, from {file}", done["epoch"]);
    if let Some(until) = done["confirm_until_unix_s"].as_u64() {
        let left = span(until.saturating_sub(Clock::start().now().unix_s));
        let _ = writeln!(text, "it is rolled back in {left} unless `entente ctl confirm` comes");
    }
    text
}

/// Returns the sentences of a difference, a line each.
pub(super) fn difference(difference: &Value) -> String {
    let sentences = words(&difference["sentences"]);
    if sentences.is_empty() {
        return "nothing changes\n".to_owned();
    }
    sentences.iter().map(|sentence| format!("{sentence}\n")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_state_is_told_in_lines() {
        let told = json!({
            "node": "edge1.contoso.example", "external_fqdn": "sip.contoso.example",
            "version": "0.1.0", "stage": "serving", "not_ready": [], "epoch": 3,
            "started_unix_s": 1_000, "configuration": "/etc/entente/entente.toml",
            "roles": ["access", "gateway"], "shards": 2, "poller": "io_uring",
            "connections": { "accepted": 12, "outgoing": 4, "half_open": 0 },
            "listeners": ["192.0.2.10:5061"], "partners": 2,
            "certificates": [{ "identity": "access", "not_after_unix_s": 180_000 }],
            "scores": {
                "known": 2, "suspicious": 1,
                "first": [{
                    "holder": "domain", "name": "tailspin.example", "suspicious": true,
                    "messages": 70, "held": 4, "refused": 3, "users": 9, "failed_percent": 61,
                }],
                "suggestions": ["fabrikam.example might be listed"],
            },
            "revocation_lists": { "in_force": 4, "lapsed": 1, "missing": 0 },
            "reloads": {
                "accepted": 2, "refused": 1, "rolled_back": 0, "last_refusal": "no",
                "unconfirmed": { "epoch": 3, "until_unix_s": 7_300 },
            },
        });
        let expected = "\
node         edge1.contoso.example (sip.contoso.example)
version      0.1.0
stage        serving
ready        yes
up           1 h 40 min
epoch        3 of /etc/entente/entente.toml
unconfirmed  epoch 3: rolled back in 5 min 0 s unless confirmed
connections  12 accepted, 4 outgoing, 0 half-open
roles        access, gateway
shards       2 (io_uring)
listeners    192.0.2.10:5061
partners     2 listed
scores       2 known, 1 suspicious
             domain tailspin.example: 70 messages, 4 held, 3 refused, 9 users, 61 % failed, \
                 suspicious
suggestion   fabrikam.example might be listed
revocation   4 lists, 1 lapsed, 0 missing
certificate  access ends in 2 d 0 h
reloads      2 accepted, 1 refused, 0 rolled back
last refusal no
";
        assert_eq!(status_at(&told, 7_000), expected);
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        assert_eq!(difference(&json!({ "sentences": [] })), "nothing changes\n");
        assert_eq!(difference(&json!({ "sentences": ["a", "b"] })), "a\nb\n");
    }
}
