//! What an entry says: of the file, and of the uploads under way. JSON, so that `chordata get .chordata/file/NAME` shows
//! it; checked when it is read, since anybody can write any key.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chordata_protocol::Value;
use chordata_protocol::key::VALUE_BYTES_MAX;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::failure::Failure;
use crate::name::{FileName, Kind, PieceName, UploadId};
use crate::range;

/// How entries are written. A higher number: by a newer program.
const FORMAT: u32 = 1;
/// Parts that a manifest has room for.
const PARTS_MAX: usize = 12_000;
/// Uploads of one name under way.
pub(crate) const UPLOADS_MAX: usize = 64;
/// The longest content type, in bytes.
pub const CONTENT_TYPE_BYTES_MAX: usize = 256;

/// A BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Bytes that it has.
    pub const BYTES: usize = 32;

    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Hash {
        Hash(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Hash {
    type Err = String;

    fn from_str(text: &str) -> Result<Hash, String> {
        let hashes = Hashes::from_hex(text).filter(|hashes| hashes.len() == 1);
        let hash = hashes.and_then(|hashes| hashes.get(0));
        hash.ok_or_else(|| format!("{text:?} is no hash: it has 64 hexadecimal digits"))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Hashes one behind the other, in one piece of memory; in JSON one string of digits.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Hashes(Vec<u8>);

impl Hashes {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len() / Hash::BYTES
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of them.
    pub fn get(&self, index: usize) -> Option<Hash> {
        let bytes = self.0.get(index * Hash::BYTES..(index + 1) * Hash::BYTES)?;
        bytes.try_into().ok().map(Hash)
    }

    /// One more.
    pub fn push(&mut self, hash: Hash) {
        self.0.extend_from_slice(&hash.0);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Hash> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// In runs of so many: the contents of parts.
    pub fn runs(&self, count: usize) -> impl Iterator<Item = &[u8]> {
        self.0.chunks(count.max(1) * Hash::BYTES)
    }

    /// Of the content of a part. None: it is none.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Hashes> {
        bytes.len().is_multiple_of(Hash::BYTES).then_some(Hashes(bytes))
    }

    fn from_hex(text: &str) -> Option<Hashes> {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> =
            pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
        bytes.filter(|_| rest.is_empty()).and_then(Hashes::from_bytes)
    }
}

impl fmt::Debug for Hashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Hashes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
        let text: String = self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Hashes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hashes, D::Error> {
        let text = String::deserialize(deserializer)?;
        Hashes::from_hex(&text).ok_or_else(|| serde::de::Error::custom("these are no hashes"))
    }
}

/// The hashes of the chunks, or of the parts of their list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum List {
    /// Of each chunk.
    Chunks(Hashes),
    /// Of each part; each has so many hashes of chunks, the last one perhaps less.
    Parts {
        /// Hashes in a part.
        chunks: u32,
        /// Of each part.
        hashes: Hashes,
    },
}

/// A file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The upload that its pieces belong to.
    pub upload: UploadId,
    /// Bytes of content.
    pub size: u64,
    /// Of the whole content.
    pub hash: Hash,
    /// When it was put, in milliseconds since 1970.
    pub modified: u64,
    /// What its writer said that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Bytes of each chunk but the last.
    pub chunk_bytes: u32,
    /// How its chunks are verified.
    pub list: List,
}

/// An upload under way, or one that was given up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pending {
    /// Which one.
    pub upload: UploadId,
    /// What it reads; none: a stream, which cannot be resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Fingerprint>,
}

/// By what a source is known again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Its size.
    pub size: u64,
    /// When it was written last, in nanoseconds since 1970.
    pub modified: u64,
    /// Of its first chunk.
    pub first: Hash,
    /// Bytes of each chunk but the last.
    pub chunk_bytes: u32,
}

/// What is under a file's name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    format: u32,
    /// The file; none: there is none, only uploads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Manifest>,
    /// Uploads that may still be committed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uploads: Vec<Pending>,
}

impl Default for Entry {
    fn default() -> Entry {
        Entry { format: FORMAT, file: None, uploads: Vec::new() }
    }
}

impl Entry {
    /// With this file, and these uploads under way.
    pub fn new(file: Option<Manifest>, uploads: Vec<Pending>) -> Entry {
        Entry { file, uploads, ..Entry::default() }
    }

    /// As it is stored.
    ///
    /// # Errors
    /// When it would be longer than a value may be.
    pub fn to_value(&self) -> Result<Value, Failure> {
        let bytes = serde_json::to_vec(self).map_err(|error| Failure::Local(error.to_string()))?;
        if bytes.len() > VALUE_BYTES_MAX {
            return Err(Failure::NotSupported("the entry of the file is too long for a value".to_owned()));
        }
        Ok(Value::from(bytes))
    }

    /// What was stored under the name.
    ///
    /// # Errors
    /// When it is no entry, or a newer program's.
    pub fn of_value(name: &FileName, value: &[u8]) -> Result<Entry, Failure> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let bad = |reason: String| Failure::BadEntry { name: name.clone(), reason };
        let Format { format } = serde_json::from_slice(value).map_err(|error| bad(error.to_string()))?;
        if format != FORMAT {
            return Err(bad(format!("it has format {format}, this program knows {FORMAT}")));
        }
        let entry: Entry = serde_json::from_slice(value).map_err(|error| bad(error.to_string()))?;
        entry.file.iter().try_for_each(Manifest::check).map_err(bad)?;
        Ok(entry)
    }

    /// Is this upload on the list?
    pub fn lists(&self, upload: UploadId) -> bool {
        self.uploads.iter().any(|pending| pending.upload == upload)
    }
}

impl Manifest {
    fn check(&self) -> Result<(), String> {
        if self.chunk_bytes == 0 || self.chunk_bytes as usize > VALUE_BYTES_MAX {
            return Err(format!("its chunks have {} bytes", self.chunk_bytes));
        }
        let (count, said) = match &self.list {
            List::Chunks(hashes) => (self.chunks(), hashes.len()),
            List::Parts { chunks: 0, .. } => return Err("its parts have no chunks".to_owned()),
            List::Parts { chunks, hashes } => (self.chunks().div_ceil(u64::from(*chunks)), hashes.len()),
        };
        if count == said as u64 && u32::try_from(self.chunks()).is_ok() {
            Ok(())
        } else {
            Err(format!("its size needs {count} hashes, and it has {said}"))
        }
    }

    /// How many chunks it has.
    pub fn chunks(&self) -> u64 {
        range::chunks(self.size, self.chunk_bytes as usize)
    }

    /// Bytes of a chunk.
    pub fn chunk_len(&self, index: u32) -> usize {
        range::chunk_len(self.size, self.chunk_bytes as usize, u64::from(index))
    }

    /// Where the hash of a chunk is: in which part, if it is in one, and at which place there.
    pub(crate) fn place_of(&self, index: u32) -> (Option<u32>, usize) {
        match &self.list {
            List::Chunks(_) => (None, index as usize),
            List::Parts { chunks, .. } => (Some(index / chunks), (index % chunks) as usize),
        }
    }

    /// The names of its parts, with their hashes and lengths.
    pub(crate) fn parts(&self, name: &FileName) -> Vec<(PieceName, Hash, usize)> {
        let List::Parts { chunks, hashes } = &self.list else { return Vec::new() };
        let all = (0..).zip(hashes.iter());
        let part = |(index, hash): (u32, Hash)| {
            let first = u64::from(index) * u64::from(*chunks);
            let count = (self.chunks() - first).min(u64::from(*chunks));
            let bytes = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(Hash::BYTES);
            (PieceName::new(name, self.upload, Kind::Part, index, &hash), hash, bytes)
        };
        all.map(part).collect()
    }

    /// What people are told of it.
    pub fn info(&self, name: &FileName) -> Info {
        Info {
            name: name.clone(),
            size: self.size,
            hash: self.hash,
            modified: self.modified,
            content_type: self.content_type.clone(),
            chunks: self.chunks(),
            upload: self.upload,
        }
    }
}

/// How the hashes of so many chunks are kept: the list, and the contents of its parts.
///
/// # Errors
/// When there are too many.
pub(crate) fn listed(
    hashes: Hashes,
    inline_max: usize,
    part_chunks: usize,
) -> Result<(List, Vec<Vec<u8>>), Failure> {
    if hashes.len() <= inline_max {
        return Ok((List::Chunks(hashes), Vec::new()));
    }
    if hashes.len() > chunks_max(part_chunks) {
        return Err(Failure::TooLarge(chunks_max(part_chunks) as u64));
    }
    let contents: Vec<Vec<u8>> = hashes.runs(part_chunks).map(<[u8]>::to_vec).collect();
    let mut parts = Hashes::default();
    contents.iter().for_each(|content| parts.push(Hash::of(content)));
    let chunks = u32::try_from(part_chunks).map_err(|_| Failure::TooLarge(u64::from(u32::MAX)))?;
    Ok((List::Parts { chunks, hashes: parts }, contents))
}

/// Chunks of the largest file.
pub(crate) fn chunks_max(part_chunks: usize) -> usize {
    PARTS_MAX.saturating_mul(part_chunks).min(u32::MAX as usize)
}

/// What people are told of a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Info {
    /// Its name.
    pub name: FileName,
    /// Bytes of content.
    pub size: u64,
    /// The BLAKE3 of the content.
    pub hash: Hash,
    /// When it was put, in milliseconds since 1970.
    pub modified: u64,
    /// What its writer said that it is.
    pub content_type: Option<String>,
    /// How many chunks it has.
    pub chunks: u64,
    /// The upload that made it.
    pub upload: UploadId,
}

impl Info {
    /// When it was put.
    pub fn modified_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.modified)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hashes(count: usize) -> Hashes {
        let mut hashes = Hashes::default();
        (0..count).for_each(|number| hashes.push(Hash::of(&number.to_le_bytes())));
        hashes
    }

    fn manifest(size: u64, chunk_bytes: u32, inline_max: usize, part_chunks: usize) -> Manifest {
        let count = range::chunks(size, chunk_bytes as usize);
        let (list, _) = listed(hashes(usize::try_from(count).unwrap()), inline_max, part_chunks).unwrap();
        Manifest {
            upload: UploadId::new().unwrap(),
            size,
            hash: Hash::of(b"all"),
            modified: 7,
            content_type: None,
            chunk_bytes,
            list,
        }
    }

    #[test]
    fn the_largest_manifest_fits_a_value_with_all_uploads_that_may_be_listed() {
        let size = chunks_max(8192) as u64 * VALUE_BYTES_MAX as u64;
        assert!(size > 80 << 40, "{size}");
        let pending = |_| Pending {
            upload: UploadId::new().unwrap(),
            source: Some(Fingerprint {
                size,
                modified: u64::MAX,
                first: Hash::of(b"first"),
                chunk_bytes: u32::MAX,
            }),
        };
        let file = Manifest {
            content_type: Some("x".repeat(CONTENT_TYPE_BYTES_MAX)),
            list: List::Parts { chunks: 8192, hashes: hashes(PARTS_MAX) },
            ..manifest(0, 1 << 20, 256, 8192)
        };
        let file = Manifest { size, ..file };
        let entry =
            Entry { file: Some(file), uploads: (0..UPLOADS_MAX).map(pending).collect(), ..Entry::default() };
        let value = entry.to_value().unwrap();
        let name = FileName::new("large").unwrap();
        assert_eq!(Entry::of_value(&name, &value).unwrap(), entry);
    }

    #[test]
    fn what_is_no_entry_is_refused_with_the_reason() {
        let name = FileName::new("x").unwrap();
        let reason = |bytes: &[u8]| match Entry::of_value(&name, bytes) {
            Err(Failure::BadEntry { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert!(reason(b"hello").contains("expected"));
        assert!(reason(br#"{"format":9}"#).contains("format 9"));
        let entry = Entry { file: Some(manifest(10, 4, 8, 8)), ..Entry::default() };
        let text = String::from_utf8(entry.to_value().unwrap().into_bytes()).unwrap();
        assert!(reason(text.replace("\"size\":10", "\"size\":13").as_bytes()).contains("needs 4 hashes"));
        assert!(
            reason(text.replace("\"chunk_bytes\":4", "\"chunk_bytes\":0").as_bytes()).contains("0 bytes")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_entry_or_an_error(bytes: Vec<u8>) {
            let _ = Entry::of_value(&FileName::new("x").unwrap(), &bytes);
        }

        #[test]
        fn entries_are_read_as_they_were_written(
            size in 0u64..5000, chunk_bytes in 1u32..64, inline_max in 0usize..20, part_chunks in 1usize..20,
        ) {
            let manifest = manifest(size, chunk_bytes, inline_max, part_chunks);
            let name = FileName::new("any").unwrap();
            let entry = Entry { file: Some(manifest.clone()), ..Entry::default() };
            prop_assert_eq!(&Entry::of_value(&name, &entry.to_value().unwrap()).unwrap(), &entry);
            let in_parts: usize = manifest.parts(&name).iter().map(|(_, _, bytes)| bytes / Hash::BYTES).sum();
            match manifest.list {
                List::Chunks(hashes) => prop_assert_eq!(hashes.len() as u64, entry.file.unwrap().chunks()),
                List::Parts { .. } => prop_assert_eq!(in_parts as u64, entry.file.unwrap().chunks()),
            }
        }
    }
}
