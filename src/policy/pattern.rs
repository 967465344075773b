//! Which domains an entry of a list is about: one, or everything below one.

use std::fmt;

use crate::dns::Domain;

/// The domains an entry covers. Exactly one unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pattern {
    /// `fabrikam.example`: this domain and no other.
    Exact(Domain),
    /// `*.fabrikam.example`: every domain below it, however deep, and not itself.
    Below(Domain),
}

impl Pattern {
    /// Returns the domain that is named: itself, or what the others lie below.
    #[must_use]
    pub const fn name(&self) -> &Domain {
        match self {
            Self::Exact(name) | Self::Below(name) => name,
        }
    }

    /// Returns the domain, if the pattern is about one only.
    #[must_use]
    pub const fn exact(&self) -> Option<&Domain> {
        match self {
            Self::Exact(name) => Some(name),
            Self::Below(_) => None,
        }
    }

    /// Tells whether `domain` is covered.
    #[must_use]
    pub fn covers(&self, domain: &Domain) -> bool {
        match self {
            Self::Exact(name) => name == domain,
            Self::Below(name) => domain
                .as_str()
                .strip_suffix(name.as_str())
                .is_some_and(|below| below.ends_with('.')),
        }
    }

    /// Tells whether every domain that `other` covers is covered too.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Exact(name)) => self.covers(name),
            (Self::Exact(_), Self::Below(_)) => false,
            (Self::Below(_), Self::Below(name)) => self == other || self.covers(name),
        }
    }
}

impl From<Domain> for Pattern {
    fn from(name: Domain) -> Self {
        Self::Exact(name)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "{name}"),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::domain;
    use super::*;

    #[test]
    fn a_pattern_covers_what_lies_below_and_not_itself() {
        let below = Pattern::Below(domain("fabrikam.example"));
        let exact = Pattern::Exact(domain("fabrikam.example"));
        let cases = [
            ("fabrikam.example", false, true),
            ("it.fabrikam.example", true, false),
            ("a.b.fabrikam.example", true, false),
            ("notfabrikam.example", false, false),
            ("example", false, false),
        ];
        for (name, by_below, by_exact) in cases {
            assert_eq!(below.covers(&domain(name)), by_below, "{name}");
            assert_eq!(exact.covers(&domain(name)), by_exact, "{name}");
        }
        assert_eq!(below.to_string(), "*.fabrikam.example");
    }

    #[test]
    fn a_pattern_contains_narrower_ones() {
        let below = |name: &str| Pattern::Below(domain(name));
        let exact = |name: &str| Pattern::Exact(domain(name));
        assert!(below("example").contains(&below("fabrikam.example")));
        assert!(below("example").contains(&below("example")));
        assert!(below("example").contains(&exact("fabrikam.example")));
        assert!(!below("fabrikam.example").contains(&below("example")));
        assert!(!below("fabrikam.example").contains(&exact("fabrikam.example")));
        assert!(!exact("fabrikam.example").contains(&below("fabrikam.example")));
    }
}
