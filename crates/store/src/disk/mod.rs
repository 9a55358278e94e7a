//! The engine that keeps everything on disk: redb, with the changes that are not yet written laid over it.
//!
//! # How a write travels
//! [`Engine::apply`] puts a batch into the overlay, where reads see it. [`Engine::begin_flush`] takes the whole overlay
//! away as a [`Flush`], and a new one begins; reads look at the new one, then at the one that is being written, then at
//! the database as it was before. [`Flush::run`] writes it: one transaction, without the engine's lock.
//! [`Engine::end_flush`] drops it and looks at the database as it is now.
//!
//! # After a crash
//! redb writes beside what is there and then switches over, and a transaction that the crash cut short is undone when
//! the database is opened. A flush is one transaction and holds whole batches in their order, so the state is that after
//! some prefix of the batches. [`DiskSettings::quick_open`] says how long opening takes
//! after a kill, and what that costs.
//!
//! # What it does not do
//! It does not look at what nobody reads: damage is found when a record is read or scanned. A key that is damaged
//! where redb looks for it, in place of its record, may read as absent until [`DiskEngine::verify`] counts the rows.

mod backend;
pub(crate) mod base;
mod flush;
pub(crate) mod overlay;
pub(crate) mod record;

use std::cmp::Ordering;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use chordata_protocol::{Ending, Id, Key, Range, Record};
use redb::AccessGuard;

use self::base::{Base, DATA_FILE, Views};
pub use self::flush::{Flush, Flushed};
use self::overlay::Overlay;
use self::record::{DiskRow, RowRef, moment, open_note, seal_note, verify, weight};
use crate::directory::Directory;
use crate::engine::{
    Change, Counts, EndingVisitor, Engine, Item, Mark, NoteVisitor, Position, Stored, Ticket, Visitor,
};
use crate::error::StoreError;
use crate::file::Files;
use crate::layers::{Below, Layer, Layers, Seen, merge};
use crate::row::{self, RowKey, after_in_prefix, segments};
use crate::undo::{Snapshot, Undo};

/// What there is to choose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskSettings {
    /// How much memory the database may take for pages that it has read.
    pub cache_bytes: usize,
    /// After a kill the store opens at once, and damage to single records stays theirs. It costs each flush a second
    /// sync. Otherwise opening after a kill reads everything, and gives up the whole store if any of it is damaged.
    pub quick_open: bool,
}

impl Default for DiskSettings {
    fn default() -> DiskSettings {
        DiskSettings { cache_bytes: 64 * 1024 * 1024, quick_open: true }
    }
}

type Guard<'a> = AccessGuard<'a, &'static [u8]>;

/// Everything on disk.
#[derive(Debug)]
pub struct DiskEngine {
    /// What was written and given back.
    views: Views,
    /// What is being written.
    flushing: Option<Arc<Overlay>>,
    /// What waits.
    waiting: Overlay,
    undo: Undo<DiskRow>,
    counts: Counts,
    applied: Ticket,
    durable: Ticket,
    base: Arc<Base>,
}

struct BaseRow<'a> {
    place: Guard<'a>,
    row: Guard<'a>,
}

impl Below for BaseRow<'_> {
    fn compare(&self, place: &[u8]) -> Ordering {
        self.place.value().cmp(place)
    }
}

/// A row, wherever it is.
enum Found<'a> {
    /// In memory: it was not damaged when it came, and has not been away since.
    Overlay(&'a DiskRow),
    /// In the database.
    Base(Guard<'a>),
}

impl Found<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Found::Overlay(row) => &row.0,
            Found::Base(guard) => guard.value(),
        }
    }
}

impl DiskEngine {
    /// The store in this directory; an empty one becomes a store.
    ///
    /// # Errors
    /// When another process uses the directory, when a newer program wrote it, when it is damaged or no store, and when
    /// the file system fails.
    pub fn open(files: Arc<dyn Files>, settings: DiskSettings) -> Result<DiskEngine, StoreError> {
        let base = Arc::new(Base::open(Directory::open(files, DATA_FILE)?, settings)?);
        Ok(DiskEngine {
            views: base.views()?,
            flushing: None,
            waiting: Overlay::default(),
            undo: Undo::default(),
            counts: base.counts()?,
            applied: Ticket::default(),
            durable: Ticket::default(),
            base,
        })
    }

    /// The directory, for small states beside the records.
    pub fn directory(&self) -> &Directory {
        self.base.directory()
    }

    /// Reads everything once, and counts: finds damage that nobody has met yet. Takes as long as reading the whole store.
    ///
    /// # Errors
    /// The first damage in the order of the keys, and when rows are missing.
    pub fn verify(&self) -> Result<(), StoreError> {
        let mut found = Counts::default();
        let all = Range { low: Id::MAX, high: Id::MAX };
        let (mut ending, mut endings) = (0u64, 0u64);
        self.scan(all, None, &mut |item| {
            let bytes = item.key.size() + item.value.map_or(0, <[u8]>::len);
            found.add(crate::engine::Weight { live: item.value.is_some(), bytes });
            ending += u64::from(item.expires.is_some());
            ControlFlow::Continue(())
        })?;
        self.endings(None, &mut |_| {
            endings += 1;
            ControlFlow::Continue(())
        })?;
        self.notes(&[], None, &mut |_, _| ControlFlow::Continue(()))?;
        if found == self.counts && ending <= endings {
            return Ok(());
        }
        if ending > endings {
            let reason = format!("{ending} of its values end by themselves, and it knows when of {endings}");
            let file = format!("{DATA_FILE} in {}", self.directory().files().name());
            return Err(StoreError::DamagedFile { file, reason });
        }
        let expected = self.counts;
        let reason = format!("it holds {found:?}, and {expected:?} were stored in it");
        let file = format!("{DATA_FILE} in {}", self.directory().files().name());
        Err(StoreError::DamagedFile { file, reason })
    }

    /// What waits and what is being written, the uppermost first.
    fn overlays(&self) -> impl Iterator<Item = &Overlay> {
        std::iter::once(&self.waiting).chain(self.flushing.as_deref())
    }

    fn failed(&self, error: redb::StorageError) -> StoreError {
        self.base.fail("reading the database", error)
    }

    fn find(&self, place: &[u8]) -> Result<Option<Found<'_>>, StoreError> {
        self.base.check()?;
        for overlay in self.overlays() {
            if let Some(row) = overlay.rows.get(place) {
                return Ok(row.as_ref().map(Found::Overlay));
            }
        }
        let guard = self.views.rows.get(place).map_err(|error| self.failed(error))?;
        Ok(guard.map(Found::Base))
    }

    fn read<T>(
        &self,
        id: Id,
        key: &Key,
        take: impl FnOnce(RowRef<'_>) -> T,
    ) -> Result<Option<T>, StoreError> {
        let place = row::place(id, key);
        let Some(found) = self.find(&place)? else { return Ok(None) };
        let row = verify(&place, found.bytes());
        row.map(|row| Some(take(row))).ok_or_else(|| StoreError::Damaged { id, key: key.clone() })
    }

    fn set_row(
        &mut self,
        id: Id,
        key: &Key,
        row: impl FnOnce(&[u8]) -> Option<DiskRow>,
        keep_old: bool,
    ) -> Result<(), StoreError> {
        let place = row::place(id, key);
        let row = row(&place);
        let (old, old_weight, ended) = match self.find(&place)? {
            None => (None, None, None),
            Some(found) => {
                let bytes = found.bytes();
                (keep_old.then(|| DiskRow(bytes.into())), Some(weight(&place, bytes)), moment(bytes))
            }
        };
        if old_weight.is_none() && row.is_none() {
            return Ok(());
        }
        if let Some(row) = &row {
            self.counts.add(weight(&place, &row.0));
        }
        if let Some(old) = old_weight {
            self.counts.subtract(old);
        }
        if keep_old {
            self.undo.keep(&place, || old);
        }
        let ends = row.as_ref().and_then(|row| moment(&row.0));
        if ended != ends {
            if let Some(ended) = ended {
                self.waiting.set_ending(row::ending(ended, &place), false);
            }
            if let Some(ends) = ends {
                self.waiting.set_ending(row::ending(ends, &place), true);
            }
        }
        self.waiting.set_row(place, row);
        Ok(())
    }

    fn change(&mut self, change: Change, keep_old: bool) -> Result<(), StoreError> {
        match change {
            Change::Put(id, key, record) => {
                let Record { version, value, expires } = record;
                let row = |place: &[u8]| Some(DiskRow::new(place, version, Some(&value), expires));
                self.set_row(id, &key, row, keep_old)
            }
            Change::Bury(id, key, version) => {
                self.set_row(id, &key, |place| Some(DiskRow::new(place, version, None, None)), keep_old)
            }
            Change::Remove(id, key) => self.set_row(id, &key, |_| None, keep_old),
            Change::Note(name, note) => {
                let note = note.map(|note| seal_note(&name, &note));
                self.waiting.set_note(name, note);
                Ok(())
            }
        }
    }

    fn scan_layers<'a>(
        &'a self,
        layers: impl Fn() -> Vec<&'a Layer<DiskRow>>,
        range: Range,
        after: Option<&Position>,
        visit: Visitor<'_>,
    ) -> Result<(), StoreError> {
        self.base.check()?;
        for segment in segments(range, after) {
            let bounds = segment.bounds();
            let over = Layers::new(layers().into_iter(), bounds);
            let rows = self.views.rows.range::<&[u8]>(bounds).map_err(|error| self.failed(error))?;
            let rows = rows.map(|row| {
                row.map(|(place, row)| BaseRow { place, row }).map_err(|error| self.failed(error))
            });
            let ended = merge(over, rows, |seen| match &seen {
                Seen::Layer(place, row) => self.show(place, &row.0, visit),
                Seen::Below(BaseRow { place, row }) => self.show(place.value(), row.value(), visit),
            })?;
            if ended.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn show(&self, place: &[u8], row: &[u8], visit: Visitor<'_>) -> Result<ControlFlow<()>, StoreError> {
        let at = RowKey::read(place);
        let Some((id, key)) = at.and_then(|at| Some((at.id, at.key()?))) else {
            return Err(self.base.fail("reading the database", "a key in it is damaged"));
        };
        let row = verify(place, row).ok_or_else(|| StoreError::Damaged { id, key: key.to_key() })?;
        Ok(visit(Item { id, key, version: row.version, value: row.value, expires: row.expires }))
    }
}

impl Engine for DiskEngine {
    fn stored(&self, id: Id, key: &Key) -> Result<Option<Stored>, StoreError> {
        self.read(id, key, |row| row.stored())
    }

    fn mark(&self, id: Id, key: &Key) -> Result<Option<Mark>, StoreError> {
        self.read(id, key, |row| row.mark())
    }

    fn note(&self, name: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.base.check()?;
        let open = |bytes: &[u8]| {
            let note = open_note(name, bytes).map(<[u8]>::to_vec);
            note.map(Some).ok_or_else(|| StoreError::DamagedNote { name: name.to_vec() })
        };
        for overlay in self.overlays() {
            if let Some(note) = overlay.notes.get(name) {
                return note.as_ref().map_or(Ok(None), |note| open(note));
            }
        }
        let note = self.views.notes.get(name).map_err(|error| self.failed(error))?;
        note.map_or(Ok(None), |note| open(note.value()))
    }

    fn notes(&self, prefix: &[u8], after: Option<&[u8]>, visit: NoteVisitor<'_>) -> Result<(), StoreError> {
        self.base.check()?;
        let bounds = (after_in_prefix(prefix, after), Bound::Unbounded);
        let over = Layers::new(self.overlays().map(|overlay| &overlay.notes), bounds);
        let notes = self.views.notes.range::<&[u8]>(bounds).map_err(|error| self.failed(error))?;
        let notes = notes
            .map(|note| note.map(|(place, row)| BaseRow { place, row }).map_err(|error| self.failed(error)));
        let mut show = |name: &[u8], bytes: &[u8]| {
            if !name.starts_with(prefix) {
                return Ok(ControlFlow::Break(()));
            }
            let note = open_note(name, bytes);
            let note = note.ok_or_else(|| StoreError::DamagedNote { name: name.to_vec() })?;
            Ok(visit(name, note))
        };
        merge(over, notes, |seen| match &seen {
            Seen::Layer(name, note) => show(name, note),
            Seen::Below(BaseRow { place, row }) => show(place.value(), row.value()),
        })
        .map(|_| ())
    }

    fn apply(&mut self, batch: Vec<Change>) -> Result<Ticket, StoreError> {
        self.base.check()?;
        batch.iter().try_for_each(Change::check)?;
        let keep_old = self.undo.begin();
        for change in batch {
            // An error here is fatal and stops everything that follows: nobody sees half a batch.
            self.change(change, keep_old)?;
        }
        self.applied = self.applied.next();
        self.waiting.upto = self.applied;
        if self.waiting.is_empty() && self.flushing.is_none() {
            self.durable = self.applied;
        }
        Ok(self.applied)
    }

    fn applied(&self) -> Ticket {
        self.applied
    }

    fn durable(&self) -> Ticket {
        self.durable
    }

    fn scan(&self, range: Range, after: Option<&Position>, visit: Visitor<'_>) -> Result<(), StoreError> {
        self.scan_layers(|| self.overlays().map(|overlay| &overlay.rows).collect(), range, after, visit)
    }

    fn endings(&self, after: Option<&Ending>, visit: EndingVisitor<'_>) -> Result<(), StoreError> {
        self.base.check()?;
        let after = after.map(|after| row::ending(after.at, &row::place(after.id, &after.key)));
        let bounds = (after.as_deref().map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let over = Layers::new(self.overlays().map(|overlay| &overlay.endings), bounds);
        let endings = self.views.endings.range::<&[u8]>(bounds).map_err(|error| self.failed(error))?;
        let endings = endings
            .map(|row| row.map(|(place, row)| BaseRow { place, row }).map_err(|error| self.failed(error)));
        let mut show = |bytes: &[u8]| {
            let ending = row::read_ending(bytes);
            ending
                .map(&mut *visit)
                .ok_or_else(|| self.base.fail("reading the database", "a moment in it is damaged"))
        };
        merge(over, endings, |seen| match &seen {
            Seen::Layer(ending, ()) => show(ending),
            Seen::Below(BaseRow { place, .. }) => show(place.value()),
        })
        .map(|_| ())
    }

    fn snapshot(&mut self) -> Snapshot {
        self.undo.open()
    }

    fn scan_snapshot(
        &self,
        snapshot: &Snapshot,
        range: Range,
        after: Option<&Position>,
        visit: Visitor<'_>,
    ) -> Result<(), StoreError> {
        let present = || self.overlays().map(|overlay| &overlay.rows);
        self.scan_layers(|| self.undo.layers(snapshot).chain(present()).collect(), range, after, visit)
    }

    fn keys(&self) -> u64 {
        self.counts.keys
    }

    fn tombstones(&self) -> u64 {
        self.counts.tombstones
    }

    fn bytes(&self) -> u64 {
        self.counts.bytes
    }

    fn begin_flush(&mut self) -> Result<Option<Flush>, StoreError> {
        self.base.check()?;
        if self.flushing.is_some() || self.waiting.is_empty() {
            return Ok(None);
        }
        let overlay = Arc::new(std::mem::take(&mut self.waiting));
        self.waiting.upto = overlay.upto;
        self.flushing = Some(Arc::clone(&overlay));
        Ok(Some(Flush::new(Arc::clone(&self.base), overlay, self.counts)))
    }

    fn end_flush(&mut self, flushed: Flushed) -> Result<Ticket, StoreError> {
        self.base.check()?;
        let mine = self.flushing.take();
        assert!(
            mine.is_some_and(|mine| Arc::ptr_eq(&mine, &flushed.overlay)),
            "what is given back was taken from this engine"
        );
        self.views = self.base.views()?;
        // Batches that changed nothing have nothing to wait for.
        self.durable = if self.waiting.is_empty() { self.applied } else { flushed.overlay.upto };
        Ok(self.durable)
    }

    fn overlay_bytes(&self) -> usize {
        self.overlays().map(|overlay| overlay.bytes).sum()
    }
}
