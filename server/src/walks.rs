//! Driving walks over other nodes, and letting those who ask for the same walk share it.

use std::future::Future;

use chordata_protocol::procedure::refresh::RefreshAll;
use chordata_protocol::procedure::renumber::{Renumber, Renumbered};
use chordata_protocol::procedure::{Procedure, Step};
use chordata_protocol::waits;
use chordata_rpc::service::{FingerRefresh, Numbering};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::node::Node;

impl Node {
    /// Drives a walk to its end, for a handler of that name. Dropping the future drops the walk.
    ///
    /// Boxed: every request's future has room for the largest handler's, and is moved several times.
    pub(crate) fn drive<'a, P>(&'a self, handler: &'a str, walk: P, request: u128) -> BoxFuture<'a, P::Output>
    where
        P: Procedure<Output: Send> + Send + 'a,
    {
        Box::pin(self.drive_here(handler, walk, request))
    }

    async fn drive_here<P: Procedure>(&self, handler: &str, mut walk: P, request: u128) -> P::Output {
        let mut out = FuturesUnordered::new();
        loop {
            match walk.step(self.now()) {
                Step::Done(output) => return output,
                Step::Sleep(pause) => {
                    tokio::time::sleep(pause).await;
                    continue;
                }
                Step::Ask(questions) => {
                    for (ticket, peer, question) in questions {
                        assert!(
                            waits::may_await(handler, question.name()),
                            "{handler} awaits {}, which is not listed",
                            question.name()
                        );
                        out.push(async move { (ticket, self.call_for_walk(&peer, question, request).await) });
                    }
                }
            }
            if let Some((ticket, result)) = out.next().await {
                walk.answered(self.now(), ticket, result);
            }
        }
    }

    /// Numbers the ring; joins a numbering that this node has under way.
    pub(crate) async fn renumber(&self) -> Numbering {
        let node = self.clone();
        self.renumbering()
            .join(async move {
                let start = [node.me().clone()];
                let walk = Renumber::new(node.me().id, &start);
                let Renumbered { membership, told, .. } = node.drive("update_numbers", walk, 0).await;
                let count = u32::try_from(membership.nodes().len()).unwrap_or(u32::MAX);
                Numbering { count, told, stamp: membership.stamp() }
            })
            .await
    }

    /// Refreshes all fingers of all nodes; joins a refresh that this node has under way.
    pub(crate) async fn refresh_all(&self) -> FingerRefresh {
        let node = self.clone();
        self.refreshing()
            .join(async move {
                let walk = RefreshAll::new(&[node.me().clone()]);
                let done = node.drive("update_finger_table", walk, 0).await;
                FingerRefresh {
                    nodes: done.nodes,
                    refreshed: done.refreshed,
                    changed: done.changed,
                    calls: done.calls,
                }
            })
            .await
    }
}

/// A walk that runs at most once at a time: who asks for it while it runs gets the same result.
///
/// It runs in a task of its own, so that it goes on when the one who asked first goes away.
pub(crate) struct Shared<T> {
    running: Mutex<Option<watch::Receiver<Option<T>>>>,
}

impl<T> Default for Shared<T> {
    fn default() -> Shared<T> {
        Shared { running: Mutex::new(None) }
    }
}

impl<T: Clone + Send + Sync + 'static> Shared<T> {
    async fn join(&self, walk: impl Future<Output = T> + Send + 'static) -> T {
        let mut result = {
            let mut running = self.running.lock();
            match running.as_ref().filter(|result| result.has_changed().is_ok() && result.borrow().is_none())
            {
                Some(result) => result.clone(),
                None => {
                    let (sender, result) = watch::channel(None);
                    tokio::spawn(async move {
                        let found = walk.await;
                        sender.send_replace(Some(found));
                    });
                    *running = Some(result.clone());
                    result
                }
            }
        };
        let found = result.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        found.expect("a walk ends with a result: its task neither panics nor is aborted")
    }
}
