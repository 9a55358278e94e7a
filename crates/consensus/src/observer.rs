//! What others watch: who leads, who the members are, and whether this node has stopped.
//!
//! One task per group follows openraft's metrics. It also keeps an expelled node quiet: a voter that was replaced
//! while it was away still believes in its old list, and would call for elections for ever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft::metrics::RaftServerMetrics;
use tokio::sync::watch;

use crate::NodeId;
use crate::group::Core;

/// An expelled node calls for no election for so long; then it tries again, in case that it was told wrongly.
const QUIET: Duration = Duration::from_secs(10);

/// Who leads, as far as this node knows. Two leaders differ in `(term, leader)`, the later one is larger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// Grows with elections.
    pub term: u64,
    /// The leader, if one is known.
    pub leader: Option<NodeId>,
    /// Its address, if it is known.
    pub address: Option<String>,
    /// Whether this node believes that it leads. Only [`crate::Group::confirm`] proves it.
    pub is_me: bool,
}

/// The members of the group, as far as this node knows; empty at a node that is in no group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Who votes, with addresses. While voters change: the old and the new ones.
    pub voters: BTreeMap<NodeId, String>,
    /// Who only receives, on the way to become a voter or from having been one.
    pub learners: BTreeMap<NodeId, String>,
    /// Whether a change of voters is under way (or was left so by a leader that died; repeat it).
    pub changing: bool,
}

/// The sending ends.
pub(crate) struct Watched {
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) members: watch::Sender<Members>,
    /// Why this node has stopped.
    pub(crate) stopped: watch::Sender<Option<String>>,
}

impl Watched {
    pub(crate) fn new() -> Self {
        Self {
            leadership: watch::Sender::new(Leadership::default()),
            members: watch::Sender::new(Members::default()),
            stopped: watch::Sender::new(None),
        }
    }
}

type Metrics = RaftServerMetrics<NodeId, String>;

fn leadership(metrics: &Metrics) -> Leadership {
    let leader = metrics.current_leader;
    let nodes = metrics.membership_config.membership();
    Leadership {
        term: metrics.vote.leader_id.term,
        leader,
        address: leader.and_then(|leader| nodes.get_node(&leader)).cloned(),
        is_me: metrics.state == ServerState::Leader && leader == Some(metrics.id),
    }
}

fn members(metrics: &Metrics) -> Members {
    let membership = metrics.membership_config.membership();
    let voting: Vec<NodeId> = membership.voter_ids().collect();
    let all = membership.nodes().map(|(id, address)| (*id, address.clone()));
    let (voters, learners) = all.partition(|(id, _)| voting.contains(id));
    Members { voters, learners, changing: membership.get_joint_config().len() > 1 }
}

fn publish<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|current| {
        let changed = *current != value;
        *current = value;
        changed
    });
}

/// Runs until openraft stops.
pub(crate) async fn observe(core: Arc<Core>) {
    let mut server = core.raft.server_metrics();
    let mut running = core.raft.metrics();
    let mut listed: BTreeMap<NodeId, String> = BTreeMap::new();
    let mut quiet_until = None;
    loop {
        {
            let metrics = server.borrow_and_update().clone();
            let list = &metrics.membership_config;
            core.link.set_members_as_of(list.log_id().map_or(0, |log_id| log_id.index + 1));
            let members = members(&metrics);
            for (id, address) in members.voters.iter().chain(&members.learners) {
                let former = listed.insert(*id, address.clone());
                if former.is_some_and(|former| former != *address) {
                    core.link.forget_address(*id);
                }
            }
            publish(&core.watched.members, members);
            publish(&core.watched.leadership, leadership(&metrics));
        }
        if let Err(fatal) = &running.borrow_and_update().running_state {
            core.watched.stopped.send_replace(Some(fatal.to_string()));
            break;
        }
        tokio::select! {
            changed = server.changed() => if changed.is_err() { break },
            known = async { running.wait_for(|metrics| metrics.running_state.is_err()).await.is_ok() } => {
                // Why it stopped is read above.
                if !known {
                    break;
                }
            }
            () = core.snapshot_due.notified() => {
                if core.raft.trigger().snapshot().await.is_err() {
                    break;
                }
            }
            () = core.link.expelled.notified() => {
                core.raft.runtime_config().elect(false);
                quiet_until = Some(tokio::time::Instant::now() + QUIET);
            }
            () = quiet_end(quiet_until) => {
                core.raft.runtime_config().elect(true);
                quiet_until = None;
            }
        }
    }
    // openraft's end of the channels is gone: it stopped, if only by a panic.
    core.watched.stopped.send_if_modified(|reason| {
        let unknown = reason.is_none();
        reason.get_or_insert_with(|| "its Raft task has ended".to_owned());
        unknown
    });
    core.watched.leadership.send_modify(|leadership| leadership.is_me = false);
}

async fn quiet_end(until: Option<tokio::time::Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
