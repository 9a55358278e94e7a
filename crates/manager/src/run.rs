//! The shell around the book: takes commands, carries out one after the other, keeps the book before every step.

use std::collections::{BTreeMap, VecDeque};
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
/// Outcomes of commands that are over which are remembered.
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

/// What became of commands, by number. None: it waits, or is being carried out.
#[derive(Default)]
struct Outcomes {
    next: u64,
    known: BTreeMap<u64, Option<Result<Report, Refused>>>,
    /// Those that are over, in the order in which they ended.
    over: VecDeque<u64>,
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
    /// A desk, and what is ordered there. Numbers are those behind `next`.
    fn open(book: &Book, next: u64) -> (Desk, mpsc::Receiver<(u64, Command)>) {
        let (orders, waiting) = mpsc::channel(WAITING_MAX);
        let shared = Shared {
            orders,
            list: watch::Sender::new(book.list()),
            outcomes: Mutex::new(Outcomes { next, ..Outcomes::default() }),
            changed: watch::Sender::new(()),
        };
        (Desk(Arc::new(shared)), waiting)
    }

    async fn number(&self) -> u64 {
        let mut outcomes = self.0.outcomes.lock().await;
        outcomes.next += 1;
        let number = outcomes.next;
        outcomes.known.insert(number, None);
        number
    }

    /// A command is over. Of those that are, the oldest are forgotten; one that is under way is not.
    async fn settle(&self, number: u64, outcome: Result<Report, Refused>) {
        let mut outcomes = self.0.outcomes.lock().await;
        outcomes.known.insert(number, Some(outcome));
        outcomes.over.push_back(number);
        while outcomes.over.len() > OUTCOMES_KEPT {
            let oldest = outcomes.over.pop_front();
            oldest.map(|oldest| outcomes.known.remove(&oldest));
        }
        drop(outcomes);
        self.0.changed.send_replace(());
    }

    /// A command was not taken: nobody will ask for it.
    async fn drop_number(&self, number: u64) {
        self.0.outcomes.lock().await.known.remove(&number);
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
                self.drop_number(number).await;
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
    // Numbers of an earlier process are not taken for those of this one.
    let (desk, waiting) = Desk::open(&book, u64::from_le_bytes(seed) >> 1);
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    fn context() -> Context {
        tarpc::context::current()
    }

    #[tokio::test]
    async fn what_is_under_way_is_known_however_many_ask_for_other_things_meanwhile() {
        let (desk, mut waiting) = Desk::open(&Book::default(), 7);
        let teardown = Command::TeardownDht { name: "a".to_owned() };
        let long = desk.clone().order(context(), teardown.clone()).await.unwrap();
        let mut lists = Vec::new();
        for _ in 0..3 * OUTCOMES_KEPT {
            lists.push(desk.clone().order(context(), Command::List).await.unwrap());
        }
        let (number, command) = waiting.recv().await.unwrap();
        assert_eq!((number, command), (long, teardown));
        let outcome = Err(Refused("no".to_owned()));
        assert!(desk.0.outcomes.lock().await.known.contains_key(&long), "it is not forgotten");
        desk.settle(long, outcome.clone()).await;
        assert_eq!(desk.clone().outcome(context(), long).await, Progress::Done(outcome));

        // Those that are over are forgotten, the oldest first, and those that were not taken at once.
        assert_eq!(desk.clone().outcome(context(), lists[0]).await, Progress::Unknown);
        let last = *lists.last().unwrap();
        assert!(matches!(desk.clone().outcome(context(), last).await, Progress::Done(Ok(_))));
        while desk.clone().order(context(), Command::TeardownDht { name: "a".to_owned() }).await.is_ok() {}
        assert_eq!(desk.0.outcomes.lock().await.known.len(), OUTCOMES_KEPT + WAITING_MAX);
    }
}
