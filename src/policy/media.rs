//! What the credentials service of the A/V Edge hands out (wire-protocols E.9): plain facts that a
//! snapshot carries to every shard.

use std::fmt;
use std::net::IpAddr;

use crate::dns::Domain;

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Location {
    /// Outside.
    Internet,
    /// Inside.
    Intranet,
}

impl Location {
    /// Returns the word that stands for it on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Internet => "internet",
            Self::Intranet => "intranet",
        }
    }
}

/// Where clients of one location find a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaRelay {
    /// Whose clients it is for.
    pub location: Location,
    /// The name of the pool's relays; `None`: they are told by address.
    pub name: Option<Domain>,
    /// The address that stands for the pool; that of the node where it has none.
    pub pool: IpAddr,
    /// This node's own address.
    pub node: IpAddr,
    /// Port of datagrams.
    pub udp_port: Option<u16>,
    /// Port of streams.
    pub tcp_port: Option<u16>,
}

/// What makes credentials.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IssuingKey(pub [u8; 32]);

impl fmt::Debug for IssuingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IssuingKey(secret)")
    }
}

/// What the credentials service works by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaCredentials {
    /// The newest key of the pool; relays of every edge believe what it made.
    pub key: IssuingKey,
    /// How long credentials hold at most, in seconds.
    pub lifetime_s: u64,
    /// Where clients go with them.
    pub relays: Vec<MediaRelay>,
}
