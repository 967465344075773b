//! Session tickets for remote users: keys that live at most half an hour each.

use std::fmt;
use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;
use rustls::ticketer::TicketRotator;

use super::load::LoadError;
use crate::limits;

/// Makes the tickets of one material: none outlives it, so that a reload ends what it granted.
pub(super) fn tickets() -> Result<Arc<dyn ProducesTickets>, LoadError> {
    // A key seals for half the lifetime and opens for as long again.
    let generator = || match TicketKey::generate() {
        Some(key) => Ok(Box::new(key) as Box<dyn ProducesTickets>),
        None => Err(rustls::crypto::GetRandomFailed),
    };
    Ok(Arc::new(TicketRotator::new(limits::TICKET_LIFETIME_S / 2, generator)?))
}

/// One key; nonces are random, and far fewer than 2^32 tickets are sealed in its time.
struct TicketKey {
    key: LessSafeKey,
    random: SystemRandom,
}

impl TicketKey {
    fn generate() -> Option<Self> {
        let random = SystemRandom::new();
        let mut bytes = [0; 32];
        random.fill(&mut bytes).ok()?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &bytes).ok()?);
        Some(Self { key, random })
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey")
    }
}

impl ProducesTickets for TicketKey {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        limits::TICKET_LIFETIME_S
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let aad = Aad::empty();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .ok()?;
        sealed.extend_from_slice(&nonce);
        Some(sealed)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (sealed, nonce) = ticket.split_last_chunk::<NONCE_LEN>()?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain_bytes = self.key.open_in_place(nonce, Aad::empty(), &mut opened).ok()?.len();
        opened.truncate(plain_bytes);
        Some(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_opens_with_its_own_key_and_no_other() {
        let (key, other) = (TicketKey::generate().unwrap(), TicketKey::generate().unwrap());
        let ticket = key.encrypt(b"session").unwrap();
        assert_eq!(key.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(other.decrypt(&ticket), None);
        for end in 0..ticket.len() {
            assert_eq!(key.decrypt(&ticket[..end]), None);
        }
    }
}
