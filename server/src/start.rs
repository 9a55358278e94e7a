//! From settings to a node in the ring.
//!
//! | has it been in a ring before? | is there somebody to join? | what it does |
//! |---|---|---|
//! | no | no, or `bootstrap` | starts a ring |
//! | no | yes | asks again and again for `join_timeout`, then gives up: never a second ring by silence |
//! | yes | whom it knows answers | comes back under its id |
//! | yes | nobody answers for a moment | is its ring's only node until others come back: they were one ring, and will be |
//!
//! [`Ground`] is what a process has whether or not it is in a ring; [`begin`] makes a node on it. [`start`] does both,
//! for a node that lives as long as its process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chordata_consensus::{NodeId, Settings as GroupSettings, Storage};
use chordata_protocol::chain::{Incarnation, StoreId, View};
use chordata_protocol::ring::{Change, Event, Ring, RingSettings};
use chordata_protocol::{Address, Consistency, Durability, Id, Peer, Placement, Space};
use chordata_rpc::kind::{ForClients, ForRing, ForStandby};
use chordata_rpc::net;
use chordata_rpc::preamble::Service;
use chordata_rpc::service::Ring as RingService;
use chordata_rpc::service::{Admission, Briefing, Chordata, ClusterId, ClusterSettings, Error, Joiner};
use chordata_rpc::standby::Standby;
use chordata_rpc::{CallFailure, Credentials, Handlers, Net, Pool, PoolSettings, Session};
use chordata_store::group::Mode;
use chordata_store::{DiskEngine, DiskSettings, Engine, MemoryEngine, RealFiles};
use futures::future::BoxFuture;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::chain::{self, Agreement, Group, Machine};
use crate::eventual;
use crate::identity::{DataDirectory, DataError, Identity};
use crate::node::{Node, Parts};
use crate::reception::Reception;
use crate::settings::{Resolved, SettingsError};
use crate::standby::Seat;

/// How long a node that was in a ring looks for others of it before it goes on alone.
const RETURN_PATIENCE: Duration = Duration::from_secs(2);
/// First and longest pause between two rounds of asking to be admitted.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long one node may take to admit.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How often known addresses are written at most.
/// Short enough for a lease to outlast an election, openraft's own ticks of 75 ms counted.
const ELECTION_MAX: Duration = Duration::from_millis(180);
/// What the engine may keep of the disk in memory.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
const KNOWN_EVERY: Duration = Duration::from_millis(300);

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Mend the settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Mend or move the data directory.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Mend or move the store.
    #[error("{0}")]
    Store(String),
    /// Listen elsewhere.
    #[error("{0}")]
    Listen(String),
    /// Nobody to join answered in time.
    #[error("no ring to join: {0}")]
    NoRing(String),
    /// The ring does not take this node.
    #[error("{0}")]
    NotAdmitted(String),
    /// Nothing: it was told to give up.
    #[error("it was told to leave before it was in the ring")]
    Cancelled,
    /// The operating system gives no randomness.
    #[error("the operating system gives no random bits: {0}")]
    Random(String),
}

impl StartError {
    /// The exit code of a server that did not start: 2 bad settings, 4 no ring, 1 all else.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Settings(_) => 2,
            StartError::NoRing(_) => 4,
            StartError::Data(_)
            | StartError::Store(_)
            | StartError::Listen(_)
            | StartError::NotAdmitted(_)
            | StartError::Cancelled
            | StartError::Random(_) => 1,
        }
    }
}

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
    /// [`Resolved::displaced`].
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
    ground: Arc<Ground>,
    stop: watch::Sender<bool>,
    keeper: JoinHandle<()>,
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
        if let Some(group) = group {
            group.shutdown().await;
        }
        self.node.stop_committing().await;
        self.node.close_store();
    }
}

/// Who answers while there is a node. What is said to it ends with it; what is said to the process does not.
#[derive(Clone)]
struct Door {
    node: Node,
    stopped: watch::Receiver<bool>,
    seat: Option<Seat>,
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

/// The nearest node before a place among those of these addresses that answer; none: nobody does.
async fn nearest_before(pool: &Pool, contacts: &[Address], space: Space, place: Id) -> Option<Peer> {
    let asked = contacts.iter().map(|contact| async move {
        let context = chordata_rpc::within(RETURN_PATIENCE / 2);
        let status = pool.client(contact).status(context).await.ok()?.ok()?;
        (status.member && status.me.id != place).then_some(status.me)
    });
    let members = futures::future::join_all(asked).await;
    members.into_iter().flatten().min_by_key(|peer| space.distance(peer.id, place))
}

/// A life of a store.
struct Life<'a> {
    store: u128,
    incarnation: u64,
    known: &'a [Peer],
    /// Is it the first of its cluster?
    founds: bool,
    /// The store of its last life, if that was in memory and this one is another.
    former: Option<u128>,
}

/// 128 random bits.
fn random_bits() -> Result<u128, StartError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| StartError::Random(error.to_string()))?;
    Ok(u128::from_le_bytes(bytes))
}

/// A node that is on its way into a ring.
struct Starting {
    settings: Resolved,
    ground: Arc<Ground>,
    me: Address,
    seat: Option<Seat>,
    credentials: Credentials,
    pool: Pool,
    /// Has it been in a ring before?
    returning: bool,
}

/// Where in which ring.
struct Place {
    id: Id,
    cluster: ClusterSettings,
    /// Whom to join behind; none: nobody is there.
    predecessor: Option<Peer>,
    /// The first view of chains that has it as a member, if that is known.
    view: Option<u64>,
    /// What it was told for eventual mode, if it was admitted just now.
    briefing: Option<Briefing>,
}

/// With which store it goes there.
struct Arrival {
    place: Place,
    store: u128,
    incarnation: u64,
    known: Vec<Peer>,
}

/// What a process has, whether or not it is in a ring: its port, its directory, its network.
pub(crate) struct Ground {
    net: Arc<dyn Net>,
    data: Option<DataDirectory>,
    pub(crate) reception: Reception,
    /// Where others reach it.
    pub(crate) me: Address,
}

impl Ground {
    /// Takes the directory and the port.
    ///
    /// # Errors
    /// When it cannot listen, or its data directory cannot be used.
    pub(crate) async fn open(settings: &Resolved, net: Arc<dyn Net>) -> Result<Arc<Ground>, StartError> {
        let data = settings.data.as_deref().map(DataDirectory::open).transpose()?;
        let listener = net.listen(settings.listen).await;
        let listener =
            listener.map_err(|error| StartError::Listen(net::listen_failure(settings.listen, &error)))?;
        let reception = Reception::new(listener, settings.limits);
        let reception = reception.map_err(|error| StartError::Listen(error.to_string()))?;
        let me = settings.advertised(reception.listening())?;
        Ok(Arc::new(Ground { net, data, reception, me }))
    }

    /// Has it been in a ring, as far as its directory knows?
    ///
    /// # Errors
    /// When that cannot be read.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, DataError> {
        self.data.as_ref().map_or(Ok(None), DataDirectory::identity)
    }

    /// Erases all that a node left.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(crate) fn forget(&self) -> Result<(), DataError> {
        self.data.as_ref().map_or(Ok(()), DataDirectory::forget)
    }

    pub(crate) fn keeps_data(&self) -> bool {
        self.data.is_some()
    }
}

/// Starts a node; returns when it is in a ring.
///
/// # Errors
/// When it cannot listen, its data directory cannot be used, or no ring takes it.
pub async fn start(settings: Resolved, net: Arc<dyn Net>) -> Result<Started, StartError> {
    let ground = Ground::open(&settings, net).await?;
    let (_cancel, cancelled) = watch::channel(false);
    let started = begin(&ground, settings, None, cancelled).await;
    if started.is_err() {
        ground.reception.close().await;
    }
    started
}

/// Makes a node on this ground; returns when it is in a ring, or when it is told to give up.
///
/// # Errors
/// When its data directory cannot be used, or no ring takes it.
pub(crate) async fn begin(
    ground: &Arc<Ground>,
    settings: Resolved,
    seat: Option<Seat>,
    mut cancelled: watch::Receiver<bool>,
) -> Result<Started, StartError> {
    let identity = ground.identity()?;
    if let (Some(identity), Some(id)) = (&identity, settings.id)
        && identity.id != id
        // A server on standby was told another place.
        && !settings.standby
    {
        return Err(StartError::NotAdmitted(format!(
            "the data directory belongs to the node at {:?}, --id says {id:?}: leave --id away, or use another directory",
            identity.id
        )));
    }
    let cluster = identity.as_ref().map(|identity| identity.cluster.cluster);
    if let (Some(kept), Some(set)) = (cluster, settings.cluster)
        && kept != set
    {
        return Err(StartError::NotAdmitted(format!(
            "the data directory belongs to cluster {kept}, the settings say {set}"
        )));
    }
    let credentials = Credentials::new(cluster.or(settings.cluster), settings.secret.clone());
    let pool = Pool::new(
        ground.net.clone(),
        credentials.clone(),
        PoolSettings { connect_timeout: settings.ring.call_timeout, ..PoolSettings::default() },
    );
    let returning = identity.is_some();
    let (me, ground) = (ground.me.clone(), ground.clone());
    let starting = Starting { settings, ground, me, seat, credentials, pool, returning };
    let arrival = async {
        match identity {
            Some(identity) => starting.come_back(identity).await,
            None => starting.come_first().await,
        }
    };
    let arrival = tokio::select! {
        arrival = arrival => arrival?,
        Ok(_) = cancelled.wait_for(|cancelled| *cancelled) => return Err(StartError::Cancelled),
    };
    Box::pin(starting.run(arrival, cancelled)).await
}

impl Starting {
    /// It has been in a ring: back to it, under its id.
    async fn come_back(&self, mut identity: Identity) -> Result<Arrival, StartError> {
        identity.incarnation += 1;
        let space = Space::new(identity.cluster.bits).unwrap_or_default();
        let known = match &self.ground.data {
            Some(data) => data.known(space)?,
            None => Vec::new(),
        };
        let mut contacts: Vec<Address> = known.iter().map(|peer| peer.address.clone()).collect();
        contacts.extend(self.settings.join.iter().cloned());
        contacts.sort();
        contacts.dedup();
        contacts.retain(|address| *address != self.me);
        if identity.cluster.consistency() == Some(Consistency::Chain) {
            // No admission is asked for: it belongs to the cluster, whose coordinator may need this very node.
            let predecessor = nearest_before(&self.pool, &contacts, space, identity.id).await;
            let (id, cluster) = (identity.id, identity.cluster.clone());
            let place = Place { id, cluster, predecessor, view: identity.admitted, briefing: None };
            let Identity { store, incarnation, .. } = identity;
            return Ok(Arrival { place, store, incarnation, known });
        }
        let placement =
            if self.settings.displaced { self.settings.placement } else { Placement::Fixed(identity.id) };
        let patience = if contacts.is_empty() { Duration::ZERO } else { RETURN_PATIENCE };
        let joiner = self.joiner(placement, identity.store, identity.incarnation);
        let admission = match self.ask_admission(&contacts, joiner, patience).await {
            Ok(admission) => Some(admission),
            Err(StartError::NoRing(reason)) => {
                if !contacts.is_empty() {
                    warn!(
                        "none of the {} nodes that this one knew answers: going on alone ({reason})",
                        contacts.len()
                    );
                }
                None
            }
            Err(error) => return Err(error),
        };
        let id = admission.as_ref().map_or(identity.id, |admission| admission.id);
        let (predecessor, briefing) =
            admission.map_or((None, None), |admission| (Some(admission.predecessor), admission.briefing));
        let cluster = identity.cluster.clone();
        let place = Place { id, cluster, predecessor, view: None, briefing };
        Ok(Arrival { place, store: identity.store, incarnation: identity.incarnation, known })
    }

    /// It has never been in a ring.
    async fn come_first(&self) -> Result<Arrival, StartError> {
        let store = random_bits()?;
        if self.settings.join.is_empty() || self.settings.bootstrap {
            let id = self.first_id();
            let cluster = match self.credentials.cluster() {
                Some(cluster) => cluster,
                None => ClusterId(random_bits()?.to_be_bytes()),
            };
            let cluster = ClusterSettings {
                cluster,
                bits: self.settings.ring.space.bits(),
                successors: u8::try_from(self.settings.ring.successors).unwrap_or(u8::MAX),
                replication: self.settings.replication,
                lease: self.settings.lease,
            };
            let view = (cluster.consistency() == Some(Consistency::Chain)).then_some(View::FIRST);
            let place = Place { id, cluster, predecessor: None, view, briefing: None };
            return Ok(Arrival { place, store, incarnation: 1, known: Vec::new() });
        }
        let contacts: Vec<Address> =
            self.settings.join.iter().filter(|address| **address != self.me).cloned().collect();
        let patience = self.settings.join_timeout;
        let joiner = self.joiner(self.settings.placement, store, 1);
        let admission = self.ask_admission(&contacts, joiner, patience).await?;
        let Admission { id, predecessor, settings: cluster, view, briefing, .. } = admission;
        let place = Place { id, cluster, predecessor: Some(predecessor), view, briefing };
        Ok(Arrival { place, store, incarnation: 1, known: Vec::new() })
    }

    fn joiner(&self, placement: Placement, store: u128, incarnation: u64) -> Joiner {
        Joiner { address: self.me.clone(), placement, store, incarnation }
    }

    fn first_id(&self) -> Id {
        match self.settings.placement {
            Placement::Fixed(id) => id,
            Placement::Hash => self.settings.ring.space.hash(self.me.as_str().as_bytes()),
            Placement::Bisect => Id::ZERO,
        }
    }

    /// Asks one after another to be admitted, again with growing pauses, until one does or the time is up.
    async fn ask_admission(
        &self,
        contacts: &[Address],
        joiner: Joiner,
        patience: Duration,
    ) -> Result<Admission, StartError> {
        let began = Instant::now();
        let (mut deadline, mut pause) = (began + patience, BACKOFF.0);
        let mut last = "there is nobody to ask but this node itself".to_owned();
        loop {
            let (mut lasting, mut taken) = (Vec::new(), None);
            for contact in contacts {
                match self.ask_one(contact, joiner.clone()).await {
                    Ok(admission) => {
                        // What was learned with the connection and what was answered must agree.
                        if let Err(other) = self.credentials.learn(admission.settings.cluster) {
                            return Err(StartError::NotAdmitted(format!(
                                "{contact} belongs to cluster {}, this node to {other}",
                                admission.settings.cluster
                            )));
                        }
                        return Ok(admission);
                    }
                    Err(Refusal::Lasting(reason)) => lasting.push(reason),
                    Err(Refusal::Passing(reason)) => last = reason,
                    Err(Refusal::Taken(reason)) => {
                        // Its own earlier life at another address, or somebody who is there to stay.
                        deadline = deadline.max(began + self.settings.join_timeout);
                        (last, taken) = (reason.clone(), Some(reason));
                    }
                    Err(Refusal::NotYet(reason)) => {
                        // There is a ring, and it will have this node: that is worth more patience.
                        deadline = deadline.max(began + self.settings.join_timeout);
                        last = reason;
                    }
                }
            }
            // One stranger at an old address is no reason to give up, if others may still answer.
            if !lasting.is_empty() && lasting.len() == contacts.len() {
                return Err(StartError::NotAdmitted(lasting.swap_remove(0)));
            }
            if let Some(reason) = lasting.pop() {
                warn!("{reason}");
            }
            if Instant::now() + pause >= deadline {
                if let Some(reason) = taken {
                    return Err(StartError::NotAdmitted(reason));
                }
                return Err(StartError::NoRing(format!("{last} (tried for {} s)", patience.as_secs_f32())));
            }
            info!("not admitted yet: {last}; asking again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    async fn ask_one(&self, contact: &Address, joiner: Joiner) -> Result<Admission, Refusal> {
        let context = chordata_rpc::within(CONNECT_WITHIN);
        match self.pool.client(contact).connect(context, joiner).await {
            Ok(Ok(admission)) => Ok(admission),
            // Its own earlier life, or whoever took the id meanwhile: the ring will notice which.
            Ok(Err(error @ Error::IdTaken(..))) if self.returning => {
                Err(Refusal::Taken(format!("{contact} does not admit this node: {error}")))
            }
            Ok(Err(
                error @ (Error::IdTaken(..) | Error::BadInput(_) | Error::RingFull(_) | Error::Barred(_)),
            )) => Err(Refusal::Lasting(format!("{contact} does not admit this node: {error}"))),
            Ok(Err(error @ Error::Unavailable(_))) => Err(Refusal::NotYet(format!("{contact}: {error}"))),
            Ok(Err(error)) => Err(Refusal::Passing(format!("{contact}: {error}"))),
            Err(error) => match CallFailure::from(error) {
                failure @ CallFailure::Rejected(..) => Err(Refusal::Lasting(failure.to_string())),
                failure => Err(Refusal::Passing(failure.to_string())),
            },
        }
    }

    /// The engine, and how what is in it gets to the disk.
    fn engine(&self, cluster: &ClusterSettings) -> Result<(Box<dyn Engine>, Option<Mode>), StartError> {
        let mode = match cluster.replication.map(|replication| replication.durability) {
            None | Some(Durability::Memory) => return Ok((Box::new(MemoryEngine::default()), None)),
            Some(Durability::Interval) => Mode::INTERVAL,
            Some(Durability::Sync) => Mode::Sync,
        };
        let Some(data) = &self.ground.data else {
            return Err(StartError::NotAdmitted(
                "this cluster keeps its data on disk: give this node a directory for it with --data DIR"
                    .to_owned(),
            ));
        };
        let failed = |error: &dyn std::fmt::Display| StartError::Store(error.to_string());
        let disk = DiskSettings { cache_bytes: CACHE_BYTES, ..DiskSettings::default() };
        let files = RealFiles::new(data.store()?).map_err(|error| failed(&error))?;
        let engine = DiskEngine::open(Arc::new(files), disk).map_err(|error| failed(&error))?;
        Ok((Box::new(engine), Some(mode)))
    }

    /// What the node needs for chains, if its cluster has them.
    async fn chain_parts(
        &self,
        place: &Place,
        life: &Life<'_>,
        engine: &dyn Engine,
        seed: u64,
    ) -> Result<Option<chain::Parts>, StartError> {
        let space = Space::new(place.cluster.bits).unwrap_or_default();
        let Some(settings) = chain::settings(&place.cluster, space) else { return Ok(None) };
        let failed = |error: &dyn std::fmt::Display| StartError::Store(error.to_string());
        let storage = match &self.ground.data {
            Some(data) => Storage::Directory(data.raft()?),
            None => Storage::Memory,
        };
        let mut group_settings = GroupSettings::new(NodeId(life.store), storage);
        group_settings.timing.election_max = ELECTION_MAX;
        let transport = chain::OverPool(self.pool.clone());
        let group = Group::start(group_settings.clone(), Machine::default(), transport).await;
        let group = group.map_err(|error| failed(&error))?;
        let (store, incarnation) = (StoreId(life.store), Incarnation(life.incarnation));
        let me = Peer::new(place.id, self.me.clone());
        if life.founds {
            group.bootstrap(self.me.as_str()).await.map_err(|error| failed(&error))?;
            let view = View::first(space, settings.replication, store, incarnation, &me);
            let found = Agreement::Found(Box::new(view));
            group.propose(found).await.map_err(|error| failed(&error))?;
        }
        let kept = chain::load(engine, space).map_err(|error| failed(&error))?;
        let mut contacts: Vec<Peer> = life.known.to_vec();
        contacts.extend(place.predecessor.clone());
        contacts.push(me);
        Ok(Some(chain::Parts { settings, store, incarnation, kept, contacts, group, group_settings, seed }))
    }

    /// How the node keeps its data beside others.
    async fn parts(
        &self,
        place: &Place,
        life: &Life<'_>,
        engine: &mut dyn Engine,
        seed: u64,
    ) -> Result<Parts, StartError> {
        let Some(replication) = place.cluster.replication else { return Ok(Parts::Single) };
        if replication.consistency == Consistency::Chain {
            let parts = self.chain_parts(place, life, engine, seed).await?;
            return Ok(parts.map_or(Parts::Single, |parts| Parts::Chain(Box::new(parts))));
        }
        let space = Space::new(place.cluster.bits).unwrap_or_default();
        let opened = eventual::open(engine, space);
        let opened = opened.map_err(|error| StartError::Store(error.to_string()))?;
        let (store, incarnation) = (StoreId(life.store), Incarnation(life.incarnation));
        let mut parts = opened.parts(replication, store, incarnation, seed);
        parts.briefing = place.briefing.clone();
        parts.former = life.former.map(StoreId);
        Ok(Parts::Eventual(Box::new(parts)))
    }

    /// Builds the node, lets it in, and serves.
    async fn run(
        self,
        arrival: Arrival,
        mut cancelled: watch::Receiver<bool>,
    ) -> Result<Started, StartError> {
        let Arrival { place, store, incarnation, known } = arrival;
        let space = Space::new(place.cluster.bits).unwrap_or_default();
        if self.credentials.learn(place.cluster.cluster).is_err() {
            return Err(StartError::NotAdmitted("the cluster's id changed while joining".to_owned()));
        }
        let ring_settings = RingSettings {
            space,
            // In eventual mode nothing rests on who owns a range: it only says whom to ask first.
            owns_keys: place.cluster.consistency() != Some(Consistency::Chain),
            successors: usize::from(place.cluster.successors).max(1),
            ..self.settings.ring.clone()
        };
        let me = Peer::new(place.id, self.me.clone());
        let seed = u64::try_from(random_bits()? & u128::from(u64::MAX)).unwrap_or(0);
        let ring = Ring::new(ring_settings, me, seed, &known);
        let (mut engine, on_disk) = self.engine(&place.cluster)?;
        let founds = place.predecessor.is_none() && !self.returning;
        // What was in memory only is gone: what comes back must not pass for what had it.
        let forgets = place.cluster.consistency() == Some(Consistency::Eventual) && on_disk.is_none();
        let former = (forgets && self.returning).then_some(store);
        let store = if former.is_some() { random_bits()? } else { store };
        let life = Life { store, incarnation, known: &known, founds, former };
        let parts = self.parts(&place, &life, &mut *engine, seed).await?;
        let group = match &parts {
            Parts::Chain(parts) => Some(parts.group.clone()),
            Parts::Single | Parts::Eventual(_) => None,
        };
        let node = Node::new(ring, engine, place.cluster.clone(), self.pool.clone(), parts);
        if let Some(mode) = on_disk {
            let failed = |error: std::io::Error| StartError::Store(error.to_string());
            node.commit_with(mode).map_err(failed)?;
        }
        if let Some(data) = &self.ground.data {
            data.save_identity(&Identity {
                store,
                incarnation,
                id: place.id,
                cluster: place.cluster.clone(),
                admitted: place.view,
            })?;
        }
        let (stop, stopped) = watch::channel(false);
        let door = Door { node: node.clone(), stopped: stopped.clone(), seat: self.seat };
        self.ground.reception.open(self.credentials, door).await;
        let (keeper_ready, ready) = oneshot::channel();
        let keeper = tokio::spawn(keep(self.ground.clone(), node.clone(), keeper_ready, stopped));
        // An error: the keeper ended, and said why.
        let _ = ready.await;
        if let Some(group) = group {
            node.watch_over(group);
            if let Some(view) = place.view {
                node.chain_event(chordata_protocol::chain::Event::Admitted(view));
            }
            node.chain_event(chordata_protocol::chain::Event::Start);
        }
        if node.is_eventual() {
            tokio::spawn(node.clone().follow_members());
        }
        let listening = self.ground.reception.listening();
        let started = Started { node: node.clone(), listening, ground: self.ground, stop, keeper };
        let joining = Joining {
            node: &node,
            pool: &self.pool,
            patience: self.settings.join_timeout,
            contacts: &self.settings.join,
        };
        let entered = tokio::select! {
            entered = joining.enter(place.predecessor) => entered,
            Ok(_) = cancelled.wait_for(|cancelled| *cancelled) => Err(StartError::Cancelled),
        };
        match entered {
            Ok(()) => Ok(started),
            Err(error) => {
                started.end().await;
                Err(error)
            }
        }
    }
}

enum Refusal {
    /// Nobody who is in a ring answers.
    Passing(String),
    /// Somebody in a ring cannot admit this node at the moment.
    NotYet(String),
    /// Its place is taken.
    Taken(String),
    /// Somebody will never admit it.
    Lasting(String),
}

struct Joining<'a> {
    node: &'a Node,
    pool: &'a Pool,
    patience: Duration,
    contacts: &'a [Address],
}

impl Joining<'_> {
    /// Enters the ring behind the predecessor, asking for the place again if the ring changes meanwhile.
    async fn enter(&self, predecessor: Option<Peer>) -> Result<(), StartError> {
        let Some(mut predecessor) = predecessor else {
            self.node.event(Event::StartAlone);
            return Ok(());
        };
        let deadline = Instant::now() + self.patience.max(CONNECT_WITHIN);
        loop {
            let mut changes = self.node.watch();
            self.node.event(Event::StartJoin(predecessor.clone()));
            loop {
                let remaining = deadline.saturating_duration_since(Instant::now());
                match tokio::time::timeout(remaining, changes.recv()).await {
                    Ok(Ok(Change::Joined)) => return Ok(()),
                    Ok(Ok(Change::JoinFailed)) => break,
                    Ok(_) => {}
                    Err(_) => {
                        return Err(StartError::NoRing("the ring changed too fast to enter it".to_owned()));
                    }
                }
            }
            predecessor = self.place_again(&predecessor, deadline).await?;
        }
    }

    async fn place_again(&self, last: &Peer, deadline: Instant) -> Result<Peer, StartError> {
        let mut pause = BACKOFF.0;
        let me = self.node.me();
        loop {
            if self.node.has_chains() {
                // Its place is its own: only somebody of the ring is to be found.
                let mut contacts = vec![last.address.clone()];
                contacts
                    .extend(self.node.inspect(|ring, _| {
                        ring.known().peers().map(|peer| peer.address).collect::<Vec<_>>()
                    }));
                contacts.extend(self.contacts.iter().filter(|contact| **contact != me.address).cloned());
                if let Some(peer) = nearest_before(self.pool, &contacts, self.node.space(), me.id).await {
                    return Ok(peer);
                }
            }
            for contact in std::iter::once(&last.address).chain(self.contacts) {
                if *contact == me.address || self.node.has_chains() {
                    continue;
                }
                let joiner = Joiner {
                    address: me.address.clone(),
                    placement: Placement::Fixed(me.id),
                    store: 0,
                    incarnation: 0,
                };
                let context = chordata_rpc::within(CONNECT_WITHIN);
                if let Ok(Ok(admission)) = self.pool.client(contact).connect(context, joiner).await {
                    return Ok(admission.predecessor);
                }
            }
            if Instant::now() + pause >= deadline {
                return Err(StartError::NoRing(
                    "the ring changed and did not admit this node again".to_owned(),
                ));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }
}

/// Writes the addresses that the node learns, at the latest a moment after and when it stops; forgets everything when
/// it has left.
async fn keep(
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
    if let Err(error) = data.save_known(&peers) {
        warn!(%error, "known addresses are not saved");
    }
}
