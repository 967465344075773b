//! What discovered partners and single users may do: sections 5.2, 5.3, 5.5, 6.1 and 6.7 of our
//! notes on the product's documents.

use entente::policy::scores::{Addressed, Outcome, Parties, Scores, Toll};
use entente::policy::users::{
    AccessPolicy, Directory, DirectoryBuilder, Gate, Home, Marks, MarksCount, Role,
};
use entente::policy::{Limits, Outgoing};
use entente::time::Now;

const GATES: [Gate; 5] =
    [Gate::Federation, Gate::Xmpp, Gate::PublicIm, Gate::PublicAv, Gate::Outside];

fn at_s(seconds: u64) -> Now {
    Now::default().plus_ms(seconds * 1_000)
}

fn partner(scores: &Scores) -> Parties<'static> {
    let domain = b"tailspin.example";
    let domain_key = scores.domain_key(domain);
    Parties { domain, listed: false, domain_key, certificate: 7, host: "sip.tailspin.example" }
}

#[test]
fn s5_3_the_numbers_are_those_of_the_product() {
    let limits = Limits::default();
    assert_eq!((limits.messages_per_s, limits.suspicious_per_s, limits.users), (20, 1, 1_000));
    assert!(Outgoing::default().mark_verifiable, "6.1: MarkSourceVerifiableOnOutgoingMessages");
    assert_eq!(Outgoing::default().archiving_notice, None, "6.1: EnableArchivingDisclaimer");
    assert!(!Outgoing::default().hide_topology, "Via and Record-Route pass, as they do there");
}

#[test]
fn s5_3_names_contacted_already_continue_and_additional_ones_are_blocked() {
    let scores = Scores::new([1, 2]);
    let (who, limits) = (partner(&scores), Limits::default());
    let address = |number: usize| {
        let user = format!("user{number}");
        scores.address(at_s(1), &who, user.as_bytes(), b"contoso.example", &limits)
    };
    assert!((0..1_000).all(|number| address(number) == Addressed::Admitted));
    assert!(matches!(address(1_000), Addressed::TooMany { .. }));
    assert!((0..1_000).all(|number| address(number) == Addressed::Admitted));
}

#[test]
fn s5_3_failures_lower_the_rate_to_one_a_second() {
    let scores = Scores::new([1, 2]);
    let limits = Limits { hold_ms: 0, ..Limits::default() };
    let who = partner(&scores);
    let passes = |now| scores.charge(now, &who, &limits).0 == Toll::Paid;
    assert_eq!((0..100).filter(|_| passes(at_s(1))).count(), 20);
    for place in 0..40 {
        let outcome = if place % 2 == 0 { Outcome::Failed } else { Outcome::Reached };
        scores.answered(at_s(1), who.domain_key, who.certificate, outcome);
    }
    let passed = (10..20).filter(|second| passes(at_s(*second)) && !passes(at_s(*second)));
    assert_eq!(passed.count(), 10);
}

/// Every way to open and close the gates, told apart by five bits.
pub(crate) fn policy(name: &str, open: usize) -> AccessPolicy {
    let bit = |place: usize| open >> place & 1 == 1;
    AccessPolicy {
        name: name.to_owned(),
        federation: bit(0),
        xmpp: bit(1),
        public_im: bit(2),
        public_av: bit(3),
        outside: bit(4),
    }
}

/// Reads sections 5.5 and 6.7 once more, as simply as they are written.
fn naive(open: usize, gate: Gate, home: Home) -> bool {
    let bit = |place: usize| open >> place & 1 == 1;
    match gate {
        Gate::Federation => bit(0),
        Gate::Xmpp => bit(0) && bit(1) && home == Home::Pool,
        Gate::PublicIm => bit(2),
        Gate::PublicAv => bit(2) && bit(3),
        Gate::Outside => bit(4),
    }
}

fn judge(directory: &Directory, gate: Gate) -> bool {
    let (user, host) = (b"kim", b"contoso.example");
    directory.judge(user, host, gate, Role::Sender, Marks::default()).is_ok()
}

#[test]
fn s5_5_the_users_policy_wins_over_the_sites_over_the_global_one() {
    // What is open in each policy, whether there is one for the site, and one for the user.
    for round in 0..32_usize {
        let [global, site, user] = [round, round.wrapping_mul(7) + 3, round.wrapping_mul(13) + 5];
        let opens = [global % 32, site % 32, user % 32];
        for (with_site, with_user) in [(false, false), (true, false), (false, true), (true, true)] {
            for home in [Home::Pool, Home::BranchAppliance] {
                let mut policies = vec![policy("global", opens[0]), policy("own", opens[2])];
                if with_site {
                    policies.push(policy("site:redmond", opens[1]));
                }
                let mut builder = DirectoryBuilder::new([1, 2], policies, MarksCount::Decide, 1);
                let granted = if with_user { "own" } else { "" };
                builder.add("kim", "contoso.example", "redmond", granted, home).unwrap();
                let directory = builder.finish();
                let winner = match (with_user, with_site) {
                    (true, _) => opens[2],
                    (false, true) => opens[1],
                    (false, false) => opens[0],
                };
                for gate in GATES {
                    assert_eq!(
                        judge(&directory, gate),
                        naive(winner, gate, home),
                        "{opens:?} {with_site} {with_user} {home:?} {gate:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn s6_7_a_policy_that_says_nothing_opens_nothing() {
    let nothing = AccessPolicy { name: "global".to_owned(), ..AccessPolicy::default() };
    let directory = DirectoryBuilder::new([1, 2], vec![nothing], MarksCount::Decide, 0).finish();
    assert!(GATES.iter().all(|gate| !judge(&directory, *gate)));
}

#[test]
fn s12_2_each_closed_gate_has_its_number() {
    for (open, gate, number) in [
        (0b00100, Gate::Federation, 1002),
        (0b00001, Gate::Xmpp, 1002),
        (0b00001, Gate::PublicIm, 1001),
        (0b00101, Gate::PublicAv, 1001),
        (0b00101, Gate::Outside, 4003),
        (0b10000, Gate::Federation, 1012),
    ] {
        let policies = vec![policy("global", open)];
        let directory = DirectoryBuilder::new([1, 2], policies, MarksCount::Decide, 0).finish();
        let (user, host) = (b"kim", b"contoso.example");
        let closed = directory.judge(user, host, gate, Role::Sender, Marks::default());
        let closed = closed.expect_err("the gate is closed");
        assert_eq!((closed.status(), closed.diagnostics()), (403, number), "{gate:?}");
    }
}
