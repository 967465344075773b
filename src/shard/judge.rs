//! Judging peers again: after new certificates or revocation lists, and as time passes.
//!
//! Each publication is an edition of the material. A leg judged by another one is judged again
//! before its next message in either direction; a sweep of few legs a turn comes to the silent
//! ones. Where only the fetched lists are other ones it is looked up in them, and no signature is
//! verified. What becomes of it: it stays, it stays as somebody of whom something else is known
//! ([`Core::leg_judged`]), or it is closed with its rule.

use std::sync::Arc;

use super::Shard;
use super::close::{Why, class_text};
use super::counters::Count;
use super::legs::State;
use super::network::Network;
use crate::edge::{Core, LegId, Severity};
use crate::limits;
use crate::policy::{PeerNames, RevocationState};
use crate::poll::Poller;
use crate::time::{Monotonic, Now};

/// Places looked at in one turn when no signature has to be verified.
const LOOKS_PER_TURN_MAX: usize = 512;
/// Legs looked up in new lists that cost a turn as much as one that is judged in full.
const LOOKUPS_PER_JUDGEMENT: usize = 16;

/// A walk over all legs, a few in each turn.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// The next place, while one is under way.
    next: Option<u32>,
    /// When the next walk for expired chains begins.
    again_at: Option<Monotonic>,
}

impl Sweep {
    pub(super) const fn start_judging(&mut self) {
        self.next = Some(0);
    }

    pub(super) const fn running(&self) -> bool {
        self.next.is_some()
    }

    pub(super) const fn next_deadline(&self) -> Option<Monotonic> {
        self.again_at
    }
}

impl<P: Poller, N: Network, C: Core> Shard<P, N, C> {
    /// Returns whether the leg may go on; judges it again if its material is not the one in force.
    ///
    /// Called before each message in either direction, so a peer whose certificate was revoked has
    /// none passed on after the reload, even before the sweep comes to it.
    pub(super) fn still_trusted(&mut self, now: Now, id: LegId) -> bool {
        let Some(leg) = self.legs.get_mut(id) else { return false };
        let State::Established(established) = &mut leg.state else { return true };
        if established.judged == self.material.edition() || established.ending.is_some() {
            return true;
        }
        let session = &mut established.secure.session;
        // Under the same anchors the path that was found stands, and its signatures with it.
        let outcome = if self.material.has_anchors_of(established.judged) {
            self.counters.add(Count::RevocationLookups, 1);
            session.rejudge_lists(self.material.trust(), now.unix_s)
        } else {
            self.counters.add(Count::Rejudgements, 1);
            session.rejudge(self.material.trust(), now.unix_s)
        };
        match outcome {
            Ok(changed) => {
                established.judged = self.material.edition();
                if let Some(names) = changed {
                    let names = self.names.shared(names);
                    established.secure.session.share_peer(|_| Arc::clone(&names));
                    self.reclass(now, id, names);
                }
                true
            }
            Err(fault) => match established.secure.session.doubted(fault) {
                Ok(doubt) => {
                    established.judged = self.material.edition();
                    if let Some(doubt) = doubt {
                        self.doubt(now, id, doubt);
                    }
                    true
                }
                Err(fault) => {
                    // Nothing more is sealed for it either: what is staged was meant for a peer
                    // that counted.
                    self.fault(now, id, fault);
                    self.run_commands(now);
                    false
                }
            },
        }
    }

    /// Tells the core that a peer which need not prove who it is does not prove it any more.
    fn doubt(&mut self, now: Now, id: LegId, doubt: Arc<str>) {
        let Some(leg) = self.legs.get(id) else { return };
        let sentence = format!(
            "{} leg with {} is judged again: its certificate proves nothing any more: {doubt}",
            class_text(leg.class),
            leg.remote
        );
        self.note(id, Severity::Warn, sentence);
        self.core.leg_doubted(now, id, doubt, &mut self.effects);
        self.run_commands(now);
    }

    /// Has the lists fetched that are lacking for the chain of a partner that came to us.
    pub(super) fn want_lists(&mut self, now: Now, id: LegId) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let State::Established(established) = &mut leg.state else { return };
        established.secure.session.want_lists(self.material.trust(), now.unix_s);
    }

    /// Tells the core that something else is known of a peer than when its leg was opened.
    fn reclass(&mut self, now: Now, id: LegId, names: Arc<PeerNames>) {
        let Some(leg) = self.legs.get(id) else { return };
        let (severity, known) = match names.revocation {
            RevocationState::Good => (Severity::Info, "its whole chain is known not to be revoked"),
            RevocationState::Unknown => {
                (Severity::Warn, "no list in force says any more whether its chain is revoked")
            }
        };
        let peer = names.dns_names.first().map(|name| format!(" ({name})")).unwrap_or_default();
        let class = class_text(leg.class);
        let sentence = format!("{class} leg with {}{peer} is judged again: {known}", leg.remote);
        self.note(id, severity, sentence);
        self.core.leg_judged(now, id, names, &mut self.effects);
        self.run_commands(now);
    }

    /// Goes on with the walk, or begins one when it is time.
    pub(super) fn sweep_legs(&mut self, now: Now) {
        if self.legs.len() == 0 {
            self.sweep = Sweep::default();
            return;
        }
        let again_at =
            self.sweep.again_at.get_or_insert(now.monotonic.plus_ms(limits::EXPIRY_SWEEP_MS));
        if *again_at <= now.monotonic {
            *again_at = now.monotonic.plus_ms(limits::EXPIRY_SWEEP_MS);
            self.sweep.next.get_or_insert(0);
        }
        let spent = |shard: &Self| {
            shard.counters.count(Count::Rejudgements) as usize * LOOKUPS_PER_JUDGEMENT
                + shard.counters.count(Count::RevocationLookups) as usize
        };
        let before = spent(self);
        for _ in 0..LOOKS_PER_TURN_MAX {
            let Some(place) = self.sweep.next else { return };
            if spent(self) - before >= limits::REJUDGEMENTS_PER_TURN_MAX * LOOKUPS_PER_JUDGEMENT {
                return;
            }
            self.sweep.next = (place + 1 < self.legs.places()).then_some(place + 1);
            let Some(id) = self.legs.at(place) else { continue };
            if self.still_trusted(now, id) {
                self.end_if_expired(now, id);
            }
        }
    }

    fn end_if_expired(&mut self, now: Now, id: LegId) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let State::Established(established) = &leg.state else { return };
        let peer = established.secure.session.peer();
        if peer.is_some_and(|names| names.expires_unix_s < now.unix_s) {
            self.end(id, Why::Expired);
        }
    }
}
