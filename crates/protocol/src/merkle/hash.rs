//! Hashes of records, and digests of sets of them: a sum that takes a change in one addition.
//!
//! # Why 128 bits and a sum are enough
//!
//! Two sets that differ by accident (a lost message, a damaged disk) have equal digests with a chance of 2^-128 for
//! each comparison: hashes are BLAKE3, cut to 128 bits, and a sum of uniform numbers that is not of the same
//! numbers is uniform. At a million comparisons a second that is one miss in 10^25 years. Two different records with
//! one hash need 2^64 tries of somebody who may choose them.
//!
//! Against malice a sum is weak (generalised birthdays, Wagner 2002): somebody who may write different records to
//! each replica, hundreds of them, can make their sums equal. Who can do that is a member of the cluster and could
//! just as well lie about the digest. Clients cannot: what they write goes to all replicas.

use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Serialize};

use crate::expiry::Moment;
use crate::key::{Key, Version};

/// The hash of one record: key, version, whether it is a tombstone, and value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct RecordHash(pub u128);

/// The hash of a record; without a value, of a tombstone. All parts have a length before them, so that no two
/// different records are the same bytes.
pub fn record_hash(key: &Key, version: Version, value: Option<&[u8]>) -> RecordHash {
    let mut hasher = blake3::Hasher::new();
    let (kind, bytes): (u8, &[u8]) = match key {
        Key::Bytes(bytes) => (0, bytes),
        Key::Literal(id) => (1, id.as_bytes()),
    };
    hasher.update(&[kind, u8::from(value.is_some())]);
    hasher.update(&(bytes.len() as u64).to_be_bytes());
    hasher.update(bytes);
    hasher.update(&version.epoch.to_be_bytes());
    hasher.update(&version.sequence.to_be_bytes());
    hasher.update(value.unwrap_or_default());
    let mut first = [0; 16];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    RecordHash(u128::from_be_bytes(first))
}

/// The hash under which replicas compare what they have of a key: one that ends by itself counts as the tombstone that it will
/// be. So replicas agree before and after its moment, whichever of them have made it one already. Nothing is lost by
/// that: a version names one write, and so one value.
pub fn copy_hash(key: &Key, version: Version, value: Option<&[u8]>, expires: Option<Moment>) -> RecordHash {
    record_hash(key, version, value.filter(|_| expires.is_none()))
}

/// A set of records in short. Equal sets have equal digests; different ones have not, but for collisions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Digest {
    /// How many records.
    pub count: u64,
    /// The sum of their hashes, modulo 2^128.
    pub sum: u128,
}

impl Digest {
    /// Of no records.
    pub const EMPTY: Digest = Digest { count: 0, sum: 0 };

    /// One record more.
    pub fn insert(&mut self, hash: RecordHash) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(hash.0);
    }

    /// One record less. It must have been inserted.
    pub fn remove(&mut self, hash: RecordHash) {
        assert!(self.count > 0, "only a record that was inserted is removed from a digest");
        self.count -= 1;
        self.sum = self.sum.wrapping_sub(hash.0);
    }
}

impl AddAssign for Digest {
    fn add_assign(&mut self, other: Digest) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

impl Add for Digest {
    type Output = Digest;

    fn add(mut self, other: Digest) -> Digest {
        self += other;
        self
    }
}

impl Sub for Digest {
    type Output = Digest;

    /// Without a part of it.
    fn sub(self, part: Digest) -> Digest {
        assert!(self.count >= part.count, "only a part of a digest is taken out of it");
        Digest { count: self.count - part.count, sum: self.sum.wrapping_sub(part.sum) }
    }
}

impl std::iter::Sum for Digest {
    fn sum<I: Iterator<Item = Digest>>(digests: I) -> Digest {
        digests.fold(Digest::EMPTY, Digest::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;

    #[test]
    fn every_part_of_a_record_counts() {
        let version = Version { epoch: 1, sequence: 2 };
        let hash = record_hash(&Key::new("a"), version, Some(b"b"));
        let id = Id::from_u128(7);
        let others = [
            record_hash(&Key::new("b"), version, Some(b"b")),
            record_hash(&Key::new("a"), Version { epoch: 2, sequence: 1 }, Some(b"b")),
            record_hash(&Key::new("a"), Version { epoch: 1, sequence: 3 }, Some(b"b")),
            record_hash(&Key::new("a"), version, Some(b"c")),
            record_hash(&Key::new("a"), version, Some(b"")),
            record_hash(&Key::new("a"), version, None),
            record_hash(&Key::new("ab"), version, Some(b"")),
            record_hash(&Key::Literal(id), version, Some(b"b")),
            record_hash(&Key::new(id.as_bytes().to_vec()), version, Some(b"b")),
        ];
        for (at, other) in others.iter().enumerate() {
            assert_ne!(hash, *other, "{at}");
            assert!(!others[..at].contains(other), "{at}");
        }
        assert_eq!(hash, record_hash(&Key::new("a"), version, Some(b"b")));
    }

    #[test]
    fn what_ends_is_compared_as_the_tombstone_that_it_will_be() {
        let (key, version) = (Key::new("a"), Version { epoch: 1, sequence: 2 });
        let tombstone = record_hash(&key, version, None);
        assert_eq!(copy_hash(&key, version, Some(b"b"), Some(Moment::from_millis(9))), tombstone);
        assert_eq!(copy_hash(&key, version, None, None), tombstone);
        assert_eq!(copy_hash(&key, version, Some(b"b"), None), record_hash(&key, version, Some(b"b")));
    }

    #[test]
    fn a_digest_knows_no_order_and_forgets_what_is_removed() {
        let (a, b) = (RecordHash(u128::MAX), RecordHash(12));
        let (mut one, mut other) = (Digest::EMPTY, Digest::EMPTY);
        one.insert(a);
        one.insert(b);
        other.insert(b);
        other.insert(a);
        assert_eq!(one, other);
        one.remove(b);
        one.remove(a);
        assert_eq!(one, Digest::EMPTY);
    }
}
