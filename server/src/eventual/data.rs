//! The engine as the state machine reads it.

use std::cell::RefCell;
use std::ops::{Bound, ControlFlow};

use chordata_protocol::eventual::{Data, Stamped};
use chordata_protocol::merkle::{Digest, RecordHash, Source};
use chordata_protocol::{Id, Key, Moment, Range, StoreId, Version};
use chordata_store::{Engine, Item, Position, StoreError};

use super::index::{Index, hash_of};
use super::notes;

/// The engine for the time of one event. What cannot be read counts as not there, and is noted.
pub(super) struct View<'a> {
    engine: &'a dyn Engine,
    index: &'a Index,
    damaged: RefCell<Vec<StoreError>>,
}

impl<'a> View<'a> {
    pub(super) fn new(engine: &'a dyn Engine, index: &'a Index) -> View<'a> {
        View { engine, index, damaged: RefCell::default() }
    }

    /// What could not be read.
    pub(super) fn into_damaged(self) -> Vec<StoreError> {
        self.damaged.into_inner()
    }

    fn readable<T>(&self, result: Result<T, StoreError>) -> Option<T> {
        match result {
            Ok(found) => Some(found),
            Err(error) if error.is_survivable() => {
                self.damaged.borrow_mut().push(error);
                None
            }
            Err(error) => crate::node::fatal(&error),
        }
    }

    /// Goes on behind what is damaged.
    fn scan(&self, range: Range, after: Option<&Key>, visit: &mut dyn FnMut(Item<'_>) -> ControlFlow<()>) {
        let mut after: Option<Position> = after.map(|key| (key.id(self.index.space), key.clone()));
        loop {
            match self.engine.scan(range, after.as_ref(), visit) {
                Ok(()) => return,
                Err(StoreError::Damaged { id, key }) => {
                    after = Some((id, key.clone()));
                    self.damaged.borrow_mut().push(StoreError::Damaged { id, key });
                }
                Err(error) => crate::node::fatal(&error),
            }
        }
    }
}

impl Source for View<'_> {
    fn digest(&self, range: Range) -> Digest {
        let parts = self.index.tree.parts(range);
        let mut digest = parts.digest;
        for stretch in parts.scan {
            self.scan(stretch, None, &mut |item| {
                digest.insert(hash_of(&item));
                ControlFlow::Continue(())
            });
        }
        digest
    }

    fn visit(
        &self,
        range: Range,
        after: Option<&Key>,
        visit: &mut dyn FnMut(&Key, Version, RecordHash) -> ControlFlow<()>,
    ) {
        self.scan(range, after, &mut |item| visit(&item.key.to_key(), item.version, hash_of(&item)));
    }
}

impl Data for View<'_> {
    fn get(&self, key: &Key) -> Option<Stamped> {
        let stored = self.readable(self.engine.stored(key.id(self.index.space), key)).flatten()?;
        Some(Stamped { version: stored.version, value: stored.value, expires: stored.expires })
    }

    fn version(&self, key: &Key) -> Option<Version> {
        let mark = self.readable(self.engine.mark(key.id(self.index.space), key)).flatten()?;
        Some(mark.version)
    }

    fn tombstones(
        &self,
        range: Range,
        after: Option<&Key>,
        visit: &mut dyn FnMut(&Key, Version) -> ControlFlow<()>,
    ) {
        let space = self.index.space;
        let lowest = |id| (id, Key::Bytes(Vec::new()));
        let first = lowest(space.next(range.low));
        let from = match after {
            None => Bound::Included(first.clone()),
            Some(key) => Bound::Excluded((key.id(space), key.clone())),
        };
        // Up from there to the top of the ring, then from its bottom on; less if it goes on behind the bottom already.
        let all = &self.index.tombstones;
        let wrapped = matches!(&from, Bound::Excluded(position) if position.0 < first.0);
        let top = if wrapped { Bound::Excluded(first.clone()) } else { Bound::Unbounded };
        let bottom = if wrapped { lowest(Id::ZERO) } else { first };
        for (position, version) in all.range((from, top)).chain(all.range(lowest(Id::ZERO)..bottom)) {
            if !range.contains(position.0) || visit(&position.1, *version).is_break() {
                return;
            }
        }
    }

    fn ended(&self, by: Moment, visit: &mut dyn FnMut(&Key, Version) -> ControlFlow<()>) {
        let visited = self.engine.endings(None, &mut |ending| {
            if ending.at > by {
                return ControlFlow::Break(());
            }
            let mark = self.readable(self.engine.mark(ending.id, &ending.key)).flatten();
            // Where a damaged record was overwritten, what is there now may end at another time.
            match mark.filter(|mark| mark.expires == Some(ending.at)) {
                Some(mark) => visit(&ending.key, mark.version),
                None => ControlFlow::Continue(()),
            }
        });
        self.readable(visited);
    }

    fn hints(&self, store: StoreId, visit: &mut dyn FnMut(&Key) -> ControlFlow<()>) {
        self.readable(notes::hints(self.engine, store, visit));
    }
}
