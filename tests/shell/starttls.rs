//! Legs that begin in the clear and ask for TLS later, in both directions.

use std::time::Duration;

use entente::edge::{Class, Drain, LegId, Lost};

use crate::lines::Event;
use crate::world::{Edge, PARTNER, POLLERS, Peer, Plain, Server, Wanted, eventually};

fn each_poller(wanted: impl Fn(&mut Wanted), test: impl Fn(Edge)) {
    for poller in POLLERS {
        let mut of_test = Wanted::with(poller);
        of_test.classes = vec![Class::Federation, Class::Xmpp];
        wanted(&mut of_test);
        test(Edge::start(of_test));
    }
}

fn xmpp_leg(edge: &Edge) -> LegId {
    let events = edge.seen.all();
    let mut legs = events.iter().filter_map(|event| match event {
        Event::Opened { leg, class: Class::Xmpp, .. } => Some(*leg),
        _ => None,
    });
    legs.next_back().expect("a leg of class xmpp")
}

fn closed(edge: &Edge) -> Vec<(LegId, Lost)> {
    let events = edge.seen.all();
    let closed = events.iter().filter_map(|event| match event {
        Event::Closed { leg, lost, .. } => Some((*leg, *lost)),
        _ => None,
    });
    closed.collect()
}

fn secured(edge: &Edge) -> Vec<(Option<String>, Option<String>)> {
    let events = edge.seen.all();
    let secured = events.iter().filter_map(|event| match event {
        Event::Secured { peer, doubt, .. } => Some((peer.clone(), doubt.clone())),
        _ => None,
    });
    secured.collect()
}

/// A peer whose TLS stands, after a word in the clear.
fn upgraded(edge: &Edge, shows: Option<(&str, &str)>) -> Peer {
    let mut plain = edge.in_the_clear();
    assert_eq!(plain.ask("echo in the clear"), "in the clear");
    assert_eq!(plain.ask("tls"), "proceed");
    let mut peer = plain.into_client(&edge.pki.client_config(shows));
    assert_eq!(peer.ask("echo sealed"), "sealed");
    peer
}

#[test]
fn a_leg_in_the_clear_is_known_at_once_and_named_after_starttls() {
    each_poller(
        |_| {},
        |edge| {
            let mut peer = upgraded(&edge, Some(("ca", PARTNER)));
            let events = edge.seen.all();
            let Event::Opened { class, outlet, peer: named, .. } = &events[0] else {
                panic!("{events:?}")
            };
            assert_eq!((*class, *outlet, named), (Class::Xmpp, None, &None));
            assert_eq!(secured(&edge), [(Some(PARTNER.to_owned()), None)]);
            assert_eq!(edge.fabric.budget.used().2, 0, "it is half-open no longer");
            peer.close();
            assert_eq!(peer.hear(), "", "the edge closes too");
            edge.stop();
        },
    );
}

#[test]
fn a_certificate_that_proves_nothing_is_let_in_and_doubted_and_so_is_none() {
    each_poller(
        |_| {},
        |edge| {
            let _stranger = upgraded(&edge, Some(("other", PARTNER)));
            let _nobody = upgraded(&edge, None);
            let secured = secured(&edge);
            let [(None, Some(doubt)), (None, None)] = secured.as_slice() else {
                panic!("neither proves a name: {secured:?}")
            };
            assert!(doubt.contains("trust"), "{doubt}");
            edge.stop();
        },
    );
}

#[test]
fn what_comes_in_the_clear_behind_the_request_for_tls_is_never_taken_for_sealed() {
    each_poller(
        |_| {},
        |edge| {
            let mut plain = edge.in_the_clear();
            plain.say("tls\necho injected\n");
            assert_eq!(plain.hear(), "proceed");
            assert_eq!(plain.hear(), "", "the leg is closed");
            eventually("the core hears of the end", || closed(&edge).len() == 1);
            assert_eq!(closed(&edge)[0].1, Lost::TlsFault);
            assert_eq!(edge.seen.count(|e| matches!(e, Event::Line { .. })), 1, "only the request");
            edge.stop();
        },
    );
}

#[test]
fn a_handshake_that_breaks_after_starttls_is_told_as_the_end_of_the_leg() {
    each_poller(
        |_| {},
        |edge| {
            let mut plain = edge.in_the_clear();
            assert_eq!(plain.ask("tls"), "proceed");
            plain.say("this is no hello at all, whatever it is\n");
            assert!(plain.hear().starts_with('\u{15}'), "an alert");
            assert_eq!(plain.hear(), "", "the leg is closed");
            eventually("the core hears of the end", || closed(&edge).len() == 1);
            assert_eq!(closed(&edge), [(xmpp_leg(&edge), Lost::TlsFault)]);
            let mut gone = edge.in_the_clear();
            assert_eq!(gone.ask("tls"), "proceed");
            drop(gone);
            eventually("the core hears of that one too", || closed(&edge).len() == 2);
            assert_eq!(closed(&edge)[1].1, Lost::ClosedByPeer);
            eventually("both are counted", || edge.counter("handshakes_failed") == 2);
            edge.stop();
        },
    );
}

#[test]
fn a_handshake_that_does_not_come_after_starttls_times_out() {
    each_poller(
        |wanted| wanted.handshake_ms = 50,
        |edge| {
            let mut plain = edge.in_the_clear();
            assert_eq!(plain.ask("echo first"), "first");
            // From the first byte on it is the core that bounds the time in the clear.
            std::thread::sleep(Duration::from_millis(120));
            assert_eq!(plain.ask("echo still here"), "still here");
            assert_eq!(plain.ask("tls"), "proceed");
            assert_eq!(plain.hear(), "", "the leg is closed");
            eventually("the core hears of the end", || closed(&edge).len() == 1);
            assert_eq!(closed(&edge)[0].1, Lost::TlsFault);
            edge.stop();
        },
    );
}

#[test]
fn a_leg_in_the_clear_is_half_open_until_its_peer_has_proven_who_it_is() {
    each_poller(
        |wanted| wanted.budget = (100, 10, 2),
        |edge| {
            let (mut first, mut second) = (edge.in_the_clear(), edge.in_the_clear());
            assert_eq!(first.ask("echo one"), "one");
            assert_eq!(second.ask("echo two"), "two");
            assert_eq!(edge.fabric.budget.used().2, 2);
            let mut third = edge.in_the_clear();
            third.say("echo three\n");
            eventually("accepting rests", || edge.counter("accept_pauses") > 0);
            assert_eq!(edge.seen.count(|e| matches!(e, Event::Opened { .. })), 2);
            first.say("admit\n");
            assert_eq!(third.hear(), "three");
            drop(second);
            eventually("a leg that ends gives its place back", || edge.fabric.budget.used().2 == 1);
            edge.stop();
        },
    );
}

#[test]
fn a_peer_that_ends_in_the_clear_has_closed_in_order() {
    each_poller(
        |_| {},
        |edge| {
            let mut plain = edge.in_the_clear();
            assert_eq!(plain.ask("echo hello"), "hello");
            drop(plain);
            eventually("the core hears of the end", || closed(&edge).len() == 1);
            assert_eq!(closed(&edge)[0].1, Lost::ClosedByPeer);
            let told: Vec<_> = edge.notes.try_iter().map(|(_, note)| note.sentence).collect();
            assert!(told.iter().all(|told| !told.contains("without a TLS goodbye")), "{told:?}");
            edge.stop();
        },
    );
}

#[test]
fn a_leg_that_is_closed_with_its_request_for_tls_is_closed() {
    each_poller(
        |_| {},
        |edge| {
            let mut plain = edge.in_the_clear();
            assert_eq!(plain.ask("tls then bye"), "proceed");
            assert_eq!(plain.hear(), "", "the leg is closed");
            eventually("the core hears of the end", || closed(&edge).len() == 1);
            assert_eq!(closed(&edge)[0].1, Lost::ClosedByUs);
            edge.stop();
        },
    );
}

#[test]
fn an_edge_that_drains_does_not_wait_for_a_handshake_after_starttls() {
    each_poller(
        |_| {},
        |edge| {
            let (mut waits, mut idles) = (edge.in_the_clear(), edge.in_the_clear());
            assert_eq!(waits.ask("tls"), "proceed");
            assert_eq!(idles.ask("echo idle"), "idle");
            edge.drain(Drain::Closing);
            assert_eq!((waits.hear(), idles.hear()), (String::new(), String::new()));
            edge.stop();
        },
    );
}

#[test]
fn an_outgoing_leg_begins_in_the_clear_and_asks_for_tls_as_its_client() {
    each_poller(
        |_| {},
        |edge| {
            let server = Server::start();
            let mut asker = edge.partner();
            asker.say(&format!("dial xmpp {PARTNER} {}", server.address));
            let mut plain = Plain::over(server.accept());
            eventually("the core knows the leg", || {
                let outgoing = |e: &Event| {
                    matches!(e, Event::Opened { class: Class::Xmpp, outlet: Some(_), .. })
                };
                edge.seen.count(outgoing) == 1
            });
            asker.say("forward may we");
            assert_eq!(plain.hear(), "may we");
            plain.say("proceed\n");
            let mut peer = plain.into_server(&edge.pki.server_config("ca", PARTNER));
            peer.say("sealed");
            assert_eq!(asker.hear(), "sealed");
            assert_eq!(secured(&edge), [(Some(PARTNER.to_owned()), None)]);
            asker.say("forward and back");
            assert_eq!(peer.hear(), "and back");
            edge.stop();
        },
    );
}

#[test]
fn a_peer_whose_certificate_does_not_count_any_more_is_doubted_and_stays() {
    each_poller(
        |_| {},
        |edge| {
            let mut peer = upgraded(&edge, Some(("ca", PARTNER)));
            edge.publish_material(2, "other");
            eventually("the core hears that it is nobody", || {
                edge.seen.count(|e| matches!(e, Event::Doubted { .. })) == 1
            });
            assert_eq!(peer.ask("echo still here"), "still here");
            assert!(closed(&edge).is_empty());
            edge.stop();
        },
    );
}
