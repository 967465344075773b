//! The body of a request, read.

use super::{Fault, NAMESPACE};
use crate::limits;
use crate::policy::Location;
use crate::xmpp::{Bounds, Node, document};

/// Bytes of an identity, as it is to fit a SIP header.
const IDENTITY_BYTES_MAX: usize = 1_024;
/// Characters of an id, as the schema has it.
const ID_CHARS_MAX: usize = 64;

/// What a real request has, several times over.
const BOUNDS: Bounds = Bounds {
    depth: 8,
    element_bytes: limits::MRAS_BODY_BYTES_MAX as u32,
    header_bytes: limits::XMPP_HEADER_BYTES_MAX,
    attributes: limits::XMPP_UNAUTHENTICATED_ATTRIBUTES_MAX,
    name_bytes: limits::XMPP_NAME_BYTES_MAX,
    stream_bytes: limits::MRAS_BODY_BYTES_MAX as u64 + 1_024,
};

/// What the answer says again, as far as it could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: Option<String>,
    pub(super) version: Option<String>,
    pub(super) to: Option<String>,
    pub(super) from: Option<String>,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) route: Route,
    /// At least one, at most [`limits::MRAS_CREDENTIALS_MAX`].
    pub(super) wants: Vec<Want>,
}

/// How clients are to come to the relays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Route {
    /// By what stands for the pool.
    #[default]
    Balanced,
    /// By the address of a node.
    Direct,
}

/// One pair of credentials that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) id: String,
    pub(super) identity: String,
    /// `None`: for clients at either.
    pub(super) location: Option<Location>,
    /// `None`: as long as may be.
    pub(super) minutes: Option<u64>,
}

/// Reads a body; whatever it is, what the answer repeats of it.
pub(super) fn read(body: &[u8]) -> (Head, Result<Request, Fault>) {
    let Some(root) = document::read(body, BOUNDS) else {
        return (Head::default(), Err(Fault::Malformed("the body is no XML document")));
    };
    if !root.is("request", NAMESPACE) {
        return (Head::default(), Err(Fault::Malformed("the body is no request for credentials")));
    }
    let told = |name: &str| root.attribute(name).map(str::to_owned);
    let head = Head {
        id: told("requestID"),
        version: told("version"),
        to: told("to"),
        from: told("from"),
    };
    let request = request(&root, &head);
    (head, request)
}

fn request(root: &Node, head: &Head) -> Result<Request, Fault> {
    // Versions come first: what a later one has is not for us to find fault with.
    let version = head.version.as_deref().ok_or(Fault::Malformed("there is no version"))?;
    speaks(version)?;
    if !head.id.as_deref().is_some_and(is_id) {
        return Err(Fault::Malformed("the request has no id of 1 to 64 characters"));
    }
    if head.to.is_none() || head.from.is_none() {
        return Err(Fault::Malformed("the request does not say from whom and to whom it is"));
    }
    let route = route(root.attribute("route"))?;
    let wanted = || root.children().filter(|child| child.is("credentialsRequest", NAMESPACE));
    match wanted().count() {
        0 => return Err(Fault::Malformed("no credentials are wanted")),
        many if many > limits::MRAS_CREDENTIALS_MAX => return Err(Fault::TooMany),
        _ => {}
    }
    Ok(Request { route, wants: wanted().map(want).collect::<Result<_, _>>()? })
}

/// Judges a version: two numbers, of which the first is 1 or 2 and the second 0.
fn speaks(version: &str) -> Result<(), Fault> {
    let parts = version.trim().split_once('.').ok_or(Fault::VersionUnknown)?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten().ok_or(Fault::VersionUnknown)
    };
    match (number(parts.0)?, number(parts.1)?) {
        (1 | 2, 0) => Ok(()),
        _ => Err(Fault::VersionMismatch),
    }
}

fn is_id(id: &str) -> bool {
    (1..=ID_CHARS_MAX).contains(&id.chars().count())
}

fn route(said: Option<&str>) -> Result<Route, Fault> {
    match said {
        None => Ok(Route::default()),
        Some(route) if route.eq_ignore_ascii_case("loadbalanced") => Ok(Route::Balanced),
        Some(route) if route.eq_ignore_ascii_case("directip") => Ok(Route::Direct),
        Some(_) => Err(Fault::UnknownRoute),
    }
}

fn want(node: &Node) -> Result<Want, Fault> {
    let id = node.attribute("credentialsRequestID").filter(|id| is_id(id));
    let id = id.ok_or(Fault::Malformed("what is wanted has no id of 1 to 64 characters"))?;
    let text = |name: &str| node.child(name, NAMESPACE).map(|child| child.text().trim().to_owned());
    let fits = |identity: &String| (1..=IDENTITY_BYTES_MAX).contains(&identity.len());
    let identity = text("identity").filter(fits);
    let identity = identity.ok_or(Fault::Malformed("there is no identity"))?;
    let location = match text("location").as_deref() {
        None => None,
        Some("internet") => Some(Location::Internet),
        Some("intranet") => Some(Location::Intranet),
        Some(_) => return Err(Fault::Malformed("the location is neither internet nor intranet")),
    };
    let minutes = match text("duration") {
        None => None,
        Some(duration) => {
            let number = duration.parse().ok().filter(|minutes| *minutes > 0);
            Some(number.ok_or(Fault::Malformed("the duration is no number of minutes"))?)
        }
    };
    Ok(Want { id: id.to_owned(), identity, location, minutes })
}
