//! What relay threads are made from: their core, their sockets, their numbers.

use std::net::SocketAddr;
use std::sync::Arc;

use super::marks::Marks;
use crate::edge::av::{self, Transport};
use crate::poll::Choice;
use crate::tls;

/// What relay threads are made from.
#[derive(Debug)]
pub struct Setup {
    /// Their cores. A listener whose node has port 0 is told by the port that its socket gets.
    pub core: av::Setup,
    /// The socket of each listener, in the order of the core's listeners.
    pub listen: Vec<Listen>,
    /// Numbers.
    pub settings: Settings,
}

/// A socket that clients come in by.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Where it is bound.
    pub address: SocketAddr,
    /// What comes by it.
    pub transport: Transport,
    /// How TLS is accepted on its streams; `None`: it is not.
    pub tls: Option<Arc<tls::Server>>,
}

/// The numbers relay threads work by.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many there are, at most [`crate::limits::RELAY_THREADS_MAX`] and no more than there are
    /// ports.
    pub threads: usize,
    /// The processor core the first is pinned to; the others are to those that follow.
    pub core: Option<usize>,
    /// How they wait.
    pub poller: Choice,
    /// Microseconds to wait for company after a small turn, at most
    /// [`crate::limits::COALESCE_US_MAX`].
    pub company_us: u32,
    /// Marks of the datagrams they send.
    pub marks: Marks,
    /// Kilobits a second that the link carries, for forecasts.
    pub link_kbit_s: Option<u64>,
    /// Whether datagrams of one flow that come together are moved as one.
    pub trains: Trains,
}

/// Whether datagrams of one flow that come together are moved as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trains {
    /// Where the kernel can (UDP GRO and GSO).
    #[default]
    Auto,
    /// Never.
    Never,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threads: 1,
            core: None,
            poller: Choice::Auto,
            company_us: 0,
            marks: Marks::default(),
            link_kbit_s: None,
            trains: Trains::Auto,
        }
    }
}
