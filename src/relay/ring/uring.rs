//! Datagrams from an own io_uring: one multishot receive per socket, into slots that are lent.
//!
//! ```text
//!   add ──> RecvMsg(multi) ──> completion (more) with the number of a slot ──> core ──> give ──┐
//!             │    └─────────> completion (last): no slot was left, or cancelled; armed anew    │
//!             └── takes a slot from the ring of lent ones <────────────────────────────────────┘
//! slot:  | headroom ... head 16, name 32, control 48 | datagram or train | tail |
//! ```
//!
//! The ring is SINGLE_ISSUER and DEFER_TASKRUN: the kernel fills slots while this thread is in
//! `io_uring_enter` and at no other time, so that a slot is never written under a reader. A slot
//! belongs to the kernel from [`Ring::give`] until a completion names it, cancelled or not. What
//! readiness is needed for (streams, doors, the bell) is a multishot poll of the same ring.
//!
//! Teardown has three states: cancel, join, free. Memory whose operations do not end is not freed.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use io_uring::types::BufRingEntry;
use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::control::COME_BYTES;
use super::name::Name;
use super::slots::{HEADROOM_BYTES, Received, Slots};
use super::trains::Trains;
use crate::limits;
use crate::poll::{Token, Wait, uring};

/// Entries that can wait for one submission: 64 bytes each.
const SUBMISSIONS: u32 = 1024;
/// Completions that can wait for one turn, 16 bytes each; more are kept by the kernel.
const COMPLETIONS: u32 = 8192;
/// Slots, a power of two.
const LENT: usize = limits::RELAY_LENT_SLOTS;
/// Their group.
const GROUP: u16 = 1;
/// What the kernel writes before a name: lengths and flags.
const HEAD_BYTES: usize = 16;
/// Room for a name.
const NAME_ROOM_BYTES: usize = 32;
/// What the kernel writes before a datagram, which begins right behind the headroom.
const BEFORE_BYTES: usize = HEAD_BYTES + NAME_ROOM_BYTES + COME_BYTES;
/// How often a teardown looks for the end of what it has cancelled.
const JOIN_LOOKS: usize = 1_000;

const _: () = assert!(LENT.is_power_of_two() && LENT <= 1 << 15);
const _: () = assert!(BEFORE_BYTES <= HEADROOM_BYTES);

/// The ring, its slots, and what is armed on it.
pub(in crate::relay) struct Ring {
    ring: IoUring,
    slots: Slots,
    lent: Lent,
    /// Says how much room name and control messages have; read by the kernel when a receive is
    /// armed.
    header: Box<libc::msghdr>,
    armed: HashMap<Token, Armed, RandomState>,
    /// Operations whose last completion has not come.
    live: usize,
    /// Tokens whose operation has ended by itself.
    ended: Vec<Token>,
}

/// What one descriptor is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::relay) enum Watch {
    /// Its datagrams.
    Datagrams,
    /// Room and bytes of a stream, or one of both.
    Readiness(u32),
}

#[derive(Clone, Copy, Debug)]
struct Armed {
    fd: RawFd,
    watch: Watch,
}

/// Something that happened to a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::relay) struct Came {
    /// Whose; may be stale.
    pub(in crate::relay) token: Token,
    /// The slot with a datagram, which is to be given back.
    pub(in crate::relay) slot: Option<u16>,
}

impl Ring {
    /// Makes a ring that belongs to the calling thread, and lends it every slot.
    ///
    /// # Errors
    /// The kernel's: io_uring forbidden, too old for the flags or for rings of buffers (before
    /// 6.1), or out of memory.
    pub(in crate::relay) fn new(trains: Trains) -> io::Result<Self> {
        // Sockets are named by descriptor, not by a table of registered files. A multishot receive
        // holds its file from when it is armed, so that a packet costs the same (0.46 to 0.59 us of
        // a receive either way), and a table costs each socket two calls more: 2.2 to 2.4 us from
        // being armed to being closed became 2.7 to 3.1 (2026-11-29, kernel 6.18).
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        let header = Box::new(libc::msghdr {
            msg_name: std::ptr::null_mut(),
            msg_namelen: NAME_ROOM_BYTES as u32,
            msg_iov: std::ptr::null_mut(),
            msg_iovlen: 0,
            msg_control: std::ptr::null_mut(),
            msg_controllen: COME_BYTES,
            msg_flags: 0,
        });
        let lent = Lent::new();
        // SAFETY: the memory of `lent` holds LENT entries, is aligned to a page, and is freed by
        // the drop of this value, after the ring or never.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                lent.entries.as_ptr() as u64,
                LENT as u16,
                GROUP,
                0,
            )?;
        }
        let mut this = Self {
            ring,
            slots: Slots::new(LENT, trains),
            lent,
            header,
            armed: HashMap::default(),
            live: 0,
            ended: Vec::new(),
        };
        for slot in 0..LENT {
            this.give(slot as u16);
        }
        this.lent.publish();
        Ok(this)
    }

    pub(in crate::relay) const fn slots(&mut self) -> &mut Slots {
        &mut self.slots
    }

    /// Watches `fd` from here on; what is there at this moment is told too.
    ///
    /// # Errors
    /// The kernel's, when nothing can be submitted.
    pub(in crate::relay) fn add(
        &mut self,
        fd: RawFd,
        token: Token,
        watch: Watch,
    ) -> io::Result<()> {
        let armed = Armed { fd, watch };
        self.arm(token, armed)?;
        let before = self.armed.insert(token, armed);
        assert!(before.is_none(), "a token names one descriptor");
        Ok(())
    }

    fn arm(&mut self, token: Token, armed: Armed) -> io::Result<()> {
        let fd = types::Fd(armed.fd);
        let entry = match armed.watch {
            Watch::Datagrams => {
                let header = std::ptr::from_ref(&*self.header);
                opcode::RecvMsgMulti::new(fd, header, GROUP).build()
            }
            Watch::Readiness(bits) => opcode::PollAdd::new(fd, bits).multi(true).build(),
        };
        self.push(&entry.user_data(token.0))?;
        self.live += 1;
        Ok(())
    }

    /// Stops watching and lets go of the descriptor, so that closing it frees its address.
    pub(in crate::relay) fn remove(&mut self, token: Token) {
        let armed = self.armed.remove(&token);
        assert!(armed.is_some(), "only what was added is removed");
        let entry = opcode::AsyncCancel::new(token.0).build().user_data(Token::NOBODY.0);
        let pushed = self.push(&entry);
        assert!(pushed.is_ok(), "a submission makes room for one entry");
        // The first call cancels, the second runs what that left for this thread.
        for _ in 0..2 {
            // What fails here is tried again by the next wait, which tells.
            let _ = self.ring.submit();
        }
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: the entries made here are PollAdd and AsyncCancel, which refer to no memory, and
        // RecvMsgMulti, which refers to `header` and to the slots by their group; both live until
        // the ring has been joined (see `drop`).
        if unsafe { self.ring.submission().push(entry) }.is_ok() {
            return Ok(());
        }
        self.ring.submit()?;
        // SAFETY: as above.
        unsafe { self.ring.submission().push(entry) }.map_err(|_| io::ErrorKind::OutOfMemory.into())
    }

    /// Waits until something came or the time is over.
    ///
    /// # Errors
    /// The kernel's; none of them is expected.
    pub(in crate::relay) fn wait(&mut self, wait: Wait) -> io::Result<()> {
        uring::enter(&self.ring, wait)
    }

    /// Takes at most `most` of what came; tells whether more is there.
    pub(in crate::relay) fn take(&mut self, into: &mut Vec<Came>, most: usize) -> bool {
        for _ in 0..most {
            let Some(completion) = self.ring.completion().next() else { return false };
            let token = Token(completion.user_data());
            if token == Token::NOBODY {
                continue;
            }
            let flags = completion.flags();
            if !cqueue::more(flags) {
                self.live -= 1;
                if self.armed.contains_key(&token) {
                    self.ended.push(token);
                }
            }
            let slot = cqueue::buffer_select(flags);
            if completion.result() < 0 && slot.is_none() {
                // Cancelled, or no slot was left; the socket keeps what has come.
                continue;
            }
            into.push(Came { token, slot });
        }
        true
    }

    /// Returns what is in a slot that a completion named; `None` where it is longer than what is
    /// relayed.
    pub(in crate::relay) fn received(&mut self, slot: u16) -> Option<Received> {
        let whole = self.slots.slot_mut(usize::from(slot));
        let before = &whole[HEADROOM_BYTES - BEFORE_BYTES..HEADROOM_BYTES];
        let (head, rest) = before.split_at(HEAD_BYTES);
        let (name, control) = rest.split_at(NAME_ROOM_BYTES);
        let word =
            |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        // Lengths of name, control messages and payload, then flags.
        let (controlled, length, flags) = (word(4) as usize, word(8) as usize, word(12));
        if flags & libc::MSG_TRUNC as u32 != 0 {
            return None;
        }
        let from = Name::of(name).read()?;
        Received::new(from, length, control.get(..controlled).unwrap_or_default())
    }

    /// Lends a slot to the kernel; it takes hold with [`Self::lend`].
    pub(in crate::relay) fn give(&mut self, slot: u16) {
        let room = self.slots.lent_room(usize::from(slot), BEFORE_BYTES);
        self.lent.put(slot, room.as_mut_ptr() as u64, room.len() as u32);
    }

    /// Lends what was given, and arms again what has ended by itself.
    ///
    /// # Errors
    /// The kernel's, when nothing can be submitted.
    pub(in crate::relay) fn lend(&mut self) -> io::Result<()> {
        self.lent.publish();
        for token in std::mem::take(&mut self.ended) {
            if let Some(armed) = self.armed.get(&token).copied() {
                self.arm(token, armed)?;
            }
        }
        Ok(())
    }

    /// Cancels everything and waits for its end; tells whether that has come.
    fn join(&mut self) -> bool {
        let tokens: Vec<Token> = {
            let mut tokens: Vec<Token> = self.armed.drain().map(|(token, _)| token).collect();
            tokens.sort_unstable();
            tokens
        };
        for token in tokens {
            let entry = opcode::AsyncCancel::new(token.0).build().user_data(Token::NOBODY.0);
            let _ = self.push(&entry);
        }
        let mut came = Vec::new();
        for _ in 0..JOIN_LOOKS {
            let _ = self.ring.submit();
            // Bound: completions are taken until none is left.
            while self.take(&mut came, COMPLETIONS as usize) {
                came.clear();
            }
            if self.live == 0 {
                return true;
            }
        }
        false
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if !self.join() {
            // An operation that did not end may still write; its memory stays.
            std::mem::forget(std::mem::replace(&mut self.slots, Slots::new(1, Trains::NEVER)));
            std::mem::forget(std::mem::replace(&mut self.lent, Lent::new()));
        }
    }
}

/// The ring of lent slots, shared with the kernel: it takes at its own head, we put at the tail.
struct Lent {
    entries: NonNull<BufRingEntry>,
    tail: u16,
}

impl Lent {
    const LAYOUT: Layout =
        match Layout::from_size_align(LENT * size_of::<BufRingEntry>(), PAGE_BYTES) {
            Ok(layout) => layout,
            Err(_) => panic!("a ring of slots has a layout"),
        };

    fn new() -> Self {
        // SAFETY: the layout has a size that is not zero.
        let memory = unsafe { alloc_zeroed(Self::LAYOUT) };
        let Some(entries) = NonNull::new(memory.cast()) else { handle_alloc_error(Self::LAYOUT) };
        Self { entries, tail: 0 }
    }

    /// Puts a slot at the tail, which the kernel does not look at before [`Self::publish`].
    fn put(&mut self, slot: u16, address: u64, bytes: u32) {
        let place = usize::from(self.tail) & (LENT - 1);
        // SAFETY: `place` is below LENT, for which there is memory; the kernel reads an entry only
        // between its head and the published tail, and no more than LENT slots exist, so this one
        // is not there. The fields set are not the tail, which lies in the first entry's rest.
        unsafe {
            let entry = self.entries.as_ptr().add(place);
            (*entry).set_addr(address);
            (*entry).set_len(bytes);
            (*entry).set_bid(slot);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel see what was put.
    fn publish(&mut self) {
        // SAFETY: the first entry is initialised (zeroed when made), and its tail is 16 bits that
        // only this value writes; the kernel reads them at once, hence the atomic.
        let tail = unsafe {
            let tail = BufRingEntry::tail(self.entries.as_ptr());
            AtomicU16::from_ptr(tail.cast_mut())
        };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout by `new`, and freed once.
        unsafe { dealloc(self.entries.as_ptr().cast(), Self::LAYOUT) };
    }
}

/// What the kernel wants the ring of slots aligned to.
const PAGE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd as _;

    use super::*;
    use crate::poll::COALESCE_EVENTS;
    use crate::relay::hops::Hops;

    const NOW: Wait = Wait { at_most_ns: Some(0), coalesce_us: 0 };

    fn turn(ring: &mut Ring) -> Vec<Came> {
        let mut came = Vec::new();
        // Bound: a second in all.
        for _ in 0..1_000 {
            ring.wait(Wait { at_most_ns: Some(1_000_000), ..NOW }).unwrap();
            while ring.take(&mut came, 16) {}
            if !came.is_empty() {
                break;
            }
        }
        came
    }

    /// The safe twin, `send_to`, on the other end.
    #[test]
    fn what_is_sent_comes_in_slots_that_go_round() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(mut ring) = Ring::new(Trains::detect()) else { return };
            let ours = UdpSocket::bind(address).unwrap();
            let theirs = UdpSocket::bind(address).unwrap();
            let token = Token(7);
            ring.add(ours.as_raw_fd(), token, Watch::Datagrams).unwrap();
            // More than there are slots, a few at a time.
            for round in 0..3 * LENT / 8 {
                for n in 0..8_usize {
                    let payload = vec![(round + n) as u8; n * 50];
                    theirs.send_to(&payload, ours.local_addr().unwrap()).unwrap();
                }
                let mut seen = 0;
                for _ in 0..8 {
                    for came in turn(&mut ring) {
                        assert_eq!(came.token, token);
                        let slot = came.slot.unwrap();
                        let received = ring.received(slot).unwrap();
                        let from = theirs.local_addr().unwrap();
                        assert_eq!(
                            received,
                            Received { from, length: seen * 50, segment: None, hops: Hops::Fresh }
                        );
                        let whole = ring.slots().slot_mut(usize::from(slot));
                        let payload = &whole[HEADROOM_BYTES..][..seen * 50];
                        assert!(payload.iter().all(|byte| *byte == (round + seen) as u8));
                        ring.give(slot);
                        seen += 1;
                    }
                    ring.lend().unwrap();
                    if seen == 8 {
                        break;
                    }
                }
                assert_eq!(seen, 8);
            }
        }
    }

    #[test]
    fn without_slots_nothing_is_lost_but_what_the_socket_cannot_hold() {
        let Ok(mut ring) = Ring::new(Trains::detect()) else { return };
        let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
        let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
        ring.add(ours.as_raw_fd(), Token(1), Watch::Datagrams).unwrap();
        let mut held = Vec::new();
        let mut sent = 0;
        // Bound: twice as many as there are slots.
        while held.len() < LENT && sent < 2 * LENT {
            theirs.send_to(b"x", ours.local_addr().unwrap()).unwrap();
            sent += 1;
            held.extend(turn(&mut ring).into_iter().filter_map(|came| came.slot));
        }
        assert_eq!(held.len(), LENT, "every slot has one");
        theirs.send_to(b"late", ours.local_addr().unwrap()).unwrap();
        ring.wait(NOW).unwrap();
        let mut came = Vec::new();
        while ring.take(&mut came, 16) {}
        assert_eq!(came, []);
        for slot in held {
            ring.give(slot);
        }
        ring.lend().unwrap();
        let came = turn(&mut ring);
        assert_eq!(ring.received(came[0].slot.unwrap()).unwrap().length, 4);
    }

    #[test]
    fn a_wait_for_company_brings_what_comes_late_and_ends_without_it() {
        let Ok(mut ring) = Ring::new(Trains::detect()) else { return };
        // Each socket counts as one that has something, however much that is.
        let sockets: Vec<UdpSocket> =
            (0..COALESCE_EVENTS).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        for (socket, token) in sockets.iter().zip(1..) {
            ring.add(socket.as_raw_fd(), Token(token), Watch::Datagrams).unwrap();
        }
        let to: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
        // Company that is complete ends the wait; so does the end of its time.
        for (late, coalesce_us) in [(COALESCE_EVENTS - 1, 10_000_000), (0, 10_000)] {
            theirs.send_to(b"first", to[0]).unwrap();
            let (other, to) = (theirs.try_clone().unwrap(), to.clone());
            let company = std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(5));
                for to in &to[1..=late] {
                    other.send_to(b"late", to).unwrap();
                }
            });
            ring.wait(Wait { at_most_ns: Some(20_000_000_000), coalesce_us }).unwrap();
            let mut came = Vec::new();
            while ring.take(&mut came, 16) {}
            assert_eq!(came.len(), 1 + late);
            company.join().expect("the late ones");
            for came in came {
                ring.give(came.slot.unwrap());
            }
            ring.lend().unwrap();
        }
    }

    #[test]
    fn an_address_is_free_once_its_socket_was_removed_and_closed() {
        let Ok(mut ring) = Ring::new(Trains::detect()) else { return };
        for n in 0..50 {
            let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = ours.local_addr().unwrap();
            ring.add(ours.as_raw_fd(), Token(n), Watch::Datagrams).unwrap();
            ring.wait(NOW).unwrap();
            ring.remove(Token(n));
            drop(ours);
            UdpSocket::bind(address).expect("free");
        }
    }

    #[test]
    fn a_datagram_longer_than_a_slot_is_told() {
        let Ok(mut ring) = Ring::new(Trains::detect()) else { return };
        let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
        let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
        ring.add(ours.as_raw_fd(), Token(1), Watch::Datagrams).unwrap();
        for (more, told) in [(1, false), (0, true)] {
            let payload = vec![1; limits::RELAY_DATAGRAM_BYTES_MAX + more];
            theirs.send_to(&payload, ours.local_addr().unwrap()).unwrap();
            let came = turn(&mut ring);
            assert_eq!(ring.received(came[0].slot.unwrap()).is_some(), told);
        }
    }
}
