//! Nothing committed is lost when chains change.
//!
//! An epoch ends at or behind everything that anybody saw committed in it, and whoever serves the next epoch and served
//! the last one has its log up to that end. Under `sync` no range is ever reopened with losses.

use chordata_protocol::chain::{Epoch, Sequence, View};
use chordata_protocol::replication::Durability;

use super::Found;
use crate::chain::witness::Witness;

/// An epoch ended at this base, and nobody said that something may be lost.
///
/// # Errors
/// When something committed is behind it.
pub fn ended(witness: &Witness, epoch: Epoch, base: Sequence) -> Found {
    match witness.epochs.get(&epoch) {
        Some(facts) if base < facts.committed && !facts.lost => Err(format!(
            "epoch {epoch} ended at {base:?}, and was committed up to {:?}: acknowledged writes are lost",
            facts.committed
        )),
        Some(_) | None => Ok(()),
    }
}

/// A change was activated.
///
/// # Errors
/// When a serving replica of a new epoch lacks a part of the log that it had to have.
pub fn activated(witness: &Witness, before: &View, after: &View) -> Found {
    for (epoch, active) in after.ranges.iter().filter(|(epoch, _)| !before.ranges.contains_key(epoch)) {
        for (parent, base) in &active.from {
            let Some(facts) = witness.epochs.get(parent) else { continue };
            for link in active.serving() {
                let life = (link.store, link.incarnation);
                let served = facts.serving.contains(&life);
                let stored = facts.stored_by(&life);
                if served && stored != *base {
                    return Err(format!(
                        "{life:?} is to serve epoch {epoch} from {base:?} of epoch {parent}, and has {stored:?}"
                    ));
                }
                let durable = facts.durable.get(&life).copied().unwrap_or(facts.base);
                if served && witness.is_sync() && durable < *base {
                    return Err(format!(
                        "{life:?} is to serve epoch {epoch} from {base:?} of epoch {parent}, and has only \
                         {durable:?} on disk"
                    ));
                }
            }
        }
    }
    Ok(())
}

/// A range is reopened, and writes may be lost.
///
/// # Errors
/// When the durability promises that none is.
pub fn may_lose(witness: &Witness, epoch: Epoch) -> Found {
    match witness.durability() {
        Durability::Sync => Err(format!("under sync the range of epoch {epoch} was reopened with losses")),
        Durability::Interval | Durability::Memory => Ok(()),
    }
}
