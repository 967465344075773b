//! RFC 5769: test vectors for STUN, whole and byte by byte.

use entente::stun::{AttributeType, Class, Key, Malformed, Message, Method, Proof, Type};

use super::turn::{address, bytes};

const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";
const TRANSACTION: &str = "b7e7a701 bc34d686 fa87dfae";

fn request() -> Vec<u8> {
    bytes(&format!(
        "00010058 2112a442 {TRANSACTION} 80220010 5354554e 20746573 7420636c 69656e74
         00240004 6e0001ff 80290008 932ff9b1 51263b36 00060009 6576746a 3a683676 59202020
         00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2 80280004 e57a3bcf"
    ))
}

#[test]
fn s2_1_sample_request() {
    let wire = request();
    let message = Message::read(&wire).expect("a message");
    assert_eq!(message.kind(), Type { method: Method::BINDING, class: Class::Request });
    let value = |kind| message.attribute(kind).map(|attribute| attribute.value.to_vec());
    assert_eq!(value(AttributeType::SOFTWARE), Some(b"STUN test client".to_vec()));
    assert_eq!(value(AttributeType::PRIORITY), Some(bytes("6e0001ff")));
    assert_eq!(value(AttributeType::ICE_CONTROLLED), Some(bytes("932ff9b151263b36")));
    assert_eq!(value(AttributeType::USERNAME), Some(b"evtj:h6vY".to_vec()));
    assert_eq!(message.integrity(&Key::short_term(PASSWORD)), Proof::Good);
    assert_eq!(message.integrity(&Key::short_term(b"VOkJxbRl1RmTxUk/WvJxBT")), Proof::Wrong);
}

#[test]
fn s2_1_a_changed_byte_is_noticed_by_fingerprint_or_proof() {
    // What follows the proof is not proven, and is no part of the message but FINGERPRINT.
    for at in 0..request().len() - 8 {
        let mut wire = request();
        wire[at] ^= 1;
        let proof =
            Message::read(&wire).map(|message| message.integrity(&Key::short_term(PASSWORD)));
        assert!(proof != Ok(Proof::Good), "byte {at}");
    }
    let mut wire = request();
    wire[107] ^= 1;
    assert_eq!(Message::read(&wire).err(), Some(Malformed::NotStun), "not by its fingerprint");
}

fn mapped(wire: &str, expected: &str) {
    let wire = bytes(wire);
    let message = Message::read(&wire).expect("a message");
    assert_eq!(message.kind(), Type { method: Method::BINDING, class: Class::Success });
    let software = message.attribute(AttributeType::SOFTWARE).expect("it is there");
    assert_eq!(software.value, b"test vector");
    let mapped = message.attribute(AttributeType::XOR_MAPPED_ADDRESS).expect("it is there");
    assert_eq!(mapped.xor_address(message.transaction()), Some(address(expected)));
    assert_eq!(message.integrity(&Key::short_term(PASSWORD)), Proof::Good);
}

#[test]
fn s2_2_sample_ipv4_response() {
    let wire = format!(
        "0101003c 2112a442 {TRANSACTION} 8022000b 74657374 20766563 746f7220
         00200008 0001a147 e112a643 00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7
         80280004 c07d4c96"
    );
    mapped(&wire, "192.0.2.1:32853");
}

#[test]
fn s2_3_sample_ipv6_response() {
    let wire = format!(
        "01010048 2112a442 {TRANSACTION} 8022000b 74657374 20766563 746f7220
         00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9
         00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41 80280004 c8fb0b4c"
    );
    mapped(&wire, "[2001:db8:1234:5678:11:2233:4455:6677]:32853");
}

#[test]
fn s2_4_sample_request_with_long_term_authentication() {
    let user = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";
    let wire = bytes(
        "00010060 2112a442 78ad3433 c6ad72c0 29da412e
         00060012 e3839ee3 8388e383 aae38383 e382afe3 82b90000
         0015001c 662f2f34 39396b39 35346436 4f4c3334 6f4c3946 53547679 3634734 1
         0014000b 6578616d 706c652e 6f726700 00080014 f6702465 6dd64a3e 02b8e071 2e85c9a2
         8ca89666",
    );
    let message = Message::read(&wire).expect("a message");
    let username = message.attribute(AttributeType::USERNAME).expect("it is there");
    assert_eq!(username.value, user.as_bytes());
    let realm = message.attribute(AttributeType::REALM).expect("it is there");
    assert_eq!(realm.value, b"example.org");
    let key = Key::long_term_md5(user.as_bytes(), b"example.org", b"TheMatrIX");
    assert_eq!(message.integrity(&key), Proof::Good);
    let other = Key::long_term_md5(user.as_bytes(), b"example.org", b"TheMatrix");
    assert_eq!(message.integrity(&other), Proof::Wrong);
}
