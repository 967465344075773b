//! What single users may do beyond the organisation: external access policies, by user, site and
//! for all (lync-federation 5.5 and 6.7).
//!
//! The organisation's switches are one gate and these are the other; both must be open. A user has
//! the policy granted to him, else that of his site, else the global one. Without any policy this
//! gate stands open.
//!
//! ```text
//! user@domain ─ keyed hash ─> mark of 64 bits -> class -> policy, and how he came by it
//! ```
//!
//! A million users cost 14 bytes each. What is kept of one is a mark under a key that is random per
//! process: two users share a mark once in 2^64 pairs, and nobody can search for a name that does.

use std::collections::HashMap;

use super::SourceNetwork;
use crate::dns::Domain;

mod directory;

pub use directory::{Directory, DirectoryBuilder, DirectoryFault, Grant, Standing};

/// What a policy opens or closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// Federated SIP partners (`EnableFederationAccess`).
    Federation,
    /// XMPP partners (`EnableXmppAccess`); federation must be open too.
    Xmpp,
    /// Public IM providers (`EnablePublicCloudAccess`).
    PublicIm,
    /// Audio and video with them (`EnablePublicCloudAudioVideoAccess`).
    PublicAv,
    /// Signing in from outside (`EnableOutsideAccess`).
    Outside,
}

/// An external access policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessPolicy {
    /// `global`, `site:` and the name of a site, or any other name.
    pub name: String,
    /// Federated SIP partners.
    pub federation: bool,
    /// XMPP partners.
    pub xmpp: bool,
    /// Public IM providers.
    pub public_im: bool,
    /// Audio and video with public IM providers.
    pub public_av: bool,
    /// Signing in from outside.
    pub outside: bool,
}

impl Gate {
    /// Every gate, in order.
    pub const ALL: [Self; 5] =
        [Self::Federation, Self::Xmpp, Self::PublicIm, Self::PublicAv, Self::Outside];

    /// Returns the gate between own users and a SIP partner that is in `network`.
    #[must_use]
    pub const fn towards(network: SourceNetwork) -> Self {
        match network {
            SourceNetwork::Federation => Self::Federation,
            SourceNetwork::PublicCloud => Self::PublicIm,
        }
    }

    /// Returns the gate for audio and video where `self` is that for messages.
    #[must_use]
    pub const fn of_media(self) -> Self {
        match self {
            Self::PublicIm => Self::PublicAv,
            other => other,
        }
    }

    /// Returns what it opens, in words.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Federation => "federated partners",
            Self::Xmpp => "XMPP partners",
            Self::PublicIm => "public IM providers",
            Self::PublicAv => "audio and video with public IM providers",
            Self::Outside => "access from outside",
        }
    }
}

impl AccessPolicy {
    /// The name of the policy that everybody has who has no other.
    pub const GLOBAL: &'static str = "global";
    /// What the name of a site's policy begins with.
    pub const SITE: &'static str = "site:";

    const fn opens(&self, gate: Gate) -> bool {
        match gate {
            Gate::Federation => self.federation,
            Gate::Xmpp => self.federation && self.xmpp,
            Gate::PublicIm => self.public_im,
            Gate::PublicAv => self.public_im && self.public_av,
            Gate::Outside => self.outside,
        }
    }

    /// Tells whether anything beyond the organisation is open.
    const fn opens_anything(&self) -> bool {
        self.federation || self.public_im
    }
}

/// Where a user's account is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Home {
    /// A pool.
    #[default]
    Pool,
    /// A survivable branch appliance, which cannot do XMPP (lync-federation 7.2).
    BranchAppliance,
}

/// How a user came by his policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Granted {
    /// It was granted to him.
    ToUser,
    /// It is that of his site.
    ToSite,
    /// It is the global one.
    ToAll,
}

/// What a trusted inner server says of the sender's rights (`ms-user-data`); it knows the user, so
/// its word counts before our own list. `None`: it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// `ms-federation`.
    pub federation: Option<bool>,
    /// `ms-publiccloud`.
    pub public_im: Option<bool>,
}

impl Marks {
    const fn of(self, gate: Gate) -> Option<bool> {
        // A right to the wider thing says nothing of the narrower one; without it there is none.
        const fn closes(mark: Option<bool>) -> Option<bool> {
            match mark {
                Some(false) => Some(false),
                Some(true) | None => None,
            }
        }
        match gate {
            Gate::Federation => self.federation,
            Gate::PublicIm => self.public_im,
            Gate::Xmpp => closes(self.federation),
            Gate::PublicAv => closes(self.public_im),
            Gate::Outside => None,
        }
    }
}

/// How much the marks of inner servers count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MarksCount {
    /// They decide: a mark opens what our own list closes.
    #[default]
    Decide,
    /// They only close.
    Restrict,
    /// Not at all.
    Ignore,
}

/// Whose rights are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An own user sends.
    Sender,
    /// An own user is sent to.
    Recipient,
}

/// A user may not. Names the policy that says so, and never the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    gate: Gate,
    role: Role,
    why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    /// A policy with this place in the list.
    Policy { index: usize, name: String, granted: Granted, nothing_open: bool },
    /// The mark of an inner server.
    Mark,
    /// He is served by a branch appliance.
    BranchAppliance,
}

impl Closed {
    /// Returns the SIP status of the answer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        403
    }

    /// Returns the number of `ms-diagnostics` (lync-federation 12.2, wire-protocols A.10).
    #[must_use]
    pub const fn diagnostics(&self) -> u16 {
        match (self.gate, self.role, &self.why) {
            (Gate::Outside, ..) => 4003,
            (_, Role::Sender, Why::Policy { nothing_open: true, .. }) => 1012,
            (Gate::Federation | Gate::Xmpp, ..) => 1002,
            (Gate::PublicIm | Gate::PublicAv, ..) => 1001,
        }
    }

    /// Returns the `reason` of `ms-diagnostics`; it names nobody and may be shown to anybody.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match (self.role, self.diagnostics()) {
            (_, 4003) => "Remote access is not enabled",
            (_, 1012) => "From URI not authorized outside the enterprise",
            (Role::Sender, 1002) => "From URI not authorized for federation",
            (Role::Sender, _) => "From URI not authorized for public IM",
            (Role::Recipient, 1002) => "User not authorized for federation",
            (Role::Recipient, _) => "User not authorized for public IM",
        }
    }

    /// Returns the configuration entry that refused, as `external_access_policy[0]`.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        match &self.why {
            Why::Policy { index, .. } => Some(format!("external_access_policy[{index}]")),
            Why::Mark | Why::BranchAppliance => None,
        }
    }

    /// Returns what an operator reads after "refused: ".
    #[must_use]
    pub fn sentence(&self) -> String {
        let who = match self.role {
            Role::Sender => "the sender",
            Role::Recipient => "the recipient",
        };
        let what = self.gate.what();
        match &self.why {
            Why::Mark => format!("an inner server marks that {who} may not have {what}"),
            Why::BranchAppliance => {
                format!("{who} is homed on a survivable branch appliance, which does not do {what}")
            }
            Why::Policy { index, name, granted, .. } => {
                let by = match granted {
                    Granted::ToUser => "granted to that user",
                    Granted::ToSite => "of that user's site",
                    Granted::ToAll => "of all users",
                };
                format!(
                    "the external access policy {name} {by} does not open {what} for {who} (rule \
                     external_access_policy[{index}])"
                )
            }
        }
    }
}

/// Policies as compiled: which of them is global, and which are of sites.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Policies {
    all: Vec<AccessPolicy>,
    global: Option<usize>,
    by_name: HashMap<String, usize>,
}

impl Policies {
    fn of(all: Vec<AccessPolicy>) -> Self {
        let by_name: HashMap<String, usize> =
            all.iter().enumerate().map(|(at, policy)| (policy.name.clone(), at)).collect();
        let global = by_name.get(AccessPolicy::GLOBAL).copied();
        Self { all, global, by_name }
    }

    /// Returns the policy that wins for a user with this grant, at this site.
    fn winner(&self, site: &str, granted: Option<usize>) -> Option<(usize, Granted)> {
        if let Some(index) = granted {
            return Some((index, Granted::ToUser));
        }
        let of_site = || self.by_name.get(&format!("{}{site}", AccessPolicy::SITE)).copied();
        match (!site.is_empty()).then(of_site).flatten() {
            Some(index) => Some((index, Granted::ToSite)),
            None => self.global.map(|index| (index, Granted::ToAll)),
        }
    }
}

/// Returns the parts of a user's URI as they are compared: `sip:` taken off, lower case.
///
/// `None` for what is no user at a domain.
#[must_use]
pub fn user_and_domain(uri: &str) -> Option<(String, Domain)> {
    let address = match uri.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("sip:") => &uri[4..],
        _ => uri,
    };
    let (user, host) = address.split_once('@')?;
    let usable = |byte: u8| byte.is_ascii_graphic() && !br#"@<>",;?:"#.contains(&byte);
    if user.is_empty() || !user.bytes().all(usable) {
        return None;
    }
    Some((user.to_ascii_lowercase(), Domain::parse(host.as_bytes()).ok()?))
}

#[cfg(test)]
mod tests;
