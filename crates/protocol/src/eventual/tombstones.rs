//! When a tombstone may go: when every store that may hold something older has it.
//!
//! # Which stores may
//!
//! A store gets a key from a node that knew the store before, for good and on disk. So, begun anywhere among the
//! stores that ever were members, asking each for the stores that *it* knows leads to all that may hold any version
//! of the key, whatever rings they saw. The first replica of a key gives its tombstone to all of them ([`Request::Keep`]),
//! also to those that are no replicas; each answers when it is on its disk, and says which stores it knows. A store
//! that has a tombstone gives nothing older away any more, so what it says then is complete.
//!
//! When all have confirmed, absent ones too, nothing older is on any disk, and all are told to drop it
//! ([`Request::Drop`]). A copy that is still on its way is refused for as long as messages live: each store remembers
//! what it dropped. A store that misses the order keeps the tombstone, which does no harm: when it is back it offers it,
//! or compares, and is told to drop it, or the tombstone goes the same way again.
//!
//! A tombstone of which all replicas have something newer is of no use any more: a node that is no replica drops it
//! (see [`handoff`](super::handoff)).
//!
//! A store that never returns is to be forgotten: nothing waits for it, all that confirm learn of it, and whoever has
//! learnt it takes nothing from that store.
//!
//! # Cost
//!
//! A tombstone, a key and 16 bytes, is on all nodes until it is dropped, not only on k. That is the price of being
//! sure while nodes may have seen different rings. With all stores present it is dropped within seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use super::calls::{After, Call};
use super::event::{Data, Timer};
use super::message::{KEYS_MAX, Request, Response};
use super::{Eventual, StoreId};
use crate::key::{Key, Version};
use crate::time::Time;

/// Tombstones that are tended at once.
const TENDED_MAX: usize = 4096;
/// Tombstones that are begun to be tended at once.
const BEGUN_MAX: usize = 1024;
/// Dropped tombstones that are remembered.
const REMEMBERED_MAX: usize = 256 * 1024;

/// The pause when there are more.
const MORE_PAUSE: Duration = Duration::from_millis(200);

#[derive(Clone, Debug)]
enum Phase {
    /// It gets to this node's own disk.
    Saving,
    /// These have not confirmed.
    Keeping(BTreeSet<StoreId>),
    /// These have not dropped it.
    Dropping(BTreeSet<StoreId>),
}

#[derive(Clone, Debug)]
struct Tended {
    version: Version,
    phase: Phase,
}

/// The tombstones that this node tends, and those that it has dropped lately.
#[derive(Clone, Debug, Default)]
pub(super) struct Collector {
    tended: BTreeMap<Key, Tended>,
    /// Stores that have not answered yet.
    busy: BTreeSet<StoreId>,
    /// Where the next tombstones to be tended are looked for.
    after: Option<Key>,
    dropped: BTreeMap<Key, (Version, Time)>,
}

impl Collector {
    /// Stores for which tombstones wait.
    pub(super) fn missing(&self) -> impl Iterator<Item = StoreId> + '_ {
        self.tended.values().flat_map(|tended| match &tended.phase {
            Phase::Keeping(missing) => missing.iter().copied().collect::<Vec<_>>(),
            Phase::Saving | Phase::Dropping(_) => Vec::new(),
        })
    }

    /// Was a tombstone at or above this version dropped a short while ago?
    pub(super) fn is_dropped(&self, key: &Key, version: Version) -> bool {
        self.dropped.get(key).is_some_and(|(dropped, _)| version <= *dropped)
    }

    pub(super) fn remember(&mut self, key: Key, version: Version, now: Time) {
        let known = self.dropped.entry(key).or_insert((version, now));
        *known = (known.0.max(version), now);
    }

    pub(super) fn has_room(&self, count: usize) -> bool {
        self.dropped.len() + count <= REMEMBERED_MAX
    }

    /// More stores may hold something older.
    pub(super) fn await_also(&mut self, stores: &[StoreId]) {
        for tended in self.tended.values_mut() {
            if let Phase::Keeping(missing) = &mut tended.phase {
                missing.extend(stores);
            }
        }
    }

    /// A store never comes back.
    pub(super) fn release(&mut self, store: StoreId) {
        self.busy.remove(&store);
        for tended in self.tended.values_mut() {
            if let Phase::Keeping(missing) | Phase::Dropping(missing) = &mut tended.phase {
                missing.remove(&store);
            }
        }
    }

    /// The next tombstones that this store must keep, or else those that it must drop.
    fn due(&self, store: StoreId) -> (Vec<(Key, Version)>, bool) {
        let batch = |keep: bool| -> Vec<(Key, Version)> {
            let due = self.tended.iter().filter(|(_, tended)| match &tended.phase {
                Phase::Keeping(missing) => keep && missing.contains(&store),
                Phase::Dropping(missing) => !keep && missing.contains(&store),
                Phase::Saving => false,
            });
            super::message::fitting(due.map(|(key, tended)| (key.clone(), tended.version)), |(key, _)| {
                key.size()
            })
        };
        let keep = batch(true);
        if keep.is_empty() { (batch(false), false) } else { (keep, true) }
    }
}

impl Eventual {
    pub(super) fn tend_tombstones(&mut self, data: &dyn Data) {
        let after = self.jitter(self.settings.collect_every);
        self.set_timer(Timer::Collect, after);
        self.gossip_stores();
        let (now, lifetime) = (self.now, self.settings.message_lifetime);
        self.collector.dropped.retain(|_, (_, when)| now.since(*when) <= lifetime);
        let Some(owned) = self.table.as_ref().and_then(|table| table.owned(self.me)) else {
            return self.collector.tended.clear();
        };
        let space = self.settings.space;
        let mut tended = std::mem::take(&mut self.collector.tended);
        tended.retain(|key, tended| {
            owned.contains(key.id(space)) && self.version(key, data) == Some(tended.version)
        });
        self.collector.tended = tended;

        let mut begun = Vec::new();
        let after = self.collector.after.take().filter(|key| owned.contains(key.id(space)));
        let room = TENDED_MAX.saturating_sub(self.collector.tended.len()).min(BEGUN_MAX);
        let mut last = None;
        data.tombstones(owned, after.as_ref(), &mut |key, version| {
            if begun.len() >= room {
                return ControlFlow::Break(());
            }
            last = Some(key.clone());
            if !self.collector.tended.contains_key(key) {
                begun.push((key.clone(), version));
            }
            ControlFlow::Continue(())
        });
        if begun.len() >= room {
            self.collector.after = last;
            // There are more: they are many where values end by themselves.
            self.set_timer(Timer::Collect, MORE_PAUSE);
        }
        if !begun.is_empty() {
            for (key, version) in &begun {
                let tended = Tended { version: *version, phase: Phase::Saving };
                self.collector.tended.insert(key.clone(), tended);
            }
            self.persist(After::Tombstones(begun));
        }
        self.advance_tombstones(data);
    }

    /// Tells a member by lot which stores there are, and learns which it knows: so all soon know who was forgotten.
    fn gossip_stores(&mut self) {
        let members = self.table.as_ref().map(|table| table.members()).unwrap_or_default();
        let others = members.iter().map(|member| member.store);
        let others: Vec<StoreId> =
            others.filter(|store| *store != self.me && !self.stores.forgotten.contains(store)).collect();
        if others.is_empty() {
            return;
        }
        let to = others[self.random.usize(0..others.len())];
        let request = Request::Keep { tombstones: Vec::new(), stores: self.stores.clone() };
        self.call(to, request, Call::Gossip);
    }

    /// They are on this node's disk: now all others.
    pub(super) fn tombstones_saved(&mut self, saved: &[(Key, Version)], data: &dyn Data) {
        let known = self.stores.known.difference(&self.stores.forgotten).copied();
        let others: BTreeSet<StoreId> = known.filter(|store| *store != self.me).collect();
        for (key, version) in saved {
            if let Some(Tended { phase: phase @ Phase::Saving, .. }) = self.tended(key, *version) {
                *phase = Phase::Keeping(others.clone());
            }
        }
        self.advance_tombstones(data);
    }

    /// Moves those on for which nobody is waited for, and asks every member that is not busy.
    pub(super) fn advance_tombstones(&mut self, data: &dyn Data) {
        let Some(table) = &self.table else { return };
        let present: BTreeSet<StoreId> = table.members().iter().map(|member| member.store).collect();
        let others: BTreeSet<StoreId> = present
            .iter()
            .filter(|store| **store != self.me && !self.stores.forgotten.contains(store))
            .copied()
            .collect();
        let mut over = Vec::new();
        for (key, tended) in &mut self.collector.tended {
            if matches!(&tended.phase, Phase::Keeping(missing) if missing.is_empty()) {
                tended.phase = Phase::Dropping(others.clone());
            }
            if let Phase::Dropping(missing) = &mut tended.phase {
                // Who has left the ring meanwhile does not get the order.
                missing.retain(|store| present.contains(store));
                if missing.is_empty() {
                    over.push((key.clone(), tended.version));
                }
            }
        }
        self.drop_own(over, data);
        for store in others {
            self.ask_to_tend(store);
        }
    }

    fn drop_own(&mut self, over: Vec<(Key, Version)>, data: &dyn Data) {
        let mut erased = Vec::new();
        for (key, version) in over {
            self.collector.tended.remove(&key);
            if self.held(&key, data).is_some_and(|held| held.is_tombstone() && held.version == version) {
                erased.push(key.clone());
            }
            self.collector.remember(key, version, self.now);
        }
        self.counters.collected += erased.len() as u64;
        self.erase(erased);
    }

    /// A store still has what was dropped everywhere: it missed the order.
    pub(super) fn tell_dropped(&mut self, store: StoreId, keys: Vec<Key>) {
        let of = |key: Key| self.collector.dropped.get(&key).map(|(version, _)| (key.clone(), *version));
        let dropped: Vec<(Key, Version)> = keys.into_iter().filter_map(of).collect();
        for part in dropped.chunks(KEYS_MAX) {
            self.call(store, Request::Drop(part.to_vec()), Call::Aside);
        }
    }

    fn ask_to_tend(&mut self, store: StoreId) {
        if self.collector.busy.contains(&store) {
            return;
        }
        let (tombstones, keep) = self.collector.due(store);
        if tombstones.is_empty() {
            return;
        }
        debug_assert!(tombstones.len() <= KEYS_MAX, "a message has room for them");
        self.collector.busy.insert(store);
        if keep {
            let request = Request::Keep { tombstones: tombstones.clone(), stores: self.stores.clone() };
            self.call(store, request, Call::Keep { to: store, tombstones });
        } else {
            let request = Request::Drop(tombstones.clone());
            self.call(store, request, Call::Drop { to: store, tombstones });
        }
    }

    pub(super) fn kept(
        &mut self,
        store: StoreId,
        tombstones: &[(Key, Version)],
        response: Option<Response>,
        data: &dyn Data,
    ) {
        self.collector.busy.remove(&store);
        // Without an answer it is asked again when tombstones are tended next.
        let Some(Response::Kept(stores)) = response else { return };
        self.learn(&stores, data);
        for (key, version) in tombstones {
            if let Some(Tended { phase: Phase::Keeping(missing), .. }) = self.tended(key, *version) {
                missing.remove(&store);
            }
        }
        self.advance_tombstones(data);
    }

    pub(super) fn dropped(
        &mut self,
        store: StoreId,
        tombstones: &[(Key, Version)],
        dropped: bool,
        data: &dyn Data,
    ) {
        self.collector.busy.remove(&store);
        if !dropped {
            return;
        }
        for (key, version) in tombstones {
            if let Some(Tended { phase: Phase::Dropping(missing), .. }) = self.tended(key, *version) {
                missing.remove(&store);
            }
        }
        self.advance_tombstones(data);
    }

    fn tended(&mut self, key: &Key, version: Version) -> Option<&mut Tended> {
        self.collector.tended.get_mut(key).filter(|tended| tended.version == version)
    }
}
