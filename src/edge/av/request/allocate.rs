//! Allocate (RFC 8656 section 7): who may have an address, and which.

use std::net::SocketAddr;

use smallvec::SmallVec;

use super::refresh::lifetime;
use super::{Proven, Refused};
use crate::edge::av::accounts::{Beyond, Holder, Share};
use crate::edge::av::allocation::{Allocation, Spoken};
use crate::edge::av::mobility::new_ticket;
use crate::edge::av::ports::{RelayPort, Reservation, Wanted};
use crate::edge::av::table::Holding;
use crate::edge::av::{
    Admission, Answering, Arrival, Carrier, Given, Output, Pending, Relay, Step, Transport, next,
    random_id,
};
use crate::limits;
use crate::stun::{AttributeType, Family, Message};
use crate::time::{Monotonic, Now};

const UDP: u8 = 17;
const TCP: u8 = 6;

/// The relayed ports of an allocation, the token of the port that was reserved beside it, and the
/// one of two families that there is none of, with the error for it.
type TakenPorts = (SmallVec<[RelayPort; 2]>, Option<[u8; 8]>, Option<(Family, u16)>);

impl Relay {
    /// RFC 8656 section 7.2.
    pub(super) fn allocate<'a>(
        &mut self,
        now: Now,
        arrival: &Arrival<'_>,
        proven: &Proven<'_>,
        out: &mut Output,
    ) -> Result<Step<'a>, Refused> {
        let message = proven.message;
        if let Some(index) = self.table.of_client(&arrival.client) {
            return self.allocated_before(now, index, proven, out);
        }
        let source = arrival.client.remote.ip();
        let holder = Holder { user: proven.user, partner: proven.partner, source };
        // What is counted from here on counts no more where something else is missing.
        let mut share = self.admitted(arrival, &holder)?;
        let carrier = self.carrier(arrival, message)?;
        if carrier == Carrier::Tcp {
            share.carry_tcp(&self.setup.quotas).map_err(|_| 508_u16)?;
        }
        // RFC 8016 section 3.1.2. TCP connections stay where they are.
        let asked = message.attribute(AttributeType::MOBILITY_TICKET);
        match asked {
            Some(asked) if !asked.value.is_empty() => return Err(400.into()),
            Some(_) if carrier == Carrier::Tcp => return Err(405.into()),
            _ => {}
        }
        let ticket = asked.is_some().then(|| new_ticket(&mut self.rng));
        let (ports, reserved, lacks) =
            self.take_ports(now.monotonic, message, proven.user, carrier)?;
        let spoken =
            Spoken::Rfc { key: proven.key, born: message.transaction(), hash: proven.hash };
        let bandwidth = self.bandwidth(now.monotonic);
        let client = arrival.client;
        let allocation = Allocation::new(client, spoken, proven.owner, share, ports, bandwidth);
        let username = message.attribute(AttributeType::USERNAME).map_or(&[][..], |it| it.value);
        let pending = Pending {
            allocation,
            domain: self.setup.credentials.domain(username),
            lifetime_s: lifetime(message),
            given: Given { reserved, ticket, lacks },
            request: Answering::Rfc(message.transaction()),
        };
        Ok(self.make(now, pending, out))
    }

    /// Returns what peers are to be reached by (RFC 8656 section 7.2, RFC 6062 section 5.1).
    fn carrier(&self, arrival: &Arrival<'_>, message: Message<'_>) -> Result<Carrier, u16> {
        let transport = message.attribute(AttributeType::REQUESTED_TRANSPORT);
        match transport.map(|transport| transport.value) {
            Some([UDP, _, _, _]) => Ok(Carrier::Udp),
            Some([TCP, _, _, _]) => {
                let not_with_tcp = [AttributeType::EVEN_PORT, AttributeType::RESERVATION_TOKEN];
                let has = |kind: &AttributeType| message.attribute(*kind).is_some();
                if self.setup.quotas.tcp_allocations == 0 {
                    Err(442)
                } else if arrival.client.transport == Transport::Udp || not_with_tcp.iter().any(has)
                {
                    Err(400)
                } else {
                    Ok(Carrier::Tcp)
                }
            }
            Some([_, _, _, _]) => Err(442),
            Some(_) | None => Err(400),
        }
    }

    /// A second request of the same client: the same one again, or a mistake.
    fn allocated_before<'a>(
        &self,
        now: Now,
        index: u32,
        proven: &Proven<'_>,
        out: &mut Output,
    ) -> Result<Step<'a>, Refused> {
        let Some(allocation) = self.table.get(index) else { return Err(437.into()) };
        let Spoken::Rfc { born, .. } = &allocation.spoken else { return Err(437.into()) };
        if *born != proven.message.transaction() || allocation.owner != proven.owner {
            return Err(437.into());
        }
        let left = allocation.until.ms_since(now.monotonic) / 1_000;
        let beside = allocation.ports.first().and_then(|port| self.reservations.beside(*port));
        let given = Given { reserved: beside, ticket: self.tickets.of(index), lacks: None };
        self.write_allocated(allocation, *born, left as u32, given, out);
        Ok(Step::Answer)
    }

    /// Counts one allocation more for a client, if it may have it, here.
    pub(in crate::edge::av) fn may_allocate(
        &self,
        arrival: &Arrival<'_>,
        holder: &Holder,
    ) -> Result<Share, (u16, Option<SocketAddr>)> {
        let listener = self.setup.listeners.get(usize::from(arrival.client.listener));
        if let Admission::Draining { alternate } = self.admission {
            // To one of its own family (RFC 8489 section 10), or to its next server.
            let client = Family::of_address(arrival.client.remote.ip());
            let of_client = |server: &SocketAddr| Family::of_address(server.ip()) == client;
            let alternate = alternate.filter(of_client);
            return Err((if alternate.is_some() { 300 } else { 508 }, alternate));
        }
        if let Some(listener) = listener
            && listener.vip == Some(arrival.addressed)
        {
            return Err((300, Some(listener.node)));
        }
        if self.is_relays(arrival.client.remote) {
            return Err((403, None));
        }
        self.accounts.enter(&self.setup.quotas, holder).map_err(|beyond| match beyond {
            Beyond::OfOne => (486, None),
            Beyond::InAll => (508, None),
        })
    }

    fn admitted(&self, arrival: &Arrival<'_>, holder: &Holder) -> Result<Share, Refused> {
        self.may_allocate(arrival, holder).map_err(|refused| match refused {
            (300, Some(server)) => Refused::Alternate(server),
            (number, _) => number.into(),
        })
    }

    /// Takes the ports that a request wants.
    fn take_ports(
        &mut self,
        now: Monotonic,
        message: Message<'_>,
        user: u64,
        carrier: Carrier,
    ) -> Result<TakenPorts, Refused> {
        let value = |kind| message.attribute(kind).map(|attribute| attribute.value);
        let token = value(AttributeType::RESERVATION_TOKEN);
        let even = value(AttributeType::EVEN_PORT);
        let family = value(AttributeType::REQUESTED_ADDRESS_FAMILY);
        let additional = value(AttributeType::ADDITIONAL_ADDRESS_FAMILY);
        if let Some(token) = token {
            // The token says it all (RFC 8656 section 7.2, step 5).
            if even.is_some() || family.is_some() || additional.is_some() {
                return Err(400.into());
            }
            let port = self.reservations.claim(token, user).ok_or(508_u16)?;
            return Ok((SmallVec::from_slice(&[port]), None, None));
        }
        let families = families(family, additional)?;
        let wanted = match even {
            None => Wanted::Any,
            Some([bits, ..]) if bits & 0x80 != 0 => Wanted::EvenWithNext,
            Some([_, ..]) => Wanted::Even,
            Some([]) => return Err(400.into()),
        };
        // A second address goes with any port; nothing is kept beside two (section 7.2, step 8).
        if families.len() > 1 && wanted == Wanted::EvenWithNext {
            return Err(400.into());
        }
        let mut ports = SmallVec::new();
        let mut lacks = None;
        for family in &families {
            let taken = match (self.holding, carrier) {
                (Holding::Shared, Carrier::Tcp) => self.take_door(now, *family, user),
                _ => self.take_port(*family, wanted),
            };
            match taken {
                Ok(port) => ports.push(port),
                Err(number) => lacks = Some((*family, number)),
            }
        }
        // One of two is better than none (step 9).
        if let (true, Some((_, number))) = (ports.is_empty(), lacks) {
            return Err(if families.len() > 1 { 508 } else { number }.into());
        }
        let reserved = match (wanted, ports.first()) {
            (Wanted::EvenWithNext, Some(&port)) => Some(self.reserve(now, port, user)?),
            _ => None,
        };
        Ok((ports, reserved, lacks))
    }

    pub(in crate::edge::av) fn take_port(
        &mut self,
        family: Family,
        wanted: Wanted,
    ) -> Result<RelayPort, u16> {
        let place = self.families.iter().position(|known| *known == family).ok_or(440_u16)?;
        let random = next(&mut self.rng) as u32;
        let port = self.pools[place].take(wanted, random).ok_or(508_u16)?;
        Ok(RelayPort { address: place as u8, port })
    }

    /// Takes a shared port for TCP, one where the user has little: whom he talks to from one
    /// allocation he likely talks to from the next, and at each port a peer is one allocation's.
    fn take_door(&mut self, now: Monotonic, family: Family, user: u64) -> Result<RelayPort, u16> {
        let place = self.families.iter().position(|known| *known == family).ok_or(440_u16)?;
        let at = |port| RelayPort { address: place as u8, port };
        let weight = |port| self.claims.weight(user, at(port));
        let port = self.pools[place].take_door(now, None, weight).ok_or(508_u16)?;
        Ok(at(port))
    }

    /// Keeps the port above `port`, which was taken with it.
    fn reserve(&mut self, now: Monotonic, port: RelayPort, user: u64) -> Result<[u8; 8], Refused> {
        let token = random_id(&mut self.rng);
        let next = RelayPort { port: port.port + 1, ..port };
        let until = now.plus_ms(limits::TURN_RESERVATION_MS);
        let kept = self.reservations.keep(Reservation { token, port: next, user, until });
        if kept.is_err() {
            let pool = &mut self.pools[usize::from(port.address)];
            pool.give(next.port);
            pool.give(port.port);
            return Err(508.into());
        }
        Ok(token)
    }
}

/// Returns which families are asked for, the first one being the one that must be there.
fn families(
    requested: Option<&[u8]>,
    additional: Option<&[u8]>,
) -> Result<SmallVec<[Family; 2]>, Refused> {
    match (requested, additional) {
        (Some(_), Some(_)) => Err(400.into()),
        (None, None) => Ok(SmallVec::from_slice(&[Family::V4])),
        (Some([family, ..]), None) => {
            let family = Family::of(*family).ok_or(440_u16)?;
            Ok(SmallVec::from_slice(&[family]))
        }
        (None, Some([family, ..])) if Family::of(*family) == Some(Family::V6) => {
            Ok(SmallVec::from_slice(&[Family::V4, Family::V6]))
        }
        _ => Err(400.into()),
    }
}
