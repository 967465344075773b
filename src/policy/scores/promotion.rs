//! When a partner behaves so well that it might be listed.

use super::{Holder, Score};

/// How long a partner must have been known.
const KNOWN_S_LEAST: u32 = 24 * 60 * 60;
/// How many of its requests must have been answered.
const ANSWERS_LEAST: u64 = 1_000;
/// One in so many may have failed: people mistype and leave.
const FAILURES_ONE_IN: u64 = 50;

/// Why a partner might be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Its SIP domain.
    pub domain: String,
    /// Days since its first message.
    pub days: u32,
    /// Its requests that were answered.
    pub answers: u64,
    /// How many of them failed.
    pub failures: u64,
    /// Messages that were held or refused because of its limits.
    pub hindered: u64,
}

impl Evidence {
    /// Returns what an operator reads.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { domain, days, answers, failures, hindered } = self;
        format!(
            "{domain} might be listed as an allowed partner: known for {days} days, {failures} of \
             {answers} requests failed, never suspicious, {hindered} messages held or refused by \
             its limits"
        )
    }
}

/// Judges whether a discovered partner might be promoted to an allowed one.
///
/// It must be known for a day, have had a thousand requests answered of which at most one in fifty
/// failed, and never have been suspicious. A score starts with the process and is lost with it.
#[must_use]
pub fn promotion(score: &Score) -> Option<Evidence> {
    let Holder::Domain(domain) = &score.holder else { return None };
    let good = score.known_s >= KNOWN_S_LEAST
        && score.answers >= ANSWERS_LEAST
        && score.failures <= score.answers / FAILURES_ONE_IN
        && score.suspicions == 0;
    good.then(|| Evidence {
        domain: domain.clone(),
        days: score.known_s / KNOWN_S_LEAST,
        answers: score.answers,
        failures: score.failures,
        hindered: score.held + score.refused + score.users_blocked,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Score {
        Score {
            holder: Holder::Domain("fabrikam.example".to_owned()),
            suspicious: false,
            suspicions: 0,
            known_s: 3 * KNOWN_S_LEAST,
            silent_s: 5,
            failed_percent: 1,
            messages: 6_000,
            held: 40,
            refused: 2,
            answers: 5_000,
            failures: 100,
            users: 700,
            users_blocked: 0,
        }
    }

    #[test]
    fn a_partner_that_behaves_is_suggested_with_its_evidence() {
        let evidence = promotion(&good()).expect("good enough");
        assert_eq!(
            evidence.sentence(),
            "fabrikam.example might be listed as an allowed partner: known for 3 days, 100 of 5000 \
             requests failed, never suspicious, 42 messages held or refused by its limits"
        );
    }

    #[test]
    fn each_condition_is_needed() {
        let worse: [fn(&mut Score); 6] = [
            |score| score.known_s = KNOWN_S_LEAST - 1,
            |score| score.answers = ANSWERS_LEAST - 1,
            |score| score.failures = 101,
            |score| score.suspicions = 1,
            |score| score.holder = Holder::Certificate("sip.fabrikam.example".to_owned()),
            |score| score.holder = Holder::Entry("fabrikam.example".to_owned()),
        ];
        for worsen in worse {
            let mut score = good();
            worsen(&mut score);
            assert_eq!(promotion(&score), None, "{score:?}");
        }
    }
}
