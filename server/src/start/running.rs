//! A node that runs: who answers for it, what it writes down, and how its part in the ring ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chordata_protocol::Peer;
use chordata_protocol::ring::Change;
use chordata_rpc::kind::{ForClients, ForRing, ForStandby};
use chordata_rpc::preamble::Service;
use chordata_rpc::service::Chordata;
use chordata_rpc::service::Ring as RingService;
use chordata_rpc::standby::Standby;
use chordata_rpc::{Handlers, Session};
use futures::future::BoxFuture;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::warn;

use super::Ground;
use crate::chain::Group;
use crate::identity::DataDirectory;
use crate::node::Node;
use crate::standby::Seat;

/// How often known addresses are written at most.
const KNOWN_EVERY: Duration = Duration::from_millis(300);

/// Why a node's part in the ring is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It has left, as it was told to.
    Departed,
    /// The cluster has forgotten its store: it may not come back.
    Forgotten,
    /// Another node has the same store: its data directory was copied.
    Double(Peer),
    /// Another node has its place: two sides of a split ring have granted it. To be started again, with
    /// [`Resolved::displaced`](crate::settings::Resolved::displaced).
    Displaced,
    /// The cluster does not count it as a member any more, and nobody is waiting for it to leave: it was told to depart
    /// and was away when it was done, or the cluster was rebuilt without it.
    Removed,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ending::Departed => f.write_str("departed: its keys are with others"),
            Ending::Displaced => f.write_str("another node has this one's place"),
            Ending::Double(peer) => write!(
                f,
                "{peer} has the same store: a data directory was copied. Only one of the two may run: start the other one \
                 with an empty directory"
            ),
            Ending::Forgotten => f.write_str(
                "this store was forgotten by its cluster and may not come back: to join as a new node, start with an \
                 empty data directory",
            ),
            Ending::Removed => f.write_str(
                "this node is no member of its cluster any more: it was told to depart, or the cluster was rebuilt without \
                 it. To join as a new node, start with an empty data directory",
            ),
        }
    }
}

/// A running node.
pub struct Started {
    /// The node.
    pub node: Node,
    /// Where it listens.
    pub listening: SocketAddr,
    pub(super) ground: Arc<Ground>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) keeper: JoinHandle<()>,
}

impl Started {
    /// Ends when the node has left the ring for good, or may not be in it.
    pub async fn left(&self) -> Ending {
        let mut changes = self.node.watch();
        let mut serving = self.node.subscribe_serving();
        loop {
            if self.node.has_departed() {
                return Ending::Departed;
            }
            if self.node.is_forgotten() {
                return Ending::Forgotten;
            }
            if let Some(peer) = self.node.double() {
                return Ending::Double(peer);
            }
            if self.node.is_displaced() {
                return Ending::Displaced;
            }
            if self.node.is_removed_unasked() {
                return Ending::Removed;
            }
            tokio::select! {
                change = changes.recv() => if let Err(RecvError::Closed) = change {
                    return Ending::Departed;
                },
                changed = serving.changed() => if changed.is_err() {
                    return Ending::Departed;
                },
            }
        }
    }

    /// Stops the process's part: timers, connections, writing. The node stays a member of the ring.
    pub async fn stop(self) {
        let ground = self.ground.clone();
        self.end().await;
        ground.reception.close().await;
    }

    /// The same, but the port stays open: whoever comes waits until somebody else answers there.
    pub(crate) async fn end(self) {
        self.node.sync().await;
        let group = self.node.own_group();
        self.node.stop();
        self.stop.send_replace(true);
        // A task that panicked has nothing more to do either.
        let _ = self.keeper.await;
        end(&self.node, group).await;
    }
}

/// Ends what a node has stopped: its group, and writing.
pub(super) async fn end(node: &Node, group: Option<Group>) {
    if let Some(group) = group {
        group.shutdown().await;
    }
    node.stop_committing().await;
    node.close_store();
}

/// Who answers while there is a node. What is said to it ends with it; what is said to the process does not.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) node: Node,
    pub(super) stopped: watch::Receiver<bool>,
    pub(super) seat: Option<Seat>,
}

impl Door {
    async fn until_stopped(session: impl Future<Output = ()>, mut stopped: watch::Receiver<bool>) {
        tokio::select! {
            () = session => {}
            // An error: whoever could stop it is gone.
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }
}

impl Handlers for Door {
    fn chordata(&self, session: Session<ForClients>) -> BoxFuture<'static, ()> {
        let session = session.run(Chordata::serve(self.node.clone()));
        Box::pin(Door::until_stopped(session, self.stopped.clone()))
    }

    fn ring(&self, session: Session<ForRing>) -> BoxFuture<'static, ()> {
        let session = session.run(RingService::serve(self.node.clone()));
        Box::pin(Door::until_stopped(session, self.stopped.clone()))
    }

    fn standby(&self, session: Session<ForStandby>) -> BoxFuture<'static, ()> {
        match &self.seat {
            Some(seat) => Box::pin(session.run(Standby::serve(seat.clone()))),
            None => Box::pin(async move { drop(session) }),
        }
    }

    fn offered(&self) -> &'static [Service] {
        match &self.seat {
            Some(_) => &[Service::Client, Service::Ring, Service::Standby],
            None => &[Service::Client, Service::Ring],
        }
    }
}

/// Writes the addresses that the node learns, at the latest a moment after and when it stops; forgets everything when
/// it has left.
pub(super) async fn keep(
    ground: Arc<Ground>,
    node: Node,
    ready: oneshot::Sender<()>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut changes = node.watch();
    // Nobody waits any more if this fails.
    let _ = ready.send(());
    let Some(data) = &ground.data else { return };
    let mut save_at: Option<Instant> = None;
    let mut leaving = false;
    loop {
        let due = save_at.unwrap_or_else(Instant::now);
        tokio::select! {
            change = changes.recv() => match change {
                Ok(Change::Learned(_)) | Err(RecvError::Lagged(_)) => {
                    save_at.get_or_insert_with(|| Instant::now() + KNOWN_EVERY);
                }
                // What others count on is kept, whatever the ring says.
                Ok(Change::Left) if node.is_counted_on() => return,
                // It still gives away what it has.
                Ok(Change::Left) if node.is_eventual() => leaving = true,
                Ok(Change::Left) => {
                    forget(data);
                    return;
                }
                Ok(_) => {}
                Err(RecvError::Closed) => return,
            },
            () = node.departed(), if leaving => {
                forget(data);
                return;
            }
            () = tokio::time::sleep_until(due), if save_at.is_some() => {
                save_at = None;
                save_known(data, &node);
            }
            _ = stopped.wait_for(|stopped| *stopped) => {
                if !node.inspect(|ring, _| ring.has_left()) {
                    save_known(data, &node);
                }
                return;
            }
        }
    }
}

fn forget(data: &DataDirectory) {
    if let Err(error) = data.forget() {
        warn!(%error, "the node has left the ring, but is not forgotten on disk");
    }
}

fn save_known(data: &DataDirectory, node: &Node) {
    let peers: Vec<Peer> = node.inspect(|ring, _| ring.known().peers().collect());
    if peers.is_empty() {
        // Also whoever has not reached anybody yet: it would go on alone next time, beside those whom it should look for.
        return;
    }
    if let Err(error) = data.save_known(&peers) {
        warn!(%error, "known addresses are not saved");
    }
}
