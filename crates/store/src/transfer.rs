//! What hand-overs do with an engine: read a part of a range, merge what came, erase.

use std::ops::ControlFlow;

use chordata_protocol::key::Entry;
use chordata_protocol::{Key, Range, Space};

use crate::{Change, Engine};

/// Bytes that an entry adds to a message, beside key and value.
const ENTRY_OVERHEAD_BYTES: usize = 32;

/// Keys of a range in their order, beginning behind `after`: as many as fit in `bytes_max`, and at least one. The
/// second part is where to go on; none: that was all.
pub fn read_range(
    engine: &dyn Engine,
    space: Space,
    range: Range,
    after: Option<Key>,
    bytes_max: usize,
) -> (Vec<Entry>, Option<Key>) {
    let mut entries: Vec<Entry> = Vec::new();
    let (mut bytes, mut more) = (0, false);
    let position = after.map(|key| (key.id(space), key));
    engine.scan(range, position.as_ref(), &mut |_, key, record| {
        bytes += key.size() + record.value.len() + ENTRY_OVERHEAD_BYTES;
        if bytes > bytes_max && !entries.is_empty() {
            more = true;
            return ControlFlow::Break(());
        }
        entries.push((key.clone(), Some(record.clone())));
        ControlFlow::Continue(())
    });
    let next = if more { entries.last().map(|(key, _)| key.clone()) } else { None };
    (entries, next)
}

/// What the first of these keys hold: as many as fit in `bytes_max`, and at least one.
pub fn read_keys(engine: &dyn Engine, space: Space, keys: Vec<Key>, bytes_max: usize) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::with_capacity(keys.len());
    let mut bytes = 0;
    for key in keys {
        let record = engine.get(key.id(space), &key);
        bytes += key.size() + record.as_ref().map_or(0, |record| record.value.len()) + ENTRY_OVERHEAD_BYTES;
        if bytes > bytes_max && !entries.is_empty() {
            break;
        }
        entries.push((key, record));
    }
    entries
}

/// Stores entries where their versions are higher than what is there; removes those that hold nothing.
pub fn merge(engine: &mut dyn Engine, space: Space, entries: Vec<Entry>) {
    let changes = entries.into_iter().filter_map(|(key, record)| {
        let id = key.id(space);
        match record {
            None => Some(Change::Remove(id, key)),
            Some(record) => {
                let newer = engine.version(id, &key).is_none_or(|mine| mine < record.version);
                newer.then_some(Change::Put(id, key, record))
            }
        }
    });
    let changes = changes.collect();
    engine.apply(changes);
}

/// Removes all keys of a range.
pub fn erase(engine: &mut dyn Engine, range: Range) {
    let mut changes = Vec::new();
    engine.scan(range, None, &mut |id, key, _| {
        changes.push(Change::Remove(id, key.clone()));
        ControlFlow::Continue(())
    });
    engine.apply(changes);
}
