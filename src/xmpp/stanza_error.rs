//! Stanza errors (RFC 6120 section 8.3).

use super::element::{Element, Stanza};
use super::{ns, write};
use crate::limits;

/// What the sender of a stanza may do about an error (RFC 6120 section 8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Authenticate or be authorised first.
    Auth,
    /// Do not send it again.
    Cancel,
    /// Go on, it was a warning.
    Continue,
    /// Change it.
    Modify,
    /// Try again later.
    Wait,
}

impl ErrorKind {
    const ALL: [Self; 5] = [Self::Auth, Self::Cancel, Self::Continue, Self::Modify, Self::Wait];

    /// Returns the value of `type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Cancel => "cancel",
            Self::Continue => "continue",
            Self::Modify => "modify",
            Self::Wait => "wait",
        }
    }
}

/// A stanza error's condition (RFC 6120 section 8.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StanzaError {
    /// The stanza cannot be processed (section 8.3.3.1).
    BadRequest,
    /// There is something of that name (section 8.3.3.2).
    Conflict,
    /// Nobody here does that (section 8.3.3.3).
    FeatureNotImplemented,
    /// The sender may not (section 8.3.3.4).
    Forbidden,
    /// The addressee is here no more (section 8.3.3.5).
    Gone,
    /// The server's own fault (section 8.3.3.6).
    InternalServerError,
    /// There is no such thing (section 8.3.3.7).
    ItemNotFound,
    /// An address is none (section 8.3.3.8).
    JidMalformed,
    /// The stanza does not meet what is demanded (section 8.3.3.9).
    NotAcceptable,
    /// Nobody may (section 8.3.3.10).
    NotAllowed,
    /// The sender has not proved who he is (section 8.3.3.11).
    NotAuthorized,
    /// A local rule (section 8.3.3.12).
    PolicyViolation,
    /// The addressee is not there for the moment (section 8.3.3.13).
    RecipientUnavailable,
    /// The addressee is elsewhere (section 8.3.3.14).
    Redirect,
    /// The sender has to register first (section 8.3.3.15).
    RegistrationRequired,
    /// The addressee's server does not exist (section 8.3.3.16).
    RemoteServerNotFound,
    /// The addressee's server cannot be reached in time (section 8.3.3.17).
    RemoteServerTimeout,
    /// The server lacks what it needs (section 8.3.3.18).
    ResourceConstraint,
    /// The service is not offered (section 8.3.3.19).
    ServiceUnavailable,
    /// The sender has to subscribe first (section 8.3.3.20).
    SubscriptionRequired,
    /// What no other condition says (section 8.3.3.21).
    UndefinedCondition,
    /// Not now (section 8.3.3.22).
    UnexpectedRequest,
}

/// A stanza error as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedStanzaError {
    /// The condition; an unknown one counts as undefined.
    pub condition: StanzaError,
    /// What the sender may do; the condition's own if the peer gave none that is known.
    pub kind: ErrorKind,
    /// What the peer wrote for people, cut to [`limits::XMPP_ERROR_TEXT_BYTES_MAX`].
    pub text: Option<String>,
    /// Where `gone` and `redirect` point.
    pub uri: Option<String>,
}

impl From<StanzaError> for ReceivedStanzaError {
    /// The error as it is said with nothing but its condition.
    fn from(condition: StanzaError) -> Self {
        Self { condition, kind: condition.kind(), text: None, uri: None }
    }
}

impl StanzaError {
    /// Every condition.
    pub const ALL: [Self; 22] = [
        Self::BadRequest,
        Self::Conflict,
        Self::FeatureNotImplemented,
        Self::Forbidden,
        Self::Gone,
        Self::InternalServerError,
        Self::ItemNotFound,
        Self::JidMalformed,
        Self::NotAcceptable,
        Self::NotAllowed,
        Self::NotAuthorized,
        Self::PolicyViolation,
        Self::RecipientUnavailable,
        Self::Redirect,
        Self::RegistrationRequired,
        Self::RemoteServerNotFound,
        Self::RemoteServerTimeout,
        Self::ResourceConstraint,
        Self::ServiceUnavailable,
        Self::SubscriptionRequired,
        Self::UndefinedCondition,
        Self::UnexpectedRequest,
    ];

    /// Returns the name of the condition's element.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::Conflict => "conflict",
            Self::FeatureNotImplemented => "feature-not-implemented",
            Self::Forbidden => "forbidden",
            Self::Gone => "gone",
            Self::InternalServerError => "internal-server-error",
            Self::ItemNotFound => "item-not-found",
            Self::JidMalformed => "jid-malformed",
            Self::NotAcceptable => "not-acceptable",
            Self::NotAllowed => "not-allowed",
            Self::NotAuthorized => "not-authorized",
            Self::PolicyViolation => "policy-violation",
            Self::RecipientUnavailable => "recipient-unavailable",
            Self::Redirect => "redirect",
            Self::RegistrationRequired => "registration-required",
            Self::RemoteServerNotFound => "remote-server-not-found",
            Self::RemoteServerTimeout => "remote-server-timeout",
            Self::ResourceConstraint => "resource-constraint",
            Self::ServiceUnavailable => "service-unavailable",
            Self::SubscriptionRequired => "subscription-required",
            Self::UndefinedCondition => "undefined-condition",
            Self::UnexpectedRequest => "unexpected-request",
        }
    }

    /// Returns the condition of an element's name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|error| error.as_str() == name)
    }

    /// Returns the type that goes with the condition; the first where the RFC gives a choice.
    #[must_use]
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::BadRequest
            | Self::JidMalformed
            | Self::NotAcceptable
            | Self::PolicyViolation
            | Self::Redirect => ErrorKind::Modify,
            Self::Conflict
            | Self::FeatureNotImplemented
            | Self::Gone
            | Self::InternalServerError
            | Self::ItemNotFound
            | Self::NotAllowed
            | Self::RemoteServerNotFound
            | Self::ServiceUnavailable
            | Self::UndefinedCondition => ErrorKind::Cancel,
            Self::Forbidden
            | Self::NotAuthorized
            | Self::RegistrationRequired
            | Self::SubscriptionRequired => ErrorKind::Auth,
            Self::RecipientUnavailable
            | Self::RemoteServerTimeout
            | Self::ResourceConstraint
            | Self::UnexpectedRequest => ErrorKind::Wait,
        }
    }

    /// Reads the error of a stanza, or of a dialback element. `None`: there is none.
    #[must_use]
    pub fn read(element: &Element<'_>) -> Option<ReceivedStanzaError> {
        // Its namespace is the stanza's own.
        let error = element.children().find(|child| child.name() == "error")?;
        let mut condition = Self::UndefinedCondition;
        let (mut text, mut uri) = (None, None);
        for child in error.children() {
            if child.namespace() != ns::STANZA_ERRORS {
                continue;
            }
            let cut = || write::cut(child.text(), limits::XMPP_ERROR_TEXT_BYTES_MAX);
            if child.name() == "text" {
                text = Some(cut());
            } else if let Some(named) = Self::named(child.name()) {
                condition = named;
                uri = Some(cut()).filter(|uri| !uri.is_empty());
            }
        }
        let kind = error.attribute("type");
        let kind = ErrorKind::ALL.into_iter().find(|k| Some(k.as_str()) == kind.as_deref());
        let kind = kind.unwrap_or(condition.kind());
        Some(ReceivedStanzaError { condition, kind, text, uri })
    }

    /// Appends `<error>` with the condition, its default type and, if given, a text for people.
    pub fn write(self, text: Option<&str>, out: &mut Vec<u8>) {
        self.write_as(self.kind(), text, out);
    }

    /// Appends the same with a type of its own.
    pub fn write_as(self, kind: ErrorKind, text: Option<&str>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<error");
        write::attribute("type", kind.as_str(), out);
        out.push(b'>');
        write::empty(self.as_str(), ns::STANZA_ERRORS, out);
        if let Some(text) = text {
            out.extend_from_slice(b"<text");
            write::attribute("xmlns", ns::STANZA_ERRORS, out);
            write::attribute("xml:lang", "en", out);
            out.push(b'>');
            write::text(text, out);
            out.extend_from_slice(b"</text>");
        }
        out.extend_from_slice(b"</error>");
    }

    /// Appends the answer to a stanza: from and to exchanged, the same id, type `error`. `None`,
    /// and nothing written: an error or an answer is not answered with an error (RFC 6120 section
    /// 8.3.1), nor what is no stanza.
    ///
    /// The original payload is left out: the sender knows it, and it may be large.
    pub fn reply(
        self,
        stanza: &Element<'_>,
        text: Option<&str>,
        out: &mut Vec<u8>,
    ) -> Option<Stanza> {
        let kind = stanza.stanza()?;
        match (kind, stanza.kind().as_deref()) {
            (_, Some("error")) | (Stanza::Iq, Some("result")) => return None,
            _ => {}
        }
        out.push(b'<');
        out.extend_from_slice(kind.as_str().as_bytes());
        let attributes = [("from", stanza.to()), ("to", stanza.from()), ("id", stanza.id())];
        for (name, value) in attributes {
            if let Some(value) = value {
                write::attribute(name, &value, out);
            }
        }
        write::attribute("type", "error", out);
        out.push(b'>');
        self.write(text, out);
        out.extend_from_slice(b"</");
        out.extend_from_slice(kind.as_str().as_bytes());
        out.push(b'>');
        Some(kind)
    }
}
