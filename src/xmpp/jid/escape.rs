//! Characters that a local part may not have, escaped (XEP-0106).

use std::borrow::Cow;

/// The characters with their codes (XEP-0106 section 2).
const TABLE: [(char, &str); 10] = [
    (' ', "20"),
    ('"', "22"),
    ('&', "26"),
    ('\'', "27"),
    ('/', "2f"),
    (':', "3a"),
    ('<', "3c"),
    ('>', "3e"),
    ('@', "40"),
    ('\\', "5c"),
];

/// Escapes text so that it may be a local part. `None`: it begins or ends with a space, which
/// cannot be escaped (XEP-0106 section 4.2), or is empty.
///
/// A backslash is escaped only where it would else be read as the begin of an escape.
#[must_use]
pub fn escape(text: &str) -> Option<Cow<'_, str>> {
    if text.is_empty() || text.starts_with(' ') || text.ends_with(' ') {
        return None;
    }
    if !text.contains(|c| TABLE.iter().any(|(special, _)| *special == c)) {
        return Some(Cow::Borrowed(text));
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for (at, c) in text.char_indices() {
        let code = TABLE.iter().find(|(special, _)| *special == c).map(|(_, code)| code);
        match code {
            Some(code) if c != '\\' || escaped_at(&text[at..]).is_some() => {
                escaped.push('\\');
                escaped.push_str(code);
            }
            _ => escaped.push(c),
        }
    }
    Some(Cow::Owned(escaped))
}

/// Takes the escapes out of a local part. What is none stays (XEP-0106 section 4.3).
#[must_use]
pub fn unescape(local: &str) -> Cow<'_, str> {
    if !local.contains('\\') {
        return Cow::Borrowed(local);
    }
    let mut unescaped = String::with_capacity(local.len());
    let mut rest = local;
    while let Some(at) = rest.find('\\') {
        let (before, special) = rest.split_at(at);
        unescaped.push_str(before);
        let c = escaped_at(special);
        unescaped.push(c.unwrap_or('\\'));
        rest = &special[if c.is_some() { 3 } else { 1 }..];
    }
    unescaped.push_str(rest);
    Cow::Owned(unescaped)
}

/// Returns the character whose escape `text` begins with; the codes are in lower case
/// (XEP-0106 section 2).
fn escaped_at(text: &str) -> Option<char> {
    let code = text.strip_prefix('\\')?.get(..2)?;
    TABLE.iter().find(|(_, of)| *of == code).map(|(c, _)| *c)
}
