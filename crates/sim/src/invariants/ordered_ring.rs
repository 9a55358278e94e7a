//! After a quiet time there is one ordered ring of all members: every predecessor and every whole successor list is
//! right (Zave 2017, the progress property).

use chordata_protocol::Successor;

use crate::world::World;

/// # Errors
/// When a pointer is wrong.
pub fn check(world: &World) -> Result<(), String> {
    let members = world.in_order();
    let count = members.len();
    for (place, node) in members.iter().enumerate() {
        let ring = &node.ring;
        let before = members[(place + count - 1) % count].ring.me();
        if ring.predecessor() != before {
            return Err(format!("{}: predecessor {}, not {before}", ring.me(), ring.predecessor()));
        }
        for (step, entry) in ring.successors().entries().iter().enumerate() {
            let behind = members[(place + step + 1) % count].ring.me();
            if entry != &Successor::Node(behind.clone()) {
                return Err(format!("{}: successor {step} is {entry:?}, not {behind}", ring.me()));
            }
        }
    }
    Ok(())
}
