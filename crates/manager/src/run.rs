//! The shell around the book: takes commands, carries out one after the other, keeps the book before every step.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chordata_protocol::Replication;
use chordata_rpc::kind::{ForClients, ForManager, ForRing};
use chordata_rpc::manager::{Command, Manager, Progress, Refused, Report};
use chordata_rpc::net;
use chordata_rpc::preamble::Service;
use chordata_rpc::{Credentials, Handlers, Limits, Net, Secret, Session, TcpNet};
use futures::future::BoxFuture;
use tarpc::context::Context;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::book::{Book, Step};
use crate::disk::{DiskError, Shelf};
use crate::errands::World;

/// Commands that wait for their turn.
const WAITING_MAX: usize = 64;
/// Outcomes that are remembered.
const OUTCOMES_KEPT: usize = 256;
/// How long one question for an outcome is kept waiting.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How often peers that did not answer are tried again.
const SETTLE_EVERY: Duration = Duration::from_secs(2);

/// What a manager can be told when it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where its book is.
    pub data: PathBuf,
    /// The secret that it shares with the peers and whoever commands it.
    pub secret: Option<Secret>,
    /// How rings keep their records.
    pub replication: Replication,
}

/// Why a manager does not run, or not any more.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Mend or move its directory.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Listen elsewhere.
    #[error("{0}")]
    Listen(String),
    /// The operating system gives no randomness.
    #[error("the operating system gives no random bits: {0}")]
    Random(String),
}

/// What became of commands, by number.
struct Outcomes {
    next: u64,
    known: BTreeMap<u64, Option<Result<Report, Refused>>>,
}

struct Shared {
    orders: mpsc::Sender<(u64, Command)>,
    /// What people see while something is being done.
    list: watch::Sender<Report>,
    outcomes: Mutex<Outcomes>,
    changed: watch::Sender<()>,
}

/// Who answers commands.
#[derive(Clone)]
struct Desk(Arc<Shared>);

impl Desk {
    async fn number(&self) -> u64 {
        let mut outcomes = self.0.outcomes.lock().await;
        outcomes.next += 1;
        let number = outcomes.next;
        outcomes.known.insert(number, None);
        while outcomes.known.len() > OUTCOMES_KEPT {
            outcomes.known.pop_first();
        }
        number
    }

    async fn settle(&self, number: u64, outcome: Result<Report, Refused>) {
        if let Some(known) = self.0.outcomes.lock().await.known.get_mut(&number) {
            *known = Some(outcome);
        }
        self.0.changed.send_replace(());
    }
}

impl Manager for Desk {
    async fn order(self, _: Context, command: Command) -> Result<u64, Refused> {
        let number = self.number().await;
        // To look does not wait for anybody.
        if let Command::List = command {
            let list = self.0.list.borrow().clone();
            self.settle(number, Ok(list)).await;
            return Ok(number);
        }
        match self.0.orders.try_send((number, command)) {
            Ok(()) => Ok(number),
            Err(_) => {
                Err(Refused("the manager has too many commands waiting: try again in a moment".to_owned()))
            }
        }
    }

    async fn outcome(self, _: Context, number: u64) -> Progress {
        let mut changed = self.0.changed.subscribe();
        let deadline = Instant::now() + ANSWER_WITHIN;
        loop {
            match self.0.outcomes.lock().await.known.get(&number) {
                None => return Progress::Unknown,
                Some(Some(outcome)) => return Progress::Done(outcome.clone()),
                Some(None) => {}
            }
            if !matches!(tokio::time::timeout_at(deadline, changed.changed()).await, Ok(Ok(()))) {
                return Progress::Working;
            }
        }
    }
}

impl Handlers for Desk {
    fn chordata(&self, session: Session<ForClients>) -> BoxFuture<'static, ()> {
        Box::pin(async move { drop(session) })
    }

    fn ring(&self, session: Session<ForRing>) -> BoxFuture<'static, ()> {
        Box::pin(async move { drop(session) })
    }

    fn manager(&self, session: Session<ForManager>) -> BoxFuture<'static, ()> {
        Box::pin(session.run(Manager::serve(self.clone())))
    }

    fn offered(&self) -> &'static [Service] {
        &[Service::Manager]
    }
}

/// Runs a manager until `told` completes; `ready` is told where it listens.
///
/// # Errors
/// When it cannot listen, or its book cannot be read or kept: nothing is done that is not in the book.
pub async fn run(
    settings: Settings,
    told: impl Future<Output = ()>,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), RunError> {
    let shelf = Shelf::open(&settings.data)?;
    let book = shelf.read()?;
    let listener = TcpNet.listen(settings.listen).await;
    let listener =
        listener.map_err(|error| RunError::Listen(net::listen_failure(settings.listen, &error)))?;
    let listening = listener.local_address().map_err(|error| RunError::Listen(error.to_string()))?;
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| RunError::Random(error.to_string()))?;
    let (orders, waiting) = mpsc::channel(WAITING_MAX);
    let shared = Shared {
        orders,
        list: watch::Sender::new(book.list()),
        // Numbers of an earlier process are not taken for those of this one.
        outcomes: Mutex::new(Outcomes { next: u64::from_le_bytes(seed) >> 1, known: BTreeMap::new() }),
        changed: watch::Sender::new(()),
    };
    let desk = Desk(Arc::new(shared));
    let credentials = Credentials::new(None, settings.secret.clone());
    let serving = tokio::spawn(chordata_rpc::serve(
        listener,
        credentials,
        Limits::default(),
        desk.clone(),
        std::future::pending(),
    ));
    ready(listening);
    let worker = Worker {
        shelf,
        book,
        world: World::new(settings.secret, settings.replication),
        lot: fastrand::Rng::with_seed(u64::from_le_bytes(seed)),
        desk,
    };
    let worked = tokio::select! {
        worked = Box::pin(worker.work(waiting)) => worked.map_err(RunError::from),
        () = told => Ok(()),
    };
    serving.abort();
    worked
}

struct Worker {
    shelf: Shelf,
    book: Book,
    world: World,
    lot: fastrand::Rng,
    desk: Desk,
}

impl Worker {
    async fn work(mut self, mut waiting: mpsc::Receiver<(u64, Command)>) -> Result<(), DiskError> {
        if let Some(step) = self.book.recover() {
            info!("what was left when the manager ended is taken up again");
            if let Err(refused) = self.carry_out(step).await? {
                warn!("{refused}");
            }
        }
        self.keep()?;
        // Not after so long a silence: commands that follow each other would put it off for ever.
        let mut settle_at = Instant::now() + SETTLE_EVERY;
        loop {
            if Instant::now() >= settle_at {
                if let Some(step) = self.book.settle() {
                    // What came of it is in the book.
                    let _ = self.carry_out(step).await?;
                }
                settle_at = Instant::now() + SETTLE_EVERY;
            }
            match tokio::time::timeout_at(settle_at, waiting.recv()).await {
                Ok(Some((number, command))) => {
                    info!("{command:?}");
                    let step = self.book.begin(command, &mut self.lot);
                    let outcome = self.carry_out(step).await?;
                    if let Err(refused) = &outcome {
                        info!("refused: {refused}");
                    }
                    self.desk.settle(number, outcome).await;
                }
                Ok(None) => return Ok(()),
                Err(_) => {}
            }
        }
    }

    async fn carry_out(&mut self, mut step: Step) -> Result<Result<Report, Refused>, DiskError> {
        loop {
            self.keep()?;
            match step {
                Step::Done(outcome) => {
                    let problems = self.book.problems();
                    assert!(problems.is_empty(), "the book is wrong: {problems:?}");
                    return Ok(outcome);
                }
                Step::Do(effect) => {
                    let event = self.world.run(&self.book, effect).await;
                    step = self.book.resume(event, &mut self.lot);
                }
            }
        }
    }

    fn keep(&self) -> Result<(), DiskError> {
        self.desk.0.list.send_replace(self.book.list());
        self.shelf.keep(&self.book)
    }
}
