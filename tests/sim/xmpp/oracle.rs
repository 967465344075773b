//! What must hold of every message, and what excuses the loss of one.
//!
//! A mark in its text names a message: `out12.` or `in12.`. Bytes that were under way on a
//! connection that broke are lost to both its ends: the marks in them are excused.

use std::collections::{BTreeMap, BTreeSet};

/// What became of a message.
#[derive(Clone, Debug, Default)]
struct Fate {
    /// Of which partner.
    partner: usize,
    /// Final answers of the edge, or errors that came back to a contact.
    told: Vec<u16>,
    arrived: u32,
    /// How often a gateway has died since it was sent: each may have handed it on before.
    deaths: u32,
    /// It was under way on a connection that broke, or its answer was.
    excused: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    out: BTreeMap<u64, Fate>,
    inward: BTreeMap<u64, Fate>,
    /// What should not have happened.
    faults: Vec<String>,
    forged: BTreeSet<u64>,
    next: u64,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) arrived: u64,
    pub(crate) refused: u64,
    pub(crate) excused: u64,
    /// Requests that their senders have given up, unanswered.
    pub(crate) given_up: u64,
}

impl Oracle {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// One of our users writes to a contact. Returns the number that its mark carries.
    pub(crate) fn sends_out(&mut self, partner: usize) -> u64 {
        let id = self.number();
        self.out.insert(id, Fate { partner, ..Fate::default() });
        id
    }

    /// A contact writes to one of our users.
    pub(crate) fn sends_in(&mut self, partner: usize) -> u64 {
        let id = self.number();
        self.inward.insert(id, Fate { partner, ..Fate::default() });
        id
    }

    /// Somebody pretends to be who he is not.
    pub(crate) fn forges(&mut self) -> u64 {
        let id = self.number();
        self.forged.insert(id);
        id
    }

    pub(crate) fn wrong(&mut self, fault: String) {
        self.faults.push(fault);
    }

    /// The edge answered one of our users for good.
    pub(crate) fn answered(&mut self, id: u64, status: u16) {
        match self.out.get_mut(&id) {
            Some(fate) => fate.told.push(status),
            None => self.faults.push(format!("an answer to {id}, which nobody sent")),
        }
    }

    /// A partner's server has a message.
    pub(crate) fn arrived_out(&mut self, id: u64, partner: usize) {
        match self.out.get_mut(&id) {
            Some(fate) if fate.partner == partner => fate.arrived += 1,
            _ => self.faults.push(format!("partner {partner} got {id}, which was not for it")),
        }
    }

    /// Our users' server has a message.
    pub(crate) fn arrived_in(&mut self, id: u64) {
        if self.forged.contains(&id) {
            self.faults.push(format!("{id} was forged and came through"));
        }
        if let Some(fate) = self.inward.get_mut(&id) {
            fate.arrived += 1;
        }
    }

    /// A contact's server was told that a message failed.
    pub(crate) fn bounced_in(&mut self, id: u64) {
        if let Some(fate) = self.inward.get_mut(&id) {
            fate.told.push(500);
        }
    }

    /// A gateway has died, perhaps with messages that it had handed on and nobody had heard of.
    pub(crate) fn gateway_dies(&mut self) {
        for fate in self.inward.values_mut() {
            fate.deaths += 1;
        }
    }

    /// Bytes were lost with the connection they were on.
    pub(crate) fn lost(&mut self, bytes: &[u8]) {
        let marks = |word: &[u8]| {
            let found = memchr::memmem::find_iter(bytes, word).map(|at| at + word.len());
            found.filter_map(|at| number_at(&bytes[at..])).collect::<Vec<u64>>()
        };
        for id in marks(b"out") {
            if let Some(fate) = self.out.get_mut(&id) {
                fate.excused = true;
            }
        }
        for id in marks(b"in") {
            if let Some(fate) = self.inward.get_mut(&id) {
                fate.excused = true;
            }
        }
    }

    /// Whoever asked is gone, and what is not answered will not be.
    pub(crate) fn excuse_unanswered(&mut self) {
        for fate in self.out.values_mut().filter(|fate| fate.told.is_empty()) {
            fate.excused = true;
        }
    }

    /// A partner cannot be told of failures, or the process that knew of its messages has died.
    pub(crate) fn excuse_in(&mut self, of: impl Fn(usize) -> bool) {
        let open = |fate: &&mut Fate| fate.arrived == 0 && fate.told.is_empty();
        for fate in self.inward.values_mut().filter(open).filter(|fate| of(fate.partner)) {
            fate.excused = true;
        }
    }

    /// Judges the run. `tame`: nothing went wrong on purpose.
    pub(crate) fn judge(&self, tame: bool) -> Result<Totals, String> {
        if let Some(fault) = self.faults.first() {
            return Err(fault.clone());
        }
        let mut totals = Totals::default();
        for (id, fate) in &self.out {
            let Fate { told, arrived, excused, .. } = fate;
            match told.as_slice() {
                // Nobody answers a request other than INVITE late (RFC 4320 section 4.2): whoever
                // sent it has given up, and knows it.
                [] if tame => return Err(format!("out{id} was never answered")),
                [] => totals.given_up += u64::from(!*excused),
                [200] if *arrived == 0 && !*excused => {
                    return Err(format!("out{id} was lost and answered with 200"));
                }
                [_, _, ..] => return Err(format!("out{id} was answered with {told:?}")),
                _ => {}
            }
            if tame && (told[..] != [200] || *arrived != 1) {
                return Err(format!("out{id}: {told:?}, arrived {arrived} times"));
            }
            totals.add(fate);
        }
        for (id, fate) in &self.inward {
            let Fate { told, arrived, deaths, excused, .. } = fate;
            if *arrived == 0 && told.is_empty() && !*excused {
                return Err(format!("in{id} was lost and nobody told"));
            }
            if *arrived > deaths + 1 {
                return Err(format!("in{id} arrived {arrived} times with {deaths} gateways dead"));
            }
            if tame && (!told.is_empty() || *arrived != 1) {
                return Err(format!("in{id}: {told:?}, arrived {arrived} times"));
            }
            totals.add(fate);
        }
        Ok(totals)
    }
}

impl Totals {
    fn add(&mut self, fate: &Fate) {
        self.arrived += u64::from(fate.arrived > 0);
        self.refused += u64::from(fate.arrived == 0 && !fate.told.is_empty());
        self.excused += u64::from(fate.arrived == 0 && fate.told.is_empty());
    }

    pub(crate) fn sum(&mut self, other: Self) {
        self.arrived += other.arrived;
        self.refused += other.refused;
        self.excused += other.excused;
        self.given_up += other.given_up;
    }
}

/// Reads the number behind the word of a mark.
pub(crate) fn number_at(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits > 0 && bytes.get(digits) == Some(&b'.');
    std::str::from_utf8(bytes.get(..digits).filter(|_| whole)?).ok()?.parse().ok()
}

/// Finds the mark of that word in a text.
pub(crate) fn mark(text: &str, word: &str) -> Option<u64> {
    let mut found = memchr::memmem::find_iter(text.as_bytes(), word.as_bytes());
    found.find_map(|at| number_at(&text.as_bytes()[at + word.len()..]))
}

/// The oracle complains where it should, and only there.
pub(crate) fn notices_silent_losses() {
    let mut oracle = Oracle::default();
    let (out, inward) = (oracle.sends_out(0), oracle.sends_in(1));
    assert!(oracle.judge(true).unwrap_err().contains("never answered"));
    oracle.answered(out, 200);
    assert!(oracle.judge(false).unwrap_err().contains("answered with 200"));
    oracle.lost(format!("<body>out{out}.</body>").as_bytes());
    assert!(oracle.judge(false).unwrap_err().contains(&format!("in{inward}")));
    oracle.bounced_in(inward);
    assert_eq!(oracle.judge(false).map(|totals| totals.refused), Ok(2));
    assert!(oracle.judge(true).is_err(), "without faults everything arrives");
    oracle.arrived_in(inward);
    oracle.arrived_in(inward);
    assert!(oracle.judge(false).unwrap_err().contains("2 times"));
    oracle.gateway_dies();
    assert!(oracle.judge(false).is_ok());
    let forged = oracle.forges();
    oracle.arrived_in(forged);
    assert!(oracle.judge(false).unwrap_err().contains("forged"));
}
