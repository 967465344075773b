//! The three cores of the organisation, each as its shell would hold it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use entente::edge::access::{self, Access};
use entente::edge::gateway::{self, EdgeAddress, Gateway};
use entente::edge::xmpp_proxy::{self, XmppProxy};
use entente::edge::{Class, Core, Effects, Fed, LegId, Lost, Opened, OutletId};
use entente::policy::{
    self, Anchors, Dialect, Negotiation, NextHop, PeerNames, RevocationState, Rules, Scores,
    Snapshot, XmppKind, XmppPartner,
};
use entente::time::Now;

use super::partner::{OURS, Proof};
use crate::organisation::domain;

pub(crate) const POOL: &str = "pool.contoso.example";
pub(crate) const EDGE: &str = "lsedge.contoso.example";
pub(crate) const GATEWAY: &str = "gw.contoso.example";
/// What every partner is, by its place.
pub(crate) const PARTNERS: [(&str, Proof); 3] = [
    ("fabrikam.example", Proof::External),
    ("tailspin.example", Proof::DialbackOverTls),
    ("google.example", Proof::DialbackInTheClear),
];

/// Which core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Access,
    Gateway,
    Proxy,
}

impl Who {
    pub(crate) const ALL: [Self; 3] = [Self::Access, Self::Gateway, Self::Proxy];
}

/// What a certificate with these names says.
pub(crate) fn names(hosts: &[&str]) -> Arc<PeerNames> {
    Arc::new(PeerNames {
        dns_names: hosts.iter().map(|host| domain(host)).collect(),
        sip_domains: Vec::new(),
        common_name: None,
        client_auth: true,
        anchors: Anchors::General,
        fingerprint: [7; 32],
        expires_unix_s: u64::MAX,
        revocation: RevocationState::Unknown,
        xmpp: None,
    })
}

fn partner((name, proof): &(&str, Proof)) -> XmppPartner {
    let mut partner =
        XmppPartner { kind: XmppKind::PublicVerified, ..XmppPartner::new(domain(name)) };
    match proof {
        Proof::External => {}
        Proof::DialbackOverTls => partner.sasl = Negotiation::NotSupported,
        Proof::DialbackInTheClear => {
            partner.sasl = Negotiation::NotSupported;
            partner.tls = Negotiation::NotSupported;
        }
    }
    partner
}

pub(crate) fn snapshot(epoch: u64) -> Arc<Snapshot> {
    let mut rules = Rules::new(
        domain("edge1.contoso.example"),
        domain("sip.contoso.example"),
        domain(EDGE),
        vec![domain(OURS)],
    );
    let hop = |name: &str, dialect| NextHop {
        addresses: vec!["192.0.2.9".parse().expect("an address")],
        dialect,
        ..NextHop::new(domain(name))
    };
    rules.internal_names = [POOL, GATEWAY, EDGE].map(domain).to_vec();
    rules.next_hops = vec![hop(POOL, Dialect::Simple)];
    rules.addresses.allow_networks = vec!["192.0.2.0/24".parse().expect("a network")];
    rules.xmpp.partners = PARTNERS.iter().map(partner).collect();
    rules.xmpp.gateways = vec![domain(GATEWAY)];
    rules.xmpp.gateway_hops = vec![hop(GATEWAY, Dialect::Simple)];
    Arc::new(policy::compile(rules, epoch).expect("rules without contradiction"))
}

/// One core, and what its shell would hold.
pub(crate) struct Process {
    pub(crate) effects: Effects,
    /// Where a leg's bytes go: connection and our side of it.
    pub(crate) legs: BTreeMap<LegId, (usize, usize)>,
    next_leg: u32,
}

impl Process {
    fn new() -> Self {
        Self { effects: Effects::default(), legs: BTreeMap::new(), next_leg: 0 }
    }
}

pub(crate) struct Inside {
    pub(crate) access: Access,
    pub(crate) gateway: Gateway,
    pub(crate) proxy: XmppProxy,
    processes: [Process; 3],
    seed: u64,
    pub(crate) epoch: u64,
}

impl Inside {
    pub(crate) fn new(seed: u64) -> Self {
        let snapshot = snapshot(1);
        let scores = Arc::new(Scores::new([1, 2]));
        let setup = access::Setup {
            shard: 0,
            shards: 1,
            transactions: 4_000,
            seed,
            ..access::Setup::single([seed, 3], [3; 16])
        };
        Self {
            access: Access::sharing(setup, Arc::clone(&snapshot), scores),
            gateway: gateway(seed, Arc::clone(&snapshot)),
            proxy: proxy(seed, snapshot),
            processes: [Process::new(), Process::new(), Process::new()],
            seed,
            epoch: 1,
        }
    }

    /// The proxy's process dies, and another comes up in its place.
    pub(crate) fn restart_proxy(&mut self) {
        self.seed = self.seed.wrapping_add(1);
        self.proxy = proxy(self.seed, snapshot(self.epoch));
        self.processes[Who::Proxy as usize] = Process::new();
    }

    /// The gateway's process dies, and another comes up in its place.
    pub(crate) fn restart_gateway(&mut self) {
        self.seed = self.seed.wrapping_add(1);
        self.gateway = gateway(self.seed, snapshot(self.epoch));
        self.processes[Who::Gateway as usize] = Process::new();
    }

    pub(crate) fn process(&mut self, who: Who) -> &mut Process {
        &mut self.processes[who as usize]
    }

    fn parts(&mut self, who: Who) -> (&mut dyn Core, &mut Effects) {
        let effects = &mut self.processes[who as usize].effects;
        match who {
            Who::Access => (&mut self.access, effects),
            Who::Gateway => (&mut self.gateway, effects),
            Who::Proxy => (&mut self.proxy, effects),
        }
    }

    /// Lets a core do something.
    pub(crate) fn tell(&mut self, who: Who, what: impl FnOnce(&mut dyn Core, &mut Effects)) {
        let (core, effects) = self.parts(who);
        what(core, effects);
    }

    /// Opens a leg of a core.
    pub(crate) fn open(
        &mut self,
        now: Now,
        who: Who,
        (class, outlet): (Class, Option<OutletId>),
        peer: Option<Arc<PeerNames>>,
    ) -> LegId {
        let process = self.process(who);
        let leg = LegId { index: process.next_leg, generation: 1 };
        process.next_leg += 1;
        process.effects.open(leg);
        let remote = SocketAddr::from(([192, 0, 2, 200], 40_000));
        let local = SocketAddr::from(([192, 0, 2, 1], 5061));
        let opened = Opened { class, outlet, peer, doubt: None, remote, local };
        self.tell(who, |core, effects| core.leg_opened(now, leg, opened, effects));
        leg
    }

    /// Feeds what has come on a leg.
    pub(crate) fn feed(&mut self, now: Now, who: Who, leg: LegId, bytes: &[u8]) -> Fed {
        let (core, effects) = self.parts(who);
        core.feed(now, leg, bytes, effects)
    }

    /// Lets a leg go; what is staged for it was never sent.
    pub(crate) fn close(&mut self, now: Now, who: Who, leg: LegId) {
        let process = self.process(who);
        process.legs.remove(&leg);
        let unsent = process.effects.backlog(leg).unwrap_or(0);
        process.effects.close(leg);
        self.tell(who, |core, effects| core.leg_closed(now, leg, Lost::Reset, unsent, effects));
    }
}

fn gateway(seed: u64, snapshot: Arc<Snapshot>) -> Gateway {
    let edge = EdgeAddress {
        name: domain(EDGE),
        port: 23456,
        addresses: vec!["192.0.2.1".parse().expect("an address")],
    };
    let setup = gateway::Setup::single([seed, 5], domain(GATEWAY), vec![edge]);
    Gateway::new(setup, snapshot)
}

fn proxy(seed: u64, snapshot: Arc<Snapshot>) -> XmppProxy {
    let setup = xmpp_proxy::Setup { seed, ..xmpp_proxy::Setup::single([seed, 7], b"s3cr3t") };
    XmppProxy::new(setup, snapshot)
}
