//! What starts, feeds and watches the shards.
//!
//! ```text
//! Config ─ compile ─> Snapshot + Material ──> Published ──> shards      (start, reload, roll back)
//! shards ─ questions ─> control thread ─ resolver ─> Fabric::answer
//! shards ─ lists wanted ─> control thread ─ HTTP ─> Material of another edition ──> Published
//! shards ─ verdicts ─> decisions thread ─> decision log
//! shards ─ notes ─> notes thread ─> log;  counters ─> Board <─ admin thread
//! ```
//!
//! [`start`] runs one edge, and several can run in one process; the log, the signals and the panic
//! hook belong to the process and are set up by `entente run`.

pub mod authorisations;
mod behind;
mod board;
mod cells;
mod certificates;
mod convert;
mod crl;
pub mod decisions;
mod dialback;
mod diff;
pub mod edit;
#[cfg(test)]
pub(crate) mod fixture;
mod keys;
mod limits;
mod listeners;
mod log;
mod notes;
mod process;
mod relays;
mod reload;
mod roles;
mod scores;
mod spawn;
mod start;
mod steps;

pub use behind::behind;
pub use convert::{identity_plan, rules, tls_plan, trust_sources};
pub use dialback::dialback_secrets;
pub use diff::{Difference, Named, Side, difference};
pub use limits::{limited, most_users, outgoing, throttles};
pub use listeners::listening;
pub use log::Log;
pub use relays::{RelayDesk, relay_credentials, relay_peers};
pub use reload::Reloads;
pub use roles::{running_roles, shard_count};
pub use start::{Options, Running, descriptors, policy, resolver_settings, start};

use certificates::certificates;

#[cfg(test)]
mod tests;
