//! A whole federation below TLS, driven by one seed.
//!
//! Two organisations, each with an edge of several shards and a pool behind it, and a stranger whom
//! both block. Connections deliver late, in pieces, stall or break; name servers and targets fail;
//! shards get a new policy at different moments; mail between shards is late or lost where it may
//! be. What the pools see is judged by [`oracle`].
//!
//! Beside it, XMPP partners before the whole way of a message ([`xmpp`]), and allocations of the
//! A/V Edge beside a naive model ([`relay`]).
//!
//! `SEEDS=n` runs that many seeds (200 by default), `SEED=n` just one and prints its trace.

mod clock;
mod forged;
mod hostile;
mod network;
mod oracle;
mod organisation;
mod pool;
mod relay;
mod trace;
mod world;
mod xmpp;

use std::sync::Arc;

use entente::policy::Scores;
use entente::time::Now;
use world::{Faults, World};

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(200),
    }
}

/// Runs every seed and reports all that fail, so that one run shows whether it is one fault.
fn judge_all(what: &str, faults: Faults) {
    let range = seeds();
    let trace = range.end - range.start == 1;
    let mut failed = Vec::new();
    let mut requests = 0;
    let scores = Arc::new(Scores::new([1, 2]));
    for seed in range {
        let mut world = World::new(seed, faults, trace, &scores);
        world.run();
        requests += world.oracle.requests();
        if let Err(complaint) = world.judge() {
            failed.push(format!("seed {seed}: {complaint}"));
        }
    }
    assert!(scores.scores(Now::default()).is_empty(), "listed partners have no score");
    assert!(requests > 0, "a simulation without requests shows nothing");
    assert!(failed.is_empty(), "{what}: {} failed\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn without_faults_every_request_ends_as_the_naive_proxy_says() {
    judge_all("no faults", Faults::None);
}

#[test]
fn with_faults_nothing_arrives_twice_nowhere_or_out_of_order() {
    judge_all("faults", Faults::All);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let scores = Arc::new(Scores::new([1, 2]));
    let traces: Vec<String> = (0..2)
        .map(|_| {
            let mut world = World::new(7, Faults::All, false, &scores);
            world.run();
            world.trace()
        })
        .collect();
    assert!(traces[0].len() > 1000, "the trace says something");
    assert_eq!(traces[0], traces[1]);
}

#[test]
fn the_oracle_notices_what_it_is_there_for() {
    oracle::notices_duplicates_strays_and_silence();
    xmpp::notices_silent_losses();
}

/// Runs every seed with XMPP partners, and returns what all came to.
fn judge_xmpp(what: &str, faults: Faults, range: std::ops::Range<u64>) -> xmpp::Totals {
    let trace = range.end - range.start == 1;
    let (mut failed, mut totals) = (Vec::new(), xmpp::Totals::default());
    for seed in range {
        let mut world = xmpp::World::new(seed, faults, trace);
        world.run();
        match world.judge() {
            Ok(found) => totals.sum(found),
            Err(complaint) => failed.push(format!("seed {seed}: {complaint}")),
        }
    }
    assert!(failed.is_empty(), "{what}: {} failed\n{}", failed.len(), failed.join("\n"));
    totals
}

#[test]
fn xmpp_without_faults_every_message_arrives_once_and_is_answered() {
    // Where nothing goes wrong one seed is much like another.
    let all = seeds();
    let some = all.start..all.start + (all.end - all.start).div_ceil(4);
    let totals = judge_xmpp("no faults", Faults::None, some);
    assert!(totals.arrived > 0 && totals.refused == 0 && totals.excused == 0, "{totals:?}");
}

#[test]
fn xmpp_with_faults_no_message_is_lost_unsaid_and_nothing_is_left() {
    let totals = judge_xmpp("faults", Faults::All, seeds());
    assert!(totals.arrived > 2 * totals.excused, "a world too wild to show anything: {totals:?}");
    assert!(totals.given_up * 50 < totals.arrived, "hardly anybody waits in vain: {totals:?}");
    println!("{totals:?}");
}

#[test]
fn xmpp_the_same_seed_gives_the_same_trace() {
    let traces: Vec<String> = (0..2)
        .map(|_| {
            let mut world = xmpp::World::new(7, Faults::All, false);
            world.run();
            world.trace()
        })
        .collect();
    assert!(traces[0].len() > 1000, "the trace says something");
    assert_eq!(traces[0], traces[1]);
}

/// Lets allocations come and go for so long in each of `seeds`, in so many steps.
fn allocations(seeds: std::ops::Range<u64>, hours: u64, steps: u64) {
    let mut told = relay::Told::default();
    for seed in seeds {
        let mut world = relay::World::new(seed);
        let run = std::panic::AssertUnwindSafe(|| {
            let mut count = 0;
            while world.passed_ms() < hours * 3_600_000 {
                world.step();
                world.pause(hours * 3_600_000 * 7 / steps);
                count += 1;
                assert!(count < 10 * steps, "a run is bounded");
            }
            world.ends();
            world.told
        });
        match std::panic::catch_unwind(run) {
            Ok(one) => told.add(one),
            Err(_) => panic!("seed {seed} failed: SEED={seed} shows it alone"),
        }
    }
    let relay::Told { granted, refused, relayed, dropped, ended, .. } = told;
    assert!(granted > 0 && refused > 0 && relayed > 0 && dropped > 0 && ended > 0, "{told:?}");
    let relay::Told { reached, let_in, turned_away, claimed, .. } = told;
    assert!(reached > 0 && let_in > 0 && turned_away > 0 && claimed > 0, "{told:?}");
    println!("{told:?}");
}

#[test]
fn relay_whatever_clients_and_peers_do_it_is_what_the_naive_relay_does() {
    allocations(seeds(), 2, 200);
}

#[test]
fn relay_a_day_of_allocations_leaves_nothing_behind() {
    let seeds = seeds();
    allocations(seeds.start..seeds.end.min(seeds.start + 8), 24, 2_000);
}
