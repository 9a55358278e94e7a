//! What one who compares asks, and what the other answers: the wire types and the answering side.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::arc::{is_point, offset, split};
use super::hash::{Digest, RecordHash};
use crate::id::{Id, Space};
use crate::key::{Key, Version};
use crate::message::Range;

/// An arc with at most so many records is listed instead of cut.
pub(super) const LIST_RECORDS_MAX: u64 = 256;
/// The keys of a list have at most so many bytes together, or it has one record.
const LIST_KEY_BYTES_MAX: usize = 256 * 1024;

/// What a comparison reads of a node's store. A server implements it over its engine and its
/// [`Tree`](super::Tree): whole buckets from the tree, the stretches of [`Parts`](super::Parts) by a scan.
pub trait Source {
    /// The digest of a range.
    fn digest(&self, range: Range) -> Digest;

    /// Visits the records of a range, tombstones included, going up and around from its low end and by key where several
    /// have one identifier, beginning behind `after` (a key of the range, which need not be stored), until the
    /// visitor breaks off.
    fn visit(
        &self,
        range: Range,
        after: Option<&Key>,
        visit: &mut dyn FnMut(&Key, Version, RecordHash) -> ControlFlow<()>,
    );
}

/// "What have you there?"
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Question {
    /// Where.
    pub range: Range,
    /// The next page of a list: the records of the range behind this key. None: the whole range.
    pub after: Option<Key>,
    /// What the asker has in the whole range.
    pub mine: Digest,
}

/// A record without its value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// Its key.
    pub key: Key,
    /// Its version.
    pub version: Version,
    /// Its hash.
    pub hash: RecordHash,
}

/// What the other node has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The same as the asker.
    Same,
    /// Something else: the digests of the parts of the range, as [`split`] cuts it. At most 64.
    Parts(Vec<Digest>),
    /// These records, in the order of a visit.
    Records {
        /// At most 256, and 256 KiB of keys.
        records: Vec<Listed>,
        /// Is there more behind the last one?
        more: bool,
    },
}

/// A question that no node of this ring can have asked: its identifiers are not of the ring, or it wants to go on
/// behind a key that is not in its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
#[error("the range of a comparison, or the key to go on behind, is not of this ring")]
pub struct BadQuestion;

impl Question {
    /// Could a node of this ring have asked it?
    pub fn is_possible(&self, space: Space) -> bool {
        let after = |key: &Key| key.check(space).is_ok() && self.range.contains(key.id(space));
        space.contains(self.range.low)
            && space.contains(self.range.high)
            && self.after.as_ref().is_none_or(after)
    }
}

impl Answer {
    /// Could a node of this ring have answered the question so? What passes leads to smaller questions only.
    pub fn is_possible(&self, space: Space, question: &Question) -> bool {
        match self {
            Answer::Same => question.after.is_none(),
            Answer::Parts(digests) => {
                question.after.is_none()
                    && !is_point(space, question.range)
                    && digests.len() == split(space, question.range).len()
                    && digests.iter().fold(0, |sum: u64, part| sum.saturating_add(part.count))
                        > LIST_RECORDS_MAX
            }
            Answer::Records { records, more } => {
                let known = |listed: &Listed| {
                    listed.key.check(space).is_ok() && question.range.contains(listed.key.id(space))
                };
                let keys = question.after.iter().chain(records.iter().map(|listed| &listed.key));
                let places: Vec<(Id, &Key)> =
                    keys.map(|key| (offset(space, question.range, key.id(space)), key)).collect();
                records.len() as u64 <= LIST_RECORDS_MAX
                    && (!records.is_empty() || !more)
                    && records.iter().all(known)
                    && places.windows(2).all(|pair| pair[0] < pair[1])
            }
        }
    }
}

/// Answers from what is stored here.
///
/// # Errors
/// When the question is not possible on this ring.
pub fn answer(space: Space, question: &Question, source: &dyn Source) -> Result<Answer, BadQuestion> {
    if !question.is_possible(space) {
        return Err(BadQuestion);
    }
    let range = question.range;
    if question.after.is_none() {
        let mine = source.digest(range);
        if mine == question.mine {
            return Ok(Answer::Same);
        }
        if mine.count > LIST_RECORDS_MAX && !is_point(space, range) {
            let parts = split(space, range);
            return Ok(Answer::Parts(parts.into_iter().map(|part| source.digest(part)).collect()));
        }
    }
    Ok(list(range, question.after.as_ref(), source))
}

fn list(range: Range, after: Option<&Key>, source: &dyn Source) -> Answer {
    let mut records: Vec<Listed> = Vec::new();
    let (mut bytes, mut more) = (0, false);
    source.visit(range, after, &mut |key, version, hash| {
        bytes += key.size();
        let full = records.len() as u64 == LIST_RECORDS_MAX || bytes > LIST_KEY_BYTES_MAX;
        if full && !records.is_empty() {
            more = true;
            return ControlFlow::Break(());
        }
        records.push(Listed { key: key.clone(), version, hash });
        ControlFlow::Continue(())
    });
    Answer::Records { records, more }
}
