//! Storage engines of Chordata behind one trait.
//!
//! An [`Engine`] keeps the keys of one node in the order of their identifiers: point reads, atomic batches, ordered
//! scans over a range of the ring, snapshots, counts, and which of them end by themselves next. It knows nothing of who may read what: that is the ring's business.
//! What hand-overs do with an engine (read a part, merge, erase) is in [`transfer`], once for every engine.
//!
//! ```text
//!   apply, reads            MemoryEngine   packed rows in a map; lost with the process
//!   (under the node's lock) DiskEngine     overlay ----- Flush (no lock) -----> redb
//!                                             group::Committer runs it           |
//!   StateFile: small states that change as a whole ------------------> file::Files: real, simulated
//! ```
//!
//! Begin with [`engine`]: it says what every engine guarantees. All access to files goes through [`mod@file`], so that tests
//! can crash the machine at every write. Why redb, and what it costs: `docs/decisions/0008-storage-engine.md`.

pub mod directory;
pub mod disk;
pub mod engine;
pub mod error;
pub mod file;
pub mod group;
mod layers;
pub mod memory;
mod packed;
mod row;
pub mod state_file;
pub mod transfer;
mod undo;

pub use directory::Directory;
pub use disk::{DiskEngine, DiskSettings, Flush, Flushed};
pub use engine::{
    Change, EndingVisitor, Engine, Item, KeyRef, Mark, NoteVisitor, Position, Stored, Ticket, Visitor,
};
pub use error::StoreError;
pub use file::{File, Files, RealFiles, SimulatedFiles};
pub use memory::MemoryEngine;
pub use state_file::{State, StateFile};
pub use undo::Snapshot;
