//! What nothing may exceed while it runs, and what must be left when nobody comes any more.

use entente::edge::Core;
use entente::limits;

use super::inside::Who;
use super::{EVENTS_MAX, RUN_MS, World};

/// By then every subscription, session, pause and stream has run out.
const OVER_MS: u64 = 1_000_000;
/// Contacts, dialogs and sessions that the workload can make, with room.
const HELD_MAX: usize = 400;

impl World {
    /// Nothing grows beyond its bounds.
    pub(super) fn is_bounded(&mut self) {
        let streams = self.inside.proxy.streams();
        let per_partner = usize::from(entente::policy::XmppLimits::default().partner_connections);
        let most = limits::XMPP_HALF_OPEN_MAX + self.partners.len() * per_partner;
        assert!(streams <= most, "{streams} streams");
        assert!(self.inside.proxy.queued_bytes() <= limits::XMPP_QUEUES_BYTES_MAX);
        let held = self.inside.gateway.held();
        assert!(held.iter().all(|count| *count <= HELD_MAX), "the gateway holds {held:?}");
        for who in Who::ALL {
            let process = self.inside.process(who);
            let legs: Vec<_> = process.legs.keys().copied().collect();
            for leg in legs {
                let backlog = process.effects.backlog(leg).unwrap_or(0);
                assert!(backlog <= limits::LEG_OUT_BYTES_MAX, "{who:?} has {backlog} bytes to say");
            }
        }
    }

    /// Everybody goes away for good: whatever waited ends by itself.
    pub(super) fn ends(&mut self) -> Result<(), String> {
        self.over = true;
        for connection in self.open_connections().into_keys() {
            self.cut(connection);
        }
        while !self.is_quiet() {
            if self.agenda.now_ms > RUN_MS + OVER_MS {
                let held = self.inside.gateway.held();
                let pending = (
                    self.inside.access.pending(),
                    self.inside.gateway.pending(),
                    self.inside.proxy.pending(),
                );
                let next = self.inside.proxy.next_deadline();
                return Err(format!("left over: {pending:?}, {held:?}, timers {next:?}"));
            }
            let Some(event) = self.agenda.next() else { break };
            self.events += 1;
            assert!(self.events < EVENTS_MAX, "a run is bounded");
            self.happen(event);
        }
        Ok(())
    }

    fn is_quiet(&self) -> bool {
        let inside = &self.inside;
        // Contacts stay known by what was authorised, which is the gateway's to remember.
        let [_, watches, subscriptions, chats] = inside.gateway.held();
        inside.access.pending() + inside.gateway.pending() + inside.proxy.pending() == 0
            && (watches, subscriptions, chats) == (0, 0, 0)
            && (inside.proxy.streams(), inside.proxy.queued_bytes()) == (0, 0)
            && inside.proxy.next_deadline().is_none()
    }
}
