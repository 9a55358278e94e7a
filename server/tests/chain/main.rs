//! Chains of real processes: nodes are killed with signal 9, join, depart and lose their disks while clients write.
//!
//! Everything that clients did and learned is one history, which must be linearizable; nothing acknowledged may be
//! lost, nothing happen twice, and in the end every replica of every key must hold the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod audits;
mod chaos;
mod expiry;
mod kills;
mod levels;
mod load;
mod membership;
mod outages;
mod quorum;
mod recorder;
mod retries;
mod ring;
mod small;
#[path = "../support/mod.rs"]
mod support;
