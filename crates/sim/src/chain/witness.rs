//! What an observer who sees everything knows: which epochs there were, what their logs are, how far they are
//! committed, and what every key therefore holds.
//!
//! Nothing in the protocol asks it. It is told what nodes store, make durable, answer and begin, and what is agreed on;
//! the [invariants](super::invariants) say what is wrong. Its *model* is the state after exactly the committed writes.
//!
//! # What is lost by design
//!
//! With `memory` and `interval` a range may lose acknowledged writes when everybody who served it ends. Then, and only
//! then, it is reopened with a command that says so ([`Command::Reopen`] with `loss`), which is what a view's losses
//! list. From that moment on the writes of this range from before are not asked for any more: the model takes over what
//! the reopened range holds, and histories of its keys are cut there ([`Witness::lost_at`]). Under `sync` no loss is
//! accepted at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use chordata_protocol::chain::message::{Holding, LogEntry, Mutation};
use chordata_protocol::chain::view::Active;
use chordata_protocol::chain::{Command, Epoch, Incarnation, Sequence, StoreId, View};
use chordata_protocol::replication::Durability;
use chordata_protocol::{Id, Key, Outcome, Range, Record, Time, Version};
use chordata_store::Change;

use super::invariants::{Found, committed, content, endings, lost, once, one_epoch, prefix};
use super::table::Table;

/// One life of one store.
pub type Life = (StoreId, Incarnation);

/// What is known of an epoch.
#[derive(Debug)]
pub struct EpochFacts {
    /// Which identifiers.
    pub range: Range,
    /// Where its log begins.
    pub base: Sequence,
    /// Who serves, the head first.
    pub serving: Vec<Life>,
    /// The entries behind the base that anybody has stored.
    pub log: Vec<Arc<LogEntry>>,
    /// How far each life has stored it.
    pub stored: BTreeMap<Life, Sequence>,
    /// How far each life has it on disk.
    pub durable: BTreeMap<Life, Sequence>,
    /// Which lives take no more part.
    pub wedged: Vec<Life>,
    /// How far somebody has seen it committed.
    pub committed: Sequence,
    /// How far it went, once it has ended.
    pub ended: Option<Sequence>,
    /// Did it end with an accepted loss?
    pub lost: bool,
    /// Has anybody served under it?
    pub served: bool,
    /// Has anybody served under a later epoch of an overlapping range?
    pub superseded: bool,
    /// Does the model not know yet what the range holds, since writes were lost before?
    pub unknown: bool,
}

impl EpochFacts {
    /// How far this life has stored it.
    pub fn stored_by(&self, life: &Life) -> Sequence {
        self.stored.get(life).copied().unwrap_or(self.base)
    }

    /// The entry at a sequence.
    pub fn entry(&self, sequence: Sequence) -> Option<&Arc<LogEntry>> {
        let at = sequence.0.checked_sub(self.base.0)?.checked_sub(1)?;
        self.log.get(usize::try_from(at).ok()?)
    }
}

/// What follows an epoch that a command ended, and how far that epoch got.
fn followers(epoch: Epoch, before: &View, after: &View, command: &Command) -> Vec<(Epoch, Sequence)> {
    let fresh = after.ranges.iter().filter(|(epoch, _)| !before.ranges.contains_key(epoch));
    let follows = |(child, active): (&Epoch, &Active)| match command {
        // What it is opened with may be of epochs before the one that ended.
        Command::Reopen { epoch: ended, base, .. } if *ended == epoch => Some((*child, *base)),
        _ => active.from.iter().find(|(parent, _)| *parent == epoch).map(|(_, base)| (*child, *base)),
    };
    fresh.filter_map(follows).collect()
}

/// A value that ended by itself.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The key's place.
    pub id: Id,
    /// The key.
    pub key: Key,
    /// Which version of it.
    pub of: Version,
    /// At which place in the order.
    pub at: Version,
    /// When that was decided.
    pub decided: Time,
    /// When that was seen to be committed.
    pub committed: Time,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Witness {
    /// All epochs there ever were.
    pub epochs: BTreeMap<Epoch, EpochFacts>,
    /// The state after exactly the committed writes.
    pub model: Table,
    /// Which version each named write took, and at which place.
    pub effects: BTreeMap<(u128, u64), (Version, Id)>,
    /// Values that ended by themselves, in the order in which that was committed.
    pub ended: Vec<Ended>,
    /// The true time.
    pub now: Time,
    /// When it was decided that values end.
    decided: BTreeMap<(Epoch, Sequence), Time>,
    losses: Vec<(Time, Range)>,
    durability: Durability,
}

impl Witness {
    /// Knows how the cluster began.
    pub fn new(first: &View) -> Witness {
        let mut witness = Witness {
            epochs: BTreeMap::new(),
            model: Table::default(),
            effects: BTreeMap::new(),
            ended: Vec::new(),
            now: Time::ZERO,
            decided: BTreeMap::new(),
            losses: Vec::new(),
            durability: first.replication.durability,
        };
        witness.note_epochs(first);
        witness
    }

    fn note_epochs(&mut self, view: &View) {
        for (epoch, active) in &view.ranges {
            self.epochs.entry(*epoch).or_insert_with(|| EpochFacts {
                range: active.range,
                base: active.base,
                serving: active.serving().map(|link| (link.store, link.incarnation)).collect(),
                log: Vec::new(),
                stored: BTreeMap::new(),
                durable: BTreeMap::new(),
                wedged: Vec::new(),
                committed: active.base,
                ended: None,
                lost: false,
                served: false,
                superseded: false,
                unknown: false,
            });
        }
    }

    /// Is everything to be on disk before it is answered?
    pub fn is_sync(&self) -> bool {
        self.durability == Durability::Sync
    }

    /// What is promised of what is answered.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// When the range of this identifier lost writes for the first time.
    pub fn lost_at(&self, id: Id) -> Option<Time> {
        self.losses.iter().find(|(_, range)| range.contains(id)).map(|(at, _)| *at)
    }

    /// A command was agreed on.
    ///
    /// # Errors
    /// When it breaks an invariant.
    pub fn agreed(&mut self, now: Time, before: &View, after: &View, command: &Command) -> Found {
        let ended: Vec<Epoch> =
            before.ranges.keys().filter(|epoch| !after.ranges.contains_key(epoch)).copied().collect();
        self.note_epochs(after);
        let loss = matches!(command, Command::Reopen { loss: true, .. });
        for epoch in ended {
            let followers: Vec<(Epoch, Sequence)> = followers(epoch, before, after, command);
            let base = followers.first().map(|(_, base)| *base);
            let base = base.ok_or_else(|| format!("epoch {epoch} ended, and nothing follows it"))?;
            if loss {
                self.range_lost(now, epoch, base)?;
            } else {
                lost::ended(self, epoch, base)?;
                self.commit_upto(epoch, base)?;
            }
            if let Some(facts) = self.epochs.get_mut(&epoch) {
                facts.ended = Some(base);
            }
            for (child, _) in followers {
                let unknown = loss || self.epochs.get(&epoch).is_some_and(|facts| facts.unknown);
                if let Some(facts) = self.epochs.get_mut(&child) {
                    facts.unknown |= unknown;
                }
            }
        }
        if let Command::GiveUp(epoch) = command
            && let Some(active) = after.ranges.get(epoch).filter(|_| after.is_given_up(*epoch))
        {
            // Which of its records nobody can read is not agreed on: of none is it asked what was there.
            self.losses.push((now, active.range));
        }
        if let Command::Activate { .. } = command {
            lost::activated(self, before, after)?;
        }
        Ok(())
    }

    fn range_lost(&mut self, now: Time, epoch: Epoch, base: Sequence) -> Found {
        lost::may_lose(self, epoch)?;
        let Some(facts) = self.epochs.get_mut(&epoch) else { return Ok(()) };
        facts.lost = true;
        facts.committed = facts.committed.max(base);
        let range = facts.range;
        self.losses.push((now, range));
        self.forget(range);
        Ok(())
    }

    fn forget(&mut self, range: Range) {
        self.model.erase(range);
        self.effects.retain(|_, (_, id)| !range.contains(*id));
    }

    /// The model takes over what a reopened range holds.
    pub(super) fn adopt(&mut self, epoch: Epoch, engine: &Table) {
        let Some(facts) = self.epochs.get_mut(&epoch) else { return };
        facts.unknown = false;
        let range = facts.range;
        self.model.erase(range);
        self.model.take(engine, range);
    }

    /// A node has stored entries.
    ///
    /// # Errors
    /// When they break an invariant.
    pub fn stored(&mut self, life: Life, holding: &Holding, entries: &[Arc<LogEntry>]) -> Found {
        prefix::stored(self, life, holding, entries)?;
        let Some(facts) = self.epochs.get_mut(&holding.epoch) else { return Ok(()) };
        for entry in entries {
            if facts.entry(entry.sequence).is_none() {
                facts.log.push(Arc::clone(entry));
                match entry.write().map(|write| &write.mutation) {
                    Some(Mutation::Put(value, expires)) => endings::decided(value, *expires, self.now)?,
                    Some(Mutation::Expire(_)) => {
                        self.decided.insert((holding.epoch, entry.sequence), self.now);
                    }
                    _ => {}
                }
            }
        }
        facts.stored.insert(life, holding.last);
        Ok(())
    }

    /// A node has a log on disk up to there.
    pub fn durable(&mut self, life: Life, epoch: Epoch, upto: Sequence) {
        if let Some(facts) = self.epochs.get_mut(&epoch) {
            facts.durable.insert(life, upto);
        }
    }

    /// A node takes no more part in an epoch.
    pub fn wedged(&mut self, life: Life, epoch: Epoch) {
        if let Some(facts) = self.epochs.get_mut(&epoch) {
            facts.wedged.push(life);
        }
    }

    /// A node begins to serve an epoch with this engine.
    ///
    /// # Errors
    /// When it does not hold exactly what is committed.
    pub fn began_serving(&mut self, epoch: Epoch, engine: &Table) -> Found {
        let Some(facts) = self.epochs.get(&epoch) else {
            return Err(format!("epoch {epoch} is served, and was never agreed on"));
        };
        if facts.unknown {
            self.adopt(epoch, engine);
            return Ok(());
        }
        content::began(self, epoch, engine)
    }

    /// Somebody acts on it that an epoch is committed up to there.
    ///
    /// # Errors
    /// When it is not, or breaks an invariant.
    pub fn seen_committed(&mut self, epoch: Epoch, upto: Sequence) -> Found {
        let Some(facts) = self.epochs.get(&epoch) else {
            return Err(format!("something is committed in epoch {epoch}, which was never agreed on"));
        };
        if facts.lost || upto <= facts.committed {
            return Ok(());
        }
        committed::check(self, epoch, upto)?;
        self.commit_upto(epoch, upto)
    }

    /// The model goes on.
    fn commit_upto(&mut self, epoch: Epoch, upto: Sequence) -> Found {
        let Some(facts) = self.epochs.get_mut(&epoch) else { return Ok(()) };
        let unknown = facts.unknown;
        let mut fresh = Vec::new();
        while facts.committed < upto {
            let next = facts.committed.next();
            let Some(entry) = facts.entry(next).cloned() else {
                return Err(format!(
                    "epoch {epoch} is committed up to {upto:?}, and nobody ever stored {next:?}"
                ));
            };
            facts.committed = next;
            fresh.push(entry);
        }
        for entry in fresh {
            let Some(write) = entry.write() else { continue };
            let at = Version { epoch: epoch.0, sequence: entry.sequence.0 };
            once::committed(&mut self.effects, write, at)?;
            let change = match &write.mutation {
                Mutation::Put(value, expires) => {
                    let record = Record { version: at, value: value.clone(), expires: *expires };
                    Change::Put(write.id, write.key.clone(), record)
                }
                Mutation::Expire(of) => {
                    let decided = self.decided.get(&(epoch, entry.sequence)).copied().unwrap_or(self.now);
                    if !unknown {
                        endings::ended(&self.model, write, *of, decided)?;
                    }
                    let (id, key) = (write.id, write.key.clone());
                    self.ended.push(Ended { id, key, of: *of, at, decided, committed: self.now });
                    Change::Remove(write.id, write.key.clone())
                }
                Mutation::Remove => Change::Remove(write.id, write.key.clone()),
                Mutation::Nothing => continue,
            };
            self.model.apply(vec![change]);
        }
        Ok(())
    }

    /// A node tells a client that its write is done.
    ///
    /// # Errors
    /// When it is not, or another one, or in an epoch that was over without it.
    pub fn acknowledges(&mut self, at: Version, name: Option<(u128, u64)>, outcome: Outcome) -> Found {
        let (epoch, sequence) = (Epoch(at.epoch), Sequence(at.sequence));
        let Some(facts) = self.epochs.get(&epoch) else {
            return Err(format!("a write is acknowledged at {at}, in an epoch that was never agreed on"));
        };
        if facts.lost {
            return Ok(());
        }
        // What the end of the epoch settled may be told later.
        if facts.ended.is_none_or(|end| sequence > end) {
            one_epoch::serves(self, epoch)?;
        }
        self.seen_committed(epoch, sequence)?;
        let facts = self.epochs.get(&epoch);
        let Some(write) = facts.and_then(|facts| facts.entry(sequence)).and_then(|entry| entry.write())
        else {
            return Err(format!("a write is acknowledged at {at}, where there is none"));
        };
        once::told(write, at, name, outcome)
    }
}
