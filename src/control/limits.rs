//! From the configuration to what partners may do in a time, and what they are told.

use crate::config::{self, Config};
use crate::policy::{self, ArchivingNotice, Limits, Outgoing, Throttles};

/// Returns who has which limits.
#[must_use]
pub fn throttles(config: &Config) -> Throttles {
    let discovered = discovered(&config.federation);
    let kinds = config.federation_limits.iter();
    let kinds: Vec<_> = kinds.map(|limit| (limit.kind, of_kind(discovered, limit))).collect();
    let partners = config.partners.iter().filter_map(|partner| {
        if partner.messages_per_s.is_none() && partner.distinct_users.is_none() {
            return None;
        }
        let kind = match partner.kind {
            config::PartnerKind::AllowedDomain => policy::PartnerKind::AllowedDomain,
            config::PartnerKind::AllowedServer => policy::PartnerKind::AllowedServer,
        };
        let of_kind = kinds.iter().find(|(of, _)| *of == kind).map(|(_, limits)| *limits);
        Some((partner.domain.to_string(), of_partner(of_kind, discovered, partner)))
    });
    Throttles { discovered, partners: partners.collect(), kinds }
}

fn discovered(federation: &config::Federation) -> Limits {
    let seconds = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Limits {
        messages_per_s: federation.messages_per_s,
        suspicious_per_s: federation.suspicious_messages_per_s,
        hold_ms: seconds(federation.hold_ms),
        users: federation.distinct_users,
        users_window_s: seconds(federation.distinct_users_window_s),
        failed_percent: federation.failed_percent,
        failed_least: federation.failed_least,
        half_life_s: seconds(federation.failed_half_life_s),
    }
}

fn of_kind(discovered: Limits, limit: &config::FederationLimit) -> Limits {
    let messages_per_s = limit.messages_per_s.unwrap_or(discovered.messages_per_s);
    let suspicious = limit.suspicious_messages_per_s.unwrap_or(discovered.suspicious_per_s);
    Limits {
        messages_per_s,
        // Suspicion never lets more pass than was said of the kind.
        suspicious_per_s: suspicious.min(messages_per_s),
        users: limit.distinct_users.unwrap_or(discovered.users),
        failed_percent: limit.failed_percent.unwrap_or(discovered.failed_percent),
        ..discovered
    }
}

/// A partner whose kind has no limits gets no other than those stated for it.
fn of_partner(of_kind: Option<Limits>, discovered: Limits, partner: &config::Partner) -> Limits {
    let unlimited = Limits { messages_per_s: 1_000_000, users: 0, failed_percent: 0, ..discovered };
    let limits = of_kind.unwrap_or(unlimited);
    let messages_per_s = partner.messages_per_s.unwrap_or(limits.messages_per_s);
    Limits {
        messages_per_s,
        suspicious_per_s: limits.suspicious_per_s.min(messages_per_s),
        users: partner.distinct_users.unwrap_or(limits.users),
        ..limits
    }
}

/// Returns what is added to requests that go to partners.
#[must_use]
pub fn outgoing(config: &Config) -> Outgoing {
    let federation = &config.federation;
    let notice = federation.archiving_notice_header.as_ref();
    let notice = notice.zip(federation.archiving_notice_value.as_ref());
    Outgoing {
        mark_verifiable: federation.mark_verifiable,
        archiving_notice: notice.and_then(|(name, value)| ArchivingNotice::new(name, value)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::fixture::LEAST;

    fn read(added: &str) -> Config {
        config::parse(Path::new("e.toml"), &format!("{LEAST}{added}")).unwrap()
    }

    #[test]
    fn what_is_not_said_are_the_products_own_numbers() {
        let throttles = throttles(&read(""));
        assert_eq!(throttles, Throttles::default());
        assert_eq!(outgoing(&read("")), Outgoing::default());
    }

    #[test]
    fn kinds_and_partners_take_from_federation_what_they_do_not_say() {
        let config = read(
            "[federation]\nmessages_per_s = 10\nfailed_percent = 70\n\
             [[federation_limit]]\nkind = \"allowed_domain\"\nmessages_per_s = 200\n\
             [[partner]]\ndomain = \"a.example\"\ndistinct_users = 5\n\
             [[partner]]\ndomain = \"b.example\"\n\
             [[partner]]\ndomain = \"c.example\"\nkind = \"allowed_server\"\n\
             edge = \"sip.c.example\"\nmessages_per_s = 3\n",
        );
        let throttles = throttles(&config);
        let discovered = Limits { messages_per_s: 10, failed_percent: 70, ..Limits::default() };
        let domains = Limits { messages_per_s: 200, ..discovered };
        assert_eq!(throttles.discovered, discovered);
        assert_eq!(throttles.kinds, [(policy::PartnerKind::AllowedDomain, domains)]);
        let alone = Limits { messages_per_s: 3, users: 0, failed_percent: 0, ..discovered };
        assert_eq!(
            throttles.partners,
            [
                ("a.example".to_owned(), Limits { users: 5, ..domains }),
                ("c.example".to_owned(), alone)
            ]
        );
    }

    #[test]
    fn suspicion_lets_no_more_pass_than_the_ordinary_rate() {
        let config = read(
            "[federation]\nsuspicious_messages_per_s = 10\n\
             [[federation_limit]]\nkind = \"allowed_domain\"\nmessages_per_s = 5\n\
             [[partner]]\ndomain = \"a.example\"\nmessages_per_s = 3\n",
        );
        let throttles = throttles(&config);
        let rates = |limits: &Limits| (limits.messages_per_s, limits.suspicious_per_s);
        assert_eq!(rates(&throttles.discovered), (20, 10));
        assert_eq!(rates(&throttles.kinds[0].1), (5, 5));
        assert_eq!(rates(&throttles.partners[0].1), (3, 3));
    }

    #[test]
    fn the_archiving_notice_is_what_the_configuration_says() {
        let config = read(
            "[federation]\nmark_verifiable = false\n\
             archiving_notice_header = \"X-Archiving-Notice\"\n\
             archiving_notice_value = \"archived\"\n",
        );
        let outgoing = outgoing(&config);
        assert!(!outgoing.mark_verifiable);
        let notice = outgoing.archiving_notice.expect("both are given");
        assert_eq!(notice.line(), b"X-Archiving-Notice: archived\r\n");
    }
}
