//! What this node itself has of keys, whether or not it may serve them: for `lookup --replicas`, `audit`, and reads
//! that take any replica. And what it has all of: for dumps.
//!
//! Everything here is answered from the node's own state at one moment, without a call. What it has of keys is told
//! without a lease, too: so it shows what is wrong as well, such as a copy that lags, a record that is damaged, a key that
//! should not be here. Records are given only of what the node has everything of, at a mark or now: the rest would pass for
//! everything.

use std::ops::ControlFlow;

use chordata_protocol::{Key, Range, Record};
use chordata_rpc::service::{
    CopiesOptions, CopiesPage, Error, Held, KeyCopy, RecordsOptions, RecordsPage, ValueHash,
};
use chordata_store::{Engine, Snapshot, StoreError, Visitor};

use crate::chain::marks::no_mark;
use crate::node::Node;
use crate::peers::ANSWER_BYTES_MAX;
use crate::service::has_ended;

/// Keys in one page, at most.
const PAGE_MAX: usize = 10_000;
/// Bytes of values that one page hashes: the node does nothing else meanwhile, for about a millisecond.
const HASHED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of a row of a page beside the key.
const ROW_BYTES: usize = 64;

fn held(record: &Record) -> Held {
    let bytes = record.value.len() as u64;
    let (version, expires) = (record.version, record.expires);
    Held::Value { version, hash: ValueHash::of(&record.value), bytes, expires }
}

/// Keys of a range with what is there: as many as one page takes. Are there more?
fn rows(
    engine: &dyn Engine,
    node: &Node,
    options: &CopiesOptions,
    snapshot: Option<&Snapshot>,
) -> Result<(Vec<(Key, Held)>, bool), StoreError> {
    let space = node.space();
    let limit = (options.limit as usize).clamp(1, PAGE_MAX);
    let mut after = options.after.clone().map(|key| (key.id(space), key));
    let (mut rows, mut bytes, mut hashed, mut more) = (Vec::new(), 0, 0, false);
    loop {
        let visit: Visitor<'_> = &mut |item| {
            let Some(value) = item.value.filter(|_| !has_ended(&item, options.ended_by)) else {
                return ControlFlow::Continue(());
            };
            bytes += item.key.size() + ROW_BYTES;
            hashed += value.len();
            let is_full = rows.len() >= limit || bytes > ANSWER_BYTES_MAX || hashed > HASHED_BYTES_MAX;
            if is_full && !rows.is_empty() {
                more = true;
                return ControlFlow::Break(());
            }
            let (hash, bytes) = (ValueHash::of(value), value.len() as u64);
            let (version, expires) = (item.version, item.expires);
            rows.push((item.key.to_key(), Held::Value { version, hash, bytes, expires }));
            ControlFlow::Continue(())
        };
        let scanned = match snapshot {
            Some(snapshot) => engine.scan_snapshot(snapshot, options.range, after.as_ref(), visit),
            None => engine.scan(options.range, after.as_ref(), visit),
        };
        match scanned {
            Ok(()) => return Ok((rows, more)),
            // The scan can go on behind it.
            Err(StoreError::Damaged { id, key }) if rows.len() < limit => {
                bytes += key.size() + ROW_BYTES;
                rows.push((key.clone(), Held::Damaged));
                after = Some((id, key));
            }
            Err(StoreError::Damaged { .. }) => return Ok((rows, true)),
            Err(error) => return Err(error),
        }
    }
}

/// The records of a range: as many as one page takes.
fn records(
    engine: &dyn Engine,
    node: &Node,
    options: &RecordsOptions,
    snapshot: Option<&Snapshot>,
) -> Result<RecordsPage, StoreError> {
    let limit = (options.limit as usize).clamp(1, PAGE_MAX);
    let after = options.after.clone().map(|key| (key.id(node.space()), key));
    // In eventual mode what has ended is a tombstone.
    let ended_by = node.is_eventual().then(crate::wall::now);
    let (mut records, mut bytes, mut more) = (Vec::new(), 0, false);
    let visit: Visitor<'_> = &mut |item| {
        let Some(value) = item.value.filter(|_| !has_ended(&item, ended_by)) else {
            return ControlFlow::Continue(());
        };
        bytes += item.key.size() + value.len() + ROW_BYTES;
        if !records.is_empty() && (records.len() >= limit || bytes > ANSWER_BYTES_MAX) {
            more = true;
            return ControlFlow::Break(());
        }
        records.push((
            item.key.to_key(),
            Record { version: item.version, value: value.into(), expires: item.expires },
        ));
        ControlFlow::Continue(())
    };
    let scanned = match snapshot {
        Some(snapshot) => engine.scan_snapshot(snapshot, options.range, after.as_ref(), visit),
        None => engine.scan(options.range, after.as_ref(), visit),
    };
    match scanned {
        Ok(()) => Ok(RecordsPage { records, more }),
        // What is in front of it can be had here; whoever asks for the rest is told.
        Err(StoreError::Damaged { .. }) if !records.is_empty() => Ok(RecordsPage { records, more: true }),
        Err(error) => Err(error),
    }
}

impl Node {
    /// Some of the records of a range that this node has all of: at a mark, or now.
    pub(crate) fn records_page(&self, options: &RecordsOptions) -> Result<RecordsPage, Error> {
        let Some(mark) = options.mark else {
            let page = self.with_all_of(options.range, |engine| records(engine, self, options, None))?;
            return page.map_err(|error| self.store_failed(&error));
        };
        let page = self.with_chain(|chain, engine| {
            let snapshot = chain.marks.of(mark).ok_or_else(no_mark)?;
            Ok::<_, Error>(records(engine, self, options, Some(&snapshot)))
        });
        page.ok_or_else(no_mark)??.map_err(|error| self.store_failed(&error))
    }

    /// Looks at the engine if this node has all that there is of a range, and may say so: it is the last serving replica;
    /// in eventual mode, it has compared its copies with another replica's; else, it serves the range.
    pub(crate) fn with_all_of<T>(
        &self,
        range: Range,
        look: impl FnOnce(&dyn Engine) -> T,
    ) -> Result<T, Error> {
        let (space, now) = (self.space(), self.now());
        let found = if self.has_chains() {
            self.with_chain(|chain, engine| chain.is_tail_of(&range, space, now).then(|| look(engine)))
        } else if self.is_eventual() {
            self.with_eventual(|part, engine| part.has_all(range).then(|| look(engine)))
        } else {
            self.with_ring(|ring, engine| {
                ring.serving().is_some_and(|serving| serving.covers(&range, space)).then(|| look(engine))
            })
        };
        found.ok_or(Error::NotMember)?.ok_or_else(|| Error::NotOwner(Vec::new()))
    }

    /// What this node has of a key.
    pub(crate) fn copy_of(&self, key: &Key) -> Result<KeyCopy, Error> {
        key.check(self.space())?;
        let (id, now) = (key.id(self.space()), self.now());
        // In eventual mode what has ended is a tombstone.
        let ended_by = self.is_eventual().then(crate::wall::now);
        let is_there =
            |record: &Record| record.expires.is_none_or(|expires| ended_by.is_none_or(|by| expires > by));
        let read = |engine: &dyn Engine| match engine.get(id, key) {
            Ok(record) => Ok(record.filter(is_there).as_ref().map_or(Held::Nothing, held)),
            Err(StoreError::Damaged { .. }) => Ok(Held::Damaged),
            Err(error) => Err(error),
        };
        let copy = self.with_chain(|chain, engine| {
            let replica = chain.replica_at(id, now);
            let dirty = replica.as_ref().is_some_and(|(replica, _)| replica.is_dirty(key));
            let replica = replica.map(|(_, status)| status);
            read(engine).map(|held| KeyCopy { held, dirty, replica })
        });
        let copy = copy.unwrap_or_else(|| {
            let held = self.inspect(|_, engine| read(engine));
            held.map(|held| KeyCopy { held, dirty: false, replica: None })
        });
        copy.map_err(|error| self.store_failed(&error))
    }

    /// Some of what this node has.
    pub(crate) fn copies_page(&self, options: &CopiesOptions) -> Result<CopiesPage, Error> {
        let now = self.now();
        let page = self.with_chain(|chain, engine| {
            let replica = chain.replica_at(options.range.high, now).map(|(_, status)| status);
            let snapshot = options.mark.map(|mark| chain.marks.of(mark).ok_or_else(no_mark)).transpose()?;
            Ok::<_, Error>((rows(engine, self, options, snapshot.as_deref()), replica))
        });
        let page = page.transpose()?;
        if page.is_none() && options.mark.is_some() {
            return Err(no_mark());
        }
        let (rows, replica) =
            page.unwrap_or_else(|| (self.inspect(|_, engine| rows(engine, self, options, None)), None));
        let (copies, more) = rows.map_err(|error| self.store_failed(&error))?;
        Ok(CopiesPage { copies, more, replica })
    }

    /// What this node's replica has of a key, serving or not; none: it has no replica of it.
    pub(crate) fn any_here(&self, key: &Key) -> Option<Result<Option<Record>, Error>> {
        if let Err(bad) = key.check(self.space()) {
            return Some(Err(bad.into()));
        }
        let (id, now) = (key.id(self.space()), self.now());
        let record = self.with_chain(|chain, engine| {
            chain.replica_at(id, now)?;
            Some(engine.get(id, key))
        })??;
        Some(record.map_err(|error| self.store_failed(&error)))
    }
}
