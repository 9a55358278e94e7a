//! Commands on their way into the log: those that wait together share an entry.
//!
//! openraft syncs entry by entry, so batching is what makes many proposals cheap: while some entries are on their way,
//! the commands that come meanwhile wait, and then go as one. Nobody waits on purpose: a lone command goes at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use openraft::error::{ClientWriteError, Fatal};
use tokio::sync::mpsc;

use crate::error::ProposeError;
use crate::group::Core;
use crate::state::Reply;
use crate::types::{Batch, Ticket};

/// A command of more bytes (as postcard) is refused.
pub const COMMAND_BYTES_MAX: usize = 256 << 10;
/// The commands of one entry, in bytes, unless it is a single one.
const BATCH_BYTES_MAX: usize = COMMAND_BYTES_MAX;
/// The commands of one entry.
const BATCH_COMMANDS_MAX: usize = 1024;
/// Commands that may wait.
pub(crate) const QUEUE: usize = 8192;
/// Entries that are on their way at the same time: one is written here while the one before travels.
const IN_FLIGHT: usize = 2;

/// A command that waits.
pub(crate) struct Proposal<A> {
    pub(crate) command: Bytes,
    pub(crate) reply: Reply<A>,
}

/// Runs until the group is gone.
pub(crate) async fn propose_all<A: Send + 'static>(core: Arc<Core>, mut queue: mpsc::Receiver<Proposal<A>>) {
    let mut in_flight = FuturesUnordered::new();
    let mut carried = None;
    loop {
        let first = match carried.take() {
            Some(proposal) => proposal,
            None => tokio::select! {
                proposal = queue.recv() => match proposal {
                    Some(proposal) => proposal,
                    None => break,
                },
                Some(()) = in_flight.next() => continue,
            },
        };
        while in_flight.len() >= IN_FLIGHT {
            in_flight.next().await;
        }
        let batch;
        (batch, carried) = collect(first, &mut queue);
        if !batch.is_empty() {
            in_flight.push(write(&core, batch));
        }
        // The entry is handed over before more are collected.
        futures::future::poll_immediate(in_flight.next()).await;
    }
    while in_flight.next().await.is_some() {}
}

/// What waits, as far as it fits one entry; and the one that did not fit.
fn collect<A>(
    first: Proposal<A>,
    queue: &mut mpsc::Receiver<Proposal<A>>,
) -> (Vec<Proposal<A>>, Option<Proposal<A>>) {
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(proposal) = next {
        if !batch.is_empty()
            && (bytes + proposal.command.len() > BATCH_BYTES_MAX || batch.len() == BATCH_COMMANDS_MAX)
        {
            return (batch, Some(proposal));
        }
        // Whoever gave up has reported "unknown"; better that it does not happen later.
        if !proposal.reply.is_closed() {
            bytes += proposal.command.len();
            batch.push(proposal);
        }
        next = queue.try_recv().ok();
    }
    (batch, None)
}

/// Writes one entry. Those who wait are answered where it is applied; here only if it never will be.
async fn write<A: Send + 'static>(core: &Core, batch: Vec<Proposal<A>>) {
    let (commands, replies): (Vec<Bytes>, Vec<Reply<A>>) =
        batch.into_iter().map(|proposal| (proposal.command, proposal.reply)).unzip();
    let ticket = Arc::new(Ticket::new(Box::new(replies)));
    let refuse = |error: &ProposeError| {
        let replies = ticket.take().and_then(|replies| replies.downcast::<Vec<Reply<A>>>().ok());
        for reply in replies.into_iter().flat_map(|replies| *replies) {
            // Who asked may have given up.
            drop(reply.send(Err(error.clone())));
        }
    };
    if core.handing_over() {
        return refuse(&ProposeError::NotLeader { leader: None });
    }
    let entry = Batch { commands, ticket: Some(Arc::clone(&ticket)) };
    let written = match core.raft.client_write_ff(entry).await {
        Ok(written) => written,
        Err(fatal) => return refuse(&stopped(&fatal)),
    };
    // A leader that is cut off never hears; those who wait have given up by then, and others get their turn.
    let Ok(Ok(Err(error))) = tokio::time::timeout(answer_limit(core), written).await else { return };
    match error {
        // An entry that was appended and then removed here may live on elsewhere.
        ClientWriteError::ForwardToLeader(_) if ticket.was_appended() => refuse(&ProposeError::Unknown),
        ClientWriteError::ForwardToLeader(forward) => {
            refuse(&ProposeError::NotLeader { leader: forward.leader_id });
        }
        ClientWriteError::ChangeMembershipError(error) => refuse(&ProposeError::Fatal(error.to_string())),
    }
}

fn answer_limit(core: &Core) -> Duration {
    core.timing.propose_timeout
}

fn stopped(fatal: &Fatal<crate::NodeId>) -> ProposeError {
    ProposeError::Fatal(fatal.to_string())
}
