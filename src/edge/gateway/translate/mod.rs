//! What is said on one side, said on the other. Pure functions; nothing here knows a dialog.
//!
//! ```text
//!  SIP                                                     XMPP
//!  URI          ───────────────── address ────────────────> JID
//!  status       ───────────────── fault   ────────────────> stanza error
//!  MESSAGE body ── content, multipart, cpim ─┐
//!                  html, rtf ── xhtml ───────┼─ message ──> <message/>
//!                  chat_state, receipt ──────┘
//!  NOTIFY body  ── pidf ──────────────────────── presence > <presence/>
//! ```
//!
//! Each side is read into a form of its own ([`InstantMessage`], [`Presence`]) and written from it,
//! so what one side has and the other has not is lost at one place, and said: [`Losses`].
//!
//! XML is read with the reader of XMPP streams ([`document`]), which takes no document type,
//! comment or entity; a body that has any is no XML here.

pub mod address;
pub mod chat_state;
pub mod content;
pub mod cpim;
pub mod document;
pub mod fault;
pub mod html;
mod loss;
pub mod message;
pub mod multipart;
pub mod pidf;
pub mod presence;
pub mod receipt;
pub mod rtf;
pub mod subscription;
pub mod text;
pub mod xhtml;

pub use chat_state::ChatState;
pub use loss::{Loss, Losses, Translated};
pub use message::InstantMessage;
pub use presence::Presence;

/// Namespaces of what is translated.
pub mod ns {
    /// Chat states (XEP-0085).
    pub const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";
    /// Typing notifications of SIP (RFC 3994).
    pub const IS_COMPOSING: &str = "urn:ietf:params:xml:ns:im-iscomposing";
    /// Receipts (XEP-0184).
    pub const RECEIPTS: &str = "urn:xmpp:receipts";
    /// Receipts of SIP (RFC 5438).
    pub const IMDN: &str = "urn:ietf:params:xml:ns:imdn";
    /// The wrapper of formatted text (XEP-0071).
    pub const XHTML_IM: &str = "http://jabber.org/protocol/xhtml-im";
    /// Formatted text.
    pub const XHTML: &str = "http://www.w3.org/1999/xhtml";
    /// When something was said that comes late (XEP-0203).
    pub const DELAY: &str = "urn:xmpp:delay";
    /// Presence documents (RFC 3863).
    pub const PIDF: &str = "urn:ietf:params:xml:ns:pidf";
    /// Rich presence (RFC 4480).
    pub const RPID: &str = "urn:ietf:params:xml:ns:pidf:rpid";
    /// The same as drafts had it and LCS and OCS write it.
    pub const RPID_STATUS: &str = "urn:ietf:params:xml:ns:pidf:status:rpid-status";
    /// The data model that RFC 4480 puts persons in (RFC 4479).
    pub const DATA_MODEL: &str = "urn:ietf:params:xml:ns:pidf:data-model";
    /// How many gateways a stanza has passed.
    pub const HOPS: &str = "urn:entente:gateways:1";
    /// Lync's state of a user.
    pub const LYNC_STATE: &str = "http://schemas.microsoft.com/2006/09/sip/state";
}
