//! The disk of a simulated node: what is stored, and what of it is there after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use chordata_protocol::eventual::{Change, Data, Remembered, Stamped, StoreId, Stores};
use chordata_protocol::merkle::arc::offset;
use chordata_protocol::merkle::{Digest, RecordHash, Source, copy_hash};
use chordata_protocol::{Id, Key, Moment, Range, Space, Version};

/// Everything that a node stores.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    space: Space,
    pub(crate) records: BTreeMap<(Id, Key), (Stamped, RecordHash)>,
    pub(crate) hints: BTreeSet<(StoreId, Key)>,
    bound: u64,
    stores: Stores,
}

impl Content {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Put(key, held) => {
                let hash = copy_hash(key, held.version, held.value.as_deref(), held.expires);
                self.records.insert((key.id(self.space), key.clone()), (held.clone(), hash));
            }
            Change::Erase(key) => {
                self.records.remove(&(key.id(self.space), key.clone()));
            }
            Change::Hint(store, key) => {
                self.hints.insert((*store, key.clone()));
            }
            Change::Unhint(store, key) => {
                self.hints.remove(&(*store, key.clone()));
            }
            Change::Bound(bound) => self.bound = *bound,
            Change::Known(store) => {
                self.stores.known.insert(*store);
            }
            Change::Forgotten(store) => {
                self.stores.forgotten.insert(*store);
            }
        }
    }

    fn ordered(&self, range: Range) -> Vec<(&Key, &Stamped, RecordHash)> {
        let mut found: Vec<_> = self.records.iter().filter(|((id, _), _)| range.contains(*id)).collect();
        found.sort_by_key(|((id, key), _)| (offset(self.space, range, *id), key));
        found.into_iter().map(|((_, key), (held, hash))| (key, held, *hash)).collect()
    }
}

/// What a node reads now, what is on disk, and what is on its way there.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) content: Content,
    durable: Content,
    journal: Vec<Change>,
    /// Changes that were ever made durable and left the journal.
    synced: usize,
}

impl Disk {
    pub(crate) fn new(space: Space) -> Disk {
        let content = Content {
            space,
            records: BTreeMap::new(),
            hints: BTreeSet::new(),
            bound: 0,
            stores: Stores::default(),
        };
        Disk { durable: content.clone(), content, journal: Vec::new(), synced: 0 }
    }

    pub(crate) fn store(&mut self, changes: Vec<Change>) {
        for change in changes {
            self.content.apply(&change);
            self.journal.push(change);
        }
    }

    /// The clock's bound that would be there after a crash.
    pub(crate) fn durable_bound(&self) -> u64 {
        self.durable.bound
    }

    /// How many changes have been made so far: a sync that begins now covers them.
    pub(crate) fn position(&self) -> usize {
        self.synced + self.journal.len()
    }

    pub(crate) fn synced_up_to(&mut self, position: usize) {
        let count = position.saturating_sub(self.synced).min(self.journal.len());
        for change in self.journal.drain(..count) {
            self.durable.apply(&change);
        }
        self.synced += count;
    }

    /// The power goes: some of what was not synced is lost, from a moment on.
    pub(crate) fn crash(&mut self, random: &mut fastrand::Rng) {
        let survive = random.usize(0..=self.journal.len());
        self.synced_up_to(self.synced + survive);
        self.synced += self.journal.len();
        self.journal.clear();
        self.content = self.durable.clone();
    }

    pub(crate) fn remembered(&self) -> Remembered {
        Remembered {
            bound: self.content.bound,
            stores: self.content.stores.clone(),
            hinted: self.content.hints.iter().map(|(store, _)| *store).collect(),
        }
    }

    pub(crate) fn held(&self, key: &Key) -> Option<&Stamped> {
        self.content.records.get(&(key.id(self.content.space), key.clone())).map(|(held, _)| held)
    }
}

impl Source for Content {
    fn digest(&self, range: Range) -> Digest {
        let mut digest = Digest::EMPTY;
        for (_, (_, hash)) in self.records.iter().filter(|((id, _), _)| range.contains(*id)) {
            digest.insert(*hash);
        }
        digest
    }

    fn visit(
        &self,
        range: Range,
        after: Option<&Key>,
        visit: &mut dyn FnMut(&Key, Version, RecordHash) -> ControlFlow<()>,
    ) {
        let place = |key: &Key| (offset(self.space, range, key.id(self.space)), key.clone());
        let passed = after.map(place);
        for (key, held, hash) in self.ordered(range) {
            if passed.as_ref().is_none_or(|passed| place(key) > *passed)
                && visit(key, held.version, hash).is_break()
            {
                return;
            }
        }
    }
}

impl Data for Content {
    fn get(&self, key: &Key) -> Option<Stamped> {
        self.records.get(&(key.id(self.space), key.clone())).map(|(held, _)| held.clone())
    }

    fn tombstones(
        &self,
        range: Range,
        after: Option<&Key>,
        visit: &mut dyn FnMut(&Key, Version) -> ControlFlow<()>,
    ) {
        self.visit(range, after, &mut |key, version, _| {
            let tombstone = self.get(key).is_some_and(|held| held.is_tombstone());
            if tombstone { visit(key, version) } else { ControlFlow::Continue(()) }
        });
    }

    fn ended(&self, by: Moment, visit: &mut dyn FnMut(&Key, Version) -> ControlFlow<()>) {
        let mut ended: Vec<(Moment, &Key, Version)> = self
            .records
            .iter()
            .filter_map(|((_, key), (held, _))| Some((held.expires?, key, held.version)))
            .filter(|(expires, _, _)| *expires <= by)
            .collect();
        ended.sort();
        for (_, key, version) in ended {
            if visit(key, version).is_break() {
                return;
            }
        }
    }

    fn hints(&self, store: StoreId, visit: &mut dyn FnMut(&Key) -> ControlFlow<()>) {
        for (_, key) in self.hints.iter().filter(|(of, _)| *of == store) {
            if visit(key).is_break() {
                return;
            }
        }
    }
}
