//! Snapshots: what was overwritten while somebody looks at an older moment.
//!
//! While snapshots are open, the newest of them collects the old value of whatever changes. A snapshot sees the present,
//! below what newer snapshots collected, below what it collected itself. So a change costs the same however many
//! snapshots there are, and nothing when there is none; the engines' own structures know nothing of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use crate::layers::Layer;

/// The keys of an engine as they were at one moment. Drop it soon: what is overwritten meanwhile stays in memory.
#[derive(Debug)]
pub struct Snapshot {
    moment: u64,
    open: Arc<()>,
}

#[derive(Debug)]
struct Level<R> {
    open: Weak<()>,
    old: Layer<R>,
}

/// What an engine remembers for its snapshots.
#[derive(Debug)]
pub(crate) struct Undo<R> {
    /// By the moments at which snapshots were taken.
    levels: BTreeMap<u64, Level<R>>,
    next: u64,
}

impl<R> Default for Undo<R> {
    fn default() -> Undo<R> {
        Undo { levels: BTreeMap::new(), next: 0 }
    }
}

impl<R> Undo<R> {
    pub(crate) fn open(&mut self) -> Snapshot {
        self.forget_closed();
        let (moment, open) = (self.next, Arc::new(()));
        self.next += 1;
        self.levels.insert(moment, Level { open: Arc::downgrade(&open), old: Layer::new() });
        Snapshot { moment, open }
    }

    /// To be called in front of every batch. Answers whether old values must be kept.
    pub(crate) fn begin(&mut self) -> bool {
        if !self.levels.is_empty() {
            self.forget_closed();
        }
        !self.levels.is_empty()
    }

    /// The row at this place is about to become another; this is the old one (none: there was no row).
    pub(crate) fn keep(&mut self, place: &[u8], old: impl FnOnce() -> Option<R>) {
        if let Some(mut newest) = self.levels.last_entry() {
            let kept = &mut newest.get_mut().old;
            if !kept.contains_key(place) {
                kept.insert(place.into(), old());
            }
        }
    }

    /// What lies over the present for this snapshot, the uppermost first.
    pub(crate) fn layers(&self, snapshot: &Snapshot) -> impl Iterator<Item = &Layer<R>> {
        let mine = self.levels.get(&snapshot.moment);
        let is_mine = mine.is_some_and(|level| level.open.as_ptr() == Arc::as_ptr(&snapshot.open));
        assert!(is_mine, "a snapshot is used with the engine that it was taken from");
        self.levels.range(snapshot.moment..).map(|(_, level)| &level.old)
    }

    /// A closed snapshot's old values serve the next older one that is open; in front of that one nobody needs them.
    fn forget_closed(&mut self) {
        let closed = |level: &Level<R>| level.open.strong_count() == 0;
        let moments: Vec<u64> =
            self.levels.iter().filter(|(_, level)| closed(level)).map(|(moment, _)| *moment).collect();
        for moment in moments {
            let Some(level) = self.levels.remove(&moment) else { continue };
            if let Some((_, older)) = self.levels.range_mut(..moment).next_back() {
                for (place, row) in level.old {
                    older.old.entry(place).or_insert(row);
                }
            }
        }
    }
}
