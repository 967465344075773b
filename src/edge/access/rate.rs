//! Message rates of discovered partners.

use crate::policy::throttle::TokenBucket;
use crate::time::Now;

/// Buckets of a shard. Partners that fall on one bucket share it; with this many that is rare, and
/// a partner cannot choose its bucket because the key is hashed under a secret.
const BUCKETS: usize = 4096;

/// The table is made when the first discovered partner writes.
#[derive(Debug)]
pub(crate) struct Rates {
    buckets: Vec<Option<TokenBucket>>,
}

impl Rates {
    pub(crate) const fn new() -> Self {
        Self { buckets: Vec::new() }
    }

    /// Takes one message out of a partner's second. `per_s` may change with the snapshot.
    pub(crate) fn take(&mut self, now: Now, partner: u64, per_s: u32) -> bool {
        if self.buckets.is_empty() {
            self.buckets.resize_with(BUCKETS, || None);
        }
        #[allow(clippy::cast_possible_truncation, reason = "reduced to the table's size")]
        let bucket = &mut self.buckets[partner as usize % BUCKETS];
        bucket.get_or_insert_with(|| TokenBucket::new(per_s, per_s)).take(now).is_ok()
    }
}
