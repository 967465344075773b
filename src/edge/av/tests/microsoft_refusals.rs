//! What requests of the Microsoft dialect are refused with, and which address they are told.

use super::super::*;
use super::microsoft::Lync;
use super::world::*;
use crate::stun::Proof;
use crate::stun::ms::{AttributeType, Builder, Message, MessageType};

/// The number of an error, proven unless it is for a stranger, and which message it is.
fn error(lync: &Lync, answer: &[u8]) -> (MessageType, u16) {
    let message = Message::read(answer).unwrap();
    let code = message.attribute(AttributeType::ERROR_CODE).expect("an error").value;
    let number = u16::from(code[2]) * 100 + u16::from(code[3]);
    let proof = message.integrity(&lync.key());
    let expected = if number == 401 || number == 438 { Proof::Absent } else { Proof::Good };
    assert_eq!(proof, expected, "{number}");
    (message.kind(), number)
}

#[test]
fn unknown_attributes_that_must_be_understood_are_420_and_named() {
    let mut lync = Lync::new();
    let unknown = |request: &mut Builder<'_>| {
        request.attribute(AttributeType(0x7ABC), b"?");
        request.attribute(AttributeType(0x7ABD), b"!");
        request.attribute(AttributeType(0xFABC), b"one that need not be");
    };
    let answer = lync.ask(MessageType::ALLOCATE, unknown);
    assert_eq!(error(&lync, &answer), (MessageType::ALLOCATE_ERROR, 420));
    let message = Message::read(&answer).unwrap();
    let named = message.attribute(AttributeType::UNKNOWN_ATTRIBUTES).expect("they are named");
    assert_eq!(named.value, [0x7A, 0xBC, 0x7A, 0xBD]);
    assert_eq!(lync.world.relay.allocations(), 0);
    lync.allocate();
    let answer = lync.ask(MessageType::SET_ACTIVE_DESTINATION, |request| {
        request.address(AttributeType::DESTINATION_ADDRESS, address(PEER));
        unknown(request);
    });
    assert_eq!(error(&lync, &answer), (MessageType::SET_ACTIVE_DESTINATION_ERROR, 420));
    let bare = [0x80, 0x60, 1];
    let client = lync.client;
    assert_eq!(lync.world.send(client, &bare), Came::Dropped(Dropped::Malformed), "none is set");
}

#[test]
fn an_allocation_too_many_is_486_or_508_and_one_that_is_not_there_437() {
    let mut quotas = setup();
    quotas.quotas.allocations_per_user = 1;
    quotas.quotas.allocations = 2;
    let mut lync = Lync::in_world(World::of(quotas));
    let none = lync.ask(MessageType::ALLOCATE, |request| {
        request.number(AttributeType::LIFETIME, 0);
    });
    assert_eq!(error(&lync, &none), (MessageType::ALLOCATE_ERROR, 437), "nothing to give back");
    let none = lync.ask(MessageType::SET_ACTIVE_DESTINATION, |_| {});
    assert_eq!(error(&lync, &none), (MessageType::SET_ACTIVE_DESTINATION_ERROR, 437));
    lync.allocate();
    let first = lync.client;
    lync.client = lync.world.client(2);
    let second = lync.ask(MessageType::ALLOCATE, |_| {});
    assert_eq!(error(&lync, &second), (MessageType::ALLOCATE_ERROR, 486), "his quota");
    let other = lync.world.client(3);
    lync.world.allocate(other);
    lync.token = MrasKey::new(b"new").issue("sip:bob@contoso.example", 1_700_030_000);
    let third = lync.ask(MessageType::ALLOCATE, |_| {});
    assert_eq!(error(&lync, &third), (MessageType::ALLOCATE_ERROR, 508), "everybody's");
    lync.client = first;
    let foreign = lync.ask(MessageType::ALLOCATE, |_| {});
    assert_eq!(error(&lync, &foreign), (MessageType::ALLOCATE_ERROR, 441), "it is alice's");
    assert_eq!(lync.world.relay.allocations(), 2);
}

#[test]
fn ports_that_have_run_out_are_508_and_one_given_back_is_given_again() {
    let mut few = setup();
    few.ports = Ports::Range { first: 50_000, count: 1 };
    let mut lync = Lync::in_world(World::of(few));
    let port = lync.allocate();
    let first = lync.client;
    lync.client = lync.world.client(2);
    let none = lync.ask(MessageType::ALLOCATE, |_| {});
    assert_eq!(error(&lync, &none), (MessageType::ALLOCATE_ERROR, 508));
    lync.world.relay.kill(&first, &mut lync.world.out);
    assert_eq!(lync.allocate(), port);
    // A kernel that gives no socket is told alike.
    let mut lync = Lync::new();
    lync.world.kernel_fails = Opened::Failed;
    let none = lync.ask(MessageType::ALLOCATE, |_| {});
    assert_eq!(error(&lync, &none), (MessageType::ALLOCATE_ERROR, 508));
}

#[test]
fn an_address_of_ipv6_is_for_who_speaks_version_4() {
    for (version, family, expected) in [(1, 2, RELAYED), (4, 1, RELAYED), (4, 2, "2001:db8::20")] {
        let mut lync = Lync::new();
        let answer = lync.ask_as(version, MessageType::ALLOCATE, |request| {
            request.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[0, 0, 0, family]);
        });
        let message = Message::read(&answer).unwrap();
        assert_eq!(message.kind(), MessageType::ALLOCATE_RESPONSE);
        let mapped = message.attribute(AttributeType::MAPPED_ADDRESS).unwrap().address().unwrap();
        assert_eq!(mapped.ip().to_string(), expected, "version {version}, family {family}");
    }
    let mut v4 = setup();
    v4.relayed.truncate(1);
    let mut lync = Lync::in_world(World::of(v4));
    let answer = lync.ask_as(4, MessageType::ALLOCATE, |request| {
        request.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[0, 0, 0, 2]);
    });
    assert_eq!(error(&lync, &answer), (MessageType::ALLOCATE_ERROR, 440), "there is none");
    assert_eq!(lync.world.relay.allocations(), 0);
}

#[test]
fn data_goes_both_ways_between_addresses_of_ipv6() {
    let mut lync = Lync::new();
    let answer = lync.ask_as(4, MessageType::ALLOCATE, |request| {
        request.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[2]);
    });
    let message = Message::read(&answer).unwrap();
    let mapped = message.attribute(AttributeType::MAPPED_ADDRESS).unwrap().address().unwrap();
    let port = RelayPort { address: 1, port: mapped.port() };
    let peer = "[2600:1900::1]:5000";
    assert_eq!(lync.send_request(PEER, b"x"), Came::Dropped(Dropped::NoPermission), "of IPv4");
    let sent = lync.send_request(peer, b"abc");
    assert_eq!(sent, Came::ToPeer(port, address(peer), b"abc".to_vec()));
    let Came::ToClient(_, wire) = lync.world.peer_sends(port, address(peer), b"d") else {
        panic!()
    };
    let message = Message::read(&wire).unwrap();
    let from = message.attribute(AttributeType::REMOTE_ADDRESS).unwrap();
    assert_eq!(from.address(), Some(address(peer)), "in the clear");
}

/// Over UDP the next request has to come to this node: a balancer may send it to another one.
#[test]
fn e_6_a_challenge_names_the_public_address_of_this_node_by_whatever_address_it_came() {
    let public = "198.51.100.7:3478";
    let mut behind = setup();
    // Bound to an address of its own, NAT before it, and the pool's address before both.
    behind.listeners = vec![Listener { node: address(public), vip: Some(address(VIP)) }];
    let mut lync = Lync::in_world(World::of(behind));
    let expired = [b'x'; 40];
    for addressed in [VIP, NODE, "10.0.0.12:3478"] {
        for (nonce, number) in [(None, 401), (Some(&expired[..]), 438)] {
            let mut wire = Vec::new();
            let id = lync.id();
            let mut request = Builder::new(&mut wire, MessageType::ALLOCATE, id);
            request.number(AttributeType::MS_VERSION, 1);
            if let Some(nonce) = nonce {
                request.attribute(AttributeType::USERNAME, &lync.token.username);
                request.attribute(AttributeType::NONCE, nonce);
                request.attribute(AttributeType::REALM, REALM.as_bytes());
                request.integrity(&lync.key());
            }
            let came = lync.world.send_to(lync.client, address(addressed), &wire);
            let Came::Answer(answer) = came else { panic!("no answer: {came:?}") };
            assert_eq!(error(&lync, &answer), (MessageType::ALLOCATE_ERROR, number));
            let message = Message::read(&answer).unwrap();
            assert_eq!(message.transaction(), id);
            let server = message.attribute(AttributeType::ALTERNATE_SERVER).unwrap();
            assert_eq!(server.address(), Some(address(public)), "{addressed}");
            let realm = message.attribute(AttributeType::REALM).unwrap();
            assert_eq!(realm.value, REALM.as_bytes());
            assert!(message.attribute(AttributeType::NONCE).is_some());
        }
    }
}

#[test]
fn a_proven_request_by_the_address_of_the_pool_is_sent_to_the_node() {
    let mut lync = Lync::new();
    let nonce = lync.nonce();
    let mut wire = Vec::new();
    let id = lync.id();
    let mut request = Builder::new(&mut wire, MessageType::ALLOCATE, id);
    request.number(AttributeType::MS_VERSION, 1);
    request.attribute(AttributeType::USERNAME, &lync.token.username);
    request.attribute(AttributeType::NONCE, &nonce);
    request.attribute(AttributeType::REALM, REALM.as_bytes());
    request.integrity(&lync.key());
    let Came::Answer(answer) = lync.world.send_to(lync.client, address(VIP), &wire) else {
        panic!()
    };
    assert_eq!(error(&lync, &answer), (MessageType::ALLOCATE_ERROR, 300));
    let message = Message::read(&answer).unwrap();
    let server = message.attribute(AttributeType::ALTERNATE_SERVER).unwrap();
    assert_eq!(server.address(), Some(address(NODE)));
    assert_eq!(lync.world.relay.allocations(), 0);
}

#[test]
fn what_a_request_lacks_is_told_by_its_own_number() {
    let mut lync = Lync::new();
    let nonce = lync.nonce();
    for (lacks, number) in
        [(AttributeType::USERNAME, 432), (AttributeType::REALM, 434), (AttributeType::NONCE, 435)]
    {
        let mut wire = Vec::new();
        let id = lync.id();
        let mut request = Builder::new(&mut wire, MessageType::ALLOCATE, id);
        for (kind, value) in [
            (AttributeType::USERNAME, &lync.token.username[..]),
            (AttributeType::NONCE, &nonce),
            (AttributeType::REALM, REALM.as_bytes()),
        ] {
            if kind != lacks {
                request.attribute(kind, value);
            }
        }
        request.integrity(&lync.key());
        let Came::Answer(answer) = lync.world.send(lync.client, &wire) else { panic!() };
        let message = Message::read(&answer).unwrap();
        let code = message.attribute(AttributeType::ERROR_CODE).unwrap().value;
        assert_eq!(u16::from(code[2]) * 100 + u16::from(code[3]), number);
        assert!(answer.len() <= limits::MS_TURN_UNAUTHENTICATED_BYTES_MAX);
    }
}

/// Every beginning of a good request, with its length as it was and with one that fits.
#[test]
fn a_request_cut_short_or_without_its_cookie_gets_nothing() {
    let mut lync = Lync::new();
    let nonce = lync.nonce();
    let mut wire = Vec::new();
    let id = lync.id();
    let mut request = Builder::new(&mut wire, MessageType::ALLOCATE, id);
    request.attribute(AttributeType::USERNAME, &lync.token.username);
    request.attribute(AttributeType::NONCE, &nonce);
    request.attribute(AttributeType::REALM, REALM.as_bytes());
    request.integrity(&lync.key());
    let client = lync.client;
    for length in 0..wire.len() {
        let came = lync.world.send(client, &wire[..length]);
        assert!(matches!(came, Came::Dropped(_)), "{length}: {came:?}");
    }
    let mut other = wire.clone();
    other[25] ^= 1;
    let came = lync.world.send(client, &other);
    assert_eq!(came, Came::Dropped(Dropped::Malformed), "the cookie is another");
    assert_eq!(lync.world.relay.allocations(), 0);
    assert!(matches!(lync.world.send(client, &wire), Came::Answer(_)), "whole, it is answered");
    assert_eq!(lync.world.relay.allocations(), 1);
}

/// A request under way, with everything that a proof needs.
fn proven(lync: &mut Lync, nonce: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    let id = lync.id();
    let mut request = Builder::new(&mut wire, MessageType::ALLOCATE, id);
    request.attribute(AttributeType::USERNAME, &lync.token.username);
    request.attribute(AttributeType::NONCE, nonce);
    request.attribute(AttributeType::REALM, REALM.as_bytes());
    request.integrity(&lync.key());
    wire
}

#[test]
fn a_nonce_that_is_old_or_another_clients_is_438_with_a_new_one() {
    let mut lync = Lync::new();
    let nonce = lync.nonce();
    let request = proven(&mut lync, &nonce);
    let elsewhere = Client { remote: address("198.51.100.77:4000"), ..lync.client };
    let Came::Answer(answer) = lync.world.send(elsewhere, &request) else { panic!("no answer") };
    assert_eq!(error(&lync, &answer), (MessageType::ALLOCATE_ERROR, 438), "another client's");
    lync.world.now.unix_s += limits::TURN_NONCE_S + 1;
    let Came::Answer(answer) = lync.world.send(lync.client, &request) else { panic!("no answer") };
    assert_eq!(error(&lync, &answer), (MessageType::ALLOCATE_ERROR, 438), "an old one");
    let message = Message::read(&answer).unwrap();
    let next = message.attribute(AttributeType::NONCE).expect("another nonce").value;
    let request = proven(&mut lync, next);
    let Came::Answer(answer) = lync.world.send(lync.client, &request) else { panic!("no answer") };
    assert_eq!(Message::read(&answer).unwrap().kind(), MessageType::ALLOCATE_RESPONSE);
}

#[test]
fn every_changed_byte_of_what_is_proven_is_seen() {
    let mut lync = Lync::new();
    let client = lync.client;
    let nonce = lync.nonce();
    let request = proven(&mut lync, &nonce);
    for place in 0..request.len() {
        let mut other = request.clone();
        other[place] ^= 0x41;
        let came = lync.world.send(client, &other);
        // A pause, so that no rate plays a part.
        lync.world.pass(1_000);
        let Came::Answer(answer) = came else { continue };
        let kind = Message::read(&answer).unwrap().kind();
        assert_ne!(kind, MessageType::ALLOCATE_RESPONSE, "{place}");
    }
    assert_eq!(lync.world.relay.allocations(), 0);
}

/// Sources that nobody can tell from true ones, each another network.
#[test]
fn a_flood_from_spoofed_sources_gets_few_answers_and_harms_no_client() {
    let mut lync = Lync::new();
    let port = lync.allocate();
    let mut bare = Vec::new();
    let id = lync.id();
    Builder::new(&mut bare, MessageType::ALLOCATE, id).number(AttributeType::MS_VERSION, 1);
    let (mut answers, mut bytes) = (0, 0);
    for n in 0..20_000_u32 {
        let source = SocketAddr::from(((n << 8 | 0x0B00_0001).to_be_bytes(), 9));
        let spoofed = Client { listener: 0, transport: Transport::Udp, remote: source };
        if let Came::Answer(answer) = lync.world.send(spoofed, &bare) {
            answers += 1;
            bytes += answer.len();
        }
    }
    assert!((1..=limits::TURN_UNAUTHENTICATED_IN_ALL).contains(&answers), "{answers}");
    assert!(bytes <= answers as usize * limits::MS_TURN_UNAUTHENTICATED_BYTES_MAX);
    assert_eq!((lync.world.relay.allocations(), lync.world.relay.users()), (1, 1));
    let sent = lync.send_request(PEER, b"still");
    assert_eq!(sent, Came::ToPeer(port, address(PEER), b"still".to_vec()));
}
