//! The gateway between SIP and XMPP.

pub mod translate;
