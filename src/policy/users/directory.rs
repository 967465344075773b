//! The users that the configuration names, by the million.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::FixedState;
use siphasher::sip::SipHasher13;

use super::{AccessPolicy, Closed, Gate, Granted, Home, Marks, MarksCount, Policies, Role, Why};
use crate::limits;

/// What a user is to policy; users of one class share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Class {
    policy: Option<(usize, Granted)>,
    home: Home,
}

/// What a user is to policy, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing<'a> {
    /// The policy that wins for him; `None`: there is none, and every gate stands open.
    pub policy: Option<Grant<'a>>,
    /// Where his account is served.
    pub home: Home,
}

/// A policy, and how a user came by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant<'a> {
    /// Its place in the list of policies.
    pub index: usize,
    /// What it is called.
    pub name: &'a str,
    /// How he came by it.
    pub granted: Granted,
}

/// Why a user cannot be taken up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryFault {
    /// The policy granted to him is not there.
    #[error("there is no external access policy `{0}`")]
    UnknownPolicy(String),
    /// A policy of a site or the global one cannot be granted.
    #[error("`{0}` is the policy of a site or of all, and not granted to users")]
    NotGranted(String),
    /// He is there already.
    #[error("this user is given twice")]
    Twice,
    /// More users than were announced.
    #[error("more users than can be held")]
    Full,
    /// More combinations of policy and home than can be told apart.
    #[error("more than {max} combinations of policy and home", max = limits::USER_CLASSES_MAX)]
    TooManyClasses,
}

/// Policies, and the users that have others than the global one.
#[derive(Debug, Default)]
pub struct Directory {
    key: [u64; 2],
    policies: Policies,
    classes: Vec<Class>,
    /// Zero is empty; linear probing from the place that the mark falls to, at most three quarters
    /// full.
    marks: Vec<u64>,
    class_of: Vec<u16>,
    users: usize,
    marks_count: MarksCount,
    /// Sum over all users of a hash of what was said of each, to tell directories apart.
    digest: u64,
}

impl Directory {
    /// Tells whether every gate stands open for everybody, so that nobody need be looked up.
    ///
    /// Hot: once per request.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.policies.all.is_empty() && self.users == 0
    }

    /// Returns how many users are named.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.users
    }

    /// Tells whether no user is named.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.users == 0
    }

    /// Returns the bytes the table of users occupies.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.marks.capacity() * size_of::<u64>()
            + self.class_of.capacity() * size_of::<u16>()
            + self.classes.capacity() * size_of::<Class>()
    }

    /// Judges whether an own user may; `user` and `host` as they stand on the wire, in any case.
    ///
    /// Hot: once per request where there is any policy. Bench `users/judge_1m`.
    ///
    /// # Errors
    /// [`Closed`], with the policy or mark that says so.
    pub fn judge(
        &self,
        user: &[u8],
        host: &[u8],
        gate: Gate,
        role: Role,
        marks: Marks,
    ) -> Result<(), Closed> {
        let closed = |why| Err(Closed { gate, role, why });
        let class = self.class(user, host);
        if gate == Gate::Xmpp && class.home == Home::BranchAppliance {
            return closed(Why::BranchAppliance);
        }
        match (self.marks_count, marks.of(gate)) {
            (MarksCount::Decide | MarksCount::Restrict, Some(false)) => return closed(Why::Mark),
            (MarksCount::Decide, Some(true)) => return Ok(()),
            _ => {}
        }
        // Without a policy for him this gate stands open.
        let Some((index, granted)) = class.policy else { return Ok(()) };
        let policy = &self.policies.all[index];
        if policy.opens(gate) {
            return Ok(());
        }
        let nothing_open = !policy.opens_anything();
        closed(Why::Policy { index, name: policy.name.clone(), granted, nothing_open })
    }

    /// Returns what a user is to policy; one that nobody names is as the global policy has him.
    #[must_use]
    pub fn standing(&self, user: &[u8], host: &[u8]) -> Standing<'_> {
        let Class { policy, home } = self.class(user, host);
        let policy = policy.map(|(index, granted)| Grant {
            index,
            name: &self.policies.all[index].name,
            granted,
        });
        Standing { policy, home }
    }

    /// Returns how much the marks of inner servers count.
    #[must_use]
    pub const fn marks_count(&self) -> MarksCount {
        self.marks_count
    }

    fn class(&self, user: &[u8], host: &[u8]) -> Class {
        let unnamed = || Class { policy: self.policies.winner("", None), home: Home::Pool };
        if self.users == 0 {
            return unnamed();
        }
        match self.find(mark(self.key, user, host)) {
            Ok(place) => self.classes[usize::from(self.class_of[place])],
            Err(_) => unnamed(),
        }
    }

    /// Returns where a mark is, or where it would be put.
    fn find(&self, mark: u64) -> Result<usize, usize> {
        // The place is the mark's share of the table, so any number of slots will do.
        let spread = u128::from(mark) * self.marks.len() as u128;
        #[allow(clippy::cast_possible_truncation, reason = "below the length of the table")]
        let mut place = (spread >> 64) as usize;
        // A quarter of the slots is empty, so the walk ends.
        loop {
            match self.marks[place] {
                0 => return Err(place),
                held if held == mark => return Ok(place),
                _ => place = if place + 1 == self.marks.len() { 0 } else { place + 1 },
            }
        }
    }
}

/// Two directories are the same if they were made from the same statements, under whatever key.
impl PartialEq for Directory {
    fn eq(&self, other: &Self) -> bool {
        self.policies == other.policies
            && self.marks_count == other.marks_count
            && (self.users, self.digest) == (other.users, other.digest)
    }
}

impl Eq for Directory {}

/// Takes up users one by one.
#[derive(Debug)]
pub struct DirectoryBuilder(Directory);

impl DirectoryBuilder {
    /// Begins a directory of at most `users` users; `key` is random per process.
    ///
    /// Names of `policies` are distinct.
    #[must_use]
    pub fn new(
        key: [u64; 2],
        policies: Vec<AccessPolicy>,
        marks_count: MarksCount,
        users: usize,
    ) -> Self {
        let slots = if users == 0 { 0 } else { users + users / 3 + 2 };
        Self(Directory {
            key,
            policies: Policies::of(policies),
            classes: Vec::new(),
            marks: vec![0; slots],
            class_of: vec![0; slots],
            users: 0,
            marks_count,
            digest: 0,
        })
    }

    /// Takes up a user. `site` and `policy` are empty where nothing is said.
    ///
    /// # Errors
    /// [`DirectoryFault`]; the user is not taken up then.
    pub fn add(
        &mut self,
        user: &str,
        domain: &str,
        site: &str,
        policy: &str,
        home: Home,
    ) -> Result<(), DirectoryFault> {
        let directory = &mut self.0;
        if (directory.users + 1) * 4 > directory.marks.len() * 3 {
            return Err(DirectoryFault::Full);
        }
        let granted = match policy {
            "" => None,
            AccessPolicy::GLOBAL => return Err(DirectoryFault::NotGranted(policy.to_owned())),
            site if site.starts_with(AccessPolicy::SITE) => {
                return Err(DirectoryFault::NotGranted(policy.to_owned()));
            }
            name => match directory.policies.by_name.get(name) {
                Some(index) => Some(*index),
                None => return Err(DirectoryFault::UnknownPolicy(name.to_owned())),
            },
        };
        let class = Class { policy: directory.policies.winner(site, granted), home };
        let number = match directory.classes.iter().position(|known| *known == class) {
            Some(number) => number,
            None if directory.classes.len() >= limits::USER_CLASSES_MAX => {
                return Err(DirectoryFault::TooManyClasses);
            }
            None => {
                directory.classes.push(class);
                directory.classes.len() - 1
            }
        };
        let mark = mark(directory.key, user.as_bytes(), domain.as_bytes());
        let Err(place) = directory.find(mark) else { return Err(DirectoryFault::Twice) };
        directory.marks[place] = mark;
        directory.class_of[place] = u16::try_from(number).expect("classes are bounded");
        directory.users += 1;
        let said = FixedState::with_seed(0).hash_one((user, domain, class));
        directory.digest = directory.digest.wrapping_add(said);
        Ok(())
    }

    /// Returns what was taken up.
    #[must_use]
    pub fn finish(self) -> Directory {
        self.0
    }
}

const _: () = assert!(limits::USER_CLASSES_MAX <= u16::MAX as usize);

/// What is kept of a user; never zero.
fn mark(key: [u64; 2], user: &[u8], host: &[u8]) -> u64 {
    let mut text = smallvec::SmallVec::<[u8; 128]>::new();
    text.extend_from_slice(user);
    text.push(b'@');
    text.extend_from_slice(host.strip_suffix(b".").unwrap_or(host));
    text.make_ascii_lowercase();
    // One write: the hasher costs more per call than per word.
    let mut hasher = SipHasher13::new_with_keys(key[0], key[1]);
    hasher.write(&text);
    hasher.finish().max(1)
}
