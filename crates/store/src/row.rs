//! Where a row is, as bytes: 20 of the identifier, a tag, the key. Compared byte by byte they have the order of
//! [`Position`].

use std::cmp::Ordering;
use std::ops::Bound;

use chordata_protocol::{Ending, Id, Key, Moment, Range};

use crate::engine::{KeyRef, Position};

const ID_BYTES: usize = 20;
const TAG_BYTES: u8 = 0;
const TAG_LITERAL: u8 = 1;
/// Greater than every tag: an identifier followed by this is behind all its keys.
const TAG_END: u8 = 0xff;

/// Where a row is, borrowed: the identifier, and the key with its tag.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct RowKey<'a> {
    pub(crate) id: Id,
    pub(crate) key: &'a [u8],
}

impl<'a> RowKey<'a> {
    /// From all the bytes. None: they are no row's place.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<RowKey<'a>> {
        let (id, key) = bytes.split_first_chunk::<ID_BYTES>()?;
        Some(RowKey { id: Id::from_bytes(*id), key })
    }

    pub(crate) fn key(self) -> Option<KeyRef<'a>> {
        read_key(self.key)
    }

    pub(crate) fn compare(self, bytes: &[u8]) -> Ordering {
        let (id, key) = bytes.split_at(ID_BYTES.min(bytes.len()));
        self.id.as_bytes().as_slice().cmp(id).then_with(|| self.key.cmp(key))
    }
}

fn read_key(tagged: &[u8]) -> Option<KeyRef<'_>> {
    match tagged.split_first()? {
        (&TAG_BYTES, bytes) => Some(KeyRef::Bytes(bytes)),
        (&TAG_LITERAL, bytes) => Some(KeyRef::Literal(Id::from_bytes(bytes.try_into().ok()?))),
        _ => None,
    }
}

/// A key with its tag, in two parts.
pub(crate) fn tagged(key: &Key) -> (u8, &[u8]) {
    match key {
        Key::Bytes(bytes) => (TAG_BYTES, bytes),
        Key::Literal(id) => (TAG_LITERAL, id.as_bytes()),
    }
}

/// All the bytes of a row's place.
pub(crate) fn place(id: Id, key: &Key) -> Vec<u8> {
    let (tag, bytes) = tagged(key);
    let mut place = Vec::with_capacity(ID_BYTES + 1 + bytes.len());
    place.extend_from_slice(id.as_bytes());
    place.push(tag);
    place.extend_from_slice(bytes);
    place
}

const MOMENT_BYTES: usize = 8;

/// The moment of a row, and its place: compared byte by byte they have the order of [`Ending`].
pub(crate) fn ending(moment: Moment, place: &[u8]) -> Vec<u8> {
    [moment.as_millis().to_be_bytes().as_slice(), place].concat()
}

/// From all the bytes. None: they are no moment and place.
pub(crate) fn read_ending(bytes: &[u8]) -> Option<Ending> {
    let (moment, place) = bytes.split_first_chunk::<MOMENT_BYTES>()?;
    let place = RowKey::read(place)?;
    let at = Moment::from_millis(u64::from_be_bytes(*moment));
    Some(Ending { at, id: place.id, key: place.key()?.to_key() })
}

fn behind(id: Id) -> Vec<u8> {
    [id.as_bytes().as_slice(), &[TAG_END]].concat()
}

/// Places that go up without a break. Never empty as bounds go; it may hold no row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    pub(crate) low: Bound<Vec<u8>>,
    pub(crate) high: Bound<Vec<u8>>,
}

impl Segment {
    fn new(low: Bound<Vec<u8>>, high: Bound<Vec<u8>>) -> Option<Segment> {
        if let (Bound::Excluded(low), Bound::Included(high)) = (&low, &high)
            && low >= high
        {
            return None;
        }
        Some(Segment { low, high })
    }

    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.low.as_ref().map(Vec::as_slice), self.high.as_ref().map(Vec::as_slice))
    }
}

/// The range as one or two segments, in the order in which a scan visits them, of what is behind `after`.
///
/// A position outside of the range comes from a time when the range was another: one beyond the end of a range that
/// does not wrap leaves nothing, any other leaves the whole range.
pub(crate) fn segments(range: Range, after: Option<&Position>) -> Vec<Segment> {
    use Bound::{Excluded, Included, Unbounded};
    let Range { low, high } = range;
    let (bottom, top) = (Excluded(behind(low)), Included(behind(high)));
    let start = after.map(|(id, key)| (*id, Excluded(place(*id, key))));
    if low < high {
        let start = start.filter(|(id, _)| *id > low).map(|(_, start)| start);
        return Segment::new(start.unwrap_or(bottom), top).into_iter().collect();
    }
    match start {
        // Already around the top of the ring.
        Some((id, start)) if id <= high => Segment::new(start, top).into_iter().collect(),
        Some((id, start)) if id > low => {
            [Segment::new(start, Unbounded), Segment::new(Unbounded, top)].into_iter().flatten().collect()
        }
        Some(_) | None => {
            [Segment::new(bottom, Unbounded), Segment::new(Unbounded, top)].into_iter().flatten().collect()
        }
    }
}

/// Where names begin that have this prefix and are behind `after`.
pub(crate) fn after_in_prefix<'a>(prefix: &'a [u8], after: Option<&'a [u8]>) -> Bound<&'a [u8]> {
    match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        Some(_) | None => Bound::Included(prefix),
    }
}
