use std::net::SocketAddr;

use proptest::prelude::*;

use super::crc32c::crc32c;
use super::*;
use crate::limits;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn header(input: &[u8]) -> Header<'_> {
    match read(input) {
        Ok(Parsed::Header(header)) => header,
        other => panic!("no whole header: {other:?}"),
    }
}

/// A version 2 header with a valid length and no checksum.
fn v2(version_command: u8, family_transport: u8, block: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([version_command, family_transport]);
    bytes.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
    bytes.extend(block);
    bytes
}

const INET: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0xc0, 0x00, 0x13, 0xc5];

#[test]
fn crc32c_gives_the_check_value_of_the_catalogue() {
    assert_eq!(crc32c([b"1234", b"", b"56789"]), 0xe306_9283);
    // RFC 3720 B.4: 32 bytes of zeros.
    assert_eq!(crc32c([&[0; 32], b"", b""]), 0x8a91_36aa);
}

#[test]
fn s2_1_reads_tcp4_and_tcp6_lines() {
    let line = b"PROXY TCP4 192.0.2.1 198.51.100.7 49152 5061\r\n\x16\x03\x01";
    let read = header(line);
    assert_eq!(read.consumed, line.len() - 3);
    assert_eq!(read.command, Command::Proxy);
    assert_eq!(read.transport, Transport::Stream);
    assert_eq!(read.source, Some(address("192.0.2.1:49152")));
    assert_eq!(read.destination, Some(address("198.51.100.7:5061")));
    assert_eq!(read.tlvs().count(), 0);
    let read = header(b"PROXY TCP6 2001:db8::1 2001:DB8::2 0 65535\r\n");
    assert_eq!(read.source, Some(address("[2001:db8::1]:0")));
    assert_eq!(read.destination, Some(address("[2001:db8::2]:65535")));
}

#[test]
fn s2_1_ignores_what_follows_unknown() {
    for line in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN ff:: x  y 1\r\n"] {
        let read = header(line);
        assert_eq!((read.consumed, read.source), (line.len(), None));
    }
}

#[test]
fn s2_1_accepts_the_longest_line_and_refuses_one_byte_more() {
    let wide = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY UNKNOWN {wide} {wide} 65535 65535\r\n");
    assert_eq!(longest.len(), limits::PROXY_V1_BYTES_MAX);
    assert_eq!(header(longest.as_bytes()).consumed, longest.len());
    let longer = longest.replace("\r\n", "0\r\n");
    assert_eq!(read(longer.as_bytes()), Err(Malformed::LineUnterminated));
}

#[test]
fn s2_1_refuses_lines_that_are_not_canonical() {
    let cases: [(&[u8], Malformed); 14] = [
        (b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", Malformed::LineProtocol),
        (b"PROXY \r\n", Malformed::LineProtocol),
        (b"PROXY TCP4\r\n", Malformed::LineFields),
        (b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", Malformed::LineFields),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", Malformed::LineFields),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", Malformed::LineFields),
        (b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", Malformed::LineAddress),
        (b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", Malformed::LineAddress),
        (b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n", Malformed::LineAddress),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", Malformed::LinePort),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", Malformed::LinePort),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", Malformed::LinePort),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rX", Malformed::LineUnterminated),
        (b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Malformed::NotAProxyHeader),
    ];
    for (line, expected) in cases {
        assert_eq!(read(line), Err(expected), "{}", line.escape_ascii());
    }
}

#[test]
fn s2_2_reads_both_families_stream_and_datagram() {
    let bytes = v2(0x21, 0x11, &INET);
    let read = header(&bytes);
    assert_eq!(read.consumed, 28);
    assert_eq!(read.transport, Transport::Stream);
    assert_eq!(read.source, Some(address("192.0.2.1:49152")));
    assert_eq!(read.destination, Some(address("198.51.100.7:5061")));
    assert_eq!(header(&v2(0x21, 0x12, &INET)).transport, Transport::Datagram);
    let mut block = [0; 36];
    block[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    block[33] = 9;
    let bytes = v2(0x21, 0x21, &block);
    assert_eq!(header(&bytes).source, Some(address("[2001:db8::]:9")));
    assert_eq!(header(&bytes).destination, Some(address("[::]:0")));
}

#[test]
fn s2_2_uses_the_real_endpoints_for_local_unspecified_and_unix() {
    // A LOCAL block is discarded whatever is in it, the family included.
    for bytes in [v2(0x20, 0x00, b""), v2(0x20, 0xff, b"junk"), v2(0x20, 0x11, &INET)] {
        let read = header(&bytes);
        assert_eq!((read.command, read.source), (Command::Local, None));
        assert_eq!(read.consumed, bytes.len());
    }
    for bytes in [v2(0x21, 0x00, b""), v2(0x21, 0x31, &[7; 216])] {
        let read = header(&bytes);
        assert_eq!((read.command, read.source, read.destination), (Command::Proxy, None, None));
    }
}

#[test]
fn s2_2_refuses_what_nobody_may_send() {
    let mut too_long = v2(0x21, 0x11, &INET);
    too_long[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
    let cases = [
        (v2(0x11, 0x11, &INET), Malformed::Version),
        (v2(0x22, 0x11, &INET), Malformed::Command),
        (v2(0x21, 0x41, &INET), Malformed::Family),
        (v2(0x21, 0x13, &INET), Malformed::Family),
        (v2(0x21, 0x11, &INET[..11]), Malformed::AddressTruncated),
        (v2(0x21, 0x21, &INET), Malformed::AddressTruncated),
        (v2(0x21, 0x31, &[0; 215]), Malformed::AddressTruncated),
        (v2(0x21, 0x00, &[4]), Malformed::TlvTruncated),
        (v2(0x21, 0x00, &[4, 0, 2, 0]), Malformed::TlvTruncated),
        (too_long, Malformed::TooLong),
    ];
    for (bytes, expected) in cases {
        assert_eq!(read(&bytes), Err(expected), "{}", bytes.escape_ascii());
    }
}

#[test]
fn s2_2_length_limit_holds_to_the_byte() {
    let padding = |total: usize| {
        let value = total - 16 - 3;
        let mut block = vec![0x04];
        block.extend(u16::try_from(value).unwrap().to_be_bytes());
        block.resize(3 + value, 0);
        v2(0x21, 0x00, &block)
    };
    let longest = padding(limits::PROXY_V2_BYTES_MAX);
    assert_eq!(header(&longest).consumed, limits::PROXY_V2_BYTES_MAX);
    assert_eq!(read(&padding(limits::PROXY_V2_BYTES_MAX + 1)), Err(Malformed::TooLong));
}

#[test]
fn s2_2_3_checks_the_checksum() {
    let mut bytes = Vec::new();
    let tlvs =
        [Tlv { kind: 0x02, value: b"sip.contoso.example" }, Tlv { kind: 0x05, value: b"A1" }];
    write_v2(&mut bytes, address("192.0.2.1:1"), address("192.0.2.2:2"), &tlvs);
    assert_eq!(header(&bytes).authority(), Some(&b"sip.contoso.example"[..]));
    // Only the checksum's own type byte makes it something else, which is not checked.
    let type_at = bytes.len() - 7;
    for at in (16..bytes.len()).filter(|at| *at != type_at) {
        let mut broken = bytes.clone();
        broken[at] ^= 0x10;
        assert!(read(&broken).is_err(), "byte {at} may be changed unseen");
    }
    // Not last, and followed by another TLV: the place of the checksum is free.
    let mut block = INET.to_vec();
    block.extend([0x03, 0, 4, 0, 0, 0, 0, 0x04, 0, 1, 0]);
    let mut bytes = v2(0x21, 0x11, &block);
    let sum = crc32c([&bytes, b"", b""]).to_be_bytes();
    bytes[31..35].copy_from_slice(&sum);
    assert_eq!(header(&bytes).consumed, bytes.len());
    let cases: [&[u8]; 2] = [&[0x03, 0, 3, 0, 0, 0], &[0x03, 0, 5, 0, 0, 0, 0, 0]];
    for tlv in cases {
        assert_eq!(read(&v2(0x21, 0x00, tlv)), Err(Malformed::Checksum));
    }
}

#[test]
fn s2_2_3_refuses_a_second_checksum() {
    // Both values are right for a header in which only the other one is zeroed out, so that
    // nothing but the rule of one can refuse it.
    let mut bytes = v2(0x21, 0x00, &[0x03, 0, 4, 0, 0, 0, 0, 0x03, 0, 4, 0, 0, 0, 0]);
    let sum = crc32c([&bytes, b"", b""]).to_be_bytes();
    bytes[19..23].copy_from_slice(&sum);
    assert_eq!(read(&bytes), Err(Malformed::Checksum));
}

#[test]
fn s2_2_5_gives_authority_alpn_and_unique_id_and_skips_unknown_types() {
    let mut bytes = Vec::new();
    let id = [b'x'; 128];
    let tlvs = [
        Tlv { kind: 0xea, value: b"\x01vpce-1" },
        Tlv { kind: 0x01, value: b"sip/2" },
        Tlv { kind: 0x05, value: &id },
        Tlv { kind: 0x04, value: b"" },
    ];
    write_v2(&mut bytes, address("[2001:db8::1]:5"), address("192.0.2.2:2"), &tlvs);
    let read_back = header(&bytes);
    assert_eq!(read_back.source, Some(address("[2001:db8::1]:5")));
    assert_eq!(read_back.destination, Some(address("[::ffff:192.0.2.2]:2")));
    assert_eq!(read_back.unique_id(), Some(&id[..]));
    assert_eq!(read_back.alpn(), Some(&b"sip/2"[..]));
    assert_eq!(read_back.authority(), None);
    assert_eq!(read_back.tlvs().count(), 5);
    let mut block = vec![0x05, 0, 129];
    block.resize(3 + 129, 0);
    assert_eq!(read(&v2(0x21, 0x00, &block)), Err(Malformed::UniqueIdTooLong));
}

#[test]
fn a_local_header_is_written_as_it_is_read() {
    let mut bytes = Vec::new();
    write_v2_local(&mut bytes);
    assert_eq!(header(&bytes).command, Command::Local);
    assert_eq!(header(&bytes).consumed, 16);
}

#[test]
fn bytes_that_begin_no_header_are_refused_at_the_first_wrong_byte() {
    assert_eq!(read(b""), Ok(Parsed::NeedMore(1)));
    assert_eq!(read(b"\r\n\r\nOPTIONS"), Err(Malformed::NotAProxyHeader));
    assert_eq!(read(b"\x16\x03\x01"), Err(Malformed::NotAProxyHeader));
    assert_eq!(read(b"PROXZ"), Err(Malformed::NotAProxyHeader));
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    any::<(std::net::IpAddr, u16)>().prop_map(SocketAddr::from)
}

fn any_header() -> impl Strategy<Value = Vec<u8>> {
    let tlv = (4..=255u8, prop::collection::vec(any::<u8>(), 0..128));
    let binary = (any_address(), any_address(), prop::collection::vec(tlv, 0..6)).prop_map(
        |(source, destination, tlvs)| {
            let tlvs: Vec<_> =
                tlvs.iter().map(|(kind, value)| Tlv { kind: *kind, value }).collect();
            let mut bytes = Vec::new();
            write_v2(&mut bytes, source, destination, &tlvs);
            bytes
        },
    );
    let text = any::<([u8; 4], [u8; 4], u16, u16)>().prop_map(|(source, destination, a, b)| {
        let (source, destination) =
            (std::net::Ipv4Addr::from(source), std::net::Ipv4Addr::from(destination));
        format!("PROXY TCP4 {source} {destination} {a} {b}\r\n").into_bytes()
    });
    prop_oneof![binary, text]
}

proptest! {
    #[test]
    fn what_is_written_is_read(source in any_address(), destination in any_address()) {
        let mut bytes = Vec::new();
        write_v2(&mut bytes, source, destination, &[]);
        let read = header(&bytes);
        let canonical = |a: Option<SocketAddr>| a.map(|a| (a.ip().to_canonical(), a.port()));
        let plain = |a: SocketAddr| Some((a.ip().to_canonical(), a.port()));
        prop_assert_eq!(canonical(read.source), plain(source));
        prop_assert_eq!(canonical(read.destination), plain(destination));
    }

    #[test]
    fn every_prefix_asks_for_more_than_it_has_and_no_more_than_there_is(
        bytes in any_header(),
        tail in prop::collection::vec(any::<u8>(), 0..32),
    ) {
        for cut in 0..bytes.len() {
            match read(&bytes[..cut]) {
                Ok(Parsed::NeedMore(more)) => prop_assert!(cut < more && more <= bytes.len()),
                other => prop_assert!(false, "{cut} of {}: {other:?}", bytes.len()),
            }
        }
        let whole = header(&bytes);
        prop_assert_eq!(whole.consumed, bytes.len());
        let mut longer = bytes.clone();
        longer.extend(tail);
        prop_assert_eq!(header(&longer), whole);
    }

    #[test]
    fn any_bytes_after_the_signature_are_answered_within_the_limit(
        mut tail in prop::collection::vec(any::<u8>(), 0..300),
        kind in 0..4u8,
    ) {
        let prefix: &[u8] = match kind {
            0 => b"",
            1 => b"PROXY ",
            2 => b"PROXY TCP4 ",
            _ => b"\r\n\r\n\0\r\nQUIT\n\x21",
        };
        tail.splice(0..0, prefix.iter().copied());
        match read(&tail) {
            Ok(Parsed::NeedMore(more)) => {
                prop_assert!(more > tail.len() && more <= limits::PROXY_V2_BYTES_MAX);
            }
            Ok(Parsed::Header(header)) => prop_assert!(header.consumed <= tail.len()),
            Err(_) => {}
        }
    }
}
