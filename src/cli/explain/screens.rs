//! The screens a message passes, in the order of `edge::access::screen`, and where it stopped.

use serde::Serialize;

use super::trial::{Answered, Outcome, Request};
use crate::edge::Class;
use crate::policy::{Decision, RefusalRule};

/// A screen, in the order in which messages meet them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Screen {
    /// What is for the edge itself.
    Local,
    /// Kinds of request that do not cross.
    Method,
    /// The Request-URI, or a route token, leads to us (from outside) or away (from inside).
    Destination,
    /// The organisation's switches.
    Switches,
    /// The blocked list.
    Blocked,
    /// Own domains on the right side of the border.
    OwnDomains,
    /// Listed, or discovered.
    Partner,
    /// Where the peer's chain leads, and its usage.
    Chain,
    /// What DNS says of the partner's edge.
    Dns,
    /// The name in the certificate.
    Name,
    /// Addresses that may be connected to.
    Addresses,
    /// Where it goes.
    Route,
    /// Rates and quotas of the sender.
    Rate,
    /// What the own user may.
    User,
    /// Audio and video with this provider.
    Media,
}

impl Screen {
    const ALL: [Self; 15] = [
        Self::Local,
        Self::Method,
        Self::Destination,
        Self::Switches,
        Self::Blocked,
        Self::OwnDomains,
        Self::Partner,
        Self::Chain,
        Self::Dns,
        Self::Name,
        Self::Addresses,
        Self::Route,
        Self::Rate,
        Self::User,
        Self::Media,
    ];

    /// Returns what it looks at.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Local => "for the edge itself",
            Self::Method => "kind of request",
            Self::Destination => "destination",
            Self::Switches => "switches",
            Self::Blocked => "blocked domains",
            Self::OwnDomains => "own domains",
            Self::Partner => "partner",
            Self::Chain => "certificate chain",
            Self::Dns => "DNS",
            Self::Name => "certificate name",
            Self::Addresses => "addresses",
            Self::Route => "way out",
            Self::Rate => "rates and quotas",
            Self::User => "the own user",
            Self::Media => "audio and video",
        }
    }

    /// Tells whether such a message meets it at all.
    const fn concerns(self, request: &Request<'_>) -> bool {
        match (self, request.class) {
            (Self::Media, _) => request.audio,
            // Only what comes from outside is counted.
            (Self::Rate, Class::Internal) => false,
            (Self::Method | Self::Partner | Self::Dns, Class::RemoteUsers) => false,
            // Outgoing the certificate is judged when the connection is made.
            (Self::Chain | Self::Name, Class::RemoteUsers | Class::Internal) => false,
            (Self::Addresses, Class::RemoteUsers | Class::Federation) => false,
            _ => true,
        }
    }

    /// Returns the screen that a rule of policy belongs to.
    const fn of(rule: RefusalRule) -> Self {
        match rule {
            RefusalRule::FederationOff
            | RefusalRule::RemoteUsersOff
            | RefusalRule::AnonymousOff => Self::Switches,
            RefusalRule::Blocked => Self::Blocked,
            RefusalRule::DestinationNotOurs
            | RefusalRule::OwnDomainFromOutside
            | RefusalRule::SenderNotOurs
            | RefusalRule::DestinationIsOurs
            | RefusalRule::NotOurUser => Self::OwnDomains,
            RefusalRule::AnchorsOfAnother | RefusalRule::ClientUsageMissing => Self::Chain,
            RefusalRule::NoSuchService
            | RefusalRule::ServiceRefused
            | RefusalRule::SrvLookupFailed
            | RefusalRule::HostLookupFailed
            | RefusalRule::NoAddress
            | RefusalRule::SrvTargetOutsideDomain => Self::Dns,
            RefusalRule::AddressesRefused => Self::Addresses,
            RefusalRule::CertificateNameMismatch => Self::Name,
            // Whatever else refuses is about who the other organisation is to us.
            _ => Self::Partner,
        }
    }
}

/// What a screen said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// Go on.
    Passed,
    /// No further.
    Stopped,
    /// It depends on an answer that is not there.
    Waits,
    /// An earlier one stopped it.
    NotReached,
}

impl Said {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Stopped => "STOPPED",
            Self::Waits => "waits",
            Self::NotReached => "-",
        }
    }
}

/// One line of the walk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    pub(super) screen: Screen,
    pub(super) said: Said,
    /// Why; empty where there is nothing to add.
    pub(super) sentence: String,
    /// The entry that says so, with its line.
    pub(super) place: Option<String>,
}

/// Returns the walk that ended in `outcome`; `policy` is what the decision itself was, if the
/// message came that far.
pub(super) fn walk(
    request: &Request<'_>,
    outcome: &Outcome,
    policy: Option<&Decision>,
) -> Vec<Step> {
    let (end, last) = end(request, outcome, policy);
    let steps =
        Screen::ALL.into_iter().filter(|screen| screen.concerns(request) || end == Some(*screen));
    steps
        .map(|screen| {
            let said = match end {
                Some(end) if screen == end => last,
                Some(end) if screen > end => Said::NotReached,
                _ => Said::Passed,
            };
            Step { screen, said, sentence: String::new(), place: None }
        })
        .collect()
}

/// Returns the screen at which the walk ended before its end, and how.
fn end(
    request: &Request<'_>,
    outcome: &Outcome,
    policy: Option<&Decision>,
) -> (Option<Screen>, Said) {
    let answered = match outcome {
        Outcome::Asks(_) if matches!(policy, Some(Decision::Permit(_))) => {
            return (Some(Screen::Route), Said::Waits);
        }
        Outcome::Asks(_) => return (Some(Screen::Dns), Said::Waits),
        Outcome::Connects(_) | Outcome::Silent => return (None, Said::Passed),
        Outcome::Answered(answered) => answered,
    };
    let screen = answered.rule.map_or_else(|| by_answer(request, answered, policy), Screen::of);
    (Some(screen), Said::Stopped)
}

/// Returns the screen that an answer comes from which is no rule of policy's.
fn by_answer(request: &Request<'_>, answered: &Answered, policy: Option<&Decision>) -> Screen {
    let permitted = matches!(policy, Some(Decision::Permit(_)));
    let code = answered.diagnostics.as_deref().and_then(diagnostics_code);
    match (answered.status, code) {
        (488, _) if request.audio => Screen::Media,
        (200 | 488, _) => Screen::Local,
        (_, Some(1027)) => Screen::Method,
        (480, _) => Screen::Rate,
        (403, Some(_)) if permitted => Screen::User,
        // Policy let it pass, so what refused it came after.
        _ if permitted => Screen::Route,
        _ => Screen::Destination,
    }
}

/// Tells whether a message was stopped before anybody asked policy, whose rule then says nothing.
pub(super) const fn before_policy(screen: Screen, policy: &Decision) -> bool {
    match screen {
        Screen::Local | Screen::Method | Screen::Destination => true,
        // Past the decision it is the edge or the next hop that cannot.
        Screen::Route | Screen::Rate => matches!(policy, Decision::Permit(_)),
        _ => false,
    }
}

fn diagnostics_code(header: &str) -> Option<u16> {
    header.split_once(':')?.1.trim_start().split(';').next()?.parse().ok()
}
