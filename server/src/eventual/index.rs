//! What is kept in memory about the engine's records: their digests, and where the tombstones are.
//!
//! Both follow every change that goes through [`Index::apply`], and are built anew from a scan when the node starts. A
//! record whose checksum is wrong has no hash that could be taken out of the digests again: it is removed, and the digest
//! of its bucket is built anew.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::ControlFlow;

use chordata_protocol::eventual::{Change, Stamped};
use chordata_protocol::merkle::{RecordHash, Tree, copy_hash};
use chordata_protocol::{Id, Key, Peer, Range, Space, StoreId, Version};
use chordata_store::{Change as Write, Engine, Item, Position, StoreError, Stored};

use super::notes;

/// Damaged records that are removed in one batch.
const REMOVED_AT_ONCE: usize = 4096;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Index {
    pub(super) space: Space,
    pub(super) tree: Tree,
    pub(super) tombstones: BTreeMap<Position, Version>,
    /// Hints on disk.
    pub(super) hints: u64,
}

/// The hash of what lies in an engine.
pub(super) fn hash_of(item: &Item<'_>) -> RecordHash {
    copy_hash(&item.key.to_key(), item.version, item.value, item.expires)
}

fn hash(key: &Key, stored: &Stored) -> RecordHash {
    copy_hash(key, stored.version, stored.value.as_deref(), stored.expires)
}

/// Is there such a note, readable or not?
fn has_note(engine: &dyn Engine, name: &[u8]) -> Result<bool, StoreError> {
    match engine.note(name) {
        Ok(note) => Ok(note.is_some()),
        Err(StoreError::DamagedNote { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// The whole ring, from the lowest identifier on.
pub(super) fn everything(space: Space) -> Range {
    let last = space.distance(Id::from_u128(1), Id::ZERO);
    Range { low: last, high: last }
}

impl Index {
    /// Of everything that an engine has. What is damaged there is removed: how much was is the second part.
    ///
    /// # Errors
    /// When the store has failed.
    pub(super) fn build(engine: &mut dyn Engine, space: Space) -> Result<(Index, usize), StoreError> {
        let (hints, damaged_hints) = notes::count_hints(engine)?;
        let mut index = Index { space, tree: Tree::new(space), tombstones: BTreeMap::new(), hints };
        let damaged = index.take_in(engine, everything(space))?;
        let removed = damaged.len() + damaged_hints.len();
        let hints = damaged_hints.into_iter().map(|name| Write::Note(name, None));
        let removals: Vec<Write> =
            damaged.into_iter().map(|(id, key)| Write::Remove(id, key)).chain(hints).collect();
        for part in removals.chunks(REMOVED_AT_ONCE) {
            engine.apply(part.to_vec())?;
        }
        Ok((index, removed))
    }

    /// Adds what an engine has in a range. What could not be read.
    fn take_in(&mut self, engine: &dyn Engine, range: Range) -> Result<Vec<Position>, StoreError> {
        let mut damaged: Vec<Position> = Vec::new();
        loop {
            let scanned = engine.scan(range, damaged.last(), &mut |item| {
                // Where a scan goes on behind a damaged record nothing in front of that comes again.
                self.tree.insert(item.id, hash_of(&item));
                if item.value.is_none() {
                    self.tombstones.insert(item.position(), item.version);
                }
                ControlFlow::Continue(())
            });
            match scanned {
                Ok(()) => return Ok(damaged),
                Err(StoreError::Damaged { id, key }) => damaged.push((id, key)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes what is damaged. Of its hash nothing is known, so the digests near by are built anew.
    ///
    /// # Errors
    /// When the store has failed.
    pub(super) fn remove_damaged(
        &mut self,
        engine: &mut dyn Engine,
        damaged: Vec<StoreError>,
    ) -> Result<(), StoreError> {
        for error in damaged {
            match error {
                StoreError::Damaged { id, key } => {
                    engine.apply(vec![Write::Remove(id, key)])?;
                    let bucket = self.tree.reset(id);
                    self.tombstones.retain(|(id, _), _| !bucket.contains(*id));
                    let others = self.take_in(engine, bucket)?;
                    let removals = others.into_iter().map(|(id, key)| Write::Remove(id, key));
                    engine.apply(removals.collect())?;
                }
                StoreError::DamagedNote { name } => {
                    engine.apply(vec![Write::Note(name, None)])?;
                    (self.hints, _) = notes::count_hints(engine)?;
                }
                error => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes all these changes in one batch.
    ///
    /// # Errors
    /// When a record that is to be replaced is damaged (nothing was changed), or the store has failed.
    pub(super) fn apply(
        &mut self,
        engine: &mut dyn Engine,
        changes: &[Change],
        peer_of: impl Fn(StoreId) -> Option<Peer>,
    ) -> Result<(), StoreError> {
        // Later changes of one key in a batch count, so the digests must know what the earlier ones leave.
        let mut current: BTreeMap<Position, Option<Stored>> = BTreeMap::new();
        for change in changes {
            if let Change::Put(key, _) | Change::Erase(key) = change {
                let position = (key.id(self.space), key.clone());
                if let Entry::Vacant(place) = current.entry(position) {
                    let stored = engine.stored(place.key().0, key)?;
                    place.insert(stored);
                }
            }
        }
        let mut batch = Vec::with_capacity(changes.len());
        for change in changes {
            batch.push(match change {
                Change::Put(key, held) => {
                    let position = (key.id(self.space), key.clone());
                    let Stamped { version, value, expires } = held.clone();
                    let stored = Stored { version, value, expires };
                    self.replace(&position, current.get(&position).cloned().flatten(), Some(&stored));
                    current.insert(position.clone(), Some(stored));
                    match held.clone().into_record() {
                        Some(record) => Write::Put(position.0, position.1, record),
                        None => Write::Bury(position.0, position.1, held.version),
                    }
                }
                Change::Erase(key) => {
                    let position = (key.id(self.space), key.clone());
                    self.replace(&position, current.get(&position).cloned().flatten(), None);
                    current.insert(position.clone(), None);
                    Write::Remove(position.0, position.1)
                }
                Change::Hint(store, key) => {
                    let name = notes::hint_name(*store, key);
                    self.hints += u64::from(!has_note(engine, &name)?);
                    Write::Note(name, Some(Vec::new()))
                }
                Change::Unhint(store, key) => {
                    let name = notes::hint_name(*store, key);
                    let was = has_note(engine, &name)?;
                    self.hints = self.hints.saturating_sub(u64::from(was));
                    Write::Note(name, None)
                }
                Change::Bound(bound) => notes::bound(*bound),
                Change::Known(store) => notes::known(*store, peer_of(*store).as_ref()),
                Change::Forgotten(store) => notes::forgotten(*store),
            });
        }
        engine.apply(batch)?;
        Ok(())
    }

    fn replace(&mut self, position: &Position, before: Option<Stored>, now: Option<&Stored>) {
        let (id, key) = position;
        if let Some(before) = before {
            self.tree.remove(*id, hash(key, &before));
        }
        self.tombstones.remove(position);
        if let Some(now) = now {
            self.tree.insert(*id, hash(key, now));
            if now.value.is_none() {
                self.tombstones.insert(position.clone(), now.version);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chordata_protocol::Moment;
    use chordata_store::MemoryEngine;

    use super::*;

    fn put(key: &str, sequence: u64, value: Option<&str>) -> Change {
        let version = Version { epoch: 1, sequence };
        Change::Put(Key::new(key), Stamped { version, value: value.map(|text| text.into()), expires: None })
    }

    fn put_ending(key: &str, sequence: u64, millis: u64) -> Change {
        let Change::Put(key, held) = put(key, sequence, Some("x")) else { unreachable!() };
        Change::Put(key, Stamped { expires: Some(Moment::from_millis(millis)), ..held })
    }

    #[test]
    fn what_follows_changes_is_what_a_scan_finds() {
        let space = Space::new(8).unwrap();
        let mut engine = MemoryEngine::default();
        let (mut index, _) = Index::build(&mut engine, space).unwrap();
        let store = StoreId(7);
        let batches = [
            vec![put("a", 1, Some("x")), put("b", 1, Some("y")), put("a", 2, Some("z"))],
            vec![put("b", 2, None), put("c", 1, None), Change::Hint(store, Key::new("a"))],
            vec![Change::Erase(Key::new("c")), put("a", 3, None), put("a", 4, Some("back"))],
            vec![Change::Hint(store, Key::new("a")), Change::Hint(store, Key::new("b"))],
            vec![put_ending("d", 1, 5), put_ending("d", 2, 6), put_ending("e", 1, 5), put("e", 1, None)],
            vec![put("d", 3, Some("stays")), put_ending("a", 5, 9)],
            vec![Change::Erase(Key::new("a")), put("a", 6, Some("back")), put("e", 2, Some("back"))],
            vec![Change::Unhint(store, Key::new("a")), Change::Unhint(store, Key::new("none"))],
        ];
        for batch in batches {
            index.apply(&mut engine, &batch, |_| None).unwrap();
            let (built, damaged) = Index::build(&mut engine, space).unwrap();
            assert_eq!(damaged, 0);
            assert_eq!(index.tree, built.tree, "{batch:?}");
            assert_eq!(index.tombstones, built.tombstones, "{batch:?}");
            assert_eq!(index.hints, built.hints, "{batch:?}");
        }
        assert_eq!(index.tombstones.len(), 1, "{:?}", index.tombstones);
        assert_eq!(index.hints, 1);
    }
}
