//! Offline repair of a group whose quorum is lost for good.
//!
//! **Dangerous**: commands that were committed, but are not in the state that is given, are lost; and if any other
//! voter of the old group still runs, two groups decide at once. The operator vouches that all of them are stopped and
//! stay so. What protects against one that comes back nevertheless is the lineage: the rebuilt group has a new one, so
//! that its members and those of the old group refuse each other's messages. An old member joins the new group after
//! [`forget`].

use std::path::Path;

use crate::NodeId;
use crate::disk::{self, Change, FILE, Loaded};
use crate::error::StoreError;
use crate::types::{LogId, Membership, SnapshotMeta, StoredMembership, Vote};

/// The file as it was before the repair; only for looking at.
const FORMER: &str = "raft.redb.before-recovery";
const NEW: &str = "raft.redb.new";

/// What a group is rebuilt from.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// This node, from now on the only voter.
    pub id: NodeId,
    /// Where others reach it.
    pub address: String,
    /// The machine's state, as [`crate::Machine::snapshot`] gave it.
    pub state: Vec<u8>,
    /// The highest log index that any node is known to have seen. The group goes on above it.
    pub index: u64,
    /// The highest term that any node is known to have seen; 0 if unknown. This node's own is looked up.
    pub term: u64,
}

fn broken(path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Broken { path: path.to_owned(), reason: error.to_string() }
}

/// Writes a Raft state in which this node is the only voter of a new lineage, with the state that is given, in place of
/// what the directory holds. The node must not be running. After a crash the old or the new state is there.
///
/// Blocks; not to be called from asynchronous code.
///
/// # Errors
/// [`StoreError`]: the old state is in use or another node's, or files cannot be written; the old state is unchanged
/// then. An old state that cannot be read is replaced all the same.
pub fn recover_quorum(directory: &Path, recovery: &Recovery) -> Result<(), StoreError> {
    let (path, new, former) = (directory.join(FILE), directory.join(NEW), directory.join(FORMER));
    let old = match path.exists().then(|| disk::read(&path, recovery.id)) {
        None | Some(Err(StoreError::Broken { .. })) => Loaded::default(),
        Some(Ok(old)) => old,
        Some(Err(error)) => return Err(error),
    };
    remove(&new)?;
    disk::create(&new, recovery.id, &rebuilt(recovery, &old).map_err(|reason| broken(&new, &reason))?)?;
    if path.exists() {
        remove(&former)?;
        std::fs::hard_link(&path, &former).map_err(|error| broken(&former, &error))?;
    }
    std::fs::rename(&new, &path).map_err(|error| broken(&path, &error))?;
    disk::sync_directory(&path)
}

fn rebuilt(recovery: &Recovery, old: &Loaded) -> Result<[Change; 4], String> {
    let logged = old.entries.last().map(|(entry, _)| entry.log_id);
    let snapshot = old.snapshot.as_ref().and_then(|(meta, _)| meta.last_log_id);
    let last = logged.max(snapshot).max(old.purged);
    let voted = old.vote.map_or(0, |vote| vote.leader_id.term);
    let term = recovery.term.max(voted).max(last.map_or(0, |last| last.leader_id.term)) + 1;
    let index = recovery.index.max(last.map_or(0, |last| last.index)) + 1;
    let log_id = LogId::new(openraft::CommittedLeaderId::new(term, recovery.id), index);
    let nodes = std::collections::BTreeMap::from([(recovery.id, recovery.address.clone())]);
    let membership = Membership::new(vec![[recovery.id].into()], nodes);
    let meta = SnapshotMeta {
        last_log_id: Some(log_id),
        last_membership: StoredMembership::new(Some(log_id), membership),
        snapshot_id: log_id.to_string(),
    };
    let random = || getrandom::u64().map(u128::from).map_err(|error| error.to_string());
    Ok([
        Change::Lineage((random()? << 64) | random()?),
        Change::Vote(Vote::new(term, recovery.id)),
        Change::Purge { upto: log_id },
        Change::Snapshot { meta, bytes: recovery.state.clone().into() },
    ])
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(broken(path, &error)),
        _ => Ok(()),
    }
}

/// Removes the Raft state of a node that is not running, so that it can join a rebuilt group under its old id.
///
/// **Dangerous** within one lineage: a node that forgot its votes can help to elect a second leader. Use it only for
/// members of a group that was rebuilt elsewhere.
///
/// # Errors
/// [`StoreError`]: the state is in use or another node's, or cannot be removed.
pub fn forget(directory: &Path, id: NodeId) -> Result<(), StoreError> {
    let path = directory.join(FILE);
    match path.exists().then(|| disk::read(&path, id)) {
        None => return Ok(()),
        Some(Ok(_) | Err(StoreError::Broken { .. })) => {}
        Some(Err(error)) => return Err(error),
    }
    remove(&path)?;
    disk::sync_directory(&path)
}
