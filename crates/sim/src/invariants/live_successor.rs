//! Every member's successor list has a live entry (Zave 2017, invariant OneLiveSuccessor).

use crate::world::World;

/// # Errors
/// When a list has only dead entries.
pub fn check(world: &World) -> Result<(), String> {
    for node in world.members() {
        let live = node.ring.successors().nodes().any(|(_, peer)| {
            world
                .nodes
                .get(&peer.address)
                .is_some_and(|other| other.ring.is_member() && other.ring.me() == peer)
        });
        if !live {
            return Err(format!("{}: no live successor in {:?}", node.ring.me(), node.ring.successors()));
        }
    }
    Ok(())
}
