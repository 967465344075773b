//! What keeps a datagram from being a message.

/// Why bytes are no STUN message; whoever sent them gets no answer (RFC 8489 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes than a header has.
    #[error("shorter than a STUN header")]
    TooShort,
    /// The first two bits are not zero (section 5).
    #[error("the first two bits are not zero")]
    NotStun,
    /// The magic cookie is another one: RFC 3489, or no STUN at all (section 5).
    #[error("no magic cookie")]
    NoCookie,
    /// The length is no multiple of four, or is not that of the datagram (section 5).
    #[error("the length in the header is not that of the message")]
    Length,
    /// An attribute reaches beyond the end (section 14).
    #[error("an attribute reaches beyond the end of the message")]
    AttributeLength,
    /// The Microsoft dialect's cookie is not the first attribute.
    #[error("the magic cookie is not the first attribute")]
    NoMsCookie,
    /// More attributes than [`crate::limits::STUN_ATTRIBUTES_MAX`].
    #[error("more attributes than are read")]
    TooManyAttributes,
}
