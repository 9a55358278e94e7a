//! What is served is exactly what is committed: nothing is lost, and nothing deleted comes back.
//!
//! It is checked where a replica begins to serve (its whole range) and at every read (the key). A read is answered when
//! no write of its key is under way at that replica; a committed one would be there; so it finds what the model has.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use chordata_protocol::chain::Epoch;
use chordata_protocol::{Id, Key, Range, Record, Version};

use super::Found;
use crate::chain::table::Table;
use crate::chain::witness::Witness;

/// Keys of a range with their versions.
pub fn versions(engine: &Table, range: Range) -> BTreeMap<(Id, Key), Version> {
    let mut all = BTreeMap::new();
    engine.scan(range, None, &mut |id, key, version| {
        all.insert((id, key), version);
        ControlFlow::Continue(())
    });
    all
}

/// The first difference between two engines in a range, as a sentence about the first.
pub fn difference(mine: &Table, theirs: &Table, range: Range) -> Option<String> {
    let (mine_all, theirs_all) = (versions(mine, range), versions(theirs, range));
    if mine_all == theirs_all {
        // A version names one write; that its value is the same is checked all the same. What is damaged is not served.
        let differs =
            |(id, key): &&(Id, Key)| !mine.is_damaged(*id, key) && mine.get(*id, key) != theirs.get(*id, key);
        return mine_all.keys().find(differs).map(|(_, key)| format!("has another value under {key}"));
    }
    for ((id, key), version) in &mine_all {
        match theirs_all.get(&(*id, key.clone())) {
            None => return Some(format!("has {key} at {version}, which is gone")),
            Some(other) if other != version => {
                return Some(format!("has {key} at {version} instead of {other}"));
            }
            Some(_) => {}
        }
    }
    let missing = theirs_all.iter().find(|(place, _)| !mine_all.contains_key(place));
    missing.map(|((_, key), version)| format!("lacks {key} at {version}"))
}

/// A replica begins to serve an epoch.
///
/// # Errors
/// When its engine is not what is committed.
pub fn began(witness: &Witness, epoch: Epoch, engine: &Table) -> Found {
    let Some(facts) = witness.epochs.get(&epoch) else { return Ok(()) };
    // An epoch that has gone on or ended needed this replica for that, or did without it.
    if facts.ended.is_some() || facts.committed != facts.base {
        return Ok(());
    }
    match difference(engine, &witness.model, facts.range) {
        Some(what) => Err(format!("a replica that begins to serve epoch {epoch} {what}")),
        None => Ok(()),
    }
}

/// A read found this.
///
/// # Errors
/// When something else is committed.
pub fn read(witness: &Witness, epoch: Epoch, id: Id, key: &Key, found: Option<&Record>) -> Found {
    if witness.epochs.get(&epoch).is_none_or(|facts| facts.unknown) {
        return Ok(());
    }
    let committed = witness.model.get(id, key);
    if committed.as_ref() == found {
        return Ok(());
    }
    let words = |record: Option<&Record>| {
        record.map_or("nothing".to_owned(), |record| format!("{} ({})", record.version, record.value))
    };
    Err(format!(
        "a read of {key} in epoch {epoch} finds {}, committed is {}",
        words(found),
        words(committed.as_ref())
    ))
}
