//! Requests of the Microsoft dialect (wire-protocols E.4 to E.6).
//!
//! One request makes, prolongs and ends an allocation. The first one, without proof, is told the
//! realm, a nonce and the address of this very node; sending data to a peer permits its answers;
//! and one peer may be named whose data goes without any header.

use std::net::SocketAddr;

use smallvec::SmallVec;

use super::accounts::Holder;
use super::allocation::{Allocation, Spoken};
use super::errors::Tried;
use super::nonce::Freshness;
use super::peer::Peer;
use super::ports::{RelayPort, Wanted};
use super::{
    Answering, Around, Arrival, Dropped, Given, Output, Pending, Relay, Step, medium, random_id,
};
use crate::limits;
use crate::stun::ms::numbers::{
    BANDWIDTH_KBIT_S, CONNECTION_ID_BYTES, VERSION, VERSION_IPV6, error,
};
use crate::stun::ms::{AttributeType, Builder, Key, Message, MessageType, TransactionId};
use crate::stun::{Family, Proof};
use crate::time::{Monotonic, Now};

/// Attributes that this server understands, of those that must be.
const KNOWN: &[AttributeType] = &[
    AttributeType::MAGIC_COOKIE,
    AttributeType::USERNAME,
    AttributeType::MESSAGE_INTEGRITY,
    AttributeType::LIFETIME,
    AttributeType::BANDWIDTH,
    AttributeType::DESTINATION_ADDRESS,
    AttributeType::DATA,
    AttributeType::NONCE,
    AttributeType::REALM,
    AttributeType::REQUESTED_ADDRESS_FAMILY,
];

/// What a request was refused with.
enum Refused {
    /// This number, to somebody who has proven who he is.
    Proven(u16, Key),
    /// This number, to a stranger.
    Stranger(u16),
    /// Some attributes are not known, to somebody who has proven who he is.
    Unknown(SmallVec<[AttributeType; 8]>, Key),
}

impl Relay {
    /// Serves a message of the dialect.
    pub(super) fn ms_message<'a>(
        &mut self,
        now: Now,
        arrival: Arrival<'a>,
        out: &mut Output,
    ) -> Result<Step<'a>, Dropped> {
        let message = Message::read(arrival.datagram).map_err(|_| Dropped::Malformed)?;
        let done = match message.kind() {
            MessageType::SEND => return self.ms_send(now.monotonic, &arrival, message),
            MessageType::ALLOCATE => self.ms_allocate(now, &arrival, message, out),
            MessageType::SET_ACTIVE_DESTINATION => self.ms_set_active(now, &arrival, message, out),
            _ => return Err(Dropped::Unexpected),
        };
        match done {
            Ok(step) => Ok(step),
            Err(Refused::Proven(number, key)) => {
                self.counters.errors.count(number);
                let kind = error_of(message.kind());
                write_error_of(&mut out.answer, kind, message.transaction(), number, Some(&key));
                Ok(Step::Answer)
            }
            Err(Refused::Unknown(unknown, key)) => {
                self.counters.errors.count(error::UNKNOWN_ATTRIBUTE);
                write_unknown(&mut out.answer, message, &unknown, &key);
                Ok(Step::Answer)
            }
            Err(Refused::Stranger(number)) => {
                self.ms_challenge(now, &arrival, message, number, out)
            }
        }
    }

    fn ms_challenge<'a>(
        &mut self,
        now: Now,
        arrival: &Arrival<'_>,
        message: Message<'_>,
        number: u16,
        out: &mut Output,
    ) -> Result<Step<'a>, Dropped> {
        self.answers(now.monotonic, arrival.client.remote.ip())?;
        let tried = match message.attribute(AttributeType::MESSAGE_INTEGRITY) {
            Some(_) => Tried::Yes,
            None => Tried::No,
        };
        self.counters.errors.count_stranger(number, tried);
        out.answer.clear();
        let kind = error_of(message.kind());
        let mut answer = Builder::new(&mut out.answer, kind, message.transaction());
        answer.number(AttributeType::MS_VERSION, VERSION);
        answer.error(number, "");
        if matches!(number, error::UNAUTHORIZED | error::STALE_NONCE) {
            let nonce = self.nonces.make(now.unix_s, arrival.client.remote);
            answer.attribute(AttributeType::NONCE, &nonce);
            answer.attribute(AttributeType::REALM, self.setup.realm.as_bytes());
            // The next request has to come to this node, whatever address this one came by.
            let listener = self.setup.listeners.get(usize::from(arrival.client.listener));
            let node = listener.map_or(arrival.addressed, |listener| listener.node);
            answer.address(AttributeType::ALTERNATE_SERVER, node);
        }
        assert!(
            out.answer.len() <= limits::MS_TURN_UNAUTHENTICATED_BYTES_MAX,
            "an answer to a stranger is small"
        );
        Ok(Step::Answer)
    }

    /// Finds out who asks.
    fn ms_prove(
        &self,
        now: Now,
        arrival: &Arrival<'_>,
        message: Message<'_>,
    ) -> Result<(Key, u64, Option<u64>), Refused> {
        let value = |kind| message.attribute(kind).map(|attribute| attribute.value);
        let missing = |number| Refused::Stranger(number);
        if value(AttributeType::MESSAGE_INTEGRITY).is_none() {
            return Err(missing(error::UNAUTHORIZED));
        }
        let username = value(AttributeType::USERNAME).ok_or(missing(error::MISSING_USERNAME))?;
        let realm = value(AttributeType::REALM).ok_or(missing(error::MISSING_REALM))?;
        let nonce = value(AttributeType::NONCE).ok_or(missing(error::MISSING_NONCE))?;
        let client = arrival.client.remote.ip();
        if self.nonces.judge(nonce, now.unix_s, client) == Freshness::Stale {
            return Err(missing(error::STALE_NONCE));
        }
        let hash = |user: &[u8]| self.name_hash(user);
        let claimed = self.setup.credentials.ms(username, realm, now.unix_s, hash);
        // Who is unknown and who proves nothing are told alike.
        let claimed = claimed.map_err(|_| missing(error::UNAUTHORIZED))?;
        let good = |key: &Key| message.integrity(key) == Proof::Good;
        let key = claimed.keys.into_iter().find(good).ok_or(missing(error::UNAUTHORIZED))?;
        let own = self.table.of_client(&arrival.client).and_then(|index| self.table.get(index));
        if own.is_some_and(|own| own.share.user() != claimed.user) {
            return Err(Refused::Proven(error::WRONG_USERNAME, key));
        }
        Ok((key, claimed.user, claimed.partner))
    }

    fn ms_allocate<'a>(
        &mut self,
        now: Now,
        arrival: &Arrival<'_>,
        message: Message<'_>,
        out: &mut Output,
    ) -> Result<Step<'a>, Refused> {
        let (key, user, partner) = self.ms_prove(now, arrival, message)?;
        all_known(message, &key)?;
        let number = |kind| message.attribute(kind).and_then(|attribute| attribute.number());
        let asked = number(AttributeType::LIFETIME);
        let lifetime_s = asked.unwrap_or(limits::TURN_LIFETIME_S);
        let sequence = sequence_of(message).unwrap_or(0);
        if let Some(index) = self.table.of_client(&arrival.client) {
            return self.ms_refresh(now, index, message, key, lifetime_s, out);
        }
        if lifetime_s == 0 {
            return Err(Refused::Proven(error::NO_BINDING, key));
        }
        let holder = Holder { user, partner, source: arrival.client.remote.ip() };
        let share = match self.may_allocate(arrival, &holder) {
            Ok(share) => share,
            // One that came by the pool's address has been told where to go already.
            Err((number, server)) => match server {
                Some(server) if number == error::TRY_ALTERNATE => {
                    self.counters.errors.count(number);
                    write_alternate(&mut out.answer, message.transaction(), server, &key);
                    return Ok(Step::Answer);
                }
                _ => return Err(Refused::Proven(number, key)),
            },
        };
        let version = number(AttributeType::MS_VERSION).unwrap_or(0);
        let ports = match self.ms_ports(message, version) {
            Ok(ports) => ports,
            Err(number) => return Err(Refused::Proven(number, key)),
        };
        let username = message.attribute(AttributeType::USERNAME).map_or(&[][..], |a| a.value);
        let owner = self.name_hash(username);
        let connection = random_id::<CONNECTION_ID_BYTES>(&mut self.rng);
        let spoken = Spoken::Ms { key, connection, active: None };
        let bandwidth = self.bandwidth(now.monotonic);
        let mut allocation =
            Allocation::new(arrival.client, spoken, owner, share, ports, bandwidth);
        let quality = message.attribute(AttributeType::MS_SERVICE_QUALITY);
        allocation.medium = quality.and_then(|of| medium::of_service_quality(of.value));
        let lifetime_s = lifetime_s.clamp(limits::TURN_LIFETIME_S, limits::TURN_LIFETIME_S_MAX);
        let request = Answering::Ms { transaction: message.transaction(), sequence };
        let domain = self.setup.credentials.domain(username);
        let given = Given::default();
        Ok(self.make(now, Pending { allocation, domain, lifetime_s, given, request }, out))
    }

    fn ms_ports(
        &mut self,
        message: Message<'_>,
        version: u32,
    ) -> Result<SmallVec<[RelayPort; 2]>, u16> {
        let family = message.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY);
        let family = match family.map(|family| family.value) {
            // The family stands in the last of two or four bytes, or alone.
            Some(value) if version >= VERSION_IPV6 => {
                value.iter().rev().find(|byte| **byte != 0).copied().and_then(Family::of)
            }
            _ => None,
        };
        let port = self.take_port(family.unwrap_or(Family::V4), Wanted::Any)?;
        Ok(SmallVec::from_slice(&[port]))
    }

    fn ms_refresh<'a>(
        &mut self,
        now: Now,
        index: u32,
        message: Message<'_>,
        key: Key,
        lifetime_s: u32,
        out: &mut Output,
    ) -> Result<Step<'a>, Refused> {
        let transaction = message.transaction();
        let sequence = sequence_of(message).unwrap_or(0);
        let Some(allocation) = self.table.get_mut(index) else {
            return Err(Refused::Proven(error::NO_BINDING, key));
        };
        if !matches!(allocation.spoken, Spoken::Ms { .. }) {
            return Err(Refused::Proven(error::BAD_REQUEST, key));
        }
        if lifetime_s == 0 {
            let allocation = self.table.get(index);
            if let Some(allocation) = allocation {
                self.write_ms_allocated(allocation, transaction, sequence, 0, out);
            }
            self.end(index, out);
            return Ok(Step::Answer);
        }
        let lifetime_s = lifetime_s.clamp(limits::TURN_LIFETIME_S, limits::TURN_LIFETIME_S_MAX);
        let until = now.monotonic.plus_ms(u64::from(lifetime_s) * 1_000);
        allocation.until = until;
        self.wheel.start(index, until);
        if let Some(allocation) = self.table.get(index) {
            self.write_ms_allocated(allocation, transaction, sequence, lifetime_s, out);
        }
        Ok(Step::Answer)
    }

    /// Writes the answer to an Allocate that was granted.
    pub(super) fn write_ms_allocated(
        &self,
        allocation: &Allocation,
        transaction: TransactionId,
        sequence: u32,
        lifetime_s: u32,
        out: &mut Output,
    ) {
        let Spoken::Ms { key, connection, .. } = &allocation.spoken else {
            unreachable!("an allocation is answered as it was asked for")
        };
        out.answer.clear();
        let mut answer = Builder::new(&mut out.answer, MessageType::ALLOCATE_RESPONSE, transaction);
        answer.number(AttributeType::MS_VERSION, VERSION);
        if let Some(port) = allocation.ports.first() {
            let public = self.setup.relayed[usize::from(port.address)].public;
            answer.address(AttributeType::MAPPED_ADDRESS, SocketAddr::new(public, port.port));
        }
        answer.xor_mapped_address(allocation.client.remote);
        answer.number(AttributeType::LIFETIME, lifetime_s);
        answer.number(AttributeType::BANDWIDTH, BANDWIDTH_KBIT_S);
        let mut number = [0; CONNECTION_ID_BYTES + 4];
        number[..CONNECTION_ID_BYTES].copy_from_slice(connection);
        number[CONNECTION_ID_BYTES..].copy_from_slice(&sequence.to_be_bytes());
        answer.attribute(AttributeType::MS_SEQUENCE_NUMBER, &number);
        answer.integrity(key);
    }

    fn ms_set_active<'a>(
        &mut self,
        now: Now,
        arrival: &Arrival<'_>,
        message: Message<'_>,
        out: &mut Output,
    ) -> Result<Step<'a>, Refused> {
        let (key, ..) = self.ms_prove(now, arrival, message)?;
        all_known(message, &key)?;
        let Some(index) = self.table.of_client(&arrival.client) else {
            return Err(Refused::Proven(error::NO_BINDING, key));
        };
        let peer = match message.attribute(AttributeType::DESTINATION_ADDRESS) {
            None => None,
            Some(attribute) => match attribute.address() {
                None => return Err(Refused::Proven(error::BAD_REQUEST, key)),
                Some(peer) => match self.ms_peer(now.monotonic, index, peer) {
                    Ok(peer) => Some(peer),
                    Err(_) => return Err(Refused::Proven(error::NO_DESTINATION, key)),
                },
            },
        };
        match self.table.get_mut(index).map(|allocation| &mut allocation.spoken) {
            Some(Spoken::Ms { active, .. }) => *active = peer.map(Peer::from),
            _ => return Err(Refused::Proven(error::BAD_REQUEST, key)),
        }
        out.answer.clear();
        let kind = MessageType::SET_ACTIVE_DESTINATION_RESPONSE;
        Builder::new(&mut out.answer, kind, message.transaction()).integrity(&key);
        Ok(Step::Answer)
    }

    /// Sends data and permits the peer's answers. Never answered, and not proven: like the Send
    /// indication of RFC 8656 it is worth no more than the address it comes from.
    fn ms_send<'a>(
        &mut self,
        now: Monotonic,
        arrival: &Arrival<'a>,
        message: Message<'a>,
    ) -> Result<Step<'a>, Dropped> {
        let index = self.table.of_client(&arrival.client).ok_or(Dropped::NoAllocation)?;
        if !matches!(self.table.get(index).map(|a| &a.spoken), Some(Spoken::Ms { .. })) {
            return Err(Dropped::Malformed);
        }
        let peer = message.attribute(AttributeType::DESTINATION_ADDRESS);
        let peer = peer.and_then(|peer| peer.address()).ok_or(Dropped::Malformed)?;
        let data = message.attribute(AttributeType::DATA).ok_or(Dropped::Malformed)?;
        let peer = self.ms_peer(now, index, peer)?;
        self.send_to_peer(now, index, peer, data.value)
    }

    /// Judges a peer, and permits it.
    fn ms_peer(
        &mut self,
        now: Monotonic,
        index: u32,
        peer: SocketAddr,
    ) -> Result<SocketAddr, Dropped> {
        let listener = self.table.get(index).map(|allocation| allocation.client.listener);
        let listener = listener.ok_or(Dropped::NoAllocation)?;
        let ip = self.judge_peer(listener, peer.ip()).map_err(|_| Dropped::PeerRefused)?;
        let peer = SocketAddr::new(ip, peer.port());
        if !self.setup.peers.reaches(peer) {
            return Err(Dropped::PeerRefused);
        }
        self.own(now, index, peer).map_err(|_| Dropped::PeerRefused)?;
        self.permit(now, index, ip)?;
        Ok(peer)
    }
}

/// Writes what goes before the payload of a Data Indication.
pub(super) fn data_indication(
    head: &mut Vec<u8>,
    transaction: TransactionId,
    connection: &[u8; CONNECTION_ID_BYTES],
    peer: SocketAddr,
    length: u16,
) -> Around {
    head.clear();
    let mut number = [0; CONNECTION_ID_BYTES + 4];
    number[..CONNECTION_ID_BYTES].copy_from_slice(connection);
    Builder::new(head, MessageType::DATA_INDICATION, transaction)
        .address(AttributeType::REMOTE_ADDRESS, peer)
        .attribute(AttributeType::MS_SEQUENCE_NUMBER, &number);
    head.extend_from_slice(&AttributeType::DATA.0.to_be_bytes());
    head.extend_from_slice(&length.to_be_bytes());
    let whole = head.len() as u16 - 20 + length;
    head[2..4].copy_from_slice(&whole.to_be_bytes());
    Around::Indication { padding: 0 }
}

/// Tells whether a request has nothing in it that must be understood and is not.
fn all_known(message: Message<'_>, key: &Key) -> Result<(), Refused> {
    let unknown: SmallVec<[AttributeType; 8]> = message.unknown(KNOWN).take(8).collect();
    if unknown.is_empty() { Ok(()) } else { Err(Refused::Unknown(unknown, *key)) }
}

/// Writes an error that says which attributes are not known, as the draft has it: two bytes each.
fn write_unknown(out: &mut Vec<u8>, message: Message<'_>, unknown: &[AttributeType], key: &Key) {
    out.clear();
    let value: SmallVec<[u8; 16]> = unknown.iter().flat_map(|kind| kind.0.to_be_bytes()).collect();
    Builder::new(out, error_of(message.kind()), message.transaction())
        .error(error::UNKNOWN_ATTRIBUTE, error::reason(error::UNKNOWN_ATTRIBUTE))
        .attribute(AttributeType::UNKNOWN_ATTRIBUTES, &value)
        .integrity(key);
}

/// Writes an Allocate error.
pub(super) fn write_error(
    out: &mut Vec<u8>,
    transaction: TransactionId,
    number: u16,
    key: Option<&Key>,
) {
    write_error_of(out, MessageType::ALLOCATE_ERROR, transaction, number, key);
}

fn write_error_of(
    out: &mut Vec<u8>,
    kind: MessageType,
    transaction: TransactionId,
    number: u16,
    key: Option<&Key>,
) {
    out.clear();
    let mut answer = Builder::new(out, kind, transaction);
    answer.error(number, error::reason(number));
    if let Some(key) = key {
        answer.integrity(key);
    }
}

fn write_alternate(out: &mut Vec<u8>, transaction: TransactionId, server: SocketAddr, key: &Key) {
    out.clear();
    Builder::new(out, MessageType::ALLOCATE_ERROR, transaction)
        .error(error::TRY_ALTERNATE, error::reason(error::TRY_ALTERNATE))
        .address(AttributeType::ALTERNATE_SERVER, server)
        .integrity(key);
}

const fn error_of(kind: MessageType) -> MessageType {
    match kind {
        MessageType::SET_ACTIVE_DESTINATION => MessageType::SET_ACTIVE_DESTINATION_ERROR,
        _ => MessageType::ALLOCATE_ERROR,
    }
}

/// Returns the number of a request that carries one.
fn sequence_of(message: Message<'_>) -> Option<u32> {
    let number = message.attribute(AttributeType::MS_SEQUENCE_NUMBER)?;
    let last = number.value.get(CONNECTION_ID_BYTES..)?;
    Some(u32::from_be_bytes(last.try_into().ok()?))
}
