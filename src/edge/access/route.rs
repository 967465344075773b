//! Reading and removing our own Route entries, and writing our Record-Route entries.

use super::headers::host_of;
use super::legs::FlowKey;
use super::route_token::{Dialog, Facing, PARAMETER, PoolKeys};
use super::seal;
use crate::edge::LegId;
use crate::sip::reply::write_number;
use crate::sip::{Edits, HeaderName, Message, NameAddr, Uri};

/// The names and ports under which this edge appears in SIP.
#[derive(Clone, Debug)]
pub(crate) struct OwnNames {
    pub(crate) external: Box<str>,
    pub(crate) internal: Box<str>,
    pub(crate) node: Box<str>,
    pub(crate) external_port: u16,
    pub(crate) internal_port: u16,
    pub(crate) remote_port: u16,
}

impl OwnNames {
    /// Returns whether `host` is this edge: one of its names.
    pub(crate) fn contains(&self, host: &[u8]) -> bool {
        [&self.external, &self.internal, &self.node]
            .iter()
            .any(|name| host.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// What the Route set of a request says.
#[derive(Debug)]
pub(crate) struct Routes<'a> {
    /// How many entries at the top are ours.
    pub(crate) own: usize,
    /// Entries in all.
    pub(crate) total: usize,
    pub(crate) token: Token,
    /// The remote user's connection that an own entry names.
    pub(crate) flow: Option<Flow>,
    /// Entries of the inside that a partner brings back sealed, in the user part of one of ours.
    pub(crate) sealed: Option<&'a [u8]>,
    /// The last entry belongs into the Request-URI ([`StrictRoute`]).
    pub(crate) strict: bool,
}

/// A request from a strict router: it put our Record-Route entry into the Request-URI and the
/// remote target at the end of the Route set (RFC 3261 section 16.4).
#[derive(Clone, Copy, Debug)]
pub(crate) struct StrictRoute<'a> {
    /// Our own entry, as the Request-URI has it.
    own: Uri<'a>,
    /// Where the request is meant to go, and how that is written.
    pub(crate) target: Uri<'a>,
    target_text: &'a [u8],
}

impl<'a> StrictRoute<'a> {
    /// Recognises one: only an entry that we recorded carries our name and a route token.
    pub(crate) fn of(message: &Message<'a>, names: &OwnNames, uri: &Uri<'a>) -> Option<Self> {
        if !names.contains(uri.host) || uri.param(PARAMETER).is_none() {
            return None;
        }
        let last = message.values(HeaderName::Route).last()?;
        let target_text = NameAddr::parse(last.bytes).ok()?.uri;
        let target = Uri::parse(target_text).ok()?;
        Some(Self { own: *uri, target, target_text })
    }

    /// Puts the remote target back into the Request-URI.
    pub(crate) fn restore(&self, message: &Message<'_>, edits: &mut Edits) {
        edits.replace(message.uri_range(), self.target_text);
    }
}

/// What an own entry's token was worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// No own entry carried one.
    Absent,
    /// The first own entry's token belongs to this dialog and to the side it came from.
    Good,
    /// It does not.
    Bad,
}

/// A remote user's connection as named by a Route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// This process made the token.
    Known { shard: u16, leg: LegId },
    /// Another process made it, or this one before it was started again.
    Lost,
}

/// Reads the Route set. `facing` is the side the request came from.
pub(crate) fn read<'a>(
    message: &Message<'a>,
    names: &OwnNames,
    keys: &PoolKeys,
    flows: FlowKey,
    facing: Facing,
    strict: Option<&StrictRoute<'a>>,
) -> Routes<'a> {
    let mut routes = Routes {
        own: 0,
        total: 0,
        token: Token::Absent,
        flow: None,
        sealed: None,
        strict: strict.is_some(),
    };
    if !message.present(HeaderName::Route) {
        return routes;
    }
    routes.total = message.values(HeaderName::Route).count() - usize::from(strict.is_some());
    let in_header = message.values(HeaderName::Route).take(routes.total).map_while(|value| {
        let name = NameAddr::parse(value.bytes).ok()?;
        Uri::parse(name.uri).ok()
    });
    let own = strict.map(|strict| strict.own).into_iter().chain(in_header);
    let mut first = true;
    for uri in own.take_while(|uri| names.contains(uri.host)) {
        routes.own += 1;
        match uri.user {
            None => {}
            Some(user) if facing == Facing::Partner => {
                routes.sealed = routes.sealed.or(seal::read(user).map(|_| user));
            }
            Some(user) => {
                routes.flow = Some(match flows.read(user) {
                    Some((shard, leg)) => Flow::Known { shard, leg },
                    None => Flow::Lost,
                });
            }
        }
        // The second own entry faces the other side; the first one's token is what counts.
        if std::mem::take(&mut first)
            && let Some(text) = uri.param(PARAMETER)
        {
            let good = text.is_some_and(|text| verify(message, keys, text, facing));
            routes.token = if good { Token::Good } else { Token::Bad };
        }
    }
    // The one in the Request-URI is not in the header.
    routes.own -= usize::from(strict.is_some());
    routes
}

/// Returns whether `text` was made for the dialog of `message`, whoever of the two began it.
fn verify(message: &Message<'_>, keys: &PoolKeys, text: &[u8], facing: Facing) -> bool {
    dialogs(message).any(|dialog| keys.verify(text, facing, &dialog))
}

/// Returns the dialog of `message` as each of the two could have begun it.
pub(crate) fn dialogs<'a>(message: &Message<'a>) -> impl Iterator<Item = Dialog<'a>> + use<'a> {
    let call_id = message.call_id();
    let ends = message.from().ok().zip(message.to().ok()).and_then(|(from, to)| {
        let (from_host, to_host) = (host_of(from.uri)?, host_of(to.uri)?);
        Some([(from.tag(), from_host, to_host), (to.tag(), to_host, from_host)])
    });
    ends.into_iter().flatten().filter_map(move |(tag, initiator_domain, other_domain)| {
        Some(Dialog { call_id, initiator_tag: tag?, initiator_domain, other_domain })
    })
}

/// Returns the dialog that the sender of a request begins with it; of a response that request's.
pub(crate) fn dialog_begun<'a>(message: &Message<'a>) -> Option<Dialog<'a>> {
    let (from, to) = (message.from().ok()?, message.to().ok()?);
    Some(Dialog {
        call_id: message.call_id(),
        initiator_tag: from.tag().unwrap_or_default(),
        initiator_domain: host_of(from.uri).unwrap_or_default(),
        other_domain: host_of(to.uri).unwrap_or_default(),
    })
}

/// Removes our own entries from the top of the Route set, and the one at its end that belongs into
/// the Request-URI.
pub(crate) fn remove_own(message: &Message<'_>, routes: &Routes<'_>, edits: &mut Edits) {
    if routes.own == 0 && !routes.strict {
        return;
    }
    let mut at = 0;
    message.remove_values(HeaderName::Route, edits, |_| {
        let unwanted = at < routes.own || at >= routes.total;
        at += 1;
        unwanted
    });
}

/// Removes every value of a header.
pub(crate) fn remove_all(message: &Message<'_>, name: HeaderName, edits: &mut Edits) {
    for field in message.all(name) {
        edits.remove(field.line);
    }
}

/// The longest value of an entry of ours without a user part: a host name has up to 253 bytes.
pub(crate) const ENTRY_BYTES_MAX: usize = 253 + 100;

/// What a Record-Route or Path entry of ours needs.
pub(crate) struct Entry<'a> {
    pub(crate) header: &'static str,
    /// The user part: a remote user's connection, or a seal.
    pub(crate) user: Option<&'a [u8]>,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) token: Option<&'a [u8]>,
}

impl Entry<'_> {
    /// Appends the header line.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.header.as_bytes());
        out.extend_from_slice(b": ");
        self.write_value(out);
        out.extend_from_slice(b"\r\n");
    }

    /// Appends what stands behind the header's name.
    pub(crate) fn write_value(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<sip:");
        if let Some(user) = self.user {
            out.extend_from_slice(user);
            out.push(b'@');
        }
        out.extend_from_slice(self.host.as_bytes());
        out.push(b':');
        write_number(out, u32::from(self.port));
        out.extend_from_slice(b";transport=tls;lr");
        if let Some(token) = self.token {
            out.push(b';');
            out.extend_from_slice(PARAMETER.as_bytes());
            out.push(b'=');
            out.extend_from_slice(token);
        }
        out.push(b'>');
    }
}
