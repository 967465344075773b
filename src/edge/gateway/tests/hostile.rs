//! Bad input and too much of it, from either side: a defined answer, bounded memory, and nobody
//! else notices.

use proptest::prelude::*;

use super::world::*;
use crate::edge::gateway::translate::Loss;
use crate::limits;

const KIM: &str = "sip:kim@simple.example";
const HI: &str = "<body>Hi</body>";

#[test]
fn a_partner_who_floods_a_side_that_does_not_answer_takes_a_quarter_of_its_room() {
    let mut world = World::new();
    for n in 0..700 {
        let from = format!("u{n}@fabrikam.example/x");
        world.stanza(&chat(&from, "kim@simple.example", "m", HI));
    }
    assert_eq!(world.said.len(), limits::GATEWAY_IN_FLIGHT_PER_DOMAIN_MAX);
    assert_eq!(world.stanzas.len(), 200);
    assert!(world.stanzas.iter().all(|stanza| stanza.contains("resource-constraint")));
    world.said.clear();
    world.stanzas.clear();
    world.stanza(&chat("ann@verified.example/x", "kim@simple.example", "m", HI));
    let request = world.hears_begin("MESSAGE ");
    world.answer(&request, "200 OK", "", "");
    world.pass(40_000);
    assert_eq!(world.stanzas.len(), 500, "each of the others hears of the timeout");
    world.stanzas.clear();
    world.stanza(&chat("u1@fabrikam.example/x", "kim@simple.example", "m", HI));
    world.hears_begin("MESSAGE ");
}

#[test]
fn a_partner_who_subscribes_to_everybody_takes_half_of_the_contacts() {
    let mut world = World::new();
    let max = limits::GATEWAY_CONTACTS_PER_DOMAIN_MAX;
    let asks = |n| {
        format!("<presence from='eve@fabrikam.example' to='u{n}@simple.example' type='subscribe'/>")
    };
    let all: Vec<String> = (0..=max).map(asks).collect();
    for some in all.chunks(1_000) {
        world.at_once(some);
        world.said.clear();
        // The edge hears at the end of the turn that it need not keep them.
        world.pass(0);
    }
    assert_eq!(world.gateway.held()[0], max);
    assert!(world.sees().contains("resource-constraint"));
    world.nothing_more();
    world
        .stanza("<presence from='ann@verified.example' to='kim@simple.example' type='subscribe'/>");
    world.hears_begin("SUBSCRIBE ");
}

#[test]
fn a_partners_server_that_comes_back_costs_our_side_what_it_can_take() {
    let mut world = World::new();
    let lines = "Event: presence\r\nContact: <sip:fe1>\r\nExpires: 36000\r\n";
    let count = limits::GATEWAY_IN_FLIGHT_PER_DOMAIN_MAX + 100;
    for n in 0..count {
        let to = format!("<sip:u{n}@fabrikam.example>");
        world.sip(&request("SUBSCRIBE", KIM, &to, lines, "").replace("call1", &format!("c{n}")));
        for said in std::mem::take(&mut world.said) {
            if said.text.starts_with("NOTIFY") {
                world.answer(&said, "200 OK", "", "");
            }
        }
        world.stanza(&format!(
            "<presence from='u{n}@fabrikam.example' to='kim@simple.example' type='subscribed'/>"
        ));
        for said in std::mem::take(&mut world.said) {
            world.answer(&said, "200 OK", "", "");
        }
    }
    world.stanzas.clear();
    for n in 0..count {
        world
            .stanza(&format!("<presence from='u{n}@fabrikam.example/x' to='kim@simple.example'/>"));
    }
    assert_eq!(world.said.len(), count - 100, "all of them at once would be too much");
    for said in std::mem::take(&mut world.said) {
        world.answer(&said, "200 OK", "", "");
    }
    world.pass(1_000);
    assert_eq!(world.said.len(), 100, "and none is forgotten");
}

#[test]
fn a_body_of_many_parts_and_depths_is_refused_or_read_but_never_followed() {
    let mut world = World::new();
    let deep = format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf'>{}{}</presence>",
        "<a>".repeat(5_000),
        "</a>".repeat(5_000)
    );
    let entity = "<!DOCTYPE x [<!ENTITY a 'b'>]><isComposing>&a;</isComposing>";
    for (kind, text) in [
        ("application/im-iscomposing+xml", deep.as_str()),
        ("application/im-iscomposing+xml", entity),
        ("message/cpim", "From: <x>\r\n\r\nContent-Type: message/cpim\r\n\r\n\r\n\r\n"),
        ("multipart/mixed;boundary=b", "--b\r\n--b\r\n--b\r\n"),
    ] {
        let lines = format!("Content-Type: {kind}\r\n");
        world.sip(&request("MESSAGE", KIM, "<sip:john@fabrikam.example>", &lines, text));
        let answer = world.hears();
        assert!(answer.text.starts_with("SIP/2.0 4"), "{kind}: {}", answer.text);
    }
    world.nothing_more();
}

#[test]
fn what_is_lost_in_translation_is_counted_by_what_it_was() {
    let mut world = World::new();
    let content = "<body>Hi</body><x xmlns='urn:example:novel'/>";
    world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", "m", content));
    assert_eq!(world.gateway.losses().of(Loss::Payload), 1);
    let all: u64 = world.gateway.losses().values().map(|(_, count)| count).sum();
    assert_eq!(all, 1);
}

fn piece() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "MESSAGE",
        "INVITE",
        "SUBSCRIBE",
        "NOTIFY",
        "BYE",
        "ACK",
        "CANCEL",
        "INFO",
        "OPTIONS",
        "SIP/2.0 200 OK",
        "sip:kim@simple.example",
        "sip:@",
        "<sip:john@fabrikam.example>",
        ";tag=a",
        "Event: presence",
        "Expires: 0",
        "Content-Type: message/cpim",
        "\r\n",
        " ",
        "Record-Route: <sip:a;lr>",
        "Contact: <sip:b>",
        "Require: x",
        "Max-Forwards: 0",
        "\0",
        "Subscription-State: active",
        "m=message 1 sip null",
        "v=0",
        "\u{fffd}",
        "%00",
        ":",
        ";",
    ]);
    words.prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Symptom looked for: a panic, or a gateway that serves nobody any more.
    #[test]
    fn a_server_inside_that_says_anything_hurts_nobody_else(
        requests in prop::collection::vec(
            (0_usize..8, prop::collection::vec(piece(), 0..6), any::<prop::sample::Index>()),
            1..12,
        ),
    ) {
        let mut world = World::new();
        let methods =
            ["MESSAGE", "INVITE", "SUBSCRIBE", "NOTIFY", "BYE", "ACK", "CANCEL", "INFO"];
        for (method, pieces, at) in requests {
            let lines = "Event: presence\r\nContact: <sip:fe1>\r\n\
                         Content-Type: application/sdp\r\n";
            let sdp = "v=0\r\nm=message 5060 sip null\r\n";
            let to = "<sip:john@fabrikam.example>";
            let mut text = request(methods[method], KIM, to, lines, sdp);
            let mut at = at.index(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            text.insert_str(at, &pieces.concat());
            let pool = world.pool;
            if world.closed.iter().any(|(leg, _)| *leg == pool) {
                break;
            }
            world.sip(&text);
            world.gateway.check();
        }
        world.said.clear();
        world.stanzas.clear();
        world.stanza(&chat("ann@verified.example/x", "kim@simple.example", "m", HI));
        let begins = |said: &Said| ["MESSAGE ", "INVITE "].map(|m| said.text.starts_with(m));
        prop_assert!(world.said.iter().any(|said| begins(said).contains(&true)));
    }

    /// The same of a partner, whose stanzas are at least well formed.
    #[test]
    fn a_partner_that_says_anything_hurts_nobody_else(
        stanzas in prop::collection::vec(
            (
                prop::sample::select(vec!["message", "presence", "iq"]),
                prop::option::of(prop::sample::select(vec![
                    "chat", "error", "groupchat", "headline", "subscribe", "subscribed",
                    "unsubscribe", "unsubscribed", "probe", "unavailable", "get", "set", "result",
                ])),
                prop::sample::select(vec![
                    "kim@simple.example", "kim@contoso.example/x", "simple.example", "a\\20b@c",
                ]),
                prop::collection::vec(
                    prop::sample::select(vec![
                        "<body/>", "<body>Hi</body>", "<thread>t</thread>", "<show>dnd</show>",
                        "<gone xmlns='http://jabber.org/protocol/chatstates'/>",
                        "<composing xmlns='http://jabber.org/protocol/chatstates'/>",
                        "<received xmlns='urn:xmpp:receipts' id='x'/>",
                        "<request xmlns='urn:xmpp:receipts'/>", "<error type='cancel'/>",
                        "<ping xmlns='urn:xmpp:ping'/>", "<priority>x</priority>",
                        "<query xmlns='http://jabber.org/protocol/disco#info'/>",
                        "<gateways xmlns='urn:entente:gateways:1' n='z'/>",
                        "<error><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
                         </error>",
                    ]),
                    0..5,
                ),
            ),
            1..40,
        ),
    ) {
        let mut world = World::new();
        for (name, kind, to, content) in stanzas {
            let kind = kind.map(|kind| format!(" type='{kind}'")).unwrap_or_default();
            world.stanza(&format!(
                "<{name} from='eve@fabrikam.example/x' to='{to}' id='i'{kind}>{}</{name}>",
                content.concat()
            ));
            world.gateway.check();
            if let Some(said) = world.said.pop() {
                world.answer(&said, "200 OK", "Contact: <sip:fe1>\r\n", "");
            }
        }
        world.pass(10_000);
        world.said.clear();
        world.stanza(&chat("ann@verified.example/x", "kim@simple.example", "m", HI));
        world.hears_begin("MESSAGE ");
    }
}
