//! Header names by number, recognised by a perfect hash over their first sixteen bytes.

use super::block;
use super::text::TOKEN;

macro_rules! header_names {
    ($( $variant:ident $text:literal $( / $compact:literal )? ),* $(,)?) => {
        /// A header field name that the edge, or a rule of the grammar, knows.
        ///
        /// Every name with a compact form is among them, so that a form never hides a field.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum HeaderName {
            $( #[doc = concat!("`", $text, "`", $( " or `", $compact, "`" )?)] $variant, )*
            /// Any other token.
            Other,
        }

        const NAMES: &[(HeaderName, &str)] = &[
            $( (HeaderName::$variant, $text), $( (HeaderName::$variant, $compact), )? )*
        ];

        impl HeaderName {
            /// Returns the name in full; `""` for [`HeaderName::Other`], which has many.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $( Self::$variant => $text, )*
                    Self::Other => "",
                }
            }
        }
    };
}

header_names! {
    Via "Via" / "v",
    From "From" / "f",
    To "To" / "t",
    CallId "Call-ID" / "i",
    CSeq "CSeq",
    MaxForwards "Max-Forwards",
    Route "Route",
    RecordRoute "Record-Route",
    Contact "Contact" / "m",
    ContentLength "Content-Length" / "l",
    ContentType "Content-Type" / "c",
    ContentEncoding "Content-Encoding" / "e",
    ProxyRequire "Proxy-Require",
    Require "Require",
    Supported "Supported" / "k",
    Unsupported "Unsupported",
    Path "Path",
    RetryAfter "Retry-After",
    Timestamp "Timestamp",
    Event "Event" / "o",
    Expires "Expires",
    MinExpires "Min-Expires",
    SessionExpires "Session-Expires" / "x",
    SubscriptionState "Subscription-State",
    Date "Date",
    Subject "Subject" / "s",
    AllowEvents "Allow-Events" / "u",
    AcceptContact "Accept-Contact" / "a",
    RejectContact "Reject-Contact" / "j",
    RequestDisposition "Request-Disposition" / "d",
    ReferTo "Refer-To" / "r",
    ReferredBy "Referred-By" / "b",
    Identity "Identity" / "y",
    IdentityInfo "Identity-Info" / "n",
    MaxBreadth "Max-Breadth",
    ProxyAuthorization "Proxy-Authorization",
    Authorization "Authorization",
    AuthenticationInfo "Authentication-Info",
    ProxyAuthenticationInfo "Proxy-Authentication-Info",
    WwwAuthenticate "WWW-Authenticate",
    ProxyAuthenticate "Proxy-Authenticate",
    PAssertedIdentity "P-Asserted-Identity",
    PPreferredIdentity "P-Preferred-Identity",
    PSessionOnBehalfOf "P-Session-On-Behalf-Of",
    MsEdgeProxyMessageTrust "ms-edge-proxy-message-trust",
    MsAssertedVerificationLevel "ms-asserted-verification-level",
    MsUserLogonData "ms-user-logon-data",
    MsDiagnostics "ms-diagnostics",
    MsDiagnosticsPublic "ms-diagnostics-public",
    MsClientDiagnostics "ms-client-diagnostics",
    MsSplitDomainInfo "ms-split-domain-info",
    MsEndpointLocationData "ms-endpoint-location-data",
    MsSubnet "ms-subnet",
    MsRoutingPhase "ms-routing-phase",
    MsApplicationVia "ms-application-via",
    MsApplicationAor "ms-application-aor",
    MsLocationInfo "ms-location-info",
    MsUserData "ms-user-data",
    MsTelemetryId "ms-telemetry-id",
    MsKeepAlive "ms-keep-alive",
    Compression "Compression",
    Warning "Warning",
}

/// Some of the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderSet(pub(super) u64);

impl HeaderSet {
    /// Returns the set of `names`.
    #[must_use]
    pub const fn of(names: &[HeaderName]) -> Self {
        let mut set = 0;
        let mut at = 0;
        while at < names.len() {
            set |= names[at].bit();
            at += 1;
        }
        Self(set)
    }
}

/// How many there are, [`HeaderName::Other`] included.
pub(super) const COUNT: usize = HeaderName::Other as usize + 1;
// A message's names are a set in one word.
const _: () = assert!(COUNT <= u64::BITS as usize);

/// Names that RFC 3261 section 7.3.1 and the documents of each allow once.
pub(super) const ONCE: u64 = HeaderName::From.bit()
    | HeaderName::To.bit()
    | HeaderName::CallId.bit()
    | HeaderName::CSeq.bit()
    | HeaderName::MaxForwards.bit()
    | HeaderName::ContentLength.bit()
    | HeaderName::ContentType.bit()
    | HeaderName::Expires.bit()
    | HeaderName::MinExpires.bit()
    | HeaderName::SessionExpires.bit()
    | HeaderName::SubscriptionState.bit()
    | HeaderName::Event.bit()
    | HeaderName::Date.bit()
    | HeaderName::RetryAfter.bit()
    | HeaderName::MsDiagnosticsPublic.bit();

/// Names without which a message is not one (RFC 3261 section 8.1.1, without Max-Forwards, which
/// a proxy adds).
pub(super) const REQUIRED: u64 = HeaderName::Via.bit()
    | HeaderName::From.bit()
    | HeaderName::To.bit()
    | HeaderName::CallId.bit()
    | HeaderName::CSeq.bit();

/// Names whose values may contain a comma that separates nothing (RFC 3261 section 7.3.1).
const WHOLE: u64 = HeaderName::From.bit()
    | HeaderName::To.bit()
    | HeaderName::CallId.bit()
    | HeaderName::CSeq.bit()
    | HeaderName::Date.bit()
    | HeaderName::Subject.bit()
    | HeaderName::Authorization.bit()
    | HeaderName::ProxyAuthorization.bit()
    | HeaderName::AuthenticationInfo.bit()
    | HeaderName::ProxyAuthenticationInfo.bit()
    | HeaderName::WwwAuthenticate.bit()
    | HeaderName::ProxyAuthenticate.bit()
    | HeaderName::MsDiagnostics.bit()
    | HeaderName::MsDiagnosticsPublic.bit()
    | HeaderName::MsClientDiagnostics.bit();

impl HeaderName {
    /// Returns the name that `text` is, in full or compact form, ignoring case.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        if text.contains(&b'\r') {
            // The one byte that `LOWER` makes another of a name's.
            return Self::Other;
        }
        let (low, high) = words(&padded(text));
        look_up(low, high, text).unwrap_or(Self::Other)
    }

    /// Returns the set of only this name.
    pub(super) const fn bit(self) -> u64 {
        1 << self as u8
    }

    /// Returns whether commas separate values of this header (RFC 3261 section 7.3.1).
    #[must_use]
    pub const fn is_list(self) -> bool {
        WHOLE & self.bit() == 0
    }
}

/// A name and the colon behind it.
pub(super) struct Recognised {
    pub(super) name: HeaderName,
    /// Length of the name in bytes, without white space before the colon.
    pub(super) name_len: usize,
    /// Bytes from the start of the line to the colon.
    pub(super) colon: usize,
}

/// Reads the name at the start of a header line.
///
/// `line`: without its line end; it begins at `from` in `window`. `None` without a colon or with a
/// name that is no token.
///
/// Hot: once per header field. Bench `sip_scan/*`.
#[inline(always)]
pub(super) fn recognise(line: &[u8], window: &[u8], from: usize) -> Option<Recognised> {
    let head = match window.get(from..from + 16).and_then(<[u8]>::first_chunk::<16>) {
        Some(head) => *head,
        None => padded(line),
    };
    let (low, high) = words(&head);
    let (marks_low, marks_high) = (block::mark(low, b':'), block::mark(high, b':'));
    let colon = if marks_low != 0 {
        marks_low.trailing_zeros() as usize / 8
    } else if marks_high != 0 {
        8 + marks_high.trailing_zeros() as usize / 8
    } else {
        16 + memchr::memchr(b':', line.get(16..)?)?
    };
    let name = line.get(..colon)?;
    match look_up(low, high, name) {
        Some(known) => Some(Recognised { name: known, name_len: colon, colon }),
        None => unknown(name),
    }
}

/// Any other name must be a token.
fn unknown(name: &[u8]) -> Option<Recognised> {
    if TOKEN.is_all(name) {
        return Some(Recognised {
            name: HeaderName::Other,
            name_len: name.len(),
            colon: name.len(),
        });
    }
    spaced(name)
}

/// White space before the colon is allowed (RFC 3261 section 7.3.1) and seldom seen.
#[cold]
fn spaced(name: &[u8]) -> Option<Recognised> {
    let mut trimmed = name;
    while let [rest @ .., b' ' | b'\t'] = trimmed {
        trimmed = rest;
    }
    if !TOKEN.is_all(trimmed) {
        return None;
    }
    Some(Recognised { name: HeaderName::of(trimmed), name_len: trimmed.len(), colon: name.len() })
}

#[cold]
fn padded(text: &[u8]) -> [u8; 16] {
    let mut head = [0; 16];
    for (to, from) in head.iter_mut().zip(text) {
        *to = *from;
    }
    head
}

#[inline(always)]
fn words(head: &[u8; 16]) -> (u64, u64) {
    let word = u128::from_le_bytes(*head);
    (word as u64, (word >> 64) as u64)
}

/// A name as it is compared: its first sixteen bytes in lower case, the rest of them zero.
#[derive(Clone, Copy)]
struct Known {
    low: u64,
    high: u64,
    text: &'static str,
    name: HeaderName,
}

/// Sets the bit that makes a letter lower case. The only other byte that this makes one of a
/// name's is CR, which becomes a hyphen, and a head with a CR in a line is refused.
const LOWER: u64 = 0x2020_2020_2020_2020;

/// What is kept of the two words of a name of each length.
const KEPT: [(u64, u64); 17] = {
    let mut kept = [(u64::MAX, u64::MAX); 17];
    let mut len = 0;
    while len < 16 {
        kept[len] = if len < 8 {
            ((1 << (8 * len)) - 1, 0)
        } else {
            (u64::MAX, (1 << (8 * (len - 8))) - 1)
        };
        len += 1;
    }
    kept
};

const SLOT_BITS: u32 = 9;
/// Found by trying: no two names fall into one slot; `SLOTS` does not compile otherwise.
const SEED: u64 = 0xb19f_ec2c_2b07_0767;
const NO_NAME: u8 = u8::MAX;

const fn slot(low: u64, high: u64, len: usize) -> usize {
    let mixed = low ^ high.rotate_left(23) ^ ((len as u64) << 59);
    (mixed.wrapping_mul(SEED) >> (u64::BITS - SLOT_BITS)) as usize
}

/// Names that mean nothing here, but are seen in so many messages that checking each of their
/// bytes for being a token's costs more than knowing them.
const COMMON: &[&str] = &[
    "Accept",
    "Accept-Language",
    "Alert-Info",
    "Allow",
    "Call-Info",
    "History-Info",
    "Min-SE",
    "MIME-Version",
    "Ms-Conversation-ID",
    "ms-forking",
    "ms-text-format",
    "P-Charging-Vector",
    "Privacy",
    "RSeq",
    "RAck",
    "Reason",
    "Server",
    "SIP-ETag",
    "SIP-If-Match",
    "User-Agent",
];

const KNOWN: [Known; NAMES.len() + COMMON.len()] = {
    let nothing = Known { low: 0, high: 0, text: "", name: HeaderName::Other };
    let mut known = [nothing; NAMES.len() + COMMON.len()];
    let mut at = 0;
    while at < known.len() {
        let (name, text) = if at < NAMES.len() {
            NAMES[at]
        } else {
            (HeaderName::Other, COMMON[at - NAMES.len()])
        };
        let (mut low, mut high) = (0_u64, 0_u64);
        let mut place = 0;
        while place < text.len() && place < 16 {
            let byte = (text.as_bytes()[place] | 0x20) as u64;
            if place < 8 {
                low |= byte << (8 * place);
            } else {
                high |= byte << (8 * (place - 8));
            }
            place += 1;
        }
        known[at] = Known { low, high, text, name };
        at += 1;
    }
    known
};

const SLOTS: [u8; 1 << SLOT_BITS] = {
    let mut slots = [NO_NAME; 1 << SLOT_BITS];
    let mut at = 0;
    while at < KNOWN.len() {
        let place = slot(KNOWN[at].low, KNOWN[at].high, KNOWN[at].text.len());
        assert!(slots[place] == NO_NAME, "two names in one slot: choose another seed");
        slots[place] = at as u8;
        at += 1;
    }
    slots
};

/// Finds `name`, whose first bytes are those of the two words. `None`: not known.
#[inline(always)]
fn look_up(low: u64, high: u64, name: &[u8]) -> Option<HeaderName> {
    let (keep_low, keep_high) = KEPT[name.len().min(16)];
    let low = (low | LOWER) & keep_low;
    let high = (high | LOWER) & keep_high;
    let known = KNOWN.get(usize::from(SLOTS[slot(low, high, name.len())]))?;
    if known.low != low || known.high != high || known.text.len() != name.len() {
        return None;
    }
    if name.len() > 16 {
        let (rest, other) = (name.get(16..)?, known.text.as_bytes().get(16..)?);
        if !rest.eq_ignore_ascii_case(other) {
            return None;
        }
    }
    Some(known.name)
}
