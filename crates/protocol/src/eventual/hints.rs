//! Copies for other nodes, batched for each; and hints on disk for those that do not answer.
//!
//! A batch is out to a node at a time; what waits when it is answered travels in the next one. When a node does not
//! answer, the keys that wait for it become hints: names of keys, on disk. It is tried again after a pause that grows,
//! or as soon as it is heard of, and gets what its hinted keys hold then. A hint is dropped when the copy is on the
//! other's disk, or when the other is no replica of the key any more.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use super::calls::{After, Call};
use super::event::{Change, Data, Timer};
use super::message::{Copied, KEYS_MAX, Request, fitting};
use super::{Durability, Eventual, StoreId};
use crate::key::{Key, Version};

/// Keys that wait in memory for one node; those beyond become hints.
const QUEUE_MAX: usize = 16 * 1024;
/// Hints of a forgotten store that are dropped at once.
const PURGE_MAX: usize = 4096;

/// What another node is still to get.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    queue: BTreeSet<Key>,
    /// Is a batch out?
    busy: bool,
    /// Did it not answer, and is it not time yet to try again?
    resting: bool,
    failures: u32,
    /// May there be hints for it?
    hinted: bool,
}

impl Peer {
    /// One for which there are hints on disk.
    pub(super) fn with_hints() -> Peer {
        Peer { hinted: true, ..Peer::default() }
    }
}

impl Eventual {
    /// A store is to get what the key holds.
    pub(super) fn enqueue(&mut self, store: StoreId, key: Key, data: &dyn Data) {
        let peer = self.peers.entry(store).or_default();
        if peer.resting || peer.queue.len() >= QUEUE_MAX {
            return self.hint(store, vec![key]);
        }
        peer.queue.insert(key);
        self.flush(store, data);
    }

    /// Keeps hints for a store. Writes that wait for it wait no longer.
    fn hint(&mut self, store: StoreId, keys: Vec<Key>) {
        let Some(peer) = self.peers.get_mut(&store) else { return };
        peer.hinted |= !keys.is_empty();
        self.counters.hints_kept += keys.len() as u64;
        for key in &keys {
            self.copy_missed(store, key);
        }
        self.store(keys.into_iter().map(|key| Change::Hint(store, key)).collect());
    }

    /// Sends the next batch, if none is out.
    fn flush(&mut self, store: StoreId, data: &dyn Data) {
        let member = self.table.as_ref().is_some_and(|table| table.has(store));
        let Some(peer) = self.peers.get(&store).filter(|peer| member && !peer.busy && !peer.resting) else {
            return;
        };
        if !peer.queue.is_empty() {
            let waiting = peer.queue.iter();
            let held = waiting.map(|key| (key.clone(), self.held(key, data)));
            let batch = fitting(held, |(key, held)| key.size() + held.as_ref().map_or(0, |held| held.size()));
            if let Some(peer) = self.peers.get_mut(&store) {
                batch.iter().for_each(|(key, _)| {
                    peer.queue.remove(key);
                });
            }
            let entries = batch.into_iter().filter_map(|(key, held)| Some((key, held?))).collect();
            self.deliver(store, entries, false);
        } else if peer.hinted {
            self.flush_hints(store, data);
        }
    }

    fn flush_hints(&mut self, store: StoreId, data: &dyn Data) {
        let mut keys = Vec::new();
        data.hints(store, &mut |key| {
            keys.push(key.clone());
            if keys.len() < KEYS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let found_all = keys.len() < KEYS_MAX;
        let space = self.settings.space;
        let (due, over): (Vec<Key>, Vec<Key>) = keys
            .into_iter()
            .partition(|key| self.is_replica(store, key.id(space)) && self.version(key, data).is_some());
        self.store(over.into_iter().map(|key| Change::Unhint(store, key)).collect());
        if due.is_empty() {
            if let Some(peer) = self.peers.get_mut(&store) {
                peer.hinted = !found_all;
                if peer.hinted {
                    // What was just dropped is still to be seen in the data: go on with the next event.
                    self.set_timer(Timer::Retry(store), Duration::ZERO);
                }
            }
            return;
        }
        let held = due.iter().filter_map(|key| Some((key.clone(), self.held(key, data)?)));
        let entries = fitting(held, |(key, held)| key.size() + held.size());
        self.deliver(store, entries, true);
    }

    fn deliver(&mut self, store: StoreId, entries: Vec<Copied>, hinted: bool) {
        if entries.is_empty() {
            // All of them are gone from here: go on with what waits behind them.
            return self.set_timer(Timer::Retry(store), Duration::ZERO);
        }
        if let Some(peer) = self.peers.get_mut(&store) {
            peer.busy = true;
        }
        let sent = entries.iter().map(|(key, held)| (key.clone(), held.version)).collect();
        let durable = hinted || self.settings.durability == Durability::Sync;
        self.call(store, Request::Copy { entries, durable }, Call::Deliver { to: store, sent, hinted });
    }

    pub(super) fn delivered(
        &mut self,
        store: StoreId,
        sent: Vec<(Key, Version)>,
        hinted: bool,
        stored: bool,
        data: &dyn Data,
    ) {
        let Some(peer) = self.peers.get_mut(&store) else {
            // It was forgotten meanwhile: whether it has it does not matter to anybody any more.
            return sent.iter().for_each(|(key, _)| self.copy_missed(store, key));
        };
        peer.busy = false;
        if !stored {
            return self.undelivered(store, sent, hinted);
        }
        peer.failures = 0;
        for (key, version) in &sent {
            self.copy_stored(store, key, *version);
        }
        if hinted {
            self.counters.hints_delivered += sent.len() as u64;
            self.store(sent.into_iter().map(|(key, _)| Change::Unhint(store, key)).collect());
            self.set_timer(Timer::Retry(store), Duration::ZERO);
        } else {
            self.flush(store, data);
        }
    }

    /// A batch was not confirmed: what waits becomes hints, and the node is left alone for a while.
    fn undelivered(&mut self, store: StoreId, sent: Vec<(Key, Version)>, hinted: bool) {
        let Some(peer) = self.peers.get_mut(&store) else { return };
        peer.resting = true;
        peer.failures = peer.failures.saturating_add(1);
        let doubled = 1 << (peer.failures - 1).min(16);
        let mut keys = std::mem::take(&mut peer.queue);
        if !hinted {
            keys.extend(sent.into_iter().map(|(key, _)| key));
        }
        let pause = (self.settings.retry_first * doubled).min(self.settings.retry_longest);
        let after = self.jitter(pause);
        self.set_timer(Timer::Retry(store), after);
        if !keys.is_empty() {
            self.hint(store, keys.into_iter().collect());
            self.persist(After::Hints);
        }
    }

    pub(super) fn retry(&mut self, store: StoreId, data: &dyn Data) {
        if self.stores.forgotten.contains(&store) {
            return self.purge(store, data);
        }
        if let Some(peer) = self.peers.get_mut(&store) {
            peer.resting = false;
        }
        self.flush(store, data);
    }

    /// A node was heard of: no need to wait longer.
    pub(super) fn heard_of(&mut self, store: StoreId, data: &dyn Data) {
        if self.peers.get(&store).is_some_and(|peer| peer.resting) {
            self.retry(store, data);
        }
    }

    /// The ring changed: those that are in it are tried at once, what waited for others becomes hints.
    pub(super) fn members_changed(&mut self, data: &dyn Data) {
        let stores: Vec<StoreId> = self.peers.keys().copied().collect();
        for store in stores {
            let member = self.table.as_ref().is_some_and(|table| table.has(store));
            if member || self.stores.forgotten.contains(&store) {
                self.retry(store, data);
            } else if let Some(peer) = self.peers.get_mut(&store) {
                let keys = std::mem::take(&mut peer.queue);
                self.hint(store, keys.into_iter().collect());
            }
        }
    }

    /// A forgotten store: its hints go, in parts.
    pub(super) fn drop_peer(&mut self, store: StoreId) {
        let Some(peer) = self.peers.remove(&store) else { return };
        for key in peer.queue {
            self.copy_missed(store, &key);
        }
        self.set_timer(Timer::Retry(store), Duration::ZERO);
    }

    fn purge(&mut self, store: StoreId, data: &dyn Data) {
        let mut changes = Vec::new();
        data.hints(store, &mut |key| {
            changes.push(Change::Unhint(store, key.clone()));
            if changes.len() < PURGE_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if changes.len() == PURGE_MAX {
            self.set_timer(Timer::Retry(store), Duration::ZERO);
        }
        self.store(changes);
    }
}
