//! XEP-0368: SRV records for XMPP over TLS.

use entente::dns::{Answer, Domain, Question, Target, order};

fn target(host: &str, priority: u16, weight: u16, direct_tls: bool) -> Target {
    Target {
        fqdn: Domain::parse(host.as_bytes()).expect("a domain"),
        port: if direct_tls { 5270 } else { 5269 },
        priority,
        weight,
        addresses: vec!["192.0.2.50".parse().expect("an address")],
        direct_tls,
    }
}

fn answer(targets: Vec<Target>) -> Answer {
    let question = Question::Xmpp(Domain::parse(b"partner.example").expect("a domain"));
    Answer { question, outcome: Ok(targets), ttl_s: 60 }
}

/// Records of `_xmpp-server` and `_xmpps-server` are one list, whatever they begin with.
#[test]
fn s3_both_kinds_of_record_are_ordered_together_by_priority() {
    let answer = answer(vec![
        target("c.partner.example", 30, 0, true),
        target("a.partner.example", 10, 0, false),
        target("d.partner.example", 40, 0, false),
        target("b.partner.example", 20, 0, true),
    ]);
    assert_eq!(order(&answer, &mut || 7), [1, 3, 0, 2]);
}

#[test]
fn s3_of_one_priority_the_weights_of_both_kinds_decide() {
    let answer = answer(vec![
        target("clear.partner.example", 10, 1, false),
        target("tls.partner.example", 10, 99, true),
    ]);
    let mut seed = 1_u64;
    let mut first = [0; 2];
    for _ in 0..1_000 {
        let order = order(&answer, &mut || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        });
        assert_eq!(order.len(), 2, "the other one is tried too");
        first[order[0]] += 1;
    }
    assert!(first[1] > 900 && first[0] > 0, "{first:?}");
}
