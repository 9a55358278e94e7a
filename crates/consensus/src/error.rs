//! What can go wrong, each named by what the caller does next.

use std::path::PathBuf;
use std::time::Duration;

use crate::NodeId;

/// A timing that would not work.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TimingError {
    /// The three times are not in order.
    #[error(
        "the heartbeat ({heartbeat:?}) must be at least 1 ms and shorter than election_min ({election_min:?}), which \
         must be at least 1 ms shorter than election_max ({election_max:?})"
    )]
    Order {
        /// As given.
        heartbeat: Duration,
        /// As given.
        election_min: Duration,
        /// As given.
        election_max: Duration,
    },
    /// A clock's relative error is at least 0 and below 1.
    #[error("a clock drift of {drift} is not at least 0 and below 1")]
    Drift {
        /// As given.
        drift: f64,
    },
    /// Leases would run out while a new leader is elected.
    #[error(
        "an election may take {election:?} (heartbeat + 4 election_max + round trip), leases hold for {lease:?}"
    )]
    LeaseTooShort {
        /// The left side of the rule.
        election: Duration,
        /// The right side: the lease, shortened by the drift.
        lease: Duration,
    },
}

/// A group did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Other settings are needed.
    #[error(transparent)]
    Timing(#[from] TimingError),
    /// The Raft state cannot be read or written, or is another node's.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The machine did not take its own snapshot back, or the kept log does not fit.
    #[error("the replicated state cannot be rebuilt: {0}")]
    State(String),
}

/// The Raft state on disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process, or another group of this one, has it open.
    #[error("{path} is in use by another process")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It was written by another node: a directory was copied or mixed up.
    #[error("{path} belongs to node {owner}, not to {me}")]
    OtherNode {
        /// The file.
        path: PathBuf,
        /// Who wrote it.
        owner: NodeId,
        /// Who opens it.
        me: NodeId,
    },
    /// It has a format that this program does not know.
    #[error("{path} has format {found}, this program knows format {known}")]
    Format {
        /// The file.
        path: PathBuf,
        /// As written there.
        found: u32,
        /// What can be read.
        known: u32,
    },
    /// It cannot be read or written.
    #[error("{path}: {reason}")]
    Broken {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
}

/// A command has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Ask the leader. The command is certainly not carried out, now or later.
    #[error("not the leader")]
    NotLeader {
        /// The leader, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Try again later. The command is certainly not carried out: too many wait.
    #[error("too many commands are waiting")]
    Overloaded,
    /// Send a smaller command. It is certainly not carried out.
    #[error("a command of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The command cannot be encoded; certainly not carried out.
    #[error("the command cannot be encoded: {0}")]
    Unfit(String),
    /// It may be committed, now or later, or never.
    #[error("the outcome is unknown")]
    Unknown,
    /// As `Unknown`, and this node takes part no more: it was shut down or its disk failed.
    #[error("this node has stopped: {0}")]
    Fatal(String),
}

/// Leadership is not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfirmError {
    /// Ask the leader.
    #[error("not the leader")]
    NotLeader {
        /// The leader, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// No quorum answered in time: perhaps cut off, perhaps deposed. Grant nothing, try again.
    #[error("no quorum answered")]
    NoQuorum,
    /// This node takes part no more.
    #[error("this node has stopped: {0}")]
    Fatal(String),
}

/// A change of voters did not come to its end. What was done stays done; the same call completes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Repeat it at the leader.
    #[error("not the leader")]
    NotLeader {
        /// The leader, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// A group has at least one voter.
    #[error("a group without voters was asked for")]
    NoVoters,
    /// These did not come near the leader's log in time. They are learners now; voters are as before.
    #[error("new voters did not catch up in time: {0:?}")]
    Behind(Vec<NodeId>),
    /// No quorum agreed in time; repeat it.
    #[error("no quorum agreed in time")]
    Unknown,
    /// This node takes part no more.
    #[error("this node has stopped: {0}")]
    Fatal(String),
}

/// A group was not founded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// This node is, or was, part of a group that it did not found alone.
    #[error("this node already belongs to a group")]
    AlreadyMember,
    /// This node takes part no more.
    #[error("this node has stopped: {0}")]
    Fatal(String),
}

/// Leadership stayed where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepDownError {
    /// There is no other voter.
    #[error("there is no other voter")]
    Alone,
    /// No other voter was elected in time; this node leads on.
    #[error("no other voter was elected in time")]
    NobodyElse,
    /// This node takes part no more.
    #[error("this node has stopped: {0}")]
    Fatal(String),
}

/// A message got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It was certainly not delivered.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It may have been delivered, or may be yet.
    #[error("no answer: {0}")]
    NoAnswer(String),
}
