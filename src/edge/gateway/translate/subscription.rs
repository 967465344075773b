//! Subscription-State (RFC 6665 section 4.1.3), and what it means to XMPP.

use crate::sip::params;

/// The state of a subscription as a NOTIFY tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubscriptionState {
    /// Granted.
    Active {
        /// Seconds until it ends; `None`: not said.
        expires_s: Option<u32>,
    },
    /// Nobody has decided yet.
    Pending,
    /// Over.
    Terminated(Termination),
}

/// What the end of a subscription asks for (RFC 6665 section 4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Termination {
    /// `deactivated`, `timeout`, or no reason: subscribe again at once if it is still wanted.
    Resubscribe,
    /// `probation`, `giveup`: later; after so many seconds if it says so.
    ResubscribeLater {
        /// The value of `retry-after`.
        retry_after_s: Option<u32>,
    },
    /// `rejected`: the user does not want it; the XMPP side is told `unsubscribed`.
    Rejected,
    /// `noresource`, `invariant`: there is nothing to subscribe to.
    NoResource,
}

impl Termination {
    /// Tells whether the XMPP side is told `unsubscribed`: its authorisation is over for good, and
    /// asking again would be answered the same.
    #[must_use]
    pub const fn is_for_good(self) -> bool {
        matches!(self, Self::Rejected | Self::NoResource)
    }
}

impl SubscriptionState {
    /// Reads the value of Subscription-State. `None`: it has none of the three states.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let (state, parameters) = value.split_at(end);
        let parameter = |name: &str| {
            let found = params(parameters).find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()));
            std::str::from_utf8(found?.1?).ok()
        };
        let seconds = |name: &str| parameter(name).and_then(|text| text.parse().ok());
        let state = state.trim_ascii();
        if state.eq_ignore_ascii_case(b"active") {
            return Some(Self::Active { expires_s: seconds("expires") });
        }
        if state.eq_ignore_ascii_case(b"pending") {
            return Some(Self::Pending);
        }
        if !state.eq_ignore_ascii_case(b"terminated") {
            return None;
        }
        let reason = parameter("reason").unwrap_or_default().to_ascii_lowercase();
        Some(Self::Terminated(match &*reason {
            "probation" | "giveup" => {
                Termination::ResubscribeLater { retry_after_s: seconds("retry-after") }
            }
            "rejected" => Termination::Rejected,
            "noresource" | "invariant" => Termination::NoResource,
            // RFC 6665: a reason that is not known counts as none.
            _ => Termination::Resubscribe,
        }))
    }
}

/// What the answer to a SUBSCRIBE other than success means (RFC 8048 section 4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubscribeFailed {
    /// The authorisation is over: `unsubscribed`.
    ForGood,
    /// Subscribe again in a dialog of its own; for 423 with what Min-Expires says.
    TryAgain,
    /// The addressee or its server is not there now; later.
    Later,
}

impl SubscribeFailed {
    /// Returns what a final status of 300 and above means.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            423 | 481 => Self::TryAgain,
            403 | 404 | 410 | 489 | 603 | 604 => Self::ForGood,
            _ => Self::Later,
        }
    }
}
