//! Writing XML: escaping, attributes, and the few fixed elements between stanzas.

/// The end of a stream (RFC 6120 section 4.4).
pub const STREAM_END: &[u8] = b"</stream:stream>";

/// What keeps a silent stream open (RFC 6120 section 4.6.1).
pub const KEEP_ALIVE: &[u8] = b" ";

/// Appends character data. What XML does not allow at all becomes U+FFFD.
pub fn text(text: &str, out: &mut Vec<u8>) {
    escaped(text, out, |byte| match byte {
        b'&' => Some(b"&amp;"),
        b'<' => Some(b"&lt;"),
        // Only `]]>` would be wrong.
        b'>' => Some(b"&gt;"),
        // A reader turns a bare one into a line feed (XML 1.0 section 2.11).
        b'\r' => Some(b"&#13;"),
        b'\t' | b'\n' => None,
        ..b' ' => Some(REPLACEMENT),
        _ => None,
    });
}

/// Appends what stands between the single quotes of an attribute; else as [`text`].
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
        ..b' ' => Some(REPLACEMENT),
        _ => None,
    });
}

/// U+FFFD.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

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
    let start = out.len();
    let mut rest = text.as_bytes();
    while let Some((at, instead)) =
        rest.iter().enumerate().find_map(|(at, byte)| escape(*byte).map(|instead| (at, instead)))
    {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(instead);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    // U+FFFE and U+FFFF, which are EF BF BE and EF BF BF, are no characters either.
    if memchr::memchr(0xef, text.as_bytes()).is_some() {
        let mut from = start;
        while let Some(found) = memchr::memmem::find(&out[from..], b"\xef\xbf") {
            from += found + 2;
            if let Some(last @ (0xbe | 0xbf)) = out.get_mut(from) {
                *last = 0xbd;
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = b"\xef".to_vec();
        write(&mut out);
        String::from_utf8(out.split_off(1)).unwrap()
    }

    #[test]
    fn text_is_escaped_and_what_xml_forbids_is_replaced() {
        let text_of = |given: &str| written(|out| text(given, out));
        assert_eq!(text_of("a<b>&'\"\r\n\t"), "a&lt;b&gt;&amp;'\"&#13;\n\t");
        assert_eq!(
            text_of("\0a\u{1b}\u{fffe}\u{ffff}\u{fffc}"),
            "\u{fffd}a\u{fffd}\u{fffd}\u{fffd}\u{fffc}"
        );
        assert_eq!(text_of("\u{7f}\u{1f600}ü"), "\u{7f}\u{1f600}ü");
    }

    #[test]
    fn a_value_keeps_its_white_space() {
        let value = written(|out| attribute("a", "\t'\n\"\r \u{1}", out));
        assert_eq!(value, " a='&#9;&apos;&#10;&quot;&#13; \u{fffd}'");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("aüb".to_owned(), 2), "a");
        assert_eq!(cut("aüb".to_owned(), 3), "aü");
        assert_eq!(cut("aüb".to_owned(), 4), "aüb");
    }
}
