//! Simulated clients and the oracle: each key has one writer, which knows what may be read.
//!
//! A write that was answered must be seen by every later read of its client. A write whose answer got lost is
//! *unknown*: from then on either value may be read, until one was.

use std::collections::BTreeMap;
use std::time::Duration;

use chordata_protocol::{Key, Time, Value};

/// How long a client tries one operation.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a client does to its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Doing {
    /// Stores a new value.
    Put(Value),
    /// Reads it.
    Get,
}

/// A client, which does one thing after another to one key.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its key.
    pub key: Key,
    /// What it does now.
    pub doing: Doing,
    /// When it began with that.
    pub since: Time,
    /// What may be read: the value last seen or acknowledged first, then those of unknown writes.
    possible: Vec<Option<Value>>,
    writes: u64,
}

/// Counts of what happened, for seeing that a run was worth something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Everything that was promised and happened, by name.
    pub events: BTreeMap<&'static str, u64>,
}

impl Counters {
    /// One more.
    pub fn count(&mut self, name: &'static str) {
        *self.events.entry(name).or_default() += 1;
    }

    /// How many.
    pub fn get(&self, name: &str) -> u64 {
        self.events.get(name).copied().unwrap_or(0)
    }
}

impl Client {
    /// A client of this key, which nobody has written yet.
    pub fn new(key: Key) -> Client {
        Client { key, doing: Doing::Get, since: Time::ZERO, possible: vec![None], writes: 0 }
    }

    /// Chooses what to do next.
    pub fn choose(&mut self, random: &mut fastrand::Rng, now: Time) {
        self.since = now;
        self.doing = if random.bool() {
            self.writes += 1;
            Doing::Put(Value::from(format!("{}={}", self.key, self.writes).into_bytes()))
        } else {
            Doing::Get
        };
    }

    /// The write was acknowledged.
    pub fn written(&mut self) {
        if let Doing::Put(value) = &self.doing {
            self.possible = vec![Some(value.clone())];
        }
    }

    /// It is not known whether the write was done.
    pub fn unknown(&mut self) {
        if let Doing::Put(value) = &self.doing {
            self.possible.push(Some(value.clone()));
        }
    }

    /// A value was read.
    ///
    /// # Errors
    /// When it is none of those that may be read: a sentence about it.
    pub fn read(&mut self, value: Option<Value>) -> Result<(), String> {
        if !self.possible.contains(&value) {
            return Err(format!("{}: read {value:?}, possible is {:?}", self.key, self.possible));
        }
        self.possible = vec![value];
        Ok(())
    }
}
