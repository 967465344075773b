//! How much each partner sends.

use crate::policy::{Snapshot, XmppKey};
use crate::time::{Monotonic, Now};

/// How far ahead of its rate a partner may be.
const AHEAD_MS: u64 = 2_000;

/// When a partner's stanzas and bytes would be paid for at its rate (a leaky bucket as a date).
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    stanzas: Monotonic,
    bytes: Monotonic,
}

/// The accounts of all partners, 16 bytes each.
#[derive(Debug)]
pub(super) struct Accounts {
    of: Vec<Account>,
    ns_per_stanza: u64,
    /// In 1/1024 of a nanosecond.
    per_byte: u64,
}

impl Accounts {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let (second, limits) = (1_000_000_000_u64, snapshot.xmpp_limits());
        Self {
            of: vec![Account::default(); snapshot.rules().xmpp.partners.len()],
            ns_per_stanza: second / u64::from(limits.partner_stanzas_per_s.max(1)),
            per_byte: (second << 10) / u64::from(limits.partner_bytes_per_s.max(1)),
        }
    }

    /// Takes the accounts over to a snapshot that has other places for the same partners.
    pub(super) fn adopt(&mut self, older: &Snapshot, newer: &Snapshot) {
        let mut adopted = Self::new(newer);
        for (place, account) in (0..).zip(&self.of) {
            let kept = newer.xmpp_carry_over(older, XmppKey(place));
            if let Some(to) = kept.and_then(|key| adopted.of.get_mut(usize::from(key.0))) {
                *to = *account;
            }
        }
        *self = adopted;
    }

    /// Charges a stanza; `false`, and nothing charged: it is too much.
    pub(super) fn charge(&mut self, now: Now, partner: XmppKey, bytes: usize) -> bool {
        let Some(account) = self.of.get_mut(usize::from(partner.0)) else { return false };
        let latest = now.monotonic.plus_ms(AHEAD_MS).0;
        let stanzas = account.stanzas.0.max(now.monotonic.0) + self.ns_per_stanza;
        let cost = (bytes as u64).saturating_mul(self.per_byte) >> 10;
        let paid = account.bytes.0.max(now.monotonic.0);
        // A stanza larger than the bucket may pass once the account is even.
        let fits = paid + cost <= latest || paid == now.monotonic.0;
        if stanzas > latest || !fits {
            return false;
        }
        *account = Account { stanzas: Monotonic(stanzas), bytes: Monotonic(paid + cost) };
        true
    }
}
