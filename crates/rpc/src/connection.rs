//! One open connection from the connecting side: tarpc's channel, and what tarpc does not tell of it.
//!
//! Tarpc's errors do not say whether a request had left when its connection broke. So requests travel to tarpc's
//! dispatch task as [`Tracked`], which notes when it is written. What this file guarantees: a request that is not
//! noted as written when its call has failed was certainly not sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Serialize, Serializer};
use tarpc::client::{Channel, Config};
use tarpc::{ClientMessage, RequestName, Response};
use tokio::task::JoinHandle;
use tracing::debug;

use chordata_protocol::Address;

use crate::codec;
use crate::kind::Kind;
use crate::net::BoxStream;

/// A request on its way to the network.
#[derive(Debug)]
pub(crate) struct Tracked<T> {
    pub(crate) request: T,
    written: AtomicBool,
}

impl<T> Tracked<T> {
    pub(crate) fn new(request: T) -> Tracked<T> {
        Tracked { request, written: AtomicBool::new(false) }
    }

    /// Has it been written? Once its call has failed without doubt about that, the answer is final.
    pub(crate) fn was_written(&self) -> bool {
        self.written.load(Ordering::Acquire)
    }
}

impl<T: RequestName> RequestName for Tracked<T> {
    fn name(&self) -> &str {
        self.request.name()
    }
}

/// On the wire it is just the request.
impl<T: Serialize> Serialize for Tracked<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.written.store(true, Ordering::Release);
        self.request.serialize(serializer)
    }
}

/// An open connection whose preamble is through.
pub(crate) struct Connection<K: Kind> {
    pub(crate) channel: Channel<Arc<Tracked<K::Request>>, K::Response>,
    /// Ends when the connection does, and soon after the channel and its clones are dropped.
    dispatch: JoinHandle<()>,
    retired: AtomicBool,
    answers: AtomicU64,
}

impl<K: Kind> Connection<K> {
    /// Makes calls possible on a stream; at most `in_flight_max` at once, more wait.
    pub(crate) fn new(stream: BoxStream, address: Address, in_flight_max: usize) -> Connection<K> {
        let transport =
            codec::framed::<_, Response<K::Response>, ClientMessage<Arc<Tracked<K::Request>>>>(stream);
        let mut config = Config::default();
        config.max_in_flight_requests = in_flight_max;
        config.pending_request_buffer = in_flight_max;
        let client = tarpc::client::new(config, transport);
        let dispatch = tokio::spawn(async move {
            match client.dispatch.await {
                Ok(()) => debug!(%address, "connection closed"),
                Err(error) => debug!(%address, %error, "connection lost"),
            }
        });
        Connection {
            channel: client.client,
            dispatch,
            retired: AtomicBool::new(false),
            answers: AtomicU64::new(0),
        }
    }

    /// Is it worth trying?
    pub(crate) fn is_alive(&self) -> bool {
        !self.retired.load(Ordering::Relaxed) && !self.dispatch.is_finished()
    }

    /// Takes no more calls; those that are out may still be answered.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// How many answers have come.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// One more.
    pub(crate) fn count_answer(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }
}
