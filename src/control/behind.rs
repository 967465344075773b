//! Long work of control that gives way to the shards.
//!
//! Compiling a million partners keeps a core busy for seconds. Where the shards have all cores,
//! that core is one of theirs, and at the same priority each message of that shard may wait for a
//! slice of the scheduler's, a hundred times of what it takes otherwise. So it is done on a thread
//! of its own that steps back behind everybody else. So is giving back what the shards have left:
//! hundreds of megabytes of a policy of that size, each page by the kernel.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{self, Receiver, RecvTimeoutError};

use crate::poll;

/// How often whoever waits for the work may do something else.
const MEANWHILE: Duration = Duration::from_secs(1);

/// Does `work` behind everything else that runs on this machine; calls `meanwhile` now and then.
///
/// It takes what it takes on a core that idles, and many times as long where none does.
pub fn behind<F, R>(work: F, mut meanwhile: impl FnMut()) -> R
where
    F: FnOnce() -> R + Send,
    R: Send,
{
    let (hand, handed) = channel::bounded::<F>(1);
    let (done, awaited) = channel::bounded(1);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("reload".to_owned());
        let spawned = thread.spawn_scoped(scope, move || {
            step_back();
            if let Ok(work) = handed.recv() {
                let _ = done.send(work());
            }
        });
        if spawned.is_err() {
            // Without a thread for it, in the way is better than not at all.
            return work();
        }
        let _ = hand.send(work);
        // Bounded by the work.
        loop {
            match awaited.recv_timeout(MEANWHILE) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) => meanwhile(),
                Err(RecvTimeoutError::Disconnected) => panic!("the work panicked"),
            }
        }
    })
}

/// Frees what comes by `left` behind everything else that runs, until nobody can send any more.
///
/// # Errors
/// The kernel's, when it gives no thread.
pub(super) fn free_behind<T: Send + 'static>(left: Receiver<T>) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("free".to_owned()).spawn(move || {
        step_back();
        // Bound: ends with the last sender.
        left.iter().for_each(drop);
    })
}

fn step_back() {
    if let Err(error) = poll::epoll::step_back() {
        tracing::warn!(%error, "the kernel does not let a reload give way to the shards");
    }
}

/// Lets the calling thread be in the way of the shards for a tenth of their cores at most: what it
/// does is bounded and has somebody waiting for it, but nobody waits for it in microseconds.
pub(super) fn give_way() {
    if let Err(error) = poll::epoll::give_way() {
        tracing::warn!(%error, "the kernel does not let a writer give way to the shards");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_is_done_on_a_thread_of_its_own_that_may_borrow() {
        let (caller, mut left) = (std::thread::current().id(), vec![1, 2]);
        let thread = behind(
            || {
                left.clear();
                std::thread::current().id()
            },
            || {},
        );
        assert_ne!(thread, caller);
        assert!(left.is_empty());
    }

    #[test]
    fn what_was_left_is_freed_elsewhere_and_all_of_it() {
        struct Left(channel::Sender<std::thread::ThreadId>);
        impl Drop for Left {
            fn drop(&mut self) {
                let _ = self.0.send(std::thread::current().id());
            }
        }
        let (leave, left) = channel::unbounded();
        let (tell, told) = channel::unbounded();
        let thread = free_behind(left).unwrap();
        for _ in 0..3 {
            leave.send(Left(tell.clone())).ok().unwrap();
        }
        drop((leave, tell));
        thread.join().unwrap();
        let threads: Vec<_> = told.iter().collect();
        assert_eq!(threads.len(), 3);
        assert!(threads.iter().all(|thread| *thread != std::thread::current().id()));
    }

    #[test]
    fn whoever_waits_is_called_meanwhile() {
        let (tell, told) = channel::bounded(1);
        let waited = move || told.recv_timeout(MEANWHILE * 20);
        let called = behind(waited, || {
            let _ = tell.try_send(());
        });
        assert_eq!(called, Ok(()));
    }
}
