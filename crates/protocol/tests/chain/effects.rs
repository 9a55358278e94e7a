//! What members are told, and what is done with their effects: calls, the engine, the disk, what clients hear.

use std::collections::{BTreeMap, VecDeque};

use chordata_protocol::chain::message::Heartbeat;
use chordata_protocol::chain::{ChainRequest, ChainResponse, Change, Effect, Epoch, Event};
use chordata_protocol::ring::Token;
use chordata_protocol::{Address, Durability, Id, Key, Peer, Range, Version};

use crate::words;
use crate::world::{Call, CallId, Content, Message, Seen, World};

/// What an engine looks at at once.
const SLICE: usize = 2;

impl World {
    /// Gives a member an event and carries out the effects, in their order.
    pub(crate) fn event(&mut self, address: &Address, event: Event, header: &str) {
        self.report.event(address, header);
        let mut events = VecDeque::from([event]);
        let now = self.now;
        while let Some(event) = events.pop_front() {
            let Some(life) = self.life_mut(address) else { return };
            let effects = life.member.handle(now, event);
            self.carry_out(address, effects, &mut events);
        }
    }

    /// Carries out the effects of a member.
    pub(crate) fn carry_out(
        &mut self,
        address: &Address,
        effects: Vec<Effect>,
        events: &mut VecDeque<Event>,
    ) {
        for effect in effects {
            self.carry_out_one(address, effect, events);
        }
        self.observe(address);
        self.report_violations();
    }

    fn carry_out_one(&mut self, address: &Address, effect: Effect, events: &mut VecDeque<Event>) {
        let (space, page, now) = (self.settings.space, self.page, self.now);
        let durability = self.settings.replication.durability;
        let wall = self.wall(address);
        let Some(node) = self.nodes.get_mut(address) else { return };
        let Some(life) = node.life.as_mut() else { return };
        let engine = &mut life.engine;
        match effect {
            Effect::Call { token, to, request } => self.ask(address, token, to, request),
            Effect::Answer { caller, response } => self.answer(caller, response),
            Effect::AnswerListed { caller, range, after, last } => {
                let mut keys = engine.list(space, range, after.as_ref(), None);
                let end = keys.len() <= page;
                keys.truncate(page);
                let damaged = engine.damaged(range);
                if damaged.is_empty() {
                    self.answer(caller, ChainResponse::Listed { keys, end, last });
                } else {
                    // A list without what cannot be read would make the asker remove it.
                    self.answer(caller, ChainResponse::NotMine);
                    events.push_back(Event::Damaged(damaged));
                }
            }
            Effect::AnswerFetched { caller, keys, bytes_max: _ } => {
                let fetched = engine.fetch(space, keys);
                self.answer(caller, ChainResponse::Fetched(fetched));
            }
            Effect::Reply { caller, reply } => self.reply(caller, &reply),
            Effect::Store { entries, forgotten, holding } => {
                let (epoch, sequence) = (holding.epoch, holding.last);
                engine.store(&entries, &forgotten, holding);
                if durability == Durability::Sync {
                    life.unsynced.push(Event::Persisted { epoch, sequence });
                }
                self.report.effect(format!("stores {}", words::log(&entries)));
                self.oracle.stored(epoch, &entries);
            }
            Effect::Fill(entries) => {
                self.report.change(address, format!("takes {}", words::filled(&entries)));
                engine.fill(space, entries);
            }
            Effect::DropResults { token, range, before, after } => {
                let (some, upto) = engine.drop_results(range, before, after, SLICE);
                if some {
                    self.report.effect(format!("forgets the results of {}", words::range(&range)));
                }
                events.push_back(Event::ResultsDropped { token, upto });
            }
            Effect::Keep(results) => {
                if !results.is_empty() {
                    self.report.effect(format!("keeps {} results", results.len()));
                }
                engine.results.extend(results);
            }
            Effect::Hold { holding, released } => engine.hold(holding, &released),
            Effect::Erase(range) => {
                if engine.erase(range) && self.watched.is_none_or(|id| range.contains(id)) {
                    self.report.change(address, format!("erases {}", words::range(&range)));
                }
            }
            Effect::EraseSome { token, range, after } => {
                let mut keys = engine.list(space, range, after.as_ref(), None);
                let upto = slice(&mut keys);
                if !keys.is_empty() && self.watched.is_none_or(|id| range.contains(id)) {
                    self.report.change(address, format!("erases {}", words::range(&range)));
                }
                engine.fill(space, keys.into_iter().map(|(key, _)| (key, None)).collect());
                events.push_back(Event::Erased { token, upto });
            }
            Effect::List { token, range, after, upto } => {
                let mut keys = engine.list(space, range, after.as_ref(), upto.as_ref());
                let upto = slice(&mut keys);
                events.push_back(Event::Listed { token, keys, upto });
            }
            Effect::FindDue { token, range, after } => {
                let mut due = engine.due(range, wall, after.as_ref());
                let cut = due.len() > SLICE;
                due.truncate(SLICE);
                let upto = due.last().filter(|_| cut).map(|(ending, _)| ending.clone());
                if !due.is_empty() {
                    let keys =
                        due.iter().map(|(ending, version)| format!("{} {version}", words::key(&ending.key)));
                    self.report.change(address, format!("finds due: {}", words::join(keys, ", ")));
                }
                let damaged = Vec::new();
                events.push_back(Event::Due { token, wall, due, damaged, upto });
            }
            Effect::Persist(token) => life.unsynced.push(Event::Durable(token)),
            Effect::SetTimer { after, .. } => life.beat_at = Some(now + after),
            Effect::Changed(change) => {
                if let Change::View(view) = &change {
                    engine.view = Some(view.clone());
                    // It is small and rare: it goes to the disk by itself.
                    node.disk.view = Some(view.clone());
                    self.report.effect(words::change(&change));
                } else if epoch_of(&change).is_none_or(|epoch| self.is_shown(epoch)) {
                    self.report.change(address, words::change(&change));
                }
            }
        }
    }

    fn ask(&mut self, address: &Address, token: Token, to: Peer, request: ChainRequest) {
        let (watched, ranges) = (self.watched, self.ranges.clone());
        let is_shown = |epoch: Epoch| is_about(watched, &ranges, epoch);
        let Some(life) = self.life_mut(address) else { return };
        let number = life.number;
        let (mut told, mut asks) = (None, words::asks(&to, &request));
        if let ChainRequest::Heartbeat(beat) = &request {
            let mut heard = Heartbeat::clone(beat);
            heard.reports.retain(|report| is_shown(report.epoch));
            heard.holdings.retain(|holding| is_shown(holding.epoch));
            let parts = words::news(&heard);
            let fresh: Vec<String> = parts.iter().filter(|part| !life.said.contains(part)).cloned().collect();
            life.said = parts;
            asks = format!("tells {}: {}", words::peer(&to), words::beat(&heard));
            told = (!fresh.is_empty()).then(|| fresh.join(", "));
        }
        match told {
            Some(news) => self.report.change(address, format!("tells {}: {news}", words::peer(&to))),
            None => self.report.effect(asks),
        }
        let call = CallId { from: address.clone(), life: number, token };
        let (name, asked_at) = (request.name(), self.now);
        self.calls.insert(call.clone(), Call { to: to.clone(), name, asked_at });
        let content = Content::Question(request);
        self.flight.push_back(Message {
            from: address.clone(),
            to: to.address,
            name,
            call: Some(call),
            content,
        });
    }

    /// What no effect tells: commits, and leases that begin and run out.
    pub(crate) fn observe(&mut self, address: &Address) {
        let now = self.now;
        let (watched, ranges) = (self.watched, self.ranges.clone());
        let Some(life) = self.life_mut(address) else { return };
        let mut lines = Vec::new();
        let mut seen = BTreeMap::new();
        for replica in life.member.replicas() {
            let epoch = replica.epoch();
            let leased = life.member.leased_until(epoch).is_some_and(|until| now < until);
            let is = Seen { committed: replica.committed(), leased };
            let was = life.seen.get(&epoch).copied();
            seen.insert(epoch, is);
            if !is_about(watched, &ranges, epoch) {
                continue;
            }
            if was.is_some_and(|was| was.committed < is.committed) {
                lines.push(format!("commits {epoch:?} {:?}", is.committed));
            }
            if leased && !was.is_some_and(|was| was.leased) && replica.is_serving() {
                lines.push(format!("may serve {epoch:?}"));
            }
            if !leased && was.is_some_and(|was| was.leased) && replica.is_serving() && !replica.is_wedged() {
                lines.push(format!("may not serve {epoch:?} any more: its lease is over"));
            }
        }
        life.seen = seen;
        for line in lines {
            self.report.change(address, line);
        }
    }

    // What is printed.

    pub(crate) fn is_shown(&self, epoch: Epoch) -> bool {
        is_about(self.watched, &self.ranges, epoch)
    }

    // Disks.

    /// Are there waiting for the disk?
    pub(crate) fn is_unsynced(&self, address: &Address) -> bool {
        self.life(address).is_some_and(|life| !life.unsynced.is_empty())
    }

    /// All that a node has stored so far is on its disk.
    pub(crate) fn persist(&mut self, address: &Address) {
        let durability = self.settings.replication.durability;
        let Some(node) = self.nodes.get_mut(address) else { return };
        let Some(life) = node.life.as_mut() else { return };
        node.disk.written(&life.engine, durability);
        let told = std::mem::take(&mut life.unsynced);
        // The last of each epoch says it all.
        let mut last: Vec<Event> = Vec::new();
        for event in told {
            if let (Event::Persisted { epoch, .. }, Some(Event::Persisted { epoch: before, .. })) =
                (&event, last.last())
                && epoch == before
            {
                last.pop();
            }
            last.push(event);
        }
        if last.is_empty() {
            self.report.event(address, "its disk is written");
        }
        for event in last {
            let header = match &event {
                Event::Persisted { epoch, sequence } => format!("{epoch:?} {sequence:?} is on its disk"),
                _ => "its disk is written".to_owned(),
            };
            self.event(address, event, &header);
        }
    }
}

/// Cuts a list where the engine stops; the last key, if it did.
fn slice(keys: &mut Vec<(Key, Version)>) -> Option<Key> {
    let cut = keys.len() > SLICE;
    keys.truncate(SLICE);
    keys.last().filter(|_| cut).map(|(key, _)| key.clone())
}

/// Is the epoch about what the script watches?
fn is_about(watched: Option<Id>, ranges: &BTreeMap<Epoch, Range>, epoch: Epoch) -> bool {
    let about = |id: Id| ranges.get(&epoch).is_none_or(|range| range.contains(id));
    watched.is_none_or(about)
}

fn epoch_of(change: &Change) -> Option<Epoch> {
    match change {
        Change::Began { epoch, .. }
        | Change::Wedged(epoch)
        | Change::Synced(epoch)
        | Change::Broken(epoch)
        | Change::Damaged(epoch)
        | Change::Ended(epoch) => Some(*epoch),
        Change::View(_) | Change::Removed => None,
    }
}
