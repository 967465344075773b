//! A received message: the datagram, and what can be asked of it.

use super::attribute::{Attribute, AttributeType, Attributes};
use super::fault::Malformed;
use super::header::{HEADER_BYTES, MAGIC_COOKIE, TransactionId, Type};
use super::integrity::{self, Key, Proof};
use crate::limits;

/// A STUN message where it was received; nothing is copied.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a datagram, or a frame of exactly one message.
    ///
    /// Every attribute header is looked at once, so that the rest may be read without a fault.
    /// # Errors
    /// [`Malformed`]: such a datagram is dropped. A FINGERPRINT that is there and wrong makes it
    /// [`Malformed::NotStun`].
    /// Source: RFC 8489 sections 5 and 6.3.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, body) =
            bytes.split_first_chunk::<HEADER_BYTES>().ok_or(Malformed::TooShort)?;
        let [t0, _, l0, l1, c0, c1, c2, c3, ..] = *header;
        if t0 & 0xC0 != 0 {
            return Err(Malformed::NotStun);
        }
        if u32::from_be_bytes([c0, c1, c2, c3]) != MAGIC_COOKIE {
            return Err(Malformed::NoCookie);
        }
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if length % 4 != 0 || length != body.len() {
            return Err(Malformed::Length);
        }
        let mut at = HEADER_BYTES;
        let mut fingerprint = None;
        for _ in 0..=limits::STUN_ATTRIBUTES_MAX {
            if at == bytes.len() {
                let message = Self { bytes };
                return match fingerprint {
                    Some(found) if !message.is_fingerprint(found) => Err(Malformed::NotStun),
                    _ => Ok(message),
                };
            }
            let (attribute, next) = Attributes::at(bytes, at).ok_or(Malformed::AttributeLength)?;
            if next > bytes.len() {
                return Err(Malformed::AttributeLength);
            }
            if attribute.kind == AttributeType::FINGERPRINT && fingerprint.is_none() {
                fingerprint = Some(attribute);
            }
            at = next;
        }
        Err(Malformed::TooManyAttributes)
    }

    /// Returns how long the message is that `bytes` begin with, for streams; `None` before its
    /// fourth byte.
    #[must_use]
    pub fn length(bytes: &[u8]) -> Option<usize> {
        let &[_, _, l0, l1, ..] = bytes else { return None };
        Some(HEADER_BYTES + usize::from(u16::from_be_bytes([l0, l1])))
    }

    /// Returns method and class.
    #[must_use]
    pub fn kind(&self) -> Type {
        Type::of(u16::from_be_bytes([self.bytes[0], self.bytes[1]]))
    }

    /// Returns the transaction.
    #[must_use]
    pub fn transaction(&self) -> TransactionId {
        let mut id = [0; 12];
        id.copy_from_slice(&self.bytes[8..HEADER_BYTES]);
        TransactionId(id)
    }

    /// Returns the attributes that count, in order.
    #[must_use]
    pub const fn attributes(&self) -> Attributes<'a> {
        Attributes::of(self.bytes)
    }

    /// Returns the first attribute of a kind; later ones of it do not count (RFC 8489 section 14).
    #[must_use]
    pub fn attribute(&self, kind: AttributeType) -> Option<Attribute<'a>> {
        self.attributes().find(|attribute| attribute.kind == kind)
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

    /// Judges the stronger integrity attribute that is there, under `key`.
    #[must_use]
    pub fn integrity(&self, key: &Key) -> Proof {
        let sha256 = self.attribute(AttributeType::MESSAGE_INTEGRITY_SHA256);
        let Some(attribute) = sha256.or_else(|| self.attribute(AttributeType::MESSAGE_INTEGRITY))
        else {
            return Proof::Absent;
        };
        let (before, _) = self.bytes.split_at(attribute.offset);
        key.judge(before, &attribute)
    }

    /// Returns the whole message.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    fn is_fingerprint(&self, attribute: Attribute<'_>) -> bool {
        let (before, _) = self.bytes.split_at(attribute.offset);
        attribute.number() == Some(integrity::fingerprint(before))
    }
}
