//! Addresses: `localpart@domainpart/resourcepart` (RFC 7622).

use std::borrow::Cow;
use std::fmt;

use crate::dns::Domain;
use crate::limits;

mod escape;

pub use escape::{escape, unescape};

/// The text is no address (RFC 6120 section 8.3.3.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum JidMalformed {
    /// A part is empty or has more than 1,023 bytes (RFC 7622 section 3.1).
    #[error("a part of the address is empty or too long")]
    Length,
    /// The local part has a character that may not be in it (RFC 7622 section 3.3).
    #[error("the local part of the address has a character that may not be in it")]
    Local,
    /// The domain is no domain name (RFC 7622 section 3.2).
    #[error("the domain of the address is no domain name")]
    Domain,
    /// The resource has a character that may not be in it (RFC 7622 section 3.4).
    #[error("the resource of the address has a character that may not be in it")]
    Resource,
}

/// An address in the form that is compared: local part and resource prepared, the domain in
/// A-labels and lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Jid<'a> {
    local: Option<Cow<'a, str>>,
    domain: Cow<'a, str>,
    resource: Option<Cow<'a, str>>,
}

impl<'a> Jid<'a> {
    /// Reads an address. One of plain ASCII in lower case is borrowed.
    ///
    /// # Errors
    /// [`JidMalformed`]: what is wrong with it.
    /// Source: RFC 7622 section 3.5; prepared by RFC 3920 appendices A and B.
    pub fn parse(text: &'a str) -> Result<Self, JidMalformed> {
        let (bare, resource) = match text.split_once('/') {
            Some((bare, resource)) => (bare, Some(resource)),
            None => (text, None),
        };
        let (local, domain) = match bare.split_once('@') {
            Some((local, domain)) => (Some(local), domain),
            None => (None, bare),
        };
        Ok(Self {
            local: local.map(prepare_local).transpose()?,
            domain: prepare_domain(domain)?,
            resource: resource.map(prepare_resource).transpose()?,
        })
    }

    /// Reads an address that may have had to be decoded.
    ///
    /// # Errors
    /// As [`Jid::parse`].
    pub fn parse_cow(text: Cow<'a, str>) -> Result<Self, JidMalformed> {
        match text {
            Cow::Borrowed(text) => Self::parse(text),
            Cow::Owned(text) => Jid::parse(&text).map(Jid::into_owned),
        }
    }

    /// Makes an address of its parts; they are prepared.
    ///
    /// # Errors
    /// [`JidMalformed`]: what is wrong with them.
    pub fn new(
        local: Option<&'a str>,
        domain: &'a str,
        resource: Option<&'a str>,
    ) -> Result<Self, JidMalformed> {
        Ok(Self {
            local: local.map(prepare_local).transpose()?,
            domain: prepare_domain(domain)?,
            resource: resource.map(prepare_resource).transpose()?,
        })
    }

    /// Returns the part before the `@`.
    #[must_use]
    pub fn local(&self) -> Option<&str> {
        self.local.as_deref()
    }

    /// Returns the domain, in A-labels and lower case.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns the domain as what policy compares.
    #[must_use]
    pub fn to_domain(&self) -> Domain {
        Domain::parse(self.domain.as_bytes()).expect("checked when the address was read")
    }

    /// Returns the part behind the first `/`.
    #[must_use]
    pub fn resource(&self) -> Option<&str> {
        self.resource.as_deref()
    }

    /// Returns the address without its resource.
    #[must_use]
    pub fn bare(&self) -> Jid<'_> {
        Jid {
            local: self.local.as_deref().map(Cow::Borrowed),
            domain: Cow::Borrowed(&*self.domain),
            resource: None,
        }
    }

    /// Returns the address with this resource.
    ///
    /// # Errors
    /// [`JidMalformed`] if that is no resource.
    pub fn with_resource<'b>(&'b self, resource: &'b str) -> Result<Jid<'b>, JidMalformed> {
        Ok(Jid { resource: Some(prepare_resource(resource)?), ..self.bare() })
    }

    /// Tells whether there is no resource.
    #[must_use]
    pub const fn is_bare(&self) -> bool {
        self.resource.is_none()
    }

    /// Returns the address with text of its own.
    #[must_use]
    pub fn into_owned(self) -> Jid<'static> {
        Jid {
            local: self.local.map(|local| Cow::Owned(local.into_owned())),
            domain: Cow::Owned(self.domain.into_owned()),
            resource: self.resource.map(|resource| Cow::Owned(resource.into_owned())),
        }
    }
}

impl fmt::Display for Jid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(local) = &self.local {
            write!(f, "{local}@")?;
        }
        f.write_str(&self.domain)?;
        if let Some(resource) = &self.resource {
            write!(f, "/{resource}")?;
        }
        Ok(())
    }
}

/// Refuses a part that is empty or too long (RFC 7622 section 3.1).
fn measured<T: AsRef<str>>(part: T) -> Result<T, JidMalformed> {
    let len = part.as_ref().len();
    let fits = (1..=limits::XMPP_JID_PART_BYTES_MAX).contains(&len);
    if fits { Ok(part) } else { Err(JidMalformed::Length) }
}

fn prepare_local(local: &str) -> Result<Cow<'_, str>, JidMalformed> {
    let plain = |byte: u8| match byte {
        b'"' | b'&' | b'\'' | b'/' | b':' | b'<' | b'>' | b'@' => false,
        b'A'..=b'Z' => false,
        byte => matches!(byte, b'!'..=b'~'),
    };
    let local = measured(local)?;
    if local.bytes().all(plain) {
        return Ok(Cow::Borrowed(local));
    }
    measured(stringprep::nodeprep(local).map_err(|_| JidMalformed::Local)?)
}

fn prepare_resource(resource: &str) -> Result<Cow<'_, str>, JidMalformed> {
    let resource = measured(resource)?;
    if let Ok(prepared) = stringprep::resourceprep(resource) {
        return measured(prepared);
    }
    // Characters younger than Unicode 3.2, such as most emoji, are in resources that people choose.
    // RFC 3454 section 7 lets them pass where nothing is stored; they stay as they are.
    let known: String =
        resource.chars().filter(|c| !stringprep::tables::unassigned_code_point(*c)).collect();
    if known.len() == resource.len() || stringprep::resourceprep(&known).is_err() {
        return Err(JidMalformed::Resource);
    }
    Ok(Cow::Borrowed(resource))
}

fn prepare_domain(domain: &str) -> Result<Cow<'_, str>, JidMalformed> {
    let domain = measured(domain)?;
    // RFC 7622 section 3.2: a trailing dot is dropped first.
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let ascii = if domain.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        Cow::Borrowed(domain)
    } else {
        idna::domain_to_ascii_cow(domain.as_bytes(), idna::AsciiDenyList::EMPTY)
            .map(|ascii| Cow::Owned(ascii.into_owned()))
            .map_err(|_| JidMalformed::Domain)?
    };
    if is_domain(ascii.as_bytes()) { Ok(ascii) } else { Err(JidMalformed::Domain) }
}

/// Tells whether [`Domain::parse`] would take the name, without making one.
fn is_domain(name: &[u8]) -> bool {
    let usable = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    name.len() <= 253
        && name
            .split(|b| *b == b'.')
            .all(|label| !label.is_empty() && label.len() <= 63 && label.iter().all(usable))
}
