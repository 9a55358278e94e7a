//! Connections to peers that are opened when they are needed, shared, and opened again when they broke.
//!
//! [`Pool::ring`] and [`Pool::client`] give tarpc stubs at once, for any address; a call on one connects if there is
//! no connection. What this file guarantees of a call:
//!
//! - **It ends by its deadline**, whatever the network does: connecting, waiting for room to send, and the answer
//!   all count. A deadline longer than [`PoolSettings::deadline_max`] is cut to that, as servers do.
//! - **It fails at once** when its connection is lost, and when connecting fails. Nothing is tried again behind the
//!   caller's back, with one exception: a request that a broken connection has certainly not sent is sent once more
//!   on another.
//! - Its [`CallFailure`] says **whether it may have been carried out**.
//! - Callers that need the same connection share one attempt to open it; the attempt goes on when they give up.
//!
//! With several connections per peer, calls go around them; while one is being opened (again), the others are used.
//! A connection on which a call heard nothing at all until its deadline gets no new calls: the next one finds out
//! by a fresh connection whether the peer is there.

mod slot;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chordata_protocol::Address;
use futures::future::BoxFuture;
use parking_lot::RwLock;
use tarpc::ServerError;
use tarpc::client::{RpcError, stub};
use tarpc::context::{self, Context};
use tarpc::trace::TraceId;

use crate::connection::{Connection, Tracked};
use crate::credentials::Credentials;
use crate::failure::CallFailure;
use crate::kind::{ForClients, ForManager, ForRing, ForStandby, Kind};
use crate::manager::ManagerClient;
use crate::net::Net;
use crate::preamble::{self, PREAMBLE_TIMEOUT, PreambleError, ServerIdentity};
use crate::server::{DEADLINE_CEILING, DEADLINE_MAX};
use crate::service::{ChordataClient, RingClient};
use crate::standby::StandbyClient;

use slot::{Found, Slot};

/// Calls [`Chordata`](crate::service::Chordata) of one peer through the pool.
pub type ChordataStub = ChordataClient<PeerStub<ForClients>>;
/// Calls [`Ring`](crate::service::Ring) of one peer through the pool.
pub type RingStub = RingClient<PeerStub<ForRing>>;
/// Calls [`Standby`](crate::standby::Standby) of one server through the pool.
pub type StandbyStub = StandbyClient<PeerStub<ForStandby>>;
/// Calls [`Manager`](crate::manager::Manager) through the pool.
pub type ManagerStub = ManagerClient<PeerStub<ForManager>>;

/// A call that waited at least this long and heard nothing makes its connection suspect.
const SILENCE_MIN: Duration = Duration::from_millis(250);

/// How a pool connects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolSettings {
    /// Connections to each peer, for each service.
    pub connections_per_peer: usize,
    /// How long connecting may take, without the preamble.
    pub connect_timeout: Duration,
    /// How long a preamble may take.
    pub preamble_timeout: Duration,
    /// Calls at once on one connection; more wait. A little below what servers allow, as servers forget a call that
    /// ran out of time a little later than the caller.
    pub in_flight_max: usize,
    /// The longest deadline of a call.
    pub deadline_max: Duration,
    /// While the credentials name no cluster: is the cluster of the first peer taken?
    pub learn_cluster: bool,
}

impl Default for PoolSettings {
    fn default() -> PoolSettings {
        PoolSettings {
            connections_per_peer: 1,
            connect_timeout: Duration::from_secs(1),
            preamble_timeout: PREAMBLE_TIMEOUT,
            in_flight_max: 1000,
            deadline_max: DEADLINE_MAX,
            learn_cluster: true,
        }
    }
}

/// A tarpc context for a call that must end within this time.
pub fn within(limit: Duration) -> Context {
    let mut context = context::current();
    // A number by lot, by which logs can tell requests apart on every node that they come to.
    context.trace_context.trace_id = TraceId::from(fastrand::u128(..));
    context.deadline = Instant::now() + limit.min(DEADLINE_CEILING);
    context
}

/// Answers calls within this process.
pub type InProcess<K> = Arc<
    dyn Fn(Context, <K as Kind>::Request) -> BoxFuture<'static, Result<<K as Kind>::Response, ServerError>>
        + Send
        + Sync,
>;

/// Connections to peers. Clones share them.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    clients: Peers<ForClients>,
    ring: Peers<ForRing>,
    standby: Peers<ForStandby>,
    managers: Peers<ForManager>,
}

type Peers<K> = Arc<RwLock<HashMap<Address, Arc<Peer<K>>>>>;

struct Shared {
    net: Arc<dyn Net>,
    credentials: Credentials,
    settings: PoolSettings,
}

impl Pool {
    /// A pool without any connection yet.
    pub fn new(net: Arc<dyn Net>, credentials: Credentials, settings: PoolSettings) -> Pool {
        Pool {
            shared: Arc::new(Shared { net, credentials, settings }),
            clients: Peers::default(),
            ring: Peers::default(),
            standby: Peers::default(),
            managers: Peers::default(),
        }
    }

    /// To call [`Chordata`](crate::service::Chordata) at this address. Costs little; connects with the first call.
    pub fn client(&self, address: &Address) -> ChordataStub {
        ChordataClient::from(PeerStub { peer: self.peer(&self.clients, address) })
    }

    /// To call [`Ring`](crate::service::Ring) at this address. Costs little; connects with the first call.
    pub fn ring(&self, address: &Address) -> RingStub {
        RingClient::from(PeerStub { peer: self.peer(&self.ring, address) })
    }

    /// Another pool, with the same network and credentials and connections of its own.
    #[must_use]
    pub fn apart(&self, settings: PoolSettings) -> Pool {
        Pool::new(self.shared.net.clone(), self.shared.credentials.clone(), settings)
    }

    /// From now on calls of [`Chordata`](crate::service::Chordata) at this address, which is this process's own, are
    /// answered without a connection: in the caller's task, within the same deadline.
    pub fn answer_in_process(&self, address: &Address, service: InProcess<ForClients>) {
        let peer = Peer { here: Some(service), ..Peer::new(address.clone(), self.shared.clone()) };
        self.clients.write().insert(address.clone(), Arc::new(peer));
    }

    /// To call [`Standby`](crate::standby::Standby) at this address. Costs little; connects with the first call.
    pub fn standby(&self, address: &Address) -> StandbyStub {
        StandbyClient::from(PeerStub { peer: self.peer(&self.standby, address) })
    }

    /// To call [`Manager`](crate::manager::Manager) at this address. Costs little; connects with the first call.
    pub fn manager(&self, address: &Address) -> ManagerStub {
        ManagerClient::from(PeerStub { peer: self.peer(&self.managers, address) })
    }

    fn peer<K: Kind>(&self, peers: &Peers<K>, address: &Address) -> Arc<Peer<K>> {
        if let Some(peer) = peers.read().get(address) {
            return peer.clone();
        }
        let peer = || Arc::new(Peer::new(address.clone(), self.shared.clone()));
        peers.write().entry(address.clone()).or_insert_with(peer).clone()
    }

    /// Closes the connections to an address, once the calls on them have ended, and forgets it. For nodes that have
    /// left: else what a pool remembers grows with every address it ever called.
    pub fn forget(&self, address: &Address) {
        self.clients.write().remove(address);
        self.ring.write().remove(address);
        self.standby.write().remove(address);
        self.managers.write().remove(address);
    }

    /// Who is at this address? On a connection of its own, without credentials.
    ///
    /// # Errors
    /// When nobody says so within the time limits of the settings.
    pub async fn probe(&self, address: &Address) -> Result<ServerIdentity, CallFailure> {
        let mut stream = self.shared.connect(address).await?;
        let identity = preamble::probe(&mut stream, self.shared.settings.preamble_timeout).await;
        identity.map_err(|error| CallFailure::from_preamble(address, error))
    }

    /// As whom it connects.
    pub fn credentials(&self) -> &Credentials {
        &self.shared.credentials
    }
}

impl Shared {
    async fn connect(&self, address: &Address) -> Result<crate::net::BoxStream, CallFailure> {
        let limit = self.settings.connect_timeout;
        let connected = tokio::time::timeout(limit, self.net.connect(address.as_str())).await;
        let reason = match connected {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no connection within {limit:?}"),
        };
        Err(CallFailure::Unreachable(address.clone(), reason))
    }

    /// A connection whose preamble is through.
    async fn open<K: Kind>(&self, address: &Address) -> Result<Arc<Connection<K>>, CallFailure> {
        let mut stream = self.connect(address).await?;
        let limit = self.settings.preamble_timeout;
        let opened = preamble::introduce(&mut stream, K::SERVICE, &self.credentials, limit).await;
        opened
            .and_then(|identity| self.learn(&identity))
            .map_err(|error| CallFailure::from_preamble(address, error))?;
        Ok(Arc::new(Connection::new(stream, address.clone(), self.settings.in_flight_max)))
    }

    /// Takes the server's cluster for ours, if ours is not known yet.
    fn learn(&self, identity: &ServerIdentity) -> Result<(), PreambleError> {
        match identity.cluster {
            Some(theirs) if self.settings.learn_cluster => {
                self.credentials.learn(theirs).map_err(|ours| PreambleError::WrongCluster { ours, theirs })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// One address, for one service.
struct Peer<K: Kind> {
    address: Address,
    shared: Arc<Shared>,
    slots: Box<[Arc<Slot<K>>]>,
    turn: AtomicUsize,
    /// It is this process.
    here: Option<InProcess<K>>,
}

impl<K: Kind> Peer<K> {
    fn new(address: Address, shared: Arc<Shared>) -> Peer<K> {
        let slots = (0..shared.settings.connections_per_peer.max(1)).map(|_| Arc::default()).collect();
        Peer { address, shared, slots, turn: AtomicUsize::new(0), here: None }
    }

    /// A connection: the next one around; another one while that is not open; else waits until one is.
    async fn connection(&self, deadline: Instant) -> Result<Arc<Connection<K>>, CallFailure> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.slots.len();
        if let Some(connection) = self.slots[turn].alive() {
            return Ok(connection);
        }
        if let Some(other) = self.slots.iter().find_map(|slot| slot.alive()) {
            self.slots[turn].open_spare(&self.shared, &self.address);
            return Ok(other);
        }
        let attempt = match self.slots[turn].find(&self.shared, &self.address) {
            Found::Open(connection) => return Ok(connection),
            Found::Opening(attempt) => attempt,
        };
        let limit = deadline.saturating_duration_since(Instant::now());
        tokio::time::timeout(limit, attempt).await.unwrap_or_else(|_| {
            Err(CallFailure::Unreachable(self.address.clone(), format!("no connection within {limit:?}")))
        })
    }

    async fn call(&self, mut context: Context, request: K::Request) -> Result<K::Response, CallFailure> {
        let start = Instant::now();
        context.deadline =
            context.deadline.min(start + self.shared.settings.deadline_max.min(DEADLINE_CEILING));
        if let Some(service) = &self.here {
            let left = context.deadline.saturating_duration_since(start);
            let answered = tokio::time::timeout(left, service(context, request)).await;
            let answered = answered.map_err(|_| CallFailure::TimedOut(self.address.clone(), left))?;
            return answered.map_err(|error| CallFailure::NoAnswer(self.address.clone(), error.detail));
        }
        let tracked = Arc::new(Tracked::new(request));

        let connection = self.connection(context.deadline).await?;
        let first = self.send(&connection, context, &tracked, start).await;
        let response = match first {
            Err(CallFailure::Unreachable(..)) => {
                let connection = self.connection(context.deadline).await?;
                self.send(&connection, context, &tracked, start).await?
            }
            other => other?,
        };
        if K::fits(&tracked.request, &response) {
            Ok(response)
        } else {
            Err(CallFailure::NoAnswer(self.address.clone(), String::from("it answered another question")))
        }
    }

    /// Sends a request on this connection. [`CallFailure::Unreachable`]: it was certainly not sent.
    async fn send(
        &self,
        connection: &Connection<K>,
        context: Context,
        tracked: &Arc<Tracked<K::Request>>,
        start: Instant,
    ) -> Result<K::Response, CallFailure> {
        let answers = connection.answers();
        // Tarpc minds the deadline only once the request has left the queue.
        let left = context.deadline.saturating_duration_since(Instant::now());
        let call = connection.channel.call(context, tracked.clone());
        let answered = tokio::time::timeout(left, call).await.unwrap_or(Err(RpcError::DeadlineExceeded));
        let error = match answered {
            Ok(response) => {
                connection.count_answer();
                return Ok(response);
            }
            Err(error) => error,
        };
        let encoded = tracked.was_encoded();
        let suspect = match &error {
            RpcError::Shutdown | RpcError::Channel(_) => true,
            RpcError::Send(_) => !encoded,
            RpcError::DeadlineExceeded => left >= SILENCE_MIN && connection.answers() == answers,
            RpcError::Server(_) => false,
        };
        if suspect {
            connection.retire();
        }
        let limit = context.deadline.saturating_duration_since(start);
        Err(CallFailure::from_tarpc(&self.address, error, encoded, limit))
    }
}

/// What tarpc's stubs call: a peer of the pool, for one service.
pub struct PeerStub<K: Kind> {
    peer: Arc<Peer<K>>,
}

impl<K: Kind> Clone for PeerStub<K> {
    fn clone(&self) -> PeerStub<K> {
        PeerStub { peer: self.peer.clone() }
    }
}

impl<K: Kind> std::fmt::Debug for PeerStub<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {}", K::SERVICE, self.peer.address)
    }
}

impl<K: Kind> stub::Stub for PeerStub<K> {
    type Req = K::Request;
    type Resp = K::Response;

    async fn call(&self, context: Context, request: K::Request) -> Result<K::Response, RpcError> {
        Ok(self.peer.call(context, request).await?)
    }
}

#[cfg(test)]
mod tests;
