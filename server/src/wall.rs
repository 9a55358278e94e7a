//! The time of day: by it a node says when values end, and finds those that have ended. Nothing else goes by it.

use std::ops::ControlFlow;
use std::time::{SystemTime, UNIX_EPOCH};

use chordata_protocol::{Ending, Moment};
use chordata_store::{Engine, StoreError};

/// Values that are looked at at once.
const AT_ONCE: usize = 4096;

/// What this machine's clock shows.
pub(crate) fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// What has ended by now, behind `after`, the earliest first, no more than may be looked at at once; and where to go on, if
/// there may be more.
///
/// # Errors
/// When the store has failed.
pub(crate) fn due(
    engine: &dyn Engine,
    now: Moment,
    after: Option<&Ending>,
) -> Result<(Vec<Ending>, Option<Ending>), StoreError> {
    let (mut due, mut upto): (Vec<Ending>, Option<Ending>) = (Vec::new(), None);
    engine.endings(after, &mut |ending| {
        if ending.at > now {
            return ControlFlow::Break(());
        }
        if due.len() == AT_ONCE {
            upto = due.last().cloned();
            return ControlFlow::Break(());
        }
        due.push(ending);
        ControlFlow::Continue(())
    })?;
    Ok((due, upto))
}
