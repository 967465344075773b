//! RFC 8489: STUN, as the relay serves it.

use std::net::SocketAddr;

use entente::edge::av::{Admission, Client};
use entente::stun::{
    AttributeType, Builder, Class, ErrorCode, MAGIC_COOKIE, Malformed, Message, Method, Proof,
    SecurityFeatures, TransactionId, Type,
};

use super::turn::{Came, World, address, key, prove, udp};

fn kind(method: Method, class: Class) -> Type {
    Type { method, class }
}

fn built(kind: Type, build: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
    let mut wire = Vec::new();
    build(&mut Builder::new(&mut wire, kind, TransactionId([7; 12])));
    wire
}

#[test]
fn s5_a_message_begins_with_two_zero_bits_and_has_the_cookie_and_whole_words() {
    let wire = built(kind(Method::BINDING, Class::Request), |message| {
        message.attribute(AttributeType::SOFTWARE, b"abc");
    });
    assert_eq!(wire.len() % 4, 0);
    assert_eq!(wire[4..8], MAGIC_COOKIE.to_be_bytes());
    let with = |at: usize, byte: u8| {
        let mut other = wire.clone();
        other[at] = byte;
        Message::read(&other).err()
    };
    assert_eq!(with(0, 0x40), Some(Malformed::NotStun));
    assert_eq!(with(7, 0), Some(Malformed::NoCookie));
    assert_eq!(with(3, 7), Some(Malformed::Length));
    assert_eq!(Message::read(&wire[..12]).err(), Some(Malformed::TooShort));
}

#[test]
fn s5_the_class_lies_between_the_bits_of_the_method() {
    for (class, wire) in [
        (Class::Request, 0x0001),
        (Class::Indication, 0x0011),
        (Class::Success, 0x0101),
        (Class::Error, 0x0111),
    ] {
        assert_eq!(kind(Method::BINDING, class).wire(), wire);
        assert_eq!(Type::of(wire), kind(Method::BINDING, class));
    }
}

#[test]
fn s6_3_1_a_binding_request_is_answered_with_where_it_came_from() {
    let mut world = World::new();
    let client = World::client(5);
    let wire = built(kind(Method::BINDING, Class::Request), |_| {});
    let Came::Answer(answer) = world.send(client, &wire) else { panic!("no answer") };
    let message = Message::read(&answer).expect("a message");
    assert_eq!(message.kind(), kind(Method::BINDING, Class::Success));
    assert_eq!(message.transaction(), TransactionId([7; 12]));
    let mapped = message.attribute(AttributeType::XOR_MAPPED_ADDRESS).expect("it is there");
    assert_eq!(mapped.xor_address(TransactionId([7; 12])), Some(client.remote));
}

#[test]
fn s6_3_1_an_unknown_attribute_that_must_be_understood_is_420_and_named() {
    let mut world = World::new();
    let wire = built(kind(Method::BINDING, Class::Request), |message| {
        message.attribute(AttributeType(0x7F01), b"x").attribute(AttributeType(0xFF01), b"y");
    });
    let Came::Answer(answer) = world.send(World::client(5), &wire) else { panic!("no answer") };
    let message = Message::read(&answer).expect("a message");
    let error = message.attribute(AttributeType::ERROR_CODE).and_then(|error| error.error());
    assert_eq!(error, Some(ErrorCode(420)));
    let unknown = message.attribute(AttributeType::UNKNOWN_ATTRIBUTES).expect("it is there");
    assert_eq!(unknown.value, [0x7F, 0x01], "and not the one that may be ignored");
}

#[test]
fn s6_3_2_an_indication_is_never_answered() {
    let mut world = World::new();
    for class in [Class::Indication, Class::Success, Class::Error] {
        let wire = built(kind(Method::BINDING, class), |_| {});
        assert!(matches!(world.send(World::client(5), &wire), Came::Dropped(_)), "{class:?}");
    }
}

#[test]
fn s7_fingerprint_tells_stun_from_what_looks_like_it() {
    let mut wire = built(kind(Method::BINDING, Class::Request), |message| {
        message.attribute(AttributeType::SOFTWARE, b"abcd").fingerprint();
    });
    assert!(Message::read(&wire).is_ok());
    wire[24] ^= 1;
    assert_eq!(Message::read(&wire).err(), Some(Malformed::NotStun));
    let mut world = World::new();
    assert!(matches!(world.send(World::client(5), &wire), Came::Dropped(_)), "silently");
}

#[test]
fn s9_2_a_challenge_has_realm_nonce_and_algorithms_and_proves_nothing() {
    let mut world = World::new();
    let challenge = world.challenge(World::client(1), Method::ALLOCATE);
    let message = Message::read(&challenge).expect("a message");
    let error = message.attribute(AttributeType::ERROR_CODE).and_then(|error| error.error());
    assert_eq!(error, Some(ErrorCode(401)));
    for wanted in [AttributeType::REALM, AttributeType::NONCE, AttributeType::PASSWORD_ALGORITHMS] {
        assert!(message.attribute(wanted).is_some(), "{wanted:?}");
    }
    assert!(message.attribute(AttributeType::MESSAGE_INTEGRITY).is_none());
    let nonce = message.attribute(AttributeType::NONCE).expect("it is there").value;
    let features = SecurityFeatures::of_nonce(nonce).expect("the cookie is in front");
    assert!(features.password_algorithms(), "the nonce says that algorithms are offered");
    assert!(nonce.starts_with(b"obMatJos2gAAA"), "bit 0 is the leftmost one (section 18.1)");
}

#[test]
fn s9_2_4_no_two_ports_are_given_the_same_nonce() {
    let mut world = World::new();
    let one = World::client(1);
    let remote = SocketAddr::new(one.remote.ip(), one.remote.port() + 1);
    let beside = Client { remote, ..one };
    let (nonce, other) = (world.nonce(one), world.nonce(beside));
    assert_ne!(nonce, other, "of one address and one second");
    let mut wire = Vec::new();
    let id = world.id();
    let mut request = Builder::new(&mut wire, kind(Method::ALLOCATE, Class::Request), id);
    udp(&mut request);
    prove(&mut request, &nonce);
    let Came::Answer(answer) = world.send(beside, &wire) else { panic!("no answer") };
    let class = Message::read(&answer).expect("a message").kind().class;
    assert_eq!(class, Class::Success, "a client may use what it has from another port of its own");
}

#[test]
fn s9_2_4_an_answer_is_proven_by_what_the_request_named() {
    let mut world = World::new();
    let client = World::client(1);
    let nonce = world.nonce(client);
    let mut wire = Vec::new();
    let id = world.id();
    let mut request = Builder::new(&mut wire, kind(Method::ALLOCATE, Class::Request), id);
    udp(&mut request);
    request.attribute(AttributeType::PASSWORD_ALGORITHMS, &[0, 2, 0, 0, 0, 1, 0, 0]);
    request.attribute(AttributeType::PASSWORD_ALGORITHM, &[0, 1, 0, 0]);
    prove(&mut request, &nonce);
    let Came::Answer(answer) = world.send(client, &wire) else { panic!("no answer") };
    let message = Message::read(&answer).expect("a message");
    assert_eq!(message.kind().class, Class::Success);
    assert!(message.attribute(AttributeType::MESSAGE_INTEGRITY_SHA256).is_some());
    assert!(message.attribute(AttributeType::MESSAGE_INTEGRITY).is_none());
    assert_eq!(message.integrity(&key()), Proof::Good);
}

#[test]
fn s10_a_client_is_sent_to_a_server_of_its_own_family_alone() {
    let mut world = World::new();
    let other = address("198.51.100.7:3478");
    world.relay.admit(Admission::Draining { alternate: Some(other) });
    let client = World::client(1);
    assert_eq!(world.ask(client, Method::ALLOCATE, udp).error, Some(300));
    let six = Client { remote: address("[2001:db8::7]:50000"), ..client };
    assert_eq!(world.ask(six, Method::ALLOCATE, udp).error, Some(508));
}

#[test]
fn s9_2_4_a_nonce_is_one_clients_and_grows_stale() {
    let mut world = World::new();
    let (one, other) = (World::client(1), World::client(2));
    let nonce = world.nonce(one);
    let mut error = |client, seconds| {
        world.pass(seconds);
        let id = world.id();
        let mut wire = Vec::new();
        let mut request = Builder::new(&mut wire, kind(Method::ALLOCATE, Class::Request), id);
        udp(&mut request);
        prove(&mut request, &nonce);
        let Came::Answer(answer) = world.send(client, &wire) else { panic!("no answer") };
        let message = Message::read(&answer).expect("a message");
        message.attribute(AttributeType::ERROR_CODE).and_then(|error| error.error()).map(|e| e.0)
    };
    assert_eq!(error(other, 0), Some(438), "another client's");
    assert_eq!(error(one, 0), None);
    assert_eq!(error(one, 3_700), Some(438));
}

#[test]
fn s14_attributes_are_padded_and_their_padding_says_nothing() {
    for length in 0..9 {
        let value = vec![b'a'; length];
        let wire = built(kind(Method::BINDING, Class::Indication), |message| {
            message.attribute(AttributeType::SOFTWARE, &value);
        });
        assert_eq!(wire.len(), 20 + 4 + length.next_multiple_of(4));
        let message = Message::read(&wire).expect("a message");
        let read = message.attribute(AttributeType::SOFTWARE).expect("it is there");
        assert_eq!(read.value, value);
    }
}

#[test]
fn s14_8_every_error_has_its_class_number_and_reason() {
    for number in [300, 400, 401, 403, 420, 437, 438, 440, 441, 442, 443, 486, 500, 508] {
        let wire = built(kind(Method::ALLOCATE, Class::Error), |message| {
            message.error(ErrorCode(number));
        });
        let message = Message::read(&wire).expect("a message");
        let error = message.attribute(AttributeType::ERROR_CODE).expect("it is there");
        assert_eq!(error.error(), Some(ErrorCode(number)));
        assert_eq!(u16::from(error.value[2]) * 100 + u16::from(error.value[3]), number);
        assert_eq!(&error.value[4..], ErrorCode(number).reason().as_bytes());
        assert!(!ErrorCode(number).reason().is_empty());
    }
}
