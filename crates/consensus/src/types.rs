//! What openraft is told about us: ids, entries, snapshots; and how proposers are told what became of a command.
//!
//! One log entry carries a [`Batch`] of commands, so that one write to disk commits all that waited for it: openraft
//! itself writes entry by entry. The proposers travel with the entry, in this process only, as its [`Ticket`]. That
//! makes outcomes exact: they are answered where the entry is applied; an entry that is dropped drops them, which
//! reads "unknown"; and an entry that was never appended here is certainly not committed.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::NodeId;

openraft::declare_raft_types!(
    pub(crate) Types:
        D = Batch,
        R = (),
        NodeId = NodeId,
        Node = String,
        Entry = openraft::Entry<Types>,
        SnapshotData = SnapshotBytes,
        Responder = openraft::impls::OneshotResponder<Types>,
        AsyncRuntime = openraft::TokioRuntime,
);

pub(crate) type Raft = openraft::Raft<Types>;
pub(crate) type Entry = openraft::Entry<Types>;
pub(crate) type LogId = openraft::LogId<NodeId>;
pub(crate) type Vote = openraft::Vote<NodeId>;
pub(crate) type Membership = openraft::Membership<NodeId, String>;
pub(crate) type StoredMembership = openraft::StoredMembership<NodeId, String>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<NodeId, String>;
pub(crate) type StorageError = openraft::StorageError<NodeId>;
/// The bytes of a machine's state, shared between the store and whoever sends them.
pub(crate) type SnapshotBytes = Bytes;

/// The commands of one log entry, each as postcard, in the order in which they are applied.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Batch {
    pub(crate) commands: Vec<Bytes>,
    #[serde(skip)]
    pub(crate) ticket: Option<Arc<Ticket>>,
}

impl fmt::Debug for Batch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Batch({})", self.commands.len())
    }
}

/// Those who wait for the commands of one entry, at the node that proposed it.
pub(crate) struct Ticket {
    appended: AtomicBool,
    waiting: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Ticket {
    /// A ticket for `waiting`, whose type only the machine's side knows.
    pub(crate) fn new(waiting: Box<dyn Any + Send>) -> Self {
        Self { appended: AtomicBool::new(false), waiting: Mutex::new(Some(waiting)) }
    }

    /// From now on the entry may be committed, by this leader or by a later one.
    pub(crate) fn mark_appended(&self) {
        self.appended.store(true, Ordering::Release);
    }

    pub(crate) fn was_appended(&self) -> bool {
        self.appended.load(Ordering::Acquire)
    }

    /// Takes those who wait; the second caller gets nothing.
    pub(crate) fn take(&self) -> Option<Box<dyn Any + Send>> {
        self.waiting.lock().take()
    }
}
