//! What servers of the inside say of a failure to a reader, without their names: `Warning` and the
//! public form of diagnostics, whether or not `federation.hide_topology` is on.
//!
//! A host is known by its dots and an address by its form; a word without either could be any.

use crate::sip::{Edits, Field, HeaderName, HeaderSet, Message};

const TEXTS: HeaderSet = HeaderSet::of(&[HeaderName::Warning, HeaderName::MsDiagnosticsPublic]);

/// What the public form may say beside its number. Others name servers: `source`, `PeerServer`,
/// `GatewayFqdn` and what else a server may think of (wire-protocols A.10).
const PUBLIC: [&[u8]; 5] =
    [b"reason", b"component", b"SipResponseCode", b"SipResponseText", b"decision"];

/// What stands where a name stood.
const WITHHELD: &[u8] = b"hidden";

/// Takes names of servers out of what a partner is told; `own` is the name we have outside.
pub(crate) fn withhold_names(message: &Message<'_>, own: &str, edits: &mut Edits) {
    for field in message.all_of(TEXTS) {
        let text = match field.name {
            HeaderName::Warning => warnings(&field, own),
            _ => public_diagnostics(field.value),
        };
        if text.is_empty() {
            edits.remove(field.line);
        } else if text != field.value {
            edits.replace(field.value_range, &text);
        }
    }
}

/// Rewrites the values of one field; one that cannot be read is left out.
fn warnings(field: &Field<'_>, own: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for value in field.values() {
        let Some((code, text)) = read_warning(value.bytes) else { continue };
        out.extend_from_slice(if out.is_empty() { b"" } else { b", " });
        out.extend_from_slice(code);
        out.push(b' ');
        // Who warns may be a pseudonym (RFC 3261 section 20.43).
        out.extend_from_slice(own.as_bytes());
        out.push(b' ');
        without_names(text, &mut out);
    }
    out
}

/// Reads code and text, the text with its quotes.
fn read_warning(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let (code, rest) = value.split_at_checked(3)?;
    let agent = rest.trim_ascii_start();
    let end = agent.iter().position(u8::is_ascii_whitespace)?;
    let text = agent.get(end..)?.trim_ascii();
    let is_quoted = text.len() >= 2 && text.starts_with(b"\"") && text.ends_with(b"\"");
    let is_good = code.iter().all(u8::is_ascii_digit) && agent.len() < rest.len() && is_quoted;
    is_good.then_some((code, text))
}

fn public_diagnostics(value: &[u8]) -> Vec<u8> {
    let mut params = crate::sip::params(value);
    let Some((code, None)) = params.next() else { return Vec::new() };
    if !code.iter().all(u8::is_ascii_digit) {
        return Vec::new();
    }
    let mut out = code.to_vec();
    for (name, value) in params {
        let Some(value) = value else { continue };
        if PUBLIC.iter().any(|public| name.eq_ignore_ascii_case(public)) {
            out.push(b';');
            out.extend_from_slice(name);
            out.push(b'=');
            without_names(value, &mut out);
        }
    }
    out
}

/// Appends `text` with what reads like a host or an address withheld.
fn without_names(text: &[u8], out: &mut Vec<u8>) {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    let mut rest = text;
    while let Some(first) = rest.first() {
        let in_word = is_word(*first);
        let len = rest.iter().position(|byte| is_word(*byte) != in_word).unwrap_or(rest.len());
        let (piece, behind) = rest.split_at(len);
        if in_word && is_name(piece) {
            out.extend_from_slice(WITHHELD);
        } else {
            out.extend_from_slice(piece);
        }
        rest = behind;
    }
}

/// Returns whether a word reads like a host, with or without a port, or like an address.
fn is_name(word: &[u8]) -> bool {
    let Some(from) = word.iter().position(u8::is_ascii_alphanumeric) else { return false };
    let to = word.iter().rposition(u8::is_ascii_alphanumeric).map_or(0, |at| at + 1);
    let word = word.get(from..to).unwrap_or(&[]);
    let colons = word.iter().filter(|byte| **byte == b':').count();
    if colons >= 2 {
        return true;
    }
    // A port behind it, or a word and a colon before it.
    word.split(|byte| *byte == b':').any(|host| {
        let labels = host.split(|byte| *byte == b'.').filter(|label| !label.is_empty());
        let last = labels.clone().next_back().unwrap_or(&[]);
        let is_top = last.len() >= 2 && last.iter().any(u8::is_ascii_alphabetic);
        match labels.count() {
            0 | 1 => false,
            4 => true,
            _ => is_top,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(text: &str) -> String {
        let mut out = Vec::new();
        without_names(text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn hosts_and_addresses_are_withheld_and_words_are_not() {
        for (text, expected) in [
            ("\"lsfe1.corp.example did not answer\"", "\"hidden did not answer\""),
            ("no answer from lsfe1.corp.example:5061.", "no answer from hidden"),
            ("10.0.0.5 is busy", "hidden is busy"),
            ("[2001:db8::5]:5061 is busy", "[hidden]:5061 is busy"),
            ("host:lsfe1.corp", "hidden"),
            ("lsfe1.corp..example", "hidden"),
            ("Incompatible media format: \\\"x\\\".", "Incompatible media format: \\\"x\\\"."),
            ("version 6.0, e.g. now...", "version 6.0, e.g. now..."),
            ("502 Bad Gateway (DNS failure?)", "502 Bad Gateway (DNS failure?)"),
            ("", ""),
        ] {
            assert_eq!(cleaned(text), expected);
        }
    }

    #[test]
    fn public_diagnostics_keep_what_is_public() {
        let cleaned = |text: &str| String::from_utf8(public_diagnostics(text.as_bytes())).unwrap();
        for (text, expected) in [
            ("1034;reason=\"Previous hop; said no\"", "1034;reason=\"Previous hop; said no\""),
            ("1034;source=\"lsfe1.corp.example\";reason=\"x\"", "1034;reason=\"x\""),
            (
                "10404;reason=\"Gateway gw.corp.example said no\";component=\"MediationServer\";\
                 SipResponseCode=\"404\";GatewayFqdn=\"gw.corp.example\";flag",
                "10404;reason=\"Gateway hidden said no\";component=\"MediationServer\";\
                 SipResponseCode=\"404\"",
            ),
            ("lsfe1.corp.example;reason=\"x\"", ""),
            ("", ""),
        ] {
            assert_eq!(cleaned(text), expected);
        }
    }

    #[test]
    fn a_warning_that_cannot_be_read_is_none() {
        assert_eq!(read_warning(b"399 a.example \"x\""), Some((&b"399"[..], &b"\"x\""[..])));
        for text in
            ["", "399", "399 a.example", "39 a.example \"x\"", "399a.example \"x\"", "399  "]
        {
            assert_eq!(read_warning(text.as_bytes()), None, "{text}");
        }
    }
}
