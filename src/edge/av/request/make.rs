//! Making an allocation once its ports are open, and the answer that tells of it; of both dialects.

use std::net::SocketAddr;

use super::prove;
use crate::edge::av::allocation::{Allocation, Spoken};
use crate::edge::av::table::Holding;
use crate::edge::av::{Answering, Carrier, Given, Output, Pending, Relay, Step, microsoft};
use crate::stun::{AttributeType, Builder, Class, ErrorCode, Method, TransactionId, Type};
use crate::time::Now;

impl Relay {
    /// Makes the allocation at once where its sockets are open, else asks for them.
    pub(in crate::edge::av) fn make<'a>(
        &mut self,
        now: Now,
        pending: Pending,
        out: &mut Output,
    ) -> Step<'a> {
        let (carrier, ports) = (pending.allocation.carrier(), &pending.allocation.ports);
        out.opens.clear();
        match (self.holding, carrier) {
            (Holding::Alone, _) => out.opens.extend_from_slice(ports),
            // Those for datagrams are there from the start on.
            (Holding::Shared, Carrier::Udp) => {}
            (Holding::Shared, Carrier::Tcp) => out.opens.extend(self.connections.unopened(ports)),
        }
        if out.opens.is_empty() {
            self.finish(now, pending, out);
            return Step::Answer;
        }
        self.pending = Some(pending);
        Step::Open(carrier)
    }

    /// The shell has opened the ports of [`Output::opens`], or could not; the answer is in `out`.
    ///
    /// # Panics
    /// If nothing was to be opened.
    pub fn opened<'a>(&mut self, now: Now, opened: Opened, out: &mut Output) -> Step<'a> {
        let pending = self.pending.take().expect("ports are opened because they were asked for");
        match opened {
            Opened::All => self.finish(now, pending, out),
            Opened::Failed => {
                self.counters.errors.count(508);
                for port in &pending.allocation.ports {
                    self.pools[usize::from(port.address)].give(port.port);
                }
                self.write_exhausted(&pending, out);
            }
        }
        Step::Answer
    }

    fn finish(&mut self, now: Now, pending: Pending, out: &mut Output) {
        let Pending { mut allocation, domain, lifetime_s, given, request } = pending;
        allocation.until = now.monotonic.plus_ms(u64::from(lifetime_s) * 1_000);
        let until = allocation.until;
        match request {
            Answering::Rfc(transaction) => {
                self.write_allocated(&allocation, transaction, lifetime_s, given, out);
            }
            Answering::Ms { transaction, sequence } => {
                self.counters.ms_allocations += 1;
                self.microsoft += 1;
                self.write_ms_allocated(&allocation, transaction, sequence, lifetime_s, out);
            }
        }
        let of_tcp = match allocation.carrier() {
            Carrier::Udp => None,
            Carrier::Tcp => Some((allocation.ports.clone(), allocation.share.user())),
        };
        let index = self.table.insert(allocation, self.holding);
        if let Some((ports, user)) = of_tcp {
            self.connections.listen(&ports, index, self.holding);
            self.counters.tcp_allocations += 1;
            if self.holding == Holding::Shared {
                ports.iter().for_each(|port| self.claims.enter(user, *port));
            }
        }
        if let Some(domain) = domain {
            self.domains.insert(index, domain);
        }
        if let Some(ticket) = given.ticket {
            self.tickets.give(index, ticket);
        }
        self.wheel.start(index, until);
        self.counters.allocations += 1;
    }

    fn write_exhausted(&self, pending: &Pending, out: &mut Output) {
        out.answer.clear();
        match (&pending.allocation.spoken, pending.request) {
            (Spoken::Rfc { key, hash, .. }, Answering::Rfc(transaction)) => {
                let kind = Type { method: Method::ALLOCATE, class: Class::Error };
                let mut answer = Builder::new(&mut out.answer, kind, transaction);
                answer.error(ErrorCode(508));
                prove(&mut answer, key, *hash);
            }
            (Spoken::Ms { key, .. }, Answering::Ms { transaction, .. }) => {
                microsoft::write_error(&mut out.answer, transaction, 508, Some(key));
            }
            _ => unreachable!("an allocation is answered as it was asked for"),
        }
    }

    pub(super) fn write_allocated(
        &self,
        allocation: &Allocation,
        transaction: TransactionId,
        lifetime_s: u32,
        given: Given,
        out: &mut Output,
    ) {
        let Spoken::Rfc { key, hash, .. } = &allocation.spoken else {
            unreachable!("an allocation is answered as it was asked for")
        };
        out.answer.clear();
        let kind = Type { method: Method::ALLOCATE, class: Class::Success };
        let mut answer = Builder::new(&mut out.answer, kind, transaction);
        for port in &allocation.ports {
            let public = self.setup.relayed[usize::from(port.address)].public;
            let relayed = SocketAddr::new(public, port.port);
            answer.xor_address(AttributeType::XOR_RELAYED_ADDRESS, relayed);
        }
        answer.number(AttributeType::LIFETIME, lifetime_s);
        answer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, allocation.client.remote);
        if let Some((family, number)) = given.lacks {
            answer.address_error(family, ErrorCode(number));
        }
        if let Some(token) = given.reserved {
            answer.attribute(AttributeType::RESERVATION_TOKEN, &token);
        }
        if let Some(ticket) = given.ticket {
            answer.attribute(AttributeType::MOBILITY_TICKET, &ticket);
        }
        prove(&mut answer, key, *hash);
    }
}

/// What became of [`Output::opens`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Every port is open.
    All,
    /// One could not be opened; none is.
    Failed,
}
