//! The pool's file: which edges relay for the organisation, and by what. It is the same on every
//! edge, so each finds itself in it by its name.
//!
//! ```toml
//! [[edge]]
//! name = "edge1.contoso.example"
//! relayed = ["198.51.100.12"]
//! ports = "50000-54999"
//! ```

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;

use super::Config;
use super::document::{self, repeated};
use super::report::{Code, Problem, Report, Source};
use super::schema::{PoolEdge, sections_of_pool};
use crate::dns::Domain;
use crate::limits;

/// The edges of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Each of them, in the order of the file.
    pub edges: Vec<PoolEdge>,
    /// The text they were read from.
    pub source: Source,
}

impl Pool {
    /// Reads the file at `path`, as the edge that `config` is of.
    ///
    /// # Errors
    /// [`Report`]: everything that is wrong with it, as far as one reading shows; also what of it
    /// cannot hold beside `config`.
    pub fn load(path: &Path, config: &Config) -> Result<Self, Report> {
        let text = std::fs::read_to_string(path).map_err(|why| Report::unreadable(path, &why))?;
        Self::parse(path, &text, config)
    }

    /// Reads `text` as what [`Self::load`] would find at `path`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(path: &Path, text: &str, config: &Config) -> Result<Self, Report> {
        let (edges, source) = document::read(path, text, &sections_of_pool(), |context, root| {
            repeated::<PoolEdge>(context, root)
        })?;
        let pool = Self { edges, source };
        let problems = Finder { pool: &pool, problems: Vec::new() }.all(config);
        if problems.is_empty() { Ok(pool) } else { Err(Report::new(pool.source, problems)) }
    }

    /// Returns the edges beside that of `config`.
    pub fn others<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = &'a PoolEdge> {
        self.edges.iter().filter(|edge| edge.name != *config.node())
    }

    /// Returns the place of the edge called `name` in the file's order, and what is said of it.
    #[must_use]
    pub fn edge(&self, name: &Domain) -> Option<(usize, &PoolEdge)> {
        self.edges.iter().enumerate().find(|(_, edge)| edge.name == *name)
    }
}

/// Joins ranges of ports, in the order of their first ports, that meet or overlap.
#[must_use]
pub fn runs(ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> Vec<RangeInclusive<u16>> {
    let mut runs: Vec<RangeInclusive<u16>> = Vec::new();
    for range in ranges {
        match runs.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*range.end().max(last.end());
            }
            _ => runs.push(range),
        }
    }
    runs
}

/// Returns ranges of ports as the file has them.
#[must_use]
pub fn written(ranges: &[RangeInclusive<u16>]) -> String {
    let range = |ports: &RangeInclusive<u16>| match (ports.start(), ports.end()) {
        (low, high) if low == high => low.to_string(),
        (low, high) => format!("{low}-{high}"),
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(", ")
}

/// Finds what cannot hold together.
struct Finder<'a> {
    pool: &'a Pool,
    problems: Vec<Problem>,
}

impl Finder<'_> {
    fn all(mut self, config: &Config) -> Vec<Problem> {
        let edges = &self.pool.edges;
        if edges.is_empty() || edges.len() > limits::POOL_EDGES_MAX {
            let most = limits::POOL_EDGES_MAX;
            let message = format!("the file of the pool lists {} edges", edges.len());
            let problem = Problem::new(Code::OutOfRange, None, message, "");
            let help = format!("each edge of the pool is an [[edge]]; expected 1 to {most}");
            self.problems.push(problem.help(help));
        }
        for (place, edge) in edges.iter().enumerate() {
            self.names(place, edge);
            self.addresses(place, edge);
            if edge.name != *config.node() {
                self.of_this_edge(place, edge, config);
            }
        }
        self.problems
    }

    fn at(&mut self, key: &str, message: String, label: &str) -> &mut Problem {
        let span = self.pool.source.place(key);
        let place = self.problems.len();
        self.problems.push(Problem::new(Code::Contradiction, span, message, label));
        &mut self.problems[place]
    }

    fn names(&mut self, place: usize, edge: &PoolEdge) {
        let first = self.pool.edges[..place].iter().position(|other| other.name == edge.name);
        if let Some(first) = first {
            let beside = self.pool.source.place(&format!("edge[{first}].name"));
            let message = format!("the edge {} is listed twice", edge.name);
            let problem = self.at(&format!("edge[{place}].name"), message, "listed again here");
            problem.context = beside.map(|span| (span, "listed here first".to_owned()));
        }
    }

    fn addresses(&mut self, place: usize, edge: &PoolEdge) {
        if edge.relayed.is_empty() {
            let key = format!("edge[{place}].relayed");
            let message = format!("{} has no address to relay by", edge.name);
            self.at(&key, message, "expected one address at least");
        }
        for (number, ip) in edge.relayed.iter().enumerate() {
            let key = format!("edge[{place}].relayed[{number}]");
            if ip.is_unspecified() {
                self.at(&key, format!("{ip} stands for every address"), "expected one address");
            }
            let before = self.relayed_before(place, number);
            let same =
                before.into_iter().find(|(_, known)| known.to_canonical() == ip.to_canonical());
            if let Some((first, _)) = same {
                let beside = self.pool.source.place(&first);
                let message = format!("{ip} is a relayed address twice");
                let problem = self.at(&key, message, "given again here");
                problem.context = beside.map(|span| (span, "given here first".to_owned()));
                problem.help = Some("each relayed address is one edge's alone".to_owned());
            }
        }
        for (number, listener) in edge.listeners.iter().enumerate() {
            let relayed = edge.relayed.contains(&listener.ip())
                && edge.ports.iter().any(|ports| ports.contains(&listener.port()));
            if relayed {
                let key = format!("edge[{place}].listeners[{number}]");
                self.at(&key, format!("{listener} is a relayed port too"), "taken");
            }
        }
    }

    /// Returns the relayed addresses that stand before one, with their keys.
    fn relayed_before(&self, place: usize, number: usize) -> Vec<(String, IpAddr)> {
        let edges = self.pool.edges.iter().enumerate().take(place + 1);
        let all = edges.flat_map(|(of, edge)| {
            let most = if of == place { number } else { edge.relayed.len() };
            let addresses = edge.relayed.iter().enumerate().take(most);
            addresses.map(move |(at, ip)| (format!("edge[{of}].relayed[{at}]"), *ip))
        });
        all.collect()
    }

    /// What is this edge's own cannot be another one's.
    fn of_this_edge(&mut self, place: usize, edge: &PoolEdge, config: &Config) {
        let own = config.av.relayed.iter().chain(&config.av.relayed_public);
        for (number, ip) in edge.relayed.iter().enumerate() {
            if own.clone().any(|own| own.to_canonical() == ip.to_canonical()) {
                let node = config.node();
                let message = format!("{ip} is a relayed address of this edge, which is {node}");
                let key = format!("edge[{place}].relayed[{number}]");
                let problem = self.at(&key, message, "said of another edge");
                let help = format!("name it {node} here, or set edge.node to {}", edge.name);
                problem.help = Some(help);
            }
        }
    }
}

#[cfg(test)]
mod tests;
