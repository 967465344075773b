//! Both sides of a server that relays XMPP as one state machine: partners' servers outside, and
//! what stands behind it on the inside.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;

use super::compose::{push_message, push_stanza};
use super::stream::{Kind, Stream, Then, Tls};
use super::units::{Mark, Unit, Units};
use super::xml::{self, Cut};
use crate::clock::{Clock, ns_of_seconds};
use crate::measure::Tally;
use crate::net::{ConnId, Ended, Handler, Net, Role, Side, Start, Target};
use crate::options::{self, Inner, Way};
use crate::partner::source;
use crate::sip::{Message, Name};
use crate::tls::{self, Identity};

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
    options: &'a options::Xmpp,
    clock: Clock,
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
    /// Which partners have had a unit end well.
    proven: Vec<bool>,
    tried_ns: Vec<u64>,
    next: usize,
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
    scratch: Vec<u8>,
    shown: u8,
}

impl<'a> Engine<'a> {
    /// Reads certificates; opens nothing.
    pub(crate) fn new(options: &'a options::Xmpp, clock: Clock) -> Result<Self> {
        let common = &options.common;
        let roots = tls::roots(&common.ca)?;
        let identity = Identity::read(&common.cert, &common.key)?;
        let inner = match (&options.inner_cert, &options.inner_key) {
            (Some(cert), Some(key)) => Identity::read(cert, key)?,
            (None, None) => Identity::read(&common.cert, &common.key)?,
            _ => bail!("--inner-cert and --inner-key belong together"),
        };
        let link = |role| Link { role, conn: None, ready: false, retry_at_ns: 0 };
        let domains = options.domains.max(1);
        Ok(Self {
            options,
            clock,
            name: ServerName::try_from(common.server_name.clone())?,
            inner_name: ServerName::try_from(options.inner_name.clone())?,
            partner: tls::client(common.tls, &identity, &roots)?,
            partner_server: tls::server(common.tls, &identity, &roots)?,
            inner: tls::client(common.tls, &inner, &roots)?,
            links: match options.way {
                Way::In => (0..domains).map(|index| link(Role::Stream(index as u32))).collect(),
                Way::Out => Vec::new(),
            },
            inside: link(match options.inner() {
                Inner::Sip => Role::Internal(0),
                _ => Role::Inner(0),
            }),
            streams: BTreeMap::new(),
            opening: 0,
            proven: vec![false; domains],
            tried_ns: vec![0; domains],
            next: 0,
            units: Units::default(),
            numbers: BTreeMap::new(),
            held: 0,
            completed: 0,
            tally: Tally::new(&["stanza"])?,
            span_ns: (u64::MAX, u64::MAX),
            strays: 0,
            last_failure: "nothing came back".into(),
            suite: None,
            scratch: Vec::with_capacity(4096),
            shown: 0,
        })
    }

    fn domain(&self, partner: usize) -> String {
        format!("p{partner}.{}", self.options.partner_domain)
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
        let Engine { options, .. } = self;
        !matches!((options.inner(), options.way), (Inner::Sip, Way::In) | (Inner::None, _))
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
            let ours = self.domain(index);
            let stream = Stream::new(Kind::Partner(index), &ours, &self.options.to_domain);
            self.streams.insert(conn, stream);
            let link = &mut self.links[index];
            (link.conn, link.retry_at_ns) = (Some(conn), now_ns + RETRY_NS);
            self.opening += 1;
        }
        Ok(())
    }

    /// Reconnects, and gives up on what has waited too long.
    pub(crate) fn housekeep(&mut self, net: &mut Net, now_ns: u64) -> Result<()> {
        self.connect(net, now_ns)?;
        let timeout_ns = ns_of_seconds(self.options.common.measured.timeout);
        for mark in self.units.sent_before(now_ns.saturating_sub(timeout_ns)) {
            self.finish(mark, Err("not delivered in time".into()));
        }
        Ok(())
    }

    /// From now on, units intended in `from_ns..to_ns` are counted.
    pub(crate) fn measure(&mut self, from_ns: u64, to_ns: u64) {
        self.span_ns = (from_ns, to_ns);
    }

    /// Returns how many units are unfinished.
    pub(crate) fn unfinished(&self) -> usize {
        self.units.unfinished()
    }

    /// Returns how many units of the measured span are unfinished.
    pub(crate) fn unfinished_measured(&self) -> usize {
        self.units.unfinished_of(self.span_ns)
    }

    /// Returns the suite of the first stream with TLS.
    pub(crate) fn suite(&mut self) -> Option<String> {
        self.suite.take()
    }

    /// Whether the inside stands, as far as it is ours to connect.
    fn inside_ready(&self) -> bool {
        !self.has_inside() || self.inside.ready
    }

    /// Sends a first unit for every partner until each was delivered. Returns whether all were.
    pub(crate) fn prime(&mut self, net: &mut Net, now_ns: u64) -> bool {
        if !self.inside_ready() {
            return false;
        }
        for partner in 0..self.proven.len() {
            if self.proven[partner] || now_ns < self.tried_ns[partner] {
                continue;
            }
            if self.units.unfinished() >= OPENING_MAX || !self.open_to(net, partner) {
                continue;
            }
            self.tried_ns[partner] = now_ns + 2 * RETRY_NS;
            self.start_for(net, partner, now_ns, now_ns);
        }
        self.proven.iter().all(|proven| *proven)
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
        let proven = self.proven.iter().filter(|proven| **proven).count();
        bail!(
            "{proven} of {} domains carried a stanza, {} streams stand, the inside is {}; last \
             failure: {}",
            self.proven.len(),
            self.held,
            if self.inside_ready() { "up" } else { "down" },
            self.last_failure
        )
    }

    fn conn_of(&self, partner: usize) -> Option<ConnId> {
        match self.options.way {
            Way::In => self.links.get(partner).filter(|link| link.ready)?.conn,
            Way::Out => self.inside.conn.filter(|_| self.inside.ready),
        }
    }

    fn open_to(&self, net: &Net, partner: usize) -> bool {
        let backlog = self.conn_of(partner).and_then(|conn| net.backlog(conn));
        backlog.is_some_and(|bytes| bytes < BACKLOG_BYTES_MAX)
    }

    /// Whether a unit could be sent now.
    pub(crate) fn ready(&mut self, net: &Net) -> bool {
        for _ in 0..self.proven.len() {
            if self.open_to(net, self.next) {
                return true;
            }
            self.next = (self.next + 1) % self.proven.len();
        }
        false
    }

    /// Sends the unit that was due at `intended_ns` for the next partner.
    pub(crate) fn start(&mut self, net: &mut Net, intended_ns: u64, now_ns: u64) {
        let partner = self.next;
        self.next = (self.next + 1) % self.proven.len();
        self.start_for(net, partner, intended_ns, now_ns);
    }

    fn start_for(&mut self, net: &mut Net, partner: usize, intended_ns: u64, now_ns: u64) {
        let Some(conn) = self.conn_of(partner) else { return };
        let (from_ns, to_ns) = self.span_ns;
        self.tally.offered += u64::from((from_ns..to_ns).contains(&intended_ns));
        let mark = self.units.add(intended_ns, now_ns, partner);
        let outside = format!("alice@{}", self.domain(partner));
        let inside = format!("bob@{}", self.options.to_domain);
        let bytes = self.options.bytes;
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        if self.options.way == Way::Out && self.options.inner() == Inner::Sip {
            let sent_by = net.local_address(conn).map(|a| a.to_string()).unwrap_or_default();
            push_message((&inside, &outside), &sent_by, mark, bytes, &mut out);
        } else {
            let (mut parties, mut number) = ((&*outside, &*inside), None);
            if self.options.way == Way::Out {
                parties = (&inside, &outside);
                let stream = self.streams.get_mut(&conn).filter(|s| s.kind == Kind::Link);
                if let Some(stream) = stream {
                    stream.sent += 1;
                    number = Some(stream.sent);
                    self.numbers.insert(stream.sent, mark);
                }
            }
            push_stanza(self.options.what, parties, number, mark, bytes, &mut out);
        }
        if !net.send(conn, &out) {
            self.finish(mark, Err("the connection was lost".into()));
        }
        self.scratch = out;
    }

    fn finish(&mut self, mark: Mark, outcome: Result<(), String>) {
        let Some(unit) = self.units.remove(mark) else {
            self.strays += 1;
            return;
        };
        let Unit { intended_ns, partner, .. } = unit;
        let (from_ns, to_ns) = self.span_ns;
        let measured = (from_ns..to_ns).contains(&intended_ns);
        match outcome {
            Ok(()) => {
                self.completed += 1;
                self.proven[partner] = true;
                if measured {
                    self.tally.done += 1;
                    let now_ns = self.clock.now_ns();
                    self.tally.latency("stanza", now_ns.saturating_sub(intended_ns));
                }
            }
            Err(why) => {
                if measured {
                    self.tally.error(why.clone());
                }
                self.last_failure = why;
            }
        }
    }

    /// A stanza or MESSAGE came out at the far side, or an error came back.
    fn arrived(&mut self, bytes: &[u8]) {
        if self.options.show && self.shown < 4 {
            self.shown += 1;
            eprintln!("--- received\n{}", String::from_utf8_lossy(bytes));
        }
        let Some(mark) = Mark::find(bytes) else { return };
        if bytes.starts_with(b"<") && xml::attribute(bytes, "type") == Some(b"error") {
            let words = String::from_utf8_lossy(bytes);
            let condition = words.split_once("<error").map_or("error", |(_, rest)| rest);
            let condition: String = condition.chars().take(120).collect();
            return self.finish(mark, Err(format!("bounced: {condition}")));
        }
        self.finish(mark, Ok(()));
    }

    /// The link told what became of a stanza; delivery itself is seen at the partner's end.
    fn reported(&mut self, element: &[u8]) {
        let number = xml::attribute(element, "n").and_then(|n| std::str::from_utf8(n).ok());
        let mark = number.and_then(|n| self.numbers.remove(&n.parse().ok()?));
        if let (Some(mark), b"bounced") = (mark, xml::name(element)) {
            let words: String = String::from_utf8_lossy(element).chars().take(160).collect();
            self.finish(mark, Err(format!("bounced: {words}")));
        }
    }

    /// Does what an element means; returns false if the connection was ended over it.
    fn take(&mut self, net: &mut Net, conn: ConnId, element: &[u8]) -> bool {
        let Some(stream) = self.streams.get_mut(&conn) else { return false };
        let mut out = Vec::new();
        let then = stream.element(element, &mut out);
        stream.handled =
            stream.handled.wrapping_add(u32::from(then == Then::Stanza && stream.ready));
        if !out.is_empty() {
            net.send(conn, &out);
        }
        match then {
            Then::Nothing => {}
            Then::Stanza => self.arrived(element),
            Then::Report => self.reported(element),
            Then::Ready => self.stream_ready(conn),
            Then::Refused(words) => {
                net.refuse(conn, &words, self);
                return false;
            }
            Then::StartTls => {
                let side = match self.streams.get(&conn).map(|stream| stream.kind) {
                    Some(Kind::Accepted) => Side::Server(&self.partner_server),
                    _ => Side::Client(&self.partner, &self.name),
                };
                if let Err(error) = net.start_tls(conn, &side) {
                    net.refuse(conn, &error.to_string(), self);
                    return false;
                }
            }
        }
        true
    }

    fn stream_ready(&mut self, conn: ConnId) {
        match self.streams.get(&conn).map(|stream| stream.kind) {
            Some(Kind::Partner(index)) => {
                self.links[index].ready = true;
                self.opening = self.opening.saturating_sub(1);
                self.held += 1;
                self.completed += u64::from(self.options.inner() == Inner::None);
            }
            Some(Kind::Link | Kind::Component) => self.inside.ready = true,
            Some(Kind::Accepted) | None => {}
        }
    }
}

impl Handler for Engine<'_> {
    fn established(&mut self, net: &mut Net, conn: ConnId, role: Role) {
        let suite = net.suite(conn);
        let tls = if suite.is_some() { Tls::Yes } else { Tls::No };
        if self.suite.is_none() {
            self.suite = suite;
        }
        match role {
            Role::Internal(_) => self.inside.ready = true,
            Role::AcceptedStream => {
                let stream =
                    self.streams.entry(conn).or_insert_with(|| Stream::new(Kind::Accepted, "", ""));
                stream.established(tls, &mut Vec::new());
            }
            Role::Stream(_) | Role::Inner(_) => {
                let Some(stream) = self.streams.get_mut(&conn) else { return };
                let mut out = Vec::new();
                stream.established(tls, &mut out);
                net.send(conn, &out);
            }
            Role::Partner(_) | Role::Accepted | Role::Client(_) => {}
        }
    }

    fn elements(&mut self, net: &mut Net, conn: ConnId, bytes: &[u8]) -> usize {
        let mut done = 0;
        loop {
            let rest = bytes.get(done..).unwrap_or_default();
            match xml::cut(rest) {
                Cut::NeedMore => return done,
                Cut::Skip(length) => done += length,
                Cut::Close(length) => {
                    net.finish(conn);
                    return done + length;
                }
                Cut::Open(length) => {
                    let mut out = Vec::new();
                    if let Some(stream) = self.streams.get_mut(&conn) {
                        stream.opened(&rest[..length], &self.options.secret, &mut out);
                    }
                    if !out.is_empty() {
                        net.send(conn, &out);
                    }
                    done += length;
                }
                Cut::Element(length) => {
                    net.counters.messages += 1;
                    if !self.take(net, conn, &rest[..length]) {
                        return bytes.len();
                    }
                    done += length;
                }
            }
        }
    }

    fn message(&mut self, net: &mut Net, conn: ConnId, message: Message<'_>) {
        let bytes = message.bytes();
        match message.status() {
            Some(100..=299) => {}
            Some(status) => {
                if let Some(mark) = Mark::find(bytes) {
                    self.finish(mark, Err(format!("answered with {status}")));
                }
            }
            None => {
                let mut answer = b"SIP/2.0 200 OK\r\n".to_vec();
                for name in [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq] {
                    message.copy_lines(name, &mut answer);
                }
                answer.extend_from_slice(b"Content-Length: 0\r\n\r\n");
                net.send(conn, &answer);
                if message.method() == b"MESSAGE" {
                    self.arrived(bytes);
                }
            }
        }
    }

    fn ended(&mut self, _net: &mut Net, conn: ConnId, role: Role, why: Ended) {
        self.streams.remove(&conn);
        if why != Ended::Closed {
            self.last_failure = why.kind();
        }
        let again_ns = self.clock.now_ns() + RETRY_NS;
        match role {
            Role::Stream(index) => {
                let link = &mut self.links[index as usize];
                if link.ready {
                    self.held = self.held.saturating_sub(1);
                } else {
                    self.opening = self.opening.saturating_sub(1);
                }
                *link = Link { role, conn: None, ready: false, retry_at_ns: again_ns };
                self.last_failure = why.kind();
            }
            Role::Inner(_) | Role::Internal(_) => {
                self.inside = Link { role, conn: None, ready: false, retry_at_ns: again_ns };
                self.last_failure = format!("the inside: {}", why.kind());
                self.numbers.clear();
            }
            _ => {}
        }
    }
}
