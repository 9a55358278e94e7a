//! Messages to other members, as openraft asks for them.
//!
//! Every failure is reported as "unreachable", with a pause of one heartbeat before the next try: openraft would try
//! again at once otherwise. Where a node is comes from the members' list, unless a newer address was told.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use openraft::error::{Fatal, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, Snapshot};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::error::SendError;
use crate::types::{Types, Vote};
use crate::wire::{self, CHUNK_BYTES_MAX, Chunk, Envelope, Refusal, Reply, Request};
use crate::{NodeId, Transport};

/// A chunk of a snapshot is tried so often in a row.
const CHUNK_TRIES: u32 = 5;

/// A transport whose type is forgotten.
pub(crate) trait AnyTransport: Send + Sync {
    fn send<'a>(&'a self, to: &'a str, message: Vec<u8>) -> BoxFuture<'a, Result<Vec<u8>, SendError>>;
}

impl<T: Transport> AnyTransport for T {
    fn send<'a>(&'a self, to: &'a str, message: Vec<u8>) -> BoxFuture<'a, Result<Vec<u8>, SendError>> {
        Box::pin(Transport::send(self, to, message))
    }
}

/// What all messages of this node have in common.
pub(crate) struct Link {
    pub(crate) me: NodeId,
    pub(crate) transport: Box<dyn AnyTransport>,
    pub(crate) heartbeat: Duration,
    shared: Mutex<LinkState>,
    /// A voter said that this node is no member any more.
    pub(crate) expelled: Notify,
}

#[derive(Default)]
struct LinkState {
    lineage: Option<u128>,
    members_as_of: u64,
    /// Addresses that are newer than those of the members' list.
    told: BTreeMap<NodeId, String>,
}

impl Link {
    pub(crate) fn new(
        me: NodeId,
        transport: impl Transport,
        heartbeat: Duration,
        lineage: Option<u128>,
    ) -> Self {
        let shared = Mutex::new(LinkState { lineage, ..LinkState::default() });
        Self { me, transport: Box::new(transport), heartbeat, shared, expelled: Notify::new() }
    }

    pub(crate) fn lineage(&self) -> Option<u128> {
        self.shared.lock().lineage
    }

    pub(crate) fn set_lineage(&self, lineage: u128) {
        self.shared.lock().lineage = Some(lineage);
    }

    /// One more than the log index of the members' list; 0 for none.
    pub(crate) fn set_members_as_of(&self, as_of: u64) {
        self.shared.lock().members_as_of = as_of;
    }

    pub(crate) fn tell_address(&self, id: NodeId, address: String) {
        self.shared.lock().told.insert(id, address);
    }

    /// The members' list has a new address for this node; what was told is older.
    pub(crate) fn forget_address(&self, id: NodeId) {
        self.shared.lock().told.remove(&id);
    }

    pub(crate) fn address(&self, id: NodeId, listed: &str) -> String {
        self.shared.lock().told.get(&id).cloned().unwrap_or_else(|| listed.to_owned())
    }
}

/// One way to one member.
pub(crate) struct Connection {
    target: NodeId,
    /// As in the members' list when this was made; a later list makes another.
    address: String,
    link: Arc<Link>,
}

/// Makes connections.
pub(crate) struct Connections(pub(crate) Arc<Link>);

impl RaftNetworkFactory<Types> for Connections {
    type Network = Connection;

    async fn new_client(&mut self, target: NodeId, node: &String) -> Connection {
        Connection { target, address: node.clone(), link: Arc::clone(&self.0) }
    }
}

fn unreachable(reason: impl std::fmt::Display) -> Unreachable {
    Unreachable::new(&AnyError::error(reason))
}

impl Connection {
    async fn ask(&self, request: Request) -> Result<Reply, Unreachable> {
        let (lineage, members_as_of) = {
            let shared = self.link.shared.lock();
            (shared.lineage, shared.members_as_of)
        };
        let Some(lineage) = lineage else { return Err(unreachable("this node is in no group")) };
        let envelope = Envelope { to: self.target, from: self.link.me, lineage, members_as_of, request };
        let message = wire::encode(&envelope).map_err(unreachable)?;
        let address = self.link.address(self.target, &self.address);
        let answer = self.link.transport.send(&address, message).await.map_err(unreachable)?;
        match wire::decode(&answer).map_err(unreachable)? {
            Reply::Refused(refusal) => {
                if let Refusal::NotMember { as_of } = refusal
                    && as_of > members_as_of
                {
                    self.link.expelled.notify_one();
                }
                Err(unreachable(refusal))
            }
            reply => Ok(reply),
        }
    }

    /// Sends one chunk until it is answered, with the receiver's vote; `None` if the snapshot must begin again.
    async fn send_chunk(&self, chunk: &Chunk, patience: Duration) -> Result<Vote, Unreachable> {
        let mut tries = 0;
        loop {
            let asked = tokio::time::timeout(patience, self.ask(Request::Snapshot(chunk.clone()))).await;
            let error = match asked {
                Ok(Ok(Reply::Chunk(vote))) => return Ok(vote),
                Ok(Ok(_)) => unreachable("an answer to something else"),
                Ok(Err(error)) => error,
                Err(_late) => unreachable("no answer in time"),
            };
            tries += 1;
            if tries == CHUNK_TRIES {
                return Err(error);
            }
            tokio::time::sleep(self.link.heartbeat).await;
        }
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot<Types>,
        patience: Duration,
    ) -> Result<Vote, Unreachable> {
        let Snapshot { meta, snapshot: bytes } = snapshot;
        let total = bytes.len();
        let mut offset = 0;
        loop {
            let end = total.min(offset + CHUNK_BYTES_MAX);
            let chunk = Chunk {
                vote,
                meta: meta.clone(),
                total: total as u64,
                offset: offset as u64,
                bytes: bytes.slice(offset..end),
            };
            let theirs = self.send_chunk(&chunk, patience).await?;
            if theirs > vote || end == total {
                return Ok(theirs);
            }
            offset = end;
        }
    }
}

type Failure = RPCError<NodeId, String, RaftError<NodeId>>;

impl RaftNetwork<Types> for Connection {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, Failure> {
        match self.ask(Request::Append(request)).await? {
            Reply::Append(response) => Ok(response),
            _ => Err(unreachable("an answer to something else").into()),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<NodeId>,
        _option: RPCOption,
    ) -> Result<VoteResponse<NodeId>, Failure> {
        match self.ask(Request::Vote(request)).await? {
            Reply::Vote(response) => Ok(response),
            _ => Err(unreachable("an answer to something else").into()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<Types>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<NodeId>, StreamingError<Types, Fatal<NodeId>>> {
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = self.send_snapshot(vote, snapshot, option.hard_ttl()) => Ok(SnapshotResponse::new(sent?)),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.link.heartbeat))
    }
}
