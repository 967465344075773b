//! What is wrong gets nothing, or its exact error.

use super::super::*;
use super::world::*;
use crate::stun::{AttributeType, Builder, Class, Message, Method, Type};

#[test]
fn every_truncation_of_a_request_gets_nothing() {
    let mut world = World::new();
    let client = world.client(1);
    let request = world.request(client, Method::ALLOCATE, USER, b"new", udp);
    for length in 0..request.len() {
        let came = world.send(client, &request[..length]);
        assert!(matches!(came, Came::Dropped(_)), "{length}: {came:?}");
    }
    let longer = [&request[..], &[0; 4]].concat();
    assert_eq!(world.send(client, &longer), Came::Dropped(Dropped::Malformed), "and a tail");
    assert_eq!(world.relay.allocations(), 0);
    assert!(matches!(world.send(client, &request), Came::Answer(_)), "whole, it is answered");
    assert_eq!(world.relay.allocations(), 1);
}

#[test]
fn every_changed_byte_of_a_request_is_seen() {
    let mut world = World::new();
    let client = world.client(1);
    let mut seen = 0;
    for place in 0..140 {
        // A nonce each, and a pause so that no rate plays a part.
        let mut request = world.request(client, Method::ALLOCATE, USER, b"new", udp);
        let Some(byte) = request.get_mut(place) else { break };
        *byte ^= 0x41;
        match world.send(client, &request) {
            Came::Dropped(_) => {}
            Came::Answer(answer) => {
                let class = Message::read(&answer).unwrap().kind().class;
                // The fingerprint is no proof, and what does not match it is only no STUN.
                let is_fingerprint = place + 8 >= request.len();
                assert!(class == Class::Error || is_fingerprint, "{place}");
            }
            other => panic!("{place}: {other:?}"),
        }
        world.relay.kill(&client, &mut world.out);
        world.out.closes.clear();
        world.open.clear();
        world.pass(1_000);
        seen += 1;
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn rfc8489_6_3_1_unknown_attributes_that_must_be_understood_are_named() {
    let mut world = World::new();
    let client = world.client(1);
    let unknown = |request: &mut Builder<'_>| {
        request.attribute(AttributeType(0x7ABC), b"?");
        request.attribute(AttributeType(0x7ABD), b"!");
        request.attribute(AttributeType(0xFABC), b"one that need not be");
    };
    let answer = world.ask(client, Method::ALLOCATE, |request| {
        udp(request);
        unknown(request);
    });
    assert_eq!(answer.error, Some(420));
    let named = answer.message().attribute(AttributeType::UNKNOWN_ATTRIBUTES).unwrap();
    assert_eq!(named.value, [0x7A, 0xBC, 0x7A, 0xBD]);
    world.allocate(client);
    world.permit(client, address(PEER));
    let mut send = Vec::new();
    let id = world.id();
    let kind = Type { method: Method::SEND, class: Class::Indication };
    let mut indication = Builder::new(&mut send, kind, id);
    indication.xor_address(AttributeType::XOR_PEER_ADDRESS, address(PEER));
    indication.attribute(AttributeType::DATA, b"x");
    unknown(&mut indication);
    assert_eq!(world.send(client, &send), Came::Dropped(Dropped::Malformed));
}

/// Sources that nobody can tell from true ones, each another network.
#[test]
fn a_flood_from_spoofed_sources_gets_few_answers_and_harms_no_client() {
    let mut world = World::new();
    let client = world.client(1);
    let port = world.allocate(client);
    world.bind(client, 0x4000, address(PEER));
    let mut bare = Vec::new();
    let kind = Type { method: Method::ALLOCATE, class: Class::Request };
    let id = world.id();
    Builder::new(&mut bare, kind, id);
    let proof = world.request(client, Method::REFRESH, USER, b"new", |_| {});
    let (mut answers, mut bytes) = (0, 0);
    for n in 0..20_000_u32 {
        let source = SocketAddr::from(((n << 8 | 0x0B00_0001).to_be_bytes(), 9));
        let spoofed = Client { listener: 0, transport: Transport::Udp, remote: source };
        if let Came::Answer(answer) = world.send(spoofed, &bare) {
            answers += 1;
            bytes += answer.len();
        }
    }
    assert!(answers <= limits::TURN_UNAUTHENTICATED_IN_ALL, "{answers}");
    assert!(bytes <= answers as usize * limits::TURN_UNAUTHENTICATED_BYTES_MAX);
    assert_eq!((world.relay.allocations(), world.relay.users()), (1, 1));
    let sent = world.send(client, &channel(0x4000, b"still"));
    assert_eq!(sent, Came::ToPeer(port, address(PEER), b"still".to_vec()));
    let Came::Answer(answer) = world.send(client, &proof) else { panic!("no answer") };
    assert_eq!(Answer::of(&answer, USER, b"new").error, None, "who has proof is answered");
}

#[test]
fn channels_and_permissions_are_not_anybodys() {
    let mut world = World::new();
    let (client, other) = (world.client(1), world.client(2));
    world.allocate(client);
    world.allocate(other);
    world.bind(client, 0x4000, address(PEER));
    let foreign = world.send(other, &channel(0x4000, b"x"));
    assert_eq!(foreign, Came::Dropped(Dropped::NoChannel), "a channel is its allocation's");
    let early = world.send_data(other, address(PEER), b"x");
    assert_eq!(early, Came::Dropped(Dropped::NoPermission), "and so is a permission");
    let short = [0x40, 0x00, 0x00, 0x09, 1, 2];
    assert_eq!(world.send(client, &short), Came::Dropped(Dropped::Malformed));
    let reserved = [0x50, 0x00, 0x00, 0x01, 1];
    let came = world.send(client, &reserved);
    assert!(matches!(came, Came::Dropped(_)), "{came:?}");
    let none = world.ask(client, Method::CHANNEL_BIND, |request| {
        request.xor_address(AttributeType::XOR_PEER_ADDRESS, address(PEER));
    });
    assert_eq!(none.error, Some(400), "no number");
    let nobody = world.ask(client, Method::CHANNEL_BIND, |request| {
        request.attribute(AttributeType::CHANNEL_NUMBER, &[0x40, 1, 0, 0]);
    });
    assert_eq!(nobody.error, Some(400), "no peer");
}

/// Two relays, each with an allocation whose peer is the other one, and one of them made through
/// the other. A header is put on or taken off at each step, so that no datagram goes round.
#[test]
fn relays_pointed_at_each_other_pass_a_datagram_once() {
    let mut second = setup();
    let (relayed, node) = ("198.51.100.20", "198.51.100.10:3478");
    second.relayed =
        vec![RelayedAddress { bound: relayed.parse().unwrap(), public: relayed.parse().unwrap() }];
    second.listeners = vec![Listener { node: address(node), vip: None }];
    let mut peers = setup();
    peers.peers.external = vec!["198.51.100.0/24".parse().unwrap()];
    let mut worlds = [World::of(peers), World::of(second)];
    worlds[1].relay.adopt(
        setup().credentials,
        Peers { external: vec!["192.0.2.0/24".parse().unwrap()], ..Peers::default() },
        setup().quotas,
    );
    let client = worlds[0].client(1);
    let port = worlds[0].allocate(client);
    let of_first = SocketAddr::new(RELAYED.parse().unwrap(), port.port);
    // To the second one, the relayed address of the first is a client as any other.
    let through = Client { listener: 0, transport: Transport::Udp, remote: of_first };
    let answer = worlds[1].ask(through, Method::ALLOCATE, udp);
    assert_eq!(answer.error, None);
    let of_second = answer.address(AttributeType::XOR_RELAYED_ADDRESS).unwrap();
    assert_eq!(worlds[1].bind(through, 0x4002, of_first).error, None);
    assert_eq!(worlds[0].bind(client, 0x4001, address(node)).error, None);
    assert_eq!(worlds[0].permit(client, of_second).error, None);
    let inner = channel(0x4002, b"round and round");
    let Came::ToPeer(_, to, first) = worlds[0].send(client, &channel(0x4001, &inner)) else {
        panic!()
    };
    assert_eq!((to, &first), (address(node), &inner));
    let Came::ToPeer(from, to, second) = worlds[1].send(through, &first) else { panic!() };
    assert_eq!((to, &second[..]), (of_first, &b"round and round"[..]));
    let from = SocketAddr::new(relayed.parse().unwrap(), from.port);
    let Came::ToClient(end, _) = worlds[0].peer_sends(port, from, &second) else { panic!() };
    assert_eq!(end, client, "it comes out where it came in, once");
    // What a relay answers to another one's listener is an answer, and gets none.
    let nonce = worlds[1].nonce(through);
    assert!(!nonce.is_empty());
    let mut response = Vec::new();
    let id = worlds[0].id();
    for class in [Class::Success, Class::Error] {
        response.clear();
        Builder::new(&mut response, Type { method: Method::BINDING, class }, id);
        let came = worlds[0].send(through, &response);
        assert_eq!(came, Came::Dropped(Dropped::Unexpected), "no answer to an answer");
    }
}
