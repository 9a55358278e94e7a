//! Every engine must do what a plain map does.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use chordata_protocol::message::Range;
use chordata_protocol::{Id, Key, Record, Space, Version};
use chordata_store::{Change, Engine, MemoryEngine, transfer};
use proptest::prelude::*;

type Truth = BTreeMap<(Id, Key), Record>;

/// A ring of 16 points, so that identifiers collide and ranges wrap.
fn space() -> Space {
    Space::new(4).unwrap()
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        (0u8..40).prop_map(|number| Key::new(vec![number])),
        (0u128..16).prop_map(|number| Key::Literal(Id::from_u128(number))),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let value = proptest::collection::vec(any::<u8>(), 0..20);
    prop_oneof![
        3 => (key(), value, 0u64..9).prop_map(|(key, value, sequence)| {
            let record = Record { version: Version { epoch: 1, sequence }, value: value.into() };
            Change::Put(key.id(space()), key, record)
        }),
        1 => key().prop_map(|key| Change::Remove(key.id(space()), key)),
    ]
}

fn range() -> impl Strategy<Value = Range> {
    (0u128..16, 0u128..16)
        .prop_map(|(low, high)| Range { low: Id::from_u128(low), high: Id::from_u128(high) })
}

fn build(changes: &[Change]) -> (MemoryEngine, Truth) {
    let (mut engine, mut truth) = (MemoryEngine::default(), Truth::new());
    engine.apply(changes.to_vec());
    for change in changes.iter().cloned() {
        match change {
            Change::Put(id, key, record) => truth.insert((id, key), record),
            Change::Remove(id, key) => truth.remove(&(id, key)),
        };
    }
    (engine, truth)
}

/// The keys of a range, going up and around from its low end.
fn expected(truth: &Truth, range: Range) -> Vec<(Id, Key)> {
    let mut inside: Vec<(Id, Key)> = truth.keys().filter(|(id, _)| range.contains(*id)).cloned().collect();
    let first = space().next(range.low);
    inside.sort_by_key(|(id, key)| (space().distance(first, *id), key.clone()));
    inside
}

fn scanned(engine: &dyn Engine, range: Range, after: Option<&(Id, Key)>) -> Vec<(Id, Key)> {
    let mut found = Vec::new();
    engine.scan(range, after, &mut |id, key, _| {
        found.push((id, key.clone()));
        ControlFlow::Continue(())
    });
    found
}

proptest! {
    #[test]
    fn reads_counts_and_scans_agree(changes in proptest::collection::vec(change(), 0..80), range in range()) {
        let (engine, truth) = build(&changes);
        prop_assert_eq!(engine.keys(), truth.len() as u64);
        let bytes: usize = truth.iter().map(|((_, key), record)| key.size() + record.value.len()).sum();
        prop_assert_eq!(engine.bytes(), bytes as u64);
        for ((id, key), record) in &truth {
            prop_assert_eq!(engine.get(*id, key), Some(record.clone()));
        }
        let all = expected(&truth, range);
        prop_assert_eq!(&scanned(&engine, range, None), &all);
        for (place, position) in all.iter().enumerate() {
            prop_assert_eq!(&scanned(&engine, range, Some(position)), &all[place + 1..]);
        }
    }

    #[test]
    fn a_range_read_in_parts_and_merged_elsewhere_is_the_same(
        changes in proptest::collection::vec(change(), 0..80),
        range in range(),
        bytes_max in 1usize..300,
    ) {
        let (engine, truth) = build(&changes);
        let (mut target, mut after, mut parts) = (MemoryEngine::default(), None, 0);
        loop {
            let (entries, next) = transfer::read_range(&engine, space(), range, after, bytes_max);
            transfer::merge(&mut target, space(), entries);
            parts += 1;
            prop_assert!(parts <= truth.len() + 1, "every part brings something");
            match next {
                Some(key) => after = Some(key),
                None => break,
            }
        }
        prop_assert_eq!(scanned(&target, range, None), expected(&truth, range));
        transfer::erase(&mut target, range);
        prop_assert_eq!((target.keys(), target.bytes()), (0, 0));
    }

    #[test]
    fn merging_keeps_the_later_write(first in 0u64..9, second in 0u64..9) {
        let mut engine = MemoryEngine::default();
        let record = |sequence| Record { version: Version { epoch: 1, sequence }, value: vec![1].into() };
        let key = Key::new("k");
        transfer::merge(&mut engine, space(), vec![(key.clone(), Some(record(first)))]);
        transfer::merge(&mut engine, space(), vec![(key.clone(), Some(record(second)))]);
        let kept = engine.version(key.id(space()), &key).unwrap();
        prop_assert_eq!(kept.sequence, first.max(second));
        transfer::merge(&mut engine, space(), vec![(key, None)]);
        prop_assert_eq!(engine.keys(), 0);
    }
}
