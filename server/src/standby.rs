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
//! What is on disk follows: a departed or released store is erased, as it may not come back. A store that was removed or
//! forgotten stays until the server is told to enter a ring again. A process that was ended while it was in a ring goes
//! back into it when it is started again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use chordata_protocol::{Address, Peer, Placement, Space};
use chordata_rpc::kind::{ForClients, ForRing, ForStandby, refusal};
use chordata_rpc::preamble::Service;
use chordata_rpc::service::{Chordata, ChordataRequest, ChordataResponse, Error};
use chordata_rpc::standby::{JoinWish, LoadOrder, Loading, Seated, Standby, Standing};
use chordata_rpc::{Credentials, Handlers, Net, Secret, Session};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tarpc::ServerError;
use tarpc::context::Context;
use tarpc::server::Serve;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::announce::announce;
use crate::node::Node;
use crate::settings::Resolved;
use crate::start::{self, Ending, Ground, StartError, Started};
use crate::tables::Tables;

/// How long a node that has left still answers.
const FAREWELL: Duration = Duration::from_millis(500);
/// Orders that wait.
const ORDERS_MAX: usize = 16;

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
    last: Option<String>,
}

enum Order {
    Enter(JoinWish, oneshot::Sender<Result<Peer, Error>>),
    Release(oneshot::Sender<Result<(), Error>>),
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

    /// Leaves the ring without handing anything over, or gives up entering one: all that this server has is erased.
    ///
    /// # Errors
    /// [`Error::NotSupported`] if it was not started with `--standby`; [`Error::Unavailable`] if the file system refuses.
    pub async fn release(&self) -> Result<(), Error> {
        self.may_be_told()?;
        self.order(Order::Release).await
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

    fn is_entering(&self, entering: bool) {
        self.shared.story.lock().entering = entering;
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

    async fn release(self, _: Context) -> Result<(), Error> {
        Seat::release(&self).await
    }

    async fn load(self, _: Context, order: LoadOrder) -> Result<Loading, Error> {
        let node = self.node().ok_or(Error::OnStandby)?;
        let shared = &self.shared;
        shared.tables.load(order, &shared.tables_in, &node, shared.secret.clone())
    }
}

/// Who answers on standby. A client that came then stays when the server enters a ring: it is answered by the node.
#[derive(Clone)]
struct Lobby(Seat);

impl Serve for Lobby {
    type Req = ChordataRequest;
    type Resp = ChordataResponse;

    async fn serve(
        self,
        context: Context,
        request: ChordataRequest,
    ) -> Result<ChordataResponse, ServerError> {
        match self.0.node() {
            Some(node) => Chordata::serve(node).serve(context, request).await,
            None => Ok(refusal(&request, Error::OnStandby)),
        }
    }
}

impl Handlers for Lobby {
    fn chordata(&self, session: Session<ForClients>) -> BoxFuture<'static, ()> {
        Box::pin(session.run(self.clone()))
    }

    /// Not offered: nodes know their cluster, and this server is of none.
    fn ring(&self, session: Session<ForRing>) -> BoxFuture<'static, ()> {
        Box::pin(async move { drop(session) })
    }

    fn standby(&self, session: Session<ForStandby>) -> BoxFuture<'static, ()> {
        Box::pin(session.run(Standby::serve(self.0.clone())))
    }

    fn offered(&self) -> &'static [Service] {
        &[Service::Client, Service::Standby]
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

/// Why a process has nothing left to do.
pub enum Over {
    /// It was told to stop; its node, if it has one, stays a member of its ring.
    Told,
    /// It did not get into a ring.
    NotStarted(StartError),
    /// Its part in the ring is over, and it was not started with `--standby`.
    Ended(Ending),
}

/// What is said on the way.
#[derive(Clone, Copy)]
pub enum News<'a> {
    /// It is on standby: it can be told to enter a ring.
    Standby {
        /// Where it is reached.
        me: &'a Address,
        /// Where HTTP is answered.
        http: Option<&'a str>,
    },
    /// It is in a ring.
    Ready {
        /// Itself.
        me: &'a Peer,
        /// Where HTTP is answered.
        http: Option<&'a str>,
    },
}

/// Goes through the life of a server.
pub struct Occupant {
    settings: Resolved,
    ground: Arc<Ground>,
    orders: mpsc::Receiver<Order>,
    seat: Seat,
}

/// Where to go next.
enum Next {
    Standby,
    Ring { settings: Box<Resolved>, answer: Option<oneshot::Sender<Result<Peer, Error>>> },
}

/// Takes the port and the directory; what it does with them is up to [`Occupant::run`].
///
/// # Errors
/// When it cannot listen, or its data directory cannot be used.
pub async fn open(settings: Resolved, net: Arc<dyn Net>) -> Result<(Seat, Occupant), StartError> {
    let ground = Ground::open(&settings, net).await?;
    let (orders, waiting) = mpsc::channel(ORDERS_MAX);
    let seat = Seat {
        shared: Arc::new(Shared {
            name: settings.name.clone(),
            address: ground.me.clone(),
            standby: settings.standby,
            keeps_data: ground.keeps_data(),
            started: Instant::now(),
            node: watch::Sender::new(None),
            story: Mutex::default(),
            orders,
            tables: Tables::default(),
            http: OnceLock::new(),
            tables_in: settings.tables.clone(),
            secret: settings.secret.clone(),
        }),
    };
    Ok((seat.clone(), Occupant { settings, ground, orders: waiting, seat }))
}

impl Occupant {
    /// Runs until it is told to stop, or there is nothing left to do.
    pub async fn run(mut self, told: impl Future<Output = ()>, mut tell: impl FnMut(News<'_>)) -> Over {
        tokio::pin!(told);
        // It ends with this function.
        let mut errands = JoinSet::new();
        if let (Some(manager), Some(name)) = (&self.settings.manager, &self.settings.name) {
            let (me, secret) = (self.ground.me.clone(), self.settings.secret.clone());
            errands.spawn(announce(manager.clone(), name.clone(), me, secret));
        }
        let mut next = match self.ground.identity() {
            Ok(None) if self.settings.standby => Next::Standby,
            Ok(_) => Next::Ring { settings: Box::new(self.settings.clone()), answer: None },
            Err(problem) => return Over::NotStarted(problem.into()),
        };
        loop {
            next = match next {
                Next::Standby => {
                    let lobby = Credentials::new(None, self.settings.secret.clone());
                    self.ground.reception.open(lobby, Lobby(self.seat.clone())).await;
                    let http = self.seat.http_at(&self.ground.me);
                    tell(News::Standby { me: &self.ground.me, http: http.as_deref() });
                    tokio::select! {
                        next = self.wait_for_order() => next,
                        () = &mut told => return Over::Told,
                    }
                }
                Next::Ring { settings, answer } => {
                    let returns = settings.standby && answer.is_none();
                    self.seat.is_entering(true);
                    let entered = tokio::select! {
                        entered = Box::pin(self.enter(&settings)) => entered,
                        () = &mut told => return Over::Told,
                    };
                    self.seat.is_entering(false);
                    match entered {
                        Ok(started) => {
                            let me = started.node.me().clone();
                            if let Some(http) = self.seat.http_at(&me.address) {
                                started.node.answers_http_at(http);
                            }
                            self.seat.shared.node.send_replace(Some(started.node.clone()));
                            let http = self.seat.http_at(&me.address);
                            tell(News::Ready { me: &me, http: http.as_deref() });
                            if let Some(answer) = answer {
                                // Whoever asked may have gone away.
                                let _ = answer.send(Ok(me));
                            }
                            match Box::pin(self.stay(started, *settings, told.as_mut())).await {
                                Ok(next) => next,
                                Err(over) => return over,
                            }
                        }
                        Err(problem) if !settings.standby || (returns && !is_no_ring(&problem)) => {
                            self.ground.reception.close().await;
                            return Over::NotStarted(problem);
                        }
                        Err(problem) => self.did_not_enter(&problem, answer),
                    }
                }
            };
        }
    }

    /// What a server that is on standby is told.
    async fn wait_for_order(&mut self) -> Next {
        loop {
            // It has a sender itself: there is always a next one.
            match self.orders.recv().await {
                Some(Order::Release(answer)) => {
                    let _ = answer.send(self.erase());
                }
                Some(Order::Enter(wish, answer)) => {
                    let settings = self.erase().and_then(|()| wished(&self.settings, wish));
                    match settings {
                        Ok(settings) => {
                            return Next::Ring { settings: Box::new(settings), answer: Some(answer) };
                        }
                        Err(error) => drop(answer.send(Err(error))),
                    }
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Into a ring, unless it is released meanwhile.
    async fn enter(&mut self, settings: &Resolved) -> Result<Started, StartError> {
        let (cancel, cancelled) = watch::channel(false);
        let starting = start::begin(&self.ground, settings.clone(), Some(self.seat.clone()), cancelled);
        let mut starting = std::pin::pin!(starting);
        let mut released = Vec::new();
        let started = loop {
            tokio::select! {
                started = &mut starting => break started,
                Some(order) = self.orders.recv() => match order {
                    Order::Release(answer) => {
                        cancel.send_replace(true);
                        released.push(answer);
                    }
                    Order::Enter(_, answer) => {
                        let reason = "this server is on its way into a ring already".to_owned();
                        let _ = answer.send(Err(Error::Unavailable(reason)));
                    }
                },
            }
        };
        if released.is_empty() {
            return started;
        }
        if let Ok(started) = started {
            started.end().await;
        }
        let erased = self.erase();
        for answer in released {
            let _ = answer.send(erased.clone());
        }
        Err(StartError::Cancelled)
    }

    fn did_not_enter(
        &self,
        problem: &StartError,
        answer: Option<oneshot::Sender<Result<Peer, Error>>>,
    ) -> Next {
        warn!("not in a ring: {problem}");
        self.seat.tell(&problem.to_string());
        let Some(answer) = answer else { return Next::Standby };
        // It has never been in that ring: what is left of the attempt is of no use.
        let erased = self.erase();
        let _ = answer.send(Err(erased.err().unwrap_or_else(|| refused(problem))));
        Next::Standby
    }

    /// In the ring, until that is over.
    async fn stay(
        &mut self,
        started: Started,
        settings: Resolved,
        mut told: std::pin::Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Next, Over> {
        let ending = loop {
            tokio::select! {
                ending = started.left() => break ending,
                () = &mut told => {
                    started.stop().await;
                    return Err(Over::Told);
                }
                Some(order) = self.orders.recv() => match order {
                    Order::Enter(wish, answer) => {
                        let (me, cluster) = (started.node.me().clone(), started.node.cluster().cluster);
                        let is_there = wish.cluster() == Some(cluster);
                        let _ = answer.send(if is_there { Ok(me) } else { Err(Error::AlreadyMember(me, cluster)) });
                    }
                    Order::Release(answer) => {
                        info!("released: leaving the ring and erasing what is here");
                        self.seat.shared.node.send_replace(None);
                        started.end().await;
                        self.seat.tell("it was released");
                        let _ = answer.send(self.erase());
                        return Ok(Next::Standby);
                    }
                },
            }
        };
        self.seat.shared.node.send_replace(None);
        if ending == Ending::Displaced {
            info!("another node has the place {:?}: asking for a new one", started.node.me().id);
            started.end().await;
            let settings = Box::new(Resolved { displaced: true, ..settings });
            return Ok(Next::Ring { settings, answer: None });
        }
        self.seat.tell(&ending.to_string());
        if ending == Ending::Departed {
            // Whoever asked for it shall get the answer, and late requests a word where to go.
            tokio::time::sleep(FAREWELL).await;
        }
        if !settings.standby {
            started.stop().await;
            return Err(Over::Ended(ending));
        }
        started.end().await;
        match ending {
            Ending::Departed => {
                info!("{ending}; on standby");
                // A departed store may not come back. An error is said there, and again when it is to enter a ring.
                let _ = self.erase();
            }
            ending => error!("{ending}. On standby"),
        }
        Ok(Next::Standby)
    }

    /// Nothing is left of what it was.
    fn erase(&self) -> Result<(), Error> {
        self.ground.forget().map_err(|problem| {
            error!("{problem}");
            Error::Unavailable(problem.to_string())
        })
    }
}

/// Did a server that came back find no place, though nothing is wrong with it?
fn is_no_ring(problem: &StartError) -> bool {
    matches!(problem, StartError::NotAdmitted(_) | StartError::NoRing(_) | StartError::Cancelled)
}

/// What whoever told it to enter is answered.
fn refused(problem: &StartError) -> Error {
    match problem {
        StartError::NoRing(_) | StartError::Cancelled | StartError::Random(_) => {
            Error::Unavailable(problem.to_string())
        }
        StartError::Settings(_)
        | StartError::Data(_)
        | StartError::Store(_)
        | StartError::Listen(_)
        | StartError::NotAdmitted(_) => Error::NotSupported(problem.to_string()),
    }
}

/// A server's settings, for the ring that it is told to enter.
fn wished(settings: &Resolved, wish: JoinWish) -> Result<Resolved, Error> {
    let mut wished = settings.clone();
    let fixed = |wished: &mut Resolved, placement: Placement| {
        wished.placement = placement;
        wished.id = match placement {
            Placement::Fixed(id) => Some(id),
            Placement::Bisect | Placement::Hash => None,
        };
    };
    if let (Some(set), Some(named)) = (settings.cluster, wish.cluster())
        && set != named
    {
        return Err(Error::NotSupported(format!(
            "this server's settings allow only the cluster {set}, not {named}"
        )));
    }
    match wish {
        JoinWish::AsSet => {}
        JoinWish::Found { settings: common, id } => {
            let bad = |what: String| Error::NotSupported(what);
            wished.ring.space = Space::new(common.bits)
                .ok_or_else(|| bad(format!("a ring has 3 to 160 bits, not {}", common.bits)))?;
            if !(1..=32).contains(&common.successors) {
                return Err(bad(format!(
                    "a list of successors has 1 to 32 entries, not {}",
                    common.successors
                )));
            }
            if let Some(id) = id.filter(|id| !wished.ring.space.contains(*id)) {
                return Err(bad(format!("{id:?} is outside a ring of {} bits", common.bits)));
            }
            wished.ring.successors = usize::from(common.successors);
            (wished.cluster, wished.replication) = (Some(common.cluster), common.replication);
            (wished.lease, wished.bootstrap) = (common.lease, true);
            if let Some(id) = id {
                fixed(&mut wished, Placement::Fixed(id));
            }
        }
        JoinWish::Join { contacts, cluster, placement } => {
            if contacts.is_empty() {
                return Err(Error::NotSupported("nobody to ask for admission was named".to_owned()));
            }
            (wished.join, wished.bootstrap) = (contacts, false);
            wished.cluster = cluster.or(wished.cluster);
            if let Some(placement) = placement {
                fixed(&mut wished, placement);
            }
        }
    }
    Ok(wished)
}
