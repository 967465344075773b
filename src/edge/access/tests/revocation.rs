//! What is known of a peer's revocation may change while its leg is open.

use std::sync::Arc;

use super::world::{World, names, request, rules, status};
use crate::edge::LegId;
use crate::policy::{PeerNames, Revocation, RevocationState};

const JOHN: &str = "john@fabrikam.example";
const KIM: &str = "kim@contoso.example";

fn judged(world: &mut World, leg: LegId, revocation: RevocationState) {
    let peer = names("sip.fabrikam.example");
    world.judged(leg, Arc::new(PeerNames { revocation, ..PeerNames::clone(&peer) }));
}

#[test]
fn a_partner_under_hard_passes_while_it_is_known_to_be_good_on_the_same_leg() {
    let mut hard = rules();
    for partner in &mut hard.partners {
        partner.revocation = Revocation::Hard;
    }
    let mut world = World::with(hard);
    let partner = world.partner("sip.fabrikam.example");
    let ask = |world: &mut World, id: &str| {
        world.send(partner, &request("MESSAGE", JOHN, KIM, id));
        if !world.questions.is_empty() {
            world.resolve("sip.fabrikam.example");
        }
        world.read(partner)
    };
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
