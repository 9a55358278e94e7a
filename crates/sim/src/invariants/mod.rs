//! What must hold, one invariant per file.
//!
//! *Safety* is checked while the world runs, *liveness* after a quiet time. Each check returns a sentence about what is
//! wrong.

pub mod fingers;
pub mod live_successor;
pub mod members;
pub mod one_server;
pub mod ordered_ring;
pub mod principals;

use crate::world::World;

/// A check: what is wrong, if something is.
pub type Check = fn(&World) -> Result<(), String>;

/// Hold at every moment in which no live node may be taken for dead.
pub const SAFETY: [(&str, Check); 3] = [
    ("one_server", one_server::check),
    ("live_successor", live_successor::check),
    ("principals", principals::check),
];

/// Hold after a quiet time.
pub const LIVENESS: [(&str, Check); 4] = [
    ("ordered_ring", ordered_ring::check),
    ("served_whole", one_server::check_whole),
    ("members", members::check),
    ("fingers", fingers::check),
];
