//! What must hold of a cluster: replicas are equal, nothing acknowledged is lost, nothing deleted comes back.

use std::collections::BTreeMap;
use std::time::Duration;

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

/// Where replicas differ. A value that some clock says has ended, and its tombstone, are the same.
pub(crate) fn unequal(world: &World) -> Vec<String> {
    let latest = world.latest();
    let differ = |held: &Vec<Option<Stamped>>| {
        let now = |held: &Option<Stamped>| held.clone().map(|held| held.at(latest));
        held.windows(2).any(|pair| now(&pair[0]) != now(&pair[1]))
    };
    let held = held_by_replicas(world).into_iter().filter(|(_, held)| differ(held));
    held.map(|(key, held)| format!("{key:?}: {held:?}")).collect()
}

/// Acknowledged writes that are neither there nor overwritten by a higher stamp; with that also deletes whose key came
/// back.
pub(crate) fn lost(world: &World, history: &History) -> Vec<String> {
    let (held, latest) = (held_by_replicas(world), world.latest());
    let is_now = |held: &Stamped, was: &Stamped| held.clone().at(latest) == was.clone().at(latest);
    let mut lost = Vec::new();
    for (key, version) in history.acknowledged(world) {
        let survives = match &held[&key][0] {
            Some(held) => {
                let was = world.ever[&key].get(&held.version);
                held.version >= version && was.is_some_and(|was| is_now(held, was))
            }
            // Deleted or ended since, and the tombstone is gone too.
            None => world.ever[&key].range(version..).any(|(_, held)| held.clone().at(latest).is_tombstone()),
        };
        if !survives {
            lost.push(format!("{key:?} {version}: {:?}", held[&key]));
        }
    }
    lost
}

/// What nodes keep though they should not: tombstones, what has ended half a minute ago, values that others are the replicas of, hints.
pub(crate) fn left_over(world: &World) -> Vec<String> {
    let table = world.table();
    let mut found = Vec::new();
    for (store, node) in world.nodes.iter().filter(|(_, node)| node.machine.is_some()) {
        for ((id, key), (held, _)) in &node.disk.content.records {
            if held.clone().at(world.long_ago(Duration::from_secs(30))).is_tombstone()
                || !table.is_replica(*store, *id)
            {
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
