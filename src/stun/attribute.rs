//! Attributes, read where they stand.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::header::{HEADER_BYTES, MAGIC_COOKIE, TransactionId};

/// What an attribute is; below 0x8000 whoever does not know it must refuse the request
/// (RFC 8489 section 14).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttributeType(pub u16);

/// Declares the numbers once, with the names that [`fmt::Debug`] prints.
macro_rules! attribute_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)+) => {
        impl AttributeType {
            $($(#[$doc])* pub const $name: Self = Self($number);)+
        }

        impl fmt::Debug for AttributeType {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    $($number => f.write_str($text),)+
                    number => write!(f, "{number:#06x}"),
                }
            }
        }
    };
}

attribute_types! {
    /// An address in the clear, for RFC 3489.
    MAPPED_ADDRESS = 0x0001, "MAPPED-ADDRESS";
    /// Who asks.
    USERNAME = 0x0006, "USERNAME";
    /// HMAC-SHA1 over what stands before.
    MESSAGE_INTEGRITY = 0x0008, "MESSAGE-INTEGRITY";
    /// Why it was not done.
    ERROR_CODE = 0x0009, "ERROR-CODE";
    /// Attributes that were not known.
    UNKNOWN_ATTRIBUTES = 0x000A, "UNKNOWN-ATTRIBUTES";
    /// A channel.
    CHANNEL_NUMBER = 0x000C, "CHANNEL-NUMBER";
    /// Seconds an allocation lives.
    LIFETIME = 0x000D, "LIFETIME";
    /// A peer.
    XOR_PEER_ADDRESS = 0x0012, "XOR-PEER-ADDRESS";
    /// Payload.
    DATA = 0x0013, "DATA";
    /// Where the username is known.
    REALM = 0x0014, "REALM";
    /// What the server chose against replay.
    NONCE = 0x0015, "NONCE";
    /// The relayed address.
    XOR_RELAYED_ADDRESS = 0x0016, "XOR-RELAYED-ADDRESS";
    /// Which family the relayed address is to be of.
    REQUESTED_ADDRESS_FAMILY = 0x0017, "REQUESTED-ADDRESS-FAMILY";
    /// The relayed port is to be even, and the next one kept.
    EVEN_PORT = 0x0018, "EVEN-PORT";
    /// UDP or TCP towards peers.
    REQUESTED_TRANSPORT = 0x0019, "REQUESTED-TRANSPORT";
    /// The DF bit towards peers.
    DONT_FRAGMENT = 0x001A, "DONT-FRAGMENT";
    /// A token of RFC 7635.
    ACCESS_TOKEN = 0x001B, "ACCESS-TOKEN";
    /// HMAC-SHA256 over what stands before.
    MESSAGE_INTEGRITY_SHA256 = 0x001C, "MESSAGE-INTEGRITY-SHA256";
    /// How the key was made.
    PASSWORD_ALGORITHM = 0x001D, "PASSWORD-ALGORITHM";
    /// The username without its text.
    USERHASH = 0x001E, "USERHASH";
    /// The address the request came from.
    XOR_MAPPED_ADDRESS = 0x0020, "XOR-MAPPED-ADDRESS";
    /// Claims a port that was kept.
    RESERVATION_TOKEN = 0x0022, "RESERVATION-TOKEN";
    /// Of ICE.
    PRIORITY = 0x0024, "PRIORITY";
    /// Of ICE.
    USE_CANDIDATE = 0x0025, "USE-CANDIDATE";
    /// A TCP connection to or from a peer.
    CONNECTION_ID = 0x002A, "CONNECTION-ID";
    /// A second relayed address of another family.
    ADDITIONAL_ADDRESS_FAMILY = 0x8000, "ADDITIONAL-ADDRESS-FAMILY";
    /// Why there is no address of a family.
    ADDRESS_ERROR_CODE = 0x8001, "ADDRESS-ERROR-CODE";
    /// How keys may be made.
    PASSWORD_ALGORITHMS = 0x8002, "PASSWORD-ALGORITHMS";
    /// Name of the server to try instead.
    ALTERNATE_DOMAIN = 0x8003, "ALTERNATE-DOMAIN";
    /// An ICMP packet that a peer's router sent.
    ICMP = 0x8004, "ICMP";
    /// Product, in words.
    SOFTWARE = 0x8022, "SOFTWARE";
    /// The server to try instead.
    ALTERNATE_SERVER = 0x8023, "ALTERNATE-SERVER";
    /// CRC-32 over what stands before.
    FINGERPRINT = 0x8028, "FINGERPRINT";
    /// Of ICE.
    ICE_CONTROLLED = 0x8029, "ICE-CONTROLLED";
    /// Of ICE.
    ICE_CONTROLLING = 0x802A, "ICE-CONTROLLING";
    /// Names an allocation from another address (RFC 8016).
    MOBILITY_TICKET = 0x8030, "MOBILITY-TICKET";
}

impl AttributeType {
    /// Tells whether a request that carries it unknown must be refused.
    #[must_use]
    pub const fn must_be_understood(self) -> bool {
        self.0 < 0x8000
    }
}

/// One attribute of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// What it is.
    pub kind: AttributeType,
    /// Its value without padding.
    pub value: &'a [u8],
    /// Where it begins, its own header included, in bytes from the start of the message.
    pub(super) offset: usize,
}

impl Attribute<'_> {
    /// Returns the value as a 32-bit number, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.value.try_into().ok()?))
    }

    /// Returns the address of an attribute that is XORed.
    #[must_use]
    pub fn xor_address(&self, transaction: TransactionId) -> Option<SocketAddr> {
        Address::read(self.value).map(|address| address.xor(transaction).0)
    }

    /// Returns the address of an attribute that stands in the clear.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        Address::read(self.value).map(|address| address.0)
    }

    /// Returns the error of ERROR-CODE; its reason is as the server wrote it.
    #[must_use]
    pub fn error(&self) -> Option<ErrorCode> {
        let &[_, _, hundreds, rest, ..] = self.value else { return None };
        let (hundreds, rest) = (u16::from(hundreds & 0x07), u16::from(rest));
        (rest < 100 && (3..=6).contains(&hundreds)).then(|| ErrorCode(hundreds * 100 + rest))
    }
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u16);

impl ErrorCode {
    /// Returns the reason to send with it (RFC 8489 section 14.8, RFC 8656 section 19, RFC 6062
    /// section 6.3, RFC 8016 section 3.4); empty for a number nobody has registered.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self.0 {
            300 => "Try Alternate",
            400 => "Bad Request",
            401 => "Unauthenticated",
            403 => "Forbidden",
            405 => "Mobility Forbidden",
            420 => "Unknown Attribute",
            437 => "Allocation Mismatch",
            438 => "Stale Nonce",
            440 => "Address Family not Supported",
            441 => "Wrong Credentials",
            442 => "Unsupported Transport Protocol",
            443 => "Peer Address Family Mismatch",
            446 => "Connection Already Exists",
            447 => "Connection Timeout or Failure",
            486 => "Allocation Quota Reached",
            500 => "Server Error",
            508 => "Insufficient Capacity",
            _ => "",
        }
    }
}

/// The family of an address, as REQUESTED-ADDRESS-FAMILY says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Reads the byte that stands for it.
    #[must_use]
    pub const fn of(wire: u8) -> Option<Self> {
        match wire {
            0x01 => Some(Self::V4),
            0x02 => Some(Self::V6),
            _ => None,
        }
    }

    /// Returns the byte that stands for it.
    #[must_use]
    pub const fn wire(self) -> u8 {
        match self {
            Self::V4 => 0x01,
            Self::V6 => 0x02,
        }
    }

    /// Returns the family of `address`.
    #[must_use]
    pub const fn of_address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// An address as attributes carry it: a zero byte, the family, port, address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub SocketAddr);

impl Address {
    /// Longest form in bytes.
    pub const BYTES_MAX: usize = 20;

    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let (&[_, family, p0, p1], address) = value.split_first_chunk()?;
        let port = u16::from_be_bytes([p0, p1]);
        let ip = match Family::of(family)? {
            Family::V4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
            Family::V6 => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        };
        Some(Self(SocketAddr::new(ip, port)))
    }

    /// Hides the address from whoever rewrites addresses on the way, or shows it again: the same
    /// operation (RFC 8489 section 14.2).
    pub(super) fn xor(self, TransactionId(id): TransactionId) -> Self {
        let port = self.0.port() ^ (MAGIC_COOKIE >> 16) as u16;
        let ip = match self.0.ip() {
            IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() ^ MAGIC_COOKIE)),
            IpAddr::V6(ip) => {
                let mut mask = [0; 16];
                mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
                mask[4..].copy_from_slice(&id);
                IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() ^ u128::from_be_bytes(mask)))
            }
        };
        Self(SocketAddr::new(ip, port))
    }

    /// Returns the bytes and how many count.
    pub(super) fn wire(self) -> ([u8; Self::BYTES_MAX], usize) {
        let mut wire = [0; Self::BYTES_MAX];
        wire[1] = Family::of_address(self.0.ip()).wire();
        wire[2..4].copy_from_slice(&self.0.port().to_be_bytes());
        let length = match self.0.ip() {
            IpAddr::V4(ip) => {
                wire[4..8].copy_from_slice(&ip.octets());
                8
            }
            IpAddr::V6(ip) => {
                wire[4..20].copy_from_slice(&ip.octets());
                20
            }
        };
        (wire, length)
    }
}

/// The attributes of a message, in order, as far as they count.
///
/// What follows MESSAGE-INTEGRITY counts only if it is MESSAGE-INTEGRITY-SHA256 or FINGERPRINT,
/// what follows the former only if it is FINGERPRINT, and nothing follows that (RFC 8489 sections 9
/// and 14.7).
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    message: &'a [u8],
    at: usize,
    last: Option<AttributeType>,
}

impl<'a> Attributes<'a> {
    /// `message`: whole, and its attributes were found to end where it ends.
    pub(super) const fn of(message: &'a [u8]) -> Self {
        Self { message, at: HEADER_BYTES, last: None }
    }

    /// Returns the attribute at `at` and where the next one begins; `None` at the end or beyond.
    pub(super) fn at(message: &'a [u8], at: usize) -> Option<(Attribute<'a>, usize)> {
        let (&[k0, k1, l0, l1], rest) = message.get(at..)?.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let value = rest.get(..length)?;
        let kind = AttributeType(u16::from_be_bytes([k0, k1]));
        Some((Attribute { kind, value, offset: at }, at + 4 + length.next_multiple_of(4)))
    }

    const fn counts(&self, kind: AttributeType) -> bool {
        use AttributeType as T;
        match self.last {
            Some(T::FINGERPRINT) => false,
            Some(T::MESSAGE_INTEGRITY_SHA256) => matches!(kind, T::FINGERPRINT),
            Some(T::MESSAGE_INTEGRITY) => {
                matches!(kind, T::MESSAGE_INTEGRITY_SHA256 | T::FINGERPRINT)
            }
            _ => true,
        }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        // Bound: each pass moves on by at least four bytes of the message.
        loop {
            let (attribute, next) = Self::at(self.message, self.at)?;
            self.at = next;
            if self.counts(attribute.kind) {
                use AttributeType as T;
                if matches!(
                    attribute.kind,
                    T::MESSAGE_INTEGRITY | T::MESSAGE_INTEGRITY_SHA256 | T::FINGERPRINT
                ) {
                    self.last = Some(attribute.kind);
                }
                return Some(attribute);
            }
        }
    }
}
