//! One run of a scenario: grow a ring, disturb it, let it rest, check.

use std::time::Duration;

use chordata_protocol::ring::RingSettings;
use chordata_protocol::{Address, Id, Placement, Space};

use crate::invariants::{LIVENESS, SAFETY, principals};
use crate::scenario::{Report, Scenario, Shape};
use crate::world::World;

/// Clients.
const CLIENTS: usize = 20;
/// How long the ring is disturbed.
const DISTURBED: Duration = Duration::from_secs(60);
/// How long it rests.
const QUIET: Duration = Duration::from_secs(120);

struct Run {
    world: World,
    scenario: Scenario,
    shape: Shape,
    next_address: usize,
    checks: u64,
}

/// Runs a scenario.
///
/// # Errors
/// What was wrong, with the command that replays it.
pub fn run(scenario: Scenario, seed: u64, verbose: bool) -> Result<Report, String> {
    let outcome = Run::new(scenario, seed, verbose).go();
    outcome.map_err(|wrong| {
        format!(
            "{wrong}\n  replay: cargo run --release -p chordata-sim -- --scenario {} --seed {seed} --verbose",
            scenario.name()
        )
    })
}

impl Run {
    fn new(scenario: Scenario, seed: u64, verbose: bool) -> Run {
        let shape = Shape::of(scenario, seed);
        let settings = RingSettings {
            space: Space::new(shape.bits).unwrap_or_default(),
            successors: shape.successors,
            chunk_bytes: shape.chunk_bytes,
            ..RingSettings::default()
        };
        let mut world = World::new(settings, seed);
        world.verbose = verbose;
        world.check_reads = scenario == Scenario::Graceful;
        Run { world, scenario, shape, next_address: 0, checks: 0 }
    }

    fn go(mut self) -> Result<Report, String> {
        self.grow()?;
        self.world.start_clients(CLIENTS);
        match self.scenario {
            Scenario::Partition => self.split()?,
            Scenario::Graceful | Scenario::Crashes | Scenario::Lossy => self.churn()?,
        }
        self.world.network.loss = 0.0;
        self.world.stop_clients();
        self.rest(QUIET)?;
        for (name, check) in LIVENESS {
            check(&self.world).map_err(|wrong| format!("{name} after a quiet time: {wrong}"))?;
        }
        if self.scenario == Scenario::Graceful {
            self.world.check_bulk(self.shape.bulk)?;
        }
        self.keep_promises()?;
        let seconds = self.world.now().as_micros() / 1_000_000;
        Ok(Report { trace_hash: self.world.trace_hash, counters: self.world.counters, seconds })
    }

    fn keep_promises(&self) -> Result<(), String> {
        for (event, least) in self.scenario.promises() {
            let times = self.world.counters.get(event);
            if times < *least {
                return Err(format!("{event:?} happened {times} times, promised were {least}"));
            }
        }
        Ok(())
    }

    fn new_address(&mut self) -> Address {
        self.next_address += 1;
        Address::new(&format!("n{}:1", self.next_address))
    }

    /// One node, then r more one by one, then the rest in bursts.
    fn grow(&mut self) -> Result<(), String> {
        let first = self.new_address();
        self.world.start_alone(&first, Id::ZERO);
        self.world.store_bulk(&first, self.shape.bulk);
        for number in 1..self.shape.nodes {
            let address = self.new_address();
            let placement = if number % 2 == 0 { Placement::Hash } else { Placement::Bisect };
            self.world.join(address, placement);
            let slow = number <= self.world.settings.successors + 1;
            let pause = if slow { 6000 } else { self.world.random.u64(0..800) };
            self.rest(Duration::from_millis(pause))?;
        }
        self.rest(Duration::from_secs(15))
    }

    /// Lets time pass and checks safety after the events.
    fn rest(&mut self, duration: Duration) -> Result<(), String> {
        let until = self.world.now() + duration;
        let mut wrong = None;
        let checks = &mut self.checks;
        let grown = self.world.members().count() > self.world.settings.successors + 1;
        let (scenario, hectic) =
            (self.scenario, self.shape.nodes_max < Shape::of(self.scenario, 1).nodes_max);
        self.world.run_until(until, &mut |world| {
            *checks += 1;
            let safe = grown && world.suspicion_until < world.now();
            // A look at every node: after every few events, or when something was handed over.
            let due = checks.is_multiple_of(17) || std::mem::take(&mut world.serving_changed);
            if wrong.is_some() || !due || !safe {
                return;
            }
            for (name, check) in SAFETY {
                // Where nodes die, their keys may for a moment be claimed on both sides. In the hectic shapes more
                // neighbours leave before the lists are right again than r-1: they are told, and cope.
                let graceful = scenario == Scenario::Graceful;
                let promised = if name == "one_server" { graceful } else { !graceful || !hectic };
                if promised && let Err(failed) = check(world) {
                    wrong = Some(format!("{name} at {} us: {failed}", world.now().as_micros()));
                    world.failures.push(failed);
                }
            }
        });
        match (wrong, self.world.failures.first()) {
            (Some(wrong), _) => Err(wrong),
            (None, Some(failure)) => Err(failure.clone()),
            (None, None) => Ok(()),
        }
    }

    fn churn(&mut self) -> Result<(), String> {
        let end = self.world.now() + DISTURBED;
        if self.scenario == Scenario::Lossy {
            self.world.network.loss = 0.01;
        }
        while self.world.now() < end {
            self.disturb();
            let (shortest, longest) = self.shape.pace_ms;
            let pause = self.world.random.u64(shortest..longest);
            self.rest(Duration::from_millis(pause))?;
        }
        self.world.network.loss = 0.0;
        self.revive_all();
        Ok(())
    }

    fn disturb(&mut self) {
        let crashes = self.scenario != Scenario::Graceful;
        let members = self.world.members().count();
        match self.world.random.u8(0..10) {
            0..=3 if members < self.shape.nodes_max => {
                let address = self.new_address();
                self.world.join(address, Placement::Bisect);
                if self.world.random.bool() {
                    let address = self.new_address();
                    self.world.join(address, Placement::Hash);
                }
            }
            4 | 5 => self.depart_one(),
            6..=8 if crashes => self.crash_neighbours(),
            6 | 7 => self.depart_one(),
            9 if crashes => self.revive_all(),
            _ => {
                if let Some(address) = self.world.any_member() {
                    self.world.refresh_all(&address);
                }
            }
        }
    }

    /// A node leaves, or two neighbours at once, while enough are left.
    fn depart_one(&mut self) {
        let order: Vec<Address> =
            self.world.in_order().iter().map(|node| node.ring.me().address.clone()).collect();
        if order.len() <= self.world.settings.successors.max(2) + 3 {
            return;
        }
        let first = self.world.random.usize(..order.len());
        for step in 0..self.world.random.usize(1..=2) {
            self.world.depart(&order[(first + step) % order.len()]);
        }
    }

    /// One to r-1 neighbours die at once, if the ring has healed since the last time.
    fn crash_neighbours(&mut self) {
        let needed = self.world.settings.successors * 2 + 2;
        if principals::count(&self.world) < needed {
            return;
        }
        let victims: Vec<Address> = {
            let members = self.world.in_order();
            let settled = members.iter().all(|node| {
                node.ring.successors().nodes().all(|(_, peer)| self.world.nodes.contains_key(&peer.address))
                    && node.ring.successors().nodes().count() == self.world.settings.successors
            });
            if !settled {
                return;
            }
            members.iter().map(|node| node.ring.me().address.clone()).collect()
        };
        let count = self.world.random.usize(1..self.world.settings.successors);
        let first = self.world.random.usize(..victims.len());
        for step in 0..count {
            self.world.crash(&victims[(first + step) % victims.len()]);
            self.world.counters.count("crash");
        }
    }

    fn revive_all(&mut self) {
        let dead: Vec<Address> = self.world.graves.keys().cloned().collect();
        for address in dead {
            self.world.counters.count("revived");
            self.world.revive(&address);
        }
    }

    /// Half of the nodes, chosen by lot, are cut off for half a minute.
    fn split(&mut self) -> Result<(), String> {
        self.rest(Duration::from_secs(5))?;
        let members: Vec<Address> = self.world.nodes.keys().cloned().collect();
        let far = members.into_iter().filter(|_| self.world.random.bool()).collect();
        self.world.network.far_side = far;
        self.world.counters.count("partition");
        self.rest(Duration::from_secs(30))?;
        self.world.network.far_side.clear();
        Ok(())
    }
}
