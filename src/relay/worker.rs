//! One relay thread: what it is asked, and its loop.

use std::io;
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender};

use super::board::{Board, Observed};
use super::frames::Left;
use super::handle::{Listed, Listing};
use super::multishot::Multishot;
use super::plane::{Plane, Woken};
use super::portable::Portable;
use super::ring::trains::Trains;
use super::ring::uring::Ring;
use super::serve::Served;
use super::setup::Settings;
use super::spawn::StartError;
use crate::edge::av::{Admission, Client, Credentials, Forecast, Peers, Quotas};
use crate::limits;
use crate::poll::epoll::{self, Epoll};
use crate::poll::{Choice, Wait, Waker};
use crate::time::{Clock, Monotonic, Now};
use crate::tls;

/// What is asked of the thread.
pub(super) enum Order {
    Adopt(Box<(Credentials, Peers, Quotas)>),
    AdoptTls(Vec<Option<Arc<tls::Server>>>),
    Admit(Admission),
    List { skip: usize, most: usize, reply: Sender<Listing> },
    Kill { client: Client, reply: Sender<bool> },
    Lasting { left: usize, reply: Sender<u64> },
    End,
}

/// What the new thread takes with it.
pub(super) struct Begin {
    pub(super) served: Served,
    pub(super) settings: Settings,
    pub(super) trains: Trains,
    pub(super) clock: Clock,
    pub(super) inbox: Receiver<Order>,
    pub(super) waker: Arc<Waker>,
    pub(super) board: Arc<Board>,
    pub(super) started: Sender<Result<&'static str, StartError>>,
}

impl Begin {
    pub(super) fn run(self) {
        if let Some(core) = self.settings.core
            && let Err(error) = epoll::pin(core)
        {
            return drop(self.started.send(Err(StartError::Core { core, error })));
        }
        // Where a filter of system calls forbids it, media waits longer and nothing else happens.
        let _ = epoll::wake_promptly();
        // A ring belongs to the thread that makes it, so it is made here.
        let chosen = self.settings.poller;
        let bell = self.waker.fd();
        let failed = |error| drop(self.started.send(Err(StartError::Thread(error))));
        match choose(chosen, self.trains) {
            Ok(Chosen::Ring(ring)) => match Multishot::new(ring, bell, &self.served) {
                Ok(plane) => self.run_with(plane),
                Err(error) => failed(error),
            },
            Ok(Chosen::Epoll(epoll)) => match Portable::new(epoll, bell, &self.served, self.trains)
            {
                Ok(plane) => self.run_with(plane),
                Err(error) => failed(error),
            },
            Err(error) => failed(error),
        }
    }

    fn run_with<P: Plane>(self, plane: P) {
        let Self { served, settings, clock, inbox, waker, board, started, .. } = self;
        let _ = started.send(Ok(plane.name()));
        let published = clock.now().monotonic;
        let forecast = Forecast::default();
        let worker =
            Worker { plane, served, settings, clock, inbox, waker, board, published, forecast };
        worker.run();
    }
}

enum Chosen {
    Ring(Ring),
    Epoll(Epoll),
}

fn choose(choice: Choice, trains: Trains) -> io::Result<Chosen> {
    match choice {
        Choice::Epoll => Epoll::new().map(Chosen::Epoll),
        Choice::IoUring => Ring::new(trains).map(Chosen::Ring).map_err(|error| {
            io::Error::new(error.kind(), format!("io_uring cannot be used ({error})"))
        }),
        Choice::Auto => {
            Ring::new(trains).map(Chosen::Ring).or_else(|_| Epoll::new().map(Chosen::Epoll))
        }
    }
}

/// The thread's loop.
struct Worker<P> {
    plane: P,
    served: Served,
    settings: Settings,
    clock: Clock,
    inbox: Receiver<Order>,
    waker: Arc<Waker>,
    board: Arc<Board>,
    /// When counters were left last.
    published: Monotonic,
    forecast: Forecast,
}

/// Returns how to wait from `now` on: for company no longer than a lonely datagram may be late,
/// since the kernel does not look at the deadline before that time is over.
fn wait_until(now: Monotonic, deadline: Monotonic, company_us: u32) -> Wait {
    let at_most_ns = Some(deadline.0.saturating_sub(now.0));
    Wait { at_most_ns, coalesce_us: company_us.min(limits::COALESCE_US_MAX) }
}

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Serve,
    End,
}

impl<P: Plane> Worker<P> {
    fn run(mut self) {
        let mut now = self.clock.now();
        // The one loop without a bound: it is the life of the thread.
        loop {
            let wait = self.wait(now.monotonic);
            let turned = self.turn(wait);
            match turned {
                Ok((at, Then::Serve)) => now = at,
                Ok((_, Then::End)) => break,
                // A relay that cannot wait any more ends the process, and what watches over it
                // starts another: clients would take it for alive.
                Err(error) => panic!("the relay cannot wait for the network any more: {error}"),
            }
        }
        self.plane.end(&mut self.served);
        self.publish(now.monotonic);
    }

    fn wait(&self, now: Monotonic) -> Wait {
        let publish = self.published.plus_ms(limits::COUNTERS_PUBLISH_MS);
        let deadline = self.served.relay.next_deadline().map_or(publish, |at| at.min(publish));
        let deadline = match self.served.paused[..] {
            [] => deadline,
            [..] => deadline.min(now.plus_ms(limits::RELAY_PAUSE_MS)),
        };
        wait_until(now, deadline, self.settings.company_us)
    }

    fn turn(&mut self, wait: Wait) -> io::Result<(Now, Then)> {
        let (now, woken) = self.plane.turn(wait, &self.clock, &mut self.served)?;
        self.served.tally.turns += 1;
        let mut then = Then::Serve;
        if woken == Woken::ByBell {
            self.waker.rearm();
            // Bound: the box holds no more than RELAY_ORDERS_MAX.
            while let Ok(order) = self.inbox.try_recv() {
                if self.obey(now, order) == Then::End {
                    then = Then::End;
                }
            }
            if self.plane.take_mail(now, &mut self.served)? == Left::More {
                self.waker.wake();
            }
        }
        self.served.expire(now);
        self.served.resume(now);
        self.plane.settle(now, &mut self.served)?;
        self.served.siblings.ring();
        if now.monotonic >= self.published.plus_ms(limits::COUNTERS_PUBLISH_MS) {
            self.publish(now.monotonic);
        }
        Ok((now, then))
    }

    fn obey(&mut self, now: Now, order: Order) -> Then {
        match order {
            Order::Adopt(adopted) => {
                let (credentials, peers, quotas) = *adopted;
                self.served.relay.adopt(credentials, peers, quotas);
                // What runs out when is another matter with other quotas.
                self.publish(now.monotonic);
            }
            Order::AdoptTls(of_listeners) => {
                for door in &mut self.served.streams.doors {
                    door.server = of_listeners.get(usize::from(door.number)).cloned().flatten();
                }
            }
            Order::Admit(admission) => self.served.relay.admit(admission),
            Order::List { skip, most, reply } => {
                let relay = &self.served.relay;
                let listed = relay.list().skip(skip).take(most);
                let listed = listed.map(|(client, ports, traffic, until)| Listed {
                    client,
                    domain: relay.domain_of(&client).map(Arc::clone),
                    ports: ports.to_vec(),
                    traffic,
                    ends_in_s: until.ms_since(now.monotonic) / 1_000,
                });
                let listed = listed.collect();
                let allocations = self.served.relay.allocations();
                let free_ports = self.served.relay.free_ports();
                // Who asked may have gone.
                let _ = reply.send(Listing { allocations, free_ports, listed });
            }
            Order::Kill { client, reply } => {
                let _ = reply.send(self.served.kill(&client));
            }
            Order::Lasting { left, reply } => {
                let until = self.served.relay.unrefreshed_until(left);
                let _ = reply.send(until.ms_since(now.monotonic).div_ceil(1_000));
            }
            Order::End => return Then::End,
        }
        Then::Serve
    }

    fn publish(&mut self, now: Monotonic) {
        self.published = now;
        self.forecast.take(now, self.served.relay.sample());
        self.board.leave(Observed {
            core: *self.served.relay.counters(),
            shell: self.served.tally,
            allocations: self.served.relay.allocations(),
            free_ports: self.served.relay.free_ports(),
            sockets: self.served.sockets.len(),
            streams: self.served.streams.len(),
            connections: self.served.relay.connections(),
            classes: self.served.relay.classes(),
            users: self.served.relay.users(),
            draining: self.served.relay.admission() != Admission::Open,
            outlook: self.forecast.outlook(self.settings.link_kbit_s),
            withheld: self.served.relay.take_withheld(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_its_deadline_and_is_for_company_as_long_as_configured_and_bounded() {
        let (now, later) = (Monotonic(5_000_000), Monotonic(5_700_000));
        let wait = |company_us| wait_until(now, later, company_us);
        assert_eq!(wait(0), Wait { at_most_ns: Some(700_000), coalesce_us: 0 });
        assert_eq!(wait(150), Wait { at_most_ns: Some(700_000), coalesce_us: 150 });
        assert_eq!(wait(u32::MAX).coalesce_us, limits::COALESCE_US_MAX);
        let over = wait_until(later, now, 150);
        assert_eq!(over.at_most_ns, Some(0), "what is due is not waited for");
    }
}
