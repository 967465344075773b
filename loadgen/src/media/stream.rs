//! Clients that speak to the relay over TCP or TLS, a connection each: messages and ChannelData
//! follow each other without anything between (RFC 8656 section 3.1), the latter padded.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use anyhow::Result;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;

use super::address::client_address;
use super::stun::{CHANNEL_BYTES, HEADER_BYTES};
use crate::connections::raise_descriptors;
use crate::net::{ConnId, Ended, Handler, Net, Role, Start, Target};
use crate::options::{self, Transport, Work};
use crate::sip::Message;
use crate::tls;

/// A connection with more than this unwritten takes no more packets.
const BACKLOG_BYTES_MAX: usize = 256 * 1024;
/// Descriptors beside those of the connections.
const SPARE_DESCRIPTORS: u64 = 64;

/// What came of the connections, for the caller to look at.
pub(crate) enum Event<'a> {
    /// A message or ChannelData for a client.
    Came(u32, &'a [u8]),
    /// Its connection is gone.
    Ended(u32, &'a str),
}

/// A client's connection.
struct Connection {
    id: ConnId,
    to: SocketAddr,
    /// What was sent before it stood.
    early: Vec<u8>,
    stands: bool,
}

/// What a turn of the connections brings; frames lie one behind the other.
#[derive(Default)]
struct Inbox {
    by_client: BTreeMap<u32, Connection>,
    bytes: Vec<u8>,
    frames: Vec<(u32, std::ops::Range<usize>)>,
    ended: Vec<(u32, String)>,
    owners: BTreeMap<ConnId, u32>,
    suite: Option<String>,
}

/// All connections.
pub(crate) struct Streams<'a> {
    options: &'a options::Media,
    net: Net,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    inbox: Inbox,
}

impl<'a> Streams<'a> {
    /// Reads trust anchors; connects to nothing.
    pub(crate) fn new(options: &'a options::Media) -> Result<Self> {
        let connections = match options.work {
            Work::Churn => options.window().min(10_000),
            _ => options.allocations(),
        };
        raise_descriptors(connections as u64 + SPARE_DESCRIPTORS)?;
        let roots = match (&options.ca, options.transport) {
            (Some(ca), _) => tls::roots(ca)?,
            (None, Transport::Tls) => anyhow::bail!("--transport tls needs --ca"),
            (None, _) => rustls::RootCertStore::empty(),
        };
        Ok(Self {
            options,
            net: Net::new(1)?,
            config: tls::anonymous_client(options.tls, &roots)?,
            name: ServerName::try_from(options.server_name.clone())?,
            inbox: Inbox::default(),
        })
    }

    /// Returns the suite of the connections.
    pub(crate) fn suite(&self) -> Option<String> {
        self.inbox.suite.clone()
    }

    /// Sends from a client, which connects if it has not. Returns false if it cannot.
    pub(crate) fn send(&mut self, number: u32, to: SocketAddr, bytes: &[u8]) -> bool {
        if self.inbox.by_client.get(&number).is_some_and(|connection| connection.to != to) {
            self.close(number);
        }
        let Some(connection) = self.inbox.by_client.get_mut(&number) else {
            return match self.connect(number, to, bytes) {
                Ok(()) => true,
                Err(error) => {
                    self.inbox.ended.push((number, format!("{error:#}")));
                    false
                }
            };
        };
        if !connection.stands {
            connection.early.extend_from_slice(bytes);
            return true;
        }
        let room = self.net.backlog(connection.id).is_some_and(|used| used < BACKLOG_BYTES_MAX);
        room && self.net.send(connection.id, bytes)
    }

    fn connect(&mut self, number: u32, to: SocketAddr, first: &[u8]) -> Result<()> {
        let target = Target {
            address: to,
            source: Some(client_address(self.options.clients, number)),
            config: &self.config,
            name: &self.name,
        };
        let start = match self.options.transport {
            Transport::Tls => Start::Tls,
            Transport::Tcp | Transport::Udp => Start::Clear,
        };
        let id = self.net.connect_with(&target, Role::Client(number), start)?;
        let connection = Connection { id, to, early: first.to_vec(), stands: false };
        self.inbox.by_client.insert(number, connection);
        self.inbox.owners.insert(id, number);
        Ok(())
    }

    /// Ends the connection of a client.
    pub(crate) fn close(&mut self, number: u32) {
        if let Some(connection) = self.inbox.by_client.remove(&number) {
            self.inbox.owners.remove(&connection.id);
            self.net.drop_conn(connection.id);
        }
    }

    /// Writes what was sent and hands out what came; returns how much there was to do.
    pub(crate) fn turn(&mut self, mut take: impl FnMut(Event<'_>)) -> Result<usize> {
        let work = self.net.turn(0, &mut self.inbox)?;
        let Inbox { bytes, frames, ended, .. } = &mut self.inbox;
        for (number, range) in frames.drain(..) {
            take(Event::Came(number, &bytes[range]));
        }
        for (number, why) in ended.drain(..) {
            take(Event::Ended(number, &why));
        }
        bytes.clear();
        Ok(work)
    }
}

impl AsFd for Streams<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.net.as_fd()
    }
}

impl Handler for Inbox {
    fn established(&mut self, net: &mut Net, id: ConnId, _role: Role) {
        if self.suite.is_none() {
            self.suite = net.suite(id);
        }
        let Some(number) = self.owners.get(&id) else { return };
        let Some(connection) = self.by_client.get_mut(number) else { return };
        connection.stands = true;
        net.send(id, &std::mem::take(&mut connection.early));
    }

    fn message(&mut self, _net: &mut Net, _id: ConnId, _message: Message<'_>) {}

    fn elements(&mut self, net: &mut Net, id: ConnId, bytes: &[u8]) -> usize {
        let Some(&number) = self.owners.get(&id) else { return bytes.len() };
        let mut done = 0;
        while let Some(length) = frame_bytes(&bytes[done..])
            && let Some(frame) = bytes.get(done..done + length)
        {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(frame);
            self.frames.push((number, start..start + length));
            net.counters.messages += 1;
            done += length;
        }
        done
    }

    fn ended(&mut self, _net: &mut Net, id: ConnId, _role: Role, why: Ended) {
        if let Some(number) = self.owners.remove(&id) {
            self.by_client.remove(&number);
            self.ended.push((number, why.kind()));
        }
    }
}

/// Returns how many bytes the message or ChannelData takes that `bytes` begin with, as far as its
/// length is there.
pub(super) fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    let [first, _, l0, l1] = bytes.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    match first {
        0..4 => Some(HEADER_BYTES + length),
        _ => Some(CHANNEL_BYTES + length.next_multiple_of(4)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_end_where_their_headers_say() {
        assert_eq!(frame_bytes(&[0, 3, 0]), None);
        assert_eq!(frame_bytes(&[0, 3, 0, 8]), Some(28));
        assert_eq!(frame_bytes(&[0x40, 0, 0, 160]), Some(164));
        assert_eq!(frame_bytes(&[0x40, 0, 0, 5, 1, 2]), Some(12));
    }
}
