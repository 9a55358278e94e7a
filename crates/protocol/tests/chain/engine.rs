//! What one node has stored: keys, results for retries, holdings, the newest view. The same type is what the engine
//! shows at once and what is on disk: writing the disk copies the one onto the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chordata_protocol::chain::message::{Holding, KeptResult, LogEntry, Mutation};
use chordata_protocol::chain::{Epoch, Kept, View};
use chordata_protocol::key::Entry;
use chordata_protocol::{Durability, Ending, Id, Key, Moment, Range, Record, Space, Version};

/// Keys in the order of their places, and what belongs to them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Engine {
    records: BTreeMap<(Id, Key), Record>,
    pub(crate) results: BTreeMap<(u128, u64), KeptResult>,
    pub(crate) holdings: BTreeMap<Epoch, Holding>,
    pub(crate) view: Option<Arc<View>>,
    /// Records that cannot be read.
    damaged: BTreeSet<(Id, Key)>,
}

impl Engine {
    pub(crate) fn get(&self, space: Space, key: &Key) -> Option<&Record> {
        self.records.get(&(key.id(space), key.clone()))
    }

    /// Keys of a range with what they hold, going up from its low end.
    pub(crate) fn within(&self, space: Space, range: Range) -> Vec<(&Key, &Record)> {
        let mut found: Vec<(&(Id, Key), &Record)> =
            self.records.iter().filter(|((id, _), _)| range.contains(*id)).collect();
        found.sort_by_key(|((id, key), _)| (space.distance(space.next(range.low), *id), key.clone()));
        found.into_iter().map(|((_, key), record)| (key, record)).collect()
    }

    /// Everything, by place.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Key, &Record)> {
        self.records.iter().map(|((_, key), record)| (key, record))
    }

    /// Keys and versions of a range behind `after`, up to `upto`.
    pub(crate) fn list(
        &self,
        space: Space,
        range: Range,
        after: Option<&Key>,
        upto: Option<&Key>,
    ) -> Vec<(Key, Version)> {
        let place = |key: &Key| (space.distance(space.next(range.low), key.id(space)), key.clone());
        let (begin, end) = (after.map(place), upto.map(place));
        self.within(space, range)
            .into_iter()
            .filter(|(key, _)| begin.as_ref().is_none_or(|begin| place(key) > *begin))
            .filter(|(key, _)| end.as_ref().is_none_or(|end| place(key) <= *end))
            .map(|(key, record)| (key.clone(), record.version))
            .collect()
    }

    /// What has ended of a range by that moment, the earliest first, behind `after`.
    pub(crate) fn due(&self, range: Range, by: Moment, after: Option<&Ending>) -> Vec<(Ending, Version)> {
        let inside = self.records.iter().filter(|((id, _), _)| range.contains(*id));
        let mut due: Vec<(Ending, Version)> = inside
            .filter_map(|((id, key), record)| {
                let at = record.expires.filter(|at| *at <= by)?;
                Some((Ending { at, id: *id, key: key.clone() }, record.version))
            })
            .filter(|(ending, _)| after.is_none_or(|after| ending > after))
            .collect();
        due.sort();
        due
    }

    pub(crate) fn fetch(&self, space: Space, keys: Vec<Key>) -> Vec<Entry> {
        let held = |key: &Key| self.get(space, key).cloned();
        keys.into_iter().map(|key| (key.clone(), held(&key))).collect()
    }

    fn set(&mut self, id: Id, key: &Key, record: Option<Record>) {
        self.damaged.remove(&(id, key.clone()));
        match record {
            Some(record) => self.records.insert((id, key.clone()), record),
            None => self.records.remove(&(id, key.clone())),
        };
    }

    /// A record cannot be read any more.
    pub(crate) fn damage(&mut self, space: Space, key: &Key) {
        let id = key.id(space);
        self.set(id, key, None);
        self.damaged.insert((id, key.clone()));
    }

    /// What cannot be read of a range.
    pub(crate) fn damaged(&self, range: Range) -> Vec<(Id, Key)> {
        self.damaged.iter().filter(|(id, _)| range.contains(*id)).cloned().collect()
    }

    // Effects.

    pub(crate) fn store(&mut self, entries: &[Arc<LogEntry>], forgotten: &[(u128, u64)], holding: Holding) {
        for entry in entries {
            let at = Version { epoch: holding.epoch.0, sequence: entry.sequence.0 };
            let Some(write) = entry.write() else { continue };
            match &write.mutation {
                Mutation::Put(value, expires) => {
                    let record = Record { version: at, value: value.clone(), expires: *expires };
                    self.set(write.id, &write.key, Some(record));
                }
                Mutation::Remove | Mutation::Expire(_) => self.set(write.id, &write.key, None),
                Mutation::Nothing => {}
            }
            if let Some(by) = write.by {
                self.results.insert((by.client, by.sequence), KeptResult::new(write, by, at));
            }
        }
        for name in forgotten {
            self.results.remove(name);
        }
        self.holdings.insert(holding.epoch, holding);
    }

    pub(crate) fn fill(&mut self, space: Space, entries: Vec<Entry>) {
        for (key, record) in entries {
            self.set(key.id(space), &key, record);
        }
    }

    /// True: there was something.
    pub(crate) fn erase(&mut self, range: Range) -> bool {
        let before = self.records.len();
        self.records.retain(|(id, _), _| !range.contains(*id));
        let (some, _) = self.drop_results(range, Epoch(u64::MAX), None, usize::MAX);
        some || self.records.len() < before
    }

    /// Of the next results, so many: those of earlier epochs whose keys are in a range. Were there some, and where is it
    /// to go on?
    pub(crate) fn drop_results(
        &mut self,
        range: Range,
        before: Epoch,
        after: Option<(u128, u64)>,
        count_max: usize,
    ) -> (bool, Option<(u128, u64)>) {
        let behind = |name: &(u128, u64)| after.is_none_or(|after| *name > after);
        let mut names = self.results.keys().filter(|name| behind(name)).copied();
        let slice: Vec<(u128, u64)> = names.by_ref().take(count_max).collect();
        let upto = names.next().and(slice.last().copied());
        let count = self.results.len();
        self.results.retain(|name, kept| {
            !slice.contains(name) || !range.contains(kept.id) || Epoch(kept.at.epoch) >= before
        });
        (self.results.len() < count, upto)
    }

    pub(crate) fn hold(&mut self, holding: Option<Holding>, released: &[Epoch]) {
        for epoch in released {
            self.holdings.remove(epoch);
        }
        if let Some(holding) = holding {
            self.holdings.insert(holding.epoch, holding);
        }
    }

    /// What a process that is started on this disk finds.
    pub(crate) fn kept(&self) -> Kept {
        Kept {
            view: self.view.clone(),
            holdings: self.holdings.values().cloned().collect(),
            results: self.results.iter().map(|(name, kept)| (*name, *kept)).collect(),
        }
    }

    /// Puts what another one has on this disk. With [`Durability::Memory`] only the view is ever written.
    pub(crate) fn written(&mut self, engine: &Engine, durability: Durability) {
        if durability == Durability::Memory {
            self.view.clone_from(&engine.view);
        } else {
            self.clone_from(engine);
        }
    }
}
