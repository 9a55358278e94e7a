//! Damage on disk is found and never served; what is in use, newer, or something else is refused.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::truth::settings;
use chordata_protocol::{Ending, Id, Key, Moment, Range, Record, Space, Version};
use chordata_store::directory::{FORMAT, FORMAT_FILE, LOCK_FILE};
use chordata_store::{
    Change, DiskEngine, Engine, Files, RealFiles, SimulatedFiles, StateFile, StoreError, transfer,
};

const DATA_FILE: &str = "data.redb";
const EVERYTHING: Range = Range { low: Id::MAX, high: Id::MAX };

fn open(files: &SimulatedFiles) -> Result<DiskEngine, StoreError> {
    DiskEngine::open(Arc::new(files.clone()), settings(true))
}

fn flush(engine: &mut DiskEngine) {
    let flushed = engine.begin_flush().unwrap().unwrap().run().unwrap();
    engine.end_flush(flushed).unwrap();
}

fn key(number: u8) -> Key {
    Key::new(format!("key-{number:03}"))
}

fn value(number: u8) -> Vec<u8> {
    format!("<the value of key {number:03}>").into_bytes()
}

fn id(key: &Key) -> Id {
    key.id(Space::default())
}

/// Forty keys and a note, on disk, and closed.
fn filled() -> SimulatedFiles {
    let files = SimulatedFiles::default();
    let mut engine = open(&files).unwrap();
    let put = |number| {
        let record =
            Record { version: Version { epoch: 1, sequence: 7 }, value: value(number).into(), expires: None };
        Change::Put(id(&key(number)), key(number), record)
    };
    let mut batch: Vec<Change> = (0..40).map(put).collect();
    batch.push(Change::Note(b"range".to_vec(), Some(b"<the content of the note>".to_vec())));
    engine.apply(batch).unwrap();
    flush(&mut engine);
    files
}

/// Changes one byte at every place where these bytes are.
fn damage(files: &SimulatedFiles, needle: &[u8]) {
    let mut bytes = files.content(DATA_FILE).unwrap();
    let places: Vec<usize> = bytes
        .windows(needle.len())
        .enumerate()
        .filter(|(_, window)| *window == needle)
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "the bytes are in the file");
    places.iter().for_each(|at| bytes[at + needle.len() / 2] ^= 0x10);
    files.set_content(DATA_FILE, &bytes);
}

#[test]
fn a_damaged_record_is_named_and_can_be_fetched_again() {
    let files = filled();
    damage(&files, &value(17));
    let mut engine = open(&files).unwrap();
    let (bad, place) = (key(17), id(&key(17)));
    let damaged = StoreError::Damaged { id: place, key: bad.clone() };
    assert_eq!(engine.get(place, &bad), Err(damaged.clone()));
    assert_eq!(engine.version(place, &bad), Err(damaged.clone()), "its version is not relied on either");
    assert_eq!(engine.verify(), Err(damaged.clone()));
    for number in (0..40).filter(|number| *number != 17) {
        assert_eq!(*engine.get(id(&key(number)), &key(number)).unwrap().unwrap().value, *value(number));
    }

    // A scan stops there, and goes on behind it.
    let mut seen = 0;
    let mut count = |_: chordata_store::Item<'_>| {
        seen += 1;
        ControlFlow::Continue(())
    };
    assert_eq!(engine.scan(EVERYTHING, None, &mut count), Err(damaged));
    engine.scan(EVERYTHING, Some(&(place, bad.clone())), &mut count).unwrap();
    assert_eq!(seen, 39);
    assert!(transfer::read_range(&engine, Space::default(), EVERYTHING, None, usize::MAX).is_err());

    // What a replica has takes its place, although its version is the same.
    let record =
        Record { version: Version { epoch: 1, sequence: 7 }, value: value(17).into(), expires: None };
    transfer::merge(&mut engine, Space::default(), vec![(bad.clone(), Some(record))]).unwrap();
    flush(&mut engine);
    drop(engine);
    let engine = open(&files).unwrap();
    assert_eq!(*engine.get(place, &bad).unwrap().unwrap().value, *value(17));
    engine.verify().unwrap();
}

#[test]
fn a_damaged_record_that_ends_is_found_and_what_takes_its_place_ends_when_it_says() {
    let files = SimulatedFiles::default();
    let mut engine = open(&files).unwrap();
    let record = |number, expires| Record {
        version: Version { epoch: 1, sequence: 7 },
        value: value(number).into(),
        expires: Some(Moment::from_millis(expires)),
    };
    let put = |number| Change::Put(id(&key(number)), key(number), record(number, 100 + u64::from(number)));
    engine.apply((0..40).map(put).collect()).unwrap();
    flush(&mut engine);
    drop(engine);
    damage(&files, &value(17));
    let mut engine = open(&files).unwrap();
    assert!(matches!(engine.mark(id(&key(17)), &key(17)), Err(StoreError::Damaged { .. })));
    let ends = |engine: &DiskEngine| {
        let mut found = Vec::new();
        let visit = &mut |ending: Ending| {
            found.push((ending.at.as_millis(), ending.key));
            ControlFlow::Continue(())
        };
        engine.endings(None, visit).unwrap();
        found
    };
    assert_eq!(ends(&engine).len(), 40, "when it ends is known without a look at it");
    engine.apply(vec![Change::Put(id(&key(17)), key(17), record(17, 500))]).unwrap();
    flush(&mut engine);
    engine.verify().unwrap();
    assert_eq!(ends(&engine).len(), 40);
    assert_eq!(ends(&engine)[39], (500, key(17)));
}

#[test]
fn a_store_of_the_format_before_is_read_and_is_of_this_one_then() {
    let files = filled();
    let as_format =
        |format| StateFile::new(Arc::new(files.clone()) as Arc<dyn Files>, FORMAT_FILE, *b"CHDstore", format);
    let content = as_format(FORMAT).read().unwrap().unwrap().content;
    as_format(1).write(&content).unwrap();
    let engine = open(&files).unwrap();
    assert_eq!(engine.keys(), 40);
    assert_eq!(as_format(FORMAT).read().unwrap().unwrap().format, FORMAT);
    assert!(
        matches!(as_format(1).read(), Err(StoreError::NewerFormat { .. })),
        "an older program refuses it"
    );
}

#[test]
fn a_damaged_record_costs_the_store_nothing_after_a_kill_if_it_opens_quickly() {
    for quick_open in [true, false] {
        let files = SimulatedFiles::default();
        let open = || DiskEngine::open(Arc::new(files.clone()), settings(quick_open));
        let mut engine = open().unwrap();
        for number in 0..40 {
            let record = Record { version: Version::default(), value: value(number).into(), expires: None };
            engine.apply(vec![Change::Put(id(&key(number)), key(number), record)]).unwrap();
            flush(&mut engine);
        }
        // Killed: nothing is closed.
        files.kill();
        drop(engine);
        files.crash(1);
        damage(&files, &value(17));
        match open() {
            Ok(engine) => {
                assert!(quick_open);
                let wrong = (0..40).filter(|number| engine.get(id(&key(*number)), &key(*number)).is_err());
                assert_eq!(wrong.collect::<Vec<_>>(), [17]);
            }
            Err(error) => assert!(!quick_open && matches!(error, StoreError::Fatal(_)), "{error}"),
        }
    }
}

#[test]
fn a_damaged_range_can_be_erased() {
    let files = filled();
    damage(&files, &value(3));
    let mut engine = open(&files).unwrap();
    transfer::erase(&mut engine, EVERYTHING).unwrap();
    flush(&mut engine);
    assert_eq!((engine.keys(), engine.bytes()), (0, 0));
    engine.verify().unwrap();
}

#[test]
fn a_damaged_note_is_named() {
    let files = filled();
    damage(&files, b"<the content of the note>");
    let engine = open(&files).unwrap();
    let damaged = StoreError::DamagedNote { name: b"range".to_vec() };
    assert_eq!(engine.note(b"range"), Err(damaged.clone()));
    assert_eq!(engine.notes(b"", None, &mut |_, _| ControlFlow::Continue(())), Err(damaged));
    assert!(engine.get(id(&key(1)), &key(1)).unwrap().is_some(), "keys are not touched by it");
}

#[test]
fn no_flipped_bit_in_any_record_changes_what_is_served() {
    let files = filled();
    let bytes = files.content(DATA_FILE).unwrap();
    let at = bytes.windows(20).position(|window| window == &value(9)[..20]).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let mut refused = 0;
    // The record's own bytes, its neighbours', and the keys in front of them.
    for place in at - 1500..at + 700 {
        let files = SimulatedFiles::default();
        let mut damaged = bytes.clone();
        damaged[place] ^= 1 << random.u8(0..8);
        for name in [FORMAT_FILE, LOCK_FILE] {
            filled().content(name).into_iter().for_each(|content| files.set_content(name, &content));
        }
        files.set_content(DATA_FILE, &damaged);
        let looked = std::panic::catch_unwind(|| {
            let engine = open(&files)?;
            for number in 0..40 {
                match engine.get(id(&key(number)), &key(number)) {
                    Ok(Some(record)) => assert_eq!(*record.value, *value(number), "byte {place}"),
                    Ok(None) => {
                        engine.verify()?;
                        panic!("key {number} is gone unseen, byte {place}");
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        });
        refused += usize::from(!matches!(looked, Ok(Ok(()))));
        if let Err(panic) = looked {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            assert!(!text.contains("byte "), "{text}");
        }
    }
    assert!(refused > 500, "{refused}");
}

#[test]
fn a_store_belongs_to_one_process() {
    let files = SimulatedFiles::default();
    let mut engine = open(&files).unwrap();
    let Err(StoreError::InUse { directory }) = open(&files) else { panic!("a second one was let in") };
    assert_eq!(directory, files.name());
    // A flush that still runs keeps it, too.
    engine.apply(vec![Change::Note(vec![1], Some(vec![1]))]).unwrap();
    let flush = engine.begin_flush().unwrap().unwrap();
    drop(engine);
    assert!(matches!(open(&files), Err(StoreError::InUse { .. })));
    drop(flush.run().unwrap());
    assert_eq!(open(&files).unwrap().note(&[1]).unwrap(), Some(vec![1]));
}

#[test]
fn a_real_directory_is_locked_and_free_again_when_the_store_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let open = || DiskEngine::open(Arc::new(RealFiles::new(directory.path()).unwrap()), settings(true));
    let engine = open().unwrap();
    let error = open().unwrap_err();
    assert_eq!(error, StoreError::InUse { directory: directory.path().display().to_string() });
    assert!(error.to_string().contains(&directory.path().display().to_string()), "{error}");
    drop(engine);
    open().unwrap();
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let files = filled();
    let newer = StateFile::new(Arc::new(files.clone()), FORMAT_FILE, *b"CHDstore", FORMAT + 1);
    newer.write(b"what comes next").unwrap();
    let before = files.content(DATA_FILE);
    let error = open(&files).unwrap_err();
    assert!(
        matches!(error, StoreError::NewerFormat { found, known, .. } if (found, known) == (FORMAT + 1, FORMAT))
    );
    assert!(error.to_string().contains("newer version"), "{error}");
    assert_eq!(files.content(DATA_FILE), before);
}

#[test]
fn a_directory_of_something_else_is_refused() {
    let files = SimulatedFiles::default();
    files.set_content(DATA_FILE, b"something else");
    assert!(matches!(open(&files), Err(StoreError::NotAStore { .. })));
    let files = filled();
    files.set_content(FORMAT_FILE, b"something else");
    assert!(matches!(open(&files), Err(StoreError::DamagedFile { .. })));
}

#[test]
fn damage_anywhere_in_a_state_file_is_found() {
    let files = SimulatedFiles::default();
    let file = StateFile::new(Arc::new(files.clone()), "state", *b"12345678", 1);
    assert_eq!(file.read().unwrap(), None);
    file.write(b"what was known").unwrap();
    let good = files.content("state").unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        files.set_content("state", &bad);
        let error = file.read().unwrap_err();
        let named = matches!(error, StoreError::DamagedFile { .. } | StoreError::NewerFormat { .. });
        assert!(named && error.to_string().contains("state"), "byte {at}: {error}");
        files.set_content("state", &good[..at]);
        assert!(matches!(file.read(), Err(StoreError::DamagedFile { .. })), "cut at {at}");
    }
    files.set_content("state", &good);
    assert_eq!(file.read().unwrap().unwrap().content, b"what was known");
}

#[test]
fn a_key_that_is_too_long_changes_nothing() {
    let mut engines: [Box<dyn Engine>; 2] = [
        Box::new(chordata_store::MemoryEngine::default()),
        Box::new(open(&SimulatedFiles::default()).unwrap()),
    ];
    for engine in &mut engines {
        let long = Key::new(vec![0; 5000]);
        let batch =
            vec![Change::Note(vec![1], Some(vec![1])), Change::Bury(id(&long), long, Version::default())];
        assert_eq!(engine.apply(batch), Err(StoreError::KeyTooLong(5000)));
        assert_eq!(engine.note(&[1]).unwrap(), None);
    }
}
