//! Relay threads beside each other: whose a relayed port is, and what one hands to another.
//!
//! A peer that is a relayed address of this edge is reached within the process. Where its port is
//! another thread's, the payload goes into that thread's box, which is bounded: what does not fit
//! is lost, as it would be in a socket's buffer.

use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, TrySendError};

use super::hops::Hops;
use crate::edge::av::{Ports, RelayPort};
use crate::poll::Waker;

/// A payload from one client's relayed address to another's.
pub(super) struct Mail {
    /// The relayed port that it is for.
    pub(super) port: RelayPort,
    /// The relayed address that it comes from.
    pub(super) from: SocketAddr,
    pub(super) payload: Box<[u8]>,
    /// How many hops it has left, the one that is taken when it is given to the client included.
    pub(super) hops: Hops,
}

/// Another thread's box.
pub(super) struct Sibling {
    pub(super) ports: Ports,
    pub(super) mail: Sender<Mail>,
    pub(super) waker: Arc<Waker>,
    /// Whether something was put there since its bell was rung.
    pub(super) rung: Rung,
}

/// Whether a sibling knows of what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rung {
    Yes,
    NotYet,
}

/// The other threads, and the own box.
pub(super) struct Siblings {
    pub(super) others: Vec<Sibling>,
    pub(super) inbox: Receiver<Mail>,
}

/// What became of mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mailed {
    Yes,
    /// Its box is full.
    Full,
    /// No thread has the port, or its thread has ended.
    Nobody,
}

impl Siblings {
    /// Puts mail into the box of the thread that has its port.
    pub(super) fn mail(&mut self, mail: Mail) -> Mailed {
        let port = mail.port.port;
        let Some(sibling) = self.others.iter_mut().find(|other| other.ports.holds(port)) else {
            return Mailed::Nobody;
        };
        match sibling.mail.try_send(mail) {
            Ok(()) => {
                sibling.rung = Rung::NotYet;
                Mailed::Yes
            }
            Err(TrySendError::Full(_)) => Mailed::Full,
            Err(TrySendError::Disconnected(_)) => Mailed::Nobody,
        }
    }

    /// Rings the bells of those that were sent something: once a turn, not once a packet.
    pub(super) fn ring(&mut self) {
        for sibling in &mut self.others {
            if std::mem::replace(&mut sibling.rung, Rung::Yes) == Rung::NotYet {
                sibling.waker.wake();
            }
        }
    }
}
