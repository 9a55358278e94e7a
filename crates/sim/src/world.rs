//! The simulated world: nodes, clients, and the queue of what will happen.

mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chordata_protocol::membership::Membership;
use chordata_protocol::procedure::Ticket;
use chordata_protocol::procedure::admit::{Admit, Place};
use chordata_protocol::procedure::refresh::{RefreshAll, RefreshedAll};
use chordata_protocol::procedure::renumber::Renumber;
use chordata_protocol::ring::{Caller, Change, Effect, Event, Ring, RingSettings, Timer, Token};
use chordata_protocol::{
    Address, CallError, Id, Key, Peer, Placement, Record, Request, Response, Time, Value, Version,
};
use chordata_store::{Change as Write, Engine, MemoryEngine, transfer};

use crate::client::{Client, Counters};
use crate::jobs::{Found, Job, JobId, Next, Walk};
use crate::network::Network;

/// How long a request to a node that serves a key may wait there for a hand-over.
const PARKED_MAX: Duration = Duration::from_secs(10);
/// Why the simulation expects no errors of its stores.
const MEMORY: &str = "an engine in memory has no disk that could fail";

/// One simulated node.
#[derive(Debug)]
pub struct Node {
    /// The real state machine.
    pub ring: Ring,
    /// Its keys.
    pub store: MemoryEngine,
    timers: BTreeMap<Timer, u64>,
    parked: Vec<(usize, Time)>,
}

fn bulk_key(number: u64) -> Key {
    Key::new(format!("bulk-{number}"))
}

/// Who gets an answer.
#[derive(Clone, Debug)]
enum ReplyTo {
    Ring { address: Address, life: u64, token: Token },
    Job { job: JobId, ticket: Ticket },
}

#[derive(Debug)]
enum Item {
    Ask { to: Peer, request: Request, reply_to: ReplyTo, from: Address },
    Reply { reply_to: ReplyTo, result: Result<Response, CallError> },
    Timer { address: Address, life: u64, timer: Timer, setting: u64 },
    Job(JobId),
    Client(usize),
    Data { client: usize, to: Address },
    DataAnswer { client: usize, answer: DataAnswer },
    Join(Address, Placement),
}

#[derive(Debug)]
enum DataAnswer {
    Done(Option<Record>),
    Elsewhere,
    Silence,
}

/// Everything.
#[derive(Debug)]
pub struct World {
    /// What every node was told.
    pub settings: RingSettings,
    /// The only randomness.
    pub random: fastrand::Rng,
    /// The network.
    pub network: Network,
    /// Live nodes.
    pub nodes: BTreeMap<Address, Node>,
    /// Identifiers of dead nodes that may come back.
    pub graves: BTreeMap<Address, (Id, Vec<Peer>)>,
    /// What happened.
    pub counters: Counters,
    /// Until when a live node may be taken for dead: no safety is promised till then.
    pub suspicion_until: Time,
    /// What went wrong.
    pub failures: Vec<String>,
    /// Sums up everything that happened: two runs of one seed must have the same.
    pub trace_hash: u64,
    /// Print every event?
    pub verbose: bool,
    /// Results of refreshes of the whole ring.
    pub refreshes: Vec<RefreshedAll>,
    /// Has what nodes serve changed since this was last reset?
    pub serving_changed: bool,
    /// Must reads agree with the oracle? Not where nodes die with their keys.
    pub check_reads: bool,
    now: Time,
    queue: BTreeMap<(Time, u64), Item>,
    next_item: u64,
    lives: BTreeMap<Address, u64>,
    jobs: BTreeMap<JobId, Job>,
    joining: BTreeMap<JobId, (Address, Placement)>,
    lookups: BTreeMap<JobId, usize>,
    clients: Vec<Client>,
    clients_idle: bool,
    next_job: u64,
    next_setting: u64,
}

impl World {
    /// An empty world.
    pub fn new(settings: RingSettings, seed: u64) -> World {
        World {
            settings,
            random: fastrand::Rng::with_seed(seed),
            network: Network::default(),
            nodes: BTreeMap::new(),
            graves: BTreeMap::new(),
            counters: Counters::default(),
            suspicion_until: Time::ZERO,
            failures: Vec::new(),
            trace_hash: 0xcbf2_9ce4_8422_2325,
            verbose: false,
            refreshes: Vec::new(),
            serving_changed: false,
            check_reads: true,
            now: Time::ZERO,
            queue: BTreeMap::new(),
            next_item: 0,
            lives: BTreeMap::new(),
            jobs: BTreeMap::new(),
            joining: BTreeMap::new(),
            lookups: BTreeMap::new(),
            clients: Vec::new(),
            clients_idle: false,
            next_job: 0,
            next_setting: 0,
        }
    }

    /// The time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Nodes that are in the ring.
    pub fn members(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|node| node.ring.is_member())
    }

    fn member_addresses(&self) -> Vec<Address> {
        self.members().map(|node| node.ring.me().address.clone()).collect()
    }

    /// A random member.
    pub fn any_member(&mut self) -> Option<Address> {
        let members = self.member_addresses();
        if members.is_empty() { None } else { Some(members[self.random.usize(..members.len())].clone()) }
    }

    fn push(&mut self, after: Duration, item: Item) {
        self.next_item += 1;
        self.queue.insert((self.now + after, self.next_item), item);
    }

    // What scenarios do.

    /// The first node.
    pub fn start_alone(&mut self, address: &Address, id: Id) {
        self.insert_node(Peer::new(id, address.clone()), &[]);
        self.event(address, Event::StartAlone);
    }

    /// A node asks a random member to be admitted.
    pub fn join(&mut self, address: Address, placement: Placement) {
        let Some(entry) = self.any_member() else { return };
        let Some(node) = self.nodes.get(&entry) else { return };
        let (me, middle) = (node.ring.me().clone(), node.ring.widest_middle());
        let admit =
            Admit::new(self.settings.space, self.settings.hop_limit, &me, address.clone(), placement, middle);
        let job = self.start_job(entry, Walk::Admit(admit));
        self.joining.insert(job, (address, placement));
    }

    /// A node wants to leave.
    pub fn depart(&mut self, address: &Address) {
        self.event(address, Event::Depart);
    }

    /// A node dies.
    pub fn crash(&mut self, address: &Address) {
        if let Some(node) = self.nodes.remove(address) {
            let known = node.ring.known().peers().collect();
            self.graves.insert(address.clone(), (node.ring.me().id, known));
        }
        *self.lives.entry(address.clone()).or_default() += 1;
    }

    /// A dead node comes back under its id.
    pub fn revive(&mut self, address: &Address) {
        if let Some((id, _)) = self.graves.remove(address) {
            self.join(address.clone(), Placement::Fixed(id));
        }
    }

    /// A node has all fingers of all nodes refreshed.
    pub fn refresh_all(&mut self, address: &Address) {
        if let Some(node) = self.nodes.get(address) {
            let walk = RefreshAll::new(std::slice::from_ref(node.ring.me()));
            self.start_job(address.clone(), Walk::Refresh(walk));
        }
    }

    /// Stores so many keys at the first node, before anybody joins.
    pub fn store_bulk(&mut self, first: &Address, count: u64) {
        let space = self.settings.space;
        let Some(node) = self.nodes.get_mut(first) else { return };
        for number in 0..count {
            let (key, version) = (bulk_key(number), Version { epoch: 1, sequence: 0 });
            let record = Record { version, value: Value::from(vec![0; 100]), expires: None };
            node.store.apply(vec![Write::Put(key.id(space), key, record)]).expect(MEMORY);
        }
    }

    /// Are they all there, each at the node that serves it?
    ///
    /// # Errors
    /// When some are missing.
    pub fn check_bulk(&self, count: u64) -> Result<(), String> {
        let missing = (0..count).map(bulk_key).filter(|key| {
            let id = key.id(self.settings.space);
            let server = self.members().find(|node| node.ring.serves(id));
            server.is_none_or(|node| node.store.get(id, key).expect(MEMORY).is_none())
        });
        let missing: Vec<Key> = missing.collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!("{} of {count} keys are lost, {:?} first", missing.len(), missing[0]))
    }

    /// Starts this many clients.
    pub fn start_clients(&mut self, count: usize) {
        self.clients_idle = false;
        for number in 0..count {
            self.clients.push(Client::new(Key::new(format!("key-{number}"))));
            self.push(Duration::from_millis(number as u64 * 7), Item::Client(number));
        }
    }

    /// Clients end what they do and begin nothing new.
    pub fn stop_clients(&mut self) {
        self.clients_idle = true;
    }

    /// The clients' keys.
    pub fn client_ids(&self) -> Vec<Id> {
        self.clients.iter().map(|client| client.key.id(self.settings.space)).collect()
    }

    /// Lets everything happen up to a moment; `watch` is called after each event.
    pub fn run_until(&mut self, until: Time, watch: &mut dyn FnMut(&mut World)) {
        while let Some((&(at, number), _)) = self.queue.first_key_value() {
            if at > until || !self.failures.is_empty() {
                break;
            }
            self.now = at;
            if let Some(item) = self.queue.remove(&(at, number)) {
                self.note(&item);
                self.happen(item);
            }
            watch(self);
        }
        self.now = self.now.max(until);
    }

    fn note(&mut self, item: &Item) {
        if self.verbose {
            println!("{:>12} {item:?}", self.now.as_micros());
        }
        let at = self.now.as_micros();
        let line = match item {
            Item::Ask { to, request, from, .. } => format!("{at} {from} {to} {}", request.name()),
            Item::Reply { reply_to, result } => {
                format!("{at} {reply_to:?} {:?}", result.as_ref().map(std::mem::discriminant))
            }
            other => format!("{at} {other:?}"),
        };
        for byte in line.bytes() {
            self.trace_hash = (self.trace_hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    // What happens.

    fn insert_node(&mut self, me: Peer, known: &[Peer]) {
        let address = me.address.clone();
        *self.lives.entry(address.clone()).or_default() += 1;
        let ring = Ring::new(self.settings.clone(), me, self.random.u64(..), known);
        let node = Node { ring, store: MemoryEngine::default(), timers: BTreeMap::new(), parked: Vec::new() };
        self.nodes.insert(address, node);
    }

    fn life(&self, address: &Address) -> u64 {
        self.lives.get(address).copied().unwrap_or(0)
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Ask { to, request, reply_to, from } => self.asked(&to, request, reply_to, &from),
            Item::Reply { reply_to: ReplyTo::Ring { address, life, token }, result } => {
                if self.life(&address) == life {
                    self.event(&address, Event::Reply { token, result });
                }
            }
            Item::Reply { reply_to: ReplyTo::Job { job, ticket }, result } => {
                if let Some(running) = self.jobs.get_mut(&job) {
                    running.walk.answered(self.now, ticket, result);
                    self.step_job(job);
                }
            }
            Item::Timer { address, life, timer, setting } => {
                let current = self.nodes.get(&address).and_then(|node| node.timers.get(&timer));
                if current == Some(&setting) && self.life(&address) == life {
                    self.event(&address, Event::Timer(timer));
                }
            }
            Item::Job(job) => self.step_job(job),
            Item::Client(client) => self.client_begins(client),
            Item::Join(address, placement) => self.join(address, placement),
            Item::Data { client, to } => self.data_asked(client, &to),
            Item::DataAnswer { client, answer } => self.data_answered(client, answer),
        }
    }

    /// Sends a question; whatever happens, an answer, a refusal or silence comes back.
    fn send(&mut self, from: &Address, to: Peer, request: Request, reply_to: ReplyTo) {
        let timeout = self.settings.call_timeout;
        match self.network.delay(&mut self.random, from, &to.address) {
            Some(delay) => {
                self.push(delay, Item::Ask { to, request, reply_to, from: from.clone() });
            }
            None => self.lose(&to.address, timeout, reply_to),
        }
    }

    fn lose(&mut self, to: &Address, after: Duration, reply_to: ReplyTo) {
        self.counters.count("lost message");
        if self.nodes.contains_key(to) {
            self.suspicion_until = self.now + Duration::from_secs(30);
        }
        self.push(after, Item::Reply { reply_to, result: Err(CallError::TimedOut) });
    }

    fn asked(&mut self, to: &Peer, request: Request, reply_to: ReplyTo, from: &Address) {
        let result = if self.nodes.contains_key(&to.address) {
            let response = self.event(&to.address, Event::Asked { caller: Caller(0), request });
            response.ok_or(CallError::Unreachable)
        } else {
            Err(CallError::Unreachable)
        };
        match self.network.delay(&mut self.random, &to.address, from) {
            Some(delay) => self.push(delay, Item::Reply { reply_to, result }),
            None => self.lose(&to.address, self.settings.call_timeout, reply_to),
        }
    }

    /// Gives a node an event and carries out the effects; an answer is returned.
    pub fn event(&mut self, address: &Address, event: Event) -> Option<Response> {
        let mut events = vec![event];
        let mut response = None;
        while let Some(event) = events.pop() {
            let Some(node) = self.nodes.get_mut(address) else { return response };
            for effect in node.ring.handle(self.now, event) {
                if let Some(next) = self.carry_out(address, effect, &mut response) {
                    events.push(next);
                }
            }
        }
        response
    }

    fn carry_out(
        &mut self,
        address: &Address,
        effect: Effect,
        answer: &mut Option<Response>,
    ) -> Option<Event> {
        let space = self.settings.space;
        let life = self.life(address);
        let node = self.nodes.get_mut(address)?;
        match effect {
            Effect::Call { token, to, request } => {
                let reply_to = ReplyTo::Ring { address: address.clone(), life, token };
                self.send(address, to, request, reply_to);
            }
            Effect::Answer { response, .. } => *answer = Some(response),
            Effect::SetTimer { timer, after } => {
                self.next_setting += 1;
                node.timers.insert(timer, self.next_setting);
                let setting = self.next_setting;
                self.push(after, Item::Timer { address: address.clone(), life, timer, setting });
            }
            Effect::ReadRange { token, range, after, bytes_max } => {
                let read = transfer::read_range(&node.store, space, range, after, bytes_max);
                let (entries, next) = read.expect(MEMORY);
                return Some(Event::Entries { token, entries, next });
            }
            Effect::ReadKeys { token, keys, bytes_max } => {
                let entries = transfer::read_keys(&node.store, space, keys, bytes_max).expect(MEMORY);
                return Some(Event::Entries { token, entries, next: None });
            }
            Effect::Merge(entries) => {
                transfer::merge(&mut node.store, space, entries).expect(MEMORY);
            }
            Effect::Erase(range) => {
                transfer::erase(&mut node.store, range).expect(MEMORY);
            }
            Effect::Renumber => {
                let me = node.ring.me().clone();
                let walk = Renumber::new(me.id, std::slice::from_ref(&me));
                self.start_job(address.clone(), Walk::Renumber(walk));
            }
            Effect::Changed(change) => self.note_change(address, &change),
        }
        None
    }

    fn note_change(&mut self, address: &Address, change: &Change) {
        if self.verbose {
            println!("{:>12}     {address}: {change:?}", self.now.as_micros());
        }
        match change {
            Change::Joined => self.counters.count("joined"),
            Change::Left => {
                self.counters.count("departed");
                self.crash(address);
                self.graves.remove(address);
            }
            Change::DepartFailed(_) => self.counters.count("departure failed"),
            Change::HandingOver { .. } => self.counters.count("hand-over"),
            Change::HandOverFailed { .. } => self.counters.count("hand-over failed"),
            Change::Claimed(_) => self.counters.count("claimed"),
            Change::Serving(_) => {
                self.serving_changed = true;
                self.wake_parked(address);
            }
            Change::JoinFailed => {
                self.counters.count("join failed");
                if let Some(node) = self.nodes.get(address) {
                    let id = node.ring.me().id;
                    self.crash(address);
                    self.graves.remove(address);
                    self.join(address.clone(), Placement::Fixed(id));
                }
            }
            Change::Predecessor(_)
            | Change::Successor(_)
            | Change::Alone
            | Change::Suspected(_)
            | Change::Members(_)
            | Change::Learned(_) => {}
        }
    }

    // Walks.

    fn start_job(&mut self, from: Address, walk: Walk) -> JobId {
        self.next_job += 1;
        self.jobs.insert(self.next_job, Job { from, walk });
        self.push(Duration::ZERO, Item::Job(self.next_job));
        self.next_job
    }

    fn step_job(&mut self, job: JobId) {
        let Some(running) = self.jobs.get_mut(&job) else { return };
        match running.walk.step(self.now) {
            Next::Ask(questions) => {
                let from = running.from.clone();
                for (ticket, peer, request) in questions {
                    let reply_to = ReplyTo::Job { job, ticket };
                    if peer.address == from && self.nodes.contains_key(&from) {
                        let response = self.event(&from, Event::Asked { caller: Caller(0), request });
                        let result = response.ok_or(CallError::Unreachable);
                        self.push(Duration::ZERO, Item::Reply { reply_to, result });
                    } else {
                        self.send(&from, peer, request, reply_to);
                    }
                }
            }
            Next::Sleep(pause) => self.push(pause, Item::Job(job)),
            Next::Done(found) => {
                let ended = self.jobs.remove(&job);
                self.job_done(job, ended, found);
            }
        }
    }

    fn job_done(&mut self, job: JobId, ended: Option<Job>, found: Found) {
        match found {
            Found::Renumbered(_) => {
                if let Some(job) = ended {
                    self.event(&job.from, Event::RenumberEnded);
                }
            }
            Found::Admitted(result) => {
                let Some((address, placement)) = self.joining.remove(&job) else { return };
                match result {
                    Ok(place) => self.admitted(&address, place),
                    Err(_) => {
                        self.counters.count("admission retried");
                        // Ask again in a while, through whom is there then.
                        let pause = Duration::from_millis(self.random.u64(100..600));
                        self.push(pause, Item::Join(address, placement));
                    }
                }
            }
            Found::Located(result) => {
                let Some(client) = self.lookups.remove(&job) else { return };
                match result {
                    Ok(located) => {
                        let to = located.owner.address;
                        let delay = self.network.delay_max;
                        self.push(delay, Item::Data { client, to });
                    }
                    Err(_) => self.data_answered(client, DataAnswer::Elsewhere),
                }
            }
            Found::Refreshed(result) => self.refreshes.push(result),
        }
    }

    fn admitted(&mut self, address: &Address, place: Place) {
        if self.nodes.contains_key(address) {
            return;
        }
        let me = Peer::new(place.id, address.clone());
        self.insert_node(me, std::slice::from_ref(&place.predecessor));
        self.event(address, Event::StartJoin(place.predecessor));
    }

    /// The members by their ids.
    pub fn in_order(&self) -> Vec<&Node> {
        let mut members: Vec<&Node> = self.members().collect();
        members.sort_by_key(|node| node.ring.me().id);
        members
    }

    /// The tables of all members, without repeats.
    pub fn tables(&self) -> Vec<&Membership> {
        let mut seen = BTreeSet::new();
        self.members()
            .filter_map(|node| node.ring.membership().map(|table| &**table))
            .filter(|table| seen.insert(table.stamp()))
            .collect()
    }
}
