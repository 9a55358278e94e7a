//! Single copies: the owner of a key, who has its only copy, ends its value when its moment has come.
//!
//! It is a delete like any other, decided under the node's lock and only for the version that was due. So a newer value
//! stays, a hand-over that is under way takes the delete along, and until then everybody sees the value. Keys that are on
//! their way to another node are ended there: records take their moments with them.

use std::sync::Weak;
use std::time::Duration;

use chordata_protocol::ring::Ring;
use chordata_protocol::{Ending, Operation, Outcome};
use chordata_store::{Change, Engine, StoreError};

use crate::node::{Node, Shared};
use crate::wall;

/// How often it is looked for what has ended.
const EVERY: Duration = Duration::from_millis(100);

/// Ends values as long as the node lives.
pub(crate) fn end_values(node: Weak<Shared>) {
    tokio::spawn(async move {
        let mut after = None;
        loop {
            tokio::time::sleep(EVERY).await;
            let Some(shared) = node.upgrade() else { return };
            let node = Node { shared };
            let ended = node.with_ring(|ring, engine| end_some(ring, engine, after.as_ref()));
            after = match ended {
                Some(Ok(after)) => after,
                // What cannot be read is told to whoever asks for it.
                Some(Err(error)) if error.is_survivable() => None,
                Some(Err(error)) => crate::node::fatal(&error),
                None => return,
            };
        }
    });
}

/// Ends some of the values whose moment has come. Where to go on; none: that were all.
fn end_some(
    ring: &mut Ring,
    engine: &mut dyn Engine,
    after: Option<&Ending>,
) -> Result<Option<Ending>, StoreError> {
    let (due, upto) = wall::due(engine, wall::now(), after)?;
    let mut gone = Vec::new();
    for Ending { at, id, key } in due {
        let mark = match engine.mark(id, &key) {
            Err(StoreError::Damaged { .. }) => continue,
            mark => mark?,
        };
        let Some(mark) = mark.filter(|mark| mark.expires == Some(at) && ring.serves(id)) else { continue };
        let ends = Operation::swap(Some(mark.version), None);
        if let Outcome::Deleted(Some(_)) = ring.decide(&key, &ends, Some(mark.version)) {
            gone.push(Change::Remove(id, key));
        }
    }
    if !gone.is_empty() {
        engine.apply(gone)?;
    }
    Ok(upto)
}
