//! A serving successor's history is a prefix of its predecessor's.
//!
//! All logs of an epoch agree entry by entry, each node stores it without gaps, only the head adds to it, and until it
//! is wedged nobody who serves has more than the serving replica above. (Levelling then goes from the longest log to
//! all others at once.)

use std::sync::Arc;

use chordata_protocol::chain::message::{Holding, LogEntry};

use super::Found;
use crate::chain::witness::{Life, Witness};

/// This life of a store has stored these entries.
///
/// # Errors
/// When they differ from what others stored, leave a gap, or are ahead of the replica above.
pub fn stored(witness: &Witness, life: Life, holding: &Holding, entries: &[Arc<LogEntry>]) -> Found {
    let epoch = holding.epoch;
    let Some(facts) = witness.epochs.get(&epoch) else {
        return Err(format!("{life:?} stores entries of epoch {epoch}, which was never agreed on"));
    };
    let mut next = facts.stored_by(&life).next();
    for entry in entries {
        if entry.sequence != next {
            return Err(format!(
                "{life:?} stores {:?} of epoch {epoch} where {next:?} follows",
                entry.sequence
            ));
        }
        next = next.next();
        let at_end = facts.base.0 + facts.log.len() as u64 + 1;
        match facts.entry(entry.sequence) {
            Some(known) if !Arc::ptr_eq(known, entry) && known != entry => {
                return Err(format!(
                    "{life:?} stores another {:?} of epoch {epoch} than others",
                    entry.sequence
                ));
            }
            Some(_) => {}
            None if facts.serving.first() != Some(&life) => {
                return Err(format!(
                    "{life:?} is not the head of epoch {epoch} and stores {:?} first",
                    entry.sequence
                ));
            }
            None if entry.sequence.0 < at_end => {
                return Err(format!("{:?} of epoch {epoch} is at its base already", entry.sequence));
            }
            None => {}
        }
    }
    let Some(at) = facts.serving.iter().position(|other| *other == life) else { return Ok(()) };
    let Some(above) = at.checked_sub(1).map(|above| facts.serving[above]) else { return Ok(()) };
    if !facts.wedged.contains(&life) && holding.last > facts.stored_by(&above) {
        return Err(format!(
            "{life:?} has epoch {epoch} up to {:?}, the replica above only up to {:?}",
            holding.last,
            facts.stored_by(&above)
        ));
    }
    Ok(())
}
