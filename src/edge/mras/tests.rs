//! The bodies of requests and answers.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::dns::Domain;
use crate::edge::av::Credentials;
use crate::limits;
use crate::policy::IssuingKey;

/// What clients are known to send.
const REQUEST: &str = "<request requestID=\"58025632\" from=\"sip:alice@contoso.example\" \
    version=\"2.0\" to=\"sip:edge.contoso.example@contoso.example;gruu;opaque=srvr:MRAS:Ab\" \
    xmlns=\"http://schemas.microsoft.com/2006/09/sip/mrasp\" \
    xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\
    <credentialsRequest credentialsRequestID=\"58025633\">\
    <identity>sip:alice@contoso.example</identity><location>intranet</location>\
    <duration>480</duration></credentialsRequest></request>";

const NOW: u64 = 1_800_000_000;

fn relay(location: Location, name: Option<&str>, last: u8) -> MediaRelay {
    let address = |last: u8| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
    MediaRelay {
        location,
        name: name.map(|name| Domain::parse(name.as_bytes()).unwrap()),
        pool: address(last),
        node: address(last + 1),
        udp_port: Some(3478),
        tcp_port: (location == Location::Internet).then_some(443),
    }
}

fn service() -> Service {
    let relays = vec![
        relay(Location::Internet, Some("av.contoso.example"), 1),
        relay(Location::Intranet, None, 11),
    ];
    Service::new(&MediaCredentials { key: IssuingKey([7; 32]), lifetime_s: 28_800, relays })
}

fn anybody(identity: &str) -> Result<String, Fault> {
    Ok(identity.to_owned())
}

/// Answers a request that is as [`REQUEST`] but for one thing.
fn answered(of: &str, other: &str) -> Answer {
    assert!(REQUEST.contains(of), "{of}");
    service().answer(NOW, REQUEST.replace(of, other).as_bytes(), anybody)
}

fn body(answer: &Answer) -> Node {
    document::read(&answer.body, crate::xmpp::Bounds::authenticated(65_536)).expect("a document")
}

fn said<'a>(node: &'a Node, path: &[&str]) -> &'a Node {
    path.iter().fold(node, |node, name| node.child(name, NAMESPACE).expect("it is there"))
}

#[test]
fn a_request_gets_credentials_that_a_relay_believes_until_they_end() {
    let answer = service().answer(NOW, REQUEST.as_bytes(), anybody);
    assert_eq!(answer.outcome, Ok(1));
    let root = body(&answer);
    assert!(root.is("response", NAMESPACE));
    let expected = [
        ("requestID", "58025632"),
        ("version", "2.0"),
        ("serverVersion", "2.0"),
        ("to", "sip:edge.contoso.example@contoso.example;gruu;opaque=srvr:MRAS:Ab"),
        ("from", "sip:alice@contoso.example"),
        ("reasonPhrase", "OK"),
    ];
    assert_eq!(root.attributes().collect::<Vec<_>>(), expected);
    let response = said(&root, &["credentialsResponse"]);
    assert_eq!(response.attribute("credentialsRequestID"), Some("58025633"));
    assert_eq!(said(response, &["credentials", "duration"]).text(), "480");
    let username = said(response, &["credentials", "username"]).text();
    let username = STANDARD.decode(username).unwrap();
    let believed = Credentials { rest: Vec::new(), mras: vec![MrasKey::new(&[7; 32])] };
    let ends = NOW + 8 * 3_600;
    assert_eq!(believed.token(&username), Some((0, ends)));
}

#[test]
fn relays_are_those_of_the_location_or_of_both() {
    let told = |answer: &Answer| {
        let root = body(answer);
        let list = said(&root, &["credentialsResponse", "mediaRelayList"]);
        let told = list.children().map(|relay| {
            relay.children().map(|fact| format!("{} {}", fact.name(), fact.text())).collect()
        });
        told.collect::<Vec<Vec<String>>>()
    };
    let inside = ["location intranet", "directIPAddress 192.0.2.11", "udpPort 3478"];
    let outside =
        ["location internet", "hostName av.contoso.example", "udpPort 3478", "tcpPort 443"];
    assert_eq!(told(&answered("intranet", "intranet")), [inside]);
    assert_eq!(told(&answered("intranet", "internet")), [outside]);
    let both = told(&answered("<location>intranet</location>", ""));
    assert_eq!(both, [outside.to_vec(), inside.to_vec()]);
    let direct = answered("version=\"2.0\"", "version=\"1.0\" route=\"DirectIP\"");
    assert_eq!(told(&direct)[0][1], "directIPAddress 192.0.2.12");
    let balanced = answered("version=\"2.0\"", "version=\"1.0\" route=\"loadbalanced\"");
    assert_eq!(told(&balanced), [inside]);
}

#[test]
fn a_duration_is_granted_up_to_the_most_that_is() {
    let granted = |of: &str, other: &str| {
        let root = body(&answered(of, other));
        said(&root, &["credentialsResponse", "credentials", "duration"]).text()
    };
    assert_eq!(granted("480", "30"), "30");
    assert_eq!(granted("480", "100000"), "480");
    assert_eq!(granted("<duration>480</duration>", ""), "480");
}

#[test]
fn several_are_granted_together_or_not_at_all() {
    let want = |id: usize, who: &str| {
        format!(
            "<credentialsRequest credentialsRequestID=\"{id}\"><identity>{who}</identity>\
             </credentialsRequest>"
        )
    };
    let end = "</request>";
    let many = |count: usize| (2..=count).map(|id| want(id, "a")).collect::<String>() + end;
    let most = answered(end, &many(limits::MRAS_CREDENTIALS_MAX));
    assert_eq!(most.outcome, Ok(limits::MRAS_CREDENTIALS_MAX));
    let root = body(&most);
    let ids: Vec<_> = root.children().map(|one| one.attribute("credentialsRequestID")).collect();
    assert_eq!(
        (ids.len(), ids[0], ids[1]),
        (limits::MRAS_CREDENTIALS_MAX, Some("58025633"), Some("2"))
    );
    let more = answered(end, &many(limits::MRAS_CREDENTIALS_MAX + 1));
    assert_eq!(more.outcome, Err(Fault::TooMany));
    let stranger = want(2, "sip:bob@fabrikam.example") + end;
    let judge = |who: &str| match who.contains("fabrikam") {
        true => Err(Fault::Forbidden("not ours")),
        false => anybody(who),
    };
    let one_bad = service().answer(NOW, REQUEST.replace(end, &stranger).as_bytes(), judge);
    assert_eq!(one_bad.outcome, Err(Fault::Forbidden("not ours")));
    let root = body(&one_bad);
    assert_eq!((root.attribute("reasonPhrase"), root.children().count()), (Some("Forbidden"), 0));
}

#[test]
fn each_fault_has_its_phrase_and_repeats_what_could_be_read() {
    let cases = [
        ("version=\"2.0\"", "version=\"3.0\"", Fault::VersionMismatch),
        ("version=\"2.0\"", "version=\"2.1\"", Fault::VersionMismatch),
        ("version=\"2.0\"", "version=\"two\"", Fault::VersionUnknown),
        ("version=\"2.0\"", "version=\"2\"", Fault::VersionUnknown),
        ("version=\"2.0\"", "version=\"2.0\" route=\"pigeon\"", Fault::UnknownRoute),
    ];
    for (of, other, fault) in cases {
        let answer = answered(of, other);
        assert_eq!(answer.outcome, Err(fault), "{other}");
        let root = body(&answer);
        assert_eq!(root.attribute("reasonPhrase"), Some(fault.phrase()));
        assert_eq!(root.attribute("requestID"), Some("58025632"));
        assert_eq!(root.children().count(), 0);
    }
    let mut alone = service();
    alone.relays.truncate(1);
    let answer = alone.answer(NOW, REQUEST.as_bytes(), anybody);
    assert_eq!(answer.outcome, Err(Fault::NoRelay));
    let busy = Service::busy(REQUEST.as_bytes());
    assert_eq!(body(&busy).attribute("reasonPhrase"), Some("Server Busy"));
}

#[test]
fn what_is_no_request_of_the_schema_is_malformed() {
    let cases = [
        (" version=\"2.0\"", ""),
        ("requestID=\"58025632\" ", ""),
        ("requestID=\"58025632\"", "requestID=\"\""),
        (" from=\"sip:alice@contoso.example\"", ""),
        (" credentialsRequestID=\"58025633\"", ""),
        ("<identity>sip:alice@contoso.example</identity>", ""),
        ("sip:alice@contoso.example</identity>", "</identity>"),
        ("<location>intranet</location>", "<location>elsewhere</location>"),
        ("<duration>480</duration>", "<duration>0</duration>"),
        ("<duration>480</duration>", "<duration>-1</duration>"),
        ("<duration>480</duration>", "<duration>all day</duration>"),
        ("credentialsRequest", "credentialsWish"),
        ("sip/mrasp", "sip/mraspy"),
        ("</request>", ""),
    ];
    for (of, other) in cases {
        let answer = answered(of, other);
        assert!(matches!(answer.outcome, Err(Fault::Malformed(_))), "{of} {other}: {answer:?}");
        assert_eq!(body(&answer).attribute("reasonPhrase"), Some("Request Malformed"));
    }
    let entity = format!("<!DOCTYPE request [<!ENTITY a \"b\">]>{REQUEST}");
    let long = REQUEST.replace("</request>", &" ".repeat(limits::MRAS_BODY_BYTES_MAX));
    for bad in ["", "credentials, please", &entity, &long] {
        let answer = service().answer(NOW, bad.as_bytes(), anybody);
        assert!(matches!(answer.outcome, Err(Fault::Malformed(_))), "{answer:?}");
    }
}

#[test]
fn every_fault_is_told_in_words() {
    for fault in Fault::KINDS {
        let (status, reason) = fault.status();
        assert!((200..600).contains(&status) && !reason.is_empty() && !fault.phrase().is_empty());
        let own_words = matches!(fault, Fault::Malformed(_) | Fault::Forbidden(_));
        assert_eq!(fault.sentence().is_empty(), own_words);
    }
}
