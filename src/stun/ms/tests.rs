use super::super::Proof;
use super::super::tests::bytes;
use super::*;

const REALM: &[u8] = b"realm.example";
const NONCE: &[u8] = b"0123456789abcdef";

fn username() -> Vec<u8> {
    bytes("0100002000112233445566778899aabbccddeeff00112233445566778899aabb")
}

fn key() -> Key {
    let password = bytes("0102030405060708090a0b0c0d0e0f1011121314");
    Key::long_term(&username(), REALM, &password)
}

fn transaction() -> TransactionId {
    TransactionId(std::array::from_fn(|place| place as u8))
}

/// wire-protocols E.6b: computed from the rules, not seen from a real peer.
fn allocate() -> Vec<u8> {
    let mut wire = bytes(
        "00030071 000102030405060708090a0b0c0d0e0f 000f0004 72c64bc6 80080004 00000001 00060020",
    );
    wire.extend(username());
    wire.extend(bytes("00140010"));
    wire.extend(NONCE);
    wire.extend(bytes("0015000d"));
    wire.extend(REALM);
    wire.extend(bytes("00080014 8f7979cff84e87faf4d77db92df2f47772dc1120"));
    wire
}

#[test]
fn the_vector_of_an_allocate_is_read_and_proven() {
    let wire = allocate();
    assert_eq!(wire.len(), 133);
    assert!(Message::is_likely(&wire));
    let message = Message::read(&wire).unwrap();
    assert_eq!(message.kind(), MessageType::ALLOCATE);
    assert_eq!(message.transaction(), transaction());
    assert_eq!(message.attribute(AttributeType::NONCE).unwrap().value, NONCE);
    assert_eq!(message.attribute(AttributeType::REALM).unwrap().value, REALM);
    assert_eq!(message.attribute(AttributeType::MS_VERSION).unwrap().number(), Some(1));
    assert_eq!(message.integrity(&key()), Proof::Good);
    assert_eq!(message.integrity(&Key::long_term(b"", REALM, b"")), Proof::Wrong);
}

#[test]
fn the_vector_is_written_byte_by_byte() {
    let mut out = Vec::new();
    let mut builder = Builder::new(&mut out, MessageType::ALLOCATE, transaction());
    builder.number(AttributeType::MS_VERSION, 1);
    builder.attribute(AttributeType::USERNAME, &username());
    builder.attribute(AttributeType::NONCE, NONCE).attribute(AttributeType::REALM, REALM);
    builder.integrity(&key());
    assert_eq!(out, allocate());
}

#[test]
fn a_message_without_the_cookie_first_is_none() {
    use super::super::Malformed;
    let good = allocate();
    let with = |at: usize, byte: u8| {
        let mut wire = good.clone();
        wire[at] = byte;
        Message::read(&wire).err()
    };
    assert_eq!(with(27, 0), Some(Malformed::NoMsCookie), "another value");
    assert_eq!(with(21, 0x10), Some(Malformed::NoMsCookie), "another attribute");
    assert_eq!(with(31, 200), Some(Malformed::AttributeLength));
    assert_eq!(with(3, 0), Some(Malformed::Length));
    assert_eq!(Message::read(&good[..10]).err(), Some(Malformed::TooShort));
    assert!(!Message::is_likely(&good[..20]));
}

#[test]
fn what_follows_the_integrity_does_not_count() {
    let mut out = Vec::new();
    let mut builder = Builder::new(&mut out, MessageType::ALLOCATE, transaction());
    builder.integrity(&key()).number(AttributeType::LIFETIME, 0);
    let message = Message::read(&out).unwrap();
    assert_eq!(message.integrity(&key()), Proof::Good);
    assert_eq!(message.attribute(AttributeType::LIFETIME), None);
}

#[test]
fn an_address_is_hidden_by_the_transaction() {
    for address in ["192.0.2.1:5000", "[2001:db8::1]:5000"] {
        let address = address.parse().unwrap();
        let mut out = Vec::new();
        let mut builder = Builder::new(&mut out, MessageType::ALLOCATE_RESPONSE, transaction());
        builder.xor_mapped_address(address).address(AttributeType::MAPPED_ADDRESS, address);
        let message = Message::read(&out).unwrap();
        let clear = message.attribute(AttributeType::MAPPED_ADDRESS).unwrap();
        let hidden = message.attribute(AttributeType::XOR_MAPPED_ADDRESS).unwrap();
        assert_eq!(clear.address(), Some(address));
        let xored: Vec<u8> =
            clear.value[4..].iter().zip(transaction().0).map(|(a, b)| a ^ b).collect();
        assert_eq!(hidden.value[4..], xored);
    }
}

#[test]
fn frames_are_taken_whole_or_not_at_all() {
    let content = allocate();
    let mut stream = Frame::header(FrameKind::Control, content.len() as u16).to_vec();
    assert_eq!(stream, [2, 0, 0, 0x85]);
    stream.extend(&content);
    for cut in 0..stream.len() {
        assert_eq!(Frame::read(&stream[..cut]), Ok(None));
    }
    let whole = Frame { kind: FrameKind::Control, content: content.as_slice() };
    assert_eq!(Frame::read(&stream), Ok(Some(whole)));
    assert_eq!(Frame::read(&[3, 0, 0, 0]), Ok(Some(Frame { kind: FrameKind::Data, content: b"" })));
    assert_eq!(Frame::read(b"GET / HTTP/1.1"), Err(NotFramed));
}

#[test]
fn a_pseudo_hello_is_told_from_one_in_earnest() {
    let mut hello = bytes("16 03 01 00 2d 01 00 00 29 03 01");
    hello.extend([0x55; 32]);
    hello.extend(bytes("00 00 02 00 18 01 00"));
    assert_eq!(hello.len(), CLIENT_HELLO_BYTES);
    assert_eq!(is_client_hello(&hello), Some(true));
    for cut in 0..hello.len() {
        assert_eq!(is_client_hello(&hello[..cut]), None);
    }
    // A real one has another length, and so differs in its fifth byte.
    assert_eq!(is_client_hello(&bytes("16 03 01 02 00 01")), Some(false));
    let mut suite = hello.clone();
    suite[47] = 0x2F;
    assert_eq!(is_client_hello(&suite), Some(false));
    let answer = server_hello([1; 32], [2; 32]);
    assert_eq!(answer[..5], [0x16, 3, 1, 0, 0x4e]);
    assert_eq!(answer.len(), 5 + 0x4e);
}
