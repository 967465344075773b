//! SASL EXTERNAL between servers (RFC 6120 section 6, XEP-0178 section 3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::element::Element;
use super::{ns, write};

/// Why SASL failed (RFC 6120 section 6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SaslFailure {
    /// The initiator gave up (section 6.5.1).
    Aborted,
    /// The account is disabled (section 6.5.2).
    AccountDisabled,
    /// The credentials have expired (section 6.5.3).
    CredentialsExpired,
    /// TLS has to come first (section 6.5.4).
    EncryptionRequired,
    /// The payload is no Base64 (section 6.5.5).
    IncorrectEncoding,
    /// The initiator may not speak for this name (section 6.5.6).
    InvalidAuthzid,
    /// No such mechanism is offered (section 6.5.7).
    InvalidMechanism,
    /// The element is not as it should be (section 6.5.8).
    MalformedRequest,
    /// The mechanism is too weak for this name (section 6.5.9).
    MechanismTooWeak,
    /// The credentials prove nothing (section 6.5.10).
    NotAuthorized,
    /// Something failed that may pass (section 6.5.11).
    TemporaryAuthFailure,
}

impl SaslFailure {
    /// Every condition.
    pub const ALL: [Self; 11] = [
        Self::Aborted,
        Self::AccountDisabled,
        Self::CredentialsExpired,
        Self::EncryptionRequired,
        Self::IncorrectEncoding,
        Self::InvalidAuthzid,
        Self::InvalidMechanism,
        Self::MalformedRequest,
        Self::MechanismTooWeak,
        Self::NotAuthorized,
        Self::TemporaryAuthFailure,
    ];

    /// Returns the name of the condition's element.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::AccountDisabled => "account-disabled",
            Self::CredentialsExpired => "credentials-expired",
            Self::EncryptionRequired => "encryption-required",
            Self::IncorrectEncoding => "incorrect-encoding",
            Self::InvalidAuthzid => "invalid-authzid",
            Self::InvalidMechanism => "invalid-mechanism",
            Self::MalformedRequest => "malformed-request",
            Self::MechanismTooWeak => "mechanism-too-weak",
            Self::NotAuthorized => "not-authorized",
            Self::TemporaryAuthFailure => "temporary-auth-failure",
        }
    }
}

/// An element of SASL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sasl {
    /// The initiator chose EXTERNAL. `None`: it gave no name, its stream's `from` counts
    /// (XEP-0178 section 3, step 8). A name is as it came, not judged.
    Auth(Option<String>),
    /// The initiator chose, but not what can be served.
    Refused(SaslFailure),
    /// The receiver wants a name, which XEP-0178 section 3 allows it to ask for; answer with
    /// [`write_response`].
    Challenge,
    /// The initiator's name, after a challenge.
    Response(Option<String>),
    /// The initiator gives up.
    Abort,
    /// Done: the stream begins anew.
    Success,
    /// The receiver refuses.
    Failure(SaslFailure),
}

impl Sasl {
    /// Reads an element. `None`: it is not of SASL.
    #[must_use]
    pub fn read(element: &Element<'_>) -> Option<Self> {
        if element.namespace() != ns::SASL {
            return None;
        }
        Some(match element.name() {
            "auth" if element.attribute("mechanism").as_deref() != Some("EXTERNAL") => {
                Self::Refused(SaslFailure::InvalidMechanism)
            }
            "auth" => match payload(element) {
                Ok(name) => Self::Auth(name),
                Err(failure) => Self::Refused(failure),
            },
            "response" => match payload(element) {
                Ok(name) => Self::Response(name),
                Err(failure) => Self::Refused(failure),
            },
            "challenge" => Self::Challenge,
            "abort" => Self::Abort,
            "success" => Self::Success,
            "failure" => Self::Failure(failure(element)),
            _ => return None,
        })
    }
}

/// Reads the name that an element carries; none and `=` are the empty name (RFC 6120 section
/// 6.4.2).
fn payload(element: &Element<'_>) -> Result<Option<String>, SaslFailure> {
    let text = element.text();
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    if matches!(text, "" | "=") {
        return Ok(None);
    }
    let name = STANDARD.decode(text).map_err(|_| SaslFailure::IncorrectEncoding)?;
    let name = String::from_utf8(name).map_err(|_| SaslFailure::InvalidAuthzid)?;
    Ok(Some(name).filter(|name| !name.is_empty()))
}

fn failure(element: &Element<'_>) -> SaslFailure {
    let named = |name: &str| SaslFailure::ALL.into_iter().find(|f| f.as_str() == name);
    let conditions = element.children().filter(|child| child.namespace() == ns::SASL);
    // RFC 6120 section 6.5: an unknown condition means what this one does.
    conditions.filter_map(|child| named(child.name())).next().unwrap_or(SaslFailure::NotAuthorized)
}

/// Appends `<auth>` for a domain; `None`: the name is the stream's `from` (XEP-0178 section 3).
pub fn write_auth(domain: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<auth");
    write::attribute("xmlns", ns::SASL, out);
    write::attribute("mechanism", "EXTERNAL", out);
    write_payload("auth", domain, out);
}

/// Appends the answer to a challenge.
pub fn write_response(domain: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<response");
    write::attribute("xmlns", ns::SASL, out);
    write_payload("response", domain, out);
}

fn write_payload(element: &str, domain: Option<&str>, out: &mut Vec<u8>) {
    out.push(b'>');
    match domain {
        Some(domain) => out.extend_from_slice(STANDARD.encode(domain).as_bytes()),
        None => out.push(b'='),
    }
    out.extend_from_slice(b"</");
    out.extend_from_slice(element.as_bytes());
    out.push(b'>');
}

/// Appends `<success/>`.
pub fn write_success(out: &mut Vec<u8>) {
    write::empty("success", ns::SASL, out);
}

/// Appends `<failure>` with its condition.
pub fn write_failure(failure: SaslFailure, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<failure");
    write::attribute("xmlns", ns::SASL, out);
    out.extend_from_slice(b"><");
    out.extend_from_slice(failure.as_str().as_bytes());
    out.extend_from_slice(b"/></failure>");
}
