//! What the tests of engines have in common: keys on a small ring, batches, and a plain map that is the truth.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use chordata_protocol::{Ending, Id, Key, Moment, Range, Record, Space, Version};
use chordata_store::{Change, DiskSettings, Engine, Position, Snapshot, Stored};
use proptest::prelude::*;

/// A ring of 16 points, so that identifiers collide and ranges wrap.
pub(crate) fn space() -> Space {
    Space::new(4).unwrap()
}

/// A small cache, so that the database is really read.
pub(crate) fn settings(quick_open: bool) -> DiskSettings {
    DiskSettings { cache_bytes: 1 << 16, quick_open }
}

pub(crate) fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        (0u8..40).prop_map(|number| Key::new(vec![number])),
        (0u128..16).prop_map(|number| Key::Literal(Id::from_u128(number))),
    ]
}

fn version() -> impl Strategy<Value = Version> {
    (0u64..3, 0u64..9).prop_map(|(epoch, sequence)| Version { epoch, sequence })
}

/// Few moments, so that several keys end at one.
fn expires() -> impl Strategy<Value = Option<Moment>> {
    proptest::option::of((0u64..6).prop_map(Moment::from_millis))
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    let value = proptest::collection::vec(any::<u8>(), 0..20);
    let note = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9));
    let name = proptest::collection::vec(0u8..3, 0..3);
    prop_oneof![
        6 => (key(), version(), value, expires()).prop_map(|(key, version, value, expires)| {
            Change::Put(key.id(space()), key, Record { version, value: value.into(), expires })
        }),
        2 => (key(), version()).prop_map(|(key, version)| Change::Bury(key.id(space()), key, version)),
        2 => key().prop_map(|key| Change::Remove(key.id(space()), key)),
        2 => (name, note).prop_map(|(name, note)| Change::Note(name, note)),
    ]
}

pub(crate) fn batch() -> impl Strategy<Value = Vec<Change>> {
    proptest::collection::vec(change(), 0..6)
}

pub(crate) fn range() -> impl Strategy<Value = Range> {
    (0u128..16, 0u128..16)
        .prop_map(|(low, high)| Range { low: Id::from_u128(low), high: Id::from_u128(high) })
}

pub(crate) const EVERYTHING: Range = Range { low: Id::MAX, high: Id::MAX };

/// What an engine should hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Truth {
    pub(crate) rows: BTreeMap<Position, Stored>,
    pub(crate) notes: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Truth {
    pub(crate) fn apply(&mut self, batch: &[Change]) {
        for change in batch.iter().cloned() {
            match change {
                Change::Put(id, key, record) => {
                    self.rows.insert((id, key), record.into());
                }
                Change::Bury(id, key, version) => {
                    self.rows.insert((id, key), Stored { version, value: None, expires: None });
                }
                Change::Remove(id, key) => {
                    self.rows.remove(&(id, key));
                }
                Change::Note(name, Some(note)) => {
                    self.notes.insert(name, note);
                }
                Change::Note(name, None) => {
                    self.notes.remove(&name);
                }
            }
        }
    }

    /// The rows of a range, going up and around from its low end.
    pub(crate) fn in_range(&self, range: Range) -> Vec<(Position, Stored)> {
        let inside = self.rows.iter().filter(|((id, _), _)| range.contains(*id));
        let mut inside: Vec<_> = inside.map(|(position, row)| (position.clone(), row.clone())).collect();
        let first = space().next(range.low);
        inside.sort_by_key(|((id, key), _)| (space().distance(first, *id), key.clone()));
        inside
    }

    /// What an engine holds.
    pub(crate) fn of(engine: &dyn Engine) -> Truth {
        let mut truth =
            Truth { rows: scanned(engine, None, EVERYTHING, None).into_iter().collect(), ..Truth::default() };
        let collect = &mut |name: &[u8], note: &[u8]| {
            truth.notes.insert(name.to_vec(), note.to_vec());
            ControlFlow::Continue(())
        };
        engine.notes(&[], None, collect).unwrap();
        truth
    }

    /// The keys that end by themselves, those that end first first.
    fn endings(&self) -> Vec<Ending> {
        let ending = |((id, key), row): (&Position, &Stored)| {
            Some(Ending { at: row.expires?, id: *id, key: key.clone() })
        };
        let mut endings: Vec<Ending> = self.rows.iter().filter_map(ending).collect();
        endings.sort();
        endings
    }

    fn check_endings(&self, engine: &dyn Engine) {
        let found = |after: Option<&Ending>, count: usize| {
            let mut found = Vec::new();
            let visit = &mut |ending: Ending| {
                found.push(ending);
                if found.len() < count { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            engine.endings(after, visit).unwrap();
            found
        };
        let all = self.endings();
        assert_eq!(found(None, usize::MAX), all);
        for (place, ending) in all.iter().enumerate() {
            assert_eq!(found(Some(ending), usize::MAX), all[place + 1..]);
            assert_eq!(found(None, place + 1), all[..=place]);
        }
        // Behind a place where nothing ends any more.
        let gone = Ending { at: Moment::from_millis(3), id: Id::from_u128(7), key: Key::new("gone") };
        let behind: Vec<Ending> = all.into_iter().filter(|ending| *ending > gone).collect();
        assert_eq!(found(Some(&gone), usize::MAX), behind);
    }

    /// Reads everything of the engine in every way there is.
    pub(crate) fn check(&self, engine: &dyn Engine) {
        let live = self.rows.values().filter(|row| row.value.is_some()).count();
        assert_eq!(engine.keys(), live as u64, "keys");
        assert_eq!(engine.tombstones(), (self.rows.len() - live) as u64, "tombstones");
        let value = |row: &Stored| row.value.as_ref().map_or(0, |value| value.len());
        let bytes: usize = self.rows.iter().map(|((_, key), row)| key.size() + value(row)).sum();
        assert_eq!(engine.bytes(), bytes as u64, "bytes");
        let keys = (0u8..40).map(|number| Key::new(vec![number]));
        for key in keys.chain((0..16).map(|number| Key::Literal(Id::from_u128(number)))) {
            let position = (key.id(space()), key);
            let expected = self.rows.get(&position);
            let (id, key) = &position;
            assert_eq!(engine.stored(*id, key).unwrap().as_ref(), expected, "{key}");
            let mark = engine.mark(*id, key).unwrap();
            assert_eq!(mark.map(|mark| mark.version), expected.map(|row| row.version));
            assert_eq!(mark.and_then(|mark| mark.expires), expected.and_then(|row| row.expires));
            let record = expected.cloned().and_then(Stored::into_record);
            assert_eq!(engine.version(*id, key).unwrap(), record.as_ref().map(|record| record.version));
            assert_eq!(engine.get(*id, key).unwrap(), record);
        }
        assert_eq!(&Truth::of(engine), self);
        self.check_endings(engine);
        for (name, note) in &self.notes {
            assert_eq!(engine.note(name).unwrap().as_ref(), Some(note));
            let (mut found, mut expected) = (Vec::new(), self.notes.clone());
            expected.retain(|other, _| other.starts_with(&name[..name.len() / 2]) && other > name);
            let collect = &mut |name: &[u8], _: &[u8]| {
                found.push(name.to_vec());
                ControlFlow::Continue(())
            };
            engine.notes(&name[..name.len() / 2], Some(name), collect).unwrap();
            assert_eq!(found, expected.into_keys().collect::<Vec<_>>());
        }
        assert_eq!(engine.note(b"no such note").unwrap(), None);
    }

    /// Scans a range from its beginning and from behind each of its rows.
    pub(crate) fn check_scans(&self, engine: &dyn Engine, snapshot: Option<&Snapshot>, range: Range) {
        let all = self.in_range(range);
        assert_eq!(scanned(engine, snapshot, range, None), all);
        for (place, (position, _)) in all.iter().enumerate() {
            assert_eq!(scanned(engine, snapshot, range, Some(position)), all[place + 1..]);
        }
    }
}

pub(crate) fn scanned(
    engine: &dyn Engine,
    snapshot: Option<&Snapshot>,
    range: Range,
    after: Option<&Position>,
) -> Vec<(Position, Stored)> {
    let mut found = Vec::new();
    let visit = &mut |item: chordata_store::Item<'_>| {
        found.push((item.position(), item.stored()));
        ControlFlow::Continue(())
    };
    match snapshot {
        Some(snapshot) => engine.scan_snapshot(snapshot, range, after, visit).unwrap(),
        None => engine.scan(range, after, visit).unwrap(),
    }
    found
}
