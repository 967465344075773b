//! The words in RTF, which Lync sends where its user formatted something.
//!
//! Only text is taken: destinations that hold fonts, colours, styles, pictures and fields are
//! skipped, whatever else is unknown is a word of control without text.

use super::html::windows_1252;
use super::text::xml_text;
use super::{Loss, Losses, Translated};
use crate::limits;

/// Groups whose text is not for people.
const SKIPPED: [&[u8]; 16] = [
    b"fonttbl",
    b"colortbl",
    b"stylesheet",
    b"info",
    b"pict",
    b"object",
    b"fldinst",
    b"header",
    b"footer",
    b"footnote",
    b"themedata",
    b"listtable",
    b"listoverridetable",
    b"rsidtbl",
    b"generator",
    b"datastore",
];

/// What holds within one group.
#[derive(Clone, Copy)]
struct Group {
    is_skipped: bool,
    /// Characters that stand behind `\u` for readers that do not know it.
    fallback: u32,
}

/// Returns the text of an RTF document. Anything else is returned as empty text or as itself; the
/// formatting counts as lost.
#[must_use]
pub fn plain(body: &[u8]) -> Translated<String> {
    let mut losses = Losses::NONE;
    losses.add(Loss::Formatting);
    let mut text = String::new();
    let mut group = Group { is_skipped: false, fallback: 1 };
    let mut outer: Vec<Group> = Vec::new();
    // Bytes still to be left out behind `\u`.
    let mut skip = 0_u32;
    let mut rest = body;
    while let [first, behind @ ..] = rest {
        rest = behind;
        match first {
            b'{' if outer.len() < limits::GATEWAY_DOCUMENT_DEPTH_MAX as usize => outer.push(group),
            b'{' => {
                losses.add(Loss::Structure);
                break;
            }
            b'}' => {
                let Some(before) = outer.pop() else { break };
                (group, skip) = (before, 0);
            }
            b'\\' => rest = control(behind, &mut group, &mut skip, &mut text),
            b'\r' | b'\n' => {}
            _ if skip > 0 => skip -= 1,
            byte if !group.is_skipped => text.push(windows_1252(*byte)),
            _ => {}
        }
    }
    let cut = xml_text(text.trim_end_matches(['\0', '\n', '\r']), limits::GATEWAY_TEXT_BYTES_MAX);
    losses.add_all(cut.losses);
    Translated { value: cut.value, losses }
}

/// Reads what follows a backslash and returns what is behind it.
fn control<'a>(text: &'a [u8], group: &mut Group, skip: &mut u32, out: &mut String) -> &'a [u8] {
    let letters = text.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let (word, behind) = text.split_at(letters);
    if word.is_empty() {
        return symbol(text, group, skip, out);
    }
    let minus = usize::from(behind.first() == Some(&b'-'));
    let digits = behind.iter().skip(minus).take_while(|byte| byte.is_ascii_digit()).count();
    let (number, behind) = behind.split_at(if digits > 0 { minus + digits } else { 0 });
    let number = std::str::from_utf8(number).ok().and_then(|digits| digits.parse::<i32>().ok());
    let behind = behind.strip_prefix(b" ").unwrap_or(behind);
    let is_shown = !group.is_skipped;
    match word {
        b"par" | b"line" | b"sect" | b"page" | b"row" if is_shown => out.push('\n'),
        b"tab" | b"cell" if is_shown => out.push('\t'),
        b"emdash" if is_shown => out.push('\u{2014}'),
        b"endash" if is_shown => out.push('\u{2013}'),
        b"bullet" if is_shown => out.push('\u{2022}'),
        b"lquote" if is_shown => out.push('\u{2018}'),
        b"rquote" if is_shown => out.push('\u{2019}'),
        b"ldblquote" if is_shown => out.push('\u{201c}'),
        b"rdblquote" if is_shown => out.push('\u{201d}'),
        b"uc" => group.fallback = number.map_or(1, |n| n.clamp(0, 8).unsigned_abs()),
        b"u" => {
            if is_shown {
                push_utf16(number.unwrap_or(0), out);
            }
            *skip = group.fallback;
        }
        b"bin" => {
            let len = usize::try_from(number.unwrap_or(0)).unwrap_or(0).min(behind.len());
            return behind.get(len..).unwrap_or_default();
        }
        word if SKIPPED.contains(&word) => group.is_skipped = true,
        _ => {}
    }
    behind
}

/// Reads a control of one character.
fn symbol<'a>(text: &'a [u8], group: &mut Group, skip: &mut u32, out: &mut String) -> &'a [u8] {
    let [first, behind @ ..] = text else { return text };
    let shown = match first {
        b'\'' => {
            let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            let rest = behind.get(2..).unwrap_or_default();
            if *skip > 0 {
                *skip -= 1;
            } else if let (Some(byte), false) = (byte, group.is_skipped) {
                out.push(windows_1252(byte));
            }
            return rest;
        }
        // The group is one that only some readers know.
        b'*' => {
            group.is_skipped = true;
            return behind;
        }
        b'\\' | b'{' | b'}' => char::from(*first),
        b'~' => ' ',
        b'_' => '-',
        b'\r' | b'\n' => '\n',
        _ => return behind,
    };
    if *skip > 0 {
        *skip -= 1;
    } else if !group.is_skipped {
        out.push(shown);
    }
    behind
}

/// Adds a UTF-16 unit, which is signed in RTF. The two halves of a character come one after the
/// other; the first is kept as a private character until the second is there.
fn push_utf16(number: i32, out: &mut String) {
    let unit = number as u16;
    // Place 16 holds high halves as U+10FC00..U+10FFFF, which no text has.
    const HELD: u32 = 0x10_fc00;
    if let 0xd800..=0xdbff = unit {
        out.extend(char::from_u32(HELD + u32::from(unit - 0xd800)));
        return;
    }
    let held = out.chars().next_back().map(u32::from).filter(|c| *c >= HELD);
    if held.is_some() {
        out.pop();
    }
    match (held, unit) {
        (Some(held), 0xdc00..=0xdfff) => {
            let high = held - HELD;
            out.extend(char::from_u32(0x1_0000 + (high << 10) + u32::from(unit - 0xdc00)));
        }
        (_, 0xdc00..=0xdfff) => out.push('\u{fffd}'),
        (_, unit) => out.extend(char::from_u32(u32::from(unit))),
    }
}
