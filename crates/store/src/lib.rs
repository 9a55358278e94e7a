//! Storage engines of Chordata behind one trait.
//!
//! An [`Engine`] keeps the keys of one node in the order of their identifiers: point reads, atomic batches, ordered
//! scans over a range of the ring, counts. It knows nothing of who may read what: that is the ring's business. What
//! hand-overs do with an engine (read a part, merge, erase) is in [`transfer`], once for every engine.
//!
//! [`MemoryEngine`] is lost with the process.

pub mod memory;
pub mod transfer;

use std::ops::ControlFlow;

use chordata_protocol::{Id, Key, Range, Record, Version};

pub use memory::MemoryEngine;

/// A change of one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// It holds this from now on.
    Put(Id, Key, Record),
    /// It holds nothing from now on.
    Remove(Id, Key),
}

/// Where a key is: its identifier, and the key itself where several have one identifier.
pub type Position = (Id, Key);

/// Keys with their records, in the order of their identifiers.
pub trait Engine: Send {
    /// What a key holds.
    fn get(&self, id: Id, key: &Key) -> Option<Record>;

    /// The version of what a key holds.
    fn version(&self, id: Id, key: &Key) -> Option<Version>;

    /// Makes all changes, or none.
    fn apply(&mut self, batch: Vec<Change>);

    /// Visits the keys of a range, going up and around from its low end, beginning behind `after`, until the visitor
    /// breaks off.
    fn scan(
        &self,
        range: Range,
        after: Option<&Position>,
        visit: &mut dyn FnMut(Id, &Key, &Record) -> ControlFlow<()>,
    );

    /// How many keys there are.
    fn keys(&self) -> u64;

    /// Bytes of all keys and values.
    fn bytes(&self) -> u64;
}
