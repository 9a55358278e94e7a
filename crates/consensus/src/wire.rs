//! The messages between members: postcard behind a format byte.
//!
//! A message names its target, its sender and the lineage of the group. What does not decode, or does not fit
//! together, is refused with a reason; nothing here panics on bad bytes. Requests of openraft are checked before it
//! sees them: it takes for granted that entries are consecutive and that a leader's vote is a won one.

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::NodeId;
use crate::types::{Membership, SnapshotMeta, Types, Vote};

/// No message is longer, in bytes. A transport needs no more; what is longer is refused unread.
pub const MESSAGE_BYTES_MAX: usize = 512 << 10;
/// A snapshot travels in chunks of at most so many bytes.
pub const CHUNK_BYTES_MAX: usize = 448 << 10;
/// The entries of one message together, in bytes, unless it is a single one.
pub(crate) const ENTRIES_BYTES_MAX: usize = 448 << 10;
/// A snapshot of more bytes is not received: a wrong length must not fill the memory.
pub(crate) const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

const FORMAT: u8 = 1;

#[derive(Serialize, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) to: NodeId,
    pub(crate) from: NodeId,
    pub(crate) lineage: u128,
    /// How new the sender's list of members is: one more than its log index, 0 for none.
    pub(crate) members_as_of: u64,
    pub(crate) request: Request,
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) enum Request {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<NodeId>),
    Snapshot(Chunk),
}

/// A part of a snapshot. They are sent in order, each after the one before was answered.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Chunk {
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
    /// The length of the whole.
    pub(crate) total: u64,
    /// Where `bytes` belong.
    pub(crate) offset: u64,
    pub(crate) bytes: Bytes,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Reply {
    Append(AppendEntriesResponse<NodeId>),
    Vote(VoteResponse<NodeId>),
    /// The receiver's vote; if it is higher than the sender's, the sender leads no more.
    Chunk(Vote),
    Refused(Refusal),
}

#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the message cannot be read: {0}")]
    Unreadable(String),
    #[error("this address is node {0} now")]
    OtherNode(NodeId),
    #[error("this node belongs to another group")]
    OtherGroup,
    #[error("the sender is not a member, by a list of members as of {as_of}")]
    NotMember { as_of: u64 },
    #[error("the chunk does not continue the snapshot")]
    WrongChunk,
    #[error("this node has stopped: {0}")]
    Stopped(String),
}

pub(crate) fn encode(message: &impl Serialize) -> Result<Vec<u8>, String> {
    postcard::to_extend(message, vec![FORMAT]).map_err(|error| error.to_string())
}

pub(crate) fn decode<T: DeserializeOwned>(message: &[u8]) -> Result<T, String> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(format!("{} bytes are over the limit of {MESSAGE_BYTES_MAX}", message.len()));
    }
    match message.split_first() {
        None => Err("it is empty".to_owned()),
        Some((&FORMAT, body)) => match postcard::take_from_bytes(body) {
            Ok((decoded, [])) => Ok(decoded),
            Ok((_, rest)) => Err(format!("{} bytes too many", rest.len())),
            Err(error) => Err(error.to_string()),
        },
        Some((format, _)) => Err(format!("format {format} is not known")),
    }
}

impl Request {
    /// Says what does not fit together.
    pub(crate) fn check(&self, from: NodeId) -> Result<(), &'static str> {
        match self {
            Request::Append(append) => check_append(append),
            Request::Vote(request) if request.vote.committed => Err("a candidate's vote is not won yet"),
            Request::Vote(request) if request.vote.leader_id.node_id != from => {
                Err("a vote for somebody else")
            }
            Request::Vote(_) => Ok(()),
            Request::Snapshot(chunk) => check_chunk(chunk),
        }
    }
}

fn check_append(append: &AppendEntriesRequest<Types>) -> Result<(), &'static str> {
    if !append.vote.committed {
        return Err("a leader's vote is won");
    }
    let mut before = append.prev_log_id;
    for entry in &append.entries {
        let next = before.map_or(Some(0), |before| before.index.checked_add(1));
        if Some(entry.log_id.index) != next || Some(entry.log_id) <= before {
            return Err("the entries are not consecutive");
        }
        if let EntryPayload::Membership(membership) = &entry.payload {
            check_membership(membership)?;
        }
        before = Some(entry.log_id);
    }
    Ok(())
}

fn check_membership(membership: &Membership) -> Result<(), &'static str> {
    let configurations = membership.get_joint_config();
    if configurations.is_empty() || configurations.iter().any(std::collections::BTreeSet::is_empty) {
        return Err("a membership without voters");
    }
    let named = |voter| membership.get_node(&voter).is_some();
    if membership.voter_ids().all(named) { Ok(()) } else { Err("a voter without an address") }
}

fn check_chunk(chunk: &Chunk) -> Result<(), &'static str> {
    if !chunk.vote.committed {
        return Err("a leader's vote is won");
    }
    if chunk.meta.last_log_id.is_none() {
        return Err("a snapshot of nothing");
    }
    check_membership(chunk.meta.last_membership.membership())?;
    let end = chunk.offset.checked_add(chunk.bytes.len() as u64);
    if chunk.total > SNAPSHOT_BYTES_MAX || end.is_none_or(|end| end > chunk.total) {
        return Err("a chunk outside its snapshot");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
