//! The edge's end of a link.

use std::collections::BTreeMap;

use super::{
    AGAIN, Again, DECLARES, Full, KIND, LinkFault, NAMESPACE, NUMBER, Origin, PARTNER, PREFIX,
    PROOF, TOLD, Window, bounds, name_of, window_of,
};
use crate::dns::Domain;
use crate::xmpp::{Element, Read, Reader, StanzaError, StreamError, StreamHeader, write};

/// What came from a gateway. `consumed`: bytes of the input that are done with.
#[derive(Clone, Debug)]
pub enum FromGateway<'a> {
    /// Nothing whole; at least this many bytes are needed in all.
    NeedMore(usize),
    /// Something that concerns only the link itself.
    Done {
        /// Bytes.
        consumed: usize,
    },
    /// The gateway has given its name, which the caller compares with the certificate's.
    Named {
        /// Who it says it is.
        gateway: Domain,
        /// Bytes.
        consumed: usize,
    },
    /// The link is up: stanzas may be sent.
    Up {
        /// Bytes.
        consumed: usize,
    },
    /// A stanza for a partner, to be reported on with its number.
    Stanza {
        /// The stanza, with the attributes of the link in its tag.
        element: Element<'a>,
        /// What to report on.
        number: u64,
        /// Bytes.
        consumed: usize,
    },
    /// The gateway has ended the stream.
    Ended {
        /// Bytes.
        consumed: usize,
    },
}

/// A stanza on its way to a gateway, with the attributes of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    number: u64,
    again: Again,
    bytes: Box<[u8]>,
}

impl Outgoing {
    /// Writes a partner's stanza for a link. `number`: of no other stanza that gateways may still
    /// remember of this edge, its former processes included; greater than those before.
    ///
    /// `None`: the stanza knows the prefix of the link's attributes, so that they could mean
    /// something else in it.
    #[must_use]
    pub fn of(element: &Element<'_>, origin: &Origin, number: u64) -> Option<Self> {
        if element.knows_prefix(PREFIX) {
            return None;
        }
        let mut bytes = Vec::with_capacity(element.raw().len() + 192);
        element.write_with(
            &[
                (DECLARES, Some(NAMESPACE)),
                (NUMBER, Some(&number.to_string())),
                (PARTNER, Some(origin.partner.as_str())),
                (KIND, Some(origin.kind.as_str())),
                (PROOF, Some(origin.proof.as_str())),
            ],
            &mut bytes,
        );
        Some(Self { number, again: Again::No, bytes: bytes.into() })
    }

    /// Returns the stanza as it goes by another link: a gateway may have it already.
    #[must_use]
    pub fn again(self) -> Self {
        Self { again: Again::Yes, ..self }
    }

    /// Returns the bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn write(&self, out: &mut Vec<u8>) {
        let (name, rest) = self.bytes.split_at(name_of(&self.bytes));
        out.extend_from_slice(name);
        if self.again == Again::Yes {
            write::attribute(AGAIN.0, AGAIN.1, out);
        }
        out.extend_from_slice(rest);
    }
}

/// Returns a gateway's stanza as it goes to a partner: without the marks of the link.
#[must_use]
pub fn without_marks(element: &Element<'_>) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(element.raw().len());
    element.write_with(&[(DECLARES, None), (NUMBER, None)], &mut bytes);
    bytes.into()
}

/// How far the link has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Header,
    Link,
    Up,
    Ended,
}

/// The edge's end of a link: the side that listens.
///
/// Memory: the stanzas that the gateway is not done with, at most a [`Window`].
#[derive(Debug)]
pub struct EdgeEnd {
    reader: Reader,
    place: Place,
    edge: Domain,
    id: String,
    /// What the gateway takes.
    window: Window,
    /// What it is not done with, by number.
    kept: BTreeMap<u64, Outgoing>,
    bytes: usize,
    /// The number of the gateway's last stanza.
    number: u64,
    /// Its stanzas that were not reported on.
    unreported: usize,
    telling: Telling,
}

/// Whether the gateway wants to know which others are linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Telling {
    NotAsked,
    Asked,
}

impl EdgeEnd {
    /// Returns the end of a link that has not begun. `id`: the stream's, not to be guessed.
    #[must_use]
    pub fn accept(edge: Domain, id: String) -> Self {
        Self {
            reader: Reader::new(bounds()),
            place: Place::Header,
            edge,
            id,
            window: Window::CLOSED,
            kept: BTreeMap::new(),
            bytes: 0,
            number: 0,
            unreported: 0,
            telling: Telling::NotAsked,
        }
    }

    /// Tells whether stanzas may be sent.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.place == Place::Up
    }

    /// Returns how many stanzas the gateway is not done with.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Reads what `input` begins with; what has to be answered is appended to `out`.
    ///
    /// `input` begins with what was not consumed before, as in [`Reader::read`].
    /// # Errors
    /// [`LinkFault`]: the link cannot go on; see [`EdgeEnd::refuse`].
    pub fn read<'a>(
        &mut self,
        input: &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<FromGateway<'a>, LinkFault> {
        match self.reader.read(input)? {
            Read::NeedMore(bytes) => Ok(FromGateway::NeedMore(bytes)),
            Read::WhiteSpace { consumed } => Ok(FromGateway::Done { consumed }),
            Read::Header { header, consumed } => {
                let from = header.from.as_deref().unwrap_or_default();
                let gateway = Domain::parse(from.as_bytes()).map_err(|_| LinkFault::Nameless)?;
                StreamHeader::between(self.edge.as_str(), gateway.as_str())
                    .with_id(&self.id)
                    .write(out);
                out.extend_from_slice(b"<stream:features>");
                write_link(None, out);
                out.extend_from_slice(b"</stream:features>");
                self.place = Place::Link;
                Ok(FromGateway::Named { gateway, consumed })
            }
            Read::Close { consumed } => {
                self.place = Place::Ended;
                Ok(FromGateway::Ended { consumed })
            }
            Read::Element { element, consumed } => self.element(element, consumed),
        }
    }

    fn element<'a>(
        &mut self,
        element: Element<'a>,
        consumed: usize,
    ) -> Result<FromGateway<'a>, LinkFault> {
        if let Some(error) = StreamError::read(&element) {
            return Err(LinkFault::Told(error.condition));
        }
        if self.place == Place::Link {
            if !element.is("link", NAMESPACE) {
                return Err(LinkFault::Unexpected);
            }
            let window = window_of(|name| element.attribute(name)?.parse().ok());
            self.window = window.ok_or(LinkFault::Accounting)?;
            self.place = Place::Up;
            if element.attribute(TOLD.0).as_deref() == Some(TOLD.1) {
                self.telling = Telling::Asked;
            }
            return Ok(FromGateway::Up { consumed });
        }
        if element.stanza().is_some() {
            let number = element.attribute(NUMBER).and_then(|number| number.parse().ok());
            if number != Some(self.number + 1) {
                return Err(LinkFault::Accounting);
            }
            if self.unreported >= Window::default().stanzas {
                return Err(LinkFault::Window);
            }
            self.number += 1;
            self.unreported += 1;
            return Ok(FromGateway::Stanza { element, number: self.number, consumed });
        }
        if !element.is("done", NAMESPACE) {
            return Err(LinkFault::Unexpected);
        }
        self.done(&element)?;
        Ok(FromGateway::Done { consumed })
    }

    fn done(&mut self, element: &Element<'_>) -> Result<(), LinkFault> {
        let numbers = element.attribute("n").ok_or(LinkFault::Accounting)?;
        for number in numbers.split_ascii_whitespace() {
            let number = number.parse().map_err(|_| LinkFault::Accounting)?;
            let stanza = self.kept.remove(&number).ok_or(LinkFault::Accounting)?;
            self.bytes -= stanza.bytes.len();
        }
        Ok(())
    }

    /// Sends a partner's stanza, appended to `out`, and keeps it until the gateway is done with it.
    /// # Errors
    /// [`Full`] and the stanza: the link is not up, or its window is used up.
    pub fn send(&mut self, stanza: Outgoing, out: &mut Vec<u8>) -> Result<(), (Full, Outgoing)> {
        if !self.admits(stanza.bytes.len()) {
            return Err((Full, stanza));
        }
        stanza.write(out);
        self.bytes += stanza.bytes.len();
        let before = self.kept.insert(stanza.number, stanza);
        assert!(before.is_none(), "a number is one stanza's");
        Ok(())
    }

    /// Tells whether a stanza of so many bytes may be sent.
    #[must_use]
    pub fn admits(&self, bytes: usize) -> bool {
        self.is_up() && self.window.admits(self.kept.len(), self.bytes, bytes)
    }

    /// Tells the gateway which ones are linked, if it has asked to be told; `names` have spaces
    /// between them.
    pub fn tell_gateways(&self, names: &str, out: &mut Vec<u8>) {
        if self.is_up() && self.telling == Telling::Asked {
            out.extend_from_slice(b"<gateways");
            write::attribute("xmlns", NAMESPACE, out);
            write::attribute("names", names, out);
            out.extend_from_slice(b"/>");
        }
    }

    /// Reports that a partner's stream took a stanza.
    pub fn taken(&mut self, number: u64, out: &mut Vec<u8>) {
        assert!(self.unreported > 0, "a stanza is reported on once");
        self.unreported -= 1;
        out.extend_from_slice(b"<taken");
        write::attribute("xmlns", NAMESPACE, out);
        write::attribute("n", &number.to_string(), out);
        out.extend_from_slice(b"/>");
    }

    /// Reports that a stanza could not be delivered.
    pub fn bounced(
        &mut self,
        number: u64,
        error: StanzaError,
        text: Option<&str>,
        out: &mut Vec<u8>,
    ) {
        assert!(self.unreported > 0, "a stanza is reported on once");
        self.unreported -= 1;
        out.extend_from_slice(b"<bounced");
        write::attribute("xmlns", NAMESPACE, out);
        write::attribute("n", &number.to_string(), out);
        out.push(b'>');
        error.write(text, out);
        out.extend_from_slice(b"</bounced>");
    }

    /// Appends what keeps a silent link open.
    pub fn keep_alive(&self, out: &mut Vec<u8>) {
        if self.is_up() {
            out.extend_from_slice(write::KEEP_ALIVE);
        }
    }

    /// Ends the stream, with a stream error if there is one. Nothing more is sent.
    pub fn end(&mut self, error: Option<StreamError>, out: &mut Vec<u8>) {
        if self.place == Place::Ended {
            return;
        }
        if self.place == Place::Header {
            StreamHeader { from: Some(self.edge.to_string()), ..StreamHeader::between("", "") }
                .with_id(&self.id)
                .write(out);
        }
        if let Some(error) = error {
            error.write(None, out);
        }
        out.extend_from_slice(write::STREAM_END);
        self.place = Place::Ended;
    }

    /// Answers a fault and ends the stream.
    pub fn refuse(&mut self, fault: LinkFault, out: &mut Vec<u8>) {
        self.end(fault.stream_error(), out);
    }

    /// Takes what the gateway is not done with, in the order of its numbers: to be sent by another
    /// link, or answered with an error.
    pub fn into_kept(self) -> impl Iterator<Item = Outgoing> {
        self.kept.into_values()
    }
}

/// Appends `<link/>` with the window that this end offers, and what else it says of it.
pub(super) fn write_link(also: Option<(&str, &str)>, out: &mut Vec<u8>) {
    let window = Window::default();
    out.extend_from_slice(b"<link");
    write::attribute("xmlns", NAMESPACE, out);
    write::attribute("stanzas", &window.stanzas.to_string(), out);
    write::attribute("bytes", &window.bytes.to_string(), out);
    if let Some((name, value)) = also {
        write::attribute(name, value, out);
    }
    out.extend_from_slice(b"/>");
}
