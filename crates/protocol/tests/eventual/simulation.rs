//! Seeds: clients write, delete and read while messages get lost, rings part for 30 s with writes on both sides, nodes
//! crash and lose what was not synced, are away for long, join and depart. Then quiet, and the checks.

use std::time::Duration;

use chordata_protocol::eventual::{Counters, Durability, Event, StoreId};

use crate::check::{History, key, left_over, lost, unequal};
use crate::world::World;

const KEYS: u32 = 60;
const SEEDS: u64 = 24;

/// What happened to a cluster.
#[derive(Debug, Default)]
struct Ran {
    counters: Counters,
    acknowledged: usize,
    partitions: u32,
    crashes: u32,
    unsynced_lost: u64,
    joins: u32,
    departures: u32,
    lost_messages: u64,
    long_absences: u32,
}

struct Run {
    world: World,
    history: History,
    ran: Ran,
    writes: u32,
    /// Away until the faults are over.
    absent: Option<StoreId>,
    departing: Option<StoreId>,
}

impl Run {
    fn new(seed: u64, durability: Durability) -> Run {
        let mut world = World::new(seed, durability);
        for _ in 0..world.random.usize(5..=7) {
            world.add();
        }
        world.run(Duration::from_secs(3));
        Run {
            world,
            history: History::default(),
            ran: Ran::default(),
            writes: 0,
            absent: None,
            departing: None,
        }
    }

    /// Clients at work for so long, at any node that is up.
    fn work(&mut self, milliseconds: u64) {
        let mut left = milliseconds;
        while left > 0 {
            let pause = self.world.random.u64(1..=40).min(left);
            self.world.run(Duration::from_millis(pause));
            left -= pause;
            let up = self.world.up();
            let store = up[self.world.random.usize(0..up.len())];
            let key = key(self.world.random.u32(0..KEYS));
            let acks = if self.world.random.u8(0..4) == 0 { 2 } else { 1 };
            match self.world.random.u8(0..10) {
                0 => {
                    self.writes += 1;
                    let value = format!("value {} for a while", self.writes).into_bytes();
                    // Over soon; in the middle of an outage; never, as far as this run goes.
                    let millis = [300, 8000, 3_600_000][self.world.random.usize(0..3)];
                    let caller = self.world.write_for(store, &key, value, millis, acks);
                    self.history.began(caller, &key);
                }
                1..=4 => {
                    self.writes += 1;
                    let value = format!("value {}", self.writes).into_bytes();
                    let caller = self.world.write(store, &key, Some(value), acks);
                    self.history.began(caller, &key);
                }
                5..=6 => {
                    let caller = self.world.write(store, &key, None, acks);
                    self.history.began(caller, &key);
                }
                _ => {
                    self.world.read(store, &key, acks);
                }
            }
        }
    }

    fn any_up(&mut self) -> StoreId {
        let up: Vec<StoreId> =
            self.world.up().into_iter().filter(|store| self.departing != Some(*store)).collect();
        up[self.world.random.usize(0..up.len())]
    }

    fn fault(&mut self) {
        match self.world.random.u8(0..6) {
            0 | 1 => self.crash_and_return(),
            2 | 3 => self.part(),
            4 if self.world.nodes.len() < 9 => {
                self.world.add();
                self.ran.joins += 1;
                self.work(3000);
            }
            _ => self.depart(),
        }
    }

    fn crash_and_return(&mut self) {
        let mut down = vec![self.any_up()];
        self.world.crash(down[0]);
        if self.world.up().len() > 3 && self.world.random.bool() {
            down.push(self.any_up());
            self.world.crash(down[1]);
        }
        self.ran.crashes += down.len() as u32;
        let away = self.world.random.u64(100..8000);
        self.work(away);
        for store in down {
            self.world.start(store);
        }
        self.work(1000);
    }

    /// Two rings for 30 s, with writes in both.
    fn part(&mut self) {
        for node in self.world.nodes.values_mut() {
            node.side = u8::from(self.world.random.bool());
        }
        let apart = if self.world.random.bool() { 30_000 } else { 5000 };
        self.work(apart);
        for node in self.world.nodes.values_mut() {
            node.side = 0;
        }
        self.ran.partitions += 1;
        self.work(1000);
    }

    fn depart(&mut self) {
        if self.departing.is_some() || self.world.up().len() < 5 {
            return;
        }
        let store = self.any_up();
        self.world.nodes.get_mut(&store).unwrap().member = false;
        self.departing = Some(store);
        self.work(2000);
    }

    /// A departing node that has given everything away stops for good.
    fn end_departure(&mut self) {
        let Some(store) = self.departing else { return };
        for _ in 0..30 {
            if self.world.nodes[&store].machine.is_none() {
                self.world.start(store);
            }
            self.world.run(Duration::from_secs(1));
            let machine = self.world.machine(store);
            if machine.is_drained() && machine.table().is_some_and(|table| !table.has(store)) {
                self.world.crash(store);
                self.departing = None;
                self.ran.departures += 1;
                let teller = self.any_up();
                self.world.handle(teller, Event::Forget(store));
                return;
            }
        }
        panic!("a departing node gives everything away while the network works");
    }

    fn go(mut self) -> Ran {
        self.world.loss = 20;
        self.work(3000);
        if self.world.random.bool() {
            let store = self.any_up();
            self.world.crash(store);
            self.absent = Some(store);
            self.ran.long_absences += 1;
        }
        for _ in 0..5 {
            self.world.loss = [5, 20, 100][self.world.random.usize(0..3)];
            self.work(2000);
            self.fault();
        }
        self.world.loss = 0;
        self.end_departure();
        if let Some(store) = self.absent {
            let waits = |store| self.world.machine(store).waiting_for().contains(&self.absent.unwrap());
            assert!(self.world.up().into_iter().any(waits), "tombstones wait for {store}");
            self.world.start(store);
        }
        self.settle();
        self.ran.counters = self.world.counters();
        self.ran.acknowledged = self.history.acknowledged(&self.world).len();
        self.ran.lost_messages = self.world.lost;
        self.ran.unsynced_lost = self.world.unsynced_lost;
        self.ran
    }

    /// 30 s of quiet, in which everything must have come to rest; then the checks.
    fn settle(&mut self) {
        self.world.run(Duration::from_secs(30));
        let unequal = unequal(&self.world);
        assert!(unequal.is_empty(), "replicas differ after 30 s of quiet: {unequal:#?}");
        if self.world.settings.durability == Durability::Sync {
            let lost = lost(&self.world, &self.history);
            assert!(lost.is_empty(), "acknowledged, and neither there nor overwritten: {lost:#?}");
        }
        self.world.run(Duration::from_secs(30));
        let left_over = left_over(&self.world);
        let waiting: Vec<_> =
            self.world.up().into_iter().map(|store| self.world.machine(store).waiting_for()).collect();
        assert!(left_over.is_empty(), "still kept after a minute, waiting for {waiting:?}: {left_over:#?}");
    }
}

/// What is printed last before a failure says how to see it again.
fn run(seed: u64, durability: Durability) -> Ran {
    println!(
        "seed {seed}: SEED={seed} cargo test -p chordata-protocol --test eventual simulation ({durability:?})"
    );
    Run::new(seed, durability).go()
}

/// The seeds to run: one that is named in SEED, or as many as SEEDS says.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    }
}

#[test]
fn replicas_become_equal_and_keep_what_was_acknowledged_whatever_happens() {
    let runs: Vec<Ran> = seeds().map(|seed| run(seed, Durability::Sync)).collect();
    if (runs.len() as u64) < SEEDS {
        return;
    }
    let sum = |of: fn(&Ran) -> u64| runs.iter().map(of).sum::<u64>();
    assert!(sum(|ran| ran.acknowledged as u64) > 1000 * SEEDS, "clients wrote");
    assert!(sum(|ran| u64::from(ran.partitions)) > 10, "rings parted");
    assert!(sum(|ran| u64::from(ran.crashes)) > 10, "nodes crashed");
    assert!(sum(|ran| ran.unsynced_lost) > 3, "crashes took what was not synced");
    assert!(sum(|ran| u64::from(ran.joins)) > 3, "nodes joined");
    assert!(sum(|ran| u64::from(ran.departures)) > 3, "nodes departed");
    assert!(sum(|ran| u64::from(ran.long_absences)) > 3, "nodes were away for long");
    assert!(sum(|ran| ran.lost_messages) > 1000, "messages got lost");
    for (name, of) in [
        ("hints kept", (|ran| ran.counters.hints_kept) as fn(&Ran) -> u64),
        ("hints delivered", |ran| ran.counters.hints_delivered),
        ("repairs", |ran| ran.counters.repairs),
        ("syncs", |ran| ran.counters.syncs),
        ("pulled", |ran| ran.counters.pulled),
        ("pushed", |ran| ran.counters.pushed),
        ("handed off", |ran| ran.counters.handed_off),
        ("ended", |ran| ran.counters.ended),
        ("collected", |ran| ran.counters.collected),
    ] {
        println!("{name}: {}", sum(of));
        assert!(sum(of) > SEEDS, "{name} in {SEEDS} runs: {}", sum(of));
    }
}

#[test]
fn replicas_become_equal_without_syncing_answers() {
    for seed in seeds().step_by(3) {
        run(seed, Durability::Stored);
    }
}
