//! What a broken store does to a correct history: damage that must be found, and small disturbances that may be none.

use chordata_protocol::{Record, Value, Version};
use chordata_sim::history::{Answer, History, Kind, Operation, Outcome, Seen};

/// What a broken store does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Damage {
    /// A read finds what was there before a write that had returned.
    StaleRead,
    /// A read finds nothing, though a write had returned, nothing can have removed its value.
    LostWrite,
    /// A value is found under a second version.
    DoubleEffect,
    /// A read finds what was there before a delete that had returned.
    RevivedDelete,
    /// Two writes, one after the other, have each other's version.
    SwappedVersions,
    /// A refused write is found.
    RefusedWrite,
}

impl Damage {
    pub(crate) const ALL: [Damage; 6] = [
        Damage::StaleRead,
        Damage::LostWrite,
        Damage::DoubleEffect,
        Damage::RevivedDelete,
        Damage::SwappedVersions,
        Damage::RefusedWrite,
    ];
}

/// The same operations as a history.
pub(crate) fn rebuilt(operations: &[Operation]) -> History {
    let mut history = History::new();
    for Operation { client, key, kind, invoked, returned, outcome, .. } in operations {
        let number = history.invoke(*client, key.clone(), kind.clone(), *invoked);
        if let Some(returned) = returned {
            history.close(number, *returned, outcome.clone());
        }
    }
    history
}

fn written(operation: &Operation) -> Option<Version> {
    match operation.outcome {
        Outcome::Done(Answer::Written(version)) => Some(version),
        _ => None,
    }
}

fn removed(operation: &Operation) -> Option<Version> {
    match operation.outcome {
        Outcome::Done(Answer::Deleted { version, existed: true }) => Some(version),
        _ => None,
    }
}

fn pick<T>(mut from: Vec<T>, at: u64) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(usize::try_from(at % from.len() as u64).unwrap()))
}

/// Adds a read by the end of the history.
pub(crate) fn with_read(history: &History, answer: Answer) -> History {
    let mut history = history.clone();
    let end = history.operations().iter().filter_map(|operation| operation.returned).max().unwrap_or(0);
    let number = history.invoke(99, super::register::key(), Kind::Get, end + 1);
    history.close(number, end + 2, Outcome::Done(answer));
    history
}

/// The history with this damage; none where nothing fits.
pub(crate) fn damage(history: &History, damage: Damage, at: u64) -> Option<History> {
    let operations = history.operations();
    let writes: Vec<&Operation> =
        operations.iter().filter(|operation| written(operation).is_some()).collect();
    let record = |operation: &Operation| {
        let value = operation.value().unwrap().clone();
        Record { version: written(operation).unwrap(), value, expires: None }
    };
    let above = Version { epoch: 1_000_000, sequence: 0 };
    match damage {
        Damage::StaleRead => {
            // All but the last acknowledged write are behind at the end.
            let last = writes.iter().filter_map(|write| written(write)).max()?;
            let write = pick(writes.into_iter().filter(|write| written(write) != Some(last)).collect(), at)?;
            Some(with_read(history, Answer::Found(record(write))))
        }
        Damage::LostWrite => {
            let can_remove =
                |operation: &Operation| operation.is_removal() && operation.outcome == Outcome::Unknown;
            let last = writes.iter().filter_map(|write| written(write)).max()?;
            let later = operations.iter().filter_map(removed).any(|version| version > last);
            let explained = later || operations.iter().any(can_remove);
            (!explained).then(|| with_read(history, Answer::Absent { as_of: above }))
        }
        Damage::DoubleEffect => {
            let Record { value, .. } = record(pick(writes, at)?);
            Some(with_read(history, Answer::Found(Record { version: above, value, expires: None })))
        }
        Damage::RevivedDelete => {
            let last = operations.iter().filter_map(removed).max()?;
            let older = writes.into_iter().filter(|write| written(write) < Some(last)).collect();
            Some(with_read(history, Answer::Found(record(pick(older, at)?))))
        }
        Damage::SwappedVersions => {
            let follows = |pair: &(&Operation, &Operation)| pair.0.returned < Some(pair.1.invoked);
            let pairs = writes.iter().flat_map(|one| writes.iter().map(move |other| (*one, *other)));
            let (one, other) = pick(pairs.filter(follows).collect(), at)?;
            let mut operations = operations.to_vec();
            operations[one.number].outcome = other.outcome.clone();
            operations[other.number].outcome = one.outcome.clone();
            Some(rebuilt(&operations))
        }
        Damage::RefusedWrite => {
            let refused = |operation: &&Operation| operation.outcome == Outcome::NotDone;
            let refused: Vec<&Value> =
                operations.iter().filter(refused).filter_map(Operation::value).collect();
            let value = pick(refused, at)?.clone();
            Some(with_read(history, Answer::Found(Record { version: above, value, expires: None })))
        }
    }
}

/// Changes something small, in one epoch: a version, a value, a time, an outcome, an answer.
pub(crate) fn disturb(operations: &mut [Operation], how: u64) {
    if operations.is_empty() {
        return;
    }
    let number = |of: u64, shift: u32| (how >> shift) % of;
    let index = |shift: u32| usize::try_from(number(operations.len() as u64, shift)).unwrap();
    let (at, other) = (index(0), operations[index(8)].clone());
    let up = number(2, 16) == 0;
    let move_by = |version: &mut Version| {
        let by = 1 + number(3, 17);
        version.sequence =
            if up { version.sequence + by } else { version.sequence.saturating_sub(by).max(1) };
    };
    let operation = &mut operations[at];
    match number(7, 24) {
        0 | 1 => match &mut operation.outcome {
            Outcome::Done(
                Answer::Written(version)
                | Answer::Deleted { version, .. }
                | Answer::Absent { as_of: version },
            ) => move_by(version),
            Outcome::Done(Answer::Found(record)) => move_by(&mut record.version),
            Outcome::Done(Answer::Conflict(Seen::Version(version) | Seen::Absent { as_of: version })) => {
                move_by(version);
            }
            Outcome::NotDone | Outcome::Unknown => {}
        },
        2 => operation.invoked = operation.invoked.saturating_sub(1 + number(8, 17)),
        3 => {
            let length = operation.returned.unwrap_or(0).saturating_sub(operation.invoked);
            operation.invoked = number(16, 17);
            operation.returned = operation.returned.map(|_| operation.invoked + length);
        }
        4 if operation.returned.is_some() => {
            operation.outcome = if up { Outcome::Unknown } else { Outcome::NotDone };
        }
        5 if operation.kind == Kind::Get && operation.answer().is_some() => {
            operation.outcome = match (&other.outcome, other.value()) {
                (Outcome::Done(Answer::Found(_) | Answer::Absent { .. }), _) => other.outcome,
                (Outcome::Done(Answer::Written(version)), Some(value)) => {
                    Outcome::Done(Answer::Found(Record {
                        version: *version,
                        value: value.clone(),
                        expires: None,
                    }))
                }
                (Outcome::Done(Answer::Deleted { version, .. }), _) => {
                    Outcome::Done(Answer::Absent { as_of: *version })
                }
                (_, Some(value)) => {
                    let version = Version { epoch: 1, sequence: 1 + number(16, 17) };
                    Outcome::Done(Answer::Found(Record { version, value: value.clone(), expires: None }))
                }
                _ => Outcome::Done(Answer::Absent { as_of: Version { epoch: 1, sequence: number(16, 17) } }),
            };
        }
        _ => {
            if let Outcome::Done(Answer::Deleted { existed, .. }) = &mut operation.outcome {
                *existed = !*existed;
            }
            if let Kind::CompareAndSwap { expected: Some(version), .. } = &mut operation.kind {
                move_by(version);
            }
        }
    }
}
