//! Nonces that any edge of the pool can verify and none has to remember.
//!
//! ```text
//! obMatJos2 | 4 characters of features | 22 of time, port and proof
//! ```
//!
//! The time is Unix seconds, 32 bits; the port of the client that asked, 16 bits, is there because
//! no two ports may be given the same (RFC 8489 section 9.2.4); the proof, 80 bits, covers both and
//! the client's address, so that a nonce cannot be carried to another client; all in base64url.
//! While keys roll, the one before still verifies.

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::limits;
use crate::stun::SecurityFeatures;

/// Bytes of a nonce.
pub(super) const NONCE_BYTES: usize = 13 + (TAIL_BYTES * 8).div_ceil(6);
/// The time and the port.
const STAMP_BYTES: usize = 6;
const PROOF_BYTES: usize = 10;
const TAIL_BYTES: usize = STAMP_BYTES + PROOF_BYTES;

/// The keys of a pool for its nonces.
#[derive(Clone)]
pub(super) struct Nonces {
    /// The one that makes, then those that only verify.
    keys: Vec<Hmac<Sha256>>,
    cookie: [u8; 13],
}

/// What a nonce that came back is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Ours, of this client, and not too old.
    Fresh,
    /// Anything else: answered 438.
    Stale,
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nonces").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Nonces {
    /// `keys`: the newest first, at least one.
    pub(super) fn new(keys: &[[u8; 32]], features: SecurityFeatures) -> Self {
        assert!(!keys.is_empty(), "a pool has a key for its nonces");
        let prepare =
            |key: &[u8; 32]| Hmac::new_from_slice(key).expect("HMAC takes keys of any length");
        Self { keys: keys.iter().map(prepare).collect(), cookie: features.cookie() }
    }

    /// Returns a nonce for `client`.
    pub(super) fn make(&self, unix_s: u64, client: SocketAddr) -> [u8; NONCE_BYTES] {
        let made = unix_s as u32;
        let mut tail = [0; TAIL_BYTES];
        tail[..4].copy_from_slice(&made.to_be_bytes());
        tail[4..STAMP_BYTES].copy_from_slice(&client.port().to_be_bytes());
        let proof = proof(&self.keys[0], &tail[..STAMP_BYTES], client.ip());
        tail[STAMP_BYTES..].copy_from_slice(&proof);
        let mut nonce = [0; NONCE_BYTES];
        nonce[..13].copy_from_slice(&self.cookie);
        let written = URL_SAFE_NO_PAD.encode_slice(tail, &mut nonce[13..]);
        assert_eq!(written, Ok(NONCE_BYTES - 13), "a nonce has room for its tail");
        nonce
    }

    /// Judges a nonce that `client` has brought back, from whatever port.
    pub(super) fn judge(&self, nonce: &[u8], unix_s: u64, client: IpAddr) -> Freshness {
        let Some(tail) = nonce.strip_prefix(&self.cookie) else { return Freshness::Stale };
        let mut bytes = [0; TAIL_BYTES];
        if URL_SAFE_NO_PAD.decode_slice(tail, &mut bytes) != Ok(TAIL_BYTES) {
            return Freshness::Stale;
        }
        let (stamp, proven) = bytes.split_at(STAMP_BYTES);
        let made = u32::from_be_bytes([stamp[0], stamp[1], stamp[2], stamp[3]]);
        let age = (unix_s as u32).wrapping_sub(made);
        if u64::from(age) > limits::TURN_NONCE_S {
            return Freshness::Stale;
        }
        let known = self
            .keys
            .iter()
            .any(|key| mac(key, stamp, client).verify_truncated_left(proven).is_ok());
        if known { Freshness::Fresh } else { Freshness::Stale }
    }
}

fn proof(key: &Hmac<Sha256>, stamp: &[u8], client: IpAddr) -> [u8; PROOF_BYTES] {
    let whole = mac(key, stamp, client).finalize().into_bytes();
    std::array::from_fn(|place| whole[place])
}

fn mac(key: &Hmac<Sha256>, stamp: &[u8], client: IpAddr) -> Hmac<Sha256> {
    let mac = key.clone().chain_update(stamp);
    match client {
        IpAddr::V4(ip) => mac.chain_update(ip.octets()),
        IpAddr::V6(ip) => mac.chain_update(ip.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    const AT: SocketAddr = SocketAddr::new(CLIENT, 50_000);

    fn nonces(keys: &[[u8; 32]]) -> Nonces {
        Nonces::new(keys, SecurityFeatures::NONE)
    }

    #[test]
    fn a_nonce_is_good_for_its_client_and_its_time_on_every_edge_of_the_pool() {
        let (one, another) = (nonces(&[[1; 32]]), nonces(&[[2; 32], [1; 32]]));
        let nonce = one.make(1_000_000, AT);
        assert_eq!(another.judge(&nonce, 1_000_000, CLIENT), Freshness::Fresh, "keys roll");
        let last = 1_000_000 + limits::TURN_NONCE_S;
        assert_eq!(one.judge(&nonce, last, CLIENT), Freshness::Fresh);
        assert_eq!(one.judge(&nonce, last + 1, CLIENT), Freshness::Stale);
        assert_eq!(one.judge(&nonce, 1_000_000, OTHER), Freshness::Stale);
        assert_eq!(nonces(&[[3; 32]]).judge(&nonce, 1_000_000, CLIENT), Freshness::Stale);
        assert_eq!(one.judge(&nonce, 999_999, CLIENT), Freshness::Stale, "of the future");
    }

    #[test]
    fn a_changed_nonce_is_stale() {
        let nonces = nonces(&[[1; 32]]);
        let nonce = nonces.make(1_000_000, AT);
        for place in 0..NONCE_BYTES {
            let mut changed = nonce;
            changed[place] ^= 1;
            assert_eq!(nonces.judge(&changed, 1_000_000, CLIENT), Freshness::Stale, "{place}");
        }
        assert_eq!(nonces.judge(&nonce[..NONCE_BYTES - 1], 1_000_000, CLIENT), Freshness::Stale);
        assert_eq!(nonces.judge(b"", 1_000_000, CLIENT), Freshness::Stale);
    }
}
