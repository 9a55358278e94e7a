//! What is kept here though this node is no replica of it: handed to the replicas, and dropped when all have it.
//!
//! It is here because a client's write reached this node, because another node took it for a replica, or because it was
//! one until the ring changed. A *sweep* goes through the arcs of which this node is no replica, page by page: it
//! offers keys and versions to every replica of the arc, sends what they lack, and drops the values of the page when
//! all replicas have confirmed to have them on disk. Tombstones are offered too, but stay until all replicas have
//! something newer or they are dropped everywhere ([`tombstones`](super::tombstones)). An arc with a replica that does not answer is left for the next sweep.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::time::Duration;

use super::calls::Call;
use super::event::{Data, Timer};
use super::message::{BYTES_MAX, KEYS_MAX, Request, Response, fitting};
use super::{Eventual, StoreId};
use crate::key::{Key, Version};
use crate::message::Range;

/// The pause before a sweep, when there is something to hand on.
const SWEEP_AFTER: Duration = Duration::from_secs(1);

/// The sweep that is under way, if one is.
#[derive(Clone, Debug, Default)]
pub(super) struct HandOff {
    /// Names what is out; 0: nothing is under way.
    sweep: u64,
    arcs: VecDeque<(Range, Vec<StoreId>)>,
    /// Where the next page begins.
    after: Option<Key>,
    page: Vec<(Key, Version)>,
    /// Of the keys of the page, how many replicas have something newer.
    newer: BTreeMap<Key, usize>,
    /// How many replicas the arc has.
    replicas: usize,
    /// Replicas that have not confirmed the page.
    open: BTreeSet<StoreId>,
    /// Was an arc left, in this sweep?
    failed: bool,
    /// Has something come since the sweep began?
    fresh: bool,
    drained: bool,
}

impl HandOff {
    /// The ring changed: what is under way is about other arcs.
    pub(super) fn restart(&mut self) {
        *self = HandOff { fresh: true, ..HandOff::default() };
    }

    /// Another node is told that this key is here: it may drop its own copy for that, so this one must not be dropped on
    /// the strength of what others said before.
    pub(super) fn vouched_for(&mut self, key: &Key) {
        self.page.retain(|(mine, _)| mine != key);
    }

    pub(super) fn is_swept(&self) -> bool {
        self.drained
    }

    pub(super) fn is_drained(&self) -> bool {
        self.drained && !self.fresh
    }
}

impl Eventual {
    /// Something was stored: will a sweep have to hand it on?
    pub(super) fn note_stray(&mut self, key: &Key) {
        let id = key.id(self.settings.space);
        if self.handoff.fresh || self.table.is_none() || self.is_replica(self.me, id) {
            return;
        }
        self.handoff.fresh = true;
        if self.handoff.sweep == 0 {
            self.set_timer(Timer::HandOff, SWEEP_AFTER);
        }
    }

    pub(super) fn start_sweep(&mut self, data: &dyn Data) {
        let Some(table) = &self.table else { return };
        if self.handoff.sweep != 0 {
            return;
        }
        let arcs = table.foreign(self.me).into();
        let sweep = self.number();
        self.handoff = HandOff { sweep, arcs, ..HandOff::default() };
        self.next_page(data);
    }

    /// Offers the next page, or ends the sweep.
    fn next_page(&mut self, data: &dyn Data) {
        while let Some((arc, replicas)) = self.handoff.arcs.front().cloned() {
            let page = page(arc, self.handoff.after.as_ref(), data);
            if page.is_empty() {
                self.handoff.arcs.pop_front();
                self.handoff.after = None;
                continue;
            }
            self.handoff.open =
                replicas.into_iter().filter(|store| !self.stores.forgotten.contains(store)).collect();
            self.handoff.replicas = self.handoff.open.len();
            self.handoff.newer.clear();
            self.handoff.page = page.clone();
            self.handoff.sweep = self.number();
            for store in self.handoff.open.clone() {
                let why = Call::Offer { to: store, sweep: self.handoff.sweep };
                self.call(store, Request::Offer(page.clone()), why);
            }
            return;
        }
        let HandOff { failed, fresh, .. } = self.handoff;
        self.handoff.sweep = 0;
        self.handoff.drained = !failed;
        let after = if failed || fresh { SWEEP_AFTER } else { self.settings.recheck_every };
        let after = self.jitter(after);
        self.set_timer(Timer::HandOff, after);
    }

    fn leave_arc(&mut self, data: &dyn Data) {
        self.handoff.failed = true;
        self.handoff.arcs.pop_front();
        self.handoff.after = None;
        self.next_page(data);
    }

    pub(super) fn offered(&mut self, to: StoreId, sweep: u64, response: Option<Response>, data: &dyn Data) {
        if self.handoff.sweep != sweep {
            return;
        }
        match response {
            Some(Response::Offered { wanted, newer }) => {
                let offered = |key: &Key| self.handoff.page.iter().any(|(mine, _)| mine == key);
                if !wanted.iter().all(offered) {
                    return self.leave_arc(data);
                }
                for key in newer {
                    *self.handoff.newer.entry(key).or_default() += 1;
                }
                self.hand_on(to, wanted, data);
            }
            _ => self.leave_arc(data),
        }
    }

    /// Sends the first of these that fit; with none left the replica has confirmed the page.
    fn hand_on(&mut self, to: StoreId, mut keys: Vec<Key>, data: &dyn Data) {
        let held = keys.iter().map(|key| (key.clone(), self.held(key, data)));
        let batch = fitting(held, |(key, held)| key.size() + held.as_ref().map_or(0, |held| held.size()));
        let rest = keys.split_off(batch.len());
        let entries: Vec<_> = batch.into_iter().filter_map(|(key, held)| Some((key, held?))).collect();
        if !entries.is_empty() {
            let why = Call::HandOn { to, sweep: self.handoff.sweep, rest };
            return self.call(to, Request::Copy { entries, durable: true }, why);
        }
        if !rest.is_empty() {
            return self.hand_on(to, rest, data);
        }
        self.handoff.open.remove(&to);
        if self.handoff.open.is_empty() {
            self.page_confirmed(data);
        }
    }

    pub(super) fn handed_on(
        &mut self,
        to: StoreId,
        sweep: u64,
        rest: Vec<Key>,
        stored: bool,
        data: &dyn Data,
    ) {
        if self.handoff.sweep != sweep {
            return;
        }
        if stored { self.hand_on(to, rest, data) } else { self.leave_arc(data) }
    }

    /// All replicas have the page: what did not change meanwhile is not needed here any more.
    fn page_confirmed(&mut self, data: &dyn Data) {
        let page = std::mem::take(&mut self.handoff.page);
        self.handoff.after = page.last().map(|(key, _)| key.clone());
        let space = self.settings.space;
        let over = |(key, version): &(Key, Version)| {
            let superseded = self.handoff.newer.get(key) == Some(&self.handoff.replicas);
            let held = self.held(key, data).filter(|held| held.version == *version);
            let may_go = held.is_some_and(|held| superseded || !held.is_tombstone());
            may_go && !self.is_replica(self.me, key.id(space))
        };
        let erased: Vec<Key> = page.into_iter().filter(over).map(|(key, _)| key).collect();
        self.counters.handed_off += erased.len() as u64;
        self.erase(erased);
        self.next_page(data);
    }
}

fn page(arc: Range, after: Option<&Key>, data: &dyn Data) -> Vec<(Key, Version)> {
    let mut page: Vec<(Key, Version)> = Vec::new();
    let mut bytes = 0;
    data.visit(arc, after, &mut |key, version, _| {
        bytes += key.size();
        if page.len() == KEYS_MAX || bytes > BYTES_MAX && !page.is_empty() {
            return ControlFlow::Break(());
        }
        page.push((key.clone(), version));
        ControlFlow::Continue(())
    });
    page
}
