//! Whose a connection from an address to a shared port is (RFC 6062 section 5.3).
//!
//! A permission names an address, and what port a peer connects from is known when it does. So on a
//! port that allocations share an address is one allocation's, the first one's that permits it, and
//! whoever asks for it as well is refused. It stays out of the others' reach for a while after its
//! permission has ended: a connection that the kernel was still opening then, or that nobody had
//! accepted yet, was meant for whoever had the address when the peer began it.

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use slab::Slab;
use smallvec::SmallVec;

use super::peer::PeerIp;
use super::ports::RelayPort;
use super::wheel::Wheel;
use crate::limits;
use crate::time::Monotonic;

/// An address at a shared port that is, or was until lately, one allocation's.
#[derive(Clone, Copy, Debug)]
struct Claim {
    at: (RelayPort, PeerIp),
    /// The allocation; `None` once it has ended.
    owner: Option<u32>,
    user: u64,
    /// When the permission ends, or did.
    until: Monotonic,
}

/// Why an address cannot be an allocation's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unclaimed {
    /// It is another one's, or was until lately.
    ByAnother,
    /// No place is left, of the user or in all.
    Full,
}

/// All claims of one thread.
#[derive(Debug)]
pub(super) struct Claims {
    all: Slab<Claim>,
    by_address: HashMap<(RelayPort, PeerIp), u32, RandomState>,
    of_owner: HashMap<u32, SmallVec<[u32; 2]>, RandomState>,
    /// How many allocations and claims a user has on each port.
    of_user: HashMap<u64, SmallVec<[(RelayPort, u32); 2]>, RandomState>,
    /// Claims whose allocation has ended since the time was told last.
    ended: Vec<u32>,
    /// When claims are forgotten.
    wheel: Wheel,
}

impl Claims {
    pub(super) fn new() -> Self {
        let longest_ms = limits::TURN_PERMISSION_MS + limits::TURN_CLAIM_AFTER_MS;
        Self {
            all: Slab::new(),
            by_address: HashMap::default(),
            of_owner: HashMap::default(),
            of_user: HashMap::default(),
            ended: Vec::new(),
            wheel: Wheel::new((longest_ms / 1_000) as u32),
        }
    }

    /// Counts an allocation of `user` at `port`.
    pub(super) fn enter(&mut self, user: u64, port: RelayPort) {
        let ports = self.of_user.entry(user).or_default();
        match ports.iter_mut().find(|(known, _)| *known == port) {
            Some((_, count)) => *count += 1,
            None => ports.push((port, 1)),
        }
    }

    /// Counts an allocation of `user` at `port` no more.
    pub(super) fn leave(&mut self, user: u64, port: RelayPort) {
        let Some(ports) = self.of_user.get_mut(&user) else { return };
        if let Some((_, count)) = ports.iter_mut().find(|(known, _)| *known == port) {
            *count -= 1;
        }
        ports.retain(|(_, count)| *count > 0);
        if ports.is_empty() {
            self.of_user.remove(&user);
        }
    }

    /// Returns how much `user` has at `port`: whom he talks to there he likely talks to again, and
    /// that works at another port.
    pub(super) fn weight(&self, user: u64, port: RelayPort) -> u32 {
        let ports = self.of_user.get(&user).map_or(&[][..], |ports| ports);
        ports.iter().find(|(known, _)| *known == port).map_or(0, |(_, count)| *count)
    }

    /// Returns whose a connection from `ip` to `port` is.
    pub(super) fn owner(&self, now: Monotonic, port: RelayPort, ip: PeerIp) -> Option<u32> {
        let claim = self.at((port, ip))?;
        claim.owner.filter(|_| claim.until > now)
    }

    /// Tells whether `ip` at `port` could be allocation `owner`'s.
    pub(super) fn judge(
        &self,
        now: Monotonic,
        port: RelayPort,
        ip: PeerIp,
        owner: u32,
    ) -> Result<(), Unclaimed> {
        match self.at((port, ip)) {
            Some(claim) if claim.owner != Some(owner) && !claim.is_over(now) => {
                Err(Unclaimed::ByAnother)
            }
            _ => Ok(()),
        }
    }

    fn at(&self, at: (RelayPort, PeerIp)) -> Option<&Claim> {
        self.by_address.get(&at).and_then(|place| self.all.get(*place as usize))
    }

    /// Makes `ip` at `port` allocation `owner`'s, of `user`, for as long as a permission holds.
    pub(super) fn take(
        &mut self,
        now: Monotonic,
        (port, ip): (RelayPort, PeerIp),
        owner: u32,
        user: u64,
    ) -> Result<(), Unclaimed> {
        self.judge(now, port, ip, owner)?;
        let at = (port, ip);
        let until = now.plus_ms(limits::TURN_PERMISSION_MS);
        let place = match self.by_address.get(&at).copied() {
            Some(place) if self.prolonged(place, owner, until) => place,
            before => {
                if let Some(before) = before {
                    self.forget(before);
                }
                self.add(Claim { at, owner: Some(owner), user, until }, owner)?
            }
        };
        self.wheel.start(place, until.plus_ms(limits::TURN_CLAIM_AFTER_MS));
        Ok(())
    }

    /// Lets a claim hold until then, if it is `owner`'s; tells whether it is.
    fn prolonged(&mut self, place: u32, owner: u32, until: Monotonic) -> bool {
        let of_owner = |claim: &&mut Claim| claim.owner == Some(owner);
        let claim = self.all.get_mut(place as usize).filter(of_owner);
        claim.map(|claim| claim.until = until).is_some()
    }

    /// Keeps a claim of `owner`, if there is room; returns its place.
    fn add(&mut self, claim: Claim, owner: u32) -> Result<u32, Unclaimed> {
        let Claim { at, user, .. } = claim;
        let of_user = self.of_user.get(&user).map_or(&[][..], |ports| ports);
        let of_user: u32 = of_user.iter().map(|(_, count)| count).sum();
        if of_user as usize >= limits::TURN_CLAIMS_PER_USER_MAX
            || self.all.len() >= limits::TURN_CLAIMS_MAX
        {
            return Err(Unclaimed::Full);
        }
        let place = self.all.insert(claim) as u32;
        self.by_address.insert(at, place);
        self.of_owner.entry(owner).or_default().push(place);
        self.enter(user, at.0);
        Ok(place)
    }

    /// An allocation has ended. When that was is found out by [`Self::expire`], which is to be
    /// called at once.
    pub(super) fn end_of(&mut self, owner: u32) {
        for place in self.of_owner.remove(&owner).unwrap_or_default() {
            if let Some(claim) = self.all.get_mut(place as usize) {
                claim.owner = None;
                self.wheel.stop(place);
                self.ended.push(place);
            }
        }
    }

    /// Forgets one claim whose time is over; tells whether there was one.
    pub(super) fn expire(&mut self, now: Monotonic) -> bool {
        for place in std::mem::take(&mut self.ended) {
            // Its place may be another one's by now.
            let of_nobody = |claim: &&mut Claim| claim.owner.is_none();
            let claim = self.all.get_mut(place as usize).filter(of_nobody);
            let Some(claim) = claim else { continue };
            claim.until = claim.until.min(now);
            let over = claim.until.plus_ms(limits::TURN_CLAIM_AFTER_MS);
            self.wheel.start(place, over);
        }
        let Some(place) = self.wheel.pop_due(now) else { return false };
        match self.all.get(place as usize) {
            // A timer that was started late runs out early.
            Some(claim) if !claim.is_over(now) => {
                let over = claim.until.plus_ms(limits::TURN_CLAIM_AFTER_MS);
                self.wheel.start(place, over);
            }
            _ => self.forget(place),
        }
        true
    }

    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        if self.ended.is_empty() { self.wheel.next_deadline() } else { Some(Monotonic(0)) }
    }

    fn forget(&mut self, place: u32) {
        self.wheel.stop(place);
        let Some(claim) = self.all.try_remove(place as usize) else { return };
        self.by_address.remove(&claim.at);
        if let Some(own) = claim.owner.and_then(|owner| self.of_owner.get_mut(&owner)) {
            own.retain(|other| *other != place);
        }
        self.leave(claim.user, claim.at.0);
    }
}

impl Claim {
    /// Tells whether another allocation may have the address.
    fn is_over(&self, now: Monotonic) -> bool {
        self.until.plus_ms(limits::TURN_CLAIM_AFTER_MS) <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: RelayPort = RelayPort { address: 0, port: 3_480 };
    const OTHER: RelayPort = RelayPort { address: 0, port: 3_482 };
    const START: Monotonic = Monotonic(1_000_000_000);
    const HELD_MS: u64 = limits::TURN_PERMISSION_MS;
    const AFTER_MS: u64 = limits::TURN_CLAIM_AFTER_MS;

    fn ip(last: u8) -> PeerIp {
        std::net::IpAddr::from([192, 0, 2, last]).into()
    }

    #[test]
    fn an_address_is_the_first_ones_until_a_while_after_its_permission() {
        let mut claims = Claims::new();
        assert_eq!(claims.take(START, (PORT, ip(1)), 7, 70), Ok(()));
        assert_eq!(claims.owner(START, PORT, ip(1)), Some(7));
        let another = Err(Unclaimed::ByAnother);
        assert_eq!(claims.take(START, (PORT, ip(1)), 8, 80), another);
        assert_eq!(claims.take(START, (OTHER, ip(1)), 8, 80), Ok(()), "another port");
        assert_eq!(claims.take(START, (PORT, ip(2)), 8, 80), Ok(()), "another address");
        let again = START.plus_ms(HELD_MS / 2);
        assert_eq!(claims.take(again, (PORT, ip(1)), 7, 70), Ok(()));
        let ended = again.plus_ms(HELD_MS);
        assert_eq!(claims.owner(Monotonic(ended.0 - 1), PORT, ip(1)), Some(7));
        assert_eq!(claims.owner(ended, PORT, ip(1)), None, "its permission is over");
        let over = ended.plus_ms(AFTER_MS);
        assert_eq!(claims.take(Monotonic(over.0 - 1), (PORT, ip(1)), 8, 80), another);
        assert_eq!(claims.take(over, (PORT, ip(1)), 8, 80), Ok(()));
        assert_eq!(claims.owner(over, PORT, ip(1)), Some(8));
    }

    /// The number of an allocation is given again: what one of the same number had is not its own.
    #[test]
    fn what_an_allocation_had_is_nobodys_for_a_while_and_no_namesakes() {
        let mut claims = Claims::new();
        claims.take(START, (PORT, ip(1)), 7, 70).unwrap();
        claims.end_of(7);
        assert_eq!(claims.owner(START, PORT, ip(1)), None);
        assert_eq!(claims.next_deadline(), Some(Monotonic(0)), "it asks for the time");
        let another = Err(Unclaimed::ByAnother);
        assert_eq!(claims.take(START, (PORT, ip(1)), 7, 70), another);
        let later = START.plus_ms(1_000);
        assert!(!claims.expire(later));
        let over = later.plus_ms(AFTER_MS);
        assert_eq!(claims.take(Monotonic(over.0 - 1), (PORT, ip(1)), 7, 70), another);
        assert!(claims.expire(over));
        assert_eq!(claims.take(over, (PORT, ip(1)), 9, 90), Ok(()));
    }

    #[test]
    fn nothing_is_left_of_what_is_over() {
        let mut claims = Claims::new();
        claims.enter(70, PORT);
        for last in 0..200 {
            claims.take(START, (PORT, ip(last)), u32::from(last % 3), 70).unwrap();
        }
        assert_eq!(claims.weight(70, PORT), 201);
        claims.end_of(0);
        claims.expire(START);
        claims.leave(70, PORT);
        let over = START.plus_ms(HELD_MS + AFTER_MS);
        // Bound: each call forgets one.
        while claims.expire(over) {}
        assert_eq!((claims.all.len(), claims.by_address.len()), (0, 0));
        assert!(claims.of_user.is_empty());
        assert_eq!((claims.weight(70, PORT), claims.next_deadline()), (0, None));
    }

    #[test]
    fn one_user_does_not_have_all_places() {
        let mut claims = Claims::new();
        let many = |n: usize| std::net::IpAddr::from((n as u32).to_be_bytes()).into();
        for n in 0..limits::TURN_CLAIMS_PER_USER_MAX {
            assert_eq!(claims.take(START, (PORT, many(n)), 1, 70), Ok(()));
        }
        let full = Err(Unclaimed::Full);
        assert_eq!(claims.take(START, (PORT, many(1 << 20)), 1, 70), full);
        assert_eq!(claims.take(START, (PORT, many(0)), 1, 70), Ok(()), "it is his already");
        assert_eq!(claims.take(START, (PORT, many(1 << 20)), 2, 80), Ok(()), "another user");
    }
}
