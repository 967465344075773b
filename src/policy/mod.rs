//! Who may talk to whom: the only maker of permits.
//!
//! [`compile`] turns [`Rules`] into a [`Snapshot`]; a shard asks it ([`Snapshot::inbound`],
//! [`Snapshot::outbound`], [`Snapshot::remote_user`]) and gets a [`Permit`], a [`Refusal`] or the
//! question that DNS has to answer first. [`VerdictCache`] remembers what was decided,
//! [`throttle`] counts what no verdict may remember, [`address`] says where a connection may go.

pub mod address;
mod decide;
mod domain;
#[cfg(test)]
mod fixture;
mod identity;
mod partner;
mod permit;
mod refusal;
mod revocation;
mod rules;
mod snapshot;
pub mod throttle;
mod verdict;

pub use address::{AddressRefusal, AddressRule};
pub use decide::{Decision, Inbound, Outbound};
pub use identity::{Anchors, ExpectedNames, PeerNames};
pub use permit::{PartnerKey, PartnerKind, Permit, Route, Rule};
pub use refusal::{Refusal, RefusalRule};
pub use revocation::{Revocation, RevocationState};
pub use rules::{
    FederationSwitches, Listed, NameCheck, NextHop, PartnerRule, RemoteUserSwitches, Rules,
    SrvTarget, Verification,
};
pub use snapshot::{Contradiction, Snapshot, compile};
pub use verdict::{Direction, Verdict, VerdictCache, VerdictKey};

pub use crate::dns::DnsView;
