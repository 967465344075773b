use super::super::fixture::{Answers, UNTIL, domain, peer, rules};
use super::super::{Inbound, PartnerRule, RefusalRule, Snapshot, compile};
use super::*;

const KEY: [u64; 2] = [11, 12];

fn permitting(epoch: u64) -> Snapshot {
    let edge = domain("sip.fabrikam.example");
    let rule = PartnerRule::allowed_server(domain("fabrikam.example"), edge, 5061);
    compile(rules(vec![rule]), epoch).expect("no contradiction")
}

fn decide(snapshot: &Snapshot, from: &Domain) -> Decision {
    let (peer, to) = (peer(&["sip.fabrikam.example"]), domain("contoso.example"));
    let q = Inbound { peer: &peer, from, to: &to };
    snapshot.inbound(Now::default(), &q, &Answers::default())
}

fn key(cache: &VerdictCache, from: &Domain) -> VerdictKey {
    let peer = peer(&["sip.fabrikam.example"]);
    cache.key(Direction::Inbound, Some(&peer), from, Some(&domain("contoso.example")))
}

#[test]
fn a_permit_is_remembered_until_the_epoch_ends() {
    let (mut cache, from) = (VerdictCache::new(KEY), domain("fabrikam.example"));
    let (now, key) = (Now::default(), key(&cache, &from));
    assert!(cache.get(now, 7, key).is_none());
    cache.put(now, key, &decide(&permitting(7), &from));
    let Some(Verdict::Permit(permit)) = cache.get(now, 7, key) else { panic!("forgotten") };
    assert_eq!(permit.epoch(), 7);
    assert!(cache.get(now, 8, key).is_none());
    cache.put(now, key, &decide(&permitting(8), &from));
    assert!(cache.get(now, 8, key).is_some());
}

#[test]
fn a_verdict_ends_with_the_answer_it_rests_on() {
    let (mut cache, from) = (VerdictCache::new(KEY), domain("fabrikam.example"));
    let key = key(&cache, &from);
    let Decision::Permit(mut permit) = decide(&permitting(7), &from) else { panic!("refused") };
    permit.valid_until = UNTIL;
    cache.put(Now::default(), key, &Decision::Permit(permit));
    let before = Now { monotonic: Monotonic(UNTIL.0 - 1), unix_s: 0 };
    let at = Now { monotonic: UNTIL, unix_s: 0 };
    assert!(cache.get(before, 7, key).is_some());
    assert!(cache.get(at, 7, key).is_none());
}

#[test]
fn a_refusal_is_remembered_and_a_question_is_not() {
    let mut cache = VerdictCache::new(KEY);
    let (now, from) = (Now::default(), domain("litware.example"));
    let key = key(&cache, &from);
    cache.put(now, key, &decide(&permitting(7), &from));
    let Some(Verdict::Refuse(refusal)) = cache.get(now, 7, key) else { panic!("forgotten") };
    assert_eq!(refusal.rule(), RefusalRule::Blocked);
    let other = cache.key(Direction::Outbound, None, &from, None);
    cache.put(now, other, &Decision::Ask(crate::dns::Question::Federation(from)));
    assert!(cache.get(now, 7, other).is_none());
}

#[test]
fn a_flood_of_unknown_domains_pushes_no_partner_out() {
    let mut cache = VerdictCache::new(KEY);
    let (now, from) = (Now::default(), domain("fabrikam.example"));
    let (partner, snapshot) = (key(&cache, &from), permitting(7));
    cache.put(now, partner, &decide(&snapshot, &from));
    for i in 0..100_000 {
        let stranger = domain(&format!("d{i}.adatum.example"));
        let key = key(&cache, &stranger);
        cache.put(now, key, &decide(&snapshot, &stranger));
    }
    assert!(matches!(cache.get(now, 7, partner), Some(Verdict::Permit(_))));
}

#[test]
fn a_full_set_forgets_the_oldest_and_keeps_what_was_put_last() {
    let mut table: Table<Refusal> = Table::new(2 * WAYS);
    let from = domain("litware.example");
    let Decision::Refuse(refusal) = decide(&permitting(7), &from) else { panic!("permitted") };
    // All in set 0: the low bit is zero.
    let keys: Vec<VerdictKey> = (1..=6).map(|i| VerdictKey(i << 1)).collect();
    for key in &keys {
        table.put(Now::default(), *key, refusal.clone());
    }
    let held: Vec<bool> =
        keys.iter().map(|key| table.get(Now::default(), 7, *key).is_some()).collect();
    assert_eq!(held, [false, false, true, true, true, true]);
}

#[test]
fn a_verdict_that_has_ended_makes_room_first() {
    let mut table: Table<Refusal> = Table::new(2 * WAYS);
    let from = domain("litware.example");
    let Decision::Refuse(refusal) = decide(&permitting(7), &from) else { panic!("permitted") };
    for i in 1..=4 {
        let valid_until = if i == 3 { Monotonic(5) } else { UNTIL };
        table.put(Now::default(), VerdictKey(i << 1), Refusal { valid_until, ..refusal.clone() });
    }
    let later = Now { monotonic: Monotonic(6), unix_s: 0 };
    table.put(later, VerdictKey(5 << 1), refusal);
    let held = |i: u128| table.get(later, 7, VerdictKey(i << 1)).is_some();
    assert_eq!([held(1), held(2), held(3), held(4), held(5)], [true, true, false, true, true]);
}

#[test]
fn every_part_of_a_question_is_in_its_key() {
    let cache = VerdictCache::new(KEY);
    let (a, b) = (domain("a.example"), domain("b.example"));
    let general = peer(&[]);
    let own = PeerNames { anchors: Anchors::OfPartner(0), ..peer(&[]) };
    let other = PeerNames { anchors: Anchors::OfPartner(1), ..peer(&[]) };
    let known = PeerNames { revocation: RevocationState::Good, ..peer(&[]) };
    let renewed = PeerNames { fingerprint: [0x5b; 32], ..peer(&[]) };
    let mut keys = vec![
        cache.key(Direction::Inbound, Some(&general), &a, Some(&b)),
        cache.key(Direction::Inbound, Some(&general), &b, Some(&a)),
        cache.key(Direction::Inbound, Some(&own), &a, Some(&b)),
        cache.key(Direction::Inbound, Some(&other), &a, Some(&b)),
        cache.key(Direction::Inbound, Some(&renewed), &a, Some(&b)),
        cache.key(Direction::Inbound, Some(&known), &a, Some(&b)),
        cache.key(Direction::Inbound, None, &a, Some(&b)),
        cache.key(Direction::Outbound, None, &a, Some(&b)),
        cache.key(Direction::RemoteUser, None, &a, Some(&b)),
        cache.key(Direction::RemoteUser, None, &a, None),
        VerdictCache::new([11, 13]).key(Direction::RemoteUser, None, &a, None),
    ];
    let asked = keys.len();
    keys.sort_by_key(|key| key.0);
    keys.dedup();
    assert_eq!(keys.len(), asked);
}
