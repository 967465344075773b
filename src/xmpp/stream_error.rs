//! The conditions that end a stream (RFC 6120 section 4.9).

use super::element::Element;
use super::{ns, write};
use crate::limits;

/// A stream error; every one is fatal to the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamError {
    /// XML that cannot be processed (section 4.9.3.1).
    BadFormat,
    /// A namespace prefix is missing or not supported (section 4.9.3.2).
    BadNamespacePrefix,
    /// A newer stream takes this one's place (section 4.9.3.3).
    Conflict,
    /// Nothing was heard for too long (section 4.9.3.4).
    ConnectionTimeout,
    /// The domain is served here no more (section 4.9.3.5).
    HostGone,
    /// The domain is not served here (section 4.9.3.6).
    HostUnknown,
    /// A stanza without `to` or `from`, or with a wrong one (section 4.9.3.7).
    ImproperAddressing,
    /// The server's own fault (section 4.9.3.8).
    InternalServerError,
    /// A `from` that was not authenticated for the stream (section 4.9.3.9).
    InvalidFrom,
    /// The stream's namespace is another one, or the content's is not supported
    /// (section 4.9.3.10).
    InvalidNamespace,
    /// XML that is not valid, where that is checked (section 4.9.3.11).
    InvalidXml,
    /// Something was sent before authentication (section 4.9.3.12).
    NotAuthorized,
    /// XML that is not well-formed (section 4.9.3.13).
    NotWellFormed,
    /// A local rule, such as a size (section 4.9.3.14).
    PolicyViolation,
    /// A connection that is needed to go on cannot be made (section 4.9.3.15).
    RemoteConnectionFailed,
    /// A security layer has to be negotiated anew (section 4.9.3.16).
    Reset,
    /// The server lacks what it needs to serve the stream (section 4.9.3.17).
    ResourceConstraint,
    /// XML that XMPP forbids: comments, processing instructions, DTD, entities
    /// (section 4.9.3.18).
    RestrictedXml,
    /// Another host is to be used (section 4.9.3.19).
    SeeOtherHost,
    /// The server ends (section 4.9.3.20).
    SystemShutdown,
    /// What no other condition says (section 4.9.3.21).
    UndefinedCondition,
    /// The stream is not UTF-8 (section 4.9.3.22).
    UnsupportedEncoding,
    /// A feature that the peer demands is not supported (section 4.9.3.23).
    UnsupportedFeature,
    /// A first-level element that is none of the three stanzas (section 4.9.3.24).
    UnsupportedStanzaType,
    /// The version of the stream is not supported (section 4.9.3.25).
    UnsupportedVersion,
}

/// A stream error as the peer sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedStreamError {
    /// The condition; an unknown one counts as undefined (section 4.9.3.21).
    pub condition: StreamError,
    /// What the peer wrote for people, cut to [`limits::XMPP_ERROR_TEXT_BYTES_MAX`].
    pub text: Option<String>,
    /// Where `see-other-host` points; never followed without the address rule.
    pub other_host: Option<String>,
}

impl StreamError {
    /// Every condition.
    pub const ALL: [Self; 25] = [
        Self::BadFormat,
        Self::BadNamespacePrefix,
        Self::Conflict,
        Self::ConnectionTimeout,
        Self::HostGone,
        Self::HostUnknown,
        Self::ImproperAddressing,
        Self::InternalServerError,
        Self::InvalidFrom,
        Self::InvalidNamespace,
        Self::InvalidXml,
        Self::NotAuthorized,
        Self::NotWellFormed,
        Self::PolicyViolation,
        Self::RemoteConnectionFailed,
        Self::Reset,
        Self::ResourceConstraint,
        Self::RestrictedXml,
        Self::SeeOtherHost,
        Self::SystemShutdown,
        Self::UndefinedCondition,
        Self::UnsupportedEncoding,
        Self::UnsupportedFeature,
        Self::UnsupportedStanzaType,
        Self::UnsupportedVersion,
    ];

    /// Returns the name of the condition's element.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadFormat => "bad-format",
            Self::BadNamespacePrefix => "bad-namespace-prefix",
            Self::Conflict => "conflict",
            Self::ConnectionTimeout => "connection-timeout",
            Self::HostGone => "host-gone",
            Self::HostUnknown => "host-unknown",
            Self::ImproperAddressing => "improper-addressing",
            Self::InternalServerError => "internal-server-error",
            Self::InvalidFrom => "invalid-from",
            Self::InvalidNamespace => "invalid-namespace",
            Self::InvalidXml => "invalid-xml",
            Self::NotAuthorized => "not-authorized",
            Self::NotWellFormed => "not-well-formed",
            Self::PolicyViolation => "policy-violation",
            Self::RemoteConnectionFailed => "remote-connection-failed",
            Self::Reset => "reset",
            Self::ResourceConstraint => "resource-constraint",
            Self::RestrictedXml => "restricted-xml",
            Self::SeeOtherHost => "see-other-host",
            Self::SystemShutdown => "system-shutdown",
            Self::UndefinedCondition => "undefined-condition",
            Self::UnsupportedEncoding => "unsupported-encoding",
            Self::UnsupportedFeature => "unsupported-feature",
            Self::UnsupportedStanzaType => "unsupported-stanza-type",
            Self::UnsupportedVersion => "unsupported-version",
        }
    }

    /// Returns the condition of an element's name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        // COMPAT(RFC 3920 servers): `invalid-id` and the misspelt name are of the older document.
        match name {
            "xml-not-well-formed" => Some(Self::NotWellFormed),
            "invalid-id" => Some(Self::InvalidFrom),
            _ => Self::ALL.into_iter().find(|error| error.as_str() == name),
        }
    }

    /// Appends `<stream:error>` with the condition and, if given, a text for people. The end of the
    /// stream is the caller's to write.
    pub fn write(self, text: Option<&str>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<stream:error><");
        out.extend_from_slice(self.as_str().as_bytes());
        write::attribute("xmlns", ns::STREAM_ERRORS, out);
        out.extend_from_slice(b"/>");
        if let Some(text) = text {
            out.extend_from_slice(b"<text");
            write::attribute("xmlns", ns::STREAM_ERRORS, out);
            out.extend_from_slice(b" xml:lang='en'>");
            write::text(text, out);
            out.extend_from_slice(b"</text>");
        }
        out.extend_from_slice(b"</stream:error>");
    }

    /// Reads a stream error. `None`: the element is none.
    #[must_use]
    pub fn read(element: &Element<'_>) -> Option<ReceivedStreamError> {
        if !element.is("error", ns::STREAMS) {
            return None;
        }
        let mut received = ReceivedStreamError {
            condition: Self::UndefinedCondition,
            text: None,
            other_host: None,
        };
        for child in element.children() {
            if child.namespace() != ns::STREAM_ERRORS {
                continue;
            }
            if child.name() == "text" {
                received.text = Some(write::cut(child.text(), limits::XMPP_ERROR_TEXT_BYTES_MAX));
            } else if let Some(condition) = Self::named(child.name()) {
                received.condition = condition;
                if condition == Self::SeeOtherHost {
                    let host = write::cut(child.text(), limits::XMPP_ERROR_TEXT_BYTES_MAX);
                    received.other_host = Some(host);
                }
            }
        }
        Some(received)
    }
}
