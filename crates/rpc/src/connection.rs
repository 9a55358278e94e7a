//! One open connection from the connecting side: tarpc's channel, and what tarpc does not tell of it.
//!
//! Tarpc's errors do not say whether a request had left when its connection broke. So requests travel to tarpc's
//! dispatch task as [`Tracked`], which notes when it is encoded, and [`Guarded`] lets none be encoded once the other
//! end has closed. What this file guarantees: a request that is not noted when its call has failed was certainly not
//! sent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures::{Sink, SinkExt, Stream, StreamExt};
use serde::{Serialize, Serializer};
use tarpc::client::{Channel, Config};
use tarpc::{ClientMessage, RequestName, Response};
use tokio::sync::Semaphore;
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
    encoded: AtomicBool,
}

impl<T> Tracked<T> {
    pub(crate) fn new(request: T) -> Tracked<T> {
        Tracked { request, encoded: AtomicBool::new(false) }
    }

    /// Has it been encoded, so that it may have been sent? Once its call has failed the answer is final.
    pub(crate) fn was_encoded(&self) -> bool {
        self.encoded.load(Ordering::Acquire)
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
        self.encoded.store(true, Ordering::Release);
        self.request.serialize(serializer)
    }
}

/// A transport that takes nothing more to send once the other end has closed. Tarpc's dispatch writes what is in its
/// queue in the same turn in which it reads the end, and such requests would count as sent.
struct Guarded<T> {
    transport: T,
    ended: bool,
}

impl<T, Item> Stream for Guarded<T>
where
    T: Stream<Item = io::Result<Item>> + Unpin,
{
    type Item = io::Result<Item>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Item>>> {
        let next = self.transport.poll_next_unpin(cx);
        self.ended |= matches!(next, Poll::Ready(None | Some(Err(_))));
        next
    }
}

impl<T, SinkItem> Sink<SinkItem> for Guarded<T>
where
    T: Sink<SinkItem, Error = io::Error> + Unpin,
{
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.poll_ready_unpin(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, item: SinkItem) -> io::Result<()> {
        if self.ended {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.transport.start_send_unpin(item)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.poll_flush_unpin(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.poll_close_unpin(cx)
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
        let transport = Guarded { transport, ended: false };
        let in_flight_max = in_flight_max.clamp(1, Semaphore::MAX_PERMITS);
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
