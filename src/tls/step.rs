//! The library's states, one at a time: what each wants done with bytes.

use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus,
};
use rustls::{Error, InvalidMessage};

use super::fault::Fault;
use crate::limits;

/// Added to the plaintext of a record: header, explicit nonce or content type, tag.
const RECORD_OVERHEAD_BYTES: usize = 5 + 8 + 1 + 16;

/// What one step of the library came to.
pub(super) struct Step {
    /// Bytes of the input that are done with.
    pub(super) discard: usize,
    /// How to go on.
    pub(super) next: Next,
}

pub(super) enum Next {
    Again,
    Blocked,
    PeerClosed,
    Failed(Error),
}

/// Handles one state of the library.
#[inline]
pub(super) fn step<D>(
    status: UnbufferedStatus<'_, '_, D>,
    out: &mut Vec<u8>,
    sink: &mut impl FnMut(&[u8]),
) -> Step {
    let mut discard = status.discard;
    let next = match status.state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    discard += record.discard;
                    sink(record.payload);
                }
                Some(Err(error)) => break Next::Failed(error),
                None => break Next::Again,
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut chunk)) => match append_chunk(&mut chunk, out) {
            Ok(()) => Next::Again,
            Err(error) => Next::Failed(error),
        },
        Ok(ConnectionState::TransmitTlsData(transmit)) => {
            transmit.done();
            Next::Again
        }
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Next::PeerClosed,
        Ok(ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake) => Next::Blocked,
        // Early data is never offered; a state that a later library may add is no progress.
        Ok(_) => Next::Failed(Error::General("an unexpected state of the library".to_owned())),
        Err(error) => Next::Failed(error),
    };
    Step { discard, next }
}

fn append_chunk<D>(chunk: &mut EncodeTlsData<'_, D>, out: &mut Vec<u8>) -> Result<(), Error> {
    let Err(EncodeError::InsufficientSize(size)) = chunk.encode(&mut []) else {
        return Ok(());
    };
    let start = out.len();
    out.resize(start + size.required_size, 0);
    let space = out.get_mut(start..).unwrap_or_default();
    chunk.encode(space).map(|_| ()).map_err(|error| Error::General(error.to_string()))
}

/// What is to be written on an open connection.
pub(super) enum Writing<'a> {
    Plaintext(&'a [u8]),
    CloseNotify,
}

impl Writing<'_> {
    /// Returns the ciphertext's size at most, in bytes.
    const fn room(&self) -> usize {
        match self {
            Self::Plaintext(plaintext) => {
                let records = plaintext.len().div_ceil(limits::TLS_RECORD_BYTES_MAX);
                plaintext.len() + records * RECORD_OVERHEAD_BYTES
            }
            Self::CloseNotify => 2 + RECORD_OVERHEAD_BYTES,
        }
    }
}

/// Writes if the library is ready to, else takes one step towards it; says whether it wrote.
#[inline]
pub(super) fn try_write<D>(
    status: UnbufferedStatus<'_, '_, D>,
    what: &Writing<'_>,
    out: &mut Vec<u8>,
) -> Result<bool, Fault> {
    let mut traffic = match status.state.map_err(Fault::internal)? {
        ConnectionState::WriteTraffic(traffic) => traffic,
        ConnectionState::EncodeTlsData(mut chunk) => {
            return append_chunk(&mut chunk, out).map(|()| false).map_err(Fault::internal);
        }
        ConnectionState::TransmitTlsData(transmit) => {
            transmit.done();
            return Ok(false);
        }
        _ => return Err(Fault::NotOpen),
    };
    let start = out.len();
    let mut room = what.room();
    // Bound: a second turn only if an answer to a key update goes first and needs room too.
    loop {
        out.resize(start + room, 0);
        let space = out.get_mut(start..).unwrap_or_default();
        let written = match what {
            Writing::Plaintext(plaintext) => traffic.encrypt(plaintext, space),
            Writing::CloseNotify => traffic.queue_close_notify(space),
        };
        match written {
            Ok(bytes) => {
                out.truncate(start + bytes);
                return Ok(true);
            }
            Err(EncryptError::InsufficientSize(size)) if size.required_size > room => {
                room = size.required_size;
            }
            Err(_) => {
                out.truncate(start);
                return Err(Fault::KeysExhausted);
            }
        }
    }
}

/// Says whether `bytes` begins with a whole record. All whole records having been processed, that
/// is one the library still refers to.
pub(super) fn begins_with_record(bytes: &[u8]) -> bool {
    const HEADER_BYTES: usize = 5;
    let Some(&[_, _, _, high, low]) = bytes.first_chunk::<HEADER_BYTES>() else { return false };
    bytes.len() >= HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]))
}

/// Says whether the first bytes of a connection were no TLS record.
pub(super) fn is_no_tls(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge
        )
    )
}
