//! The membership table of a node: taking a newer one, and seeing that it is out of date.

use std::sync::Arc;

use super::{Change, Effect, Phase, Ring, Timer};
use crate::membership::Membership;
use crate::message::Response;
use crate::peer::Peer;

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
        if self.is_member() && self.is_membership_stale() && !self.renumbering {
            let pause = self.settings.renumber_after + self.jitter(self.settings.renumber_after);
            self.set_timer(Timer::Renumber, pause);
        }
    }

    pub(super) fn renumber(&mut self) {
        // One who leaves is about to be missing: its neighbours number the ring when it is gone.
        if self.phase == Phase::Member && self.is_membership_stale() && !self.renumbering {
            self.renumbering = true;
            self.effects.push(Effect::Renumber);
        }
    }

    pub(super) fn renumber_ended(&mut self) {
        self.renumbering = false;
        self.check_membership();
    }

    pub(super) fn adopt_membership(&mut self, membership: Arc<Membership>) -> Response {
        let newer = self.membership.as_ref().is_none_or(|mine| mine.stamp() < membership.stamp());
        if newer {
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
