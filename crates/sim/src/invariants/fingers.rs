//! After a quiet time every finger points to the first node at or behind its start.

use chordata_protocol::{Membership, Stamp};

use crate::world::World;

/// # Errors
/// When a finger points elsewhere.
pub fn check(world: &World) -> Result<(), String> {
    let nodes = world.members().map(|node| node.ring.me().clone()).collect();
    let truth = Membership::new(Stamp::default(), nodes);
    for node in world.members() {
        let me = node.ring.me();
        for number in 0..world.settings.space.bits() {
            let start = world.settings.space.finger_start(me.id, number);
            let (found, expected) = (node.ring.fingers().get(number), truth.owner(start));
            if found != expected {
                return Err(format!("{me}: finger {number} is {found:?}, not {expected:?}"));
            }
        }
    }
    Ok(())
}
