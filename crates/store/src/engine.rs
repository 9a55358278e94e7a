//! The trait behind which all storage engines are, and what goes in and out of it.
//!
//! # What an engine guarantees
//! - A batch is visible to reads at once and as a whole, in the order in which batches were applied.
//! - [`Engine::apply`] does not write to a disk. It answers a [`Ticket`]; [`Engine::durable`] tells up to which ticket
//!   everything is on disk. After a crash the state is that after some prefix of the batches, at least all up to the
//!   durable ticket.
//! - What waits is written by a [`Flush`], which is taken under the engine's lock ([`Engine::begin_flush`]), run
//!   without it, and given back under it ([`Engine::end_flush`]). One flush is one transaction, synced once, however
//!   many batches wait. [`crate::group`] is the thread that does this.
//! - [`Engine::endings`] is right at every moment, with what was not yet written too: it is changed with the rows, in the same
//!   batch and on disk in the same transaction. It costs keys without a moment nothing.
//! - A failed write or sync is fatal: from then on every call answers [`StoreError::Fatal`].
//! - A record whose checksum is wrong is [`StoreError::Damaged`], never an answer.

use std::ops::ControlFlow;

use chordata_protocol::key::KEY_BYTES_MAX;
use chordata_protocol::{Ending, Id, Key, Moment, Range, Record, Value, Version};

use crate::disk::{Flush, Flushed};
use crate::error::StoreError;
use crate::undo::Snapshot;

/// What an engine keeps of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Of its last write.
    pub version: Version,
    /// What it holds; none: it was deleted, and this is its tombstone.
    pub value: Option<Value>,
    /// When that ends by itself; none: never. Engines only remember it.
    pub expires: Option<Moment>,
}

impl Stored {
    /// What the key holds: nothing, if this is a tombstone.
    pub fn into_record(self) -> Option<Record> {
        self.value.map(|value| Record { version: self.version, value, expires: self.expires })
    }
}

impl From<Record> for Stored {
    fn from(record: Record) -> Stored {
        Stored { version: record.version, value: Some(record.value), expires: record.expires }
    }
}

/// The same without the value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Of the last write.
    pub version: Version,
    /// Does it hold a value? If not, this is a tombstone.
    pub live: bool,
    /// When the value ends by itself; none: never.
    pub expires: Option<Moment>,
}

/// A change of one key, or of one note.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The key holds this from now on.
    Put(Id, Key, Record),
    /// The key was deleted by the write of this version, which is remembered: a tombstone.
    Bury(Id, Key, Version),
    /// Nothing is kept of the key from now on, no tombstone either.
    Remove(Id, Key),
    /// The note of this name holds this from now on (none: it is gone). Notes are small records of the node's own,
    /// which must change together with keys: metadata of a range, the sessions of clients.
    Note(Vec<u8>, Option<Vec<u8>>),
}

impl Change {
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match self {
            Change::Put(_, Key::Bytes(key), _)
            | Change::Bury(_, Key::Bytes(key), _)
            | Change::Remove(_, Key::Bytes(key))
                if key.len() > KEY_BYTES_MAX =>
            {
                Err(StoreError::KeyTooLong(key.len()))
            }
            Change::Put(..) | Change::Bury(..) | Change::Remove(..) | Change::Note(..) => Ok(()),
        }
    }
}

/// Where a key is: its identifier, and the key itself where several have one identifier.
pub type Position = (Id, Key);

/// Numbers the batches of one engine since it was opened, going up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Ticket(pub u64);

impl Ticket {
    pub(crate) fn next(self) -> Ticket {
        Ticket(self.0 + 1)
    }
}

/// A key, as it lies in an engine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum KeyRef<'a> {
    /// Any bytes.
    Bytes(&'a [u8]),
    /// A literal identifier.
    Literal(Id),
}

impl KeyRef<'_> {
    /// The key, copied.
    pub fn to_key(self) -> Key {
        match self {
            KeyRef::Bytes(bytes) => Key::new(bytes),
            KeyRef::Literal(id) => Key::Literal(id),
        }
    }

    /// Bytes that it takes on the wire, roughly: as [`Key::size`].
    pub fn size(self) -> usize {
        match self {
            KeyRef::Bytes(bytes) => bytes.len(),
            KeyRef::Literal(id) => id.as_bytes().len(),
        }
    }
}

/// What a scan shows of a key, as it lies in the engine: nothing is copied until it is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item<'a> {
    /// Where the key is.
    pub id: Id,
    /// The key.
    pub key: KeyRef<'a>,
    /// Of its last write.
    pub version: Version,
    /// What it holds; none: this is a tombstone.
    pub value: Option<&'a [u8]>,
    /// When that ends by itself; none: never.
    pub expires: Option<Moment>,
}

impl Item<'_> {
    /// What the key holds, copied: nothing, if this is a tombstone.
    pub fn record(&self) -> Option<Record> {
        let expires = self.expires;
        self.value.map(|value| Record { version: self.version, value: value.into(), expires })
    }

    /// What is kept of the key, copied.
    pub fn stored(&self) -> Stored {
        Stored { version: self.version, value: self.value.map(Value::from), expires: self.expires }
    }

    /// Where it is, copied: scans go on behind it.
    pub fn position(&self) -> Position {
        (self.id, self.key.to_key())
    }
}

/// What looks at the keys of a scan, one after another, until it breaks off.
pub type Visitor<'a> = &'a mut dyn FnMut(Item<'_>) -> ControlFlow<()>;

/// The same for notes: name and content.
pub type NoteVisitor<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// What looks at the keys that end by themselves, one after another, until it breaks off.
pub type EndingVisitor<'a> = &'a mut dyn FnMut(Ending) -> ControlFlow<()>;

/// Keys with what they hold, in the order of their identifiers. See the module for what it guarantees.
pub trait Engine: Send {
    /// What is kept of a key.
    ///
    /// # Errors
    /// When the record is damaged, or the store has failed.
    fn stored(&self, id: Id, key: &Key) -> Result<Option<Stored>, StoreError>;

    /// The same without the value.
    ///
    /// # Errors
    /// As [`Engine::stored`].
    fn mark(&self, id: Id, key: &Key) -> Result<Option<Mark>, StoreError>;

    /// What a key holds: nothing, if it was deleted.
    ///
    /// # Errors
    /// As [`Engine::stored`].
    fn get(&self, id: Id, key: &Key) -> Result<Option<Record>, StoreError> {
        Ok(self.stored(id, key)?.and_then(Stored::into_record))
    }

    /// The version of what a key holds: none, if it was deleted.
    ///
    /// # Errors
    /// As [`Engine::stored`].
    fn version(&self, id: Id, key: &Key) -> Result<Option<Version>, StoreError> {
        Ok(self.mark(id, key)?.filter(|mark| mark.live).map(|mark| mark.version))
    }

    /// What a note holds.
    ///
    /// # Errors
    /// When the note is damaged, or the store has failed.
    fn note(&self, name: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits the notes whose names begin so, in the order of their names, beginning behind `after`, until the visitor
    /// breaks off.
    ///
    /// # Errors
    /// When a note is damaged (those in front of it were visited), or the store has failed.
    fn notes(&self, prefix: &[u8], after: Option<&[u8]>, visit: NoteVisitor<'_>) -> Result<(), StoreError>;

    /// Makes all changes, or none; of several for one key the last counts. Reads see them from now on; when they are
    /// on disk, the ticket is durable.
    ///
    /// # Errors
    /// When a key is longer than is possible (nothing was changed), or the store has failed.
    fn apply(&mut self, batch: Vec<Change>) -> Result<Ticket, StoreError>;

    /// The ticket of the last batch.
    fn applied(&self) -> Ticket;

    /// Everything up to this ticket is on disk (for an engine that has no disk: as safe as it will ever be).
    fn durable(&self) -> Ticket;

    /// Visits the keys of a range, tombstones too, going up and around from its low end, beginning behind `after`,
    /// until the visitor breaks off.
    ///
    /// # Errors
    /// When a record is damaged (those in front of it were visited; one may go on behind it), or the store has failed.
    fn scan(&self, range: Range, after: Option<&Position>, visit: Visitor<'_>) -> Result<(), StoreError>;

    /// Visits the keys that end by themselves, those that end first first, beginning behind `after`, until the visitor breaks
    /// off. Whether a key's record can be read is not looked at. (Where a damaged record was overwritten, its moment may
    /// still be visited: whoever acts on it looks at the record.)
    ///
    /// # Errors
    /// When the store has failed.
    fn endings(&self, after: Option<&Ending>, visit: EndingVisitor<'_>) -> Result<(), StoreError>;

    /// The keys as they are now, for [`Engine::scan_snapshot`]. While it lives, the engine keeps what is overwritten.
    fn snapshot(&mut self) -> Snapshot;

    /// The same as [`Engine::scan`], of the keys as they were when the snapshot was taken from this engine.
    ///
    /// # Errors
    /// As [`Engine::scan`].
    fn scan_snapshot(
        &self,
        snapshot: &Snapshot,
        range: Range,
        after: Option<&Position>,
        visit: Visitor<'_>,
    ) -> Result<(), StoreError>;

    /// How many keys hold a value.
    fn keys(&self) -> u64;

    /// How many tombstones there are.
    fn tombstones(&self) -> u64;

    /// Bytes of all keys (tombstones too) and values.
    fn bytes(&self) -> u64;

    /// Takes everything that waits to be written. None: nothing waits, or what was taken is not yet given back.
    ///
    /// # Errors
    /// When the store has failed.
    fn begin_flush(&mut self) -> Result<Option<Flush>, StoreError>;

    /// Takes note that it was written. Answers the durable ticket.
    ///
    /// # Errors
    /// When the store has failed.
    fn end_flush(&mut self, flushed: Flushed) -> Result<Ticket, StoreError>;

    /// Bytes of memory that changes take which are not yet on disk: whoever applies changes waits when it is too much.
    fn overlay_bytes(&self) -> usize;
}

/// How much there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) keys: u64,
    pub(crate) tombstones: u64,
    pub(crate) bytes: u64,
}

/// What one row adds to the counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Weight {
    pub(crate) live: bool,
    pub(crate) bytes: usize,
}

impl Counts {
    pub(crate) fn add(&mut self, weight: Weight) {
        if weight.live {
            self.keys += 1;
        } else {
            self.tombstones += 1;
        }
        self.bytes += weight.bytes as u64;
    }

    /// Saturating: the weight of a damaged row may not be what was added for it.
    pub(crate) fn subtract(&mut self, weight: Weight) {
        if weight.live {
            self.keys = self.keys.saturating_sub(1);
        } else {
            self.tombstones = self.tombstones.saturating_sub(1);
        }
        self.bytes = self.bytes.saturating_sub(weight.bytes as u64);
    }
}
