//! Both sides of a server that relays XMPP as one state machine: partners' servers outside, and
//! what stands behind it on the inside.

mod presence;
mod receive;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;

use super::Across;
use super::compose::{Stanza, push_message, push_stanza};
use super::stream::{Kind, Stream};
use super::subscriptions::Subscriptions;
use super::units::{Mark, Mix, Plan, Unit, Units, Way, Work};
use crate::clock::{Clock, ns_of_seconds};
use crate::measure::Tally;
use crate::net::{ConnId, Net, Role, Start, Target};
use crate::options::{self, Inner};
use crate::partner::{run_number, source};
use crate::run;
use crate::tls::{self, Identity};
use crate::traffic::compose::Party;

/// A connection with more than this unwritten gets no new work.
const BACKLOG_BYTES_MAX: usize = 256 * 1024;
/// Pause before a lost connection is made again, or a first unit is tried again.
const RETRY_NS: u64 = 500_000_000;
/// Streams that are being set up at once, so that a server is not asked for all in one moment.
const OPENING_MAX: usize = 32;

/// A connection we make and keep.
#[derive(Clone, Debug)]
struct Link {
    role: Role,
    conn: Option<ConnId>,
    ready: bool,
    retry_at_ns: u64,
}

/// Everything both sides know.
pub(crate) struct Engine<'a> {
    across: Across,
    options: &'a options::Xmpp,
    clock: Clock,
    domains: Vec<String>,
    /// Our user, as a stanza names him.
    user: String,
    /// And as a request does.
    party: Party,
    name: ServerName<'static>,
    inner_name: ServerName<'static>,
    partner: Arc<ClientConfig>,
    partner_server: Arc<ServerConfig>,
    inner: Arc<ClientConfig>,
    /// Streams of partners, in the order of the domains; none where the server connects to us.
    links: Vec<Link>,
    inside: Link,
    streams: BTreeMap<ConnId, Stream>,
    opening: usize,
    /// Which partners have had a unit end well, each way.
    proven: BTreeMap<(usize, Way), bool>,
    tried_ns: BTreeMap<(usize, Way), u64>,
    mix: Mix,
    /// The unit that comes next, once it is decided, and where to look for room for each kind.
    plan: Option<Plan>,
    cursors: [usize; 3],
    subscriptions: Subscriptions,
    /// Requests of subscriptions that were sent.
    requests: u32,
    units: Units,
    /// Stanzas on a link that it has not reported on.
    numbers: BTreeMap<u64, Mark>,
    /// Streams that stand.
    pub(crate) held: usize,
    /// Units that ended well, ever.
    pub(crate) completed: u64,
    /// Counts of the measured span.
    pub(crate) tally: Tally,
    span_ns: (u64, u64),
    /// Stanzas that belong to no unit.
    pub(crate) strays: u64,
    /// What went wrong last, measured or not.
    pub(crate) last_failure: String,
    suite: Option<String>,
    run: u64,
    scratch: Vec<u8>,
    shown: u8,
}

impl<'a> Engine<'a> {
    /// Reads certificates; opens nothing.
    pub(crate) fn new(across: Across, options: &'a options::Xmpp, clock: Clock) -> Result<Self> {
        check(across, options)?;
        let common = &options.common;
        let roots = tls::roots(&common.ca)?;
        let identity = Identity::read(&common.cert, &common.key)?;
        let inner = match (&options.inner_cert, &options.inner_key) {
            (Some(cert), Some(key)) => Identity::read(cert, key)?,
            (None, None) => Identity::read(&common.cert, &common.key)?,
            _ => bail!("--inner-cert and --inner-key belong together"),
        };
        let link = |role| Link { role, conn: None, ready: false, retry_at_ns: 0 };
        let count = options.domains.max(1);
        let domains: Vec<String> =
            (0..count).map(|n| format!("p{n}.{}", options.partner_domain)).collect();
        let ways = [Way::In, Way::Out].into_iter().filter(|way| options.way.has(*way));
        let proven = ways.flat_map(|way| (0..count).map(move |n| ((n, way), false))).collect();
        let user = format!("bob@{}", options.to_domain);
        let at = options.next_hop.map(|address| address.to_string()).unwrap_or_default();
        let subscriptions = presence::subscriptions(across, options, &domains);
        // Who may see whom is decided on streams that partners open.
        let opens = options.way.has(Way::In) || subscriptions.len() > 0;
        let streams = if opens { count } else { 0 };
        Ok(Self {
            across,
            options,
            clock,
            subscriptions,
            requests: 0,
            party: Party { uri: format!("sip:{user}"), contact: format!("sip:bob@{at}") },
            domains,
            user,
            name: ServerName::try_from(common.server_name.clone())?,
            inner_name: ServerName::try_from(options.inner_name.clone())?,
            partner: tls::client(common.tls, &identity, &roots)?,
            partner_server: tls::server(common.tls, &identity, &roots)?,
            inner: tls::client(common.tls, &inner, &roots)?,
            links: (0..streams).map(|index| link(Role::Stream(index as u32))).collect(),
            inside: link(match options.inner() {
                Inner::Sip => Role::Internal(0),
                _ => Role::Inner(0),
            }),
            streams: BTreeMap::new(),
            opening: 0,
            proven,
            tried_ns: BTreeMap::new(),
            mix: Mix::new(options.way, options.presence(), options.subscriptions),
            plan: None,
            cursors: [0; 3],
            units: Units::default(),
            numbers: BTreeMap::new(),
            held: 0,
            completed: 0,
            tally: Tally::of_each(&Plan::NAMES)?,
            span_ns: (u64::MAX, u64::MAX),
            strays: 0,
            last_failure: "nothing came back".into(),
            suite: None,
            run: run_number(),
            scratch: Vec::with_capacity(4096),
            shown: 0,
        })
    }

    /// Listens, and begins to connect.
    pub(crate) fn open(&mut self, net: &mut Net) -> Result<()> {
        let listening = Arc::clone(&self.partner_server);
        net.listen_for(self.options.listen, listening, Role::AcceptedStream)?;
        if let Some(address) = self.options.next_hop {
            let common = &self.options.common;
            let (cert, key) = (&self.options.inner_cert, &self.options.inner_key);
            let identity = Identity::read(
                cert.as_ref().context("--next-hop needs --inner-cert")?,
                key.as_ref().context("--next-hop needs --inner-key")?,
            )?;
            let roots = tls::roots(&common.ca)?;
            net.listen(address, tls::server(common.tls, &identity, &roots)?)?;
        }
        self.connect(net, 0)
    }

    /// Whether there is a connection on the inside for us to make.
    fn has_inside(&self) -> bool {
        let out = self.options.way.has(Way::Out) || self.subscriptions.len() > 0;
        match self.options.inner() {
            Inner::Sip => out,
            Inner::None => false,
            Inner::Link | Inner::Component => true,
        }
    }

    fn connect(&mut self, net: &mut Net, now_ns: u64) -> Result<()> {
        if self.has_inside() && self.inside.conn.is_none() && now_ns >= self.inside.retry_at_ns {
            self.inside.retry_at_ns = now_ns + RETRY_NS;
            let target = Target {
                address: self.options.inner_address,
                source: None,
                config: &self.inner,
                name: &self.inner_name,
            };
            let (kind, start) = match self.options.inner() {
                Inner::Component => (Kind::Component, Start::Clear),
                _ => (Kind::Link, Start::Tls),
            };
            let conn = net.connect_with(&target, self.inside.role, start)?;
            self.inside.conn = Some(conn);
            if self.options.inner() != Inner::Sip {
                let ours = match kind {
                    Kind::Component => &self.options.to_domain,
                    _ => &self.options.gateway_name,
                };
                let stream = Stream::new(kind, ours, &self.options.inner_name);
                self.streams.insert(conn, stream);
            }
        }
        for index in 0..self.links.len() {
            let link = &self.links[index];
            if self.opening >= OPENING_MAX || link.conn.is_some() || now_ns < link.retry_at_ns {
                continue;
            }
            let target = Target {
                address: self.options.common.edge,
                source: source(&self.options.common, index),
                config: &self.partner,
                name: &self.name,
            };
            let conn = net.connect_with(&target, link.role, Start::Clear)?;
            let ours = &self.domains[index];
            let stream = Stream::new(Kind::Partner(index), ours, &self.options.to_domain);
            self.streams.insert(conn, stream);
            let link = &mut self.links[index];
            (link.conn, link.retry_at_ns) = (Some(conn), now_ns + RETRY_NS);
            self.opening += 1;
        }
        Ok(())
    }

    /// Returns the suite of the first stream with TLS.
    pub(crate) fn suite(&mut self) -> Option<String> {
        self.suite.take()
    }

    /// Whether the inside stands, as far as it is ours to connect.
    fn inside_ready(&self) -> bool {
        !self.has_inside() || self.inside.ready
    }

    /// Sends a first message for every partner until each was delivered, and sets up the
    /// subscriptions. Returns whether all is there.
    pub(crate) fn prime(&mut self, net: &mut Net, now_ns: u64) -> bool {
        if !self.inside_ready() {
            return false;
        }
        let left = self.proven.iter().filter(|(_, proven)| !**proven).map(|(of, _)| *of);
        for (partner, way) in left.collect::<Vec<_>>() {
            if now_ns < self.tried_ns.get(&(partner, way)).copied().unwrap_or(0) {
                continue;
            }
            if self.units.unfinished() >= OPENING_MAX || !self.open_to(net, partner, way) {
                continue;
            }
            self.tried_ns.insert((partner, way), now_ns + 2 * RETRY_NS);
            let plan = Plan { work: Work::Message, way };
            self.start_for(net, plan, partner, now_ns, now_ns);
        }
        self.subscribe(net, now_ns);
        self.proven.values().all(|proven| *proven) && self.all_stand()
    }

    /// Whether every stream of a partner stands; nothing is sent.
    pub(crate) fn stands(&self, wanted: usize) -> bool {
        self.inside_ready() && self.held >= wanted
    }

    /// Opens no more than so many streams, for now.
    pub(crate) fn restrict(&mut self, streams: usize) {
        for (index, link) in self.links.iter_mut().enumerate() {
            link.retry_at_ns = if index < streams { 0 } else { u64::MAX };
        }
    }

    /// Says what failed.
    pub(crate) fn give_up(&self) -> Result<()> {
        let proven = self.proven.values().filter(|proven| **proven).count();
        let (stand, wanted) = self.standing();
        bail!(
            "{proven} of {} ways to domains carried a stanza, {} streams and {stand} of {wanted} \
             subscriptions stand, the inside is {}; last failure: {}",
            self.proven.len(),
            self.held,
            if self.inside_ready() { "up" } else { "down" },
            self.last_failure
        )
    }

    fn conn_of(&self, partner: usize, way: Way) -> Option<ConnId> {
        match way {
            Way::In => self.links.get(partner).filter(|link| link.ready)?.conn,
            Way::Out => self.inside.conn.filter(|_| self.inside.ready),
        }
    }

    fn open_to(&self, net: &Net, partner: usize, way: Way) -> bool {
        let backlog = self.conn_of(partner, way).and_then(|conn| net.backlog(conn));
        backlog.is_some_and(|bytes| bytes < BACKLOG_BYTES_MAX)
    }

    /// Where units of a kind may belong: to partners, or to subscriptions.
    fn places(&self, work: Work) -> std::ops::Range<usize> {
        match (self.across, work) {
            (_, Work::Message) | (Across::Proxy, _) => 0..self.domains.len(),
            (Across::Gateway, Work::Presence) => self.subscriptions.standing(),
            (Across::Gateway, Work::Subscription) => self.subscriptions.living(),
        }
    }

    fn has_room(&self, net: &Net, plan: Plan, at: usize) -> bool {
        match (self.across, plan.work) {
            (_, Work::Message) | (Across::Proxy, _) => self.open_to(net, at, plan.way),
            (Across::Gateway, _) => self.is_free(net, plan, at),
        }
    }

    fn start_for(&mut self, net: &mut Net, plan: Plan, at: usize, intended_ns: u64, now_ns: u64) {
        let (from_ns, to_ns) = self.span_ns;
        self.tally.offered += u64::from((from_ns..to_ns).contains(&intended_ns));
        let mark = self.units.add(plan, at, intended_ns, now_ns);
        let sent = match (self.across, plan.work) {
            (_, Work::Message) | (Across::Proxy, _) => self.send(net, plan, at, mark),
            (Across::Gateway, Work::Presence) => self.update(net, at, mark),
            (Across::Gateway, Work::Subscription) => self.live(net, at, mark),
        };
        if !sent {
            self.finish(mark, Err("the connection was lost".into()));
        }
    }

    /// Sends a message or directed presence. Returns whether that was possible.
    fn send(&mut self, net: &mut Net, plan: Plan, partner: usize, mark: Mark) -> bool {
        let Some(conn) = self.conn_of(partner, plan.way) else { return false };
        let outside = format!("alice@{}", self.domains[partner]);
        let bytes = self.options.bytes;
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        if plan.way == Way::Out && self.options.inner() == Inner::Sip {
            let sent_by = net.local_address(conn).map(|a| a.to_string()).unwrap_or_default();
            push_message((&self.user, &outside), &sent_by, mark, bytes, &mut out);
        } else {
            let (mut parties, mut number) = ((&*outside, &*self.user), None);
            if plan.way == Way::Out {
                parties = (&self.user, &outside);
                let stream = self.streams.get_mut(&conn).filter(|s| s.kind == Kind::Link);
                if let Some(stream) = stream {
                    stream.sent += 1;
                    number = Some(stream.sent);
                    self.numbers.insert(stream.sent, mark);
                }
            }
            let stanza = match plan.work {
                Work::Message => Stanza::Message,
                Work::Presence | Work::Subscription => Stanza::Presence,
            };
            push_stanza(stanza, parties, number, mark, bytes, &mut out);
        }
        let sent = net.send(conn, &out);
        self.scratch = out;
        sent
    }

    fn is_measured(&self, intended_ns: u64) -> bool {
        let (from_ns, to_ns) = self.span_ns;
        (from_ns..to_ns).contains(&intended_ns)
    }

    /// Times a unit from when it was due.
    fn time(&mut self, unit: &Unit) {
        if self.is_measured(unit.intended_ns) {
            let now_ns = self.clock.now_ns();
            self.tally.latency(unit.plan.name(), now_ns.saturating_sub(unit.intended_ns));
        }
    }

    fn finish(&mut self, mark: Mark, outcome: Result<(), String>) {
        let Some(unit) = self.units.remove(mark) else {
            self.strays += 1;
            return;
        };
        let Unit { intended_ns, plan, of, .. } = unit;
        let of_partner = self.across == Across::Proxy || plan.work == Work::Message;
        if !of_partner {
            self.released(of, mark, outcome.is_ok());
        }
        match outcome {
            Ok(()) => {
                self.completed += 1;
                if of_partner {
                    self.proven.insert((of, plan.way), true);
                }
                self.tally.done += u64::from(self.is_measured(intended_ns));
                // A life was timed when it was granted.
                if plan.work != Work::Subscription {
                    self.time(&unit);
                }
            }
            Err(why) => {
                if self.is_measured(intended_ns) {
                    self.tally.lost(plan.name(), &why);
                }
                self.last_failure = why;
            }
        }
    }
}

impl run::Engine for Engine<'_> {
    fn housekeep(&mut self, net: &mut Net, now_ns: u64) -> Result<()> {
        self.connect(net, now_ns)?;
        let timeout_ns = ns_of_seconds(self.options.common.measured.timeout);
        for mark in self.units.sent_before(now_ns.saturating_sub(timeout_ns)) {
            self.finish(mark, Err("not delivered in time".into()));
        }
        self.subscribe(net, now_ns);
        Ok(())
    }

    fn measure(&mut self, from_ns: u64, to_ns: u64) {
        self.span_ns = (from_ns, to_ns);
    }

    fn unfinished(&self) -> usize {
        self.units.unfinished()
    }

    fn unfinished_measured(&self) -> usize {
        self.units.unfinished_of(self.span_ns)
    }

    fn ready(&mut self, net: &Net) -> bool {
        let plan = *self.plan.get_or_insert_with(|| self.mix.next());
        let places = self.places(plan.work);
        for _ in 0..places.len() {
            let cursor = &mut self.cursors[plan.work as usize];
            if !places.contains(cursor) {
                *cursor = places.start;
            }
            let at = *cursor;
            if self.has_room(net, plan, at) {
                return true;
            }
            self.cursors[plan.work as usize] = at + 1;
        }
        false
    }

    fn start(&mut self, net: &mut Net, intended_ns: u64, now_ns: u64) {
        let Some(plan) = self.plan.take() else { return };
        let cursor = &mut self.cursors[plan.work as usize];
        let at = *cursor;
        *cursor += 1;
        self.start_for(net, plan, at, intended_ns, now_ns);
    }

    fn completed(&self) -> u64 {
        self.completed
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

/// Refuses what the scenario cannot do.
fn check(across: Across, options: &options::Xmpp) -> Result<()> {
    if options.presence() + options.subscriptions > 1.0 {
        bail!("--presence and --subscriptions are shares of one whole");
    }
    let subscribes = options.presence() + options.subscriptions > 0.0;
    match across {
        Across::Proxy if options.subscriptions > 0.0 => bail!("--subscriptions is of `gateway`"),
        Across::Gateway if subscribes && options.next_hop.is_none() => {
            bail!("across a gateway presence needs --next-hop, where subscriptions come to")
        }
        Across::Gateway if subscribes && options.inner() != Inner::Sip => {
            bail!("across a gateway presence needs --inner sip")
        }
        _ => Ok(()),
    }
}
