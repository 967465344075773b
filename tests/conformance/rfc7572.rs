//! RFC 7572: single messages, with the receipts of XEP-0184 and RFC 5438.

use entente::edge::gateway::translate::content::{ContentFault, ContentType, TextForm, first_text};
use entente::edge::gateway::translate::message::{
    InstantMessage, MessageType, OfSip, Setting, call_id_of, fits_pager, sip_date,
};
use entente::edge::gateway::translate::receipt::{Disposition, Receipt, ReceiptPart};
use entente::edge::gateway::translate::{Loss, Losses, Translated, document};
use entente::limits;
use entente::sip::{HeaderTable, Message, Scan, scan};
use entente::xmpp::{Jid, Node, StanzaError};

fn stanza(text: &str) -> Node {
    document::read(text.replace("<message", "<message xmlns='jabber:server'").as_bytes()).unwrap()
}

fn written(node: &Node) -> String {
    let mut out = Vec::new();
    node.write(&mut out);
    String::from_utf8(out).unwrap()
}

fn of_sip(headers: &str, body: &[u8]) -> Result<Translated<OfSip>, ContentFault> {
    let head = format!(
        "MESSAGE sip:romeo@xmpp.example SIP/2.0\r\n\
         Via: SIP/2.0/TLS s.example;branch=z9hG4bKeskdgs\r\n\
         From: <sip:juliet@sip.example>;tag=1\r\nTo: <sip:romeo@xmpp.example>\r\n\
         Max-Forwards: 70\r\nCSeq: 1 MESSAGE\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    let bytes = [head.as_bytes(), body].concat();
    let mut table = HeaderTable::new();
    match scan(&bytes, &mut table) {
        Ok(Scan::Message(found)) => {
            InstantMessage::of_sip(&Message::new(&bytes, &table, found), Setting::Pager)
        }
        other => panic!("{other:?}"),
    }
}

fn message(read: Result<Translated<OfSip>, ContentFault>) -> (InstantMessage, Losses) {
    match read.unwrap() {
        Translated { value: OfSip::Message(message), losses } => (*message, losses),
        other => panic!("{other:?}"),
    }
}

#[test]
fn s4_a_stanza_becomes_a_message() {
    let read = InstantMessage::of_stanza(&stanza(
        "<message from='juliet@xmpp.example/balcony' id='a1' to='romeo@sip.example' xml:lang='en'>\
         <subject>Hi\nthere</subject><thread>711609sa</thread><body>Art thou not Romeo?\n&lt;3\
             </body>\
         </message>",
    ));
    assert_eq!(read.losses, Losses::NONE);
    let out = read.value.to_sip(Setting::Pager, TextForm::Plain).unwrap();
    assert_eq!(out.losses, Losses::NONE);
    let parts = out.value;
    assert_eq!(parts.body.content_type, "text/plain; charset=UTF-8");
    assert_eq!(parts.body.bytes, b"Art thou not Romeo?\r\n<3");
    assert_eq!(parts.subject.as_deref(), Some("Hi there"));
    assert_eq!(parts.language.as_deref(), Some("en"));
    assert_eq!(parts.call_id.as_deref(), Some("711609sa"));
}

#[test]
fn s5_a_message_becomes_a_stanza() {
    let (read, losses) = message(of_sip(
        "Call-ID: M4spr4vdu\r\ns: Hey\r\nContent-Language: en\r\nContent-Type: text/plain\r\n",
        "Neither, fair saint <€>\r\n😀".as_bytes(),
    ));
    assert_eq!((losses, read.kind), (Losses::NONE, MessageType::Normal));
    let from = Jid::parse("juliet@sip.example").unwrap();
    let to = Jid::parse("romeo@xmpp.example").unwrap();
    assert_eq!(
        written(&read.to_stanza(&from, &to, "x1")),
        "<message from='juliet@sip.example' to='romeo@xmpp.example' id='x1' xml:lang='en'>\
         <subject>Hey</subject><thread>M4spr4vdu</thread>\
         <body>Neither, fair saint &lt;€&gt;\n😀</body></message>"
    );
}

#[test]
fn s6_html_becomes_xhtml_im_beside_a_body_and_comes_back() {
    let (read, _) = message(of_sip("Call-ID: 1\r\nContent-Type: text/html\r\n", b"<p>a <b>b</b>"));
    let jid = Jid::parse("a@x.example").unwrap();
    let out = read.to_stanza(&jid, &jid, "1");
    let text = written(&out);
    assert!(
        text.contains(
            "<body>a b</body><html xmlns='http://jabber.org/protocol/xhtml-im'>\
        <body xmlns='http://www.w3.org/1999/xhtml'><p>a <strong>b</strong></p></body></html>"
        ),
        "{text}"
    );
    let back = InstantMessage::of_stanza(&out).value;
    let html = back.to_sip(Setting::Pager, TextForm::Html).unwrap();
    assert_eq!(html.value.body.content_type, "text/html; charset=UTF-8");
    assert_eq!(html.value.body.bytes, b"<html><body><p>a <strong>b</strong></p></body></html>");
    let plain = back.to_sip(Setting::Pager, TextForm::Plain).unwrap();
    assert!(plain.losses.has(Loss::Formatting));
    assert_eq!(plain.value.body.bytes, b"a b");
}

#[test]
fn s6_other_types_are_answered_with_415() {
    for content_type in ["image/gif", "application/sdp", "text/calendar", "application/x-ms-ink"] {
        let headers = format!("Call-ID: 1\r\nContent-Type: {content_type}\r\n");
        let fault = of_sip(&headers, b"x").unwrap_err();
        assert_eq!((fault, fault.status()), (ContentFault::MediaType, 415));
    }
    assert_eq!(of_sip("Call-ID: 1\r\n", b"x"), Err(ContentFault::MediaType));
    let encoded = "Call-ID: 1\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\n";
    assert_eq!(of_sip(encoded, b"x"), Err(ContentFault::MediaType));
}

#[test]
fn s4_a_pager_message_has_at_most_1300_bytes() {
    assert_eq!(fits_pager(1300), Ok(()));
    assert_eq!(fits_pager(1301), Err(StanzaError::PolicyViolation));
}

#[test]
fn s8_a_thread_is_a_call_id_only_if_it_may_be_one() {
    assert_eq!(call_id_of("f81d4fae@foo.bar.com"), Some("f81d4fae@foo.bar.com"));
    let long = "a".repeat(limits::GATEWAY_THREAD_BYTES_MAX + 1);
    for none in ["", "a b", "a@b@c", "@", "a@", "ü", "a\r\nVia: x", "a,b", &long] {
        assert_eq!(call_id_of(none), None, "{none}");
    }
    let read =
        InstantMessage::of_stanza(&stanza("<message><body>x</body><thread>a b</thread></message>"));
    let out = read.value.to_sip(Setting::Pager, TextForm::Plain).unwrap();
    assert!(out.losses.has(Loss::Thread) && out.value.call_id.is_none());
}

#[test]
fn what_the_sip_side_cannot_say_is_counted() {
    let losses = |text: &str| InstantMessage::of_stanza(&stanza(text)).losses;
    assert!(
        losses("<message><body>x</body><x xmlns='jabber:x:oob'><url>u</url></x></message>")
            .has(Loss::Payload)
    );
    assert!(losses("<message><body>x</body><store xmlns='urn:xmpp:hints'/></message>").is_empty());
    let long = format!(
        "<message><body>{}</body></message>",
        "x".repeat(limits::GATEWAY_TEXT_BYTES_MAX + 1)
    );
    assert!(losses(&long).has(Loss::Length));
    let (read, losses) =
        message(of_sip("Call-ID: 1\r\nContent-Type: text/plain\r\n", b"a\0b\x1b\xff\x08c\rd"));
    assert_eq!(read.words.unwrap().plain, "ab\u{fffd}c\nd");
    assert!(losses.has(Loss::Characters) && losses.has(Loss::Encoding));
    let (_, losses) = message(of_sip(
        "Call-ID: 1\r\nContent-Language: e n\r\nContent-Type: text/plain\r\n",
        b"x",
    ));
    assert!(losses.has(Loss::Language));
}

#[test]
fn the_body_in_the_language_of_the_stanza_is_taken() {
    let read = InstantMessage::of_stanza(&stanza(
        "<message xml:lang='en'><body xml:lang='de'>Hallo</body><body>Hello</body></message>",
    ));
    assert_eq!(read.value.words.unwrap().plain, "Hello");
    assert_eq!(read.value.language.as_deref(), Some("en"));
    let read =
        InstantMessage::of_stanza(&stanza("<message><body xml:lang='de'>Hallo</body></message>"));
    assert_eq!(read.value.language.as_deref(), Some("de"));
}

#[test]
fn lync_several_parts_the_formatted_one_is_taken() {
    let body = b"preamble\r\n--b1\r\nContent-Type: text/plain; charset=UTF-8\r\n\r\nhi there\r\n\
        --b1\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n\
        PGI+aGk8L2I+IHRo\r\nZXJl\r\n--b1\r\nContent-Type: image/gif\r\n\r\nGIF\r\n--b1--\r\n";
    let headers = "Call-ID: 1\r\nContent-Type: multipart/alternative;boundary=\"b1\"\r\n";
    let (read, losses) = message(of_sip(headers, body));
    let words = read.words.unwrap();
    assert_eq!(words.plain, "hi there");
    assert!(words.rich.is_some() && losses.has(Loss::BodyPart));
    for bad in [&b""[..], b"--b1", b"--b1--", b"--b2\r\n\r\nx", b"--b1\r\nx"] {
        assert!(of_sip(headers, bad).is_err());
    }
    let many = b"--b1\r\n\r\nx\r\n".repeat(limits::GATEWAY_PARTS_MAX + 1);
    assert_eq!(of_sip(headers, &many), Err(ContentFault::Malformed));
}

#[test]
fn lync_rtf_gives_its_words() {
    let rtf = b"{\\rtf1\\fbidis\\ansi\\ansicpg1252\\deff0{\\fonttbl{\\f0\\fnil Segoe UI;}}\r\n\
        {\\colortbl ;\\red0\\green0\\blue0;}{\\*\\generator Riched20;}\\viewkind4\\uc1\r\n\
        \\pard\\cf1\\embo\\f0\\fs20 Gr\\'fc\\'dfe \\b \\{x\\}\\b0\\par\r\n\
        \\u8364?\\u-10179?\\u-8704? end\\par\r\n}\0";
    let (read, losses) = message(of_sip("Call-ID: 1\r\nContent-Type: text/rtf\r\n", rtf));
    assert_eq!(read.words.unwrap().plain, "Grüße {x}\n€😀 end");
    assert!(losses.has(Loss::Formatting));
    let deep = "{".repeat(100_000);
    let (_, losses) =
        message(of_sip("Call-ID: 1\r\nContent-Type: text/rtf\r\n", &deep.as_bytes()[..60_000]));
    assert!(losses.has(Loss::Structure));
}

#[test]
fn lync_the_first_text_is_in_the_invite() {
    let header = b"text/plain; charset=UTF-8;msgr=WAAtAE0ATQBTAA0ACgA=;ms-body=SGVsbG8gPGI+";
    assert_eq!(first_text(header).unwrap().value.plain, "Hello <b>");
    assert_eq!(first_text(b"text/plain;ms-body=%%"), None);
    assert_eq!(first_text(b"text/plain"), None);
    let content_type = ContentType::read(header);
    assert_eq!(content_type.parameter("CHARSET"), Some(&b"UTF-8"[..]));
}

#[test]
fn xep0184_a_request_for_a_receipt_is_asked_by_cpim_and_read_from_it() {
    let read = InstantMessage::of_stanza(&stanza(
        "<message id='m 1'><body>x</body><request xmlns='urn:xmpp:receipts'/></message>",
    ));
    assert_eq!(read.value.receipt, Some(ReceiptPart::Request));
    let parts = read.value.to_sip(Setting::Session, TextForm::Plain).unwrap().value;
    let parts = parts.asking_for_receipt("sip:a@x.example", "sip:b@s.example", "m1\r\nX: y");
    assert_eq!(parts.body.content_type, "message/cpim");
    let headers = "Call-ID: 1\r\nContent-Type: message/cpim\r\n";
    let (back, _) = message(of_sip(headers, &parts.body.bytes));
    assert_eq!(back.id.as_deref(), Some("m1 X: y"));
    assert_eq!(back.receipt, Some(ReceiptPart::Request));
    assert_eq!(back.words.unwrap().plain, "x");
    let without_id =
        stanza("<message><body>x</body><request xmlns='urn:xmpp:receipts'/></message>");
    assert_eq!(InstantMessage::of_stanza(&without_id).value.receipt, None);
}

#[test]
fn rfc5438_receipts_are_read_and_written() {
    let body = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
        <imdn xmlns=\"urn:ietf:params:xml:ns:imdn\">\
        <message-id>34jk324j</message-id><datetime>2008-04-04T12:16:49-05:00</datetime>\
        <recipient-uri>im:bob@example.com</recipient-uri><delivery-notification>\
        <status><delivered/></status></delivery-notification></imdn>";
    let receipt =
        Receipt { message_id: "34jk324j".to_owned(), disposition: Disposition::Delivered };
    assert_eq!(Receipt::read(body), Some(receipt.clone()));
    assert_eq!(Receipt::read(&receipt.write("2026-11-29T00:00:00Z")), Some(receipt));
    let failed = Receipt { message_id: "<&>".to_owned(), disposition: Disposition::Failed };
    assert_eq!(Receipt::read(&failed.write("2026-11-29T00:00:00Z")), Some(failed));
    assert_eq!(Receipt::read(b"<imdn><message-id>1</message-id></imdn>"), None);
    let part = ReceiptPart::Received("34jk324j".to_owned());
    let node = Node::stanza(entente::xmpp::Stanza::Message).with_child(part.node());
    assert_eq!(ReceiptPart::of_stanza(&node), Some(part));
    let read = of_sip("Call-ID: 1\r\nContent-Type: message/imdn+xml\r\n", body).unwrap().value;
    assert!(matches!(read, OfSip::Receipt(_)));
}

#[test]
fn xep0203_a_stamp_becomes_a_date() {
    let rows = [
        ("2002-09-10T23:08:25Z", Some("Tue, 10 Sep 2002 23:08:25 GMT")),
        ("2024-02-29T00:00:00.123Z", Some("Thu, 29 Feb 2024 00:00:00 GMT")),
        ("2000-01-01T12:00:00Z", Some("Sat, 01 Jan 2000 12:00:00 GMT")),
        ("2026-11-29T08:00:00Z", Some("Sun, 29 Nov 2026 08:00:00 GMT")),
        ("2002-09-10T23:08:25+01:00", None),
        ("2002-13-10T23:08:25Z", None),
        ("2002-00-10T23:08:25Z", None),
        ("2002-09-10", None),
        ("x", None),
    ];
    for (stamp, date) in rows {
        assert_eq!(sip_date(stamp).as_deref(), date, "{stamp}");
    }
}
