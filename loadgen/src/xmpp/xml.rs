//! A small cutter of XML streams, the generator's own: it finds where an element ends and what its
//! tag says, and trusts the server under test for the rest.

use memchr::{memchr, memmem};

/// What stands at the front of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// More bytes are needed.
    NeedMore,
    /// So many bytes mean nothing: white space, an XML declaration.
    Skip(usize),
    /// The tag that opens the stream, so many bytes long.
    Open(usize),
    /// The tag that ends it.
    Close(usize),
    /// A first-level element.
    Element(usize),
}

/// Finds what `input` begins with.
pub(crate) fn cut(input: &[u8]) -> Cut {
    let blank = input.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    if blank > 0 {
        return Cut::Skip(blank);
    }
    if input.len() < 2 {
        return Cut::NeedMore;
    }
    if input.starts_with(b"<?") {
        return memmem::find(input, b"?>").map_or(Cut::NeedMore, |end| Cut::Skip(end + 2));
    }
    let Some(first) = tag_end(input) else { return Cut::NeedMore };
    if input.starts_with(b"</") {
        return Cut::Close(first);
    }
    if name(input) == b"stream:stream" {
        return Cut::Open(first);
    }
    let mut depth = usize::from(!is_empty(input, first));
    let mut at = first;
    while depth > 0 {
        let rest = input.get(at..).unwrap_or_default();
        let Some(open) = memchr(b'<', rest) else { return Cut::NeedMore };
        let Some(length) = tag_end(&rest[open..]) else { return Cut::NeedMore };
        let tag = &rest[open..open + length];
        if tag.starts_with(b"</") {
            depth -= 1;
        } else if !is_empty(tag, length) {
            depth += 1;
        }
        at += open + length;
    }
    Cut::Element(at)
}

/// Returns the length of the tag at the front, of which `>` may be part within quotes.
fn tag_end(input: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (at, &byte) in input.iter().enumerate() {
        match (quote, byte) {
            (None, b'\'' | b'"') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            (None, b'>') => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn is_empty(tag: &[u8], length: usize) -> bool {
    length >= 2 && tag.get(length - 2) == Some(&b'/')
}

/// Returns the name in the tag at the front, as it is written.
pub(crate) fn name(element: &[u8]) -> &[u8] {
    let rest = element.get(1..).unwrap_or_default();
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>');
    &rest[..rest.iter().position(ends).unwrap_or(rest.len())]
}

/// Returns the value of an attribute of the first tag, as it is written.
pub(crate) fn attribute<'a>(element: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let tag = &element[..tag_end(element)?];
    let mut from = 0;
    while let Some(found) = memmem::find(&tag[from..], name.as_bytes()) {
        let start = from + found;
        let after = start + name.len();
        let quote = tag.get(after + 1).copied();
        let whole = start > 0 && tag[start - 1].is_ascii_whitespace();
        if whole && tag.get(after) == Some(&b'=') && matches!(quote, Some(b'\'' | b'"')) {
            let value = tag.get(after + 2..)?;
            return value.get(..memchr(quote?, value)?);
        }
        from = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_ends_where_its_own_tag_is_closed() {
        let element = b"<message a='>'><body>x</body><b/></message>";
        for length in 1..element.len() {
            assert_eq!(cut(&element[..length]), Cut::NeedMore, "{length}");
        }
        assert_eq!(cut(element), Cut::Element(element.len()));
        assert_eq!(cut(b"<a/><b/>"), Cut::Element(4));
        assert_eq!(cut(b" \n<a/>"), Cut::Skip(2));
    }

    #[test]
    fn a_header_is_told_from_its_declaration_and_its_end() {
        assert_eq!(cut(b"<?xml version='1.0'?><stream:stream>"), Cut::Skip(21));
        assert_eq!(cut(b"<stream:stream id='1'>"), Cut::Open(22));
        assert_eq!(cut(b"</stream:stream>"), Cut::Close(16));
        assert_eq!(cut(b"<stream:features/>"), Cut::Element(18));
    }

    #[test]
    fn an_attribute_is_found_by_its_whole_name() {
        let tag = b"<m xid='0' id=\"1\" to='2'><x id='3'/></m>";
        assert_eq!(attribute(tag, "id"), Some(&b"1"[..]));
        assert_eq!(attribute(tag, "to"), Some(&b"2"[..]));
        assert_eq!(attribute(tag, "type"), None);
    }
}
