//! The steps of the scan within one first-level element.

use super::{Mode, Reader, Step, Stepped};
use crate::xmpp::chars;
use crate::xmpp::element::FirstTag;
use crate::xmpp::fault::PeerMisbehaved;
use crate::xmpp::tag::{self, Closes, StartTag};

impl Reader {
    #[inline]
    pub(super) fn text(&mut self, input: &[u8]) -> Stepped {
        let rest = input.get(self.at..).unwrap_or_default();
        let Some(found) = memchr::memchr3(b'<', b'&', b'>', rest) else {
            self.at = input.len();
            return Ok(Step::Out);
        };
        let found = self.at + found;
        match input.get(found) {
            Some(b'<') => {
                self.tag = found;
                self.mode = Mode::Tag;
                self.at = found;
            }
            Some(b'&') => match chars::reference(&input[found..])? {
                Some((len, _)) => self.at = found + len,
                None => {
                    self.at = found;
                    return Ok(Step::Out);
                }
            },
            // XML 1.0 section 2.4: `]]>` ends a CDATA section and nothing else.
            _ if input[..found].ends_with(b"]]") => return Err(PeerMisbehaved::Syntax),
            _ => self.at = found + 1,
        }
        Ok(Step::On)
    }

    #[inline]
    pub(super) fn tag(&mut self, input: &[u8]) -> Stepped {
        match input.get(self.tag + 1) {
            None => Ok(Step::Out),
            Some(b'/') => self.end_tag(input),
            Some(b'!') => {
                const OPENS: &[u8] = b"<![CDATA[";
                let there = &input[self.tag..input.len().min(self.tag + OPENS.len())];
                if !OPENS.starts_with(there) {
                    return Err(Self::bang(input, self.tag));
                }
                if there.len() < OPENS.len() {
                    return Ok(Step::Out);
                }
                if self.open.is_empty() {
                    return Err(PeerMisbehaved::TextBetweenStanzas);
                }
                self.at = self.tag + OPENS.len();
                self.mode = Mode::CData;
                Ok(Step::On)
            }
            Some(b'?') => Err(PeerMisbehaved::ProcessingInstruction),
            Some(_) => match self.start_tag(input)? {
                Some(tag) => self.enter(input, tag),
                None => Ok(Step::Out),
            },
        }
    }

    /// Returns what is wrong with what begins with `<!`.
    #[cold]
    pub(super) fn bang(input: &[u8], at: usize) -> PeerMisbehaved {
        match input.get(at + 2) {
            Some(b'-') => PeerMisbehaved::Comment,
            Some(b'[') => PeerMisbehaved::Syntax,
            _ => PeerMisbehaved::Doctype,
        }
    }

    /// Reads the start tag at `self.tag`, or begins to search for its end.
    #[inline]
    pub(super) fn start_tag(&mut self, input: &[u8]) -> Result<Option<StartTag>, PeerMisbehaved> {
        let read = tag::start_tag(input, self.tag, &self.bounds, &mut self.attributes)?;
        if read.is_none() {
            self.at = self.tag + 1;
            self.mode = Mode::TagEnd;
            self.tag_end(input)?;
        }
        Ok(read)
    }

    /// Searches for the `>` of a start tag that was not whole.
    #[cold]
    pub(super) fn tag_end(&mut self, input: &[u8]) -> Stepped {
        loop {
            let rest = input.get(self.at..).unwrap_or_default();
            let found = match self.mode {
                Mode::Quoted(quote) => memchr::memchr2(quote, b'<', rest),
                _ => rest.iter().position(|byte| matches!(byte, b'>' | b'<' | b'\'' | b'"')),
            };
            let Some(found) = found else {
                self.at = input.len();
                return Ok(Step::Out);
            };
            self.at += found + 1;
            self.mode = match (self.mode, rest.get(found)) {
                (_, Some(b'<')) => return Err(PeerMisbehaved::Syntax),
                (Mode::Quoted(_), _) => Mode::TagEnd,
                (_, Some(b'>')) => {
                    self.mode = Mode::Tag;
                    return Ok(Step::On);
                }
                (_, quote) => Mode::Quoted(*quote.unwrap_or(&b'"')),
            };
        }
    }

    #[inline]
    pub(super) fn enter(&mut self, input: &[u8], tag: StartTag) -> Stepped {
        let depth = self.open.len() + 1;
        if depth > usize::from(self.bounds.depth) {
            return Err(PeerMisbehaved::TooDeep);
        }
        let depth_16 = depth as u16;
        let bound = self.scope.enter(input, tag.name, &self.attributes, depth_16, &self.context)?;
        if depth == 1 {
            self.first = FirstTag::of(input, &tag, bound, &self.attributes);
        }
        self.mode = Mode::Text;
        self.at = tag.end;
        match tag.closes {
            Closes::Later => {
                self.open.push(tag.name.whole);
                Ok(Step::On)
            }
            Closes::Itself => {
                self.scope.leave(depth);
                Ok(if depth == 1 { Step::Item } else { Step::On })
            }
        }
    }

    #[inline]
    pub(super) fn end_tag(&mut self, input: &[u8]) -> Stepped {
        let expected = self.open.last().map_or(&*self.root, |open| open.of(input));
        let from = self.tag + 2;
        let name_end = from + expected.len();
        let there = &input[from..input.len().min(name_end)];
        // Names are so short that a call to compare them costs more than a loop.
        if there.iter().zip(expected).any(|(one, other)| one != other) {
            return Err(PeerMisbehaved::EndTag);
        }
        // White space may follow; it is not skipped twice.
        self.at = chars::skip_space(input, self.at.max(name_end));
        match input.get(self.at) {
            None => {
                self.at = self.at.min(input.len());
                return Ok(Step::Out);
            }
            Some(b'>') => self.at += 1,
            Some(_) => return Err(PeerMisbehaved::EndTag),
        }
        let depth = self.open.len();
        self.open.pop();
        self.scope.leave(depth);
        self.mode = Mode::Text;
        Ok(if depth <= 1 { Step::Item } else { Step::On })
    }

    pub(super) fn cdata(&mut self, input: &[u8]) -> Stepped {
        let rest = input.get(self.at..).unwrap_or_default();
        match memchr::memmem::find(rest, b"]]>") {
            Some(found) => {
                self.at += found + 3;
                self.mode = Mode::Text;
                Ok(Step::On)
            }
            None => {
                // Two bytes of its end may be there.
                self.at = self.at.max(input.len().saturating_sub(2));
                Ok(Step::Out)
            }
        }
    }
}
