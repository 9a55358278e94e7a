//! What must be so when nothing has gone wrong for a while: every range is served by full chains of equal copies.

use chordata_protocol::chain::{Epoch, StoreId, View};
use chordata_protocol::{Range, Time};

use super::clock::earliest_wall;
use super::invariants::{Found, content};
use super::node::Node;
use super::world::World;

/// How late a value ends in a cluster in which nothing goes wrong, in microseconds.
const ENDED_WITHIN_US: u64 = 1_000_000;

/// Is everything as it should be?
///
/// # Errors
/// What is not, yet.
pub fn check(world: &World) -> Found {
    let view = world.group.newest();
    if !view.pending.is_empty() {
        return Err(format!("changes are under way: {:?}", view.pending));
    }
    members(world, view)?;
    let copies = usize::from(view.replication.factor).min(view.members.len());
    for (epoch, active) in &view.ranges {
        let serving: Vec<StoreId> = active.serving().map(|link| link.store).collect();
        if active.wedged || serving.len() != active.chain.len() || serving.len() != copies {
            return Err(format!("epoch {epoch} has {copies} replicas to have, and is {active:?}"));
        }
        let ring: Vec<StoreId> =
            view.clockwise(active.range.high).into_iter().map(|(store, _)| store).take(copies).collect();
        if serving != ring {
            return Err(format!("the chain of epoch {epoch} is {serving:?}, the ring's order is {ring:?}"));
        }
        equal(world, active.range, &serving)?;
    }
    world.nodes.iter().filter(|node| node.process.is_some()).try_for_each(|node| foreign(view, node))?;
    over(world)
}

/// What should have ended a while ago has.
fn over(world: &World) -> Found {
    let long_ago = Time::from_micros(world.now().as_micros().saturating_sub(ENDED_WITHIN_US));
    let (due, _) = world.witness.model.due(earliest_wall(long_ago), None, 1);
    match due.first() {
        Some(ending) => Err(format!("{} should have ended at {} ms", ending.key, ending.at.as_millis())),
        None => Ok(()),
    }
}

/// Every member runs, and nobody else does; a range ends at each.
fn members(world: &World, view: &View) -> Found {
    for (store, member) in &view.members {
        let node = world.nodes.iter().find(|node| node.store == *store);
        if !node.is_some_and(|node| node.is_alive_as(*store, member.incarnation)) {
            return Err(format!("member {store:?} of {member:?} does not run"));
        }
        if member.leaving {
            return Err(format!("member {store:?} has not left yet"));
        }
        if !view.ranges.values().any(|active| active.range.high == member.peer.id) {
            return Err(format!("no range ends at {:?}", member.peer));
        }
    }
    let stranger = world
        .nodes
        .iter()
        .find(|node| node.state != super::node::State::Vacant && !view.members.contains_key(&node.store));
    match stranger {
        Some(node) => {
            Err(format!("{} ({:?}) is {:?}, and is no member", node.address, node.store, node.state))
        }
        None => Ok(()),
    }
}

/// All copies are equal, and are what is committed.
fn equal(world: &World, range: Range, serving: &[StoreId]) -> Found {
    for store in serving {
        let Some(node) = world.nodes.iter().find(|node| node.store == *store) else { continue };
        let mut damaged = node.disk.seen.engine.damaged().filter(|(id, _)| range.contains(*id));
        if let Some((_, key)) = damaged.next() {
            return Err(format!("{} cannot read {key}", node.address));
        }
        if let Some(what) = content::difference(&node.disk.seen.engine, &world.witness.model, range) {
            return Err(format!("{} {what}", node.address));
        }
    }
    Ok(())
}

/// A node holds nothing that is not its own.
fn foreign(view: &View, node: &Node) -> Found {
    let mine = |epoch: &Epoch| {
        view.ranges.get(epoch).is_some_and(|active| active.chain.iter().any(|link| link.store == node.store))
    };
    let ranges: Vec<Range> =
        view.ranges.iter().filter(|(epoch, _)| mine(epoch)).map(|(_, active)| active.range).collect();
    let mut stray = None;
    let whole = Range { low: chordata_protocol::Id::ZERO, high: chordata_protocol::Id::ZERO };
    node.disk.seen.engine.scan(whole, None, &mut |id, key, _| {
        if ranges.iter().any(|range| range.contains(id)) {
            return std::ops::ControlFlow::Continue(());
        }
        stray = Some(key);
        std::ops::ControlFlow::Break(())
    });
    match stray {
        Some(key) => Err(format!("{} holds {key}, which is not in its ranges", node.address)),
        None => Ok(()),
    }
}
