//! From the configuration to what partners may do in a time, and what they are told.

use crate::config::{self, Config};
use crate::limits;
use crate::policy::{
    ArchivingNotice, Limits, Outgoing, PartnerKind, Pattern, StatedLimits, Throttles,
};

/// Returns who has which limits, beside what is stated with a partner's own entry.
#[must_use]
pub fn throttles(config: &Config) -> Throttles {
    let discovered = discovered(&config.federation);
    let kinds = config.federation_limits.iter();
    let kinds = kinds.map(|limit| (limit.kind, of_kind(discovered, limit))).collect();
    Throttles { discovered, kinds }
}

/// Returns the listed partners that have limits of their own, with what holds for them.
pub fn limited(config: &Config) -> impl Iterator<Item = (&Pattern, Limits)> {
    let throttles = throttles(config);
    let stated = config.partners.iter().map(|partner| {
        let of_server = matches!(partner.kind, config::PartnerKind::AllowedServer);
        let limits =
            StatedLimits { messages_per_s: partner.messages_per_s, users: partner.distinct_users };
        (&partner.domain, of_server, limits)
    });
    let rows = config.partner_list.iter().flat_map(|list| {
        list.rows.iter().filter_map(|row| {
            let terms = list.terms.get(row.terms as usize)?;
            let limits =
                StatedLimits { messages_per_s: terms.messages_per_s, users: terms.distinct_users };
            Some((&row.domain, row.edge.is_some(), limits))
        })
    });
    let limited = stated.chain(rows).filter(|(.., limits)| *limits != StatedLimits::NONE);
    limited.map(move |(domain, of_server, limits)| {
        let kind = if of_server { PartnerKind::AllowedServer } else { PartnerKind::AllowedDomain };
        (domain, throttles.of_listed(kind, limits))
    })
}

/// Returns the most distinct users that any partner may address and that are counted.
#[must_use]
pub fn most_users(config: &Config) -> u32 {
    let throttles = throttles(config);
    let kinds = throttles.kinds.iter().map(|(_, limits)| limits.users);
    let partners = config.partners.iter().filter_map(|partner| partner.distinct_users);
    let terms = config.partner_list.iter().flat_map(|list| &list.terms);
    let rows = terms.filter_map(|terms| terms.distinct_users);
    let most = kinds.chain(partners).chain(rows).fold(throttles.discovered.users, u32::max);
    most.min(limits::DISTINCT_USERS_MAX)
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

/// Returns what partners are told, and what they are not.
#[must_use]
pub fn outgoing(config: &Config) -> Outgoing {
    let federation = &config.federation;
    let notice = federation.archiving_notice_header.as_ref();
    let notice = notice.zip(federation.archiving_notice_value.as_ref());
    Outgoing {
        mark_verifiable: federation.mark_verifiable,
        archiving_notice: notice.and_then(|(name, value)| ArchivingNotice::new(name, value)),
        hide_topology: federation.hide_topology,
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
    fn kinds_take_from_federation_what_they_do_not_say() {
        let config = read(
            "[federation]\nmessages_per_s = 10\nfailed_percent = 70\n\
             [[federation_limit]]\nkind = \"allowed_domain\"\nmessages_per_s = 200\n",
        );
        let throttles = throttles(&config);
        let discovered = Limits { messages_per_s: 10, failed_percent: 70, ..Limits::default() };
        let domains = Limits { messages_per_s: 200, ..discovered };
        assert_eq!(throttles.discovered, discovered);
        assert_eq!(throttles.kinds, [(PartnerKind::AllowedDomain, domains)]);
    }

    #[test]
    fn the_most_users_are_looked_for_in_entries_and_rows_too() {
        let mut config = read(
            "[federation]\ndistinct_users = 10\n\
             [[partner]]\ndomain = \"a.example\"\ndistinct_users = 50\n",
        );
        assert_eq!(most_users(&config), 50);
        let text = "domain,distinct_users\nb.example,70\nc.example,\n".to_owned();
        let list = config::lists::PartnerList::parse(Path::new("p.csv"), text).unwrap();
        config.partner_list = Some(std::sync::Arc::new(list));
        assert_eq!(most_users(&config), 70);
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
        let (_, of_partner) = limited(&config).next().unwrap();
        assert_eq!(rates(&of_partner), (3, 3));
    }

    #[test]
    fn what_partners_are_told_is_what_the_configuration_says() {
        let config = read(
            "[federation]\nmark_verifiable = false\nhide_topology = true\n\
             archiving_notice_header = \"X-Archiving-Notice\"\n\
             archiving_notice_value = \"archived\"\n",
        );
        let outgoing = outgoing(&config);
        assert!(!outgoing.mark_verifiable && outgoing.hide_topology);
        let notice = outgoing.archiving_notice.expect("both are given");
        assert_eq!(notice.line(), b"X-Archiving-Notice: archived\r\n");
    }
}
