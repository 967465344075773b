//! Every number of the dialect, in one place, because several of them rest on one source.
//!
//! Marks: `seen` in a published document or in two implementations; `one source` in a single
//! implementation; `from memory` nowhere that could be looked at.

use std::fmt;

/// Which of the dialect's messages it is; unlike RFC 8489 the numbers have no inner order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageType(pub u16);

/// An attribute of the dialect.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttributeType(pub u16);

macro_rules! numbers {
    ($of:ident; $($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)+) => {
        impl $of {
            $($(#[$doc])* pub const $name: Self = Self($number);)+
        }

        impl fmt::Debug for $of {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    $($number => f.write_str($text),)+
                    number => write!(f, "{number:#06x}"),
                }
            }
        }
    };
}

numbers! { MessageType;
    /// Asks for a relayed address, prolongs it, or with lifetime 0 gives it back. Seen.
    ALLOCATE = 0x0003, "Allocate";
    /// It was done. Seen.
    ALLOCATE_RESPONSE = 0x0103, "Allocate response";
    /// It was not. Seen.
    ALLOCATE_ERROR = 0x0113, "Allocate error";
    /// Carries data to a peer, permits its answers, and is never answered. Seen.
    SEND = 0x0004, "Send";
    /// Carries data from a peer. Seen.
    DATA_INDICATION = 0x0115, "Data indication";
    /// Names the peer that bare data goes to. Seen.
    SET_ACTIVE_DESTINATION = 0x0006, "Set active destination";
    /// It was done. Seen.
    SET_ACTIVE_DESTINATION_RESPONSE = 0x0106, "Set active destination response";
    /// It was not. Seen.
    SET_ACTIVE_DESTINATION_ERROR = 0x0116, "Set active destination error";
}

numbers! { AttributeType;
    /// The relayed address, in the clear. Seen.
    MAPPED_ADDRESS = 0x0001, "Mapped Address";
    /// Who asks, as bytes. Seen.
    USERNAME = 0x0006, "Username";
    /// HMAC-SHA1 over what stands before, padded to 64 bytes. Seen.
    MESSAGE_INTEGRITY = 0x0008, "Message Integrity";
    /// Why it was not done. Seen.
    ERROR_CODE = 0x0009, "Error Code";
    /// Attributes that were not known. Seen.
    UNKNOWN_ATTRIBUTES = 0x000A, "Unknown Attributes";
    /// Seconds an allocation lives. Seen.
    LIFETIME = 0x000D, "Lifetime";
    /// The server to go on with. Seen.
    ALTERNATE_SERVER = 0x000E, "Alternate Server";
    /// First in every message. Seen.
    MAGIC_COOKIE = 0x000F, "Magic Cookie";
    /// Kilobits a second. Seen.
    BANDWIDTH = 0x0010, "Bandwidth";
    /// Where data goes. Seen.
    DESTINATION_ADDRESS = 0x0011, "Destination Address";
    /// Where data came from. Seen.
    REMOTE_ADDRESS = 0x0012, "Remote Address";
    /// Payload. Seen.
    DATA = 0x0013, "Data";
    /// The server's nonce: the number that is the realm's in RFC 8489. Seen.
    NONCE = 0x0014, "Nonce";
    /// The realm: the number that is the nonce's in RFC 8489. Seen.
    REALM = 0x0015, "Realm";
    /// Which family the relayed address is to be of. Seen.
    REQUESTED_ADDRESS_FAMILY = 0x0017, "Requested Address Family";
    /// What the client speaks. Seen.
    MS_VERSION = 0x8008, "MS-Version";
    /// The address the request came from. Seen.
    XOR_MAPPED_ADDRESS = 0x8020, "XOR Mapped Address";
    /// Name of the server to go on with. From memory.
    MS_ALTERNATE_HOST_NAME = 0x8032, "MS-Alternate Host Name";
    /// From memory.
    MS_APP_ID = 0x8037, "MS-App ID";
    /// From memory.
    MS_SECURE_TAG = 0x8039, "MS-Secure Tag";
    /// The connection and a number that grows with each request. Seen.
    MS_SEQUENCE_NUMBER = 0x8050, "MS-Sequence Number";
    /// Which medium, and how well it is to be served. Seen.
    MS_SERVICE_QUALITY = 0x8055, "MS-Service Quality";
    /// A second relayed address. Seen.
    MS_ALTERNATE_MAPPED_ADDRESS = 0x8090, "MS-Alternate Mapped Address";
}

/// Value of [`AttributeType::MAGIC_COOKIE`]. One source.
pub const COOKIE: [u8; 4] = [0x72, 0xC6, 0x4B, 0xC6];

/// First byte of a frame that carries a message of this dialect. One source.
pub const FRAME_CONTROL: u8 = 2;
/// First byte of a frame that carries a peer's data. One source.
pub const FRAME_DATA: u8 = 3;

/// Bytes that HMAC's input is padded to a multiple of. One source.
pub const INTEGRITY_BLOCK_BYTES: usize = 64;

/// MS-Version from which on an allocation may be of IPv6. Seen.
pub const VERSION_IPV6: u32 = 4;

/// Bytes of the connection's name in MS-Sequence Number. One source for the whole form.
pub const CONNECTION_ID_BYTES: usize = 20;

/// Kilobits a second that answers state. Seen.
pub const BANDWIDTH_KBIT_S: u32 = 750;
/// MS-Version of a server without SHA-256 and IPv6. Seen.
pub const VERSION: u32 = 1;

/// Errors of the draft that the dialect comes from. Names seen, numbers from memory.
pub mod error {
    /// Another server is to be asked.
    pub const TRY_ALTERNATE: u16 = 300;
    /// The request makes no sense.
    pub const BAD_REQUEST: u16 = 400;
    /// Nothing was proven.
    pub const UNAUTHORIZED: u16 = 401;
    /// Something that must be understood is not.
    pub const UNKNOWN_ATTRIBUTE: u16 = 420;
    /// There is no name to prove.
    pub const MISSING_USERNAME: u16 = 432;
    /// There is no realm.
    pub const MISSING_REALM: u16 = 434;
    /// There is no nonce.
    pub const MISSING_NONCE: u16 = 435;
    /// There is no allocation.
    pub const NO_BINDING: u16 = 437;
    /// The nonce is too old, or none of ours.
    pub const STALE_NONCE: u16 = 438;
    /// The peer is none that may be reached.
    pub const NO_DESTINATION: u16 = 440;
    /// The allocation is somebody else's.
    pub const WRONG_USERNAME: u16 = 441;
    /// There are enough allocations.
    pub const QUOTA_REACHED: u16 = 486;
    /// No port is left.
    pub const NO_CAPACITY: u16 = 508;

    /// Returns the words that go with one.
    #[must_use]
    pub const fn reason(number: u16) -> &'static str {
        match number {
            TRY_ALTERNATE => "Try Alternate",
            UNKNOWN_ATTRIBUTE => "Unknown Attribute",
            NO_BINDING => "No Binding",
            NO_DESTINATION => "No Destination",
            WRONG_USERNAME => "Wrong Username",
            QUOTA_REACHED => "Allocation Quota Reached",
            NO_CAPACITY => "Insufficient Port Capacity",
            _ => "Bad Request",
        }
    }
}

impl AttributeType {
    /// Tells whether a request that carries it unknown must be refused.
    #[must_use]
    pub const fn must_be_understood(self) -> bool {
        self.0 < 0x8000
    }
}
