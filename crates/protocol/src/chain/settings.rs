//! What a chain can be told to do otherwise.

use std::time::Duration;

use crate::id::Space;
use crate::replication::{Lease, Replication};

/// Settings of chain replication. All nodes of a cluster must agree on `space`, `replication` and `lease`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainSettings {
    /// The size of the ring.
    pub space: Space,
    /// Copies and durability.
    pub replication: Replication,
    /// The lease under which nodes serve.
    pub lease: Lease,
    /// How often a node sends the leader a heartbeat.
    pub heartbeat_every: Duration,
    /// How long the answer to one call may take.
    pub call_timeout: Duration,
    /// How long a member is silent until others take its place in chains.
    pub substitute_after: Duration,
    /// How long a frame is unacknowledged until its sender reports the link.
    pub link_timeout: Duration,
    /// How long levelling may take until those who are behind go on as newcomers.
    pub level_within: Duration,
    /// The most bytes of keys and values in one message (a single larger record travels alone).
    pub frame_bytes: usize,
    /// Frames on one link that wait for their acknowledgement, at most; more than one only if each is full.
    pub frames_in_flight: usize,
    /// Writes that wait for their commit at one head; more are shed.
    pub uncommitted_max: usize,
    /// Entries kept for a newcomer that is behind; it begins anew when it needs older ones.
    pub log_max: usize,
    /// How long the results of writes are kept for retries, at least.
    pub results_kept: Duration,
}

impl Default for ChainSettings {
    fn default() -> ChainSettings {
        ChainSettings {
            space: Space::default(),
            replication: Replication::default(),
            lease: Lease::default(),
            heartbeat_every: Duration::from_millis(50),
            call_timeout: Duration::from_millis(500),
            substitute_after: Duration::from_secs(30),
            link_timeout: Duration::from_secs(2),
            level_within: Duration::from_secs(2),
            frame_bytes: 256 * 1024,
            frames_in_flight: 4,
            uncommitted_max: 16 * 1024,
            log_max: 64 * 1024,
            results_kept: Duration::from_secs(120),
        }
    }
}
