//! Writing XML: escaping, attributes, and the few fixed elements between stanzas.

/// The end of a stream (RFC 6120 section 4.4).
pub const STREAM_END: &[u8] = b"</stream:stream>";

/// What keeps a silent stream open (RFC 6120 section 4.6.1).
pub const KEEP_ALIVE: &[u8] = b" ";

/// Appends character data.
pub fn text(text: &str, out: &mut Vec<u8>) {
    escaped(text, out, |byte| match byte {
        b'&' => Some(b"&amp;"),
        b'<' => Some(b"&lt;"),
        // Only `]]>` would be wrong.
        b'>' => Some(b"&gt;"),
        // A reader turns a bare one into a line feed (XML 1.0 section 2.11).
        b'\r' => Some(b"&#13;"),
        _ => None,
    });
}

/// Appends what stands between the single quotes of an attribute.
pub fn attribute_value(value: &str, out: &mut Vec<u8>) {
    escaped(value, out, |byte| match byte {
        b'&' => Some(b"&amp;"),
        b'<' => Some(b"&lt;"),
        b'>' => Some(b"&gt;"),
        b'\'' => Some(b"&apos;"),
        b'"' => Some(b"&quot;"),
        // A reader turns bare white space into spaces (XML 1.0 section 3.3.3).
        b'\t' => Some(b"&#9;"),
        b'\n' => Some(b"&#10;"),
        b'\r' => Some(b"&#13;"),
        _ => None,
    });
}

/// Appends a space, the attribute's name and its value in single quotes.
pub fn attribute(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"='");
    attribute_value(value, out);
    out.push(b'\'');
}

/// Appends an empty element with a namespace of its own.
pub fn empty(name: &str, namespace: &str, out: &mut Vec<u8>) {
    out.push(b'<');
    out.extend_from_slice(name.as_bytes());
    attribute("xmlns", namespace, out);
    out.extend_from_slice(b"/>");
}

fn escaped(text: &str, out: &mut Vec<u8>, escape: impl Fn(u8) -> Option<&'static [u8]>) {
    let mut rest = text.as_bytes();
    while let Some((at, instead)) =
        rest.iter().enumerate().find_map(|(at, byte)| escape(*byte).map(|instead| (at, instead)))
    {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(instead);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Cuts `text` to at most `bytes`, between characters.
pub(super) fn cut(text: String, bytes: usize) -> String {
    let mut text = text;
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
