//! What is known of a peer's revocation may change while its leg is open.

use std::sync::Arc;

use super::world::{World, names, request, rules, status};
use crate::edge::LegId;
use crate::policy::{PeerNames, Revocation, RevocationState, Rules};

const JOHN: &str = "john@fabrikam.example";
const KIM: &str = "kim@contoso.example";

fn judged(world: &mut World, leg: LegId, revocation: RevocationState) {
    let peer = names("sip.fabrikam.example");
    world.judged(leg, Arc::new(PeerNames { revocation, ..PeerNames::clone(&peer) }));
}

fn under(demand: Revocation) -> Rules {
    let mut rules = rules();
    for partner in &mut rules.partners {
        partner.revocation = demand;
    }
    rules
}

/// Sends a MESSAGE by `leg` and answers what is asked of DNS; returns what comes back.
fn ask(world: &mut World, leg: LegId, id: &str) -> String {
    world.send(leg, &request("MESSAGE", JOHN, KIM, id));
    if !world.questions.is_empty() {
        world.resolve("sip.fabrikam.example");
    }
    world.read(leg)
}

#[test]
fn the_shard_is_told_once_in_each_epoch_of_a_partner_whose_revocation_matters() {
    for demand in [Revocation::Off, Revocation::Soft, Revocation::Hard] {
        let mut world = World::with(under(demand));
        let named = |world: &mut World| std::mem::take(&mut world.effects.named);
        let stranger = world.partner("sip.tailspin.example");
        assert_ne!(ask(&mut world, stranger, "m0"), "", "it may not speak for them");
        assert_eq!(named(&mut world), [], "{demand:?}: nothing is fetched for strangers");

        let partner = world.partner("sip.fabrikam.example");
        let expected = if demand == Revocation::Off { vec![] } else { vec![partner] };
        ask(&mut world, partner, "m1");
        assert_eq!(named(&mut world), expected, "{demand:?}");
        ask(&mut world, partner, "m2");
        assert_eq!(named(&mut world), []);
        // What is remembered of its certificate names another leg of it too.
        let another = world.partner("sip.fabrikam.example");
        ask(&mut world, another, "m3");
        assert_eq!(named(&mut world).len(), expected.len());
        world.adopt(under(demand), 2);
        ask(&mut world, partner, "m4");
        assert_eq!(named(&mut world), expected, "{demand:?}");
    }
}

#[test]
fn a_partner_under_hard_passes_while_it_is_known_to_be_good_on_the_same_leg() {
    let mut world = World::with(under(Revocation::Hard));
    let partner = world.partner("sip.fabrikam.example");
    let ask = |world: &mut World, id: &str| ask(world, partner, id);
    let answer = ask(&mut world, "m1");
    assert_eq!(status(&answer), 504, "{answer}");
    assert!(answer.contains("ms-diagnostics-public: 1010;"), "{answer}");
    let why = "it is not known whether the certificate of fabrikam.example has been revoked";
    assert!(world.notes.iter().any(|note| note.sentence.contains(why)), "{:?}", world.notes);

    judged(&mut world, partner, RevocationState::Good);
    assert_eq!(ask(&mut world, "m2"), "", "it waits for the pool");
    let pool = world.grant();
    assert!(world.read(pool).starts_with("MESSAGE "));

    judged(&mut world, partner, RevocationState::Unknown);
    assert_eq!(status(&ask(&mut world, "m3")), 504);
    assert_eq!(world.read(pool), "");
}
