//! Message Integrity of the dialect: HMAC-SHA1 over an input padded with zeros.

use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::{Digest as _, Md5};
use sha1::Sha1;

use super::super::header::HEADER_BYTES;
use super::numbers::INTEGRITY_BLOCK_BYTES;

/// Bytes of Message Integrity with its header.
const ATTRIBUTE_BYTES: usize = 24;

/// A long-term key.
#[derive(Clone, Copy)]
pub struct Key([u8; 16]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(secret)")
    }
}

impl Key {
    /// Returns the key of raw username and password, as they are once base64 is taken off.
    #[must_use]
    pub fn long_term(username: &[u8], realm: &[u8], password: &[u8]) -> Self {
        let joined = Md5::new().chain_update(username).chain_update(b":").chain_update(realm);
        Self(joined.chain_update(b":").chain_update(password).finalize().into())
    }

    /// Returns Message Integrity over `before`, the message up to it.
    pub(super) fn prove(&self, before: &[u8]) -> [u8; 20] {
        self.over(before).finalize().into_bytes().into()
    }

    /// Tells whether `value` is that, in a time that does not depend on where it differs.
    pub(super) fn proves(&self, before: &[u8], value: &[u8]) -> bool {
        self.over(before).verify_slice(value).is_ok()
    }

    fn over(&self, before: &[u8]) -> Hmac<Sha1> {
        let length = (before.len() + ATTRIBUTE_BYTES - HEADER_BYTES) as u16;
        let (kind, rest) = before.split_at(2);
        let (_, rest) = rest.split_at(2);
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(kind);
        mac.update(&length.to_be_bytes());
        mac.update(rest);
        let padding = before.len().next_multiple_of(INTEGRITY_BLOCK_BYTES) - before.len();
        mac.update(&[0; INTEGRITY_BLOCK_BYTES][..padding]);
        mac
    }
}
