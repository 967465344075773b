//! Walks the text of an element that the reader let pass; everything in it is known to be sound.

use std::borrow::Cow;

use super::chars;

/// One piece of an element's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// `<a b='c'>`, as it stands.
    Start(&'a str),
    /// `<a b='c'/>`, as it stands.
    Empty(&'a str),
    /// `</a>`, as it stands.
    End(&'a str),
    /// Character data, not decoded.
    Text(&'a str),
    /// What a CDATA section holds.
    CData(&'a str),
}

/// The tokens of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tokens<'a> {
    pub(super) rest: &'a str,
}

impl<'a> Tokens<'a> {
    pub(super) const fn of(text: &'a str) -> Self {
        Self { rest: text }
    }

    fn take(&mut self, len: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        const CDATA: &str = "<![CDATA[";
        let bytes = self.rest.as_bytes();
        match bytes {
            [] => None,
            [b'<', b'/', ..] => {
                let end = memchr::memchr(b'>', bytes).map_or(bytes.len(), |end| end + 1);
                Some(Token::End(self.take(end)))
            }
            [b'<', b'!', ..] => {
                let end = memchr::memmem::find(bytes, b"]]>").unwrap_or(bytes.len());
                let section = self.take(end + 3);
                Some(Token::CData(section.get(CDATA.len()..end).unwrap_or_default()))
            }
            [b'<', ..] => {
                let tag = self.take(tag_len(bytes));
                Some(if tag.ends_with("/>") { Token::Empty(tag) } else { Token::Start(tag) })
            }
            _ => {
                let end = memchr::memchr(b'<', bytes).unwrap_or(bytes.len());
                Some(Token::Text(self.take(end)))
            }
        }
    }
}

/// Returns the length of the tag that `bytes` begins with; a `>` may stand within quotes.
fn tag_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr3(b'>', b'\'', b'"', &bytes[at..]) {
        let found = at + found;
        at = match bytes[found] {
            b'>' => return found + 1,
            quote => memchr::memchr(quote, &bytes[found + 1..])
                .map_or(bytes.len(), |end| found + 1 + end + 1),
        };
    }
    bytes.len()
}

/// Returns the name of a start tag as it stands.
pub(super) fn tag_name(tag: &str) -> &str {
    let name = tag.get(1..).unwrap_or_default();
    let end = name.bytes().position(|b| chars::is_space(b) || matches!(b, b'/' | b'>'));
    name.get(..end.unwrap_or(name.len())).unwrap_or_default()
}

/// One attribute of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawAttribute<'a> {
    /// The name with its prefix.
    pub name: &'a str,
    /// The value, not decoded.
    raw: &'a str,
}

impl<'a> RawAttribute<'a> {
    /// Returns the value.
    #[must_use]
    pub fn value(&self) -> Cow<'a, str> {
        chars::decode_value(self.raw)
    }

    /// Appends a space and the attribute with its value as it came.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        // One of the two quotes is not within.
        let quote = if self.raw.contains('\'') { b'"' } else { b'\'' };
        out.push(b' ');
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(&[b'=', quote]);
        out.extend_from_slice(self.raw.as_bytes());
        out.push(quote);
    }
}

/// The attributes of one tag in their order, declarations of namespaces included.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    rest: &'a str,
}

impl<'a> Attributes<'a> {
    /// Returns those of a start tag as it stands.
    pub(super) fn of(tag: &'a str) -> Self {
        let name = tag_name(tag).len();
        Self { rest: tag.get(1 + name..).unwrap_or_default() }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = RawAttribute<'a>;

    fn next(&mut self) -> Option<RawAttribute<'a>> {
        let (name, rest) = self.rest.split_once('=')?;
        let rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let quote = rest.chars().next()?;
        let (raw, rest) = rest.get(1..)?.split_once(quote)?;
        self.rest = rest;
        Some(RawAttribute { name: name.trim_matches([' ', '\t', '\r', '\n']), raw })
    }
}
