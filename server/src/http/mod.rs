//! The HTTP front end: the ring as a REST service, beside the RPC services and with no write path of its own.
//!
//! ```text
//! listen     sockets, hyper, limits, stopping        stuck        who does not read
//! guard      token, origin, requests at once, counting
//! classic    /insert /query /delete /overlay /join /depart
//! kv         /v1/kv/{key}          conditions   If-Match and If-None-Match as compare-and-swap
//! files      /v1/files/{name}
//! listing    /v1/kv                batch, bulk  many at once
//! nodes      /v1/nodes /v1/lookup/{key} /v1/status          events, metrics, health
//! document   /openapi.json /docs
//! front      the node that is in the ring now, and a client of it
//! ```
//!
//! Every handler is a translation: it reads a request ([`request`]), calls the client library, which routes and repeats,
//! and writes the [`answer`], or a [`problem`]. The client asks its own node without a connection.

mod answer;
mod batch;
mod bulk;
mod bytes;
mod classic;
mod conditions;
mod document;
mod events;
mod files;
mod front;
mod guard;
mod health;
mod kv;
mod listen;
mod listing;
mod metrics;
mod nodes;
mod problem;
mod request;
pub mod settings;
mod stuck;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use front::Front;
use metrics::Metrics;
use settings::HttpSettings;

use crate::standby::Seat;

/// A running front end.
pub struct Http {
    /// Where it listens.
    pub address: SocketAddr,
    front: Arc<Front>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
    follower: JoinHandle<()>,
}

/// Begins to answer HTTP, for whichever node is on the seat.
///
/// # Errors
/// When it cannot listen there: as a sentence.
pub async fn start(settings: HttpSettings, seat: Seat) -> Result<Http, String> {
    let (listener, address) = listen::bind(settings.listen).await?;
    let (stop, stopping) = watch::channel(false);
    let (routes, document) = document::routes();
    let metrics = Metrics::new(document.paths.paths.keys().cloned());
    let document =
        document::text(&document).map_err(|error| format!("the document cannot be written: {error}"))?;
    let front = Arc::new(Front::new(seat, metrics, settings.token, document.into(), stopping.clone()));
    let router = document::finish(routes, &front);
    let follower = {
        let front = front.clone();
        tokio::spawn(async move { front.follow().await })
    };
    let server =
        tokio::spawn(listen::serve(listener, router, front.clone(), settings.connections_max, stopping));
    Ok(Http { address, front, stop, server, follower })
}

impl Http {
    /// Answers what is being carried out, and nothing more.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // A panic has ended the process.
        let _ = self.server.await;
        self.front.tasks.close();
        if tokio::time::timeout(listen::FAREWELL, self.front.tasks.wait()).await.is_err() {
            tracing::warn!(
                "files that were being stored may have left chunks: `chordata file tidy` removes them"
            );
        }
        self.follower.abort();
        let _ = self.follower.await;
    }
}
