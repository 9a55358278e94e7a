//! One node's part in the group: the calls.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::error::{InitializeError, RaftError};
use openraft::{Config, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::confirmations::{self, Waiter, confirm_all};
use crate::disk::{Disk, Loaded};
use crate::error::{BootstrapError, ChangeError, ConfirmError, ProposeError, StartError, StepDownError};
use crate::log::LogStore;
use crate::observer::{Leadership, Members, Watched, observe};
use crate::proposals::{self, COMMAND_BYTES_MAX, Proposal, propose_all};
use crate::receiving::Incoming;
use crate::sending::{Connections, Link};
use crate::settings::{Settings, Storage, Timing};
use crate::state::{AnyMachine, Shared, StateMachine};
use crate::types::Raft;
use crate::wire::CHUNK_BYTES_MAX;
use crate::{Machine, NodeId, Transport};

/// A follower that is farther behind gets a snapshot even if the log still has what it lacks.
const LAG_MAX: u64 = 2000;
/// A follower may take so long to install a snapshot, milliseconds.
const INSTALL_TIMEOUT_MS: u64 = 5000;
/// Entries of one message; their bytes are limited as well.
const ENTRIES_MAX: u64 = 256;

/// The part that knows nothing of the machine's types.
pub(crate) struct Core {
    pub(crate) raft: Raft,
    pub(crate) link: Arc<Link>,
    pub(crate) disk: Option<Disk>,
    pub(crate) timing: Timing,
    pub(crate) watched: Watched,
    /// Held while this node takes a group's lineage.
    pub(crate) joining: tokio::sync::Mutex<()>,
    /// Held while this node changes the voters.
    pub(crate) changing: tokio::sync::Mutex<()>,
    pub(crate) incoming: Mutex<Option<Incoming>>,
    /// The log has become large.
    pub(crate) snapshot_due: Arc<Notify>,
    handing_over: AtomicBool,
}

impl Core {
    /// Whether this node is about to hand leadership on; it takes no commands then.
    pub(crate) fn handing_over(&self) -> bool {
        self.handing_over.load(Ordering::Acquire)
    }

    pub(crate) fn set_handing_over(&self, handing_over: bool) {
        self.handing_over.store(handing_over, Ordering::Release);
    }

    fn stop_reason(&self) -> Option<String> {
        self.watched.stopped.borrow().clone()
    }

    async fn stop(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the Raft task did not end well");
        }
        if let Some(disk) = &self.disk {
            disk.close().await;
        }
    }
}

/// Stops the node when the last [`Group`] is gone.
struct StopOnDrop(Arc<Core>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        // Without a runtime nothing of the group runs any more.
        if let Ok(runtime) = Handle::try_current() {
            let core = Arc::clone(&self.0);
            drop(runtime.spawn(async move { core.stop().await }));
        }
    }
}

/// One node's part in the group. Cheap to clone; the node takes part until [`Group::shutdown`], or until the last
/// clone is dropped. A transport that holds a clone of its own group keeps it for ever: shut such a group down.
pub struct Group<M: Machine> {
    core: Arc<Core>,
    machine: Arc<Shared<M>>,
    proposals: mpsc::Sender<Proposal<M::Answer>>,
    confirmations: mpsc::Sender<Waiter>,
    stop: Arc<StopOnDrop>,
}

impl<M: Machine> Clone for Group<M> {
    fn clone(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
            machine: Arc::clone(&self.machine),
            proposals: self.proposals.clone(),
            confirmations: self.confirmations.clone(),
            stop: Arc::clone(&self.stop),
        }
    }
}

impl<M: Machine> Group<M> {
    /// Starts this node's part, in the running tokio runtime, with the Raft state that its storage holds. `machine` is
    /// in its first state; snapshot and log bring it to where it was.
    ///
    /// # Errors
    /// [`StartError`], with nothing left running.
    pub async fn start(
        settings: Settings,
        machine: M,
        transport: impl Transport,
    ) -> Result<Self, StartError> {
        settings.timing.check_order()?;
        let (disk, loaded) = match &settings.storage {
            Storage::Memory => (None, Loaded::default()),
            Storage::Directory(directory) => {
                let (disk, loaded) = Disk::open(Path::new(directory), settings.id).await?;
                (Some(disk), loaded)
            }
        };
        let link = Link::new(settings.id, transport, settings.timing.heartbeat, loaded.lineage);
        let started = Self::start_with(&settings, machine, Arc::new(link), disk.clone(), loaded).await;
        if let (Err(_), Some(disk)) = (&started, &disk) {
            disk.close().await;
        }
        started
    }

    async fn start_with(
        settings: &Settings,
        machine: M,
        link: Arc<Link>,
        disk: Option<Disk>,
        mut loaded: Loaded,
    ) -> Result<Self, StartError> {
        let machine = Arc::new(Shared::new(machine));
        let any = Arc::clone(&machine) as Arc<dyn AnyMachine>;
        let snapshot_due = Arc::new(Notify::new());
        let log = LogStore::new(&mut loaded, disk.clone(), Arc::clone(&snapshot_due));
        let state = StateMachine::new(any, loaded.snapshot, disk.clone()).map_err(StartError::State)?;
        let config = Arc::new(config(settings));
        let raft = Raft::new(settings.id, config, Connections(Arc::clone(&link)), log, state).await;
        let raft = raft.map_err(|fatal| StartError::State(fatal.to_string()))?;
        let core = Arc::new(Core {
            raft,
            link,
            disk,
            timing: settings.timing.clone(),
            watched: Watched::new(),
            joining: tokio::sync::Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            incoming: Mutex::default(),
            snapshot_due,
            handing_over: AtomicBool::new(false),
        });
        let (proposals, proposed) = mpsc::channel(proposals::QUEUE);
        let (confirmations, asked) = mpsc::channel(confirmations::QUEUE);
        tokio::spawn(observe(Arc::clone(&core)));
        tokio::spawn(propose_all(Arc::clone(&core), proposed));
        tokio::spawn(confirm_all(Arc::clone(&core), asked));
        let stop = Arc::new(StopOnDrop(Arc::clone(&core)));
        Ok(Self { core, machine, proposals, confirmations, stop })
    }

    /// Founds a group of which this node, reached by others at `address`, is the only voter, and waits until it leads.
    /// Does nothing if this node is the only voter already.
    ///
    /// # Errors
    /// [`BootstrapError::AlreadyMember`] if this node is or was in a group with others.
    pub async fn bootstrap(&self, address: &str) -> Result<(), BootstrapError> {
        let fatal = |error: &dyn std::fmt::Display| BootstrapError::Fatal(error.to_string());
        let _one_at_a_time = self.core.joining.lock().await;
        if self.core.raft.is_initialized().await.map_err(|error| fatal(&error))? {
            let membership = self.core.membership().await.map_err(BootstrapError::Fatal)?;
            if membership.get_joint_config().as_slice() != [[self.core.link.me].into()] {
                return Err(BootstrapError::AlreadyMember);
            }
        } else {
            let lineage = getrandom::u64()
                .and_then(|high| Ok((u128::from(high) << 64) | u128::from(getrandom::u64()?)));
            let lineage = lineage.map_err(|error| fatal(&error))?;
            self.core.set_lineage(lineage).await.map_err(BootstrapError::Fatal)?;
            let only = BTreeMap::from([(self.core.link.me, address.to_owned())]);
            match self.core.raft.initialize(only).await {
                Ok(()) => {}
                Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
                    return Err(BootstrapError::AlreadyMember);
                }
                Err(error) => return Err(fatal(&error)),
            }
        }
        let mut leadership = self.leader();
        tokio::select! {
            led = leadership.wait_for(|leadership| leadership.is_me) => match led {
                Ok(_) => Ok(()),
                Err(closed) => Err(fatal(&closed)),
            },
            reason = self.stopped() => Err(BootstrapError::Fatal(reason)),
        }
    }

    /// Has the group carry out `command`; answers when it is committed and applied here, with the index of its log
    /// entry (commands that waited together share one). Only the leader takes commands.
    ///
    /// # Errors
    /// [`ProposeError`]: all but `Unknown` and `Fatal` mean that the command is not and will not be carried out. For
    /// a caller that drops the call the outcome is unknown.
    pub async fn propose(&self, command: M::Command) -> Result<(u64, M::Answer), ProposeError> {
        let command =
            postcard::to_stdvec(&command).map_err(|error| ProposeError::Unfit(error.to_string()))?;
        if command.len() > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes: command.len(), limit: COMMAND_BYTES_MAX });
        }
        let (reply, answered) = oneshot::channel();
        self.proposals.try_send(Proposal { command: command.into(), reply }).map_err(
            |error| match error {
                mpsc::error::TrySendError::Full(_) => ProposeError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => ProposeError::Fatal("it was shut down".to_owned()),
            },
        )?;
        match tokio::time::timeout(self.core.timing.propose_timeout, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_dropped)) => {
                Err(self.core.stop_reason().map_or(ProposeError::Unknown, ProposeError::Fatal))
            }
            Err(_late) => Err(ProposeError::Unknown),
        }
    }

    /// Proves that this node leads: a round of a quorum that began after this call answered, and the machine here holds
    /// all that was committed before. Callers share rounds.
    ///
    /// # Errors
    /// [`ConfirmError`]; nothing is proved then.
    pub async fn confirm(&self) -> Result<(), ConfirmError> {
        let (reply, answered) = oneshot::channel();
        let patience_ends = Instant::now() + self.core.timing.confirm_timeout;
        self.confirmations.try_send(Waiter { reply, patience_ends }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ConfirmError::NoQuorum,
            mpsc::error::TrySendError::Closed(_) => ConfirmError::Fatal("it was shut down".to_owned()),
        })?;
        let stopped = || self.core.stop_reason().map_or(ConfirmError::NoQuorum, ConfirmError::Fatal);
        answered.await.unwrap_or_else(|_dropped| Err(stopped()))
    }

    /// Who leads, as far as this node knows.
    #[must_use]
    pub fn leader(&self) -> watch::Receiver<Leadership> {
        self.core.watched.leadership.subscribe()
    }

    /// The members, as far as this node knows.
    #[must_use]
    pub fn members(&self) -> watch::Receiver<Members> {
        self.core.watched.members.subscribe()
    }

    /// The index of the last log entry that was applied here; it changes before proposers are answered.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.machine.applied()
    }

    /// Looks at this node's machine and the index up to which it was applied. Nothing is applied meanwhile: be short.
    /// Linearizable after [`Group::confirm`], else possibly old.
    pub fn read<T>(&self, read: impl FnOnce(&M, u64) -> T) -> T {
        self.machine.read(read)
    }

    /// Answers a message of another member; for the server's handler. Dropping the call leaves nothing half done.
    pub async fn receive(&self, message: Vec<u8>) -> Vec<u8> {
        self.core.receive(&message).await
    }

    /// Makes exactly these the voters, reached at these addresses: adds new ones as learners, waits until they are
    /// near, changes the voters, removes the former ones. Only at the leader. Doing it again, also after an error or
    /// at another leader, completes it; a leader that is not among them ends its leadership when it is done. An address that changed is changed for all members.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn change_voters(&self, voters: &BTreeMap<NodeId, String>) -> Result<(), ChangeError> {
        self.core.change_voters(voters).await
    }

    /// Has this node reach `id` at `address` from now on, although the members' list says otherwise; until the list
    /// changes. So members that all moved find each other; [`Group::change_voters`] then changes the list.
    pub fn tell_address(&self, id: NodeId, address: &str) {
        self.core.link.tell_address(id, address.to_owned());
    }

    /// If this node leads: takes no more commands, falls silent, and waits until another voter leads. That takes an
    /// election (some hundred milliseconds), in which nothing is committed.
    ///
    /// # Errors
    /// [`StepDownError`]; this node then leads on.
    pub async fn step_down(&self) -> Result<(), StepDownError> {
        self.core.step_down().await
    }

    /// Waits until this node takes part no more, by [`Group::shutdown`] or because its disk failed, and says why.
    pub async fn stopped(&self) -> String {
        let mut stopped = self.core.watched.stopped.subscribe();
        match stopped.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(closed) => closed.to_string(),
        }
    }

    /// Stops taking part, and closes the storage: when this returns, it can be opened again. Commands that wait become
    /// unknown.
    pub async fn shutdown(&self) {
        self.core.stop().await;
    }
}

fn config(settings: &Settings) -> Config {
    let milliseconds = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: "chordata".to_owned(),
        heartbeat_interval: milliseconds(settings.timing.heartbeat),
        election_timeout_min: milliseconds(settings.timing.election_min),
        election_timeout_max: milliseconds(settings.timing.election_max),
        install_snapshot_timeout: INSTALL_TIMEOUT_MS,
        max_payload_entries: ENTRIES_MAX,
        replication_lag_threshold: LAG_MAX.max(settings.snapshot_every.saturating_mul(2)),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(settings.snapshot_every),
        snapshot_max_chunk_size: CHUNK_BYTES_MAX as u64,
        max_in_snapshot_log_to_keep: settings.log_kept,
        ..Config::default()
    }
}
