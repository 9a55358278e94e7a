//! What the nodes of a cluster in eventual mode say to each other. These types are the wire types.
//!
//! Every request is answered from the node's own state and store, perhaps after its disk has synced: no handler waits
//! for another node.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::clock;
use super::merge::Stamped;
use super::table::StoreId;
use crate::id::Space;
use crate::key::{Key, Version};
use crate::merkle::{Answer, Question};

/// The most keys in one message.
pub(super) const KEYS_MAX: usize = 256;
/// The most bytes of keys and values in one message; a single larger one travels alone.
pub(super) const BYTES_MAX: usize = 256 * 1024;

/// A key with what it holds.
pub type Copied = (Key, Stamped);

/// The stores that this cluster has had, as one node knows them. Grows only.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stores {
    /// All that were ever members.
    pub known: BTreeSet<StoreId>,
    /// Those that never come back: nothing is taken from them.
    pub forgotten: BTreeSet<StoreId>,
}

/// A question or order from one node to another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Merge these.
    Copy {
        /// Keys with what they hold.
        entries: Vec<Copied>,
        /// Answer when they are on disk.
        durable: bool,
    },
    /// What does this key hold?
    Read(Key),
    /// What do these keys hold?
    Fetch(Vec<Key>),
    /// I keep these, and should not: which of them do you lack? Answered when the others are on disk.
    Offer(Vec<(Key, Version)>),
    /// What differs?
    Compare(Question),
    /// These keys were deleted: keep the tombstones until they are dropped everywhere. Answered from disk.
    Keep {
        /// The tombstones.
        tombstones: Vec<(Key, Version)>,
        /// All stores that the asker knows.
        stores: Stores,
    },
    /// Every store has these tombstones: drop them.
    Drop(Vec<(Key, Version)>),
}

/// An answer to a [`Request`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Response {
    /// To copy: done.
    Copied,
    /// To read.
    Held(Option<Stamped>),
    /// To read: nothing is here, but the node has not compared with another replica yet, or is none.
    Unfilled,
    /// To fetch.
    Fetched {
        /// Those of the keys that are here.
        entries: Vec<Copied>,
        /// How many of the keys, from the first on, were looked at: the rest did not fit.
        covered: u32,
    },
    /// To offer: the rest is on disk here.
    Offered {
        /// Send these.
        wanted: Vec<Key>,
        /// Of these something newer is here.
        newer: Vec<Key>,
    },
    /// To compare.
    Compared(Answer),
    /// To keep: they are on disk, or something later is. With all stores that the answering node knows.
    Kept(Stores),
    /// To drop: done.
    Dropped,
    /// To all: the asker has been forgotten; its store must be formatted.
    Barred,
    /// To all: no node of this ring can have asked it, or not now; nothing was changed.
    Refused,
}

impl Request {
    /// Its name in logs and in the graph of who awaits whom.
    pub fn name(&self) -> &'static str {
        match self {
            Request::Copy { .. } => "copy",
            Request::Read(_) => "read_copy",
            Request::Fetch(_) => "fetch",
            Request::Offer(_) => "offer",
            Request::Compare(_) => "compare",
            Request::Keep { .. } => "keep",
            Request::Drop(_) => "drop",
        }
    }

    /// Could a node of this ring have said it?
    pub fn is_possible(&self, space: Space) -> bool {
        let key = |key: &Key| key.check(space).is_ok();
        let stamped = |(name, version): &(Key, Version)| key(name) && clock::is_possible(*version);
        match self {
            Request::Copy { entries, .. } => {
                entries.len() <= KEYS_MAX && entries.iter().all(|entry| is_entry(space, entry))
            }
            Request::Read(name) => key(name),
            Request::Fetch(keys) => keys.len() <= KEYS_MAX && keys.iter().all(key),
            Request::Offer(items) | Request::Drop(items) | Request::Keep { tombstones: items, .. } => {
                items.len() <= KEYS_MAX && items.iter().all(stamped)
            }
            Request::Compare(question) => question.is_possible(space),
        }
    }
}

/// Can it be stored on this ring?
pub(super) fn is_entry(space: Space, (key, held): &Copied) -> bool {
    is_content(space, key, held)
}

/// Can the key hold this on this ring?
pub(super) fn is_content(space: Space, key: &Key, held: &Stamped) -> bool {
    let value = held.value.as_ref().is_none_or(|value| value.check().is_ok());
    let ends = held.value.is_some() || held.expires.is_none();
    key.check(space).is_ok() && value && ends && clock::is_possible(held.version)
}

/// As many of these as fit in one message, and at least one if there is one.
pub(super) fn fitting<T>(items: impl Iterator<Item = T>, size: impl Fn(&T) -> usize) -> Vec<T> {
    let mut bytes = 0;
    let mut taken: Vec<T> = Vec::new();
    for item in items.take(KEYS_MAX) {
        bytes += size(&item);
        if bytes > BYTES_MAX && !taken.is_empty() {
            break;
        }
        taken.push(item);
    }
    taken
}
