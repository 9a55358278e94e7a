//! One node's replica of one range in one epoch: the log, what is committed of it, and who waits for that.
//!
//! Chain replication (van Renesse and Schneider, OSDI 2004). The head gives every write the next sequence; each
//! replica takes a write only if it is the next one, stores it, and passes it on; the last *serving* replica commits
//! it, and the news goes back up. So a serving replica's history is always a prefix of that of the replica above it,
//! and what is committed is at every serving replica.
//!
//! The replica does not hold the data. Its log has the entries that somebody below may still need; `dirty` has the
//! keys that have a write which is not known to be committed. A key that is not dirty may be read from the engine
//! (CRAQ: Terrace and Freedman, USENIX ATC 2009).
//!
//! With [`Durability::Sync`] a write is committed when it is on disk at all serving replicas: frames carry, down the
//! chain, up to where everybody above has it on disk.
//!
//! A *wedged* replica takes no writes and serves no reads for ever; its log can still grow by levelling, and its copy
//! goes over into the next epoch.

mod course;
mod frames;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::context::{Context, Task};
use super::event::{Effect, Reply};
use super::fill::Fill;
use super::message::{Action, Copy, Holding, LogEntry, Mutation, Report, Write, WriteId};
use super::results::Results;
use super::view::{Active, Epoch, Incarnation, Link, Sequence, StoreId};
use crate::expiry::{Ending, Moment};
use crate::id::Id;
use crate::key::{Key, Operation, Outcome, Version};
use crate::message::Range;
use crate::peer::Peer;
use crate::replication::Durability;
use crate::ring::{Caller, Token};
use crate::time::Time;

/// Bytes of a log; a head with more of them takes no writes, newcomers that need older ones begin anew.
const LOG_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A write as a client sends it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WriteRequest {
    /// The key's place.
    pub id: Id,
    /// The key.
    pub key: Key,
    /// What is to be done.
    pub operation: Operation,
    /// Its name, if it may be sent again.
    pub by: Option<WriteId>,
}

/// The replica below.
#[derive(Clone, Debug)]
struct Below {
    peer: Option<Peer>,
    store: StoreId,
    serving: bool,
    acked: Sequence,
    sent: Sequence,
    /// The watermark that was told last.
    told_durable: Sequence,
    in_flight: usize,
    /// Since when something is unacknowledged.
    waiting_since: Option<Time>,
    pause_until: Time,
}

/// The replica above.
#[derive(Clone, Debug)]
struct Above {
    peer: Option<Peer>,
    told: Sequence,
    /// Up to where answers to its frames have told it; they may be lost.
    answered: Sequence,
    in_flight: bool,
    pause_until: Time,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Replica {
    epoch: Epoch,
    range: Range,
    /// A member that was forgotten since has no address any more.
    chain: Vec<(Link, Option<Peer>)>,
    at: usize,
    last: Sequence,
    durable: Sequence,
    durable_above: Sequence,
    committed: Sequence,
    /// Entries behind `oldest`, up to `last`.
    log: VecDeque<Arc<LogEntry>>,
    /// Frames that overtook the one before them, by their first sequence.
    early: BTreeMap<Sequence, Vec<Arc<LogEntry>>>,
    oldest: Sequence,
    dirty: BTreeMap<Key, Sequence>,
    wedged: Option<Epoch>,
    below: Option<Below>,
    above: Option<Above>,
    results: Results,
    writers: VecDeque<(Sequence, Caller, Outcome)>,
    readers: Vec<(Sequence, Caller)>,
    pub(super) fill: Option<Fill>,
    broken: bool,
    /// Keys whose records cannot be read.
    damaged: BTreeSet<(Id, Key)>,
    /// If nobody else serves: they are to be removed, it is accepted that they are lost.
    gives_up: bool,
    leveling: bool,
    /// At the head: the look for what is due to end that is under way, and how far the ones before it got.
    looking: Option<Token>,
    looked_upto: Option<Ending>,
    /// Under `sync`: what says when it is on disk that this epoch is held; none: it is.
    holding: Option<Token>,
    log_bytes: usize,
}

/// What was found to be due.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) token: Token,
    pub(super) wall: Moment,
    pub(super) due: Vec<(Ending, Version)>,
    pub(super) upto: Option<Ending>,
}

/// From where a replica begins.
#[derive(Clone, Debug)]
pub(super) struct Begin {
    pub(super) base: Sequence,
    pub(super) results: Results,
    /// What is to be filled; none: the copy is complete.
    pub(super) fill: Option<Fill>,
    /// It was to serve, and has not what it should have.
    pub(super) broken: bool,
    /// What says when it is on disk that this epoch is held.
    pub(super) holding: Option<Token>,
}

impl Replica {
    /// This node's replica in an active range; none if it is not in the chain.
    pub(super) fn new(
        epoch: Epoch,
        active: &Active,
        me: (StoreId, Incarnation),
        peers: impl Fn(StoreId) -> Option<Peer>,
        begin: Begin,
        now: Time,
    ) -> Option<Replica> {
        let chain: Vec<(Link, Option<Peer>)> =
            active.chain.iter().map(|link| (*link, peers(link.store))).collect();
        let at = chain.iter().position(|(link, _)| link.is(me.0, me.1))?;
        let Begin { base, results, fill, broken, holding } = begin;
        let below = chain.get(at + 1).map(|(link, peer)| Below {
            peer: peer.clone(),
            store: link.store,
            serving: link.serving,
            acked: base,
            sent: base,
            told_durable: base,
            in_flight: 0,
            waiting_since: None,
            pause_until: now,
        });
        let above = at.checked_sub(1).and_then(|above| chain.get(above)).map(|(_, peer)| Above {
            peer: peer.clone(),
            told: base,
            answered: base,
            in_flight: false,
            pause_until: now,
        });
        Some(Replica {
            epoch,
            range: active.range,
            at,
            last: base,
            durable: base,
            durable_above: base,
            committed: base,
            log: VecDeque::new(),
            early: BTreeMap::new(),
            oldest: base,
            dirty: BTreeMap::new(),
            wedged: None,
            below,
            above,
            results,
            writers: VecDeque::new(),
            readers: Vec::new(),
            fill,
            broken,
            damaged: BTreeSet::new(),
            gives_up: false,
            leveling: false,
            looking: None,
            looked_upto: None,
            holding,
            log_bytes: 0,
            chain,
        })
    }

    // Getters.

    /// Its epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Which identifiers.
    pub fn range(&self) -> Range {
        self.range
    }

    /// Its chain: links with their addresses, the head first.
    pub fn chain(&self) -> &[(Link, Option<Peer>)] {
        &self.chain
    }

    /// Does it have everything, and so answer?
    pub fn is_serving(&self) -> bool {
        self.chain[self.at].0.serving && !self.broken
    }

    /// Does it order the writes?
    pub fn is_head(&self) -> bool {
        self.is_serving() && self.at == 0
    }

    /// Does it commit the writes?
    pub fn is_tail(&self) -> bool {
        self.is_serving() && self.below.as_ref().is_none_or(|below| !below.serving)
    }

    /// The end of its log.
    pub fn last(&self) -> Sequence {
        self.last
    }

    /// Known to be committed up to here.
    pub fn committed(&self) -> Sequence {
        self.committed
    }

    /// Does it take and answer nothing any more?
    pub fn is_wedged(&self) -> bool {
        self.wedged.is_some()
    }

    /// Keys with a write that is not known to be committed.
    pub fn dirty(&self) -> usize {
        self.dirty.len()
    }

    /// Is the key one of them?
    pub fn is_dirty(&self, key: &Key) -> bool {
        self.dirty.contains_key(key)
    }

    /// The results that it keeps.
    pub fn results(&self) -> &Results {
        &self.results
    }

    /// Who orders the writes.
    pub fn head(&self) -> Option<&Peer> {
        self.chain[0].1.as_ref()
    }

    /// Who commits the writes.
    pub fn tail(&self) -> Option<&Peer> {
        let serving = self.chain.iter().rev().find(|(link, _)| link.serving);
        serving.and_then(|(_, peer)| peer.as_ref())
    }

    /// What is below it, and is silent for longer than that.
    pub(super) fn silent_below(&self, now: Time, limit: Duration) -> Option<StoreId> {
        let below = self.below.as_ref().filter(|_| self.wedged.is_none())?;
        below.waiting_since.filter(|since| now.since(*since) > limit).map(|_| below.store)
    }

    /// What it says to the leader.
    pub(super) fn report(&self) -> Report {
        // How far the log is on disk tells this only of a log that goes farther than nothing.
        let unheld = self.holding.is_some() && self.wedged.is_some() && self.last == Sequence(0);
        let copy = if self.broken {
            Copy::Broken
        } else if self.is_serving() && unheld {
            Copy::Syncing
        } else if self.is_serving() && !self.damaged.is_empty() {
            Copy::Damaged
        } else if self.is_serving() {
            Copy::Serving
        } else if self.fill.as_ref().is_none_or(Fill::is_done) {
            Copy::Synced
        } else {
            Copy::Syncing
        };
        let durable = if self.holding.is_some() { Sequence(0) } else { self.durable };
        Report { epoch: self.epoch, wedged: self.wedged, last: self.last, durable, copy }
    }

    pub(super) fn holding(&self) -> Holding {
        Holding {
            epoch: self.epoch,
            range: self.range,
            complete: self.is_serving() || self.fill.as_ref().is_some_and(Fill::is_complete),
            last: self.last,
            floor: self.results.floor(),
        }
    }

    fn version(&self, sequence: Sequence) -> Version {
        Version { epoch: self.epoch.0, sequence: sequence.0 }
    }

    /// The version up to which an absent key has been absent.
    pub(super) fn as_of(&self) -> Version {
        self.version(if self.is_tail() { self.committed } else { self.last })
    }

    // Writes, at the head.

    /// Is there room for another write?
    pub(super) fn is_full(&self, limit: usize) -> bool {
        if self.log_bytes >= LOG_BYTES_MAX {
            return true;
        }
        let uncommitted = self.last.0.saturating_sub(self.committed.0);
        usize::try_from(uncommitted).is_ok_and(|count| count >= limit)
    }

    /// Decides a write, or finds that it was decided before; its answer comes when it is committed.
    pub(super) fn write(
        &mut self,
        context: &mut Context,
        caller: Caller,
        request: WriteRequest,
        (current, wall): (Option<Version>, Moment),
        leased: bool,
    ) {
        let known = request.by.and_then(|by| self.results.get(by.client, by.sequence)).copied();
        if let Some(kept) = known {
            // Of an earlier epoch: committed before this one began.
            let at = if kept.at.epoch == self.epoch.0 { Sequence(kept.at.sequence) } else { Sequence(0) };
            if at <= self.committed {
                let reply = Reply::Done { outcome: kept.outcome, at: kept.at };
                context.effects.push(Effect::Reply { caller, reply });
            } else {
                let place = self.writers.partition_point(|(sequence, ..)| *sequence <= at);
                self.writers.insert(place, (at, caller, kept.outcome));
            }
            return;
        }
        let sequence = self.last.next();
        let (mutation, outcome) = decide(request.operation, current, self.version(sequence), wall);
        let WriteRequest { id, key, by, .. } = request;
        let action = Action::Write(Write { id, key, mutation, outcome, by });
        self.writers.push_back((sequence, caller, outcome));
        self.append(context, vec![Arc::new(LogEntry { sequence, action })]);
        self.advance(context, leased);
    }

    /// Asks what is due to end.
    pub(super) fn look_for_due(&mut self, context: &mut Context) {
        let token = context.token(Task::Due { epoch: self.epoch });
        self.looking = Some(token);
        let (range, after) = (self.range, self.looked_upto.clone());
        context.effects.push(Effect::FindDue { token, range, after });
    }

    /// Ends values whose moment has come, by the log: each only if it is the one that was found. No more than leave so
    /// many entries uncommitted.
    pub(super) fn expire(&mut self, context: &mut Context, found: Due, uncommitted_max: usize, leased: bool) {
        let Due { token, wall, due, upto } = found;
        if self.looking != Some(token) {
            return;
        }
        self.looking = None;
        let uncommitted = self.last.0.saturating_sub(self.committed.0);
        let room = usize::try_from(uncommitted).map_or(0, |count| uncommitted_max.saturating_sub(count));
        let room = if self.is_full(uncommitted_max) { 0 } else { room };
        let (mut entries, mut sequence) = (Vec::new(), self.last);
        for (ending, version) in due {
            if entries.len() >= room {
                break;
            }
            self.looked_upto = Some(ending.clone());
            let Ending { at, id, key } = ending;
            if at > wall || !self.range.contains(id) {
                continue;
            }
            let (mutation, outcome) = (Mutation::Expire(version), Outcome::Deleted(Some(version)));
            let write = Write { id, key, mutation, outcome, by: None };
            sequence = sequence.next();
            entries.push(Arc::new(LogEntry { sequence, action: Action::Write(write) }));
        }
        if entries.len() < room {
            self.looked_upto = upto;
        }
        if !entries.is_empty() {
            self.append(context, entries);
            self.advance(context, leased);
        }
    }

    /// Drops results that nobody will ask for any more.
    pub(super) fn raise_floor(&mut self, context: &mut Context, floor: u64, leased: bool) {
        if self.wedged.is_some() || !self.is_head() || floor <= self.results.floor() {
            return;
        }
        let entry = LogEntry { sequence: self.last.next(), action: Action::Floor(floor) };
        self.append(context, vec![Arc::new(entry)]);
        self.advance(context, leased);
    }

    /// Puts a mark into the log; the caller is told when it is committed. Gives its place.
    pub(super) fn mark(
        &mut self,
        context: &mut Context,
        caller: Caller,
        name: u128,
        leased: bool,
    ) -> Sequence {
        let sequence = self.last.next();
        self.readers.push((sequence, caller));
        self.append(context, vec![Arc::new(LogEntry { sequence, action: Action::Mark(name) })]);
        self.advance(context, leased);
        sequence
    }

    /// Takes entries that are the next ones.
    fn append(&mut self, context: &mut Context, entries: Vec<Arc<LogEntry>>) {
        let mut forgotten = Vec::new();
        for entry in &entries {
            assert_eq!(entry.sequence, self.last.next(), "a log has no gaps");
            self.last = entry.sequence;
            match &entry.action {
                Action::Write(write) => {
                    let at = self.version(entry.sequence);
                    forgotten.extend(self.results.record(write, at));
                    if write.mutation != Mutation::Nothing {
                        if !self.damaged.is_empty() {
                            self.damaged.remove(&(write.id, write.key.clone()));
                        }
                        if self.chain[self.at].0.serving {
                            self.dirty.insert(write.key.clone(), entry.sequence);
                        }
                        if let Some(fill) = &mut self.fill {
                            fill.written(&write.key);
                        }
                    }
                }
                Action::Floor(floor) => forgotten.extend(self.results.raise(*floor)),
                Action::Mark(_) => {}
            }
            self.log_bytes += entry.size();
            self.log.push_back(Arc::clone(entry));
        }
        if context.settings.replication.durability != Durability::Sync {
            self.durable = self.last;
        }
        let holding = self.holding();
        context.effects.push(Effect::Store { entries, forgotten, holding });
    }

    /// What was stored before is on disk: was it that this epoch is held?
    pub(super) fn held(&mut self, context: &mut Context, token: Token, leased: bool) {
        if self.holding == Some(token) {
            self.holding = None;
            context.urgent |= self.wedged.is_some();
            self.advance(context, leased);
        }
    }

    /// Entries are on disk up to there.
    pub(super) fn persisted(&mut self, context: &mut Context, sequence: Sequence, leased: bool) {
        self.durable = self.durable.max(sequence.min(self.last));
        if self.wedged.is_some() && self.durable == self.last {
            context.urgent = true;
        }
        self.advance(context, leased);
    }

    // Along the chain.

    /// Does everything that has become possible: commits, answers, sends down, tells above, forgets.
    pub(super) fn advance(&mut self, context: &mut Context, leased: bool) {
        self.advance_but_for_news(context, leased);
        if self.wedged.is_none() {
            self.tell_above(context);
        }
    }

    fn advance_but_for_news(&mut self, context: &mut Context, leased: bool) {
        if self.wedged.is_none() {
            self.commit(leased);
            self.send_down(context);
        }
        self.settle(context);
        self.trim(context.settings.log_max);
    }

    /// The same now and then: what answers have told above is told again, since they may have been lost.
    pub(super) fn advance_in_time(&mut self, context: &mut Context, leased: bool) {
        if let Some(above) = &mut self.above {
            above.answered = above.told;
        }
        self.advance(context, leased);
    }

    fn everywhere_durable(&self) -> Sequence {
        if self.holding.is_some() {
            return Sequence(0);
        }
        if self.at == 0 { self.durable } else { self.durable.min(self.durable_above) }
    }

    /// The last serving replica commits what it has, and under `sync` what all have on disk.
    fn commit(&mut self, leased: bool) {
        if self.is_tail() && leased {
            let upto = self.everywhere_durable().min(self.last);
            self.commit_upto(upto);
        }
    }

    fn commit_upto(&mut self, upto: Sequence) {
        if upto <= self.committed {
            return;
        }
        let from = usize::try_from(self.committed.0.saturating_sub(self.oldest.0)).unwrap_or(usize::MAX);
        for entry in self.log.iter().skip(from).take_while(|entry| entry.sequence <= upto) {
            if let Some(write) = entry.write()
                && self.dirty.get(&write.key) == Some(&entry.sequence)
            {
                self.dirty.remove(&write.key);
            }
        }
        self.committed = upto;
    }

    /// Answers who waited for what is committed now.
    fn settle(&mut self, context: &mut Context) {
        while let Some((sequence, caller, outcome)) = self.writers.front().copied() {
            if sequence > self.committed {
                break;
            }
            self.writers.pop_front();
            let reply = Reply::Done { outcome, at: self.version(sequence) };
            context.effects.push(Effect::Reply { caller, reply });
        }
        let committed = self.committed;
        self.readers.retain(|(sequence, caller)| {
            if *sequence <= committed {
                context.effects.push(Effect::Reply { caller: *caller, reply: Reply::ReadAgain });
            }
            *sequence > committed
        });
    }

    // Reads.

    /// Waits until what the key holds is committed.
    pub(super) fn read_waits(&mut self, caller: Caller, key: &Key) {
        let sequence = self.dirty.get(key).copied().unwrap_or(self.committed);
        self.readers.push((sequence, caller));
    }
}

/// What an operation does to a key that has this version now, when the wall clock shows this.
fn decide(
    operation: Operation,
    current: Option<Version>,
    next: Version,
    wall: Moment,
) -> (Mutation, Outcome) {
    match operation {
        Operation::CompareAndSwap { expected, .. } if expected != current => {
            (Mutation::Nothing, Outcome::Conflict(current))
        }
        Operation::Put { value, ttl } | Operation::CompareAndSwap { value: Some(value), ttl, .. } => {
            (Mutation::Put(value, ttl.map(|ttl| wall + ttl)), Outcome::Written(next))
        }
        Operation::Delete | Operation::CompareAndSwap { value: None, .. } => {
            let mutation = if current.is_some() { Mutation::Remove } else { Mutation::Nothing };
            (mutation, Outcome::Deleted(current))
        }
    }
}
