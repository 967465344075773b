//! Who has how many allocations, and how much they carry: by user, by partner, by source and in
//! all, for every thread of the edge.
//!
//! ```text
//!  Allocate ──> lock of the user ─> of the partner ─> of the source ──> Share, one atomic for all
//!  datagram ──> Share ──> Rate of the user: no lock, no hash
//!  its end  ──> Share is dropped: each lock by itself
//! ```
//!
//! The clients of a user, of a partner and of a source network may be with any thread, so they are
//! counted in one place. Locks are taken where an allocation begins and ends alone, and there are
//! many: threads meet at one for some instructions, or for as long as a table of a stripe grows.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;
use hashbrown::hash_table::Entry;
use hashbrown::{HashMap, HashTable};

use super::gate::network;
use super::rate::{Rate, Takers};
use super::together::one_more;
use super::{Carrier, Quotas};
use crate::limits;

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

/// All users, partners and sources with allocations. What is cloned counts with what it was cloned
/// from.
#[derive(Clone, Debug)]
pub(super) struct Accounts(Arc<Tables>);

#[derive(Debug, Default)]
struct Tables {
    /// What names and sources are hashed by: the same ones for every thread.
    key: RandomState,
    takers: Takers,
    accounts: Striped<HashTable<Arc<Account>>>,
    /// Allocations of a partner's users.
    partners: Striped<Counts>,
    /// Allocations of clients in a /24 or a /48, by its hash.
    sources: Striped<Counts>,
    users: AtomicUsize,
    allocations: AtomicUsize,
    /// Of them, those of TCP.
    of_tcp: AtomicUsize,
}

type Counts = HashMap<u64, u32, RandomState>;

/// A user with allocations.
#[derive(Debug)]
struct Account {
    tables: Arc<Tables>,
    user: u64,
    rate: Rate,
    /// Written under the lock of the user's stripe alone.
    allocations: AtomicU32,
}

// With the two counts of its `Arc` an account fits a line of the cache.
const _: () = assert!(size_of::<Account>() <= 48);

/// What an allocation has of its user's, its partner's and its source's, and of all. Dropped, it
/// counts no more; an account goes with the last one.
#[derive(Debug)]
pub(super) struct Share {
    account: Arc<Account>,
    /// A hash of the partner's domain; of all of them, nobody's is 0.
    partner: Option<NonZeroU64>,
    /// A hash of the network that its client is in.
    source: u64,
    carrier: Carrier,
}

/// Why there may not be another allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    /// The user, the partner or the source has as many as it may.
    OfOne,
    /// There are as many as there may be.
    InAll,
}

impl Accounts {
    /// Returns those of an edge whose threads take from a user's rate so.
    pub(super) fn of(takers: Takers) -> Self {
        Self(Arc::new(Tables { takers, ..Tables::default() }))
    }

    /// Counts an allocation of datagrams, if `holder` may have one more.
    ///
    /// # Errors
    /// [`Beyond`]; nothing is counted then.
    pub(super) fn enter(&self, quotas: &Quotas, holder: &Holder) -> Result<Share, Beyond> {
        let tables = &self.0;
        let source = tables.source(holder.source);
        // One lock of each kind, always in this order: nobody waits in a circle, and nobody sees a
        // part of an allocation that is refused in the end.
        let mut accounts = tables.accounts.of(holder.user);
        let partner = holder.partner.and_then(NonZeroU64::new);
        let mut partners = partner.map(|key| (key.get(), tables.partners.of(key.get())));
        let mut sources = tables.sources.of(source);
        let entry = accounts.entry(holder.user, |of| of.user == holder.user, |of| of.user);
        let of_user = match &entry {
            Entry::Occupied(known) => known.get().allocations.load(Ordering::Relaxed),
            Entry::Vacant(_) => 0,
        };
        let count = |of: &Counts, key| of.get(&key).copied().unwrap_or(0);
        let of_partner = partners.as_ref().map_or(0, |(key, partners)| count(partners, *key));
        if of_user >= quotas.allocations_per_user
            || of_partner >= quotas.allocations_per_partner
            || count(&sources, source) >= quotas.allocations_per_source
        {
            return Err(Beyond::OfOne);
        }
        if !one_more(&tables.allocations, quotas.allocations) {
            return Err(Beyond::InAll);
        }
        let entered = entry.or_insert_with(|| {
            tables.users.fetch_add(1, Ordering::Relaxed);
            Arc::new(Account {
                tables: Arc::clone(tables),
                user: holder.user,
                rate: Rate::of_kbit_s(quotas.user_kbit_s, tables.takers),
                allocations: AtomicU32::new(0),
            })
        });
        let account = Arc::clone(entered.get());
        account.allocations.store(of_user + 1, Ordering::Relaxed);
        if let Some((key, partners)) = &mut partners {
            *partners.entry(*key).or_default() += 1;
        }
        *sources.entry(source).or_default() += 1;
        Ok(Share { account, partner, source, carrier: Carrier::Udp })
    }

    /// Returns how many users have allocations, with whatever thread.
    pub(super) fn users(&self) -> usize {
        self.0.users.load(Ordering::Relaxed)
    }

    /// Returns how many allocations there are, with whatever thread.
    pub(super) fn allocations(&self) -> usize {
        self.0.allocations.load(Ordering::Relaxed)
    }

    /// Returns what stands for a name, or a part of one, where it is compared or counted by.
    pub(super) fn name_hash(&self, name: &[u8]) -> u64 {
        self.0.key.hash_one(name)
    }
}

impl Tables {
    fn source(&self, source: IpAddr) -> u64 {
        self.key.hash_one(network(source))
    }

    fn leave(&self, share: &Share) {
        let account = &share.account;
        {
            let mut accounts = self.accounts.of(account.user);
            let left = account.allocations.load(Ordering::Relaxed) - 1;
            account.allocations.store(left, Ordering::Relaxed);
            let own = |of: &Arc<Account>| Arc::ptr_eq(of, account);
            if left == 0
                && let Ok(entry) = accounts.find_entry(account.user, own)
            {
                entry.remove();
                self.users.fetch_sub(1, Ordering::Relaxed);
            }
        }
        if let Some(partner) = share.partner {
            release(&mut self.partners.of(partner.get()), partner.get());
        }
        release(&mut self.sources.of(share.source), share.source);
        self.allocations.fetch_sub(1, Ordering::Relaxed);
        if share.carrier == Carrier::Tcp {
            self.of_tcp.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Share {
    /// Makes it that of an allocation of TCP, if there may be one more.
    ///
    /// # Errors
    /// [`Beyond`]; it stays what it was then.
    pub(super) fn carry_tcp(&mut self, quotas: &Quotas) -> Result<(), Beyond> {
        assert_eq!(self.carrier, Carrier::Udp, "it is asked for once");
        if !one_more(&self.account.tables.of_tcp, quotas.tcp_allocations) {
            return Err(Beyond::InAll);
        }
        self.carrier = Carrier::Tcp;
        Ok(())
    }

    /// The client is elsewhere, however many there are.
    pub(super) fn moved(&mut self, to: IpAddr) {
        let tables = &self.account.tables;
        let to = tables.source(to);
        *tables.sources.of(to).entry(to).or_default() += 1;
        release(&mut tables.sources.of(self.source), self.source);
        self.source = to;
    }

    pub(super) const fn carrier(&self) -> Carrier {
        self.carrier
    }

    pub(super) fn user(&self) -> u64 {
        self.account.user
    }

    pub(super) fn partner(&self) -> Option<u64> {
        self.partner.map(NonZeroU64::get)
    }

    /// Returns the rate of the user. Hot: once per datagram or train.
    pub(super) fn rate(&self) -> &Rate {
        &self.account.rate
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.account.tables.leave(self);
    }
}

/// Tables of which each has a part of the keys, and a lock.
#[derive(Debug)]
struct Striped<T>(Box<[Mutex<T>]>);

impl<T> Striped<T> {
    /// Locks the table of a hash. The lowest and the highest bits are those that it looks by.
    fn of(&self, hash: u64) -> MutexGuard<'_, T> {
        let place = (hash >> 32) as usize % self.0.len();
        // Who panics with it ends his thread, and the process: nothing is left half done before.
        self.0[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Default> Default for Striped<T> {
    fn default() -> Self {
        Self((0..limits::TURN_ACCOUNT_STRIPES).map(|_| Mutex::default()).collect())
    }
}

fn release(of: &mut Counts, key: u64) {
    if let Some(count) = of.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            of.remove(&key);
        }
    }
}
