//! Every engine must do what a plain map does, whatever happens in whatever order.

use std::sync::Arc;

use crate::truth::{EVERYTHING, Truth, batch, range, scanned, settings, space};
use chordata_protocol::{Key, Range, Record, Version};
use chordata_store::{
    Change, DiskEngine, Engine, Flush, Flushed, MemoryEngine, RealFiles, SimulatedFiles, Snapshot, Ticket,
    transfer,
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<Change>),
    BeginFlush,
    RunFlush,
    EndFlush,
    Scan(Range),
    Snapshot,
    ScanSnapshot(usize, Range),
    DropSnapshot(usize),
    /// The process ends, flushed or not, or the machine crashes: only for engines with a disk.
    Reopen,
    Crash(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => batch().prop_map(Step::Apply),
        3 => Just(Step::BeginFlush),
        3 => Just(Step::RunFlush),
        3 => Just(Step::EndFlush),
        2 => range().prop_map(Step::Scan),
        2 => Just(Step::Snapshot),
        3 => (0usize..4, range()).prop_map(|(which, range)| Step::ScanSnapshot(which, range)),
        1 => (0usize..4).prop_map(Step::DropSnapshot),
        1 => Just(Step::Reopen),
        1 => any::<u64>().prop_map(Step::Crash),
    ]
}

/// An engine that can be left and found again.
trait Home {
    type Engine: Engine;
    fn open(&self) -> Self::Engine;
    /// Is what was durable there again when it is found again?
    const HAS_A_DISK: bool;
    fn crash(&self, seed: u64);
}

struct InMemory;

impl Home for InMemory {
    type Engine = MemoryEngine;
    fn open(&self) -> MemoryEngine {
        MemoryEngine::default()
    }
    const HAS_A_DISK: bool = false;
    fn crash(&self, _: u64) {}
}

#[derive(Default)]
struct OnDisk {
    files: SimulatedFiles,
    quick_open: bool,
}

impl Home for OnDisk {
    type Engine = DiskEngine;
    fn open(&self) -> DiskEngine {
        DiskEngine::open(Arc::new(self.files.clone()), settings(self.quick_open)).unwrap()
    }
    const HAS_A_DISK: bool = true;
    fn crash(&self, seed: u64) {
        self.files.crash(seed);
    }
}

/// An engine, and what it should hold.
struct Both<'a, H: Home> {
    home: &'a H,
    engine: Option<H::Engine>,
    /// After each ticket: the first is what was found when it was opened.
    truths: Vec<Truth>,
    begun: Option<Flush>,
    run: Option<(Ticket, Flushed)>,
    snapshots: Vec<(Snapshot, Truth)>,
}

impl<'a, H: Home> Both<'a, H> {
    fn new(home: &'a H) -> Both<'a, H> {
        let engine = Some(home.open());
        Both { home, engine, truths: vec![Truth::default()], begun: None, run: None, snapshots: Vec::new() }
    }

    fn engine(&mut self) -> &mut H::Engine {
        self.engine.as_mut().unwrap()
    }

    fn now(&self) -> &Truth {
        self.truths.last().unwrap()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Apply(batch) => {
                let mut truth = self.now().clone();
                truth.apply(&batch);
                self.truths.push(truth);
                let ticket = self.engine().apply(batch).unwrap();
                assert_eq!(ticket.0 as usize, self.truths.len() - 1);
            }
            Step::BeginFlush if self.run.is_none() => {
                if let Some(flush) = self.engine().begin_flush().unwrap() {
                    assert!(self.begun.replace(flush).is_none(), "one flush at a time");
                }
            }
            Step::RunFlush => {
                if let Some(flush) = self.begun.take() {
                    self.run = Some((flush.upto(), flush.run().unwrap()));
                }
            }
            Step::EndFlush => {
                if let Some((upto, flushed)) = self.run.take() {
                    let durable = self.engine().end_flush(flushed).unwrap();
                    assert!(durable >= upto && durable == self.engine().durable());
                }
            }
            Step::Scan(range) => self.now().clone().check_scans(self.engine(), None, range),
            Step::Snapshot => {
                let snapshot = self.engine().snapshot();
                let truth = self.now().clone();
                self.snapshots.push((snapshot, truth));
            }
            Step::ScanSnapshot(which, range) => {
                if let Some((snapshot, truth)) = self.snapshots.get(which) {
                    truth.check_scans(self.engine.as_ref().unwrap(), Some(snapshot), range);
                }
            }
            Step::DropSnapshot(which) => {
                if which < self.snapshots.len() {
                    self.snapshots.remove(which);
                }
            }
            Step::BeginFlush => {}
            Step::Reopen | Step::Crash(_) if !H::HAS_A_DISK => {}
            Step::Reopen => self.reopen(None),
            Step::Crash(seed) => self.reopen(Some(seed)),
        }
        self.now().clone().check(self.engine());
    }

    fn reopen(&mut self, crash: Option<u64>) {
        let durable = self.engine().durable();
        // Whatever was written but not given back may be there as well.
        let upto = self.run.as_ref().map_or(durable, |(upto, _)| *upto);
        self.snapshots.clear();
        if let Some(seed) = crash {
            self.home.crash(seed);
        }
        (self.begun, self.run, self.engine) = (None, None, None);
        self.engine = Some(self.home.open());
        let found = Truth::of(self.engine());
        let possible = &self.truths[durable.0 as usize..=upto.0 as usize];
        assert!(possible.contains(&found), "{durable:?} to {upto:?}: {found:?}");
        self.truths = vec![found];
    }
}

fn story(home: &impl Home, steps: Vec<Step>) {
    let mut both = Both::new(home);
    for step in steps {
        both.step(step);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn in_memory(steps in proptest::collection::vec(step(), 0..60)) {
        story(&InMemory, steps);
    }

    #[test]
    fn on_disk(steps in proptest::collection::vec(step(), 0..60), quick_open in any::<bool>()) {
        story(&OnDisk { quick_open, ..OnDisk::default() }, steps);
    }
}

fn disk() -> DiskEngine {
    OnDisk::default().open()
}

fn flush(engine: &mut dyn Engine) {
    if let Some(flush) = engine.begin_flush().unwrap() {
        let flushed = flush.run().unwrap();
        engine.end_flush(flushed).unwrap();
    }
    assert_eq!(engine.durable(), engine.applied());
    assert_eq!(engine.overlay_bytes(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_range_read_in_parts_and_merged_elsewhere_is_the_same(
        first in batch(), second in proptest::collection::vec(batch(), 0..12), range in range(), bytes_max in 1usize..300,
    ) {
        // The memory engine's keys go to the disk and back, half of the source not yet flushed.
        let (mut source, mut middle, mut back) = (disk(), MemoryEngine::default(), disk());
        let mut truth = Truth::default();
        for (number, batch) in std::iter::once(first).chain(second).enumerate() {
            truth.apply(&batch);
            source.apply(batch).unwrap();
            if number == 3 {
                flush(&mut source);
            }
        }
        copy(&source, &mut middle, range, bytes_max);
        copy(&middle, &mut back, range, bytes_max);
        let mut expected = truth.in_range(range);
        expected.retain(|(_, row)| row.value.is_some());
        prop_assert_eq!(scanned(&middle, None, range, None), expected.clone());
        prop_assert_eq!(scanned(&back, None, range, None), expected);
        transfer::erase(&mut source, range).unwrap();
        prop_assert_eq!(scanned(&source, None, range, None), vec![]);
        truth.rows.retain(|(id, _), _| !range.contains(*id));
        prop_assert_eq!(scanned(&source, None, EVERYTHING, None).len(), truth.rows.len());
    }

    #[test]
    fn merging_keeps_the_later_write(first in 0u64..9, second in 0u64..9) {
        let mut engines: [Box<dyn Engine>; 2] = [Box::new(MemoryEngine::default()), Box::new(disk())];
        for engine in &mut engines {
            let engine = &mut **engine;
            let record = |sequence| Record { version: Version { epoch: 1, sequence }, value: vec![1].into(), expires: None };
            let key = Key::new("k");
            transfer::merge(engine, space(), vec![(key.clone(), Some(record(first)))]).unwrap();
            transfer::merge(engine, space(), vec![(key.clone(), Some(record(second)))]).unwrap();
            let kept = engine.version(key.id(space()), &key).unwrap().unwrap();
            prop_assert_eq!(kept.sequence, first.max(second));
            transfer::merge(engine, space(), vec![(key, None)]).unwrap();
            prop_assert_eq!(engine.keys(), 0);
        }
    }
}

fn copy(source: &dyn Engine, target: &mut dyn Engine, range: Range, bytes_max: usize) {
    let (mut after, mut parts) = (None, 0);
    loop {
        let (entries, next) = transfer::read_range(source, space(), range, after, bytes_max).unwrap();
        transfer::merge(target, space(), entries).unwrap();
        parts += 1;
        assert!(parts <= source.keys() + 1, "every part brings something");
        match next {
            Some(key) => after = Some(key),
            None => break,
        }
    }
}

#[test]
fn more_than_one_batch_of_keys_is_erased_and_the_rest_stays() {
    let mut engine = MemoryEngine::default();
    let space = chordata_protocol::Space::default();
    let put = |number: u32| {
        let key = Key::new(number.to_be_bytes());
        Change::Put(
            key.id(space),
            key,
            Record { version: Version::default(), value: vec![0].into(), expires: None },
        )
    };
    engine.apply((0..20_000).map(put).collect()).unwrap();
    let half = Range { low: EVERYTHING.low, high: space.hash(b"somewhere") };
    let inside = scanned(&engine, None, half, None).len() as u64;
    assert!(inside > 5000);
    transfer::erase(&mut engine, half).unwrap();
    assert_eq!(engine.keys(), 20_000 - inside);
    assert_eq!(scanned(&engine, None, half, None), vec![]);
}

#[test]
fn a_range_of_50_000_keys_is_erased_in_slices_and_what_is_behind_them_stays_until_its_turn() {
    let space = chordata_protocol::Space::default();
    let put = |number: u32| {
        let key = Key::new(number.to_be_bytes());
        Change::Put(
            key.id(space),
            key,
            Record { version: Version::default(), value: vec![0; 100].into(), expires: None },
        )
    };
    let directory = tempfile::tempdir().unwrap();
    let files = RealFiles::new(directory.path().join("store")).unwrap();
    let disk = DiskEngine::open(Arc::new(files), settings(true)).unwrap();
    let engines: [Box<dyn Engine>; 2] = [Box::new(MemoryEngine::default()), Box::new(disk)];
    for mut engine in engines {
        engine.apply((0..50_000).map(put).collect()).unwrap();
        let half = Range { low: EVERYTHING.low, high: space.hash(b"somewhere") };
        let inside = scanned(&*engine, None, half, None).len() as u64;
        let (mut after, mut slices, mut longest) = (None, 0, std::time::Duration::ZERO);
        loop {
            let (before, began) = (engine.keys(), std::time::Instant::now());
            after = transfer::erase_some(&mut *engine, half, after.as_ref(), 4096).unwrap();
            longest = longest.max(began.elapsed());
            assert!(before - engine.keys() <= 4096, "a slice is a slice");
            if after.is_none() {
                break;
            }
            slices += 1;
        }
        println!("{inside} keys in {slices} slices, the longest took {longest:?}");
        assert_eq!(slices, inside.div_ceil(4096));
        assert_eq!(engine.keys(), 50_000 - inside);
        assert_eq!(scanned(&*engine, None, half, None), vec![]);
    }
}

#[test]
fn real_files_keep_what_was_flushed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/store");
    let open = || DiskEngine::open(Arc::new(RealFiles::new(&path).unwrap()), settings(true)).unwrap();
    let mut truth = Truth::default();
    for round in 0u8..4 {
        let mut engine = open();
        truth.check(&engine);
        let key = Key::new(vec![round]);
        let record = Record {
            version: Version { epoch: 1, sequence: round.into() },
            value: vec![7; 3000].into(),
            expires: None,
        };
        let batch =
            vec![Change::Put(key.id(space()), key, record), Change::Note(vec![round], Some(vec![round; 9]))];
        truth.apply(&batch);
        engine.apply(batch).unwrap();
        flush(&mut engine);
        truth.check(&engine);
        engine.verify().unwrap();
    }
    truth.check(&open());
}
