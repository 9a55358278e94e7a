//! The ring's members in order, as one node found them on a walk: ring numbers, connection lists, one-hop routing.
//!
//! A table is never right for ever, so it carries a [`Stamp`]. A node takes a table with a higher stamp than its own
//! and calls its own table stale as soon as its neighbours are not those of the table. Whoever sees that walks the
//! ring again and gives everybody the result with a higher stamp; so after a quiet time all have the same table.

use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::peer::Peer;

/// Orders tables: a later walk has a higher round, and of two walks in one round the higher id wins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// One more than the highest that the walk met.
    pub round: u64,
    /// Who walked.
    pub by: Id,
}

/// All members, from the lowest id up; a node's place in the list is its ring number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Membership {
    stamp: Stamp,
    nodes: Vec<Peer>,
}

impl Membership {
    /// Numbers these nodes.
    pub fn new(stamp: Stamp, mut nodes: Vec<Peer>) -> Membership {
        nodes.sort();
        nodes.dedup_by(|a, b| a.id == b.id);
        Membership { stamp, nodes }
    }

    /// When it was taken.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The nodes in the order of their numbers.
    pub fn nodes(&self) -> &[Peer] {
        &self.nodes
    }

    /// The number of the node with this id.
    pub fn number(&self, id: Id) -> Option<usize> {
        self.nodes.binary_search_by_key(&id, |peer| peer.id).ok()
    }

    /// The first node at or behind the identifier: who owns it when the table is right.
    pub fn owner(&self, id: Id) -> Option<&Peer> {
        let at = self.nodes.partition_point(|peer| peer.id < id);
        self.nodes.get(at).or_else(|| self.nodes.first())
    }

    /// The node behind the one with this number, going around.
    pub fn successor(&self, number: usize) -> Option<&Peer> {
        if number >= self.nodes.len() {
            return None;
        }
        self.nodes.get((number + 1) % self.nodes.len())
    }

    /// The node before the one with this number, going around.
    pub fn predecessor(&self, number: usize) -> Option<&Peer> {
        let before = number.checked_add(self.nodes.len())?.checked_sub(1)?;
        if number >= self.nodes.len() { None } else { self.nodes.get(before % self.nodes.len()) }
    }

    /// Does it place this node between these neighbours?
    pub fn agrees(&self, me: Id, predecessor: &Peer, successor: &Peer) -> bool {
        let Some(number) = self.number(me) else { return false };
        self.predecessor(number) == Some(predecessor) && self.successor(number) == Some(successor)
    }

    /// Do the ids go up, each once? What comes from another node need not.
    pub fn is_ordered(&self) -> bool {
        self.nodes.windows(2).all(|pair| pair[0].id < pair[1].id)
    }
}
