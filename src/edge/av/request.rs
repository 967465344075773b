//! Requests of RFC 8489 and RFC 8656, and what is answered.

use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use super::allocation::{Allocation, CannotBind, ProofHash, Spoken};
use super::credential::KeyAlgorithm;
use super::nonce::Freshness;
use super::ports::{RelayPort, Reservation, Wanted};
use super::table::Holding;
use super::{
    Admission, Answering, Around, Arrival, Dropped, NotOwned, Output, Pending, Relay, Step, next,
    random_id,
};
use crate::limits;
use crate::stun::{
    Attribute, AttributeType, Builder, ChannelNumber, Class, ErrorCode, Family, Key, Message,
    Method, Proof, TransactionId, Type,
};
use crate::time::{Monotonic, Now};

/// Attributes that this server understands, of those that must be.
const KNOWN: &[AttributeType] = &[
    AttributeType::USERNAME,
    AttributeType::MESSAGE_INTEGRITY,
    AttributeType::MESSAGE_INTEGRITY_SHA256,
    AttributeType::CHANNEL_NUMBER,
    AttributeType::LIFETIME,
    AttributeType::XOR_PEER_ADDRESS,
    AttributeType::DATA,
    AttributeType::REALM,
    AttributeType::NONCE,
    AttributeType::REQUESTED_ADDRESS_FAMILY,
    AttributeType::EVEN_PORT,
    AttributeType::REQUESTED_TRANSPORT,
    AttributeType::PASSWORD_ALGORITHM,
    AttributeType::RESERVATION_TOKEN,
    AttributeType::PRIORITY,
    AttributeType::USE_CANDIDATE,
];

/// PASSWORD-ALGORITHMS: SHA-256, then MD5, both without parameters.
const PASSWORD_ALGORITHMS: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];
const UDP: u8 = 17;

/// A request that was proven, and what its answer is proven with.
struct Proven<'a> {
    message: Message<'a>,
    key: Key,
    hash: ProofHash,
    username: &'a [u8],
    user: u64,
}

/// The relayed ports of an allocation, and the token of the port that was reserved beside it.
type TakenPorts = (SmallVec<[RelayPort; 2]>, Option<[u8; 8]>);

/// An answer other than success.
enum Refused {
    /// With this number; a nonce goes with 401 and 438.
    Error(ErrorCode),
    /// Some attributes are not known.
    Unknown(SmallVec<[AttributeType; 8]>),
    /// Elsewhere.
    Alternate(SocketAddr),
}

impl From<u16> for Refused {
    fn from(number: u16) -> Self {
        Self::Error(ErrorCode(number))
    }
}

impl Relay {
    /// Serves a message of RFC 8489.
    pub(super) fn message<'a>(
        &mut self,
        now: Now,
        arrival: Arrival<'a>,
        out: &mut Output,
    ) -> Result<Step<'a>, Dropped> {
        let message = Message::read(arrival.datagram).map_err(|_| Dropped::Malformed)?;
        let Type { method, class } = message.kind();
        match (class, method) {
            (Class::Indication, Method::SEND) => self.send(now.monotonic, &arrival, message),
            // A keep-alive (RFC 8445 section 11); nothing is said to it.
            (Class::Indication, _) | (Class::Success | Class::Error, _) => Err(Dropped::Unexpected),
            (Class::Request, Method::BINDING) => self.binding(now, &arrival, message, out),
            (Class::Request, _) => self.request(now, &arrival, message, out),
        }
    }

    fn binding<'a>(
        &mut self,
        now: Now,
        arrival: &Arrival<'_>,
        message: Message<'_>,
        out: &mut Output,
    ) -> Result<Step<'a>, Dropped> {
        if !self.gate.opens(now.monotonic, arrival.client.remote.ip()) {
            return Err(Dropped::AnswerRate);
        }
        let unknown: SmallVec<[AttributeType; 8]> = message.unknown(KNOWN).take(8).collect();
        let class = if unknown.is_empty() { Class::Success } else { Class::Error };
        out.answer.clear();
        let kind = Type { method: Method::BINDING, class };
        let mut answer = Builder::new(&mut out.answer, kind, message.transaction());
        if unknown.is_empty() {
            answer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, arrival.client.remote);
        } else {
            unknown_attributes(&mut answer, &unknown);
        }
        seal_bare(&mut answer, message);
        Ok(Step::Answer)
    }

    fn request<'a>(
        &mut self,
        now: Now,
        arrival: &Arrival<'_>,
        message: Message<'_>,
        out: &mut Output,
    ) -> Result<Step<'a>, Dropped> {
        let proven = match self.prove(now, arrival, message) {
            Ok(proven) => proven,
            Err(refused) => return self.challenge(now, arrival, message, refused, out),
        };
        let unknown: SmallVec<[AttributeType; 8]> = message.unknown(KNOWN).take(8).collect();
        let done = if unknown.is_empty() {
            match message.kind().method {
                Method::ALLOCATE => self.allocate(now, arrival, &proven, out),
                Method::REFRESH => self.refresh(now, arrival, &proven, out),
                Method::CREATE_PERMISSION => self.create_permission(now, arrival, &proven, out),
                Method::CHANNEL_BIND => self.channel_bind(now, arrival, &proven, out),
                _ => Err(400.into()),
            }
        } else {
            Err(Refused::Unknown(unknown))
        };
        match done {
            Ok(step) => Ok(step),
            Err(refused) => {
                self.refuse(&proven, refused, out);
                Ok(Step::Answer)
            }
        }
    }

    /// Finds out who asks (RFC 8489 section 9.2.4).
    fn prove<'a>(
        &self,
        now: Now,
        arrival: &Arrival<'_>,
        message: Message<'a>,
    ) -> Result<Proven<'a>, u16> {
        let value = |kind| message.attribute(kind).map(|attribute| attribute.value);
        let hash = if value(AttributeType::MESSAGE_INTEGRITY_SHA256).is_some() {
            ProofHash::Sha256
        } else if value(AttributeType::MESSAGE_INTEGRITY).is_some() {
            ProofHash::Sha1
        } else {
            return Err(401);
        };
        let username = value(AttributeType::USERNAME).ok_or(400_u16)?;
        let realm = value(AttributeType::REALM).ok_or(400_u16)?;
        let nonce = value(AttributeType::NONCE).ok_or(400_u16)?;
        let algorithm = algorithm(message)?;
        let fresh = self.nonces.judge(nonce, now.unix_s, arrival.client.remote.ip());
        if fresh == Freshness::Stale {
            return Err(438);
        }
        if realm != self.setup.realm.as_bytes() {
            return Err(401);
        }
        let own = self.table.of_client(&arrival.client).and_then(|index| self.table.get(index));
        if let Some(Allocation { username: owner, user, spoken: Spoken::Rfc { key, .. }, .. }) = own
        {
            // Whoever made the allocation is who may speak of it (RFC 8656 section 5).
            if **owner == *username && message.integrity(key) == Proof::Good {
                return Ok(Proven { message, key: key.clone(), hash, username, user: *user });
            }
        }
        let user_hash = |user: &[u8]| std::hash::BuildHasher::hash_one(&self.user_key, user);
        let credentials = &self.setup.credentials;
        let claimed = credentials
            .rfc(username, self.setup.realm.as_bytes(), algorithm, now.unix_s, user_hash)
            .map_err(|_| 401_u16)?;
        let good = |key: &Key| message.integrity(key) == Proof::Good;
        let key = claimed.keys.into_iter().find(good).ok_or(401_u16)?;
        match own {
            Some(own) if *own.username != *username => Err(441),
            _ => Ok(Proven { message, key, hash, username, user: claimed.user }),
        }
    }

    /// Answers whoever has not proven anything: small, bare and not often.
    fn challenge<'a>(
        &mut self,
        now: Now,
        arrival: &Arrival<'_>,
        message: Message<'_>,
        number: u16,
        out: &mut Output,
    ) -> Result<Step<'a>, Dropped> {
        let client = arrival.client.remote.ip();
        if !self.gate.opens(now.monotonic, client) {
            return Err(Dropped::AnswerRate);
        }
        self.counters.errors += 1;
        out.answer.clear();
        let kind = Type { method: message.kind().method, class: Class::Error };
        let mut answer = Builder::new(&mut out.answer, kind, message.transaction());
        let (hundreds, rest) = ((number / 100) as u8, (number % 100) as u8);
        // Without its reason, which every client knows: the answer is to be as small as can be.
        answer.attribute(AttributeType::ERROR_CODE, &[0, 0, hundreds, rest]);
        if matches!(number, 401 | 438) {
            let nonce = self.nonces.make(now.unix_s, client);
            answer.attribute(AttributeType::REALM, self.setup.realm.as_bytes());
            answer.attribute(AttributeType::NONCE, &nonce);
            answer.attribute(AttributeType::PASSWORD_ALGORITHMS, &PASSWORD_ALGORITHMS);
        }
        seal_bare(&mut answer, message);
        let length = answer.len();
        assert!(
            length <= limits::TURN_UNAUTHENTICATED_BYTES_MAX,
            "an answer to a stranger is small"
        );
        Ok(Step::Answer)
    }

    fn refuse(&mut self, proven: &Proven<'_>, refused: Refused, out: &mut Output) {
        self.counters.errors += 1;
        out.answer.clear();
        let kind = Type { method: proven.message.kind().method, class: Class::Error };
        let mut answer = Builder::new(&mut out.answer, kind, proven.message.transaction());
        match refused {
            Refused::Error(error) => {
                answer.error(error);
            }
            Refused::Unknown(unknown) => unknown_attributes(&mut answer, &unknown),
            Refused::Alternate(server) => {
                answer.error(ErrorCode(300));
                answer.address(AttributeType::ALTERNATE_SERVER, server);
            }
        }
        seal(&mut answer, proven);
    }

    /// RFC 8656 section 7.2.
    fn allocate<'a>(
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
        self.admitted(arrival, proven.user)?;
        let transport = message.attribute(AttributeType::REQUESTED_TRANSPORT);
        match transport.map(|transport| transport.value) {
            Some([UDP, ..]) => {}
            Some(_) => return Err(442.into()),
            None => return Err(400.into()),
        }
        let (ports, reserved) = self.take_ports(now.monotonic, message, proven.user)?;
        let spoken =
            Spoken::Rfc { key: proven.key.clone(), born: message.transaction(), hash: proven.hash };
        let bandwidth = self.bandwidth(now.monotonic);
        let allocation =
            Allocation::new(arrival.client, spoken, proven.username, proven.user, ports, bandwidth);
        let pending = Pending {
            allocation,
            lifetime_s: lifetime(message),
            reserved,
            request: Answering::Rfc(message.transaction()),
        };
        Ok(self.make(now, pending, out))
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
        if *born != proven.message.transaction() {
            return Err(437.into());
        }
        let left = allocation.until.ms_since(now.monotonic) / 1_000;
        self.write_allocated(allocation, *born, left as u32, None, out);
        Ok(Step::Answer)
    }

    /// Judges whether a client may have one allocation more, here.
    pub(super) fn may_allocate(
        &self,
        arrival: &Arrival<'_>,
        user: u64,
    ) -> Result<(), (u16, Option<SocketAddr>)> {
        let listener = self.setup.listeners.get(usize::from(arrival.client.listener));
        if let Admission::Draining { alternate } = self.admission {
            return Err((if alternate.is_some() { 300 } else { 508 }, alternate));
        }
        if let Some(listener) = listener
            && listener.vip == Some(arrival.addressed)
        {
            return Err((300, Some(listener.node)));
        }
        if self.table.of_user(user) >= self.setup.quotas.allocations_per_user {
            return Err((486, None));
        }
        if self.table.len() >= self.setup.quotas.allocations {
            return Err((508, None));
        }
        Ok(())
    }

    fn admitted(&self, arrival: &Arrival<'_>, user: u64) -> Result<(), Refused> {
        self.may_allocate(arrival, user).map_err(|refused| match refused {
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
    ) -> Result<TakenPorts, Refused> {
        let value = |kind| message.attribute(kind).map(|attribute| attribute.value);
        let token = value(AttributeType::RESERVATION_TOKEN);
        let even = value(AttributeType::EVEN_PORT);
        let family = value(AttributeType::REQUESTED_ADDRESS_FAMILY);
        let additional = value(AttributeType::ADDITIONAL_ADDRESS_FAMILY);
        if let Some(token) = token {
            // The token says it all (RFC 8656 section 7.2, steps 6 and 8).
            if even.is_some() || family.is_some() || additional.is_some() {
                return Err(400.into());
            }
            let port = self.reservations.claim(token, user).ok_or(508_u16)?;
            return Ok((SmallVec::from_slice(&[port]), None));
        }
        let families = families(family, additional)?;
        let wanted = match even {
            None => Wanted::Any,
            Some([bits, ..]) if bits & 0x80 != 0 => Wanted::EvenWithNext,
            Some([_, ..]) => Wanted::Even,
            Some([]) => return Err(400.into()),
        };
        // A second address goes with any port; nothing is kept beside two (section 7.2, step 9).
        if families.len() > 1 && wanted == Wanted::EvenWithNext {
            return Err(400.into());
        }
        let mut ports = SmallVec::new();
        for family in families {
            match self.take_port(family, wanted) {
                Ok(port) => ports.push(port),
                // One family is better than none where the second was only asked for.
                Err(_) if !ports.is_empty() => {}
                Err(number) => return Err(number.into()),
            }
        }
        let reserved = match (wanted, ports.first()) {
            (Wanted::EvenWithNext, Some(&port)) => Some(self.reserve(now, port, user)?),
            _ => None,
        };
        Ok((ports, reserved))
    }

    pub(super) fn take_port(&mut self, family: Family, wanted: Wanted) -> Result<RelayPort, u16> {
        let place = self.families.iter().position(|known| *known == family).ok_or(440_u16)?;
        let random = next(&mut self.rng) as u32;
        let port = self.pools[place].take(wanted, random).ok_or(508_u16)?;
        Ok(RelayPort { address: place as u8, port })
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

    /// Makes the allocation at once where its sockets are open, else asks for them.
    pub(super) fn make<'a>(&mut self, now: Now, pending: Pending, out: &mut Output) -> Step<'a> {
        match self.holding {
            Holding::Shared => {
                self.finish(now, pending, out);
                Step::Answer
            }
            Holding::Alone => {
                out.opens.clear();
                out.opens.extend_from_slice(&pending.allocation.ports);
                self.pending = Some(pending);
                Step::Open
            }
        }
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
                self.counters.errors += 1;
                for port in &pending.allocation.ports {
                    self.pools[usize::from(port.address)].give(port.port);
                }
                self.write_exhausted(&pending, out);
            }
        }
        Step::Answer
    }

    fn finish(&mut self, now: Now, pending: Pending, out: &mut Output) {
        let Pending { mut allocation, lifetime_s, reserved, request } = pending;
        allocation.until = now.monotonic.plus_ms(u64::from(lifetime_s) * 1_000);
        let until = allocation.until;
        match request {
            Answering::Rfc(transaction) => {
                self.write_allocated(&allocation, transaction, lifetime_s, reserved, out);
            }
            Answering::Ms { transaction, sequence } => {
                self.counters.ms_allocations += 1;
                self.write_ms_allocated(&allocation, transaction, sequence, lifetime_s, out);
            }
        }
        let index = self.table.insert(allocation, self.holding);
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
                super::microsoft::write_error(&mut out.answer, transaction, 508, Some(key));
            }
            _ => unreachable!("an allocation is answered as it was asked for"),
        }
    }

    fn write_allocated(
        &self,
        allocation: &Allocation,
        transaction: TransactionId,
        lifetime_s: u32,
        reserved: Option<[u8; 8]>,
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
        if let Some(token) = reserved {
            answer.attribute(AttributeType::RESERVATION_TOKEN, &token);
        }
        prove(&mut answer, key, *hash);
    }

    /// RFC 8656 section 8.2.
    fn refresh<'a>(
        &mut self,
        now: Now,
        arrival: &Arrival<'_>,
        proven: &Proven<'_>,
        out: &mut Output,
    ) -> Result<Step<'a>, Refused> {
        let message = proven.message;
        let index = self.table.of_client(&arrival.client).ok_or(437_u16)?;
        if let Some(family) = message.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY) {
            let family = family.value.first().copied().and_then(Family::of);
            let has = self.table.get(index).is_some_and(|allocation| {
                allocation
                    .ports
                    .iter()
                    .any(|p| Some(self.families[usize::from(p.address)]) == family)
            });
            if !has {
                return Err(443.into());
            }
        }
        let asked = message.attribute(AttributeType::LIFETIME).and_then(|asked| asked.number());
        let granted_s = if asked == Some(0) { 0 } else { lifetime(message) };
        if granted_s == 0 {
            self.end(index, out);
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
        seal(&mut answer, proven);
        Ok(Step::Answer)
    }

    /// RFC 8656 section 10.2: all of the peers, or none.
    fn create_permission<'a>(
        &mut self,
        now: Now,
        arrival: &Arrival<'_>,
        proven: &Proven<'_>,
        out: &mut Output,
    ) -> Result<Step<'a>, Refused> {
        let message = proven.message;
        let index = self.table.of_client(&arrival.client).ok_or(437_u16)?;
        let of_peers =
            |attribute: &Attribute<'_>| attribute.kind == AttributeType::XOR_PEER_ADDRESS;
        let mut peers: SmallVec<[IpAddr; 8]> = SmallVec::new();
        for attribute in message.attributes().filter(of_peers) {
            let peer = attribute.xor_address(message.transaction()).ok_or(400_u16)?;
            peers.push(self.peer(index, peer.ip())?);
        }
        if peers.is_empty() {
            return Err(400.into());
        }
        let left = self.table.get(index).map_or(0, |a| a.permissions_left(now.monotonic));
        if peers.len() > left {
            // Those that run already need no place; counted only where it matters.
            let new = peers.iter().filter(|peer| {
                self.table.get(index).is_some_and(|a| !a.permits(now.monotonic, **peer))
            });
            if new.count() > left {
                return Err(508.into());
            }
        }
        for peer in peers {
            self.permit(now.monotonic, index, peer).map_err(|_| 508_u16)?;
        }
        self.write_success(proven, out);
        Ok(Step::Answer)
    }

    /// RFC 8656 section 12.2.
    fn channel_bind<'a>(
        &mut self,
        now: Now,
        arrival: &Arrival<'_>,
        proven: &Proven<'_>,
        out: &mut Output,
    ) -> Result<Step<'a>, Refused> {
        let message = proven.message;
        let index = self.table.of_client(&arrival.client).ok_or(437_u16)?;
        let number = message.attribute(AttributeType::CHANNEL_NUMBER).ok_or(400_u16)?;
        let number = match number.value {
            [n0, n1, ..] => ChannelNumber::new(u16::from_be_bytes([*n0, *n1])),
            _ => None,
        };
        let number = number.ok_or(400_u16)?;
        let peer = message.attribute(AttributeType::XOR_PEER_ADDRESS).ok_or(400_u16)?;
        let peer = peer.xor_address(message.transaction()).ok_or(400_u16)?;
        let peer = SocketAddr::new(self.peer(index, peer.ip())?, peer.port());
        self.own(now.monotonic, index, peer).map_err(|not| match not {
            NotOwned::ByAnother => 403_u16,
            NotOwned::Full => 508,
        })?;
        let allocation = self.table.get_mut(index).ok_or(437_u16)?;
        allocation.bind(now.monotonic, number, peer).map_err(|cannot| match cannot {
            CannotBind::Bound => 400_u16,
            CannotBind::Full => 508,
        })?;
        self.permit(now.monotonic, index, peer.ip()).map_err(|_| 508_u16)?;
        self.write_success(proven, out);
        Ok(Step::Answer)
    }

    /// RFC 8656 section 11.2; never answered.
    fn send<'a>(
        &mut self,
        now: Monotonic,
        arrival: &Arrival<'a>,
        message: Message<'a>,
    ) -> Result<Step<'a>, Dropped> {
        if message.unknown(KNOWN).next().is_some() {
            return Err(Dropped::Malformed);
        }
        let index = self.table.of_client(&arrival.client).ok_or(Dropped::NoAllocation)?;
        let peer = message.attribute(AttributeType::XOR_PEER_ADDRESS);
        let peer = peer.and_then(|peer| peer.xor_address(message.transaction()));
        let peer = peer.ok_or(Dropped::Malformed)?;
        let data = message.attribute(AttributeType::DATA).ok_or(Dropped::Malformed)?;
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let allocation = self.table.get(index).ok_or(Dropped::NoAllocation)?;
        if !allocation.permits(now, peer.ip()) {
            return Err(Dropped::NoPermission);
        }
        self.own(now, index, peer).map_err(|_| Dropped::PeerRefused)?;
        self.send_to_peer(now, index, peer, data.value)
    }

    /// Judges a peer that allocation `index` asks for.
    fn peer(&self, index: u32, ip: IpAddr) -> Result<IpAddr, u16> {
        let ip = self.judge_peer(ip).map_err(|_| 403_u16)?;
        let allocation = self.table.get(index).ok_or(437_u16)?;
        allocation.port_towards(&self.families, ip).map(|_| ip).ok_or(443)
    }

    fn write_success(&self, proven: &Proven<'_>, out: &mut Output) {
        out.answer.clear();
        let kind = Type { method: proven.message.kind().method, class: Class::Success };
        let mut answer = Builder::new(&mut out.answer, kind, proven.message.transaction());
        seal(&mut answer, proven);
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

/// Writes what goes before a Data indication's payload (RFC 8656 section 11.3).
pub(super) fn data_indication(
    head: &mut Vec<u8>,
    transaction: TransactionId,
    peer: SocketAddr,
    length: u16,
) -> Around {
    head.clear();
    let kind = Type { method: Method::DATA, class: Class::Indication };
    Builder::new(head, kind, transaction).xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
    head.extend_from_slice(&AttributeType::DATA.0.to_be_bytes());
    head.extend_from_slice(&length.to_be_bytes());
    let padded = length.next_multiple_of(4);
    let whole = head.len() as u16 - 20 + padded;
    head[2..4].copy_from_slice(&whole.to_be_bytes());
    Around::Indication { padding: (padded - length) as u8 }
}

/// Returns the seconds to grant (RFC 8656 section 7.2): what is asked, within bounds.
fn lifetime(message: Message<'_>) -> u32 {
    let asked = message.attribute(AttributeType::LIFETIME).and_then(|asked| asked.number());
    asked.unwrap_or(0).clamp(limits::TURN_LIFETIME_S, limits::TURN_LIFETIME_S_MAX)
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

/// Returns how the key of a request is made; whoever names an algorithm must show that it has seen
/// ours (RFC 8489 section 9.2.4).
fn algorithm(message: Message<'_>) -> Result<KeyAlgorithm, u16> {
    let value = |kind| message.attribute(kind).map(|attribute| attribute.value);
    let chosen = value(AttributeType::PASSWORD_ALGORITHM);
    let seen = value(AttributeType::PASSWORD_ALGORITHMS);
    match (chosen, seen) {
        (None, None) => Ok(KeyAlgorithm::Md5),
        (Some(chosen), Some(seen)) if seen == PASSWORD_ALGORITHMS => match chosen {
            [0, 1, ..] => Ok(KeyAlgorithm::Md5),
            [0, 2, ..] => Ok(KeyAlgorithm::Sha256),
            _ => Err(400),
        },
        _ => Err(400),
    }
}

fn unknown_attributes(answer: &mut Builder<'_>, unknown: &[AttributeType]) {
    answer.error(ErrorCode(420));
    let value: SmallVec<[u8; 16]> = unknown.iter().flat_map(|kind| kind.0.to_be_bytes()).collect();
    answer.attribute(AttributeType::UNKNOWN_ATTRIBUTES, &value);
}

fn prove(answer: &mut Builder<'_>, key: &Key, hash: ProofHash) {
    match hash {
        ProofHash::Sha1 => answer.integrity_sha1(key),
        ProofHash::Sha256 => answer.integrity_sha256(key),
    };
    answer.fingerprint();
}

fn seal(answer: &mut Builder<'_>, proven: &Proven<'_>) {
    prove(answer, &proven.key, proven.hash);
}

/// Ends an answer without proof; a fingerprint goes where the request had one.
fn seal_bare(answer: &mut Builder<'_>, message: Message<'_>) {
    if message.attribute(AttributeType::FINGERPRINT).is_some() {
        answer.fingerprint();
    }
}
