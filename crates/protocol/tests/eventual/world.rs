//! A cluster in discrete events: nodes with disks and clocks, a network that loses, delays and parts, and a ring that every
//! node sees in its own way and a little late.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chordata_protocol::eventual::{
    Caller, Change, ClientError, Counters, Durability, Effect, Event, Eventual, Member, Outcome, Request,
    Response, Settings, Stamped, StoreId, Table, Timer, Token,
};
use chordata_protocol::{CallError, Id, Key, Moment, Operation, Space, Time, Ttl, Version};

use crate::disk::Disk;

/// Copies of a key.
pub(crate) const REPLICAS: usize = 3;
const CALL_TIMEOUT: Duration = Duration::from_secs(1);
const FRAME_BYTES_MAX: usize = 1024 * 1024 + 256 * 1024;
/// After how long without an answer a node is not seen in the ring any more.
const SUSPECTED_AFTER: Duration = Duration::from_secs(2);
/// The time of day when the simulation begins, in milliseconds.
const START_WALL_MS: u64 = 1_700_000_000_000;

/// How wrong wall clocks are, either way.
const WALL_OFFSET_MAX_MS: i64 = 2000;

fn wall_ms(now: Time, offset: i64) -> u64 {
    START_WALL_MS.saturating_add_signed(offset) + now.as_micros() / 1000
}

/// Something that will happen.
#[derive(Clone, Debug)]
enum Next {
    /// A request arrives.
    Arrive {
        to: StoreId,
        from: StoreId,
        life: u64,
        token: Token,
        request: Request,
    },
    /// An answer arrives, or its time is over.
    Answered {
        to: StoreId,
        life: u64,
        token: Token,
        result: Result<Response, CallError>,
    },
    Timer {
        node: StoreId,
        life: u64,
        timer: Timer,
        generation: u64,
    },
    Synced {
        node: StoreId,
        life: u64,
        token: Token,
        position: usize,
    },
    /// A node looks at the ring.
    Look {
        node: StoreId,
        life: u64,
    },
}

/// Whoever waits for an answer of a node.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Node { store: StoreId, life: u64, token: Token },
    Client,
}

pub(crate) struct Node {
    pub(crate) place: Id,
    /// None while it is down.
    pub(crate) machine: Option<Eventual>,
    pub(crate) disk: Disk,
    /// Is it in the ring (or down, but not departed)?
    pub(crate) member: bool,
    /// Counts its lives.
    life: u64,
    timers: BTreeMap<Timer, u64>,
    callers: BTreeMap<Caller, Origin>,
    /// Its clock is wrong by so many milliseconds.
    wall_offset: i64,
    down_since: Time,
    /// What it was told when it was admitted.
    admitted: Option<Version>,
    /// Which side of a partition it is on.
    pub(crate) side: u8,
}

/// What became of a client's request.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) caller: Caller,
    pub(crate) result: Result<Outcome, ClientError>,
}

pub(crate) struct World {
    pub(crate) space: Space,
    pub(crate) now: Time,
    pub(crate) nodes: BTreeMap<StoreId, Node>,
    pub(crate) random: fastrand::Rng,
    queue: BTreeMap<(Time, u64), Next>,
    sequence: u64,
    /// Of 1000 messages, so many get lost.
    pub(crate) loss: u32,
    pub(crate) settings: Settings,
    pub(crate) done: Vec<Done>,
    /// Everything that was ever stored anywhere.
    pub(crate) ever: BTreeMap<Key, BTreeMap<Version, Stamped>>,
    /// Of nodes' earlier lives.
    past: Counters,
    /// Messages that did not arrive.
    pub(crate) lost: u64,
    /// Unsynced changes that crashes took.
    pub(crate) unsynced_lost: u64,
    /// Stores that the caller of `handle` knows as forgotten.
    pub(crate) forgotten: BTreeSet<StoreId>,
}

impl World {
    pub(crate) fn new(seed: u64, durability: Durability) -> World {
        let space = Space::new(8).unwrap();
        World {
            space,
            now: Time::ZERO,
            nodes: BTreeMap::new(),
            random: fastrand::Rng::with_seed(seed),
            queue: BTreeMap::new(),
            sequence: 0,
            loss: 0,
            settings: Settings {
                space,
                durability,
                repair_one_in: 4,
                recheck_every: Duration::from_secs(10),
                ..Settings::default()
            },
            done: Vec::new(),
            ever: BTreeMap::new(),
            past: Counters::default(),
            lost: 0,
            unsynced_lost: 0,
            forgotten: BTreeSet::new(),
        }
    }

    // Nodes.

    /// A new node, at a free place.
    pub(crate) fn add(&mut self) -> StoreId {
        let store = StoreId((self.nodes.len() as u128 + 1) << 64 | u128::from(self.random.u64(..)));
        let taken: BTreeSet<Id> = self.nodes.values().map(|node| node.place).collect();
        let mut place = Id::from_u128(u128::from(self.random.u8(..)));
        while taken.contains(&place) {
            place = self.space.next(place);
        }
        let admitted = self.up().first().map(|store| self.machine(*store).highest());
        let node = Node {
            admitted,
            place,
            machine: None,
            disk: Disk::new(self.space),
            member: true,
            life: 0,
            timers: BTreeMap::new(),
            callers: BTreeMap::new(),
            wall_offset: self.random.i64(-WALL_OFFSET_MAX_MS..WALL_OFFSET_MAX_MS),
            down_since: Time::ZERO,
            side: 0,
        };
        self.nodes.insert(store, node);
        self.start(store);
        store
    }

    pub(crate) fn start(&mut self, store: StoreId) {
        let seed = self.random.u64(..);
        let offset = self.random.i64(-WALL_OFFSET_MAX_MS..WALL_OFFSET_MAX_MS);
        let settings = self.settings.clone();
        let node = self.nodes.get_mut(&store).unwrap();
        assert!(node.machine.is_none());
        node.life += 1;
        node.wall_offset = offset;
        node.machine = Some(Eventual::new(settings, store, seed, node.disk.remembered()));
        let life = node.life;
        self.at(Duration::ZERO, Next::Look { node: store, life });
    }

    pub(crate) fn crash(&mut self, store: StoreId) {
        let node = self.nodes.get_mut(&store).unwrap();
        let Some(machine) = node.machine.take() else { return };
        add(&mut self.past, machine.counters());
        let before = node.disk.content.records.clone();
        node.disk.crash(&mut self.random);
        self.unsynced_lost += u64::from(before != node.disk.content.records);
        node.timers.clear();
        node.callers.clear();
        node.down_since = self.now;
    }

    pub(crate) fn up(&self) -> Vec<StoreId> {
        self.nodes.iter().filter(|(_, node)| node.machine.is_some()).map(|(store, _)| *store).collect()
    }

    pub(crate) fn machine(&self, store: StoreId) -> &Eventual {
        self.nodes[&store].machine.as_ref().unwrap()
    }

    /// What all nodes did, in all their lives.
    pub(crate) fn counters(&self) -> Counters {
        let mut sum = self.past;
        for machine in self.nodes.values().filter_map(|node| node.machine.as_ref()) {
            add(&mut sum, machine.counters());
        }
        sum
    }

    /// The ring as it is: members that are up.
    pub(crate) fn table(&self) -> Table {
        let members = self.nodes.iter().filter(|(_, node)| node.member && node.machine.is_some());
        let members = members.map(|(store, node)| Member { id: node.place, store: *store });
        Table::new(members.collect(), REPLICAS)
    }

    /// The ring as a node sees it: who was there a moment ago and can be reached.
    fn seen_by(&self, store: StoreId) -> Table {
        let side = self.nodes[&store].side;
        let members = self.nodes.iter().filter(|(_, node)| {
            let gone = node.machine.is_none() && self.now.since(node.down_since) > SUSPECTED_AFTER;
            node.member && node.side == side && !gone
        });
        let members = members.map(|(store, node)| Member { id: node.place, store: *store });
        Table::new(members.collect(), REPLICAS)
    }

    // Time.

    fn at(&mut self, after: Duration, next: Next) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), next);
    }

    /// Lets time go by.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            self.now = entry.key().0;
            let next = entry.remove();
            self.happen(next);
        }
        self.now = end;
    }

    fn lives(&self, store: StoreId, life: u64) -> bool {
        self.nodes.get(&store).is_some_and(|node| node.machine.is_some() && node.life == life)
    }

    fn happen(&mut self, next: Next) {
        match next {
            Next::Arrive { to, from, life, token, request } => {
                if self.nodes[&to].machine.is_none() || self.nodes[&to].side != self.nodes[&from].side {
                    self.lost += 1;
                    return;
                }
                let caller = self.caller(to, Origin::Node { store: from, life, token });
                self.handle(to, Event::Asked { caller, from, request });
            }
            Next::Answered { to, life, token, result } if self.lives(to, life) => {
                self.handle(to, Event::Reply { token, result });
            }
            Next::Timer { node, life, timer, generation } if self.lives(node, life) => {
                if self.nodes[&node].timers.get(&timer) == Some(&generation) {
                    self.handle(node, Event::Timer(timer));
                }
            }
            Next::Synced { node, life, token, position } if self.lives(node, life) => {
                self.nodes.get_mut(&node).unwrap().disk.synced_up_to(position);
                self.handle(node, Event::Persisted { token });
            }
            Next::Look { node, life } if self.lives(node, life) => {
                let table = self.seen_by(node);
                let forgotten = self.forgotten.clone();
                let seen = self.nodes[&node].admitted;
                self.handle(node, Event::Members { table, forgotten, seen });
                let after = Duration::from_millis(self.random.u64(200..1500));
                self.at(after, Next::Look { node, life });
            }
            Next::Answered { .. } | Next::Timer { .. } | Next::Synced { .. } | Next::Look { .. } => {}
        }
    }

    /// What a node's wall clock shows.
    pub(crate) fn wall(&self, store: StoreId) -> Moment {
        Moment::from_millis(wall_ms(self.now, self.nodes[&store].wall_offset))
    }

    /// What the wall clock shows that is ahead of all others.
    pub(crate) fn latest(&self) -> Moment {
        Moment::from_millis(wall_ms(self.now, WALL_OFFSET_MAX_MS))
    }

    /// By no wall clock is it so long ago.
    pub(crate) fn long_ago(&self, since: Duration) -> Moment {
        let since = i64::try_from(since.as_millis()).unwrap();
        Moment::from_millis(wall_ms(self.now, -WALL_OFFSET_MAX_MS - since))
    }

    // Nodes' effects.

    fn caller(&mut self, store: StoreId, origin: Origin) -> Caller {
        self.sequence += 1;
        let caller = Caller(self.sequence);
        self.nodes.get_mut(&store).unwrap().callers.insert(caller, origin);
        caller
    }

    pub(crate) fn handle(&mut self, store: StoreId, event: Event) {
        let now = self.now;
        let node = self.nodes.get_mut(&store).unwrap();
        let wall = wall_ms(now, node.wall_offset);
        let Some(machine) = node.machine.as_mut() else { return };
        let effects = machine.handle(now, wall, event, &node.disk.content);
        for effect in effects {
            self.carry_out(store, effect);
        }
    }

    fn carry_out(&mut self, store: StoreId, effect: Effect) {
        let (life, latest) = (self.nodes[&store].life, self.latest());
        match effect {
            Effect::Store(changes) => {
                for change in &changes {
                    if let Change::Put(key, held) = change {
                        let versions = self.ever.entry(key.clone()).or_default();
                        let fresh = !versions.contains_key(&held.version);
                        let before = versions.entry(held.version).or_insert_with(|| held.clone()).clone();
                        // A value that has ended, by a clock that is ahead at most, is a tombstone.
                        assert!(
                            before == *held || before.clone().at(latest) == *held,
                            "one stamp, one content"
                        );
                        if fresh {
                            assert_eq!(
                                held.version.sequence,
                                store.tag(),
                                "the first to store it stamped it"
                            );
                            let bound = self.nodes[&store].disk.durable_bound();
                            assert!(held.version.epoch <= bound, "no stamp is above the bound on disk");
                        }
                    }
                }
                self.nodes.get_mut(&store).unwrap().disk.store(changes);
            }
            Effect::Persist { token } => {
                let position = self.nodes[&store].disk.position();
                let after = Duration::from_micros(self.random.u64(500..8000));
                self.at(after, Next::Synced { node: store, life, token, position });
            }
            Effect::Call { token, to, request } => {
                assert!(!matches!(&request, Request::Copy { entries, .. } if entries.is_empty()));
                assert!(to != store, "a node does not call itself");
                assert!(postcard::to_allocvec(&request).unwrap().len() <= FRAME_BYTES_MAX);
                let result = Err(CallError::TimedOut);
                self.at(CALL_TIMEOUT, Next::Answered { to: store, life, token, result });
                if let Some(after) = self.travel(store, to) {
                    self.at(after, Next::Arrive { to, from: store, life, token, request });
                }
            }
            Effect::Answer { caller, response } => {
                let origin = self.nodes.get_mut(&store).unwrap().callers.remove(&caller).unwrap();
                let Origin::Node { store: to, life, token } = origin else { panic!("a node asked") };
                assert!(postcard::to_allocvec(&response).unwrap().len() <= FRAME_BYTES_MAX);
                if let Some(after) = self.travel(store, to) {
                    self.at(after, Next::Answered { to, life, token, result: Ok(response) });
                }
            }
            Effect::Done { caller, result } => {
                let origin = self.nodes.get_mut(&store).unwrap().callers.remove(&caller);
                assert!(matches!(origin, Some(Origin::Client)), "a client is answered once");
                if let Ok(Outcome::Found(Some(held))) = &result {
                    assert_eq!(held.clone().at(self.wall(store)), *held, "what has ended is not answered");
                }
                self.done.push(Done { caller, result });
            }
            Effect::SetTimer { timer, after } => {
                self.sequence += 1;
                let generation = self.sequence;
                self.nodes.get_mut(&store).unwrap().timers.insert(timer, generation);
                self.at(after, Next::Timer { node: store, life, timer, generation });
            }
            Effect::Barred => {}
        }
    }

    /// How long a message takes; none: it gets lost. Few take so long that nobody waits for them any more.
    fn travel(&mut self, from: StoreId, to: StoreId) -> Option<Duration> {
        let apart = self.nodes[&from].side != self.nodes.get(&to)?.side;
        if apart || self.random.u32(0..1000) < self.loss {
            self.lost += 1;
            return None;
        }
        let late = self.loss > 0 && self.random.u32(0..100) == 0;
        let micros = if late { self.random.u64(100_000..5_000_000) } else { self.random.u64(300..15_000) };
        Some(Duration::from_micros(micros))
    }

    // Clients.

    pub(crate) fn write(&mut self, store: StoreId, key: &Key, value: Option<Vec<u8>>, acks: usize) -> Caller {
        let caller = self.caller(store, Origin::Client);
        let operation = value.map_or(Operation::Delete, Operation::put);
        self.handle(store, Event::Write { caller, key: key.clone(), operation, acks, seen: None });
        caller
    }

    /// Writes a value that lives for so many milliseconds.
    pub(crate) fn write_for(
        &mut self,
        store: StoreId,
        key: &Key,
        value: Vec<u8>,
        millis: u64,
        acks: usize,
    ) -> Caller {
        let operation = Operation::Put { value: value.into(), ttl: Some(Ttl::from_millis(millis).unwrap()) };
        let key = key.clone();
        self.request(store, |caller| Event::Write { caller, key, operation, acks, seen: None })
    }

    pub(crate) fn read(&mut self, store: StoreId, key: &Key, acks: usize) -> Caller {
        let caller = self.caller(store, Origin::Client);
        self.handle(store, Event::Read { caller, key: key.clone(), acks, seen: None });
        caller
    }

    /// A client's request of any kind, to be answered by the effects of this very event or later.
    pub(crate) fn request(&mut self, store: StoreId, event: impl FnOnce(Caller) -> Event) -> Caller {
        let caller = self.caller(store, Origin::Client);
        self.handle(store, event(caller));
        caller
    }

    /// Another node's request arrives; nobody waits for the answer.
    pub(crate) fn gossip(&mut self, to: StoreId, from: StoreId, request: Request) {
        let life = self.nodes[&from].life;
        self.at(Duration::ZERO, Next::Arrive { to, from, life, token: Token(u64::MAX), request });
    }

    /// What became of a request.
    pub(crate) fn result(&self, caller: Caller) -> Option<&Result<Outcome, ClientError>> {
        self.done.iter().find(|done| done.caller == caller).map(|done| &done.result)
    }
}

fn add(sum: &mut Counters, more: Counters) {
    sum.hints_kept += more.hints_kept;
    sum.hints_delivered += more.hints_delivered;
    sum.repairs += more.repairs;
    sum.syncs += more.syncs;
    sum.pulled += more.pulled;
    sum.pushed += more.pushed;
    sum.handed_off += more.handed_off;
    sum.ended += more.ended;
    sum.collected += more.collected;
    sum.barred += more.barred;
}
