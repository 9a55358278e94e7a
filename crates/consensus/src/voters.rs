//! Changing who votes, and handing leadership on.
//!
//! New voters begin as learners and vote only when they are near the leader's log, so that a change never makes the
//! group wait for an empty node. Former voters become learners first: they are told so, and do not call for elections
//! later. Each step is a log entry that can be repeated, so a change that was cut short is completed by doing it again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::metrics::RaftDataMetrics;
use tokio::time::{Instant, timeout_at};

use crate::NodeId;
use crate::error::{ChangeError, StepDownError};
use crate::group::Core;
use crate::types::Membership;

/// A learner that lacks at most so many entries may vote.
const NEAR: u64 = 100;
/// Former voters that are alive learn of it in this time; the others are removed untold.
const FAREWELL: Duration = Duration::from_secs(1);

type Change = ChangeMembers<NodeId, String>;

/// Whether the leader knows that this member holds the log up to `index`.
fn holds(metrics: &RaftDataMetrics<NodeId>, id: NodeId, index: u64) -> bool {
    let matched =
        metrics.replication.as_ref().and_then(|replication| replication.get(&id).copied().flatten());
    matched.is_some_and(|matched| matched.index >= index)
}

impl Core {
    pub(crate) async fn change_voters(&self, wanted: &BTreeMap<NodeId, String>) -> Result<(), ChangeError> {
        if wanted.is_empty() {
            return Err(ChangeError::NoVoters);
        }
        let _one_at_a_time = self.changing.lock().await;
        // A leader that has removed itself leads until its next tick; openraft takes no change of it that comes then
        // (and ends the process, where it checks itself).
        if self.membership().await.map_err(ChangeError::Fatal)?.get_node(&self.link.me).is_none() {
            return Err(ChangeError::NotLeader { leader: None });
        }
        let deadline = Instant::now() + self.timing.change_timeout;
        self.list(wanted, deadline).await?;
        self.catch_up(wanted, deadline).await?;
        let ids: BTreeSet<NodeId> = wanted.keys().copied().collect();
        // From a change that a former leader left unfinished it may take two.
        while self.membership().await.map_err(ChangeError::Fatal)?.get_joint_config().as_slice()
            != std::slice::from_ref(&ids)
        {
            self.submit(Change::ReplaceAllVoters(ids.clone()), deadline).await?;
        }
        self.dismiss(&ids, deadline).await
    }

    /// The members' list that is in force here, committed or not.
    pub(crate) async fn membership(&self) -> Result<Membership, String> {
        let read = self.raft.with_raft_state(|state| state.membership_state.effective().membership().clone());
        read.await.map_err(|fatal| fatal.to_string())
    }

    /// Adds those who are not in the list, and corrects addresses.
    async fn list(&self, wanted: &BTreeMap<NodeId, String>, deadline: Instant) -> Result<(), ChangeError> {
        let membership = self.membership().await.map_err(ChangeError::Fatal)?;
        let differs = |(id, address): &(&NodeId, &String)| membership.get_node(id) != Some(address);
        let changed: BTreeMap<_, _> =
            wanted.iter().filter(differs).map(|(id, address)| (*id, address.clone())).collect();
        if changed.is_empty() {
            // An entry of its own proves that this node leads; without one the list may be an old one.
            return self.prove_leadership();
        }
        self.submit(Change::SetNodes(changed), deadline).await
    }

    fn prove_leadership(&self) -> Result<(), ChangeError> {
        let metrics = self.raft.server_metrics();
        let leader = metrics.borrow().current_leader;
        if leader == Some(self.link.me) { Ok(()) } else { Err(ChangeError::NotLeader { leader }) }
    }

    /// Waits until all that do not vote yet are near.
    async fn catch_up(
        &self,
        wanted: &BTreeMap<NodeId, String>,
        deadline: Instant,
    ) -> Result<(), ChangeError> {
        let membership = self.membership().await.map_err(ChangeError::Fatal)?;
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let new: Vec<NodeId> = wanted.keys().copied().filter(|id| !voters.contains(id)).collect();
        let behind = |metrics: &RaftDataMetrics<NodeId>| {
            let near = metrics.last_log.map_or(0, |last| last.index).saturating_sub(NEAR);
            new.iter().copied().filter(|id| !holds(metrics, *id, near)).collect::<Vec<_>>()
        };
        let mut metrics = self.raft.data_metrics();
        loop {
            let missing = {
                let metrics = metrics.borrow_and_update();
                if !new.is_empty() && metrics.replication.is_none() {
                    return self.prove_leadership().and(Err(ChangeError::NotLeader { leader: None }));
                }
                behind(&metrics)
            };
            if missing.is_empty() {
                return Ok(());
            }
            match timeout_at(deadline, metrics.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(closed)) => return Err(ChangeError::Fatal(closed.to_string())),
                Err(_late) => return Err(ChangeError::Behind(missing)),
            }
        }
    }

    /// Removes members that are not wanted, after they had the chance to learn that they vote no more. A leader that
    /// votes no more leads on, and stops when its own removal is committed.
    async fn dismiss(&self, wanted: &BTreeSet<NodeId>, deadline: Instant) -> Result<(), ChangeError> {
        let membership = self.membership().await.map_err(ChangeError::Fatal)?;
        let unwanted = membership.nodes().map(|(id, _)| *id).filter(|id| !wanted.contains(id));
        let unwanted: BTreeSet<NodeId> = unwanted.collect();
        if unwanted.is_empty() {
            return Ok(());
        }
        let mut metrics = self.raft.data_metrics();
        let last = metrics.borrow().last_log.map_or(0, |last| last.index);
        let told = metrics
            .wait_for(|metrics| unwanted.iter().all(|id| *id == self.link.me || holds(metrics, *id, last)));
        // Not all need to be alive. What is returned locks openraft's metrics: it goes at once.
        drop(timeout_at(deadline.min(Instant::now() + FAREWELL), told).await);
        self.submit(Change::RemoveNodes(unwanted), deadline).await
    }

    /// One change of the list, committed.
    async fn submit(&self, change: Change, deadline: Instant) -> Result<(), ChangeError> {
        loop {
            let changed = timeout_at(deadline, self.raft.change_membership(change.clone(), true)).await;
            match changed.map_err(|_late| ChangeError::Unknown)? {
                Ok(_response) => return Ok(()),
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                    return Err(ChangeError::NotLeader { leader: forward.leader_id });
                }
                Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(
                    ChangeMembershipError::InProgress(_),
                ))) => {
                    // The entry before is not committed yet; the next step waits for it.
                    let pause = Instant::now() + self.timing.heartbeat;
                    if pause >= deadline {
                        return Err(ChangeError::Unknown);
                    }
                    tokio::time::sleep_until(pause).await;
                }
                Err(error) => return Err(ChangeError::Fatal(error.to_string())),
            }
        }
    }

    pub(crate) async fn step_down(&self) -> Result<(), StepDownError> {
        let _one_at_a_time = self.changing.lock().await;
        let mut leadership = self.watched.leadership.subscribe();
        if !leadership.borrow_and_update().is_me {
            return Ok(());
        }
        let membership = self.membership().await.map_err(StepDownError::Fatal)?;
        if membership.voter_ids().all(|voter| voter == self.link.me) {
            return Err(StepDownError::Alone);
        }
        let _silent = Silence::begin(self);
        // Twice what an election takes at most.
        let patience = self.timing.election_max * 8 + self.timing.heartbeat * 4;
        match tokio::time::timeout(patience, leadership.wait_for(|leadership| !leadership.is_me)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(closed)) => Err(StepDownError::Fatal(closed.to_string())),
            Err(_late) => Err(StepDownError::NobodyElse),
        }
    }
}

/// While this lives, the leader sends no heartbeats and takes no commands, so that others elect another.
struct Silence<'a>(&'a Core);

impl<'a> Silence<'a> {
    fn begin(core: &'a Core) -> Self {
        core.set_handing_over(true);
        core.raft.runtime_config().heartbeat(false);
        Self(core)
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        self.0.raft.runtime_config().heartbeat(true);
        self.0.set_handing_over(false);
    }
}
