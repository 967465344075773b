//! The scores of partners under limits, for people: in the status, the metrics and the log.

use crate::metrics::{Exporter, catalogue};
use crate::policy::Scores;
use crate::policy::scores::{Holder, Score, promotion};
use crate::time::Now;

/// Scores and suggestions told at once; the table itself has thousands.
const TOLD_MAX: usize = 20;

fn json(score: &Score) -> serde_json::Value {
    let (holder, name) = match &score.holder {
        Holder::Domain(domain) => ("domain", domain),
        Holder::Entry(entry) => ("entry", entry),
        Holder::Certificate(host) => ("certificate", host),
    };
    serde_json::json!({
        "holder": holder,
        "name": name,
        "suspicious": score.suspicious,
        "suspicions": score.suspicions,
        "known_s": score.known_s,
        "silent_s": score.silent_s,
        "failed_percent": score.failed_percent,
        "messages": score.messages,
        "held": score.held,
        "refused": score.refused,
        "answers": score.answers,
        "failures": score.failures,
        "users": score.users,
        "users_blocked": score.users_blocked,
    })
}

/// Returns the first scores, the suspicious before the others, and whom one might list.
pub(super) fn status(scores: &Scores, now: Now) -> serde_json::Value {
    let all = scores.scores(now);
    let suspicious = all.iter().filter(|score| score.suspicious).count();
    let suggestions = all.iter().filter_map(promotion).take(TOLD_MAX);
    serde_json::json!({
        "known": all.len(),
        "suspicious": suspicious,
        "first": all.iter().take(TOLD_MAX).map(json).collect::<Vec<_>>(),
        "suggestions": suggestions.map(|evidence| evidence.sentence()).collect::<Vec<_>>(),
    })
}

/// Returns the scores of one partner, by its domain, its entry or a host of its certificate.
pub(super) fn about(scores: &Scores, now: Now, name: &str) -> serde_json::Value {
    let found = scores.about(now, name);
    let suggestions = found.iter().filter_map(promotion).map(|evidence| evidence.sentence());
    serde_json::json!({
        "scores": found.iter().take(TOLD_MAX).map(json).collect::<Vec<_>>(),
        "suggestions": suggestions.collect::<Vec<_>>(),
    })
}

/// Writes what is known to the log, for those who look there and nowhere else.
pub(super) fn report(scores: &Scores, now: Now) {
    let all = scores.scores(now);
    for score in all.iter().filter(|score| score.suspicious).take(TOLD_MAX) {
        let (Holder::Domain(name) | Holder::Entry(name) | Holder::Certificate(name)) =
            &score.holder;
        tracing::warn!(
            partner = name,
            failed_percent = score.failed_percent,
            answers = score.answers,
            failures = score.failures,
            "a partner is suspicious and limited: many of its requests fail"
        );
    }
    for evidence in all.iter().filter_map(promotion).take(TOLD_MAX) {
        tracing::info!(partner = evidence.domain, "{}", evidence.sentence());
    }
}

pub(super) fn export(scores: &Scores, exporter: &mut Exporter) {
    let (known, suspicious) = scores.count();
    exporter.set(&catalogue::SCORES, &["suspicious"], suspicious);
    exporter.set(&catalogue::SCORES, &["ordinary"], known.saturating_sub(suspicious));
    exporter.set(&catalogue::SCORES_EVICTED, &[], scores.evicted());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Limits;
    use crate::policy::scores::Parties;

    #[test]
    fn a_score_is_told_by_name_and_in_numbers() {
        let scores = Scores::new([1, 2]);
        let domain = b"tailspin.example";
        let domain_key = scores.domain_key(domain);
        let host = "sip.tailspin.example";
        let parties = Parties { domain, listed: false, domain_key, certificate: 5, host };
        let _ = scores.charge(Now::default(), &parties, &Limits::default());
        let told = status(&scores, Now::default().plus_ms(3_000));
        assert_eq!(told["known"], 2);
        assert_eq!(told["first"][0]["name"], "tailspin.example");
        assert_eq!(told["first"][1]["holder"], "certificate");
        assert_eq!(
            (&told["first"][0]["messages"], &told["first"][0]["silent_s"]),
            (&1.into(), &3.into())
        );
        let now = Now::default();
        let of = |name: &str| about(&scores, now, name)["scores"].as_array().unwrap().clone();
        assert_eq!(of("TAILSPIN.example")[0]["holder"], "domain");
        assert_eq!(of(host)[0]["holder"], "certificate");
        assert_eq!(of("fabrikam.example"), Vec::<serde_json::Value>::new());
        let mut exporter = Exporter::new();
        export(&scores, &mut exporter);
        assert!(exporter.render().contains("entente_policy_scores{standing=\"ordinary\"} 2"));
    }
}
