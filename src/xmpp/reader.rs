//! The reader: where one XML stream is cut into its header, its first-level elements, the white
//! space between them, and its end.
//!
//! ```text
//!  <?xml version='1.0'?><stream:stream ...><message ...><body>Hi</body></message> <presence .../>
//!  |--------------- Header ---------------|------------- Element ---------------|^|-- NeedMore --
//!                                                                     WhiteSpace ┘
//! ```
//!
//! An element is scanned tag by tag. What the reader keeps of it are the places of the open tags
//! and of the declarations, since the same bytes are there again at the next call. A tag that is
//! not whole is searched for its end only; it is read once its end is there. So every byte is
//! looked at a fixed number of times, however the stream is cut.

use std::sync::Arc;

use super::bounds::Bounds;
use super::chars;

mod steps;
use super::element::{Element, FirstTag};
use super::fault::PeerMisbehaved;
use super::header::{self, StreamHeader};
use super::scope::{Context, Scope};
use super::tag::{Attribute, Span, StartTag};

/// What the input begins with.
#[derive(Clone, Debug)]
pub enum Read<'a> {
    /// Nothing whole; at least this many bytes are needed in all.
    NeedMore(usize),
    /// The stream header, with the XML declaration before it.
    Header {
        /// What it says. Nothing in it has been judged but its namespace.
        header: StreamHeader,
        /// Bytes to drop.
        consumed: usize,
    },
    /// A first-level element: a stanza, features, an error, a step of negotiation.
    Element {
        /// The element.
        element: Element<'a>,
        /// Bytes to drop: those of the element.
        consumed: usize,
    },
    /// White space between elements, which keeps a silent stream open.
    WhiteSpace {
        /// Bytes to drop.
        consumed: usize,
    },
    /// The end of the stream.
    Close {
        /// Bytes to drop.
        consumed: usize,
    },
}

/// Reads one direction of an XMPP stream.
///
/// Memory: a few hundred bytes, and 8 bytes for each open element of the one that is being read.
#[derive(Debug)]
pub struct Reader {
    bounds: Bounds,
    place: Place,
    mode: Mode,
    /// Where scanning goes on.
    at: usize,
    /// Where the tag that is being scanned begins.
    tag: usize,
    /// Up to here the characters of an incomplete item have been checked.
    checked: usize,
    /// Bytes consumed over all restarts.
    taken: u64,
    /// Names of the open elements.
    open: Vec<Span>,
    attributes: Vec<Attribute>,
    scope: Scope,
    first: FirstTag,
    context: Arc<Context>,
    /// The name in the tag that opened the stream.
    root: Box<[u8]>,
}

/// How far the stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing was read.
    Start,
    /// The XML declaration was.
    Declared,
    /// The header was.
    Open,
    /// Its end was.
    Closed,
    /// The peer misbehaved: the stream cannot be followed.
    Lost,
}

/// What is being scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Nothing yet, or what is between tags.
    Text,
    /// A tag that is tried to be read.
    Tag,
    /// A start tag whose end is searched, outside of quotes.
    TagEnd,
    /// The same, inside of these quotes.
    Quoted(u8),
    /// A CDATA section.
    CData,
}

/// The step of a scan: it went on, it is at the end of an item, or it ran out of input.
enum Step {
    On,
    Item,
    Out,
}

type Stepped = Result<Step, PeerMisbehaved>;

impl Reader {
    /// Returns a reader for a stream that has not begun.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            place: Place::Start,
            mode: Mode::Text,
            at: 0,
            tag: 0,
            checked: 0,
            taken: 0,
            open: Vec::new(),
            attributes: Vec::new(),
            scope: Scope::default(),
            first: FirstTag::default(),
            context: Arc::default(),
            root: Box::default(),
        }
    }

    /// Begins the stream anew, as after STARTTLS and SASL (RFC 6120 sections 5.4.3.3 and 6.4.6).
    /// What was presented and not consumed must be dropped after STARTTLS and presented again after
    /// SASL.
    pub fn restart(&mut self) {
        self.place = Place::Start;
        self.context = Arc::default();
        self.begin_item();
    }

    /// Sets the bounds; those of an authenticated peer after it has proved who it is.
    pub const fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Returns how many bytes were consumed, over all restarts.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// Tells whether the header was read and the stream has not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.place == Place::Open
    }

    /// Finds what `input` begins with.
    ///
    /// `input` begins with what was not consumed before, the same bytes again, with more behind.
    /// Copies nothing but the header's attributes.
    /// Hot: once per stanza. Bench `xmpp/element_250`; budget 400 ns.
    /// # Errors
    /// [`PeerMisbehaved`]: answer with its stream error and close; from then on only errors come.
    /// Source: RFC 6120 sections 4 and 11.
    pub fn read<'a>(&mut self, input: &'a [u8]) -> Result<Read<'a>, PeerMisbehaved> {
        let read = self.item(input);
        if read.is_err() {
            self.place = Place::Lost;
        }
        read
    }

    fn item<'a>(&mut self, input: &'a [u8]) -> Result<Read<'a>, PeerMisbehaved> {
        match self.place {
            Place::Start | Place::Declared => self.header(input),
            Place::Open if self.open.is_empty() && self.mode == Mode::Text => self.between(input),
            Place::Open => self.element(input),
            Place::Closed if input.iter().all(|byte| chars::is_space(*byte)) => {
                if input.is_empty() {
                    return Ok(Read::NeedMore(1));
                }
                self.take(input.len())?;
                Ok(Read::WhiteSpace { consumed: input.len() })
            }
            Place::Closed | Place::Lost => Err(PeerMisbehaved::AfterTheEnd),
        }
    }

    fn header<'a>(&mut self, input: &'a [u8]) -> Result<Read<'a>, PeerMisbehaved> {
        loop {
            match self.mode {
                Mode::Text => {
                    self.at = chars::skip_space(input, self.at);
                    match (input.get(self.at), input.get(self.at + 1)) {
                        (None, _) | (Some(b'<'), None) => return self.more_header(input),
                        (Some(b'<'), Some(b'?')) => {
                            if self.place != Place::Start || self.at != 0 {
                                return Err(PeerMisbehaved::ProcessingInstruction);
                            }
                            match header::declaration(input)? {
                                Some(end) => self.at = end,
                                None => return self.more_header(input),
                            }
                            self.place = Place::Declared;
                        }
                        (Some(b'<'), Some(b'!')) => return Err(Self::bang(input, self.at)),
                        (Some(b'<'), Some(_)) => {
                            self.tag = self.at;
                            self.mode = Mode::Tag;
                        }
                        (Some(_), _) => {
                            chars::text(&input[self.at..])?;
                            return Err(PeerMisbehaved::Syntax);
                        }
                    }
                }
                Mode::Tag => match self.start_tag(input)? {
                    Some(tag) => return self.open_stream(input, tag),
                    None => return self.more_header(input),
                },
                Mode::TagEnd | Mode::Quoted(_) => {
                    if let Step::Out = self.tag_end(input)? {
                        return self.more_header(input);
                    }
                }
                Mode::CData => return Err(PeerMisbehaved::Syntax),
            }
        }
    }

    fn more_header<'a>(&mut self, input: &'a [u8]) -> Result<Read<'a>, PeerMisbehaved> {
        if input.len() >= self.bounds.header_bytes as usize {
            return Err(PeerMisbehaved::HeaderTooLarge);
        }
        self.more(input)
    }

    fn open_stream<'a>(
        &mut self,
        input: &'a [u8],
        tag: StartTag,
    ) -> Result<Read<'a>, PeerMisbehaved> {
        if tag.end > self.bounds.header_bytes as usize {
            return Err(PeerMisbehaved::HeaderTooLarge);
        }
        let text = chars::text(&input[..tag.end])?;
        let none = Context::default();
        self.scope.clear();
        let bound = self.scope.enter(input, tag.name, &self.attributes, 0, &none)?;
        let context = header::context(text, &self.attributes)?;
        let header = header::read(text, &tag, bound, &self.attributes, &context)?;
        self.context = Arc::new(context);
        self.root = tag.name.whole.of(input).into();
        self.place = Place::Open;
        self.take(tag.end)?;
        Ok(Read::Header { header, consumed: tag.end })
    }

    /// Reads at the first level, where there may be white space, an element, or the stream's end.
    fn between<'a>(&mut self, input: &'a [u8]) -> Result<Read<'a>, PeerMisbehaved> {
        match input.first() {
            None => Ok(Read::NeedMore(1)),
            Some(b'<') => {
                self.tag = 0;
                self.mode = Mode::Tag;
                self.scope.clear();
                self.element(input)
            }
            Some(byte) if chars::is_space(*byte) => {
                let consumed = chars::skip_space(input, 0);
                self.take(consumed)?;
                Ok(Read::WhiteSpace { consumed })
            }
            Some(_) => {
                chars::text(input)?;
                Err(PeerMisbehaved::TextBetweenStanzas)
            }
        }
    }

    fn element<'a>(&mut self, input: &'a [u8]) -> Result<Read<'a>, PeerMisbehaved> {
        loop {
            let step = match self.mode {
                Mode::Text => self.text(input),
                Mode::Tag => self.tag(input),
                Mode::TagEnd | Mode::Quoted(_) => self.tag_end(input),
                Mode::CData => self.cdata(input),
            };
            match step? {
                Step::On => {}
                Step::Item if self.tag == 0 && input.get(1) == Some(&b'/') => {
                    return self.close(input);
                }
                Step::Item => return self.whole(input),
                Step::Out => {
                    if input.len() >= self.bounds.element_bytes as usize {
                        return Err(PeerMisbehaved::ElementTooLarge);
                    }
                    return self.more(input);
                }
            }
        }
    }

    /// Takes the element that ends where scanning stands.
    fn whole<'a>(&mut self, input: &'a [u8]) -> Result<Read<'a>, PeerMisbehaved> {
        let consumed = self.at;
        if consumed > self.bounds.element_bytes as usize {
            return Err(PeerMisbehaved::ElementTooLarge);
        }
        let raw = input.get(..consumed).unwrap_or_default();
        let text = chars::text(raw)?;
        let inherited = self.scope.inherited;
        let element = Element::new(text, self.first, inherited, Arc::clone(&self.context));
        self.take(consumed)?;
        Ok(Read::Element { element, consumed })
    }

    fn close<'a>(&mut self, input: &'a [u8]) -> Result<Read<'a>, PeerMisbehaved> {
        let consumed = self.at;
        chars::text(input.get(..consumed).unwrap_or_default())?;
        self.take(consumed)?;
        self.place = Place::Closed;
        Ok(Read::Close { consumed })
    }

    fn bytes_left(&self) -> u64 {
        self.bounds.stream_bytes.saturating_sub(self.taken)
    }

    /// Counts what is consumed, and begins the next item.
    fn take(&mut self, consumed: usize) -> Result<(), PeerMisbehaved> {
        if consumed as u64 > self.bytes_left() {
            return Err(PeerMisbehaved::TooManyBytes);
        }
        self.taken += consumed as u64;
        self.begin_item();
        Ok(())
    }

    fn begin_item(&mut self) {
        self.mode = Mode::Text;
        self.at = 0;
        self.tag = 0;
        self.checked = 0;
        self.open.clear();
    }

    /// Waits for more, after a look at the characters that are there.
    fn more<'a>(&mut self, input: &'a [u8]) -> Result<Read<'a>, PeerMisbehaved> {
        let fresh = input.get(self.checked..).unwrap_or_default();
        self.checked += chars::text(fresh)?.len();
        if input.len() as u64 >= self.bytes_left() {
            return Err(PeerMisbehaved::TooManyBytes);
        }
        Ok(Read::NeedMore(input.len() + 1))
    }
}
