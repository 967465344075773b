//! Who may use the relay: credentials that carry their own proof, so that any edge of the pool can
//! judge them without asking anybody.
//!
//! * Time-limited ones (the TURN REST convention): the username is `expiry` or `expiry:user` in
//!   Unix seconds, the password base64 of HMAC-SHA1 over it under a secret that the issuer shares.
//! * Tokens, which the credentials service hands out: the username is a blob of expiry and client
//!   with its MAC, the password a MAC of the username. Both travel as base64. Clients of the
//!   Microsoft dialect take it off before they use them, clients of RFC 8489 use what they were
//!   given; either is believed.
//!
//! Several secrets count at once, so that they can roll: a user's tokens of two keys count as two
//! users for as long as both hold.
//!
//! ```text
//!  blob of a token: 1 | form | 0 32 | expiry (8) | MAC of the user (20)                  form 0
//!                   1 | form | 0 32 | expiry (8) | MAC of the user (12) | of its domain (8)    1
//! ```
//!
//! Of a token's user the relay learns the domain, which quotas count by, where it is one of ours: a
//! MAC of each is known to the key. Nobody else learns anything of either. Tokens of both forms are
//! as long and proven alike, so edges that know the first alone believe the second, and count by
//! its user; of tokens of the first form no domain is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use crate::dns::Domain;
use crate::limits;
use crate::stun;

/// Secrets of the pool.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Secrets of time-limited credentials, the newest first.
    pub rest: Vec<Secret>,
    /// Keys of the Microsoft dialect's, the newest first.
    pub mras: Vec<MrasKey>,
}

/// A secret that issuers of time-limited credentials share with the pool.
#[derive(Clone)]
pub struct Secret(Hmac<Sha1>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(secret)")
    }
}

impl Secret {
    /// Returns the secret of these bytes.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("HMAC takes keys of any length"))
    }

    /// Returns the password of `username`, as base64 text.
    #[must_use]
    pub fn password(&self, username: &[u8]) -> String {
        STANDARD.encode(self.mac(username))
    }

    fn mac(&self, bytes: &[u8]) -> [u8; 20] {
        self.0.clone().chain_update(bytes).finalize().into_bytes().into()
    }
}

/// Keys of credentials of the Microsoft dialect.
#[derive(Clone, Debug)]
pub struct MrasKey {
    /// Hides the user's name.
    client: Secret,
    /// Proves the username.
    username: Secret,
    /// Makes the password of it.
    password: Secret,
    /// Hides the domain.
    domain: Secret,
    /// Domains that can be told by what this key makes of them.
    known: Arc<BTreeMap<[u8; Token::DOMAIN_BYTES], Arc<str>>>,
}

/// A username and a password as the credentials service hands them out, before base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Blob and MAC.
    pub username: [u8; Token::USERNAME_BYTES],
    /// MAC of the username.
    pub password: [u8; 20],
}

impl Token {
    const BLOB_BYTES: usize = 32;
    /// Bytes of what stands for the domain, the last of the blob.
    const DOMAIN_BYTES: usize = 8;
    /// The second byte of a blob that has them.
    const WITH_DOMAIN: u8 = 1;
    /// Bytes of a username.
    pub const USERNAME_BYTES: usize = Self::BLOB_BYTES + 20;
    /// Characters of the base64 text of one.
    const TEXT_CHARS: usize = Self::USERNAME_BYTES.div_ceil(3) * 4;

    /// Returns the bytes of a username that is the base64 text of a token's.
    #[must_use]
    pub fn from_text(username: &[u8]) -> Option<Vec<u8>> {
        let decoded = (username.len() == Self::TEXT_CHARS).then(|| STANDARD.decode(username));
        decoded?.ok().filter(|token| token.len() == Self::USERNAME_BYTES)
    }

    /// Returns the part of a username that is the same for all tokens of one user and key; the
    /// whole of what is no token's.
    fn client(username: &[u8]) -> &[u8] {
        username.get(12..Self::BLOB_BYTES).unwrap_or(username)
    }

    /// Returns what stands for the domain of the user, where a token has it.
    fn domain(username: &[u8]) -> Option<&[u8; Self::DOMAIN_BYTES]> {
        let has = username.len() == Self::USERNAME_BYTES && username[1] == Self::WITH_DOMAIN;
        has.then(|| username[..Self::BLOB_BYTES].last_chunk()).flatten()
    }
}

/// Seconds between 1601 and 1970, for FILETIME.
const FILETIME_EPOCH_S: u64 = 11_644_473_600;

impl MrasKey {
    /// Derives the three keys from one secret of the pool.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let root = Secret::new(secret);
        let derive = |purpose: &[u8]| Secret::new(&root.mac(purpose));
        Self {
            client: derive(b"mras client"),
            username: derive(b"mras username"),
            password: derive(b"mras password"),
            domain: derive(b"mras domain"),
            known: Arc::default(),
        }
    }

    /// Lets the domains of users be told from their tokens, where they are among `domains`.
    #[must_use]
    pub fn knowing<'a>(mut self, domains: impl Iterator<Item = &'a str>) -> Self {
        let known = domains.map(|domain| (self.mark(domain), domain.to_ascii_lowercase().into()));
        self.known = Arc::new(known.collect());
        self
    }

    /// Returns what stands for a domain in tokens of this key.
    fn mark(&self, domain: &str) -> [u8; Token::DOMAIN_BYTES] {
        let mac = self.domain.mac(domain.to_ascii_lowercase().as_bytes());
        let mut mark = [0; Token::DOMAIN_BYTES];
        mark.copy_from_slice(&mac[..Token::DOMAIN_BYTES]);
        mark
    }

    /// Returns a token for `identity` that ends at `ends_unix_s` (wire-protocols E.9).
    #[must_use]
    pub fn issue(&self, identity: &str, ends_unix_s: u64) -> Token {
        let mut username = [0; Token::USERNAME_BYTES];
        let filetime = (ends_unix_s + FILETIME_EPOCH_S) * 10_000_000;
        username[..4].copy_from_slice(&[1, 0, 0, Token::BLOB_BYTES as u8]);
        username[4..8].copy_from_slice(&(filetime as u32).to_be_bytes());
        username[8..12].copy_from_slice(&((filetime >> 32) as u32).to_be_bytes());
        username[12..Token::BLOB_BYTES].copy_from_slice(&self.client.mac(identity.as_bytes()));
        if let Some((_, domain)) = identity.rsplit_once('@') {
            username[1] = Token::WITH_DOMAIN;
            let place = Token::BLOB_BYTES - Token::DOMAIN_BYTES;
            username[place..Token::BLOB_BYTES].copy_from_slice(&self.mark(domain));
        }
        let mac = self.username.mac(&username[..Token::BLOB_BYTES]);
        username[Token::BLOB_BYTES..].copy_from_slice(&mac);
        Token { username, password: self.password.mac(&username) }
    }

    /// Returns the password of a username that this key has made, and when it ends.
    fn judge(&self, username: &[u8]) -> Option<([u8; 20], u64)> {
        let username: &[u8; Token::USERNAME_BYTES] = username.try_into().ok()?;
        let (blob, mac) = username.split_at(Token::BLOB_BYTES);
        self.username.0.clone().chain_update(blob).verify_slice(mac).ok()?;
        let number = |at: usize| {
            u64::from(u32::from_be_bytes([blob[at], blob[at + 1], blob[at + 2], blob[at + 3]]))
        };
        let filetime = number(8) << 32 | number(4);
        let ends = (filetime / 10_000_000).checked_sub(FILETIME_EPOCH_S)?;
        Some((self.password.mac(username), ends))
    }
}

/// Why a username gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// It is none of ours, or its time is over: both are answered 401 alike.
    Username,
    /// No secret has been configured for its kind.
    NoSecret,
}

/// Who somebody is, as far as quotas go, and the keys that would prove it.
#[derive(Clone, Debug)]
pub(super) struct Claimed<K> {
    /// One for each secret that may have made the password; at most
    /// [`limits::TURN_SECRETS_MAX`].
    pub(super) keys: Vec<K>,
    /// Quotas count by it: the user's part, or the whole name where there is none.
    pub(super) user: u64,
    /// So do those by the domain in the user's name, where there is one.
    pub(super) partner: Option<u64>,
}

impl Credentials {
    /// Returns the place of the key that has made a token's username, given as its bytes, and when
    /// the token ends in Unix seconds; `None`: none of these keys has.
    #[must_use]
    pub fn token(&self, username: &[u8]) -> Option<(usize, u64)> {
        self.judge(username).map(|(place, _, ends)| (place, ends))
    }

    /// Returns the domain in a username that was proven, where it can be told: of a time-limited
    /// one what is behind its `@`, of a token's, as text or bytes, one of those that its key knows.
    #[must_use]
    pub fn domain(&self, username: &[u8]) -> Option<Arc<str>> {
        let text = Token::from_text(username);
        if let Some(mark) = Token::domain(text.as_deref().unwrap_or(username)) {
            return self.mras.iter().find_map(|key| key.known.get(mark)).map(Arc::clone);
        }
        let (_, user) = split(username)?;
        let at = user.iter().rposition(|byte| *byte == b'@')?;
        // It is shown to operators: what is no name is not.
        Domain::parse(&user[at + 1..]).ok().map(|domain| domain.as_str().into())
    }

    /// Returns what quotas count a token's user by, beside himself.
    fn partner(&self, token: &[u8], hash: impl Fn(&[u8]) -> u64) -> Option<u64> {
        let mark = Token::domain(token)?;
        // As that of a time-limited name with the same domain.
        let named = self.domain(token).map(|domain| hash(format!("@{domain}").as_bytes()));
        Some(named.unwrap_or_else(|| hash(mark)))
    }

    fn judge(&self, username: &[u8]) -> Option<(usize, [u8; 20], u64)> {
        let keys = self.mras.iter().take(limits::TURN_SECRETS_MAX).enumerate();
        keys.filter_map(|(place, key)| key.judge(username).map(|(mac, ends)| (place, mac, ends)))
            .next()
    }

    /// Returns the password of a token that holds.
    fn holds(&self, username: &[u8], unix_s: u64) -> Result<[u8; 20], Unknown> {
        match self.judge(username) {
            Some((_, password, ends)) if ends > unix_s => Ok(password),
            _ => Err(Unknown::Username),
        }
    }

    /// Returns the keys that a request under `username` may be proven with.
    pub(super) fn rfc(
        &self,
        username: &[u8],
        realm: &[u8],
        algorithm: KeyAlgorithm,
        unix_s: u64,
        hash: impl Fn(&[u8]) -> u64,
    ) -> Result<Claimed<stun::Key>, Unknown> {
        if self.rest.is_empty() && self.mras.is_empty() {
            return Err(Unknown::NoSecret);
        }
        let key = |password: String| match algorithm {
            KeyAlgorithm::Md5 => stun::Key::long_term_md5(username, realm, password.as_bytes()),
            KeyAlgorithm::Sha256 => {
                stun::Key::long_term_sha256(username, realm, password.as_bytes())
            }
        };
        if let Some(token) = Token::from_text(username) {
            let password = self.holds(&token, unix_s)?;
            let keys = vec![key(STANDARD.encode(password))];
            let partner = self.partner(&token, &hash);
            return Ok(Claimed { keys, user: hash(Token::client(&token)), partner });
        }
        let user = time_limited(username, unix_s).ok_or(Unknown::Username)?;
        let secrets = self.rest.iter().take(limits::TURN_SECRETS_MAX);
        let keys: Vec<_> = secrets.map(|secret| key(secret.password(username))).collect();
        let at = user.iter().rposition(|byte| *byte == b'@');
        let partner = at.map(|at| hash(&user[at..].to_ascii_lowercase()));
        Ok(Claimed { keys, user: hash(user), partner })
    }

    /// Returns the same for a request of the Microsoft dialect.
    pub(super) fn ms(
        &self,
        username: &[u8],
        realm: &[u8],
        unix_s: u64,
        hash: impl Fn(&[u8]) -> u64,
    ) -> Result<Claimed<stun::ms::Key>, Unknown> {
        if self.mras.is_empty() {
            return Err(Unknown::NoSecret);
        }
        let password = self.holds(username, unix_s)?;
        let key = stun::ms::Key::long_term(username, realm, &password);
        let partner = self.partner(username, &hash);
        let user = hash(Token::client(username));
        Ok(Claimed { keys: vec![key], user, partner })
    }
}

/// How a long-term key is made (RFC 8489 section 18.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyAlgorithm {
    Md5,
    Sha256,
}

/// Returns what quotas count by of a time-limited username that has not ended.
fn time_limited(username: &[u8], unix_s: u64) -> Option<&[u8]> {
    let (expiry, user) = split(username)?;
    (expiry > unix_s).then_some(user)
}

/// Returns when a time-limited username ends, in Unix seconds; `None`: it is none.
#[must_use]
pub fn time_limited_until(username: &[u8]) -> Option<u64> {
    split(username).map(|(expiry, _)| expiry)
}

/// Returns when a time-limited username ends, and whose it is.
fn split(username: &[u8]) -> Option<(u64, &[u8])> {
    let digits = username.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (expiry, rest) = username.split_at(digits);
    let expiry: u64 = std::str::from_utf8(expiry).ok()?.parse().ok()?;
    match rest {
        [] => Some((expiry, username)),
        [b':', user @ ..] => Some((expiry, user)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_time_limited_usernames_are_those_of_the_convention() {
        let north = Secret::new(b"north");
        let password = north.password(b"1433895918:mbzrxpgjys");
        assert_eq!(password, "d2Q1V6JRLjCTMOhoc8cTgEoi7u0=");
        let mysecret = Secret::new(b"mysecret");
        assert_eq!(mysecret.password(b"1700000000:alice"), "PSwWMIID0EkUrZ8pwY2wbdTQnTc=");
    }

    #[test]
    fn a_username_counts_until_its_time_and_not_after() {
        assert_eq!(time_limited(b"1700000000:alice", 1_699_999_999), Some(&b"alice"[..]));
        assert_eq!(time_limited(b"1700000000:alice", 1_700_000_000), None);
        assert_eq!(time_limited(b"1700000000", 1), Some(&b"1700000000"[..]));
        for none in [&b""[..], b"alice", b"1700000000alice", b":alice", b"99999999999999999999:a"] {
            assert_eq!(time_limited(none, 1), None);
        }
    }

    #[test]
    fn a_token_is_known_to_its_key_until_it_ends() {
        let key = MrasKey::new(b"one secret of the pool");
        let token = key.issue("sip:alice@contoso.example", 1_800_000_000);
        assert_eq!(key.judge(&token.username), Some((token.password, 1_800_000_000)));
        assert_eq!(MrasKey::new(b"another").judge(&token.username), None);
        for place in 0..Token::USERNAME_BYTES {
            let mut changed = token.username;
            changed[place] ^= 1;
            assert_eq!(key.judge(&changed), None, "{place}");
        }
        let both = Credentials { rest: Vec::new(), mras: vec![MrasKey::new(b"new"), key] };
        assert_eq!(both.token(&token.username), Some((1, 1_800_000_000)));
        let hash = |_: &[u8]| 7;
        assert!(both.ms(&token.username, b"r", 1_799_999_999, hash).is_ok(), "keys roll");
        let over = both.ms(&token.username, b"r", 1_800_000_000, hash);
        assert_eq!(over.unwrap_err(), Unknown::Username);
    }

    #[test]
    fn a_token_tells_the_domain_of_its_user_to_who_knows_it_and_nothing_else() {
        let key = MrasKey::new(b"one secret of the pool");
        let ends = 1_800_000_000;
        let token = |identity: &str| key.issue(identity, ends).username;
        let (alice, bob) = (token("alice@contoso.example"), token("bob@contoso.example"));
        let stranger = token("alice@fabrikam.example");
        let mark = |token: [u8; Token::USERNAME_BYTES]| *Token::domain(&token).unwrap();
        assert_eq!(mark(alice), mark(bob));
        assert_ne!(mark(alice), mark(stranger));
        assert_ne!(Token::client(&alice), Token::client(&bob));
        assert_ne!(Token::client(&alice), Token::client(&stranger));
        let knowing = key.clone().knowing(["fabrikam.net", "Contoso.example"].into_iter());
        let rest = vec![Secret::new(b"north")];
        let mras = vec![MrasKey::new(b"new").knowing(["contoso.example"].into_iter()), knowing];
        let credentials = Credentials { rest, mras };
        let told = |name: &[u8]| credentials.domain(name).map(|domain| domain.to_string());
        let contoso = Some("contoso.example".to_owned());
        assert_eq!(told(&alice), contoso);
        assert_eq!(told(STANDARD.encode(alice).as_bytes()), contoso);
        assert_eq!(told(&stranger), None, "none of ours");
        assert_eq!(told(b"9999999999:kim@Contoso.example"), contoso);
        for none in [&b"9999999999:kim"[..], b"9999999999:kim@", b"kim@contoso.example"] {
            assert_eq!(told(none), None);
        }
        assert_eq!(told(b"9999999999:kim@contoso\x1b[2J"), None, "nothing for a terminal");

        // Quotas count all of a domain together, however they prove who they are.
        let hash = |name: &[u8]| name.iter().fold(7_u64, |sum, b| sum * 31 % 999_983 + *b as u64);
        let partner = |token: &[u8]| credentials.ms(token, b"r", ends - 1, hash).unwrap().partner;
        let rest = |name: &[u8]| {
            let claimed = credentials.rfc(name, b"r", KeyAlgorithm::Md5, 1, hash);
            claimed.unwrap().partner
        };
        assert_eq!(partner(&alice), partner(&bob));
        assert_eq!(partner(&alice), rest(b"9999999999:kim@contoso.example"));
        assert_eq!(partner(&alice), rest(STANDARD.encode(alice).as_bytes()));
        assert_eq!(partner(&stranger), Some(hash(&mark(stranger))), "apart, if not by name");
        assert_ne!(partner(&stranger), partner(&alice));
    }

    /// A token as edges made it before they carried a domain, and as they judge one that does.
    #[test]
    fn tokens_of_the_form_before_hold_until_they_end_and_count_for_their_user() {
        let key = MrasKey::new(b"one secret of the pool");
        let mut old = key.issue("alice", 1_800_000_000);
        assert_eq!(old.username[..4], [1, 0, 0, 32], "nothing in it names a domain");
        let credentials = Credentials { rest: Vec::new(), mras: vec![key.clone()] };
        let hash = |_: &[u8]| 7;
        let claimed = credentials.ms(&old.username, b"r", 1_799_999_999, hash).unwrap();
        assert_eq!((claimed.user, claimed.partner), (7, None));
        assert_eq!(credentials.domain(&old.username), None);
        old.username[1] = 1;
        assert_eq!(key.judge(&old.username), None, "the form is signed");
        let new = key.issue("alice@contoso.example", 1_800_000_000);
        assert_eq!((new.username.len(), new.username[..4].to_vec()), (52, vec![1, 1, 0, 32]));
        assert!(key.judge(&new.username).is_some());
    }

    #[test]
    fn a_token_is_one_user_by_either_dialect_and_its_password_the_text_that_was_given() {
        let key = MrasKey::new(b"one secret of the pool");
        let token = key.issue("sip:alice@contoso.example", 1_800_000_000);
        let (name, password) = (STANDARD.encode(token.username), STANDARD.encode(token.password));
        let credentials = Credentials { rest: Vec::new(), mras: vec![key] };
        let hash = |user: &[u8]| user.iter().fold(1_u64, |sum, b| sum * 31 % 999_983 + *b as u64);
        let rfc = |unix_s| {
            let algorithm = KeyAlgorithm::Sha256;
            credentials.rfc(name.as_bytes(), b"r", algorithm, unix_s, hash)
        };
        let claimed = rfc(1_799_999_999).unwrap();
        let by_ms = credentials.ms(&token.username, b"r", 1_799_999_999, hash).unwrap();
        assert_eq!(claimed.user, by_ms.user);
        let expected = stun::Key::long_term_sha256(name.as_bytes(), b"r", password.as_bytes());
        let mut wire = Vec::new();
        let kind = stun::Type { method: stun::Method::ALLOCATE, class: stun::Class::Request };
        let id = stun::TransactionId([3; 12]);
        stun::Builder::new(&mut wire, kind, id).integrity_sha1(&expected);
        let message = stun::Message::read(&wire).unwrap();
        assert_eq!(message.integrity(&claimed.keys[0]), stun::Proof::Good);
        assert_eq!(rfc(1_800_000_000).unwrap_err(), Unknown::Username, "its time is over");
        let text = name.as_bytes();
        let forged = [&text[..40], &[text[40] ^ 1], &text[41..]].concat();
        let hash = |_: &[u8]| 7;
        let of_forged = credentials.rfc(&forged, b"r", KeyAlgorithm::Md5, 1, hash);
        assert_eq!(of_forged.unwrap_err(), Unknown::Username);
    }
}
