use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

/// Reads bytes written in hexadecimal, white space between.
pub(super) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.bytes().filter_map(|b| (b as char).to_digit(16)).map(|d| d as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn transaction() -> TransactionId {
    TransactionId(bytes("b7e7a701bc34d686fa87dfae").try_into().unwrap())
}

const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

/// RFC 5769 section 2.1; the padding of USERNAME is spaces there.
fn rfc5769_request() -> Vec<u8> {
    bytes(
        "00010058 2112a442 b7e7a701 bc34d686 fa87dfae 80220010 5354554e 20746573 7420636c 69656e74
         00240004 6e0001ff 80290008 932ff9b1 51263b36 00060009 6576746a 3a683676 59202020
         00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2 80280004 e57a3bcf",
    )
}

#[test]
fn rfc5769_2_1_the_request_is_read_and_proven() {
    let wire = rfc5769_request();
    let message = Message::read(&wire).unwrap();
    assert_eq!(message.kind(), Type { method: Method::BINDING, class: Class::Request });
    assert_eq!(message.transaction(), transaction());
    assert_eq!(message.attribute(AttributeType::USERNAME).unwrap().value, b"evtj:h6vY");
    assert_eq!(message.attribute(AttributeType::SOFTWARE).unwrap().value, b"STUN test client");
    assert_eq!(message.integrity(&Key::short_term(PASSWORD)), Proof::Good);
    assert_eq!(message.integrity(&Key::short_term(b"another")), Proof::Wrong);
}

/// RFC 5769 sections 2.2 and 2.3, built by our own builder and compared byte by byte.
#[test]
fn rfc5769_2_2_and_2_3_the_responses_are_written() {
    let software = b"test vector";
    for (address, xored, integrity, fingerprint) in [
        (
            "192.0.2.1:32853",
            "00200008 0001a147 e112a643",
            "2b91f599fd9e90c38c7489f92af9ba53f06be7d7",
            "c07d4c96",
        ),
        (
            "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
            "00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9",
            "a382954e4be67bf11784c97c8292c275bfe3ed41",
            "c8fb0b4c",
        ),
    ] {
        let address: SocketAddr = address.parse().unwrap();
        let kind = Type { method: Method::BINDING, class: Class::Success };
        let mut out = Vec::new();
        let mut builder = Builder::new(&mut out, kind, transaction());
        builder.attribute(AttributeType::SOFTWARE, software);
        builder.xor_address(AttributeType::XOR_MAPPED_ADDRESS, address);
        // The vectors pad with a space where our builder pads with zero, so the proof is compared
        // over the vector's own bytes.
        builder.fingerprint();
        let message = Message::read(&out).unwrap();
        let mapped = message.attribute(AttributeType::XOR_MAPPED_ADDRESS).unwrap();
        assert_eq!(mapped.xor_address(transaction()), Some(address));
        assert_eq!(out[mapped.offset..][..4 + mapped.value.len()], bytes(xored));

        let mut vector = bytes("0101003c 2112a442 b7e7a701bc34d686fa87dfae");
        vector[3] = if address.is_ipv4() { 0x3c } else { 0x48 };
        vector.extend(bytes("8022000b 7465737420766563746f7220"));
        vector.extend(bytes(xored));
        vector.extend(bytes("00080014"));
        vector.extend(bytes(integrity));
        vector.extend(bytes("80280004"));
        vector.extend(bytes(fingerprint));
        let message = Message::read(&vector).unwrap();
        assert_eq!(message.integrity(&Key::short_term(PASSWORD)), Proof::Good);
    }
}

#[test]
fn rfc5769_2_4_the_long_term_key_is_md5_of_user_realm_and_password() {
    let user = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";
    let mut wire = bytes("00010060 2112a442 78ad3433c6ad72c029da412e 00060012");
    wire.extend(user.as_bytes());
    wire.extend(bytes("0000 0015001c"));
    wire.extend(b"f//499k954d6OL34oL9FSTvy64sA");
    wire.extend(bytes("0014000b"));
    wire.extend(b"example.org");
    wire.extend(bytes("00 00080014 f67024656dd64a3e02b8e0712e85c9a28ca89666"));
    let message = Message::read(&wire).unwrap();
    let key = Key::long_term_md5(user.as_bytes(), b"example.org", b"TheMatrIX");
    assert_eq!(message.integrity(&key), Proof::Good);
}

#[test]
fn what_is_built_is_proven_under_its_key_and_no_other() {
    let kind = Type { method: Method::ALLOCATE, class: Class::Request };
    let key = Key::long_term_sha256(b"alice", b"example.org", b"secret");
    let other = Key::long_term_md5(b"alice", b"example.org", b"secret");
    let built = |build: &dyn Fn(&mut Builder<'_>)| {
        let mut out = b"before".to_vec();
        let mut builder = Builder::new(&mut out, kind, transaction());
        builder.number(AttributeType::LIFETIME, 600);
        build(&mut builder);
        out.split_off(6)
    };
    for wire in [
        built(&|b| {
            b.integrity_sha1(&key);
        }),
        built(&|b| {
            b.integrity_sha256(&key).fingerprint();
        }),
        built(&|b| {
            b.integrity_sha1(&other).integrity_sha256(&key).fingerprint();
        }),
    ] {
        let message = Message::read(&wire).unwrap();
        assert_eq!(message.integrity(&key), Proof::Good, "the stronger one counts");
        let last = message.attributes().last().unwrap().kind;
        assert!(last != AttributeType::LIFETIME);
    }
    let bare = built(&|_| {});
    assert_eq!(Message::read(&bare).unwrap().integrity(&key), Proof::Absent);
}

#[test]
fn s14_6_a_truncated_sha256_counts_from_sixteen_bytes_on() {
    let key = Key::short_term(b"k");
    let kind = Type { method: Method::BINDING, class: Class::Request };
    let mut whole = Vec::new();
    let mut before = Vec::new();
    Builder::new(&mut before, kind, transaction());
    let mut lengths = Vec::new();
    for length in [4, 12, 16, 20, 32] {
        // The length in the header counts the truncated attribute, so each is made afresh.
        whole.clear();
        whole.extend_from_slice(&before);
        whole[3] = 4 + length;
        let mac = {
            use hmac::{Hmac, KeyInit as _, Mac as _};
            let mac = Hmac::<sha2::Sha256>::new_from_slice(b"k").unwrap();
            mac.chain_update(&whole).finalize().into_bytes()
        };
        whole.extend_from_slice(&[0x00, 0x1C, 0, length]);
        whole.extend_from_slice(&mac[..usize::from(length)]);
        lengths.push((length, Message::read(&whole).unwrap().integrity(&key)));
    }
    let good: Vec<u8> =
        lengths.iter().filter(|(_, proof)| *proof == Proof::Good).map(|(l, _)| *l).collect();
    assert_eq!(good, [16, 20, 32]);
}

#[test]
fn s14_5_what_follows_the_integrity_does_not_count() {
    let kind = Type { method: Method::BINDING, class: Class::Request };
    let key = Key::short_term(b"k");
    let mut wire = Vec::new();
    let mut builder = Builder::new(&mut wire, kind, transaction());
    builder.attribute(AttributeType::USERNAME, b"a").integrity_sha1(&key);
    builder.attribute(AttributeType::USERNAME, b"smuggled");
    builder.attribute(AttributeType::LIFETIME, b"smug");
    let message = Message::read(&wire).unwrap();
    assert_eq!(message.integrity(&key), Proof::Good);
    assert!(message.attribute(AttributeType::LIFETIME).is_none());
    assert_eq!(message.attribute(AttributeType::USERNAME).unwrap().value, b"a");
    assert_eq!(message.attributes().count(), 2);
}

#[test]
fn s6_3_what_is_no_message_is_told_apart() {
    let good = rfc5769_request();
    let with = |at: usize, byte: u8| {
        let mut wire = good.clone();
        wire[at] = byte;
        Message::read(&wire).err()
    };
    assert_eq!(Message::read(&good[..19]).err(), Some(Malformed::TooShort));
    assert_eq!(with(0, 0x40), Some(Malformed::NotStun));
    assert_eq!(with(4, 0x22), Some(Malformed::NoCookie));
    assert_eq!(with(3, 0x59), Some(Malformed::Length));
    assert_eq!(with(3, 0x5c), Some(Malformed::Length));
    assert_eq!(Message::read(&good[..good.len() - 4]).err(), Some(Malformed::Length));
    assert_eq!(with(23, 0x5a), Some(Malformed::AttributeLength));
    assert_eq!(with(107, 0), Some(Malformed::NotStun), "a wrong fingerprint");
    let mut many = Vec::new();
    let kind = Type { method: Method::BINDING, class: Class::Request };
    let mut builder = Builder::new(&mut many, kind, transaction());
    for _ in 0..=crate::limits::STUN_ATTRIBUTES_MAX {
        builder.attribute(AttributeType::PRIORITY, b"");
    }
    assert_eq!(Message::read(&many).err(), Some(Malformed::TooManyAttributes));
}

#[test]
fn s14_unknown_attributes_are_those_that_must_be_understood() {
    let kind = Type { method: Method::ALLOCATE, class: Class::Request };
    let mut wire = Vec::new();
    let mut builder = Builder::new(&mut wire, kind, transaction());
    builder.attribute(AttributeType::LIFETIME, &[0; 4]);
    builder.attribute(AttributeType(0x7F00), b"x").attribute(AttributeType(0xFF00), b"y");
    let message = Message::read(&wire).unwrap();
    let unknown: Vec<_> = message.unknown(&[AttributeType::LIFETIME]).collect();
    assert_eq!(unknown, [AttributeType(0x7F00)]);
}

#[test]
fn every_type_on_the_wire_is_method_and_class_and_back() {
    for wire in 0..0x4000 {
        assert_eq!(Type::of(wire).wire(), wire);
    }
    let of = |method, class| Type { method, class }.wire();
    assert_eq!(of(Method::ALLOCATE, Class::Error), 0x0113);
    assert_eq!(of(Method::SEND, Class::Indication), 0x0016);
    assert_eq!(of(Method::CHANNEL_BIND, Class::Success), 0x0109);
    assert_eq!(of(Method::CONNECTION_ATTEMPT, Class::Indication), 0x001C);
}

#[test]
fn an_error_carries_its_number_and_reason() {
    let kind = Type { method: Method::ALLOCATE, class: Class::Error };
    let mut wire = Vec::new();
    Builder::new(&mut wire, kind, transaction()).error(ErrorCode(486));
    let message = Message::read(&wire).unwrap();
    let attribute = message.attribute(AttributeType::ERROR_CODE).unwrap();
    assert_eq!(attribute.error(), Some(ErrorCode(486)));
    assert_eq!(&attribute.value[4..], b"Allocation Quota Reached");
}

#[test]
fn the_nonce_of_rfc8656_20_says_that_algorithms_are_offered() {
    let nonce = b"obMatJos2gAAAadl7W7PeDU4hKE72jda";
    let features = SecurityFeatures::of_nonce(nonce).unwrap();
    assert!(features.password_algorithms() && !features.username_anonymity());
    assert_eq!(features.cookie(), nonce[..13]);
    let anonymous = SecurityFeatures::NONE.with_username_anonymity();
    assert_eq!(&anonymous.cookie()[9..], b"QAAA", "the second bit from the left");
    assert_eq!(SecurityFeatures::of_nonce(b"f//499k954d6OL34oL9FSTvy64sA"), None);
    let both = SecurityFeatures::NONE.with_password_algorithms().with_username_anonymity();
    assert_eq!(SecurityFeatures::of_nonce(&both.cookie()), Some(both));
}

#[test]
fn channel_data_is_told_by_its_number_and_cut_to_its_length() {
    let channel = ChannelNumber::new(0x4001).unwrap();
    let mut wire = ChannelData::header(channel, 3).to_vec();
    wire.extend(b"abc\0");
    assert_eq!(ChannelData::read(&wire), Some(ChannelData { channel, payload: b"abc" }));
    assert_eq!(ChannelData::length_in_stream(&wire), Some(8));
    assert_eq!(ChannelData::read(&wire[..6]), None, "a length beyond the datagram");
    assert!(ChannelNumber::new(0x7fff).is_some(), "clients of RFC 5766");
    assert_eq!(ChannelNumber::new(0x8000), None, "RTP begins so");
    assert_eq!(ChannelNumber::new(0x3FFF), None);
}

#[test]
fn rfc7983_the_first_byte_tells_protocols_apart() {
    let of = |range: std::ops::RangeInclusive<u8>| {
        let all: Vec<_> = range.map(Protocol::of).collect();
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
        all[0]
    };
    assert_eq!(of(0..=3), Protocol::Stun);
    assert_eq!(of(20..=63), Protocol::Dtls);
    assert_eq!(of(64..=79), Protocol::Channel);
    assert_eq!(of(128..=191), Protocol::Rtp);
    assert_eq!(of(192..=255), Protocol::Other);
}

proptest! {
    #[test]
    fn any_datagram_is_read_or_refused_and_never_more(datagram: Vec<u8>, cookie: bool) {
        let mut datagram = datagram;
        if cookie && datagram.len() >= 20 {
            datagram[0] &= 0x3F;
            datagram[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
            let body = datagram.len() - 20;
            datagram[2..4].copy_from_slice(&(body as u16).to_be_bytes());
        }
        if let Ok(message) = Message::read(&datagram) {
            let key = Key::short_term(b"k");
            let _ = message.integrity(&key);
            for attribute in message.attributes() {
                let _ = (attribute.number(), attribute.address(), attribute.error());
                let _ = attribute.xor_address(message.transaction());
            }
        }
        let _ = ChannelData::read(&datagram);
        let _ = ms::Message::read(&datagram);
        let _ = ms::Frame::read(&datagram);
    }

    #[test]
    fn what_is_built_is_read_back(
        attributes in prop::collection::vec(
            (0_u16..0x8000, prop::collection::vec(0_u8.., 0..40)), 0..20,
        ),
        id: [u8; 12],
    ) {
        let kind = Type { method: Method::BINDING, class: Class::Indication };
        let mut out = Vec::new();
        let mut builder = Builder::new(&mut out, kind, TransactionId(id));
        let special = [0x0008, 0x001C];
        let attributes: Vec<_> =
            attributes.into_iter().filter(|(kind, _)| !special.contains(kind)).collect();
        for (kind, value) in &attributes {
            builder.attribute(AttributeType(*kind), value);
        }
        let message = Message::read(&out).unwrap();
        let read: Vec<_> = message.attributes().map(|a| (a.kind.0, a.value.to_vec())).collect();
        prop_assert_eq!(read, attributes);
    }
}
