//! Failed sign-ins of remote users, counted per source and per user, so that the edge stops a
//! guesser before the pool locks the account out.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

use super::headers::host_of;
use crate::sip::{HeaderName, Message};
use crate::time::{Monotonic, Now};

/// Failures of one user within [`WINDOW_MS`] before further attempts are refused.
const PER_USER_MAX: u16 = 10;
/// Failures from one source; an office behind one address shares this.
const PER_SOURCE_MAX: u16 = 50;
/// How long failures count.
const WINDOW_MS: u64 = 60_000;
/// Entries; two keys that fall on one entry share it, which only ever makes the limit stricter.
const ENTRIES: usize = 8192;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    failures: u16,
    since: Monotonic,
}

/// The table of one shard: 16 bytes an entry, 128 KiB, made when the first sign-in fails.
#[derive(Debug)]
pub(crate) struct SignIns {
    keys: (u64, u64),
    entries: Vec<Entry>,
}

impl SignIns {
    pub(crate) fn new(keys: (u64, u64)) -> Self {
        Self { keys, entries: Vec::new() }
    }

    /// Returns whether a sign-in may not even be tried. Attempts without credentials always may:
    /// they are how a client learns what to answer.
    pub(crate) fn throttled(
        &self,
        now: Now,
        source: IpAddr,
        domain: &[u8],
        message: &Message<'_>,
    ) -> bool {
        if self.entries.is_empty() || !carries_credentials(message) {
            return false;
        }
        let user = self.failures(now, self.user_key(domain, message)) >= PER_USER_MAX;
        user || self.failures(now, self.source_key(source)) >= PER_SOURCE_MAX
    }

    /// Counts the pool's answer to a REGISTER.
    pub(crate) fn answered(
        &mut self,
        now: Now,
        source: IpAddr,
        request: &Message<'_>,
        status: u16,
    ) {
        let Some(domain) = request.to().ok().and_then(|to| host_of(to.uri)) else { return };
        let keys = [self.source_key(source), self.user_key(domain, request)];
        match status {
            200..=299 if !self.entries.is_empty() => {
                let user = self.index(keys[1]);
                self.entries[user] = Entry::default();
            }
            401 | 403 | 407 if carries_credentials(request) => {
                if self.entries.is_empty() {
                    self.entries = vec![Entry::default(); ENTRIES];
                }
                for key in keys {
                    let failures = self.failures(now, key);
                    let index = self.index(key);
                    let entry = &mut self.entries[index];
                    if failures == 0 {
                        entry.since = now.monotonic;
                    }
                    entry.failures = failures.saturating_add(1);
                }
            }
            _ => {}
        }
    }

    fn failures(&self, now: Now, key: u64) -> u16 {
        let entry = self.entries.get(self.index(key)).copied().unwrap_or_default();
        if now.monotonic.ms_since(entry.since) < WINDOW_MS { entry.failures } else { 0 }
    }

    #[allow(clippy::cast_possible_truncation, reason = "reduced to the table's size")]
    fn index(&self, key: u64) -> usize {
        key as usize % ENTRIES
    }

    fn user_key(&self, domain: &[u8], message: &Message<'_>) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.keys.0, self.keys.1);
        hasher.write_u8(b'u');
        if let Ok(to) = message.to()
            && let Ok(uri) = crate::sip::Uri::parse(to.uri)
        {
            uri.user_unescaped().iter().for_each(|b| hasher.write_u8(b.to_ascii_lowercase()));
        }
        domain.iter().for_each(|b| hasher.write_u8(b.to_ascii_lowercase()));
        hasher.finish()
    }

    fn source_key(&self, source: IpAddr) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.keys.0, self.keys.1);
        match source {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            // A household has a /64; counting single addresses would count nothing.
            IpAddr::V6(ip) => hasher.write(&ip.octets()[..8]),
        }
        hasher.finish()
    }
}

fn carries_credentials(message: &Message<'_>) -> bool {
    message.present(HeaderName::Authorization) || message.present(HeaderName::ProxyAuthorization)
}
