//! What a node stores, and what of it outlives a crash.
//!
//! Everything that a member stores is visible at once and becomes durable later, in the order in which it was stored:
//! what is durable is always a prefix of what was stored. A crash keeps what was synced and, by lot, some more of what
//! waited, never with a gap. With [`Durability::Memory`] a crash loses all but the view.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use chordata_protocol::chain::message::{Holding, KeptResult, LogEntry, Mutation};
use chordata_protocol::chain::{Epoch, Sequence, View};
use chordata_protocol::key::Entry;
use chordata_protocol::replication::Durability;
use chordata_protocol::ring::Token;
use chordata_protocol::{Id, Key, Range, Record, Space, Version};
use chordata_store::Change;

use super::table::Table;

/// Names a kept result: client and sequence.
pub type ResultId = (u128, u64);

/// What a store holds.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Keys and values.
    pub engine: Table,
    /// Results of writes.
    pub results: BTreeMap<ResultId, KeptResult>,
    /// What is held of which epoch.
    pub holdings: BTreeMap<Epoch, Holding>,
    /// The newest view.
    pub view: Option<Arc<View>>,
}

/// One atomic change of a store.
#[derive(Debug)]
pub enum Step {
    /// Entries of a log, with their results.
    Store {
        /// One behind the other.
        entries: Vec<Arc<LogEntry>>,
        /// Results that need not be kept any more.
        forgotten: Vec<ResultId>,
        /// What is then held of the epoch.
        holding: Holding,
    },
    /// What another replica has.
    Fill(Vec<Entry>),
    /// Results.
    Keep(Vec<(ResultId, KeptResult)>),
    /// Results that are of no use any more.
    Forget(Vec<ResultId>),
    /// What is held, and of which epochs nothing is any more.
    Hold {
        /// Held from now on.
        holding: Option<Holding>,
        /// Void from now on.
        released: Vec<Epoch>,
    },
    /// All keys of a range go, and their results.
    Erase(Range),
    /// A newer view.
    View(Arc<View>),
}

impl Contents {
    fn apply(&mut self, space: Space, step: &Step) {
        match step {
            Step::Store { entries, forgotten, holding } => {
                self.store(entries, holding);
                for result in forgotten {
                    self.results.remove(result);
                }
                self.holdings.insert(holding.epoch, holding.clone());
            }
            Step::Fill(entries) => {
                let change = |(key, record): &Entry| match record {
                    Some(record) => Change::Put(key.id(space), key.clone(), record.clone()),
                    None => Change::Remove(key.id(space), key.clone()),
                };
                self.engine.apply(entries.iter().map(change).collect());
            }
            Step::Keep(results) => self.results.extend(results.iter().copied()),
            Step::Forget(results) => {
                for result in results {
                    self.results.remove(result);
                }
            }
            Step::Hold { holding, released } => {
                for epoch in released {
                    self.holdings.remove(epoch);
                }
                if let Some(holding) = holding {
                    self.holdings.insert(holding.epoch, holding.clone());
                }
            }
            Step::Erase(range) => {
                self.engine.erase(*range);
                self.results.retain(|_, kept| !range.contains(kept.id));
            }
            Step::View(view) => self.view = Some(Arc::clone(view)),
        }
    }

    fn store(&mut self, entries: &[Arc<LogEntry>], holding: &Holding) {
        let mut changes = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some(write) = entry.write() else { continue };
            let at = Version { epoch: holding.epoch.0, sequence: entry.sequence.0 };
            match &write.mutation {
                Mutation::Put(value, expires) => {
                    let record = Record { version: at, value: value.clone(), expires: *expires };
                    changes.push(Change::Put(write.id, write.key.clone(), record));
                }
                Mutation::Remove | Mutation::Expire(_) => {
                    changes.push(Change::Remove(write.id, write.key.clone()));
                }
                Mutation::Nothing => {}
            }
            if let Some(by) = write.by {
                self.results.insert((by.client, by.sequence), KeptResult::new(write, by, at));
            }
        }
        self.engine.apply(changes);
    }
}

/// A store on a simulated disk.
#[derive(Debug)]
pub struct Disk {
    /// What the node sees.
    pub seen: Contents,
    space: Space,
    durability: Durability,
    durable: Contents,
    waiting: VecDeque<Step>,
    /// Steps that were stored, and that are durable, ever.
    stored: u64,
    synced: u64,
    /// Up to which step the sync goes that is under way.
    syncing: Option<u64>,
    /// Who wants to know when everything up to which step is durable.
    asked: VecDeque<(u64, Token)>,
}

impl Disk {
    /// An empty one.
    pub fn new(space: Space, durability: Durability) -> Disk {
        Disk {
            seen: Contents::default(),
            space,
            durability,
            durable: Contents::default(),
            waiting: VecDeque::new(),
            stored: 0,
            synced: 0,
            syncing: None,
            asked: VecDeque::new(),
        }
    }

    /// Stores something. Gives whether a sync must be begun for it.
    pub fn store(&mut self, step: Step) -> bool {
        self.seen.apply(self.space, &step);
        if self.durability == Durability::Memory {
            return false;
        }
        self.waiting.push_back(step);
        self.stored += 1;
        self.begin()
    }

    /// Begins a sync of everything that waits, if there is something and none is under way.
    pub fn begin(&mut self) -> bool {
        let due = self.syncing.is_none() && self.synced < self.stored;
        if due {
            self.syncing = Some(self.stored);
        }
        due
    }

    /// The sync is through. Gives up to where which logs are durable by it.
    pub fn synced(&mut self) -> BTreeMap<Epoch, Sequence> {
        let upto = self.syncing.take().unwrap_or(self.synced);
        // Interval syncs take what is there when they are through; group commits only what was there at their start.
        let upto = if self.durability == Durability::Interval { self.stored } else { upto };
        let mut logs = BTreeMap::new();
        while self.synced < upto {
            if let Some(Step::Store { holding, .. }) = self.waiting.front() {
                logs.insert(holding.epoch, holding.last);
            }
            self.step();
        }
        logs
    }

    /// Somebody wants to know when everything that was stored so far is durable.
    pub fn tell_when_durable(&mut self, token: Token) {
        self.asked.push_back((self.stored, token));
    }

    /// Somebody for whom it is.
    pub fn durable_token(&mut self) -> Option<Token> {
        let due = self.asked.front().is_some_and(|(upto, _)| *upto <= self.synced);
        if due { self.asked.pop_front().map(|(_, token)| token) } else { None }
    }

    fn step(&mut self) {
        if let Some(step) = self.waiting.pop_front() {
            self.durable.apply(self.space, &step);
            self.synced += 1;
        }
    }

    /// Other bytes are in the place of a record that is on disk. False: it is not.
    pub fn damage(&mut self, id: Id, key: &Key) -> bool {
        let (seen, durable) = (self.seen.engine.version(id, key), self.durable.engine.version(id, key));
        let there = durable.is_some() && seen == durable && !self.durable.engine.is_damaged(id, key);
        if there {
            self.seen.engine.damage(id, key);
            self.durable.engine.damage(id, key);
        }
        there
    }

    /// Is there a record that cannot be read?
    pub fn is_damaged(&self) -> bool {
        self.seen.engine.damaged().next().is_some()
    }

    /// The process ends without notice.
    pub fn crash(&mut self, random: &mut fastrand::Rng) {
        if self.durability == Durability::Memory {
            self.seen = Contents { view: self.seen.view.take(), ..Contents::default() };
            return;
        }
        let more = random.usize(0..=self.waiting.len());
        for _ in 0..more {
            self.step();
        }
        self.waiting.clear();
        self.asked.clear();
        self.stored = self.synced;
        self.syncing = None;
        self.seen = self.durable.clone();
    }

    /// The disk is replaced by an empty one.
    pub fn wipe(&mut self) {
        *self = Disk::new(self.space, self.durability);
    }
}
