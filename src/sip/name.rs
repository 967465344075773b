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
        if text.len() > u8::MAX as usize {
            return Self::Other;
        }
        let mut head = [0; 16];
        for (to, from) in head.iter_mut().zip(text) {
            *to = *from;
        }
        look_up(&head, text)
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
/// `line`: without its line end; may be folded behind the colon only. `None` without a colon or
/// with a name that is no token.
///
/// Hot: once per header field. Bench `sip_scan/*`.
#[inline(always)]
pub(super) fn recognise(input: &[u8], start: usize, end: usize) -> Option<Recognised> {
    let line = input.get(start..end)?;
    let head = match input.get(start..).and_then(<[u8]>::first_chunk::<16>) {
        Some(head) => *head,
        None => padded(line),
    };
    let colons = block::equal(&head, b':');
    let colon = if colons != 0 {
        colons.trailing_zeros() as usize
    } else {
        16 + memchr::memchr(b':', line.get(16..)?)?
    };
    let mut name = line.get(..colon)?;
    while let [rest @ .., b' ' | b'\t'] = name {
        name = rest;
    }
    let recognised = look_up(&head, name);
    if recognised == HeaderName::Other && !TOKEN.is_all(name) {
        return None;
    }
    Some(Recognised { name: recognised, name_len: name.len(), colon })
}

#[cold]
fn padded(line: &[u8]) -> [u8; 16] {
    let mut head = [0; 16];
    for (to, from) in head.iter_mut().zip(line) {
        *to = *from;
    }
    head
}

/// A name as it is compared: its first sixteen bytes in lower case, the rest of them zero.
#[derive(Clone, Copy)]
struct Known {
    low: u64,
    high: u64,
    len: u8,
    name: HeaderName,
}

/// Sets the bit that makes a letter lower case. Among the bytes that a name made of letters and
/// hyphens can be mistaken for are only control characters: CR, which never reaches here, for
/// hyphen.
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
/// Found by trying: no two names fall into one slot; [`SLOTS`] does not compile otherwise.
const SEED: u64 = 0x07c6_1448_75a3_ae19;
const NO_NAME: u8 = u8::MAX;

const fn slot(low: u64, high: u64, len: usize) -> usize {
    let mixed = low ^ high.rotate_left(23) ^ ((len as u64) << 59);
    (mixed.wrapping_mul(SEED) >> (u64::BITS - SLOT_BITS)) as usize
}

const KNOWN: [Known; NAMES.len()] = {
    let mut known = [Known { low: 0, high: 0, len: 0, name: HeaderName::Other }; NAMES.len()];
    let mut at = 0;
    while at < NAMES.len() {
        let text = NAMES[at].1.as_bytes();
        let (mut low, mut high) = (0_u64, 0_u64);
        let mut place = 0;
        while place < text.len() && place < 16 {
            let byte = (text[place] | 0x20) as u64;
            if place < 8 {
                low |= byte << (8 * place);
            } else {
                high |= byte << (8 * (place - 8));
            }
            place += 1;
        }
        known[at] = Known { low, high, len: text.len() as u8, name: NAMES[at].0 };
        at += 1;
    }
    known
};

const SLOTS: [u8; 1 << SLOT_BITS] = {
    let mut slots = [NO_NAME; 1 << SLOT_BITS];
    let mut at = 0;
    while at < KNOWN.len() {
        let place = slot(KNOWN[at].low, KNOWN[at].high, KNOWN[at].len as usize);
        assert!(slots[place] == NO_NAME, "two names in one slot: choose another seed");
        slots[place] = at as u8;
        at += 1;
    }
    slots
};

/// `head`: at least the first bytes of `text`, and anything behind it.
#[inline(always)]
fn look_up(head: &[u8; 16], text: &[u8]) -> HeaderName {
    let word = u128::from_le_bytes(*head);
    let (keep_low, keep_high) = KEPT[text.len().min(16)];
    let low = (word as u64 | LOWER) & keep_low;
    let high = ((word >> 64) as u64 | LOWER) & keep_high;
    let Some(known) = KNOWN.get(usize::from(SLOTS[slot(low, high, text.len())])) else {
        return HeaderName::Other;
    };
    if known.low != low || known.high != high || usize::from(known.len) != text.len() {
        return HeaderName::Other;
    }
    if text.len() > 16 {
        let rest = known.name.as_str().as_bytes().get(16..);
        let same = rest.zip(text.get(16..)).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b));
        if !same {
            return HeaderName::Other;
        }
    }
    known.name
}
