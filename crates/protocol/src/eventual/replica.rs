//! What clients ask for: writes, which are answered when enough copies are stored, and reads with their repair.

use std::collections::{BTreeMap, BTreeSet};

use super::calls::{After, Call};
use super::clock::Tick;
use super::event::{Caller, ClientError, Outcome};
use super::message::{Request, Response, is_content};
use super::{Data, Durability, Eventual, Stamped, StoreId};
use crate::expiry::{Moment, Ttl};
use crate::id::Id;
use crate::key::{Key, Operation, Value, Version};

/// Writes that wait for a bound of the clock.
const PARKED_MAX: usize = 1024;
/// Writes that wait for copies.
const WRITES_MAX: usize = 64 * 1024;

/// Reads that wait for others, repairs included.
const READS_MAX: usize = 64 * 1024;

/// A write that has no stamp yet.
#[derive(Clone, Debug)]
pub(super) struct Parked {
    caller: Caller,
    key: Key,
    value: Option<Value>,
    ttl: Option<Ttl>,
    acks: usize,
}

/// A write that is not answered yet.
#[derive(Clone, Debug)]
pub(super) struct Write {
    caller: Caller,
    wanted: usize,
    stored: BTreeSet<StoreId>,
    /// Who may still store it.
    open: BTreeSet<StoreId>,
}

/// A read that asks others.
#[derive(Clone, Debug)]
pub(super) struct Read {
    /// Who waits for it; none: it is answered, the rest is repair.
    caller: Option<Caller>,
    key: Key,
    wanted: usize,
    answered: usize,
    /// Replicas, perhaps this one, that may lack what others have: they count if too few others answer.
    fallback: usize,
    newest: Option<Stamped>,
    versions: BTreeMap<StoreId, Option<Stamped>>,
    open: BTreeSet<StoreId>,
}

impl Eventual {
    fn check(&mut self, key: &Key, acks: usize) -> Result<(), ClientError> {
        if self.barred {
            return Err(ClientError::Barred);
        }
        let Some(table) = &self.table else { return Err(ClientError::Busy) };
        key.check(self.settings.space)?;
        let possible = table.copies();
        if acks > possible {
            return Err(ClientError::TooManyAcks { wanted: acks, possible });
        }
        Ok(())
    }

    /// Takes note of the highest version that a client has seen.
    fn observe_client(&mut self, seen: Option<Version>) -> Result<(), ClientError> {
        if let Some(seen) = seen {
            self.clock.admit(seen, self.wall_ms)?;
            self.clock.observe(seen);
        }
        Ok(())
    }

    pub(super) fn write(
        &mut self,
        caller: Caller,
        key: Key,
        operation: Operation,
        acks: usize,
        seen: Option<Version>,
        data: &dyn Data,
    ) -> Result<(), ClientError> {
        operation.check()?;
        let (value, ttl) = match operation {
            Operation::Put { value, ttl } => (Some(value), ttl),
            Operation::Delete => (None, None),
            Operation::CompareAndSwap { .. } => return Err(ClientError::NoCompareAndSwap),
        };
        self.check(&key, acks)?;
        self.observe_client(seen)?;
        if self.writes.len() >= WRITES_MAX || self.parked.len() >= PARKED_MAX {
            return Err(ClientError::Busy);
        }
        self.stamp(Parked { caller, key, value, ttl, acks: acks.max(1) }, data);
        Ok(())
    }

    /// Stamps a write above all that this node has seen, the key's own version included; or has it wait for the bound.
    fn stamp(&mut self, parked: Parked, data: &dyn Data) {
        if let Some(version) = self.version(&parked.key, data) {
            self.clock.observe(version);
        }
        match self.clock.now(self.wall_ms) {
            Tick::Stamp(version) => self.commit(parked, version, data),
            Tick::NeedBound => self.parked.push_back(parked),
        }
    }

    pub(super) fn unpark(&mut self, data: &dyn Data) {
        for parked in std::mem::take(&mut self.parked) {
            self.stamp(parked, data);
        }
    }

    fn commit(&mut self, parked: Parked, version: Version, data: &dyn Data) {
        let Parked { caller, key, value, ttl, acks } = parked;
        let expires = ttl.map(|ttl| Moment::from_millis(self.wall_ms) + ttl);
        let others = self.others(key.id(self.settings.space));
        self.merge(vec![(key.clone(), Stamped { version, value, expires })], data);
        let open = others.iter().copied().chain([self.me]).collect();
        let write = Write { caller, wanted: acks, stored: BTreeSet::new(), open };
        self.writes.insert((key.clone(), version), write);
        for store in others {
            self.enqueue(store, key.clone(), data);
        }
        // Behind the hints that this may have made, so that they are on disk with it.
        match self.settings.durability {
            Durability::Sync => {
                self.persist(After::Stored(key, version));
            }
            Durability::Stored => self.copy_stored(self.me, &key, version),
        }
    }

    /// A store has this version of the key, or a later one.
    pub(super) fn copy_stored(&mut self, store: StoreId, key: &Key, version: Version) {
        self.settle_writes(key, version, |write| {
            if write.open.remove(&store) {
                write.stored.insert(store);
            }
        });
    }

    /// A store did not confirm its copy in time; it gets it later.
    pub(super) fn copy_missed(&mut self, store: StoreId, key: &Key) {
        let highest = Version { epoch: u64::MAX, sequence: u64::MAX };
        self.settle_writes(key, highest, |write| {
            write.open.remove(&store);
        });
    }

    fn settle_writes(&mut self, key: &Key, up_to: Version, mut change: impl FnMut(&mut Write)) {
        let range = (key.clone(), Version::default())..=(key.clone(), up_to);
        let mut settled = Vec::new();
        for ((_, version), write) in self.writes.range_mut(range) {
            change(write);
            let (stored, wanted) = (write.stored.len(), write.wanted);
            if stored >= wanted {
                settled.push((*version, Ok(Outcome::Written(*version))));
            } else if stored + write.open.len() < wanted {
                settled.push((*version, Err(ClientError::FewerCopies { version: *version, stored, wanted })));
            }
        }
        for (version, result) in settled {
            if let Some(write) = self.writes.remove(&(key.clone(), version)) {
                self.done(write.caller, result);
            }
        }
    }

    pub(super) fn read(
        &mut self,
        caller: Caller,
        key: Key,
        acks: usize,
        seen: Option<Version>,
        data: &dyn Data,
    ) -> Result<(), ClientError> {
        self.check(&key, acks)?;
        // A clock that is wrong elsewhere is no reason not to answer a read.
        let _ = self.observe_client(seen);
        let (id, wanted) = (key.id(self.settings.space), acks.max(1));
        let others = self.others(id);
        let newest = self.held(&key, data);
        let replica = self.is_replica(self.me, id);
        // A new replica that has not compared with another yet does not know that there is nothing.
        let filled = newest.is_some() || self.is_filled(id) || others.is_empty();
        let answered = usize::from(replica && filled);
        let mut waiting = Some(caller);
        if answered >= wanted {
            waiting = None;
            self.done(caller, Ok(Outcome::Found(self.shown(newest.clone()))));
            if !self.draws_repair() || others.is_empty() {
                return Ok(());
            }
        }
        if self.reads.len() >= READS_MAX {
            return if waiting.is_some() { Err(ClientError::Busy) } else { Ok(()) };
        }
        let number = self.number();
        for store in &others {
            let why = Call::Read { read: number, from: *store };
            self.call(*store, Request::Read(key.clone()), why);
        }
        let fallback = usize::from(replica && !filled);
        let open = others.into_iter().collect();
        let versions = BTreeMap::new();
        let read = Read { caller: waiting, key, wanted, answered, fallback, newest, versions, open };
        self.reads.insert(number, read);
        self.settle_read(number, data);
        Ok(())
    }

    /// As a client sees it now: what has ended is not there any more, whether or not it is a tombstone already.
    fn shown(&self, held: Option<Stamped>) -> Option<Stamped> {
        held.map(|held| held.at(Moment::from_millis(self.wall_ms)))
    }

    /// Has this node compared what holds this identifier with another replica?
    pub(super) fn is_filled(&self, id: Id) -> bool {
        self.filled.iter().any(|arc| arc.contains(id))
    }

    fn draws_repair(&mut self) -> bool {
        self.settings.repair_one_in > 0 && self.random.u32(0..self.settings.repair_one_in) == 0
    }

    pub(super) fn read_answered(
        &mut self,
        number: u64,
        from: StoreId,
        response: Option<Response>,
        data: &dyn Data,
    ) {
        let space = self.settings.space;
        let Some(read) = self.reads.get_mut(&number) else { return };
        read.open.remove(&from);
        let possible =
            |held: &Option<Stamped>| held.as_ref().is_none_or(|held| is_content(space, &read.key, held));
        match response {
            Some(Response::Held(held)) if possible(&held) => {
                read.answered += 1;
                read.newest = read.newest.take().max(held.clone());
                read.versions.insert(from, held);
            }
            Some(Response::Unfilled) => read.fallback += 1,
            _ => {}
        }
        self.settle_read(number, data);
    }

    fn settle_read(&mut self, number: u64, data: &dyn Data) {
        let wall = Moment::from_millis(self.wall_ms);
        let Some(read) = self.reads.get_mut(&number) else { return };
        let complete = read.open.is_empty();
        let answered = read.answered + if complete { read.fallback } else { 0 };
        let enough = answered >= read.wanted;
        if let Some(caller) = read.caller.take_if(|_| enough || complete) {
            let result = if enough {
                Ok(Outcome::Found(read.newest.clone().map(|held| held.at(wall))))
            } else {
                Err(ClientError::FewerReplicas { answered, wanted: read.wanted })
            };
            self.done(caller, result);
        }
        if complete && let Some(read) = self.reads.remove(&number) {
            self.repair(read, data);
        }
    }

    /// Writes the newest copy back to those that had an older one.
    fn repair(&mut self, read: Read, data: &dyn Data) {
        let Some(newest) = read.newest else { return };
        let key = read.key;
        let id = key.id(self.settings.space);
        let keeps = self.is_replica(self.me, id) || self.version(&key, data).is_some();
        if keeps && newest.beats(self.held(&key, data).as_ref()) {
            self.counters.repairs += 1;
            self.merge(vec![(key.clone(), newest.clone())], data);
        }
        for (store, held) in read.versions {
            if !newest.beats(held.as_ref()) {
                continue;
            }
            self.counters.repairs += 1;
            if keeps {
                self.enqueue(store, key.clone(), data);
            } else {
                let entries = vec![(key.clone(), newest.clone())];
                self.call(store, Request::Copy { entries, durable: false }, Call::Aside);
            }
        }
    }
}
