use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use super::epoll::{self, Epoll};
use super::uring::Uring;
use super::*;

const LOOK: Wait = Wait { at_most_ns: Some(0), coalesce_us: 0 };
const SOON: Wait = Wait { at_most_ns: Some(20_000_000), coalesce_us: 0 };

fn both(test: impl Fn(&mut dyn Poller)) {
    test(&mut Epoll::new().expect("epoll"));
    test(&mut Uring::new().expect("io_uring"));
}

fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    ours.set_nonblocking(true).expect("non-blocking");
    (ours, theirs)
}

fn seen(poller: &mut dyn Poller, wait: Wait) -> Vec<Ready> {
    let mut ready = Vec::new();
    poller.wait(wait, &mut ready).expect("a wait");
    ready
}

#[test]
fn each_arrival_is_one_edge_and_silence_is_none() {
    both(|poller| {
        let (mut ours, mut theirs) = pair();
        poller.add(ours.as_raw_fd(), Token(7), Interest::Read).expect("add");
        assert_eq!(seen(poller, LOOK), []);
        for _ in 0..3 {
            theirs.write_all(b"x").expect("write");
            let ready = seen(poller, SOON);
            assert_eq!(ready.len(), 1, "{}", poller.name());
            assert!(ready[0].readable && ready[0].token == Token(7) && !ready[0].hangup);
            assert_eq!(seen(poller, LOOK), [], "an edge is told once");
        }
        let mut drained = [0; 8];
        assert_eq!(ours.read(&mut drained).expect("read"), 3);
    });
}

#[test]
fn what_is_ready_when_added_is_told() {
    both(|poller| {
        let (ours, mut theirs) = pair();
        theirs.write_all(b"early").expect("write");
        poller.add(ours.as_raw_fd(), Token(1), Interest::ReadWrite).expect("add");
        let ready = seen(poller, SOON);
        assert!(ready.iter().any(|r| r.readable) && ready.iter().any(|r| r.writable));
    });
}

#[test]
fn a_peer_that_closes_is_a_hangup() {
    both(|poller| {
        let (ours, theirs) = pair();
        poller.add(ours.as_raw_fd(), Token(1), Interest::Read).expect("add");
        drop(theirs);
        let ready = seen(poller, SOON);
        assert!(ready.iter().all(|r| r.hangup && r.readable) && !ready.is_empty());
    });
}

#[test]
fn room_to_write_is_told_after_there_was_none() {
    both(|poller| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("an address");
        let mut ours = std::net::TcpStream::connect(address).expect("connect");
        let (mut theirs, _) = listener.accept().expect("accept");
        ours.set_nonblocking(true).expect("non-blocking");
        poller.add(ours.as_raw_fd(), Token(1), Interest::ReadWrite).expect("add");
        // The kernel may enlarge the buffer while it fills, which is an edge of its own.
        for _ in 0..100 {
            while ours.write(&[0; 65536]).is_ok() {}
            if seen(poller, SOON).is_empty() {
                break;
            }
        }
        theirs.set_nonblocking(true).expect("non-blocking");
        while matches!(theirs.read(&mut [0; 65536]), Ok(1..)) {}
        assert!(seen(poller, SOON).iter().any(|r| r.writable), "{}", poller.name());
    });
}

#[test]
fn what_is_removed_is_silent_and_its_connection_closes() {
    both(|poller| {
        let (ours, mut theirs) = pair();
        poller.add(ours.as_raw_fd(), Token(1), Interest::Read).expect("add");
        poller.remove(ours.as_raw_fd(), Token(1));
        theirs.write_all(b"x").expect("write");
        drop(ours);
        assert_eq!(seen(poller, SOON), []);
        theirs.set_read_timeout(Some(std::time::Duration::from_secs(2))).expect("time-out");
        let end = theirs.read(&mut [0; 1]);
        // Unread bytes at closing make it a reset; either way the other end hears of it.
        assert!(matches!(&end, Ok(0)) || end.is_err_and(|e| e.kind() != io::ErrorKind::WouldBlock));
    });
}

#[test]
fn a_listener_that_was_removed_and_closed_accepts_nobody() {
    both(|poller| {
        for round in 0..20 {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
            let address = listener.local_addr().expect("an address");
            poller.add(listener.as_raw_fd(), Token(round), Interest::Read).expect("add");
            let _early = std::net::TcpStream::connect(address).expect("connect");
            seen(poller, LOOK);
            poller.remove(listener.as_raw_fd(), Token(round));
            poller.settle();
            drop(listener);
            let late = std::net::TcpStream::connect(address).map_err(|error| error.kind());
            let refused = Err(io::ErrorKind::ConnectionRefused);
            assert_eq!(late.map(drop), refused, "{}", poller.name());
        }
    });
}

#[test]
fn a_number_reused_after_removal_is_the_new_connection() {
    both(|poller| {
        let (ours, _theirs) = pair();
        let fd = ours.as_raw_fd();
        poller.add(fd, Token(1), Interest::Read).expect("add");
        poller.remove(fd, Token(1));
        drop(ours);
        let (again, mut peer) = pair();
        poller.add(again.as_raw_fd(), Token(2), Interest::Read).expect("add");
        peer.write_all(b"x").expect("write");
        let ready = seen(poller, SOON);
        assert!(ready.iter().any(|r| r.token == Token(2) && r.readable), "{}", poller.name());
        seen(poller, LOOK);
        peer.write_all(b"y").expect("write");
        let later = seen(poller, SOON);
        assert!(later.iter().all(|r| r.token == Token(2)) && !later.is_empty());
    });
}

#[test]
fn more_descriptors_than_one_submission_holds_are_all_served() {
    both(|poller| {
        let pairs: Vec<_> = (0..400).map(|_| pair()).collect();
        for (i, (ours, _)) in pairs.iter().enumerate() {
            // Three registrations each pass the 1024 entries of the submission queue.
            for round in 0..2 {
                let token = Token(i as u64 * 3 + round);
                poller.add(ours.as_raw_fd(), token, Interest::Read).expect("add");
                poller.remove(ours.as_raw_fd(), token);
            }
            poller.add(ours.as_raw_fd(), Token(i as u64 * 3 + 2), Interest::Read).expect("add");
        }
        for (_, theirs) in &pairs {
            let mut theirs = theirs;
            theirs.write_all(b"x").expect("write");
        }
        let mut heard = std::collections::BTreeSet::new();
        for _ in 0..4000 {
            if heard.len() == pairs.len() {
                break;
            }
            let last = |r: &&Ready| r.token.0 % 3 == 2;
            heard.extend(seen(poller, SOON).iter().filter(last).map(|r| r.token));
        }
        assert_eq!(heard.len(), pairs.len(), "{}", poller.name());
    });
}

#[test]
fn a_waker_ends_a_wait_once_per_rearming_without_being_read() {
    both(|poller| {
        let waker = Waker::new().expect("waker");
        poller.add(waker.fd(), Token(9), Interest::Read).expect("add");
        seen(poller, LOOK);
        for _ in 0..5 {
            waker.wake();
            waker.wake();
            let woken = seen(poller, SOON);
            assert_eq!(woken.len(), 1, "{}", poller.name());
            assert_eq!(seen(poller, LOOK), []);
            waker.rearm();
        }
    });
}

#[test]
fn a_coalescing_wait_brings_company_and_ends_without_it() {
    both(|poller| {
        let (ours, mut theirs) = pair();
        let (other, mut peer) = pair();
        poller.add(ours.as_raw_fd(), Token(1), Interest::Read).expect("add");
        poller.add(other.as_raw_fd(), Token(2), Interest::Read).expect("add");
        theirs.write_all(b"x").expect("write");
        let late = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(5));
            peer.write_all(b"y").expect("write");
            peer
        });
        let wait = Wait { at_most_ns: Some(2_000_000_000), coalesce_us: 100_000 };
        assert_eq!(seen(poller, wait).len(), 2, "{}", poller.name());
        late.join().expect("the late one");
    });
}

#[test]
fn a_thread_that_steps_back_has_the_last_place_in_the_queue() {
    assert_eq!(scheduled_after(epoll::step_back), ("19".to_owned(), "3".to_owned()));
}

#[test]
fn a_thread_that_gives_way_goes_ten_places_back_and_no_further_than_the_last() {
    let (before, policy) = scheduled_after(|| Ok(()));
    let before: i32 = before.parse().unwrap();
    let back = (before + 10).min(19).to_string();
    assert_eq!(scheduled_after(epoll::give_way), (back, policy.clone()));
    let twice = || epoll::give_way().and_then(|()| epoll::give_way());
    assert_eq!(scheduled_after(twice), ((before + 20).min(19).to_string(), policy));
}

#[test]
fn a_thread_that_wakes_promptly_keeps_its_place() {
    assert_eq!(scheduled_after(epoll::wake_promptly), scheduled_after(|| Ok(())));
    let back = || epoll::give_way().and_then(|()| epoll::wake_promptly());
    assert_eq!(scheduled_after(back), scheduled_after(epoll::give_way));
}

/// Nice value and policy of a thread that has done this.
fn scheduled_after(act: impl FnOnce() -> io::Result<()> + Send + 'static) -> (String, String) {
    let thread = std::thread::spawn(|| {
        act().unwrap();
        std::fs::read_to_string("/proc/thread-self/stat").unwrap()
    });
    let stat = thread.join().unwrap();
    // Counted from behind the name, which may hold blanks (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split_whitespace().collect();
    (fields[16].to_owned(), fields[38].to_owned())
}
