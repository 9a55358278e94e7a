//! Every address that a node has ever known, for merging rings that a partition made.
//!
//! After a partition both sides are whole rings, and nothing in them points across. What does is memory: a node keeps
//! every address it has met, asks those that would lie between itself and its successor now and then (less and less
//! often while they are silent), and considers the nearest that answers as a successor. A probe is a ping outside
//! the steps of stabilize, so that silent addresses do not make a node busy.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{Id, Space, between};
use crate::peer::{Address, Peer};
use crate::time::Time;

/// The longest pause between two probes is this power of two times the shortest.
const BACKOFF_POWER_MAX: u32 = 4;

#[derive(Clone, Debug)]
struct Acquaintance {
    id: Id,
    failures: u32,
    probe_at: Time,
    answered_at: Option<Time>,
    probing: bool,
    /// It said that it leaves: hearsay of it is not believed, until it is heard from again.
    departed: bool,
}

/// Addresses and the ids they had when last heard of.
#[derive(Clone, Debug, Default)]
pub struct Known {
    by_address: BTreeMap<Address, Acquaintance>,
}

impl Known {
    /// All that have not left.
    pub fn peers(&self) -> impl Iterator<Item = Peer> {
        self.present().map(|(address, known)| Peer::new(known.id, address.clone()))
    }

    /// Those that did not answer when they were last asked.
    pub fn silent_peers(&self) -> impl Iterator<Item = Peer> {
        let silent = self.present().filter(|(_, known)| known.failures > 0);
        silent.map(|(address, known)| Peer::new(known.id, address.clone()))
    }

    fn present(&self) -> impl Iterator<Item = (&Address, &Acquaintance)> {
        self.by_address.iter().filter(|(_, known)| !known.departed)
    }

    /// Remembers a node; true if the address, or its id, is new.
    pub fn learn(&mut self, peer: &Peer) -> bool {
        if let Some(known) = self.by_address.get_mut(&peer.address) {
            if known.departed {
                return false;
            }
            let moved = known.id != peer.id;
            known.id = peer.id;
            return moved;
        }
        let new = Acquaintance {
            id: peer.id,
            failures: 0,
            probe_at: Time::ZERO,
            answered_at: None,
            probing: false,
            departed: false,
        };
        self.by_address.insert(peer.address.clone(), new);
        true
    }

    /// Forgets a node that has left for good.
    pub fn forget(&mut self, address: &Address) {
        if let Some(known) = self.by_address.get_mut(address) {
            known.departed = true;
        }
    }

    /// A probe or a question was answered, by a node with this id.
    pub fn answered(&mut self, address: &Address, id: Id, now: Time) {
        if let Some(known) = self.by_address.get_mut(address) {
            (known.id, known.failures, known.answered_at, known.probing) = (id, 0, Some(now), false);
            (known.probe_at, known.departed) = (now, false);
        }
    }

    /// A probe or a question was not answered: ask again later, and later still the next time.
    pub fn silent(&mut self, address: &Address, now: Time, base: Duration) {
        if let Some(known) = self.by_address.get_mut(address) {
            let pause = base * 2u32.pow(known.failures.min(BACKOFF_POWER_MAX));
            known.failures = known.failures.saturating_add(1);
            (known.probe_at, known.answered_at, known.probing) = (now + pause, None, false);
        }
    }

    /// Asks them all again soon: nobody else is left.
    pub fn hurry(&mut self, now: Time) {
        for known in self.by_address.values_mut() {
            (known.failures, known.probe_at) = (0, now);
        }
    }

    /// Whom to probe now: at most `most` of those between the two points, the nearest to `low` first.
    pub fn due(&mut self, space: Space, low: Id, high: Id, now: Time, most: usize) -> Vec<Peer> {
        let mut due: Vec<Peer> = self
            .present()
            .filter(|(_, known)| between(low, known.id, high) && !known.probing && known.probe_at <= now)
            .map(|(address, known)| Peer::new(known.id, address.clone()))
            .collect();
        due.sort_by_key(|peer| space.distance(low, peer.id));
        due.truncate(most);
        for peer in &due {
            if let Some(known) = self.by_address.get_mut(&peer.address) {
                known.probing = true;
            }
        }
        due
    }

    /// The nearest to `low`, between the two points, that answered a moment ago.
    pub fn nearest_answering(
        &self,
        space: Space,
        low: Id,
        high: Id,
        now: Time,
        within: Duration,
    ) -> Option<Peer> {
        self.present()
            .filter(|(_, known)| between(low, known.id, high))
            .filter(|(_, known)| known.answered_at.is_some_and(|at| now.since(at) <= within))
            .map(|(address, known)| Peer::new(known.id, address.clone()))
            .min_by_key(|peer| space.distance(low, peer.id))
    }
}
