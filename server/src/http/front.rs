//! What all handlers share: the node that is in the ring now, and a client that knows it.
//!
//! The client routes by itself, as any client of the library does. What its own node serves it asks without a
//! connection, in the task of the request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::http::Uri;
use chordata_client::{Client, Config, Failure};
use chordata_files::{Cluster, Files, Settings};
use chordata_rpc::service::{Answer, Chordata, Status};
use chordata_rpc::{InProcess, PoolSettings};
use parking_lot::RwLock;
use tarpc::server::Serve;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::metrics::Metrics;
use super::problem::Problem;
use super::settings::Token;
use crate::node::Node;
use crate::standby::Seat;

/// Bytes of chunks on their way at once of one file: many may be read and written at once.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// Contents of files that are being read or written at once.
const TRANSFERS_MAX: usize = 64;

/// A node and a client of its cluster.
pub(crate) struct Serving {
    pub(crate) node: Node,
    pub(crate) client: Client,
    pub(crate) files: Files,
}

impl Serving {
    fn new(node: Node) -> Result<Serving, Failure> {
        let pool = node.pool().apart(PoolSettings::default());
        let me = node.me().address.clone();
        let service = Chordata::serve(node.clone());
        let here: InProcess<chordata_rpc::kind::ForClients> =
            Arc::new(move |context, request| Box::pin(service.clone().serve(context, request)));
        pool.answer_in_process(&me, here);
        let status = node.status_now();
        let mut entries = vec![me.clone()];
        entries
            .extend(status.successors.iter().filter_map(|next| next.node()).map(|peer| peer.address.clone()));
        entries.dedup();
        let client = Client::over(pool, &status, entries, Config { home: Some(me), ..Config::default() })?;
        let settings = Settings { window_bytes: WINDOW_BYTES, ..Settings::default() };
        let files = Files::with(Arc::new(Cluster::new(client.clone(), settings.patience)), settings);
        Ok(Serving { node, client, files })
    }
}

/// What handlers share.
pub(crate) struct Front {
    pub(crate) seat: Seat,
    serving: RwLock<Option<Arc<Serving>>>,
    pub(crate) metrics: Metrics,
    pub(crate) token: Option<Token>,
    /// The generated document, as JSON.
    pub(crate) document: Bytes,
    /// Ends when the server stops: for answers that would go on for ever.
    pub(crate) stopping: tokio::sync::watch::Receiver<bool>,
    /// Room for contents of files.
    pub(crate) transfers: Arc<Semaphore>,
    /// What is brought to its end also when whoever asked for it has gone.
    pub(crate) tasks: TaskTracker,
}

/// As handlers get it.
pub(crate) type Shared = Arc<Front>;

impl Front {
    pub(crate) fn new(
        seat: Seat,
        metrics: Metrics,
        token: Option<Token>,
        document: Bytes,
        stopping: tokio::sync::watch::Receiver<bool>,
    ) -> Front {
        Front {
            seat,
            serving: RwLock::new(None),
            metrics,
            token,
            document,
            stopping,
            transfers: Arc::new(Semaphore::new(TRANSFERS_MAX)),
            tasks: TaskTracker::new(),
        }
    }

    /// Takes over whichever node is in the ring, until nobody runs nodes any more.
    pub(crate) async fn follow(&self) {
        let mut nodes = self.seat.subscribe();
        loop {
            nodes.mark_unchanged();
            self.take_over();
            if nodes.changed().await.is_err() {
                *self.serving.write() = None;
                return;
            }
        }
    }

    fn take_over(&self) -> Option<Arc<Serving>> {
        // Under the lock: what is looked at here is never older than what is there already.
        let mut serving = self.serving.write();
        let found = self.seat.node().map(Serving::new).transpose();
        *serving = found
            .unwrap_or_else(|failure| {
                warn!("HTTP cannot serve this node: {failure}");
                None
            })
            .map(Arc::new);
        serving.clone()
    }

    /// Who comes as soon as the node is ready finds it, whether or not this front has heard of it.
    fn current(&self) -> Option<Arc<Serving>> {
        let known = self.serving.read().clone();
        known.or_else(|| self.seat.node().and_then(|_| self.take_over()))
    }

    /// The node and the client.
    ///
    /// # Errors
    /// When there is no node in a ring.
    pub(crate) fn serving(&self) -> Result<Arc<Serving>, Problem> {
        self.current().ok_or_else(Problem::not_in_ring)
    }

    /// How the node is, if there is one.
    pub(crate) fn status(&self) -> Option<Status> {
        self.current().map(|serving| serving.node.status_now())
    }

    /// Counts the way of an answer, and takes its result.
    pub(crate) fn arrived<T>(&self, answer: Answer<T>) -> T {
        self.metrics.hopped(answer.trip.hops);
        answer.result
    }
}

/// What stands in the path, for routes that end in this many raw segments.
pub(crate) fn has_segments(uri: &Uri, count: usize) -> bool {
    uri.path().bytes().filter(|byte| *byte == b'/').count() == count
}

/// Counts a request while it is being carried out.
pub(crate) struct InFlight(Shared);

impl InFlight {
    /// One more; none: there are too many.
    pub(crate) fn begin(front: &Shared, max: u64) -> Option<InFlight> {
        let before = front.metrics.in_flight.fetch_add(1, Ordering::Relaxed);
        let guard = InFlight(front.clone());
        (before < max).then_some(guard)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.metrics.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
