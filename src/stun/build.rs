//! Writing a message into the caller's buffer.

use std::net::SocketAddr;

use super::attribute::{Address, AttributeType, ErrorCode, Family};
use super::header::{HEADER_BYTES, MAGIC_COOKIE, TransactionId, Type};
use super::integrity::{self, FINGERPRINT_BYTES, Key};

/// A message under way, at the end of a buffer. The length in its header is right after each step.
#[derive(Debug)]
pub struct Builder<'b> {
    out: &'b mut Vec<u8>,
    start: usize,
    transaction: TransactionId,
}

impl<'b> Builder<'b> {
    /// Begins a message behind what `out` holds.
    pub fn new(out: &'b mut Vec<u8>, kind: Type, transaction: TransactionId) -> Self {
        let start = out.len();
        out.extend_from_slice(&kind.wire().to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
        out.extend_from_slice(&transaction.0);
        Self { out, start, transaction }
    }

    /// Appends an attribute, padded with zeros.
    ///
    /// `value`: at most 65,535 bytes, and the message stays below that in all.
    pub fn attribute(&mut self, kind: AttributeType, value: &[u8]) -> &mut Self {
        assert!(value.len() <= usize::from(u16::MAX), "an attribute has a length of 16 bits");
        self.out.extend_from_slice(&kind.0.to_be_bytes());
        self.out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.out.extend_from_slice(value);
        let padded = value.len().next_multiple_of(4) - value.len();
        self.out.extend_from_slice(&[0; 3][..padded]);
        self.set_length(0);
        self
    }

    /// Appends a 32-bit number.
    pub fn number(&mut self, kind: AttributeType, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Appends an address, hidden by XOR (RFC 8489 section 14.2).
    pub fn xor_address(&mut self, kind: AttributeType, address: SocketAddr) -> &mut Self {
        let (wire, length) = Address(address).xor(self.transaction).wire();
        self.attribute(kind, &wire[..length])
    }

    /// Appends an address in the clear, as ALTERNATE-SERVER is.
    pub fn address(&mut self, kind: AttributeType, address: SocketAddr) -> &mut Self {
        let (wire, length) = Address(address).wire();
        self.attribute(kind, &wire[..length])
    }

    /// Appends ERROR-CODE with its registered reason.
    pub fn error(&mut self, error: ErrorCode) -> &mut Self {
        self.reason(AttributeType::ERROR_CODE, 0, error)
    }

    /// Appends ADDRESS-ERROR-CODE: why there is no address of a family (RFC 8656 section 18.12).
    pub fn address_error(&mut self, family: Family, error: ErrorCode) -> &mut Self {
        self.reason(AttributeType::ADDRESS_ERROR_CODE, family.wire(), error)
    }

    fn reason(&mut self, kind: AttributeType, first: u8, error: ErrorCode) -> &mut Self {
        let reason = error.reason().as_bytes();
        let ErrorCode(number) = error;
        let mut value = Vec::with_capacity(4 + reason.len());
        value.extend_from_slice(&[first, 0, (number / 100) as u8, (number % 100) as u8]);
        value.extend_from_slice(reason);
        self.attribute(kind, &value)
    }

    /// Appends MESSAGE-INTEGRITY over all that stands before.
    pub fn integrity_sha1(&mut self, key: &Key) -> &mut Self {
        let proof = key.sha1(&self.out[self.start..]);
        self.attribute(AttributeType::MESSAGE_INTEGRITY, &proof)
    }

    /// Appends MESSAGE-INTEGRITY-SHA256 over all that stands before.
    pub fn integrity_sha256(&mut self, key: &Key) -> &mut Self {
        let proof = key.sha256(&self.out[self.start..]);
        self.attribute(AttributeType::MESSAGE_INTEGRITY_SHA256, &proof)
    }

    /// Appends FINGERPRINT, the last attribute there is.
    pub fn fingerprint(&mut self) -> &mut Self {
        self.set_length(FINGERPRINT_BYTES);
        let crc = integrity::fingerprint(&self.out[self.start..]);
        self.number(AttributeType::FINGERPRINT, crc)
    }

    /// Returns how long the message is so far, in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.out.len() - self.start
    }

    /// A message has a header from the start.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    fn set_length(&mut self, more: usize) {
        let length = self.out.len() - self.start - HEADER_BYTES + more;
        assert!(length <= usize::from(u16::MAX), "a message has a length of 16 bits");
        self.out[self.start + 2..self.start + 4].copy_from_slice(&(length as u16).to_be_bytes());
    }
}
