//! Clients and peers of a relay as one state machine: allocations that are made and kept, packets
//! that are sent through them, and what becomes of those.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use anyhow::{Result, bail};

use super::address::{peer_address, peer_number};
use super::client::{Account, CHANNEL, Client, Stage, Then};
use super::packet::{self, Arrival, Lane, Stamp, Way};
use super::ports::Ports;
use super::stun::{CHANNEL_BYTES, Message};
use super::udp::Datagram;
use crate::clock::{Clock, ns_of_seconds};
use crate::measure::Tally;
use crate::options::{self, Course, Work};
use crate::partner::run_number;

/// Pause between renewals of an allocation, below the five minutes of a permission (RFC 8656
/// section 9).
const RENEW_NS: u64 = 200_000_000_000;
/// Most bytes of one call to the kernel.
const TRAIN_BYTES_MAX: usize = 65_000;
/// Most datagrams of one call to the kernel (UDP_MAX_SEGMENTS of older kernels).
const TRAIN_MAX: usize = 64;

/// What packets go through: one allocation with its channel.
#[derive(Clone, Copy, Debug)]
struct Flow {
    server: SocketAddr,
    relayed: SocketAddr,
    up: Lane,
    down: Lane,
}

/// Packets that were sent, and what became of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    sent: u64,
    arrived: u64,
    /// Of those sent, how many nobody waits for.
    written_off: u64,
    /// Of those that came, how many came after one that was sent after them.
    pub(crate) late: u64,
    /// Packets that came again.
    pub(crate) again: u64,
}

/// What is to be sent once what has come is read.
enum Due {
    Request(u32),
    Echo(u32),
    /// Nothing; the client is gone.
    Close(u32),
}

/// The state machine.
pub(crate) struct Load<'a> {
    options: &'a options::Media,
    clock: Clock,
    accounts: Vec<Account>,
    run: u32,
    peer_port: u16,
    /// Clients that are asking or hold something, by number.
    clients: BTreeMap<u32, Client>,
    /// Of those, the ones that wait for an answer.
    asking: BTreeSet<u32>,
    renewals: VecDeque<(u64, u32)>,
    next_client: u32,
    /// By number of the client; only of `flows` and `hold`.
    flows: Vec<Option<Flow>>,
    next_lane: usize,
    due: Vec<Due>,
    train: Vec<u8>,
    /// Allocations that stand.
    pub(crate) standing: usize,
    /// Units that ended well, ever.
    pub(crate) completed: u64,
    /// Packets.
    pub(crate) counts: Counts,
    /// Counts of the measured span.
    pub(crate) tally: Tally,
    span_ns: (u64, u64),
    /// What went wrong last, measured or not.
    pub(crate) last_failure: String,
    /// Allocations that failed, measured or not.
    pub(crate) failures: u64,
}

/// Names of what is timed: packets from when they were due, and how late we sent them; lives of
/// allocations, and until packets could have flowed.
pub(crate) const DELAY_UP: &str = "delay up";
pub(crate) const DELAY_DOWN: &str = "delay down";
const JITTER_UP: &str = "jitter up";
const JITTER_DOWN: &str = "jitter down";
const SENT_LATE: &str = "sent late by";
const LIFE: &str = "life";
const SET_UP: &str = "set up";

impl<'a> Load<'a> {
    /// Begins with no allocation. `peer_port`: where peers are.
    pub(crate) fn new(options: &'a options::Media, clock: Clock, peer_port: u16) -> Result<Self> {
        let (bytes, train) = (options.bytes(), options.train());
        if bytes < packet::BYTES_MIN || bytes.next_multiple_of(4) != bytes {
            bail!("--bytes must be a multiple of four, {} at least", packet::BYTES_MIN);
        }
        if train > TRAIN_MAX || train * (bytes + CHANNEL_BYTES) > TRAIN_BYTES_MAX {
            bail!("a train is at most {TRAIN_MAX} packets and {TRAIN_BYTES_MAX} bytes");
        }
        if options.users == 0 || options.allocations == Some(0) {
            bail!("--users and --allocations are one at least");
        }
        if options.measured.seconds <= 0.0 {
            bail!("--seconds must be more than none");
        }
        let names = [DELAY_UP, DELAY_DOWN, JITTER_UP, JITTER_DOWN, LIFE, SET_UP, SENT_LATE];
        let place = match options.work {
            Work::Churn => 0,
            _ => options.allocations(),
        };
        Ok(Self {
            options,
            clock,
            accounts: (0..options.users.max(1))
                .map(|number| Account::of(options, number))
                .collect(),
            run: run_number() as u32,
            peer_port,
            clients: BTreeMap::new(),
            asking: BTreeSet::new(),
            renewals: VecDeque::new(),
            next_client: 0,
            flows: vec![None; place],
            next_lane: 0,
            due: Vec::new(),
            train: vec![0x55; train * (bytes + CHANNEL_BYTES)],
            standing: 0,
            completed: 0,
            counts: Counts::default(),
            tally: Tally::new(&names)?,
            span_ns: (u64::MAX, u64::MAX),
            last_failure: "nothing came back".into(),
            failures: 0,
        })
    }

    /// Sets the span that counts.
    pub(crate) fn measure(&mut self, start_ns: u64, end_ns: u64) {
        self.span_ns = (start_ns, end_ns);
    }

    fn measured(&self, due_ns: u64) -> bool {
        (self.span_ns.0..self.span_ns.1).contains(&due_ns)
    }

    /// Returns how many clients wait for an answer.
    pub(crate) fn asking(&self) -> usize {
        self.asking.len()
    }

    /// Returns how many units are unfinished.
    pub(crate) fn unfinished(&self) -> usize {
        match self.options.work {
            Work::Churn => self.clients.len(),
            _ => {
                let Counts { sent, arrived, written_off, .. } = self.counts;
                sent.saturating_sub(arrived + written_off) as usize
            }
        }
    }

    /// Stops waiting for what is on its way.
    pub(crate) fn write_off(&mut self) {
        self.counts.written_off += self.unfinished() as u64;
        for flow in self.flows.iter_mut().flatten() {
            flow.up.give_up();
            flow.down.give_up();
        }
    }

    fn id(&self, client: u32) -> [u8; 8] {
        (u64::from(self.run) << 32 | u64::from(client)).to_be_bytes()
    }

    // --- allocations ---

    /// Begins a new client.
    pub(crate) fn begin(&mut self, ports: &mut Ports<'_>, due_ns: u64, now_ns: u64) {
        let number = self.next_client;
        self.next_client += 1;
        let account = number as usize % self.accounts.len();
        let peer = (peer_address(self.options.peers, number), self.peer_port).into();
        let client = Client::new(self.options, account, peer, due_ns);
        self.clients.insert(number, client);
        if self.options.work == Work::Churn && self.measured(due_ns) {
            self.tally.offered += 1;
        }
        self.request(ports, number, now_ns);
    }

    fn request(&mut self, ports: &mut Ports<'_>, number: u32, now_ns: u64) {
        let id = self.id(number);
        let Some(client) = self.clients.get_mut(&number) else { return };
        let Some(request) = client.request(id, &mut self.accounts[client.account], now_ns) else {
            return self.failed(number, "no answer".into());
        };
        self.asking.insert(number);
        let server = client.server;
        ports.send_to_relay(number, server, &request, None);
    }

    /// Returns how long a life may take; allocations that are to stand are asked for as long as
    /// the protocol allows.
    fn patience_ns(&self) -> u64 {
        match self.options.work {
            Work::Churn => ns_of_seconds(self.options.measured.timeout),
            _ => u64::MAX / 2,
        }
    }

    /// Sends again what was not answered, and renews what would end.
    pub(crate) fn housekeep(&mut self, ports: &mut Ports<'_>, now_ns: u64) {
        let unanswered = |number: &u32| {
            let again_ns = self.clients.get(number).and_then(|client| client.again_ns);
            again_ns.is_some_and(|again_ns| again_ns <= now_ns)
        };
        let again: Vec<u32> = self.asking.iter().copied().filter(unanswered).collect();
        for number in again {
            match self.clients.get(&number) {
                Some(client) if now_ns > client.due_ns + self.patience_ns() => {
                    self.failed(number, "no answer in time".into());
                }
                _ => self.request(ports, number, now_ns),
            }
        }
        while let Some(&(at_ns, number)) = self.renewals.front()
            && at_ns <= now_ns
        {
            self.renewals.pop_front();
            if let Some(client) = self.clients.get_mut(&number) {
                client.enter(Stage::Rebinding);
                self.request(ports, number, now_ns);
            }
        }
    }

    /// Asks for the end of allocations until so many are asked for.
    pub(crate) fn release(&mut self, ports: &mut Ports<'_>, window: usize, now_ns: u64) {
        while self.asking.len() < window
            && let Some((&number, client)) =
                self.clients.iter_mut().find(|(_, client)| client.stage == Stage::Ready)
        {
            client.enter(Stage::Releasing);
            self.request(ports, number, now_ns);
        }
    }

    fn failed(&mut self, number: u32, why: String) {
        self.asking.remove(&number);
        let Some(client) = self.clients.remove(&number) else { return };
        self.due.push(Due::Close(number));
        self.failures += 1;
        if self.options.work != Work::Churn || self.measured(client.due_ns) {
            self.tally.error(why.clone());
        }
        self.last_failure = why;
    }

    /// A client's connection is gone.
    pub(crate) fn cut_off(&mut self, number: u32, why: &str) {
        let stood = self
            .clients
            .get(&number)
            .is_some_and(|client| !matches!(client.stage, Stage::Allocating | Stage::Binding));
        if stood && self.options.work != Work::Churn {
            self.standing -= 1;
        }
        self.failed(number, why.to_owned());
    }

    fn answered(&mut self, number: u32, message: Message<'_>, now_ns: u64) {
        let id = self.id(number);
        let Some(client) = self.clients.get_mut(&number) else { return };
        let then = client.answer(id, &mut self.accounts[client.account], message);
        match then {
            Then::Nothing => {}
            Then::Request => self.due.push(Due::Request(number)),
            Then::Failed(why) => self.failed(number, why),
            Then::Ready => self.ready(number, now_ns),
            Then::Renewed => {
                self.asking.remove(&number);
                self.renewals.push_back((now_ns + RENEW_NS, number));
            }
            Then::Released => self.released(number, now_ns),
        }
    }

    fn ready(&mut self, number: u32, now_ns: u64) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        if self.options.work == Work::Churn {
            client.enter(Stage::Releasing);
            self.due.push(Due::Request(number));
            let due_ns = client.due_ns;
            if self.measured(due_ns) {
                self.tally.latency(SET_UP, now_ns.saturating_sub(due_ns));
            }
            return;
        }
        self.asking.remove(&number);
        self.standing += 1;
        self.renewals.push_back((now_ns + RENEW_NS, number));
        if let (Some(relayed), Some(place)) = (client.relayed, self.flows.get_mut(number as usize))
        {
            let (up, down) = (Lane::default(), Lane::default());
            *place = Some(Flow { server: client.server, relayed, up, down });
        }
    }

    fn released(&mut self, number: u32, now_ns: u64) {
        self.asking.remove(&number);
        let Some(client) = self.clients.remove(&number) else { return };
        self.due.push(Due::Close(number));
        if self.options.work != Work::Churn {
            self.standing -= 1;
            return;
        }
        self.completed += 1;
        if self.measured(client.due_ns) {
            self.tally.done += 1;
            self.tally.latency(LIFE, now_ns.saturating_sub(client.due_ns));
        }
    }

    // --- packets ---

    /// Sends the next train of the flows, each in its turn.
    pub(crate) fn send_next(&mut self, ports: &mut Ports<'_>, due_ns: u64, now_ns: u64) {
        let flows = self.flows.len();
        let lane = self.next_lane;
        let lanes = if self.options.way == Course::Both { 2 * flows } else { flows };
        self.next_lane = (lane + 1) % lanes;
        let way = match self.options.way {
            Course::Up | Course::Echo => Way::Up,
            Course::Down => Way::Down,
            Course::Both if lane < flows => Way::Up,
            Course::Both => Way::Down,
        };
        if self.measured(due_ns) {
            self.tally.latency(SENT_LATE, now_ns.saturating_sub(due_ns));
        }
        self.send((lane % flows) as u32, way, due_ns, ports, self.options.train());
    }

    fn send(&mut self, number: u32, way: Way, due_ns: u64, ports: &mut Ports<'_>, packets: usize) {
        let Some(Some(flow)) = self.flows.get_mut(number as usize) else { return };
        let bytes = self.options.bytes();
        let (before, lane) = match way {
            Way::Up => (CHANNEL_BYTES, &mut flow.up),
            Way::Down => (0, &mut flow.down),
        };
        let segment = before + bytes;
        for packet in self.train.chunks_exact_mut(segment).take(packets) {
            let (header, payload) = packet.split_at_mut(before);
            if let Some(header) = header.first_chunk_mut::<CHANNEL_BYTES>() {
                let ([c0, c1], [l0, l1]) = (CHANNEL.to_be_bytes(), (bytes as u16).to_be_bytes());
                *header = [c0, c1, l0, l1];
            }
            Stamp { flow: number, way, sequence: lane.next(), due_ns }.write(payload);
        }
        let train = &self.train[..packets * segment];
        let segment = (packets > 1).then_some(segment);
        let taken = match way {
            Way::Up => ports.send_to_relay(number, flow.server, train, segment),
            Way::Down => {
                let from = peer_address(self.options.peers, number);
                ports.peers.send(Some(from), flow.relayed, train, segment)
            }
        };
        self.counts.sent += packets as u64;
        let measured = self.measured(due_ns);
        if measured {
            self.tally.offered += packets as u64;
        }
        if !taken {
            self.counts.written_off += packets as u64;
            if measured {
                self.tally
                    .errors
                    .entry("not sent".into())
                    .and_modify(|n| *n += packets as u64)
                    .or_insert(packets as u64);
            }
        }
    }

    /// Takes what came from the relay to a client.
    pub(crate) fn at_client(&mut self, number: u32, bytes: &[u8]) {
        if bytes.first().is_some_and(|first| *first < 4) {
            let now_ns = self.clock.now_ns();
            if let Some(message) = Message::read(bytes) {
                self.answered(number, message, now_ns);
            }
            return;
        }
        let Some((&[c0, c1, l0, l1], rest)) = bytes.split_first_chunk() else { return };
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        match rest.get(..length) {
            Some(payload) if [c0, c1] == CHANNEL.to_be_bytes() => {
                self.packet(number, Way::Down, payload);
            }
            _ => self.tally.error("not ChannelData of our channel"),
        }
    }

    /// Takes what came from the relay to a peer.
    pub(crate) fn at_peer(&mut self, datagram: &Datagram<'_>) {
        let Some(number) = peer_number(self.options.peers, datagram.to) else { return };
        let Some(Some(flow)) = self.flows.get(number as usize) else { return };
        if flow.relayed != datagram.from {
            return self.tally.error("from the relayed address of another");
        }
        self.packet(number, Way::Up, datagram.bytes);
    }

    fn packet(&mut self, number: u32, way: Way, payload: &[u8]) {
        let now_ns = self.clock.now_ns();
        let Some(Some(flow)) = self.flows.get_mut(number as usize) else { return };
        let stamp = Stamp::read(payload).filter(|stamp| {
            payload.len() == self.options.bytes() && (stamp.flow, stamp.way) == (number, way)
        });
        let Some(stamp) = stamp else {
            return self.tally.error("a packet of another flow, or a changed one");
        };
        let lane = match way {
            Way::Up => &mut flow.up,
            Way::Down => &mut flow.down,
        };
        let counts = &mut self.counts;
        match lane.arrived(stamp.sequence) {
            Arrival::Again => {
                counts.again += 1;
                return;
            }
            Arrival::Late => {
                counts.late += 1;
                counts.written_off = counts.written_off.saturating_sub(1);
            }
            Arrival::Next { skipped } => counts.written_off += u64::from(skipped),
        }
        counts.arrived += 1;
        self.completed += 1;
        let transit_ns = now_ns.saturating_sub(stamp.due_ns);
        let jitter_ns = lane.jitter_ns(transit_ns);
        if self.measured(stamp.due_ns) {
            let (delay, jitter) = match way {
                Way::Up => (DELAY_UP, JITTER_UP),
                Way::Down => (DELAY_DOWN, JITTER_DOWN),
            };
            self.tally.done += 1;
            self.tally.latency(delay, transit_ns);
            if let Some(jitter_ns) = jitter_ns {
                self.tally.latency(jitter, jitter_ns);
            }
        }
        if way == Way::Up && self.options.way == Course::Echo {
            self.due.push(Due::Echo(number));
        }
    }

    /// Sends what answers call for and peers echo; returns how much that was.
    pub(crate) fn flush(&mut self, ports: &mut Ports<'_>) -> usize {
        let mut due = std::mem::take(&mut self.due);
        let (count, now_ns) = (due.len(), self.clock.now_ns());
        for one in due.drain(..) {
            match one {
                Due::Request(number) => self.request(ports, number, now_ns),
                Due::Close(number) => ports.close(number),
                Due::Echo(number) => self.send(number, Way::Down, now_ns, ports, 1),
            }
        }
        self.due = due;
        count
    }
}
