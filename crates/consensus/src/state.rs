//! The machine as openraft drives it: entries applied in order, snapshots taken, kept and installed.
//!
//! The machine lives in memory and is rebuilt at the start from the last snapshot and the log. A snapshot is on disk
//! before the entries that it replaces are removed. Taking one holds the machine only while it is turned into bytes.

use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, RaftSnapshotBuilder, Snapshot, StorageIOError};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::Machine;
use crate::disk::{Change, Disk};
use crate::error::ProposeError;
use crate::types::{
    Batch, Entry, LogId, SnapshotBytes, SnapshotMeta, StorageError, StoredMembership, Ticket, Types,
};

/// Where the answer to one command goes.
pub(crate) type Reply<A> = oneshot::Sender<Result<(u64, A), ProposeError>>;

/// A machine, and the index up to which it was applied.
pub(crate) struct Shared<M> {
    machine: Mutex<M>,
    /// Changes while the machine is locked, and before proposers are answered.
    applied: watch::Sender<u64>,
}

impl<M: Machine> Shared<M> {
    pub(crate) fn new(machine: M) -> Self {
        Self { machine: Mutex::new(machine), applied: watch::Sender::new(0) }
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&M, u64) -> T) -> T {
        let machine = self.machine.lock();
        let applied = *self.applied.borrow();
        read(&machine, applied)
    }

    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }
}

/// A machine whose types are forgotten, so that openraft is compiled once, here, and not for every machine.
pub(crate) trait AnyMachine: Send + Sync {
    fn apply(&self, index: u64, batch: &Batch) -> Result<(), String>;
    /// Notes that `index` is applied, for entries without commands.
    fn advance(&self, index: u64);
    fn snapshot(&self) -> Vec<u8>;
    fn restore(&self, index: u64, bytes: &[u8]) -> Result<(), String>;
}

impl<M: Machine> AnyMachine for Shared<M> {
    fn apply(&self, index: u64, batch: &Batch) -> Result<(), String> {
        // All are read before the first is carried out: an entry is applied whole or not at all.
        let commands = batch.commands.iter().map(|bytes| postcard::from_bytes::<M::Command>(bytes));
        let commands = commands.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let replies = batch.ticket.as_deref().and_then(Ticket::take);
        let replies = replies.and_then(|replies| replies.downcast::<Vec<Reply<M::Answer>>>().ok());
        let answers: Vec<_> = {
            let mut machine = self.machine.lock();
            self.applied.send_replace(index);
            commands.into_iter().map(|command| machine.apply(index, command)).collect()
        };
        for (reply, answer) in replies.into_iter().flat_map(|replies| *replies).zip(answers) {
            // Who asked may have given up.
            drop(reply.send(Ok((index, answer))));
        }
        Ok(())
    }

    fn advance(&self, index: u64) {
        let _machine = self.machine.lock();
        self.applied.send_replace(index);
    }

    fn snapshot(&self) -> Vec<u8> {
        self.machine.lock().snapshot()
    }

    fn restore(&self, index: u64, bytes: &[u8]) -> Result<(), String> {
        let mut machine = self.machine.lock();
        machine.restore(bytes)?;
        self.applied.send_replace(index);
        Ok(())
    }
}

/// The snapshot that is on disk, and the way to replace it by a later one.
#[derive(Clone)]
struct Kept {
    current: Arc<tokio::sync::Mutex<Option<(SnapshotMeta, SnapshotBytes)>>>,
    disk: Option<Disk>,
}

impl Kept {
    /// Keeps this snapshot, unless a later one was kept meanwhile.
    async fn keep(&self, meta: SnapshotMeta, bytes: SnapshotBytes) -> Result<(), StorageError> {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|(kept, _)| kept.last_log_id > meta.last_log_id) {
            return Ok(());
        }
        if let Some(disk) = &self.disk {
            let change = Change::Snapshot { meta: meta.clone(), bytes: bytes.clone() };
            let failed =
                |reason| StorageIOError::write_snapshot(Some(meta.signature()), AnyError::error(reason));
            disk.write(change).await.map_err(failed)?;
        }
        *current = Some((meta, bytes));
        Ok(())
    }
}

/// What openraft applies entries to.
pub(crate) struct StateMachine {
    machine: Arc<dyn AnyMachine>,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    kept: Kept,
}

impl StateMachine {
    /// The machine, brought to the state of `snapshot`.
    pub(crate) fn new(
        machine: Arc<dyn AnyMachine>,
        snapshot: Option<(SnapshotMeta, SnapshotBytes)>,
        disk: Option<Disk>,
    ) -> Result<Self, String> {
        let (mut last_applied, mut membership) = (None, StoredMembership::default());
        if let Some((meta, bytes)) = &snapshot {
            last_applied = meta.last_log_id;
            membership = meta.last_membership.clone();
            let index = last_applied.map_or(0, |log_id| log_id.index);
            machine.restore(index, bytes)?;
        }
        let kept = Kept { current: Arc::new(tokio::sync::Mutex::new(snapshot)), disk };
        Ok(Self { machine, last_applied, membership, kept })
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let mut answers = Vec::new();
        for entry in entries {
            let log_id = entry.log_id;
            match entry.payload {
                EntryPayload::Blank => self.machine.advance(log_id.index),
                EntryPayload::Normal(batch) => {
                    let failed = |reason| StorageIOError::apply(log_id, AnyError::error(reason));
                    self.machine.apply(log_id.index, &batch).map_err(failed)?;
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(log_id), membership);
                    self.machine.advance(log_id.index);
                }
            }
            self.last_applied = Some(log_id);
            answers.push(());
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let last_log_id = self.last_applied;
        let meta = SnapshotMeta {
            last_log_id,
            last_membership: self.membership.clone(),
            // Two snapshots of one log position hold the same state.
            snapshot_id: last_log_id.map_or_else(|| "empty".to_owned(), |log_id| log_id.to_string()),
        };
        Builder { meta, bytes: self.machine.snapshot().into(), kept: self.kept.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotBytes>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<SnapshotBytes>,
    ) -> Result<(), StorageError> {
        let index = meta.last_log_id.map_or(0, |log_id| log_id.index);
        // First in memory: bytes that the machine refuses must not become what it is started from.
        let refused =
            |reason| StorageIOError::write_snapshot(Some(meta.signature()), AnyError::error(reason));
        self.machine.restore(index, &snapshot).map_err(refused)?;
        self.kept.keep(meta.clone(), *snapshot).await?;
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let current = self.kept.current.lock().await.clone();
        Ok(current.map(|(meta, bytes)| Snapshot { meta, snapshot: Box::new(bytes) }))
    }
}

/// A state that was taken and is to be kept.
pub(crate) struct Builder {
    meta: SnapshotMeta,
    bytes: SnapshotBytes,
    kept: Kept,
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        self.kept.keep(self.meta.clone(), self.bytes.clone()).await?;
        Ok(Snapshot { meta: self.meta.clone(), snapshot: Box::new(self.bytes.clone()) })
    }
}
