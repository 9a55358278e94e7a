//! Linearizability by witness: the order of the versions is one in which everything can have happened.
//!
//! To find out whether a history is linearizable is hard in general (NP-complete; Gibbons and Korach 1997). Here the
//! store says which order it took: every answer carries a version. It remains to see that this order explains every
//! answer (files `witness`, `places`, `unknown`) and respects real time: what returned before
//! something else was invoked does not come behind it. That takes O(n log n).
//!
//! A checked history is linearizable. One that is refused either is not, or its versions are not the order that
//! the store acted by, which is as much of a bug.

use chordata_protocol::Key;

use super::failure::{Failure, Wrong};
use super::operation::{Operation, Role};
use super::places::{Place, Start, places};
use super::record::History;
use super::unknown::{Timed, explain};
use super::witness::Witness;

/// Checks every key.
///
/// # Errors
/// When the versions of a key are no witness of its linearizability.
pub fn check(history: &History) -> Result<(), Failure> {
    for (key, operations) in history.by_key() {
        check_key(key, &operations)?;
    }
    Ok(())
}

fn check_key(key: &Key, operations: &[&Operation]) -> Result<(), Failure> {
    let whole = || {
        let witness = Witness::of(operations)?;
        let places = places(&witness, operations)?;
        let needs = real_time(&places)?;
        explain(needs, &witness.unplaced(operations), &witness.effects)
    };
    whole().map_err(|wrong: Wrong| wrong.of("versions", key, operations))
}

/// Goes through the places from the last to the first, and remembers what returned first among those behind.
/// Gives what unknown operations must have done, and by when.
fn real_time<'a>(places: &[Place<'a>]) -> Result<Vec<Timed<'a>>, Wrong> {
    let mut needs = Vec::new();
    let mut first: Option<&'a Operation> = None;
    for (at, place) in places.iter().enumerate().rev() {
        for reader in &place.readers {
            in_time(reader, first, &places[at..])?;
        }
        for reader in &place.readers {
            first = sooner(first, reader);
        }
        match &place.start {
            Start::Nothing => {}
            Start::Known(operation) => {
                in_time(operation, first, &places[at..])?;
                first = sooner(first, operation);
            }
            Start::Needed(need) => needs.push((need.clone(), first)),
        }
    }
    Ok(needs)
}

fn sooner<'a>(first: Option<&'a Operation>, other: &'a Operation) -> Option<&'a Operation> {
    let end = |operation: &Operation| operation.end().unwrap_or(u64::MAX);
    Some(first.filter(|first| end(first) <= end(other)).unwrap_or(other))
}

/// The operation was not invoked after `first` had returned, which comes behind it in the order.
fn in_time<'a>(
    operation: &'a Operation,
    first: Option<&'a Operation>,
    places: &[Place<'a>],
) -> Result<(), Wrong> {
    let precedes = |other: &&Operation| other.end().is_some_and(|end| end < operation.invoked);
    let Some(first) = first.filter(precedes) else { return Ok(()) };
    let effects = places[1..].iter().filter_map(|place| match &place.start {
        Start::Known(effect) => Some(*effect),
        Start::Nothing | Start::Needed(_) => None,
    });
    let finished: Vec<&Operation> = effects.filter(precedes).collect();
    let deleted = finished.iter().find(|effect| matches!(effect.role(), Some(Role::Deletes(_))));
    let (other, sentence) = match (operation.role(), first.role()) {
        (Some(Role::Sees(..)), _) if deleted.is_some() => {
            let delete = deleted.copied().unwrap_or(first);
            (
                delete,
                format!("a deleted value came back: {operation} was invoked after {delete} had returned"),
            )
        }
        (Some(Role::Sees(..) | Role::Misses(_)), _) if !finished.is_empty() => (
            finished[0],
            format!("a stale answer: {operation} was invoked after {} had returned", finished[0]),
        ),
        (Some(Role::Sees(..) | Role::Misses(_)), _) => (
            first,
            format!(
                "answers go back in time: {operation} was invoked after {first} had returned, which \
                 saw more"
            ),
        ),
        (_, Some(Role::Sees(..) | Role::Misses(_))) => (
            first,
            format!(
                "seen too early: {first}, which saw {operation} or a later effect, had returned before \
                 that was invoked"
            ),
        ),
        _ => {
            (first, format!("versions against real time: {operation} was invoked after {first} had returned"))
        }
    };
    Err(Wrong::new(sentence, &[other, operation]))
}
