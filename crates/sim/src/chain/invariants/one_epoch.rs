//! One active epoch per range: once somebody serves under an epoch, nobody serves under an earlier one of an
//! overlapping range.
//!
//! Serving is to answer a read, and to acknowledge a write that the end of its epoch did not settle.

use chordata_protocol::chain::Epoch;

use super::Found;
use crate::chain::witness::Witness;

/// A node serves under this epoch now.
///
/// # Errors
/// When a later epoch of an overlapping range was served before.
pub fn serves(witness: &mut Witness, epoch: Epoch) -> Found {
    let Some(facts) = witness.epochs.get_mut(&epoch) else {
        return Err(format!("epoch {epoch} is served, and was never agreed on"));
    };
    if facts.superseded {
        return Err(format!(
            "epoch {epoch} is served, and so was a later one of the same identifiers before"
        ));
    }
    if facts.served {
        return Ok(());
    }
    facts.served = true;
    let range = facts.range;
    for (_, earlier) in witness.epochs.range_mut(..epoch) {
        earlier.superseded |= earlier.range.overlaps(&range);
    }
    Ok(())
}
