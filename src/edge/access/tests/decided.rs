//! Decisions that explain themselves: one number in the answer, the log and the decision log, and
//! the epoch beside it.

use std::sync::Arc;

use super::world::{World, domain, header, request, request_with, rules, setup, snapshot, status};
use crate::dns::Question;
use crate::edge::access::{Access, Setup};
use crate::edge::{RefusedBy, Said, Severity};
use crate::policy::users::{AccessPolicy, DirectoryBuilder, MarksCount};
use crate::policy::{Decision, Direction, Listed, Snapshot, Telling, compile};

const EVE: &str = "eve@litware.example";
const JOHN: &str = "john@fabrikam.example";
const KIM: &str = "kim@contoso.example";
const EVERYTHING: Telling = Telling { permits: true, verdicts: true };

fn telling(epoch: u64) -> Snapshot {
    compile(rules(), epoch).expect("no contradiction").with_telling(EVERYTHING)
}

/// Returns the number that an answer carries.
fn number(answer: &str) -> u64 {
    let (_, rest) = answer.split_once("decision=").expect("every refusal has its number");
    let digits: String = rest.trim_start_matches('"').chars().take(16).collect();
    u64::from_str_radix(&digits, 16).expect("sixteen digits")
}

#[test]
fn a_refusal_has_one_number_in_the_answer_the_log_and_the_decision_log() {
    let mut world = World::new();
    world.publish(telling(2));
    let partner = world.partner("sip.litware.example");
    world.send(partner, &request("MESSAGE", EVE, KIM, "m1"));
    let refused = number(&world.read(partner));
    let note = world.notes.last().unwrap();
    assert_eq!((note.decision_id, note.epoch), (refused, 2), "{}", note.sentence);
    let [decided] = world.decided.as_slice() else { panic!("{:?}", world.decided) };
    assert_eq!((decided.decision_id, decided.epoch), (refused, 2));
    assert_eq!(decided.direction, Direction::Inbound);
    assert_eq!(decided.from, domain("litware.example"));
    assert_eq!(decided.to, Some(domain("contoso.example")));
    let names = &decided.peer.as_ref().unwrap().dns_names;
    assert_eq!(names[0].as_str(), "sip.litware.example");
    assert!(matches!(&decided.said, Said::Verdict(Decision::Refuse(_))));
    world.send(partner, &request("MESSAGE", EVE, KIM, "m2"));
    assert_ne!(number(&world.read(partner)), refused, "every refusal has its own");
    assert_eq!(world.decided.len(), 1, "the verdict is an old one");
}

#[test]
fn a_permit_has_its_number_in_the_debug_note_and_the_decision_log_and_names_what_dns_said() {
    let mut world = World::new();
    world.publish(telling(2));
    let (partner, pool) = world.fabrikam();
    let [decided] = world.decided.as_slice() else { panic!("{:?}", world.decided) };
    let note = world.notes.iter().find(|note| note.severity == Severity::Debug).unwrap();
    assert_eq!((note.decision_id, note.epoch), (decided.decision_id, 2));
    let expected = "MESSAGE forwarded, partner to inside: allowed partner domain \
                    fabrikam.example (partner[0])";
    assert_eq!(note.sentence, expected);
    assert!(matches!(&decided.said, Said::Verdict(Decision::Permit(_))));
    let questions: Vec<_> = decided.answers.iter().map(|answer| &answer.question).collect();
    assert_eq!(questions, [&Question::Federation(domain("fabrikam.example"))]);
    let notes = world.notes.len();
    world.send(partner, &request("MESSAGE", JOHN, KIM, "m1"));
    assert!(world.read(pool).starts_with("MESSAGE "));
    assert_eq!((world.notes.len() - notes, world.decided.len()), (1, 1));
    // A new policy reaches its verdicts anew.
    world.publish(telling(3));
    world.send(partner, &request("MESSAGE", JOHN, KIM, "m2"));
    let epochs: Vec<u64> = world.decided.iter().map(|decided| decided.epoch).collect();
    assert_eq!(epochs, [2, 3]);
}

#[test]
fn nothing_but_refusals_is_told_where_nobody_asked() {
    let mut world = World::new();
    world.fabrikam();
    assert_eq!((world.decided.len(), world.notes.len()), (0, 0));
}

#[test]
fn an_own_users_request_is_decided_with_what_dns_said_and_no_peer() {
    let mut world = World::new();
    world.publish(telling(2));
    let pool = world.pool();
    world.send(pool, &request("MESSAGE", KIM, JOHN, "m1"));
    assert_eq!(world.decided.len(), 0, "it waits for DNS");
    world.resolve("sip.fabrikam.example");
    let [decided] = world.decided.as_slice() else { panic!("{:?}", world.decided) };
    assert_eq!((decided.direction, decided.answers.len()), (Direction::Outbound, 1));
    assert!(decided.peer.is_none());
}

#[test]
fn a_remote_users_decision_is_told_once_for_a_pair_of_domains() {
    let mut world = World::new();
    world.publish(telling(2));
    let user = world.user();
    for id in ["m1", "m2"] {
        world.send(user, &request("MESSAGE", KIM, JOHN, id));
    }
    world.send(user, &request("MESSAGE", EVE, JOHN, "m3"));
    let refused = number(&world.read(user));
    let told: Vec<_> = world.decided.iter().map(|d| (d.direction, d.from.as_str())).collect();
    let user = Direction::RemoteUser;
    assert_eq!(told, [(user, "contoso.example"), (user, "litware.example")]);
    assert_eq!(world.decided[1].decision_id, refused);
}

#[test]
fn a_users_policy_is_told_as_such_and_names_no_user() {
    let mut world = World::new();
    let closed = AccessPolicy { name: "global".to_owned(), ..AccessPolicy::default() };
    let directory = DirectoryBuilder::new([1, 2], vec![closed], MarksCount::Decide, 0).finish();
    world.publish(telling(2).with_directory(Arc::new(directory)));
    let partner = world.partner("sip.fabrikam.example");
    world.send(partner, &request("MESSAGE", JOHN, KIM, "m1"));
    world.resolve("sip.fabrikam.example");
    let refused = number(&world.read(partner));
    world.send(partner, &request("MESSAGE", JOHN, "sue@contoso.example", "m2"));
    let [verdict, decided] = world.decided.as_slice() else { panic!("{:?}", world.decided) };
    assert!(matches!(verdict.said, Said::Verdict(Decision::Permit(_))));
    assert_eq!(decided.decision_id, refused);
    let Said::Refused { by, status, diagnostics, sentence } = &decided.said else {
        panic!("{decided:?}")
    };
    assert_eq!((*by, *status, *diagnostics), (RefusedBy::User, 403, 1002));
    assert!(!sentence.contains("kim"), "{sentence}");
}

#[test]
fn a_connection_of_another_kind_is_told_as_such() {
    let mut both = rules();
    // One edge that is stated for one domain and found by SRV for another.
    both.partners[1].kind =
        Listed::AllowedServer { edge: domain("sip.fabrikam.example"), port: 5061 };
    let mut world = World::new();
    let compiled = compile(both, 2).expect("no contradiction");
    world.publish(compiled.with_telling(EVERYTHING));
    let (partner, _) = world.fabrikam();
    world.send(partner, &request("MESSAGE", "n@northwind.example", KIM, "m1"));
    let answer = world.read(partner);
    assert_eq!(status(&answer), 403, "{answer}");
    let decided = world.decided.last().unwrap();
    let Said::Refused { by, diagnostics, .. } = decided.said else { panic!("{decided:?}") };
    assert_eq!((by, diagnostics), (RefusedBy::Connection, 1016));
    assert_eq!(decided.decision_id, number(&answer));
}

#[test]
fn s20_43_a_refusal_without_an_error_id_has_its_number_in_a_warning() {
    let mut world = World::new();
    let partner = world.partner("sip.fabrikam.example");
    let text = String::from_utf8(request("MESSAGE", JOHN, KIM, "m1")).unwrap();
    world.send(partner, text.replace("Max-Forwards: 70", "Max-Forwards: 0").as_bytes());
    let answer = world.read(partner);
    assert_eq!(status(&answer), 483);
    let warning = header(&answer, "Warning").unwrap();
    assert!(warning.starts_with("399 sip.contoso.example \"Too Many Hops; decision="), "{warning}");
    assert_eq!(world.notes.last().unwrap().decision_id, number(&answer));
    let pool = world.pool();
    let extended = request_with("MESSAGE", KIM, JOHN, "m2", "Proxy-Require: x\r\n");
    world.send(pool, &extended);
    let answer = world.read(pool);
    let warning = header(&answer, "Warning").unwrap();
    assert!(warning.starts_with("399 lsedge.contoso.example \"Proxy-Require asks"), "{warning}");
}

#[test]
fn a_shadow_finding_has_the_number_of_the_decision_it_differs_from() {
    let mut world = World::new();
    let mut candidate = rules();
    candidate.blocked.clear();
    world.publish(telling(2).shadowed_by(Some(snapshot(candidate, 2))));
    let partner = world.partner("sip.litware.example");
    world.send(partner, &request("MESSAGE", EVE, KIM, "m1"));
    let refused = number(&world.read(partner));
    world.pass(2_000);
    let finding = world.notes.last().unwrap();
    assert!(finding.sentence.contains("the candidate policy would"), "{}", finding.sentence);
    assert_eq!((finding.decision_id, finding.epoch), (refused, 2));
}

#[test]
fn numbers_of_two_processes_differ() {
    let mut world = World::new();
    let mut other = World::new();
    let own = Setup { process_key: [3, 4], ..setup() };
    other.access = Access::new(own, snapshot(rules(), 1));
    let first = |world: &mut World| {
        let partner = world.partner("sip.litware.example");
        world.send(partner, &request("MESSAGE", EVE, KIM, "m1"));
        number(&world.read(partner))
    };
    assert_ne!(first(&mut world), first(&mut other));
}
