//! What is secret: drawn at the start, or derived from the pool's file.

use ring::rand::SecureRandom as _;

use super::dialback::dialback_secrets;
use crate::config::{self, Config};
use crate::edge::access::{PoolKey, PoolKeys};
use crate::xmpp::dialback;

/// The keys of one process.
pub(super) struct Keys {
    /// For tables and numbers that peers must not guess.
    pub(super) process: [u64; 2],
    /// For generators.
    pub(super) seed: u64,
    /// For route tokens; the pool's.
    pub(super) pool: PoolKeys,
    /// For dialback; the pool's.
    pub(super) dialback: dialback::Secrets,
}

impl Keys {
    /// Draws and derives them.
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub(super) fn of(config: &Config) -> anyhow::Result<Self> {
        let random = ring::rand::SystemRandom::new();
        let (mut bytes, mut own) = ([0_u8; 40], [0_u8; 32]);
        for part in [bytes.as_mut_slice(), own.as_mut_slice()] {
            random.fill(part).map_err(|_| anyhow::anyhow!("the kernel gives no random bytes"))?;
        }
        let word = |place: usize| {
            let mut word = [0_u8; 8];
            word.copy_from_slice(&bytes[place..place + 8]);
            u64::from_le_bytes(word)
        };
        let pool = match &config.secrets {
            Some(secrets) => PoolKeys(secrets.0.iter().map(route_key).collect()),
            None => {
                let mut key = [0_u8; 16];
                key.copy_from_slice(&bytes[24..]);
                PoolKeys::of_one(key)
            }
        };
        let dialback = match dialback_secrets(config).split_first() {
            Some((first, others)) => {
                let others: Vec<&[u8]> = others.iter().map(<[u8; 32]>::as_slice).collect();
                dialback::Secrets::new(first, &others)
            }
            // Of an edge that is its pool alone: nobody else has to know its keys.
            None => dialback::Secrets::new(&own, &[]),
        };
        Ok(Self { process: [word(0), word(8)], seed: word(16), pool, dialback })
    }
}

/// Derives the key of route tokens: one secret, several uses, each with a key of its own.
fn route_key(secret: &config::Secret) -> PoolKey {
    let parent = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret.key);
    let derived = ring::hmac::sign(&parent, b"entente route token 1");
    let mut key = [0_u8; 16];
    key.copy_from_slice(&derived.as_ref()[..16]);
    PoolKey { id: secret.id, key }
}
