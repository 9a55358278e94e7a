//! Eventual mode on a real node: the state machine of `protocol` with the engine, the network and the ring.
//!
//! Everything of a node changes under its one lock: an event goes in, its effects are begun before the lock is let go.
//! What takes time (letters to other stores, the disk) comes back as an event.
//!
//! Who is in the ring, with which store, is looked up by [`members`]; what nodes write to each other is in [`post`].

mod data;
mod effects;
mod index;
mod looks;
mod members;
mod notes;
mod post;
mod requests;

use std::collections::{BTreeMap, BTreeSet};

use chordata_protocol::chain::view::Incarnation;
use chordata_protocol::eventual::{
    ClientError, Durability as Answered, Event, Eventual as Machine, Outcome, Remembered, Response, Settings,
    Timer, Token,
};
use chordata_protocol::ring::Caller;
use chordata_protocol::{Durability, Peer, Replication, Space, StoreId, Version};
use chordata_rpc::letter::Hello;
use chordata_rpc::service::Briefing;
use chordata_store::{Engine, StoreError, Ticket};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::node::Node;
use index::Index;
use post::Directory;

/// What a node needs to take part in eventual mode, before it runs.
pub struct Parts {
    /// How the cluster keeps its data.
    pub replication: Replication,
    /// The store.
    pub store: StoreId,
    /// Its life.
    pub incarnation: Incarnation,
    /// What the admitting node said; none: it was not admitted just now.
    pub briefing: Option<Briefing>,
    /// A store whose place this one has taken: it was in memory, and is gone.
    pub former: Option<StoreId>,
    /// For delays.
    pub seed: u64,
    remembered: Remembered,
    places: BTreeMap<StoreId, Peer>,
    index: Index,
}

/// What is found on a node's disk: see [`Parts`].
pub struct Opened {
    remembered: Remembered,
    places: BTreeMap<StoreId, Peer>,
    index: Index,
}

/// Reads what an engine has kept for eventual mode.
///
/// # Errors
/// When a note is damaged, or the store has failed.
pub fn open(engine: &mut dyn Engine, space: Space) -> Result<Opened, StoreError> {
    let (index, damaged) = Index::build(engine, space)?;
    let (remembered, places) = notes::load(engine)?;
    if damaged > 0 {
        tracing::warn!("{damaged} stored records were damaged: they are fetched again from other nodes");
    }
    Ok(Opened { remembered, places, index })
}

impl Opened {
    /// With what else a node needs.
    pub fn parts(
        self,
        replication: Replication,
        store: StoreId,
        incarnation: Incarnation,
        seed: u64,
    ) -> Parts {
        let Opened { remembered, places, index } = self;
        let (briefing, former) = (None, None);
        Parts { replication, store, incarnation, briefing, former, seed, remembered, places, index }
    }
}

/// The part of a node that eventual mode is, under the node's lock.
pub(crate) struct Eventual {
    machine: Machine,
    index: Index,
    directory: Directory,
    incarnation: Incarnation,
    replication: Replication,
    forgotten: BTreeSet<StoreId>,
    /// The highest version that the admitting node has seen, until the first members are known.
    seen: Option<Version>,
    /// It leaves the ring: it takes no requests any more, and gives away what it has.
    leaving: bool,
    /// It has left and given everything away: it takes nothing any more.
    closed: bool,
    /// And the others know.
    gone: bool,
    /// Another node that has the same store.
    double: Option<Peer>,
    /// Another node has this one's place, and keeps it.
    displaced: bool,
    /// As it was told last: see [`Machine::is_swept`] and [`Machine::is_drained`].
    given: (bool, bool),
    next_caller: u64,
    /// Clients' requests that wait.
    replies: BTreeMap<Caller, oneshot::Sender<Result<Outcome, ClientError>>>,
    /// Other nodes' letters that wait.
    answers: BTreeMap<Caller, oneshot::Sender<Response>>,
    /// What waits for the disk.
    barriers: Vec<(Ticket, Token)>,
    timers: BTreeMap<Timer, AbortHandle>,
}

impl Eventual {
    pub(crate) fn new(parts: Parts) -> Eventual {
        let Parts { replication, store, incarnation, briefing, former, seed, remembered, places, index } =
            parts;
        let settings = Settings {
            space: index.space,
            durability: match replication.durability {
                Durability::Sync => Answered::Sync,
                Durability::Memory | Durability::Interval => Answered::Stored,
            },
            ..Settings::default()
        };
        let (mut forgotten, seen) = match briefing {
            Some(Briefing { forgotten, seen }) => (forgotten, Some(seen)),
            None => (BTreeSet::new(), None),
        };
        forgotten.extend(former);
        Eventual {
            machine: Machine::new(settings, store, seed, remembered),
            index,
            directory: Directory::new(places),
            incarnation,
            replication,
            forgotten,
            seen,
            leaving: false,
            closed: false,
            gone: false,
            double: None,
            displaced: false,
            given: (false, false),
            next_caller: 0,
            replies: BTreeMap::new(),
            answers: BTreeMap::new(),
            barriers: Vec::new(),
            timers: BTreeMap::new(),
        }
    }

    fn caller(&mut self) -> Caller {
        self.next_caller += 1;
        Caller(self.next_caller)
    }

    fn store(&self) -> StoreId {
        self.machine.me()
    }

    /// Was it forgotten, though it did not leave?
    pub(crate) fn is_barred(&self) -> bool {
        self.machine.is_barred() && !self.leaving
    }

    /// Another node that has the same store: one of the two must not be.
    pub(crate) fn double(&self) -> Option<Peer> {
        self.double.clone()
    }

    /// Another node has the same place: the one with the larger store moves. What is in memory only cannot move with it.
    fn met_at_own_place(&mut self, other: StoreId) {
        if other < self.store() && self.replication.durability != Durability::Memory {
            self.displaced = true;
        }
    }

    /// Must it ask for another place?
    pub(crate) fn is_displaced(&self) -> bool {
        self.displaced
    }

    /// May a store with this name, or one in its place, not come back?
    pub(crate) fn has_forgotten(&self, store: StoreId) -> bool {
        // What was in memory comes back as another store.
        self.replication.durability != Durability::Memory && self.machine.stores().forgotten.contains(&store)
    }

    /// Has it given everything away, and told others so?
    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    /// What a node must know that this one admits.
    pub(crate) fn briefing(&self) -> Briefing {
        Briefing { forgotten: self.machine.stores().forgotten.clone(), seen: self.machine.highest() }
    }

    pub(crate) fn stop(&mut self) {
        for timer in std::mem::take(&mut self.timers).into_values() {
            timer.abort();
        }
        self.replies.clear();
        self.answers.clear();
    }
}

impl Node {
    /// Is the data kept in eventual mode?
    pub(crate) fn is_eventual(&self) -> bool {
        self.cluster().consistency() == Some(chordata_protocol::Consistency::Eventual)
    }

    /// Gives the machine an event and begins its effects.
    pub(crate) fn eventual_event(&self, event: Event) {
        self.with_eventual(|part, engine| self.carry_eventual(part, engine, event));
    }

    /// Everything up to this ticket is on disk.
    pub(crate) fn eventual_durable(&self, ticket: Ticket) {
        self.with_eventual(|part, engine| {
            let waiting = std::mem::take(&mut part.barriers);
            let (over, left): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(upto, _)| *upto <= ticket);
            part.barriers = left;
            for (_, token) in over {
                self.carry_eventual(part, engine, Event::Persisted { token });
            }
        });
    }

    fn hello_of(&self, part: &Eventual) -> Hello {
        Hello { store: part.store(), incarnation: part.incarnation, clock: self.clock(), place: self.me().id }
    }
}
