//! Frames on TCP: one byte of kind, a zero, two bytes of length.

use super::numbers::{FRAME_CONTROL, FRAME_DATA};

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A message of the dialect.
    Control,
    /// Data from or to the active destination.
    Data,
}

/// A frame that has come whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it carries.
    pub kind: FrameKind,
    /// Its content.
    pub content: &'a [u8],
}

/// Bytes before the content of a frame.
pub const FRAME_HEADER_BYTES: usize = 4;

impl<'a> Frame<'a> {
    /// Takes the first frame of a stream; `Ok(None)` until it is whole.
    ///
    /// # Errors
    /// [`NotFramed`] for another kind of frame: the connection is to be closed.
    pub fn read(stream: &'a [u8]) -> Result<Option<Self>, NotFramed> {
        let kind = match stream.first() {
            None => return Ok(None),
            Some(&FRAME_CONTROL) => FrameKind::Control,
            Some(&FRAME_DATA) => FrameKind::Data,
            Some(_) => return Err(NotFramed),
        };
        let Some((&[_, _, l0, l1], rest)) = stream.split_first_chunk() else { return Ok(None) };
        let content = rest.get(..usize::from(u16::from_be_bytes([l0, l1])));
        Ok(content.map(|content| Self { kind, content }))
    }

    /// Returns the header to write before a content of `length` bytes.
    #[must_use]
    pub const fn header(kind: FrameKind, length: u16) -> [u8; FRAME_HEADER_BYTES] {
        let [l0, l1] = length.to_be_bytes();
        let kind = match kind {
            FrameKind::Control => FRAME_CONTROL,
            FrameKind::Data => FRAME_DATA,
        };
        [kind, 0, l0, l1]
    }
}

/// A stream that is not one of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream does not go on with a frame")]
pub struct NotFramed;
