//! What the state machines want done, and what nodes are asked: between the machines and the world.
//!
//! Here everything that nodes store, answer and begin is shown to the [witness](super::witness).

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use chordata_protocol::chain::message::{Holding, LogEntry};
use chordata_protocol::chain::{
    ChainRequest, ChainResponse, Change, Deed, Effect, Epoch, Event, Occasion, Read, Refusal, Reply,
    WriteRequest,
};
use chordata_protocol::message::Candidate;
use chordata_protocol::replication::Durability;
use chordata_protocol::ring::{Caller, Token};
use chordata_protocol::{CallError, Ending, Id, Key, Range, Version};

use super::client::{Answer, Asked, Subject};
use super::disk::{ResultId, Step};
use super::group::Origin;
use super::invariants::{content, leases, one_epoch};
use super::network::OUTSIDE;
use super::node::{Attempt, State, Waiter};
use super::queue::Item;
use super::sabotage::Sabotage;
use super::witness::Life;
use super::world::World;

/// What a scan finds.
struct Page {
    /// Keys with their versions.
    keys: Vec<(Key, Version)>,
    /// Is that all?
    end: bool,
    /// Otherwise: up to this key.
    upto: Option<Key>,
    /// Keys whose records cannot be read.
    damaged: Vec<Key>,
}

impl World {
    fn life_of(&self, slot: usize) -> Life {
        (self.nodes[slot].store, self.nodes[slot].incarnation)
    }

    /// Gives a member an event and carries out what it wants, in order and before its next event.
    pub(super) fn member_event(&mut self, slot: usize, event: Event) {
        let now = self.nodes[slot].clock.shows(self.now);
        let Some(process) = &mut self.nodes[slot].process else { return };
        let effects = process.member.handle(now, event);
        self.perform(slot, effects);
    }

    pub(super) fn perform(&mut self, slot: usize, effects: Vec<Effect>) {
        let life = self.nodes[slot].life;
        let mut next = VecDeque::new();
        for effect in effects {
            next.extend(self.effect(slot, effect));
            if self.nodes[slot].life != life {
                return;
            }
        }
        for event in next {
            self.member_event(slot, event);
        }
    }

    fn effect(&mut self, slot: usize, effect: Effect) -> Option<Event> {
        if self.verbose && matches!(effect, Effect::Erase(_) | Effect::Hold { .. } | Effect::Fill(_)) {
            println!("{:>12} n{slot} {effect:?}", self.now.as_micros());
        }
        match effect {
            Effect::Call { token, to, request } => self.call(slot, token, &to.address, request),
            Effect::Answer { caller, response } => self.answer(slot, caller, response),
            Effect::AnswerListed { caller, range, after, last } => {
                let limit = self.shape.listed_max;
                let Page { keys, end, damaged, .. } = self.page(slot, range, after, None, limit);
                if !damaged.is_empty() {
                    // A list without what cannot be read would make the asker remove it.
                    let space = self.settings.space;
                    self.answer(slot, caller, ChainResponse::NotMine);
                    return Some(Event::Damaged(
                        damaged.into_iter().map(|key| (key.id(space), key)).collect(),
                    ));
                }
                self.answer(slot, caller, ChainResponse::Listed { keys, end, last });
            }
            Effect::AnswerFetched { caller, keys, bytes_max } => {
                let space = self.settings.space;
                if keys.iter().any(|key| self.is_damaged(slot, key.id(space), key)) {
                    self.answer(slot, caller, ChainResponse::NotMine);
                    return None;
                }
                let engine = &self.nodes[slot].disk.seen.engine;
                let entries = engine.read_keys(space, keys, bytes_max);
                self.answer(slot, caller, ChainResponse::Fetched(entries));
            }
            Effect::Reply { caller, reply } => self.reply(slot, caller, &reply),
            Effect::Store { entries, forgotten, holding } => {
                return self.store_entries(slot, entries, forgotten, holding);
            }
            Effect::Fill(entries) => {
                self.counters.count("filled");
                let space = self.settings.space;
                let engine = &self.nodes[slot].disk.seen.engine;
                for _ in entries.iter().filter(|(key, _)| engine.is_damaged(key.id(space), key)) {
                    self.counters.count("damaged record fetched again");
                }
                self.store(slot, Step::Fill(entries));
            }
            Effect::DropResults { token, range, before, after } => {
                let (forgotten, upto) = self.results_before(slot, range, before, after);
                self.store(slot, Step::Forget(forgotten));
                return Some(Event::ResultsDropped { token, upto });
            }
            Effect::EraseSome { token, range, after } => {
                let Page { keys, damaged, upto, .. } =
                    self.page(slot, range, after, None, self.shape.listed_max);
                // It need not be read to be removed.
                let keys = keys.into_iter().map(|(key, _)| key).chain(damaged);
                self.store(slot, Step::Fill(keys.map(|key| (key, None)).collect()));
                return Some(Event::Erased { token, upto });
            }
            Effect::Keep(results) => self.store(slot, Step::Keep(results)),
            Effect::Hold { holding, released } => self.store(slot, Step::Hold { holding, released }),
            Effect::Erase(range) => self.store(slot, Step::Erase(range)),
            Effect::List { token, range, after, upto } => {
                let limit = self.shape.listed_max;
                let Page { mut keys, damaged, upto, .. } = self.page(slot, range, after, upto, limit);
                // What cannot be read is no version at all: it is fetched again.
                keys.extend(damaged.into_iter().map(|key| (key, Version::default())));
                return Some(Event::Listed { token, keys, upto });
            }
            Effect::FindDue { token, range, after } => {
                return Some(self.find_due(slot, token, range, after.as_ref()));
            }
            Effect::Persist(token) => {
                if self.settings.replication.durability == Durability::Memory {
                    return Some(Event::Durable(token));
                }
                self.nodes[slot].disk.tell_when_durable(token);
                return self.told_durable(slot);
            }
            Effect::SetTimer { timer, after } => {
                let takes = self.nodes[slot].clock.takes(after);
                self.next_setting += 1;
                let (life, setting) = (self.nodes[slot].life, self.next_setting);
                if let Some(process) = &mut self.nodes[slot].process {
                    process.beat = setting;
                }
                self.push(takes, Item::Timer { slot, life, timer, setting });
                self.sabotage_endings(slot);
            }
            Effect::Changed(change) => self.changed(slot, change),
        }
        None
    }

    /// What has ended in a range by the node's wall clock.
    fn find_due(&mut self, slot: usize, token: Token, range: Range, after: Option<&Ending>) -> Event {
        let wall = self.saboteur.wall(self.nodes[slot].clock.wall(self.now));
        let engine = &self.nodes[slot].disk.seen.engine;
        let (endings, upto) = engine.due(wall, after, self.shape.listed_max);
        let endings = self.saboteur.due(engine, range, wall, endings);
        let (mut due, mut damaged) = (Vec::new(), Vec::new());
        for ending in endings.into_iter().filter(|ending| range.contains(ending.id)) {
            let (id, key) = (ending.id, ending.key.clone());
            if self.is_damaged(slot, id, &key) {
                damaged.push((id, key));
            } else if let Some(version) = self.nodes[slot].disk.seen.engine.version(id, &key) {
                due.push((ending, version));
            }
        }
        Event::Due { token, wall, due, damaged, upto }
    }

    /// Shows the witness how far the last serving replicas have committed: also what nobody asked for, such as that values
    /// have ended.
    pub(super) fn show_commits(&mut self) {
        let view = Arc::clone(self.group.newest());
        for (epoch, active) in &view.ranges {
            let Some(tail) = active.tail() else { continue };
            let mut nodes = self.nodes.iter();
            let node = nodes.find(|node| node.is_alive_as(tail.store, tail.incarnation));
            let process = node.and_then(|node| node.process.as_ref());
            let replica =
                process.and_then(|process| process.member.replicas().find(|mine| mine.epoch() == *epoch));
            let Some(committed) = replica.map(chordata_protocol::chain::Replica::committed) else { continue };
            let found = self.witness.seen_committed(*epoch, committed);
            self.hold(found);
        }
    }

    fn changed(&mut self, slot: usize, change: Change) {
        if self.verbose && !matches!(change, Change::View(_)) {
            println!("{:>12} n{slot} {change:?}", self.now.as_micros());
        }
        let life = self.life_of(slot);
        match change {
            Change::View(view) => self.store(slot, Step::View(view)),
            Change::Began { epoch, serving: true, .. } => {
                let found = self.witness.began_serving(epoch, &self.nodes[slot].disk.seen.engine);
                self.hold(found.map_err(|wrong| format!("n{slot} {life:?}: {wrong}")));
            }
            Change::Wedged(epoch) => self.witness.wedged(life, epoch),
            Change::Synced(_) => self.counters.count("newcomer filled"),
            Change::Broken(_) => self.counters.count("newcomer broken"),
            Change::Removed => {
                self.counters.count("removed");
                self.nodes[slot].stop(State::Vacant);
            }
            Change::Began { .. } | Change::Damaged(_) | Change::Ended(_) => {}
        }
    }

    // The disk.

    fn store_entries(
        &mut self,
        slot: usize,
        entries: Vec<Arc<LogEntry>>,
        forgotten: Vec<ResultId>,
        holding: Holding,
    ) -> Option<Event> {
        let life = self.life_of(slot);
        let facts = self.witness.epochs.get(&holding.epoch);
        let head = facts.is_some_and(|facts| facts.serving.first() == Some(&life));
        let entries = if head { entries } else { self.saboteur.entries(entries) };
        let found = self.witness.stored(life, &holding, &entries);
        self.hold(found);
        let entries = if head { entries } else { self.saboteur.kept(entries) };
        let (epoch, sequence) = (holding.epoch, holding.last);
        self.store(slot, Step::Store { entries, forgotten, holding });
        let sync = self.settings.replication.durability == Durability::Sync;
        (sync && self.saboteur.does(Sabotage::SkipsSyncs)).then_some(Event::Persisted { epoch, sequence })
    }

    fn store(&mut self, slot: usize, step: Step) {
        if self.nodes[slot].disk.store(step) {
            self.sync(slot);
        }
    }

    fn sync(&mut self, slot: usize) {
        let micros = match self.settings.replication.durability {
            Durability::Sync => self.random.u64(100..=self.faults.sync_max_us(&self.shape)),
            Durability::Interval | Durability::Memory => self.random.u64(500_000..1_000_000),
        };
        let life = self.nodes[slot].life;
        self.push(Duration::from_micros(micros), Item::Synced { slot, life });
    }

    /// A sync is through.
    pub(super) fn synced(&mut self, slot: usize) {
        let life = self.life_of(slot);
        let logs = self.nodes[slot].disk.synced();
        if self.nodes[slot].disk.begin() {
            self.sync(slot);
        }
        for (epoch, sequence) in logs {
            self.witness.durable(life, epoch, sequence);
            if self.settings.replication.durability == Durability::Sync {
                self.member_event(slot, Event::Persisted { epoch, sequence });
            }
        }
        while let Some(event) = self.told_durable(slot) {
            self.member_event(slot, event);
        }
    }

    fn told_durable(&mut self, slot: usize) -> Option<Event> {
        self.nodes[slot].disk.durable_token().map(Event::Durable)
    }

    /// Is the checksum of what this node has of the key wrong?
    pub(super) fn is_damaged(&self, slot: usize, id: Id, key: &Key) -> bool {
        let damaged = self.nodes[slot].disk.seen.engine.is_damaged(id, key);
        damaged && !self.saboteur.does(Sabotage::ServesDamage)
    }

    /// Keys and versions of a range behind a key.
    fn page(&self, slot: usize, range: Range, after: Option<Key>, upto: Option<Key>, limit: usize) -> Page {
        let space = self.settings.space;
        let engine = &self.nodes[slot].disk.seen.engine;
        let position = after.map(|key| (key.id(space), key));
        let last = upto.map(|key| (space.distance(range.low, key.id(space)), key));
        let mut page = Page { keys: Vec::new(), end: true, upto: None, damaged: Vec::new() };
        let mut seen = None;
        engine.scan(range, position.as_ref(), &mut |id, key, version| {
            let beyond = last.as_ref().is_some_and(|(distance, last)| {
                let mine = space.distance(range.low, id);
                // The high end of the whole ring is as far as its low end, and is the last of all.
                let mine = (mine == chordata_protocol::Id::ZERO, mine);
                let theirs = (*distance == chordata_protocol::Id::ZERO, *distance);
                (mine, &key) > (theirs, last)
            });
            if beyond {
                return ControlFlow::Break(());
            }
            if page.keys.len() == limit {
                page.end = false;
                page.upto = seen.take();
                return ControlFlow::Break(());
            }
            seen = Some(key.clone());
            if self.is_damaged(slot, id, &key) {
                page.damaged.push(key);
            } else {
                page.keys.push((key, version));
            }
            ControlFlow::Continue(())
        });
        page
    }

    /// Results of earlier epochs than that among the next of those that are kept, and where to go on.
    fn results_before(
        &self,
        slot: usize,
        range: Range,
        before: Epoch,
        after: Option<ResultId>,
    ) -> (Vec<ResultId>, Option<ResultId>) {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let mut kept = self.nodes[slot].disk.seen.results.range((from, std::ops::Bound::Unbounded));
        let slice: Vec<_> = kept.by_ref().take(self.shape.listed_max).collect();
        let upto = slice.last().filter(|_| kept.next().is_some()).map(|(id, _)| **id);
        let old = slice
            .into_iter()
            .filter(|(_, result)| range.contains(result.id) && Epoch(result.at.epoch) < before);
        (old.map(|(id, _)| *id).collect(), upto)
    }

    // Calls between nodes.

    fn call(&mut self, slot: usize, token: Token, to: &chordata_protocol::Address, request: ChainRequest) {
        let node = &mut self.nodes[slot];
        let life = node.life;
        let sent = matches!(request, ChainRequest::Heartbeat(_)).then(|| node.clock.shows(self.now));
        let timeout = node.clock.takes(self.settings.call_timeout);
        if let Some(process) = &mut node.process {
            process.calls.insert(token, sent);
        }
        self.push(timeout, Item::Answered { slot, life, token, result: Err(CallError::TimedOut) });
        let Some(to) = self.slots.get(to).copied() else { return };
        let waiter = Waiter::Node { slot, life, token };
        if self.network.duplicates(&mut self.random) {
            self.counters.count("duplicated request");
            self.ask(slot, to, waiter.clone(), request.clone());
        }
        self.ask(slot, to, waiter, request);
    }

    fn ask(&mut self, from: usize, to: usize, waiter: Waiter, request: ChainRequest) {
        match self.network.delay(&mut self.random, from, to) {
            Some(delay) => self.push(delay, Item::Ask { to, from, waiter, request }),
            None => self.counters.count("lost message"),
        }
    }

    fn caller(&mut self, slot: usize, waiter: Waiter) -> Option<Caller> {
        self.next_caller += 1;
        let caller = Caller(self.next_caller);
        self.nodes[slot].process.as_mut()?.waiting.insert(caller, waiter);
        Some(caller)
    }

    /// A request arrives at a node.
    pub(super) fn asked(&mut self, to: usize, from: usize, waiter: Waiter, request: ChainRequest) {
        if self.nodes[to].process.is_none() {
            if let (Waiter::Node { slot, life, token }, Some(delay)) =
                (waiter, self.network.delay(&mut self.random, to, from))
            {
                let result = Err(CallError::Unreachable);
                self.push(delay, Item::Answered { slot, life, token, result });
            }
            return;
        }
        let Some(caller) = self.caller(to, waiter) else { return };
        let leads = self.nodes[to].process.as_ref().is_some_and(|process| process.leads.is_some());
        match request {
            ChainRequest::Heartbeat(beat) if leads => {
                self.occasion(to, Occasion::Heartbeat { caller, beat });
            }
            request => self.member_event(to, Event::Asked { caller, request }),
        }
    }

    fn answer(&mut self, slot: usize, caller: Caller, response: ChainResponse) {
        let Some(process) = &mut self.nodes[slot].process else { return };
        let Some(Waiter::Node { slot: asker, life, token }) = process.waiting.remove(&caller) else { return };
        match self.network.delay(&mut self.random, slot, asker) {
            Some(delay) => {
                let result = Ok(self.saboteur.response(response));
                self.push(delay, Item::Answered { slot: asker, life, token, result });
            }
            None => self.counters.count("lost message"),
        }
    }

    /// A call has ended, unless it had before.
    pub(super) fn answered(&mut self, slot: usize, token: Token, result: Result<ChainResponse, CallError>) {
        let usable = self.settings.lease.usable();
        let Some(process) = &mut self.nodes[slot].process else { return };
        let Some(sent) = process.calls.remove(&token) else { return };
        if let (Some(sent), Ok(ChainResponse::Beat(beat))) = (sent, &result) {
            for epoch in &beat.granted {
                let lease = process.leases.entry(*epoch).or_default();
                *lease = (*lease).max(sent + usable);
            }
        }
        self.member_event(slot, Event::Reply { token, result });
    }

    // The coordinator.

    /// Gives a coordinator an occasion and carries out what it wants.
    pub(super) fn occasion(&mut self, slot: usize, occasion: Occasion) {
        let now = self.nodes[slot].clock.shows(self.now);
        let Some(process) = &mut self.nodes[slot].process else { return };
        for deed in process.coordinator.handle(now, occasion) {
            self.deed(slot, deed);
        }
    }

    fn deed(&mut self, slot: usize, deed: Deed) {
        match deed {
            Deed::Confirm(token) => self.confirm(slot, token),
            Deed::Propose { token, command } => self.propose(slot, command, Origin::Coordinator(token)),
            Deed::Answer { caller, response } => self.answer(slot, caller, response),
            Deed::Poke(peer) => {
                let Some(to) = self.slots.get(&peer.address).copied() else { return };
                // Nobody waits for what becomes of it.
                let waiter = Waiter::Node { slot, life: 0, token: Token(0) };
                self.ask(slot, to, waiter, ChainRequest::Poke);
            }
            Deed::TickAfter(after) => {
                let takes = self.nodes[slot].clock.takes(after);
                self.next_setting += 1;
                let (life, setting) = (self.nodes[slot].life, self.next_setting);
                if let Some(process) = &mut self.nodes[slot].process {
                    process.tick = setting;
                }
                self.push(takes, Item::Tick { slot, life, setting });
            }
            Deed::Voters(voters) => self.ask_for_voters(slot, voters),
            Deed::Lapsed { lapsed: true, .. } => self.counters.count("lapsed"),
            Deed::Lapsed { .. } => {}
        }
    }

    // Clients.

    /// A client's request arrives at a node.
    pub(super) fn client_asks(&mut self, slot: usize, attempt: Attempt, asked: Asked) {
        if self.nodes[slot].process.is_none() {
            let answer = Answer::Refused { candidates: Vec::new(), view: None };
            self.tell_client(attempt, answer);
            return;
        }
        match asked {
            Asked::Write { key, operation, by } => {
                let Some(caller) = self.caller(slot, Waiter::Client { attempt, key, by }) else { return };
                let subject = &self.subjects[key];
                let (id, key) = (subject.id, subject.key.clone());
                let node = &self.nodes[slot];
                let (now, wall) = (node.clock.shows(self.now), node.clock.wall(self.now));
                let current = node.disk.seen.engine.version(id, &key);
                if self.is_damaged(slot, id, &key) {
                    self.notice_damage(slot, id, &key);
                    self.refuse(slot, caller, attempt);
                    return;
                }
                let Some(process) = &mut self.nodes[slot].process else { return };
                let request = WriteRequest { id, key, operation, by: self.saboteur.name(by) };
                let (taken, effects) = process.member.write(now, wall, caller, request, current);
                if let Err(refusal) = taken {
                    process.waiting.remove(&caller);
                    let answer = self.refused(slot, refusal);
                    self.tell_client(attempt, answer);
                }
                self.perform(slot, effects);
            }
            Asked::Read { key } => {
                let Some(caller) = self.caller(slot, Waiter::Client { attempt, key, by: None }) else {
                    return;
                };
                self.read(slot, caller, attempt, key);
            }
        }
    }

    /// A record that was to be used cannot be read.
    pub(super) fn notice_damage(&mut self, slot: usize, id: Id, key: &Key) {
        if self.saboteur.does(Sabotage::ServesDamage) {
            return;
        }
        self.counters.count("damaged record noticed");
        self.member_event(slot, Event::Damaged(vec![(id, key.clone())]));
    }

    /// Nothing was done.
    fn refuse(&mut self, slot: usize, caller: Caller, attempt: Attempt) {
        if let Some(process) = &mut self.nodes[slot].process {
            process.waiting.remove(&caller);
        }
        let answer = self.elsewhere(slot, Vec::new());
        self.tell_client(attempt, answer);
    }

    fn refused(&self, slot: usize, refusal: Refusal) -> Answer {
        match refusal {
            Refusal::NotHead(candidates) => self.elsewhere(slot, candidates),
            Refusal::Unavailable(_) | Refusal::Overloaded => self.elsewhere(slot, Vec::new()),
            Refusal::TooOld(_) => Answer::TooOld,
        }
    }

    fn elsewhere(&self, slot: usize, candidates: Vec<Candidate>) -> Answer {
        let view =
            self.nodes[slot].process.as_ref().and_then(|process| process.member.view().map(Arc::clone));
        let candidates = candidates.into_iter().map(|candidate| candidate.peer).collect();
        Answer::Refused { candidates, view }
    }

    fn read(&mut self, slot: usize, caller: Caller, attempt: Attempt, key: usize) {
        let subject = &self.subjects[key];
        let now = self.nodes[slot].clock.shows(self.now);
        let Some(process) = &mut self.nodes[slot].process else { return };
        let answer = match process.member.read(now, caller, subject.id, &subject.key) {
            Read::Wait => return,
            Read::Here(as_of) => {
                let answer = self.read_here(slot, as_of, key);
                self.saboteur.answer(key, answer)
            }
            Read::Ask(peer) => {
                let mut answer = self.elsewhere(slot, Vec::new());
                if let Answer::Refused { candidates, .. } = &mut answer {
                    candidates.push(peer);
                }
                answer
            }
            Read::Elsewhere(candidates) => self.elsewhere(slot, candidates),
            Read::Unavailable(_) => self.elsewhere(slot, Vec::new()),
        };
        if let Some(process) = &mut self.nodes[slot].process {
            process.waiting.remove(&caller);
        }
        self.tell_client(attempt, answer);
    }

    /// A node answers a read from its engine now: is it right?
    fn read_here(&mut self, slot: usize, as_of: Version, key: usize) -> Answer {
        let epoch = Epoch(as_of.epoch);
        let Subject { id, key, .. } = &self.subjects[key].clone();
        if self.is_damaged(slot, *id, key) {
            self.notice_damage(slot, *id, key);
            return self.elsewhere(slot, Vec::new());
        }
        let node = &self.nodes[slot];
        let record = node.disk.seen.engine.get(*id, key);
        let now = node.clock.shows(self.now);
        let mut found = Ok(());
        if let Some(process) = &node.process {
            let replica = process.member.replicas().find(|replica| replica.epoch() == epoch);
            let committed = replica.map(chordata_protocol::chain::Replica::committed).unwrap_or_default();
            let witness = &mut self.witness;
            found = leases::serves(process, now, epoch)
                .and_then(|()| one_epoch::serves(witness, epoch))
                .and_then(|()| witness.seen_committed(epoch, committed))
                .and_then(|()| content::read(witness, epoch, *id, key, record.as_ref()));
        }
        self.hold(found.map_err(|wrong| format!("n{slot}: {wrong}")));
        Answer::Read { record, as_of }
    }

    /// A client's request that waited is answered.
    fn reply(&mut self, slot: usize, caller: Caller, reply: &Reply) {
        let Some(process) = &mut self.nodes[slot].process else { return };
        let Some(Waiter::Client { attempt, key, by }) = process.waiting.remove(&caller) else { return };
        let answer = match reply {
            Reply::Done { outcome, at } => {
                let (outcome, at) = (*outcome, *at);
                let found = self.witness.acknowledges(at, by.map(|by| (by.client, by.sequence)), outcome);
                self.hold(found.map_err(|wrong| format!("n{slot}: {wrong}")));
                Answer::Done { outcome, at }
            }
            Reply::Unknown(_) => Answer::Unknown,
            Reply::ReadAgain => {
                if let Some(caller) = self.caller(slot, Waiter::Client { attempt, key, by: None }) {
                    self.read(slot, caller, attempt, key);
                }
                return;
            }
        };
        self.tell_client(attempt, answer);
    }

    fn tell_client(&mut self, attempt: Attempt, answer: Answer) {
        match self.network.delay(&mut self.random, OUTSIDE, OUTSIDE - 1) {
            Some(delay) => self.push(delay, Item::ClientAnswer { attempt, answer }),
            None => self.counters.count("lost answer"),
        }
    }
}
