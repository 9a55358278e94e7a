//! Can unknown operations have done what must have happened?
//!
//! Each [`Need`] takes one unknown operation that nobody else takes: of the right kind, invoked before anything that
//! comes behind it in the order had returned, and, if it is a compare-and-swap, expecting what it found. That is a
//! matching in a bipartite graph, found by augmenting paths (Kuhn 1955). An unknown operation has no moment by which it
//! must have happened, so nothing else limits it.
//!
//! One leniency: an unknown compare-and-swap whose expected version nobody knows, or which needs another unknown
//! operation before it, is let through, where a complete search might refuse it.

use std::collections::BTreeMap;

use chordata_protocol::Version;

use super::failure::Wrong;
use super::operation::{Kind, Operation};
use super::places::Need;
use super::witness::Effect;

/// A need, and the first operation behind it in the order that returned.
pub(super) type Timed<'a> = (Need<'a>, Option<&'a Operation>);

/// Finds an unknown operation for each need.
///
/// # Errors
/// When there are not enough.
pub(super) fn explain(
    mut needs: Vec<Timed<'_>>,
    unknown: &[&Operation],
    effects: &BTreeMap<Version, Effect<'_>>,
) -> Result<(), Wrong> {
    needs.sort_by_key(|(_, first)| latest(*first));
    let mut taken: Vec<Option<usize>> = vec![None; unknown.len()];
    for number in 0..needs.len() {
        let fits = |need: usize, operation: usize| {
            let (need, first) = &needs[need];
            unknown[operation].invoked <= latest(*first) && does(unknown, operation, need, effects)
        };
        if !take(number, &fits, &mut taken, &mut vec![false; unknown.len()]) {
            return Err(unexplained(&needs[number].0));
        }
    }
    Ok(())
}

fn latest(first: Option<&Operation>) -> u64 {
    first.and_then(Operation::end).unwrap_or(u64::MAX)
}

/// Gives the need an operation, if others can be moved so that one is free.
fn take(
    need: usize,
    fits: &impl Fn(usize, usize) -> bool,
    taken: &mut [Option<usize>],
    tried: &mut [bool],
) -> bool {
    let free = (0..taken.len()).find(|operation| taken[*operation].is_none() && fits(need, *operation));
    if let Some(operation) = free {
        taken[operation] = Some(need);
        return true;
    }
    for operation in 0..taken.len() {
        if tried[operation] || !fits(need, operation) {
            continue;
        }
        tried[operation] = true;
        if taken[operation].is_none_or(|holder| take(holder, fits, taken, tried)) {
            taken[operation] = Some(need);
            return true;
        }
    }
    false
}

/// Is the operation of the kind that can have done it, where it was done?
fn does(
    unknown: &[&Operation],
    operation: usize,
    need: &Need<'_>,
    effects: &BTreeMap<Version, Effect<'_>>,
) -> bool {
    let operation = unknown[operation];
    if operation.is_removal() != need.removal {
        return false;
    }
    let Kind::CompareAndSwap { expected, .. } = operation.kind else { return true };
    let Some(version) = expected else {
        // A swap from absent: it found absence, or another unknown operation had made it so.
        let removed = unknown.iter().any(|other| other.is_removal() && other.number != operation.number);
        return !need.removal && (need.found.is_none() || removed);
    };
    let hidden = !effects.contains_key(&version) && Some(version) > need.above && version < need.up_to;
    need.found == Some(version) || hidden
}

fn unexplained(need: &Need<'_>) -> Wrong {
    let because = need.because;
    let Some(before) = need.before.filter(|_| need.removal) else {
        let what = if need.removal { "removed the value" } else { "stored a value" };
        let sentence = format!("{because} needs somebody to have {what}, and no unknown operation can have");
        return Wrong::new(sentence, &[because]);
    };
    let sentence = format!(
        "a write is lost: {because}, but {before} had stored a value before that, and no delete, \
         acknowledged or unknown, can have removed it"
    );
    Wrong::new(sentence, &[before, because])
}
