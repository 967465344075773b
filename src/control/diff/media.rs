//! What a reload changes for the A/V Edge in files that the configuration names: the edges of the
//! pool, and secrets, whose values nobody is told.

use std::collections::BTreeMap;

use crate::config::{Config, PoolEdge, pool};
use crate::dns::Domain;

/// Tells which edges relay for the pool, and by what, and that secrets change.
pub(super) fn files(old: &Config, new: &Config, sentences: &mut Vec<String>) {
    let (before, after) = (edges(old), edges(new));
    for (name, edge) in &after {
        match before.get(name) {
            None => sentences.push(format!("{name} relays for the pool, {}", relays(edge))),
            Some(held) if held != edge => sentences.push(format!(
                "{name} relays for the pool {}, was {}",
                relays(edge),
                relays(held)
            )),
            Some(_) => {}
        }
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        sentences.push(format!("{name} relays for the pool no more"));
    }
    let secrets = [
        (old.av_secrets != new.av_secrets, "those of time-limited credentials"),
        (
            old.credentials_secrets != new.credentials_secrets,
            "those that credentials of the A/V Edge are made from",
        ),
    ];
    for (_, which) in secrets.iter().filter(|(changed, _)| *changed) {
        sentences.push(format!("secrets change: {which}"));
    }
}

fn edges(config: &Config) -> BTreeMap<&Domain, &PoolEdge> {
    let edges = config.pool.iter().flat_map(|pool| &pool.edges);
    edges.map(|edge| (&edge.name, edge)).collect()
}

fn relays(edge: &PoolEdge) -> String {
    let listed = |addresses: Vec<String>| addresses.join(", ");
    let relayed = listed(edge.relayed.iter().map(ToString::to_string).collect());
    let mut told = format!("at {} of {relayed}", pool::written(&edge.ports));
    if !edge.listeners.is_empty() {
        let listeners = listed(edge.listeners.iter().map(ToString::to_string).collect());
        told.push_str(&format!(" with clients at {listeners}"));
    }
    told
}
