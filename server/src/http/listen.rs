//! Sockets: accepts connections and has hyper speak HTTP/1.1 on them, within limits.
//!
//! - A request's head must come within [`HEAD_WITHIN`]; a connection that is idle for so long is closed, too.
//! - A connection whose other end takes nothing of an answer for [`STUCK_WITHIN`] is closed.
//! - There are only so many connections at once; one more is told so and closed.
//! - Small answers leave at once (no Nagle).
//! - When it is told to stop, nothing is accepted any more, requests that are being carried out are answered for up to
//!   [`FAREWELL`], then everything is dropped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::front::Shared;
use super::settings::HttpListen;
use super::stuck::Moving;

/// How long a request's head may take, and how long a connection may be idle.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// How long the other end may take nothing of what is sent to it.
const STUCK_WITHIN: Duration = Duration::from_secs(30);
/// How long requests may take to end once the server stops.
pub(crate) const FAREWELL: Duration = Duration::from_secs(3);
/// First and longest wait after a failure to accept.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// What a connection hears that is one too many.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 81\r\n\
    retry-after: 1\r\nconnection: close\r\n\r\n\
    {\"code\":\"overloaded\",\"message\":\"there are too many connections: try again later\"}";

/// Listens at the first of the addresses that is free.
///
/// # Errors
/// When none is, or it is no address of this machine: as a sentence.
pub(crate) async fn bind(listen: HttpListen) -> Result<(TcpListener, SocketAddr), String> {
    let mut last = String::new();
    for address in listen.candidates() {
        let error = match TcpListener::bind(address).await {
            Ok(listener) => {
                let bound = listener.local_addr().map_err(|error| error.to_string())?;
                return Ok((listener, bound));
            }
            Err(error) => error,
        };
        let is_taken = error.kind() == io::ErrorKind::AddrInUse;
        let said = chordata_rpc::net::listen_failure(address, &error);
        last = said.replace("--port or --listen", "--http IP:PORT").replace("--listen", "--http");
        if !is_taken {
            break;
        }
    }
    Err(format!("HTTP cannot be answered: {last}"))
}

/// Serves connections until it is told to stop.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    front: Shared,
    connections_max: usize,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    let mut backoff = BACKOFF.0;
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            // A panic has ended the process.
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((mut stream, _)) => {
                backoff = BACKOFF.0;
                let Ok(place) = places.clone().try_acquire_owned() else {
                    front.metrics.refused.fetch_add(1, Ordering::Relaxed);
                    // It fits an empty buffer, or the other end has gone: nobody waits for it.
                    let _ = tokio::time::timeout(BACKOFF.0, stream.write_all(FULL)).await;
                    continue;
                };
                if stream.set_nodelay(true).is_err() {
                    continue;
                }
                let connection = converse(stream, router.clone(), front.clone(), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                warn!(%error, "cannot accept an HTTP connection; trying again in {backoff:?}");
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF.1);
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(FAREWELL, ended).await.is_err() {
        debug!("{} HTTP connections did not end in time", connections.len());
    }
    connections.shutdown().await;
}

/// Waits until it is told to stop, or whoever could tell it is gone.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn converse(stream: TcpStream, router: Router, front: Shared, mut stop: watch::Receiver<bool>) {
    front.metrics.connections.fetch_add(1, Ordering::Relaxed);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    let stream = TokioIo::new(Moving::new(stream, STUCK_WITHIN));
    let connection = builder.serve_connection(stream, TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // The other end went away, or spoke something else: it knows.
    if let Err(error) = ended {
        debug!(%error, "an HTTP connection ended");
    }
    front.metrics.connections.fetch_sub(1, Ordering::Relaxed);
}
