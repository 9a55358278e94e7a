//! What nodes say to each other about chains. These types are the wire types.
//!
//! Every request is answered from the state of the node that gets it; only a heartbeat's answer waits, for a round of
//! the coordinator's group, which is a bounded event of the leader's own.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::view::{Epoch, Incarnation, Sequence, StoreId, View};
use crate::expiry::Moment;
use crate::id::{Id, Space};
use crate::key::{Entry, Key, Outcome, Value, Version};
use crate::message::Range;
use crate::peer::Peer;

/// Names a write for ever, so that sending it again has no second effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WriteId {
    /// Which instance of the client library: 128 random bits.
    pub client: u128,
    /// Which of its writes.
    pub sequence: u64,
    /// All of its writes below this one have been answered: their results need not be kept.
    pub done_below: u64,
    /// The index of the newest view that the client knew when it sent this write first.
    pub first_sent: u64,
}

/// What a write does to its key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Mutation {
    /// It holds this value, which ends by itself at that moment (none: never); the version is the epoch and the
    /// sequence of the log entry.
    Put(Value, Option<Moment>),
    /// It holds nothing.
    Remove,
    /// It holds nothing: the moment of the value of this version, which it held, has come.
    Expire(Version),
    /// It stays as it is (a compare-and-swap that found another version, a delete that found nothing).
    Nothing,
}

/// A write that the head has decided.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Write {
    /// The key's place.
    pub id: Id,
    /// The key.
    pub key: Key,
    /// What is done.
    pub mutation: Mutation,
    /// What the client is told.
    pub outcome: Outcome,
    /// Who asked, so that asking again does nothing.
    pub by: Option<WriteId>,
}

/// One step of a range's history.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Action {
    /// A write.
    Write(Write),
    /// Results of writes that were first sent below this view are forgotten, and such writes are refused from now on.
    Floor(u64),
    /// Nothing: every replica looks at its copy as it is here, behind all writes before and in front of all behind.
    Mark(u128),
}

/// An entry of a range's log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogEntry {
    /// Its place in the order.
    pub sequence: Sequence,
    /// What happens.
    pub action: Action,
}

impl LogEntry {
    /// The write, if it is one.
    pub fn write(&self) -> Option<&Write> {
        match &self.action {
            Action::Write(write) => Some(write),
            Action::Floor(_) | Action::Mark(_) => None,
        }
    }

    /// Bytes that it takes in a message, roughly.
    pub fn size(&self) -> usize {
        const OVERHEAD_BYTES: usize = 128;
        let write = self.write().map_or(0, |write| {
            let value = if let Mutation::Put(value, _) = &write.mutation { value.len() } else { 0 };
            write.key.size() + value
        });
        OVERHEAD_BYTES + write
    }
}

/// How complete a replica's copy is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Copy {
    /// It serves: everything up to its last sequence.
    Serving,
    /// It is being filled; or it serves nothing yet, and it is not on disk that it is held.
    Syncing,
    /// It has been filled, and has everything up to its last sequence.
    Synced,
    /// It serves, but for a record that cannot be read: it is to be filled anew when others serve as well.
    Damaged,
    /// It has a gap that nobody can fill: it must begin anew.
    Broken,
}

/// What a node says about one of its replicas.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Which.
    pub epoch: Epoch,
    /// The change for which it is wedged: it takes no writes and serves no reads of this epoch any more.
    pub wedged: Option<Epoch>,
    /// Up to where it has the log.
    pub last: Sequence,
    /// Up to where that, and that it is held, is on disk (unless the durability is `sync`: the same as `last`).
    pub durable: Sequence,
    /// How complete it is.
    pub copy: Copy,
}

/// What a store has kept of an epoch over the end of a process.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Holding {
    /// Which epoch.
    pub epoch: Epoch,
    /// Its range.
    pub range: Range,
    /// Did it have everything up to `last`: did it serve, or had it been filled?
    pub complete: bool,
    /// Up to where its copy goes.
    pub last: Sequence,
    /// Writes that were first sent below this view are refused.
    pub floor: u64,
}

/// The result of a write, kept for those who ask again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeptResult {
    /// The key's place: results go where their keys go.
    pub id: Id,
    /// Its place in the order of its epoch.
    pub at: Version,
    /// What the client was told.
    pub outcome: Outcome,
    /// The view in which it was first sent.
    pub first_sent: u64,
    /// All writes of this client below this one have been answered.
    pub done_below: u64,
}

impl KeptResult {
    /// Of a write that has been decided.
    pub fn new(write: &Write, by: WriteId, at: Version) -> KeptResult {
        KeptResult {
            id: write.id,
            at,
            outcome: write.outcome,
            first_sent: by.first_sent,
            done_below: by.done_below.min(by.sequence),
        }
    }
}

/// What is known of a client's writes that have been answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Done {
    /// All below have been.
    pub below: u64,
    /// The newest view in which one was first sent; below the floor, all of them are refused anyhow.
    pub first_sent: u64,
}

/// I am here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Who.
    pub store: StoreId,
    /// In which life.
    pub incarnation: Incarnation,
    /// Where it is reached.
    pub me: Peer,
    /// Counts the heartbeats of this life: a later one says more.
    pub number: u64,
    /// The view that it has; none: 0.
    pub view: u64,
    /// Its replicas.
    pub reports: Vec<Report>,
    /// What it has kept from an earlier life, until that is of no use any more.
    pub holdings: Vec<Holding>,
    /// Whose acknowledgements it has been waiting for too long.
    pub silent: Vec<StoreId>,
}

/// Fetch what you lack of an epoch that ends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LevelOrder {
    /// Which.
    pub epoch: Epoch,
    /// For which change.
    pub change: Epoch,
    /// Who has more.
    pub from: Peer,
    /// Up to where.
    pub base: Sequence,
}

/// A leader's answer to a heartbeat.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Beat {
    /// A newer view than the one that the node has.
    pub view: Option<Arc<View>>,
    /// Epochs under which it may serve, for the lease from when it sent the heartbeat.
    pub granted: Vec<Epoch>,
    /// What to fetch.
    pub level: Vec<LevelOrder>,
}

/// A question or order about chains.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ChainRequest {
    /// To the leader.
    Heartbeat(Box<Heartbeat>),
    /// From the leader: there is something new for you, send a heartbeat now.
    Poke,
    /// The next part of the log, down the chain.
    Frame {
        /// Of which epoch.
        epoch: Epoch,
        /// The sender can still send what is behind this.
        oldest: Sequence,
        /// One behind the other.
        entries: Vec<Arc<LogEntry>>,
        /// Up to here the log is durable at the sender and at everybody above it.
        durable: Sequence,
    },
    /// Up to here everything is committed; up the chain.
    Committed {
        /// Of which epoch.
        epoch: Epoch,
        /// Up to where.
        sequence: Sequence,
    },
    /// The log behind this, for levelling.
    Level {
        /// Of which epoch.
        epoch: Epoch,
        /// What the asker has.
        after: Sequence,
    },
    /// Keys and versions of the range, a page from behind this key on.
    List {
        /// Of which epoch.
        epoch: Epoch,
        /// Begin behind this one.
        after: Option<Key>,
    },
    /// What these keys hold.
    Fetch {
        /// Of which epoch.
        epoch: Epoch,
        /// Which.
        keys: Vec<Key>,
    },
    /// Results that are kept for retries, a page from behind this one on.
    Results {
        /// Of which epoch.
        epoch: Epoch,
        /// Begin behind this client and sequence.
        after: Option<(u128, u64)>,
    },
}

/// Keys that one message may list.
pub const LISTED_MAX: usize = 4096;

impl ChainRequest {
    /// Its name in logs and in the graph of who awaits whom.
    pub fn name(&self) -> &'static str {
        match self {
            ChainRequest::Heartbeat(_) => "heartbeat",
            ChainRequest::Poke => "poke",
            ChainRequest::Frame { .. } => "frame",
            ChainRequest::Committed { .. } => "committed",
            ChainRequest::Level { .. } => "level",
            ChainRequest::List { .. } => "list",
            ChainRequest::Fetch { .. } => "fetch",
            ChainRequest::Results { .. } => "results",
        }
    }

    /// Could a node of this ring have said it?
    pub fn is_possible(&self, space: Space) -> bool {
        match self {
            ChainRequest::Heartbeat(beat) => space.contains(beat.me.id),
            ChainRequest::Frame { entries, .. } => {
                let write =
                    |entry: &Arc<LogEntry>| entry.write().is_none_or(|write| space.contains(write.id));
                entries.windows(2).all(|pair| pair[0].sequence.next() == pair[1].sequence)
                    && entries.iter().all(write)
            }
            ChainRequest::Fetch { keys, .. } => keys.len() <= LISTED_MAX,
            ChainRequest::Poke
            | ChainRequest::Committed { .. }
            | ChainRequest::Level { .. }
            | ChainRequest::List { .. }
            | ChainRequest::Results { .. } => true,
        }
    }
}

/// An answer to a [`ChainRequest`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ChainResponse {
    /// To a heartbeat.
    Beat(Box<Beat>),
    /// To a heartbeat: ask that one, if it is known.
    NotLeader(Option<Peer>),
    /// To a poke, and to committed.
    Noted,
    /// To a frame: what the receiver has now, and what it knows to be committed.
    Accepted {
        /// The end of its log.
        last: Sequence,
        /// Committed up to here.
        committed: Sequence,
    },
    /// To all that name an epoch: it is not, or not in this way, the receiver's.
    NotMine,
    /// To level.
    Log {
        /// One behind the other; none: that was all, or it is gone.
        entries: Vec<Arc<LogEntry>>,
        /// What is up to here is gone.
        oldest: Sequence,
    },
    /// To list.
    Listed {
        /// In the order of their places.
        keys: Vec<(Key, Version)>,
        /// Is that the end of the range?
        end: bool,
        /// The end of the answering node's log at that moment.
        last: Sequence,
    },
    /// To fetch: what the first of the keys hold, as many as fit.
    Fetched(Vec<Entry>),
    /// To results.
    Results {
        /// By client and sequence.
        results: Vec<((u128, u64), KeptResult)>,
        /// Was that all?
        end: bool,
        /// The end of the answering node's log at that moment.
        last: Sequence,
        /// Writes first sent below this view are refused.
        floor: u64,
        /// With the first page: up to where clients have had all their answers.
        done: Vec<(u128, Done)>,
    },
}
