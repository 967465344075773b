//! Requests that are refused, in numbers (DESIGN 6.5, rate of the leg).

use super::world::{World, header, request, respond, status};
use crate::edge::{CloseReason, LegId};
use crate::limits;

const JOHN: &str = "john@fabrikam.example";
const KIM: &str = "kim@contoso.example";
/// A domain that no leg of these tests speaks for.
const STRANGER: &str = "a@litware.example";

const ALLOWED: usize = limits::REFUSALS_PER_LEG_MAX as usize;

/// Sends `many` requests that are refused; returns the statuses of the answers.
fn refused(world: &mut World, leg: LegId, many: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for number in 0..many {
        world.send(leg, &request("MESSAGE", STRANGER, KIM, &format!("r{number}")));
        let answer = world.read(leg);
        if !answer.is_empty() {
            statuses.push(status(&answer));
        }
    }
    statuses
}

#[test]
fn s6_5_a_leg_on_which_nothing_was_ever_permitted_is_closed_for_its_refusals() {
    let mut world = World::new();
    let (good, pool) = world.fabrikam();
    for hostile in [world.partner("sip.litware.example"), world.user()] {
        let told = world.notes.len();
        assert_eq!(refused(&mut world, hostile, ALLOWED), vec![403; ALLOWED]);
        assert_eq!(world.endings, []);
        assert_eq!(world.notes.len() - told, ALLOWED);
        assert_eq!(refused(&mut world, hostile, 50), Vec::<u16>::new());
        assert_eq!(std::mem::take(&mut world.endings), [(hostile, CloseReason::Abuse)]);
        assert_eq!(world.notes.len() - told, ALLOWED + 1, "and the log is told once");
        let last = &world.notes.last().expect("a note").sentence;
        assert!(last.starts_with("closing the connection: more requests are refused"), "{last}");
    }
    assert_eq!(world.access.counters().refused_without_reasons, 100);
    world.send(good, &request("MESSAGE", JOHN, KIM, "proof"));
    assert!(world.read(pool).starts_with("MESSAGE "), "others are unharmed");
}

#[test]
fn s6_5_a_leg_that_others_use_rightly_gets_bare_answers_to_what_is_refused() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    assert_eq!(refused(&mut world, partner, ALLOWED), vec![403; ALLOWED]);
    let told = world.notes.len();
    assert_eq!(refused(&mut world, partner, 50), vec![480; 50]);
    assert_eq!(world.notes.len(), told + 1);
    assert_eq!(world.endings, []);
    world.send(partner, &request("MESSAGE", STRANGER, KIM, "bare"));
    let answer = world.read(partner);
    assert_eq!(header(&answer, "Retry-After"), Some("5"), "{answer}");
    assert_eq!(header(&answer, "ms-diagnostics-public"), None);
    world.send(partner, &request("MESSAGE", JOHN, KIM, "proof"));
    let forwarded = world.read(pool);
    world.send(pool, respond(&forwarded, 200).as_bytes());
    assert_eq!(status(&world.read(partner)), 200);
    world.pass(1_000);
    let again = limits::REFUSALS_PER_LEG_PER_S as usize;
    let statuses = refused(&mut world, partner, again + 1);
    assert_eq!(statuses[..again], vec![403; again]);
    assert_eq!(statuses[again], 480);
}

#[test]
fn s6_5_the_inside_is_told_every_reason() {
    let mut world = World::new();
    let pool = world.pool();
    for number in 0..2 * ALLOWED {
        world.send(pool, &request("MESSAGE", KIM, STRANGER, &format!("r{number}")));
        assert_eq!(status(&world.read(pool)), 403);
    }
    assert_eq!(world.access.counters().refused_without_reasons, 0);
}

#[test]
fn s6_5_acks_that_go_nowhere_fill_no_log() {
    let mut world = World::new();
    let (partner, _) = world.fabrikam();
    let told = world.notes.len();
    for number in 0..2 * ALLOWED {
        world.send(partner, &request("ACK", STRANGER, KIM, &format!("r{number}")));
    }
    assert_eq!(world.read(partner), "");
    assert_eq!(world.notes.len() - told, ALLOWED + 1);
    assert_eq!(world.access.counters().acks_dropped, 2 * limits::REFUSALS_PER_LEG_MAX as u64);
}
