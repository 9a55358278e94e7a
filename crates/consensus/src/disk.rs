//! The Raft state on disk: one redb file, written by one task, each write synced before it is answered.
//!
//! A write is one transaction, and so are writes that waited together: after a crash the file holds each of them
//! whole or not at all, and never a later one without an earlier one. The transactions run on a thread for blocking
//! work. **A failed write is final**: all later ones fail with the same reason, since nobody knows what reached the
//! disk.
//!
//! Reading happens once, at the start: log, vote and snapshot then live in memory as well ([`crate::log`]).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::storage::LogFlushed;
use redb::{Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use crate::NodeId;
use crate::error::StoreError;
use crate::types::{Entry, LogId, SnapshotBytes, SnapshotMeta, Types, Vote};

/// The name of the file in its directory.
pub(crate) const FILE: &str = "raft.redb";
/// What this program writes.
const FORMAT: u32 = 1;
/// The whole state is in memory already; the pages of the file need little.
const CACHE_BYTES: usize = 4 << 20;

/// Index to entry.
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// Everything else, by the names below.
const STATE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");

const KEY_FORMAT: &str = "format";
const KEY_OWNER: &str = "owner";
const KEY_LINEAGE: &str = "lineage";
const KEY_VOTE: &str = "vote";
const KEY_COMMITTED: &str = "committed";
const KEY_PURGED: &str = "purged";
const KEY_SNAPSHOT_META: &str = "snapshot meta";
const KEY_SNAPSHOT: &str = "snapshot";

/// What the file held when it was opened.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) lineage: Option<u128>,
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) entries: Vec<(Entry, usize)>,
    pub(crate) snapshot: Option<(SnapshotMeta, SnapshotBytes)>,
}

/// One change of the state.
pub(crate) enum Change {
    /// Entries by index, and how far the log is known to be committed.
    Append { entries: Vec<(u64, Vec<u8>)>, committed: Option<LogId> },
    /// Removes entries from this index on.
    Truncate { from: u64 },
    /// Removes entries up to this one.
    Purge { upto: LogId },
    /// The vote.
    Vote(Vote),
    /// The group that this node is in.
    Lineage(u128),
    /// The snapshot, in place of the former.
    Snapshot { meta: SnapshotMeta, bytes: SnapshotBytes },
}

enum Done {
    Flushed(LogFlushed<Types>),
    Answer(oneshot::Sender<Result<(), String>>),
}

impl Done {
    fn report(self, outcome: Result<(), String>) {
        match self {
            Done::Flushed(callback) => callback.log_io_completed(outcome.map_err(std::io::Error::other)),
            // Who asked may be gone; the write stands.
            Done::Answer(answer) => drop(answer.send(outcome)),
        }
    }
}

enum Message {
    Write(Box<Change>, Done),
    Close(oneshot::Sender<()>),
}

/// A handle to the task that writes. The file is closed when the last handle is gone, or by [`Disk::close`].
#[derive(Clone)]
pub(crate) struct Disk {
    messages: mpsc::UnboundedSender<Message>,
}

impl Disk {
    /// Opens or makes the file of `directory`, and reads it.
    pub(crate) async fn open(directory: &Path, me: NodeId) -> Result<(Disk, Loaded), StoreError> {
        let path = directory.join(FILE);
        let opened = tokio::task::spawn_blocking(move || open_file(&path, me)).await;
        let (database, loaded) = opened.map_err(|error| broken(directory, &error))??;
        Ok((Disk::start(database), loaded))
    }

    fn start(database: Database) -> Disk {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(write_all(database, receiver));
        Disk { messages: sender }
    }

    /// Writes and waits until it is on disk.
    pub(crate) async fn write(&self, change: Change) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        self.send(change, Done::Answer(answer));
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Writes, and calls back when it is on disk.
    pub(crate) fn write_then(&self, change: Change, callback: LogFlushed<Types>) {
        self.send(change, Done::Flushed(callback));
    }

    fn send(&self, change: Change, done: Done) {
        if let Err(mpsc::error::SendError(Message::Write(_, done))) =
            self.messages.send(Message::Write(Box::new(change), done))
        {
            done.report(Err(closed()));
        }
    }

    /// Finishes what was asked for, then closes the file, so that it can be opened again.
    pub(crate) async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        if self.messages.send(Message::Close(answer)).is_ok() {
            // An error means that the task has ended before, and closed the file.
            let _ended = answered.await;
        }
    }
}

fn closed() -> String {
    "the Raft state is closed".to_owned()
}

fn broken(path: &Path, reason: &dyn std::fmt::Display) -> StoreError {
    StoreError::Broken { path: path.to_owned(), reason: reason.to_string() }
}

/// Takes all writes that wait, commits them as one, answers them; until closed.
async fn write_all(database: Database, mut messages: mpsc::UnboundedReceiver<Message>) {
    let database = Arc::new(database);
    let mut failed: Option<String> = None;
    let mut close = None;
    while close.is_none() {
        let Some(first) = messages.recv().await else { break };
        let (mut changes, mut done) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Write(change, callback) => {
                    changes.push(change);
                    done.push(callback);
                }
                Message::Close(answer) => {
                    close = Some(answer);
                    break;
                }
            }
            next = messages.try_recv().ok();
        }
        if failed.is_none() && !changes.is_empty() {
            let database = Arc::clone(&database);
            let committed =
                tokio::task::spawn_blocking(move || commit(&database, changes.iter().map(Box::as_ref))).await;
            failed = committed.unwrap_or_else(|error| Err(error.to_string())).err();
            if let Some(reason) = &failed {
                tracing::error!(reason, "the Raft state cannot be written; this node stops taking part");
            }
        }
        let outcome = failed.clone().map_or(Ok(()), Err);
        done.into_iter().for_each(|done| done.report(outcome.clone()));
    }
    // Closing writes, too. Who waits for the file learns that it is free by the answer, or by its being dropped.
    let _closed = tokio::task::spawn_blocking(move || drop(database)).await;
    if let Some(answer) = close {
        let _gone = answer.send(());
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, String> {
    postcard::to_stdvec(value).map_err(text)
}

/// One transaction for all of `changes`, in their order.
fn commit<'a>(database: &Database, changes: impl IntoIterator<Item = &'a Change>) -> Result<(), String> {
    let mut transaction = database.begin_write().map_err(text)?;
    transaction.set_durability(Durability::Immediate).map_err(text)?;
    {
        let mut log = transaction.open_table(LOG).map_err(text)?;
        let mut state = transaction.open_table(STATE).map_err(text)?;
        let mut put = |key, value: &[u8]| state.insert(key, value).map(drop).map_err(text);
        for change in changes {
            match change {
                Change::Append { entries, committed } => {
                    for (index, entry) in entries {
                        log.insert(index, entry.as_slice()).map_err(text)?;
                    }
                    if let Some(committed) = committed {
                        put(KEY_COMMITTED, &encode(committed)?)?;
                    }
                }
                Change::Truncate { from } => log.retain_in(*from.., |_, _| false).map_err(text)?,
                Change::Purge { upto } => {
                    log.retain_in(..=upto.index, |_, _| false).map_err(text)?;
                    put(KEY_PURGED, &encode(upto)?)?;
                }
                Change::Vote(vote) => put(KEY_VOTE, &encode(vote)?)?,
                Change::Lineage(lineage) => put(KEY_LINEAGE, &encode(lineage)?)?,
                Change::Snapshot { meta, bytes } => {
                    put(KEY_SNAPSHOT_META, &encode(meta)?)?;
                    put(KEY_SNAPSHOT, bytes)?;
                }
            }
        }
    }
    transaction.commit().map_err(text)
}

fn open_file(path: &PathBuf, me: NodeId) -> Result<(Database, Loaded), StoreError> {
    let existed = path.exists();
    let database =
        Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.clone() },
            error => broken(path, &error),
        })?;
    if !existed {
        sync_directory(path)?;
    }
    let loaded = load(&database, path, me)?;
    Ok((database, loaded))
}

/// Makes the name of a new file durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let directory = path.parent().unwrap_or(path);
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| broken(directory, &error))
}

/// Makes a file with this state, for the offline repair.
pub(crate) fn create(path: &Path, me: NodeId, changes: &[Change]) -> Result<(), StoreError> {
    let (database, _) = open_file(&path.to_owned(), me)?;
    commit(&database, changes).map_err(|reason| broken(path, &reason))
}

/// Reads a file that is there, for the offline repair.
pub(crate) fn read(path: &Path, me: NodeId) -> Result<Loaded, StoreError> {
    open_file(&path.to_owned(), me).map(|(_, loaded)| loaded)
}

/// Reads everything; a new file is given its format and owner first.
fn load(database: &Database, path: &Path, me: NodeId) -> Result<Loaded, StoreError> {
    let refused = |reason: String| broken(path, &reason);
    match found(database).map_err(refused)? {
        None => mark(database, me).map_err(refused)?,
        Some((format, _)) if format != FORMAT => {
            return Err(StoreError::Format { path: path.to_owned(), found: format, known: FORMAT });
        }
        Some((_, owner)) if owner != me => {
            return Err(StoreError::OtherNode { path: path.to_owned(), owner, me });
        }
        Some(_) => {}
    }
    load_state(database).map_err(refused)
}

/// Format and owner of the file, if it has any.
fn found(database: &Database) -> Result<Option<(u32, NodeId)>, String> {
    let transaction = database.begin_read().map_err(text)?;
    let state = match transaction.open_table(STATE) {
        Ok(state) => state,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(text(error)),
    };
    let format = get(&state, KEY_FORMAT)?.ok_or("it has no format")?;
    let owner = get(&state, KEY_OWNER)?.ok_or("it has no owner")?;
    Ok(Some((format, owner)))
}

fn mark(database: &Database, me: NodeId) -> Result<(), String> {
    let transaction = database.begin_write().map_err(text)?;
    {
        let mut state = transaction.open_table(STATE).map_err(text)?;
        state.insert(KEY_FORMAT, encode(&FORMAT)?.as_slice()).map_err(text)?;
        state.insert(KEY_OWNER, encode(&me)?.as_slice()).map_err(text)?;
        transaction.open_table(LOG).map_err(text)?;
    }
    transaction.commit().map_err(text)
}

fn get<T: DeserializeOwned>(
    state: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
) -> Result<Option<T>, String> {
    let Some(value) = state.get(key).map_err(text)? else { return Ok(None) };
    postcard::from_bytes(value.value()).map(Some).map_err(|error| format!("{key}: {error}"))
}

fn load_state(database: &Database) -> Result<Loaded, String> {
    let transaction = database.begin_read().map_err(text)?;
    let state = transaction.open_table(STATE).map_err(text)?;
    let snapshot = match get::<SnapshotMeta>(&state, KEY_SNAPSHOT_META)? {
        None => None,
        Some(meta) => {
            let bytes = state.get(KEY_SNAPSHOT).map_err(text)?.ok_or("it has lost its snapshot")?;
            Some((meta, SnapshotBytes::copy_from_slice(bytes.value())))
        }
    };
    let mut entries = Vec::new();
    for row in transaction.open_table(LOG).map_err(text)?.iter().map_err(text)? {
        let (index, value) = row.map_err(text)?;
        let decoded = postcard::from_bytes::<Entry>(value.value());
        let entry = decoded.map_err(|error| format!("entry {}: {error}", index.value()))?;
        if entry.log_id.index != index.value() {
            return Err(format!("entry {} says that it is {}", index.value(), entry.log_id));
        }
        entries.push((entry, value.value().len()));
    }
    Ok(Loaded {
        lineage: get(&state, KEY_LINEAGE)?,
        vote: get(&state, KEY_VOTE)?,
        committed: get(&state, KEY_COMMITTED)?,
        purged: get(&state, KEY_PURGED)?,
        entries,
        snapshot,
    })
}

#[cfg(test)]
mod tests;
