//! Why a request gets no credentials: the one table from reasons to what is answered.

/// Why a request gets no credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// The body is no document of the schema.
    Malformed(&'static str),
    /// More credentials are wanted at once than are given.
    TooMany,
    /// The version is none.
    VersionUnknown,
    /// The version is one that is not spoken here.
    VersionMismatch,
    /// The route to the relays is none that is known.
    UnknownRoute,
    /// No relay here serves clients at this location.
    NoRelay,
    /// The identity is not the sender's, or not of this organisation.
    Forbidden(&'static str),
    /// The edge drains.
    ServerBusy,
}

impl Fault {
    /// One of each, for metrics and tests.
    pub const KINDS: [Self; 8] = [
        Self::Malformed(""),
        Self::TooMany,
        Self::VersionUnknown,
        Self::VersionMismatch,
        Self::UnknownRoute,
        Self::NoRelay,
        Self::Forbidden(""),
        Self::ServerBusy,
    ];

    /// Returns the `reasonPhrase` of the response (wire-protocols E.9).
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Malformed(_) => "Request Malformed",
            Self::TooMany => "Request Too Large",
            Self::VersionUnknown => "Version Unknown",
            Self::VersionMismatch => "Version Mismatch",
            Self::UnknownRoute | Self::NoRelay => "Not Supported",
            Self::Forbidden(_) => "Forbidden",
            Self::ServerBusy => "Server Busy",
        }
    }

    /// Returns status and reason of the SIP response that carries it.
    ///
    /// A document that could be read is answered with 200 and its phrase, as the open
    /// implementation does; what a proxy in between should see as a failure has the status of one.
    #[must_use]
    pub const fn status(self) -> (u16, &'static str) {
        match self {
            Self::Malformed(_) => (400, "Bad Request"),
            Self::TooMany => (413, "Request Entity Too Large"),
            Self::Forbidden(_) => (403, "Forbidden"),
            Self::ServerBusy => (503, "Service Unavailable"),
            Self::VersionUnknown | Self::VersionMismatch | Self::UnknownRoute | Self::NoRelay => {
                (200, "OK")
            }
        }
    }

    /// Returns why, for the log.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Malformed(what) | Self::Forbidden(what) => what,
            Self::TooMany => "more credentials are wanted at once than are given",
            Self::VersionUnknown => "the version is no number of two parts",
            Self::VersionMismatch => "the version is neither 1.0 nor 2.0",
            Self::UnknownRoute => "the route is neither loadbalanced nor directip",
            Self::NoRelay => "no relay here serves clients at this location",
            Self::ServerBusy => "the edge drains",
        }
    }
}
