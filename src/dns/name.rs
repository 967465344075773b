//! A domain name in the one form that is compared: A-labels, lower case, no trailing dot.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The text is no domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a domain name")]
pub struct NotADomain;

/// Longest name (RFC 1035 section 3.1, in text form).
const NAME_BYTES_MAX: usize = 253;

/// A domain name or host name: ASCII, lower case, at most 253 bytes, no trailing dot.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(Arc<str>);

impl Domain {
    /// Reads an ASCII name as it stands on the wire; upper case is folded, a trailing dot dropped.
    ///
    /// # Errors
    /// [`NotADomain`] for empty or over-long labels and bytes other than letters, digits, hyphen
    /// and underscore (RFC 1123 section 2.1; the underscore is seen in the wild).
    pub fn parse(text: &[u8]) -> Result<Self, NotADomain> {
        let text = text.strip_suffix(b".").unwrap_or(text);
        let mut lower = [0_u8; NAME_BYTES_MAX];
        let lower = lower.get_mut(..text.len()).ok_or(NotADomain)?;
        for label in text.split(|&b| b == b'.') {
            let usable = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            if label.is_empty() || label.len() > 63 || !label.iter().all(usable) {
                return Err(NotADomain);
            }
        }
        lower.copy_from_slice(text);
        lower.make_ascii_lowercase();
        // By the million, the one allocation of a name is most of what it costs.
        Ok(Self(std::str::from_utf8(lower).map_err(|_| NotADomain)?.into()))
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Domain {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}
