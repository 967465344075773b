//! Credentials of the A/V Edge, asked for by servers inside (wire-protocols E.9).

use std::net::{IpAddr, Ipv4Addr};

use super::world::{World, header, rules, snapshot, status};
use crate::edge::{Class, Core as _, Drain, LegId, Severity};
use crate::policy::{self, IssuingKey, Location, MediaCredentials, MediaRelay, Snapshot};

const SERVICE: &str = "sip:lsedge.contoso.example@contoso.example;gruu;opaque=srvr:MRAS:Ab";
const BODY_TYPE: &str = "application/msrtc-media-relay-auth+xml";

fn handing_out(key: u8) -> Snapshot {
    let node = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 12));
    let relay = MediaRelay {
        location: Location::Internet,
        name: None,
        pool: node,
        node,
        udp_port: Some(3478),
        tcp_port: Some(443),
    };
    let media =
        MediaCredentials { key: IssuingKey([key; 32]), lifetime_s: 28_800, relays: vec![relay] };
    let snapshot = policy::compile(rules(), u64::from(key)).expect("no contradiction");
    snapshot.with_media(Some(media.into()))
}

/// An edge that hands out credentials, and a server inside that asks for them.
fn world() -> (World, LegId) {
    let mut world = World::new();
    world.publish(handing_out(2));
    let server = world.open(Class::Credentials, Some("pool.contoso.example"));
    (world, server)
}

fn document(identity: &str) -> String {
    format!(
        "<request requestID=\"1\" from=\"{identity}\" version=\"2.0\" to=\"{SERVICE}\" \
         xmlns=\"http://schemas.microsoft.com/2006/09/sip/mrasp\">\
         <credentialsRequest credentialsRequestID=\"1\"><identity>{identity}</identity>\
         </credentialsRequest></request>"
    )
}

struct Asked<'a> {
    method: &'a str,
    uri: &'a str,
    from: &'a str,
    kind: &'a str,
    body: String,
}

impl Default for Asked<'_> {
    fn default() -> Self {
        let kim = "sip:kim@contoso.example";
        Self { method: "SERVICE", uri: SERVICE, from: kim, kind: BODY_TYPE, body: document(kim) }
    }
}

fn ask(world: &mut World, server: LegId, asked: &Asked<'_>) -> String {
    let Asked { method, uri, from, kind, body } = asked;
    let message = format!(
        "{method} {uri} SIP/2.0\r\n\
         Via: SIP/2.0/TLS 192.0.2.20:5061;branch=z9hG4bK7\r\n\
         Via: SIP/2.0/TLS 192.0.2.99:5061;branch=z9hG4bK6\r\n\
         Max-Forwards: 69\r\nFrom: <{from}>;tag=1;epid=01\r\nTo: <{uri}>\r\n\
         Call-ID: 7\r\nCSeq: 1 {method}\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    world.send(server, message.as_bytes());
    world.read(server)
}

fn phrase(answer: &str) -> &str {
    let (_, behind) = answer
        .split_once("reasonPhrase='")
        .or_else(|| answer.split_once("reasonPhrase=\""))
        .expect("a response");
    behind.split(['\'', '"']).next().unwrap()
}

#[test]
fn a_server_inside_gets_credentials_for_its_user() {
    let (mut world, server) = world();
    let answer = ask(&mut world, server, &Asked::default());
    assert_eq!((status(&answer), phrase(&answer)), (200, "OK"));
    assert_eq!(header(&answer, "Content-Type"), Some(BODY_TYPE));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let length = header(&answer, "Content-Length").unwrap();
    assert_eq!(length, body.len().to_string());
    assert_eq!(head.matches("Via: ").count(), 2, "it goes back the way it came");
    assert!(body.contains("<directIPAddress>192.0.2.12</directIPAddress>"), "{body}");
    assert_eq!(world.access.counters().credentials_issued, 1);
    assert_eq!(world.access.counters().credentials_requests, 1);
    let told: Vec<Severity> = world.notes.iter().map(|note| note.severity).collect();
    assert_eq!(told, [Severity::Debug]);
    assert!(world.connects.is_empty() && world.questions.is_empty(), "nothing is forwarded");
}

#[test]
fn names_of_one_user_count_as_one() {
    let (mut world, server) = world();
    let mut username = |identity: &str| {
        let asked = Asked { body: document(identity), ..Asked::default() };
        let answer = ask(&mut world, server, &asked);
        let (_, behind) = answer.split_once("<username>").unwrap_or_else(|| panic!("{answer}"));
        behind.split('<').next().unwrap().to_owned()
    };
    let plain = username("sip:kim@contoso.example");
    assert_eq!(username("sips:KIM@Contoso.example;gruu;opaque=app"), plain);
    assert_eq!(username("sip:%6bim@contoso.example"), plain);
}

#[test]
fn credentials_are_for_the_sender_and_for_nobody_of_another_organisation() {
    let (mut world, server) = world();
    let kim = "sip:kim@contoso.example";
    let cases = [
        (kim, "sip:pat@contoso.example", 403, "Forbidden"),
        (kim, "sip:kim@fabrikam.example", 403, "Forbidden"),
        ("sip:kim@fabrikam.example", "sip:kim@fabrikam.example", 403, "Forbidden"),
        (kim, "kim", 400, "Request Malformed"),
        // A server speaks for its users.
        ("sip:pool.contoso.example", "sip:pat@contoso.example", 200, "OK"),
        ("sip:pool.contoso.example", "sip:pool.contoso.example", 200, "OK"),
    ];
    for (from, identity, expected, said) in cases {
        let asked = Asked { from, body: document(identity), ..Asked::default() };
        let answer = ask(&mut world, server, &asked);
        assert_eq!((status(&answer), phrase(&answer)), (expected, said), "{from} {identity}");
    }
    assert_eq!(world.access.counters().credentials_refused, 4);
    let note = world.notes.first().unwrap();
    assert_eq!(note.severity, Severity::Info);
    let sentence = "relay credentials refused with Forbidden: the identity is not the sender's";
    assert_eq!(note.sentence, sentence);
}

#[test]
fn faults_of_the_document_are_answered_as_it_says() {
    let (mut world, server) = world();
    let of = |from: &str, to: &str| {
        let body = document("sip:kim@contoso.example").replace(from, to);
        Asked { body, ..Asked::default() }
    };
    let cases = [
        (of("<request ", "<reques "), 400, "Request Malformed"),
        (of("version=\"2.0\"", "version=\"9.0\""), 200, "Version Mismatch"),
        (of("version=\"2.0\"", "version=\"2.0\" route=\"none\""), 200, "Not Supported"),
        (of("</identity>", "</identity><location>intranet</location>"), 200, "Not Supported"),
    ];
    for (asked, expected, said) in cases {
        let answer = ask(&mut world, server, &asked);
        assert_eq!((status(&answer), phrase(&answer)), (expected, said));
    }
}

#[test]
fn nothing_but_requests_for_credentials_is_taken_there() {
    let (mut world, server) = world();
    let unlike = |asked: Asked<'static>| asked;
    let cases = [
        (unlike(Asked { method: "MESSAGE", ..Asked::default() }), 405),
        (unlike(Asked { method: "INVITE", ..Asked::default() }), 405),
        (unlike(Asked { kind: "text/plain", ..Asked::default() }), 415),
        (unlike(Asked { uri: "sip:mras@fabrikam.example", ..Asked::default() }), 404),
        (unlike(Asked { method: "NEGOTIATE", ..Asked::default() }), 488),
    ];
    for (asked, expected) in cases {
        assert_eq!(status(&ask(&mut world, server, &asked)), expected, "{}", asked.method);
    }
    let uri = "sip:lsedge.contoso.example";
    let probe = Asked { method: "OPTIONS", uri, body: String::new(), ..Asked::default() };
    assert_eq!(status(&ask(&mut world, server, &probe)), 200, "balancers probe");
    let inside = world.pool();
    let answer = ask(&mut world, inside, &Asked::default());
    assert_eq!(status(&answer), 403, "it has a listener of its own");
}

#[test]
fn a_reload_changes_the_key_and_an_edge_that_drains_gives_none() {
    let (mut world, server) = world();
    let first = ask(&mut world, server, &Asked::default());
    world.publish(handing_out(3));
    let second = ask(&mut world, server, &Asked::default());
    let username = |answer: &str| answer.split("<username>").nth(1).unwrap()[..72].to_owned();
    assert_ne!(username(&first), username(&second));
    world.access.drain(world.now, Drain::Notice, &mut world.effects);
    let refused = ask(&mut world, server, &Asked::default());
    assert_eq!((status(&refused), phrase(&refused)), (503, "Server Busy"));
    assert_eq!(header(&refused, "Retry-After"), Some("30"));
    world.access.adopt(world.now, snapshot(rules(), 9), &mut world.effects);
    assert_eq!(status(&ask(&mut world, server, &Asked::default())), 480, "not any more");
}
