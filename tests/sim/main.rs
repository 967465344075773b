//! A whole federation below TLS, driven by one seed.
//!
//! Two organisations, each with an edge of several shards and a pool behind it, and a stranger whom
//! both block. Connections deliver late, in pieces, stall or break; name servers and targets fail;
//! shards get a new policy at different moments; mail between shards is late or lost where it may
//! be. What the pools see is judged by [`oracle`].
//!
//! `SEEDS=n` runs that many seeds (200 by default), `SEED=n` just one and prints its trace.

mod clock;
mod forged;
mod hostile;
mod network;
mod oracle;
mod organisation;
mod pool;
mod world;

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
}
