//! Where a lookup goes next (Stoica et al., figure 5, "closest_preceding_finger"), for each policy.

use super::Ring;
use crate::id::{Id, between, in_half_open};
use crate::message::{Candidate, Found, Policy, Why};
use crate::peer::Peer;

/// Preceding nodes among them.
const PRECEDING_MAX: usize = 4;
/// Nodes named beside the best one, for when that does not answer.
const CANDIDATES_MAX: usize = 16;

impl Ring {
    /// What this node knows of an identifier's owner.
    pub fn find(&mut self, target: Id, policy: Policy) -> Found {
        if self.serving().is_some_and(|range| range.contains(target)) {
            return Found::Owner;
        }
        Found::Next(match policy {
            Policy::Random => self.random_hops(),
            Policy::Finger | Policy::OneHop | Policy::Successor => self.next_hops(target, policy),
        })
    }

    pub(super) fn next_hops(&self, target: Id, policy: Policy) -> Vec<Candidate> {
        let mut hops: Vec<Candidate> = self.handed_over(target).into_iter().collect();
        if policy == Policy::OneHop {
            let owner = self.membership.as_ref().and_then(|membership| membership.owner(target));
            hops.extend(owner.map(|peer| Candidate { peer: peer.clone(), why: Why::Membership }));
        }
        if policy != Policy::Successor {
            hops.extend(self.owner_in_list(target));
            hops.extend(self.closest_preceding(target));
        }
        // Who died just before this node had its keys; until this node serves them its neighbours know more.
        if in_half_open(self.predecessor.id, target, self.me.id)
            && let Some(boundary) = &self.ownership.boundary
        {
            hops.push(Candidate { peer: boundary.clone(), why: Why::Predecessor });
        }
        hops.extend(self.list_candidates());
        // For a lookup that has come too far, since somebody before did not know the predecessor yet.
        hops.push(Candidate { peer: self.predecessor.clone(), why: Why::Predecessor });
        self.without_repeats(hops)
    }

    fn list_candidates(&self) -> impl Iterator<Item = Candidate> {
        self.successors.nodes().map(|(place, peer)| Candidate {
            peer: peer.clone(),
            why: Why::Successor(u8::try_from(place).unwrap_or(u8::MAX)),
        })
    }

    /// The first node of the successor list at or behind the target: its owner, unless somebody joined before it.
    fn owner_in_list(&self, target: Id) -> Option<Candidate> {
        self.list_candidates().find(|entry| in_half_open(self.me.id, target, entry.peer.id))
    }

    fn without_repeats(&self, hops: Vec<Candidate>) -> Vec<Candidate> {
        let mut kept: Vec<Candidate> = Vec::with_capacity(CANDIDATES_MAX);
        for hop in hops {
            let known = kept.iter().any(|other| other.peer == hop.peer);
            if !known && hop.peer.address != self.me.address && kept.len() < CANDIDATES_MAX {
                kept.push(hop);
            }
        }
        kept
    }

    /// Fingers and successors between this node and the target, the closest to the target first.
    fn closest_preceding(&self, target: Id) -> Vec<Candidate> {
        let fingers = self.fingers.runs().iter().map(|run| (&run.peer, Why::Finger(run.from)));
        let successors = self
            .successors
            .nodes()
            .map(|(place, peer)| (peer, Why::Successor(u8::try_from(place).unwrap_or(u8::MAX))));
        let mut preceding: Vec<(&Peer, Why)> =
            fingers.chain(successors).filter(|(peer, _)| between(self.me.id, peer.id, target)).collect();
        preceding.sort_by_key(|(peer, _)| self.settings.space.distance(peer.id, target));
        preceding
            .into_iter()
            .map(|(peer, why)| Candidate { peer: peer.clone(), why })
            .take(PRECEDING_MAX)
            .collect()
    }

    /// Some of the nodes that this one knows, shuffled; the successor list is among them, so that all can be reached.
    fn random_hops(&mut self) -> Vec<Candidate> {
        let mut peers: Vec<Peer> = self.fingers.runs().iter().map(|run| run.peer.clone()).collect();
        if let Some(membership) = &self.membership {
            peers.extend(membership.nodes().iter().cloned());
        }
        peers.sort();
        peers.dedup();
        self.random.shuffle(&mut peers);
        peers.truncate(CANDIDATES_MAX / 2);
        peers.extend(self.successors.nodes().take(CANDIDATES_MAX / 2).map(|(_, peer)| peer.clone()));
        self.random.shuffle(&mut peers);
        let hops = peers.into_iter().map(|peer| Candidate { peer, why: Why::Random }).collect();
        self.without_repeats(hops)
    }
}
