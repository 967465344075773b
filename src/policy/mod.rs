//! Who may talk to whom: the only maker of permits.
//!
//! [`compile`] turns [`Rules`] into a [`Snapshot`]; a shard asks it ([`Snapshot::inbound`],
//! [`Snapshot::outbound`], [`Snapshot::remote_user`]) and gets a [`Permit`], a [`Refusal`] or the
//! question that DNS has to answer first. [`VerdictCache`] remembers what was decided, [`Scores`]
//! counts what no verdict may remember against the limits of [`throttle`], [`users`] says what
//! single users may, [`address`] says where a connection may go.

pub mod address;
mod contradiction;
mod date;
mod decide;
mod domain;
#[cfg(test)]
mod fixture;
mod identity;
mod lint;
mod media;
mod outgoing;
mod partner;
mod pattern;
mod permit;
mod place;
mod provider;
mod refusal;
pub mod rendezvous;
mod revocation;
mod rules;
pub mod scores;
pub mod shadow;
mod snapshot;
pub mod throttle;
mod trust;
pub mod users;
mod verdict;
mod xmpp;

pub use address::{AddressRefusal, AddressRule};
pub use contradiction::Contradiction;
pub use date::{Date, NotADate};
pub use decide::{Decision, Inbound, Outbound};
pub use identity::{AnchorSet, Anchors, ExpectedNames, PeerNames, XmppNames};
pub use lint::{Surroundings, Warning, XmppServed, lint, lint_reference};
pub use media::{IssuingKey, Location, MediaCredentials, MediaRelay};
pub use outgoing::{ArchivingNotice, Outgoing};
pub use pattern::Pattern;
pub use permit::{Connection, PartnerKey, PartnerKind, Permit, Route, Rule};
pub use place::Place;
pub use provider::{Decoration, DefaultRoute, ProviderKind, ProviderRule};
pub use refusal::{Refusal, RefusalRule};
pub use revocation::{Revocation, RevocationState};
pub use rules::{
    Dialect, FederationSwitches, Listed, NameCheck, NextHop, PartnerRule, RemoteUserSwitches,
    Rules, SrvTarget, Verification, Version,
};
pub use scores::Scores;
pub use snapshot::{Snapshot, Telling, compile};
pub use throttle::{Limits, StatedLimits, Throttles};
pub use trust::SourceNetwork;
pub use verdict::{Direction, Verdict, VerdictCache, VerdictKey};
pub use xmpp::{
    Methods, Negotiation, Preferred, XmppKey, XmppKind, XmppLimits, XmppPartner, XmppPermit,
    XmppRefusal, XmppRules,
};

pub use crate::dns::DnsView;
