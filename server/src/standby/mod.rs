//! A server's process beyond its node: into a ring, out of it, and on standby in between.
//!
//! ```text
//!             enter (told, or by its settings)                    departed, removed, forgotten, released
//!  on standby ────────────────────────────────▶ in a ring ─────────────────────────────────────────────▶ on standby
//!      ▲                                                      (without --standby: the process ends)
//!      └── it did not get in, or was released meanwhile
//! ```
//!
//! One task, [`Occupant::run`], goes through this; a [`Seat`] is how everybody else looks at it and tells it what to do.
//! The port is open all the time. On standby, calls for clients are answered [`Error::OnStandby`], and who names a
//! cluster is refused by the preamble; the service [`Standby`] is answered always.
//!
//! What is on disk follows: a departed or released store is erased, as it may not come back. Any other store stays until
//! another ring, or the same one for a new node, has given this server a place. A store that its ring counts on goes back
//! there: when the process is started again, when it is told to enter that ring, and when its entry failed after it was
//! admitted. Nobody releases it from a cluster that it does not belong to.
//!
//! `occupant` has the task, `lobby` what is answered on standby, `wish` which way an order to enter a ring leads.

mod lobby;
mod occupant;
mod wish;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use chordata_protocol::{Address, Peer};
use chordata_rpc::Secret;
use chordata_rpc::service::{Chordata, ClusterId, Error};
use chordata_rpc::standby::{JoinWish, LoadOrder, Loading, Seated, Standby, Standing};
use parking_lot::Mutex;
use tarpc::context::Context;
use tokio::sync::{mpsc, oneshot, watch};

pub use occupant::{News, Occupant, Over, open};

use crate::node::Node;
use crate::tables::Tables;

/// A server's place in a ring, whether or not it is taken. Clones are the same one.
#[derive(Clone)]
pub struct Seat {
    shared: Arc<Shared>,
}

struct Shared {
    name: Option<String>,
    address: Address,
    standby: bool,
    keeps_data: bool,
    started: Instant,
    node: watch::Sender<Option<Node>>,
    story: Mutex<Story>,
    orders: mpsc::Sender<Order>,
    tables: Tables,
    /// Where HTTP is answered.
    http: OnceLock<SocketAddr>,
    /// Where tables are.
    tables_in: PathBuf,
    secret: Option<Secret>,
}

/// What there is to say while there is no node.
#[derive(Default)]
struct Story {
    entering: bool,
    /// Where it is going, or whose store it has.
    belongs_to: Option<ClusterId>,
    last: Option<String>,
}

enum Order {
    Enter(JoinWish, oneshot::Sender<Result<Peer, Error>>),
    Release(Option<ClusterId>, oneshot::Sender<Result<(), Error>>),
}

impl Seat {
    /// The node, while this server is in a ring.
    pub fn node(&self) -> Option<Node> {
        self.shared.node.borrow().clone()
    }

    /// The same, and each change of it.
    pub fn subscribe(&self) -> watch::Receiver<Option<Node>> {
        self.shared.node.subscribe()
    }

    /// From now on nodes say that HTTP is answered there; what was said first holds.
    pub fn answers_http_at(&self, listening: SocketAddr) {
        // Said once, before there is a node.
        let _ = self.shared.http.set(listening);
    }

    /// The URL at which HTTP is answered, for a node that others reach there.
    fn http_at(&self, me: &Address) -> Option<String> {
        self.shared.http.get().map(|listening| reached_at(*listening, me))
    }

    /// How the process is.
    pub fn standing(&self) -> Standing {
        let seat = self.node().map(|node| Seated { me: node.me().clone(), cluster: node.cluster().cluster });
        let story = self.shared.story.lock();
        Standing {
            name: self.shared.name.clone(),
            address: self.shared.address.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: self.shared.started.elapsed(),
            standby: self.shared.standby,
            keeps_data: self.shared.keeps_data,
            entering: story.entering && seat.is_none(),
            belongs_to: seat.as_ref().map(|seat| seat.cluster).or(story.belongs_to),
            seat,
            last: story.last.clone(),
        }
    }

    /// Enters a ring; returns when this server is in it. What was begun goes on if the caller goes away.
    ///
    /// # Errors
    /// [`Error::AlreadyMember`] if it is in another ring, or the wish names none; [`Error::NotSupported`] if it was
    /// not started with `--standby`; otherwise why it did not get in: it is on standby again then.
    pub async fn join(&self, wish: JoinWish) -> Result<Peer, Error> {
        self.may_be_told()?;
        self.order(|answer| Order::Enter(wish, answer)).await
    }

    /// Hands all keys over and leaves the ring; returns when that is done.
    ///
    /// # Errors
    /// [`Error::OnStandby`], or why it cannot leave now.
    pub async fn depart(&self) -> Result<(), Error> {
        let node = self.node().ok_or(Error::OnStandby)?;
        let mut nodes = self.subscribe();
        Chordata::depart(node, tarpc::context::current()).await?;
        // An error: the process is about to end.
        let _ = nodes.wait_for(Option::is_none).await;
        Ok(())
    }

    /// Leaves the ring of this cluster without handing anything over, or gives up entering it: all that this server has of
    /// it is erased. None: it belongs to none that is known.
    ///
    /// # Errors
    /// [`Error::AlreadyMember`] or [`Error::Unavailable`] if it belongs to another cluster: nothing is erased then.
    /// [`Error::NotSupported`] if it was not started with `--standby`.
    pub async fn release(&self, cluster: Option<ClusterId>) -> Result<(), Error> {
        self.may_be_told()?;
        self.order(|answer| Order::Release(cluster, answer)).await
    }

    fn may_be_told(&self) -> Result<(), Error> {
        if self.shared.standby {
            return Ok(());
        }
        Err(Error::NotSupported(
            "this server was not started with --standby: it is in one ring as long as it runs".to_owned(),
        ))
    }

    async fn order<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Order,
    ) -> Result<T, Error> {
        let stopping = || Error::Unavailable("this server is stopping".to_owned());
        let (answer, answered) = oneshot::channel();
        self.shared.orders.send(order(answer)).await.map_err(|_| stopping())?;
        answered.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// There is no node, or not yet: is one on its way, and of which cluster?
    fn stands(&self, entering: bool, belongs_to: Option<ClusterId>) {
        let mut story = self.shared.story.lock();
        (story.entering, story.belongs_to) = (entering, belongs_to);
    }

    fn tell(&self, last: &str) {
        self.shared.story.lock().last = Some(last.to_owned());
    }
}

impl Standby for Seat {
    async fn standing(self, _: Context) -> Standing {
        Seat::standing(&self)
    }

    async fn enter(self, _: Context, wish: JoinWish) -> Result<Peer, Error> {
        self.join(wish).await
    }

    async fn leave(self, _: Context) -> Result<(), Error> {
        self.depart().await
    }

    async fn release(self, _: Context, cluster: Option<ClusterId>) -> Result<(), Error> {
        Seat::release(&self, cluster).await
    }

    async fn load(self, _: Context, order: LoadOrder) -> Result<Loading, Error> {
        let node = self.node().ok_or(Error::OnStandby)?;
        if node.cluster().cluster != order.cluster {
            return Err(Error::AlreadyMember(node.me().clone(), node.cluster().cluster));
        }
        let shared = &self.shared;
        shared.tables.load(order, &shared.tables_in, &node, shared.secret.clone())
    }
}

/// Where others reach the HTTP front end: where it listens, on the node's own host if that is everywhere.
fn reached_at(listening: SocketAddr, me: &Address) -> String {
    if !listening.ip().is_unspecified() {
        return listening.to_string();
    }
    let host = me.host();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("{host}:{}", listening.port())
}
