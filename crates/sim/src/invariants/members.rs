//! After a quiet time every member has one and the same table of all members.

use crate::world::World;

/// # Errors
/// When a table is missing, differs, or is not the members.
pub fn check(world: &World) -> Result<(), String> {
    let expected: Vec<_> = world.in_order().iter().map(|node| node.ring.me().clone()).collect();
    for node in world.members() {
        let me = node.ring.me();
        let Some(table) = node.ring.membership() else { return Err(format!("{me} has no table")) };
        if table.nodes() != expected {
            return Err(format!("{me}: a table of {} nodes, not of {}", table.nodes().len(), expected.len()));
        }
        if node.ring.is_membership_stale() {
            return Err(format!("{me} calls its table stale"));
        }
    }
    Ok(())
}
