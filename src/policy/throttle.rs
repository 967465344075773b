//! What partners may do in a time: limits by kind and by partner, and over what time they count.
//!
//! Discovered partners have limits always, listed ones only where the configuration says so
//! (lync-federation 5.2 and 5.3). What counts towards them is in [`super::Scores`].

use super::{PartnerKey, PartnerKind, Snapshot};
use crate::limits;

/// The limits of one partner.
///
/// Each of them counts the partner as a whole: all its connections, on all shards, under its SIP
/// domain and, apart from that, under its certificate. An edge counts for itself: a pool lets pass
/// as much as its members together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages a second; as many may come at once.
    pub messages_per_s: u32,
    /// Messages a second while the partner is suspicious, one at a time.
    pub suspicious_per_s: u32,
    /// How long a message that comes too early is held before it is refused instead.
    pub hold_ms: u32,
    /// Distinct local users addressed within the window; 0 for any number. Users addressed already
    /// stay within reach.
    pub users: u32,
    /// The window: a fixed grid of this many seconds. At its end everybody is forgotten.
    pub users_window_s: u32,
    /// The partner is suspicious while at least this share of its requests fails; 0: never.
    pub failed_percent: u8,
    /// Answers that are needed before their ratio says anything.
    pub failed_least: u32,
    /// Decay of that ratio: each time this many seconds pass, every answer counts half as much.
    pub half_life_s: u32,
}

impl Default for Limits {
    /// The product's own numbers where it states them: 20/s, 1/s and 1,000 users.
    fn default() -> Self {
        Self {
            messages_per_s: 20,
            suspicious_per_s: 1,
            hold_ms: 2_000,
            users: 1_000,
            users_window_s: 86_400,
            failed_percent: 50,
            failed_least: 20,
            half_life_s: 300,
        }
    }
}

impl Limits {
    /// Returns the limits with every number within what can be counted.
    #[must_use]
    pub(super) fn bounded(self) -> Self {
        Self {
            messages_per_s: self.messages_per_s.max(1),
            suspicious_per_s: self.suspicious_per_s.max(1),
            hold_ms: self.hold_ms.min(limits::HOLD_MS_MAX),
            users: self.users.min(limits::DISTINCT_USERS_MAX),
            users_window_s: self.users_window_s.max(1),
            half_life_s: self.half_life_s.max(1),
            ..self
        }
    }
}

/// What is stated for one listed partner alone; where nothing is, its kind's limits hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StatedLimits {
    /// As [`Limits::messages_per_s`].
    pub messages_per_s: Option<u32>,
    /// As [`Limits::users`].
    pub users: Option<u32>,
}

impl StatedLimits {
    /// Nothing is stated.
    pub const NONE: Self = Self { messages_per_s: None, users: None };

    /// Returns what holds for a partner of a kind with the limits `of_kind`. Of a kind without
    /// limits it has no others than those stated.
    fn on(self, of_kind: Option<Limits>, discovered: Limits) -> Limits {
        let unlimited =
            Limits { messages_per_s: 1_000_000, users: 0, failed_percent: 0, ..discovered };
        let limits = of_kind.unwrap_or(unlimited);
        let messages_per_s = self.messages_per_s.unwrap_or(limits.messages_per_s);
        Limits {
            messages_per_s,
            // Suspicion never lets more pass than was said of the partner.
            suspicious_per_s: limits.suspicious_per_s.min(messages_per_s),
            users: self.users.unwrap_or(limits.users),
            ..limits
        }
    }
}

/// Who has which limits beside those stated with a partner's own entry
/// ([`super::PartnerRule::limits`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Throttles {
    /// Discovered partners.
    pub discovered: Limits,
    /// Whole kinds of listed partners.
    pub kinds: Vec<(PartnerKind, Limits)>,
}

impl Throttles {
    /// Returns the limits of listed partners of `kind` whose entries state `stated`.
    #[must_use]
    pub fn of_listed(&self, kind: PartnerKind, stated: StatedLimits) -> Limits {
        let of_kind = self.kinds.iter().find(|(of, _)| *of == kind).map(|(_, limits)| *limits);
        stated.on(of_kind, self.discovered)
    }
}

/// The same by what a verdict knows of the partner. Without a word of the configuration discovered
/// partners have the product's limits.
#[derive(Debug, Default)]
pub(super) struct Throttling {
    discovered: Limits,
    kinds: Vec<(PartnerKind, Limits)>,
    /// By number of the partner's terms, which entries that say the same share; in its order.
    stated: Vec<(u32, OfListed)>,
    /// Some listed partner may have limits; else none is looked for.
    any_listed: bool,
}

/// Limits of partners under the same terms, by their kind.
#[derive(Debug)]
struct OfListed {
    server: Limits,
    domain: Limits,
}

impl Snapshot {
    /// Sets who has which limits; those stated with partners' entries hold from then on too.
    #[must_use]
    pub fn with_throttles(mut self, throttles: Throttles) -> Self {
        let terms = (0_u32..).zip(self.partners.terms());
        let stated = terms.filter(|(_, terms)| terms.limits != StatedLimits::NONE);
        let stated: Vec<_> = stated
            .map(|(number, terms)| {
                let of = |kind| throttles.of_listed(kind, terms.limits).bounded();
                let server = of(PartnerKind::AllowedServer);
                (number, OfListed { server, domain: of(PartnerKind::AllowedDomain) })
            })
            .collect();
        let Throttles { discovered, kinds } = throttles;
        let kinds: Vec<_> = kinds.into_iter().map(|(kind, l)| (kind, l.bounded())).collect();
        let any_listed = !kinds.is_empty() || !stated.is_empty();
        self.throttling =
            Throttling { discovered: discovered.bounded(), kinds, stated, any_listed };
        self
    }

    /// Returns the limits of a partner; `None` for one without limits.
    ///
    /// Hot: once per request. Two comparisons for a listed partner where no listed one has limits.
    #[must_use]
    pub fn limits(&self, partner: PartnerKey, kind: PartnerKind) -> Option<&Limits> {
        match partner {
            PartnerKey::Discovered(_) => Some(&self.throttling.discovered),
            _ if !self.throttling.any_listed || kind == PartnerKind::RemoteUser => None,
            PartnerKey::Listed(index) => {
                let terms = self.partners.terms_of(index)?;
                self.throttling.of_terms(terms, kind).or_else(|| self.throttling.of_kind(kind))
            }
            _ => self.throttling.of_kind(kind),
        }
    }
}

impl Throttling {
    fn of_terms(&self, terms: u32, kind: PartnerKind) -> Option<&Limits> {
        let place = self.stated.binary_search_by_key(&terms, |(number, _)| *number).ok()?;
        let (_, of_listed) = self.stated.get(place)?;
        match kind {
            PartnerKind::AllowedServer => Some(&of_listed.server),
            PartnerKind::AllowedDomain => Some(&of_listed.domain),
            _ => None,
        }
    }

    fn of_kind(&self, kind: PartnerKind) -> Option<&Limits> {
        self.kinds.iter().find(|(of, _)| *of == kind).map(|(_, limits)| limits)
    }
}

#[cfg(test)]
mod tests {
    use super::super::PartnerRule;
    use super::super::fixture::{domain, rules, snapshot};
    use super::*;

    fn per_s(messages_per_s: u32) -> Limits {
        Limits { messages_per_s, ..Limits::default() }
    }

    #[test]
    fn listed_partners_have_no_limits_unless_the_configuration_says_so() {
        let fabrikam = PartnerRule::allowed_domain(domain("fabrikam.example"));
        let snapshot = snapshot(rules(vec![fabrikam]));
        let listed = PartnerKey::Listed(0);
        assert_eq!(snapshot.limits(listed, PartnerKind::AllowedDomain), None);
        assert_eq!(
            snapshot.limits(PartnerKey::Discovered(1), PartnerKind::Discovered),
            Some(&Limits::default())
        );
        assert_eq!(snapshot.limits(PartnerKey::NextHop, PartnerKind::RemoteUser), None);
    }

    #[test]
    fn a_partners_own_limits_win_over_those_of_its_kind() {
        let listed = ["a.example", "b.example", "c.example"];
        let mut partners: Vec<_> =
            listed.iter().map(|name| PartnerRule::allowed_domain(domain(name))).collect();
        partners.push(PartnerRule::allowed_server(
            domain("d.example"),
            domain("edge.d.example"),
            5061,
        ));
        partners[1].limits.messages_per_s = Some(7);
        let throttles = Throttles {
            discovered: per_s(5),
            kinds: vec![(PartnerKind::AllowedDomain, per_s(100))],
        };
        let snapshot = snapshot(rules(partners)).with_throttles(throttles);
        let of = |index| {
            let kind =
                if index == 3 { PartnerKind::AllowedServer } else { PartnerKind::AllowedDomain };
            snapshot.limits(PartnerKey::Listed(index), kind).map(|limits| limits.messages_per_s)
        };
        assert_eq!([of(0), of(1), of(2), of(3)], [Some(100), Some(7), Some(100), None]);
        let discovered = snapshot.limits(PartnerKey::Discovered(9), PartnerKind::Discovered);
        assert_eq!(discovered.map(|limits| limits.messages_per_s), Some(5));
    }

    #[test]
    fn a_partner_takes_from_its_kind_what_its_entry_does_not_state() {
        let edge = || domain("edge.partner.example");
        let of_server = |name: &str| PartnerRule::allowed_server(domain(name), edge(), 5061);
        let mut partners = vec![
            PartnerRule::allowed_domain(domain("a.example")),
            of_server("b.example"),
            of_server("c.example"),
        ];
        partners[0].limits.users = Some(5);
        partners[1].limits.users = Some(5);
        let throttles = Throttles {
            discovered: per_s(10),
            kinds: vec![(PartnerKind::AllowedDomain, per_s(200))],
        };
        let snapshot = snapshot(rules(partners)).with_throttles(throttles);
        let of = |index, kind| snapshot.limits(PartnerKey::Listed(index), kind).copied();
        let (server, domain) = (PartnerKind::AllowedServer, PartnerKind::AllowedDomain);
        assert_eq!(of(0, domain), Some(Limits { users: 5, ..per_s(200) }));
        // Its kind has no limits, so it has none beside its own.
        let alone = Limits { messages_per_s: 1_000_000, failed_percent: 0, users: 5, ..per_s(10) };
        assert_eq!(of(1, server), Some(alone));
        assert_eq!(of(2, server), None);
    }

    #[test]
    fn numbers_beyond_what_can_be_counted_are_brought_back() {
        let wild = Limits { messages_per_s: 0, hold_ms: u32::MAX, users: u32::MAX, ..per_s(0) };
        let kept = wild.bounded();
        assert_eq!((kept.messages_per_s, kept.suspicious_per_s), (1, 1));
        assert_eq!((kept.hold_ms, kept.users), (limits::HOLD_MS_MAX, limits::DISTINCT_USERS_MAX));
    }
}
