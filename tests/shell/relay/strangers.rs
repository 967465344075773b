//! What there may be in all, and what strangers may have, holds for all threads together.

use std::net::{SocketAddr, TcpListener, TcpStream};

use entente::edge::av::{Dropped, Quotas};
use entente::limits;
use entente::stun::{Builder, Class, Method, Type};
use entente::time::Clock;

use super::quotas::{SOURCES, client, edge, one_of_each_thread};
use super::streams::{Framed, connect_from};
use super::tcp::{allocate, listener, reach};
use super::turn::{Client, Edge, POLLERS, peer};
use crate::world::eventually;

/// A stream from an address of that network; sources are with either thread.
fn stream(edge: &Edge, network: u8, number: u8) -> TcpStream {
    connect_from([127, 0, network, number], edge.door)
}

/// Symptom: a network was sent twice as many answers as it may be, with two threads. Cause: each
/// thread had a rate of its own. Scenario: addresses of one network, of which each thread has some.
#[test]
fn strangers_of_one_network_are_answered_at_one_rate_whichever_threads_they_are_with() {
    for poller in POLLERS {
        let edge = edge(poller, Quotas::default());
        let mut of_threads = one_of_each_thread(&edge);
        let peer = peer().local_addr().unwrap();
        let before = edge.handle.observed().core.dropped[Dropped::AnswerRate as usize];
        let clock = Clock::start();
        let kind = Type { method: Method::BINDING, class: Class::Request };
        for number in 1..=SOURCES {
            let mut stranger = client(&edge, number);
            for _ in 0..20 {
                let mut wire = Vec::new();
                let id = stranger.id();
                Builder::new(&mut wire, kind, id);
                stranger.say(&wire);
            }
        }
        // Answered behind all that was sent before.
        for of_thread in &mut of_threads {
            assert_eq!(of_thread.permit(peer), None);
        }
        let asked = 20 * u64::from(SOURCES);
        let each_second = u64::from(limits::TURN_UNAUTHENTICATED_PER_SOURCE);
        let flowed_in = clock.now().monotonic.0 * each_second / 1_000_000_000 + 1;
        let withheld = || edge.handle.observed().core.dropped[Dropped::AnswerRate as usize];
        let least = asked - each_second - flowed_in.min(asked - each_second);
        eventually("the rest is withheld", || withheld() - before >= least);
        assert!(withheld() - before <= asked);
        edge.handle.end();
    }
}

/// Symptom and cause as above, of the streams that a network may have without an allocation.
#[test]
fn strangers_of_one_network_hold_their_streams_with_all_threads_together() {
    for poller in POLLERS {
        let edge = edge(poller, Quotas::default());
        let most = limits::RELAY_STREAMS_UNPROVEN_PER_SOURCE_MAX;
        let asked = 5 * usize::from(SOURCES);
        assert!(asked > most);
        let idle: Vec<_> = (1..=SOURCES)
            .flat_map(|number| [number; 5])
            .map(|number| stream(&edge, 4, number))
            .collect();
        let observed = || {
            let observed = edge.handle.observed();
            (observed.streams, observed.shell.streams_refused)
        };
        eventually("all were looked at", || observed() == (most, (asked - most) as u64));
        drop(idle);
        eventually("all are gone", || observed().0 == 0);
        Client::by(Framed::new(stream(&edge, 4, 1))).allocate();
        edge.handle.end();
    }
}

/// Symptom: there were twice as many TCP connections with peers as there may be, with two threads.
/// Cause: each counted its own. Scenario: so many clients that they fill it, with both threads.
#[test]
fn there_are_as_many_connections_with_peers_as_there_may_be_with_all_threads_together() {
    let of_one = limits::TURN_CONNECTIONS_PER_ALLOCATION_MAX;
    let clients = limits::TURN_CONNECTIONS_MAX / of_one;
    for poller in POLLERS {
        let quotas = Quotas { allocations_per_user: 1_000, ..Quotas::default() };
        let edge = edge(poller, quotas);
        let listeners: Vec<TcpListener> = (0..of_one).map(|_| listener()).collect();
        let peers: Vec<SocketAddr> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        let mut all: Vec<Client<Framed>> = Vec::new();
        let mut of_second = 0;
        for number in 0..clients {
            // Each in a network of its own, which is challenged no more often than it may be.
            let mut client = Client::by(Framed::new(stream(&edge, 10 + number as u8, 1)));
            of_second += usize::from(allocate(&mut client).port() >= 50_100);
            for peer in &peers {
                assert!(reach(&mut client, *peer).is_ok());
            }
            all.push(client);
        }
        assert!((1..clients).contains(&of_second), "{of_second} of the second thread's");
        let mut late: Vec<Client<Framed>> = (200..200 + SOURCES)
            .map(|network| Client::by(Framed::new(stream(&edge, network, 1))))
            .collect();
        for client in &mut late {
            allocate(client);
            assert_eq!(reach(client, peers[0]), Err(508));
        }
        drop(all);
        eventually("all are closed", || edge.handle.observed().connections == 0);
        // Those that wait at the others are not accepted, and fill what the kernel has for them.
        let next = listener();
        for client in &mut late {
            assert!(reach(client, next.local_addr().unwrap()).is_ok());
        }
        edge.handle.end();
    }
}
