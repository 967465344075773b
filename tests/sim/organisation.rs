//! An organisation's edge: several shards, their policy, and how certificates name it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use entente::dns::Domain;
use entente::edge::access::{Access, Setup};
use entente::edge::{Class, Core, Effects, Fed, LegId, Lost, Opened, OutletId};
use entente::policy::{
    self, Anchors, NextHop, Outgoing, PartnerRule, PeerNames, RevocationState, Rules, Scores,
    Snapshot,
};
use entente::time::Now;

/// SIP domains of the two organisations; the third is blocked by both.
pub(crate) const DOMAINS: [&str; 3] = ["contoso.example", "fabrikam.example", "litware.example"];

pub(crate) fn domain(text: &str) -> Domain {
    Domain::parse(text.as_bytes()).expect("the simulation's domains are domains")
}

/// Names of the hosts that an edge may be reached by: two SRV targets.
pub(crate) fn edge_hosts(organisation: usize) -> [String; 2] {
    let domain = DOMAINS[organisation];
    [format!("sip.{domain}"), format!("sip2.{domain}")]
}

pub(crate) fn pool_host(organisation: usize) -> String {
    format!("pool.{}", DOMAINS[organisation])
}

/// One address per host, so that a connection's destination says who is meant.
pub(crate) fn address(organisation: usize, place: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, u8::try_from(organisation).unwrap() * 10 + place])
}

/// What the certificate of these hosts says.
fn names(hosts: &[String]) -> Arc<PeerNames> {
    let mut fingerprint = [0u8; 32];
    for (at, byte) in hosts.concat().bytes().enumerate() {
        fingerprint[at % 32] = fingerprint[at % 32].rotate_left(3) ^ byte;
    }
    Arc::new(PeerNames {
        dns_names: hosts.iter().map(|host| domain(host)).collect(),
        sip_domains: vec![],
        common_name: None,
        client_auth: true,
        anchors: Anchors::General,
        fingerprint,
        expires_unix_s: u64::MAX,
        revocation: RevocationState::Unknown,
        xmpp: None,
    })
}

pub(crate) fn rules(organisation: usize) -> Rules {
    let own = DOMAINS[organisation];
    let other = DOMAINS[1 - organisation];
    let mut partner = PartnerRule::allowed_domain(domain(other));
    partner.allow_networks = vec!["192.0.2.0/24".parse().unwrap()];
    Rules {
        blocked: vec![domain(DOMAINS[2]).into()],
        partners: vec![partner],
        internal_names: vec![domain(&pool_host(organisation))],
        next_hops: vec![NextHop {
            addresses: vec![address(organisation, 9)],
            ..NextHop::new(domain(&pool_host(organisation)))
        }],
        ..Rules::new(
            domain(&format!("edge1.{own}")),
            domain(&format!("sip.{own}")),
            domain(&format!("lsedge.{own}")),
            vec![domain(own)],
        )
    }
}

pub(crate) fn snapshot(organisation: usize, epoch: u64) -> Arc<Snapshot> {
    let policy = policy::compile(rules(organisation), epoch).expect("rules without contradiction");
    // One of the two, and with every reload the other, so that dialogs outlive the switch.
    let hide_topology = epoch % 2 == organisation as u64;
    Arc::new(policy.with_outgoing(Outgoing { hide_topology, ..Outgoing::default() }))
}

/// What one of `shards` shards is made from.
fn setup(organisation: usize, number: usize, shards: usize, seed: u64) -> Setup {
    Setup {
        shard: u16::try_from(number).unwrap(),
        shards: u16::try_from(shards).unwrap(),
        transactions: 4_000,
        // So near the wrap that every run passes it.
        first_generation: u32::MAX - 2,
        seed: seed ^ number as u64,
        ..Setup::single(
            [seed ^ organisation as u64, seed.rotate_left(7)],
            [u8::try_from(organisation).unwrap(); 16],
        )
    }
}

/// One shard and what its shell would hold.
pub(crate) struct Shard {
    pub(crate) access: Access,
    pub(crate) effects: Effects,
    address: IpAddr,
    next_leg: u32,
}

impl Shard {
    /// Opens a leg to a peer with a certificate for `hosts`.
    pub(crate) fn open(
        &mut self,
        now: Now,
        class: Class,
        hosts: &[String],
        outlet: Option<OutletId>,
    ) -> LegId {
        let leg = LegId { index: self.next_leg, generation: 1 };
        self.next_leg += 1;
        let remote = SocketAddr::from(([192, 0, 2, 200], 40_000));
        let local = SocketAddr::new(self.address, 5061);
        let opened = Opened { class, outlet, peer: Some(names(hosts)), doubt: None, remote, local };
        self.effects.open(leg);
        self.access.leg_opened(now, leg, opened, &mut self.effects);
        leg
    }

    /// Lets a leg go; what was staged for it is lost.
    pub(crate) fn close(&mut self, now: Now, leg: LegId) {
        self.effects.close(leg);
        self.access.leg_closed(now, leg, Lost::ClosedByPeer, 0, &mut self.effects);
    }

    /// Feeds all whole messages and returns how many bytes they were.
    pub(crate) fn feed(&mut self, now: Now, leg: LegId, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            match self.access.feed(now, leg, &bytes[at..], &mut self.effects) {
                Fed::Consumed(consumed) => at += consumed,
                Fed::NeedMore(_) => break,
                Fed::Dead => panic!("an edge could not read what an edge or a user wrote"),
            }
        }
        at
    }

    /// Takes what is staged for a leg.
    pub(crate) fn take_staged(&mut self, leg: LegId) -> Vec<u8> {
        self.effects.staged_mut(leg).map(std::mem::take).unwrap_or_default()
    }
}

/// An edge.
pub(crate) struct Edge {
    pub(crate) shards: Vec<Shard>,
    pub(crate) epoch: u64,
}

impl Edge {
    pub(crate) fn new(
        organisation: usize,
        shards: usize,
        seed: u64,
        snapshot: &Arc<Snapshot>,
        scores: &Arc<Scores>,
    ) -> Self {
        let shard = |number: usize| Shard {
            access: Access::sharing(
                setup(organisation, number, shards, seed),
                Arc::clone(snapshot),
                Arc::clone(scores),
            ),
            effects: Effects::default(),
            address: address(organisation, 1),
            next_leg: 0,
        };
        Self { shards: (0..shards).map(shard).collect(), epoch: 1 }
    }

    /// Gives one shard the newest snapshot.
    pub(crate) fn reload(&mut self, organisation: usize, shard: usize, now: Now) {
        let snapshot = snapshot(organisation, self.epoch);
        let shard = &mut self.shards[shard];
        shard.access.adopt(now, snapshot, &mut shard.effects);
    }
}
