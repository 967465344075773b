//! A received message of the dialect.

use std::fmt;
use std::net::SocketAddr;

use super::super::attribute::Address;
use super::super::fault::Malformed;
use super::super::header::HEADER_BYTES;
use super::integrity::Key;
use super::numbers::{AttributeType, COOKIE, MessageType};
use crate::limits;
use crate::stun::Proof;

/// The number that ties a response to its request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId(pub [u8; 16]);

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A message where it was received; nothing is copied.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
}

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// What it is.
    pub kind: AttributeType,
    /// Its value; there is no padding.
    pub value: &'a [u8],
    /// Where it begins in the message.
    offset: usize,
}

impl Attribute<'_> {
    /// Returns the value as a 32-bit number, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.value.try_into().ok()?))
    }

    /// Returns the address; all but XOR Mapped Address stand in the clear.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        Address::read(self.value).map(|address| address.0)
    }
}

impl<'a> Message<'a> {
    /// Reads a datagram, or the content of a frame.
    ///
    /// # Errors
    /// [`Malformed`]: a datagram is dropped then; a connection is closed.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, body) =
            bytes.split_first_chunk::<HEADER_BYTES>().ok_or(Malformed::TooShort)?;
        if header[0] & 0xC0 != 0 {
            return Err(Malformed::NotStun);
        }
        if usize::from(u16::from_be_bytes([header[2], header[3]])) != body.len() {
            return Err(Malformed::Length);
        }
        let message = Self { bytes };
        let mut attributes = message.attributes();
        let first = attributes.next().ok_or(Malformed::NoMsCookie)?;
        if first.kind != AttributeType::MAGIC_COOKIE || first.value != COOKIE {
            return Err(Malformed::NoMsCookie);
        }
        if attributes.by_ref().take(limits::STUN_ATTRIBUTES_MAX).count()
            == limits::STUN_ATTRIBUTES_MAX
        {
            return Err(Malformed::TooManyAttributes);
        }
        if attributes.at != bytes.len() {
            return Err(Malformed::AttributeLength);
        }
        Ok(message)
    }

    /// Tells whether `bytes` begin as a message of this dialect does, to tell it from RFC 8489's.
    #[must_use]
    pub fn is_likely(bytes: &[u8]) -> bool {
        let first = bytes.get(HEADER_BYTES..HEADER_BYTES + 8);
        first.is_some_and(|first| {
            first[..4] == [0, AttributeType::MAGIC_COOKIE.0 as u8, 0, 4] && first[4..] == COOKIE
        })
    }

    /// Returns which message it is.
    #[must_use]
    pub fn kind(&self) -> MessageType {
        MessageType(u16::from_be_bytes([self.bytes[0], self.bytes[1]]))
    }

    /// Returns the transaction.
    #[must_use]
    pub fn transaction(&self) -> TransactionId {
        let mut id = [0; 16];
        id.copy_from_slice(&self.bytes[4..HEADER_BYTES]);
        TransactionId(id)
    }

    /// Returns the attributes in order, the cookie first; what follows Message Integrity does not
    /// count.
    #[must_use]
    pub const fn attributes(&self) -> Attributes<'a> {
        Attributes { message: self.bytes, at: HEADER_BYTES }
    }

    /// Returns the first attribute of a kind that stands before the integrity, or is it.
    #[must_use]
    pub fn attribute(&self, kind: AttributeType) -> Option<Attribute<'a>> {
        let mut over = false;
        self.attributes()
            .take_while(|attribute| {
                !std::mem::replace(&mut over, attribute.kind == AttributeType::MESSAGE_INTEGRITY)
            })
            .find(|attribute| attribute.kind == kind)
    }

    /// Returns the attributes that must be understood and are none of `known`.
    pub fn unknown<'k>(
        &self,
        known: &'k [AttributeType],
    ) -> impl Iterator<Item = AttributeType> + use<'a, 'k> {
        self.attributes()
            .map(|attribute| attribute.kind)
            .filter(|kind| kind.must_be_understood() && !known.contains(kind))
    }

    /// Judges Message Integrity under `key`.
    #[must_use]
    pub fn integrity(&self, key: &Key) -> Proof {
        let Some(attribute) = self.attribute(AttributeType::MESSAGE_INTEGRITY) else {
            return Proof::Absent;
        };
        let (before, _) = self.bytes.split_at(attribute.offset);
        if key.proves(before, attribute.value) { Proof::Good } else { Proof::Wrong }
    }

    /// Returns the whole message.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// The attributes of a message, in order.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let offset = self.at;
        let (&[k0, k1, l0, l1], rest) = self.message.get(offset..)?.split_first_chunk()?;
        let value = rest.get(..usize::from(u16::from_be_bytes([l0, l1])))?;
        self.at += 4 + value.len();
        Some(Attribute { kind: AttributeType(u16::from_be_bytes([k0, k1])), value, offset })
    }
}
