//! The XMPP grammar: bytes in, elements out. Nothing here decides anything.
//!
//! ```text
//!  input ── Reader ──> Header | Element | WhiteSpace | Close
//!                                 │ raw bytes, names, places
//!                                 ├── from_jid, kind, child ... decoded when asked
//!                                 ├── write_detached, write_with ──> one copy to staging
//!                                 └── Node: a small tree of its own, for who translates
//! ```
//!
//! The stream is read as strictly as RFC 6120 section 11 demands, because whoever it is relayed to
//! is a second reader: UTF-8 and nothing else, no document type, comment, processing instruction or
//! entity of its own, namespaces bound, names matched, and everything bounded ([`Bounds`]).

mod bounds;
mod chars;
mod child;
pub mod dialback;
pub mod document;
mod element;
mod fault;
mod features;
mod header;
mod jid;
mod management;
mod node;
pub mod ns;
pub mod ping;
mod reader;
pub mod sasl_external;
mod scope;
mod stanza_error;
mod starttls;
mod stream_error;
mod tag;
#[cfg(test)]
mod tests;
mod tokens;
pub mod write;

pub use bounds::Bounds;
pub use child::{Child, Children};
pub use element::{Element, Stanza};
pub use fault::PeerMisbehaved;
pub use features::{DialbackOffer, Features, Offer, Offered, is_bidi, write_bidi};
pub use header::StreamHeader;
pub use jid::{Jid, JidMalformed, escape, unescape};
pub use management::{Management, ManagementFault, acknowledged};
pub use node::{Content, Node};
pub use reader::{Read, Reader};
pub use stanza_error::{ErrorKind, ReceivedStanzaError, StanzaError};
pub use starttls::StartTls;
pub use stream_error::{ReceivedStreamError, StreamError};
pub use tokens::{Attributes, RawAttribute};
