//! HTML, taken apart into tags and text, and handed to the sanitiser.
//!
//! The tokenizer is our own: what comes out is built from an allow list as a tree
//! ([`Builder`]), so reading a page otherwise than a browser does costs words at worst,
//! never safety. A browser's parser would be a dozen crates to read a chat line.

use super::Translated;
use super::text::is_xml_character;
use super::xhtml::Builder;
use crate::limits;
use crate::xmpp::Node;

/// Elements whose content is no text, up to their own end tag whatever stands in it.
const RAW: [&str; 9] =
    ["script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes", "noscript"];

/// References by name that are seen in messages; others stay as they stand.
const NAMED: [(&str, char); 24] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", '\u{a0}'),
    ("copy", '\u{a9}'),
    ("reg", '\u{ae}'),
    ("laquo", '\u{ab}'),
    ("raquo", '\u{bb}'),
    ("auml", '\u{e4}'),
    ("ouml", '\u{f6}'),
    ("uuml", '\u{fc}'),
    ("szlig", '\u{df}'),
    ("ndash", '\u{2013}'),
    ("mdash", '\u{2014}'),
    ("lsquo", '\u{2018}'),
    ("rsquo", '\u{2019}'),
    ("ldquo", '\u{201c}'),
    ("rdquo", '\u{201d}'),
    ("bull", '\u{2022}'),
    ("hellip", '\u{2026}'),
    ("euro", '\u{20ac}'),
    ("trade", '\u{2122}'),
];

/// Returns the formatted text of a page: an XHTML `<body>` of allowed names only, whatever `page`
/// is. Each byte is looked at a fixed number of times.
#[must_use]
pub fn sanitised(page: &str) -> Translated<Node> {
    let mut builder = Builder::new();
    let mut rest = page;
    while let Some(at) = memchr::memchr(b'<', rest.as_bytes()) {
        let (before, tag) = rest.split_at(at);
        builder.text(&decoded(before));
        rest = match tag.as_bytes().get(1) {
            Some(b'!') if tag.starts_with("<!--") => behind(tag, 4, "-->"),
            Some(b'!' | b'?') => behind(tag, 2, ">"),
            Some(b'/') if tag.as_bytes().get(2).is_some_and(u8::is_ascii_alphabetic) => {
                builder.close(&name(&tag[2..]));
                behind(tag, 2, ">")
            }
            Some(b'/') => behind(tag, 2, ">"),
            Some(byte) if byte.is_ascii_alphabetic() => start_tag(tag, &mut builder),
            _ => {
                builder.text("<");
                &tag[1..]
            }
        };
    }
    builder.text(&decoded(rest));
    builder.finish()
}

/// Returns what is behind the first `end` from `from` on; nothing if there is none.
fn behind<'a>(text: &'a str, from: usize, end: &str) -> &'a str {
    let rest = text.get(from..).unwrap_or_default();
    rest.split_once(end).map_or("", |(_, behind)| behind)
}

/// Returns the name that `text` begins with, in lower case.
fn name(text: &str) -> String {
    let is_end = |c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>' | '<' | '=');
    let end = text.find(is_end).unwrap_or(text.len());
    text[..end].to_ascii_lowercase()
}

/// Reads a start tag and returns what is behind it.
fn start_tag<'a>(tag: &'a str, builder: &mut Builder) -> &'a str {
    let name = name(&tag[1..]);
    let mut rest = &tag[1 + name.len()..];
    let mut attributes: Vec<(String, String)> = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if let Some(behind) = rest.strip_prefix('>') {
            rest = behind;
            break;
        }
        if rest.is_empty() {
            // The tag has no end; nothing of it is shown, as in a browser.
            return "";
        }
        let (attribute, behind) = attribute(rest);
        rest = behind;
        if attributes.len() < usize::from(limits::XMPP_UNAUTHENTICATED_ATTRIBUTES_MAX) {
            attributes.push(attribute);
        }
    }
    let pairs = attributes.iter().map(|(name, value)| (&**name, &**value));
    builder.open(&name, &pairs.collect::<Vec<_>>());
    if RAW.contains(&&*name) {
        rest = behind_raw(rest, &name);
        builder.close(&name);
    }
    rest
}

/// Reads an attribute that `text` begins with; at least one byte is consumed.
fn attribute(text: &str) -> ((String, String), &str) {
    let is_end = |c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>' | '=');
    let first = text.chars().next().map_or(0, char::len_utf8);
    let end = text[first..].find(is_end).map_or(text.len(), |end| first + end);
    let (name, rest) = text.split_at(end);
    let name = name.to_ascii_lowercase();
    let Some(value) = rest.trim_ascii_start().strip_prefix('=') else {
        return ((name, String::new()), rest);
    };
    let value = value.trim_ascii_start();
    let (value, rest) = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].split_once(quote).unwrap_or((&value[1..], "")),
        _ => {
            let end = value.find(|c: char| c.is_ascii_whitespace() || c == '>');
            value.split_at(end.unwrap_or(value.len()))
        }
    };
    ((name, decoded(value)), rest)
}

/// Returns what is behind the end tag of a raw element; nothing if there is none.
fn behind_raw<'a>(text: &'a str, name: &str) -> &'a str {
    for at in memchr::memmem::find_iter(text.as_bytes(), "</") {
        let tag = &text[at + 2..];
        let is_it = tag.get(..name.len()).is_some_and(|t| t.eq_ignore_ascii_case(name));
        let ends = tag.as_bytes().get(name.len());
        if is_it && ends.is_none_or(|byte| byte.is_ascii_whitespace() || b"/>".contains(byte)) {
            return behind(tag, name.len(), ">");
        }
    }
    ""
}

/// Decodes references.
fn decoded(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'&', rest.as_bytes()) {
        let (before, special) = rest.split_at(at);
        decoded.push_str(before);
        let (c, len) = reference(special).unwrap_or(('&', 1));
        decoded.push(c);
        rest = &special[len..];
    }
    decoded.push_str(rest);
    decoded
}

/// Reads the reference that `text` begins with, and its length.
fn reference(text: &str) -> Option<(char, usize)> {
    // The longest here is `&#x10ffff;`.
    let window = text.as_bytes().get(..12).unwrap_or(text.as_bytes());
    let end = memchr::memchr(b';', window)?;
    let body = text.get(1..end)?;
    let c = match body.strip_prefix('#') {
        None => NAMED.iter().find(|(known, _)| *known == body)?.1,
        Some(digits) => {
            let number = match digits.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => digits.parse().ok()?,
            };
            let c = match u8::try_from(number) {
                Ok(byte @ 0x80..=0x9f) => windows_1252(byte),
                _ => char::from_u32(number).unwrap_or('\u{fffd}'),
            };
            if is_xml_character(c) { c } else { '\u{fffd}' }
        }
    };
    Some((c, end + 1))
}

/// Returns the character of a byte in Windows-1252, which pages that claim ISO 8859-1 mean.
#[must_use]
pub fn windows_1252(byte: u8) -> char {
    const HIGH: [char; 32] = [
        '\u{20ac}', '\u{fffd}', '\u{201a}', '\u{192}', '\u{201e}', '\u{2026}', '\u{2020}',
        '\u{2021}', '\u{2c6}', '\u{2030}', '\u{160}', '\u{2039}', '\u{152}', '\u{fffd}', '\u{17d}',
        '\u{fffd}', '\u{fffd}', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}', '\u{2022}',
        '\u{2013}', '\u{2014}', '\u{2dc}', '\u{2122}', '\u{161}', '\u{203a}', '\u{153}',
        '\u{fffd}', '\u{17e}', '\u{178}',
    ];
    match byte {
        0x80..=0x9f => HIGH[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}
