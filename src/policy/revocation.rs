//! What is known of a certificate's revocation, and what is demanded of it.

/// What is demanded where it is not known whether a certificate has been revoked.
///
/// One that a list we have revokes is refused by TLS under every demand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Revocation {
    /// Nothing, and no list is fetched.
    Off,
    /// The peer passes; it is counted and the log tells of the list that is missing.
    #[default]
    Soft,
    /// The peer is refused.
    Hard,
}

/// What is known of a chain, each certificate between the peer's own and the anchor included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RevocationState {
    /// A list in force speaks for every certificate, and none is on it.
    Good,
    /// For one certificate at least there is no list, or none whose time has not run out.
    Unknown,
}

impl Revocation {
    /// Tells whether a chain in `state` meets the demand.
    #[must_use]
    pub fn accepts(self, state: RevocationState) -> bool {
        self != Self::Hard || state == RevocationState::Good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hard_refuses_what_is_not_known() {
        use RevocationState::{Good, Unknown};
        for demand in [Revocation::Off, Revocation::Soft, Revocation::Hard] {
            assert!(demand.accepts(Good));
            assert_eq!(demand.accepts(Unknown), demand != Revocation::Hard);
        }
    }
}
