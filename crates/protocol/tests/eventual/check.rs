//! What must hold of a cluster: replicas are equal, nothing acknowledged is lost, nothing deleted comes back.

use std::collections::BTreeMap;

use chordata_protocol::eventual::{Caller, Outcome, Stamped};
use chordata_protocol::{Id, Key, Version};

use crate::world::World;

/// The writes that clients began.
#[derive(Debug, Default)]
pub(crate) struct History {
    writes: BTreeMap<Caller, Key>,
}

impl History {
    pub(crate) fn began(&mut self, caller: Caller, key: &Key) {
        self.writes.insert(caller, key.clone());
    }

    /// The versions that clients were told are written.
    pub(crate) fn acknowledged(&self, world: &World) -> Vec<(Key, Version)> {
        let done = world.done.iter().filter_map(|done| match &done.result {
            Ok(Outcome::Written(version)) => Some((self.writes.get(&done.caller)?.clone(), *version)),
            _ => None,
        });
        done.collect()
    }
}

/// What the replicas of every key hold.
type Held = BTreeMap<Key, Vec<Option<Stamped>>>;

fn held_by_replicas(world: &World) -> Held {
    let table = world.table();
    let of = |key: &Key| {
        let replicas = table.replicas(key.id(world.space));
        replicas.iter().map(|store| world.nodes[store].disk.held(key).cloned()).collect()
    };
    world.ever.keys().map(|key| (key.clone(), of(key))).collect()
}

/// Where replicas differ.
pub(crate) fn unequal(world: &World) -> Vec<String> {
    let differ = |held: &Vec<Option<Stamped>>| held.windows(2).any(|pair| pair[0] != pair[1]);
    let held = held_by_replicas(world).into_iter().filter(|(_, held)| differ(held));
    held.map(|(key, held)| format!("{key:?}: {held:?}")).collect()
}

/// Acknowledged writes that are neither there nor overwritten by a higher stamp; with that also deletes whose key came
/// back.
pub(crate) fn lost(world: &World, history: &History) -> Vec<String> {
    let held = held_by_replicas(world);
    let mut lost = Vec::new();
    for (key, version) in history.acknowledged(world) {
        let survives = match &held[&key][0] {
            Some(held) => held.version >= version && world.ever[&key].get(&held.version) == Some(held),
            // Deleted since, and the tombstone is gone too.
            None => world.ever[&key].range(version..).any(|(_, held)| held.is_tombstone()),
        };
        if !survives {
            lost.push(format!("{key:?} {version}: {:?}", held[&key]));
        }
    }
    lost
}

/// What nodes keep though they should not: tombstones, values that others are the replicas of, hints.
pub(crate) fn left_over(world: &World) -> Vec<String> {
    let table = world.table();
    let mut found = Vec::new();
    for (store, node) in world.nodes.iter().filter(|(_, node)| node.machine.is_some()) {
        for ((id, key), (held, _)) in &node.disk.content.records {
            if held.is_tombstone() || !table.is_replica(*store, *id) {
                found.push(format!("{key:?} {held:?} at {store}"));
            }
        }
        found.extend(node.disk.content.hints.iter().map(|hint| format!("{hint:?} at {store}")));
    }
    found
}

/// Keys with literal ids too, several of them with one id.
pub(crate) fn key(number: u32) -> Key {
    if number.is_multiple_of(5) {
        Key::Literal(Id::from_u128(u128::from(number * 7 % 256)))
    } else {
        Key::new(format!("key {number}"))
    }
}
