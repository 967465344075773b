//! The PROXY protocol, versions 1 and 2: whom a balancer accepted before it dialled us.
//!
//! Pure: bytes in, addresses out. Who may send a header, and who must, the shard decides from the
//! listener's list of balancers; nothing here guesses. The header comes before TLS, and its first
//! bytes in version 2 look like SIP keep-alives, so it is read before anything else.
//!
//! Source: HAProxy, "The PROXY protocol, versions 1 & 2"; section numbers below are that text's.

use std::net::SocketAddr;

mod crc32c;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

pub use v2::{Tlv, Tlvs, write_v2, write_v2_local};

/// What [`read`] made of the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// The bytes are the beginning of a header; read again with at least this many in all.
    NeedMore(usize),
    /// The header is whole; what follows [`Header::consumed`] bytes is the connection's own.
    Header(Header<'a>),
}

/// Why the balancer opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// For a client of its own; the addresses are that client's.
    Proxy,
    /// For itself, to see whether we live; the real endpoints count.
    Local,
}

/// What carried the client's traffic to the balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Not told.
    Unspecified,
    /// TCP or a Unix stream.
    Stream,
    /// UDP or a Unix datagram socket.
    Datagram,
}

/// A whole header. Borrows the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Length of the header in bytes.
    pub consumed: usize,
    /// Why the connection was opened.
    pub command: Command,
    /// What carried the client's traffic.
    pub transport: Transport,
    /// The client's address; `None` where the connection's own endpoints count: a
    /// [`Command::Local`], an unknown protocol, a Unix socket.
    pub source: Option<SocketAddr>,
    /// The address the client connected to; present when `source` is.
    pub destination: Option<SocketAddr>,
    tlvs: &'a [u8],
}

impl<'a> Header<'a> {
    /// Iterates over the header's extensions in order; version 1 has none.
    #[must_use]
    pub const fn tlvs(&self) -> Tlvs<'a> {
        Tlvs::new(self.tlvs)
    }

    /// Returns the host name the client asked the balancer for, usually its SNI (2.2.2).
    #[must_use]
    pub fn authority(&self) -> Option<&'a [u8]> {
        self.tlv(v2::TYPE_AUTHORITY)
    }

    /// Returns the protocol the client and the balancer agreed on by ALPN (2.2.1).
    #[must_use]
    pub fn alpn(&self) -> Option<&'a [u8]> {
        self.tlv(v2::TYPE_ALPN)
    }

    /// Returns the balancer's own name for the connection, for logs; at most 128 bytes (2.2.5).
    #[must_use]
    pub fn unique_id(&self) -> Option<&'a [u8]> {
        self.tlv(v2::TYPE_UNIQUE_ID)
    }

    fn tlv(&self, kind: u8) -> Option<&'a [u8]> {
        self.tlvs().find(|tlv| tlv.kind == kind).map(|tlv| tlv.value)
    }
}

/// The balancer, or someone in its place, sent what is no header. All are the peer's misbehaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// The first bytes begin neither version (section 2).
    #[error("the connection does not begin with a PROXY header")]
    NotAProxyHeader,
    /// No CRLF within [`crate::limits::PROXY_V1_BYTES_MAX`], or a CR without its LF (2.1).
    #[error("the PROXY version 1 line does not end where it must")]
    LineUnterminated,
    /// The protocol is none of TCP4, TCP6 and UNKNOWN (2.1).
    #[error("the PROXY version 1 line names an unknown protocol")]
    LineProtocol,
    /// Fields are missing, surplus or parted by more than one space (2.1).
    #[error("the PROXY version 1 line has the wrong number of fields")]
    LineFields,
    /// An address is not of the family named (2.1).
    #[error("the PROXY version 1 line carries a bad address")]
    LineAddress,
    /// A port is no canonical decimal number up to 65535 (2.1).
    #[error("the PROXY version 1 line carries a bad port")]
    LinePort,
    /// The version nibble is not 2 (2.2).
    #[error("the PROXY header has an unknown version")]
    Version,
    /// The command is neither LOCAL nor PROXY (2.2).
    #[error("the PROXY header has an unknown command")]
    Command,
    /// Family or transport is a value nobody may send (2.2).
    #[error("the PROXY header has an unknown address family or transport")]
    Family,
    /// The header is longer than [`crate::limits::PROXY_V2_BYTES_MAX`].
    #[error("the PROXY header is longer than this edge accepts")]
    TooLong,
    /// The length leaves no room for the addresses of the family (2.2).
    #[error("the PROXY header is too short for its addresses")]
    AddressTruncated,
    /// An extension runs past the end of the header (2.2).
    #[error("an extension of the PROXY header runs past its end")]
    TlvTruncated,
    /// The checksum does not match, has the wrong size or is there twice (2.2.3).
    #[error("the checksum of the PROXY header is wrong")]
    Checksum,
    /// The unique id is longer than 128 bytes (2.2.5).
    #[error("the unique id of the PROXY header is too long")]
    UniqueIdTooLong,
}

/// Reads the header at the start of `input`, which may end anywhere and may run past the header.
///
/// Bounded by [`crate::limits::PROXY_V1_BYTES_MAX`] and [`crate::limits::PROXY_V2_BYTES_MAX`]: a
/// caller that holds so many bytes gets an answer other than [`Parsed::NeedMore`]. No allocation.
///
/// # Errors
/// [`Malformed`]; the connection is to be closed without an answer.
pub fn read(input: &[u8]) -> Result<Parsed<'_>, Malformed> {
    if input.is_empty() {
        Ok(Parsed::NeedMore(1))
    } else if begins(input, &v2::SIGNATURE) {
        v2::read(input)
    } else if begins(input, v1::PREFIX) {
        v1::read(input)
    } else {
        Err(Malformed::NotAProxyHeader)
    }
}

/// Tells whether `input` begins with `prefix`, or with as much of it as `input` has.
fn begins(input: &[u8], prefix: &[u8]) -> bool {
    input.iter().zip(prefix).all(|(a, b)| a == b)
}
