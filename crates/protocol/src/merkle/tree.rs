//! The digests of a node's whole store: a fixed grid of buckets by the top bits of the identifier.
//!
//! A change of a record is an addition in its bucket and in the sum of its page of buckets. The digest of a range is
//! the sum of whole pages and whole buckets; what is left at its two ends is for the caller to scan ([`Tree::parts`]).
//! Pages come into being with their first record, so an empty node takes a few bytes and a full one
//! 2^16 buckets of 32 bytes: 2 MiB.

use super::hash::{Digest, RecordHash};
use crate::id::{Id, Space};
use crate::message::Range;

/// The most bits of an identifier that choose its bucket.
const GRID_BITS_MAX: u8 = 16;
/// Bits of a bucket's number that choose its place in its page.
const PAGE_BITS: u8 = 8;
/// Buckets in a page.
const PAGE_BUCKETS: u32 = 1 << PAGE_BITS;

#[derive(Clone, PartialEq, Eq, Debug)]
struct Page {
    /// Of all its buckets.
    total: Digest,
    buckets: Box<[Digest]>,
}

/// The digests of a store. See the [module](super).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree {
    space: Space,
    /// How many bits of an identifier choose its bucket.
    grid_bits: u8,
    /// By the first bits of a bucket's number; grows as pages are needed.
    pages: Vec<Option<Page>>,
    total: Digest,
}

/// What a tree knows of a range.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Parts {
    /// Of the whole buckets in it.
    pub digest: Digest,
    /// What must be scanned: at most two stretches, each part of one bucket that is not empty.
    pub scan: Vec<Range>,
}

impl Tree {
    /// Of an empty store on this ring.
    pub fn new(space: Space) -> Tree {
        Tree { space, grid_bits: space.bits().min(GRID_BITS_MAX), pages: Vec::new(), total: Digest::EMPTY }
    }

    /// Of the whole store.
    pub fn total(&self) -> Digest {
        self.total
    }

    /// A record has been stored. A record that replaces another is a removal and an insertion.
    pub fn insert(&mut self, id: Id, hash: RecordHash) {
        self.total.insert(hash);
        let bucket = self.bucket(id);
        let page = (bucket >> PAGE_BITS) as usize;
        if self.pages.len() <= page {
            self.pages.resize(page + 1, None);
        }
        let buckets = 1 << self.grid_bits.min(PAGE_BITS);
        let page = self.pages[page].get_or_insert_with(|| Page {
            total: Digest::EMPTY,
            buckets: vec![Digest::EMPTY; buckets].into_boxed_slice(),
        });
        page.total.insert(hash);
        page.buckets[(bucket % PAGE_BUCKETS) as usize].insert(hash);
    }

    /// A record that was inserted, with this hash, is no more.
    pub fn remove(&mut self, id: Id, hash: RecordHash) {
        self.total.remove(hash);
        let bucket = self.bucket(id);
        let slot = self.pages.get_mut((bucket >> PAGE_BITS) as usize);
        let Some(page) = slot.and_then(Option::as_mut) else {
            panic!("only a record that was inserted is removed from a tree");
        };
        page.total.remove(hash);
        page.buckets[(bucket % PAGE_BUCKETS) as usize].remove(hash);
    }

    /// Nothing is known any more of the bucket that an identifier is in: which one that is, for the caller to scan and
    /// insert again.
    pub fn reset(&mut self, id: Id) -> Range {
        let bucket = self.bucket(id);
        let range = Range { low: self.bucket_end_of(self.before(bucket)), high: self.bucket_end_of(bucket) };
        let slot = self.pages.get_mut((bucket >> PAGE_BITS) as usize);
        if let Some(page) = slot.and_then(Option::as_mut) {
            let digest = std::mem::take(&mut page.buckets[(bucket % PAGE_BUCKETS) as usize]);
            page.total = page.total - digest;
            self.total = self.total - digest;
        }
        range
    }

    /// The digest of the whole buckets of a range, and the stretches at its ends that the caller must scan and add.
    pub fn parts(&self, range: Range) -> Parts {
        let mut parts = Parts::default();
        let first = self.space.next(range.low);
        let mut low = range.low;
        if !self.is_start(first) {
            let head = Range { low, high: self.bucket_end(first) };
            if head.contains(range.high) {
                self.scan(&mut parts, range);
                return parts;
            }
            self.scan(&mut parts, head);
            low = head.high;
        }
        // From here on whole buckets, but perhaps for the last one.
        let (from, last) = (self.bucket(self.space.next(low)), self.bucket(range.high));
        if range.high == self.bucket_end(range.high) {
            parts.digest = self.around(from, last);
            return parts;
        }
        let before = self.before(last);
        if from != last {
            parts.digest = self.around(from, before);
        }
        self.scan(&mut parts, Range { low: self.bucket_end_of(before), high: range.high });
        parts
    }

    /// A stretch of one bucket is for the caller to scan, unless there is nothing in the bucket.
    fn scan(&self, parts: &mut Parts, stretch: Range) {
        if self.buckets(self.bucket(stretch.high), self.bucket(stretch.high)).count > 0 {
            parts.scan.push(stretch);
        }
    }

    /// The sum of the buckets from one to another, going up and around.
    fn around(&self, from: u32, to: u32) -> Digest {
        if from <= to {
            return self.buckets(from, to);
        }
        self.buckets(from, self.last_bucket()) + self.buckets(0, to)
    }

    /// The sum of the buckets from one to a higher one, both included: whole pages at once.
    fn buckets(&self, from: u32, to: u32) -> Digest {
        let (first_page, last_page) = (from >> PAGE_BITS, to >> PAGE_BITS);
        let pages = (first_page..=last_page).zip(self.pages.iter().skip(first_page as usize));
        let digests = pages.filter_map(|(number, page)| page.as_ref().map(|page| (number, page)));
        digests
            .map(|(number, page)| {
                let start = number << PAGE_BITS;
                let low = from.max(start) - start;
                let high = to.min(start + PAGE_BUCKETS - 1) - start;
                if high - low + 1 == PAGE_BUCKETS {
                    return page.total;
                }
                page.buckets[low as usize..=high as usize].iter().copied().sum()
            })
            .sum()
    }

    fn last_bucket(&self) -> u32 {
        (1 << self.grid_bits) - 1
    }

    fn before(&self, bucket: u32) -> u32 {
        bucket.checked_sub(1).unwrap_or(self.last_bucket())
    }

    /// Bits of an identifier below those that choose the bucket.
    fn bucket_power(&self) -> u8 {
        self.space.bits() - self.grid_bits
    }

    /// The number of the bucket that an identifier is in: its top bits.
    fn bucket(&self, id: Id) -> u32 {
        let power = usize::from(self.bucket_power());
        let bytes = id.as_bytes();
        // The grid's bits lie in at most three bytes, the last of them the one with bit number `power`.
        let last = bytes.len() - 1 - power / 8;
        let window =
            (last.saturating_sub(2)..=last).fold(0u32, |number, at| (number << 8) | u32::from(bytes[at]));
        (window >> (power % 8)) & self.last_bucket()
    }

    fn bucket_end(&self, id: Id) -> Id {
        super::arc::cell_end(id, self.bucket_power())
    }

    /// The last identifier of a bucket.
    fn bucket_end_of(&self, bucket: u32) -> Id {
        let power = usize::from(self.bucket_power());
        let mut bytes = *Id::ZERO.as_bytes();
        let shifted = (bucket << (power % 8)).to_be_bytes();
        let last = bytes.len() - 1 - power / 8;
        for (back, byte) in shifted.iter().rev().enumerate().take(last + 1) {
            bytes[last - back] = *byte;
        }
        self.bucket_end(Id::from_bytes(bytes))
    }

    /// Is it the first identifier of its bucket?
    fn is_start(&self, id: Id) -> bool {
        self.space.next(self.bucket_end_of(self.before(self.bucket(id)))) == id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_the_top_bits() {
        for bits in [3, 5, 8, 16, 17, 23, 24, 33, 159, 160] {
            let space = Space::new(bits).unwrap();
            let tree = Tree::new(space);
            for bucket in [0, 1, 2, tree.last_bucket() / 2, tree.last_bucket()] {
                let end = tree.bucket_end_of(bucket);
                assert_eq!(tree.bucket(end), bucket, "{bits} bits");
                assert_eq!(tree.bucket(space.next(end)), (bucket + 1) & tree.last_bucket(), "{bits} bits");
                assert!(space.contains(end));
                assert!(tree.is_start(space.next(end)));
            }
        }
    }

    #[test]
    fn a_bucket_is_forgotten_alone() {
        let space = Space::new(8).unwrap();
        let mut tree = Tree::new(space);
        let records = [(3, 10), (4, 20), (4, 30), (200, 40)];
        for (id, hash) in records {
            tree.insert(Id::from_u128(id), RecordHash(hash));
        }
        let range = tree.reset(Id::from_u128(4));
        assert_eq!(range, Range { low: Id::from_u128(3), high: Id::from_u128(4) });
        let mut other = Tree::new(space);
        other.insert(Id::from_u128(3), RecordHash(10));
        other.insert(Id::from_u128(200), RecordHash(40));
        assert_eq!(tree, other);
        assert_eq!(Tree::new(space).reset(Id::ZERO).low, Id::from_u128(255), "of an empty one, too");
    }

    #[test]
    fn an_empty_tree_is_small() {
        assert_eq!(Tree::new(Space::default()).pages.capacity(), 0);
    }

    #[test]
    #[should_panic(expected = "only a record that was inserted")]
    fn what_was_not_inserted_cannot_be_removed() {
        let mut tree = Tree::new(Space::default());
        tree.insert(Id::MAX, RecordHash(1));
        tree.remove(Id::ZERO, RecordHash(1));
    }
}
