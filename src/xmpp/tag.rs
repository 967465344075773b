//! The syntax of start tags.

use super::bounds::Bounds;
use super::chars;
use super::fault::PeerMisbehaved;

/// A range of the unconsumed input; both ends are below 4 GiB because of [`Bounds`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    #[allow(clippy::cast_possible_truncation, reason = "elements are bounded far below 4 GiB")]
    pub(super) fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= u32::MAX as usize);
        Self { start: start as u32, end: end as u32 }
    }

    #[inline]
    pub(super) fn of(self, input: &[u8]) -> &[u8] {
        input.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    #[inline]
    pub(super) fn of_text(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// A name with at most one colon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) whole: Span,
    /// Bytes of the prefix; 0: there is none.
    pub(super) prefix_len: u16,
    /// First byte, last byte and length, so that most names differ without a look at them.
    mark: u32,
}

impl Name {
    fn new(input: &[u8], whole: Span, prefix_len: u16) -> Self {
        let name = whole.of(input);
        let edge = |byte: Option<&u8>| u32::from(byte.copied().unwrap_or_default());
        let mark = edge(name.first()) | edge(name.last()) << 8 | (whole.end - whole.start) << 16;
        Self { whole, prefix_len, mark }
    }

    /// Tells whether both are the same as written.
    #[inline]
    fn is_same(self, other: Self, input: &[u8]) -> bool {
        self.mark == other.mark && self.whole.of(input) == other.whole.of(input)
    }

    /// Tells whether the name begins with this byte.
    #[inline]
    pub(super) const fn begins_with(self, byte: u8) -> bool {
        self.mark & 0xff == byte as u32
    }

    #[inline]
    pub(super) fn prefix(self) -> Span {
        Span { start: self.whole.start, end: self.whole.start + u32::from(self.prefix_len) }
    }

    #[inline]
    pub(super) fn local(self) -> Span {
        let skipped = if self.prefix_len == 0 { 0 } else { u32::from(self.prefix_len) + 1 };
        Span { start: self.whole.start + skipped, end: self.whole.end }
    }
}

/// An attribute as it stands in the tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) name: Name,
    /// What lies between the quotes.
    pub(super) value: Span,
}

/// A whole start tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StartTag {
    pub(super) name: Name,
    /// Behind its `>`.
    pub(super) end: usize,
    pub(super) closes: Closes,
}

/// Whether a start tag is the whole element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closes {
    /// `<a/>`.
    Itself,
    /// `<a>`.
    Later,
}

type Partial<T> = Result<Option<T>, PeerMisbehaved>;

/// Reads the start tag whose `<` is at `at`, and its attributes into `attributes`. `None`: its end
/// is not there.
///
/// Each byte is looked at once; nothing is copied.
pub(super) fn start_tag(
    input: &[u8],
    at: usize,
    bounds: &Bounds,
    attributes: &mut Vec<Attribute>,
) -> Partial<StartTag> {
    attributes.clear();
    let Some(name) = name(input, at + 1, bounds)? else { return Ok(None) };
    let mut at = name.whole.end as usize;
    loop {
        let next = chars::skip_space(input, at);
        match input.get(next) {
            None => return Ok(None),
            Some(b'>') => {
                return unique(
                    input,
                    attributes,
                    StartTag { name, end: next + 1, closes: Closes::Later },
                );
            }
            Some(b'/') => {
                return match input.get(next + 1) {
                    None => Ok(None),
                    Some(b'>') => unique(
                        input,
                        attributes,
                        StartTag { name, end: next + 2, closes: Closes::Itself },
                    ),
                    Some(_) => Err(PeerMisbehaved::Syntax),
                };
            }
            Some(_) if next == at => return Err(PeerMisbehaved::Syntax),
            Some(_) => {}
        }
        if attributes.len() >= usize::from(bounds.attributes) {
            return Err(PeerMisbehaved::TooManyAttributes);
        }
        let Some((attribute, end)) = attribute(input, next, bounds)? else { return Ok(None) };
        attributes.push(attribute);
        at = end;
    }
}

/// Reads one attribute and returns it with the place behind its closing quote.
#[inline]
fn attribute(input: &[u8], at: usize, bounds: &Bounds) -> Partial<(Attribute, usize)> {
    let Some(name) = name(input, at, bounds)? else { return Ok(None) };
    let at = chars::skip_space(input, name.whole.end as usize);
    match input.get(at) {
        None => return Ok(None),
        Some(b'=') => {}
        Some(_) => return Err(PeerMisbehaved::Syntax),
    }
    let at = chars::skip_space(input, at + 1);
    let quote = match input.get(at) {
        None => return Ok(None),
        Some(quote @ (b'\'' | b'"')) => *quote,
        Some(_) => return Err(PeerMisbehaved::Syntax),
    };
    let start = at + 1;
    let mut from = start;
    loop {
        let rest = input.get(from..).unwrap_or_default();
        let Some(found) = memchr::memchr3(quote, b'<', b'&', rest) else { return Ok(None) };
        let found = from + found;
        match input.get(found) {
            Some(b'<') => return Err(PeerMisbehaved::Syntax),
            Some(b'&') => match chars::reference(&input[found..])? {
                Some((len, _)) => from = found + len,
                None => return Ok(None),
            },
            _ => return Ok(Some((Attribute { name, value: Span::new(start, found) }, found + 1))),
        }
    }
}

/// Reads a name. `None`: the input ends in it.
#[inline]
fn name(input: &[u8], start: usize, bounds: &Bounds) -> Partial<Name> {
    let rest = input.get(start..).unwrap_or_default();
    let end = rest.iter().position(|byte| !chars::is_plain_in_name(*byte));
    let Some((name, [behind, ..])) = end.and_then(|end| rest.split_at_checked(end)) else {
        return rare_name(input, start, bounds);
    };
    if !behind.is_ascii() || *behind == b':' || name.len() > usize::from(bounds.name_bytes) {
        return rare_name(input, start, bounds);
    }
    match name.first() {
        Some(first) if chars::may_begin_name(*first) => {
            Ok(Some(Name::new(input, Span::new(start, start + name.len()), 0)))
        }
        _ => Err(PeerMisbehaved::Syntax),
    }
}

/// Reads a name that has a colon, bytes above ASCII, or no end.
#[cold]
fn rare_name(input: &[u8], start: usize, bounds: &Bounds) -> Partial<Name> {
    let mut at = start;
    let mut part = start;
    let mut prefix_len = 0;
    let mut seen = 0_u8;
    loop {
        let Some(&byte) = input.get(at) else {
            let long = at - start > usize::from(bounds.name_bytes);
            return if long { Err(PeerMisbehaved::NameTooLong) } else { Ok(None) };
        };
        let fits =
            if at == part { chars::may_begin_name(byte) } else { chars::may_be_in_name(byte) };
        if fits {
            seen |= byte;
        } else if byte == b':' {
            if at == part || part != start {
                return Err(PeerMisbehaved::Colon);
            }
            prefix_len = at - start;
            part = at + 1;
        } else {
            break;
        }
        at += 1;
    }
    if at == part {
        let colon = part != start;
        return Err(if colon { PeerMisbehaved::Colon } else { PeerMisbehaved::Syntax });
    }
    if at - start > usize::from(bounds.name_bytes) {
        return Err(PeerMisbehaved::NameTooLong);
    }
    let prefix_len = u16::try_from(prefix_len).map_err(|_| PeerMisbehaved::NameTooLong)?;
    let name = Name::new(input, Span::new(start, at), prefix_len);
    if seen >= 0x80 {
        if prefix_len > 0 {
            chars::check_name(name.prefix().of(input))?;
        }
        chars::check_name(name.local().of(input))?;
    }
    Ok(Some(name))
}

/// Refuses two attributes of the same name as written.
#[inline]
fn unique(input: &[u8], attributes: &[Attribute], tag: StartTag) -> Partial<StartTag> {
    for (at, one) in attributes.iter().enumerate() {
        if attributes[..at].iter().any(|other| other.name.is_same(one.name, input)) {
            return Err(PeerMisbehaved::DuplicateAttribute);
        }
    }
    Ok(Some(tag))
}
