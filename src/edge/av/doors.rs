//! Which relayed ports peers may connect to, with whichever thread their allocations are.
//!
//! A peer of a client may be a relayed port of this edge (RFC 6062 section 5.2), and nothing else
//! at that address may. Whether another thread has a port for TCP is one bit; what goes on there is
//! that thread's alone, which the kernel brings the connection to as it does a stranger's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ports::RelayPort;

/// Relayed addresses: one of each family.
const ADDRESSES: usize = 2;
const WORDS: usize = (1 << 16) / 64;

/// One bit for each relayed port, 16 KiB in all. What is cloned is the same.
#[derive(Clone, Debug)]
pub(super) struct Doors(Arc<[AtomicU64]>);

impl Doors {
    pub(super) fn new() -> Self {
        Self((0..ADDRESSES * WORDS).map(|_| AtomicU64::new(0)).collect())
    }

    /// Peers may connect to `port`, whose socket listens.
    pub(super) fn open(&self, port: RelayPort) {
        let (word, bit) = self.place(port);
        // Nothing else is read after it: what counts is whether the kernel's socket listens.
        word.fetch_or(bit, Ordering::Relaxed);
    }

    /// They may no more.
    pub(super) fn close(&self, port: RelayPort) {
        let (word, bit) = self.place(port);
        word.fetch_and(!bit, Ordering::Relaxed);
    }

    /// Tells whether they may, with whatever thread. It may be over by the time that it is said:
    /// the kernel then refuses the connection.
    pub(super) fn is_open(&self, port: RelayPort) -> bool {
        let (word, bit) = self.place(port);
        word.load(Ordering::Relaxed) & bit != 0
    }

    fn place(&self, RelayPort { address, port }: RelayPort) -> (&AtomicU64, u64) {
        let port = usize::from(port);
        (&self.0[usize::from(address) * WORDS + port / 64], 1 << (port % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_of_each_address_is_open_by_itself() {
        let (doors, port) = (Doors::new(), |address, port| RelayPort { address, port });
        let all = [port(0, 0), port(0, 63), port(0, 64), port(1, 64), port(1, 65_535)];
        let elsewhere = doors.clone();
        for (count, one) in all.into_iter().enumerate() {
            assert!(!doors.is_open(one));
            doors.open(one);
            let open = all.iter().filter(|port| elsewhere.is_open(**port));
            assert_eq!(open.count(), count + 1);
        }
        for (count, one) in all.into_iter().enumerate() {
            elsewhere.close(one);
            let open = all.iter().filter(|port| doors.is_open(**port));
            assert_eq!(open.count(), all.len() - count - 1);
        }
    }
}
