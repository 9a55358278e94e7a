//! The ring as this node acts on it, and the stores that the cluster has had.
//!
//! A store becomes known, for ever and on disk, before anything is given to it; the tombstones' guarantee rests on
//! that. A store that was forgotten is given nothing and nothing is taken from it.

use std::collections::BTreeSet;

use super::calls::After;
use super::{Change, Data, Effect, Eventual, StoreId, Stores, Table, Timer};
use crate::merkle::arc::is_within;
use crate::message::Range;

impl Eventual {
    pub(super) fn members(&mut self, table: Table, forgotten: BTreeSet<StoreId>, data: &dyn Data) {
        let known = table.members().iter().map(|member| member.store).collect();
        self.learn(&Stores { known, forgotten }, data);
        self.next_table = Some(table);
        self.adopt_if_saved(data);
    }

    /// Whoever gets something from this node is known to it for ever, on disk, from before it gets it.
    fn adopt_if_saved(&mut self, data: &dyn Data) {
        let saved =
            |table: &mut Table| table.members().iter().all(|member| !self.unsaved.contains(&member.store));
        if let Some(table) = self.next_table.take_if(saved) {
            self.adopt(table, data);
        }
    }

    pub(super) fn stores_saved(&mut self, saved: &[StoreId], data: &dyn Data) {
        for store in saved {
            self.unsaved.remove(store);
        }
        self.adopt_if_saved(data);
    }

    /// Takes a table into use: hand-overs, hints and comparisons begin anew.
    fn adopt(&mut self, table: Table, data: &dyn Data) {
        if self.table.as_ref() == Some(&table) {
            return;
        }
        self.keep_filled(table.kept(self.me));
        self.table = Some(table);
        self.sessions.clear();
        self.handoff.restart();
        self.members_changed(data);
        for timer in [Timer::Sync, Timer::HandOff, Timer::Collect, Timer::End] {
            let after = self.jitter(self.settings.retry_first);
            self.set_timer(timer, after);
        }
    }

    /// Of the arcs that are filled, those that are still kept; all that is kept if it was filled as part of a larger one.
    fn keep_filled(&mut self, kept: Option<Range>) {
        let Some(kept) = kept else { return self.filled.clear() };
        let space = self.settings.space;
        if self.filled.iter().any(|arc| is_within(space, kept, *arc)) {
            self.filled = vec![kept];
        } else {
            self.filled.retain(|arc| is_within(space, *arc, kept));
        }
    }

    /// Adds stores to those that are known.
    pub(super) fn learn(&mut self, stores: &Stores, data: &dyn Data) {
        let forgotten: Vec<StoreId> = stores.forgotten.difference(&self.stores.forgotten).copied().collect();
        let known: Vec<StoreId> = stores.known.difference(&self.stores.known).copied().collect();
        let changes = known.iter().map(|store| Change::Known(*store));
        let changes: Vec<Change> =
            changes.chain(forgotten.iter().map(|store| Change::Forgotten(*store))).collect();
        if changes.is_empty() {
            return;
        }
        self.store(changes);
        self.stores.known.extend(&known);
        self.unsaved.extend(&known);
        // One may be known as forgotten before it is known as a store at all.
        let expected = known.iter().filter(|store| !self.stores.forgotten.contains(store));
        let expected: Vec<StoreId> = expected.copied().collect();
        self.collector.await_also(&expected);
        self.persist(After::Known(known));
        for store in forgotten {
            self.stores.forgotten.insert(store);
            self.release(store, data);
        }
    }

    pub(super) fn forget(&mut self, store: StoreId, data: &dyn Data) {
        let forgotten = BTreeSet::from([store]);
        self.learn(&Stores { known: BTreeSet::new(), forgotten }, data);
    }

    /// A store never comes back: nothing waits for it.
    fn release(&mut self, store: StoreId, data: &dyn Data) {
        if store == self.me {
            self.bar();
            return;
        }
        self.sessions.remove(&store);
        self.drop_peer(store);
        self.collector.release(store);
        self.advance_tombstones(data);
    }

    /// This node has been forgotten.
    pub(super) fn bar(&mut self) {
        if !self.barred {
            self.barred = true;
            self.effects.push(Effect::Barred);
        }
    }
}
