//! One client's stream: which layers it has, found by its first bytes, and its messages one by one.
//!
//! ```text
//! 0x16 and the Microsoft hello to the byte ──> a hello back, nothing encrypted ──┐
//! 0x16 otherwise ─────────────────────────────> TLS ─────────────────────────────┤
//! anything else ──────────────────────────────> as it is ────────────────────────┤
//!                          2 or 3: frames of the Microsoft dialect <── first byte ┴─> RFC 8656
//! ```

use std::sync::Arc;

use crate::edge::av::Around;
use crate::limits;
use crate::stun::ms::{self, Frame, FrameKind};
use crate::stun::{ChannelData, Protocol};
use crate::tls::{Server, Session, State};

/// The layers of a stream, and what of it is on its way through them.
pub(super) struct Stream {
    layer: Layer,
    framing: Framing,
    /// Bytes of the layer that are less than a record or a hello.
    sealed: Vec<u8>,
    /// Bytes of messages that are not whole.
    open: Vec<u8>,
    /// A message that is being sealed.
    message: Vec<u8>,
    /// One could not be.
    unsealed: bool,
    /// What is to be written; the first `written` bytes are.
    out: Vec<u8>,
    written: usize,
}

enum Layer {
    /// Nothing has come.
    Unknown,
    /// Bytes are as they are.
    Plain,
    Tls(Box<Session>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Unknown,
    /// Messages and channel data follow each other (RFC 8656 section 12.5).
    Rfc,
    /// Each in a frame.
    Microsoft,
    /// There are no messages any more: bytes are a peer's.
    Raw,
}

/// Why a stream has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// It is none of what may come here, or its TLS failed.
    Nonsense,
    /// A message is longer than any that is relayed.
    Oversized,
    /// The peer has said that nothing more comes.
    Closed,
}

/// A message of a client, as a place in what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Where it begins.
    pub(super) start: usize,
    /// Its bytes.
    pub(super) length: usize,
    /// Where the next one begins.
    pub(super) next: usize,
    /// What its frame says it is, where there are frames.
    pub(super) kind: Option<FrameKind>,
}

impl Stream {
    pub(super) const fn new() -> Self {
        Self {
            layer: Layer::Unknown,
            framing: Framing::Unknown,
            sealed: Vec::new(),
            open: Vec::new(),
            message: Vec::new(),
            unsealed: false,
            out: Vec::new(),
            written: 0,
        }
    }

    /// Takes bytes of the socket. `server`: how TLS is accepted here, where it is; `random`: bytes
    /// for the Microsoft hello.
    pub(super) fn take(
        &mut self,
        input: &mut [u8],
        server: Option<&Arc<Server>>,
        random: impl FnOnce() -> [u8; 32],
    ) -> Result<(), Broken> {
        if !matches!(self.layer, Layer::Unknown) && self.sealed.is_empty() {
            return self.pass(input);
        }
        let mut joined = std::mem::take(&mut self.sealed);
        joined.extend_from_slice(input);
        if matches!(self.layer, Layer::Unknown) {
            let first = *joined.first().ok_or(Broken::Nonsense)?;
            if first != TLS_HANDSHAKE {
                self.layer = Layer::Plain;
            } else {
                match ms::is_client_hello(&joined) {
                    None => {
                        self.sealed = joined;
                        return Ok(());
                    }
                    Some(true) => {
                        self.out.extend_from_slice(&ms::server_hello(random(), [0; 32]));
                        self.layer = Layer::Plain;
                        self.framing = Framing::Microsoft;
                        joined.drain(..ms::CLIENT_HELLO_BYTES);
                    }
                    Some(false) => {
                        let server = server.ok_or(Broken::Nonsense)?;
                        let session = Session::server(server).map_err(|_| Broken::Nonsense)?;
                        self.layer = Layer::Tls(Box::new(session));
                    }
                }
            }
        }
        self.pass(&mut joined)
    }

    /// Passes bytes through the layer.
    fn pass(&mut self, input: &mut [u8]) -> Result<(), Broken> {
        match &mut self.layer {
            Layer::Unknown => Ok(()),
            Layer::Plain => {
                self.open.extend_from_slice(input);
                Ok(())
            }
            Layer::Tls(session) => {
                let open = &mut self.open;
                let fed = session
                    .feed(input, &mut self.out, |plain| open.extend_from_slice(plain))
                    .map_err(|_| Broken::Nonsense)?;
                self.sealed.extend_from_slice(input.get(fed.consumed..).unwrap_or_default());
                match fed.state {
                    State::PeerClosed => Err(Broken::Closed),
                    State::Handshaking | State::Established => Ok(()),
                }
            }
        }
    }

    /// Returns the message that begins at `at` of what came; `None` until it is whole.
    pub(super) fn next(&mut self, came: &[u8], at: usize) -> Result<Option<Cut>, Broken> {
        let left = came.get(at..).unwrap_or_default();
        let Some(first) = left.first() else { return Ok(None) };
        if self.framing == Framing::Unknown {
            self.framing =
                if Frame::read(left).is_ok() { Framing::Microsoft } else { Framing::Rfc };
        }
        let mut kind = None;
        let (head, length, next) = match self.framing {
            Framing::Raw => return Err(Broken::Nonsense),
            Framing::Microsoft => {
                let frame = Frame::read(left).map_err(|_| Broken::Nonsense)?;
                kind = frame.map(|frame| frame.kind);
                let &[_, _, l0, l1, ..] = left else { return Ok(None) };
                let length = usize::from(u16::from_be_bytes([l0, l1]));
                (ms::FRAME_HEADER_BYTES, length, ms::FRAME_HEADER_BYTES + length)
            }
            Framing::Rfc | Framing::Unknown => match Protocol::of(*first) {
                Protocol::Stun => {
                    let &[_, _, l0, l1, ..] = left else { return Ok(None) };
                    let length = STUN_HEADER_BYTES + usize::from(u16::from_be_bytes([l0, l1]));
                    (0, length, length)
                }
                _ if matches!(first, 0x40..=0x7f) => {
                    let Some(padded) = ChannelData::length_in_stream(left) else { return Ok(None) };
                    (0, padded, padded)
                }
                _ => return Err(Broken::Nonsense),
            },
        };
        if length > limits::RELAY_STREAM_MESSAGE_BYTES_MAX {
            return Err(Broken::Oversized);
        }
        Ok((left.len() >= next).then_some(Cut { start: at + head, length, next: at + next, kind }))
    }

    /// Returns what came, for the places of [`Self::next`].
    pub(super) fn came(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.open)
    }

    /// Gives back what [`Self::came`] gave, of which `done` bytes are done with.
    pub(super) fn keep(&mut self, mut came: Vec<u8>, done: usize) {
        came.drain(..done);
        came.extend_from_slice(&self.open);
        // One that says nothing holds nothing.
        self.open = if came.is_empty() { Vec::new() } else { came };
    }

    /// Takes what comes from here on for a peer's bytes, and what goes for bytes of one.
    pub(super) const fn make_raw(&mut self) {
        self.framing = Framing::Raw;
    }

    /// Exchanges what came for an empty buffer; returns how many bytes it was.
    pub(super) const fn swap_raw(&mut self, empty: &mut Vec<u8>) -> usize {
        std::mem::swap(&mut self.open, empty);
        empty.len()
    }

    /// Stages bytes of a peer.
    pub(super) fn give_raw(&mut self, bytes: &[u8]) {
        self.stage(FrameKind::Data, &[bytes], 0);
    }

    /// Stages the end of what is sent. Tells whether more may come all the same: TLS ends both ways
    /// at once here.
    pub(super) fn end(&mut self) -> bool {
        match &mut self.layer {
            Layer::Tls(session) => {
                session.close_notify(&mut self.out);
                false
            }
            Layer::Plain | Layer::Unknown => true,
        }
    }

    /// Returns bytes that wait to be written.
    pub(super) fn backlog(&self) -> usize {
        self.out.len() - self.written
    }

    /// Stages an answer.
    pub(super) fn answer(&mut self, answer: &[u8]) {
        self.stage(FrameKind::Control, &[answer], 0);
    }

    /// Stages what a peer has sent; tells whether there was room, which answers have still.
    pub(super) fn deliver(&mut self, around: &Around, head: &[u8], payload: &[u8]) -> bool {
        if self.backlog() + payload.len() > DATA_BYTES_MAX {
            return false;
        }
        match around {
            Around::Channel(header) => {
                let padding = payload.len().next_multiple_of(4) - payload.len();
                self.stage(FrameKind::Data, &[header, payload], padding);
            }
            Around::Indication { padding } => {
                self.stage(FrameKind::Control, &[head, payload], usize::from(*padding));
            }
            Around::Bare => self.stage(FrameKind::Data, &[payload], 0),
        }
        true
    }

    /// Writes a message behind what is to be written.
    ///
    /// COMPAT(coturn's clients, 4.6): they take what one record holds for one message, so that a
    /// second one in it is lost. Each message is a record of its own.
    fn stage(&mut self, kind: FrameKind, parts: &[&[u8]], padding: usize) {
        let is_tls = matches!(self.layer, Layer::Tls(_));
        let to = if is_tls { &mut self.message } else { &mut self.out };
        to.truncate(if is_tls { 0 } else { to.len() });
        if self.framing == Framing::Microsoft {
            let length = parts.iter().map(|part| part.len()).sum::<usize>() + padding;
            to.extend_from_slice(&Frame::header(kind, length as u16));
        }
        for part in parts {
            to.extend_from_slice(part);
        }
        to.resize(to.len() + padding, 0);
        if let Layer::Tls(session) = &mut self.layer {
            self.unsealed |= session.seal(&self.message, &mut self.out).is_err();
        }
    }

    /// Returns what is to be written.
    pub(super) fn outgoing(&self) -> Result<&[u8], Broken> {
        if self.unsealed {
            return Err(Broken::Nonsense);
        }
        Ok(&self.out[self.written..])
    }

    /// Notes that the kernel took `bytes` of [`Self::outgoing`].
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written == self.out.len() {
            self.written = 0;
            self.out.clear();
            self.out.shrink_to(limits::RELAY_STREAM_MESSAGE_BYTES_MAX);
        }
    }
}

/// Bytes that wait to be written with which a peer's are not taken any more.
const DATA_BYTES_MAX: usize =
    limits::RELAY_STREAM_OUT_BYTES_MAX - limits::RELAY_STREAM_ANSWERS_BYTES;
/// First byte of a TLS record that carries a hello.
const TLS_HANDSHAKE: u8 = 0x16;
/// Bytes of a STUN header, of either dialect.
const STUN_HEADER_BYTES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that was sent more video than it read was let go of when it refreshed its
    /// allocation, as often as what waited for it came within an answer of the bound.
    #[test]
    fn what_waits_for_who_reads_nothing_is_bounded_and_leaves_room_for_answers() {
        let channel = Around::Channel([0x40, 0, 0, 0]);
        let indication = Around::Indication { padding: 3 };
        for around in [channel, indication] {
            for before in 0..300 {
                let mut stream = Stream::new();
                stream.answer(&vec![0; before]);
                // Bound: the stream's own.
                while stream.deliver(&around, &[0; 60], &[0; 1_001]) {}
                let left = limits::RELAY_STREAM_OUT_BYTES_MAX - stream.backlog();
                assert!((1_000..=10_000).contains(&left), "{left}");
            }
        }
    }

    #[test]
    fn what_the_kernel_took_makes_room_again() {
        let around = Around::Channel([0x40, 0, 0, 0]);
        let mut stream = Stream::new();
        while stream.deliver(&around, &[], &[0; 1_200]) {}
        let waits = stream.outgoing().expect("whole").len();
        assert_eq!(waits, stream.backlog());
        stream.wrote(2_000);
        assert!(stream.deliver(&around, &[], &[0; 1_200]));
        stream.wrote(stream.backlog());
        assert_eq!(stream.backlog(), 0);
        assert!(stream.out.capacity() <= limits::RELAY_STREAM_MESSAGE_BYTES_MAX, "and memory");
    }
}
