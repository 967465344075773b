//! The gateway's end of a link.

use std::collections::BTreeMap;

use super::{
    Again, DECLARES, Full, LinkFault, NAMESPACE, NUMBER, Origin, TOLD, Window, bounds, name_of,
    window_of,
};
use crate::dns::Domain;
use crate::limits;
use crate::xmpp::{
    Element, Node, Read, Reader, ReceivedStanzaError, StanzaError, StreamError, StreamHeader, ns,
    write,
};

/// What came from the edge. `consumed`: bytes of the input that are done with.
#[derive(Clone, Debug)]
pub enum FromEdge<'a, T> {
    /// Nothing whole; at least this many bytes are needed in all.
    NeedMore(usize),
    /// Something that concerns only the link itself.
    Done {
        /// Bytes.
        consumed: usize,
    },
    /// The link is up: stanzas may be sent.
    Up {
        /// Bytes.
        consumed: usize,
    },
    /// A stanza of a partner, which the edge keeps until it hears of [`GatewayEnd::done`].
    Stanza {
        /// The stanza, with the attributes of the link in its tag.
        element: Element<'a>,
        /// Who it is from.
        origin: Origin,
        /// Its number, the same by whichever link of the edge's process it comes.
        number: u64,
        /// Whether it was sent by another link before.
        again: Again,
        /// Bytes.
        consumed: usize,
    },
    /// A partner's stream took a stanza.
    Taken {
        /// Which, and what was kept with it.
        stanza: Unreported<T>,
        /// Bytes.
        consumed: usize,
    },
    /// A stanza could not be delivered.
    Bounced {
        /// Which, and what was kept with it.
        stanza: Unreported<T>,
        /// The error that its sender is to get.
        error: ReceivedStanzaError,
        /// Bytes.
        consumed: usize,
    },
    /// These gateways are linked with the edge, at most [`limits::XMPP_LINKS_MAX`].
    Gateways {
        /// By their names.
        names: Vec<Domain>,
        /// Bytes.
        consumed: usize,
    },
    /// The edge has ended the stream.
    Ended {
        /// Bytes.
        consumed: usize,
    },
}

/// A stanza that the edge has not reported on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreported<T> {
    /// Its number on the link.
    pub number: u64,
    /// The stanza as it was given to [`GatewayEnd::send`].
    pub bytes: Box<[u8]>,
    /// What the caller keeps with it.
    pub tag: T,
}

/// How far the link has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Header,
    Features,
    Up,
    Ended,
}

/// The gateway's end of a link: the side that connects.
///
/// Memory: the stanzas that are not reported on, at most a [`Window`].
#[derive(Debug)]
pub struct GatewayEnd<T> {
    reader: Reader,
    place: Place,
    window: Window,
    unreported: BTreeMap<u64, Unreported<T>>,
    bytes: usize,
    sent: u64,
    /// How many stanzas the edge keeps for us.
    undone: usize,
}

impl<T> GatewayEnd<T> {
    /// Begins a link: appends the header to `out`. `edge` is the name that was connected to.
    #[must_use]
    pub fn connect(gateway: &Domain, edge: &Domain, out: &mut Vec<u8>) -> Self {
        StreamHeader::between(gateway.as_str(), edge.as_str()).write(out);
        Self {
            reader: Reader::new(bounds()),
            place: Place::Header,
            window: Window::CLOSED,
            unreported: BTreeMap::new(),
            bytes: 0,
            sent: 0,
            undone: 0,
        }
    }

    /// Tells whether stanzas may be sent.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.place == Place::Up
    }

    /// Returns how many stanzas the edge has not reported on.
    #[must_use]
    pub fn unreported(&self) -> usize {
        self.unreported.len()
    }

    /// Reads what `input` begins with; what has to be answered is appended to `out`.
    ///
    /// `input` begins with what was not consumed before, as in [`Reader::read`].
    /// # Errors
    /// [`LinkFault`]: the link cannot go on; see [`GatewayEnd::refuse`].
    pub fn read<'a>(
        &mut self,
        input: &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<FromEdge<'a, T>, LinkFault> {
        match self.reader.read(input)? {
            Read::NeedMore(bytes) => Ok(FromEdge::NeedMore(bytes)),
            Read::WhiteSpace { consumed } => Ok(FromEdge::Done { consumed }),
            Read::Header { header, consumed } => {
                if header.from.is_none() || header.id.is_none() {
                    return Err(LinkFault::Nameless);
                }
                self.place = Place::Features;
                Ok(FromEdge::Done { consumed })
            }
            Read::Close { consumed } => {
                self.place = Place::Ended;
                Ok(FromEdge::Ended { consumed })
            }
            Read::Element { element, consumed } => self.element(element, consumed, out),
        }
    }

    fn element<'a>(
        &mut self,
        element: Element<'a>,
        consumed: usize,
        out: &mut Vec<u8>,
    ) -> Result<FromEdge<'a, T>, LinkFault> {
        if let Some(error) = StreamError::read(&element) {
            return Err(LinkFault::Told(error.condition));
        }
        if self.place == Place::Features {
            return self.features(&element, consumed, out);
        }
        if element.stanza().is_some() {
            let origin = Origin::read(&element).ok_or(LinkFault::Accounting)?;
            let number = element.attribute(NUMBER).and_then(|number| number.parse().ok());
            let number = number.ok_or(LinkFault::Accounting)?;
            let again = Again::read(&element);
            if self.undone >= Window::default().stanzas {
                return Err(LinkFault::Window);
            }
            self.undone += 1;
            return Ok(FromEdge::Stanza { element, origin, number, again, consumed });
        }
        if element.namespace() != NAMESPACE {
            return Err(LinkFault::Unexpected);
        }
        match element.name() {
            "taken" => Ok(FromEdge::Taken { stanza: self.report(&element)?, consumed }),
            "gateways" => {
                let names = element.attribute("names").ok_or(LinkFault::Accounting)?;
                let names = names.split_ascii_whitespace().take(limits::XMPP_LINKS_MAX);
                let names = names.filter_map(|name| Domain::parse(name.as_bytes()).ok()).collect();
                Ok(FromEdge::Gateways { names, consumed })
            }
            "bounced" => {
                let error = StanzaError::read(&element).ok_or(LinkFault::Accounting)?;
                Ok(FromEdge::Bounced { stanza: self.report(&element)?, error, consumed })
            }
            _ => Err(LinkFault::Unexpected),
        }
    }

    fn features<'a>(
        &mut self,
        element: &Element<'_>,
        consumed: usize,
        out: &mut Vec<u8>,
    ) -> Result<FromEdge<'a, T>, LinkFault> {
        if !element.is("features", ns::STREAMS) {
            return Err(LinkFault::Unexpected);
        }
        let link = element.child("link", NAMESPACE).ok_or(LinkFault::Version)?;
        let window = window_of(|name| link.attribute(name)?.parse().ok());
        self.window = window.ok_or(LinkFault::Accounting)?;
        self.place = Place::Up;
        super::edge::write_link(Some(TOLD), out);
        Ok(FromEdge::Up { consumed })
    }

    fn report(&mut self, element: &Element<'_>) -> Result<Unreported<T>, LinkFault> {
        let number = element.attribute("n").and_then(|number| number.parse().ok());
        let number: u64 = number.ok_or(LinkFault::Accounting)?;
        let stanza = self.unreported.remove(&number).ok_or(LinkFault::Accounting)?;
        self.bytes -= stanza.bytes.len();
        Ok(stanza)
    }

    /// Sends a stanza, appended to `out`, and keeps it with `tag` until it is reported on. Returns
    /// its number.
    /// # Errors
    /// [`Full`] and `tag`: the link is not up, or its window is used up.
    pub fn send(&mut self, stanza: &Node, tag: T, out: &mut Vec<u8>) -> Result<u64, (Full, T)> {
        let mut bytes = Vec::with_capacity(512);
        stanza.write(&mut bytes);
        self.send_bytes(bytes.into(), tag, out)
    }

    /// The same for a stanza that is written: one element that begins with its name and means the
    /// same on every stream of ours.
    /// # Errors
    /// As [`GatewayEnd::send`].
    pub fn send_bytes(
        &mut self,
        stanza: Box<[u8]>,
        tag: T,
        out: &mut Vec<u8>,
    ) -> Result<u64, (Full, T)> {
        let up = self.is_up();
        if !up || !self.window.admits(self.unreported.len(), self.bytes, stanza.len()) {
            return Err((Full, tag));
        }
        self.sent += 1;
        let number = self.sent;
        let (name, rest) = stanza.split_at(name_of(&stanza));
        out.extend_from_slice(name);
        write::attribute(DECLARES, NAMESPACE, out);
        write::attribute(NUMBER, &number.to_string(), out);
        out.extend_from_slice(rest);
        self.bytes += stanza.len();
        self.unreported.insert(number, Unreported { number, bytes: stanza, tag });
        Ok(number)
    }

    /// Tells the edge that stanzas which came by this link need not be kept any longer: at most
    /// [`limits::XMPP_LINK_DONE_MAX`] at once, some twenty bytes each.
    pub fn done(&mut self, numbers: &[u64], out: &mut Vec<u8>) {
        assert!(numbers.len() <= limits::XMPP_LINK_DONE_MAX, "an element is bounded");
        assert!(numbers.len() <= self.undone, "each stanza is done with once");
        if numbers.is_empty() || !self.is_up() {
            return;
        }
        self.undone -= numbers.len();
        let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
        out.extend_from_slice(b"<done");
        write::attribute("xmlns", NAMESPACE, out);
        write::attribute("n", &numbers.join(" "), out);
        out.extend_from_slice(b"/>");
    }

    /// Appends what keeps a silent link open.
    pub fn keep_alive(&self, out: &mut Vec<u8>) {
        if self.is_up() {
            out.extend_from_slice(write::KEEP_ALIVE);
        }
    }

    /// Ends the stream: nothing more is sent, reports still come until the edge has ended it too.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if self.place != Place::Ended {
            out.extend_from_slice(write::STREAM_END);
        }
        self.place = Place::Ended;
    }

    /// Answers a fault and ends the stream.
    pub fn refuse(&mut self, fault: LinkFault, out: &mut Vec<u8>) {
        if let Some(error) = fault.stream_error() {
            error.write(None, out);
        }
        self.end(out);
    }

    /// Returns what was kept with the stanzas that the edge has not reported on.
    pub fn tags(&self) -> impl Iterator<Item = &T> {
        self.unreported.values().map(|stanza| &stanza.tag)
    }

    /// Takes what the edge has not reported on, in the order it was sent: to be sent by another
    /// link, or bounced.
    pub fn into_unreported(self) -> impl Iterator<Item = Unreported<T>> {
        self.unreported.into_values()
    }
}
