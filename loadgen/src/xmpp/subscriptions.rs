//! Who sees whom across a gateway.

use std::collections::BTreeMap;

use super::units::Mark;
use crate::net::ConnId;
use crate::traffic::compose::Dialog;

/// Users of each partner whose subscriptions come and go, each way; so many lives of a partner may
/// be under way at once.
const VISITORS: usize = 16;

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum By {
    /// The partner's user, by a stanza; a NOTIFY of ours tells him.
    Contact,
    /// Our user, by SUBSCRIBE; a stanza of the partner's tells him.
    User,
}

/// What it is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It stands, and presence is told by it.
    Stands,
    /// It comes and goes.
    Lives,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There is none.
    Idle,
    /// It was asked for.
    Asked,
    /// It is there.
    Granted,
    /// Its end was asked for.
    Ending,
}

/// Whether the gateway has said that the partner's user may be seen, before it has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// It has not.
    No,
    /// It has.
    Yes,
}

/// One subscription across the gateway.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    /// Who asked.
    pub(crate) by: By,
    /// What for.
    pub(crate) purpose: Purpose,
    /// Whose server is asked, or asks.
    pub(crate) partner: usize,
    /// The partner's user.
    pub(crate) contact: String,
    /// How far it has come.
    pub(crate) phase: Phase,
    /// Its SIP side.
    pub(crate) dialog: Option<Dialog>,
    /// See there.
    pub(crate) shown: Shown,
    /// Where the gateway asked for it.
    pub(crate) asked_on: Option<ConnId>,
    /// The unit of work under way on it.
    pub(crate) mark: Option<Mark>,
    /// Not asked for again before.
    pub(crate) retry_at_ns: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    all: Vec<Subscription>,
    by_contact: BTreeMap<(By, String), usize>,
    /// Where those begin that come and go.
    visitors: usize,
}

impl Subscriptions {
    /// `standing`: who asked for what stands; `lives`: who asks for what comes and goes.
    pub(crate) fn new(domains: &[String], users: usize, standing: &[By], lives: &[By]) -> Self {
        let mut all = Self::default();
        for number in 0..users {
            all.add(domains, "alice", number, standing, Purpose::Stands);
        }
        all.visitors = all.all.len();
        for number in 0..VISITORS {
            all.add(domains, "visitor", number, lives, Purpose::Lives);
        }
        all
    }

    fn add(&mut self, domains: &[String], user: &str, number: usize, by: &[By], purpose: Purpose) {
        for (partner, domain) in domains.iter().enumerate() {
            for by in by {
                // Whoever asks is somebody else than who is asked: neither knows of the other.
                let side = if purpose == Purpose::Stands { "" } else { of(*by) };
                let contact = format!("{user}{side}{number}@{domain}");
                self.by_contact.insert((*by, contact.clone()), self.all.len());
                self.all.push(Subscription {
                    by: *by,
                    purpose,
                    partner,
                    contact,
                    phase: Phase::Idle,
                    dialog: None,
                    shown: Shown::No,
                    asked_on: None,
                    mark: None,
                    retry_at_ns: 0,
                });
            }
        }
    }

    /// Returns how many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns one by its place.
    pub(crate) fn get(&self, at: usize) -> Option<&Subscription> {
        self.all.get(at)
    }

    /// Returns one by its place.
    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut Subscription> {
        self.all.get_mut(at)
    }

    /// Finds the place of one by the partner's user, with or without what comes around a bare
    /// address: `sip:` and a resource.
    pub(crate) fn find(&self, by: By, contact: &[u8]) -> Option<usize> {
        let text = std::str::from_utf8(contact).ok()?;
        let text = text.strip_prefix("sip:").unwrap_or(text);
        let bare = text.split_once('/').map_or(text, |(bare, _)| bare);
        self.by_contact.get(&(by, bare.to_owned())).copied()
    }

    /// Returns the places of those that stand, or are to.
    pub(crate) fn standing(&self) -> std::ops::Range<usize> {
        0..self.visitors
    }

    /// Returns the places of those that come and go.
    pub(crate) fn living(&self) -> std::ops::Range<usize> {
        self.visitors..self.all.len()
    }
}

fn of(by: By) -> &'static str {
    match by {
        By::Contact => "-in-",
        By::User => "-out-",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_found_by_the_partners_user_however_he_is_written() {
        let domains = ["p0.example".to_owned(), "p1.example".to_owned()];
        let both = [By::Contact, By::User];
        let all = Subscriptions::new(&domains, 3, &both, &[By::User]);
        assert_eq!(all.standing().len(), 2 * 2 * 3);
        assert_eq!(all.living().len(), 2 * VISITORS);
        let at = all.find(By::User, b"sip:alice2@p1.example").unwrap();
        assert_eq!(Some(at), all.find(By::User, b"alice2@p1.example/desk"));
        assert_ne!(Some(at), all.find(By::Contact, b"alice2@p1.example"));
        assert_eq!(all.get(at).map(|one| one.partner), Some(1));
        assert!(all.find(By::Contact, b"visitor-in-0@p0.example").is_none());
        assert!(all.find(By::User, b"visitor-out-0@p0.example").is_some());
    }
}
