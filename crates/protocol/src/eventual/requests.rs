//! What other nodes ask: answered from this node's state and store, some of it after the disk has synced.

use super::calls::After;
use super::event::{Caller, Data, Effect};
use super::message::{Copied, Request, Response, Stores, fitting};
use super::{Durability, Eventual, Stamped, StoreId};
use crate::key::{Key, Version};
use crate::merkle;

impl Eventual {
    pub(super) fn asked(&mut self, caller: Caller, from: StoreId, request: Request, data: &dyn Data) {
        if self.stores.forgotten.contains(&from) {
            self.counters.barred += 1;
            return self.answer(caller, Response::Barred);
        }
        if self.barred || !request.is_possible(self.settings.space) {
            return self.answer(caller, Response::Refused);
        }
        match request {
            Request::Copy { entries, durable } => {
                entries.iter().for_each(|(key, _)| self.handoff.vouched_for(key));
                let dropped = self.merge(entries, data);
                self.tell_dropped(from, dropped);
                if durable || self.settings.durability == Durability::Sync {
                    self.persist(After::Answer(caller, Response::Copied));
                } else {
                    self.answer(caller, Response::Copied);
                }
            }
            Request::Read(key) => self.answer(caller, self.read_for_other(&key, data)),
            Request::Fetch(keys) => self.answer(caller, self.fetch(&keys, data)),
            Request::Offer(items) => {
                let offered = self.offer(from, items, data);
                self.persist(After::Answer(caller, offered));
            }
            Request::Compare(question) => {
                let answer = merkle::answer(self.settings.space, &question, data);
                self.answer(caller, answer.map_or(Response::Refused, Response::Compared));
            }
            Request::Keep { tombstones, stores } => self.keep(caller, tombstones, &stores, data),
            Request::Drop(tombstones) => self.drop_tombstones(caller, tombstones, data),
        }
        self.heard_of(from, data);
    }

    fn answer(&mut self, caller: Caller, response: Response) {
        self.effects.push(Effect::Answer { caller, response });
    }

    /// That there is nothing says only who has compared with another replica; or is the only one.
    fn read_for_other(&self, key: &Key, data: &dyn Data) -> Response {
        let held = self.held(key, data);
        let id = key.id(self.settings.space);
        let knows = self.is_replica(self.me, id) && (self.is_filled(id) || self.others(id).is_empty());
        if held.is_some() || knows { Response::Held(held) } else { Response::Unfilled }
    }

    fn fetch(&self, keys: &[Key], data: &dyn Data) -> Response {
        let found = keys.iter().map(|key| (key.clone(), self.held(key, data)));
        let found = fitting(found, |(key, held)| key.size() + held.as_ref().map_or(0, Stamped::size));
        let covered = u32::try_from(found.len()).unwrap_or(u32::MAX);
        let entries: Vec<Copied> = found.into_iter().filter_map(|(key, held)| Some((key, held?))).collect();
        Response::Fetched { entries, covered }
    }

    /// Wanted are those that are here not at all or only in an older version, and were not deleted.
    fn offer(&mut self, from: StoreId, items: Vec<(Key, Version)>, data: &dyn Data) -> Response {
        let (mut wanted, mut newer, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
        for (key, version) in items {
            match self.version(&key, data) {
                _ if self.collector.is_dropped(&key, version) => dropped.push(key),
                Some(mine) if mine >= version => {
                    self.handoff.vouched_for(&key);
                    if mine > version {
                        newer.push(key);
                    }
                }
                Some(_) | None => wanted.push(key),
            }
        }
        self.tell_dropped(from, dropped);
        Response::Offered { wanted, newer }
    }

    fn keep(&mut self, caller: Caller, tombstones: Vec<(Key, Version)>, stores: &Stores, data: &dyn Data) {
        // What was dropped everywhere was so with every store's consent, this one's included.
        let entries = tombstones.into_iter().map(|(key, version)| (key, Stamped::tombstone(version)));
        self.merge(entries.collect(), data);
        self.learn(stores, data);
        let known = self.stores.clone();
        self.persist(After::Answer(caller, Response::Kept(known)));
    }

    fn drop_tombstones(&mut self, caller: Caller, tombstones: Vec<(Key, Version)>, data: &dyn Data) {
        if !self.collector.has_room(tombstones.len()) {
            return self.answer(caller, Response::Refused);
        }
        let mut erased = Vec::new();
        for (key, version) in tombstones {
            // A value below it too: a node that had seen nothing of it, with a slow clock, stamped it.
            if self.version(&key, data).is_some_and(|mine| mine <= version) {
                erased.push(key.clone());
            }
            self.collector.remember(key, version, self.now);
        }
        self.erase(erased);
        self.answer(caller, Response::Dropped);
    }
}
