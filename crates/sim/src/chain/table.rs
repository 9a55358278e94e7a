//! The real engine in memory, as the simulation uses it: it cannot fail, and it can be copied. Records can be damaged:
//! then other bytes are there than were written, and a checksum says so to whoever asks.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use chordata_protocol::key::Entry;
use chordata_protocol::{Ending, Id, Key, Moment, Range, Record, Space, Value, Version};
use chordata_store::{Change, Engine, MemoryEngine, Position, transfer};

const NEVER_FAILS: &str = "an engine in memory has no disk that could fail, and the keys are short";

/// Keys with what they hold.
#[derive(Debug, Default)]
pub struct Table {
    engine: MemoryEngine,
    /// Records whose checksum is wrong.
    damaged: BTreeSet<Position>,
}

impl Clone for Table {
    fn clone(&self) -> Table {
        let mut copy = Table::default();
        let whole = Range { low: Id::ZERO, high: Id::ZERO };
        copy.take(self, whole);
        copy
    }
}

impl Table {
    /// What a key holds; of a damaged record what is there instead.
    pub fn get(&self, id: Id, key: &Key) -> Option<Record> {
        self.engine.get(id, key).expect(NEVER_FAILS)
    }

    /// The version of what a key holds.
    pub fn version(&self, id: Id, key: &Key) -> Option<Version> {
        self.engine.version(id, key).expect(NEVER_FAILS)
    }

    /// Is the checksum of what the key holds wrong? Then it must not be used.
    pub fn is_damaged(&self, id: Id, key: &Key) -> bool {
        !self.damaged.is_empty() && self.damaged.contains(&(id, key.clone()))
    }

    /// Records that cannot be read.
    pub fn damaged(&self) -> impl Iterator<Item = &Position> {
        self.damaged.iter()
    }

    /// Other bytes are in the place of a record from now on.
    pub fn damage(&mut self, id: Id, key: &Key) {
        let Some(record) = self.get(id, key) else { return };
        let other = Record { value: Value::from(format!("damaged {}", record.value)), ..record };
        self.apply(vec![Change::Put(id, key.clone(), other)]);
        self.damaged.insert((id, key.clone()));
    }

    /// Makes all changes. What is written anew is whole again.
    pub fn apply(&mut self, batch: Vec<Change>) {
        if !self.damaged.is_empty() {
            for change in &batch {
                let (Change::Put(id, key, _) | Change::Remove(id, key)) = change else { continue };
                self.damaged.remove(&(*id, key.clone()));
            }
        }
        self.engine.apply(batch).expect(NEVER_FAILS);
    }

    /// Visits keys with their versions, going up the ring from the low end of the range, beginning behind `after`.
    pub fn scan(
        &self,
        range: Range,
        after: Option<&Position>,
        visit: &mut dyn FnMut(Id, Key, Version) -> ControlFlow<()>,
    ) {
        let scanned =
            self.engine.scan(range, after, &mut |item| visit(item.id, item.key.to_key(), item.version));
        scanned.expect(NEVER_FAILS);
    }

    /// Keys whose moment is at or before this one, the earliest first, behind `after`: no more than `limit` are looked at.
    /// With where to go on, if that was not all.
    pub fn due(&self, by: Moment, after: Option<&Ending>, limit: usize) -> (Vec<Ending>, Option<Ending>) {
        let (mut due, mut upto): (Vec<Ending>, Option<Ending>) = (Vec::new(), None);
        let visited = self.engine.endings(after, &mut |ending| {
            if ending.at > by {
                return ControlFlow::Break(());
            }
            if due.len() == limit {
                upto = due.last().cloned();
                return ControlFlow::Break(());
            }
            due.push(ending);
            ControlFlow::Continue(())
        });
        visited.expect(NEVER_FAILS);
        (due, upto)
    }

    /// Takes over what another one has in a range.
    pub fn take(&mut self, other: &Table, range: Range) {
        let mut changes = Vec::new();
        let scanned = other.engine.scan(range, None, &mut |item| {
            if let Some(record) = item.record() {
                changes.push(Change::Put(item.id, item.key.to_key(), record));
            }
            ControlFlow::Continue(())
        });
        scanned.expect(NEVER_FAILS);
        self.apply(changes);
        self.damaged.extend(other.damaged.iter().filter(|(id, _)| range.contains(*id)).cloned());
    }

    /// Removes all keys of a range.
    pub fn erase(&mut self, range: Range) {
        transfer::erase(&mut self.engine, range).expect(NEVER_FAILS);
        self.damaged.retain(|(id, _)| !range.contains(*id));
    }

    /// What the first of these keys hold: as many as fit.
    pub fn read_keys(&self, space: Space, keys: Vec<Key>, bytes_max: usize) -> Vec<Entry> {
        transfer::read_keys(&self.engine, space, keys, bytes_max).expect(NEVER_FAILS)
    }
}
