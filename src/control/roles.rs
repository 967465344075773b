//! Which shards serve which role: each has threads of its own, so that a burst of one protocol does
//! not wait for another, and all are numbered in one row.

use std::ops::Range;

use anyhow::bail;

use crate::config::Config;
use crate::edge::Class;
use crate::limits;

/// The shards of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Roles {
    access: usize,
    xmpp_proxy: usize,
    gateway: usize,
}

impl Roles {
    /// Returns what `config` wants to run on this host.
    ///
    /// # Errors
    /// More shards than transactions.
    pub(super) fn of(config: &Config) -> anyhow::Result<Self> {
        // The proxy's streams and queues are one table: a partner's pace and limits hold over all
        // of them, and one thread moves more stanzas than the largest organisations exchange.
        let xmpp_proxy = usize::from(config.runs_xmpp_proxy());
        // So is what a gateway knows of contacts, and several gateways may share the work.
        let gateway = usize::from(config.runs_gateway());
        let access = match config.runs_access_edge() {
            true => shard_count(config)?.min(limits::SHARDS_MAX - xmpp_proxy - gateway),
            // A relay alone: what watches the shards counts on one, and one that nobody connects
            // to sleeps.
            false if xmpp_proxy + gateway == 0 => 1,
            false => 0,
        };
        Ok(Self { access, xmpp_proxy, gateway })
    }

    /// Returns the numbers of shards in the order of their numbers.
    pub(super) const fn sizes(&self) -> [usize; 3] {
        [self.access, self.xmpp_proxy, self.gateway]
    }

    /// Returns how many shards there are.
    pub(super) const fn total(&self) -> usize {
        self.access + self.xmpp_proxy + self.gateway
    }

    /// Returns the shards of the Access Edge.
    pub(super) const fn access(&self) -> Range<usize> {
        0..self.access
    }

    /// Returns the shard of the XMPP proxy, if it runs.
    pub(super) const fn xmpp_proxy(&self) -> Range<usize> {
        self.access..self.access + self.xmpp_proxy
    }

    /// Returns the shard of the gateway, if it runs.
    pub(super) const fn gateway(&self) -> Range<usize> {
        self.access + self.xmpp_proxy..self.total()
    }

    /// Returns the shards that serve an edge's listeners of `class`.
    pub(super) const fn of_class(&self, class: Class) -> Range<usize> {
        match class {
            Class::Federation | Class::RemoteUsers | Class::Internal | Class::Credentials => {
                self.access()
            }
            Class::Xmpp | Class::XmppDirectTls | Class::XmppLink => self.xmpp_proxy(),
        }
    }
}

/// Returns the roles that a process with this configuration runs, as metrics name them.
#[must_use]
pub fn running_roles(config: &Config) -> Vec<&'static str> {
    let roles = [
        ("access", config.runs_access_edge()),
        ("xmpp_proxy", config.runs_xmpp_proxy()),
        ("gateway", config.runs_gateway()),
        ("av", !config.av_listeners.is_empty()),
    ];
    roles.into_iter().filter(|(_, runs)| *runs).map(|(name, _)| name).collect()
}

/// Returns how many shards the Access Edge of this configuration has on this host.
///
/// # Errors
/// More shards than transactions.
pub fn shard_count(config: &Config) -> anyhow::Result<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pinned = (!config.edge.cores.is_empty()).then_some(config.edge.cores.len());
    let shards = config.edge.shards.or(pinned).unwrap_or(cores).min(limits::SHARDS_MAX);
    if config.limits.transactions / shards == 0 {
        bail!("limits.transactions leaves none for each of {shards} shards");
    }
    Ok(shards)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::load;

    #[test]
    fn each_role_has_shards_of_its_own_and_one_that_does_not_run_has_none() {
        let path = |name: &str| {
            let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/configs");
            configs.join(name)
        };
        let load = |name: &str| load(&path(name)).unwrap_or_else(|report| panic!("{report}"));
        let of_xmpp = Roles::of(&load("xmpp.toml")).unwrap();
        assert_eq!((of_xmpp.sizes(), of_xmpp.gateway()), ([0, 1, 1], 1..2));
        assert_eq!(of_xmpp.of_class(Class::XmppLink), 0..1);
        assert_eq!(running_roles(&load("xmpp.toml")), ["xmpp_proxy", "gateway"]);
        assert_eq!(running_roles(&load("full.toml")), ["access", "xmpp_proxy", "gateway", "av"]);
        let served = super::super::listening(&load("xmpp.toml"));
        let served: Vec<String> = served.iter().map(ToString::to_string).collect();
        assert_eq!(served, ["192.0.2.10:5269", "10.0.0.10:23456", "10.0.0.10:5061"]);
        let mut both = load("minimal.toml");
        both.edge.shards = Some(3);
        assert_eq!(Roles::of(&both).unwrap().sizes(), [3, 0, 0]);
        both.listeners.extend(load("xmpp.toml").listeners);
        let both = Roles::of(&both).unwrap();
        assert_eq!((both.total(), both.xmpp_proxy()), (4, 3..4));
        assert_eq!(both.of_class(Class::Federation), 0..3);
    }
}
