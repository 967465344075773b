//! Methods by number.

/// A request method as far as the edge has rules about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// RFC 3261 section 13.
    Invite,
    /// RFC 3261 section 17.
    Ack,
    /// RFC 3261 section 15.
    Bye,
    /// RFC 3261 section 9.
    Cancel,
    /// RFC 3428.
    Message,
    /// RFC 6665.
    Subscribe,
    /// RFC 6665.
    Notify,
    /// A NOTIFY that nobody answers (MS-SIP).
    Benotify,
    /// RFC 6086.
    Info,
    /// RFC 3261 section 11.
    Options,
    /// RFC 3261 section 10.
    Register,
    /// RFC 3515.
    Refer,
    /// RFC 3311.
    Update,
    /// RFC 3262.
    Prack,
    /// RFC 3903.
    Publish,
    /// SOAP in SIP (MS-SIP).
    Service,
    /// Compression of one hop (MS-SIPCOMP).
    Negotiate,
    /// Any other token.
    Other,
}

impl Method {
    /// Returns the method that `token` names; case matters (RFC 3261 section 7.1).
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        match token {
            b"INVITE" => Self::Invite,
            b"ACK" => Self::Ack,
            b"BYE" => Self::Bye,
            b"CANCEL" => Self::Cancel,
            b"MESSAGE" => Self::Message,
            b"SUBSCRIBE" => Self::Subscribe,
            b"NOTIFY" => Self::Notify,
            b"BENOTIFY" => Self::Benotify,
            b"INFO" => Self::Info,
            b"OPTIONS" => Self::Options,
            b"REGISTER" => Self::Register,
            b"REFER" => Self::Refer,
            b"UPDATE" => Self::Update,
            b"PRACK" => Self::Prack,
            b"PUBLISH" => Self::Publish,
            b"SERVICE" => Self::Service,
            b"NEGOTIATE" => Self::Negotiate,
            _ => Self::Other,
        }
    }

    /// Returns the token of the method; `"OTHER"` for [`Method::Other`], which has many.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Message => "MESSAGE",
            Self::Subscribe => "SUBSCRIBE",
            Self::Notify => "NOTIFY",
            Self::Benotify => "BENOTIFY",
            Self::Info => "INFO",
            Self::Options => "OPTIONS",
            Self::Register => "REGISTER",
            Self::Refer => "REFER",
            Self::Update => "UPDATE",
            Self::Prack => "PRACK",
            Self::Publish => "PUBLISH",
            Self::Service => "SERVICE",
            Self::Negotiate => "NEGOTIATE",
            Self::Other => "OTHER",
        }
    }
}
