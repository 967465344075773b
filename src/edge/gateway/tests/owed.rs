//! What an edge keeps of a contact's, and until when.

use super::world::*;
use crate::edge::xmpp_link::Outgoing;
use crate::xmpp::StanzaError;

const HI: &str = "<body>Hi</body>";

impl World {
    /// How many stanzas the first edge keeps, once it has heard what it was told.
    fn kept(&mut self) -> usize {
        self.pass(0);
        self.gateway.check();
        self.edges.first().expect("a link").end.kept()
    }

    /// The link with the first edge breaks. Returns what that edge kept.
    fn breaks(&mut self) -> Vec<Outgoing> {
        let edge = self.edges.remove(0);
        self.lose(edge.leg);
        edge.end.into_kept().map(Outgoing::again).collect()
    }

    /// The link comes up again, and what was kept is sent by it.
    fn mends(&mut self, kept: Vec<Outgoing>) {
        self.pass(2_000);
        let edge = self.edges.first_mut().expect("a link");
        let (leg, mut out) = (edge.leg, Vec::new());
        for stanza in kept {
            edge.end.send(stanza, &mut out).expect("the window is open");
        }
        self.feed(leg, &out);
        self.run();
    }
}

#[test]
fn a_message_is_kept_until_the_sip_side_has_answered_for_it() {
    let mut world = World::new();
    world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", "m1", HI));
    let message = world.hears_begin("MESSAGE ");
    assert_eq!(world.kept(), 1);
    world.answer(&message, "100 Trying", "", "");
    assert_eq!(world.kept(), 1);
    world.answer(&message, "200 OK", "", "");
    assert_eq!(world.kept(), 0);
}

#[test]
fn a_message_that_fails_is_kept_until_an_edge_has_reported_on_the_error() {
    let mut world = World::new();
    world.edges[0].conduct = Conduct::Silent;
    world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", "m1", HI));
    let message = world.hears_begin("MESSAGE ");
    world.answer(&message, "480 Not Here", "", "");
    assert!(world.sees().contains("recipient-unavailable"));
    assert_eq!(world.kept(), 1, "nobody has said that the error arrived");
    let kept = world.breaks();
    world.mends(kept);
    assert!(world.sees().contains("recipient-unavailable"), "the error goes again");
    world.nothing_more();
    assert_eq!(world.kept(), 0);
}

#[test]
fn one_that_nobody_answers_is_answered_by_the_timer() {
    let mut world = World::new();
    world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", "m1", HI));
    world.hears_begin("MESSAGE ");
    world.pass(31_000);
    assert_eq!(world.kept(), 1);
    world.pass(1_000);
    assert!(world.sees().contains("remote-server-timeout"));
    assert_eq!(world.kept(), 0);
}

#[test]
fn words_of_a_session_are_kept_until_each_is_answered() {
    let mut world = World::new();
    for id in ["m1", "m2"] {
        world.stanza(&chat("john@fabrikam.example/x", "kim@contoso.example", id, HI));
    }
    let invite = world.hears_begin("INVITE ");
    assert_eq!(world.kept(), 2);
    let lines = "Contact: <sip:fe1>\r\n";
    world.answer(&invite, "200 OK", lines, "v=0\r\nm=message 5060 sip null\r\n");
    world.hears_begin("ACK ");
    let first = world.hears_begin("MESSAGE ");
    let second = world.hears_begin("MESSAGE ");
    world.answer(&second, "200 OK", "", "");
    assert_eq!(world.kept(), 1, "in any order");
    world.answer(&first, "200 OK", "", "");
    assert_eq!(world.kept(), 0);
}

#[test]
fn what_has_no_words_is_not_kept() {
    let mut world = World::new();
    let typing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", "s", typing));
    world.stanza("<presence from='john@fabrikam.example/x' to='kim@simple.example'/>");
    world.stanza("<presence from='john@fabrikam.example' to='kim@simple.example' type='probe'/>");
    world.stanza(
        "<iq from='john@fabrikam.example/x' to='kim@simple.example' id='q' type='get'>\
         <query xmlns='jabber:iq:version'/></iq>",
    );
    world.stanza(&chat("eve@public.example/x", "kim@simple.example", "s", typing));
    world.stanza("<message from='john@fabrikam.example/x' to='kim@simple.example' type='error'/>");
    assert_eq!(world.kept(), 0);
}

#[test]
fn every_refusal_ends_in_a_report() {
    let mut world = World::new();
    world.stanza(&chat("eve@public.example/x", "kim@simple.example", "unasked", HI));
    world.stanza(&chat("john@fabrikam.example/x", "simple.example", "nobody", HI));
    world.stanza(&chat(
        "john@fabrikam.example/x",
        "kim@simple.example",
        "long",
        &format!("<body>{}</body>", "x".repeat(2_000)),
    ));
    world.stanza(
        "<message from='room@fabrikam.example/x' to='kim@simple.example' type='groupchat'>\
         <body>Hi</body></message>",
    );
    assert_eq!(world.stanzas.len(), 4);
    assert_eq!(world.kept(), 0);
}

#[test]
fn when_only_the_link_breaks_nothing_is_delivered_twice() {
    let mut world = World::new();
    for id in ["open", "answered"] {
        world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", id, HI));
    }
    let open = world.hears_begin("MESSAGE ");
    let answered = world.hears_begin("MESSAGE ");
    // Answered, but the edge does not hear of it.
    world.feed(answered.leg, response(&answered.text, "200 OK", "", "").as_bytes());
    let kept = world.breaks();
    assert_eq!(kept.len(), 2);
    world.mends(kept);
    world.nothing_more();
    assert_eq!(world.gateway.counters().repeated_stanzas, 2);
    assert_eq!(world.kept(), 1, "it is told what was answered meanwhile");
    world.answer(&open, "200 OK", "", "");
    assert_eq!(world.kept(), 0);
}

#[test]
fn a_gateway_that_did_not_have_it_takes_what_comes_again() {
    let mut world = World::new();
    let stanza = of_partner(&chat("john@fabrikam.example/x", "kim@simple.example", "m", HI), 77);
    world.mends(vec![stanza.again()]);
    let message = world.hears_begin("MESSAGE ");
    world.answer(&message, "200 OK", "", "");
    assert_eq!(world.kept(), 0);
}

#[test]
fn a_drain_with_an_error_on_its_way_leaves_the_message_with_the_edge() {
    let mut world = World::new();
    world.edges[0].conduct = Conduct::Bounces(StanzaError::RemoteServerTimeout);
    world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", "m1", HI));
    let message = world.hears_begin("MESSAGE ");
    world.answer(&message, "403 No", "", "");
    assert!(world.sees().contains("type='error'"));
    assert_eq!(world.kept(), 0, "more than a report nobody can give");
}
