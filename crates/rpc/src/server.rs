//! The accepting side: one task per connection, and every request handled inside it.
//!
//! Handlers run inline, as many at once as the connection brings; a task per request would halve the throughput. So
//! a handler must not block its thread, and one that panics takes its connection with it (not the server). Tarpc
//! drops a handler when its caller goes away, cancels, or its deadline passes: a handler must change its state
//! in steps that do not await.
//!
//! What this file guarantees:
//!
//! - **No peer takes more than its [`Limits`]**: connections in all, calls at once on each, time for each. What is
//!   beyond is refused at once, with a reason, and is not made to wait: a connection beyond the limit gets
//!   `TooManyConnections`, a call beyond it "overloaded". (Not to take further requests from the connection would be
//!   worse than to refuse them: tarpc also writes answers and watches deadlines only while it reads.)
//! - **The loop goes on.** A failure to accept (out of file descriptors, say) is logged and waited out.
//! - When `shutdown` completes nothing is accepted any more, and every connection with its handlers is dropped; when
//!   [`serve`] returns, they are. ([`accept`] leaves them to whoever called it.)

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::StreamExt;
use tarpc::server::{BaseChannel, Channel, Config, Serve};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tracing::{Instrument, debug, debug_span, error, warn};

use crate::codec;
use crate::credentials::Credentials;
use crate::kind::{ForClients, ForManager, ForRing, ForStandby, Kind};
use crate::net::{BoxStream, Listener};
use crate::preamble::{self, PREAMBLE_TIMEOUT, PreambleError, Service};

/// A peer's deadlines are capped at this by default, at both ends.
pub const DEADLINE_MAX: Duration = Duration::from_secs(60);

/// No limit on deadlines can be higher, whatever the settings say: the clock cannot take just any number.
pub(crate) const DEADLINE_CEILING: Duration = Duration::from_secs(86_400);

/// Connections beyond the limit that are told so at the same time; more are closed without a word.
const REFUSALS_MAX: usize = 64;

/// First and longest wait after a failure to accept.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Answers of one connection that wait to be written, before handlers wait for room.
const ANSWERS_WAITING_MAX: usize = 128;

/// What peers may take of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections_max: usize,
    /// Calls at once on one connection.
    pub in_flight_max: usize,
    /// A call may ask for so much time; more is cut.
    pub deadline_max: Duration,
    /// How long a preamble may take.
    pub preamble_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 1024,
            in_flight_max: 1024,
            deadline_max: DEADLINE_MAX,
            preamble_timeout: PREAMBLE_TIMEOUT,
        }
    }
}

/// What a server does with the connections that it lets in. Each method is one line:
///
/// ```
/// use chordata_rpc::server::{Handlers, Session};
/// use chordata_rpc::kind::{ForClients, ForRing};
/// use chordata_rpc::service::Ring;
/// use futures::future::BoxFuture;
/// # use chordata_protocol::{Id, Key, Operation, Outcome, Record, Request, Response};
/// # use chordata_protocol::chain::{Applied, ChainRequest, ChainResponse, Command, WriteId};
/// # use chordata_rpc::letter::{Hello, Letter, Reply};
/// # use chordata_rpc::service::{Error, Placed};
/// # use tarpc::context::Context;
///
/// #[derive(Clone)]
/// struct Node;
///
/// impl Ring for Node {
///     async fn ask(self, _: Context, _: Request) -> Response {
///         Response::Pong(Id::ZERO)
///     }
///     // ...
/// #   async fn apply(self, _: Context, _: Key, _: Operation, _: Option<WriteId>) -> Result<Placed<Outcome>, Error> {
/// #       Err(Error::NotMember)
/// #   }
/// #   async fn read(self, _: Context, _: Key) -> Result<Placed<Option<Record>>, Error> { Err(Error::NotMember) }
/// #   async fn apply_many(
/// #       self, _: Context, _: Vec<(Key, Operation, Option<WriteId>)>,
/// #   ) -> Vec<Result<Outcome, Error>> { vec![] }
/// #   async fn read_many(self, _: Context, _: Vec<Key>) -> Vec<Result<Option<Record>, Error>> { vec![] }
/// #   async fn read_any(self, _: Context, _: Vec<Key>) -> Vec<Result<Option<Record>, Error>> { vec![] }
/// #   async fn chain(self, _: Context, _: ChainRequest) -> ChainResponse { ChainResponse::NotMine }
/// #   async fn group(self, _: Context, _: bytes::Bytes) -> Result<bytes::Bytes, Error> { Err(Error::NotMember) }
/// #   async fn propose(self, _: Context, _: Command) -> Result<Applied, Error> { Err(Error::NotMember) }
/// #   async fn accept_loss(self, _: Context) -> Result<(), Error> { Err(Error::NotMember) }
/// #   async fn hello(self, _: Context, _: Hello) -> Option<Hello> { None }
/// #   async fn deliver(self, _: Context, _: Letter) -> Option<Reply> { None }
/// }
///
/// impl Handlers for Node {
///     fn ring(&self, session: Session<ForRing>) -> BoxFuture<'static, ()> {
///         Box::pin(session.run(Ring::serve(self.clone())))
///     }
///     fn chordata(&self, session: Session<ForClients>) -> BoxFuture<'static, ()> {
///         // Box::pin(session.run(Chordata::serve(self.clone())))
/// #       Box::pin(async move { drop(session) })
///     }
/// }
/// ```
///
/// (Generic code cannot call a tarpc service from a spawned task, as its trait does not promise futures that may
/// change threads; where the implementation is known, the compiler sees that they may.)
pub trait Handlers: Clone + Send + Sync + 'static {
    /// Runs a connection for clients to its end.
    fn chordata(&self, session: Session<ForClients>) -> BoxFuture<'static, ()>;
    /// Runs a connection for other nodes to its end.
    fn ring(&self, session: Session<ForRing>) -> BoxFuture<'static, ()>;
    /// Runs a connection for those who say where a server belongs to its end.
    fn standby(&self, session: Session<ForStandby>) -> BoxFuture<'static, ()> {
        Box::pin(async move { drop(session) })
    }
    /// Runs a connection for those who command a manager to its end.
    fn manager(&self, session: Session<ForManager>) -> BoxFuture<'static, ()> {
        Box::pin(async move { drop(session) })
    }
    /// For what it has such methods; who wants anything else is refused with the reason.
    fn offered(&self) -> &'static [Service] {
        &[Service::Client, Service::Ring]
    }
}

/// A connection that was let in.
pub struct Session<K: Kind> {
    stream: BoxStream,
    peer: Arc<str>,
    limits: Limits,
    kind: std::marker::PhantomData<fn() -> K>,
}

impl<K: Kind> Session<K> {
    pub(crate) fn new(stream: BoxStream, peer: Arc<str>, limits: Limits) -> Session<K> {
        Session { stream, peer, limits, kind: std::marker::PhantomData }
    }

    /// Who is at the other end, for logs.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Handles its requests until it ends; `serve` is cloned for each.
    pub async fn run<S>(self, serve: S)
    where
        S: Serve<Req = K::Request, Resp = K::Response> + Clone,
    {
        let transport =
            codec::framed_server::<_, K::Request, K::Response>(self.stream, self.limits.deadline_max);
        let config = Config { pending_response_buffer: ANSWERS_WAITING_MAX };
        BaseChannel::new(config, transport)
            .max_concurrent_requests(self.limits.in_flight_max)
            .requests()
            .take_while(|request| {
                if let Err(error) = request {
                    debug!(%error, "connection lost");
                }
                std::future::ready(request.is_ok())
            })
            .filter_map(|request| std::future::ready(request.ok()))
            .for_each_concurrent(None, |request| request.execute(serve.clone()))
            .await;
    }
}

/// Connections that were let in. Dropping this ends them soon.
#[derive(Debug)]
pub struct Connections(JoinSet<()>);

impl Connections {
    /// Have all of them ended?
    pub fn are_over(&mut self) -> bool {
        // One that panicked has ended, too.
        while self.0.try_join_next().is_some() {}
        self.0.is_empty()
    }

    /// Ends them, with their handlers; returns when they are.
    pub async fn end(mut self) {
        self.0.shutdown().await;
    }
}

/// Accepts and serves connections until `shutdown` completes.
pub async fn serve<H, F>(
    listener: Box<dyn Listener>,
    credentials: Credentials,
    limits: Limits,
    handlers: H,
    shutdown: F,
) where
    H: Handlers,
    F: Future<Output = ()>,
{
    accept(listener, credentials, limits, handlers, shutdown).await.end().await;
}

/// Accepts and serves connections until `shutdown` completes; those that are open go on.
pub async fn accept<H, F>(
    mut listener: Box<dyn Listener>,
    credentials: Credentials,
    limits: Limits,
    handlers: H,
    shutdown: F,
) -> Connections
where
    H: Handlers,
    F: Future<Output = ()>,
{
    let door = Door {
        credentials,
        limits,
        handlers,
        places: Arc::new(Semaphore::new(limits.connections_max.min(Semaphore::MAX_PERMITS))),
        refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
    };
    // If this function's future is dropped, so is this, which ends the tasks as well.
    let mut connections = JoinSet::new();
    let mut backoff = BACKOFF.0;
    let mut shutdown = std::pin::pin!(shutdown.fuse());
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    error!(%error, "a handler panicked; its connection is closed");
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                backoff = BACKOFF.0;
                if let Some(connection) = door.clone().open(stream, peer) {
                    connections.spawn(connection);
                }
            }
            // Somebody has gone away again: nothing that waiting would mend.
            Err(error)
                if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                warn!(%error, "cannot accept a connection; trying again in {backoff:?}");
                tokio::select! {
                    () = &mut shutdown => break,
                    () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(BACKOFF.1),
                }
            }
        }
    }
    Connections(connections)
}

/// What every new connection needs.
#[derive(Clone)]
struct Door<H> {
    credentials: Credentials,
    limits: Limits,
    handlers: H,
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
}

impl<H: Handlers> Door<H> {
    /// The task of a new connection; none if not even a refusal can be afforded.
    fn open(self, stream: BoxStream, peer: String) -> Option<impl Future<Output = ()> + Send + 'static> {
        let place = self.places.clone().try_acquire_owned();
        let full = place.is_err();
        let permit = place.or_else(|_| self.refusals.clone().try_acquire_owned()).ok()?;
        let span = debug_span!("connection", peer);
        Some(self.run(stream, Arc::from(peer), full, permit).instrument(span))
    }

    async fn run(self, mut stream: BoxStream, peer: Arc<str>, full: bool, permit: OwnedSemaphorePermit) {
        let received = preamble::receive(
            &mut stream,
            &self.credentials,
            self.handlers.offered(),
            full,
            self.limits.preamble_timeout,
        )
        .await;
        match received {
            Ok(Service::Manager) => self.handlers.manager(Session::new(stream, peer, self.limits)).await,
            Ok(Service::Standby) => self.handlers.standby(Session::new(stream, peer, self.limits)).await,
            Ok(Service::Client) => self.handlers.chordata(Session::new(stream, peer, self.limits)).await,
            Ok(Service::Ring) => self.handlers.ring(Session::new(stream, peer, self.limits)).await,
            Ok(Service::Probe) => {}
            // Anybody can cause these, as often as they like: no reason to fill the logs.
            Err(
                error @ (PreambleError::NotChordata(_) | PreambleError::TimedOut(_) | PreambleError::Io(..)),
            ) => debug!(%peer, "refused a connection: {error}"),
            Err(error) => warn!(%peer, "refused a connection: {error}"),
        }
        drop(permit);
    }
}
