//! What a reload would change, key by key.

use std::collections::BTreeSet;

use super::Config;
use super::schema::{PoolEdge, sections};
use super::section::Reload;

/// A key that two configurations give differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its path, such as `listener[0].address`.
    pub key: String,
    /// When the change takes hold.
    pub reload: Reload,
    /// `file:line` where the new configuration says it.
    pub whereabouts: String,
}

/// Returns the keys that `old` and `new` give differently, in the order of their paths.
///
/// Values are compared as they are written; lists by their whole text.
#[must_use]
pub fn difference(old: &Config, new: &Config) -> Vec<Change> {
    let sections = sections();
    let paths: BTreeSet<&String> =
        old.source.places.keys().chain(new.source.places.keys()).collect();
    let lines = Lines::of(new);
    let mut changes = Vec::new();
    for path in paths {
        let Some((section, name)) = path.split_once('.') else { continue };
        let section = section.split('[').next().unwrap_or(section);
        let keys = sections.iter().filter(|s| s.name == section).flat_map(|s| &s.keys);
        // Entries of a list have paths of their own but no declaration; their list stands for them.
        let Some(key) = keys.into_iter().find(|key| key.name == name) else { continue };
        if written(old, path) != written(new, path) {
            let whereabouts = lines.whereabouts(path);
            changes.push(Change { key: path.clone(), reload: key.reload, whereabouts });
        }
    }
    // The file of users may change while its name does not.
    if old.directory != new.directory && changes.iter().all(|change| !is_of_users(&change.key)) {
        let key = "users.file".to_owned();
        let whereabouts = new.source.whereabouts(&key);
        changes.push(Change { key, reload: Reload::Live, whereabouts });
    }
    // So may the lists of partners and of blocked domains, the relay's secrets and the pool.
    let lists = [
        ("av.secrets", old.av_secrets != new.av_secrets),
        ("av.credentials_secrets", old.credentials_secrets != new.credentials_secrets),
        ("av.pool", edges(old) != edges(new)),
        ("federation.partners_csv", old.partner_list != new.partner_list),
        ("federation.blocked_csv", old.blocked_list != new.blocked_list),
    ];
    for (key, changed) in lists {
        if changed && changes.iter().all(|change| change.key != key) {
            let (key, whereabouts) = (key.to_owned(), new.source.whereabouts(key));
            changes.push(Change { key, reload: Reload::Live, whereabouts });
        }
    }
    changes
}

/// Returns what the file of the pool says, whatever remarks are in it.
fn edges(config: &Config) -> Option<&[PoolEdge]> {
    config.pool.as_ref().map(|pool| pool.edges.as_slice())
}

fn is_of_users(key: &str) -> bool {
    ["users.", "user[", "external_access_policy["].iter().any(|start| key.starts_with(start))
}

fn written<'a>(config: &'a Config, path: &str) -> Option<&'a str> {
    let span = config.source.places.get(path)?;
    config.source.text.get(span.clone())
}

/// Where each line of a text begins, so that thousands of places cost no walk over it each.
struct Lines<'a> {
    config: &'a Config,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(config: &'a Config) -> Self {
        let ends = memchr::memchr_iter(b'\n', config.source.text.as_bytes());
        Self { config, starts: std::iter::once(0).chain(ends.map(|end| end + 1)).collect() }
    }

    /// Returns what [`super::Source::whereabouts`] does.
    fn whereabouts(&self, key: &str) -> String {
        let path = self.config.source.path.display();
        match self.config.source.place(key) {
            Some(span) => {
                let line = self.starts.partition_point(|&start| start <= span.start);
                format!("{path}:{line}")
            }
            None => path.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    #[test]
    fn lines_are_told_as_the_source_tells_them() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/configs");
        let path = fixtures.join("full.toml");
        let config = parse(&path, &std::fs::read_to_string(&path).unwrap()).unwrap();
        let lines = Lines::of(&config);
        for key in config.source.places.keys().map(String::as_str).chain(["partner[9].port"]) {
            assert_eq!(lines.whereabouts(key), config.source.whereabouts(key), "{key}");
        }
    }
}
