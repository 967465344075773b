//! The lists in force, under whatever configuration is: the one place where material is published.
//!
//! A reload and a new list may come at the same moment, from two threads; whichever is later has
//! the other's news in it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::fetch::Failure;
use super::table::Totals;
use crate::config::Config;
use crate::policy;
use crate::shard::{Fabric, Published};
use crate::tls::{Material, Reports, Revocation, RevocationList};

/// What is published to the shards beside the configuration.
pub(in crate::control) struct Lists {
    pub(in crate::control) reports: Arc<Reports>,
    pub(in crate::control) tally: Tally,
    fabric: Arc<Fabric>,
    /// A configuration was put in force, which may want lists where there were none to want.
    pub(super) reconfigured: Notify,
    held: Mutex<Held>,
}

struct Held {
    /// Grows with each publication, so that no two editions of material are the same.
    edition: u32,
    lists: Vec<Arc<RevocationList>>,
    /// The configuration wants lists.
    wanted: bool,
    published: Option<Arc<Published>>,
}

impl Held {
    fn revise(&mut self, material: &Material, reports: &Arc<Reports>) -> Material {
        self.edition = self.edition.wrapping_add(1);
        let reports = match self.wanted {
            true => Some(Arc::clone(reports)),
            // What a list revoked stays revoked, whoever asks for it no more.
            false => None,
        };
        let revocation = Revocation::new(self.lists.clone(), reports);
        material.with_revocation(self.edition, Arc::new(revocation))
    }
}

impl Lists {
    pub(in crate::control) fn new(fabric: Arc<Fabric>, reports: Arc<Reports>) -> Self {
        let held = Held { edition: 0, lists: Vec::new(), wanted: false, published: None };
        let (tally, reconfigured) = (Tally::default(), Notify::new());
        Self { reports, tally, fabric, reconfigured, held: Mutex::new(held) }
    }

    /// Returns `material` with the lists there are, for the start.
    pub(in crate::control) fn first(&self, material: &Material, config: &Config) -> Material {
        let mut held = self.held();
        held.wanted = wanted(config);
        held.revise(material, &self.reports)
    }

    /// Says where everything is published from now on.
    pub(in crate::control) fn publish_to(&self, published: Arc<Published>) {
        self.held().published = Some(published);
    }

    /// Puts the material of another configuration in force. The shards are woken by the caller,
    /// who has more to publish.
    pub(in crate::control) fn put_in_force(&self, material: &Material, config: &Config) {
        let mut held = self.held();
        held.wanted = wanted(config);
        self.store(&mut held, material);
        self.reconfigured.notify_one();
    }

    /// Tells whether the configuration in force wants lists fetched.
    pub(super) fn wanted(&self) -> bool {
        self.held().wanted
    }

    /// Puts other lists in force, or the same ones for every open leg to be looked up in again.
    pub(super) fn publish(&self, lists: Vec<Arc<RevocationList>>) {
        let mut held = self.held();
        held.lists = lists;
        let Some(published) = held.published.clone() else { return };
        self.store(&mut held, &published.material.load());
        drop(held);
        self.fabric.wake_all();
    }

    fn store(&self, held: &mut Held, material: &Material) {
        let revised = Arc::new(held.revise(material, &self.reports));
        if let Some(published) = &held.published {
            published.material.store(revised);
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // A panic of another holder left numbers and lists whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells whether any partner's lists are to be fetched.
fn wanted(config: &Config) -> bool {
    let on = |revocation: policy::Revocation| revocation != policy::Revocation::Off;
    let stated = config.partners.iter().filter_map(|partner| partner.revocation);
    let terms = config.partner_list.iter().flat_map(|list| &list.terms);
    let rows = terms.filter_map(|terms| terms.revocation);
    on(config.tls.revocation) || stated.chain(rows).any(on)
}

/// What is counted of lists, for the exporter and the status.
#[derive(Debug, Default)]
pub(in crate::control) struct Tally {
    fetched: AtomicU64,
    failed: [AtomicU64; Failure::LABELS.len()],
    totals: ArcSwap<Totals>,
}

impl Tally {
    pub(super) fn count(&self, outcome: Result<(), &Failure>) {
        let cell = match outcome {
            Ok(()) => &self.fetched,
            Err(failure) => &self.failed[failure.place()],
        };
        cell.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set(&self, totals: Totals) {
        if **self.totals.load() != totals {
            self.totals.store(Arc::new(totals));
        }
    }

    /// Returns how many fetches ended how.
    pub(in crate::control) fn fetches(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let labels = std::iter::once("fetched").chain(Failure::LABELS);
        let cells = std::iter::once(&self.fetched).chain(&self.failed);
        labels.zip(cells.map(|cell| cell.load(Ordering::Relaxed)))
    }

    pub(in crate::control) fn totals(&self) -> Totals {
        **self.totals.load()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::fixture::LEAST;
    use crate::config::lists::PartnerList;

    #[test]
    fn lists_are_wanted_where_one_entry_or_one_row_wants_them() {
        let off = format!("{LEAST}[tls]\nrevocation = \"off\"\n");
        let mut config = crate::config::parse(Path::new("e.toml"), &off).unwrap();
        assert!(!wanted(&config));
        let rows = |text: &str| {
            let list = PartnerList::parse(Path::new("p.csv"), text.to_owned()).unwrap();
            Some(Arc::new(list))
        };
        config.partner_list = rows("domain,revocation\na.example,off\nb.example,\n");
        assert!(!wanted(&config));
        config.partner_list = rows("domain,revocation\na.example,off\nb.example,hard\n");
        assert!(wanted(&config));
        let stated = format!("{off}[[partner]]\ndomain = \"a.example\"\nrevocation = \"soft\"\n");
        assert!(wanted(&crate::config::parse(Path::new("e.toml"), &stated).unwrap()));
    }
}
