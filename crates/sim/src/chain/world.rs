//! The simulated world of chains: machines with clocks and disks, the network, the group, clients, and true time.
//!
//! Nothing but [`World::random`] is random, and the queue orders what happens at one moment, so a seed is a whole run.
//! The parts of the world have files of their own: [`super::group`], [`super::perform`], [`super::client`],
//! [`super::faults`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chordata_protocol::chain::{Applied, ChainSettings, Event, Incarnation, Occasion, StoreId, View};
use chordata_protocol::{Address, Id, Key, Peer, Placement, Time};

use super::client::{Client, Orders, Subject, Use};
use super::clock::Clock;
use super::disk::Disk;
use super::faults::Faults;
use super::group::Group;
use super::invariants::Found;
use super::network::Network;
use super::node::{Node, State};
use super::queue::{Item, Queue};
use super::sabotage::{Sabotage, Saboteur};
use super::shape::Shape;
use super::witness::Witness;
use crate::client::Counters;
use crate::history::History;

/// Longest delay of a late message, in microseconds.
const LATE_MAX_US: u64 = 400_000;

/// Everything.
#[derive(Debug)]
pub struct World {
    /// What this run is like.
    pub shape: Shape,
    /// What every node was told.
    pub settings: ChainSettings,
    /// The only randomness.
    pub random: fastrand::Rng,
    /// The network.
    pub network: Network,
    /// Machines, by slot.
    pub nodes: Vec<Node>,
    /// The slot of each address.
    pub slots: BTreeMap<Address, usize>,
    /// The coordinator's group.
    pub group: Group,
    /// Clients.
    pub clients: Vec<Client>,
    /// What they are to do.
    pub orders: Orders,
    /// The keys that they use.
    pub subjects: Vec<Subject>,
    /// What they did and learned.
    pub history: History,
    /// Who sees everything.
    pub witness: Witness,
    /// What goes wrong.
    pub faults: Faults,
    /// What happened.
    pub counters: Counters,
    /// What went wrong that must not.
    pub failures: Vec<String>,
    /// Sums up everything that happened: two runs of one seed must have the same.
    pub trace_hash: u64,
    /// Print every event?
    pub verbose: bool,
    /// What is broken on purpose.
    pub(super) saboteur: Saboteur,
    pub(super) now: Time,
    pub(super) next_caller: u64,
    pub(super) next_setting: u64,
    next_store: u128,
    queue: Queue,
}

fn subjects(shape: &Shape) -> Vec<Subject> {
    let space = shape.settings.space;
    let all = [
        (Use::Hot, "hot", shape.hot_keys),
        (Use::Plain, "plain", shape.plain_keys),
        (Use::Cold, "cold", shape.cold_keys),
    ];
    let named =
        all.into_iter().flat_map(|(usage, name, count)| (0..count).map(move |number| (usage, name, number)));
    let subject = |(usage, name, number)| {
        let key = Key::new(format!("{name}-{number}"));
        Subject { id: key.id(space), key, usage }
    };
    named.map(subject).collect()
}

impl World {
    /// A cluster of one node, which leads.
    pub fn new(shape: Shape, seed: u64, verbose: bool, sabotage: Option<Sabotage>) -> World {
        let mut random = fastrand::Rng::with_seed(seed);
        let settings = shape.settings.clone();
        let drift = i32::from(settings.lease.drift_permille) * 1000;
        let (mut nodes, mut slots) = (Vec::new(), BTreeMap::new());
        for slot in 0..shape.nodes_max {
            let address = Address::new(&format!("n{slot}:1"));
            // At the bound, where clocks are worst for leases, or anywhere within.
            let ppm =
                if random.bool() { [-drift, drift][random.usize(..2)] } else { random.i32(-drift..=drift) };
            let clock = Clock::new(random.u64(..1_000_000_000), ppm);
            let disk = Disk::new(settings.space, settings.replication.durability);
            slots.insert(address.clone(), slot);
            nodes.push(Node::vacant(address, clock.with_wall(random.f64()), disk));
        }
        let (store, incarnation) = (StoreId(1), Incarnation(1));
        let peer = Peer::new(Id::ZERO, nodes[0].address.clone());
        let first = View::first(settings.space, settings.replication, store, incarnation, &peer);
        let first = Arc::new(first);
        let clients = (0..shape.clients)
            .map(|number| Client::new(0xc000 + number as u128, shape.lanes, Arc::clone(&first)))
            .collect();
        let mut world = World {
            network: Network::new(shape.delay_max_us, LATE_MAX_US),
            subjects: subjects(&shape),
            witness: Witness::new(&first),
            group: Group::new(first, store),
            clients,
            orders: Orders::Rest,
            history: History::new(),
            faults: Faults::default(),
            counters: Counters::default(),
            failures: Vec::new(),
            trace_hash: 0xcbf2_9ce4_8422_2325,
            verbose,
            saboteur: Saboteur::new(sabotage),
            now: Time::ZERO,
            next_caller: 0,
            next_setting: 0,
            next_store: 1,
            queue: Queue::default(),
            shape,
            settings,
            random,
            nodes,
            slots,
        };
        world.found(peer);
        world
    }

    /// The first node starts, and leads.
    fn found(&mut self, peer: Peer) {
        self.nodes[0].store = StoreId(1);
        self.nodes[0].incarnation = Incarnation(1);
        self.nodes[0].applied = 1;
        self.nodes[0].admitted = Some(View::FIRST);
        self.nodes[0].disk.seen.view = Some(Arc::clone(self.group.newest()));
        let seed = self.random.u64(..);
        let settings = self.saboteur.settings(&self.settings);
        let leader_settings = self.saboteur.leader_settings(&self.settings);
        self.nodes[0].start(settings, leader_settings, peer, Vec::new(), seed);
        self.push(Duration::from_millis(1), Item::GroupTick);
        self.member_event(0, Event::Start);
        self.elect(0);
    }

    /// True time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// This happens after so long.
    pub(super) fn push(&mut self, after: Duration, item: Item) {
        self.queue.push(self.now + after, item);
    }

    /// Something must hold.
    pub(super) fn hold(&mut self, found: Found) {
        if let Err(wrong) = found {
            self.failures.push(wrong);
        }
    }

    /// Lets everything happen up to a moment.
    ///
    /// # Errors
    /// What broke an invariant.
    pub fn run_until(&mut self, until: Time) -> Found {
        while let Some((at, item)) = self.queue.pop(until) {
            self.now = at;
            self.witness.now = at;
            self.note(&item);
            if let Some(item) = self.withhold(item) {
                self.happen(item);
            }
            if let Some(failure) = self.failures.first() {
                return Err(format!("at {} us: {failure}", self.now.as_micros()));
            }
        }
        self.now = self.now.max(until);
        Ok(())
    }

    fn note(&mut self, item: &Item) {
        let at = self.now.as_micros();
        if self.verbose && !matches!(item, Item::GroupTick | Item::Agree) {
            println!("{at:>12} {item:?}");
        }
        for number in [at, item.digest()] {
            self.trace_hash = (self.trace_hash ^ number).wrapping_mul(0x100_0000_01b3).rotate_left(17);
        }
    }

    /// Keeps what happens to a paused node for later.
    fn withhold(&mut self, item: Item) -> Option<Item> {
        let Some(slot) = item.slot().filter(|slot| self.nodes[*slot].paused_until.is_some()) else {
            return Some(item);
        };
        self.nodes[slot].held.push_back(item);
        None
    }

    fn lives(&self, slot: usize, life: u64) -> bool {
        self.nodes[slot].life == life && self.nodes[slot].process.is_some()
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Ask { to, from, waiter, request } => self.asked(to, from, waiter, request),
            Item::Answered { slot, life, token, result } => {
                if self.lives(slot, life) {
                    self.answered(slot, token, result);
                }
            }
            Item::Timer { slot, life, timer, setting } => {
                let current =
                    self.nodes[slot].process.as_ref().is_some_and(|process| process.beat == setting);
                if current && self.lives(slot, life) {
                    self.member_event(slot, Event::Timer(timer));
                }
            }
            Item::Tick { slot, life, setting } => {
                let current =
                    self.nodes[slot].process.as_ref().is_some_and(|process| process.tick == setting);
                if current && self.lives(slot, life) {
                    self.occasion(slot, Occasion::Tick);
                }
            }
            Item::Synced { slot, life } => {
                if self.lives(slot, life) {
                    self.synced(slot);
                }
            }
            Item::Resume { slot, life } => {
                if self.nodes[slot].life == life {
                    self.resume(slot);
                }
            }
            Item::Connect { slot, life } => {
                if self.nodes[slot].life == life {
                    self.connect(slot);
                }
            }
            Item::Restart { slot, life } => {
                if self.nodes[slot].life == life {
                    self.restart(slot);
                }
            }
            Item::GroupTick => self.group_tick(),
            Item::Agree => self.agree(),
            Item::Round { slot, life, term, token } => self.round(slot, life, term, token),
            Item::Confirmed { slot, life, token, leads } => {
                if self.lives(slot, life) {
                    self.occasion(slot, Occasion::Confirmed { token, leads });
                }
            }
            Item::Proposed { slot, life, origin, applied } => {
                if self.lives(slot, life) {
                    self.proposed(slot, origin, applied);
                } else {
                    self.unanswered(origin);
                }
            }
            Item::Voters { slot, life, voters } => self.voters_changed(slot, life, voters),
            Item::Replicated { slot, life, applied } => {
                if self.lives(slot, life) {
                    self.replicated(slot, applied);
                }
            }
            Item::Leader { slot, life, leader, term } => {
                if self.lives(slot, life) {
                    self.hears_of_leader(slot, leader, term);
                }
            }
            Item::ClientAsk { to, attempt, asked } => self.client_asks(to, attempt, asked),
            Item::ClientAnswer { attempt, answer } => self.client_answered(attempt, answer),
            Item::ClientTimeout { attempt } => self.client_timed_out(attempt),
            Item::ClientAgain { attempt } => self.client_again(attempt),
            Item::ClientNext { client, lane } => self.client_next(client, lane),
            Item::Disturb => self.disturb(),
            Item::Patrol => self.patrol(),
            Item::PowerCut => self.power_cut(),
            Item::Mend { fault } => self.mend(fault),
            Item::Depose { term } => {
                if self.group.term == term {
                    self.end_term();
                }
            }
        }
    }

    /// A paused node goes on: everything that was held back happens now, in its order.
    fn resume(&mut self, slot: usize) {
        self.nodes[slot].paused_until = None;
        let life = self.nodes[slot].life;
        while let Some(item) = self.nodes[slot].held.pop_front() {
            if self.nodes[slot].life == life {
                self.happen(item);
            }
        }
    }

    // Processes.

    /// A node that was never there, or under another store, asks to be admitted.
    pub fn join(&mut self, slot: usize) {
        self.next_store += 1;
        let store = StoreId(self.next_store);
        let node = &mut self.nodes[slot];
        node.stop(State::Joining);
        node.disk.wipe();
        node.applied = 0;
        node.peer = None;
        node.admitted = None;
        node.store = store;
        node.incarnation = Incarnation(1);
        let life = node.life;
        self.counters.count("join");
        self.push(Duration::from_millis(1), Item::Connect { slot, life });
    }

    /// Where a newcomer wants to be.
    pub(super) fn placement(&mut self, slot: usize) -> Placement {
        if slot % 3 == 2 { Placement::Hash } else { Placement::Bisect }
    }

    /// The answer to a newcomer.
    pub(super) fn connected(&mut self, slot: usize, life: u64, applied: Option<&Applied>) {
        if self.nodes[slot].life != life || self.nodes[slot].state != State::Joining {
            return;
        }
        let Some(Applied::Admitted { place, view }) = applied else {
            self.push(Duration::from_millis(300), Item::Connect { slot, life });
            return;
        };
        self.counters.count("joined");
        let peer = Peer::new(*place, self.nodes[slot].address.clone());
        self.nodes[slot].admitted = Some(*view);
        self.begin(slot, peer);
    }

    fn begin(&mut self, slot: usize, peer: Peer) {
        let view = Arc::clone(self.group.newest());
        let mut contacts: Vec<Peer> = view.members.values().map(|member| member.peer.clone()).collect();
        self.random.shuffle(&mut contacts);
        let seed = self.random.u64(..);
        let settings = self.saboteur.settings(&self.settings);
        let leader_settings = self.saboteur.leader_settings(&self.settings);
        let node = &mut self.nodes[slot];
        node.start(settings, leader_settings, peer, contacts, seed);
        let applied = (node.applied > 0 && self.group.voters.contains(&node.store))
            .then(|| Arc::clone(&self.group.views[node.applied - 1]));
        if let Some(view) = self.nodes[slot].admitted {
            self.member_event(slot, Event::Admitted(view));
        }
        self.member_event(slot, Event::Start);
        if let Some(view) = applied {
            self.member_event(slot, Event::View(view));
        }
    }

    /// A process ends without notice.
    pub fn crash(&mut self, slot: usize) {
        if self.nodes[slot].process.is_none() {
            return;
        }
        let node = &mut self.nodes[slot];
        node.stop(State::Crashed);
        node.disk.crash(&mut self.random);
    }

    /// A process starts again, with what its disk has kept.
    pub fn restart(&mut self, slot: usize) {
        let node = &mut self.nodes[slot];
        let Some(peer) = node.peer.clone().filter(|_| node.state == State::Crashed) else { return };
        node.incarnation = Incarnation(node.incarnation.0 + 1);
        self.counters.count("restart");
        self.begin(slot, peer);
    }

    /// Nothing happens to a node for a while; then everything does.
    pub fn pause(&mut self, slot: usize, duration: Duration) {
        let until = self.now + duration;
        let node = &mut self.nodes[slot];
        if node.process.is_none() || node.paused_until.is_some() {
            return;
        }
        node.paused_until = Some(until);
        let life = node.life;
        self.push(duration, Item::Resume { slot, life });
    }
}
