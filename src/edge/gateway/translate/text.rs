//! Text: which characters pass, line ends, and how much.

use super::{Loss, Losses, Translated};

/// Tells whether XML 1.0 can carry the character (section 2.2), and whether it is one at all.
#[must_use]
pub const fn is_xml_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
        && !matches!(c, '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}')
}

/// Returns text as a stanza may carry it: line ends are LF, what XML cannot carry is left out, and
/// at most `bytes_max` are kept.
#[must_use]
pub fn xml_text(text: &str, bytes_max: usize) -> Translated<String> {
    let mut losses = Losses::NONE;
    let mut kept = String::with_capacity(text.len().min(bytes_max));
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let c = match c {
            '\r' => {
                characters.next_if_eq(&'\n');
                '\n'
            }
            c if is_xml_character(c) => c,
            _ => {
                losses.add(Loss::Characters);
                continue;
            }
        };
        if kept.len() + c.len_utf8() > bytes_max {
            losses.add(Loss::Length);
            break;
        }
        kept.push(c);
    }
    Translated { value: kept, losses }
}

/// Returns text as one line of a SIP header: controls, line ends among them, become one space, so
/// that nothing in it can begin a header of its own; no space at either end.
#[must_use]
pub fn single_line(text: &str, bytes_max: usize) -> Translated<String> {
    let mut losses = Losses::NONE;
    let mut line = String::with_capacity(text.len().min(bytes_max));
    let separates = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    for c in text.trim_matches(|c| separates(c) || c == ' ').chars() {
        let c = if separates(c) { ' ' } else { c };
        if c == ' ' && line.ends_with(' ') {
            continue;
        }
        if line.len() + c.len_utf8() > bytes_max {
            losses.add(Loss::Length);
            break;
        }
        line.push(c);
    }
    line.truncate(line.trim_end().len());
    Translated { value: line, losses }
}

/// Returns text with the line ends of a SIP body (RFC 2046 section 4.1.1).
#[must_use]
pub fn with_crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace(['\r', '\n'], "\r\n")
}

/// Returns a language tag if it is one (RFC 5646 section 2.1, loosely: the form, not the names).
#[must_use]
pub fn language(tag: &str) -> Option<&str> {
    let is_subtag = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let tag = tag.trim();
    (tag.len() <= 35 && tag.split('-').all(is_subtag)).then_some(tag)
}
