//! Clients: requests for keys, which wait for hand-overs and follow the keys to their new owner.

use chordata_protocol::message::Candidate;
use chordata_protocol::ring::Admit;
use chordata_protocol::{Address, Key, Operation, Outcome, Record, Value};

use crate::words;
use crate::world::World;

/// Nodes to which one request is sent on.
const MOVES_MAX: usize = 8;

/// What a client wants.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Put(Key, Value),
    Delete(Key),
    Get(Key),
}

impl Wish {
    fn key(&self) -> &Key {
        match self {
            Wish::Put(key, _) | Wish::Delete(key) | Wish::Get(key) => key,
        }
    }
}

impl std::fmt::Display for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = words::key(self.key());
        match self {
            Wish::Put(_, value) => write!(f, "put {key}={value}"),
            Wish::Delete(_) => write!(f, "delete {key}"),
            Wish::Get(_) => write!(f, "get {key}"),
        }
    }
}

/// A request that waits.
#[derive(Clone, Debug)]
pub(crate) struct Parked {
    wish: Wish,
}

impl World {
    /// Brings a wish to a node, and on to whom that names.
    pub(crate) fn wish(&mut self, address: &Address, wish: Wish) {
        let mut address = address.clone();
        for _ in 0..MOVES_MAX {
            let id = wish.key().id(self.settings.space);
            let Some(node) = self.nodes.get_mut(&address) else {
                return self.report.say(format!("{wish}: nobody answers at {address}"));
            };
            match node.ring.admit(id) {
                Admit::Serve => return self.fulfil(&address, &wish),
                Admit::Wait => {
                    let line = format!("{wish}: waits at {}", node.name());
                    node.parked.push(Parked { wish });
                    return self.report.say(line);
                }
                Admit::NotMember => {
                    let line = format!("{wish}: {} is not in the ring", node.name());
                    return self.report.say(line);
                }
                Admit::Elsewhere(candidates) => {
                    let name = node.name();
                    let (next, silent) = self.first_that_answers(&address, &candidates);
                    let Some(next) = next else {
                        return self.report.say(format!("{wish}: {name} knows nobody else that answers"));
                    };
                    let on = format!("{} ({})", words::peer(&next.peer), next.why);
                    self.report.say(format!("{wish}: {name} sends it on to {on}{silent}"));
                    address = next.peer.address.clone();
                }
            }
        }
        self.report.say(format!("{wish}: given up"));
    }

    /// And those before it that do not.
    fn first_that_answers(&self, from: &Address, candidates: &[Candidate]) -> (Option<Candidate>, String) {
        let mut silent = String::new();
        for candidate in candidates {
            let to = &candidate.peer.address;
            if self.nodes.contains_key(to) && !self.separates(from, to) {
                return (Some(candidate.clone()), silent);
            }
            silent.push_str(&format!(", as {to} does not answer"));
        }
        (None, silent)
    }

    fn fulfil(&mut self, address: &Address, wish: &Wish) {
        let space = self.settings.space;
        let Some(node) = self.nodes.get_mut(address) else { return };
        let current = node.store.version(space, wish.key());
        let line = match wish {
            Wish::Get(key) => match node.store.get(space, key) {
                Some(record) => format!("{} {}", record.value, record.version),
                None => "nothing".to_owned(),
            },
            Wish::Put(key, value) => {
                let operation = Operation::put(value.clone());
                let Outcome::Written(version) = node.ring.decide(key, &operation, current) else {
                    unreachable!("a put is written")
                };
                node.store.put(space, key.clone(), Record { version, value: value.clone(), expires: None });
                format!("done, {version}")
            }
            Wish::Delete(key) => {
                node.ring.decide(key, &Operation::Delete, current);
                node.store.remove(space, key);
                current.map_or("there was nothing".to_owned(), |version| format!("done, it was {version}"))
            }
        };
        let line = format!("{wish} at {}: {line}", node.name());
        self.report.say(line);
    }

    /// After what a node serves has changed, those who wait there ask again.
    pub(crate) fn wake_parked(&mut self, address: &Address) {
        let Some(node) = self.nodes.get_mut(address) else { return };
        if node.woken {
            node.woken = false;
            for Parked { wish } in std::mem::take(&mut node.parked) {
                self.wish(address, wish);
            }
        }
    }
}
