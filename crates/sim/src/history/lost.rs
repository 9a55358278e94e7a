//! No acknowledged write is lost: what is there in the end is what was written last.
//!
//! The final state is read when everything is quiet, from the stores or by gets. For each key it is the last write in
//! the order of versions, or the effect of an unknown operation that may have come behind that. Whether an unknown
//! delete that explains the end is also needed earlier is not asked here: record the final reads as gets, and
//! [`super::versions`] asks it.

use std::collections::{BTreeMap, BTreeSet};

use chordata_protocol::{Key, Record, Version};

use super::failure::{Failure, Wrong};
use super::operation::{Kind, Operation};
use super::record::History;
use super::witness::{Effect, Witness};

/// Compares the history with what the store holds in the end; a key that is not in `end` is absent.
///
/// # Errors
/// When a write is lost, came back, or a key holds what nobody wrote under that version.
pub fn check(history: &History, end: &BTreeMap<Key, Option<Record>>) -> Result<(), Failure> {
    let by_key = history.by_key();
    let keys: BTreeSet<&Key> = by_key.keys().copied().chain(end.keys()).collect();
    for key in keys {
        let operations = by_key.get(key).map_or(&[][..], Vec::as_slice);
        let record = end.get(key).and_then(Option::as_ref);
        check_key(operations, record).map_err(|wrong| wrong.of("lost", key, operations))?;
    }
    Ok(())
}

fn check_key(operations: &[&Operation], end: Option<&Record>) -> Result<(), Wrong> {
    let mut witness = Witness::of(operations)?;
    if let Some(record) = end {
        witness.see(record.version, &record.value, None)?;
    }
    let Some((last, effect)) = witness.effects.last_key_value() else { return Ok(()) };
    match (end, effect) {
        (Some(record), _) if record.version == *last => Ok(()),
        (Some(record), effect) => {
            let (by, what) = described(effect);
            let sentence =
                format!("{what} at {last}, but the final state is still that of {}", record.version);
            Err(Wrong::new(sentence, &[by]))
        }
        (None, Effect::Delete(_)) => Ok(()),
        (None, _) if witness.unplaced(operations).iter().any(|other| may_remove(other, *last)) => Ok(()),
        (None, effect) => {
            let (by, what) = described(effect);
            let sentence = format!(
                "a write is lost: {what} at {last}, but in the end the key is absent, and no delete, acknowledged or \
                 unknown, can have removed it"
            );
            Err(Wrong::new(sentence, &[by]))
        }
    }
}

/// Who did it, and what the sentence says of it.
fn described<'a>(effect: &Effect<'a>) -> (&'a Operation, String) {
    match effect {
        Effect::Write(by) => (by, format!("{by} stored a value")),
        Effect::Delete(by) => (by, format!("{by} removed the value")),
        Effect::Somebody(by) => (by, format!("{by} shows that there was a value")),
    }
}

/// Can this unknown operation have removed the value of the last known version, or of an unknown later one?
fn may_remove(operation: &Operation, last: Version) -> bool {
    match operation.kind {
        Kind::Delete => true,
        Kind::CompareAndSwap { expected, value: None } => expected.is_some_and(|version| version >= last),
        Kind::CompareAndSwap { .. } | Kind::Put(_) | Kind::Get => false,
    }
}
