//! Errors (RFC 7247 section 4), both tables closed.

use super::address;
use super::text::{single_line, xml_text};
use super::{Loss, Losses, Translated};
use crate::limits;
use crate::xmpp::{ErrorKind, Jid, Node, ReceivedStanzaError, StanzaError, ns};

/// What the stanza that failed was addressed to; RFC 7247 has two status codes for some errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Addressed {
    /// A user: what one resource says is not the last word (4xx) unless it is said of all (6xx).
    Bare,
    /// One resource.
    Full,
}

impl Addressed {
    /// Returns what this address is.
    #[must_use]
    pub const fn of(jid: &Jid<'_>) -> Self {
        if jid.is_bare() { Self::Bare } else { Self::Full }
    }
}

/// What kind of transaction is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transaction {
    /// An INVITE.
    Invite,
    /// Anything else, which is never answered with 408 (RFC 4320 section 4.2).
    NonInvite,
}

/// A final answer of SIP other than success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// The reason phrase: the text of the error if it had one.
    pub reason: String,
    /// For 301 and 302: the SIP URI for Contact.
    pub contact: Option<String>,
}

/// Returns the answer that says what a stanza error said.
///
/// Source: RFC 7247 section 4.2, table 2.
#[must_use]
pub fn refusal_of(
    error: &ReceivedStanzaError,
    addressed: Addressed,
    transaction: Transaction,
) -> Translated<Refusal> {
    let mut losses = Losses::NONE;
    let contact = error.uri.as_deref().and_then(sip_contact);
    let points = matches!(error.condition, StanzaError::Gone | StanzaError::Redirect);
    if points && error.uri.is_some() && contact.is_none() {
        losses.add(Loss::NewAddress);
    }
    let place = if contact.is_some() { NewPlace::Known } else { NewPlace::Unknown };
    let status = status_of(error.condition, addressed, transaction, place);
    let reason = error.text.as_deref().map(|text| {
        let line = single_line(text, limits::GATEWAY_REASON_BYTES_MAX);
        losses.add_all(line.losses);
        line.value
    });
    let reason = reason.filter(|reason| !reason.is_empty());
    Translated {
        value: Refusal {
            status,
            reason: reason.unwrap_or_else(|| reason_of(status).to_owned()),
            contact: contact.filter(|_| matches!(status, 301 | 302)),
        },
        losses,
    }
}

/// Whether an error says where the addressee is instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NewPlace {
    /// It does.
    Known,
    /// It does not, or in a way that SIP cannot.
    Unknown,
}

/// Returns the status code for a condition.
///
/// Where the RFC gives a choice: `service-unavailable` is 403, which, unlike 405, needs no Allow
/// and tells nothing; `remote-server-not-found` is 404, since nothing in it says that trying later
/// would help.
#[must_use]
pub const fn status_of(
    condition: StanzaError,
    addressed: Addressed,
    transaction: Transaction,
    place: NewPlace,
) -> u16 {
    use Addressed::{Bare, Full};
    match (condition, addressed) {
        (
            StanzaError::BadRequest
            | StanzaError::Conflict
            | StanzaError::JidMalformed
            | StanzaError::SubscriptionRequired
            | StanzaError::UndefinedCondition,
            _,
        ) => 400,
        (StanzaError::FeatureNotImplemented, Full) => 405,
        (StanzaError::FeatureNotImplemented, Bare) => 501,
        (StanzaError::Forbidden, Full) => 403,
        (StanzaError::Forbidden, Bare) => 603,
        (StanzaError::Gone, _) => match place {
            NewPlace::Known => 301,
            NewPlace::Unknown => 410,
        },
        (StanzaError::InternalServerError | StanzaError::ResourceConstraint, _) => 500,
        (StanzaError::ItemNotFound, Full) => 404,
        (StanzaError::ItemNotFound, Bare) => 604,
        (StanzaError::NotAcceptable, Full) => 406,
        (StanzaError::NotAcceptable, Bare) => 606,
        (
            StanzaError::NotAllowed
            | StanzaError::PolicyViolation
            | StanzaError::ServiceUnavailable,
            _,
        ) => 403,
        (StanzaError::NotAuthorized, _) => 401,
        (StanzaError::RecipientUnavailable, Full) => 480,
        (StanzaError::RecipientUnavailable, Bare) => 600,
        // Without a Contact nobody could follow it.
        (StanzaError::Redirect, _) => match place {
            NewPlace::Known => 302,
            NewPlace::Unknown => 404,
        },
        (StanzaError::RegistrationRequired, _) => 407,
        (StanzaError::RemoteServerNotFound, _) => 404,
        (StanzaError::RemoteServerTimeout, _) => match transaction {
            Transaction::Invite => 408,
            Transaction::NonInvite => 504,
        },
        // 491 is about two INVITEs that cross (RFC 3261 section 14.2).
        (StanzaError::UnexpectedRequest, _) => match transaction {
            Transaction::Invite => 491,
            Transaction::NonInvite => 400,
        },
    }
}

/// Returns the reason phrase of RFC 3261 section 21 for a status of these tables.
#[must_use]
pub const fn reason_of(status: u16) -> &'static str {
    match status {
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        415 => "Unsupported Media Type",
        480 => "Temporarily Unavailable",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        504 => "Server Time-out",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => "Error",
    }
}

/// Returns the condition for a status; `None` below 300, which is no refusal.
///
/// Source: RFC 7247 section 4.3, table 3.
#[must_use]
pub const fn condition_of(status: u16) -> Option<StanzaError> {
    Some(match status {
        0..300 => return None,
        301 | 410 => StanzaError::Gone,
        380 => StanzaError::NotAcceptable,
        300..400 => StanzaError::Redirect,
        401 => StanzaError::NotAuthorized,
        403 => StanzaError::Forbidden,
        404 | 481 | 484 | 485 => StanzaError::ItemNotFound,
        405 | 420 | 439 => StanzaError::FeatureNotImplemented,
        406 | 415 | 416 | 421 | 482 | 483 | 488 => StanzaError::NotAcceptable,
        407 => StanzaError::RegistrationRequired,
        408 => StanzaError::RemoteServerTimeout,
        413 | 414 | 440 | 489 => StanzaError::PolicyViolation,
        423 => StanzaError::ResourceConstraint,
        430 | 480 | 486 | 487 => StanzaError::RecipientUnavailable,
        491 => StanzaError::UnexpectedRequest,
        400..500 => StanzaError::BadRequest,
        501 => StanzaError::FeatureNotImplemented,
        502 => StanzaError::RemoteServerNotFound,
        504 => StanzaError::RemoteServerTimeout,
        505 => StanzaError::NotAcceptable,
        513 => StanzaError::PolicyViolation,
        500..600 => StanzaError::InternalServerError,
        604 => StanzaError::ItemNotFound,
        606 => StanzaError::NotAcceptable,
        _ => StanzaError::RecipientUnavailable,
    })
}

/// Returns the stanza error that says what a final answer said; `None` for a status below 300.
///
/// `reason`: its reason phrase. `contact`: the URI of the first Contact, for 301 and 302.
#[must_use]
pub fn stanza_error_of(
    status: u16,
    reason: &[u8],
    contact: Option<&[u8]>,
) -> Option<Translated<ReceivedStanzaError>> {
    let condition = condition_of(status)?;
    let mut losses = Losses::NONE;
    let uri = match (condition, contact) {
        (StanzaError::Gone, Some(contact)) if status == 301 => xmpp_uri(contact),
        (StanzaError::Redirect, Some(contact)) => xmpp_uri(contact),
        _ => None,
    };
    if uri.is_none() && contact.is_some() && (300..400).contains(&status) {
        losses.add(Loss::NewAddress);
    }
    let text = xml_text(&String::from_utf8_lossy(reason), limits::XMPP_ERROR_TEXT_BYTES_MAX);
    losses.add_all(text.losses);
    let text = Some(text.value).filter(|text| !text.is_empty());
    let value = ReceivedStanzaError { condition, kind: condition.kind(), text, uri };
    Some(Translated { value, losses })
}

/// Builds `<error>` as a child of a stanza.
#[must_use]
pub fn error_node(error: &ReceivedStanzaError) -> Node {
    let mut condition = Node::new(error.condition.as_str(), ns::STANZA_ERRORS);
    if let Some(uri) = &error.uri {
        condition.push_text(&**uri);
    }
    let node = Node::new("error", ns::SERVER).with("type", error.kind.as_str());
    let node = node.with_child(condition);
    match &error.text {
        Some(text) => node.with_child(
            Node::new("text", ns::STANZA_ERRORS).with("xml:lang", "en").with_text(&**text),
        ),
        None => node,
    }
}

/// Reads the `<error>` of a stanza; `None`: it has none.
#[must_use]
pub fn read_error(stanza: &Node) -> Option<ReceivedStanzaError> {
    let error = stanza.children().find(|child| child.name() == "error")?;
    let named = || error.children().filter(|child| child.namespace() == ns::STANZA_ERRORS);
    let found = named().find_map(|child| Some((StanzaError::named(child.name())?, child)));
    let condition = found.map_or(StanzaError::UndefinedCondition, |(condition, _)| condition);
    let cut = |node: &Node| xml_text(&node.text(), limits::XMPP_ERROR_TEXT_BYTES_MAX).value;
    let uri = found.map(|(_, child)| cut(child)).filter(|uri| !uri.is_empty());
    let text = named().find(|child| child.name() == "text").map(cut);
    let kind = match error.attribute("type") {
        Some("auth") => ErrorKind::Auth,
        Some("cancel") => ErrorKind::Cancel,
        Some("continue") => ErrorKind::Continue,
        Some("modify") => ErrorKind::Modify,
        Some("wait") => ErrorKind::Wait,
        _ => condition.kind(),
    };
    Some(ReceivedStanzaError { condition, kind, text, uri })
}

/// `xmpp:user@domain` (RFC 5122) or a SIP URI, as the Contact of a redirection.
fn sip_contact(uri: &str) -> Option<String> {
    let uri = uri.trim();
    if let Some(address) = uri.strip_prefix("xmpp:") {
        let address = address.split(['?', '#']).next().unwrap_or_default();
        let address = address::percent_decoded(address.as_bytes()).ok()?;
        return address::uri_of(&Jid::parse(&address).ok()?).ok();
    }
    // Only what survives the way to a JID is known to have nothing else in it.
    let jid = address::jid_of(uri.as_bytes()).ok()?.value;
    address::uri_of(&jid).ok()
}

fn xmpp_uri(contact: &[u8]) -> Option<String> {
    let jid = address::jid_of(contact).ok()?.value.to_string();
    let mut uri = "xmpp:".to_owned();
    // RFC 5122 section 2.2: `nodeid` with what separates the parts.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$()*+,;=@/".contains(&byte);
    address::percent_encode(&jid, is_plain, &mut uri);
    Some(uri)
}
