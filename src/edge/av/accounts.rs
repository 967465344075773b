//! Who has how many allocations, and how much they carry: by user, by partner and by source.

use std::net::IpAddr;

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use slab::Slab;

use super::Quotas;
use super::bucket::Bucket;
use super::gate::network;
use crate::time::Monotonic;

/// Whom an allocation counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    /// A hash of the user's name.
    pub(super) user: u64,
    /// A hash of the domain in it, where there is one.
    pub(super) partner: Option<u64>,
    /// Where the client is.
    pub(super) source: IpAddr,
}

/// A user with allocations.
#[derive(Debug)]
struct Account {
    user: u64,
    allocations: u32,
    bandwidth: Bucket,
}

/// All users, partners and sources with allocations.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    accounts: Slab<Account>,
    by_user: HashMap<u64, u32, RandomState>,
    /// Allocations of a partner's users.
    partners: HashMap<u64, u32, RandomState>,
    /// Allocations of clients in a /24 or a /48.
    sources: HashMap<u64, u32, RandomState>,
}

impl Accounts {
    /// Tells whether `holder` may have one allocation more.
    pub(super) fn has_room(&self, quotas: &Quotas, holder: &Holder) -> bool {
        let account = self.by_user.get(&holder.user).and_then(|at| self.accounts.get(*at as usize));
        let of_user = account.map_or(0, |account| account.allocations);
        let count = |of: &HashMap<u64, u32, RandomState>, key| of.get(&key).copied().unwrap_or(0);
        let of_partner = holder.partner.map_or(0, |partner| count(&self.partners, partner));
        let of_source = count(&self.sources, network(holder.source));
        of_user < quotas.allocations_per_user
            && of_partner < quotas.allocations_per_partner
            && of_source < quotas.allocations_per_source
    }

    /// Counts an allocation; returns the place of its user's account.
    pub(super) fn enter(&mut self, now: Monotonic, quotas: &Quotas, holder: &Holder) -> u32 {
        let accounts = &mut self.accounts;
        let place = *self.by_user.entry(holder.user).or_insert_with(|| {
            let bandwidth = Bucket::of_kbit_s(quotas.user_kbit_s, now);
            accounts.insert(Account { user: holder.user, allocations: 0, bandwidth }) as u32
        });
        if let Some(account) = accounts.get_mut(place as usize) {
            account.allocations += 1;
        }
        if let Some(partner) = holder.partner {
            *self.partners.entry(partner).or_default() += 1;
        }
        *self.sources.entry(network(holder.source)).or_default() += 1;
        place
    }

    /// A client of an allocation is elsewhere now.
    pub(super) fn moved(&mut self, from: IpAddr, to: IpAddr) {
        release(&mut self.sources, network(from));
        *self.sources.entry(network(to)).or_default() += 1;
    }

    /// Counts an allocation no more.
    pub(super) fn leave(&mut self, place: u32, holder: &Holder) {
        let Some(account) = self.accounts.get_mut(place as usize) else { return };
        account.allocations -= 1;
        if account.allocations == 0 {
            self.by_user.remove(&account.user);
            self.accounts.remove(place as usize);
        }
        if let Some(partner) = holder.partner {
            release(&mut self.partners, partner);
        }
        release(&mut self.sources, network(holder.source));
    }

    /// Returns the rate of a user. Hot: once per datagram or train; no hash.
    pub(super) fn bandwidth(&mut self, place: u32) -> Option<&mut Bucket> {
        self.accounts.get_mut(place as usize).map(|account| &mut account.bandwidth)
    }

    /// Returns how many bytes a user may send or receive at once.
    pub(super) fn left(&mut self, now: Monotonic, place: u32) -> u64 {
        self.bandwidth(place).map_or(0, |bandwidth| bandwidth.left(now))
    }

    /// Returns how many users have allocations.
    pub(super) fn users(&self) -> usize {
        self.accounts.len()
    }
}

fn release(of: &mut HashMap<u64, u32, RandomState>, key: u64) {
    if let Some(count) = of.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            of.remove(&key);
        }
    }
}
