//! Names for writes, so that one that is sent twice takes effect once.
//!
//! A client has a random number of 128 bits and counts its writes. With each it says up to where it has all answers, so
//! that servers need not keep results for it longer.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use chordata_protocol::chain::WriteId;
use parking_lot::Mutex;

use crate::Failure;

/// 128 random bits.
pub(crate) fn lot() -> Result<u128, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::Unavailable(format!("the system gives no random bits: {error}")))?;
    Ok(u128::from_le_bytes(bytes))
}

/// The writes of one instance of the library.
#[derive(Debug)]
pub(crate) struct Writes {
    client: u128,
    view: AtomicU64,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    unanswered: BTreeSet<u64>,
}

impl Writes {
    /// Writes that are first sent in this view.
    pub(crate) fn new(view: u64) -> Result<Writes, Failure> {
        Ok(Writes { client: lot()?, view: AtomicU64::new(view), open: Mutex::default() })
    }

    /// A name for a write that was not sent yet.
    pub(crate) fn begin(&self) -> Naming<'_> {
        let mut open = self.open.lock();
        self.name(&mut open)
    }

    /// Names for so many, one behind the other.
    pub(crate) fn begin_many(&self, count: usize) -> Vec<Naming<'_>> {
        let mut open = self.open.lock();
        (0..count).map(|_| self.name(&mut open)).collect()
    }

    fn name(&self, open: &mut Open) -> Naming<'_> {
        open.next += 1;
        let sequence = open.next;
        open.unanswered.insert(sequence);
        let done_below = open.unanswered.first().copied().unwrap_or(sequence);
        let first_sent = self.view.load(Ordering::Relaxed);
        Naming { writes: self, id: WriteId { client: self.client, sequence, done_below, first_sent } }
    }

    /// There is a newer view.
    pub(crate) fn saw(&self, view: u64) {
        self.view.fetch_max(view, Ordering::Relaxed);
    }
}

/// The name of a write while it has no answer.
#[derive(Debug)]
pub(crate) struct Naming<'a> {
    writes: &'a Writes,
    /// The name.
    pub(crate) id: WriteId,
}

impl Drop for Naming<'_> {
    fn drop(&mut self) {
        self.writes.open.lock().unanswered.remove(&self.id.sequence);
    }
}
