//! Negative controls: the protocol, the machines or the clients are broken on purpose, each in one way, so that a test
//! can show which check finds it. A run that is not sabotaged does nothing of this.
//!
//! What a sabotage does is done where the world carries out what the state machines want, so that the machines
//! themselves need not know of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use chordata_protocol::chain::message::{Action, LogEntry, Mutation};
use chordata_protocol::chain::{ChainResponse, ChainSettings, Command, Sequence, WriteId};
use chordata_protocol::replication::Lease;
use chordata_protocol::{Ending, Id, Key, Moment, Range, Record, Value};
use chordata_store::Change;

use super::client::{Answer, Use};
use super::table::Table;
use super::world::World;
use crate::history::{Kind, Outcome};

/// Of so many writes one is sabotaged.
const ONE_OF: u64 = 16;

/// What is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// Replicas below the head do not put some of what they store into their engines.
    LosesWrites,
    /// Replicas below the head store other values than they were sent.
    AltersEntries,
    /// Replicas say of everything that they have that it is committed.
    CommitsEarly,
    /// Replicas take everything to be on disk at once.
    SkipsSyncs,
    /// Nodes believe that leases last three times as long.
    StretchesLeases,
    /// Leaders take leases for over that are not.
    IgnoresLeases,
    /// Changes are activated one entry before the end of what was committed.
    CutsLogs,
    /// Ranges are opened again with losses that no durability allows.
    AllowsLosses,
    /// Heads are not told the names of writes.
    DropsNames,
    /// Damaged records are answered and copied as if they were whole.
    ServesDamage,
    /// Heads end whatever a key holds when the moment of something that it held has come.
    EndsAnything,
    /// The clocks by which heads end values are ahead by more than any clock is.
    EndsEarly,
    /// Every replica ends values by itself, in its own engine.
    EndsAnywhere,
    /// Clients are told what they, or others, read first.
    AnswersStale,
    /// Clients are told that writes which were done were refused.
    DeniesWrites,
    /// A copy differs from the others in the end.
    DiffersAtTheEnd,
    /// What was written last is gone after everything was read.
    LosesAtTheEnd,
    /// Nothing goes wrong.
    Peace,
}

/// What a sabotage remembers.
#[derive(Debug, Default)]
pub struct Saboteur {
    sabotage: Option<Sabotage>,
    first_read: BTreeMap<usize, Record>,
    /// The first moment that each key was ever to end at.
    moments: BTreeMap<(Id, Key), Moment>,
}

impl Saboteur {
    /// One who does this, or nothing.
    pub fn new(sabotage: Option<Sabotage>) -> Saboteur {
        Saboteur { sabotage, ..Saboteur::default() }
    }

    /// Is this what is done?
    pub fn does(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    /// What members are told.
    pub(super) fn settings(&self, told: &ChainSettings) -> ChainSettings {
        let times = if self.does(Sabotage::StretchesLeases) { 3 } else { 1 };
        let lease = Lease { lasts: told.lease.lasts * times, ..told.lease };
        ChainSettings { lease, ..told.clone() }
    }

    /// What coordinators are told.
    pub(super) fn leader_settings(&self, told: &ChainSettings) -> ChainSettings {
        let settings = self.settings(told);
        let divided = if self.does(Sabotage::IgnoresLeases) { 4 } else { 1 };
        let lease = Lease { lasts: settings.lease.lasts / divided, ..settings.lease };
        ChainSettings { lease, ..settings }
    }

    /// What becomes of a command that is proposed.
    pub(super) fn command(&self, command: Command) -> Command {
        match command {
            Command::Activate { change, bases, chains } if self.does(Sabotage::CutsLogs) => {
                let before = |base: Sequence| Sequence(base.0.saturating_sub(1));
                Command::Activate { change, bases: bases.into_iter().map(before).collect(), chains }
            }
            Command::Reopen { epoch, store, incarnation, base, with, .. }
                if self.does(Sabotage::AllowsLosses) =>
            {
                Command::Reopen { epoch, store, incarnation, base, with, loss: true }
            }
            command => command,
        }
    }

    /// What becomes of an answer to another node.
    pub(super) fn response(&self, response: ChainResponse) -> ChainResponse {
        match response {
            ChainResponse::Accepted { last, .. } if self.does(Sabotage::CommitsEarly) => {
                ChainResponse::Accepted { last, committed: last }
            }
            response => response,
        }
    }

    /// What becomes of entries that a replica is to store which is not the head.
    pub(super) fn entries(&self, entries: Vec<Arc<LogEntry>>) -> Vec<Arc<LogEntry>> {
        if !self.does(Sabotage::AltersEntries) {
            return entries;
        }
        let altered = |entry: Arc<LogEntry>| {
            let LogEntry { sequence, action } = LogEntry::clone(&entry);
            match action {
                Action::Write(mut write)
                    if is_hit(sequence) && matches!(write.mutation, Mutation::Put(..)) =>
                {
                    write.mutation = Mutation::Put(Value::from("something else"), None);
                    Arc::new(LogEntry { sequence, action: Action::Write(write) })
                }
                _ => entry,
            }
        };
        entries.into_iter().map(altered).collect()
    }

    /// Those of the stored entries that get into the engine of a replica which is not the head.
    pub(super) fn kept(&self, entries: Vec<Arc<LogEntry>>) -> Vec<Arc<LogEntry>> {
        let loses = self.does(Sabotage::LosesWrites);
        entries.into_iter().filter(|entry| !(loses && is_hit(entry.sequence))).collect()
    }

    /// Under which name a head is told of a write.
    pub(super) fn name(&self, by: Option<WriteId>) -> Option<WriteId> {
        by.filter(|_| !self.does(Sabotage::DropsNames))
    }

    /// By which clock a head ends values.
    pub(super) fn wall(&self, wall: Moment) -> Moment {
        if self.does(Sabotage::EndsEarly) { Moment::from_millis(wall.as_millis() + 3000) } else { wall }
    }

    /// What a head is told to be due.
    pub(super) fn due(
        &mut self,
        engine: &Table,
        range: Range,
        wall: Moment,
        endings: Vec<Ending>,
    ) -> Vec<Ending> {
        if !self.does(Sabotage::EndsAnything) {
            return endings;
        }
        let (all, _) = engine.due(Moment::from_millis(u64::MAX), None, usize::MAX);
        for ending in all {
            self.moments.entry((ending.id, ending.key)).or_insert(ending.at);
        }
        let is_due = |((id, _), at): &(&(Id, Key), &Moment)| **at <= wall && range.contains(*id);
        let due: Vec<Ending> = self
            .moments
            .iter()
            .filter(is_due)
            .map(|((id, key), at)| Ending { at: *at, id: *id, key: key.clone() })
            .collect();
        self.moments.retain(|(id, _), at| *at > wall || !range.contains(*id));
        due
    }

    /// What a client is told of a read.
    pub(super) fn answer(&mut self, key: usize, answer: Answer) -> Answer {
        if !self.does(Sabotage::AnswersStale) {
            return answer;
        }
        match answer {
            Answer::Read { record: Some(record), as_of } => {
                let first = self.first_read.entry(key).or_insert(record).clone();
                Answer::Read { record: Some(first), as_of }
            }
            answer => answer,
        }
    }

    /// What a client takes for the outcome of an operation.
    pub(super) fn outcome(&self, kind: &Kind, sequence: u64, known: Outcome) -> Outcome {
        let written = matches!(kind, Kind::Put(_)) && matches!(known, Outcome::Done(_));
        let denies = self.does(Sabotage::DeniesWrites) && sequence.is_multiple_of(ONE_OF);
        if written && denies { Outcome::NotDone } else { known }
    }
}

fn is_hit(sequence: Sequence) -> bool {
    sequence.0.is_multiple_of(ONE_OF)
}

impl World {
    /// A replica ends values by itself, if that is what is sabotaged.
    pub(super) fn sabotage_endings(&mut self, slot: usize) {
        if !self.saboteur.does(Sabotage::EndsAnywhere) {
            return;
        }
        let node = &mut self.nodes[slot];
        let (due, _) = node.disk.seen.engine.due(node.clock.wall(self.now), None, usize::MAX);
        let gone = due.into_iter().map(|ending| Change::Remove(ending.id, ending.key));
        node.disk.seen.engine.apply(gone.collect());
    }

    /// A copy differs from the others, if that is what is sabotaged.
    pub(super) fn sabotage_copy(&mut self) {
        if self.saboteur.does(Sabotage::DiffersAtTheEnd) {
            self.alter_at(Use::Cold, |record| {
                let value = Value::from("something else");
                Some(Record { value, ..record })
            });
        }
    }

    /// The last write of a key is gone, if that is what is sabotaged.
    pub(super) fn sabotage_end(&mut self) {
        if self.saboteur.does(Sabotage::LosesAtTheEnd) {
            self.alter_at(Use::Plain, |_| None);
        }
    }

    /// Changes what the last serving replica of a key has.
    fn alter_at(&mut self, usage: Use, change: impl Fn(Record) -> Option<Record>) {
        let view = Arc::clone(self.group.newest());
        for subject in self.subjects.iter().filter(|subject| subject.usage == usage) {
            let (id, key) = (subject.id, subject.key.clone());
            let tail = view.range_of(id).and_then(|(_, active)| active.tail());
            let node = tail.and_then(|link| self.nodes.iter_mut().find(|node| node.store == link.store));
            let Some(node) = node else { continue };
            let Some(record) = node.disk.seen.engine.get(id, &key) else { continue };
            let change = match change(record) {
                Some(record) => Change::Put(id, key, record),
                None => Change::Remove(id, key),
            };
            node.disk.seen.engine.apply(vec![change]);
            return;
        }
    }
}
