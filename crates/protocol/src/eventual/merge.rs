//! What a key holds, and the one rule by which copies of it are merged: the higher stamp wins.
//!
//! Contents of a key are totally ordered: by version, at equal versions a tombstone above a value, and values by their
//! bytes (equal versions with different values are not made by this protocol; damage can, and the order still makes
//! all replicas equal). The join of two is the greater one. So merging is commutative, associative and idempotent,
//! and a store, a map from keys to contents, is joined key by key: in whatever order, how often and in whatever
//! groups copies arrive, the result is the same.
//!
//! A value that ends by itself carries the moment at which it does. From then on it is a tombstone of its own version
//! ([`Stamped::at`]), which is above it in the order: a replica that has made it one, and one that has not yet, since its clock
//! is behind or it was not its turn, join to the tombstone.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::expiry::Moment;
use crate::key::{Record, Value, Version};

/// What a key holds: a value, or a tombstone that says it was deleted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stamped {
    /// When it was written.
    pub version: Version,
    /// The value; none for a tombstone.
    pub value: Option<Value>,
    /// When it ends by itself: from then on this is a tombstone. None: never.
    pub expires: Option<Moment>,
}

impl Stamped {
    /// That the key was deleted by the write of this version.
    pub fn tombstone(version: Version) -> Stamped {
        Stamped { version, value: None, expires: None }
    }

    /// What it is when the wall clock shows this: what has ended is a tombstone.
    #[must_use]
    pub fn at(self, now: Moment) -> Stamped {
        let ended = self.expires.is_some_and(|expires| expires <= now);
        if ended { Stamped::tombstone(self.version) } else { self }
    }

    /// The record; none: it is a tombstone.
    pub fn into_record(self) -> Option<Record> {
        let Stamped { version, value, expires } = self;
        value.map(|value| Record { version, value, expires })
    }

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
            (None, None) => self.expires.cmp(&other.expires),
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(mine), Some(theirs)) => mine.cmp(theirs).then_with(|| self.expires.cmp(&other.expires)),
        })
    }
}

impl PartialOrd for Stamped {
    fn partial_cmp(&self, other: &Stamped) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
