//! What a ring can be told to do otherwise. All nodes of a ring must agree on `space` and `successors`.

use std::time::Duration;

use crate::id::Space;

/// Settings of the ring protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingSettings {
    /// The size of the ring.
    pub space: Space,
    /// The length of successor lists, r: the ring survives r-1 neighbours that die together.
    pub successors: usize,
    /// Do the nodes of the ring say who serves which keys, and hand them over? If not, it only locates: chains decide.
    pub owns_keys: bool,
    /// How often a node stabilizes when nothing happens.
    pub stabilize_every: Duration,
    /// How often a node looks one finger up again when nothing happens.
    pub finger_every: Duration,
    /// How long the answer to one call may take.
    pub call_timeout: Duration,
    /// How often a question is asked before silence means that the node is dead.
    pub call_attempts: u8,
    /// The middle of the random delay after "busy".
    pub retry_after: Duration,
    /// How long after a change the ring is numbered again.
    pub renumber_after: Duration,
    /// How long a granted place is kept for the node that asked for it.
    pub grant_lasts: Duration,
    /// How long a departure may take.
    pub depart_within: Duration,
    /// The most bytes of keys and values in one message of a hand-over (a single larger record travels alone).
    pub chunk_bytes: usize,
    /// The most nodes that one lookup asks.
    pub hop_limit: u32,
}

impl Default for RingSettings {
    fn default() -> RingSettings {
        RingSettings {
            space: Space::default(),
            successors: 4,
            owns_keys: true,
            stabilize_every: Duration::from_millis(500),
            finger_every: Duration::from_secs(2),
            call_timeout: Duration::from_secs(1),
            call_attempts: 2,
            retry_after: Duration::from_millis(40),
            renumber_after: Duration::from_millis(150),
            grant_lasts: Duration::from_secs(10),
            depart_within: Duration::from_secs(30),
            chunk_bytes: 256 * 1024,
            hop_limit: 512,
        }
    }
}
