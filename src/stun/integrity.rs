//! Proof that whoever sent a message knows a key, and that it is a STUN message at all.

use hmac::{Hmac, KeyInit, Mac as _};
use md5::{Digest as _, Md5};
use sha1::Sha1;
use sha2::Sha256;

use super::attribute::{Attribute, AttributeType};
use super::header::HEADER_BYTES;

/// XORed into the CRC, so that a protocol which carries one of its own does not match (RFC 8489
/// section 14.7).
const FINGERPRINT_XOR: u32 = 0x5354_554E;
/// Bytes that FINGERPRINT adds, its header included.
pub(super) const FINGERPRINT_BYTES: usize = 8;
/// Shortest MESSAGE-INTEGRITY-SHA256 (RFC 8489 section 14.6).
const SHA256_BYTES_MIN: usize = 16;

/// A key, filled up with zeros, which is what HMAC does to one before it looks at it (RFC 2104
/// section 2).
///
/// Whoever holds one keeps its 32 bytes. Prepared for both hashes it would be 272, which save each
/// proof two blocks of hashing; a message has about three.
#[derive(Clone, Copy)]
pub struct Key([u8; Key::BYTES]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(secret)")
    }
}

/// What the integrity of a message amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// There is none.
    Absent,
    /// Made with another key, or over another message.
    Wrong,
    /// Made with this key over this message.
    Good,
}

impl Key {
    /// Bytes of the longest key: those of the longer hash.
    pub const BYTES: usize = 32;

    /// Returns the key of a short-term password, prepared by OpaqueString (RFC 8489 section 9.1.1).
    ///
    /// # Panics
    /// If it is longer than [`Key::BYTES`]. Nothing here takes passwords of this kind from others.
    #[must_use]
    pub fn short_term(password: &[u8]) -> Self {
        Self::of(password)
    }

    /// Returns the long-term key by MD5, all parts prepared by OpaqueString (RFC 8489 section
    /// 9.2.2).
    #[must_use]
    pub fn long_term_md5(username: &[u8], realm: &[u8], password: &[u8]) -> Self {
        let joined = Md5::new().chain_update(username).chain_update(b":").chain_update(realm);
        Self::of(&joined.chain_update(b":").chain_update(password).finalize())
    }

    /// Returns the long-term key by SHA-256 (RFC 8489 section 18.5.1.2).
    #[must_use]
    pub fn long_term_sha256(username: &[u8], realm: &[u8], password: &[u8]) -> Self {
        let joined = Sha256::new().chain_update(username).chain_update(b":").chain_update(realm);
        Self::of(&joined.chain_update(b":").chain_update(password).finalize())
    }

    fn of(key: &[u8]) -> Self {
        let mut bytes = [0; Self::BYTES];
        bytes[..key.len()].copy_from_slice(key);
        Self(bytes)
    }

    fn mac<M: KeyInit>(&self) -> M {
        M::new_from_slice(&self.0).expect("HMAC takes keys of any length")
    }

    /// Judges an integrity attribute; `before`: the message up to it. Takes the same time whatever
    /// is wrong.
    pub(super) fn judge(&self, before: &[u8], attribute: &Attribute<'_>) -> Proof {
        let value = attribute.value;
        let good = match attribute.kind {
            AttributeType::MESSAGE_INTEGRITY => {
                let mac = with_length(self.mac::<Hmac<Sha1>>(), before, 4 + value.len());
                mac.verify_slice(value).is_ok()
            }
            _ if value.len() < SHA256_BYTES_MIN || !value.len().is_multiple_of(4) => false,
            _ => {
                let mac = with_length(self.mac::<Hmac<Sha256>>(), before, 4 + value.len());
                mac.verify_truncated_left(value).is_ok()
            }
        };
        if good { Proof::Good } else { Proof::Wrong }
    }

    /// Returns MESSAGE-INTEGRITY over `before`.
    pub(super) fn sha1(&self, before: &[u8]) -> [u8; 20] {
        with_length(self.mac::<Hmac<Sha1>>(), before, 24).finalize().into_bytes().into()
    }

    /// Returns MESSAGE-INTEGRITY-SHA256 over `before`.
    pub(super) fn sha256(&self, before: &[u8]) -> [u8; 32] {
        with_length(self.mac::<Hmac<Sha256>>(), before, 36).finalize().into_bytes().into()
    }
}

/// Hashes `before` with a header whose length reaches to the end of an attribute of `more` bytes
/// behind it (RFC 8489 section 14.5).
fn with_length<M: hmac::Mac>(mut mac: M, before: &[u8], more: usize) -> M {
    let length = (before.len() + more - HEADER_BYTES) as u16;
    let (kind, rest) = before.split_at(2);
    let (_, rest) = rest.split_at(2);
    mac.update(kind);
    mac.update(&length.to_be_bytes());
    mac.update(rest);
    mac
}

/// Returns FINGERPRINT over `before`, the message up to it.
pub(super) fn fingerprint(before: &[u8]) -> u32 {
    let length = (before.len() + FINGERPRINT_BYTES - HEADER_BYTES) as u16;
    let (kind, rest) = before.split_at(2);
    let (_, rest) = rest.split_at(2);
    let mut crc = crc32fast::Hasher::new();
    crc.update(kind);
    crc.update(&length.to_be_bytes());
    crc.update(rest);
    crc.finalize() ^ FINGERPRINT_XOR
}

/// Returns USERHASH (RFC 8489 section 14.4).
#[must_use]
pub fn userhash(username: &[u8], realm: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(username).chain_update(b":").chain_update(realm).finalize().into()
}
