//! The log and the vote: in memory for readers, on disk for ever.
//!
//! The log is short (snapshots replace it), so all of it is kept in memory; the disk is read only at the start. An
//! entry is readable when `append` returns, and is reported as flushed when it is synced. How far the log is committed
//! is written along with the next entries, never by a sync of its own: it may lag behind on disk, which openraft allows.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::RangeBounds;
use std::sync::Arc;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, EntryPayload, LogState, RaftLogReader, StorageIOError};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::disk::{Change, Disk, Loaded};
use crate::types::{Entry, LogId, StorageError, Types, Vote};
use crate::wire::ENTRIES_BYTES_MAX;

/// After so many bytes a snapshot is due, however few entries they are.
const SNAPSHOT_DUE_BYTES: usize = 16 << 20;

/// The log of one node; copies share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    mirror: Arc<Mutex<Mirror>>,
    /// A snapshot is due.
    snapshot_due: Arc<Notify>,
    disk: Option<Disk>,
}

#[derive(Default)]
struct Mirror {
    /// With the size of each in bytes.
    entries: BTreeMap<u64, (Entry, usize)>,
    /// Bytes of entries since a snapshot was last due.
    bytes: usize,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
}

impl LogStore {
    /// The log as it was loaded; `None` for a log in memory only.
    pub(crate) fn new(loaded: &mut Loaded, disk: Option<Disk>, snapshot_due: Arc<Notify>) -> Self {
        let entries = std::mem::take(&mut loaded.entries).into_iter();
        let mirror = Mirror {
            entries: entries.map(|(entry, size)| (entry.log_id.index, (entry, size))).collect(),
            bytes: 0,
            purged: loaded.purged,
            vote: loaded.vote,
            committed: loaded.committed,
        };
        Self { mirror: Arc::new(Mutex::new(mirror)), snapshot_due, disk }
    }

    async fn write(&self, change: Change) -> Result<(), StorageError> {
        match &self.disk {
            None => Ok(()),
            Some(disk) => disk.write(change).await.map_err(|reason| failed(&reason)),
        }
    }
}

fn failed(reason: &str) -> StorageError {
    StorageIOError::write(AnyError::error(reason)).into()
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        let mirror = self.mirror.lock();
        Ok(mirror.entries.range(range).map(|(_, (entry, _))| entry.clone()).collect())
    }

    /// As many as fit a message, at least one.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        let mirror = self.mirror.lock();
        let mut bytes = 0;
        let mut entries = Vec::new();
        for (entry, size) in mirror.entries.range(start..end).map(|(_, kept)| kept) {
            bytes += size;
            if bytes > ENTRIES_BYTES_MAX && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let mirror = self.mirror.lock();
        let last = mirror.entries.last_key_value().map(|(_, (entry, _))| entry.log_id);
        Ok(LogState { last_purged_log_id: mirror.purged, last_log_id: last.or(mirror.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.write(Change::Vote(*vote)).await?;
        self.mirror.lock().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.mirror.lock().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.mirror.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        let mirror = self.mirror.lock();
        // Only what is there can be applied.
        let last = mirror.entries.last_key_value().map(|(_, (entry, _))| entry.log_id).or(mirror.purged);
        Ok(mirror.committed.min(last))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let mut encoded = Vec::new();
        let committed = {
            let mut mirror = self.mirror.lock();
            for entry in entries {
                if let EntryPayload::Normal(batch) = &entry.payload
                    && let Some(ticket) = &batch.ticket
                {
                    ticket.mark_appended();
                }
                let bytes = postcard::to_stdvec(&entry).map_err(|error| failed(&error.to_string()))?;
                let index = entry.log_id.index;
                mirror.bytes += bytes.len();
                mirror.entries.insert(index, (entry, bytes.len()));
                encoded.push((index, bytes));
            }
            if mirror.bytes > SNAPSHOT_DUE_BYTES {
                mirror.bytes = 0;
                self.snapshot_due.notify_one();
            }
            mirror.committed
        };
        match &self.disk {
            None => callback.log_io_completed(Ok(())),
            Some(disk) => disk.write_then(Change::Append { entries: encoded, committed }, callback),
        }
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.write(Change::Truncate { from: log_id.index }).await?;
        // Dropping the entries tells those who wait for them, outside the lock.
        let removed = self.mirror.lock().entries.split_off(&log_id.index);
        drop(removed);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.write(Change::Purge { upto: log_id }).await?;
        let mut mirror = self.mirror.lock();
        let kept = mirror.entries.split_off(&(log_id.index + 1));
        let removed = std::mem::replace(&mut mirror.entries, kept);
        mirror.purged = Some(log_id);
        drop(mirror);
        drop(removed);
        Ok(())
    }
}
