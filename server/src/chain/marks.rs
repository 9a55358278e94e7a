//! The copies of a range as they are at one place of its log: what an audit compares.
//!
//! The head puts a mark into the log ([`Member::mark`](chordata_protocol::chain::Member::mark)). Each serving replica
//! takes a snapshot of its engine when it comes to the mark: behind all writes before it, in front of all behind it. So
//! the snapshots of one mark hold the same, whatever is written meanwhile; if they do not, the copies differ. The chain
//! may change once every replica has its snapshot.
//!
//! A snapshot keeps in memory what is overwritten while it lives. It is given back by whoever asked for it, or goes when
//! nobody has looked at it for a while, or when there are too many.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chordata_protocol::chain::{Epoch, Sequence};
use chordata_rpc::service::{Error, MarkName, Marked};
use chordata_store::Snapshot;
use tokio::task::AbortHandle;

use super::requests::{COMMIT_WITHIN, refused};
use crate::node::Node;

/// Snapshots at once.
const MARKS_MAX: usize = 16;
/// How long a snapshot that nobody looks at is kept.
const KEPT: Duration = Duration::from_secs(60);
/// The snapshots of a node.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    taken: BTreeMap<(Epoch, u128), Taken>,
}

#[derive(Debug)]
struct Taken {
    snapshot: Arc<Snapshot>,
    used: Instant,
    /// Lets it go in time.
    timer: AbortHandle,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

impl Marks {
    /// A replica of this epoch has come to a mark.
    pub(super) fn take(&mut self, epoch: Epoch, name: u128, snapshot: Snapshot, timer: AbortHandle) {
        if self.taken.len() >= MARKS_MAX {
            let oldest = self.taken.iter().min_by_key(|(_, taken)| taken.used).map(|(mark, _)| *mark);
            oldest.and_then(|mark| self.taken.remove(&mark));
        }
        let taken = Taken { snapshot: Arc::new(snapshot), used: Instant::now(), timer };
        self.taken.insert((epoch, name), taken);
    }

    /// The snapshot of a mark.
    pub(crate) fn of(&mut self, mark: MarkName) -> Option<Arc<Snapshot>> {
        let taken = self.taken.get_mut(&(mark.epoch, mark.name))?;
        taken.used = Instant::now();
        Some(Arc::clone(&taken.snapshot))
    }

    /// How long until this one may go; none: it is gone.
    fn left(&mut self, mark: (Epoch, u128)) -> Option<Duration> {
        let left = KEPT.checked_sub(self.taken.get(&mark)?.used.elapsed());
        if left.is_none() {
            self.taken.remove(&mark);
        }
        left
    }
}

pub(crate) fn no_mark() -> Error {
    Error::Unavailable("this node has no copy at that mark, or not any more".to_owned())
}

impl Node {
    /// Has the log of an epoch marked whose head this node is; answers when the mark is committed.
    pub(crate) async fn chain_mark(&self, mark: MarkName) -> Result<Marked, Error> {
        let now = self.now();
        let marked = self.with_chain(|chain, engine| {
            let caller = chain.caller();
            let answered = chain.replies.wait(caller);
            let (marked, effects) = chain.member.mark(now, caller, mark.epoch, mark.name);
            self.carry_chain(chain, engine, effects);
            marked.map(|sequence: Sequence| (sequence, answered))
        });
        let (sequence, answered) = marked.ok_or(Error::NotMember)?.map_err(refused)?;
        match tokio::time::timeout(COMMIT_WITHIN, answered).await {
            Ok(Ok(_)) => Ok(Marked { sequence }),
            Ok(Err(_)) | Err(_) => Err(Error::Unavailable("the mark is not committed".to_owned())),
        }
    }

    /// Gives a snapshot back.
    pub(crate) fn chain_unmark(&self, mark: MarkName) {
        self.with_chain(|chain, _| chain.marks.taken.remove(&(mark.epoch, mark.name)));
    }

    /// A snapshot goes when nobody has looked at it for a while.
    pub(super) fn forget_mark_in_time(&self, epoch: Epoch, name: u128) -> AbortHandle {
        let node = self.clone();
        let timer = tokio::spawn(async move {
            while let Some(left) = node.with_chain(|chain, _| chain.marks.left((epoch, name))).flatten() {
                tokio::time::sleep(left + Duration::from_millis(1)).await;
            }
        });
        timer.abort_handle()
    }
}
