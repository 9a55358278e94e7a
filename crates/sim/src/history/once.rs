//! No effect twice, and none that was refused.
//!
//! A retry that the store takes for a new request shows itself in one of these: the value of one write under two
//! versions, two writes of one version, a value of a write that was certainly not done, or two compare-and-swaps that
//! both replaced the same version. What a repeated *delete* destroys, [`super::versions`] finds: nobody explains the
//! absence.

use std::collections::BTreeMap;

use chordata_protocol::Version;

use super::failure::{Failure, Wrong};
use super::operation::{Kind, Operation};
use super::record::History;
use super::witness::Witness;

/// Checks every key.
///
/// # Errors
/// When something took effect twice, or took effect though its client was told that it had not.
pub fn check(history: &History) -> Result<(), Failure> {
    for (key, operations) in history.by_key() {
        check_key(&operations).map_err(|wrong| wrong.of("once", key, &operations))?;
    }
    Ok(())
}

fn check_key(operations: &[&Operation]) -> Result<(), Wrong> {
    let witness = Witness::of(operations)?;
    let mut replaced: BTreeMap<Version, &Operation> = BTreeMap::new();
    for operation in operations.iter().filter(|operation| witness.is_placed(operation)) {
        let Kind::CompareAndSwap { expected: Some(version), .. } = operation.kind else { continue };
        if let Some(other) = replaced.insert(version, operation) {
            let sentence = format!("{other} and {operation} both replaced {version}");
            return Err(Wrong::new(sentence, &[other, operation]));
        }
    }
    Ok(())
}
