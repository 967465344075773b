//! The dialect of Microsoft's relays: TURN as an early draft had it, with changes of its own
//! (wire-protocols E.4 to E.6).
//!
//! The header has a transaction id of sixteen bytes and no cookie in it; the cookie is the first
//! attribute. Attributes are not padded. NONCE and REALM have changed numbers. Over TCP a frame of
//! four bytes says what follows, and a hello that only looks like TLS may come before everything.
//!
//! No document states every number; those that come from one implementation, or from memory, stand
//! in [`numbers`] and nowhere else, each with how sure it is.

mod build;
mod frame;
mod integrity;
mod message;
pub mod numbers;
mod pseudo_tls;

pub use build::Builder;
pub use frame::{FRAME_HEADER_BYTES, Frame, FrameKind, NotFramed};
pub use integrity::Key;
pub use message::{Attribute, Attributes, Message, TransactionId};
pub use numbers::{AttributeType, MessageType};
pub use pseudo_tls::{CLIENT_HELLO_BYTES, is_client_hello, server_hello};

#[cfg(test)]
mod tests;
