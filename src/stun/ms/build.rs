//! Writing a message of the dialect into the caller's buffer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::super::attribute::Address;
use super::super::header::HEADER_BYTES;
use super::integrity::Key;
use super::message::TransactionId;
use super::numbers::{AttributeType, COOKIE, MessageType};

/// A message under way, at the end of a buffer. The length in its header is right after each step.
#[derive(Debug)]
pub struct Builder<'b> {
    out: &'b mut Vec<u8>,
    start: usize,
    transaction: TransactionId,
}

impl<'b> Builder<'b> {
    /// Begins a message behind what `out` holds; the cookie is there at once.
    pub fn new(out: &'b mut Vec<u8>, kind: MessageType, transaction: TransactionId) -> Self {
        let start = out.len();
        out.extend_from_slice(&kind.0.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&transaction.0);
        let mut this = Self { out, start, transaction };
        this.attribute(AttributeType::MAGIC_COOKIE, &COOKIE);
        this
    }

    /// Appends an attribute, without padding.
    ///
    /// `value`: at most 65,535 bytes, and the message stays below that in all.
    pub fn attribute(&mut self, kind: AttributeType, value: &[u8]) -> &mut Self {
        assert!(value.len() <= usize::from(u16::MAX), "an attribute has a length of 16 bits");
        self.out.extend_from_slice(&kind.0.to_be_bytes());
        self.out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.out.extend_from_slice(value);
        let length = self.out.len() - self.start - HEADER_BYTES;
        assert!(length <= usize::from(u16::MAX), "a message has a length of 16 bits");
        self.out[self.start + 2..self.start + 4].copy_from_slice(&(length as u16).to_be_bytes());
        self
    }

    /// Appends a 32-bit number.
    pub fn number(&mut self, kind: AttributeType, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Appends an address in the clear.
    pub fn address(&mut self, kind: AttributeType, address: SocketAddr) -> &mut Self {
        let (wire, length) = Address(address).wire();
        self.attribute(kind, &wire[..length])
    }

    /// Appends XOR Mapped Address: hidden by the first bytes of the transaction id, which in this
    /// dialect no cookie fills.
    pub fn xor_mapped_address(&mut self, address: SocketAddr) -> &mut Self {
        let (wire, length) = Address(xor(address, self.transaction)).wire();
        self.attribute(AttributeType::XOR_MAPPED_ADDRESS, &wire[..length])
    }

    /// Appends Error Code with a reason.
    pub fn error(&mut self, code: u16, reason: &str) -> &mut Self {
        let mut value = vec![0, 0, (code / 100) as u8, (code % 100) as u8];
        value.extend_from_slice(reason.as_bytes());
        self.attribute(AttributeType::ERROR_CODE, &value)
    }

    /// Appends Message Integrity, the last attribute there is.
    pub fn integrity(&mut self, key: &Key) -> &mut Self {
        let proof = key.prove(&self.out[self.start..]);
        self.attribute(AttributeType::MESSAGE_INTEGRITY, &proof)
    }
}

/// Hides an address, or shows it again.
fn xor(address: SocketAddr, TransactionId(id): TransactionId) -> SocketAddr {
    let port = address.port() ^ u16::from_be_bytes([id[0], id[1]]);
    let mask = u128::from_be_bytes(id);
    let ip = match address.ip() {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() ^ (mask >> 96) as u32)),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() ^ mask)),
    };
    SocketAddr::new(ip, port)
}
