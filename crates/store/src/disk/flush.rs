//! What is taken from a disk engine to be written without its lock, and given back.

use std::sync::Arc;

use super::base::Base;
use super::overlay::Overlay;
use crate::engine::{Counts, Ticket};
use crate::error::StoreError;

/// Everything that waited, to be written by [`Flush::run`]. If it is dropped instead, the store has failed.
#[derive(Debug)]
#[must_use = "what was taken to be written must be written"]
pub struct Flush {
    base: Arc<Base>,
    overlay: Arc<Overlay>,
    counts: Counts,
    done: bool,
}

/// What was written.
#[derive(Debug)]
#[must_use = "the engine must be told what was written"]
pub struct Flushed {
    pub(super) overlay: Arc<Overlay>,
}

impl Flush {
    pub(super) fn new(base: Arc<Base>, overlay: Arc<Overlay>, counts: Counts) -> Flush {
        Flush { base, overlay, counts, done: false }
    }

    /// Writes it, in one transaction. It takes as long as the disk takes, and needs no lock.
    ///
    /// # Errors
    /// When anything fails: the store has failed then, and everything else that is asked of it says so.
    pub fn run(mut self) -> Result<Flushed, StoreError> {
        self.done = true;
        self.base.flush(&self.overlay, self.counts)?;
        Ok(Flushed { overlay: Arc::clone(&self.overlay) })
    }

    /// Up to which batch it goes.
    pub fn upto(&self) -> Ticket {
        self.overlay.upto
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        if !self.done {
            self.base.fail("writing to disk", "it was given up");
        }
    }
}
