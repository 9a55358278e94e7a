//! At least r+1 members are principals: no extended successor list (a member and its list) skips them (Zave 2017,
//! invariant SufficientPrincipals). Promised once the ring has had r+1 principals.

use chordata_protocol::Id;
use chordata_protocol::id::between;

use crate::world::World;

/// Members that no list skips.
pub fn count(world: &World) -> usize {
    let lists: Vec<Vec<Id>> = world
        .members()
        .map(|node| {
            let list = node.ring.successors().entries().iter().map(|entry| entry.id());
            std::iter::once(node.ring.me().id).chain(list).collect()
        })
        .collect();
    let skipped = |id: Id| {
        lists
            .iter()
            .any(|list| list.windows(2).any(|pair| pair[0] != pair[1] && between(pair[0], id, pair[1])))
    };
    world.members().filter(|node| !skipped(node.ring.me().id)).count()
}

/// # Errors
/// When there are fewer than r+1.
pub fn check(world: &World) -> Result<(), String> {
    let (principals, needed) = (count(world), world.settings.successors + 1);
    if principals < needed {
        return Err(format!("only {principals} principals of {} members", world.members().count()));
    }
    Ok(())
}
