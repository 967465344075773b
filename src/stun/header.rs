//! The first twenty bytes.

use std::fmt;

/// Bytes of a header.
pub(super) const HEADER_BYTES: usize = 20;

/// The cookie of RFC 8489 section 5.
pub const MAGIC_COOKIE: u32 = 0x2112_A442;

/// The number that ties a response to its request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId(pub [u8; 12]);

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What is asked for, 12 bits (RFC 8489 section 18.2, RFC 8656 section 17, RFC 6062 section 6.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Method(u16);

impl Method {
    /// Asks for the address the request came from.
    pub const BINDING: Self = Self(0x001);
    /// Asks for a relayed address.
    pub const ALLOCATE: Self = Self(0x003);
    /// Prolongs an allocation, or ends it.
    pub const REFRESH: Self = Self(0x004);
    /// Carries data to a peer; an indication only.
    pub const SEND: Self = Self(0x006);
    /// Carries data from a peer; an indication only.
    pub const DATA: Self = Self(0x007);
    /// Permits peers by address.
    pub const CREATE_PERMISSION: Self = Self(0x008);
    /// Binds a channel to a peer.
    pub const CHANNEL_BIND: Self = Self(0x009);
    /// Opens a TCP connection to a peer.
    pub const CONNECT: Self = Self(0x00A);
    /// Claims a TCP connection for its data.
    pub const CONNECTION_BIND: Self = Self(0x00B);
    /// Tells of a TCP connection that a peer has opened; an indication only.
    pub const CONNECTION_ATTEMPT: Self = Self(0x00C);

    /// Returns the method of this number; bits beyond the twelfth are dropped.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number & 0x0FFF)
    }

    /// Returns its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::BINDING => "Binding",
            Self::ALLOCATE => "Allocate",
            Self::REFRESH => "Refresh",
            Self::SEND => "Send",
            Self::DATA => "Data",
            Self::CREATE_PERMISSION => "CreatePermission",
            Self::CHANNEL_BIND => "ChannelBind",
            Self::CONNECT => "Connect",
            Self::CONNECTION_BIND => "ConnectionBind",
            Self::CONNECTION_ATTEMPT => "ConnectionAttempt",
            Self(number) => return write!(f, "Method({number:#05x})"),
        };
        f.write_str(name)
    }
}

/// Request, indication or which response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// It was done.
    Success,
    /// It was not.
    Error,
}

/// Method and class, as they share two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    /// What is asked for.
    pub method: Method,
    /// Request, indication or which response.
    pub class: Class,
}

impl Type {
    /// Reads the first two bytes; the two highest bits must be zero and are not looked at.
    ///
    /// The class has bits 4 and 8, the method the others (RFC 8489 figure 3).
    #[must_use]
    pub const fn of(wire: u16) -> Self {
        let method = (wire & 0x000F) | (wire & 0x00E0) >> 1 | (wire & 0x3E00) >> 2;
        let class = match (wire & 0x0100 != 0, wire & 0x0010 != 0) {
            (false, false) => Class::Request,
            (false, true) => Class::Indication,
            (true, false) => Class::Success,
            (true, true) => Class::Error,
        };
        Self { method: Method(method), class }
    }

    /// Returns the two bytes.
    #[must_use]
    pub const fn wire(self) -> u16 {
        let Method(method) = self.method;
        let class = match self.class {
            Class::Request => 0x0000,
            Class::Indication => 0x0010,
            Class::Success => 0x0100,
            Class::Error => 0x0110,
        };
        (method & 0x000F) | (method & 0x0070) << 1 | (method & 0x0F80) << 2 | class
    }
}
