//! Stamps: a hybrid logical clock (Kulkarni, Demirbas et al., "Logical physical clocks", 2014) whose bound is on disk.
//!
//! A stamp is a [`Version`]: its epoch is 48 bits of milliseconds and a counter of 16 bits, its sequence a tag of the
//! store that gave it, so that stamps of two stores are never equal (but for a tag that two of 2^32 stores share; then
//! the order of contents decides, see [`merge`](super::merge)).
//!
//! What it guarantees: stamps of one store go up, over restarts too and when its clock is set back, since no stamp
//! above the *bound* is given and the bound was on disk before; a stamp is above every stamp that was seen before.
//! A stamp too far in the future is refused where it enters the cluster, with a client, and nowhere else: what
//! is stored somewhere is passed on, or replicas would never be equal.

use std::time::Duration;

use super::event::ClientError;
use crate::key::Version;

/// Bits of the counter in a stamp.
const COUNTER_BITS: u32 = 16;
/// No clock says so: above it is nothing that a node can have stamped (the year 6429).
const EPOCH_MAX: u64 = 1 << 63;

/// Where the clock stands when this is its next stamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tick {
    /// This stamp was given; nobody else has it.
    Stamp(Version),
    /// None was given: a higher bound must be on disk first.
    NeedBound,
}

/// The clock of one store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Clock {
    tag: u64,
    last: u64,
    /// On disk: no stamp is above it.
    bound: u64,
    ahead: u64,
    skew: u64,
}

fn as_epoch(milliseconds: u64) -> u64 {
    milliseconds.min(EPOCH_MAX >> COUNTER_BITS) << COUNTER_BITS
}

fn span(duration: Duration) -> u64 {
    as_epoch(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Can a store have given this stamp?
pub fn is_possible(version: Version) -> bool {
    version.epoch < EPOCH_MAX
}

impl Clock {
    /// With the bound that is on disk (0 for a new store). `ahead` is how far a bound is put before the clock, `skew`
    /// how far in the future a client's stamp may be.
    pub fn new(tag: u64, bound: u64, ahead: Duration, skew: Duration) -> Clock {
        Clock { tag, last: bound, bound, ahead: span(ahead), skew: span(skew) }
    }

    /// The next stamp, at this time of day in milliseconds.
    pub fn now(&mut self, wall_ms: u64) -> Tick {
        let next = self.last.saturating_add(1).max(as_epoch(wall_ms));
        if next > self.bound {
            return Tick::NeedBound;
        }
        self.last = next;
        Tick::Stamp(Version { epoch: next, sequence: self.tag })
    }

    /// Another stamp was seen: the next one will be above it.
    pub fn observe(&mut self, version: Version) {
        if is_possible(version) {
            self.last = self.last.max(version.epoch);
        }
    }

    /// The highest stamp that was seen or given.
    pub fn highest(&self) -> Version {
        Version { epoch: self.last, sequence: u64::MAX }
    }

    /// A bound that should be put on disk now; none while the one that is there is far enough ahead.
    pub fn wanted_bound(&self, wall_ms: u64) -> Option<u64> {
        let at = self.last.max(as_epoch(wall_ms));
        (at.saturating_add(self.ahead / 2) > self.bound).then(|| at.saturating_add(self.ahead))
    }

    /// This bound is on disk.
    pub fn bound_persisted(&mut self, bound: u64) {
        self.bound = self.bound.max(bound);
    }

    /// May a client bring this stamp into the cluster?
    ///
    /// # Errors
    /// When it is too far ahead of this node's clock and of all that this node has seen, or no stamp at all.
    pub fn admit(&self, version: Version, wall_ms: u64) -> Result<(), ClientError> {
        let limit = self.last.max(as_epoch(wall_ms)).saturating_add(self.skew);
        if is_possible(version) && version.epoch <= limit {
            return Ok(());
        }
        let ahead = (version.epoch.saturating_sub(as_epoch(wall_ms))) >> COUNTER_BITS;
        Err(ClientError::FromTheFuture { ahead_ms: ahead, allowed_ms: self.skew >> COUNTER_BITS })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AHEAD: Duration = Duration::from_secs(10);
    const SKEW: Duration = Duration::from_secs(60);

    fn stamp(tick: Tick) -> Version {
        match tick {
            Tick::Stamp(version) => version,
            Tick::NeedBound => panic!("the bound is ahead"),
        }
    }

    fn ready(wall_ms: u64) -> Clock {
        let mut clock = Clock::new(7, 0, AHEAD, SKEW);
        assert_eq!(clock.now(wall_ms), Tick::NeedBound, "nothing is on disk");
        let bound = clock.wanted_bound(wall_ms).unwrap();
        clock.bound_persisted(bound);
        clock
    }

    #[test]
    fn stamps_go_up_when_the_clock_stands_or_goes_back() {
        let mut clock = ready(1_000_000);
        let stamps = [1_000_000, 1_000_000, 999_000, 1_000_001].map(|wall| stamp(clock.now(wall)));
        assert!(stamps.windows(2).all(|pair| pair[0] < pair[1]), "{stamps:?}");
        assert_eq!(stamps[0].epoch >> 16, 1_000_000);
    }

    #[test]
    fn stamps_are_above_what_was_seen_and_need_a_bound_for_it() {
        let mut clock = ready(1_000_000);
        let seen = Version { epoch: as_epoch(1_020_000), sequence: 99 };
        clock.observe(seen);
        assert_eq!(clock.now(1_000_000), Tick::NeedBound, "20 s ahead of a bound of 10 s");
        clock.bound_persisted(clock.wanted_bound(1_000_000).unwrap());
        assert!(stamp(clock.now(1_000_000)) > seen);
    }

    #[test]
    fn a_restart_gives_no_stamp_again_though_the_clock_went_back() {
        let mut clock = ready(1_000_000);
        let before = stamp(clock.now(1_009_999));
        let mut again = Clock::new(7, clock.bound, AHEAD, SKEW);
        again.bound_persisted(again.wanted_bound(500_000).unwrap());
        assert!(stamp(again.now(500_000)) > before);
    }

    #[test]
    fn a_bound_is_renewed_before_it_is_reached() {
        let clock = ready(1_000_000);
        assert_eq!(clock.wanted_bound(1_004_000), None);
        assert!(clock.wanted_bound(1_006_000).is_some());
    }

    #[test]
    fn the_future_is_refused_at_entry_unless_it_is_here_already() {
        let mut clock = ready(1_000_000);
        let far = Version { epoch: as_epoch(1_100_000), sequence: 1 };
        let near = Version { epoch: as_epoch(1_030_000), sequence: 1 };
        assert_eq!(clock.admit(near, 1_000_000), Ok(()));
        let refused = clock.admit(far, 1_000_000).unwrap_err();
        assert_eq!(refused, ClientError::FromTheFuture { ahead_ms: 100_000, allowed_ms: 60_000 });
        clock.observe(far);
        assert_eq!(clock.admit(far, 1_000_000), Ok(()), "it came by replication: it is in the cluster");
        let garbage = Version { epoch: u64::MAX, sequence: 0 };
        clock.observe(garbage);
        assert!(clock.admit(garbage, 1_000_000).is_err());
    }
}
