//! Queries of contacts. There is no client to ask, so the gateway answers: what its users can do,
//! and that they are reached.

use super::Gateway;
use super::links::Tag;
use super::stanzas::Sender;
use super::translate::ns;
use crate::edge::Effects;
use crate::time::Now;
use crate::xmpp::{self, Node, Stanza, StanzaError};

const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";

/// What a client at the other end may make use of.
const FEATURES: [&str; 5] =
    [DISCO_INFO, xmpp::ns::PING, ns::CHAT_STATES, ns::RECEIPTS, ns::XHTML_IM];

impl Gateway {
    /// Answers a query (RFC 6120 section 8.2.3: each gets one answer).
    pub(super) fn query(
        &mut self,
        now: Now,
        stanza: &Node,
        sender: &Sender,
        effects: &mut Effects,
    ) {
        let asks = matches!(stanza.attribute("type"), Some("get" | "set"));
        if !asks || sender.id.is_none() {
            self.counters.dropped += 1;
            return;
        }
        self.counters.queries += 1;
        let is_get = stanza.attribute("type") == Some("get");
        let content = if is_get && stanza.child("ping", xmpp::ns::PING).is_some() {
            Ok(None)
        } else if is_get && stanza.child("query", DISCO_INFO).is_some() {
            Ok(Some(info()))
        } else {
            Err(StanzaError::ServiceUnavailable)
        };
        let answer = match content {
            Ok(content) => {
                let mut answer = Node::stanza(Stanza::Iq)
                    .with("from", sender.to.to_string())
                    .with("to", sender.from.to_string())
                    .with_some("id", sender.id.clone())
                    .with("type", "result");
                if let Some(content) = content {
                    answer.push(content);
                }
                answer
            }
            Err(condition) => self.error_stanza(Stanza::Iq, sender, &condition.into()),
        };
        let (from, to) = (sender.to.clone(), sender.from.clone());
        self.send(now, &from, &to, &answer, Tag::Nothing, effects);
    }
}

fn info() -> Node {
    let identity = Node::new("identity", DISCO_INFO)
        .with("category", "gateway")
        .with("type", "simple")
        .with("name", "SIP");
    let features = FEATURES.iter().map(|name| Node::new("feature", DISCO_INFO).with("var", *name));
    features.fold(Node::new("query", DISCO_INFO).with_child(identity), Node::with_child)
}
