//! Requests of RFC 8489 and RFC 8656, and what is answered.

mod allocate;
mod connect;
mod make;
mod permit;
mod refresh;

use std::net::SocketAddr;

use smallvec::SmallVec;

use super::allocation::{Allocation, ProofHash, Spoken};
use super::credential::{Claimed, KeyAlgorithm};
use super::errors::Tried;
use super::nonce::Freshness;
use super::{Arrival, Dropped, Output, Relay, Step};
use crate::limits;
use crate::stun::{AttributeType, Builder, Class, ErrorCode, Key, Message, Method, Proof, Type};
use crate::time::Now;

pub use connect::{Connected, Direction};
pub use make::Opened;
pub(super) use permit::data_indication;

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
    AttributeType::CONNECTION_ID,
];

/// PASSWORD-ALGORITHMS: SHA-256, then MD5, both without parameters.
const PASSWORD_ALGORITHMS: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

/// A request that was proven, and what its answer is proven with.
struct Proven<'a> {
    message: Message<'a>,
    key: Key,
    hash: ProofHash,
    /// A hash of the username.
    owner: u64,
    user: u64,
    partner: Option<u64>,
}

/// Returns the first peer that a message names.
fn peer_address(message: Message<'_>) -> Option<SocketAddr> {
    message.attribute(AttributeType::XOR_PEER_ADDRESS)?.xor_address(message.transaction())
}

/// An answer other than success.
enum Refused {
    /// With this number; a nonce goes with 401 and 438.
    Error(ErrorCode),
    /// Some attributes are not known.
    Unknown(SmallVec<[AttributeType; 8]>),
    /// Elsewhere.
    Alternate(SocketAddr),
}

impl Refused {
    /// Returns the number that it is answered with.
    const fn number(&self) -> u16 {
        match self {
            Self::Error(ErrorCode(number)) => *number,
            Self::Unknown(_) => 420,
            Self::Alternate(_) => 300,
        }
    }
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
        self.answers(now.monotonic, arrival.client.remote.ip())?;
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
        let method = message.kind().method;
        let own = self.spoken_of(now, arrival, message);
        let done = if !unknown.is_empty() {
            Err(Refused::Unknown(unknown))
        } else if method != Method::ALLOCATE && own.is_some_and(|own| own.owner != proven.owner) {
            // RFC 8656 section 5; to whoever allocates, an address in use is one in use.
            Err(441.into())
        } else {
            match method {
                Method::ALLOCATE => self.allocate(now, arrival, &proven, out),
                Method::REFRESH => self.refresh(now, arrival, &proven, out),
                Method::CREATE_PERMISSION => self.create_permission(now, arrival, &proven, out),
                Method::CHANNEL_BIND => self.channel_bind(now, arrival, &proven, out),
                Method::CONNECT => self.connect(now, arrival, &proven),
                Method::CONNECTION_BIND => self.connection_bind(arrival, &proven, out),
                _ => Err(400.into()),
            }
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
        let proofs = [AttributeType::MESSAGE_INTEGRITY_SHA256, AttributeType::MESSAGE_INTEGRITY];
        if !proofs.into_iter().any(|proof| value(proof).is_some()) {
            return Err(401);
        }
        let username = value(AttributeType::USERNAME).ok_or(400_u16)?;
        let realm = value(AttributeType::REALM).ok_or(400_u16)?;
        let nonce = value(AttributeType::NONCE).ok_or(400_u16)?;
        let (algorithm, hash) = algorithm(message)?;
        let fresh = self.nonces.judge(nonce, now.unix_s, arrival.client.remote.ip());
        if fresh == Freshness::Stale {
            return Err(438);
        }
        if realm != self.setup.realm.as_bytes() {
            return Err(401);
        }
        let own = self.spoken_of(now, arrival, message);
        let owner = self.name_hash(username);
        if let Some(own @ Allocation { spoken: Spoken::Rfc { key, .. }, .. }) = own {
            // Whoever made the allocation is who may speak of it (RFC 8656 section 5).
            if own.owner == owner && message.integrity(key) == Proof::Good {
                let (user, partner) = (own.share.user(), own.share.partner());
                return Ok(Proven { message, key: *key, hash, owner, user, partner });
            }
        }
        let credentials = &self.setup.credentials;
        let claimed = credentials
            .rfc(username, self.setup.realm.as_bytes(), algorithm, now.unix_s, |user| {
                self.name_hash(user)
            })
            .map_err(|_| 401_u16)?;
        let good = |key: &Key| message.integrity(key) == Proof::Good;
        let key = claimed.keys.iter().find(|key| good(key)).copied().ok_or(401_u16)?;
        let Claimed { user, partner, .. } = claimed;
        Ok(Proven { message, key, hash, owner, user, partner })
    }

    /// Returns the allocation that a request speaks of: its client's, or the one that it names.
    fn spoken_of(
        &self,
        now: Now,
        arrival: &Arrival<'_>,
        message: Message<'_>,
    ) -> Option<&Allocation> {
        let index = self
            .table
            .of_client(&arrival.client)
            .or_else(|| self.owner_named(message))
            .or_else(|| self.owner_shown(now.monotonic, message));
        self.table.get(index?)
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
        self.answers(now.monotonic, arrival.client.remote.ip())?;
        let proof = [AttributeType::MESSAGE_INTEGRITY, AttributeType::MESSAGE_INTEGRITY_SHA256];
        let tried = proof.iter().any(|proof| message.attribute(*proof).is_some());
        let tried = if tried { Tried::Yes } else { Tried::No };
        self.counters.errors.count_stranger(number, tried);
        out.answer.clear();
        let kind = Type { method: message.kind().method, class: Class::Error };
        let mut answer = Builder::new(&mut out.answer, kind, message.transaction());
        let (hundreds, rest) = ((number / 100) as u8, (number % 100) as u8);
        // Without its reason, which every client knows: the answer is to be as small as can be.
        answer.attribute(AttributeType::ERROR_CODE, &[0, 0, hundreds, rest]);
        if matches!(number, 401 | 438) {
            let nonce = self.nonces.make(now.unix_s, arrival.client.remote);
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
        self.counters.errors.count(refused.number());
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

    fn write_success(&self, proven: &Proven<'_>, out: &mut Output) {
        out.answer.clear();
        let kind = Type { method: proven.message.kind().method, class: Class::Success };
        let mut answer = Builder::new(&mut out.answer, kind, proven.message.transaction());
        seal(&mut answer, proven);
    }
}

/// Returns how the key of a request is made, and what its answer is proven by; whoever names an
/// algorithm must show that it has seen ours (RFC 8489 section 9.2.4).
fn algorithm(message: Message<'_>) -> Result<(KeyAlgorithm, ProofHash), u16> {
    let value = |kind| message.attribute(kind).map(|attribute| attribute.value);
    let chosen = value(AttributeType::PASSWORD_ALGORITHM);
    let seen = value(AttributeType::PASSWORD_ALGORITHMS);
    match (chosen, seen) {
        (None, None) => Ok((KeyAlgorithm::Md5, ProofHash::Sha1)),
        (Some(chosen), Some(seen)) if seen == PASSWORD_ALGORITHMS => match chosen {
            [0, 1, ..] => Ok((KeyAlgorithm::Md5, ProofHash::Sha256)),
            [0, 2, ..] => Ok((KeyAlgorithm::Sha256, ProofHash::Sha256)),
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
