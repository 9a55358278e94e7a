//! The engine that keeps everything in memory: an ordered map from identifiers to keys. It is lost with the process, so
//! every batch is at once as durable as it will ever be, and there is nothing to flush.
//!
//! Nearly every identifier has a single key (two with one SHA-1 are not known; small teaching rings have several), so
//! a slot holds one key in place and makes room for more only when it must. Key and value are one piece of memory
//! (`Packed`): a million keys of 16 B with values of 100 B take about 200 MB. Keys that end by themselves take 8 bytes more,
//! and their identifiers are once more in an ordered set of moments.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::ops::Bound;

use chordata_protocol::{Ending, Id, Key, Moment, Range};

use crate::disk::{Flush, Flushed};
use crate::engine::{
    Change, Counts, EndingVisitor, Engine, Item, Mark, NoteVisitor, Position, Stored, Ticket, Visitor,
};
use crate::error::StoreError;
use crate::layers::{Below, Layer, Layers, Seen, merge};
use crate::packed::Packed;
use crate::row::{self, RowKey, Segment, segments};
use crate::undo::{Snapshot, Undo};

/// The keys of one identifier, ordered. Never empty.
#[derive(Clone, Debug)]
enum Slot {
    One(Packed),
    /// The box keeps the slots of all the others small.
    #[allow(clippy::box_collection, reason = "a bare vector would add 8 bytes to each of a million slots")]
    Many(Box<Vec<Packed>>),
}

const _: () = assert!(size_of::<Slot>() == 2 * size_of::<usize>(), "a slot is as large as one row");

impl Slot {
    fn rows(&self) -> &[Packed] {
        match self {
            Slot::One(row) => std::slice::from_ref(row),
            Slot::Many(rows) => rows,
        }
    }

    fn get(&self, key: &Key) -> Option<&Packed> {
        self.rows().iter().find(|row| row.is_of(key))
    }

    fn into_rows(self) -> Vec<Packed> {
        match self {
            Slot::One(row) => vec![row],
            Slot::Many(rows) => *rows,
        }
    }

    fn from_rows(mut rows: Vec<Packed>) -> Option<Slot> {
        match rows.len() {
            0 | 1 => rows.pop().map(Slot::One),
            _ => Some(Slot::Many(Box::new(rows))),
        }
    }
}

/// Everything in memory.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    slots: BTreeMap<Id, Slot>,
    /// Where rows are that end by themselves, by their moments.
    endings: BTreeSet<(Moment, Id)>,
    notes: BTreeMap<Vec<u8>, Vec<u8>>,
    counts: Counts,
    applied: Ticket,
    undo: Undo<Packed>,
}

impl MemoryEngine {
    fn row(&self, id: Id, key: &Key) -> Option<&Packed> {
        self.slots.get(&id)?.get(key)
    }

    /// The key's row becomes this (none: there is none any more).
    fn set(&mut self, id: Id, key: &Key, row: Option<Packed>, keep_old: bool) {
        if let Some(row) = &row {
            self.counts.add(row.weight());
        }
        let ends = row.as_ref().and_then(Packed::expires);
        let old = self.exchange(id, key, row);
        if let Some(old) = &old {
            self.counts.subtract(old.weight());
            if let Some(ended) = old.expires().filter(|ended| Some(*ended) != ends) {
                self.forget_ending(id, ended);
            }
        }
        if let Some(ends) = ends {
            self.endings.insert((ends, id));
        }
        if keep_old {
            self.undo.keep(&row::place(id, key), || old);
        }
    }

    /// A row there does not end then any more; another of the identifier may.
    fn forget_ending(&mut self, id: Id, moment: Moment) {
        let rows = self.slots.get(&id).map(Slot::rows).unwrap_or_default();
        if rows.iter().all(|row| row.expires() != Some(moment)) {
            self.endings.remove(&(moment, id));
        }
    }

    fn exchange(&mut self, id: Id, key: &Key, row: Option<Packed>) -> Option<Packed> {
        match (self.slots.entry(id), row) {
            (btree_map::Entry::Vacant(_), None) => None,
            (btree_map::Entry::Vacant(slot), Some(row)) => {
                slot.insert(Slot::One(row));
                None
            }
            (btree_map::Entry::Occupied(mut slot), row) => {
                if let (Slot::One(mine), Some(_)) = (slot.get_mut(), &row)
                    && mine.is_of(key)
                {
                    return row.map(|row| std::mem::replace(mine, row));
                }
                // The general case: takes the slot apart, and puts it together again.
                let mut rows = slot.remove().into_rows();
                let at = rows.iter().position(|mine| mine.is_of(key));
                let old = at.map(|at| rows.remove(at));
                if let Some(row) = row {
                    let at = rows.partition_point(|mine| mine.key() < row.key());
                    rows.insert(at, row);
                }
                if let Some(slot) = Slot::from_rows(rows) {
                    self.slots.insert(id, slot);
                }
                old
            }
        }
    }

    fn scan_layers<'a>(
        &'a self,
        layers: impl Fn() -> Vec<&'a Layer<Packed>>,
        range: Range,
        after: Option<&Position>,
        visit: Visitor<'_>,
    ) -> Result<(), StoreError> {
        for segment in segments(range, after) {
            let over = Layers::new(layers().into_iter(), segment.bounds());
            let ended = merge(over, self.below(&segment).map(Ok), |seen| {
                let (key, row) = match &seen {
                    Seen::Below(Row { id, row }) => (RowKey { id: *id, key: row.key() }, *row),
                    Seen::Layer(place, row) => {
                        (RowKey::read(place).expect("only places of rows are kept"), *row)
                    }
                };
                Ok(visit(item(key, row)))
            })?;
            if ended.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn below<'a>(&'a self, segment: &'a Segment) -> impl Iterator<Item = Row<'a>> {
        let id = |place: &Vec<u8>| RowKey::read(place).map_or(Id::ZERO, |place| place.id);
        // Keys of the first identifier that are in front of the segment are passed over one by one.
        let low = segment.low.as_ref().map(id);
        let low = match low {
            Bound::Excluded(id) => Bound::Included(id),
            other => other,
        };
        let slots = self.slots.range((low, segment.high.as_ref().map(id)));
        let rows = slots.flat_map(|(id, slot)| slot.rows().iter().map(|row| Row { id: *id, row }));
        rows.skip_while(|row| match &segment.low {
            Bound::Excluded(low) => row.compare(low) != Ordering::Greater,
            Bound::Included(_) | Bound::Unbounded => false,
        })
    }
}

struct Row<'a> {
    id: Id,
    row: &'a Packed,
}

impl Below for Row<'_> {
    fn compare(&self, place: &[u8]) -> Ordering {
        RowKey { id: self.id, key: self.row.key() }.compare(place)
    }
}

fn item<'a>(place: RowKey<'a>, row: &'a Packed) -> Item<'a> {
    let key = place.key().expect("only keys with their tags are kept");
    Item { id: place.id, key, version: row.version(), value: row.value(), expires: row.expires() }
}

/// Never fails, but for keys that are too long.
impl Engine for MemoryEngine {
    fn stored(&self, id: Id, key: &Key) -> Result<Option<Stored>, StoreError> {
        Ok(self.row(id, key).map(Packed::stored))
    }

    fn mark(&self, id: Id, key: &Key) -> Result<Option<Mark>, StoreError> {
        Ok(self.row(id, key).map(Packed::mark))
    }

    fn note(&self, name: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.notes.get(name).cloned())
    }

    fn notes(&self, prefix: &[u8], after: Option<&[u8]>, visit: NoteVisitor<'_>) -> Result<(), StoreError> {
        let low = row::after_in_prefix(prefix, after);
        for (name, note) in self.notes.range::<[u8], _>((low, Bound::Unbounded)) {
            if !name.starts_with(prefix) || visit(name, note).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn apply(&mut self, batch: Vec<Change>) -> Result<Ticket, StoreError> {
        batch.iter().try_for_each(Change::check)?;
        let keep_old = self.undo.begin();
        for change in batch {
            match change {
                Change::Put(id, key, record) => {
                    let row = Packed::new(&key, record.version, Some(&record.value), record.expires);
                    self.set(id, &key, Some(row), keep_old);
                }
                Change::Bury(id, key, version) => {
                    self.set(id, &key, Some(Packed::new(&key, version, None, None)), keep_old);
                }
                Change::Remove(id, key) => self.set(id, &key, None, keep_old),
                Change::Note(name, Some(note)) => {
                    self.notes.insert(name, note);
                }
                Change::Note(name, None) => {
                    self.notes.remove(&name);
                }
            }
        }
        self.applied = self.applied.next();
        Ok(self.applied)
    }

    fn applied(&self) -> Ticket {
        self.applied
    }

    fn durable(&self) -> Ticket {
        self.applied
    }

    fn scan(&self, range: Range, after: Option<&Position>, visit: Visitor<'_>) -> Result<(), StoreError> {
        self.scan_layers(Vec::new, range, after, visit)
    }

    fn endings(&self, after: Option<&Ending>, visit: EndingVisitor<'_>) -> Result<(), StoreError> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Included((after.at, after.id)));
        for (at, id) in self.endings.range((from, Bound::Unbounded)) {
            for row in self.slots.get(id).map(Slot::rows).unwrap_or_default() {
                let key =
                    RowKey { id: *id, key: row.key() }.key().expect("only keys with their tags are kept");
                let ending = Ending { at: *at, id: *id, key: key.to_key() };
                let is_next = row.expires() == Some(*at) && after.is_none_or(|after| ending > *after);
                if is_next && visit(ending).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Snapshot {
        self.undo.open()
    }

    fn scan_snapshot(
        &self,
        snapshot: &Snapshot,
        range: Range,
        after: Option<&Position>,
        visit: Visitor<'_>,
    ) -> Result<(), StoreError> {
        self.scan_layers(|| self.undo.layers(snapshot).collect(), range, after, visit)
    }

    fn keys(&self) -> u64 {
        self.counts.keys
    }

    fn tombstones(&self) -> u64 {
        self.counts.tombstones
    }

    fn bytes(&self) -> u64 {
        self.counts.bytes
    }

    fn begin_flush(&mut self) -> Result<Option<Flush>, StoreError> {
        Ok(None)
    }

    fn end_flush(&mut self, _: Flushed) -> Result<Ticket, StoreError> {
        Ok(self.applied)
    }

    fn overlay_bytes(&self) -> usize {
        0
    }
}
