//! What [`super::Material`] is made of, as the configuration says it, and who presents what.

use std::path::PathBuf;
use std::sync::Arc;

use super::identity::{Identity, IdentityPlan};
use super::load::LoadError;
use crate::dns::Domain;
use crate::edge::Class;
use crate::policy::AnchorSet;

/// Where trust anchors come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustSource {
    /// The system's set.
    System,
    /// A PEM file (or one DER certificate).
    File(PathBuf),
}

/// A listener as far as TLS is concerned.
#[derive(Clone, Debug)]
pub struct ListenerPlan {
    /// What it is for.
    pub class: Class,
    /// The name of its default identity.
    pub identity: String,
}

/// A set of trust anchors that speaks for the partners that have it alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorPlan {
    /// What rules and legs call it, and no other set of the plan.
    pub name: AnchorSet,
    /// PEM files.
    pub files: Vec<PathBuf>,
}

/// What [`super::Material::build`] loads.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Number of the configuration this belongs to; [`super::Material::epoch`] gives it back.
    pub epoch: u64,
    /// The time certificates are checked against.
    pub now_unix_s: u64,
    /// At least one where there is a listener.
    pub identities: Vec<IdentityPlan>,
    /// In the order by which [`super::Material::server`] is asked.
    pub listeners: Vec<ListenerPlan>,
    /// The general anchors of federation.
    pub trust: Vec<TrustSource>,
    /// Anchors of internal servers; empty means the same as `trust`.
    pub internal_trust: Vec<TrustSource>,
    /// Partners' own sets. Partners that trust the same files share one: an authority may be in one
    /// set only, or nobody could tell whose peer it vouches for.
    pub partner_trust: Vec<AnchorPlan>,
    /// Files of revocation lists.
    pub crl: Vec<PathBuf>,
    /// Names, one of which an internal peer's certificate must carry.
    pub internal_names: Vec<Domain>,
    /// Names, one of which the certificate of a gateway must carry that comes to the XMPP proxy.
    pub gateway_names: Vec<Domain>,
    /// Names, one of which the certificate of a server must carry that asks for credentials of the
    /// A/V Edge.
    pub credentials_names: Vec<Domain>,
    /// Refuse TLS 1.2.
    pub min_tls13: bool,
    /// Write session keys here, for captures in tests.
    pub key_log: Option<PathBuf>,
}

/// Returns what a listener may present: its own identity first, then every one that is not the
/// default of a listener on the other side of the border.
pub(super) fn candidates(
    plan: &Plan,
    listener: &ListenerPlan,
    identities: &[Arc<Identity>],
) -> Result<Vec<Arc<Identity>>, LoadError> {
    let named = |name: &String| identities.iter().find(|identity| &identity.name == name);
    let unknown = || LoadError::UnknownIdentity { name: listener.identity.clone() };
    let default = named(&listener.identity).ok_or_else(unknown)?;
    let of_other_side = |identity: &Identity| {
        let mut users = plan.listeners.iter().filter(|other| other.identity == identity.name);
        users.any(|other| other.class.is_inside() != listener.class.is_inside())
    };
    let others = identities
        .iter()
        .filter(|identity| identity.name != default.name && !of_other_side(identity));
    Ok(std::iter::once(default).chain(others).cloned().collect())
}

/// Returns what legs of `class` present: the identity marked for it, else the listener's own.
///
/// A marked identity belongs to the classes whose listeners use it; one that no listener uses
/// belongs to every class that has no other.
pub(super) fn client_identity(
    plan: &Plan,
    class: Class,
    identities: &[Arc<Identity>],
) -> Result<Option<Arc<Identity>>, LoadError> {
    let used_by = |identity: &Identity, class: Option<Class>| {
        let mut users = plan.listeners.iter().filter(|user| user.identity == identity.name);
        users.any(|user| class.is_none_or(|class| are_alike(user.class, class)))
    };
    let only = |found: Vec<&Arc<Identity>>| match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(Arc::clone(one))),
        [first, second, ..] => Err(LoadError::TwoClientIdentities {
            class,
            first: first.name.clone(),
            second: second.name.clone(),
        }),
    };
    let marked: Vec<_> = identities.iter().filter(|identity| identity.client).collect();
    let mut of_class = marked.clone();
    of_class.retain(|identity| used_by(identity, Some(class)));
    let mut unused = marked;
    unused.retain(|identity| !used_by(identity, None));
    let chosen = match only(of_class)? {
        Some(identity) => Some(identity),
        None => only(unused)?.or_else(|| {
            let of_listener = identities.iter().find(|identity| used_by(identity, Some(class)));
            of_listener.or(identities.first()).cloned()
        }),
    };
    Ok(chosen)
}

/// Tells whether legs of both classes show the same face: how TLS begins makes no difference.
fn are_alike(one: Class, other: Class) -> bool {
    const XMPP: [Class; 2] = [Class::Xmpp, Class::XmppDirectTls];
    one == other || (XMPP.contains(&one) && XMPP.contains(&other))
}
