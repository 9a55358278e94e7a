//! One node of a cluster in eventual mode, as a state machine: always answers, always converges.
//!
//! # What it guarantees
//!
//! *No coordinator.* Membership is the ring; the replicas of a key are its owner and the next k-1 distinct members
//! ([`table`]), as the caller computes them from the ring's state. Nodes may see different rings for a while.
//!
//! *One rule* ([`merge`]). What a key holds is a value or a tombstone with a stamp of a hybrid logical clock
//! ([`clock`]); the higher stamp wins, everywhere and always. So copies may come in any order, twice, or late.
//!
//! *Writes* ([`replica`]). The node that a put reaches stores its copy, whether or not it is a replica, and answers
//! when `acks` copies are stored (on disk, where durability is sync). The other copies follow in the background, in
//! batches, with retries. A replica that does not answer gets a hint, kept on disk, and its copies when it returns
//! ([`hints`]). A node that keeps what it is no replica of hands it to all replicas and drops it only when all of them
//! have it on disk ([`handoff`]).
//!
//! *Reads* ([`replica`]) are answered by any replica. Some of them, and those that ask for more replicas, compare all
//! copies; the newest is written back.
//!
//! *Anti-entropy* ([`sync`]). Each replica compares each arc that it shares with another with the [Merkle
//! difference](crate::merkle), periodically and whenever the members change, and both get what they lack. So, when
//! faults have stopped, replicas of every range are equal within 30 s.
//!
//! *Deletes* ([`tombstones`]) leave tombstones, which are dropped only when every store that was ever a member has
//! confirmed having them, absent ones too. So nothing that was deleted comes back. [`Event::Forget`] releases a store
//! that never returns, and bars it.
//!
//! *Times to live* ([`endings`]). The node that stamps a write gives it the moment at which it ends. From then on every replica
//! takes it for a tombstone of the same stamp, by its own clock, and it is collected as all of them are.
//!
//! # How to drive it
//!
//! Call [`Eventual::handle`] with every event and carry out the effects in their order, before the next event. `Store`
//! is done at once; `Persist` is answered when the disk has synced, `Call` always, within the call timeout.
//!
//! # What it rests on
//!
//! A message arrives within [`Settings::message_lifetime`] after it was sent, or never. A store's disk keeps what was
//! persisted. A joining node is told by whoever admits it which stores were forgotten and how high stamps are. Two clusters that never met
//! are not protected from each other's older writes.
//!
//! # Left out on purpose
//!
//! Compare-and-swap is refused: it needs one order of a key's writes. Concurrent writes are not kept side by side: the
//! higher stamp wins and the other is gone.

mod calls;
pub mod clock;
mod endings;
pub mod event;
mod handoff;
mod hints;
mod members;
pub mod merge;
pub mod message;
mod replica;
mod requests;
pub mod settings;
mod sync;
pub mod table;
mod tombstones;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub use clock::{Clock, Tick};
pub use event::{Caller, Change, ClientError, Data, Effect, Event, Outcome, Timer, Token};
pub use merge::Stamped;
pub use message::{Copied, Request, Response, Stores};
pub use settings::{Counters, Durability, Remembered, Settings};
pub use table::{Member, StoreId, Table};

use crate::id::Id;
use crate::key::{Key, Version};
use crate::message::Range;
use crate::time::Time;
use calls::{After, Call};
use handoff::HandOff;
use hints::Peer;
use replica::{Parked, Read, Write};
use sync::Session;
use tombstones::Collector;

/// One node. See the [module](self) on what it guarantees and how to drive it.
#[derive(Clone, Debug)]
pub struct Eventual {
    settings: Settings,
    me: StoreId,
    clock: Clock,
    /// Is a higher bound of the clock on its way to the disk?
    raising_bound: bool,
    table: Option<Table>,
    /// A table with stores that are not on disk as known yet.
    next_table: Option<Table>,
    /// Known stores that are not on disk as such yet.
    unsaved: BTreeSet<StoreId>,
    stores: Stores,
    barred: bool,
    /// Arcs of which this node is known to have what another replica has.
    filled: Vec<Range>,
    parked: VecDeque<Parked>,
    writes: BTreeMap<(Key, Version), Write>,
    reads: BTreeMap<u64, Read>,
    peers: BTreeMap<StoreId, Peer>,
    sessions: BTreeMap<StoreId, Session>,
    handoff: HandOff,
    collector: Collector,
    calls: BTreeMap<Token, Call>,
    persists: BTreeMap<Token, After>,
    next_number: u64,
    random: fastrand::Rng,
    now: Time,
    wall_ms: u64,
    /// What this event has stored: the data shows it only after the event.
    overlay: BTreeMap<Key, Option<Stamped>>,
    effects: Vec<Effect>,
    counters: Counters,
}

impl Eventual {
    /// A node that has not seen its ring yet, with what it finds on its disk.
    pub fn new(settings: Settings, me: StoreId, seed: u64, remembered: Remembered) -> Eventual {
        let Remembered { bound, mut stores, hinted } = remembered;
        let barred = stores.forgotten.contains(&me);
        stores.known.insert(me);
        let peers = hinted.into_iter().map(|store| (store, Peer::with_hints())).collect();
        Eventual {
            clock: Clock::new(me.tag(), bound, settings.clock_ahead, settings.skew),
            settings,
            me,
            raising_bound: false,
            table: None,
            next_table: None,
            unsaved: BTreeSet::new(),
            stores,
            barred,
            filled: Vec::new(),
            parked: VecDeque::new(),
            writes: BTreeMap::new(),
            reads: BTreeMap::new(),
            peers,
            sessions: BTreeMap::new(),
            handoff: HandOff::default(),
            collector: Collector::default(),
            calls: BTreeMap::new(),
            persists: BTreeMap::new(),
            next_number: 0,
            random: fastrand::Rng::with_seed(seed),
            now: Time::ZERO,
            wall_ms: 0,
            overlay: BTreeMap::new(),
            effects: Vec::new(),
            counters: Counters::default(),
        }
    }

    // Getters.

    /// Its store.
    pub fn me(&self) -> StoreId {
        self.me
    }

    /// The ring as it acts on it; none until it has seen one.
    pub fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }

    /// All stores that it knows of.
    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Has the cluster forgotten it?
    pub fn is_barred(&self) -> bool {
        self.barred
    }

    /// The highest stamp that it has seen or given: for nodes that it admits.
    pub fn highest(&self) -> Version {
        self.clock.highest()
    }

    /// What it did so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Absent stores for which tombstones wait: they return, or are to be forgotten.
    pub fn waiting_for(&self) -> BTreeSet<StoreId> {
        let table = self.table.as_ref();
        let missing = self.collector.missing();
        missing.filter(|store| table.is_none_or(|table| !table.has(*store))).collect()
    }

    /// Has everything that it is no replica of, and that was here when its table last changed, got to its replicas? Others
    /// may still bring more.
    pub fn is_swept(&self) -> bool {
        self.handoff.is_swept()
    }

    /// Does it keep copies of all of a range, and has it what the other replicas had when they were compared last? What
    /// such a node does not have, there is not, as far as can be known. See [`sync`].
    pub fn has_all(&self, range: Range) -> bool {
        let Some(table) = &self.table else { return false };
        if !table.kept(self.me).is_some_and(|kept| kept.covers(&range, self.settings.space)) {
            return false;
        }
        // Between two neighbouring ends nothing changes of who keeps what, and of what is compared.
        let arcs = self.filled.iter().flat_map(|arc| [arc.low, arc.high]);
        let ends = arcs.chain(table.members().iter().map(|member| member.id)).chain([range.high]);
        let mut within = ends.filter(|id| range.contains(*id));
        within.all(|id| self.is_filled(id) || self.others(id).is_empty())
    }

    /// Has everything that it is no replica of got to its replicas? A departing node, whose table it is not in, may
    /// stop then.
    pub fn is_drained(&self) -> bool {
        self.handoff.is_drained()
    }

    // The machine.

    /// Takes an event; returns what is to be done, in this order. `now` is monotonic and this node's own; `wall_ms`
    /// is the time of day, in milliseconds, for stamps.
    pub fn handle(&mut self, now: Time, wall_ms: u64, event: Event, data: &dyn Data) -> Vec<Effect> {
        self.now = self.now.max(now);
        self.wall_ms = wall_ms;
        self.overlay.clear();
        self.dispatch(event, data);
        self.raise_bound();
        std::mem::take(&mut self.effects)
    }

    fn dispatch(&mut self, event: Event, data: &dyn Data) {
        match event {
            Event::Members { table, forgotten, seen } => {
                seen.into_iter().for_each(|version| self.clock.observe(version));
                self.members(table, forgotten, data);
            }
            Event::Write { caller, key, operation, acks, seen } => {
                let result = self.write(caller, key, operation, acks, seen, data);
                result.unwrap_or_else(|error| self.done(caller, Err(error)));
            }
            Event::Read { caller, key, acks, seen } => {
                let result = self.read(caller, key, acks, seen, data);
                result.unwrap_or_else(|error| self.done(caller, Err(error)));
            }
            Event::Asked { caller, from, request } => self.asked(caller, from, request, data),
            Event::Reply { token, result } => self.replied(token, result, data),
            Event::Persisted { token } => self.persisted(token, data),
            Event::Timer(_) if self.barred => {}
            Event::Timer(Timer::Sync) => self.start_sessions(data),
            Event::Timer(Timer::HandOff) => self.start_sweep(data),
            Event::Timer(Timer::Collect) => self.tend_tombstones(data),
            Event::Timer(Timer::End) => self.bury_ended(data),
            Event::Timer(Timer::Retry(store)) => self.retry(store, data),
            Event::Forget(store) => self.forget(store, data),
            Event::Damaged => self.damaged(),
        }
    }

    /// The replicas of an identifier that may be given something, this node left out.
    fn others(&self, id: Id) -> Vec<StoreId> {
        let replicas = self.table.as_ref().map(|table| table.replicas(id)).unwrap_or_default();
        let useful =
            replicas.into_iter().filter(|store| *store != self.me && !self.stores.forgotten.contains(store));
        useful.collect()
    }

    fn is_replica(&self, store: StoreId, id: Id) -> bool {
        self.table.as_ref().is_some_and(|table| table.is_replica(store, id))
    }

    // What is stored.

    fn held(&self, key: &Key, data: &dyn Data) -> Option<Stamped> {
        self.overlay.get(key).cloned().unwrap_or_else(|| data.get(key))
    }

    fn version(&self, key: &Key, data: &dyn Data) -> Option<Version> {
        let overlaid = self.overlay.get(key).map(|held| held.as_ref().map(|held| held.version));
        overlaid.unwrap_or_else(|| data.version(key))
    }

    /// Stores those that beat what is here; returns the keys of which a tombstone above that was dropped everywhere.
    fn merge(&mut self, entries: Vec<Copied>, data: &dyn Data) -> Vec<Key> {
        let (mut changes, mut dropped) = (Vec::new(), Vec::new());
        for (key, held) in entries {
            self.clock.observe(held.version);
            if self.collector.is_dropped(&key, held.version) {
                dropped.push(key);
                continue;
            }
            let wins = match self.version(&key, data) {
                Some(mine) if mine == held.version => held.beats(self.held(&key, data).as_ref()),
                mine => mine.is_none_or(|mine| mine < held.version),
            };
            if wins {
                self.overlay.insert(key.clone(), Some(held.clone()));
                self.note_stray(&key);
                changes.push(Change::Put(key, held));
            }
        }
        self.store(changes);
        dropped
    }

    fn erase(&mut self, keys: Vec<Key>) {
        self.overlay.extend(keys.iter().map(|key| (key.clone(), None)));
        self.store(keys.into_iter().map(Change::Erase).collect());
    }

    fn store(&mut self, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.effects.push(Effect::Store(changes));
        }
    }

    /// Keeps the clock's bound on disk ahead of it.
    fn raise_bound(&mut self) {
        if self.raising_bound || self.barred {
            return;
        }
        if let Some(bound) = self.clock.wanted_bound(self.wall_ms) {
            self.raising_bound = true;
            self.store(vec![Change::Bound(bound)]);
            self.persist(After::Bound(bound));
        }
    }

    // Used by all parts.

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn done(&mut self, caller: Caller, result: Result<Outcome, ClientError>) {
        self.effects.push(Effect::Done { caller, result });
    }

    fn set_timer(&mut self, timer: Timer, after: Duration) {
        self.effects.push(Effect::SetTimer { timer, after });
    }

    /// From half to one and a half of the duration.
    fn jitter(&mut self, around: Duration) -> Duration {
        let micros = u64::try_from(around.as_micros()).unwrap_or(u64::MAX / 2);
        Duration::from_micros(micros / 2 + self.random.u64(0..=micros))
    }
}
