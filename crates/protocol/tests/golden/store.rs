//! The keys of one node, and what hand-overs do with them: read a part of a range, merge what came, erase.

use std::collections::BTreeMap;

use chordata_protocol::key::Entry;
use chordata_protocol::{Id, Key, Range, Record, Space, Version};

/// Stored keys in the order of their places.
#[derive(Debug, Default)]
pub(crate) struct Store {
    records: BTreeMap<(Id, Key), Record>,
}

impl Store {
    pub(crate) fn records(&self) -> impl Iterator<Item = (&Key, &Record)> {
        self.records.iter().map(|((_, key), record)| (key, record))
    }

    pub(crate) fn get(&self, space: Space, key: &Key) -> Option<&Record> {
        self.records.get(&(key.id(space), key.clone()))
    }

    pub(crate) fn version(&self, space: Space, key: &Key) -> Option<Version> {
        self.get(space, key).map(|record| record.version)
    }

    pub(crate) fn put(&mut self, space: Space, key: Key, record: Record) {
        self.records.insert((key.id(space), key), record);
    }

    pub(crate) fn remove(&mut self, space: Space, key: &Key) {
        self.records.remove(&(key.id(space), key.clone()));
    }

    /// Keys of the range behind `after`, going around from its low end, until it would be more bytes; at least one.
    pub(crate) fn read_range(
        &self,
        space: Space,
        range: Range,
        after: Option<&Key>,
        bytes_max: usize,
    ) -> (Vec<Entry>, Option<Key>) {
        let place = |key: &Key| (space.distance(space.next(range.low), key.id(space)), key.clone());
        let begin = after.map(place);
        let mut behind: Vec<(&Key, &Record)> = self
            .records()
            .filter(|(key, _)| range.contains(key.id(space)))
            .filter(|(key, _)| begin.as_ref().is_none_or(|begin| place(key) > *begin))
            .collect();
        behind.sort_by_key(|(key, _)| place(key));
        let all = behind.len();
        let fitting = fit(behind.iter().map(|(key, record)| key.size() + record.value.len()), bytes_max);
        let entries: Vec<Entry> = behind
            .into_iter()
            .take(fitting)
            .map(|(key, record)| (key.clone(), Some(record.clone())))
            .collect();
        let next = if fitting < all { entries.last().map(|(key, _)| key.clone()) } else { None };
        (entries, next)
    }

    /// What the first of these keys hold, until it would be more bytes; at least one.
    pub(crate) fn read_keys(&self, space: Space, keys: Vec<Key>, bytes_max: usize) -> Vec<Entry> {
        let mut entries: Vec<Entry> = keys
            .into_iter()
            .map(|key| {
                let record = self.get(space, &key).cloned();
                (key, record)
            })
            .collect();
        let sizes = entries
            .iter()
            .map(|(key, record)| key.size() + record.as_ref().map_or(0, |record| record.value.len()));
        let fitting = fit(sizes, bytes_max);
        entries.truncate(fitting);
        entries
    }

    /// Stores entries whose versions are higher than what is there; removes those that hold nothing.
    pub(crate) fn merge(&mut self, space: Space, entries: Vec<Entry>) {
        for (key, record) in entries {
            match record {
                None => self.remove(space, &key),
                Some(record) if self.version(space, &key).is_none_or(|mine| mine < record.version) => {
                    self.put(space, key, record);
                }
                Some(_) => {}
            }
        }
    }

    pub(crate) fn erase(&mut self, range: Range) {
        self.records.retain(|(id, _), _| !range.contains(*id));
    }
}

/// How many of these sizes fit; at least one.
fn fit(sizes: impl Iterator<Item = usize>, bytes_max: usize) -> usize {
    let mut bytes = 0;
    let fitting = sizes.take_while(|size| {
        bytes += size;
        bytes <= bytes_max
    });
    fitting.count().max(1)
}
