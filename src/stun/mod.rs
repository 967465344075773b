//! STUN and TURN on the wire (RFC 8489, RFC 8656), and the Microsoft dialect of both ([`ms`]).
//!
//! Grammar only: a [`Message`] is the received datagram and nothing else, attributes are read where
//! they stand, and a [`Builder`] writes into a buffer of the caller's. What a request means is the
//! business of the role that reads it.
//!
//! ```text
//!  0                   1                   2                   3
//! |0 0|  type: method and class  |  length of attributes, bytes  |
//! |            magic cookie 0x2112A442                            |
//! |            transaction id, 96 bits                            |
//! |  attribute type               |  length of value              | value, padded to 4 ...
//! ```

mod attribute;
mod build;
mod channel;
mod fault;
mod header;
mod integrity;
mod message;
pub mod ms;
mod security;

pub use attribute::{Address, Attribute, AttributeType, Attributes, ErrorCode, Family};
pub use build::Builder;
pub use channel::{CHANNEL_HEADER_BYTES, ChannelData, ChannelNumber};
pub use fault::Malformed;
pub use header::{Class, MAGIC_COOKIE, Method, TransactionId, Type};
pub use integrity::{Key, Proof, userhash};
pub use message::Message;
pub use security::{NONCE_COOKIE, SecurityFeatures};

/// What a datagram or frame on a port that is shared is, by its first byte (RFC 7983 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// STUN, TURN's requests included.
    Stun,
    /// DTLS.
    Dtls,
    /// ChannelData of TURN.
    Channel,
    /// RTP or RTCP.
    Rtp,
    /// Nothing that is known here.
    Other,
}

impl Protocol {
    /// Returns what begins with `first`.
    #[must_use]
    pub const fn of(first: u8) -> Self {
        match first {
            0..=3 => Self::Stun,
            20..=63 => Self::Dtls,
            64..=79 => Self::Channel,
            128..=191 => Self::Rtp,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests;
