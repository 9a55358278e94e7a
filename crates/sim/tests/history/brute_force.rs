//! The truth, by trying everything: is there an order of these operations on one key that explains every answer?
//!
//! After Wing and Gong (*Testing and Verifying Concurrent Objects*, 1993): take, again and again, an operation that
//! nothing unfinished precedes, and see whether its answer fits. Unknown operations may be taken or not. Once with
//! versions, where effects take rising versions and an unknown effect tries every one, and once without. Only for a
//! handful of operations in one epoch.

use std::collections::BTreeSet;

use chordata_protocol::{Value, Version};
use chordata_sim::history::{Answer, Kind, Operation, Outcome, Seen};

/// What the key holds on the way.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct State<'a> {
    /// Which operations were taken.
    taken: u32,
    present: Option<(i64, &'a Value)>,
    /// The version of the last effect.
    last: i64,
    /// The next effect has a higher version than this.
    floor: i64,
}

struct Search<'a> {
    operations: &'a [Operation],
    versions: bool,
    highest: i64,
    failed: BTreeSet<State<'a>>,
}

/// Is there an order in which the versions rise and every answer is right?
pub(crate) fn explained_with_versions(operations: &[Operation]) -> bool {
    search(operations, true)
}

/// Is there an order in which every answer is right, whatever the versions?
pub(crate) fn explained_by_values(operations: &[Operation]) -> bool {
    search(operations, false)
}

fn search(operations: &[Operation], versions: bool) -> bool {
    assert!(operations.len() <= 32, "this search is for small histories");
    let mut search = Search { operations, versions, highest: 40, failed: BTreeSet::new() };
    let in_time = |operation: &Operation| operation.returned.is_none_or(|end| operation.invoked <= end);
    operations.iter().all(in_time) && search.go(State { taken: 0, present: None, last: -1, floor: -1 })
}

fn sequence(version: Version) -> i64 {
    assert_eq!(version.epoch, 1, "this search knows one epoch");
    i64::try_from(version.sequence).unwrap()
}

impl<'a> Search<'a> {
    fn go(&mut self, state: State<'a>) -> bool {
        let operations = self.operations;
        let open = |at: &usize| state.taken & (1 << at) == 0;
        let done = |operation: &Operation| matches!(operation.outcome, Outcome::Done(_));
        let left: Vec<usize> = (0..operations.len()).filter(open).collect();
        let must: Vec<usize> = left.iter().copied().filter(|at| done(&operations[*at])).collect();
        if must.is_empty() {
            return true;
        }
        if self.failed.contains(&state) {
            return false;
        }
        let first = must.iter().filter_map(|at| operations[*at].returned).min().unwrap();
        for at in left {
            if operations[at].invoked > first {
                continue;
            }
            for mut next in self.next(&operations[at], &state) {
                next.taken |= 1 << at;
                if self.go(next) {
                    return true;
                }
            }
        }
        self.failed.insert(state);
        false
    }

    /// The states to which the operation can lead.
    fn next(&self, operation: &'a Operation, state: &State<'a>) -> Vec<State<'a>> {
        let matches = |expected: Option<Version>| expected.map(sequence) == state.present.map(|(at, _)| at);
        let any = || if self.versions { state.floor + 1..=self.highest } else { 0..=0 };
        let effect = |version: i64, value: Option<&'a Value>| State {
            present: value.map(|value| (version, value)),
            last: version,
            floor: version,
            ..*state
        };
        match (&operation.kind, &operation.outcome) {
            (_, Outcome::NotDone) | (Kind::Get, Outcome::Unknown) => vec![],
            (Kind::Put(value), Outcome::Unknown) => {
                any().map(|version| effect(version, Some(value))).collect()
            }
            (Kind::Delete, Outcome::Unknown) if state.present.is_some() => {
                any().map(|version| effect(version, None)).collect()
            }
            (Kind::CompareAndSwap { expected, value }, Outcome::Unknown) if matches(*expected) => {
                let changes = value.is_some() || state.present.is_some();
                any().filter(|_| changes).map(|version| effect(version, value.as_ref())).collect()
            }
            (_, Outcome::Unknown) => vec![],
            (kind, Outcome::Done(answer)) => self.answered(kind, answer, state).into_iter().collect(),
        }
    }

    fn answered(&self, kind: &'a Kind, answer: &'a Answer, state: &State<'a>) -> Option<State<'a>> {
        let found = state.present.map(|(at, _)| at);
        let absent = |as_of: Version| {
            let as_of = sequence(as_of);
            let fits = found.is_none() && (!self.versions || state.last <= as_of);
            fits.then(|| State { floor: state.floor.max(as_of), ..state.clone() })
        };
        let effect = |version: Version, value: Option<&'a Value>, fits: bool| {
            let version = sequence(version);
            let fits = fits && (!self.versions || version > state.floor);
            let present = value.map(|value| (version, value));
            fits.then_some(State { present, last: version, floor: version, ..*state })
        };
        match (kind, answer) {
            (Kind::Put(value), Answer::Written(version)) => effect(*version, Some(value), true),
            (Kind::CompareAndSwap { expected, value: Some(value) }, Answer::Written(version)) => {
                effect(*version, Some(value), expected.map(sequence) == found)
            }
            (Kind::Delete, Answer::Deleted { version, existed: true }) => {
                effect(*version, None, found.is_some())
            }
            (Kind::Delete, Answer::Deleted { version, existed: false }) => absent(*version),
            (
                Kind::CompareAndSwap { expected: Some(expected), value: None },
                Answer::Deleted { version, existed: true },
            ) => effect(*version, None, found == Some(sequence(*expected))),
            (
                Kind::CompareAndSwap { expected: None, value: None },
                Answer::Deleted { version, existed: false },
            ) => absent(*version),
            (Kind::Get, Answer::Found(record)) => {
                let fits = match state.present {
                    Some((at, value)) => {
                        *value == record.value && (!self.versions || at == sequence(record.version))
                    }
                    None => false,
                };
                fits.then(|| state.clone())
            }
            (Kind::Get, Answer::Absent { as_of }) => absent(*as_of),
            (Kind::CompareAndSwap { expected, .. }, Answer::Conflict(Seen::Version(version))) => {
                let fits = found == Some(sequence(*version)) && *expected != Some(*version);
                fits.then(|| state.clone())
            }
            (Kind::CompareAndSwap { expected: Some(_), .. }, Answer::Conflict(Seen::Absent { as_of })) => {
                absent(*as_of)
            }
            _ => None,
        }
    }
}
