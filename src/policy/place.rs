//! Where the configuration says what decided.

use std::fmt;

/// The entry or key of the configuration behind a decision; its text is the path of the entry.
///
/// Which line that is only control knows, which has read the files: entries of a list in a file of
/// its own are numbered on from those of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// An entry of the partner list.
    Partner(u32),
    /// An entry of the blocked list.
    Blocked(u32),
    /// A provider.
    Provider(u16),
    /// The default route.
    DefaultRoute,
    /// An entry of the list of XMPP partners.
    XmppPartner(u16),
    /// A key, as `federation.discovery`.
    Key(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partner(index) => write!(f, "partner[{index}]"),
            Self::Blocked(index) => write!(f, "blocked[{index}]"),
            Self::Provider(index) => write!(f, "provider[{index}]"),
            Self::XmppPartner(index) => write!(f, "xmpp_partner[{index}]"),
            Self::DefaultRoute => f.write_str("default_route"),
            Self::Key(key) => f.write_str(key),
        }
    }
}
