//! What alice and bob do, and what must come of it.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, ensure};
use crossbeam::channel::Receiver;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::act::{ALICE, Act, BOB, CONTOSO_EDGE, LITWARE};
use super::dialog::Dialog;
use super::event::{Event, Passed, Way};
use super::ladder::{Arrow, Kind};
use super::media::{MediaEnd, RelayAccess, Voices};
use super::message::{self, Message};
use super::next_hop::{self, NextHop};
use super::xmpp_server::{XmppParty, XmppServer};
use crate::edge::{Note, Severity};
use crate::time::Clock;

/// How long something that needs no answer, such as an ACK, may be on its way.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the edges' explanations may lag behind the messages they explain.
const NOTES_GRACE: Duration = Duration::from_millis(500);
const NOTES_POLL: Duration = Duration::from_millis(5);

/// One side of the federation as the story knows it.
pub(super) struct Side {
    /// What the ladder calls the edge.
    pub(super) edge: &'static str,
    /// The edge's node name: the Via it puts on towards the inside.
    pub(super) node: String,
    /// The edge's outer name: the Via it puts on towards partners.
    pub(super) edge_fqdn: String,
    /// The edge's inner name: who vouches for a sender towards the inside.
    pub(super) internal_fqdn: String,
    /// How the side lists its partner, in the trust header's words.
    pub(super) source_type: &'static str,
    /// What the edge explains of its decisions.
    pub(super) notes: Receiver<(u16, Note)>,
}

/// A decision of an edge, as it explained it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// Which edge.
    pub(super) edge: &'static str,
    /// Its words.
    pub(super) sentence: String,
    /// How much it matters to an operator.
    pub(super) severity: Severity,
    /// The number under which log and answer have it; 0 if there is none.
    pub(super) decision_id: u64,
}

/// An act and what came of it.
pub(super) struct Step {
    /// What was done.
    pub(super) act: Act,
    /// What was wrong, if anything was.
    pub(super) outcome: anyhow::Result<()>,
    /// Who sent what to whom.
    pub(super) arrows: Vec<Arrow>,
    /// Why the edges let it pass or not.
    pub(super) decisions: Vec<Decision>,
    /// How long it took, in milliseconds.
    pub(super) took_ms: u64,
    /// What became of the media, where there was some.
    pub(super) voices: Option<Voices>,
}

/// The cast.
pub(super) struct Story {
    /// alice's pool.
    pub(super) alice: NextHop,
    /// bob's pool.
    pub(super) bob: NextHop,
    /// litware's edge, connected to contoso's.
    pub(super) litware_to_contoso: NextHop,
    /// litware's edge, connected to fabrikam's.
    pub(super) litware_to_fabrikam: NextHop,
    /// contoso, then fabrikam.
    pub(super) sides: [Side; 2],
    /// What all of the above send and receive.
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    /// Measures the steps.
    pub(super) clock: Clock,
    /// What has passed in the step under way.
    pub(super) seen: Vec<Event>,
    /// Both ends of the subscription, while it lives: alice's, bob's.
    pub(super) subscription: Option<(Dialog, Dialog)>,
    /// Both ends of the conversation.
    pub(super) session: Option<(Dialog, Dialog)>,
    /// How alice, then bob, reaches a relay.
    pub(super) relays: [RelayAccess; 2],
    /// What both have there while they call each other.
    pub(super) media: Option<[MediaEnd; 2]>,
    /// What became of the media in the step under way.
    pub(super) voices: Option<Voices>,
    /// carol's server.
    pub(super) adatum: XmppServer,
    /// A server that nobody has listed.
    pub(super) tailspin: XmppParty,
    /// What there is between alice and carol.
    pub(super) with_carol: WithCarol,
}

/// alice's ends of what there is between her and carol; the gateway has the others.
#[derive(Default)]
pub(super) struct WithCarol {
    /// The session that the gateway began for carol.
    pub(super) chat: Option<Dialog>,
    /// The subscription that the gateway began for carol.
    pub(super) watcher: Option<Dialog>,
}

impl Story {
    /// Performs one act and judges it.
    pub(super) async fn perform(&mut self, act: Act) -> Step {
        self.seen.clear();
        for side in &self.sides {
            // What is left of the act before explains nothing of this one.
            side.notes.try_iter().for_each(drop);
        }
        let start = self.clock.now().monotonic;
        let outcome = self.act(act).await;
        let took_ms = self.clock.now().monotonic.ms_since(start);
        let decisions = self.decisions(act).await;
        self.drain_events();
        let arrows = act.columns().arrows(&self.seen);
        let decisions = along_the_way(decisions, &arrows);
        let voices = self.voices.take();
        Step { act, outcome, arrows, decisions, took_ms, voices }
    }

    async fn act(&mut self, act: Act) -> anyhow::Result<()> {
        match act {
            Act::MessageThere => self.page(ALICE, "Hello Bob, this is Alice at Contoso.").await,
            Act::MessageBack => self.page(BOB, "Hello Alice, Bob here, at Fabrikam.").await,
            Act::Subscribe => self.subscribe().await,
            Act::PresenceChanges => self.notify("active;expires=3590", "busy").await,
            Act::Unsubscribe => self.unsubscribe().await,
            Act::Invite => self.invite().await,
            Act::SessionMessage => {
                self.in_session(BOB, "MESSAGE", "text/plain", "Shall we meet at ten?").await
            }
            Act::Typing => self.in_session(ALICE, "INFO", "application/xml", KEYBOARD).await,
            Act::Reinvite => self.reinvite().await,
            Act::Bye => self.bye().await,
            Act::Call | Act::Voice | Act::HangUp => self.act_of_call(act).await,
            Act::BlockedAtContoso => self.blocked(LITWARE, ALICE).await,
            Act::BlockedAtFabrikam => self.blocked(LITWARE, BOB).await,
            Act::BlockedFromInside => self.blocked(ALICE, LITWARE).await,
            _ => self.act_by_xmpp(act).await,
        }
    }

    /// Sends a message outside any dialog and checks that it arrived as sent.
    async fn page(&mut self, from: usize, text: &str) -> anyhow::Result<()> {
        let (sender, peer) = self.pools(from);
        let mut request = sender.request("MESSAGE", peer.user());
        request.set_body("text/plain; charset=UTF-8", text);
        let response = sender.send(request.clone()).await?;
        expect_status(&response, 200)?;
        self.check_arrival(from, &request)?;
        Ok(())
    }

    async fn subscribe(&mut self) -> anyhow::Result<()> {
        let mut request = self.alice.request("SUBSCRIBE", self.bob.user());
        request.add("Event", "presence");
        request.add("Accept", "application/pidf+xml");
        request.add("Expires", "3600");
        let response = self.alice.send(request.clone()).await?;
        expect_status(&response, 200)?;
        self.check_arrival(ALICE, &request)?;
        let watcher = Dialog::of_caller(&request, &response)?;
        let notifier = self.begun_at_bob(&request)?;
        self.subscription = Some((watcher, notifier));
        self.notify("active;expires=3600", "available").await
    }

    /// Sends what bob's presence is to alice.
    async fn notify(&mut self, state: &str, activity: &str) -> anyhow::Result<()> {
        let (_, notifier) = self.subscription.as_mut().context("there is no subscription")?;
        let mut request = notifier.request("NOTIFY");
        request.add("Event", "presence");
        request.add("Subscription-State", state);
        request.set_body("application/pidf+xml", &presence(self.bob.user(), activity));
        let response = self.bob.send(request.clone()).await?;
        expect_status(&response, 200)?;
        self.check_arrival(BOB, &request)?;
        Ok(())
    }

    async fn unsubscribe(&mut self) -> anyhow::Result<()> {
        let (watcher, _) = self.subscription.as_mut().context("there is no subscription")?;
        let mut request = watcher.request("SUBSCRIBE");
        request.add("Event", "presence");
        request.add("Expires", "0");
        let response = self.alice.send(request.clone()).await?;
        expect_status(&response, 200)?;
        self.check_arrival(ALICE, &request)?;
        self.notify("terminated;reason=timeout", "available").await?;
        self.subscription = None;
        Ok(())
    }

    async fn invite(&mut self) -> anyhow::Result<()> {
        let mut request = self.alice.request("INVITE", self.bob.user());
        let offer = next_hop::session_description(self.alice.user());
        request.set_body("application/sdp", &offer);
        let response = self.alice.send(request.clone()).await?;
        expect_status(&response, 200)?;
        self.check_arrival(ALICE, &request)?;
        self.saw(ALICE, "a 180 response to INVITE", |message| message.status() == Some(180))?;
        let mut caller = Dialog::of_caller(&request, &response)?;
        let callee = self.begun_at_bob(&request)?;
        self.alice.acknowledge(&mut caller).await?;
        self.session = Some((caller, callee));
        self.await_ack().await
    }

    async fn reinvite(&mut self) -> anyhow::Result<()> {
        let (caller, _) = self.session.as_mut().context("there is no conversation")?;
        let mut request = caller.request("INVITE");
        let offer = next_hop::session_description(self.alice.user());
        request.set_body("application/sdp", &offer);
        let response = self.alice.send(request.clone()).await?;
        expect_status(&response, 200)?;
        self.alice.acknowledge(caller).await?;
        self.check_arrival(ALICE, &request)?;
        self.await_ack().await
    }

    async fn in_session(
        &mut self,
        from: usize,
        method: &str,
        content_type: &str,
        body: &str,
    ) -> anyhow::Result<()> {
        let (caller, callee) = self.session.as_mut().context("there is no conversation")?;
        let dialog = if from == ALICE { caller } else { callee };
        let mut request = dialog.request(method);
        request.set_body(content_type, body);
        let (sender, _) = self.pools(from);
        let response = sender.send(request.clone()).await?;
        expect_status(&response, 200)?;
        self.check_arrival(from, &request)?;
        Ok(())
    }

    pub(super) async fn bye(&mut self) -> anyhow::Result<()> {
        let (_, mut callee) = self.session.take().context("there is no conversation")?;
        let request = callee.request("BYE");
        let response = self.bob.send(request.clone()).await?;
        expect_status(&response, 200)?;
        self.check_arrival(BOB, &request)?;
        Ok(())
    }

    async fn blocked(&mut self, from: usize, to: usize) -> anyhow::Result<()> {
        let (sender, to) = match (from, to) {
            (LITWARE, ALICE) => (&self.litware_to_contoso, self.alice.user()),
            (LITWARE, _) => (&self.litware_to_fabrikam, self.bob.user()),
            _ => (&self.alice, self.litware_to_contoso.user()),
        };
        let mut request = sender.request("MESSAGE", to);
        request.set_body("text/plain; charset=UTF-8", "Let me in.");
        let response = sender.send(request).await?;
        expect_status(&response, 403)?;
        self.nobody_was_asked()
    }

    /// Checks that no request has reached anybody.
    pub(super) fn nobody_was_asked(&mut self) -> anyhow::Result<()> {
        self.drain_events();
        let is_request = |what: &Passed| what.sip().is_some_and(|m| m.status().is_none());
        let leaked = self.seen.iter().any(|e| e.way == Way::Received && is_request(&e.what));
        ensure!(!leaked, "what was refused was delivered all the same");
        Ok(())
    }

    /// Returns the pool named and its peer.
    fn pools(&self, sender: usize) -> (&NextHop, &NextHop) {
        if sender == ALICE { (&self.alice, &self.bob) } else { (&self.bob, &self.alice) }
    }

    pub(super) fn begun_at_bob(&self, request: &Message) -> anyhow::Result<Dialog> {
        let call_id = request.header("Call-ID").unwrap_or_default();
        self.bob.take_begun(call_id).context("bob's pool has no dialog of that Call-ID")
    }

    pub(super) fn drain_events(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.seen.push(event);
        }
    }

    pub(super) async fn await_ack(&mut self) -> anyhow::Result<()> {
        let is_ack =
            |what: &Passed| what.sip().is_some_and(|message| message.start.starts_with("ACK "));
        self.await_arrival(BOB, "the ACK", is_ack).await?;
        Ok(())
    }

    /// Waits until a party has received what is meant in this act, and returns it.
    pub(super) async fn await_arrival(
        &mut self,
        party: usize,
        what: &str,
        is_it: impl Fn(&Passed) -> bool,
    ) -> anyhow::Result<Passed> {
        let arrived = |event: &Event| {
            event.party == party && event.way == Way::Received && is_it(&event.what)
        };
        if let Some(event) = self.seen.iter().find(|event| arrived(event)) {
            return Ok(event.what.clone());
        }
        let arrival = async {
            while let Some(event) = self.events.recv().await {
                let found = arrived(&event).then(|| event.what.clone());
                self.seen.push(event);
                if found.is_some() {
                    return found;
                }
            }
            None
        };
        let arrival = timeout(ARRIVAL_TIMEOUT, arrival).await.ok().flatten();
        arrival.with_context(|| format!("{what} did not arrive in {ARRIVAL_TIMEOUT:?}"))
    }

    /// Finds what a party received in this step.
    fn saw(
        &mut self,
        party: usize,
        what: &str,
        is_it: impl Fn(&Message) -> bool,
    ) -> anyhow::Result<Message> {
        self.drain_events();
        let received = self.seen.iter().filter(|e| e.party == party && e.way == Way::Received);
        let mut received = received.filter_map(|event| event.what.sip());
        let found = received.find(|message| is_it(message));
        Ok(found.with_context(|| format!("{what} did not arrive"))?.clone())
    }

    /// Checks that the peer's pool received `request` through both edges, unharmed and vouched for,
    /// and returns it as it came.
    pub(super) fn check_arrival(
        &mut self,
        sender: usize,
        request: &Message,
    ) -> anyhow::Result<Message> {
        let receiver = if sender == ALICE { BOB } else { ALICE };
        let arrived = self.saw(receiver, request.method(), |message| {
            message.status().is_none() && message.transaction() == request.transaction()
        })?;
        ensure!(arrived.body == request.body, "the body was changed on the way");
        let (own, peer) = (&self.sides[sender], &self.sides[receiver]);
        let (vias, expected) = (arrived.via_hosts(), [peer.node.as_str(), own.edge_fqdn.as_str()]);
        ensure!(
            vias.len() == 3 && vias[..2] == expected,
            "expected the Vias of {} and {} above the sender's, found {}",
            expected[0],
            expected[1],
            vias.join(", ")
        );
        let trust = arrived
            .header("ms-edge-proxy-message-trust")
            .context("the edge did not stamp ms-edge-proxy-message-trust")?;
        for (name, expected) in [
            ("ms-source-type", peer.source_type),
            ("ms-ep-fqdn", &peer.internal_fqdn),
            ("ms-source-verified-user", "verified"),
        ] {
            // The first parameter has no semicolon before it.
            let found = message::parameter(&format!(";{trust}"), name).map(str::to_owned);
            ensure!(
                found.as_deref() == Some(expected),
                "expected {name}={expected} in ms-edge-proxy-message-trust, found {trust}"
            );
        }
        Ok(arrived)
    }

    /// Collects what the edges on the act's way say of it, waiting a little for the slower one.
    async fn decisions(&mut self, act: Act) -> Vec<Decision> {
        if act == Act::Voice {
            // What is relayed was decided before; the relays themselves tell what they did.
            return Vec::new();
        }
        let columns = act.columns();
        let on_the_way = |edge: &str| columns.0.iter().any(|column| column.title == edge);
        let mut decisions: Vec<Decision> = Vec::new();
        let polls = NOTES_GRACE.as_millis() / NOTES_POLL.as_millis();
        for _ in 0..polls {
            for side in &self.sides {
                for (_, note) in side.notes.try_iter() {
                    let Note { severity, sentence, decision_id, .. } = note;
                    decisions.push(Decision { edge: side.edge, sentence, severity, decision_id });
                }
            }
            let spoke = |side: &Side| decisions.iter().any(|d| d.edge == side.edge);
            if self.sides.iter().all(|side| !on_the_way(side.edge) || spoke(side)) {
                break;
            }
            sleep(NOTES_POLL).await;
        }
        decisions
    }
}

/// Puts decisions in the order in which the messages met them: for each request the edge on its
/// sender's side first. An edge decides once for each request.
fn along_the_way(decisions: Vec<Decision>, arrows: &[Arrow]) -> Vec<Decision> {
    let (mut contoso, mut fabrikam): (VecDeque<_>, VecDeque<_>) =
        decisions.into_iter().partition(|decision| decision.edge == CONTOSO_EDGE);
    let mut ordered = Vec::new();
    for request in arrows.iter().filter(|arrow| arrow.kind == Kind::Request) {
        let pair = [contoso.pop_front(), fabrikam.pop_front()];
        let pair = match (request.from < request.to, pair) {
            (true, pair) => pair,
            (false, [contoso, fabrikam]) => [fabrikam, contoso],
        };
        ordered.extend(pair.into_iter().flatten());
    }
    ordered.extend(contoso);
    ordered.extend(fabrikam);
    ordered
}

pub(super) fn expect_status(response: &Message, expected: u16) -> anyhow::Result<()> {
    let status = response.status().unwrap_or_default();
    let diagnostics = ["ms-diagnostics", "ms-diagnostics-public"]
        .into_iter()
        .find_map(|name| response.header(name))
        .map(|text| format!(" ({text})"));
    ensure!(
        status == expected,
        "expected {expected} to {}, got {}{}",
        response.method(),
        response.start.trim_start_matches("SIP/2.0 "),
        diagnostics.unwrap_or_default()
    );
    Ok(())
}

const KEYBOARD: &str = "<?xml version=\"1.0\"?><KeyboardActivity><status status=\"type\" />\
    </KeyboardActivity>";

fn presence(user: &str, activity: &str) -> String {
    presence_document(user, "open", activity)
}

/// Returns PIDF (RFC 3863) that says whether a user is there, and a note.
pub(super) fn presence_document(user: &str, basic: &str, note: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:{user}\">\
         <tuple id=\"q\"><status><basic>{basic}</basic></status><note>{note}</note></tuple>\
         </presence>"
    )
}

#[cfg(test)]
mod tests {
    use super::super::act::FABRIKAM_EDGE;
    use super::*;

    #[test]
    fn decisions_stand_in_the_order_in_which_the_messages_met_the_edges() {
        let request = |from, to| {
            let (what, kind) = ("X".to_owned(), Kind::Request);
            Arrow { from, to, what, kind }
        };
        let response = Arrow { kind: Kind::Response(200), ..request(3, 0) };
        let decision = |edge, text: &str| {
            let (sentence, severity) = (text.to_owned(), Severity::Debug);
            Decision { edge, sentence, severity, decision_id: 1 }
        };
        let as_told = vec![
            decision(CONTOSO_EDGE, "1"),
            decision(CONTOSO_EDGE, "4"),
            decision(FABRIKAM_EDGE, "2"),
            decision(FABRIKAM_EDGE, "3"),
            decision(FABRIKAM_EDGE, "5, which no message explains"),
        ];
        let ordered = along_the_way(as_told, &[request(0, 3), response, request(3, 0)]);
        let order: String = ordered.iter().map(|decision| &decision.sentence[..1]).collect();
        assert_eq!(order, "12345");
    }
}
