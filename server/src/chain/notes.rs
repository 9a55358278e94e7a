//! What chains keep in the engine beside keys: holdings, results for retries, the newest view.
//!
//! Notes are changed in the same batches as the keys that they are about, so after a crash they fit each other.

use std::ops::ControlFlow;
use std::sync::Arc;

use chordata_protocol::chain::message::{Holding, KeptResult, LogEntry, Mutation};
use chordata_protocol::chain::view::Epoch;
use chordata_protocol::chain::{Kept, View};
use chordata_protocol::{Record, Space, Version};
use chordata_store::{Change, Engine, StoreError};

const HOLDING: &[u8] = b"holding/";
const RESULT: &[u8] = b"result/";
const VIEW: &[u8] = b"view";

type ResultId = (u128, u64);

fn holding_name(epoch: Epoch) -> Vec<u8> {
    [HOLDING, &epoch.0.to_be_bytes()].concat()
}

fn result_name((client, sequence): ResultId) -> Vec<u8> {
    [RESULT, &client.to_be_bytes(), &sequence.to_be_bytes()].concat()
}

fn result_id(name: &[u8]) -> Option<ResultId> {
    let rest = name.strip_prefix(RESULT)?;
    let (client, sequence) = rest.split_at_checked(16)?;
    Some((u128::from_be_bytes(client.try_into().ok()?), u64::from_be_bytes(sequence.try_into().ok()?)))
}

fn encode(value: &impl serde::Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("these types have no maps of unknown length and no failing fields")
}

/// That something is held.
pub(super) fn hold(holding: &Holding) -> Change {
    Change::Note(holding_name(holding.epoch), Some(encode(holding)))
}

/// That nothing of an epoch is held any more.
pub(super) fn release(epoch: Epoch) -> Change {
    Change::Note(holding_name(epoch), None)
}

/// A result.
pub(super) fn keep(id: ResultId, result: &KeptResult) -> Change {
    Change::Note(result_name(id), Some(encode(result)))
}

/// A result that nobody asks for any more.
pub(super) fn forget(id: ResultId) -> Change {
    Change::Note(result_name(id), None)
}

/// The newest view.
pub(super) fn view(view: &View) -> Change {
    Change::Note(VIEW.to_vec(), Some(encode(view)))
}

/// What a log entry changes of its key.
pub(super) fn entry_key(epoch: Epoch, entry: &LogEntry) -> Option<Change> {
    let write = entry.write()?;
    let version = Version { epoch: epoch.0, sequence: entry.sequence.0 };
    match &write.mutation {
        Mutation::Put(value, expires) => {
            let record = Record { version, value: value.clone(), expires: *expires };
            Some(Change::Put(write.id, write.key.clone(), record))
        }
        Mutation::Remove | Mutation::Expire(_) => Some(Change::Remove(write.id, write.key.clone())),
        Mutation::Nothing => None,
    }
}

/// What a log entry changes: its key, and the result that is kept.
pub(super) fn entry(epoch: Epoch, entry: &LogEntry) -> Vec<Change> {
    let mut changes: Vec<Change> = entry_key(epoch, entry).into_iter().collect();
    let Some(write) = entry.write() else { return changes };
    let version = Version { epoch: epoch.0, sequence: entry.sequence.0 };
    if let Some(by) = write.by {
        let result = KeptResult::new(write, by, version);
        changes.push(keep((by.client, by.sequence), &result));
    }
    changes
}

/// The results whose keys are in a range, gone.
pub(super) fn drop_results(
    engine: &dyn Engine,
    range: chordata_protocol::Range,
) -> Result<Vec<Change>, StoreError> {
    let mut gone = Vec::new();
    engine.notes(RESULT, None, &mut |name, bytes| {
        let result: Option<KeptResult> = postcard::from_bytes(bytes).ok();
        if result.is_none_or(|result| range.contains(result.id)) {
            gone.push(Change::Note(name.to_vec(), None));
        }
        ControlFlow::Continue(())
    })?;
    Ok(gone)
}

/// Of the next results behind `after`, at most so many: those whose keys are in a range and that are of earlier epochs than
/// that, gone. The second part is where to go on; none: that was all.
pub(super) fn drop_results_before(
    engine: &dyn Engine,
    (range, before): (chordata_protocol::Range, Epoch),
    after: Option<ResultId>,
    count_max: usize,
) -> Result<(Vec<Change>, Option<ResultId>), StoreError> {
    let (mut gone, mut seen, mut upto) = (Vec::new(), 0, None);
    let after = after.map(result_name);
    let mut last = None;
    engine.notes(RESULT, after.as_deref(), &mut |name, bytes| {
        if seen == count_max {
            upto = last;
            return ControlFlow::Break(());
        }
        seen += 1;
        last = result_id(name);
        let result: Option<KeptResult> = postcard::from_bytes(bytes).ok();
        let goes = |result: KeptResult| range.contains(result.id) && Epoch(result.at.epoch) < before;
        if result.is_none_or(goes) {
            gone.push(Change::Note(name.to_vec(), None));
        }
        ControlFlow::Continue(())
    })?;
    Ok((gone, upto))
}

/// What the store has kept of its earlier lives.
///
/// # Errors
/// When the store has failed, or a note is damaged.
pub(crate) fn load(engine: &dyn Engine, space: Space) -> Result<Kept, StoreError> {
    let mut kept = Kept::default();
    if let Some(bytes) = engine.note(VIEW)? {
        let view: Option<View> = postcard::from_bytes(&bytes).ok();
        kept.view = view.filter(|view| view.bits == space.bits()).map(Arc::new);
    }
    engine.notes(HOLDING, None, &mut |_, bytes| {
        kept.holdings.extend(postcard::from_bytes::<Holding>(bytes));
        ControlFlow::Continue(())
    })?;
    engine.notes(RESULT, None, &mut |name, bytes| {
        if let (Some(id), Ok(result)) = (result_id(name), postcard::from_bytes::<KeptResult>(bytes)) {
            kept.results.push((id, result));
        }
        ControlFlow::Continue(())
    })?;
    Ok(kept)
}
