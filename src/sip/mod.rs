//! The SIP grammar: bytes in, ranges out. Nothing here decides anything.
//!
//! ```text
//!  input ── scan ──> Scanned + HeaderTable ── Message ──> first, values, top_via, from, cseq ...
//!                                                │              │ ranges
//!                                                └── Edits <────┘ ── apply ──> one copy to staging
//! ```
//!
//! [`scan`] finds where one message ends and which header field lies where, in one pass, without
//! copying. What is asked of a [`Message`] is decoded when it is asked. Changes are a list of
//! splices ([`Edits`]), applied in the one copy into the leg's staging. [`reply`] builds responses.
//!
//! The grammar is read strictly where two readers could disagree about who speaks, to whom, or
//! where a message ends, because the next hop is such a second reader; elsewhere it lets pass what
//! a proxy has no need to understand.

mod block;
mod edit;
mod fault;
mod message;
mod method;
mod name;
mod name_addr;
pub mod reply;
mod scan;
mod start_line;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod uri;
mod values;
mod verify;
mod via;

pub use edit::Edits;
pub use fault::{FramingFault, PeerMisbehaved, SyntaxFault};
pub use message::{CSeq, Field, Message, TopVia};
pub use method::Method;
pub use name::{HeaderName, HeaderSet};
pub use name_addr::NameAddr;
pub use scan::{Scan, Scanned, read_head, scan};
pub use start_line::StartLine;
pub use table::HeaderTable;
pub use text::params;
pub use uri::{Scheme, Uri};
pub use values::{Value, Values};
pub use verify::Essentials;
pub use via::Via;
