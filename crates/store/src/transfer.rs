//! What hand-overs do with an engine: read a part of a range, merge what came, erase.

use std::ops::ControlFlow;

use chordata_protocol::key::Entry;
use chordata_protocol::{Key, Range, Space};

use crate::engine::{Change, Engine, Position, Ticket};
use crate::error::StoreError;

/// Bytes that an entry adds to a message, beside key and value.
const ENTRY_OVERHEAD_BYTES: usize = 32;
/// Keys that one batch erases: a whole range in one would take as much memory as its keys.
const ERASED_AT_ONCE: usize = 4096;
/// Bytes of values in such a batch: an engine on disk reads them, and nobody gets at it meanwhile.
const ERASED_BYTES_AT_ONCE: usize = 8 * 1024 * 1024;

/// Keys of a range that hold something, in their order, beginning behind `after`: as many as fit in `bytes_max`, and at
/// least one. The second part is where to go on; none: that was all.
///
/// # Errors
/// When a record is damaged, or the store has failed.
pub fn read_range(
    engine: &dyn Engine,
    space: Space,
    range: Range,
    after: Option<Key>,
    bytes_max: usize,
) -> Result<(Vec<Entry>, Option<Key>), StoreError> {
    let mut entries: Vec<Entry> = Vec::new();
    let (mut bytes, mut more) = (0, false);
    let position = after.map(|key| (key.id(space), key));
    engine.scan(range, position.as_ref(), &mut |item| {
        let Some(value) = item.value else { return ControlFlow::Continue(()) };
        bytes += item.key.size() + value.len() + ENTRY_OVERHEAD_BYTES;
        if bytes > bytes_max && !entries.is_empty() {
            more = true;
            return ControlFlow::Break(());
        }
        entries.push((item.key.to_key(), item.record()));
        ControlFlow::Continue(())
    })?;
    let next = if more { entries.last().map(|(key, _)| key.clone()) } else { None };
    Ok((entries, next))
}

/// What the first of these keys hold: as many as fit in `bytes_max`, and at least one.
///
/// # Errors
/// When a record is damaged, or the store has failed.
pub fn read_keys(
    engine: &dyn Engine,
    space: Space,
    keys: Vec<Key>,
    bytes_max: usize,
) -> Result<Vec<Entry>, StoreError> {
    let mut entries: Vec<Entry> = Vec::with_capacity(keys.len());
    let mut bytes = 0;
    for key in keys {
        let record = engine.get(key.id(space), &key)?;
        bytes += key.size() + record.as_ref().map_or(0, |record| record.value.len()) + ENTRY_OVERHEAD_BYTES;
        if bytes > bytes_max && !entries.is_empty() {
            break;
        }
        entries.push((key, record));
    }
    Ok(entries)
}

/// Stores entries where their versions are higher than what is there, or where what is there is damaged; removes those
/// that hold nothing.
///
/// # Errors
/// When the store has failed.
pub fn merge(engine: &mut dyn Engine, space: Space, entries: Vec<Entry>) -> Result<Ticket, StoreError> {
    let mut changes = Vec::with_capacity(entries.len());
    for (key, record) in entries {
        let id = key.id(space);
        let Some(record) = record else {
            changes.push(Change::Remove(id, key));
            continue;
        };
        let mine = match engine.mark(id, &key) {
            Ok(mark) => mark.map(|mark| mark.version),
            Err(StoreError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        if mine.is_none_or(|mine| mine < record.version) {
            changes.push(Change::Put(id, key, record));
        }
    }
    engine.apply(changes)
}

/// Removes all keys of a range, and their tombstones, in batches.
///
/// # Errors
/// When the store has failed.
pub fn erase(engine: &mut dyn Engine, range: Range) -> Result<Ticket, StoreError> {
    let mut after: Option<Position> = None;
    loop {
        after = erase_some(engine, range, after.as_ref(), ERASED_AT_ONCE)?;
        if after.is_none() {
            return Ok(engine.applied());
        }
    }
}

/// Removes the first keys of a range behind `after`, and their tombstones, at most so many, fewer if their values are long.
/// Gives the last one; none: there were none.
///
/// # Errors
/// When the store has failed.
pub fn erase_some(
    engine: &mut dyn Engine,
    range: Range,
    after: Option<&Position>,
    count_max: usize,
) -> Result<Option<Position>, StoreError> {
    let (mut erased, mut bytes) = (Vec::new(), 0);
    let scanned = engine.scan(range, after, &mut |item| {
        erased.push(item.position());
        bytes += item.value.map_or(0, <[u8]>::len);
        let has_room = erased.len() < count_max && bytes < ERASED_BYTES_AT_ONCE;
        if has_room { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    match scanned {
        Ok(()) => {}
        // It need not be read to be removed.
        Err(StoreError::Damaged { id, key }) => erased.push((id, key)),
        Err(error) => return Err(error),
    }
    let last = erased.last().cloned();
    engine.apply(erased.into_iter().map(|(id, key)| Change::Remove(id, key)).collect())?;
    Ok(last)
}
