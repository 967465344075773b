//! Version 1: one line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Command, Header, Malformed, Parsed, Transport};
use crate::limits;

pub(super) const PREFIX: &[u8] = b"PROXY ";
const SHORTEST: &[u8] = b"PROXY UNKNOWN\r\n";

/// Reads a line that begins with [`PREFIX`], as far as it is there.
pub(super) fn read(input: &[u8]) -> Result<Parsed<'_>, Malformed> {
    let window = input.get(..limits::PROXY_V1_BYTES_MAX).unwrap_or(input);
    let Some(carriage_return) = memchr::memchr(b'\r', window) else {
        return if window.len() == limits::PROXY_V1_BYTES_MAX {
            Err(Malformed::LineUnterminated)
        } else {
            // At least the CRLF is missing.
            Ok(Parsed::NeedMore(SHORTEST.len().max(input.len() + 2)))
        };
    };
    match window.get(carriage_return + 1) {
        Some(b'\n') => {}
        None if carriage_return + 1 < limits::PROXY_V1_BYTES_MAX => {
            return Ok(Parsed::NeedMore(carriage_return + 2));
        }
        _ => return Err(Malformed::LineUnterminated),
    }
    let line = window.get(PREFIX.len()..carriage_return).unwrap_or_default();
    line_after_prefix(line, carriage_return + 2).map(Parsed::Header)
}

/// Reads what stands between `PROXY ` and the CRLF.
fn line_after_prefix(line: &[u8], consumed: usize) -> Result<Header<'_>, Malformed> {
    let mut header = Header {
        consumed,
        command: Command::Proxy,
        transport: Transport::Unspecified,
        source: None,
        destination: None,
        tlvs: &[],
    };
    let mut fields = line.split(|&b| b == b' ');
    let address: fn(&[u8]) -> Option<IpAddr> = match fields.next() {
        Some(b"TCP4") => |text| parse::<Ipv4Addr>(text).map(IpAddr::V4),
        Some(b"TCP6") => |text| parse::<Ipv6Addr>(text).map(IpAddr::V6),
        // What follows UNKNOWN is to be ignored, whatever it is.
        Some(b"UNKNOWN") => return Ok(header),
        _ => return Err(Malformed::LineProtocol),
    };
    let mut field = || fields.next().filter(|f| !f.is_empty()).ok_or(Malformed::LineFields);
    let (source, destination, source_port, destination_port) =
        (field()?, field()?, field()?, field()?);
    if fields.next().is_some() {
        return Err(Malformed::LineFields);
    }
    let endpoint = |text, port_text| -> Result<SocketAddr, Malformed> {
        let ip = address(text).ok_or(Malformed::LineAddress)?;
        Ok(SocketAddr::new(ip, port(port_text).ok_or(Malformed::LinePort)?))
    };
    header.transport = Transport::Stream;
    header.source = Some(endpoint(source, source_port)?);
    header.destination = Some(endpoint(destination, destination_port)?);
    Ok(header)
}

fn parse<T: FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Reads a port without sign or leading zeros.
fn port(text: &[u8]) -> Option<u16> {
    let canonical =
        text.iter().all(u8::is_ascii_digit) && (text == b"0" || text.first() != Some(&b'0'));
    canonical.then(|| parse(text)).flatten()
}
