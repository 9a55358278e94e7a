//! Exactly once: a write takes one place in the committed history, however often it is sent.

use std::collections::BTreeMap;

use chordata_protocol::chain::message::Write;
use chordata_protocol::{Id, Outcome, Version};

use super::Found;

/// A write is committed at this version.
///
/// # Errors
/// When it was committed before.
pub fn committed(effects: &mut BTreeMap<(u128, u64), (Version, Id)>, write: &Write, at: Version) -> Found {
    let Some(by) = write.by else { return Ok(()) };
    match effects.insert((by.client, by.sequence), (at, write.id)) {
        Some((before, _)) => Err(format!(
            "write {} of client {:x} on {} is done twice, at {before} and at {at}",
            by.sequence, by.client, write.key
        )),
        None => Ok(()),
    }
}

/// A client is told that the write of this name is done at this version.
///
/// # Errors
/// When there is another write, or it had another outcome.
pub fn told(write: &Write, at: Version, name: Option<(u128, u64)>, outcome: Outcome) -> Found {
    let logged = write.by.map(|by| (by.client, by.sequence));
    if logged != name {
        return Err(format!("write {name:?} is acknowledged at {at}, where write {logged:?} is"));
    }
    if write.outcome != outcome {
        return Err(format!(
            "write {name:?} at {at} had {:?}, and its client is told {outcome:?}",
            write.outcome
        ));
    }
    Ok(())
}
