//! Eventual mode with real processes: nodes are killed with signal 9, join, depart, are parted from each other, and clients
//! go on writing all the time.
//!
//! Every key has one writer, so what it must hold in the end is known: the last acknowledged write, or one that was sent
//! later and whose outcome nobody knows. All replicas must come to hold it, and nobody else.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod audits;
mod copies;
mod expiry;
mod kills;
mod listing;
mod load;
mod membership;
mod requests;
mod split;
#[path = "../support/mod.rs"]
mod support;

/// On disk before the answer.
pub(crate) const SYNC: &[&str] =
    &["--consistency", "eventual", "--durability", "sync", "--stabilize-ms", "200", "--finger-ms", "500"];
/// Nothing on disk.
pub(crate) const MEMORY: &[&str] =
    &["--consistency", "eventual", "--durability", "memory", "--stabilize-ms", "200", "--finger-ms", "500"];

/// Starting, stopping and waiting for processes, where clients run on the same threads.
pub(crate) fn blocking<T>(act: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(act)
}
