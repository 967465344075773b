//! Hops, as they come by both ways of receiving and go by every way of sending.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use super::sends::{Piece, Sent, Train};
use super::slots::{HEADROOM_BYTES, Slots};
use super::trains::{self, Trains};
use super::uring::{Ring, Watch};
use super::{give_hops, tell_hops};
use crate::poll::{Token, Wait};
use crate::relay::hops::Hops;
use crate::relay::marks;

const LOOPBACK: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

/// Receives one datagram; returns level, kind and number of the control message beside it.
pub(super) fn said_of(socket: &UdpSocket) -> (libc::c_int, libc::c_int, libc::c_int) {
    let (mut bytes, mut control) = ([0_u8; 2_048], [0_u8; 64]);
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut header = libc::msghdr {
        msg_name: std::ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: &raw mut part,
        msg_iovlen: 1,
        msg_control: control.as_mut_ptr().cast(),
        msg_controllen: control.len(),
        msg_flags: 0,
    };
    // SAFETY: the header points at one vector and one control buffer, both of which live during
    // the call, with their true lengths.
    let came = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, 0) };
    assert!(came >= 0, "{}", io::Error::last_os_error());
    let word = |at: usize| libc::c_int::from_ne_bytes(control[at..at + 4].try_into().unwrap());
    (word(8), word(12), word(16))
}

/// Receives one datagram; returns its hops.
fn hops_of(socket: &UdpSocket) -> libc::c_int {
    let (level, kind, hops) = said_of(socket);
    let v4 = (level, kind) == (libc::IPPROTO_IP, libc::IP_TTL);
    assert!(v4 || (level, kind) == (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT));
    hops
}

/// A socket that is told of hops, and its address.
fn told(address: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let at = socket.local_addr().unwrap();
    tell_hops(socket.as_raw_fd(), &at).unwrap();
    (socket, at)
}

/// Has what `socket` sends go so many hops.
fn reach(socket: &UdpSocket, hops: u8) {
    let (options, hops) = (socket2::SockRef::from(socket), u32::from(hops));
    match socket.local_addr().unwrap() {
        SocketAddr::V4(_) => options.set_ttl_v4(hops).unwrap(),
        SocketAddr::V6(_) => options.set_unicast_hops_v6(hops).unwrap(),
    }
}

/// What goes from a slot to `to`.
fn piece(slot: u16, to: SocketAddr, hops: Hops) -> Piece {
    let start = HEADROOM_BYTES as u32;
    Piece { via: 0, order: 0, slot, start, length: 100, to, mark: None, hops, train: None }
}

#[test]
fn what_comes_by_calls_tells_its_hops() {
    for address in LOOPBACK {
        let ((ours, to), (theirs, _)) = (told(address), told(address));
        let mut slots = Slots::new(8, Trains::NEVER);
        for hops in [1, 2, 64, 255] {
            reach(&theirs, hops);
            theirs.send_to(b"x", to).unwrap();
            assert_eq!(slots.receive(ours.as_raw_fd(), 0, 2).unwrap(), 1);
            assert_eq!(slots.received(0).unwrap().hops, Hops::Left(hops));
        }
    }
}

#[test]
fn what_comes_by_the_ring_tells_its_hops() {
    for address in LOOPBACK {
        let Ok(mut ring) = Ring::new(Trains::NEVER) else { return };
        let ((ours, to), (theirs, _)) = (told(address), told(address));
        ring.add(ours.as_raw_fd(), Token(1), Watch::Datagrams).unwrap();
        for hops in [1, 2, 64, 255] {
            reach(&theirs, hops);
            theirs.send_to(b"x", to).unwrap();
            let mut came = Vec::new();
            // Bound: a second in all.
            for _ in 0..1_000 {
                let wait = Wait { at_most_ns: Some(1_000_000), coalesce_us: 0 };
                ring.wait(wait).unwrap();
                while ring.take(&mut came, 16) {}
                if !came.is_empty() {
                    break;
                }
            }
            let slot = came[0].slot.unwrap();
            assert_eq!(ring.received(slot).unwrap().hops, Hops::Left(hops));
            ring.give(slot);
            ring.lend().unwrap();
        }
    }
}

#[test]
fn a_train_tells_its_size_and_its_hops() {
    let trains = Trains::detect();
    if !trains.come || !trains.go {
        return;
    }
    for address in LOOPBACK {
        let ((ours, to), (theirs, _)) = (told(address), told(address));
        trains::take(ours.as_raw_fd()).unwrap();
        let mut slots = Slots::new(8, trains);
        let train = Some(Train { segment: 40, skip: 0, channel: None });
        let goes = Piece { train, ..piece(5, to, Hops::Left(9)) };
        assert_eq!(slots.send(theirs.as_raw_fd(), &[goes]).in_trains, 3);
        assert_eq!(slots.receive(ours.as_raw_fd(), 0, 2).unwrap(), 1);
        let came = slots.received(0).unwrap();
        assert_eq!((came.length, came.segment), (100, Some(40)));
        assert_eq!(came.hops, Hops::Left(9));
    }
}

#[test]
fn a_socket_gives_the_hops_it_is_told_to_and_what_is_usual_again() {
    for address in LOOPBACK {
        let ((ours, at), (theirs, to)) = (told(address), told(address));
        ours.send_to(b"usual", to).unwrap();
        let usual = hops_of(&theirs);
        for (hops, goes) in [(Hops::Left(1), 1), (Hops::Left(255), 255), (Hops::Fresh, usual)] {
            give_hops(ours.as_raw_fd(), at.ip(), hops).unwrap();
            ours.send_to(b"x", to).unwrap();
            assert_eq!(hops_of(&theirs), goes);
        }
    }
}

#[test]
fn a_datagram_goes_with_its_hops_alone_in_company_and_in_a_train() {
    for trains in [Trains::detect(), Trains::NEVER] {
        for address in LOOPBACK {
            let ((ours, _), (theirs, to)) = (told(address), told(address));
            reach(&ours, 200);
            let mut slots = Slots::new(Slots::COUNT, trains);
            // Equal ones are neighbours of one train where the kernel cuts, others are not.
            let goes = [Hops::Left(7), Hops::Fresh, Hops::Left(1), Hops::Left(63), Hops::Left(63)];
            let company: Vec<Piece> =
                (0..5).map(|slot| piece(slot, to, goes[usize::from(slot)])).collect();
            let in_trains = if trains.go { 2 } else { 0 };
            let sent = Sent { sent: 5, in_trains, ..Sent::default() };
            assert_eq!(slots.send(ours.as_raw_fd(), &company), sent);
            assert_eq!([(); 5].map(|()| hops_of(&theirs)), [7, 200, 1, 63, 63]);
            let train = Some(Train { segment: 40, skip: 0, channel: None });
            let train = Piece { mark: Some(34), train, ..piece(5, to, Hops::Left(12)) };
            assert_eq!(slots.send(ours.as_raw_fd(), &[train]).sent, 3);
            assert_eq!([(); 3].map(|()| hops_of(&theirs)), [12; 3]);
            let empty = Piece { length: 0, ..piece(6, to, Hops::Left(3)) };
            let sent = Sent { sent: 1, ..Sent::default() };
            assert_eq!(slots.send(ours.as_raw_fd(), &[empty]), sent);
            assert_eq!(hops_of(&theirs), 3);
            for (mark, hops, goes) in [
                (None, Hops::Left(5), 5),
                (Some(46), Hops::Left(6), 6),
                (Some(46), Hops::Fresh, 200),
                (None, Hops::Fresh, 200),
            ] {
                marks::send_to(&ours, b"alone", to, mark, hops).unwrap();
                assert_eq!(hops_of(&theirs), goes);
            }
        }
    }
}
