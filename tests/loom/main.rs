//! Every interleaving of the shards' mailboxes, of waking and of a rate that threads share, over
//! the very source files.

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

    /// A bounded queue as the real one behaves; its own inside is not what is checked here.
    pub(crate) struct Queue<T> {
        items: loom::sync::Mutex<std::collections::VecDeque<T>>,
        capacity: usize,
    }

    impl<T> Queue<T> {
        pub(crate) fn new(capacity: usize) -> Self {
            Self { items: loom::sync::Mutex::new(std::collections::VecDeque::new()), capacity }
        }

        pub(crate) fn push(&self, item: T) -> Result<(), T> {
            let mut items = self.items.lock().unwrap();
            if items.len() == self.capacity {
                return Err(item);
            }
            items.push_back(item);
            Ok(())
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.items.lock().unwrap().pop_front()
        }
    }
}

#[path = "../../src/poll/bell.rs"]
mod bell;
#[path = "../../src/shard/mailbox.rs"]
mod mailbox;
#[path = "../../src/edge/av/rate.rs"]
mod rate;
mod rates;

use std::sync::Arc as Shared;

use bell::{Bell, Rang};
// What the rate names of its crate.
use entente::{limits, time};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use mailbox::PostBox;

/// An eventfd to an edge-triggered poller: each write is one event.
struct Event(AtomicUsize);

fn ring(bell: &Bell, event: &Event) {
    if bell.ring() == Rang::First {
        event.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The shard's side: whenever an event came, rearm, then look.
fn drain_woken(boxes: &[Arc<PostBox<u32>>], bell: &Bell, event: &Event, expected: usize) {
    let mut taken = 0;
    let mut seen = 0;
    while taken < expected {
        let events = event.0.load(Ordering::SeqCst);
        if events == seen {
            thread::yield_now();
            continue;
        }
        seen = events;
        bell.rearm();
        for from in boxes {
            while from.take().is_some() {
                taken += 1;
            }
        }
    }
}

#[test]
fn no_mail_is_left_behind_by_a_shard_that_sleeps() {
    loom::model(|| {
        let boxes: Vec<_> = (0..2).map(|_| Arc::new(PostBox::new(2, 0))).collect();
        let bell = Arc::new(Bell::new());
        let event = Arc::new(Event(AtomicUsize::new(0)));
        let senders: Vec<_> = boxes
            .iter()
            .map(|to| {
                let (to, bell, event) = (to.clone(), bell.clone(), event.clone());
                thread::spawn(move || {
                    assert!(to.post(1).is_ok());
                    ring(&bell, &event);
                })
            })
            .collect();
        // It would go on for ever, which loom reports, if an event were missing.
        drain_woken(&boxes, &bell, &event, 2);
        for sender in senders {
            sender.join().unwrap();
        }
    });
}

#[test]
fn wakers_write_no_more_than_once_between_two_looks() {
    loom::model(|| {
        let bell = Arc::new(Bell::new());
        let firsts: Vec<_> = (0..2)
            .map(|_| {
                let bell = bell.clone();
                thread::spawn(move || usize::from(bell.ring() == Rang::First))
            })
            .collect();
        let firsts: usize = firsts.into_iter().map(|first| first.join().unwrap()).sum();
        assert_eq!(firsts, 1);
    });
}

#[test]
fn an_answer_never_meets_a_full_box() {
    loom::model(|| {
        // One place for whatever, one reserved by a request that is out.
        let to_asker = Arc::new(PostBox::new(1, 1));
        let answerer = {
            let to_asker = to_asker.clone();
            thread::spawn(move || {
                let mut refused = 0;
                for noise in 0..2 {
                    refused += usize::from(to_asker.post(noise).is_err());
                }
                assert!(to_asker.post_reserved(99).is_ok(), "its place was reserved");
                refused
            })
        };
        let mut taken = 0;
        let mut answered = false;
        while !answered {
            match to_asker.take() {
                Some(item) => {
                    taken += 1;
                    answered = item == 99;
                }
                None => thread::yield_now(),
            }
        }
        let refused = answerer.join().unwrap();
        assert_eq!(taken + refused, 3, "nothing is lost, nothing comes twice");
    });
}

#[test]
fn credits_come_back() {
    loom::model(|| {
        let to = Shared::new(Arc::new(PostBox::new(1, 0)));
        let receiver = {
            let from = Shared::clone(&to);
            thread::spawn(move || {
                let mut taken = 0;
                while taken < 2 {
                    match from.take() {
                        Some(()) => taken += 1,
                        None => thread::yield_now(),
                    }
                }
            })
        };
        for _ in 0..2 {
            while to.post(()).is_err() {
                thread::yield_now();
            }
        }
        receiver.join().unwrap();
        assert!(to.post(()).is_ok(), "all credits are back");
    });
}
