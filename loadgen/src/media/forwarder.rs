//! The floor that relays are measured against: a relay that answers any Allocate and ChannelBind,
//! asks for no password, keeps no time, and moves every packet with one call in and one call out.
//!
//! It does for a packet what every relay with one socket per allocation must do: find the flow by
//! the sender's address, take the header off or put it on, and send from the other side. What
//! another relay costs more is what its rules cost.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result};
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::stun::{CHANNEL_BYTES, Class, Message, Method, Writer, attribute};
use crate::connections::raise_descriptors;
use crate::options;

/// Events taken in one turn.
const EVENTS_PER_TURN_MAX: usize = 256;
/// Reads from the clients' socket in one turn.
const READS_PER_TURN_MAX: usize = 64;
/// Reads from one flow's socket in one turn.
const READS_PER_FLOW_MAX: usize = 8;
/// Bytes of one datagram, or of a train that the kernel hands over as one.
const DATAGRAM_BYTES: usize = 64 * 1024;
/// Bytes that the kernel may keep for us.
const KERNEL_BYTES: usize = 4 << 20;
/// Open files: a socket for each flow.
const DESCRIPTORS: u64 = 20_000;
/// Marks the clients' socket among the events; flows count from zero.
const CLIENTS: u64 = u64::MAX;
/// Longest sleep, after which a test may end the loop.
const SLEEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A socket, and what it takes to move trains if that is wanted.
struct Socket {
    socket: UdpSocket,
    trains: Option<UdpSocketState>,
}

/// What one read brought.
struct Read {
    bytes: usize,
    /// Bytes of each datagram of a train; the last may be shorter.
    stride: usize,
    from: SocketAddr,
}

impl Socket {
    fn bind(address: SocketAddr, trains: bool) -> Result<Self> {
        let socket = UdpSocket::bind(address).with_context(|| format!("binding {address}"))?;
        socket.set_nonblocking(true)?;
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, KERNEL_BYTES);
        let state = || UdpSocketState::new(UdpSockRef::from(&socket));
        let trains = trains.then(state).transpose()?;
        Ok(Self { socket, trains })
    }

    fn read(&self, into: &mut [u8]) -> Option<Read> {
        let Some(state) = &self.trains else {
            let (bytes, from) = self.socket.recv_from(into).ok()?;
            return Some(Read { bytes, stride: bytes.max(1), from });
        };
        let mut meta = [RecvMeta::default()];
        let into = &mut [IoSliceMut::new(into)];
        state.recv(UdpSockRef::from(&self.socket), into, &mut meta).ok()?;
        let [RecvMeta { len, stride, addr, .. }] = meta;
        Some(Read { bytes: len, stride: stride.max(1), from: addr })
    }

    /// Sends; what the kernel does not take is lost, as datagrams are.
    fn send(&self, to: SocketAddr, bytes: &[u8], segment: usize) {
        let Some(state) = &self.trains else {
            let _ = self.socket.send_to(bytes, to);
            return;
        };
        let segment_size = (segment < bytes.len()).then_some(segment);
        let transmit =
            Transmit { destination: to, ecn: None, contents: bytes, segment_size, src_ip: None };
        let _ = state.try_send(UdpSockRef::from(&self.socket), &transmit);
    }
}

/// One allocation.
struct Flow {
    socket: Socket,
    relayed: SocketAddr,
    client: SocketAddr,
    bound: Option<([u8; 2], SocketAddr)>,
}

/// The forwarder.
pub(crate) struct Forwarder {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    clients: Socket,
    address: Ipv4Addr,
    flows: Vec<Flow>,
    by_client: HashMap<SocketAddr, usize>,
    input: Vec<u8>,
    output: Vec<u8>,
    wait: Duration,
    trains: bool,
}

impl Forwarder {
    /// Listens.
    pub(crate) fn new(options: &options::Forwarder) -> Result<Self> {
        let clients = Socket::bind(options.listen, options.trains)?;
        let SocketAddr::V4(address) = clients.socket.local_addr()? else {
            anyhow::bail!("--listen takes an IPv4 address")
        };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?;
        let token = epoll::EventData::new_u64(CLIENTS);
        epoll::add(&epoll, &clients.socket, token, epoll::EventFlags::IN)?;
        Ok(Self {
            epoll,
            events: Vec::with_capacity(EVENTS_PER_TURN_MAX),
            clients,
            address: *address.ip(),
            flows: Vec::new(),
            by_client: HashMap::new(),
            input: vec![0; CHANNEL_BYTES + DATAGRAM_BYTES],
            output: Vec::with_capacity(DATAGRAM_BYTES),
            wait: Duration::from_micros(options.wait),
            trains: options.trains,
        })
    }

    /// Returns where clients send to.
    #[cfg(test)]
    pub(crate) fn listens_on(&self) -> SocketAddr {
        self.clients.socket.local_addr().unwrap()
    }

    /// Moves what has come; sleeps if nothing has.
    pub(crate) fn turn(&mut self) -> Result<()> {
        let mut events = std::mem::take(&mut self.events);
        self.poll(&mut events, &SLEEP)?;
        if !self.wait.is_zero() && !events.is_empty() {
            std::thread::sleep(self.wait);
            self.poll(&mut events, &Timespec { tv_sec: 0, tv_nsec: 0 })?;
        }
        for event in &events {
            match event.data.u64() {
                CLIENTS => self.move_up()?,
                flow => self.move_down(flow as usize),
            }
        }
        self.events = events;
        Ok(())
    }

    fn poll(&self, events: &mut Vec<epoll::Event>, timeout: &Timespec) -> Result<()> {
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(events), Some(timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("epoll_wait"),
        }
    }

    fn move_up(&mut self) -> Result<()> {
        for _ in 0..READS_PER_TURN_MAX {
            let Some(read) = self.clients.read(&mut self.input) else { return Ok(()) };
            let bytes = &self.input[..read.bytes];
            if bytes.first().is_some_and(|first| *first < 4) {
                let answer = Message::read(bytes).map(|message| (message.method, bytes.to_vec()));
                if let Some((method, request)) = answer {
                    self.asked(method, &request, read.from)?;
                }
                continue;
            }
            let flow = self.by_client.get(&read.from).and_then(|flow| self.flows.get(*flow));
            let Some(Flow { socket, bound: Some((channel, peer)), .. }) = flow else { continue };
            if bytes.get(..2) != Some(channel) {
                continue;
            }
            if read.stride >= read.bytes {
                let payload = bytes.get(CHANNEL_BYTES..).unwrap_or_default();
                socket.send(*peer, payload, payload.len());
                continue;
            }
            self.output.clear();
            for packet in bytes.chunks(read.stride) {
                self.output.extend_from_slice(packet.get(CHANNEL_BYTES..).unwrap_or_default());
            }
            socket.send(*peer, &self.output, read.stride - CHANNEL_BYTES);
        }
        Ok(())
    }

    fn move_down(&mut self, flow: usize) {
        let Some(flow) = self.flows.get(flow) else { return };
        for _ in 0..READS_PER_FLOW_MAX {
            // What is read leaves room for a header.
            let Some(read) = flow.socket.read(&mut self.input[CHANNEL_BYTES..]) else { return };
            let Some((channel, peer)) = flow.bound else { continue };
            if read.from != peer {
                continue;
            }
            let header = |payload: usize| {
                let [l0, l1] = (payload as u16).to_be_bytes();
                [channel[0], channel[1], l0, l1]
            };
            if read.stride >= read.bytes {
                self.input[..CHANNEL_BYTES].copy_from_slice(&header(read.bytes));
                let packet = &self.input[..CHANNEL_BYTES + read.bytes];
                self.clients.send(flow.client, packet, packet.len());
                continue;
            }
            self.output.clear();
            let bytes = &self.input[CHANNEL_BYTES..CHANNEL_BYTES + read.bytes];
            for payload in bytes.chunks(read.stride) {
                self.output.extend_from_slice(&header(payload.len()));
                self.output.extend_from_slice(payload);
            }
            self.clients.send(flow.client, &self.output, CHANNEL_BYTES + read.stride);
        }
    }

    /// Answers a request; whatever is asked for is granted.
    fn asked(&mut self, method: Method, request: &[u8], client: SocketAddr) -> Result<()> {
        let Some(request) = Message::read(request) else { return Ok(()) };
        let mut answer = Writer::new(method, Class::Success, &request.transaction());
        match method {
            Method::Allocate => {
                let relayed = self.allocate(client)?;
                answer.address(attribute::XOR_RELAYED_ADDRESS, relayed);
                answer.address(attribute::XOR_MAPPED_ADDRESS, client);
                answer.attribute(attribute::LIFETIME, &600_u32.to_be_bytes());
            }
            Method::ChannelBind => {
                let channel = request.attribute(attribute::CHANNEL_NUMBER).unwrap_or_default();
                let peer = request.hidden_address(attribute::XOR_PEER_ADDRESS);
                let flow = self.by_client.get(&client).and_then(|flow| self.flows.get_mut(*flow));
                if let (Some(flow), Some(channel), Some(peer)) =
                    (flow, channel.first_chunk::<2>(), peer)
                {
                    flow.bound = Some((*channel, peer));
                }
            }
            Method::Refresh => {
                answer.attribute(attribute::LIFETIME, &[0; 4]);
            }
        }
        let answer = answer.finish();
        self.clients.send(client, &answer, answer.len());
        Ok(())
    }

    fn allocate(&mut self, client: SocketAddr) -> Result<SocketAddr> {
        if let Some(flow) = self.by_client.get(&client).and_then(|flow| self.flows.get(*flow)) {
            return Ok(flow.relayed);
        }
        let socket = Socket::bind((self.address, 0).into(), self.trains)?;
        let (relayed, number) = (socket.socket.local_addr()?, self.flows.len());
        let token = epoll::EventData::new_u64(number as u64);
        epoll::add(&self.epoll, &socket.socket, token, epoll::EventFlags::IN)?;
        self.flows.push(Flow { socket, relayed, client, bound: None });
        self.by_client.insert(client, number);
        Ok(relayed)
    }
}

/// Forwards until it is killed.
pub(crate) fn run(options: &options::Forwarder) -> Result<Infallible> {
    raise_descriptors(DESCRIPTORS)?;
    let mut forwarder = Forwarder::new(options)?;
    loop {
        forwarder.turn()?;
    }
}
