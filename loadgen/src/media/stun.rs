//! STUN and TURN as a client speaks them (RFC 8489, RFC 8656), written apart from the server's own
//! grammar, so that a mistake there is not made here as well.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use md5::{Digest, Md5};
use ring::hmac;

/// Bytes before the attributes.
pub(crate) const HEADER_BYTES: usize = 20;
/// Bytes before the payload of ChannelData.
pub(crate) const CHANNEL_BYTES: usize = 4;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
/// Bytes of MESSAGE-INTEGRITY with its header.
const INTEGRITY_BYTES: usize = 24;

/// What an attribute is.
pub(crate) mod attribute {
    pub(crate) const USERNAME: u16 = 0x0006;
    pub(crate) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(crate) const ERROR_CODE: u16 = 0x0009;
    pub(crate) const CHANNEL_NUMBER: u16 = 0x000C;
    pub(crate) const LIFETIME: u16 = 0x000D;
    pub(crate) const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub(crate) const REALM: u16 = 0x0014;
    pub(crate) const NONCE: u16 = 0x0015;
    pub(crate) const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub(crate) const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub(crate) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(crate) const ALTERNATE_SERVER: u16 = 0x8023;
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// An allocation.
    Allocate,
    /// More time for it, or its end.
    Refresh,
    /// A channel to a peer.
    ChannelBind,
}

/// What a message is in its transaction. All numbers have the bits of the method in their low
/// four and two more for the class (RFC 8489 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// A question.
    Request,
    /// Its answer.
    Success,
    /// Its refusal.
    Error,
}

impl Method {
    fn bits(self) -> u16 {
        match self {
            Self::Allocate => 0x003,
            Self::Refresh => 0x004,
            Self::ChannelBind => 0x009,
        }
    }

    fn of(bits: u16) -> Option<Self> {
        [Self::Allocate, Self::Refresh, Self::ChannelBind].into_iter().find(|m| m.bits() == bits)
    }
}

impl Class {
    fn bits(self) -> u16 {
        match self {
            Self::Request => 0x000,
            Self::Success => 0x100,
            Self::Error => 0x110,
        }
    }

    fn of(bits: u16) -> Option<Self> {
        [Self::Request, Self::Success, Self::Error].into_iter().find(|c| c.bits() == bits)
    }
}

/// Ties an answer to its question.
pub(crate) type TransactionId = [u8; 12];

/// The long-term key of an account in a realm.
pub(crate) struct Key(hmac::Key);

impl Key {
    /// Returns the key (RFC 8489 section 9.2.2).
    pub(crate) fn long_term(username: &[u8], realm: &[u8], password: &[u8]) -> Self {
        let joined = Md5::new().chain_update(username).chain_update(b":").chain_update(realm);
        let joined = joined.chain_update(b":").chain_update(password).finalize();
        Self(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &joined))
    }

    /// Returns the integrity of a message of which `before` is all that stands before it.
    fn integrity(&self, before: &[u8]) -> hmac::Tag {
        let length = (before.len() + INTEGRITY_BYTES - HEADER_BYTES) as u16;
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&before[..2]);
        context.update(&length.to_be_bytes());
        context.update(&before[4..]);
        context.sign()
    }
}

/// A message under way.
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Begins a message.
    pub(crate) fn new(method: Method, class: Class, transaction: &TransactionId) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&(method.bits() | class.bits()).to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&COOKIE);
        bytes.extend_from_slice(transaction);
        Self { bytes }
    }

    /// Appends an attribute, padded with zeros.
    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(&kind.to_be_bytes());
        self.bytes.extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let length = (self.bytes.len() - HEADER_BYTES) as u16;
        self.bytes[2..4].copy_from_slice(&length.to_be_bytes());
        self
    }

    /// Appends an address, hidden by XOR.
    pub(crate) fn address(&mut self, kind: u16, address: SocketAddr) -> &mut Self {
        let mut value = match address {
            SocketAddr::V4(v4) => [&[0, 1, 0, 0][..], &v4.ip().octets()].concat(),
            SocketAddr::V6(v6) => [&[0, 2, 0, 0][..], &v6.ip().octets()].concat(),
        };
        value[2..4].copy_from_slice(&address.port().to_be_bytes());
        hide(&mut value, &self.bytes);
        self.attribute(kind, &value)
    }

    /// Appends the proof that we know the key.
    pub(crate) fn integrity(&mut self, key: &Key) -> &mut Self {
        let tag = key.integrity(&self.bytes);
        self.attribute(attribute::MESSAGE_INTEGRITY, tag.as_ref())
    }

    /// Returns the message.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// XORs port and address with cookie and transaction id, which stand in the header.
fn hide(value: &mut [u8], header: &[u8]) {
    let mask = &header[4..HEADER_BYTES];
    for (byte, mask) in value[2..4].iter_mut().zip(mask) {
        *byte ^= mask;
    }
    for (byte, mask) in value[4..].iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// A message that came.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    bytes: &'a [u8],
    /// What was asked for.
    pub(crate) method: Method,
    /// And whether this is the question.
    pub(crate) class: Class,
}

impl<'a> Message<'a> {
    /// Reads a datagram that holds one whole message of a kind known here.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[4..8] != COOKIE || HEADER_BYTES + length != bytes.len() {
            return None;
        }
        Some(Self { bytes, method: Method::of(kind & 0x00F)?, class: Class::of(kind & 0xFFF0)? })
    }

    /// Returns the transaction's id.
    pub(crate) fn transaction(&self) -> TransactionId {
        let mut id = TransactionId::default();
        id.copy_from_slice(&self.bytes[8..HEADER_BYTES]);
        id
    }

    /// Returns the first attribute of a kind, and where its header begins.
    fn find(&self, wanted: u16) -> Option<(usize, &'a [u8])> {
        let mut at = HEADER_BYTES;
        while let Some(&[k0, k1, l0, l1]) = self.bytes.get(at..)?.first_chunk() {
            let length = usize::from(u16::from_be_bytes([l0, l1]));
            let value = self.bytes.get(at + 4..at + 4 + length)?;
            if u16::from_be_bytes([k0, k1]) == wanted {
                return Some((at, value));
            }
            at += 4 + length.next_multiple_of(4);
        }
        None
    }

    /// Returns the value of the first attribute of a kind.
    pub(crate) fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        self.find(kind).map(|(_, value)| value)
    }

    /// Returns an address that was hidden by XOR.
    pub(crate) fn hidden_address(&self, kind: u16) -> Option<SocketAddr> {
        let mut value = self.attribute(kind)?.to_vec();
        if value.len() < 4 {
            return None;
        }
        hide(&mut value, self.bytes);
        address(&value)
    }

    /// Returns the server that we are sent to.
    pub(crate) fn alternate_server(&self) -> Option<SocketAddr> {
        address(self.attribute(attribute::ALTERNATE_SERVER)?)
    }

    /// Returns the number of an error.
    pub(crate) fn error(&self) -> Option<u16> {
        let value = self.attribute(attribute::ERROR_CODE)?;
        Some(u16::from(value.get(2)? & 7) * 100 + u16::from(*value.get(3)?))
    }

    /// Tells whether the message was made by one who knows the key.
    pub(crate) fn proven(&self, key: &Key) -> bool {
        self.find(attribute::MESSAGE_INTEGRITY)
            .is_some_and(|(at, value)| key.integrity(&self.bytes[..at]).as_ref() == value)
    }
}

fn address(value: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(*value.get(2..)?.first_chunk()?);
    match value.get(1)? {
        1 => Some((Ipv4Addr::from(*value.get(4..)?.first_chunk::<4>()?), port).into()),
        2 => Some((Ipv6Addr::from(*value.get(4..)?.first_chunk::<16>()?), port).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 section 2.4: a request with long-term authentication, which is not TURN's.
    const RFC5769_2_4: &str = "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aa\
        e38383e382afe382b900000015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410014\
        000b6578616d706c652e6f72670000080014f67024656dd64a3e02b8e0712e85c9a28ca89666";

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn integrity_is_that_of_the_test_vector() {
        let vector = bytes(RFC5769_2_4);
        let (class, method) = (Class::Request, Method::Allocate);
        let message = Message { bytes: &vector, class, method };
        let username = message.attribute(attribute::USERNAME).unwrap();
        let realm = message.attribute(attribute::REALM).unwrap();
        assert_eq!(realm, b"example.org");
        assert!(message.proven(&Key::long_term(username, realm, b"TheMatrIX")));
        assert!(!message.proven(&Key::long_term(username, realm, b"thematrix")));
    }

    #[test]
    fn what_was_written_is_read_again() {
        let key = Key::long_term(b"alice", b"example.org", b"secret");
        for peer in ["192.0.2.1:32853", "[2001:db8::1]:9"] {
            let peer: SocketAddr = peer.parse().unwrap();
            let mut writer = Writer::new(Method::ChannelBind, Class::Request, &[7; 12]);
            writer.address(attribute::XOR_PEER_ADDRESS, peer).attribute(attribute::NONCE, b"abcde");
            writer.integrity(&key);
            let mut wire = writer.finish();
            let message = Message::read(&wire).unwrap();
            assert_eq!((message.method, message.class), (Method::ChannelBind, Class::Request));
            assert_eq!(message.transaction(), [7; 12]);
            assert_eq!(message.hidden_address(attribute::XOR_PEER_ADDRESS), Some(peer));
            assert_eq!(message.attribute(attribute::NONCE), Some(&b"abcde"[..]));
            assert!(message.proven(&key));
            wire[30] ^= 1;
            assert!(!Message::read(&wire).unwrap().proven(&key));
        }
    }

    #[test]
    fn what_is_no_message_is_not_read() {
        let wire = Writer::new(Method::Allocate, Class::Error, &[0; 12]).finish();
        assert!(Message::read(&wire).is_some());
        for cut in 0..wire.len() {
            assert!(Message::read(&wire[..cut]).is_none(), "{cut}");
        }
        let mut other = wire.clone();
        other[4] ^= 1;
        assert!(Message::read(&other).is_none());
    }
}
