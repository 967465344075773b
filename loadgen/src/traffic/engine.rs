//! Both sides of the edge as one state machine: partners that ask, a next hop that answers.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;

use crate::clock::{Clock, ns_of_seconds};
use crate::measure::Tally;
use crate::net::{ConnId, Ended, Handler, Net, Role, Target};
use crate::options;
use crate::partner::{self, Partner, source};
use crate::run;
use crate::sip::{self, Message, Name};
use crate::tls::{self, Identity};
use crate::traffic::Kind;
use crate::traffic::compose::{Answer, Branch, Dialog, Initial, Sdp, push_refusal_ack};
use crate::traffic::names::Names;
use crate::traffic::slots::{Slots, Step};

/// A connection with more than this unwritten gets no new work.
const BACKLOG_BYTES_MAX: usize = 256 * 1024;
/// Pause before a lost connection is made again, or a refused first unit is tried again.
const RETRY_NS: u64 = 200_000_000;

/// A connection we make and keep.
struct Link {
    role: Role,
    partner: usize,
    conn: Option<ConnId>,
    up: bool,
    /// Whether a unit of work has ended well on it.
    proven: bool,
    retry_at_ns: u64,
    sent_by: String,
}

/// A subscription as the next hop holds it.
struct Subscription {
    dialog: Dialog,
    conn: ConnId,
}

/// Everything both sides know.
pub(crate) struct Engine<'a> {
    kind: Kind,
    options: &'a options::Traffic,
    clock: Clock,
    name: ServerName<'static>,
    internal_name: ServerName<'static>,
    next_hop: Arc<ClientConfig>,
    partners: Vec<Partner>,
    names: Names,
    links: Vec<Link>,
    next_link: usize,
    internal: Vec<Link>,
    next_internal: usize,
    subscriptions: Vec<Subscription>,
    next_subscription: usize,
    subscribed: usize,
    slots: Slots,
    /// Units that ended well, ever.
    pub(crate) completed: u64,
    /// Counts of the measured span.
    pub(crate) tally: Tally,
    span_ns: (u64, u64),
    /// Responses that belong to nothing.
    pub(crate) strays: u64,
    /// ACKs that reached the next hop.
    pub(crate) acks: u64,
    /// What went wrong last, measured or not.
    pub(crate) last_failure: String,
    run: u64,
    shown: u8,
    scratch: Vec<u8>,
}

impl<'a> Engine<'a> {
    /// Reads certificates; opens nothing.
    pub(crate) fn new(kind: Kind, options: &'a options::Traffic, clock: Clock) -> Result<Self> {
        let common = &options.common;
        let internal_name = options.internal_name.as_ref().unwrap_or(&common.server_name);
        let roots = tls::roots(&common.ca)?;
        let partners = partner::all(common)?;
        Ok(Self {
            kind,
            options,
            clock,
            name: ServerName::try_from(common.server_name.clone())?,
            internal_name: ServerName::try_from(internal_name.clone())?,
            next_hop: tls::client(common.tls, &next_hop_identity(options)?, &roots)?,
            names: Names::new(options, &partners),
            partners,
            links: Vec::new(),
            next_link: 0,
            internal: Vec::new(),
            next_internal: 0,
            subscriptions: Vec::new(),
            next_subscription: 0,
            subscribed: 0,
            slots: Slots::default(),
            completed: 0,
            tally: Tally::new(kind.latencies())?,
            span_ns: (u64::MAX, u64::MAX),
            strays: 0,
            acks: 0,
            last_failure: "nothing came back".into(),
            run: partner::run_number(),
            shown: 0,
            scratch: Vec::with_capacity(4096),
        })
    }

    /// Listens for the edge and begins to connect to it.
    pub(crate) fn open(&mut self, net: &mut Net) -> Result<()> {
        let (options, common) = (self.options, &self.options.common);
        let roots = tls::roots(&common.ca)?;
        let next_hop = tls::server(common.tls, &next_hop_identity(options)?, &roots)?;
        for offset in 0..options.listen_ports.max(1) {
            let mut address = options.listen;
            let port = address.port().checked_add(offset).context("port beyond 65535")?;
            address.set_port(port);
            net.listen(address, Arc::clone(&next_hop))?;
        }
        if let Some(address) = options.partner_listen {
            let identity = Identity::read(&common.cert, &common.key)?;
            net.listen(address, tls::server(common.tls, &identity, &roots)?)?;
        }
        let link = |role, partner| Link {
            role,
            partner,
            conn: None,
            up: false,
            proven: false,
            retry_at_ns: 0,
            sent_by: String::new(),
        };
        let count = options.connections.max(1);
        for index in 0..count {
            self.links.push(link(Role::Partner(index as u32), index % self.partners.len()));
            if options.internal.is_some() {
                self.internal.push(link(Role::Internal(index as u32), 0));
            }
        }
        self.connect(net, 0)
    }

    /// Connects whatever of ours is not connected and has waited.
    fn connect(&mut self, net: &mut Net, now_ns: u64) -> Result<()> {
        let common = &self.options.common;
        for (index, link) in self.links.iter_mut().chain(&mut self.internal).enumerate() {
            if link.conn.is_some() || now_ns < link.retry_at_ns {
                continue;
            }
            link.retry_at_ns = now_ns + RETRY_NS;
            let target = match (link.role, self.options.internal) {
                (Role::Internal(_), Some(address)) => Target {
                    address,
                    source: None,
                    config: &self.next_hop,
                    name: &self.internal_name,
                },
                _ => Target {
                    address: common.edge,
                    source: source(common, index),
                    config: &self.partners[link.partner].config,
                    name: &self.name,
                },
            };
            link.conn = Some(net.connect(&target, link.role)?);
        }
        Ok(())
    }

    /// Returns the suite of a connection that is up.
    pub(crate) fn suite(&self, net: &Net) -> Option<String> {
        self.links.iter().find_map(|link| net.suite(link.conn?))
    }

    /// Starts first units until every connection, or every subscription, has proved itself.
    /// Returns whether they all have.
    pub(crate) fn prime(&mut self, net: &mut Net, now_ns: u64) -> Result<bool> {
        if self.internal.iter().any(|link| !link.up) {
            return Ok(false);
        }
        let wanted = self.options.subscriptions as usize;
        let unfinished = self.slots.unfinished();
        if self.kind == Kind::Presence {
            let room = wanted.saturating_sub(self.subscribed + unfinished);
            for _ in 0..room.min(32_usize.saturating_sub(unfinished)) {
                let Some(link) = self.pick(net) else { break };
                if now_ns >= self.links[link].retry_at_ns {
                    self.start_on(net, link, now_ns, now_ns);
                }
            }
            return Ok(self.subscribed >= wanted && self.slots.unfinished() == 0);
        }
        for link in 0..self.links.len() {
            let idle = self.slots.select(|slot| slot.link == Some(link)).is_empty();
            let this = &self.links[link];
            if this.up && !this.proven && idle && now_ns >= this.retry_at_ns {
                self.start_on(net, link, now_ns, now_ns);
            }
        }
        Ok(self.links.iter().all(|link| link.proven))
    }

    /// Says why priming does not come to an end.
    pub(crate) fn give_up(&self) -> Result<()> {
        let proven = self.links.iter().filter(|link| link.proven).count();
        bail!(
            "{proven} of {} connections to {} work ({} subscriptions); last failure: {}",
            self.links.len(),
            self.options.common.edge,
            self.subscribed,
            self.last_failure
        )
    }

    /// Finds the next connection that has room, in turn.
    fn pick(&self, net: &Net) -> Option<usize> {
        let count = self.links.len();
        (0..count).map(|step| (self.next_link + step) % count).find(|&at| {
            let link = &self.links[at];
            let backlog = link.conn.and_then(|conn| net.backlog(conn));
            link.up && backlog.is_some_and(|bytes| bytes < BACKLOG_BYTES_MAX)
        })
    }

    fn start_on(&mut self, net: &mut Net, at: usize, intended_ns: u64, now_ns: u64) {
        let step = match self.kind {
            Kind::Message => Step::Message,
            Kind::Dialog => Step::Invite,
            Kind::Presence => Step::Subscribe,
        };
        let branch = self.slots.add(step, intended_ns, now_ns, Some(at));
        let link = &self.links[at];
        let names = &self.names;
        let initial = Initial {
            method: self.kind.method(),
            uri: names.request_uri(branch.serial, at),
            sent_by: &link.sent_by,
            branch,
            from: names.from(branch.serial, link.partner),
            to: names.to(branch.serial),
            run: self.run,
        };
        self.scratch.clear();
        match self.kind {
            Kind::Message => initial.push_message(&mut self.scratch, self.options.bytes),
            Kind::Dialog => initial.push_invite(&mut self.scratch),
            Kind::Presence => initial.push_subscribe(&mut self.scratch),
        }
        let sent = link.conn.is_some_and(|conn| net.send(conn, &self.scratch));
        if !sent {
            self.finish(branch, Err("connection lost".into()));
        }
    }

    /// Ends a unit and counts it.
    fn finish(&mut self, branch: Branch, outcome: Result<(), String>) {
        let Some(slot) = self.slots.remove(branch) else { return };
        let (from_ns, to_ns) = self.span_ns;
        let measured = (from_ns..to_ns).contains(&slot.intended_ns);
        match outcome {
            Ok(()) => {
                self.completed += 1;
                self.tally.done += u64::from(measured);
                if let Some(link) = slot.link.and_then(|at| self.links.get_mut(at)) {
                    link.proven = true;
                }
            }
            Err(kind) => {
                if let Some(link) = slot.link.and_then(|at| self.links.get_mut(at)) {
                    link.retry_at_ns = self.clock.now_ns() + RETRY_NS;
                }
                if measured {
                    self.tally.error(kind.as_str());
                }
                self.last_failure = kind;
            }
        }
    }

    fn time(&mut self, name: &'static str, since_ns: u64, intended_ns: u64) {
        let (from_ns, to_ns) = self.span_ns;
        if (from_ns..to_ns).contains(&intended_ns) {
            self.tally.latency(name, self.clock.now_ns().saturating_sub(since_ns));
        }
    }

    fn response(&mut self, net: &mut Net, status: u16, response: &Message<'_>) {
        let branch = response.first(Name::Via).and_then(sip::branch).and_then(Branch::parse);
        let Some((branch, slot)) = branch.and_then(|it| Some((it, self.slots.find(it)?))) else {
            self.strays += 1;
            return;
        };
        if status < 200 {
            return;
        }
        let good = status < 300;
        let (intended_ns, sent_ns) = (slot.intended_ns, slot.sent_ns);
        let invited = matches!(slot.step, Step::Invite);
        let name = match slot.step {
            Step::Message => "MESSAGE",
            Step::Invite => "INVITE",
            Step::Bye => "BYE",
            Step::Subscribe => "SUBSCRIBE",
            Step::Notify => "NOTIFY",
        };
        let since_ns = if name == "BYE" { sent_ns } else { intended_ns };
        if good {
            self.time(name, since_ns, intended_ns);
            self.subscribed += usize::from(name == "SUBSCRIBE");
        }
        if invited {
            return self.invited(net, branch, status, response);
        }
        let outcome = if good { Ok(()) } else { Err(refusal(name, status, response)) };
        self.finish(branch, outcome);
    }

    /// Goes on after the final answer to an INVITE: ACK, then BYE.
    fn invited(&mut self, net: &mut Net, branch: Branch, status: u16, response: &Message<'_>) {
        let Some(at) = self.slots.find(branch).and_then(|slot| slot.link) else { return };
        let Some(conn) = self.links[at].conn else { return };
        let sent_by = self.links[at].sent_by.clone();
        self.scratch.clear();
        if status >= 300 {
            let uri = self.names.request_uri(branch.serial, at);
            push_refusal_ack(&mut self.scratch, response, uri, &sent_by, branch);
            net.send(conn, &self.scratch);
            return self.finish(branch, Err(refusal("INVITE", status, response)));
        }
        let Some(mut dialog) = Dialog::of_caller(response) else {
            return self.finish(branch, Err("200 without Contact".into()));
        };
        let ack = Branch { slot: branch.slot, serial: self.slots.next_serial() };
        dialog.push_ack(&mut self.scratch, &sent_by, ack);
        net.send(conn, &self.scratch);
        let bye = Branch { slot: branch.slot, serial: self.slots.next_serial() };
        self.scratch.clear();
        dialog.push_bye(&mut self.scratch, &sent_by, bye);
        if let Some(slot) = self.slots.find(branch) {
            slot.serial = bye.serial;
            slot.sent_ns = self.clock.now_ns();
            slot.step = Step::Bye;
        }
        if !net.send(conn, &self.scratch) {
            self.finish(bye, Err("connection lost".into()));
        }
    }

    fn request(&mut self, net: &mut Net, conn: ConnId, request: &Message<'_>) {
        let method = request.method();
        if method == b"ACK" {
            self.acks += 1;
            return;
        }
        let mut tag = Vec::new();
        sip::push_hex(&mut tag, u64::from(self.slots.next_serial()), 10);
        let mut answer =
            Answer { status: "200 OK", tag: &tag, contact: None, fields: "", sdp: Sdp::Without };
        self.scratch.clear();
        match method {
            b"INVITE" => {
                answer.contact = Some(&self.names.uas_contact);
                answer.status = "180 Ringing";
                answer.push(&mut self.scratch, request);
                net.send(conn, &self.scratch);
                self.scratch.clear();
                answer.status = "200 OK";
                answer.sdp = Sdp::With;
            }
            b"SUBSCRIBE" => {
                answer.contact = Some(&self.names.uas_contact);
                answer.fields = "Expires: 3600\r\n";
            }
            _ => {}
        }
        answer.push(&mut self.scratch, request);
        net.send(conn, &self.scratch);
        if method == b"SUBSCRIBE"
            && let Some(dialog) = Dialog::of_callee(request, &tag)
        {
            self.subscriptions.push(Subscription { dialog, conn });
            let now_ns = self.clock.now_ns();
            self.notify(net, self.subscriptions.len() - 1, now_ns, now_ns);
        }
    }

    /// Sends one NOTIFY of a subscription, on a connection of our own if we have any.
    fn notify(&mut self, net: &mut Net, at: usize, intended_ns: u64, now_ns: u64) {
        let branch = self.slots.add(Step::Notify, intended_ns, now_ns, None);
        let Some(subscription) = self.subscriptions.get_mut(at) else {
            return self.finish(branch, Err("no subscription".into()));
        };
        let mut conn = subscription.conn;
        if !self.internal.is_empty() {
            self.next_internal = (self.next_internal + 1) % self.internal.len();
            if let Some(own) = self.internal[self.next_internal].conn {
                conn = own;
            }
        }
        let sent_by = self.names.next_hop.clone();
        let bytes = self.options.bytes;
        self.scratch.clear();
        let contact = &self.names.uas_contact;
        let note = (&b""[..], bytes);
        subscription.dialog.push_notify(&mut self.scratch, &sent_by, branch, contact, note);
        if !net.send(conn, &self.scratch) {
            self.finish(branch, Err("no connection to the edge".into()));
        }
    }

    /// Shows the first few messages received.
    fn show(&mut self, message: &Message<'_>) {
        if self.options.show && self.shown < 16 {
            self.shown += 1;
            eprintln!("{}\n-----", String::from_utf8_lossy(message.bytes()));
        }
    }

    fn link_mut(&mut self, role: Role) -> Option<&mut Link> {
        match role {
            Role::Partner(index) => self.links.get_mut(index as usize),
            Role::Internal(index) => self.internal.get_mut(index as usize),
            Role::Accepted
            | Role::Stream(_)
            | Role::Inner(_)
            | Role::AcceptedStream
            | Role::Client(_) => None,
        }
    }
}

impl run::Engine for Engine<'_> {
    fn housekeep(&mut self, net: &mut Net, now_ns: u64) -> Result<()> {
        self.connect(net, now_ns)?;
        let timeout_ns = ns_of_seconds(self.options.common.measured.timeout);
        for branch in self.slots.select(|slot| slot.sent_ns + timeout_ns < now_ns) {
            self.finish(branch, Err("no answer in time".into()));
        }
        Ok(())
    }

    fn measure(&mut self, from_ns: u64, to_ns: u64) {
        self.span_ns = (from_ns, to_ns);
    }

    fn unfinished(&self) -> usize {
        self.slots.unfinished()
    }

    fn unfinished_measured(&self) -> usize {
        let (from_ns, to_ns) = self.span_ns;
        self.slots.select(|slot| (from_ns..to_ns).contains(&slot.intended_ns)).len()
    }

    fn ready(&mut self, net: &Net) -> bool {
        self.kind == Kind::Presence || self.pick(net).is_some()
    }

    fn start(&mut self, net: &mut Net, intended_ns: u64, now_ns: u64) {
        let (from_ns, to_ns) = self.span_ns;
        self.tally.offered += u64::from((from_ns..to_ns).contains(&intended_ns));
        if self.kind == Kind::Presence {
            let count = self.subscriptions.len().max(1);
            self.next_subscription = (self.next_subscription + 1) % count;
            self.notify(net, self.next_subscription, intended_ns, now_ns);
        } else if let Some(link) = self.pick(net) {
            self.next_link = (link + 1) % self.links.len();
            self.start_on(net, link, intended_ns, now_ns);
        }
    }

    fn completed(&self) -> u64 {
        self.completed
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

impl Handler for Engine<'_> {
    fn established(&mut self, net: &mut Net, conn: ConnId, role: Role) {
        let local = net.local_address(conn);
        if let Some(link) = self.link_mut(role) {
            link.up = true;
            link.sent_by = local.map(|address| address.to_string()).unwrap_or_default();
        }
    }

    fn message(&mut self, net: &mut Net, conn: ConnId, message: Message<'_>) {
        self.show(&message);
        match message.status() {
            Some(status) => self.response(net, status, &message),
            None => self.request(net, conn, &message),
        }
    }

    fn ended(&mut self, _net: &mut Net, _conn: ConnId, role: Role, why: Ended) {
        let retry_at_ns = self.clock.now_ns() + RETRY_NS;
        if let Some(link) = self.link_mut(role) {
            link.conn = None;
            link.up = false;
            link.retry_at_ns = retry_at_ns;
            self.last_failure = why.kind();
        }
        if let Role::Partner(index) = role {
            for branch in self.slots.select(|slot| slot.link == Some(index as usize)) {
                self.finish(branch, Err(why.kind()));
            }
        }
    }
}

fn next_hop_identity(options: &options::Traffic) -> Result<Identity> {
    let common = &options.common;
    let cert = options.uas_cert.as_ref().unwrap_or(&common.cert);
    let key = options.uas_key.as_ref().unwrap_or(&common.key);
    Identity::read(cert, key)
}

fn refusal(method: &str, status: u16, response: &Message<'_>) -> String {
    let line = String::from_utf8_lossy(response.bytes());
    let reason = line.lines().next().and_then(|line| line.get(12..)).unwrap_or_default();
    format!("{method}: {status} {reason}")
}
