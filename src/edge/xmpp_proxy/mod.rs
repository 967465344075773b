//! The XMPP proxy at the border: streams with the servers of partners on one side, links with the
//! gateways on the other (wire-protocols C, lync-federation 7).

pub mod counters;

use std::sync::Arc;

use self::counters::Counters;
use super::{
    CloseReason, Command, ConnectFailure, Core, Drain, Effects, Fed, LegId, Lost, Mail, Note,
    Opened, OutletId, Severity,
};
use crate::dns::SharedAnswer;
use crate::policy::Snapshot;
use crate::time::{Monotonic, Now};
use crate::xmpp::dialback;

/// What an XMPP proxy is made from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Random per process; fixed in a simulation.
    pub process_key: [u64; 2],
    /// The pool's secrets for dialback keys; those that roll out are still accepted.
    pub secrets: dialback::Secrets,
    /// Seed of the generator that orders targets and spreads attempts.
    pub seed: u64,
    /// Stanzas of one partner in a second, in the long run; twice as many may come at once.
    pub partner_stanzas_per_s: u32,
    /// Bytes of stanzas of one partner in a second, likewise.
    pub partner_bytes_per_s: u32,
}

impl Setup {
    /// Returns the setup of a proxy that is its pool alone.
    ///
    /// Both secrets are the caller's, and as secret as what it does with the proxy demands.
    #[must_use]
    pub fn single(process_key: [u64; 2], secret: &[u8]) -> Self {
        Self {
            process_key,
            secrets: dialback::Secrets::new(secret, &[]),
            seed: process_key[0],
            partner_stanzas_per_s: 2_000,
            partner_bytes_per_s: 8 * 1024 * 1024,
        }
    }
}

/// The XMPP proxy of one process.
#[derive(Debug)]
pub struct XmppProxy {
    setup: Setup,
    snapshot: Arc<Snapshot>,
    counters: Counters,
}

impl XmppProxy {
    /// Returns a proxy without streams.
    #[must_use]
    pub fn new(setup: Setup, snapshot: Arc<Snapshot>) -> Self {
        Self { setup, snapshot, counters: Counters::default() }
    }

    /// Returns what the proxy was made from.
    #[must_use]
    pub const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Returns what was counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl Core for XmppProxy {
    fn leg_opened(&mut self, _: Now, leg: LegId, _: Opened, effects: &mut Effects) {
        let sentence = "closing the stream: XMPP streams are not served yet".to_owned();
        let epoch = self.snapshot.epoch;
        effects.commands.push(Command::Note(Note {
            leg: Some(leg),
            severity: Severity::Warn,
            sentence,
            decision_id: 0,
            epoch,
        }));
        effects.commands.push(Command::Close { leg, reason: CloseReason::NotPermitted });
    }

    fn feed(&mut self, _: Now, _: LegId, _: &[u8], _: &mut Effects) -> Fed {
        Fed::Dead
    }

    fn leg_closed(&mut self, _: Now, _: LegId, _: Lost, _: usize, _: &mut Effects) {}

    fn connect_failed(&mut self, _: Now, _: OutletId, _: ConnectFailure, _: &mut Effects) {}

    fn resolved(&mut self, _: Now, _: SharedAnswer, _: &mut Effects) {}

    fn mail(&mut self, _: Now, _: Mail, _: &mut Effects) {}

    fn mail_refused(&mut self, _: Now, _: u16, _: Mail, _: &mut Effects) {}

    fn adopt(&mut self, _: Now, snapshot: Arc<Snapshot>, _: &mut Effects) -> Arc<Snapshot> {
        std::mem::replace(&mut self.snapshot, snapshot)
    }

    fn drain(&mut self, _: Now, _: Drain, _: &mut Effects) {}

    fn expire(&mut self, _: Now, _: &mut Effects) {}

    fn next_deadline(&self) -> Option<Monotonic> {
        None
    }

    fn pending(&self) -> usize {
        0
    }
}
