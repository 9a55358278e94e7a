//! What clients do: writes and reads at a node that they name, without a walk.

use std::collections::VecDeque;
use std::fmt;

use chordata_protocol::chain::event::Reply;
use chordata_protocol::chain::{Read, WriteId, WriteRequest};
use chordata_protocol::ring::Caller;
use chordata_protocol::{Address, Key, Operation, Outcome, Version};

use crate::words;
use crate::world::World;

/// What a client wants.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Write {
        key: Key,
        operation: Operation,
        by: Option<WriteId>,
    },
    Read {
        key: Key,
        /// What was acknowledged when it was asked for first.
        least: Option<Version>,
    },
    Mark(Key),
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wish::Read { key, .. } => write!(f, "get {}", words::key(key)),
            Wish::Mark(key) => write!(f, "mark the range of {}", words::key(key)),
            Wish::Write { key, operation, by } => {
                let key = words::key(key);
                match operation {
                    Operation::Put { value, ttl } => {
                        let ttl = ttl.map_or(String::new(), |ttl| format!(" for {ttl}"));
                        write!(f, "put {key}={value}{ttl}")?;
                    }
                    Operation::Delete => write!(f, "delete {key}")?,
                    Operation::CompareAndSwap { expected, value, .. } => {
                        let expected = expected.map_or("none".to_owned(), |version| version.to_string());
                        let value = value.as_ref().map_or(String::new(), ToString::to_string);
                        write!(f, "swap {key}={value} if it is {expected}")?;
                    }
                }
                let Some(by) = by else { return Ok(()) };
                let client = u8::try_from(by.client).map_or('?', char::from);
                write!(f, " as {client}{}", by.sequence)
            }
        }
    }
}

impl World {
    pub(crate) fn write(&mut self, address: &Address, key: &Key, operation: Operation, by: Option<WriteId>) {
        let (now, wall, space) = (self.now, self.wall(address), self.settings.space);
        let wish = Wish::Write { key: key.clone(), operation: operation.clone(), by };
        self.report.event(address, &wish);
        if !self.is_running(address) {
            return self.report.effect("no answer");
        }
        let caller = self.client(address, wish.clone());
        let Some(life) = self.life_mut(address) else { return };
        let current = life.engine.get(space, key).map(|record| record.version);
        let request = WriteRequest { id: key.id(space), key: key.clone(), operation, by };
        let (taken, effects) = life.member.write(now, wall, caller, request, current);
        if let Err(refusal) = taken {
            self.client_of(caller);
            self.report.change(address, format!("{wish}: {}", words::refusal(&refusal)));
        }
        self.carry_out(address, effects, &mut VecDeque::new());
    }

    pub(crate) fn mark(&mut self, address: &Address, key: &Key) {
        let (now, space) = (self.now, self.settings.space);
        let wish = Wish::Mark(key.clone());
        self.report.event(address, &wish);
        let caller = self.client(address, wish.clone());
        let Some(life) = self.life_mut(address) else { return self.report.effect("no answer") };
        let epoch = life.member.replica_of(key.id(space)).map(chordata_protocol::chain::Replica::epoch);
        let (marked, effects) = life.member.mark(now, caller, epoch.unwrap_or_default(), 7);
        if let Err(refusal) = marked {
            self.client_of(caller);
            self.report.change(address, format!("{wish}: {}", words::refusal(&refusal)));
        }
        self.carry_out(address, effects, &mut VecDeque::new());
    }

    pub(crate) fn get(&mut self, address: &Address, key: &Key) {
        let wish = Wish::Read { key: key.clone(), least: self.oracle.least(key) };
        self.report.event(address, &wish);
        self.read(address, wish);
    }

    fn read(&mut self, address: &Address, wish: Wish) {
        let Wish::Read { key, least } = wish.clone() else { return };
        let (now, space) = (self.now, self.settings.space);
        if !self.is_running(address) {
            return self.report.effect("no answer");
        }
        let caller = self.client(address, wish.clone());
        let Some(life) = self.life_mut(address) else { return };
        let read = life.member.read(now, caller, key.id(space), &key);
        let said = match read {
            Read::Wait => return self.report.effect("waits"),
            Read::Here(as_of) => {
                let record = life.engine.get(space, &key);
                let version = record.map_or(as_of, |record| record.version);
                let what = record.map_or(format!("nothing (as of {as_of})"), |record| {
                    format!("{} {}", record.value, record.version)
                });
                if least.is_some_and(|least| version < least) {
                    self.report.say("!! this is older than what was acknowledged before it was asked for");
                }
                what
            }
            Read::Ask(tail) => {
                self.client_of(caller);
                self.report.effect(format!("asks {}", words::peer(&tail)));
                self.report.event(&tail.address, format!("{wish}, asked by {address}"));
                return self.read(&tail.address, wish);
            }
            Read::Elsewhere(others) => format!("not here, ask {}", words::candidates(&others)),
            Read::Unavailable(why) => format!("refused: {why}"),
        };
        self.client_of(caller);
        self.report.change(address, format!("{wish}: {said}"));
    }

    /// A request that waited is answered.
    pub(crate) fn reply(&mut self, caller: Caller, reply: &Reply) {
        let Some((address, wish)) = self.client_of(caller) else { return };
        match (&wish, reply) {
            (Wish::Read { .. }, _) => self.read(&address, wish),
            (Wish::Mark(_), _) => self.report.change(&address, format!("{wish}: it is in the log")),
            (Wish::Write { key, by, .. }, Reply::Done { outcome, at }) => {
                match outcome {
                    Outcome::Written(version) => self.oracle.acknowledged(key, *version),
                    Outcome::Deleted(Some(_)) => self.oracle.acknowledged(key, *at),
                    Outcome::Deleted(None) | Outcome::Conflict(_) => {}
                }
                let differs = by.and_then(|by| self.oracle.told((by.client, by.sequence), *outcome, *at));
                self.report.change(&address, format!("{wish}: {}", words::reply(reply)));
                if let Some(other) = differs {
                    self.report.say(format!("!! the same write was answered before: {other}"));
                }
            }
            (Wish::Write { .. }, _) => {
                self.report.change(&address, format!("{wish}: {}", words::reply(reply)));
            }
        }
    }
}
