//! Who may say what to whom, and what every message of ours says of where it came from.

use super::translate::address::{self, AddressFault};
use super::{Gateway, translate};
use crate::dns::Domain;
use crate::edge::Effects;
use crate::edge::LegId;
use crate::limits;
use crate::policy::{XmppKind, XmppRefusal};
use crate::sip::{Message, Uri};
use crate::time::Now;
use crate::xmpp::{Jid, Node};

/// The header field and the element that count gateways.
pub(super) const HOPS_HEADER: &str = "Entente-Gateways";
/// The element's namespace.
pub(super) const HOPS_NS: &str = translate::ns::HOPS;

/// The two ends of a request from inside.
#[derive(Clone, Debug)]
pub(super) struct Parties {
    /// Our user.
    pub(super) ours: Jid<'static>,
    /// The contact.
    pub(super) theirs: Jid<'static>,
    pub(super) kind: XmppKind,
    /// How many gateways the request has passed with this one.
    pub(super) hops: u32,
}

/// Why a request from inside is not served.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) reason: &'static str,
    pub(super) sentence: String,
}

impl Refused {
    pub(super) fn new(status: u16, reason: &'static str, sentence: impl Into<String>) -> Self {
        Self { status, reason, sentence: sentence.into() }
    }

    fn address(fault: AddressFault, whose: &str) -> Self {
        let (status, reason) = match fault {
            AddressFault::Sips | AddressFault::Tel | AddressFault::Scheme => {
                (416, "Unsupported URI Scheme")
            }
            AddressFault::NoUser => (484, "Address Incomplete"),
            _ => (404, "Not Found"),
        };
        Self::new(status, reason, format!("the address in {whose}: {fault}"))
    }
}

impl Gateway {
    /// Decides whether two domains may talk, and what the contact's users may do.
    ///
    /// A gateway alone on the inside need not have the list of partners, which its edges have: then
    /// they decide, and `known` is what they said of the partner, if it was heard of.
    pub(super) fn permitted(
        &self,
        now: Now,
        ours: &Domain,
        theirs: &Domain,
        known: Option<XmppKind>,
    ) -> Result<XmppKind, XmppRefusal> {
        if self.snapshot.rules().xmpp.partners.is_empty() {
            let own = self.snapshot.is_own(ours.as_str().as_bytes());
            return if own { Ok(known.unwrap_or_default()) } else { Err(XmppRefusal::NotOurs) };
        }
        let permit = self.snapshot.xmpp(now, ours, theirs)?;
        let partner = self.snapshot.xmpp_partner(permit.partner());
        Ok(partner.map_or_else(XmppKind::default, |partner| partner.kind))
    }

    /// Finds the two ends of a request from inside that is in no dialog.
    pub(super) fn parties(&mut self, now: Now, message: &Message<'_>) -> Result<Parties, Refused> {
        let hops = hops_of_header(message).saturating_add(1);
        if hops > limits::GATEWAY_HOPS_MAX {
            self.counters.refused_loop += 1;
            let sentence = "the request has passed too many gateways";
            return Err(Refused::new(482, "Loop Detected", sentence));
        }
        let from = message.from().map_or(&b""[..], |from| from.uri);
        let read = |uri: &[u8], whose| {
            address::jid_of(uri).map_err(|fault| Refused::address(fault, whose))
        };
        let both = read(message.uri(), "the Request-URI")
            .and_then(|theirs| Ok((theirs, read(from, "From")?)));
        let (theirs, ours) = match both {
            Ok(both) => both,
            Err(refused) => {
                self.counters.refused_address += 1;
                return Err(refused);
            }
        };
        self.count(theirs.losses);
        let (ours, theirs) = (ours.value, theirs.value);
        let long = [&ours, &theirs].into_iter().any(is_too_long);
        if long {
            self.counters.refused_address += 1;
            return Err(Refused::new(414, "Request-URI Too Long", "an address is too long"));
        }
        let known = self.contacts.find(&ours, &theirs).map(|contact| contact.kind);
        let permitted = self.permitted(now, &ours.to_domain(), &theirs.to_domain(), known);
        match permitted {
            Ok(kind) => Ok(Parties { ours, theirs, kind, hops }),
            Err(refusal) => {
                self.counters.refused_by_policy += 1;
                let (a, b) = (ours.domain(), theirs.domain());
                let sentence = format!("from {a} to {b}: {refusal}");
                Err(match refusal {
                    XmppRefusal::NotListed => Refused::new(404, "Not Found", sentence),
                    _ => Refused::new(403, "Forbidden", sentence),
                })
            }
        }
    }

    /// Refuses a request from inside, and tells of it.
    pub(super) fn refuse(
        &mut self,
        leg: LegId,
        message: &Message<'_>,
        refused: &Refused,
        lines: &str,
        effects: &mut Effects,
    ) {
        let method = String::from_utf8_lossy(message.method_token()).into_owned();
        let Refused { status, reason, sentence } = refused;
        let said = format!("{method} with {status} {reason}: {sentence}");
        let decision = self.tell(Some(leg), &said, effects);
        let text = format!("{sentence} ({decision})");
        let lines = format!("{lines}{}", self.diagnostics(*status, &text));
        self.reply(leg, message, *status, reason, &lines, effects);
    }

    /// Returns the line that says why, for the logs of the servers inside (wire-protocols A.10).
    pub(super) fn diagnostics(&self, status: u16, why: &str) -> String {
        let id = match status {
            403 | 404 | 482 => 1005,
            408 | 504 => 1007,
            _ => 1018,
        };
        let why: String = why.chars().filter(|c| !c.is_control() && !"\"\\".contains(*c)).collect();
        format!("ms-diagnostics: {id};reason=\"{why}\";source=\"{}\"\r\n", self.setup.name)
    }

    /// Returns the line that tells the inside where a message came from, as an Access Edge stamps
    /// it (wire-protocols A.4).
    pub(super) fn trust(&self, kind: XmppKind) -> String {
        let verified = if kind.is_verified() { "verified" } else { "unverified" };
        format!(
            "ms-edge-proxy-message-trust: ms-source-type={};ms-ep-fqdn={};\
             ms-source-verified-user={verified};ms-source-network={}\r\n",
            kind.source_type(),
            self.snapshot.rules().internal_fqdn,
            kind.source_network().as_str()
        )
    }

    /// Returns the lines that requests of ours have on their way inside.
    pub(super) fn own_lines(&self, kind: XmppKind, hops: u32) -> String {
        format!("{}{}{HOPS_HEADER}: {hops}\r\n", self.contact_line(), self.trust(kind))
    }

    /// Returns our Contact.
    pub(super) fn contact_line(&self) -> String {
        format!("Contact: <sip:{}:{};transport=tls>\r\n", self.setup.name, self.setup.sip_port)
    }
}

/// Returns how many gateways a request has passed.
pub(super) fn hops_of_header(message: &Message<'_>) -> u32 {
    let field = message.find(HOPS_HEADER);
    let text = field.and_then(|field| std::str::from_utf8(field.value).ok());
    text.map_or(0, |text| text.trim().parse().unwrap_or(u32::MAX))
}

/// Returns how many gateways a stanza has passed.
pub(super) fn hops_of_stanza(stanza: &Node) -> u32 {
    let child = stanza.child("gateways", HOPS_NS);
    let number = child.and_then(|child| child.attribute("n"));
    match child {
        None => 0,
        Some(_) => number.and_then(|n| n.parse().ok()).unwrap_or(u32::MAX),
    }
}

/// Returns the element that says how many gateways a stanza has passed.
pub(super) fn hops_node(hops: u32) -> Node {
    Node::new("gateways", HOPS_NS).with("n", hops.to_string())
}

/// Tells whether an address is longer than what is kept.
pub(super) fn is_too_long(jid: &Jid<'_>) -> bool {
    let part = |part: Option<&str>| part.map_or(0, str::len);
    part(jid.local()) + jid.domain().len() + 1 > limits::GATEWAY_ADDRESS_BYTES_MAX
        || part(jid.resource()) > limits::GATEWAY_ADDRESS_BYTES_MAX
}

/// Returns the host of a SIP URI in lower case; empty if it is none.
pub(super) fn host_of(uri: &str) -> String {
    let host = Uri::parse(uri.as_bytes()).map_or(&b""[..], |uri| uri.host);
    String::from_utf8_lossy(host).to_ascii_lowercase()
}
