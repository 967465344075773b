//! Requests that are answered at once.

use super::world::*;

const KIM: &str = "sip:kim@simple.example";
const JOHN: &str = "<sip:john@fabrikam.example>";

fn status(world: &mut World, text: &str) -> String {
    world.sip(text);
    let answer = world.hears();
    world.nothing_more();
    answer.text.split("\r\n").next().unwrap_or_default().to_owned()
}

#[test]
fn a_gateway_answers_options_and_declines_compression() {
    let mut world = World::new();
    let options = "OPTIONS sip:gw.contoso.example SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bKo\r\n\
                   From: <sip:pool.contoso.example>;tag=1\r\nTo: <sip:gw.contoso.example>\r\n\
                   Call-ID: o\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 0\r\nContent-Length: 0\r\n\r\n";
    world.sip(options);
    let answer = world.hears_begin("SIP/2.0 200 OK");
    assert!(header(&answer.text, "Allow").contains("MESSAGE"));
    let negotiate = options.replace("OPTIONS", "NEGOTIATE");
    assert_eq!(status(&mut world, &negotiate), "SIP/2.0 488 Not Acceptable Here");
    world.sip("\r\n\r\n");
    assert_eq!(world.pongs, 1);
}

#[test]
fn methods_that_mean_nothing_here_are_said_to() {
    let mut world = World::new();
    for (method, answer) in [
        ("REGISTER", "405 Method Not Allowed"),
        ("REFER", "405 Method Not Allowed"),
        ("SERVICE", "405 Method Not Allowed"),
        ("FROBNICATE", "501 Not Implemented"),
        ("BYE", "481 Call/Transaction Does Not Exist"),
        ("INFO", "481 Call/Transaction Does Not Exist"),
        ("NOTIFY", "481 Call/Transaction Does Not Exist"),
    ] {
        let text = request(method, KIM, JOHN, "", "");
        assert_eq!(status(&mut world, &text), format!("SIP/2.0 {answer}"), "{method}");
    }
    world.sip(&request("BENOTIFY", KIM, JOHN, "", ""));
    world.sip(&request("ACK", KIM, JOHN, "", ""));
    world.nothing_more();
}

#[test]
fn addresses_without_a_counterpart_are_refused() {
    let mut world = World::new();
    for (uri, answer) in [
        ("sips:john@fabrikam.example", "416"),
        ("tel:+4930123456", "416"),
        ("sip:fabrikam.example", "484"),
        ("sip:john:secret@fabrikam.example", "404"),
        ("sip:john@nowhere.example", "404"),
    ] {
        let text = message(KIM, uri, "Hello");
        let found = status(&mut world, &text);
        assert!(found.starts_with(&format!("SIP/2.0 {answer} ")), "{uri}: {found}");
    }
    let text = message("sip:kim@elsewhere.example", "sip:john@fabrikam.example", "Hello");
    assert!(status(&mut world, &text).starts_with("SIP/2.0 403 "), "not ours");
}

#[test]
fn a_body_that_has_no_words_is_refused_with_what_has() {
    let mut world = World::new();
    let text = request("MESSAGE", KIM, JOHN, "Content-Type: image/png\r\n", "PNG");
    world.sip(&text);
    let answer = world.hears_begin("SIP/2.0 415 ");
    assert!(header(&answer.text, "Accept").contains("text/plain"));
    let text = request("MESSAGE", KIM, JOHN, "Require: frob\r\n", "x");
    world.sip(&text);
    let answer = world.hears_begin("SIP/2.0 420 ");
    assert_eq!(header(&answer.text, "Unsupported"), "frob");
}

#[test]
fn what_has_passed_too_many_gateways_is_a_loop() {
    let mut world = World::new();
    let lines = "Content-Type: text/plain\r\nEntente-Gateways: 2\r\n";
    world.sip(&request("MESSAGE", KIM, JOHN, lines, "Hello"));
    let stanza = world.sees();
    assert!(stanza.contains("<gateways xmlns='urn:entente:gateways:1' n='3'/>"), "{stanza}");
    world.pass(250);
    world.hears_begin("SIP/2.0 200");
    for many in ["3", "4294967295", "99999999999", "-1", "x"] {
        let text = request("MESSAGE", KIM, JOHN, &lines.replace('2', many), "Hello");
        assert!(status(&mut world, &text).starts_with("SIP/2.0 482 "), "{many}");
    }
    let marked = "<body>Hi</body><gateways xmlns='urn:entente:gateways:1' n='3'/>";
    for many in ["'3'", "'4294967295'", "'z'"] {
        let marked = marked.replace("'3'", many);
        world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", "m1", &marked));
        assert!(world.sees().contains("not-acceptable"), "{many}");
    }
    let marked = marked.replace("'3'", "'1'");
    world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", "m2", &marked));
    let request = world.hears_begin("MESSAGE ");
    assert_eq!(header(&request.text, "Entente-Gateways"), "2");
}

#[test]
fn bytes_that_are_no_sip_close_their_leg_alone() {
    let mut world = World::new();
    world.sip("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(world.closed.len(), 1);
    assert_eq!(world.closed[0].0, world.pool);
    let hi = "<body>Hi</body>";
    world.stanza(&chat("john@fabrikam.example/x", "kim@simple.example", "m1", hi));
    world.hears_begin("MESSAGE ");
}

#[test]
fn an_error_is_never_answered_with_an_error() {
    let mut world = World::new();
    for kind in ["error", "groupchat"] {
        let text = format!(
            "<message from='john@fabrikam.example/x' to='kim@simple.example' id='e' \
             type='{kind}'><body>Hi</body></message>"
        );
        world.stanza(&text);
    }
    assert!(world.sees().contains("service-unavailable"), "for the room");
    world.nothing_more();
}
