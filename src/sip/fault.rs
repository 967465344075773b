//! What a peer can do wrong, sorted by what is left to say to it.

use super::name::HeaderName;

/// The bytes cannot be followed any further; there is nobody to answer, so the leg is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerMisbehaved {
    /// The first line is neither a request line nor a status line of any SIP version
    /// (RFC 3261 section 7).
    NotSip,
    /// The start line is longer than [`crate::limits::SIP_START_LINE_BYTES_MAX`].
    StartLineTooLong,
    /// A header field is longer than [`crate::limits::SIP_HEADER_BYTES_MAX`].
    HeaderTooLong,
    /// The head is longer than [`crate::limits::SIP_HEAD_BYTES_MAX`].
    HeadTooLong,
    /// There are more than [`crate::limits::SIP_HEADER_FIELDS_MAX`] header fields.
    TooManyHeaderFields,
}

impl PeerMisbehaved {
    /// Returns what happened, in words for an operator.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NotSip => "the peer sent something that is not SIP",
            Self::StartLineTooLong => "the peer sent a start line that is too long",
            Self::HeaderTooLong => "the peer sent a header field that is too long",
            Self::HeadTooLong => "the peer sent a message head that is too long",
            Self::TooManyHeaderFields => "the peer sent too many header fields in one message",
        }
    }
}

/// The head is whole, but where the next message begins cannot be known: answer, then close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FramingFault {
    /// No Content-Length on a stream (RFC 3261 sections 18.3 and 20.14).
    ContentLengthMissing,
    /// A Content-Length that is not a number (RFC 3261 section 20.14).
    ContentLengthInvalid,
    /// Several Content-Length that differ (RFC 4475 section 3.3.9).
    ContentLengthContradicting,
    /// The body is larger than the limit (RFC 3261 section 21.5.7).
    BodyTooLarge,
    /// A carriage return or line feed alone inside the head: two readers could see two different
    /// sets of header fields (RFC 3261 section 7: lines end in CRLF).
    BareLineBreak,
}

impl FramingFault {
    /// Returns the status code to answer a request with.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BodyTooLarge => 513,
            Self::ContentLengthMissing
            | Self::ContentLengthInvalid
            | Self::ContentLengthContradicting
            | Self::BareLineBreak => 400,
        }
    }

    /// Returns the reason phrase to answer a request with.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::ContentLengthMissing => "Missing Content-Length",
            Self::ContentLengthInvalid => "Invalid Content-Length",
            Self::ContentLengthContradicting => "Contradicting Content-Length",
            Self::BodyTooLarge => "Message Too Large",
            Self::BareLineBreak => "Line Does Not End In CRLF",
        }
    }
}

/// The message is framed but not well formed: a request is answered, a response dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyntaxFault {
    /// A SIP version other than 2.0 (RFC 3261 section 21.5.6).
    Version,
    /// A request line with other than two single spaces (RFC 3261 section 7.1).
    RequestLine,
    /// A status code that is not three digits from 100 to 699 (RFC 3261 section 7.2).
    StatusLine,
    /// A header line without a name that is a token and a colon (RFC 3261 section 7.3.1).
    HeaderLine,
    /// A header field that every message must have is not there (RFC 3261 section 8.1.1).
    Missing(HeaderName),
    /// A header field that may be there once is there again (RFC 3261 section 7.3.1).
    Repeated(HeaderName),
    /// The scheme of the Request-URI is not one a SIP proxy routes (RFC 3261 section 16.3).
    Scheme,
    /// The Request-URI is not well formed (RFC 3261 section 19.1.1).
    RequestUri,
    /// The Request-URI carries header fields (RFC 3261 section 19.1.1, table 1).
    RequestUriHeaders,
    /// A URI is not well formed (RFC 3261 section 19.1.1).
    Uri,
    /// A name-addr or addr-spec is not well formed (RFC 3261 section 20.10).
    NameAddr,
    /// From is not well formed (RFC 3261 section 20.20).
    From,
    /// To is not well formed (RFC 3261 section 20.39).
    To,
    /// A Via is not well formed (RFC 3261 section 20.42).
    Via,
    /// More than [`crate::limits::SIP_VIAS_MAX`] Via values.
    TooManyVias,
    /// More than [`crate::limits::SIP_ROUTES_MAX`] Route values.
    TooManyRoutes,
    /// CSeq is not a number below 2^31 and a method (RFC 3261 section 8.1.1.5).
    CSeq,
    /// The method of CSeq is not the request's (RFC 3261 section 8.1.1.5).
    CSeqMethod,
    /// Max-Forwards is not a number up to 255 (RFC 3261 section 20.22).
    MaxForwards,
}

impl SyntaxFault {
    /// Returns the status code to answer a request with.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Version => 505,
            Self::Scheme => 416,
            _ => 400,
        }
    }

    /// Returns the reason phrase to answer a request with.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Version => "Version Not Supported",
            Self::RequestLine => "Malformed Request-Line",
            Self::StatusLine => "Malformed Status-Line",
            Self::HeaderLine => "Malformed Header Field",
            Self::Missing(name) => missing(name),
            Self::Repeated(name) => repeated(name),
            Self::Scheme => "Unsupported URI Scheme",
            Self::RequestUri => "Malformed Request-URI",
            Self::RequestUriHeaders => "Header Fields In Request-URI",
            Self::Uri => "Malformed URI",
            Self::NameAddr => "Malformed Address",
            Self::From => "Malformed From",
            Self::To => "Malformed To",
            Self::Via => "Malformed Via",
            Self::TooManyVias => "Too Many Via",
            Self::TooManyRoutes => "Too Many Route",
            Self::CSeq => "Malformed CSeq",
            Self::CSeqMethod => "CSeq Method Does Not Match",
            Self::MaxForwards => "Malformed Max-Forwards",
        }
    }
}

/// Only the five that RFC 3261 section 8.1.1 demands and this edge cannot do without.
const fn missing(name: HeaderName) -> &'static str {
    match name {
        HeaderName::Via => "Missing Via",
        HeaderName::From => "Missing From",
        HeaderName::To => "Missing To",
        HeaderName::CallId => "Missing Call-ID",
        HeaderName::CSeq => "Missing CSeq",
        _ => "Missing Header Field",
    }
}

const fn repeated(name: HeaderName) -> &'static str {
    match name {
        HeaderName::From => "Repeated From",
        HeaderName::To => "Repeated To",
        HeaderName::CallId => "Repeated Call-ID",
        HeaderName::CSeq => "Repeated CSeq",
        HeaderName::MaxForwards => "Repeated Max-Forwards",
        HeaderName::ContentLength => "Repeated Content-Length",
        HeaderName::ContentType => "Repeated Content-Type",
        _ => "Repeated Header Field",
    }
}
