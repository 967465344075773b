//! The shell of the A/V Edge: threads that move datagrams between the kernel and
//! [`edge::av`](crate::edge::av), and nothing else.
//!
//! ```text
//!   turn:  wait ─> receive a batch into slots ─> core ─> header written in place ─> send the batch
//!                        │                        │
//!                  one socket for each        answers go where their request came from;
//!                  listener and port          ports are opened and closed as the core says
//! ```
//!
//! Clients on streams are served by the same thread: their bytes pass the layers that their first
//! ones tell of, and their messages go to the core one by one.
//!
//! One thread owns one core, its sockets and its memory; nobody else waits for it and it waits for
//! nobody, but where an allocation begins or ends: what quotas count is shared. Orders come by a
//! bounded box with a bell, counters leave once a second. A datagram is received into a slot, its
//! payload stays where it is, and what goes before it is written into the room that the slot has
//! there: no packet is copied or costs an allocation, but for one that is for another thread's
//! client, which is handed over in a box and put into a slot there. A train, datagrams of one flow
//! that came together, is judged and sent as one where all of it is alike, else set apart by
//! copies.

mod board;
mod crowd;
mod frames;
mod handle;
mod hops;
mod marks;
mod multishot;
mod pairs;
mod peers;
mod plane;
mod portable;
#[allow(
    unsafe_code,
    reason = "recvmmsg and sendmmsg have no safe form in std, and entries are pushed to a ring by \
              their user's promise alone"
)]
mod ring;
mod serve;
mod setup;
mod siblings;
mod sockets;
mod spawn;
mod stream;
mod streams;
mod worker;

pub use board::{Observed, Tally};
pub use handle::{Handle, Listed, Listing};
pub use marks::Marks;
pub use setup::{Listen, Settings, Setup, Trains};
pub use spawn::{StartError, spawn};
