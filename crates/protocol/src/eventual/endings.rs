//! Values that end by themselves: what a replica does when their moment has come.
//!
//! A read takes no notice of a value that has ended: to it that is a tombstone of the same stamp ([`Stamped::at`]). Now and
//! then each node makes tombstones of those that it has, so that values need no room and the [collection of
//! tombstones](super::tombstones) finds them: like a deleted value, one that has ended goes for good only when every store
//! has its tombstone, since a store that missed it may still have an older value without an end.
//!
//! Nothing is sent for that. A tombstone is above the value that it was, and has the same version, and in what replicas
//! compare both are the same ([`copy_hash`](crate::merkle::copy_hash)): so replicas agree whichever of them have made it one.
//! Where a tombstone does get to a node whose clock is behind, the value ends there a little earlier.

use std::ops::ControlFlow;
use std::time::Duration;

use super::event::{Data, Timer};
use super::{Eventual, Stamped};
use crate::expiry::Moment;

/// Values that are made tombstones at once.
const ENDED_AT_ONCE: usize = 128;
/// The pause when there are more.
const PAUSE: Duration = Duration::from_millis(20);

impl Eventual {
    /// Makes tombstones of values that have ended.
    pub(super) fn bury_ended(&mut self, data: &dyn Data) {
        let mut ended = Vec::new();
        data.ended(Moment::from_millis(self.wall_ms), &mut |key, version| {
            ended.push((key.clone(), Stamped::tombstone(version)));
            if ended.len() < ENDED_AT_ONCE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let full = ended.len() == ENDED_AT_ONCE;
        let after = if full { PAUSE } else { self.jitter(self.settings.end_every) };
        self.set_timer(Timer::End, after);
        self.counters.ended += ended.len() as u64;
        // What was dropped everywhere has been a tombstone already: this came late.
        let dropped = self.merge(ended, data);
        self.erase(dropped);
    }
}
