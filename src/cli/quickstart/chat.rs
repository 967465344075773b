//! What alice and carol do, who has her account on an XMPP server: the gateway speaks SIP to one
//! and XMPP to the other.

use anyhow::{Context, bail, ensure};

use super::act::{ADATUM, ALICE, Act};
use super::dialog::Dialog;
use super::event::Passed;
use super::message::{self, Message};
use super::story::{Story, expect_status, presence_document};
use crate::xmpp::{Jid, Node, Stanza, ns};

impl Story {
    pub(super) async fn act_by_xmpp(&mut self, act: Act) -> anyhow::Result<()> {
        match act {
            Act::XmppStream => self.adatum.open().await,
            Act::XmppMessage => self.contact_writes("Hello Alice, Carol here, by XMPP.").await,
            Act::XmppAnswer => self.user_answers("Hello Carol, by SIP.").await,
            Act::XmppWatch => self.user_watches().await,
            Act::XmppPresence => self.contact_changes("away", "out for lunch").await,
            Act::XmppWatched => self.contact_watches().await,
            Act::XmppPresenceBack => self.user_leaves().await,
            Act::XmppStranger => self.stranger_knocks().await,
            _ => bail!("{act:?} is no act of XMPP"),
        }
    }

    fn stanza(&self, stanza: Stanza) -> Node {
        let (carol, alice) = (self.adatum.user(), self.alice.user());
        Node::stanza(stanza).with("from", format!("{carol}/home")).with("to", alice)
    }

    /// As stanzas about subscriptions are addressed (RFC 6121 section 3).
    fn bare_presence(&self, kind: &str) -> Node {
        let (carol, alice) = (self.adatum.user(), self.alice.user());
        Node::stanza(Stanza::Presence).with("from", carol).with("to", alice).with("type", kind)
    }

    async fn contact_writes(&mut self, text: &str) -> anyhow::Result<()> {
        let body = Node::new("body", ns::SERVER).with_text(text);
        let stanza = self.stanza(Stanza::Message).with("type", "chat").with("id", "c1");
        self.adatum.send(stanza.with_child(body)).await?;
        let arrived = self.await_request(ALICE, "MESSAGE").await?;
        ensure!(arrived.body == text, "the text was changed on the way: {}", arrived.body);
        self.check_trust(&arrived)?;
        let call_id = arrived.header("Call-ID").unwrap_or_default();
        let chat = self.alice.take_begun(call_id);
        self.with_carol.chat = Some(chat.context("the message came in no session")?);
        Ok(())
    }

    async fn user_answers(&mut self, text: &str) -> anyhow::Result<()> {
        let chat = self.with_carol.chat.as_mut().context("there is no session")?;
        let mut request = chat.request("MESSAGE");
        request.set_body("text/plain; charset=UTF-8", text);
        let response = self.alice.send(request).await?;
        expect_status(&response, 200)?;
        let arrived = self.await_stanza("message", None).await?;
        let body = arrived.child("body", ns::SERVER).map(Node::text);
        ensure!(body.as_deref() == Some(text), "the text was changed on the way: {body:?}");
        Ok(())
    }

    async fn user_watches(&mut self) -> anyhow::Result<()> {
        let mut request = self.alice.request("SUBSCRIBE", self.adatum.user());
        request.add("Event", "presence");
        request.add("Accept", "application/pidf+xml");
        request.add("Expires", "3600");
        let response = self.alice.send(request).await?;
        expect_status(&response, 200)?;
        self.await_stanza("presence", Some("subscribe")).await?;
        self.adatum.send(self.bare_presence("subscribed")).await?;
        self.adatum.send(self.stanza(Stanza::Presence)).await?;
        self.await_notify("<basic>open</basic>").await
    }

    async fn contact_changes(&mut self, show: &str, note: &str) -> anyhow::Result<()> {
        let text = |name: &'static str, text: &str| Node::new(name, ns::SERVER).with_text(text);
        let stanza = self.stanza(Stanza::Presence);
        let stanza = stanza.with_child(text("show", show)).with_child(text("status", note));
        self.adatum.send(stanza).await?;
        self.await_notify(note).await
    }

    async fn contact_watches(&mut self) -> anyhow::Result<()> {
        self.adatum.send(self.bare_presence("subscribe")).await?;
        let asked = self.await_request(ALICE, "SUBSCRIBE").await?;
        self.check_trust(&asked)?;
        let call_id = asked.header("Call-ID").unwrap_or_default();
        let notifier = self.alice.take_begun(call_id);
        let mut notifier = notifier.context("alice's pool has no dialog of that Call-ID")?;
        self.notify_gateway(&mut notifier, "open", "back again").await?;
        self.with_carol.watcher = Some(notifier);
        self.await_stanza("presence", Some("subscribed")).await?;
        let shown = self.await_stanza("presence", None).await?;
        let status = shown.child("status", ns::SERVER).map(Node::text);
        ensure!(status.as_deref() == Some("back again"), "carol sees another note: {status:?}");
        Ok(())
    }

    async fn user_leaves(&mut self) -> anyhow::Result<()> {
        let notifier = self.with_carol.watcher.take();
        let mut notifier = notifier.context("there is no subscription")?;
        self.notify_gateway(&mut notifier, "closed", "").await?;
        self.await_stanza("presence", Some("unavailable")).await?;
        Ok(())
    }

    async fn stranger_knocks(&mut self) -> anyhow::Result<()> {
        let answer = self.tailspin.knock().await?;
        let condition = answer.children().next().map(Node::name);
        let refused = answer.is("error", ns::STREAMS) && condition == Some("policy-violation");
        ensure!(refused, "expected policy-violation, got {} {condition:?}", answer.name());
        self.nobody_was_asked()
    }

    /// Lets alice's pool say how she is.
    async fn notify_gateway(
        &self,
        notifier: &mut Dialog,
        basic: &str,
        note: &str,
    ) -> anyhow::Result<()> {
        let mut request = notifier.request("NOTIFY");
        request.add("Event", "presence");
        request.add("Subscription-State", "active;expires=3600");
        let document = presence_document(self.alice.user(), basic, note);
        request.set_body("application/pidf+xml", &document);
        let response = self.alice.send(request).await?;
        expect_status(&response, 200)
    }

    async fn await_notify(&mut self, wanted: &str) -> anyhow::Result<()> {
        let is_it = |what: &Passed| {
            what.sip().is_some_and(|message| {
                message.start.starts_with("NOTIFY ") && message.body.contains(wanted)
            })
        };
        let arrived = self.await_arrival(ALICE, "NOTIFY", is_it).await?;
        let state = arrived.sip().and_then(|message| message.header("Subscription-State"));
        let state = state.unwrap_or_default();
        ensure!(state.starts_with("active"), "the subscription is {state}");
        Ok(())
    }

    async fn await_request(&mut self, party: usize, method: &str) -> anyhow::Result<Message> {
        let is_it = |what: &Passed| {
            what.sip().is_some_and(|m| m.status().is_none() && m.method() == method)
        };
        let arrived = self.await_arrival(party, method, is_it).await?;
        arrived.sip().cloned().context("no SIP message")
    }

    /// Waits for a stanza from alice to carol.
    async fn await_stanza(&mut self, name: &str, kind: Option<&str>) -> anyhow::Result<Node> {
        let (alice, carol) = (self.alice.user().to_owned(), self.adatum.user().to_owned());
        let bare = |stanza: &Node, end: &str| {
            let jid = stanza.attribute(end).and_then(|text| Jid::parse(text).ok());
            jid.map(|jid| jid.bare().to_string()).unwrap_or_default()
        };
        let is_it = |what: &Passed| {
            what.xmpp().is_some_and(|stanza| {
                let kind_of = stanza.attribute("type").filter(|_| name == "presence");
                stanza.is(name, ns::SERVER)
                    && kind_of == kind
                    && bare(stanza, "from") == alice
                    && bare(stanza, "to") == carol
            })
        };
        let what = kind.unwrap_or(name);
        let arrived = self.await_arrival(ADATUM, what, is_it).await?;
        arrived.xmpp().cloned().context("no stanza")
    }

    /// Checks that the gateway vouches for the sender as an edge would.
    fn check_trust(&self, arrived: &Message) -> anyhow::Result<()> {
        let trust = arrived
            .header("ms-edge-proxy-message-trust")
            .context("the gateway did not stamp ms-edge-proxy-message-trust")?;
        for (name, expected) in [
            ("ms-source-type", "AutoFederation"),
            ("ms-ep-fqdn", &self.sides[0].internal_fqdn),
            ("ms-source-verified-user", "verified"),
        ] {
            // The first parameter has no semicolon before it.
            let trust = format!(";{trust}");
            let found = message::parameter(&trust, name);
            ensure!(found == Some(expected), "expected {name}={expected}, found {trust}");
        }
        Ok(())
    }
}
