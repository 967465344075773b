//! The signed part of our Record-Route entries (DESIGN 6, in-dialog).
//!
//! A token binds a dialog: Call-ID, the initiator's tag, both SIP domains and the side the entry
//! faces, under a key of the pool with a key id. It chooses the route of an in-dialog request and
//! replaces the test that the Request-URI is ours; it never grants a permit.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

use super::branch::{hex, unhex};

/// URI parameter that carries the token.
pub(crate) const PARAMETER: &str = "et";

/// Bytes of a token: key id, side, MAC.
pub(crate) const TOKEN_BYTES: usize = 2 + 1 + 32;

/// Which of our two Record-Route entries this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Facing {
    /// Partners use it on 5061.
    Partner,
    /// Remote users use it on 443.
    RemoteUser,
    /// Next hops use it.
    Inside,
}

impl Facing {
    const fn letter(self) -> u8 {
        match self {
            Self::Partner => b'p',
            Self::RemoteUser => b'u',
            Self::Inside => b'i',
        }
    }
}

/// One key of the pool.
#[derive(Clone, Debug)]
pub struct PoolKey {
    /// Names the key in a token, so that the previous one still verifies while keys roll.
    pub id: u8,
    /// The key.
    pub key: [u8; 16],
}

/// The keys that verify; the first signs.
#[derive(Clone, Debug)]
pub struct PoolKeys(pub Vec<PoolKey>);

/// The dialog a token speaks for. Names are compared without regard to case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialog<'a> {
    pub(crate) call_id: &'a [u8],
    pub(crate) initiator_tag: &'a [u8],
    pub(crate) initiator_domain: &'a [u8],
    pub(crate) other_domain: &'a [u8],
}

impl PoolKeys {
    /// Returns the key of an edge that is its pool alone.
    #[must_use]
    pub fn of_one(key: [u8; 16]) -> Self {
        Self(vec![PoolKey { id: 0, key }])
    }

    /// Returns the token of `dialog` under the newest key.
    pub(crate) fn sign(&self, facing: Facing, dialog: &Dialog<'_>) -> [u8; TOKEN_BYTES] {
        let newest = self.0.first().expect("a pool has at least one key");
        token(newest, facing, dialog)
    }

    /// Returns whether `text` was made for `dialog` by any key still held.
    pub(crate) fn verify(&self, text: &[u8], facing: Facing, dialog: &Dialog<'_>) -> bool {
        if text.len() != TOKEN_BYTES {
            return false;
        }
        let Some(id) = unhex(&text[..2]) else { return false };
        let Some(key) = self.0.iter().find(|key| u64::from(key.id) == id) else { return false };
        let expected = token(key, facing, dialog);
        // The difference is gathered over all bytes, so that time does not tell how many matched.
        expected.iter().zip(text).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
    }
}

fn token(key: &PoolKey, facing: Facing, dialog: &Dialog<'_>) -> [u8; TOKEN_BYTES] {
    let mut hasher = SipHasher24::new_with_key(&key.key);
    hasher.write_u8(facing.letter());
    for part in [dialog.call_id, dialog.initiator_tag] {
        hasher.write_usize(part.len());
        hasher.write(part);
    }
    for domain in [dialog.initiator_domain, dialog.other_domain] {
        hasher.write_usize(domain.len());
        for byte in domain {
            hasher.write_u8(byte.to_ascii_lowercase());
        }
    }
    let mac = hasher.finish128();
    let mut text = [0u8; TOKEN_BYTES];
    hex(&mut text[..2], u64::from(key.id));
    text[2] = facing.letter();
    hex(&mut text[3..19], mac.h1);
    hex(&mut text[19..], mac.h2);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(ids: &[u8]) -> PoolKeys {
        PoolKeys(ids.iter().map(|&id| PoolKey { id, key: [id; 16] }).collect())
    }

    const DIALOG: Dialog<'static> = Dialog {
        call_id: b"c1",
        initiator_tag: b"t1",
        initiator_domain: b"contoso.example",
        other_domain: b"fabrikam.example",
    };

    #[test]
    fn a_token_verifies_for_its_dialog_and_side_only() {
        let keys = keys(&[1]);
        let text = keys.sign(Facing::Partner, &DIALOG);
        assert!(keys.verify(&text, Facing::Partner, &DIALOG));
        assert!(!keys.verify(&text, Facing::Inside, &DIALOG));
        for other in [
            Dialog { call_id: b"c2", ..DIALOG },
            Dialog { initiator_tag: b"t2", ..DIALOG },
            Dialog { initiator_domain: b"litware.example", ..DIALOG },
            Dialog { other_domain: b"litware.example", ..DIALOG },
        ] {
            assert!(!keys.verify(&text, Facing::Partner, &other));
        }
    }

    #[test]
    fn parts_cannot_borrow_bytes_from_each_other() {
        let keys = keys(&[1]);
        let text =
            keys.sign(Facing::Partner, &Dialog { call_id: b"ab", initiator_tag: b"c", ..DIALOG });
        let shifted = Dialog { call_id: b"a", initiator_tag: b"bc", ..DIALOG };
        assert!(!keys.verify(&text, Facing::Partner, &shifted));
    }

    #[test]
    fn the_previous_key_verifies_until_it_is_retired() {
        let text = keys(&[1]).sign(Facing::Inside, &DIALOG);
        assert!(keys(&[2, 1]).verify(&text, Facing::Inside, &DIALOG));
        assert!(!keys(&[2]).verify(&text, Facing::Inside, &DIALOG));
    }

    #[test]
    fn domains_are_compared_without_case() {
        let keys = keys(&[1]);
        let text = keys.sign(Facing::Partner, &DIALOG);
        let shouted = Dialog { other_domain: b"FABRIKAM.example", ..DIALOG };
        assert!(keys.verify(&text, Facing::Partner, &shouted));
    }
}
