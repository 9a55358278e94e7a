//! A small Raft group that holds one replicated, deterministic state machine.
//!
//! The coordinator's view of members and ranges is such a machine. Every node runs a [`Group`]; a few are voters, most
//! are in no group at all and only [`Group::receive`] what comes for them. openraft does the protocol; nothing outside
//! this crate sees it.
//!
//! # What is given
//! - A [`Machine`]: commands in, answers out, the same on every member, and its state as bytes.
//! - A [`Transport`]: one message there, one answer back. It may lose, delay and repeat messages.
//! - [`Settings`]: the node's id, where its Raft state is kept, and times.
//!
//! # What is guaranteed
//! - **Commands** that [`Group::propose`] answered are applied once, in one order, at every member, for ever: votes,
//!   log and snapshots are synced to disk before anybody is told of them. Several commands that waited together share
//!   one log entry, one sync and one index; nobody sees the machine between them.
//! - **Outcomes are exact**: every error of [`Group::propose`] but `Unknown` and `Fatal` means that the command is not
//!   carried out and never will be. In particular a command that a deposed leader had appended is `Unknown`, since a
//!   third node may still hold it and win.
//! - **[`Group::confirm`]** answers only after a round of a quorum that began after the call, when the machine here
//!   holds all that was committed before the call. [`Group::leader`] is only a belief: a leader that is cut off goes on
//!   believing in itself.
//! - **Leaders are told apart by `(term, leader)`**, in this order. openraft allows two leaders in one term, one after
//!   the other, the larger id later.
//! - **A restart** may resume the old leadership in its old term, without an election. Whoever grants anything by
//!   leadership takes the start of a process as a new leadership.
//! - **Messages name their target, and the group's lineage**: a number drawn when a group is founded, and anew when
//!   it is rebuilt by [`recover_quorum`]. A node that is another id, or of another lineage, refuses. A node without a
//!   lineage takes that of the first leader that adds it.
//! - **A failed write is final**: the node stops taking part ([`Group::stopped`]), since it cannot know what its disk
//!   holds.
//!
//! # What is not here
//! Leadership is handed on by [`Group::step_down`] to whoever is elected, not to a chosen node (openraft 0.9 cannot).
//! Elections draw from the thread's random numbers. Messages are trusted once they decode and are consistent: members
//! are not Byzantine.
//!
//! # Where to read on
//! `group.rs` has the calls; `proposals.rs` batches commands, `confirmations.rs` batches rounds, `voters.rs` changes
//! the membership. `log.rs`, `state.rs` and `disk.rs` are the storage; `wire.rs`, `sending.rs`, `receiving.rs` the
//! messages; `observer.rs` turns openraft's metrics into what others watch.

mod confirmations;
mod disk;
mod error;
mod group;
mod log;
mod observer;
mod proposals;
mod receiving;
mod recovery;
mod sending;
mod settings;
mod state;
mod types;
mod voters;
mod wire;

use std::fmt;
use std::future::Future;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use error::{
    BootstrapError, ChangeError, ConfirmError, ProposeError, SendError, StartError, StepDownError,
    StoreError, TimingError,
};
pub use group::Group;
pub use observer::{Leadership, Members};
pub use proposals::COMMAND_BYTES_MAX;
pub use recovery::{Recovery, forget, recover_quorum};
pub use settings::{Settings, Storage, Timing};
pub use wire::{CHUNK_BYTES_MAX, MESSAGE_BYTES_MAX};

/// Who a node is: the 128 bits of its store id. A store that was wiped is another node.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u128);

impl fmt::Display for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A deterministic state machine: the same commands in the same order give the same state and answers on every node.
/// So it looks at no clock, no random number and nothing that differs between nodes.
pub trait Machine: Send + 'static {
    /// What is replicated. Its encoding (postcard) is the log's format: old logs must stay readable.
    type Command: Serialize + DeserializeOwned + Send + 'static;
    /// What the proposer is told.
    type Answer: Send + 'static;

    /// Carries a command out. `index` is that of its log entry: it never falls, commands that were proposed together
    /// share it, and some indexes carry none. A command that does not fit the state is answered so, not panicked at.
    fn apply(&mut self, index: u64, command: Self::Command) -> Self::Answer;

    /// The whole state, as bytes that [`Machine::restore`] understands, also in later versions.
    fn snapshot(&self) -> Vec<u8>;

    /// Replaces the whole state by that of a snapshot.
    ///
    /// # Errors
    /// Says why the bytes cannot be used; the node then stops taking part.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String>;
}

/// How messages reach other nodes. Calls run side by side and may be dropped at any time.
pub trait Transport: Send + Sync + 'static {
    /// Sends `message` (at most [`MESSAGE_BYTES_MAX`] bytes) to the node at this address, whose server gives it to
    /// [`Group::receive`], and waits for what that answers.
    fn send(&self, to: &str, message: Vec<u8>) -> impl Future<Output = Result<Vec<u8>, SendError>> + Send;
}
