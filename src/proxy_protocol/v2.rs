//! Version 2: binary, with extensions.
//!
//! ```text
//!  0           12        13             14       16                    end of addresses
//!  | signature | 2 | cmd | fam | transp | length | source, destination | TLV | TLV | ... |
//!                                                |<------------- length -------------->|
//! ```

use std::net::{IpAddr, SocketAddr};

use super::crc32c::crc32c;
use super::{Command, Header, Malformed, Parsed, Transport};
use crate::limits;

pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const FIXED_BYTES: usize = 16;

pub(super) const TYPE_ALPN: u8 = 0x01;
pub(super) const TYPE_AUTHORITY: u8 = 0x02;
const TYPE_CRC32C: u8 = 0x03;
pub(super) const TYPE_UNIQUE_ID: u8 = 0x05;
const UNIQUE_ID_BYTES_MAX: usize = 128;
const TLV_FIXED_BYTES: usize = 3;

/// Reads a header that begins with [`SIGNATURE`], as far as it is there.
pub(super) fn read(input: &[u8]) -> Result<Parsed<'_>, Malformed> {
    let Some(&[version_command, family_transport, high, low]) =
        input.get(SIGNATURE.len()..).and_then(|rest| rest.first_chunk::<4>())
    else {
        return Ok(Parsed::NeedMore(FIXED_BYTES));
    };
    if version_command >> 4 != 2 {
        return Err(Malformed::Version);
    }
    let command = match version_command & 0x0f {
        0 => Command::Local,
        1 => Command::Proxy,
        _ => return Err(Malformed::Command),
    };
    let consumed = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if consumed > limits::PROXY_V2_BYTES_MAX {
        return Err(Malformed::TooLong);
    }
    let Some(whole) = input.get(..consumed) else {
        return Ok(Parsed::NeedMore(consumed));
    };
    if command == Command::Local {
        // 2.2: the receiver discards the block, family included, and uses the real endpoints.
        return Ok(Parsed::Header(Header {
            consumed,
            command,
            transport: Transport::Unspecified,
            source: None,
            destination: None,
            tlvs: &[],
        }));
    }
    proxied(whole, family_transport).map(Parsed::Header)
}

/// Reads a header whose command is PROXY. `whole`: the header, all of it and nothing more.
fn proxied(whole: &[u8], family_transport: u8) -> Result<Header<'_>, Malformed> {
    let transport = match family_transport & 0x0f {
        0 => Transport::Unspecified,
        1 => Transport::Stream,
        2 => Transport::Datagram,
        _ => return Err(Malformed::Family),
    };
    let block = whole.get(FIXED_BYTES..).unwrap_or_default();
    let (endpoints, tlvs) = match family_transport >> 4 {
        0 => (None, block),
        1 => {
            let (addresses, tlvs) = split::<12>(block)?;
            (Some(inet::<4>(addresses)), tlvs)
        }
        2 => {
            let (addresses, tlvs) = split::<36>(block)?;
            (Some(inet::<16>(addresses)), tlvs)
        }
        3 => (None, split::<216>(block)?.1),
        _ => return Err(Malformed::Family),
    };
    check_tlvs(whole, tlvs)?;
    Ok(Header {
        consumed: whole.len(),
        command: Command::Proxy,
        transport,
        source: endpoints.map(|(source, _)| source),
        destination: endpoints.map(|(_, destination)| destination),
        tlvs,
    })
}

fn split<const N: usize>(block: &[u8]) -> Result<(&[u8; N], &[u8]), Malformed> {
    block.split_first_chunk::<N>().ok_or(Malformed::AddressTruncated)
}

/// Reads two addresses of `N` bytes and two ports; `block` has exactly their size.
fn inet<const N: usize>(block: &[u8]) -> (SocketAddr, SocketAddr)
where
    IpAddr: From<[u8; N]>,
{
    assert_eq!(block.len(), 2 * N + 4, "the caller split by family");
    let mut source = [0; N];
    let mut destination = [0; N];
    let (addresses, ports) = block.split_at(2 * N);
    source.copy_from_slice(&addresses[..N]);
    destination.copy_from_slice(&addresses[N..]);
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    (
        SocketAddr::new(IpAddr::from(source), port(0)),
        SocketAddr::new(IpAddr::from(destination), port(2)),
    )
}

/// Walks the extensions once: each within bounds, checksum right, unique id short enough.
fn check_tlvs(whole: &[u8], tlvs: &[u8]) -> Result<(), Malformed> {
    let mut checksum_seen = false;
    let mut walk = Tlvs::new(tlvs);
    while let Some(tlv) = walk.next() {
        match tlv.kind {
            TYPE_CRC32C => {
                let stated: [u8; 4] = tlv.value.try_into().map_err(|_| Malformed::Checksum)?;
                if checksum_seen {
                    return Err(Malformed::Checksum);
                }
                checksum_seen = true;
                let value_end = whole.len() - walk.rest.len();
                if u32::from_be_bytes(stated) != checksum(whole, value_end - 4) {
                    return Err(Malformed::Checksum);
                }
            }
            TYPE_UNIQUE_ID if tlv.value.len() > UNIQUE_ID_BYTES_MAX => {
                return Err(Malformed::UniqueIdTooLong);
            }
            _ => {}
        }
    }
    if walk.rest.is_empty() { Ok(()) } else { Err(Malformed::TlvTruncated) }
}

/// Returns the checksum of the header with the four bytes of the checksum at `at` taken as zero.
fn checksum(whole: &[u8], at: usize) -> u32 {
    crc32c([&whole[..at], &[0; 4], &whole[at + 4..]])
}

/// One extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// Its type; 0xE0 and above are private, experimental or reserved (2.2.8).
    pub kind: u8,
    /// Its value, uninterpreted.
    pub value: &'a [u8],
}

/// Iterates over extensions; stops at the first that runs past the end.
#[derive(Clone, Copy, Debug)]
pub struct Tlvs<'a> {
    rest: &'a [u8],
}

impl<'a> Tlvs<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Tlv<'a>;

    fn next(&mut self) -> Option<Tlv<'a>> {
        let (&[kind, high, low], after) = self.rest.split_first_chunk::<TLV_FIXED_BYTES>()?;
        let (value, rest) = after.split_at_checked(u16::from_be_bytes([high, low]).into())?;
        self.rest = rest;
        Some(Tlv { kind, value })
    }
}

/// Appends a PROXY header for a TCP client, with `tlvs` in order and then a checksum.
///
/// Addresses of different families are both written as IPv6. `tlvs` together must fit the length
/// field and must not contain a checksum.
pub fn write_v2(out: &mut Vec<u8>, source: SocketAddr, destination: SocketAddr, tlvs: &[Tlv<'_>]) {
    let start = out.len();
    out.extend_from_slice(&SIGNATURE);
    out.push(0x21);
    let both_v4 = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Some((source, destination)),
        _ => None,
    };
    out.push(if both_v4.is_some() { 0x11 } else { 0x21 });
    out.extend_from_slice(&[0; 2]);
    if let Some((source, destination)) = both_v4 {
        out.extend_from_slice(&source.octets());
        out.extend_from_slice(&destination.octets());
    } else {
        for address in [source.ip(), destination.ip()] {
            let wide = match address {
                IpAddr::V4(narrow) => narrow.to_ipv6_mapped(),
                IpAddr::V6(wide) => wide,
            };
            out.extend_from_slice(&wide.octets());
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
    for tlv in tlvs {
        assert_ne!(tlv.kind, TYPE_CRC32C, "the checksum is written last and once");
        write_tlv(out, *tlv);
    }
    write_tlv(out, Tlv { kind: TYPE_CRC32C, value: &[0; 4] });
    let length = u16::try_from(out.len() - start - FIXED_BYTES).expect("the extensions fit");
    out[start + 14..start + FIXED_BYTES].copy_from_slice(&length.to_be_bytes());
    let at = out.len() - 4;
    let sum = crc32c([&out[start..], &[], &[]]);
    out[at..].copy_from_slice(&sum.to_be_bytes());
}

/// Appends the header of a balancer's own connection, such as a health check.
pub fn write_v2_local(out: &mut Vec<u8>) {
    out.extend_from_slice(&SIGNATURE);
    out.extend_from_slice(&[0x20, 0x00, 0x00, 0x00]);
}

fn write_tlv(out: &mut Vec<u8>, tlv: Tlv<'_>) {
    let length = u16::try_from(tlv.value.len()).expect("an extension fits its length field");
    out.push(tlv.kind);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(tlv.value);
}
