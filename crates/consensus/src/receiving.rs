//! Messages from other members.
//!
//! Refused, with a reason: what does not decode or fit together, what is meant for another node or another group, and
//! candidates that are members no more (by a newer list than their own: a voter that lags may not know a new one). A
//! node without a group joins that of the first leader that sends it entries or a snapshot, which is written down
//! before anything is answered.

use bytes::{Bytes, BytesMut};
use openraft::Snapshot;
use openraft::error::RaftError;

use crate::NodeId;
use crate::disk::Change;
use crate::group::Core;
use crate::types::{SnapshotMeta, Vote};
use crate::wire::{self, Chunk, Envelope, Refusal, Reply, Request};

/// The snapshot that is being received.
pub(crate) struct Incoming {
    from: NodeId,
    vote: Vote,
    meta: SnapshotMeta,
    total: u64,
    bytes: BytesMut,
}

impl Core {
    pub(crate) async fn receive(&self, message: &[u8]) -> Vec<u8> {
        let reply = match wire::decode::<Envelope>(message) {
            Ok(envelope) => self.answer(envelope).await.unwrap_or_else(Reply::Refused),
            Err(reason) => Reply::Refused(Refusal::Unreadable(reason)),
        };
        // Answers are small and plain; should one fail to encode, the sender finds an empty answer unreadable.
        wire::encode(&reply).unwrap_or_default()
    }

    async fn answer(&self, envelope: Envelope) -> Result<Reply, Refusal> {
        if envelope.to != self.link.me {
            return Err(Refusal::OtherNode(self.link.me));
        }
        envelope.request.check(envelope.from).map_err(|reason| Refusal::Unreadable(reason.to_owned()))?;
        let leads = !matches!(envelope.request, Request::Vote(_));
        self.check_lineage(envelope.lineage, leads).await?;
        match envelope.request {
            Request::Append(request) => {
                let response = self.raft.append_entries(request).await.map_err(|error| stopped(&error))?;
                Ok(Reply::Append(response))
            }
            Request::Vote(request) => {
                self.check_candidate(envelope.from, envelope.members_as_of)?;
                let response = self.raft.vote(request).await.map_err(|error| stopped(&error))?;
                Ok(Reply::Vote(response))
            }
            Request::Snapshot(chunk) => self.take_chunk(envelope.from, chunk).await.map(Reply::Chunk),
        }
    }

    /// Refuses other groups; a node without a group joins the one of a leader.
    async fn check_lineage(&self, theirs: u128, leads: bool) -> Result<(), Refusal> {
        if self.link.lineage() == Some(theirs) {
            return Ok(());
        }
        let _one_at_a_time = self.joining.lock().await;
        match self.link.lineage() {
            Some(ours) if ours == theirs => Ok(()),
            None if leads => self.set_lineage(theirs).await.map_err(Refusal::Stopped),
            None | Some(_) => Err(Refusal::OtherGroup),
        }
    }

    /// Writes down which group this node is in.
    pub(crate) async fn set_lineage(&self, lineage: u128) -> Result<(), String> {
        if let Some(disk) = &self.disk {
            disk.write(Change::Lineage(lineage)).await?;
        }
        self.link.set_lineage(lineage);
        Ok(())
    }

    fn check_candidate(&self, candidate: NodeId, their_list: u64) -> Result<(), Refusal> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow();
        let list = &metrics.membership_config;
        let as_of = list.log_id().map_or(0, |log_id| log_id.index + 1);
        let member = list.membership().get_node(&candidate).is_some();
        if member || as_of <= their_list { Ok(()) } else { Err(Refusal::NotMember { as_of }) }
    }

    async fn take_chunk(&self, from: NodeId, chunk: Chunk) -> Result<Vote, Refusal> {
        let mine = self.raft.metrics().borrow().vote;
        if mine > chunk.vote {
            return Ok(mine);
        }
        let vote = chunk.vote;
        let Some((meta, bytes)) = self.add_chunk(from, &chunk)? else { return Ok(mine) };
        let snapshot = Snapshot { meta, snapshot: Box::new(bytes) };
        let installed = self.raft.install_full_snapshot(vote, snapshot).await;
        installed.map(|response| response.vote).map_err(|error| Refusal::Stopped(error.to_string()))
    }

    /// Adds a part; gives the whole when it was the last.
    fn add_chunk(&self, from: NodeId, chunk: &Chunk) -> Result<Option<(SnapshotMeta, Bytes)>, Refusal> {
        let mut incoming = self.incoming.lock();
        if chunk.offset == 0 {
            let Chunk { vote, meta, total, .. } = chunk;
            let (vote, meta, total) = (*vote, meta.clone(), *total);
            *incoming = Some(Incoming { from, vote, meta, total, bytes: BytesMut::new() });
        }
        let Some(current) = incoming.as_mut() else { return Err(Refusal::WrongChunk) };
        let same = current.from == from
            && current.vote == chunk.vote
            && current.meta == chunk.meta
            && current.total == chunk.total;
        let have = current.bytes.len() as u64;
        let end = chunk.offset + chunk.bytes.len() as u64;
        if same && end <= have && end < current.total {
            // Repeated: its answer was lost.
            return Ok(None);
        }
        if !same || chunk.offset != have {
            return Err(Refusal::WrongChunk);
        }
        current.bytes.extend_from_slice(&chunk.bytes);
        if end < current.total {
            return Ok(None);
        }
        Ok(incoming.take().map(|whole| (whole.meta, whole.bytes.freeze())))
    }
}

fn stopped(error: &RaftError<NodeId>) -> Refusal {
    Refusal::Stopped(error.to_string())
}
