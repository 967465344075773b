//! The credentials service of the A/V Edge (MRAS, wire-protocols E.9): the body of a request in,
//! the body of its answer out. What carries them is [`super::access`]'s business.
//!
//! ```text
//!  request body ──> read ──> judge each identity ──> issue ──> write ──> response body
//!                    └────────── Fault ────────────────────────^
//! ```
//!
//! Credentials carry their own proof ([`super::av::MrasKey`]), so nothing is kept of them: any
//! relay of the pool that has the key believes them until they end.
//!
//! # How certain it is
//! The form of both bodies is that of the schema as an open implementation has it, and of what
//! clients are known to send. The status that a fault is answered with, the route attribute and the
//! most of wants that one request may have are not proven against the product; [`Fault`] is the one
//! table of them.

mod fault;
mod request;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use self::fault::Fault;
use self::request::{Head, Request, Route, Want};
use super::av::MrasKey;
use crate::policy::{Location, MediaCredentials, MediaRelay};
use crate::xmpp::{Node, document};

/// Content-Type of both bodies.
pub const CONTENT_TYPE: &str = "application/msrtc-media-relay-auth+xml";
/// Namespace of every element.
const NAMESPACE: &str = "http://schemas.microsoft.com/2006/09/sip/mrasp";
/// The version of the protocol that is spoken here.
const VERSION: &str = "2.0";
/// Seconds of the unit that lifetimes are told in.
const MINUTE_S: u64 = 60;

/// Answers requests for credentials under one policy.
#[derive(Clone, Debug)]
pub struct Service {
    key: MrasKey,
    lifetime_s: u64,
    relays: Vec<MediaRelay>,
}

/// What is answered to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The body.
    pub body: Vec<u8>,
    /// How many credentials are in it, or why there are none.
    pub outcome: Result<usize, Fault>,
}

impl Service {
    /// Returns the service that makes credentials of `media`.
    #[must_use]
    pub fn new(media: &MediaCredentials) -> Self {
        Self {
            key: MrasKey::new(&media.key.0),
            lifetime_s: media.lifetime_s,
            relays: media.relays.clone(),
        }
    }

    /// Answers a request.
    ///
    /// `judge` says under which name quotas count the identity that credentials are wanted for,
    /// or refuses it. Either all that is wanted is granted or nothing.
    pub fn answer(
        &self,
        unix_s: u64,
        body: &[u8],
        judge: impl Fn(&str) -> Result<String, Fault>,
    ) -> Answer {
        let (head, read) = request::read(body);
        let granted = read.and_then(|request| self.grant(unix_s, &request, judge));
        match granted {
            Ok(granted) => Answer { outcome: Ok(granted.len()), body: write(&head, None, granted) },
            Err(fault) => {
                Answer { body: write(&head, Some(fault), Vec::new()), outcome: Err(fault) }
            }
        }
    }

    /// Returns the answer to a request that is not looked at for want of time.
    #[must_use]
    pub fn busy(body: &[u8]) -> Answer {
        let (head, _) = request::read(body);
        let fault = Fault::ServerBusy;
        Answer { body: write(&head, Some(fault), Vec::new()), outcome: Err(fault) }
    }

    fn grant(
        &self,
        unix_s: u64,
        request: &Request,
        judge: impl Fn(&str) -> Result<String, Fault>,
    ) -> Result<Vec<Node>, Fault> {
        let grant = |want: &Want| {
            let user = judge(&want.identity)?;
            let relays = self.relays(want.location, request.route)?;
            let minutes = (self.lifetime_s / MINUTE_S).max(1);
            let minutes = want.minutes.map_or(minutes, |asked| asked.min(minutes));
            let token = self.key.issue(&user, unix_s + minutes * MINUTE_S);
            let credentials = element("credentials")
                .with_child(text("username", STANDARD.encode(token.username)))
                .with_child(text("password", STANDARD.encode(token.password)))
                .with_child(text("duration", minutes.to_string()));
            Ok(element("credentialsResponse")
                .with("credentialsRequestID", want.id.clone())
                .with_child(credentials)
                .with_child(relays))
        };
        request.wants.iter().map(grant).collect()
    }

    /// Returns the relays for clients at `location`, or at either without one.
    fn relays(&self, location: Option<Location>, route: Route) -> Result<Node, Fault> {
        let of_location = |relay: &&MediaRelay| location.is_none_or(|at| at == relay.location);
        let mut list = element("mediaRelayList");
        for relay in self.relays.iter().filter(of_location) {
            list.push(relay_element(relay, route));
        }
        if list.content.is_empty() { Err(Fault::NoRelay) } else { Ok(list) }
    }
}

fn relay_element(relay: &MediaRelay, route: Route) -> Node {
    let mut told = element("mediaRelay").with_child(text("location", relay.location.word()));
    told.push(match (route, &relay.name) {
        (Route::Balanced, Some(name)) => text("hostName", name.to_string()),
        (Route::Balanced, None) => text("directIPAddress", relay.pool.to_string()),
        (Route::Direct, _) => text("directIPAddress", relay.node.to_string()),
    });
    for (name, port) in [("udpPort", relay.udp_port), ("tcpPort", relay.tcp_port)] {
        if let Some(port) = port {
            told.push(text(name, port.to_string()));
        }
    }
    told
}

fn write(head: &Head, fault: Option<Fault>, granted: Vec<Node>) -> Vec<u8> {
    let mut response = element("response")
        .with_some("requestID", head.id.as_deref())
        .with_some("version", head.version.as_deref())
        .with("serverVersion", VERSION)
        .with_some("to", head.to.as_deref())
        .with_some("from", head.from.as_deref())
        .with("reasonPhrase", fault.map_or("OK", Fault::phrase));
    for node in granted {
        response.push(node);
    }
    document::write(&response)
}

fn element(name: &'static str) -> Node {
    Node::new(name, NAMESPACE)
}

fn text(name: &'static str, text: impl Into<String>) -> Node {
    element(name).with_text(text)
}
