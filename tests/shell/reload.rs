//! New policy and new certificates while legs are open.

use std::time::Duration;

use entente::edge::{Class, Lost};
use entente::tls;

use crate::lines::Event;
use crate::world::{Edge, POLLERS, Wanted, eventually, snapshot};

#[test]
fn a_new_snapshot_is_adopted_and_the_old_one_comes_back() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted { shards: 2, ..Wanted::with(poller) });
        edge.published.snapshot.store(snapshot(2));
        edge.fabric.wake_all();
        for _ in 0..2 {
            let retired = edge.retired.recv_timeout(Duration::from_secs(5)).unwrap();
            assert_eq!(retired.epoch, 1);
        }
        assert_eq!(edge.seen.count(|e| *e == Event::Adopted { epoch: 2 }), 2);
        edge.stop();
    }
}

#[test]
fn good_legs_live_through_new_certificates() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted::with(poller));
        let mut partner = edge.partner();
        assert_eq!(partner.ask("echo a"), "a");
        edge.publish_material(2, "ca");
        eventually("it is judged again", || edge.counter("rejudgements") == 1);
        assert_eq!(partner.ask("echo b"), "b");
        assert_eq!(edge.partner().ask("echo c"), "c");
        edge.stop();
    }
}

#[test]
fn new_lists_alone_have_no_signature_verified_again() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted::with(poller));
        let mut partners: Vec<_> = (0..100).map(|_| edge.partner()).collect();
        for partner in &mut partners {
            assert_eq!(partner.ask("echo a"), "a");
        }
        edge.publish_lists(1, tls::Revocation::default());
        eventually("all are looked up", || edge.counter("revocation_lookups") == 100);
        assert_eq!(edge.counter("rejudgements"), 0);
        for partner in &mut partners {
            assert_eq!(partner.ask("echo b"), "b");
        }
        edge.stop();
    }
}

#[test]
fn a_peer_that_no_longer_passes_is_closed_with_its_rule_even_if_it_is_silent() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted::with(poller));
        let mut partners: Vec<_> = (0..10).map(|_| edge.partner()).collect();
        for partner in &mut partners {
            assert_eq!(partner.ask("echo a"), "a");
        }
        let mut user = edge.peer(Class::RemoteUsers, None);
        assert_eq!(user.ask("echo u"), "u");
        edge.publish_material(2, "other");
        for partner in &mut partners {
            assert_eq!(partner.hear(), "", "closed in order");
        }
        let closed = |e: &Event| matches!(e, Event::Closed { lost: Lost::ClosedByUs, .. });
        eventually("all are closed", || edge.seen.count(closed) == 10);
        let (_, note) = edge.notes.recv_timeout(Duration::from_secs(5)).unwrap();
        let rule = "closed by us, judged again: the peer's certificate is not trusted";
        assert!(note.sentence.contains(rule), "{}", note.sentence);
        assert_eq!(user.ask("echo v"), "v", "without a certificate there is nothing to judge");
        edge.stop();
    }
}

#[test]
fn a_message_that_comes_with_the_reload_is_not_passed_on() {
    let edge = Edge::start(Wanted::with(POLLERS[1]));
    let mut partner = edge.partner();
    assert_eq!(partner.ask("echo a"), "a");
    // More legs than a sweep judges in its first turn, so that the message comes before its turn.
    let mut others: Vec<_> = (0..12).map(|_| edge.partner()).collect();
    assert!(others.iter_mut().all(|other| other.ask("echo x") == "x"));
    edge.publish_material(2, "other");
    eventually("the first is closed", || {
        edge.seen.count(|e| matches!(e, Event::Closed { .. })) > 0
    });
    let last = others.last_mut().unwrap();
    let _ = last.try_say("echo late");
    assert_ne!(last.try_hear().unwrap_or_default(), "late");
    assert_eq!(
        edge.seen.count(|e| matches!(e, Event::Line { text, .. } if text == "echo late")),
        0
    );
    edge.stop();
}
