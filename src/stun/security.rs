//! The nonce cookie: what the server can do, said where an attacker cannot take it out unnoticed
//! (RFC 8489 section 9.2).

/// What a nonce of a server begins with that knows of security features.
pub const NONCE_COOKIE: &[u8; 9] = b"obMatJos2";

/// The features, 24 bits behind the cookie, as four characters of base64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecurityFeatures(u32);

/// Bits count from the most significant one of 24 (RFC 8489 sections 9.2 and 18.1), as in the nonce
/// of RFC 8656 section 20; the one of RFC 8489 appendix B.1 counts from the other end.
const PASSWORD_ALGORITHMS: u32 = 1 << 23;
const USERNAME_ANONYMITY: u32 = 1 << 22;
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl SecurityFeatures {
    /// Nothing beyond RFC 5389.
    pub const NONE: Self = Self(0);

    /// Adds that keys may be made by other algorithms than MD5.
    #[must_use]
    pub const fn with_password_algorithms(self) -> Self {
        Self(self.0 | PASSWORD_ALGORITHMS)
    }

    /// Adds that USERHASH may stand for USERNAME.
    #[must_use]
    pub const fn with_username_anonymity(self) -> Self {
        Self(self.0 | USERNAME_ANONYMITY)
    }

    /// Tells whether keys may be made by other algorithms.
    #[must_use]
    pub const fn password_algorithms(self) -> bool {
        self.0 & PASSWORD_ALGORITHMS != 0
    }

    /// Tells whether USERHASH may stand for USERNAME.
    #[must_use]
    pub const fn username_anonymity(self) -> bool {
        self.0 & USERNAME_ANONYMITY != 0
    }

    /// Reads the features of a nonce; `None` if it does not begin with the cookie.
    #[must_use]
    pub fn of_nonce(nonce: &[u8]) -> Option<Self> {
        let digits = nonce.strip_prefix(NONCE_COOKIE)?.first_chunk::<4>()?;
        let mut bits = 0;
        for digit in digits {
            let value = DIGITS.iter().position(|known| known == digit)?;
            bits = bits << 6 | value as u32;
        }
        Some(Self(bits))
    }

    /// Returns what a nonce begins with that says so.
    #[must_use]
    pub fn cookie(self) -> [u8; 13] {
        let mut cookie = [0; 13];
        cookie[..9].copy_from_slice(NONCE_COOKIE);
        for (place, digit) in cookie[9..].iter_mut().enumerate() {
            *digit = DIGITS[(self.0 >> (18 - 6 * place)) as usize & 0x3F];
        }
        cookie
    }
}
