//! How a record lies on disk: whether it has a value (1 byte), checksum (8), epoch (8), sequence (8), value.
//!
//! The checksum (CRC-64/NVME) is over the place, and over all of the record but itself: a record that was damaged, and
//! one that got under another key, are both found. Notes have a checksum in front, over name and content.

use chordata_protocol::{Value, Version};
use crc_fast::{CrcAlgorithm, Digest};

use crate::engine::{Mark, Stored, Weight};

const CHECKSUM_AT: usize = 1;
const EPOCH_AT: usize = 9;
const SEQUENCE_AT: usize = 17;
const VALUE_AT: usize = 25;
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
}

impl RowRef<'_> {
    pub(crate) fn stored(&self) -> Stored {
        Stored { version: self.version, value: self.value.map(Value::from) }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { version: self.version, live: self.value.is_some() }
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
    pub(crate) fn new(place: &[u8], version: Version, value: Option<&Value>) -> DiskRow {
        let mut bytes = Vec::with_capacity(VALUE_AT + value.map_or(0, |value| value.len()));
        bytes.push(u8::from(value.is_some()));
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&version.epoch.to_be_bytes());
        bytes.extend_from_slice(&version.sequence.to_be_bytes());
        bytes.extend_from_slice(value.map_or(&[], |value| value));
        let sum = checksum(&[place, &bytes[..CHECKSUM_AT], &bytes[EPOCH_AT..]]);
        bytes[CHECKSUM_AT..EPOCH_AT].copy_from_slice(&sum);
        DiskRow(bytes.into_boxed_slice())
    }
}

/// Reads a record without a look at its checksum: for what never left the memory. None: it is too short.
fn decode(bytes: &[u8]) -> Option<RowRef<'_>> {
    let version = Version { epoch: number(bytes, EPOCH_AT)?, sequence: number(bytes, SEQUENCE_AT)? };
    let value = bytes.get(VALUE_AT..)?;
    Some(RowRef { version, value: (bytes.first() == Some(&1)).then_some(value) })
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
    Weight { live: bytes.first() == Some(&1), bytes: key + bytes.len().saturating_sub(VALUE_AT) }
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
