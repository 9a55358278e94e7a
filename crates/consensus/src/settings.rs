//! What a group is started with, and the timing rule that leases depend on.

use std::path::PathBuf;
use std::time::Duration;

use crate::NodeId;
use crate::error::TimingError;

/// Where the Raft state is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In memory, for tests and for servers without a data directory. A node that lost its memory has lost its
    /// promises with it: it must never come back under the same [`NodeId`].
    Memory,
    /// In the file `raft.redb` of this directory, which exists. Every change is synced before it is acted upon.
    Directory(PathBuf),
}

/// Times of the group. All voters should use the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A leader shows itself this often; also the longest wait for one answer of a follower. Default 50 ms.
    pub heartbeat: Duration,
    /// A follower's own patience is drawn once, between this and `election_max`. Default 100 ms.
    pub election_min: Duration,
    /// See `election_min`; also how long a follower refuses to vote after it heard of a leader. Default 200 ms.
    pub election_max: Duration,
    /// A proposal without an answer for so long is reported as unknown. Default 2 s.
    pub propose_timeout: Duration,
    /// A confirmation is tried again for so long. Default 500 ms.
    pub confirm_timeout: Duration,
    /// A change of voters may take so long, the catching up of new ones included. Default 15 s.
    pub change_timeout: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(100),
            election_max: Duration::from_millis(200),
            propose_timeout: Duration::from_secs(2),
            confirm_timeout: Duration::from_millis(500),
            change_timeout: Duration::from_secs(15),
        }
    }
}

impl Timing {
    /// Checks that the times fit together, and that a new leader is elected before leases run out:
    /// `heartbeat + 4 * election_max + round_trip < lease * (1 - drift)`.
    ///
    /// A follower waits for up to four times `election_max`: the old leader's lease, its own patience, and twice
    /// more when it has seen a longer log elsewhere. `lease` is the lease of the members, `drift` the largest
    /// relative error of a clock (0 to 1), `round_trip` the longest usual round trip between voters.
    ///
    /// The rule bounds an election that succeeds at once. openraft looks at its timers every one and a half
    /// heartbeats, which comes on top; leave room for it.
    ///
    /// # Errors
    /// [`TimingError`] says which rule does not hold, with the numbers.
    pub fn validate(&self, lease: Duration, drift: f64, round_trip: Duration) -> Result<(), TimingError> {
        self.check_order()?;
        if !(0.0..1.0).contains(&drift) {
            return Err(TimingError::Drift { drift });
        }
        let waits = self.election_max.saturating_mul(4);
        let election = self.heartbeat.saturating_add(waits).saturating_add(round_trip);
        let lease = lease.mul_f64(1.0 - drift);
        if election < lease { Ok(()) } else { Err(TimingError::LeaseTooShort { election, lease }) }
    }

    /// The part of [`Timing::validate`] that needs no lease; [`crate::Group::start`] checks it.
    pub(crate) fn check_order(&self) -> Result<(), TimingError> {
        let (heartbeat, min, max) = (self.heartbeat, self.election_min, self.election_max);
        let whole = |time: Duration| time >= Duration::from_millis(1);
        if whole(heartbeat) && heartbeat < min && min.as_millis() < max.as_millis() {
            Ok(())
        } else {
            Err(TimingError::Order { heartbeat, election_min: min, election_max: max })
        }
    }
}

/// What a group is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node; the id of its store.
    pub id: NodeId,
    /// Where the Raft state is kept.
    pub storage: Storage,
    /// Times.
    pub timing: Timing,
    /// Entries after which a snapshot replaces them. Default 1000.
    pub snapshot_every: u64,
    /// Entries that are kept beside the snapshot, for followers that are a little behind. Default 200.
    pub log_kept: u64,
}

impl Settings {
    /// The defaults for this node.
    pub fn new(id: NodeId, storage: Storage) -> Self {
        Self { id, storage, timing: Timing::default(), snapshot_every: 1000, log_kept: 200 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn the_defaults_hold_for_a_lease_of_one_second() {
        let timing = Timing::default();
        timing.validate(milliseconds(1000), 0.05, milliseconds(50)).unwrap();
    }

    #[test]
    fn an_election_that_outlives_the_lease_is_refused_at_the_exact_bound() {
        let timing = Timing::default();
        let error = timing.validate(milliseconds(1000), 0.0, milliseconds(150)).unwrap_err();
        assert!(matches!(error, TimingError::LeaseTooShort { .. }), "{error}");
        timing.validate(milliseconds(1000), 0.0, milliseconds(149)).unwrap();
        timing.validate(milliseconds(1000), 0.2, milliseconds(1)).unwrap_err();
    }

    #[test]
    fn times_in_the_wrong_order_and_impossible_drifts_are_refused() {
        let timing = Timing { election_min: milliseconds(50), ..Timing::default() };
        assert!(matches!(timing.check_order(), Err(TimingError::Order { .. })));
        let timing = Timing { election_max: milliseconds(100), ..Timing::default() };
        assert!(matches!(timing.check_order(), Err(TimingError::Order { .. })));
        let timing = Timing { heartbeat: Duration::ZERO, ..Timing::default() };
        assert!(matches!(timing.check_order(), Err(TimingError::Order { .. })));
        for drift in [-0.1, 1.0, f64::NAN] {
            let error = Timing::default().validate(milliseconds(1000), drift, Duration::ZERO).unwrap_err();
            assert!(matches!(error, TimingError::Drift { .. }));
        }
    }
}
