//! Leaving in order (DESIGN 9).

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use entente::edge::{Class, Drain, Lost};

use crate::lines::Event;
use crate::world::{Edge, POLLERS, Wanted, eventually};

#[test]
fn the_notice_changes_nothing_but_is_told() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted::with(poller));
        edge.drain(Drain::Notice);
        eventually("it is told", || edge.seen.count(|e| *e == Event::Drain(Drain::Notice)) == 1);
        assert_eq!(edge.partner().ask("echo a"), "a", "it still accepts");
        edge.stop();
    }
}

#[test]
fn closing_ends_listeners_first_and_legs_when_nothing_is_pending() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted::with(poller));
        let mut partner = edge.partner();
        assert_eq!(partner.ask("hold\necho a"), "a");
        edge.drain(Drain::Closing);
        let closing = |e: &Event| *e == Event::Drain(Drain::Closing);
        eventually("it is told", || edge.seen.count(closing) == 1);
        assert!(TcpStream::connect(edge.address(Class::Federation)).is_err());
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(partner.ask("echo b"), "b", "a transaction is pending");
        partner.say("release");
        assert_eq!(partner.hear(), "");
        let closed = |e: &Event| matches!(e, Event::Closed { lost: Lost::ClosedByUs, .. });
        eventually("the leg is closed", || edge.seen.count(closed) == 1);
        edge.stop();
    }
}

#[test]
fn the_drain_ends_in_time_whatever_is_pending() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted { drain_timeout_ms: 300, ..Wanted::with(poller) });
        let mut partner = edge.partner();
        assert_eq!(partner.ask("hold\necho a"), "a");
        let mut half_open = TcpStream::connect(edge.address(Class::Federation)).unwrap();
        half_open.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        eventually("it is accepted", || edge.fabric.budget.used().2 == 1);
        edge.drain(Drain::Closing);
        assert_eq!(partner.hear(), "");
        assert!(matches!(half_open.read(&mut [0; 1]), Ok(0) | Err(_)));
        edge.stop();
    }
}

#[test]
fn legs_are_closed_a_few_at_a_time() {
    let edge = Edge::start(Wanted::with(POLLERS[1]));
    let mut partners: Vec<_> = (0..80).map(|_| edge.partner()).collect();
    for partner in &mut partners {
        assert_eq!(partner.ask("echo a"), "a");
    }
    edge.drain(Drain::Closing);
    let closed = || edge.seen.count(|e| matches!(e, Event::Closed { .. }));
    eventually("the first are closed", || closed() > 0);
    assert!(closed() < 60, "not all in one instant: {}", closed());
    eventually("all are closed", || closed() == 80);
    edge.stop();
}
