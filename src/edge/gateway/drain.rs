//! The end of the gateway, in order: dialogs are ended so that the other side begins them anew
//! elsewhere, a few in each second, and what people have decided stays in the store.

use super::Gateway;
use super::watch::Ending;
use crate::edge::{CloseReason, Command, Drain, Effects};
use crate::limits;
use crate::time::Now;

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draining {
    No,
    /// Nothing new is begun.
    Notice,
    /// What there is ends.
    Closing,
    /// Everything has been closed.
    Over,
}

impl Gateway {
    pub(super) fn is_draining(&self) -> bool {
        self.draining != Draining::No
    }

    pub(super) fn is_closing(&self) -> bool {
        matches!(self.draining, Draining::Closing | Draining::Over)
    }

    pub(super) fn begin_drain(&mut self, now: Now, stage: Drain) {
        self.draining = match (stage, self.draining) {
            (_, Draining::Over) => Draining::Over,
            (Drain::Notice, Draining::Closing) => Draining::Closing,
            (Drain::Notice, _) => Draining::Notice,
            (Drain::Closing, _) => Draining::Closing,
        };
        self.chores_at = now.monotonic;
    }

    /// Ends some dialogs; when none is left and nothing waits, links and connections.
    pub(super) fn drain_some(&mut self, now: Now, effects: &mut Effects) {
        if self.draining != Draining::Closing {
            return;
        }
        let mut left = limits::GATEWAY_ENDINGS_PER_CHORE_MAX;
        for key in self.chats.keys().into_iter().take(left) {
            self.end_chat(now, key, effects);
            left -= 1;
        }
        for key in self.watches.keys().into_iter().take(left) {
            self.end_watch(now, key, Ending::Deactivated, effects);
            left -= 1;
        }
        for key in self.subscriptions.keys().into_iter().take(left) {
            // The contact is told nothing: he still may see our user.
            self.leave_subscription(now, key, effects);
        }
        let dialogs = self.chats.len() + self.watches.len() + self.subscriptions.len();
        let waits = self.clients.len() + self.servers.len() + self.waiting.len();
        if dialogs + waits == 0 {
            self.close_everything(effects);
        }
    }

    fn close_everything(&mut self, effects: &mut Effects) {
        self.draining = Draining::Over;
        for at in 0..self.edges.len() {
            if let Some(leg) = self.edges.get(at).and_then(super::links::Edge::leg) {
                self.end_link(leg, at, None, effects);
            }
        }
        for (leg, held) in &self.legs {
            if matches!(held, super::peers::Held::Sip { .. }) {
                let reason = CloseReason::Draining;
                effects.commands.push(Command::Close { leg: *leg, reason });
            }
        }
    }
}
