//! One run: a cluster grows while keys are put, is disturbed while clients work, rests, and is audited.

use std::collections::BTreeMap;
use std::time::Duration;

use chordata_protocol::replication::Durability;
use chordata_protocol::{Key, Record, Time};

use super::audit;
use super::client::{Orders, Use};
use super::invariants::Found;
use super::sabotage::Sabotage;
use super::shape::Shape;
use super::witness::Ended;
use super::world::World;
use crate::history::{Answer, History, Kind, Operation, Outcome, lost, once, versions, zones};
use crate::scenario::Report;

/// How long the cluster is disturbed.
const DISTURBED: Duration = Duration::from_secs(60);
/// In whose name values end, in histories.
const THE_HEAD: u64 = u64::MAX;
/// Acknowledged operations, at least.
const OPERATIONS_MIN: u64 = 500;
/// Values that end by themselves, at least.
const ENDED_MIN: u64 = 5;
/// Things that go wrong, at least.
const FAULTS_MIN: u64 = 5;
/// Changes of chains that are carried through after the cluster has grown, at least.
const RECONFIGURATIONS_MIN: u64 = 1;
/// By how much it is disturbed longer while there are fewer, and how often at most.
const LONGER: Duration = Duration::from_secs(10);
const LONGER_MAX: u32 = 60;
/// How long it may take until everything is as it should be.
const QUIET: Duration = Duration::from_secs(90);
/// After how long in the quiet an operator accepts losses, where the durability may leave no complete copy.
const OPERATOR_AFTER: Duration = Duration::from_secs(20);
/// How long growing may take.
const GROWN_WITHIN: Duration = Duration::from_secs(60);

/// Runs a seed.
///
/// # Errors
/// What was wrong, with the command that replays it.
pub fn run(seed: u64, verbose: bool) -> Result<Report, String> {
    run_with(seed, verbose, None)
}

/// Runs a seed in which something is broken on purpose.
///
/// # Errors
/// What was wrong.
pub fn run_sabotaged(seed: u64, sabotage: Sabotage) -> Result<Report, String> {
    run_with(seed, false, Some(sabotage))
}

fn run_with(seed: u64, verbose: bool, sabotage: Option<Sabotage>) -> Result<Report, String> {
    let shape = Shape::of(seed);
    let words = shape.words();
    let mut world = World::new(shape, seed, verbose, sabotage);
    go(&mut world).map_err(|wrong| {
        format!(
            "{wrong}\n  seed {seed} ({words})\n  replay: cargo run --release -p chordata-sim -- --scenario chain \
             --seed {seed} --verbose"
        )
    })?;
    let seconds = world.now().as_micros() / 1_000_000;
    Ok(Report { trace_hash: world.trace_hash, counters: world.counters, seconds })
}

fn rest(world: &mut World, duration: Duration) -> Found {
    let until = world.now() + duration;
    world.run_until(until)
}

/// Lets time pass until something is so.
fn until(world: &mut World, within: Duration, ready: impl Fn(&World) -> Found) -> Found {
    let end = world.now() + within;
    loop {
        rest(world, Duration::from_millis(250))?;
        world.show_commits();
        match ready(world) {
            Ok(()) => return Ok(()),
            Err(wrong) if world.now() >= end => return Err(format!("after {within:?} still: {wrong}")),
            Err(_) => {}
        }
    }
}

fn idle(world: &World) -> Found {
    let busy = world.clients.iter().any(|client| !client.is_idle());
    let left = match world.orders {
        Orders::Fill { next } | Orders::ReadAll { next } => next < world.subjects.len(),
        Orders::Work | Orders::Rest => false,
    };
    if busy || left { Err("operations are not answered".to_owned()) } else { Ok(()) }
}

fn go(world: &mut World) -> Found {
    grow(world)?;
    let before = world.counters.get("reconfiguration");
    world.start_clients(Orders::Work);
    world.begin_faults();
    rest(world, DISTURBED)?;
    // Long outages leave few operations, and what is to go wrong by lot often cannot: then it goes on until there is
    // enough to say something.
    for _ in 0..LONGER_MAX {
        world.show_commits();
        if promises(world, before).is_ok() {
            break;
        }
        rest(world, LONGER)?;
    }
    promises(world, before)?;
    world.end_faults();
    // Clients go on for a while: whoever serves again must serve right.
    rest(world, Duration::from_secs(3))?;
    world.orders = Orders::Rest;
    world.sabotage_copy();
    settle(world)?;
    world.start_clients(Orders::ReadAll { next: 0 });
    until(world, Duration::from_secs(60), idle).map_err(|wrong| format!("reading everything: {wrong}"))?;
    // That a value ended may be on its way through its chain.
    until(world, QUIET, audit::check).map_err(|wrong| format!("in the end: {wrong}"))?;
    world.sabotage_end();
    histories(world)
}

/// One node takes the keys while the others join.
fn grow(world: &mut World) -> Found {
    world.start_clients(Orders::Fill { next: 0 });
    rest(world, Duration::from_millis(300))?;
    for slot in 1..world.shape.nodes {
        world.join(slot);
        let pause = world.random.u64(..700);
        rest(world, Duration::from_millis(pause))?;
    }
    until(world, GROWN_WITHIN, |world| idle(world).and_then(|()| audit::check(world)))
        .map_err(|wrong| format!("growing: {wrong}"))
}

/// Everything becomes as it should be. Where all copies of a range ended, and the durability does not promise that a
/// complete one is left, or where the last one has a record that nobody can read, an operator says in the end that losses
/// are accepted.
fn settle(world: &mut World) -> Found {
    let settled = |world: &World| idle(world).and_then(|()| audit::check(world));
    let sync = world.settings.replication.durability == Durability::Sync;
    let is_stuck = |world: &World| !sync || world.is_beyond_healing();
    if until(world, OPERATOR_AFTER, settled).is_err() && world.failures.is_empty() && is_stuck(world) {
        if world.is_beyond_healing() {
            world.counters.count("operator gives a damaged record up");
        }
        world.accept_loss();
    }
    until(world, QUIET, settled).map_err(|wrong| format!("quiet: {wrong}"))
}

/// What clients saw is linearizable, once what was lost by design is cut off.
fn histories(world: &World) -> Found {
    if let Some(failure) = world.failures.first() {
        return Err(format!("in the end: {failure}"));
    }
    let (mut whole, mut unlost) = (History::new(), History::new());
    for operation in world.history.operations() {
        let id = operation.key.id(world.settings.space);
        let lost_at = world.witness.lost_at(id).map(|at| at.as_micros());
        // Behind a reported loss nothing is asked of the key any more; what was under way then is unknown.
        if lost_at.is_some_and(|at| operation.invoked >= at) {
            continue;
        }
        let cut = Operation {
            returned: operation.returned.filter(|returned| lost_at.is_none_or(|at| *returned < at)),
            ..operation.clone()
        };
        if lost_at.is_none() {
            record(&mut unlost, &cut);
        }
        record(&mut whole, &cut);
    }
    for ended in &world.witness.ended {
        let lost_at = world.witness.lost_at(ended.id);
        if lost_at.is_some_and(|at| ended.decided >= at) {
            continue;
        }
        let returned = Some(ended.committed).filter(|returned| lost_at.is_none_or(|at| *returned < at));
        if lost_at.is_none() {
            record_end(&mut unlost, ended, returned);
        }
        record_end(&mut whole, ended, returned);
    }
    let zones = zones::check(&whole);
    let plain = world.subjects.iter().filter(|subject| subject.usage == Use::Plain).count();
    let checked = zones.as_ref().map_or(plain, |coverage| coverage.checked);
    // Each of them says what it finds, whatever the others do.
    let found = [
        versions::check(&whole).err(),
        once::check(&whole).err(),
        zones.err(),
        lost::check(&unlost, &end(world)).err(),
    ];
    let mut wrong: Vec<String> = found.into_iter().flatten().map(|failure| failure.to_string()).collect();
    if checked < plain {
        wrong.push(format!("only {checked} keys were checked by zones"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn record(history: &mut History, operation: &Operation) {
    let Operation { client, key, kind, invoked, returned, outcome, .. } = operation.clone();
    let number = history.invoke(client, key, kind, invoked);
    if let Some(returned) = returned {
        history.close(number, returned, outcome);
    }
}

/// That a value ended by itself is to the history as if somebody had asked for that when it was decided.
fn record_end(history: &mut History, ended: &Ended, returned: Option<Time>) {
    let kind = Kind::CompareAndSwap { expected: Some(ended.of), value: None };
    let number = history.invoke(THE_HEAD, ended.key.clone(), kind, ended.decided.as_micros());
    if let Some(returned) = returned {
        let answer = Answer::Deleted { version: ended.at, existed: true };
        history.close(number, returned.as_micros(), Outcome::Done(answer));
    }
}

/// What the last serving replicas hold in the end, of keys of which nothing was lost.
fn end(world: &World) -> BTreeMap<Key, Option<Record>> {
    let view = world.group.newest();
    let mut end = BTreeMap::new();
    for subject in &world.subjects {
        if world.witness.lost_at(subject.id).is_some() {
            continue;
        }
        let tail = view.range_of(subject.id).and_then(|(_, active)| active.tail());
        let node = tail.and_then(|link| world.nodes.iter().find(|node| node.store == link.store));
        let record = node.and_then(|node| node.disk.seen.engine.get(subject.id, &subject.key));
        end.insert(subject.key.clone(), record);
    }
    end
}

/// A run in which nothing much happened proves nothing. `before`: how many chains had been changed when it was first
/// disturbed.
fn promises(world: &World, before: u64) -> Found {
    let reconfigurations = world.counters.get("reconfiguration") - before;
    let promised = [
        ("operations done", world.counters.get("operation done"), OPERATIONS_MIN),
        ("values ended", world.witness.ended.len() as u64, ENDED_MIN),
        ("faults", world.faults.count, FAULTS_MIN),
        ("reconfigurations", reconfigurations, RECONFIGURATIONS_MIN),
    ];
    match promised.into_iter().find(|(_, times, least)| times < least) {
        Some((what, times, least)) => Err(format!("only {times} {what}, promised were {least}")),
        None => Ok(()),
    }
}
