//! What a peer's bytes can violate, one variant per rule.

use super::StreamError;

/// The stream cannot be followed any further: write the stream error, then close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerMisbehaved {
    /// The bytes are not UTF-8 (RFC 6120 section 11.6).
    NotUtf8,
    /// The XML declaration names another encoding (RFC 6120 section 11.6).
    OtherEncoding,
    /// The XML declaration is malformed or of another version than 1.0 (XML 1.0 section 2.8).
    Declaration,
    /// A character that XML forbids (XML 1.0 section 2.2).
    Character,
    /// The bytes do not follow the grammar of XML (XML 1.0 section 2.1).
    Syntax,
    /// An end tag names another element than the open one (XML 1.0 section 3).
    EndTag,
    /// Two attributes of one name (XML 1.0 section 3.1, Namespaces in XML section 6.3).
    DuplicateAttribute,
    /// A reference to a character that XML forbids (XML 1.0 section 4.1).
    CharacterReference,
    /// A comment (RFC 6120 section 11.1).
    Comment,
    /// A processing instruction (RFC 6120 section 11.1).
    ProcessingInstruction,
    /// A document type or another declaration (RFC 6120 section 11.1).
    Doctype,
    /// An entity other than the five predefined ones (RFC 6120 section 11.1).
    Entity,
    /// A prefix that nothing declares (Namespaces in XML section 5).
    UnboundPrefix,
    /// A declaration of `xml`, `xmlns` or of nothing (Namespaces in XML section 3).
    Declares,
    /// A name with two colons, or one at its edge (Namespaces in XML section 4).
    Colon,
    /// The stream is in another namespace (RFC 6120 section 4.8.1).
    StreamNamespace,
    /// The root element is no stream (RFC 6120 section 4.2).
    NotAStream,
    /// Text between stanzas (RFC 6120 section 4.4).
    TextBetweenStanzas,
    /// Bytes behind the end of the stream.
    AfterTheEnd,
    /// More elements within elements than allowed.
    TooDeep,
    /// A first-level element larger than allowed (RFC 6120 section 13.12).
    ElementTooLarge,
    /// A stream header larger than allowed.
    HeaderTooLarge,
    /// More attributes than allowed.
    TooManyAttributes,
    /// A longer name than allowed.
    NameTooLong,
    /// More namespace declarations than allowed.
    TooManyNamespaces,
    /// More bytes than a peer may send before it has proved who it is.
    TooManyBytes,
}

impl PeerMisbehaved {
    /// Returns the stream error to answer with.
    #[must_use]
    pub const fn stream_error(self) -> StreamError {
        match self {
            Self::NotUtf8 | Self::OtherEncoding => StreamError::UnsupportedEncoding,
            Self::Declaration
            | Self::Character
            | Self::Syntax
            | Self::EndTag
            | Self::DuplicateAttribute
            | Self::CharacterReference
            | Self::Declares
            | Self::Colon
            | Self::AfterTheEnd => StreamError::NotWellFormed,
            Self::Comment | Self::ProcessingInstruction | Self::Doctype | Self::Entity => {
                StreamError::RestrictedXml
            }
            Self::UnboundPrefix => StreamError::BadNamespacePrefix,
            Self::StreamNamespace => StreamError::InvalidNamespace,
            Self::NotAStream | Self::TextBetweenStanzas => StreamError::BadFormat,
            Self::TooDeep
            | Self::ElementTooLarge
            | Self::HeaderTooLarge
            | Self::TooManyAttributes
            | Self::NameTooLong
            | Self::TooManyNamespaces
            | Self::TooManyBytes => StreamError::PolicyViolation,
        }
    }

    /// Returns what happened, in words for an operator.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NotUtf8 => "the peer sent bytes that are not UTF-8",
            Self::OtherEncoding => "the peer declared an encoding other than UTF-8",
            Self::Declaration => "the peer sent a wrong XML declaration",
            Self::Character => "the peer sent a character that XML forbids",
            Self::Syntax => "the peer sent something that is not XML",
            Self::EndTag => "the peer closed another element than the open one",
            Self::DuplicateAttribute => "the peer gave an attribute twice",
            Self::CharacterReference => "the peer referred to a character that XML forbids",
            Self::Comment => "the peer sent an XML comment",
            Self::ProcessingInstruction => "the peer sent an XML processing instruction",
            Self::Doctype => "the peer sent a document type",
            Self::Entity => "the peer referred to an entity that is not predefined",
            Self::UnboundPrefix => "the peer used a namespace prefix without declaring it",
            Self::Declares => "the peer declared a namespace that may not be declared",
            Self::Colon => "the peer sent a name with misplaced colons",
            Self::StreamNamespace => "the peer opened a stream of another namespace",
            Self::NotAStream => "the peer opened something that is no stream",
            Self::TextBetweenStanzas => "the peer sent text between stanzas",
            Self::AfterTheEnd => "the peer went on after closing its stream",
            Self::TooDeep => "the peer nested elements too deeply",
            Self::ElementTooLarge => "the peer sent a stanza that is too large",
            Self::HeaderTooLarge => "the peer sent a stream header that is too large",
            Self::TooManyAttributes => "the peer sent too many attributes in one tag",
            Self::NameTooLong => "the peer sent a name that is too long",
            Self::TooManyNamespaces => "the peer declared too many namespaces",
            Self::TooManyBytes => "the peer sent too much before it was authenticated",
        }
    }
}
