//! What somebody takes for committed is at every serving replica, and under `sync` on the disk of each.

use chordata_protocol::chain::{Epoch, Sequence};

use super::Found;
use crate::chain::witness::Witness;

/// Somebody takes the epoch for committed up to there.
///
/// # Errors
/// When a serving replica lacks some of it, or the epoch ended before that.
pub fn check(witness: &Witness, epoch: Epoch, upto: Sequence) -> Found {
    let Some(facts) = witness.epochs.get(&epoch) else { return Ok(()) };
    if let Some(end) = facts.ended {
        return Err(format!("epoch {epoch} ended at {end:?}, and {upto:?} is taken for committed"));
    }
    for life in &facts.serving {
        let stored = facts.stored_by(life);
        if stored < upto {
            return Err(format!(
                "{upto:?} of epoch {epoch} is taken for committed, {life:?} has only {stored:?}"
            ));
        }
        let durable = facts.durable.get(life).copied().unwrap_or(facts.base);
        if witness.is_sync() && durable < upto {
            return Err(format!(
                "{upto:?} of epoch {epoch} is taken for committed, {life:?} has only {durable:?} on disk"
            ));
        }
    }
    Ok(())
}
