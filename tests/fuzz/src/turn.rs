//! The bytes of one datagram: STUN and TURN (RFC 8489, RFC 8656), and the Microsoft dialect.

use entente::stun::ms::{self, Frame};
use entente::stun::{
    AttributeType, Builder, ChannelData, Key, Message, Protocol, SecurityFeatures, userhash,
};

/// A datagram is refused, or is a message that can be asked everything and written again.
pub fn turn(input: &[u8]) {
    let _ = input.first().copied().map(Protocol::of);
    if let Some(data) = ChannelData::read(input) {
        super::assert_inside(input, data.payload);
        let header = ChannelData::header(data.channel, data.payload.len() as u16);
        assert_eq!([&header[..], data.payload].concat(), input[..4 + data.payload.len()]);
        assert!(ChannelData::length_in_stream(input).is_some_and(|bytes| bytes % 4 == 0));
    }
    let Ok(message) = Message::read(input) else { return };
    assert_eq!(message.bytes().len(), input.len(), "a datagram is one message");
    assert_eq!(Message::length(input), Some(input.len()), "as a stream would cut it");
    let key = Key::long_term_md5(b"user", b"realm", b"password");
    let _ = message.integrity(&key);
    let special = [
        AttributeType::MESSAGE_INTEGRITY,
        AttributeType::MESSAGE_INTEGRITY_SHA256,
        AttributeType::FINGERPRINT,
    ];
    let mut out = Vec::new();
    let mut builder = Builder::new(&mut out, message.kind(), message.transaction());
    for attribute in message.attributes() {
        super::assert_inside(input, attribute.value);
        let _ = (attribute.number(), attribute.error());
        let _ = SecurityFeatures::of_nonce(attribute.value);
        for address in [attribute.address(), attribute.xor_address(message.transaction())] {
            address.into_iter().for_each(carried);
        }
        if !special.contains(&attribute.kind) {
            builder.attribute(attribute.kind, attribute.value);
        }
    }
    builder.integrity_sha1(&key).integrity_sha256(&key).fingerprint();
    let again = Message::read(&out).expect("what is written is a message");
    assert_eq!((again.kind(), again.transaction()), (message.kind(), message.transaction()));
    assert_eq!(again.integrity(&key), entente::stun::Proof::Good);
    let kept = message.attributes().filter(|attribute| !special.contains(&attribute.kind));
    let written = again.attributes().filter(|attribute| !special.contains(&attribute.kind));
    assert!(kept.map(|a| (a.kind, a.value)).eq(written.map(|a| (a.kind, a.value))));
    let known = [AttributeType::LIFETIME, AttributeType::XOR_PEER_ADDRESS];
    assert!(message.unknown(&known).all(|kind| kind.must_be_understood()));
    let _ = userhash(input, b"realm");
}

fn carried(address: std::net::SocketAddr) {
    let kind = entente::stun::Type::of(1);
    let id = entente::stun::TransactionId([7; 12]);
    let mut out = Vec::new();
    Builder::new(&mut out, kind, id)
        .xor_address(AttributeType::XOR_MAPPED_ADDRESS, address)
        .address(AttributeType::ALTERNATE_SERVER, address);
    let message = Message::read(&out).expect("ours");
    let one = message.attribute(AttributeType::XOR_MAPPED_ADDRESS);
    assert_eq!(one.and_then(|a| a.xor_address(id)), Some(address));
    let other = message.attribute(AttributeType::ALTERNATE_SERVER);
    assert_eq!(other.and_then(|a| a.address()), Some(address));
}

/// The same in the Microsoft dialect, and its frames and hello.
pub fn ms_turn(input: &[u8]) {
    let _ = ms::is_client_hello(input);
    if let Ok(Some(frame)) = Frame::read(input) {
        super::assert_inside(input, frame.content);
        assert!(frame.content.len() + ms::FRAME_HEADER_BYTES <= input.len());
    }
    let likely = ms::Message::is_likely(input);
    let Ok(message) = ms::Message::read(input) else { return };
    assert!(likely, "what is one looks like one");
    assert_eq!(message.bytes().len(), input.len());
    let key = ms::Key::long_term(b"user", b"realm", b"password");
    let _ = message.integrity(&key);
    let mut out = Vec::new();
    let mut builder = ms::Builder::new(&mut out, message.kind(), message.transaction());
    let special = [ms::AttributeType::MAGIC_COOKIE, ms::AttributeType::MESSAGE_INTEGRITY];
    for attribute in message.attributes() {
        super::assert_inside(input, attribute.value);
        let _ = (attribute.number(), attribute.address());
        if !special.contains(&attribute.kind) {
            builder.attribute(attribute.kind, attribute.value);
        }
    }
    builder.integrity(&key);
    let again = ms::Message::read(&out).expect("what is written is a message");
    assert_eq!((again.kind(), again.transaction()), (message.kind(), message.transaction()));
    assert_eq!(again.integrity(&key), entente::stun::Proof::Good);
    let known = [ms::AttributeType::LIFETIME];
    assert!(message.unknown(&known).all(|kind| kind.must_be_understood()));
}
