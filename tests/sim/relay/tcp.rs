//! TCP between relayed ports and peers (RFC 6062), and a kernel that keeps what has come in until
//! it is accepted.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use entente::edge::av::{
    Carrier, Client, Connected, ConnectionId, Direction, Opened, RelayPort, Transport,
};
use entente::stun::{AttributeType, Class, ErrorCode, Message, Method};

use super::connections::Stage;
use super::world::{Came, FIRST_PORT, World, address_of};

/// The kernel gives up on what has not been accepted by then.
const KEPT_MS: u64 = 63_000;
/// Streams that connections are claimed by have ports from here on.
const DATA_PORT: u16 = 20_000;

/// What the kernel has of TCP.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    /// Relayed ports that listen.
    pub(super) doors: BTreeSet<RelayPort>,
    /// What was asked for last could not be opened.
    pub(super) failed: bool,
    waiting: Vec<Waiting>,
    /// Numbers of connections that were there once.
    over: Vec<u32>,
    streams: u16,
}

/// A connection that nobody has accepted.
#[derive(Debug)]
struct Waiting {
    port: RelayPort,
    peer: SocketAddr,
    since_ms: u64,
    /// The allocations that permitted the peer when it began.
    meant: Vec<u64>,
}

impl Kernel {
    /// Nobody listens at a port any more, and who waited there is gone.
    pub(super) fn close(&mut self, port: RelayPort) -> bool {
        self.waiting.retain(|waiting| waiting.port != port);
        self.doors.remove(&port)
    }

    fn has_waiting(&self, port: RelayPort, peer: SocketAddr) -> bool {
        self.waiting.iter().any(|waiting| (waiting.port, waiting.peer) == (port, peer))
    }
}

/// What a client is told outside of answers.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Connected(u32),
    NotConnected,
    Attempt(u32, SocketAddr),
}

impl World {
    pub(super) fn tcp_step(&mut self) {
        let now_ms = self.now_ms;
        self.kernel.waiting.retain(|waiting| waiting.since_ms + KEPT_MS > now_ms);
        match self.chance.below(14) {
            0..3 => self.connect(),
            3..5 => self.peer_answers(),
            5..7 => self.peer_comes(),
            7..10 => self.accept(),
            10..12 => self.claim(),
            12 => self.carry(),
            _ => self.breaks(),
        }
    }

    /// Returns the numbers of connections at some stage.
    fn numbers(&self, at: impl Fn(Stage) -> bool) -> Vec<u32> {
        let there = self.model.tcp.all.iter().filter(|one| at(one.stage));
        there.map(|one| one.id).collect()
    }

    /// Some client, mostly one whose peers are reached by TCP.
    fn asking(&mut self) -> Client {
        let of_tcp: Vec<Client> = self
            .model
            .all
            .iter()
            .filter(|one| one.carrier == Carrier::Tcp || one.client.remote.port() % 7 == 0)
            .map(|one| one.client)
            .collect();
        match self.one_of(&of_tcp) {
            Some(client) if self.chance.percent(95) => client,
            _ => self.client(),
        }
    }

    /// RFC 6062 sections 4.3 and 5.2.
    fn connect(&mut self) {
        let client = self.asking();
        let (own, peer) = match self.chance.below(20) {
            0..6 => {
                let (port, address) = self.relayed();
                (Some(port), address)
            }
            6 => (None, SocketAddr::new(self.peer().ip(), 80)),
            _ => (None, self.peer()),
        };
        let expected = self.model.may_connect(&client, peer, own);
        let wire = self.request(client, Self::user(&client), Method::CONNECT, |request| {
            request.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        });
        let (id, port) = match self.arrive(client, &wire, Opened::All) {
            Came::Connect(id, port, to) => {
                assert_eq!((Ok(port), to), (expected, peer), "Connect of {client:?}");
                (id, port)
            }
            Came::Answer(answer) => {
                let error = self.error(&answer);
                assert_eq!(error, expected.err(), "Connect of {client:?} to {peer}");
                return;
            }
            _ => panic!("a Connect is tried or answered"),
        };
        self.model.connects(&client, id, (port, peer), self.now_ms);
        self.kernel_connects(id, port, peer, own);
    }

    /// The kernel has no two connections of one pair of addresses, and knows at once whether its
    /// own ports listen.
    fn kernel_connects(
        &mut self,
        id: u32,
        port: RelayPort,
        peer: SocketAddr,
        own: Option<RelayPort>,
    ) {
        let from = address_of(port);
        if self.kernel.has_waiting(port, peer) {
            return self.outcome(id, Connected::Failed);
        }
        let Some(own) = own else {
            if self.chance.percent(30) {
                self.peer_has_answered(id);
            }
            return;
        };
        let taken =
            self.kernel.has_waiting(own, from) || self.model.tcp.between(own, from).is_some();
        if taken || !self.kernel.doors.contains(&own) {
            return self.outcome(id, Connected::Failed);
        }
        self.waits(own, from);
        self.outcome(id, Connected::Open);
    }

    fn peer_answers(&mut self) {
        let asked = self.numbers(|stage| matches!(stage, Stage::Asked(_)));
        if let Some(id) = self.one_of(&asked) {
            self.peer_has_answered(id);
        } else if let Some(id) = self.one_of(&self.kernel.over.clone()) {
            // What has ended meanwhile is passed over.
            self.relay.connected(self.now(), ConnectionId(id), Connected::Open, &mut self.out);
            self.relay.connection_gone(ConnectionId(id));
            assert_eq!(self.heard(), []);
        }
    }

    fn peer_has_answered(&mut self, id: u32) {
        let how = if self.chance.percent(75) { Connected::Open } else { Connected::Failed };
        self.outcome(id, how);
    }

    fn outcome(&mut self, id: u32, how: Connected) {
        let opens = how == Connected::Open;
        let client = self.model.answered(id, opens, self.now_ms).expect("it is there");
        self.relay.connected(self.now(), ConnectionId(id), how, &mut self.out);
        let told = if opens { Heard::Connected(id) } else { Heard::NotConnected };
        assert_eq!(self.heard(), [(client, told)]);
        self.told.reached += u64::from(opens);
        if !opens {
            self.is_over(id);
        }
    }

    /// A peer begins to connect to a relayed port.
    fn peer_comes(&mut self) {
        let doors: Vec<RelayPort> = self.kernel.doors.iter().copied().collect();
        let Some(port) = self.one_of(&doors) else { return };
        // Rather one whom somebody expects.
        let mut peer = self.peer();
        for _ in 0..6 {
            if self.model.permitting(port, peer.ip(), self.now_ms).is_empty() {
                peer = self.peer();
            }
        }
        if peer.is_ipv6() != (port.address == 1) {
            return;
        }
        let taken =
            self.kernel.has_waiting(port, peer) || self.model.tcp.between(port, peer).is_some();
        if !taken {
            self.waits(port, peer);
        }
    }

    fn waits(&mut self, port: RelayPort, peer: SocketAddr) {
        let meant = self.model.permitting(port, peer.ip(), self.now_ms);
        self.kernel.waiting.push(Waiting { port, peer, since_ms: self.now_ms, meant });
    }

    /// RFC 6062 section 5.3: whoever comes in is whose allocation permits it, and if anybody had
    /// permitted it when it began, it is that same one's.
    fn accept(&mut self) {
        let (port, peer, meant) = if self.kernel.waiting.is_empty() {
            if self.chance.percent(90) {
                return;
            }
            // Somebody at a port that may be nobody's.
            let port = RelayPort { address: 0, port: FIRST_PORT };
            (port, self.peer(), Vec::new())
        } else {
            let Waiting { port, peer, meant, .. } = self.kernel.waiting.remove(0);
            (port, peer, meant)
        };
        let expected = self.model.may_come_in(port, peer, self.now_ms);
        let now = self.now().monotonic;
        let accepted = self.relay.accepted(now, port, peer, &mut self.out);
        assert_eq!(accepted.is_some(), expected.is_some(), "{peer} at {port:?}");
        let (Some(ConnectionId(id)), Some(of)) = (accepted, expected) else {
            assert_eq!(self.heard(), []);
            self.told.turned_away += 1;
            return;
        };
        assert!(meant.iter().all(|meant| *meant == of), "{peer} at {port:?} was meant for another");
        let client = self.model.comes_in(id, of, (port, peer), self.now_ms);
        assert_eq!(self.heard(), [(client, Heard::Attempt(id, peer))]);
        self.told.let_in += 1;
    }

    /// RFC 6062 sections 4.4 and 5.4.
    fn claim(&mut self) {
        let all = self.numbers(|_| true);
        let over = self.kernel.over.clone();
        let id = match self.chance.below(20) {
            0 => self.one_of(&over),
            1 => Some(self.chance.below(u64::from(u32::MAX)) as u32),
            2..6 => self.one_of(&all),
            _ => self.one_of(&self.numbers(|stage| matches!(stage, Stage::Pending(_)))),
        };
        let Some(id) = id else { return };
        let owner = self.model.tcp.of(id).and_then(|one| self.model.client_of(one.of));
        let owner = owner.unwrap_or_else(|| self.client());
        let user = match self.chance.percent(10) {
            true => Self::user(&self.client()),
            false => Self::user(&owner),
        };
        self.kernel.streams = self.kernel.streams.wrapping_add(1) % 40_000;
        let remote = SocketAddr::new(owner.remote.ip(), DATA_PORT + self.kernel.streams);
        let by = match self.chance.below(20) {
            0 => owner,
            1 => Client { transport: Transport::Udp, remote, ..owner },
            _ => Client { transport: Transport::Stream, remote, ..owner },
        };
        let number = usize::try_from(user).expect("small");
        let expected = self.model.bind_connection(by, number, id);
        let wire = self.request(by, user, Method::CONNECTION_BIND, |request| {
            request.number(AttributeType::CONNECTION_ID, id);
        });
        let error = match self.arrive(by, &wire, Opened::All) {
            Came::Bind(bound, answer) => {
                assert_eq!(bound, id);
                self.told.claimed += 1;
                self.error(&answer)
            }
            Came::Answer(answer) => {
                Some(self.error(&answer).expect("what is bound is more than answered"))
            }
            _ => panic!("a ConnectionBind is answered"),
        };
        assert_eq!(error, expected.err(), "ConnectionBind of {by:?} to {id}");
        if by != owner {
            self.nonces.remove(&by);
        }
    }

    /// A connection carries something, which counts for its allocation and for no other.
    fn carry(&mut self) {
        let active = self.numbers(|stage| matches!(stage, Stage::Active(_)));
        let (now, over) = (self.now().monotonic, self.kernel.over.clone());
        if let Some(id) = self.one_of(&over) {
            let id = ConnectionId(id);
            assert_eq!(self.relay.connection_room(now, id), 0, "what is over carries nothing");
            self.relay.connection_carried(now, id, Direction::ToPeer, 1);
        }
        let Some(id) = self.one_of(&active) else { return };
        let (bytes, back) = (1 + self.chance.below(1_400), self.chance.percent(50));
        let direction = if back { Direction::ToClient } else { Direction::ToPeer };
        let bytes = usize::try_from(bytes).expect("small");
        self.relay.connection_carried(now, ConnectionId(id), direction, bytes);
        self.model.carries(id, bytes as u64);
    }

    /// One side of a connection is closed, and so is the other (RFC 6062 section 5.5).
    fn breaks(&mut self) {
        let open = self.numbers(|stage| !matches!(stage, Stage::Asked(_)));
        let Some(id) = self.one_of(&open) else { return };
        self.relay.connection_gone(ConnectionId(id));
        self.model.tcp.gone(id);
        self.is_over(id);
    }

    /// What has ended with an allocation, or by itself, is what the model says has.
    pub(super) fn ended(&mut self) {
        let ids = |ids: &[u32]| ids.iter().copied().collect::<BTreeSet<u32>>();
        let ended: Vec<u32> = self.out.ends.drain(..).map(|ConnectionId(id)| id).collect();
        let known = |id: &u32| self.model.tcp.of(*id);
        let early: Vec<_> = ended.iter().filter_map(known).collect();
        assert_eq!(ids(&ended), ids(&self.model.tcp.ended), "{early:?} at {}", self.now_ms);
        self.model.tcp.ended.clear();
        let mut unanswered: Vec<Client> = std::mem::take(&mut self.model.tcp.unanswered);
        let mut told: Vec<Client> = self
            .heard()
            .into_iter()
            .map(|(client, heard)| {
                assert_eq!(heard, Heard::NotConnected);
                client
            })
            .collect();
        unanswered.sort_unstable();
        told.sort_unstable();
        assert_eq!(told, unanswered);
        ended.into_iter().for_each(|id| self.is_over(id));
    }

    fn is_over(&mut self, id: u32) {
        self.kernel.over.push(id);
        if self.kernel.over.len() > 8 {
            self.kernel.over.remove(0);
        }
    }

    /// Takes what clients were told.
    fn heard(&mut self) -> Vec<(Client, Heard)> {
        let messages = std::mem::take(&mut self.out.messages);
        messages.into_iter().map(|(client, wire)| (client, heard(&wire))).collect()
    }
}

fn heard(wire: &[u8]) -> Heard {
    let message = Message::read(wire).expect("a message");
    let value = |kind| message.attribute(kind);
    let id = || value(AttributeType::CONNECTION_ID).and_then(|id| id.number()).expect("a number");
    match (message.kind().class, message.kind().method) {
        (Class::Success, Method::CONNECT) => Heard::Connected(id()),
        (Class::Error, Method::CONNECT) => {
            let error = value(AttributeType::ERROR_CODE).and_then(|error| error.error());
            assert_eq!(error, Some(ErrorCode(447)));
            Heard::NotConnected
        }
        (Class::Indication, Method::CONNECTION_ATTEMPT) => {
            let peer = value(AttributeType::XOR_PEER_ADDRESS).expect("a peer");
            Heard::Attempt(id(), peer.xor_address(message.transaction()).expect("an address"))
        }
        other => panic!("nobody is told {other:?}"),
    }
}
