//! Proofs that this node leads: rounds of a quorum, shared by those who wait.
//!
//! One round runs at a time. Whoever comes while it runs waits for the next, because a round proves nothing about the
//! time after its beginning. A round that reached no quorum is repeated for those who still have patience.

use std::sync::Arc;

use openraft::error::{CheckIsLeaderError, RaftError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::error::ConfirmError;
use crate::group::Core;

/// Callers that may wait.
pub(crate) const QUEUE: usize = 8192;

/// One who waits for a round that begins from now on.
pub(crate) struct Waiter {
    pub(crate) reply: oneshot::Sender<Result<(), ConfirmError>>,
    pub(crate) patience_ends: Instant,
}

/// Runs until the group is gone.
pub(crate) async fn confirm_all(core: Arc<Core>, mut queue: mpsc::Receiver<Waiter>) {
    let mut waiting: Vec<Waiter> = Vec::new();
    loop {
        if waiting.is_empty() {
            match queue.recv().await {
                Some(waiter) => waiting.push(waiter),
                None => return,
            }
        }
        while let Ok(waiter) = queue.try_recv() {
            waiting.push(waiter);
        }
        waiting.retain(|waiter| !waiter.reply.is_closed());
        let outcome = round(&core).await;
        let now = Instant::now();
        let again = outcome == Err(ConfirmError::NoQuorum);
        let (stay, go) = waiting.into_iter().partition(|waiter| again && waiter.patience_ends > now);
        waiting = stay;
        for waiter in go {
            // Who asked may have given up.
            drop(waiter.reply.send(outcome.clone()));
        }
        if !waiting.is_empty() {
            // Unreachable voters may fail at once; do not spin.
            tokio::time::sleep(core.timing.heartbeat / 10).await;
        }
    }
}

async fn round(core: &Core) -> Result<(), ConfirmError> {
    if core.handing_over() {
        return Err(ConfirmError::NotLeader { leader: None });
    }
    // openraft ends its round within a heartbeat, but then waits for the machine without a limit.
    let confirmed = tokio::time::timeout(core.timing.confirm_timeout, core.raft.ensure_linearizable()).await;
    match confirmed {
        Ok(Ok(_read_index)) => Ok(()),
        Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(forward)))) => {
            Err(ConfirmError::NotLeader { leader: forward.leader_id })
        }
        Ok(Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_)))) | Err(_) => {
            Err(ConfirmError::NoQuorum)
        }
        Ok(Err(RaftError::Fatal(fatal))) => Err(ConfirmError::Fatal(fatal.to_string())),
    }
}
