//! The membership table of a node: taking a newer one, and seeing that it is out of date.

use std::sync::Arc;

use super::{Change, Effect, Phase, Ring, Timer};
use crate::membership::Membership;
use crate::message::Response;
use crate::peer::Peer;

/// The longest pause between renumberings that do not help is this power of two times the shortest.
const RENUMBER_BACKOFF_POWER_MAX: u32 = 6;
/// No ring is numbered so often: a table that says so is not believed, as no later one could follow it.
const ROUND_MAX: u64 = 1 << 48;

impl Ring {
    /// May the members have moved on since the table was taken?
    pub fn is_membership_stale(&self) -> bool {
        let (Some(membership), Some(head)) = (&self.membership, self.successors.head().node()) else {
            return true;
        };
        !membership.agrees(self.me.id, &self.predecessor, head)
    }

    /// Numbers the ring again in a while, if the neighbours are not those of the table.
    pub(super) fn check_membership(&mut self) {
        if !self.is_membership_stale() {
            self.renumberings = 0;
        } else if self.is_member() && !self.renumbering {
            // Longer and longer while it does not help: the ring is not closed, or cannot be.
            let pause = self.settings.renumber_after + self.jitter(self.settings.renumber_after);
            let patience = 1 << self.renumberings.min(RENUMBER_BACKOFF_POWER_MAX);
            self.set_timer(Timer::Renumber, pause * patience);
        }
    }

    pub(super) fn renumber(&mut self) {
        // One who leaves is about to be missing: its neighbours number the ring when it is gone.
        if self.phase == Phase::Member && self.is_membership_stale() && !self.renumbering {
            self.renumbering = true;
            self.renumberings = self.renumberings.saturating_add(1);
            self.effects.push(Effect::Renumber);
        }
    }

    pub(super) fn renumber_ended(&mut self) {
        self.renumbering = false;
        self.check_membership();
    }

    pub(super) fn adopt_membership(&mut self, membership: Arc<Membership>) -> Response {
        let newer = self.membership.as_ref().is_none_or(|mine| mine.stamp() < membership.stamp());
        if newer && membership.is_ordered() && membership.stamp().round < ROUND_MAX {
            for peer in membership.nodes() {
                self.learn(peer);
            }
            self.changed(Change::Members(membership.nodes().len()));
            self.membership = Some(membership);
            if self.fingers_outdated() {
                let pause = self.jitter(self.settings.renumber_after);
                self.set_timer(Timer::Refresh, pause);
            }
            self.check_membership();
        }
        Response::Noted
    }

    /// Does the table name other fingers than this node has? Only a hint: lookups decide.
    fn fingers_outdated(&self) -> bool {
        let Some(membership) = &self.membership else { return false };
        (0..self.settings.space.bits()).any(|number| {
            let start = self.settings.space.finger_start(self.me.id, number);
            let named: Option<&Peer> = membership.owner(start);
            named != self.fingers.get(number)
        })
    }
}
