//! The machine crashes at every single operation on files: what was reported durable is there, nothing half.

use std::sync::Arc;

use crate::truth::{Truth, settings, space};
use chordata_protocol::{Key, Record, Version};
use chordata_store::{Change, DiskEngine, Engine, SimulatedFiles, StateFile, StoreError};

fn open(files: &SimulatedFiles, quick_open: bool) -> Result<DiskEngine, StoreError> {
    DiskEngine::open(Arc::new(files.clone()), settings(quick_open))
}

fn batch(random: &mut fastrand::Rng, number: u64) -> Vec<Change> {
    let change = |random: &mut fastrand::Rng| {
        let key = Key::new(vec![random.u8(0..40)]);
        let (id, version) = (key.id(space()), Version { epoch: 1, sequence: number });
        match random.u8(0..8) {
            0 => Change::Remove(id, key),
            1 => Change::Bury(id, key, version),
            2 => Change::Note(vec![random.u8(0..4)], Some(number.to_be_bytes().to_vec())),
            _ => {
                let value = vec![random.u8(..); random.usize(0..3000)];
                Change::Put(id, key, Record { version, value: value.into(), expires: None })
            }
        }
    };
    (0..random.usize(1..5)).map(|_| change(random)).collect()
}

/// What was promised until the disk failed.
struct Promised {
    /// After each batch; the first is before all.
    truths: Vec<Truth>,
    durable: usize,
}

/// Batches and flushes until everything is done or the disk fails.
fn work(files: &SimulatedFiles, quick_open: bool, promised: &mut Promised) -> Result<(), StoreError> {
    let mut random = fastrand::Rng::with_seed(5);
    let mut engine = open(files, quick_open)?;
    for number in 0..24 {
        let batch = batch(&mut random, number);
        let mut truth = promised.truths.last().unwrap().clone();
        truth.apply(&batch);
        promised.truths.push(truth);
        engine.apply(batch)?;
        if number % 3 == 0 {
            let flush = engine.begin_flush()?.unwrap();
            // What comes now belongs to the next flush.
            let later = vec![Change::Note(b"later".to_vec(), Some(vec![number as u8]))];
            let mut truth = promised.truths.last().unwrap().clone();
            truth.apply(&later);
            promised.truths.push(truth);
            engine.apply(later)?;
            let flushed = flush.run()?;
            promised.durable = engine.end_flush(flushed)?.0 as usize;
        }
    }
    Ok(())
}

fn whole_run(quick_open: bool) -> u64 {
    let files = SimulatedFiles::default();
    let mut promised = Promised { truths: vec![Truth::default()], durable: 0 };
    work(&files, quick_open, &mut promised).unwrap();
    assert!(promised.durable > 20);
    files.operations()
}

#[test]
fn after_a_crash_at_any_operation_the_state_is_that_after_some_prefix() {
    for quick_open in [true, false] {
        let operations = whole_run(quick_open);
        assert!(operations > 60, "{operations} operations");
        (1..=operations).for_each(|at| crash_at(at, quick_open));
    }
}

fn crash_at(at: u64, quick_open: bool) {
    let files = SimulatedFiles::default();
    files.fail_from(at);
    let mut promised = Promised { truths: vec![Truth::default()], durable: 0 };
    // The last operations are those of a store that is closed: nobody hears of their failure.
    let _ = work(&files, quick_open, &mut promised);
    files.crash(at);
    let engine =
        open(&files, quick_open).unwrap_or_else(|error| panic!("crash at {at}, {quick_open}: {error}"));
    let found = Truth::of(&engine);
    let possible = &promised.truths[promised.durable..];
    assert!(possible.contains(&found), "crash at {at}, {quick_open}: {found:?}");
    found.check(&engine);
    engine.verify().unwrap();
}

#[test]
fn a_crash_while_a_crashed_store_is_opened_loses_nothing() {
    // Crash in the middle of the work, then at every operation of what opening does about it.
    for quick_open in [true, false] {
        let (_, _, opening) = crash_in_the_middle(quick_open, None);
        assert!(opening > 0, "opening after a crash writes");
        for at in 1..=opening {
            let (files, promised, _) = crash_in_the_middle(quick_open, Some(at));
            files.crash(at);
            let engine = open(&files, quick_open).unwrap();
            let possible = &promised.truths[promised.durable..];
            assert!(possible.contains(&Truth::of(&engine)), "crash at {at} of {opening}, {quick_open}");
        }
    }
}

/// Opens again after that, with a disk that fails at this operation.
fn crash_in_the_middle(quick_open: bool, then: Option<u64>) -> (SimulatedFiles, Promised, u64) {
    let files = SimulatedFiles::default();
    files.fail_from(whole_run(quick_open) * 2 / 3);
    let mut promised = Promised { truths: vec![Truth::default()], durable: 0 };
    work(&files, quick_open, &mut promised).unwrap_err();
    files.crash(1);
    let before = files.operations();
    if let Some(then) = then {
        files.fail_from(before + then);
    }
    drop(open(&files, quick_open));
    let opening = files.operations() - before;
    (files, promised, opening)
}

#[test]
fn a_failed_write_or_sync_is_fatal_and_never_tried_again() {
    [true, false].into_iter().for_each(fail_at_each_operation_of_a_flush);
}

fn fail_at_each_operation_of_a_flush(quick_open: bool) {
    let key = Key::new("k");
    let put = |sequence| {
        let record =
            Record { version: Version { epoch: 1, sequence }, value: vec![1; 100].into(), expires: None };
        vec![Change::Put(key.id(space()), key.clone(), record)]
    };
    let mut failed = 0;
    for nth in 1.. {
        let files = SimulatedFiles::default();
        let mut engine = open(&files, quick_open).unwrap();
        engine.apply(put(1)).unwrap();
        let flushed = engine.begin_flush().unwrap().unwrap().run().unwrap();
        engine.end_flush(flushed).unwrap();
        engine.apply(put(2)).unwrap();
        let flush = engine.begin_flush().unwrap().unwrap();
        files.fail_once(files.operations() + nth);
        match flush.run() {
            // All of its operations have had their turn.
            Ok(_) => break,
            Err(error) => assert!(matches!(error, StoreError::Fatal(_)), "{error}"),
        }
        failed += 1;
        let is_fatal = |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::Fatal(_))));
        is_fatal(engine.apply(put(3)).map(|_| ()));
        is_fatal(engine.get(key.id(space()), &key).map(|_| ()));
        is_fatal(engine.begin_flush().map(|_| ()));
        is_fatal(engine.note(b"n").map(|_| ()));
        is_fatal(engine.scan(crate::truth::EVERYTHING, None, &mut |_| std::ops::ControlFlow::Continue(())));
        // The process stops. Whatever it does on its way out must not bring back what the disk has forgotten.
        drop(engine);
        files.crash(nth);
        let engine = open(&files, quick_open).unwrap();
        let version = engine.version(key.id(space()), &key).unwrap().unwrap();
        assert!((1..=2).contains(&version.sequence), "{version}");
    }
    assert!(failed >= 2, "{failed} operations of a flush can fail");
}

#[test]
fn a_flush_that_was_given_up_is_a_failure() {
    let mut engine = open(&SimulatedFiles::default(), true).unwrap();
    engine.apply(vec![Change::Note(vec![1], Some(vec![2]))]).unwrap();
    drop(engine.begin_flush().unwrap());
    assert!(matches!(engine.apply(Vec::new()), Err(StoreError::Fatal(_))));
}

#[test]
fn a_state_file_holds_the_old_or_the_new_content_after_a_crash_at_any_operation() {
    let contents: Vec<Vec<u8>> = (0u8..6).map(|number| vec![number; usize::from(number) * 700]).collect();
    let file = |files: &SimulatedFiles| StateFile::new(Arc::new(files.clone()), "state", *b"12345678", 3);
    let files = SimulatedFiles::default();
    contents.iter().for_each(|content| file(&files).write(content).unwrap());
    let operations = files.operations();
    for (at, seed) in (1..=operations).flat_map(|at| (0..8).map(move |seed| (at, seed))) {
        let files = SimulatedFiles::default();
        files.fail_from(at);
        let written = contents.iter().take_while(|content| file(&files).write(content).is_ok()).count();
        assert!(written < contents.len());
        files.crash(seed);
        let found = file(&files).read().unwrap().map(|state| state.content);
        let old = written.checked_sub(1).map(|last| contents[last].clone());
        assert!(
            found == old || found.as_ref() == Some(&contents[written]),
            "crash at {at}, seed {seed}: {found:?}"
        );
        // It can be written again, whatever was left lying around.
        file(&files).write(b"again").unwrap();
        assert_eq!(file(&files).read().unwrap().unwrap().content, b"again");
    }
}
