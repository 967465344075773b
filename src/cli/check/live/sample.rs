//! Whom to connect to where not everybody can be.

use std::collections::BTreeSet;

use crate::policy::{Date, PartnerRule};

/// Chosen partners, by their place in the list of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) chosen: Vec<u32>,
    /// How many there are to choose from: entries of the file, rows of the list.
    pub(super) stated: usize,
    pub(super) listed: usize,
    /// How many of them were chosen.
    pub(super) stated_chosen: usize,
    pub(super) listed_chosen: usize,
}

impl Sample {
    /// Tells whether somebody was left out.
    pub(super) const fn is_partial(&self) -> bool {
        self.stated_chosen < self.stated || self.listed_chosen < self.listed
    }
}

/// Tells whether an entry can be asked about: it is in force, and names one edge. Which domains
/// there are below a name, nobody can be asked.
fn is_eligible(rule: &PartnerRule, today: Date) -> bool {
    let named = rule.domain.exact().is_some()
        || matches!(rule.kind, crate::policy::Listed::AllowedServer { .. });
    named && rule.expires.is_none_or(|day| day >= today)
}

/// Chooses at most `limit` partners: entries of the configuration before rows of the list, which
/// begin at `list_from`; of either, what is too many is thinned out evenly, from the first on.
pub(super) fn choose(rules: &[PartnerRule], list_from: usize, today: Date, limit: usize) -> Sample {
    let eligible = |from: usize, to: usize| -> Vec<u32> {
        let range = rules.get(from..to).unwrap_or_default();
        let places = (0_u32..).skip(from).zip(range);
        places.filter(|(_, rule)| is_eligible(rule, today)).map(|(place, _)| place).collect()
    };
    let stated = eligible(0, list_from.min(rules.len()));
    let listed = eligible(list_from.min(rules.len()), rules.len());
    let mut chosen = spread(&stated, limit);
    let stated_chosen = chosen.len();
    let rows = spread(&listed, limit - stated_chosen);
    let listed_chosen = rows.len();
    chosen.extend(rows);
    let (stated, listed) = (stated.len(), listed.len());
    Sample { chosen, stated, listed, stated_chosen, listed_chosen }
}

/// Returns at most `count` of `all`, the first among them, at equal distances.
fn spread(all: &[u32], count: usize) -> Vec<u32> {
    if all.len() <= count {
        return all.to_vec();
    }
    let places: BTreeSet<usize> = (0..count).map(|index| index * all.len() / count).collect();
    places.into_iter().filter_map(|place| all.get(place).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Domain;
    use crate::policy::Pattern;

    fn today() -> Date {
        Date::parse("2026-07-01").unwrap()
    }

    fn domain(name: &str) -> Domain {
        Domain::parse(name.as_bytes()).unwrap()
    }

    fn rules(count: usize) -> Vec<PartnerRule> {
        (0..count)
            .map(|number| PartnerRule::allowed_domain(domain(&format!("p{number}.example"))))
            .collect()
    }

    #[test]
    fn entries_of_the_file_come_before_rows_and_rows_are_spread() {
        let sample = choose(&rules(1_003), 3, today(), 8);
        assert_eq!(sample.chosen, [0, 1, 2, 3, 203, 403, 603, 803]);
        assert_eq!((sample.stated, sample.listed), (3, 1_000));
        assert_eq!((sample.stated_chosen, sample.listed_chosen), (3, 5));
        assert!(sample.is_partial());
        let all = choose(&rules(8), 3, today(), 8);
        assert_eq!(all.chosen, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(!all.is_partial());
    }

    #[test]
    fn a_limit_below_the_entries_of_the_file_thins_these_out() {
        let sample = choose(&rules(12), 10, today(), 4);
        assert_eq!(sample.chosen, [0, 2, 5, 7]);
        assert_eq!((sample.stated_chosen, sample.listed_chosen), (4, 0));
        assert!(choose(&rules(12), 10, today(), 0).chosen.is_empty());
        assert!(choose(&[], 0, today(), 4).chosen.is_empty());
    }

    #[test]
    fn what_names_no_edge_or_has_ended_is_nobody_to_connect_to() {
        let mut rules = rules(3);
        rules[0].domain = Pattern::Below(domain("fabrikam.example"));
        rules[1].expires = Date::new(2026, 6, 30);
        let pattern = Pattern::Below(domain("tailspin.example"));
        let edge = domain("sip.tailspin.example");
        rules.push(PartnerRule::allowed_server(pattern, edge, 5061));
        assert_eq!(choose(&rules, 4, today(), 8).chosen, [2, 3]);
    }
}
