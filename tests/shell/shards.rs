//! Several shards: sockets and mail between them, and questions to the control thread.

use std::collections::BTreeSet;
use std::sync::Arc;

use entente::dns::{Answer, Domain, Failure, Question};

use crate::lines::Event;
use crate::world::{Edge, POLLERS, Wanted, eventually};

#[test]
fn accepted_sockets_spread_over_the_shards() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted { shards: 3, ..Wanted::with(poller) });
        let mut partners = Vec::new();
        for _ in 0..9 {
            let mut partner = edge.partner();
            assert_eq!(partner.ask("echo a"), "a");
            partners.push(partner);
        }
        let mut legs = [0; 3];
        for (shard, event) in edge.seen.by_shard() {
            legs[usize::from(shard)] += usize::from(matches!(event, Event::Opened { .. }));
        }
        assert_eq!(legs, [3, 3, 3]);
        drop(partners);
        edge.stop();
    }
}

#[test]
fn mail_reaches_the_other_shard_and_its_answer_comes_back() {
    for poller in POLLERS {
        let edge = Edge::start(Wanted { shards: 2, ..Wanted::with(poller) });
        let mut partner = edge.partner();
        for n in 0..2_000 {
            partner.say(&format!("mail {}", n % 2));
        }
        assert_eq!(partner.ask("echo done"), "done");
        let finals = || {
            let all = edge.seen.all().into_iter();
            let named = all.filter_map(|event| match event {
                Event::Mail(text) if text.starts_with("final") => Some(text),
                _ => None,
            });
            named.collect::<BTreeSet<_>>().len()
        };
        eventually("each request has its final", || finals() == 2_000);
        assert_eq!(edge.seen.count(|e| matches!(e, Event::MailRefused { .. })), 0);
        edge.stop();
    }
}

#[test]
fn requests_beyond_the_reserved_places_are_refused_not_lost() {
    let edge = Edge::start(Wanted { shards: 2, ..Wanted::with(POLLERS[1]) });
    let mut partner = edge.partner();
    assert_eq!(partner.ask("echo a"), "a");
    let own = edge.seen.by_shard()[0].0;
    let mut other = edge.partner();
    // The shard that answers nothing.
    assert_eq!(other.ask("silent\necho s"), "s");
    let total = entente::limits::MAIL_RESERVED_MAX + 50;
    for _ in 0..total {
        partner.say(&format!("mail {}", 1 - own));
    }
    eventually("all are accounted for", || {
        let refused = edge.seen.count(|e| matches!(e, Event::MailRefused { .. }));
        let arrived = edge.seen.count(|e| *e == Event::Mail("request".into()));
        refused >= 50 && refused + arrived == total
    });
    edge.stop();
}

#[test]
fn a_mail_that_awaits_nothing_goes_if_there_is_room() {
    let edge = Edge::start(Wanted { shards: 2, ..Wanted::with(POLLERS[0]) });
    let mut partner = edge.partner();
    assert_eq!(partner.ask("echo a"), "a");
    let own = edge.seen.by_shard()[0].0;
    partner.say(&format!("unmatched {}\nunmatched 77", 1 - own));
    eventually("one arrives, one has nowhere to go", || {
        edge.seen.count(|e| *e == Event::Mail("unmatched".into())) == 1
            && edge.seen.count(|e| *e == Event::MailRefused { shard: 77 }) == 1
    });
    edge.stop();
}

#[test]
fn a_question_is_asked_once_and_its_answer_told() {
    for poller in POLLERS {
        let mut edge = Edge::start(Wanted::with(poller));
        let mut partner = edge.partner();
        partner.say("ask fabrikam.example\nask fabrikam.example");
        let (shard, question) = edge.questions.blocking_recv().unwrap();
        let domain = Domain::parse(b"fabrikam.example").unwrap();
        assert_eq!(question, Question::Federation(domain));
        let outcome = Err(Failure::NoSuchService);
        let answer = Answer { question: question.clone(), outcome, ttl_s: 30 };
        edge.fabric.answer(shard, Arc::new(answer));
        let resolved = Event::Resolved { question, ok: false };
        eventually("it is told", || edge.seen.count(|e| *e == resolved) == 1);
        assert!(edge.questions.try_recv().is_err());
        partner.say("ask fabrikam.example");
        assert!(edge.questions.blocking_recv().is_some(), "a later question is a new one");
        edge.stop();
    }
}

#[test]
fn questions_beyond_what_control_takes_count_as_failures() {
    let edge = Edge::start(Wanted::with(POLLERS[1]));
    let mut partner = edge.partner();
    for n in 0..150 {
        partner.say(&format!("ask d{n}.example"));
    }
    let failed = |e: &Event| matches!(e, Event::Resolved { ok: false, .. });
    eventually("fifty found no room", || edge.seen.count(failed) == 50);
    edge.stop();
}
