//! What a node in eventual mode can be told to do otherwise, what it finds on its disk, and what it counts.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::message::Stores;
use super::table::StoreId;
use crate::id::Space;

/// When a write is safe enough to be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// When it is stored: it gets to the disk soon, or never.
    Stored,
    /// When it is on disk, at every node whose copy counts.
    Sync,
}

/// Settings of eventual mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The size of the ring.
    pub space: Space,
    /// When a write is answered.
    pub durability: Durability,
    /// How often a replica compares with each other one when nothing happens.
    pub sync_every: Duration,
    /// The pause after a node did not answer; it doubles up to the longest.
    pub retry_first: Duration,
    /// The longest pause before a node that does not answer is tried again.
    pub retry_longest: Duration,
    /// How often tombstones are tended.
    pub collect_every: Duration,
    /// How often values that have ended are made tombstones. Nobody sees them meanwhile.
    pub end_every: Duration,
    /// How often a node that keeps only tombstones of others' arcs offers them again.
    pub recheck_every: Duration,
    /// How far the clock's bound on disk is put ahead.
    pub clock_ahead: Duration,
    /// How far in the future a version may be that a client brings.
    pub skew: Duration,
    /// One of so many reads compares all copies; 0: none. What differs is found by `sync_every` anyway, so that reads need
    /// not pay for it: each comparison costs as many calls as there are other copies.
    pub repair_one_in: u32,
    /// No message is delivered later than this after it was sent.
    pub message_lifetime: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            space: Space::default(),
            durability: Durability::Sync,
            sync_every: Duration::from_secs(6),
            retry_first: Duration::from_millis(200),
            retry_longest: Duration::from_secs(4),
            collect_every: Duration::from_secs(2),
            end_every: Duration::from_millis(500),
            recheck_every: Duration::from_secs(15),
            clock_ahead: Duration::from_secs(10),
            skew: Duration::from_secs(60),
            repair_one_in: 64,
            message_lifetime: Duration::from_secs(60),
        }
    }
}

/// What a node finds on its disk when it starts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Remembered {
    /// The clock's bound; 0 for a new store.
    pub bound: u64,
    /// Stores that it knew.
    pub stores: Stores,
    /// Stores for which there are hints.
    pub hinted: BTreeSet<StoreId>,
}

/// What a node did since it started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Hints that were kept because a replica did not answer.
    pub hints_kept: u64,
    /// Hinted copies that were delivered.
    pub hints_delivered: u64,
    /// Copies that a read found to be old and had replaced.
    pub repairs: u64,
    /// Comparisons with another replica that came to their end.
    pub syncs: u64,
    /// Keys that a comparison brought here.
    pub pulled: u64,
    /// Keys that a comparison gave to the other replica.
    pub pushed: u64,
    /// Keys that this node was no replica of, handed to their replicas and dropped here.
    pub handed_off: u64,
    /// Values whose time was over and that became tombstones here.
    pub ended: u64,
    /// Tombstones of this node's own arc that were dropped everywhere.
    pub collected: u64,
    /// Requests of forgotten stores that were refused.
    pub barred: u64,
}
