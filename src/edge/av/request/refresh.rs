//! Refresh (RFC 8656 section 8).

use super::{Proven, Refused, seal};
use crate::edge::av::{Arrival, Carrier, Client, Output, Relay, RelayPort, Step};
use crate::limits;
use crate::stun::{AttributeType, Builder, Class, Family, Message, Method, Type};
use crate::time::{Monotonic, Now};

impl Relay {
    /// RFC 8656 section 8.2.
    pub(super) fn refresh<'a>(
        &mut self,
        now: Now,
        arrival: &Arrival<'_>,
        proven: &Proven<'_>,
        out: &mut Output,
    ) -> Result<Step<'a>, Refused> {
        let message = proven.message;
        let index = match self.table.of_client(&arrival.client) {
            Some(index) => index,
            None => self.moved(now, arrival, proven)?,
        };
        let port = match message.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY) {
            None => None,
            Some(family) => {
                let family = family.value.first().copied().and_then(Family::of);
                let of =
                    |port: &RelayPort| Some(self.families[usize::from(port.address)]) == family;
                let allocation = self.table.get(index).ok_or(437_u16)?;
                Some(allocation.ports.iter().copied().find(of).ok_or(443_u16)?)
            }
        };
        let asked = message.attribute(AttributeType::LIFETIME).and_then(|asked| asked.number());
        let granted_s = if asked == Some(0) { 0 } else { lifetime(message) };
        if granted_s == 0 {
            // One address of two ends alone (section 8.1).
            match port.filter(|_| self.is_dual(index)) {
                Some(port) => self.end_port(index, port, out),
                None => self.end(index, out),
            }
        } else {
            let until = now.monotonic.plus_ms(u64::from(granted_s) * 1_000);
            if let Some(allocation) = self.table.get_mut(index) {
                allocation.until = until;
            }
            self.wheel.start(index, until);
        }
        out.answer.clear();
        let kind = Type { method: Method::REFRESH, class: Class::Success };
        let mut answer = Builder::new(&mut out.answer, kind, message.transaction());
        answer.number(AttributeType::LIFETIME, granted_s);
        let shown = message.attribute(AttributeType::MOBILITY_TICKET).filter(|_| granted_s > 0);
        let next = shown
            .and_then(|shown| self.tickets.renew(now.monotonic, index, shown.value, &mut self.rng));
        if let Some(ticket) = next {
            answer.attribute(AttributeType::MOBILITY_TICKET, &ticket);
        }
        seal(&mut answer, proven);
        Ok(Step::Answer)
    }

    /// RFC 8016 section 3.2: the allocation that a ticket names goes on with whoever shows it, if
    /// he is its user. It moves at once, since its old address may be gone.
    fn moved(
        &mut self,
        now: Now,
        arrival: &Arrival<'_>,
        proven: &Proven<'_>,
    ) -> Result<u32, Refused> {
        let ticket = proven.message.attribute(AttributeType::MOBILITY_TICKET).ok_or(437_u16)?;
        let index = self.tickets.owner(now.monotonic, ticket.value).ok_or(400_u16)?;
        let allocation = self.table.get(index).ok_or(437_u16)?;
        if allocation.owner != proven.owner {
            return Err(441.into());
        }
        // What its clients may be holds of one that comes later as well. What was permitted was
        // judged by the rules of the side that it was on.
        let side = |client: Client| self.setup.peers.side(client.listener);
        let elsewhere = side(allocation.client) != side(arrival.client);
        if elsewhere || self.is_relays(arrival.client.remote) {
            return Err(403.into());
        }
        if let Some(allocation) = self.table.get_mut(index) {
            allocation.share.moved(arrival.client.remote.ip());
        }
        self.table.moved(index, arrival.client);
        Ok(index)
    }

    /// Tells whether an allocation has an address of each family, for datagrams.
    fn is_dual(&self, index: u32) -> bool {
        let dual =
            self.table.get(index).map(|of| of.ports.len() > 1 && of.carrier() == Carrier::Udp);
        dual.unwrap_or_default()
    }

    /// Returns the allocation whose ticket a Refresh shows.
    pub(super) fn owner_shown(&self, now: Monotonic, message: Message<'_>) -> Option<u32> {
        if message.kind().method != Method::REFRESH {
            return None;
        }
        let ticket = message.attribute(AttributeType::MOBILITY_TICKET)?;
        self.tickets.owner(now, ticket.value)
    }
}

/// Returns the seconds to grant (RFC 8656 section 7.2): what is asked, within bounds.
pub(super) fn lifetime(message: Message<'_>) -> u32 {
    let asked = message.attribute(AttributeType::LIFETIME).and_then(|asked| asked.number());
    asked.unwrap_or(0).clamp(limits::TURN_LIFETIME_S, limits::TURN_LIFETIME_S_MAX)
}
