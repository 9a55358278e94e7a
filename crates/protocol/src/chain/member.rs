//! A node as a member of chains: it keeps the leader informed, holds leases, and has a replica for each of its ranges.
//!
//! Call [`Member::handle`] with every event, and carry out the effects in their order before the next one. Client
//! requests go through [`Member::write`] and [`Member::read`], under the same lock.
//!
//! *Heartbeats.* The node tells the leader in every heartbeat what its replicas are, and is told the newest view, and
//! under which epochs it may serve. A lease counts from when the heartbeat was *sent*. When something has happened
//! that the leader waits for (wedged, levelled, filled) the next heartbeat goes out at once.
//!
//! *Endings.* At every tick a head that may take writes asks its engine which values are due to end, and ends them by the
//! log.
//!
//! *Views.* From one view to the next, replicas end, begin, or are wedged; nothing else decides that. A replica of a
//! new epoch takes over from those that the epoch followed, if this node's log reached their base; otherwise it is
//! filled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::context::{Context, Task};
use super::event::{Change, Effect, Event, Timer};
use super::fill::Fill;
use super::message::{Beat, ChainRequest, ChainResponse, Copy, Heartbeat, Holding, KeptResult, LISTED_MAX};
use super::replica::{Begin, Due, Replica, WriteRequest};
use super::results::{ResultId, Results};
use super::settings::ChainSettings;
use super::view::{Active, Epoch, Incarnation, Reopened, Sequence, StoreId, View};
use crate::expiry::Moment;
use crate::id::Id;
use crate::key::{Key, Version};
use crate::message::{CallError, Candidate, Range, Why};
use crate::peer::Peer;
use crate::replication::Durability;
use crate::ring::{Caller, Token};
use crate::time::Time;

/// Heartbeats that may be out at once to one node.
const HEARTBEATS_MAX: usize = 12;
/// Ends of values that may be uncommitted at once.
const EXPIRING_MAX: usize = 2048;
/// Why a request is refused for the moment.
const CHANGING: &str = "the chain is changing";
const NO_LEASE: &str = "this node has no lease: it does not reach the cluster's majority";
/// Results in one message.
const RESULTS_MAX: usize = 4096;

/// What a store has kept of its earlier lives.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// The newest view that it had.
    pub view: Option<Arc<View>>,
    /// What it holds.
    pub holdings: Vec<Holding>,
    /// Results for retries.
    pub results: Vec<(ResultId, KeptResult)>,
}

/// Why a write is not taken. Nothing was changed, unless it says unknown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Ask these.
    NotHead(Vec<Candidate>),
    /// Ask again later.
    Unavailable(&'static str),
    /// Ask again later, and less.
    Overloaded,
    /// This sending did nothing, but whether an earlier one did cannot be told any more. A write that was not sent
    /// before may be sent again under a new name, as first sent in this view.
    TooOld(u64),
}

/// How a read is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Read {
    /// By the engine, now. If the key is absent, it is so as of this version.
    Here(Version),
    /// Later: [`Reply::ReadAgain`](super::event::Reply::ReadAgain) comes.
    Wait,
    /// By that replica.
    Ask(Peer),
    /// By one of these.
    Elsewhere(Vec<Candidate>),
    /// Not now.
    Unavailable(&'static str),
}

/// Removing what is others', slice by slice.
#[derive(Clone, Debug)]
struct Erasing {
    range: Range,
    step: EraseStep,
    waiting: Option<Token>,
}

#[derive(Clone, Debug)]
enum EraseStep {
    Keys { after: Option<Key> },
    Results { after: Option<ResultId> },
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Member {
    context: Context,
    view: Option<Arc<View>>,
    leader: Option<Peer>,
    contacts: Vec<Peer>,
    next_contact: usize,
    replicas: BTreeMap<Epoch, Replica>,
    leases: BTreeMap<Epoch, Time>,
    /// From earlier lives.
    holdings: BTreeMap<Epoch, Holding>,
    kept: BTreeMap<ResultId, KeptResult>,
    /// Views and when they were first seen here, for the floor of results.
    seen: Vec<(u64, Time)>,
    removed: bool,
    /// Epochs of others whose ranges hold nothing here any more, or are being erased.
    erased: BTreeSet<Epoch>,
    /// Of those, what is still to be erased, a slice at each tick.
    erasing: BTreeMap<Epoch, Erasing>,
    /// The first view that has it as a member, if that is known.
    admitted: Option<u64>,
    /// Heartbeats sent.
    beats: u64,
    /// When a leader last answered one.
    beaten_at: Time,
    random: fastrand::Rng,
}

impl Member {
    /// A node with what its store has kept.
    pub fn new(
        settings: ChainSettings,
        store: StoreId,
        incarnation: Incarnation,
        me: Peer,
        kept: Kept,
        contacts: Vec<Peer>,
        seed: u64,
    ) -> Member {
        Member {
            context: Context::new(settings, store, incarnation, me),
            view: kept.view,
            leader: None,
            contacts,
            next_contact: 0,
            replicas: BTreeMap::new(),
            leases: BTreeMap::new(),
            holdings: kept.holdings.into_iter().map(|holding| (holding.epoch, holding)).collect(),
            kept: kept.results.into_iter().collect(),
            seen: Vec::new(),
            removed: false,
            erased: BTreeSet::new(),
            erasing: BTreeMap::new(),
            admitted: None,
            beats: 0,
            beaten_at: Time::ZERO,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    // Getters.

    /// The newest view that it has.
    pub fn view(&self) -> Option<&Arc<View>> {
        self.view.as_ref()
    }

    /// Its replicas.
    pub fn replicas(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.values()
    }

    /// The replica that holds an identifier.
    pub fn replica_of(&self, id: Id) -> Option<&Replica> {
        self.replicas.values().find(|replica| replica.range().contains(id))
    }

    /// Who leads, as far as it knows.
    pub fn leader(&self) -> Option<&Peer> {
        self.leader.as_ref()
    }

    /// How long no leader with a quorum has answered it; never yet: how long it has been running.
    pub fn unled_for(&self, now: Time) -> Duration {
        now.since(self.beaten_at)
    }

    /// Until when it may serve this epoch.
    pub fn leased_until(&self, epoch: Epoch) -> Option<Time> {
        self.leases.get(&epoch).copied()
    }

    /// Whose member it is.
    pub fn store(&self) -> StoreId {
        self.context.store
    }

    /// In which life.
    pub fn incarnation(&self) -> Incarnation {
        self.context.incarnation
    }

    /// Does its view say that it is no member any more?
    pub fn is_removed(&self) -> bool {
        self.removed
    }

    /// What it keeps from earlier lives.
    pub fn holdings(&self) -> impl Iterator<Item = &Holding> {
        self.holdings.values()
    }

    /// Is it the head of the chain that holds the identifier, as far as it knows? (Whether it may serve now is asked
    /// when it is written to.)
    pub fn is_head_of(&self, id: Id) -> bool {
        self.replica_of(id).is_some_and(Replica::is_head)
    }

    /// Who may know more of an identifier: the chain that its view names.
    pub fn candidates(&self, id: Id, for_write: bool) -> Vec<Candidate> {
        let Some(view) = &self.view else { return Vec::new() };
        let Some((_, active)) = view.range_of(id) else { return Vec::new() };
        let mut stores: Vec<StoreId> = active.serving().map(|link| link.store).collect();
        if !for_write {
            stores.reverse();
        }
        let peers = stores.into_iter().filter_map(|store| view.peer(store));
        let others = peers.filter(|peer| peer.address != self.context.me.address);
        others.map(|peer| Candidate { peer: peer.clone(), why: Why::View }).collect()
    }

    fn is_leased(&self, epoch: Epoch) -> bool {
        self.leases.get(&epoch).is_some_and(|until| self.context.now < *until)
    }

    // Clients.

    /// Takes a write for the key's head, when the wall clock shows `wall`; the key has the version `current` now. With
    /// `Ok` its answer comes, now or later, as an effect.
    pub fn write(
        &mut self,
        now: Time,
        wall: Moment,
        caller: Caller,
        request: WriteRequest,
        current: Option<Version>,
    ) -> (Result<(), Refusal>, Vec<Effect>) {
        self.context.now = self.context.now.max(now);
        let taken = self.take_write(caller, request, (current, wall));
        (taken, std::mem::take(&mut self.context.effects))
    }

    fn take_write(
        &mut self,
        caller: Caller,
        request: WriteRequest,
        found: (Option<Version>, Moment),
    ) -> Result<(), Refusal> {
        let id = request.id;
        let Some(epoch) = self.replica_of(id).filter(|replica| replica.is_head()).map(Replica::epoch) else {
            let candidates = self.candidates(id, true);
            if candidates.is_empty() {
                return Err(Refusal::Unavailable("this node does not know yet who holds the key"));
            }
            return Err(Refusal::NotHead(candidates));
        };
        self.takes_writes(epoch)?;
        let uncommitted_max = self.context.settings.uncommitted_max;
        let Some(replica) = self.replicas.get_mut(&epoch) else {
            return Err(Refusal::Unavailable(CHANGING));
        };
        if let Some(by) = request.by {
            let known = replica.results().get(by.client, by.sequence).is_some();
            let late = replica.results().is_done(by.client, by.sequence);
            if !known && (late || by.first_sent < replica.results().floor()) {
                return Err(Refusal::TooOld(self.view.as_ref().map_or(0, |view| view.index)));
            }
        }
        if replica.is_full(uncommitted_max) {
            return Err(Refusal::Overloaded);
        }
        replica.write(&mut self.context, caller, request, found, true);
        Ok(())
    }

    /// May the head of this epoch take writes now?
    fn takes_writes(&self, epoch: Epoch) -> Result<(), Refusal> {
        let members = self.view.as_ref().map_or(1, |view| view.members.len());
        let least = self.context.settings.replication.replicas_min(members);
        let Some(replica) = self.replicas.get(&epoch).filter(|replica| !replica.is_wedged()) else {
            return Err(Refusal::Unavailable(CHANGING));
        };
        if !self.is_leased(epoch) {
            return Err(Refusal::Unavailable(NO_LEASE));
        }
        if replica.chain().iter().filter(|(link, _)| link.serving).count() < least {
            return Err(Refusal::Unavailable("too few replicas of the key are there to take writes"));
        }
        Ok(())
    }

    /// What is due to end was asked for: this was found.
    fn due(&mut self, found: Due, damaged: &[(Id, Key)]) {
        let Some(Task::Due { epoch }) = self.context.task(found.token) else { return };
        let takes_writes = self.takes_writes(epoch).is_ok();
        let uncommitted_max = self.expiring_max();
        let Some(replica) = self.replicas.get_mut(&epoch) else { return };
        replica.damaged(&mut self.context, damaged);
        if takes_writes && replica.is_head() {
            replica.expire(&mut self.context, found, uncommitted_max, true);
        }
    }

    /// How many entries may be uncommitted so that more values are ended: clients' writes wait behind them.
    fn expiring_max(&self) -> usize {
        (self.context.settings.uncommitted_max / 2).clamp(1, EXPIRING_MAX)
    }

    /// Has the head of this epoch put a mark into the log. With `Ok` (the mark's place)
    /// [`Reply::ReadAgain`](super::event::Reply::ReadAgain) comes when the mark is committed, or the epoch ends: then it
    /// may not be at every replica.
    pub fn mark(
        &mut self,
        now: Time,
        caller: Caller,
        epoch: Epoch,
        name: u128,
    ) -> (Result<Sequence, Refusal>, Vec<Effect>) {
        self.context.now = self.context.now.max(now);
        let leased = self.is_leased(epoch);
        let uncommitted_max = self.context.settings.uncommitted_max;
        let marked = match self.replicas.get_mut(&epoch).filter(|replica| replica.is_head()) {
            None => Err(Refusal::Unavailable("this node is not the head of that epoch")),
            Some(replica) if replica.is_wedged() => Err(Refusal::Unavailable(CHANGING)),
            Some(_) if !leased => Err(Refusal::Unavailable(NO_LEASE)),
            Some(replica) if replica.is_full(uncommitted_max) => Err(Refusal::Overloaded),
            Some(replica) => Ok(replica.mark(&mut self.context, caller, name, leased)),
        };
        (marked, std::mem::take(&mut self.context.effects))
    }

    /// How a read of this key is to be answered.
    pub fn read(&mut self, now: Time, caller: Caller, id: Id, key: &Key) -> Read {
        self.context.now = self.context.now.max(now);
        let clean_reads = self.context.settings.replication.clean_reads;
        let found = self.replica_of(id).filter(|replica| replica.is_serving()).map(Replica::epoch);
        let leased = found.is_some_and(|epoch| self.is_leased(epoch));
        let Some(replica) = found.and_then(|epoch| self.replicas.get_mut(&epoch)) else {
            let candidates = self.candidates(id, false);
            if candidates.is_empty() {
                return Read::Unavailable("this node does not know yet who holds the key");
            }
            return Read::Elsewhere(candidates);
        };
        if replica.is_wedged() {
            return Read::Unavailable(CHANGING);
        }
        if !leased {
            return Read::Unavailable(NO_LEASE);
        }
        if replica.is_tail() {
            if replica.is_dirty(key) {
                replica.read_waits(caller, key);
                return Read::Wait;
            }
            return Read::Here(replica.as_of());
        }
        if clean_reads && !replica.is_dirty(key) {
            return Read::Here(replica.as_of());
        }
        match replica.tail() {
            Some(tail) => Read::Ask(tail.clone()),
            None => Read::Unavailable(CHANGING),
        }
    }

    // The machine.

    /// Takes an event; returns what is to be done, in this order.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Effect> {
        self.context.now = self.context.now.max(now);
        match event {
            Event::Start => self.start(),
            Event::Asked { caller, request } => self.asked(caller, request),
            Event::Reply { token, result } => self.replied(token, result),
            Event::Listed { token, keys, upto } => self.listed(token, &keys, upto),
            Event::Erased { token, upto } => self.erased_upto(token, upto),
            Event::ResultsDropped { token, upto } => self.results_dropped(token, upto),
            Event::Due { token, wall, due, damaged, upto } => {
                self.due(Due { token, wall, due, upto }, &damaged);
            }
            Event::Persisted { epoch, sequence } => {
                let leased = self.is_leased(epoch);
                if let Some(replica) = self.replicas.get_mut(&epoch) {
                    replica.persisted(&mut self.context, sequence, leased);
                }
            }
            Event::Durable(token) => {
                if let Some(Task::Fill { epoch }) = self.context.task(token) {
                    let leased = self.is_leased(epoch);
                    if let Some(replica) = self.replicas.get_mut(&epoch) {
                        replica.held(&mut self.context, token, leased);
                        replica.fill_persisted(&mut self.context, token);
                    }
                }
            }
            Event::Admitted(view) => self.admitted = Some(view),
            Event::Damaged(keys) => {
                for replica in self.replicas.values_mut() {
                    replica.damaged(&mut self.context, &keys);
                }
            }
            Event::View(view) => self.adopt(&view),
            Event::Leader(peer) => self.leader = Some(peer),
            Event::Timer(Timer::Beat) => self.tick(),
        }
        self.fill();
        if std::mem::take(&mut self.context.urgent) {
            self.beat();
        }
        std::mem::take(&mut self.context.effects)
    }

    fn start(&mut self) {
        if let Some(view) = self.view.take() {
            self.adopt(&view);
        }
        self.tick();
    }

    fn tick(&mut self) {
        self.beat();
        self.erase_some();
        let epochs: Vec<Epoch> = self.replicas.keys().copied().collect();
        let floor = self.floor();
        for epoch in epochs {
            let leased = self.is_leased(epoch);
            let takes_writes = self.takes_writes(epoch).is_ok();
            let expiring_max = self.expiring_max();
            let Some(replica) = self.replicas.get_mut(&epoch) else { continue };
            replica.advance_in_time(&mut self.context, leased);
            replica.drop_damaged(&mut self.context, leased);
            if leased && replica.results().oldest_view().is_some_and(|oldest| oldest < floor) {
                replica.raise_floor(&mut self.context, floor, leased);
            }
            if takes_writes && replica.is_head() && !replica.is_full(expiring_max) {
                replica.look_for_due(&mut self.context);
            }
        }
        let after = self.context.settings.heartbeat_every;
        self.context.effects.push(Effect::SetTimer { timer: Timer::Beat, after });
    }

    /// The newest view that has been here for as long as results are kept.
    fn floor(&mut self) -> u64 {
        let (now, kept) = (self.context.now, self.context.settings.results_kept);
        let old = self.seen.iter().rposition(|(_, since)| now.since(*since) > kept);
        match old {
            Some(place) => {
                self.seen.drain(..place);
                self.seen.first().map_or(0, |(index, _)| *index)
            }
            None => 0,
        }
    }

    // Heartbeats.

    fn beat(&mut self) {
        if self.removed {
            return;
        }
        let Some(to) = self.leader.clone().or_else(|| self.somebody()) else { return };
        if self.context.heartbeats(&to) >= HEARTBEATS_MAX {
            return;
        }
        self.beats += 1;
        let context = &self.context;
        let limit = context.settings.link_timeout;
        let mut silent: Vec<StoreId> =
            self.replicas.values().filter_map(|replica| replica.silent_below(context.now, limit)).collect();
        silent.sort();
        silent.dedup();
        let beat = Heartbeat {
            store: context.store,
            incarnation: context.incarnation,
            me: context.me.clone(),
            number: self.beats,
            view: self.view.as_ref().map_or(0, |view| view.index),
            reports: self.replicas.values().map(Replica::report).collect(),
            holdings: self.holdings.values().cloned().collect(),
            silent,
        };
        let sent = context.now;
        let task = Task::Heartbeat { sent, to: to.clone() };
        self.context.call(&to, ChainRequest::Heartbeat(Box::new(beat)), task);
    }

    /// Somebody who may know who leads: one after another.
    fn somebody(&mut self) -> Option<Peer> {
        let members = self.view.iter().flat_map(|view| view.members.values().map(|member| &member.peer));
        let all: Vec<&Peer> = members.chain(&self.contacts).collect();
        if all.is_empty() {
            return None;
        }
        if self.next_contact == 0 {
            self.next_contact = self.random.usize(..all.len());
        }
        self.next_contact += 1;
        Some(all[self.next_contact % all.len()].clone())
    }

    fn heartbeat_answered(&mut self, sent: Time, to: &Peer, result: Result<ChainResponse, CallError>) {
        // What a former leader says late is no reason to leave the present one.
        let asked = self.leader.as_ref().is_none_or(|leader| leader == to);
        match result {
            Ok(ChainResponse::Beat(beat)) => {
                if asked {
                    self.leader = Some(to.clone());
                }
                self.beaten(sent, *beat);
            }
            Ok(ChainResponse::NotLeader(leader)) if asked => {
                self.leader = leader.filter(|leader| leader != to);
            }
            Ok(_) | Err(_) if asked => self.leader = None,
            Ok(_) | Err(_) => {}
        }
    }

    fn beaten(&mut self, sent: Time, beat: Beat) {
        self.beaten_at = self.context.now;
        if let Some(view) = beat.view {
            self.adopt(&view);
        }
        let until = sent + self.context.settings.lease.usable();
        for epoch in beat.granted {
            let lease = self.leases.entry(epoch).or_insert(Time::ZERO);
            *lease = (*lease).max(until);
            let leased = self.context.now < *lease;
            if let Some(replica) = self.replicas.get_mut(&epoch) {
                replica.advance(&mut self.context, leased);
            }
        }
        let now = self.context.now;
        self.leases.retain(|_, until| now < *until);
        for order in beat.level {
            if let Some(replica) = self.replicas.get_mut(&order.epoch) {
                replica.level(&mut self.context, &order);
            }
        }
    }

    // Views.

    fn adopt(&mut self, view: &Arc<View>) {
        if self.view.as_ref().is_some_and(|mine| mine.index >= view.index) {
            return;
        }
        self.seen.push((view.index, self.context.now));
        let was_member =
            self.view.as_ref().is_some_and(|mine| mine.members.contains_key(&self.context.store));
        self.view = Some(Arc::clone(view));
        self.context.changed(Change::View(Arc::clone(view)));
        let (store, incarnation) = (self.context.store, self.context.incarnation);
        let mut ended: BTreeMap<Epoch, Replica> = BTreeMap::new();
        let over: Vec<Epoch> =
            self.replicas.keys().filter(|epoch| !view.ranges.contains_key(epoch)).copied().collect();
        for epoch in over {
            if let Some(mut replica) = self.replicas.remove(&epoch) {
                let followers = view.ranges.values().flat_map(|active| &active.from);
                let base = followers.filter(|(parent, _)| *parent == epoch).map(|(_, base)| *base).next();
                replica.end(&mut self.context, base);
                ended.insert(epoch, replica);
            }
        }
        let mut released: Vec<Epoch> = ended.keys().copied().collect();
        for (epoch, active) in &view.ranges {
            if active.link(store, incarnation).is_some() && !self.replicas.contains_key(epoch) {
                self.begin(view, *epoch, active, &ended);
            }
        }
        for (epoch, replica) in &mut self.replicas {
            if let Some((change, _)) = view.change_of(*epoch) {
                replica.wedge(&mut self.context, change);
            }
            if view.is_given_up(*epoch) {
                replica.give_up_damaged();
            }
        }
        let stale: Vec<Epoch> = self
            .holdings
            .values()
            .filter(|holding| !self.is_of_use(view, holding))
            .map(|holding| holding.epoch)
            .collect();
        for epoch in stale {
            self.holdings.remove(&epoch);
            released.push(epoch);
        }
        if !released.is_empty() {
            self.context.effects.push(Effect::Hold { holding: None, released });
        }
        self.erase_foreign(view);
        let is_member = view.members.contains_key(&store);
        let admitted = self.admitted.is_some_and(|since| since <= view.index);
        let removed =
            view.barred.contains(&store) || (!is_member && (was_member || admitted || self.removed));
        if removed && !self.removed {
            self.context.changed(Change::Removed);
        }
        self.removed = removed;
        self.context.urgent = true;
    }

    /// May a chain still count on what an earlier life of this store holds?
    fn is_of_use(&self, view: &View, held: &Holding) -> bool {
        let (store, incarnation) = (self.context.store, self.context.incarnation);
        // A view from before the holding says nothing about it.
        held.epoch >= view.next_epoch
            || view.ranges.values().any(|active| {
                let mut serving = active.serving();
                active.range.overlaps(&held.range)
                    && serving.any(|link| link.store == store && link.incarnation < incarnation)
            })
    }

    /// Begins a replica of an epoch that this node has none of.
    fn begin(&mut self, view: &View, epoch: Epoch, active: &Active, ended: &BTreeMap<Epoch, Replica>) {
        let (store, incarnation) = (self.context.store, self.context.incarnation);
        let serving = active.link(store, incarnation).is_some_and(|link| link.serving);
        let parents: Vec<(&Replica, Sequence)> =
            active.from.iter().filter_map(|(parent, base)| Some((ended.get(parent)?, *base))).collect();
        let complete = parents.len() == active.from.len() && !parents.is_empty();
        let reached = complete && parents.iter().all(|(parent, base)| parent.last() == *base);
        let mut results = Results::default();
        for (parent, _) in &parents {
            results.join(&parent.results().within(active.range));
        }
        let (mut fill, mut broken) = (None, false);
        match (serving, active.reopened) {
            (true, Some(Reopened::Empty)) => {
                self.context.effects.push(Effect::Erase(active.range));
                results = Results::default();
            }
            (true, Some(Reopened::Copy | Reopened::Earlier)) => results = self.kept_results(active),
            // The first range of all follows nothing.
            (true, None) => broken = !reached && !active.from.is_empty(),
            (false, _) => {
                let parent = parents.first().filter(|_| reached && parents.len() == 1);
                let sync = self.context.settings.replication.durability == Durability::Sync;
                let going_on = parent.and_then(|(parent, base)| {
                    let fill = parent.fill.clone().unwrap_or_else(|| Fill::filled(parent.range()));
                    let copy = parent.report().copy;
                    let intact = !matches!(copy, Copy::Broken | Copy::Damaged);
                    intact.then(|| fill.into_next(active.range, *base, sync))
                });
                if going_on.is_none() {
                    results = Results::default();
                }
                fill = Some(going_on.unwrap_or_else(|| Fill::new(active.range, epoch)));
            }
        }
        let held = if self.context.settings.replication.durability == Durability::Sync {
            Some(self.context.token(Task::Fill { epoch }))
        } else {
            None
        };
        let begin = Begin { base: active.base, results, fill, broken, holding: held };
        let peers = |store: StoreId| view.peer(store).cloned();
        let replica = Replica::new(epoch, active, (store, incarnation), peers, begin, self.context.now);
        let Some(replica) = replica else { return };
        self.context.changed(Change::Began { epoch, range: active.range, serving });
        let holding = Some(replica.holding());
        self.context.effects.push(Effect::Hold { holding, released: Vec::new() });
        self.context.effects.extend(held.map(Effect::Persist));
        self.replicas.insert(epoch, replica);
    }

    /// The results that the store has kept of its earlier lives.
    fn kept_results(&self, active: &Active) -> Results {
        let holdings = self.holdings.values().filter(|holding| holding.range.overlaps(&active.range));
        let floor = holdings.map(|holding| holding.floor).max().unwrap_or(0);
        let all = Results::new(floor, self.kept.clone());
        all.within(active.range)
    }

    /// Removes what this node has of ranges that are others', now and most likely later.
    fn erase_foreign(&mut self, view: &View) {
        let store = self.context.store;
        for (epoch, active) in &view.ranges {
            let named = active.chain.iter().any(|link| link.store == store);
            let change = view.change_of(*epoch);
            let to_come = change.is_some_and(|(_, pending)| {
                let children = pending.children.iter().filter(|child| child.range.overlaps(&active.range));
                children.flat_map(|child| &child.chain).any(|link| link.store == store)
            });
            let held = self.holdings.values().any(|holding| holding.range.overlaps(&active.range));
            // It is still one of those who should have it: what it has will be compared when it is filled.
            let expected = view.expected(active.range, view.replication.copies()).contains(&store);
            if named || to_come || held || expected {
                // What is left of it stays: it will be compared.
                self.erased.remove(epoch);
                self.erasing.remove(epoch);
            } else if self.erased.insert(*epoch) {
                let step = EraseStep::Keys { after: None };
                self.erasing.insert(*epoch, Erasing { range: active.range, step, waiting: None });
            }
        }
        // Nothing is erased of a range but under the epoch that it was found foreign in: in a later one it may be filled.
        self.erased.retain(|epoch| view.ranges.contains_key(epoch));
        self.erasing.retain(|epoch, _| view.ranges.contains_key(epoch));
    }

    /// Goes on erasing, by one slice.
    fn erase_some(&mut self) {
        let Some((epoch, erasing)) = self.erasing.iter_mut().next() else { return };
        if erasing.waiting.is_some() {
            return;
        }
        let (token, range) = (self.context.token(Task::Erase { epoch: *epoch }), erasing.range);
        erasing.waiting = Some(token);
        let effect = match &erasing.step {
            EraseStep::Keys { after } => Effect::EraseSome { token, range, after: after.clone() },
            EraseStep::Results { after } => {
                Effect::DropResults { token, range, before: Epoch(u64::MAX), after: *after }
            }
        };
        self.context.effects.push(effect);
    }

    fn erased_upto(&mut self, token: Token, upto: Option<Key>) {
        let Some(Task::Erase { epoch }) = self.context.task(token) else { return };
        let Some(erasing) = self.erasing_for(epoch, token) else { return };
        erasing.step = match upto {
            Some(upto) => EraseStep::Keys { after: Some(upto) },
            None => EraseStep::Results { after: None },
        };
    }

    /// What waits for this slice.
    fn erasing_for(&mut self, epoch: Epoch, token: Token) -> Option<&mut Erasing> {
        let erasing = self.erasing.get_mut(&epoch).filter(|erasing| erasing.waiting == Some(token))?;
        erasing.waiting = None;
        Some(erasing)
    }

    // Questions and answers.

    fn asked(&mut self, caller: Caller, request: ChainRequest) {
        if !request.is_possible(self.context.settings.space) {
            self.context.effects.push(Effect::Answer { caller, response: ChainResponse::NotMine });
            return;
        }
        let epoch = match &request {
            ChainRequest::Heartbeat(_) => {
                let response = ChainResponse::NotLeader(self.leader.clone());
                self.context.effects.push(Effect::Answer { caller, response });
                return;
            }
            ChainRequest::Poke => {
                self.context.urgent = true;
                self.context.effects.push(Effect::Answer { caller, response: ChainResponse::Noted });
                return;
            }
            ChainRequest::Frame { epoch, .. }
            | ChainRequest::Committed { epoch, .. }
            | ChainRequest::Level { epoch, .. }
            | ChainRequest::List { epoch, .. }
            | ChainRequest::Fetch { epoch, .. }
            | ChainRequest::Results { epoch, .. } => *epoch,
        };
        let leased = self.is_leased(epoch);
        let Some(replica) = self.replicas.get_mut(&epoch) else {
            // An epoch that is newer than the view: ask for the view.
            self.context.urgent |= self.view.as_ref().is_none_or(|view| epoch >= view.next_epoch);
            self.context.effects.push(Effect::Answer { caller, response: ChainResponse::NotMine });
            return;
        };
        let context = &mut self.context;
        let last = replica.last();
        let effect = match request {
            ChainRequest::Heartbeat(_) | ChainRequest::Poke => return,
            ChainRequest::Frame { oldest, entries, durable, .. } => {
                let response = replica.frame(context, oldest, entries, durable, leased);
                Effect::Answer { caller, response }
            }
            ChainRequest::Committed { sequence, .. } => {
                replica.committed_below(context, sequence, leased);
                Effect::Answer { caller, response: ChainResponse::Noted }
            }
            ChainRequest::Level { after, .. } => {
                let response = replica.log_after(after, context.settings.frame_bytes);
                Effect::Answer { caller, response }
            }
            _ if !replica.is_serving() => Effect::Answer { caller, response: ChainResponse::NotMine },
            ChainRequest::List { after, .. } => {
                Effect::AnswerListed { caller, range: replica.range(), after, last }
            }
            ChainRequest::Fetch { keys, .. } => {
                let keys = keys.into_iter().take(LISTED_MAX).collect();
                Effect::AnswerFetched { caller, keys, bytes_max: context.settings.frame_bytes }
            }
            ChainRequest::Results { after, .. } => {
                let (results, end) = replica.results().page(after, RESULTS_MAX);
                let floor = replica.results().floor();
                let done = if after.is_none() { replica.results().done() } else { Vec::new() };
                let response = ChainResponse::Results { results, end, last, floor, done };
                Effect::Answer { caller, response }
            }
        };
        self.context.effects.push(effect);
    }

    fn replied(&mut self, token: Token, result: Result<ChainResponse, CallError>) {
        let Some(task) = self.context.task(token) else { return };
        let epoch = match task {
            Task::Heartbeat { sent, ref to } => return self.heartbeat_answered(sent, to, result),
            Task::Frame { epoch, .. }
            | Task::Committed { epoch }
            | Task::Level { epoch, .. }
            | Task::Fill { epoch }
            | Task::Erase { epoch }
            | Task::Due { epoch } => epoch,
        };
        let leased = self.is_leased(epoch);
        let context = &mut self.context;
        // An answer for an epoch that has ended is of no use: what goes on in the next one asks again.
        let Some(replica) = self.replicas.get_mut(&epoch) else { return };
        match task {
            // Of these no call is made.
            Task::Heartbeat { .. } | Task::Erase { .. } | Task::Due { .. } => {}
            Task::Frame { upto, .. } => {
                replica.frame_answered(context, upto, &result, leased);
            }
            Task::Committed { .. } => {
                let arrived = matches!(result, Ok(ChainResponse::Noted));
                replica.told_above(context, arrived, leased);
            }
            Task::Level { change, base, .. } => replica.levelled(context, (change, base), result),
            Task::Fill { .. } => self.fill_answered(epoch, token, result),
        }
    }

    fn fill_answered(&mut self, epoch: Epoch, token: Token, result: Result<ChainResponse, CallError>) {
        let Some(replica) = self.replicas.get_mut(&epoch) else { return };
        let Some(fill) = &mut replica.fill else { return };
        if let Some(adopted) = fill.answered(&mut self.context, token, result) {
            replica.adopt_results(&mut self.context, adopted);
        }
    }

    fn listed(&mut self, token: Token, keys: &[(Key, Version)], upto: Option<Key>) {
        let Some(Task::Fill { epoch }) = self.context.task(token) else { return };
        if let Some(fill) = self.replicas.get_mut(&epoch).and_then(|replica| replica.fill.as_mut()) {
            fill.listed(&mut self.context, token, keys, upto);
        }
    }

    fn results_dropped(&mut self, token: Token, upto: Option<ResultId>) {
        match self.context.task(token) {
            Some(Task::Fill { epoch }) => {
                if let Some(fill) = self.replicas.get_mut(&epoch).and_then(|replica| replica.fill.as_mut()) {
                    fill.results_dropped(&self.context, token, upto);
                }
            }
            Some(Task::Erase { epoch }) => match (self.erasing_for(epoch, token), upto) {
                (Some(erasing), Some(upto)) => erasing.step = EraseStep::Results { after: Some(upto) },
                (Some(_), None) => {
                    self.erasing.remove(&epoch);
                }
                (None, _) => {}
            },
            _ => {}
        }
    }

    /// Goes on with every fill that waits for nothing.
    fn fill(&mut self) {
        for replica in self.replicas.values_mut() {
            replica.advance_fill(&mut self.context);
        }
    }
}
