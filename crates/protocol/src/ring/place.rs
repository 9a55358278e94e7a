//! Granting places: the node that serves an identifier decides who may join there.
//!
//! A grant is remembered for a while, so that two nodes that ask at once get two places; the same address asking
//! again gets the same place. When the range is handed over, its grants go with it.

use super::handover::Outgoing;
use super::{Phase, Ring};
use crate::id::{Id, between, in_half_open};
use crate::message::{Grant, Placement, Range, Response};
use crate::peer::{Address, Peer};
use crate::time::Time;

/// A place that is kept for a node which has not joined yet.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    id: Id,
    address: Address,
    until: Time,
}

impl Ring {
    /// The middle of the widest arc that this node knows of: where it would send a joiner.
    pub fn widest_middle(&self) -> Id {
        let mut points: Vec<Id> = vec![self.me.id, self.predecessor.id];
        points.extend(self.successors.nodes().map(|(_, peer)| peer.id));
        points.extend(self.grants.iter().filter(|grant| grant.until > self.now).map(|grant| grant.id));
        points.extend(self.sent_to.iter().filter(|(_, until)| *until > self.now).map(|(id, _)| *id));
        if let Some(membership) = &self.membership {
            points.extend(membership.nodes().iter().map(|peer| peer.id));
        }
        points.sort_unstable();
        points.dedup();
        self.middle_of_widest(&points)
    }

    /// The middle of the widest gap between points that go up; of several the first.
    fn middle_of_widest(&self, points: &[Id]) -> Id {
        let space = self.settings.space;
        let behind = points.iter().cycle().skip(1);
        let mut gaps: Vec<(Id, Id)> = points.iter().copied().zip(behind.copied()).collect();
        // A distance of 0 is the whole ring: it is the widest.
        gaps.sort_by_key(|(low, high)| {
            (std::cmp::Reverse(low == high), std::cmp::Reverse(space.distance(*low, *high)))
        });
        let (low, high) = gaps.first().copied().unwrap_or((self.me.id, self.me.id));
        space.middle(low, high)
    }

    /// A joiner that asked this node was granted this place, here or elsewhere: the next one is sent to another.
    pub fn place_granted(&mut self, id: Id) {
        let now = self.now;
        self.sent_to.retain(|(_, until)| *until > now);
        self.sent_to.push((id, now + self.settings.grant_lasts));
    }

    pub(super) fn grant(&mut self, id: Id, placement: Placement, address: Address) -> Response {
        self.forget_old_grants();
        // The list of grants has gone out with the range, or is about to.
        if self.ownership.outgoing.as_ref().is_some_and(Outgoing::is_withheld) {
            return Response::Refused;
        }
        let Some(range) = self.serving().filter(|range| self.phase == Phase::Member && range.contains(id))
        else {
            return Response::Refused;
        };
        if let Placement::Fixed(_) = placement {
            if let Some(taker) = self.taker(id).filter(|taker| taker.address != address) {
                return Response::Taken(taker);
            }
            return self.granted(id, address);
        }
        let earlier = self.grants.iter().find(|grant| grant.address == address && range.contains(grant.id));
        if let Some(earlier) = earlier {
            let id = earlier.id;
            return self.granted(id, address);
        }
        // The asked node knows of more places than this one; but two nodes may have been asked at once.
        let elsewhere = placement == Placement::Bisect && self.taker(id).is_some();
        let mut place = if elsewhere { self.middle_of_own(range.low) } else { id };
        while self.taker(place).is_some() {
            if place == self.me.id {
                return Response::Taken(self.me.clone());
            }
            place = self.settings.space.next(place);
        }
        self.granted(place, address)
    }

    /// A grant lasts for a while, and as long as whoever took it may be waiting for keys behind another joiner.
    fn forget_old_grants(&mut self) {
        let now = self.now;
        let waiting = self.ownership.boundary.as_ref().map(|boundary| (boundary.id, self.predecessor.id));
        self.grants.retain(|grant| {
            grant.until > now
                || waiting.is_some_and(|(low, high)| low != high && between(low, grant.id, high))
        });
    }

    fn middle_of_own(&self, low: Id) -> Id {
        let space = self.settings.space;
        let mut points: Vec<Id> = self.grants.iter().map(|grant| grant.id).collect();
        points.retain(|id| in_half_open(low, *id, self.me.id));
        points.push(low);
        points.push(self.me.id);
        // In the order in which they come from `low` on; the gap from me back to `low` is not this node's to give.
        points.sort_by_key(|id| (*id == self.me.id && *id != low, space.distance(low, *id)));
        points.dedup();
        if let [only] = points[..] {
            return space.middle(only, only);
        }
        if low == self.me.id {
            return self.middle_of_widest(&points);
        }
        let widest = points.windows(2).max_by_key(|pair| {
            (space.distance(pair[0], pair[1]), std::cmp::Reverse(space.distance(low, pair[0])))
        });
        widest.map_or(self.me.id, |pair| space.middle(pair[0], pair[1]))
    }

    fn taker(&self, id: Id) -> Option<Peer> {
        if id == self.me.id {
            return Some(self.me.clone());
        }
        if id == self.predecessor.id {
            return Some(self.predecessor.clone());
        }
        let grant = self.grants.iter().find(|grant| grant.id == id)?;
        Some(Peer::new(grant.id, grant.address.clone()))
    }

    /// The places of a range that are kept, for whoever will serve it.
    pub(super) fn grants_in(&self, range: Range) -> Vec<Grant> {
        let kept = self.grants.iter().filter(|grant| range.contains(grant.id));
        kept.map(|grant| Grant {
            id: grant.id,
            address: grant.address.clone(),
            lasts: grant.until.since(self.now),
        })
        .collect()
    }

    /// They are the new server's to keep now.
    pub(super) fn forget_grants_in(&mut self, range: Range) {
        self.grants.retain(|grant| !range.contains(grant.id));
    }

    pub(super) fn inherit_grants(&mut self, grants: Vec<Grant>) {
        for Grant { id, address, lasts } in grants {
            self.grants.retain(|grant| grant.address != address);
            let until = self.now + lasts.min(self.settings.grant_lasts);
            self.grants.push(Granted { id, address, until });
        }
    }

    fn granted(&mut self, id: Id, address: Address) -> Response {
        self.grants.retain(|grant| grant.address != address);
        let until = self.now + self.settings.grant_lasts;
        self.grants.push(Granted { id, address, until });
        let predecessor = self.ownership.boundary.clone().unwrap_or_else(|| self.predecessor.clone());
        Response::Granted { id, predecessor }
    }
}
