//! The engine that keeps everything in memory: an ordered map from identifiers to keys.
//!
//! Nearly every identifier has a single key (two with one SHA-1 are not known; small teaching rings have several), so
//! a slot holds one key in place and makes room for more only when it must.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use chordata_protocol::{Id, Key, Range, Record, Version};

use crate::{Change, Engine, Position};

/// The keys of one identifier, ordered. Never empty.
#[derive(Clone, Debug)]
enum Slot {
    One(Key, Record),
    Many(Vec<(Key, Record)>),
}

impl Slot {
    fn get(&self, key: &Key) -> Option<&Record> {
        match self {
            Slot::One(mine, record) => (mine == key).then_some(record),
            Slot::Many(entries) => {
                let at = entries.binary_search_by(|(mine, _)| mine.cmp(key)).ok()?;
                entries.get(at).map(|(_, record)| record)
            }
        }
    }

    fn entries(&self) -> Vec<(&Key, &Record)> {
        match self {
            Slot::One(key, record) => vec![(key, record)],
            Slot::Many(entries) => entries.iter().map(|(key, record)| (key, record)).collect(),
        }
    }

    fn into_entries(self) -> Vec<(Key, Record)> {
        match self {
            Slot::One(key, record) => vec![(key, record)],
            Slot::Many(entries) => entries,
        }
    }

    fn from_entries(mut entries: Vec<(Key, Record)>) -> Option<Slot> {
        match entries.len() {
            0 | 1 => entries.pop().map(|(key, record)| Slot::One(key, record)),
            _ => Some(Slot::Many(entries)),
        }
    }
}

/// Everything in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryEngine {
    slots: BTreeMap<Id, Slot>,
    keys: u64,
    bytes: u64,
}

fn size(key: &Key, record: &Record) -> u64 {
    (key.size() + record.value.len()) as u64
}

impl MemoryEngine {
    fn put(&mut self, id: Id, key: Key, record: Record) {
        self.bytes += size(&key, &record);
        self.keys += 1;
        match self.slots.get_mut(&id) {
            Some(Slot::One(mine, old)) if *mine == key => {
                self.bytes -= size(mine, old);
                self.keys -= 1;
                *old = record;
            }
            Some(_) => self.change_slot(id, &key.clone(), Some((key, record))),
            None => {
                self.slots.insert(id, Slot::One(key, record));
            }
        }
    }

    fn remove(&mut self, id: Id, key: &Key) {
        self.change_slot(id, key, None);
    }

    /// The general case: takes the slot apart, and puts it together again.
    fn change_slot(&mut self, id: Id, key: &Key, new: Option<(Key, Record)>) {
        let mut entries = self.slots.remove(&id).map(Slot::into_entries).unwrap_or_default();
        let at = match entries.binary_search_by(|(mine, _)| mine.cmp(key)) {
            Ok(at) => {
                let (old_key, old) = entries.remove(at);
                self.bytes -= size(&old_key, &old);
                self.keys -= 1;
                at
            }
            Err(at) => at,
        };
        if let Some(entry) = new {
            entries.insert(at, entry);
        }
        if let Some(slot) = Slot::from_entries(entries) {
            self.slots.insert(id, slot);
        }
    }
}

impl Engine for MemoryEngine {
    fn get(&self, id: Id, key: &Key) -> Option<Record> {
        self.slots.get(&id)?.get(key).cloned()
    }

    fn version(&self, id: Id, key: &Key) -> Option<Version> {
        self.slots.get(&id)?.get(key).map(|record| record.version)
    }

    fn apply(&mut self, batch: Vec<Change>) {
        for change in batch {
            match change {
                Change::Put(id, key, record) => self.put(id, key, record),
                Change::Remove(id, key) => self.remove(id, &key),
            }
        }
    }

    fn scan(
        &self,
        range: Range,
        after: Option<&Position>,
        visit: &mut dyn FnMut(Id, &Key, &Record) -> ControlFlow<()>,
    ) {
        for (low, high) in segments(range, after.map(|(id, _)| *id)) {
            for (id, slot) in self.slots.range((low, high)) {
                for (key, record) in slot.entries() {
                    let passed = after.is_some_and(|(at, last)| at == id && key <= last);
                    if !passed && visit(*id, key, record).is_break() {
                        return;
                    }
                }
            }
        }
    }

    fn keys(&self) -> u64 {
        self.keys
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

type Segment = (Bound<Id>, Bound<Id>);

/// The range as one or two stretches of ids that go up, from `from` (included) on.
fn segments(range: Range, from: Option<Id>) -> Vec<Segment> {
    use Bound::{Excluded, Included, Unbounded};
    let Range { low, high } = range;
    let start = from.map_or(Excluded(low), Included);
    if low < high {
        return vec![(start, Included(high))];
    }
    match from {
        // Already around the top of the ring.
        Some(id) if id <= high && id != low => vec![(start, Included(high))],
        Some(id) if id == low && low == high => vec![(start, Included(high))],
        Some(_) | None => vec![(start, Unbounded), (Unbounded, Included(high))],
    }
}
