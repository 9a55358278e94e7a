//! The library that users of Chordata link.
//!
//! ```no_run
//! # async fn example() -> Result<(), chordata_client::Failure> {
//! use chordata_client::{Client, Config};
//! use chordata_protocol::{Address, Consistency, Key, Value};
//!
//! let client = Client::connect(&[Address::new("127.0.0.1:18861")], Config::default()).await?;
//! client.put(Key::new("greeting"), Value::from("hello")).await?;
//! let found = client.get(Key::new("greeting")).await?;
//! assert_eq!(found.result.map(|record| record.value), Some(Value::from("hello")));
//! # Ok(())
//! # }
//! ```
//!
//! # Two ways of routing
//!
//! By default the client routes itself ([`Routing::Client`]): it looks the owner of a key up, asks it, and remembers
//! what it serves, so that the next request for that part of the ring goes straight there. Or it lets the node that
//! it talks to do that ([`Routing::Entry`]): one connection is then enough, as through a tunnel.
//!
//! # Values that end
//!
//! [`Client::put_with`] and the like take a time to live. A read says in [`Record::expires`] when a value ends; in a cluster of
//! chains it is seen until it has been ended, at most about a second later, and by nobody afterwards.
//!
//! # Three outcomes
//!
//! A write is done, definitely not done, or *unknown*: then it was sent, and no answer came. Requests that certainly
//! were not carried out are tried again, elsewhere if need be, until [`Config::patience`] is over. In a cluster of
//! chains unknown ones are as well: every write has a name, under which it takes effect once. [`Failure`] says which
//! it was.

pub mod audit;
pub mod batch;
mod cache;
pub mod dump;
pub mod failure;
pub mod listing;
pub mod look;
mod routing;
mod spread;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use chordata_protocol::chain::WriteId;
use chordata_protocol::{
    Address, Consistency, Key, Moment, Operation, Outcome, Policy, Record, Space, Ttl, Value, Version,
};
use chordata_rpc::service::{Answer, Level, Options, Route, Status};
use chordata_rpc::{Credentials, Net, Pool, PoolSettings, TcpNet};
use parking_lot::Mutex;

use futures::stream::{FuturesUnordered, StreamExt};

use cache::Owners;
pub use failure::Failure;
use spread::Spread;
use writes::Writes;

/// How long a node may be silent before the next one is asked as well.
const HEAD_START: Duration = Duration::from_millis(250);

/// Who finds the owner of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Routing {
    /// This client, which remembers owners.
    Client(Policy),
    /// The node that it talks to.
    Entry(Policy),
}

/// How a client behaves.
#[derive(Clone)]
pub struct Config {
    /// Who finds owners.
    pub routing: Routing,
    /// Answer the path of every request as well?
    pub trace: bool,
    /// Eventual mode: a write is done when so many copies are stored, a read when so many replicas have answered.
    pub acks: u8,
    /// How long a request is tried in all.
    pub patience: Duration,
    /// The cluster and its secret, as far as they are known.
    pub credentials: Credentials,
    /// Connections to each node.
    pub connections_per_node: usize,
    /// The network.
    pub net: Arc<dyn Net>,
    /// How long connecting to a node may take.
    pub connect_timeout: Duration,
    /// A node that costs less to ask than any other, such as this process's own: where there are replicas, reads ask it
    /// first, as it may have one, and else knows who does.
    pub home: Option<Address>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            routing: Routing::Client(Policy::Finger),
            trace: false,
            acks: 1,
            patience: Duration::from_secs(10),
            credentials: Credentials::default(),
            connections_per_node: 1,
            net: Arc::new(TcpNet),
            connect_timeout: Duration::from_secs(2),
            home: None,
        }
    }
}

/// What there is to choose of a value that is stored.
///
/// ```
/// # use chordata_client::PutOptions;
/// let for_half_a_minute = PutOptions { ttl: Some("30s".parse()?) };
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PutOptions {
    /// For how long it lives, from when the write is decided; none: for ever. A later write has its own, or none.
    /// [`Record::expires`] says when that ends, by the clock of the node that decided the write.
    pub ttl: Option<Ttl>,
}

/// The time of day by this machine's clock: what [`Record::remaining`] wants to know.
pub fn now() -> Moment {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Moment::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A client of one cluster. Clones share connections and what is remembered.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Pool,
    space: Space,
    /// Nodes to begin with; those that answered last come first.
    entries: Mutex<Vec<Address>>,
    owners: Mutex<Owners>,
    /// Names of writes; none: the cluster does not keep its data in chains, where a write can be sent twice.
    writes: Option<Arc<Writes>>,
    /// Replicas of keys; none: the cluster is not in eventual mode.
    spread: Option<Arc<Spread>>,
    config: Config,
}

impl Client {
    /// Finds a node that answers among these, and learns of the cluster from it.
    ///
    /// # Errors
    /// When none answers: the last reason.
    pub async fn connect(nodes: &[Address], config: Config) -> Result<Client, Failure> {
        let pool = Pool::new(
            config.net.clone(),
            config.credentials.clone(),
            PoolSettings {
                connections_per_peer: config.connections_per_node,
                connect_timeout: config.connect_timeout,
                ..PoolSettings::default()
            },
        );
        let (place, status) = first_to_answer(&pool, nodes, config.connect_timeout * 2).await?;
        let mut entries = nodes.to_vec();
        entries.swap(0, place);
        Client::over(pool, &status, entries, config)
    }

    /// A client over a pool of connections, of the cluster of which a node with this status is; `entries` are nodes to
    /// begin with, at least one.
    ///
    /// # Errors
    /// When there is none, or the system gives no random bits.
    pub fn over(
        pool: Pool,
        status: &Status,
        entries: Vec<Address>,
        config: Config,
    ) -> Result<Client, Failure> {
        if entries.is_empty() {
            return Err(Failure::NoNodes);
        }
        let space = Space::new(status.settings.bits).unwrap_or_default();
        let owners = Mutex::new(Owners::new(space));
        let view = status.chain.as_ref().and_then(|chain| chain.view.as_ref()).map(|view| view.index);
        let has_chains = status.settings.consistency() == Some(Consistency::Chain);
        let writes = has_chains.then(|| Writes::new(view.unwrap_or(0))).transpose()?;
        let writes = writes.map(Arc::new);
        let eventual = status.settings.replication.filter(|kept| kept.consistency == Consistency::Eventual);
        let spread = eventual
            .map(|kept| Ok::<_, Failure>(Spread::new(kept.copies(), writes::lot()?, config.home.clone())));
        let spread = spread.transpose()?.map(Arc::new);
        let entries = Mutex::new(entries);
        Ok(Client { shared: Arc::new(Shared { pool, space, entries, owners, writes, spread, config }) })
    }

    /// The size of the cluster's ring.
    pub fn space(&self) -> Space {
        self.shared.space
    }

    /// How the cluster keeps its data; none: in single copies.
    pub fn consistency(&self) -> Option<Consistency> {
        match (&self.shared.writes, &self.shared.spread) {
            (Some(_), _) => Some(Consistency::Chain),
            (None, Some(_)) => Some(Consistency::Eventual),
            (None, None) => None,
        }
    }

    /// The connections, for calls that this library has no method for.
    pub fn pool(&self) -> &Pool {
        &self.shared.pool
    }

    /// The node that requests begin at.
    pub fn entry(&self) -> Address {
        let entries = self.shared.entries.lock();
        entries.first().cloned().expect("a client is made with at least one node")
    }

    /// The same cluster through another node, with the same connections.
    #[must_use]
    pub fn through(&self, entry: Address, routing: Routing, trace: bool) -> Client {
        let config = Config { routing, trace, ..self.shared.config.clone() };
        let mut entries = self.shared.entries.lock().clone();
        entries.retain(|address| *address != entry);
        entries.insert(0, entry);
        self.with(entries, config)
    }

    /// The same cluster with the same connections; in eventual mode a write is done when so many copies are stored, a read
    /// when so many replicas have answered. See [`Config::acks`].
    #[must_use]
    pub fn with_acks(&self, acks: u8) -> Client {
        let entries = self.shared.entries.lock().clone();
        self.with(entries, Config { acks, ..self.shared.config.clone() })
    }

    fn with(&self, entries: Vec<Address>, config: Config) -> Client {
        Client {
            shared: Arc::new(Shared {
                pool: self.shared.pool.clone(),
                space: self.shared.space,
                entries: Mutex::new(entries),
                owners: Mutex::new(Owners::new(self.shared.space)),
                writes: self.shared.writes.clone(),
                spread: self.shared.spread.clone(),
                config,
            }),
        }
    }

    /// Stores a value, whatever was there.
    ///
    /// # Errors
    /// Bad input, nobody could serve it, or unknown.
    pub async fn put(&self, key: Key, value: Value) -> Result<Answer<Outcome>, Failure> {
        self.put_with(key, value, PutOptions::default()).await
    }

    /// The same, with what there is to choose.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn put_with(
        &self,
        key: Key,
        value: Value,
        options: PutOptions,
    ) -> Result<Answer<Outcome>, Failure> {
        self.write(key, Operation::Put { value, ttl: options.ttl }).await
    }

    /// The value and its version, or none.
    ///
    /// # Errors
    /// Bad input, or nobody could serve it.
    pub async fn get(&self, key: Key) -> Result<Answer<Option<Record>>, Failure> {
        key.check(self.shared.space)?;
        self.read(key, Level::Linearizable).await
    }

    /// Removes a value.
    ///
    /// # Errors
    /// Bad input, nobody could serve it, or unknown.
    pub async fn delete(&self, key: Key) -> Result<Answer<Outcome>, Failure> {
        self.write(key, Operation::Delete).await
    }

    /// Stores a value (none: removes it) only if the key has the expected version (none: is absent).
    ///
    /// # Errors
    /// Bad input, nobody could serve it, or unknown. Another version is no error: [`Outcome::Conflict`].
    pub async fn compare_and_swap(
        &self,
        key: Key,
        expected: Option<Version>,
        value: Option<Value>,
    ) -> Result<Answer<Outcome>, Failure> {
        self.compare_and_swap_with(key, expected, value, PutOptions::default()).await
    }

    /// The same, with what there is to choose of the value that is stored.
    ///
    /// # Errors
    /// As [`Client::compare_and_swap`]; a time to live without a value is bad input.
    pub async fn compare_and_swap_with(
        &self,
        key: Key,
        expected: Option<Version>,
        value: Option<Value>,
        options: PutOptions,
    ) -> Result<Answer<Outcome>, Failure> {
        self.write(key, Operation::CompareAndSwap { expected, value, ttl: options.ttl }).await
    }

    async fn write(&self, key: Key, operation: Operation) -> Result<Answer<Outcome>, Failure> {
        key.check(self.shared.space)?;
        operation.check()?;
        self.apply(key, operation).await
    }

    fn options(&self, route: Route, by: Option<WriteId>) -> Options {
        let Config { trace, acks, .. } = self.shared.config;
        let seen = self.shared.spread.as_ref().and_then(|spread| spread.seen());
        Options { route, trace, by, acks, seen, ..Options::default() }
    }
}

/// The first of these nodes that answers: the next one is asked when one fails, or is silent for a moment.
async fn first_to_answer(
    pool: &Pool,
    nodes: &[Address],
    limit: Duration,
) -> Result<(usize, Status), Failure> {
    let mut waiting = nodes.iter().enumerate();
    let mut asked = FuturesUnordered::new();
    let mut last = Failure::NoNodes;
    loop {
        match waiting.next() {
            Some((place, address)) => {
                asked.push(async move { (place, status_of(pool, address, limit).await) });
            }
            None if asked.is_empty() => return Err(last),
            None => {}
        }
        let patience = if waiting.len() > 0 { HEAD_START } else { limit };
        match tokio::time::timeout(patience, asked.next()).await {
            Ok(Some((place, Ok(status)))) => return Ok((place, status)),
            Ok(Some((_, Err(failure)))) => last = failure,
            Ok(None) | Err(_) => {}
        }
    }
}

/// How a node is.
///
/// # Errors
/// When it does not answer in time.
pub async fn status_of(pool: &Pool, address: &Address, limit: Duration) -> Result<Status, Failure> {
    let answer = pool.client(address).status(chordata_rpc::within(limit)).await;
    let status = answer.map_err(|error| Failure::from_call(error).of_reading())?;
    status.map_err(Failure::from)
}
