//! Simulated clients: what a client library does with retries, candidates and deadlines, and what it records.
//!
//! A client has several lanes, each with one operation under way. A write has one name however often it is sent. An
//! operation is *done* when an answer says so, *not done* when every attempt was certainly refused, and *unknown*
//! otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chordata_protocol::chain::{View, WriteId};
use chordata_protocol::{Id, Key, Operation, Outcome, Peer, Record, Time, Ttl, Value, Version};

use super::network::OUTSIDE;
use super::node::Attempt;
use super::queue::Item;
use super::world::World;
use crate::history::{Answer as Told, Kind, Outcome as Known, Seen};

/// How long a client tries one operation.
const PATIENCE: Duration = Duration::from_secs(5);
/// While everything is quiet it tries longer, since everything must be answered then.
const QUIET_PATIENCE: Duration = Duration::from_secs(60);
/// Shortest and longest time that it waits for an answer to one sending, in milliseconds.
const ANSWER_MS: (u64, u64) = (150, 1500);
/// Longest pause before it sends again, in milliseconds.
const AGAIN_MS: u64 = 60;
/// Share of writes that are sent once, without a name.
const NAMELESS_SHARE: f64 = 0.03;

/// Times to live, in milliseconds: over at once, or in the middle of what goes wrong then.
const TTLS_MS: [u64; 4] = [50, 1000, 6000, 25_000];
/// Stands in a value in front of its time to live.
const LIVES: char = '~';

/// How long this value is to live: values say it themselves, so that whoever sees one knows.
pub fn ttl_of(value: &Value) -> Option<Ttl> {
    let text = std::str::from_utf8(value).ok()?;
    let millis = text.rsplit_once(LIVES)?.1.parse().ok()?;
    Ttl::from_millis(millis).ok()
}

/// What a client asks a node for.
#[derive(Clone, Debug)]
pub enum Asked {
    /// A write.
    Write {
        /// The key's number.
        key: usize,
        /// What is to be done.
        operation: Operation,
        /// Its name.
        by: Option<WriteId>,
    },
    /// A read of this key.
    Read {
        /// The key's number.
        key: usize,
    },
}

/// What a node answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A write is done.
    Done {
        /// What it did.
        outcome: Outcome,
        /// Its place in the order.
        at: Version,
    },
    /// What a key holds.
    Read {
        /// What it holds.
        record: Option<Record>,
        /// If nothing: as of this version.
        as_of: Version,
    },
    /// A write may be done.
    Unknown,
    /// Nobody can tell whether an earlier sending was done; this one was not, and none will be.
    TooOld,
    /// Nothing was done: ask one of these, or ask again.
    Refused {
        /// Whom to ask next.
        candidates: Vec<Peer>,
        /// The newest view there.
        view: Option<Arc<View>>,
    },
}

impl Answer {
    /// A number that tells them apart, for the trace.
    pub fn digest(&self) -> usize {
        match self {
            Answer::Done { at, .. } => (at.epoch << 20 | at.sequence << 3) as usize,
            Answer::Read { record, as_of } => {
                let version = record.as_ref().map_or(*as_of, |record| record.version);
                (version.epoch << 20 | version.sequence << 3 | 1) as usize
            }
            Answer::Unknown => 2,
            Answer::TooOld => 3,
            Answer::Refused { candidates, .. } => 4 + 8 * candidates.len(),
        }
    }
}

/// An operation under way.
#[derive(Clone, Debug)]
struct Running {
    recorded: usize,
    key: usize,
    kind: Kind,
    by: Option<WriteId>,
    sendings: u64,
    /// May a sending have had an effect?
    maybe: bool,
    deadline: Time,
    candidates: Vec<Peer>,
}

/// One thing after another.
#[derive(Clone, Debug, Default)]
struct Lane {
    operation: u64,
    running: Option<Running>,
}

/// A client instance.
#[derive(Clone, Debug)]
pub struct Client {
    id: u128,
    next_sequence: u64,
    lanes: Vec<Lane>,
    /// The version of each key that it saw last.
    seen: BTreeMap<usize, Option<Version>>,
    view: Arc<View>,
}

impl Client {
    /// A client that knows this view.
    pub fn new(id: u128, lanes: usize, view: Arc<View>) -> Client {
        Client { id, next_sequence: 1, lanes: vec![Lane::default(); lanes], seen: BTreeMap::new(), view }
    }

    fn name(&mut self) -> WriteId {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let running = self.lanes.iter().filter_map(|lane| lane.running.as_ref()?.by);
        let done_below = running.map(|by| by.sequence).min().unwrap_or(sequence);
        WriteId { client: self.id, sequence, done_below, first_sent: self.view.index }
    }

    /// Has it nothing under way?
    pub fn is_idle(&self) -> bool {
        self.lanes.iter().all(|lane| lane.running.is_none())
    }
}

/// What is done to a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Everything.
    Hot,
    /// Puts and gets only.
    Plain,
    /// Everything, seldom.
    Cold,
}

/// A key that clients use.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The key.
    pub key: Key,
    /// Its place.
    pub id: Id,
    /// What is done to it.
    pub usage: Use,
}

/// What clients are to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Orders {
    /// Put each key once.
    Fill {
        /// The next one.
        next: usize,
    },
    /// Anything.
    Work,
    /// Nothing new.
    Rest,
    /// Read each key once, and wait for the answers.
    ReadAll {
        /// The next one.
        next: usize,
    },
}

impl World {
    /// A lane begins its next operation.
    pub(super) fn client_next(&mut self, client: usize, lane: usize) {
        if self.clients[client].lanes[lane].running.is_some() {
            return;
        }
        let Some((key, kind)) = self.client_chooses(client) else { return };
        let quiet = matches!(self.orders, Orders::ReadAll { .. } | Orders::Fill { .. });
        let patience = if quiet { QUIET_PATIENCE } else { PATIENCE };
        let writes = kind != Kind::Get;
        let named = writes && self.random.f64() >= NAMELESS_SHARE;
        let subject = self.subjects[key].key.clone();
        let recorded = self.history.invoke(client as u64, subject, kind.clone(), self.now.as_micros());
        let deadline = self.now + patience;
        let one = &mut self.clients[client];
        let by = named.then(|| one.name());
        let candidates = Vec::new();
        one.lanes[lane].operation += 1;
        one.lanes[lane].running =
            Some(Running { recorded, key, kind, by, sendings: 0, maybe: false, deadline, candidates });
        self.client_sends(client, lane);
    }

    fn client_chooses(&mut self, client: usize) -> Option<(usize, Kind)> {
        let value = |history: usize| Value::from(format!("v{client}.{history}"));
        let number = self.history.operations().len();
        match &mut self.orders {
            Orders::Rest => return None,
            Orders::Fill { next } | Orders::ReadAll { next } if *next >= self.subjects.len() => return None,
            Orders::Fill { next } => {
                *next += 1;
                return Some((*next - 1, Kind::Put(value(number))));
            }
            Orders::ReadAll { next } => {
                *next += 1;
                return Some((*next - 1, Kind::Get));
            }
            Orders::Work => {}
        }
        let (hot, plain) = (self.shape.hot_keys, self.shape.plain_keys);
        let key = match self.random.u8(..10) {
            0..=5 => self.random.usize(..hot),
            6 | 7 => hot + self.random.usize(..plain),
            _ => self.random.usize(..self.subjects.len()),
        };
        let plain = self.subjects[key].usage == Use::Plain;
        let lives = !plain && self.random.u8(..4) == 0;
        let ttl = lives.then(|| TTLS_MS[self.random.usize(..TTLS_MS.len())]);
        let value = |number: usize| match ttl {
            Some(millis) => Value::from(format!("v{client}.{number}{LIVES}{millis}")),
            None => value(number),
        };
        let kind = match self.random.u8(..10) {
            0..=2 => Kind::Put(value(number)),
            3 if !plain => Kind::Delete,
            4 | 5 if !plain => {
                let expected = self.clients[client].seen.get(&key).copied().flatten();
                let removes = self.random.u8(..6) == 0;
                Kind::CompareAndSwap { expected, value: (!removes).then(|| value(number)) }
            }
            _ => Kind::Get,
        };
        Some((key, kind))
    }

    fn client_running(&mut self, attempt: Attempt) -> Option<&mut Running> {
        let lane = &mut self.clients[attempt.client].lanes[attempt.lane];
        let current = lane.operation == attempt.operation;
        lane.running.as_mut().filter(|running| current && running.sendings == attempt.sending)
    }

    /// Sends the lane's operation, or gives it up.
    fn client_sends(&mut self, client: usize, lane: usize) {
        let now = self.now;
        let operation = self.clients[client].lanes[lane].operation;
        let Some(running) = &mut self.clients[client].lanes[lane].running else { return };
        if now >= running.deadline || (running.maybe && running.by.is_none() && running.kind != Kind::Get) {
            let known = if running.maybe { Known::Unknown } else { Known::NotDone };
            self.client_done(client, lane, known);
            return;
        }
        running.sendings += 1;
        let sending = running.sendings;
        let attempt = Attempt { client, lane, operation, sending };
        let (key, by) = (running.key, running.by);
        let candidate = (!running.candidates.is_empty()).then(|| running.candidates.remove(0));
        let asked = match running.kind.clone() {
            Kind::Get => Asked::Read { key },
            Kind::Put(value) => {
                let ttl = ttl_of(&value);
                Asked::Write { key, operation: Operation::Put { value, ttl }, by }
            }
            Kind::Delete => Asked::Write { key, operation: Operation::Delete, by },
            Kind::CompareAndSwap { expected, value } => {
                let ttl = value.as_ref().and_then(ttl_of);
                Asked::Write { key, operation: Operation::CompareAndSwap { expected, value, ttl }, by }
            }
        };
        let known = candidate.and_then(|peer| self.slots.get(&peer.address).copied());
        let to = known.unwrap_or_else(|| self.client_guesses(client, key, sending, &asked));
        let (low, high) = ANSWER_MS;
        let patience = Duration::from_millis(self.random.u64(low..=high));
        self.push(patience, Item::ClientTimeout { attempt });
        // Without a name a write must not arrive twice: nobody could tell.
        let twice = matches!(asked, Asked::Read { .. } | Asked::Write { by: Some(_), .. });
        if twice && self.network.duplicates(&mut self.random) {
            self.counters.count("duplicated request");
            // The other copy may be carried out although this one is refused.
            if let Some(running) = &mut self.clients[client].lanes[lane].running {
                running.maybe = true;
            }
            self.client_request(to, attempt, asked.clone());
        }
        self.client_request(to, attempt, asked);
    }

    fn client_request(&mut self, to: usize, attempt: Attempt, asked: Asked) {
        if let Some(delay) = self.network.delay(&mut self.random, OUTSIDE, to) {
            self.push(delay, Item::ClientAsk { to, attempt, asked });
        }
    }

    /// Whom the newest view that the client was told names; after failures anybody.
    fn client_guesses(&mut self, client: usize, key: usize, sending: u64, asked: &Asked) -> usize {
        let view = Arc::clone(&self.clients[client].view);
        let anybody = sending > 1 && self.random.u8(..3) == 0;
        let active = view.range_of(self.subjects[key].id).filter(|_| !anybody);
        let link = active.and_then(|(_, active)| {
            let clean = self.settings.replication.clean_reads;
            match asked {
                Asked::Write { .. } => active.head(),
                Asked::Read { .. } if clean => {
                    let serving = active.serving().count().max(1);
                    active.serving().nth(self.random.usize(..serving))
                }
                Asked::Read { .. } => active.tail(),
            }
        });
        let peer = link.and_then(|link| view.peer(link.store));
        let slot = peer.and_then(|peer| self.slots.get(&peer.address).copied());
        slot.unwrap_or_else(|| self.random.usize(..self.nodes.len()))
    }

    /// An answer arrives.
    pub(super) fn client_answered(&mut self, attempt: Attempt, answer: Answer) {
        let Some(running) = self.client_running(attempt) else { return };
        let (client, lane) = (attempt.client, attempt.lane);
        match answer {
            Answer::Done { outcome, at } => {
                let told = match outcome {
                    Outcome::Written(version) => Told::Written(version),
                    Outcome::Deleted(was) => Told::Deleted { version: at, existed: was.is_some() },
                    Outcome::Conflict(Some(version)) => Told::Conflict(Seen::Version(version)),
                    Outcome::Conflict(None) => Told::Conflict(Seen::Absent { as_of: at }),
                };
                let seen = match outcome {
                    Outcome::Written(version) => Some(version),
                    Outcome::Deleted(_) => None,
                    Outcome::Conflict(found) => found,
                };
                let key = running.key;
                self.clients[client].seen.insert(key, seen);
                self.client_done(client, lane, Known::Done(told));
            }
            Answer::Read { record, as_of } => {
                let key = running.key;
                self.clients[client].seen.insert(key, record.as_ref().map(|record| record.version));
                let told = record.map_or(Told::Absent { as_of }, Told::Found);
                self.client_done(client, lane, Known::Done(told));
            }
            Answer::Unknown => {
                running.maybe = true;
                self.client_pauses(attempt);
            }
            Answer::TooOld => {
                let known = if running.maybe { Known::Unknown } else { Known::NotDone };
                self.counters.count("too old");
                self.client_done(client, lane, known);
            }
            Answer::Refused { candidates, view } => {
                running.candidates = candidates;
                let at_once = !running.candidates.is_empty() && !attempt.sending.is_multiple_of(4);
                if let Some(view) = view {
                    self.client_learns(client, view);
                }
                if at_once {
                    self.client_sends(client, lane);
                } else {
                    self.client_pauses(attempt);
                }
            }
        }
    }

    fn client_learns(&mut self, client: usize, view: Arc<View>) {
        let one = &mut self.clients[client];
        if one.view.index < view.index {
            one.view = view;
        }
    }

    fn client_pauses(&mut self, attempt: Attempt) {
        let pause = Duration::from_millis(self.random.u64(1..AGAIN_MS));
        self.push(pause, Item::ClientAgain { attempt });
    }

    /// No answer came.
    pub(super) fn client_timed_out(&mut self, attempt: Attempt) {
        if let Some(running) = self.client_running(attempt) {
            running.maybe = true;
            running.candidates.clear();
            self.client_sends(attempt.client, attempt.lane);
        }
    }

    /// It sends again, unless it was answered meanwhile.
    pub(super) fn client_again(&mut self, attempt: Attempt) {
        if self.client_running(attempt).is_some() {
            self.client_sends(attempt.client, attempt.lane);
        }
    }

    fn client_done(&mut self, client: usize, lane: usize, known: Known) {
        let Some(running) = self.clients[client].lanes[lane].running.take() else { return };
        let name = match &known {
            Known::Done(_) => "operation done",
            Known::NotDone => "operation refused",
            Known::Unknown => "operation unknown",
        };
        self.counters.count(name);
        let known = self.saboteur.outcome(&running.kind, running.recorded as u64, known);
        if running.sendings > 1 && matches!(known, Known::Done(_)) && running.maybe {
            self.counters.count("done after a retry");
        }
        self.history.close(running.recorded, self.now.as_micros(), known);
        let busy = matches!(self.orders, Orders::Fill { .. } | Orders::ReadAll { .. });
        let pause = if busy { 100 } else { self.random.u64(500..60_000) };
        self.push(Duration::from_micros(pause), Item::ClientNext { client, lane });
    }

    /// All lanes of all clients begin.
    pub fn start_clients(&mut self, orders: Orders) {
        self.orders = orders;
        for client in 0..self.clients.len() {
            for lane in 0..self.clients[client].lanes.len() {
                let after = Duration::from_micros(self.random.u64(..20_000));
                self.push(after, Item::ClientNext { client, lane });
            }
        }
    }
}
