//! The task that goes through the life of a server: on standby, on its way into a ring, in it, and out again.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use chordata_protocol::{Address, Peer};
use chordata_rpc::service::{ClusterId, Error};
use chordata_rpc::standby::JoinWish;
use chordata_rpc::{Credentials, Net};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::lobby::Lobby;
use super::wish::{self, LastRing};
use super::{Order, Seat, Shared};
use crate::announce::announce;
use crate::identity::Identity;
use crate::settings::Resolved;
use crate::start::{self, Ending, Ground, StartError, Started, Way};
use crate::tables::Tables;

/// How long a node that has left still answers.
const FAREWELL: Duration = Duration::from_millis(500);
/// Before a member whose entry failed tries again.
const PAUSE: Duration = Duration::from_millis(500);
/// Orders that wait.
const ORDERS_MAX: usize = 16;

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
    /// A store that its ring does not want back.
    outcast: Option<u128>,
    last: Option<LastRing>,
}

/// Where to go next.
enum Next {
    Standby,
    Ring(Box<Entry>),
}

/// An attempt to get into a ring.
struct Entry {
    settings: Resolved,
    way: Way,
    /// Who is told what came of it.
    answer: Option<oneshot::Sender<Result<Peer, Error>>>,
    /// Is it the first of this process?
    first: bool,
    /// How long it waits before it begins.
    after: Duration,
}

impl Entry {
    fn new(settings: Resolved, way: Way) -> Entry {
        Entry { settings, way, answer: None, first: false, after: Duration::ZERO }
    }

    /// Tells whoever asked, if somebody did.
    fn tell(&mut self, outcome: Result<Peer, Error>) {
        if let Some(answer) = self.answer.take() {
            // Whoever asked may have gone away.
            let _ = answer.send(outcome);
        }
    }
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
    Ok((seat.clone(), Occupant { settings, ground, orders: waiting, seat, outcast: None, last: None }))
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
            Ok(kept) => {
                let way = Way::as_set(&self.settings, kept);
                Next::Ring(Box::new(Entry { first: true, ..Entry::new(self.settings.clone(), way) }))
            }
            Err(problem) => return Over::NotStarted(problem.into()),
        };
        loop {
            next = match next {
                Next::Standby => {
                    self.stands_by();
                    let lobby = Credentials::new(None, self.settings.secret.clone());
                    self.ground.reception.open(lobby, Lobby(self.seat.clone())).await;
                    let http = self.seat.http_at(&self.ground.me);
                    tell(News::Standby { me: &self.ground.me, http: http.as_deref() });
                    tokio::select! {
                        next = self.wait_for_order() => next,
                        () = &mut told => return Over::Told,
                    }
                }
                Next::Ring(mut entry) => {
                    let before = self.store();
                    let entered = tokio::select! {
                        entered = Box::pin(self.enter(&entry)) => entered,
                        () = &mut told => return Over::Told,
                    };
                    match entered {
                        Ok(started) => {
                            let me = started.node.me().clone();
                            if let Some(http) = self.seat.http_at(&me.address) {
                                started.node.answers_http_at(http);
                            }
                            self.seat.stands(false, Some(started.node.cluster().cluster));
                            self.seat.shared.node.send_replace(Some(started.node.clone()));
                            let http = self.seat.http_at(&me.address);
                            tell(News::Ready { me: &me, http: http.as_deref() });
                            entry.tell(Ok(me));
                            match Box::pin(self.stay(started, entry.settings, told.as_mut())).await {
                                Ok(next) => next,
                                Err(over) => return over,
                            }
                        }
                        Err(problem) if !self.settings.standby || (entry.first && !is_no_ring(&problem)) => {
                            self.ground.reception.close().await;
                            return Over::NotStarted(problem);
                        }
                        Err(problem) => self.did_not_enter(&problem, *entry, before),
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
                Some(Order::Release(cluster, answer)) => {
                    let released = self.release_kept(cluster);
                    let _ = answer.send(released);
                }
                Some(Order::Enter(wish, answer)) => match self.way(wish) {
                    Ok((settings, way)) => {
                        return Next::Ring(Box::new(Entry {
                            answer: Some(answer),
                            ..Entry::new(settings, way)
                        }));
                    }
                    Err(error) => drop(answer.send(Err(error))),
                },
                None => std::future::pending().await,
            }
        }
    }

    /// Erases the store of a server on standby, if it is of that cluster.
    fn release_kept(&self, cluster: Option<ClusterId>) -> Result<(), Error> {
        match self.kept()? {
            Some(kept) if cluster != Some(kept.cluster.cluster) => {
                let me = Peer::new(kept.id, self.ground.me.clone());
                Err(Error::AlreadyMember(me, kept.cluster.cluster))
            }
            Some(_) | None => {
                self.erase()?;
                self.stands_by();
                Ok(())
            }
        }
    }

    fn way(&self, wish: JoinWish) -> Result<(Resolved, Way), Error> {
        let kept = self.kept()?.filter(|kept| self.outcast != Some(kept.store));
        wish::way(&self.settings, wish, kept, self.last.as_ref())
    }

    /// Into a ring, unless it is released meanwhile.
    async fn enter(&mut self, entry: &Entry) -> Result<Started, StartError> {
        let target = entry.way.cluster(&entry.settings);
        self.seat.stands(true, target);
        let before = self.kept();
        let (cancel, mut cancelled) = watch::channel(false);
        let (ground, settings, way) = (self.ground.clone(), entry.settings.clone(), entry.way.clone());
        let (seat, after) = (self.seat.clone(), entry.after);
        let mut starting = Box::pin(async move {
            // An error: nobody could give it up any more.
            let _ = tokio::time::timeout(after, cancelled.wait_for(|cancelled| *cancelled)).await;
            start::begin(&ground, settings, way, Some(seat), cancelled).await
        });
        let mut released = Vec::new();
        let started = loop {
            tokio::select! {
                started = &mut starting => break started,
                Some(order) = self.orders.recv() => match order {
                    Order::Release(cluster, answer) if cluster == target => {
                        cancel.send_replace(true);
                        released.push(answer);
                    }
                    Order::Release(_, answer) => {
                        let into = target.map_or("a ring".to_owned(), |target| format!("the cluster {target}"));
                        let reason = format!("this server is on its way into {into}, which was not meant");
                        let _ = answer.send(Err(Error::Unavailable(reason)));
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
        // What it had of another ring is still there, unless it got as far as to have a place in this one.
        // What cannot be read may be of another ring as well.
        let erased = before.and_then(|before| {
            let foreign = before.filter(|kept| Some(kept.cluster.cluster) != target);
            let is_there =
                self.kept()?.is_some_and(|kept| foreign.is_some_and(|foreign| kept.store == foreign.store));
            if is_there { Ok(()) } else { self.erase() }
        });
        self.stands_by();
        for answer in released {
            let _ = answer.send(erased.clone());
        }
        Err(StartError::Cancelled)
    }

    /// What becomes of an attempt that failed. `before`: the store that was there when it began.
    fn did_not_enter(&mut self, problem: &StartError, mut entry: Entry, before: Option<u128>) -> Next {
        warn!("not in a ring: {problem}");
        self.seat.tell(&problem.to_string());
        let kept = match self.kept() {
            Ok(kept) => kept,
            Err(error) => {
                self.stands_by();
                entry.tell(Err(error));
                return Next::Standby;
            }
        };
        // It came back by itself, as a member does.
        let returns = entry.answer.is_none() && matches!(entry.way, Way::Back { .. });
        let is_new = kept.as_ref().is_some_and(|kept| before != Some(kept.store));
        match (problem, kept) {
            (StartError::Forgotten(_), Some(kept)) => {
                self.outcast = Some(kept.store);
                self.last = self.known_to(&kept);
                if entry.answer.is_some() && !entry.settings.join.is_empty() {
                    // It was told to be there: as a new node it may.
                    entry.way = Way::Ask(entry.settings.join.clone());
                    return Next::Ring(Box::new(entry));
                }
                self.stands_by();
                entry.tell(Err(refused(problem)));
            }
            // It has kept nothing for that ring yet: the only copy of a key comes once it is in.
            (_, Some(kept)) if is_new && kept.cluster.replication.is_none() => {
                let erased = self.erase();
                self.stands_by();
                entry.tell(Err(erased.err().unwrap_or_else(|| refused(problem))));
            }
            // It is a member, and others may count on what it keeps.
            (StartError::NoRing(_), Some(identity)) if is_new || returns => {
                let reason = format!("{problem}; it has a place in the ring, and goes on trying");
                entry.tell(Err(Error::Unavailable(reason)));
                let settings = Resolved { displaced: false, ..entry.settings };
                // All of its ring may wait for somebody to go on: whoever may do so alone still may.
                let alone = !is_new && matches!(entry.way, Way::Back { alone: true, .. });
                let way = Way::Back { identity, alone };
                return Next::Ring(Box::new(Entry { after: PAUSE, ..Entry::new(settings, way) }));
            }
            _ => {
                self.stands_by();
                entry.tell(Err(refused(problem)));
            }
        }
        Next::Standby
    }

    /// In the ring, until that is over.
    async fn stay(
        &mut self,
        started: Started,
        settings: Resolved,
        mut told: std::pin::Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Next, Over> {
        let (me, cluster) = (started.node.me().clone(), started.node.cluster().cluster);
        let ending = loop {
            tokio::select! {
                ending = started.left() => break ending,
                () = &mut told => {
                    started.stop().await;
                    return Err(Over::Told);
                }
                Some(order) = self.orders.recv() => match order {
                    Order::Enter(wish, answer) => {
                        let is_there = wish.cluster() == Some(cluster);
                        let there = || Error::AlreadyMember(me.clone(), cluster);
                        let _ = answer.send(if is_there { Ok(me.clone()) } else { Err(there()) });
                    }
                    Order::Release(named, answer) if named != Some(cluster) => {
                        let _ = answer.send(Err(Error::AlreadyMember(me.clone(), cluster)));
                    }
                    Order::Release(_, answer) => {
                        info!("released: leaving the ring and erasing what is here");
                        self.leaves(&started);
                        started.end().await;
                        self.seat.tell("it was released");
                        let erased = self.erase();
                        self.stands_by();
                        let _ = answer.send(erased);
                        return Ok(Next::Standby);
                    }
                },
            }
        };
        let last = self.leaves(&started);
        if ending == Ending::Displaced {
            info!("another node has the place {:?}: asking for a new one", me.id);
            started.end().await;
            let kept = match self.ground.identity() {
                Ok(kept) => kept,
                Err(problem) if settings.standby => {
                    error!("{problem}. On standby");
                    self.seat.tell(&problem.to_string());
                    return Ok(Next::Standby);
                }
                Err(problem) => return Err(Over::NotStarted(problem.into())),
            };
            let (settings, way) = wish::elsewhere(settings, kept, last);
            return Ok(Next::Ring(Box::new(Entry::new(settings, way))));
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
        self.outcast = self.store();
        match ending {
            Ending::Departed => {
                info!("{ending}; on standby");
                // A departed store may not come back. An error is said there; it is erased for a new place.
                let _ = self.erase();
            }
            ending => error!("{ending}. On standby"),
        }
        Ok(Next::Standby)
    }

    /// Its part in the ring is about to end.
    fn leaves(&mut self, started: &Started) -> LastRing {
        self.seat.shared.node.send_replace(None);
        let me = &self.ground.me;
        let others = started.node.inspect(|ring, _| ring.known().peers().map(|peer| peer.address).collect());
        let mut last = LastRing { cluster: started.node.cluster().cluster, others };
        last.others.remove(me);
        self.last = Some(last.clone());
        last
    }

    /// The ring of this store, as its disk knows it.
    fn known_to(&self, kept: &Identity) -> Option<LastRing> {
        let others = self.ground.known(kept).ok()?;
        let others = others.into_iter().map(|peer| peer.address).filter(|address| *address != self.ground.me);
        Some(LastRing { cluster: kept.cluster.cluster, others: others.collect() })
    }

    /// It is in no ring and on its way into none.
    fn stands_by(&self) {
        let kept = self.kept().ok().flatten();
        self.seat.stands(false, kept.map(|kept| kept.cluster.cluster));
    }

    /// What is on the disk.
    fn kept(&self) -> Result<Option<Identity>, Error> {
        self.ground.identity().map_err(|problem| Error::Unavailable(problem.to_string()))
    }

    /// The store on the disk, if there is one that can be read.
    fn store(&self) -> Option<u128> {
        self.kept().ok().flatten().map(|kept| kept.store)
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
    matches!(
        problem,
        StartError::NotAdmitted(_) | StartError::Forgotten(_) | StartError::NoRing(_) | StartError::Cancelled
    )
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
        | StartError::NotAdmitted(_)
        | StartError::Forgotten(_) => Error::NotSupported(problem.to_string()),
    }
}
