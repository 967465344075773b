//! Record-Route entries of the inside as a partner sees them (`federation.hide_topology`): the user
//! part of one entry of ours holds all of them, encrypted.
//!
//! ```text
//! <sip:01qAbc0...@sip.contoso.example:5061;transport=tls;lr>
//!      | |`- base64url of nonce (12 bytes), ciphertext, tag (16 bytes)
//!      | `- made in a request (q) or in a response (r)
//!      `- id of the pool's key
//! ```
//!
//! What the partner keeps is all there is: every edge of the pool opens a seal, also after a
//! restart, and under the previous key while keys roll. The AEAD key is derived from the pool's key
//! and the dialog, as in a route token, so a seal opens in its dialog only. The nonce is a keyed
//! hash of what is sealed: the same entries make the same seal, as the responses of one dialog must
//! have the same route set, other entries have another nonce, and no random numbers are needed.

use std::hash::Hasher;

use ring::{aead, hmac};
use siphasher::sip128::{Hasher128, SipHasher24};

use super::branch::{hex, unhex};
use super::route_token::{Dialog, PoolKey, PoolKeys};
use crate::limits;

const NONCE_BYTES: usize = aead::NONCE_LEN;
const TAG_BYTES: usize = 16;
/// Key id and letter.
const PREFIX_BYTES: usize = 3;
/// A seal of nothing.
const SEAL_BYTES_MIN: usize = PREFIX_BYTES + text_bytes(NONCE_BYTES + TAG_BYTES);
/// A seal of as much as one may hold.
const SEAL_BYTES_MAX: usize =
    PREFIX_BYTES + text_bytes(NONCE_BYTES + limits::SEALED_ROUTES_BYTES_MAX + TAG_BYTES);
// With the name of the header and of the edge it stays one header field, also of a peer that has no
// more room for one than this edge.
const _: () = assert!(SEAL_BYTES_MAX + 512 <= limits::SIP_HEADER_BYTES_MAX);

/// What a message was whose entries were sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// A request: its response carries the seal back.
    InRequest,
    /// A response: the seal comes back in Route only.
    InResponse,
}

impl Made {
    const fn letter(self) -> u8 {
        match self {
            Self::InRequest => b'q',
            Self::InResponse => b'r',
        }
    }
}

/// Entries in the order of a Route set that leads inwards, as they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entries(Vec<u8>);

impl Entries {
    /// Adds one behind the others.
    pub(crate) fn push(&mut self, entry: &[u8]) {
        let len = u16::try_from(entry.len()).expect("a header field is bounded");
        self.0.extend_from_slice(&len.to_be_bytes());
        self.0.extend_from_slice(entry);
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Walks them in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (len, behind) = rest.split_first_chunk::<2>()?;
            let (entry, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
            rest = behind;
            Some(entry)
        })
    }
}

/// Returns what an entry of `bytes` takes of [`limits::SEALED_ROUTES_BYTES_MAX`].
pub(crate) const fn packed_bytes(bytes: usize) -> usize {
    2 + bytes
}

/// Returns how the seal was made that the user part of an entry is; `None` if it is none.
pub(crate) fn read(user: &[u8]) -> Option<Made> {
    if !(SEAL_BYTES_MIN..=SEAL_BYTES_MAX).contains(&user.len()) {
        return None;
    }
    [Made::InRequest, Made::InResponse].into_iter().find(|made| user[2] == made.letter())
}

/// The pool's keys for seals, the first of which seals.
#[derive(Debug)]
pub(crate) struct Seals(Vec<Root>);

#[derive(Debug)]
struct Root {
    id: u8,
    key: hmac::Key,
}

impl Seals {
    pub(crate) fn of(keys: &PoolKeys) -> Self {
        Self(keys.0.iter().map(Root::of).collect())
    }

    /// Appends the seal of `entries`, which fit [`limits::SEALED_ROUTES_BYTES_MAX`].
    pub(crate) fn seal(
        &self,
        made: Made,
        dialog: &Dialog<'_>,
        entries: &Entries,
        out: &mut Vec<u8>,
    ) {
        assert!(entries.0.len() <= limits::SEALED_ROUTES_BYTES_MAX, "what is sealed is bounded");
        let root = self.0.first().expect("a pool has at least one key");
        let keys = root.keys(dialog);
        let nonce = keys.nonce(made, &entries.0);
        let mut sealed = Vec::with_capacity(NONCE_BYTES + entries.0.len() + TAG_BYTES);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&entries.0);
        let tag = keys
            .aead
            .seal_in_place_separate_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from([root.id, made.letter()]),
                &mut sealed[NONCE_BYTES..],
            )
            .expect("a few kilobytes are less than the cipher's limit");
        sealed.extend_from_slice(tag.as_ref());
        let mut prefix = [0u8; PREFIX_BYTES];
        hex(&mut prefix[..2], u64::from(root.id));
        prefix[2] = made.letter();
        out.extend_from_slice(&prefix);
        encode(&sealed, out);
    }

    /// Opens a seal if it was made in one of `dialogs` by any key still held.
    pub(crate) fn open<'a>(
        &self,
        text: &[u8],
        dialogs: impl Iterator<Item = Dialog<'a>>,
    ) -> Option<Entries> {
        let made = read(text)?;
        let (prefix, text) = text.split_first_chunk::<PREFIX_BYTES>()?;
        let id = unhex(&prefix[..2])?;
        let root = self.0.iter().find(|root| u64::from(root.id) == id)?;
        let sealed = decode(text)?;
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        dialogs.into_iter().find_map(|dialog| {
            // What does not open is spoilt by the attempt.
            let mut plain = ciphertext.to_vec();
            let nonce = aead::Nonce::assume_unique_for_key(*nonce);
            let aad = aead::Aad::from([root.id, made.letter()]);
            let len = root.keys(&dialog).aead.open_in_place(nonce, aad, &mut plain).ok()?.len();
            plain.truncate(len);
            Some(Entries(plain))
        })
    }
}

impl Root {
    /// Derives the root of all seals under one key of the pool: one secret, several uses.
    fn of(key: &PoolKey) -> Self {
        let parent = hmac::Key::new(hmac::HMAC_SHA256, &key.key);
        let derived = hmac::sign(&parent, b"entente sealed routes 1");
        Self { id: key.id, key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()) }
    }

    /// Derives the keys of one dialog. Domains are compared without regard to case.
    fn keys(&self, dialog: &Dialog<'_>) -> Keys {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [dialog.call_id, dialog.initiator_tag] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        for domain in [dialog.initiator_domain, dialog.other_domain] {
            context.update(&(domain.len() as u64).to_be_bytes());
            context.update(&domain.to_ascii_lowercase());
        }
        let derived = context.sign();
        let (aead, nonce) = derived.as_ref().split_at(16);
        let key = aead::UnboundKey::new(&aead::AES_128_GCM, aead).expect("sixteen bytes");
        Keys { aead: aead::LessSafeKey::new(key), nonce: nonce.try_into().expect("the other half") }
    }
}

/// The keys of one dialog.
struct Keys {
    aead: aead::LessSafeKey,
    nonce: [u8; 16],
}

impl Keys {
    fn nonce(&self, made: Made, plain: &[u8]) -> [u8; NONCE_BYTES] {
        let mut hasher = SipHasher24::new_with_key(&self.nonce);
        hasher.write_u8(made.letter());
        hasher.write(plain);
        let hash = hasher.finish128().as_bytes();
        let mut nonce = [0u8; NONCE_BYTES];
        nonce.copy_from_slice(&hash[..NONCE_BYTES]);
        nonce
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const NO_DIGIT: u8 = u8::MAX;

const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut at = 0;
    while at < DIGITS.len() {
        values[DIGITS[at] as usize] = at as u8;
        at += 1;
    }
    values
};

/// Returns how many digits `bytes` bytes take.
const fn text_bytes(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

/// Appends base64url without padding (RFC 4648 section 5): every digit may stand in a user part.
fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..=group.len() {
            out.push(DIGITS[(word >> (18 - 6 * digit)) as usize & 63]);
        }
    }
}

/// Reads what [`encode`] writes and nothing else: no text has two readings, no bytes two texts.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        let mut word = 0u32;
        for digit in group {
            let value = VALUES[usize::from(*digit)];
            if value == NO_DIGIT {
                return None;
            }
            word = word << 6 | u32::from(value);
        }
        let whole = group.len() * 6 / 8;
        let spare = group.len() * 6 % 8;
        if whole == 0 || word & ((1 << spare) - 1) != 0 {
            return None;
        }
        bytes.extend_from_slice(&(word >> spare).to_be_bytes()[4 - whole..]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const DIALOG: Dialog<'static> = Dialog {
        call_id: b"c1",
        initiator_tag: b"t1",
        initiator_domain: b"contoso.example",
        other_domain: b"fabrikam.example",
    };

    fn seals(ids: &[u8]) -> Seals {
        Seals::of(&PoolKeys(ids.iter().map(|&id| PoolKey { id, key: [id; 16] }).collect()))
    }

    fn entries(texts: &[&[u8]]) -> Entries {
        let mut entries = Entries::default();
        texts.iter().for_each(|text| entries.push(text));
        entries
    }

    fn sealed(seals: &Seals, entries: &Entries) -> Vec<u8> {
        let mut out = Vec::new();
        seals.seal(Made::InRequest, &DIALOG, entries, &mut out);
        out
    }

    fn open(seals: &Seals, text: &[u8]) -> Option<Entries> {
        seals.open(text, [DIALOG].into_iter())
    }

    proptest! {
        #[test]
        fn entries_of_any_number_and_size_come_back_under_any_key(
            id: u8, key: [u8; 16], texts in vec(vec(any::<u8>(), 0..700), 0..12),
            call_id in vec(any::<u8>(), 0..80), tag in vec(any::<u8>(), 0..40),
        ) {
            let seals = Seals::of(&PoolKeys(vec![PoolKey { id, key }]));
            let mut entries = Entries::default();
            let fits = |text: &Vec<u8>| packed_bytes(text.len());
            let mut room = limits::SEALED_ROUTES_BYTES_MAX;
            let texts: Vec<_> = texts.into_iter().take_while(|text| {
                let fit = fits(text) <= room;
                room = room.saturating_sub(fits(text));
                fit
            }).collect();
            texts.iter().for_each(|text| entries.push(text));
            let dialog = Dialog { call_id: &call_id, initiator_tag: &tag, ..DIALOG };
            for made in [Made::InRequest, Made::InResponse] {
                let mut out = Vec::new();
                seals.seal(made, &dialog, &entries, &mut out);
                prop_assert_eq!(read(&out), Some(made));
                prop_assert!(out.iter().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(b)));
                let back = seals.open(&out, [DIALOG, dialog].into_iter()).unwrap();
                prop_assert!(back.iter().eq(texts.iter().map(Vec::as_slice)));
            }
        }

        #[test]
        fn a_seal_with_a_byte_changed_lost_or_added_does_not_open(
            text in vec(any::<u8>(), 0..300), at: prop::sample::Index, byte: u8,
        ) {
            let seals = seals(&[1]);
            let good = sealed(&seals, &entries(&[&text]));
            let at = at.index(good.len());
            let mut changed = good.clone();
            changed[at] = byte;
            prop_assert_eq!(open(&seals, &changed).is_some(), changed == good);
            prop_assert_eq!(open(&seals, &good[..at]), None);
            let longer: Vec<u8> = good.iter().copied().chain([byte]).collect();
            prop_assert_eq!(open(&seals, &longer), None);
        }

        #[test]
        fn what_is_no_seal_is_told_without_a_panic(
            text in vec(any::<u8>(), 0..200), id in 0_u8..3, letter in "[qrx]",
        ) {
            let mut like = format!("{id:02x}{letter}").into_bytes();
            like.extend(text.iter().map(|byte| DIGITS[usize::from(byte & 63)]));
            prop_assert_eq!(open(&seals(&[1]), &like), None);
            prop_assert_eq!(open(&seals(&[1]), &text), None);
        }

        #[test]
        fn digits_read_back_and_every_text_has_one_reading(
            bytes in vec(any::<u8>(), 0..100), text in "[A-Za-z0-9_-]{0,40}",
        ) {
            let mut out = Vec::new();
            encode(&bytes, &mut out);
            prop_assert_eq!(out.len(), text_bytes(bytes.len()));
            prop_assert_eq!(decode(&out), Some(bytes));
            if let Some(read) = decode(text.as_bytes()) {
                let mut again = Vec::new();
                encode(&read, &mut again);
                prop_assert_eq!(again, text.into_bytes());
            }
        }
    }

    #[test]
    fn a_seal_opens_in_its_dialog_only() {
        let seals = seals(&[1]);
        let text = sealed(&seals, &entries(&[b"<sip:a.example;lr>"]));
        for other in [
            Dialog { call_id: b"c2", ..DIALOG },
            Dialog { initiator_tag: b"t2", ..DIALOG },
            Dialog { initiator_domain: b"litware.example", ..DIALOG },
            Dialog { other_domain: b"litware.example", ..DIALOG },
            Dialog { call_id: b"c", initiator_tag: b"1t1", ..DIALOG },
        ] {
            assert_eq!(seals.open(&text, [other].into_iter()), None);
        }
        let shouted = Dialog { other_domain: b"FABRIKAM.example", ..DIALOG };
        assert!(seals.open(&text, [shouted].into_iter()).is_some());
    }

    #[test]
    fn the_previous_key_opens_until_it_is_retired() {
        let text = sealed(&seals(&[1]), &entries(&[b"x"]));
        assert!(open(&seals(&[2, 1]), &text).is_some());
        assert_eq!(open(&seals(&[2]), &text), None);
        let foreign = Seals::of(&PoolKeys(vec![PoolKey { id: 1, key: [7; 16] }]));
        assert_eq!(open(&foreign, &text), None);
    }

    #[test]
    fn equal_entries_make_equal_seals_and_others_have_another_nonce() {
        let seals = seals(&[1]);
        let nonce = |text: &[u8]| decode(&text[PREFIX_BYTES..]).unwrap()[..NONCE_BYTES].to_vec();
        let one = sealed(&seals, &entries(&[b"ab"]));
        assert_eq!(one, sealed(&seals, &entries(&[b"ab"])));
        assert_ne!(nonce(&one), nonce(&sealed(&seals, &entries(&[b"ac"]))));
        let mut response = Vec::new();
        seals.seal(Made::InResponse, &DIALOG, &entries(&[b"ab"]), &mut response);
        assert_ne!(nonce(&one), nonce(&response));
    }

    #[test]
    fn nothing_of_what_is_sealed_can_be_read() {
        let text = sealed(&seals(&[1]), &entries(&[&[0; 300]]));
        let run = text.windows(8).find(|run| run.iter().all(|byte| *byte == run[0]));
        assert_eq!(run, None);
    }
}
