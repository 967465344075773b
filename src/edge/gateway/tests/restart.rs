//! Each party starts anew in the middle.

use super::world::*;
use crate::edge::gateway::authorisation::{Direction, Standing};
use crate::edge::gateway::{Authorisation, Setup};

const KIM: &str = "sip:kim@contoso.example";
const WATCH: &str = "Event: presence\r\nContact: <sip:fe1>\r\nExpires: 3600\r\n";

fn kept(direction: Direction, standing: Standing) -> Authorisation {
    Authorisation {
        ours: "kim@contoso.example".to_owned(),
        theirs: "eve@public.example".to_owned(),
        direction,
        standing,
        version: 0,
    }
}

fn remembering(remembered: Vec<Authorisation>) -> Setup {
    Setup { remembered, ..setup() }
}

#[test]
fn a_contact_is_not_asked_again_after_a_restart() {
    let granted = kept(Direction::Outward, Standing::Granted);
    let mut world = World::of(remembering(vec![granted]));
    world.sip(&request("SUBSCRIBE", KIM, "<sip:eve@public.example>", WATCH, ""));
    world.hears_begin("SIP/2.0 200 OK");
    let first = world.hears_begin("NOTIFY ");
    assert!(header(&first.text, "Subscription-State").starts_with("active;"));
    assert_eq!(attribute(&world.sees(), "type"), "probe");
    // A stranger whom our user has added may write.
    world.stanza(&chat("eve@public.example/x", "kim@contoso.example", "m", "<body>Hi</body>"));
    world.hears_begin("INVITE ");
    assert!(world.changes.is_empty(), "nothing new is to be remembered");
}

#[test]
fn a_contact_who_may_see_our_user_is_subscribed_for_after_a_restart() {
    let granted = kept(Direction::Inward, Standing::Granted);
    let mut world = World::of(remembering(vec![granted]));
    world.pass(2_000);
    let subscribe = world.hears_begin("SUBSCRIBE sip:kim@contoso.example ");
    assert_eq!(header(&subscribe.text, "Expires"), "31680");
    world.nothing_more();
    // When our side has changed its mind meanwhile, the contact hears of it.
    world.answer(&subscribe, "403 Forbidden", "", "");
    assert_eq!(attribute(&world.sees(), "type"), "unsubscribed");
    assert_eq!(world.changes.len(), 1);
    assert_eq!(world.gateway.held(), [0; 4]);
}

#[test]
fn a_thousand_subscriptions_after_a_restart_do_not_come_at_once() {
    let many = (0..4_000).map(|n| Authorisation {
        theirs: format!("u{n}@fabrikam.example"),
        ..kept(Direction::Inward, Standing::Granted)
    });
    let mut world = World::of(remembering(many.collect()));
    let mut most = 0;
    let mut all = 0;
    for _ in 0..90 {
        world.pass(100);
        most = most.max(world.said.len());
        all += world.said.len();
        for said in std::mem::take(&mut world.said) {
            world.answer(&said, "200 OK", "Contact: <sip:fe1>\r\nExpires: 36000\r\n", "");
        }
    }
    assert_eq!(all, 4_000);
    assert!(most < 200, "{most} within a tenth of a second");
}

#[test]
fn what_the_store_kept_of_nobody_is_left_out() {
    let odd = ["", "kim", "@contoso.example", "kim@contoso.example/x", "a b@c"].map(|ours| {
        Authorisation { ours: ours.to_owned(), ..kept(Direction::Outward, Standing::Granted) }
    });
    let world = World::of(remembering(odd.to_vec()));
    assert_eq!(world.gateway.held(), [0; 4]);
}

#[test]
fn what_one_life_remembers_the_next_one_knows() {
    let mut world = World::new();
    world.sip(&request("SUBSCRIBE", KIM, "<sip:john@fabrikam.example>", WATCH, ""));
    world.stanza(
        "<presence from='john@fabrikam.example' to='kim@contoso.example' type='subscribed'/>",
    );
    let kept: Vec<_> = world.store.values().cloned().collect();
    assert_eq!(kept.len(), 1);
    let mut next = World::of(remembering(kept));
    next.sip(&request("SUBSCRIBE", KIM, "<sip:john@fabrikam.example>", WATCH, ""));
    assert_eq!(attribute(&next.sees(), "type"), "probe", "he is not asked again");
}

#[test]
fn a_pool_that_starts_anew_ends_our_dialogs_and_is_connected_to_again() {
    let mut world = World::new();
    let hi = "<body>Hi</body>";
    world.stanza(&chat("john@fabrikam.example/x", "kim@contoso.example", "m1", hi));
    let invite = world.hears_begin("INVITE ");
    world.lose(invite.leg);
    assert!(world.sees().contains("remote-server-timeout"), "it may have been delivered");
    world.stanza(&chat("john@fabrikam.example/x", "kim@contoso.example", "m2", hi));
    let again = world.hears_begin("INVITE ");
    assert_ne!(again.leg, invite.leg);
}
