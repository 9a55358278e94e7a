//! What a key holds, and the one rule by which copies of it are merged: the higher stamp wins.
//!
//! Contents of a key are totally ordered: by version, at equal versions a tombstone above a value, and values by their
//! bytes (equal versions with different contents are not made by this protocol; damage can, and the order still makes
//! all replicas equal). The join of two is the greater one. So merging is commutative, associative and idempotent,
//! and a store, a map from keys to contents, is joined key by key: in whatever order, how often and in whatever
//! groups copies arrive, the result is the same.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::key::{Value, Version};

/// What a key holds: a value, or a tombstone that says it was deleted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stamped {
    /// When it was written.
    pub version: Version,
    /// The value; none for a tombstone.
    pub value: Option<Value>,
}

impl Stamped {
    /// Is it a tombstone?
    pub fn is_tombstone(&self) -> bool {
        self.value.is_none()
    }

    /// Must it replace that? (Nothing is below all.)
    pub fn beats(&self, other: Option<&Stamped>) -> bool {
        other.is_none_or(|other| self > other)
    }

    /// The greater of the two.
    #[must_use]
    pub fn join(self, other: Stamped) -> Stamped {
        self.max(other)
    }

    /// Bytes of the value.
    pub fn size(&self) -> usize {
        self.value.as_ref().map_or(0, |value| value.len())
    }
}

impl Ord for Stamped {
    fn cmp(&self, other: &Stamped) -> Ordering {
        let order = self.version.cmp(&other.version);
        order.then_with(|| match (&self.value, &other.value) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(mine), Some(theirs)) => mine.cmp(theirs),
        })
    }
}

impl PartialOrd for Stamped {
    fn partial_cmp(&self, other: &Stamped) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
