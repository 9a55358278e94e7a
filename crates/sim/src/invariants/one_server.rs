//! An identifier is served by at most one node at every moment, and after a quiet time by exactly one.

use chordata_protocol::Id;

use crate::world::World;

/// The identifiers at which something can change: every node, the point behind it, and the clients' keys.
fn points(world: &World) -> Vec<Id> {
    let nodes = world.members().map(|node| node.ring.me().id);
    let mut points: Vec<Id> = nodes.flat_map(|id| [id, world.settings.space.next(id)]).collect();
    points.extend(world.client_ids());
    points
}

fn servers(world: &World, id: Id) -> Vec<String> {
    let serves = |node: &&crate::world::Node| node.ring.serves(id);
    world.members().filter(serves).map(|node| node.ring.me().to_string()).collect()
}

/// At most one.
///
/// # Errors
/// When two nodes serve an identifier.
pub fn check(world: &World) -> Result<(), String> {
    for id in points(world) {
        let servers = servers(world, id);
        if servers.len() > 1 {
            return Err(format!("{id:?} is served by {}", servers.join(" and ")));
        }
    }
    Ok(())
}

/// Exactly one.
///
/// # Errors
/// When none or two nodes serve an identifier.
pub fn check_whole(world: &World) -> Result<(), String> {
    for id in points(world) {
        let servers = servers(world, id);
        if servers.len() != 1 {
            return Err(format!("{id:?} is served by {} nodes: {servers:?}", servers.len()));
        }
    }
    Ok(())
}
