//! How a record lies on disk: its kind (1 byte), checksum (8), epoch (8), sequence (8), where the kind says so the moment at
//! which the value ends (8), value. Kinds are a tombstone, a value, and, since format 2, a value that ends.
//!
//! The checksum (CRC-64/NVME) is over the place, and over all of the record but itself: a record that was damaged, and
//! one that got under another key, are both found. Notes have a checksum in front, over name and content.

use chordata_protocol::{Moment, Value, Version};
use crc_fast::{CrcAlgorithm, Digest};

use crate::engine::{Mark, Stored, Weight};

const CHECKSUM_AT: usize = 1;
const EPOCH_AT: usize = 9;
const SEQUENCE_AT: usize = 17;
const MOMENT_AT: usize = 25;
const MOMENT_BYTES: usize = 8;
const TOMBSTONE: u8 = 0;
const LIVE: u8 = 1;
const ENDING: u8 = 2;
/// Bytes of identifier and tag in a place: they are no part of the key.
const PLACE_HEAD: usize = 21;

/// A record as it lies on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct DiskRow(pub(crate) Box<[u8]>);

/// What a record says, borrowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RowRef<'a> {
    pub(crate) version: Version,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) expires: Option<Moment>,
}

impl RowRef<'_> {
    pub(crate) fn stored(&self) -> Stored {
        Stored { version: self.version, value: self.value.map(Value::from), expires: self.expires }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { version: self.version, live: self.value.is_some(), expires: self.expires }
    }
}

fn checksum(parts: &[&[u8]]) -> [u8; 8] {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    for part in parts {
        digest.update(part);
    }
    digest.finalize().to_le_bytes()
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

impl DiskRow {
    pub(crate) fn new(
        place: &[u8],
        version: Version,
        value: Option<&Value>,
        expires: Option<Moment>,
    ) -> DiskRow {
        let kind = match (value, expires) {
            (None, _) => TOMBSTONE,
            (Some(_), None) => LIVE,
            (Some(_), Some(_)) => ENDING,
        };
        let mut bytes = Vec::with_capacity(value_at(kind) + value.map_or(0, |value| value.len()));
        bytes.push(kind);
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&version.epoch.to_be_bytes());
        bytes.extend_from_slice(&version.sequence.to_be_bytes());
        if let Some(expires) = expires.filter(|_| kind == ENDING) {
            bytes.extend_from_slice(&expires.as_millis().to_be_bytes());
        }
        bytes.extend_from_slice(value.map_or(&[], |value| value));
        let sum = checksum(&[place, &bytes[..CHECKSUM_AT], &bytes[EPOCH_AT..]]);
        bytes[CHECKSUM_AT..EPOCH_AT].copy_from_slice(&sum);
        DiskRow(bytes.into_boxed_slice())
    }
}

fn value_at(kind: u8) -> usize {
    if kind == ENDING { MOMENT_AT + MOMENT_BYTES } else { MOMENT_AT }
}

/// When the value of a record ends, damaged or not.
pub(crate) fn moment(bytes: &[u8]) -> Option<Moment> {
    (bytes.first() == Some(&ENDING)).then(|| number(bytes, MOMENT_AT).map(Moment::from_millis)).flatten()
}

/// Reads a record without a look at its checksum: for what never left the memory. None: it is too short, or of no kind.
fn decode(bytes: &[u8]) -> Option<RowRef<'_>> {
    let version = Version { epoch: number(bytes, EPOCH_AT)?, sequence: number(bytes, SEQUENCE_AT)? };
    let kind = *bytes.first().filter(|kind| **kind <= ENDING)?;
    let value = bytes.get(value_at(kind)..)?;
    Some(RowRef { version, value: (kind != TOMBSTONE).then_some(value), expires: moment(bytes) })
}

/// Reads a record. None: it is damaged.
pub(crate) fn verify<'a>(place: &[u8], bytes: &'a [u8]) -> Option<RowRef<'a>> {
    let row = decode(bytes)?;
    let sum = checksum(&[place, &bytes[..CHECKSUM_AT], &bytes[EPOCH_AT..]]);
    (bytes[CHECKSUM_AT..EPOCH_AT] == sum).then_some(row)
}

/// What a record adds to the counts, damaged or not.
pub(crate) fn weight(place: &[u8], bytes: &[u8]) -> Weight {
    let key = place.len().saturating_sub(PLACE_HEAD);
    let kind = bytes.first().copied().unwrap_or(TOMBSTONE);
    Weight { live: kind != TOMBSTONE, bytes: key + bytes.len().saturating_sub(value_at(kind)) }
}

/// A note as it lies on disk.
pub(crate) fn seal_note(name: &[u8], content: &[u8]) -> Box<[u8]> {
    [checksum(&[name, content]).as_slice(), content].concat().into_boxed_slice()
}

/// What a note says. None: it is damaged.
pub(crate) fn open_note<'a>(name: &[u8], bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (sum, content) = bytes.split_first_chunk::<8>()?;
    (*sum == checksum(&[name, content])).then_some(content)
}
