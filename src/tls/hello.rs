//! What a ClientHello offers, read only when it could not be agreed with.

use std::fmt;

use rustls::CipherSuite;

/// Suites and versions kept of one offer; a client offers about thirty.
const KEPT_MAX: usize = 64;
/// Suites named in one sentence.
const NAMED_MAX: usize = 12;

/// The versions and suites of a ClientHello, in its order, without GREASE (RFC 8701).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// ProtocolVersion codes: supported_versions if given, else client_version alone.
    pub versions: Vec<u16>,
    /// CipherSuite codes.
    pub suites: Vec<u16>,
}

impl Offer {
    /// Reads the ClientHello at the beginning of `input`; what cannot be read stays empty.
    ///
    /// `input`: one TLS record with at least the beginning of the handshake message, or more. Where
    /// the message went over several records the library has joined it in place by then.
    /// Source: RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2.
    #[must_use]
    pub fn read(input: &[u8]) -> Self {
        let mut offer = Self::default();
        // A partial read keeps what was found before the end.
        let _ = offer.fill(Reader(input));
        offer
    }

    fn fill(&mut self, mut reader: Reader<'_>) -> Option<()> {
        const RECORD_HANDSHAKE: u8 = 22;
        const CLIENT_HELLO: u8 = 1;
        const SUPPORTED_VERSIONS: u16 = 43;

        if reader.u8()? != RECORD_HANDSHAKE {
            return None;
        }
        reader.take(4)?;
        if reader.u8()? != CLIENT_HELLO {
            return None;
        }
        reader.take(3)?;
        let client_version = reader.u16()?;
        self.versions.push(client_version);
        reader.take(32)?;
        let session_id_bytes = reader.u8()?;
        reader.take(usize::from(session_id_bytes))?;
        let suites_bytes = reader.u16()?;
        self.suites = codes(reader.take(usize::from(suites_bytes))?);
        // RFC 5746 and RFC 7507 signalling values are no suites.
        self.suites.retain(|code| !matches!(code, 0x00ff | 0x5600));
        let compression_bytes = reader.u8()?;
        reader.take(usize::from(compression_bytes))?;
        reader.u16()?;
        // Bound: each turn takes at least four bytes of the record.
        loop {
            let kind = reader.u16()?;
            let bytes = reader.u16()?;
            let body = reader.take(usize::from(bytes))?;
            if kind == SUPPORTED_VERSIONS {
                self.versions = codes(body.get(1..)?);
                return Some(());
            }
        }
    }

    /// Returns the versions as a list in words.
    #[must_use]
    pub fn versions_text(&self) -> String {
        if self.versions.is_empty() {
            return "no version we know".to_owned();
        }
        self.versions.iter().map(|&code| version_text(code)).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.suites.is_empty() {
            return f.write_str("no suite");
        }
        for (i, &code) in self.suites.iter().take(NAMED_MAX).enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            match CipherSuite::from(code).as_str() {
                Some(name) => write!(f, "{separator}{name}")?,
                None => write!(f, "{separator}{code:#06x}")?,
            }
        }
        if self.suites.len() > NAMED_MAX {
            write!(f, " and {} more", self.suites.len() - NAMED_MAX)?;
        }
        write!(f, " for {}", self.versions_text())
    }
}

fn version_text(code: u16) -> String {
    match code {
        0x0300 => "SSL 3.0".to_owned(),
        0x0301 => "TLS 1.0".to_owned(),
        0x0302 => "TLS 1.1".to_owned(),
        0x0303 => "TLS 1.2".to_owned(),
        0x0304 => "TLS 1.3".to_owned(),
        other => format!("{other:#06x}"),
    }
}

/// Reads big-endian codes, at most [`KEPT_MAX`], without GREASE.
fn codes(bytes: &[u8]) -> Vec<u16> {
    bytes
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |code, &byte| code << 8 | u16::from(byte)))
        .filter(|code| !(code & 0x0f0f == 0x0a0a && code >> 8 == code & 0xff))
        .take(KEPT_MAX)
        .collect()
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(self.take(2)?.iter().fold(0, |value, &byte| value << 8 | u16::from(byte)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A ClientHello in one record, as an old stack sends it.
    pub(in crate::tls) fn hello(version: u16, suites: &[u16], versions: Option<&[u16]>) -> Vec<u8> {
        let mut body = version.to_be_bytes().to_vec();
        body.extend([7; 32]);
        body.push(0);
        body.extend((2 * suites.len() as u16).to_be_bytes());
        body.extend(suites.iter().flat_map(|code| code.to_be_bytes()));
        body.extend([1, 0]);
        // supported_groups: P-256; signature_algorithms: ECDSA and PKCS#1 with SHA-256.
        let mut extensions = vec![0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 6, 0, 4, 4, 3, 4, 1];
        if let Some(versions) = versions {
            let list: Vec<u8> = versions.iter().flat_map(|code| code.to_be_bytes()).collect();
            extensions.extend([0, 43]);
            extensions.extend((list.len() as u16 + 1).to_be_bytes());
            extensions.push(list.len() as u8);
            extensions.extend(list);
        }
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let mut record = vec![22, 3, 1];
        record.extend((body.len() as u16 + 4).to_be_bytes());
        record.extend([1, 0]);
        record.extend((body.len() as u16).to_be_bytes());
        record.extend(body);
        record
    }

    #[test]
    fn an_offer_is_named_by_suite_and_version() {
        let offer = Offer::read(&hello(0x0303, &[0x0a0a, 0x002f, 0xc013, 0x00ff, 0xfe01], None));
        assert_eq!(offer.suites, [0x002f, 0xc013, 0xfe01]);
        assert_eq!(
            offer.to_string(),
            "TLS_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, 0xfe01 for TLS 1.2"
        );
    }

    #[test]
    fn supported_versions_count_over_the_old_field() {
        let offer = Offer::read(&hello(0x0303, &[0x1301], Some(&[0x1a1a, 0x0304, 0x0302])));
        assert_eq!(offer.versions_text(), "TLS 1.3, TLS 1.1");
    }

    #[test]
    fn every_truncation_is_read_as_far_as_it_goes() {
        let whole = hello(0x0301, &[0x002f, 0x0035], Some(&[0x0302]));
        for end in 0..whole.len() {
            let offer = Offer::read(&whole[..end]);
            assert!(offer.suites.len() <= 2 && offer.versions.len() <= 1);
        }
    }
}
