//! A key with what it holds in one piece of memory, for the engine that keeps everything there.
//!
//! Layout: length of the tagged key and whether a value and a moment follow (2 bytes), epoch and sequence (8 bytes each),
//! the tagged key, the moment at which the value ends (8 bytes, only where there is one), the value. A million keys are a million pieces: what a piece costs beside its content is what counts.

use chordata_protocol::key::KEY_BYTES_MAX;
use chordata_protocol::{Key, Moment, Value, Version};

use crate::engine::{Mark, Stored, Weight};
use crate::row;

const LENGTH_AT: usize = 0;
const EPOCH_AT: usize = 2;
const SEQUENCE_AT: usize = 10;
const KEY_AT: usize = 18;
/// Set in the length: there is a value.
const LIVE: u16 = 1 << 15;
/// Set in the length: the value ends at a moment.
const ENDS: u16 = 1 << 14;
const MOMENT_BYTES: usize = 8;

const _: () =
    assert!(KEY_BYTES_MAX + 1 < ENDS as usize, "the length of a key and the marks have room in 16 bits");

/// A row: tagged key, version, value or tombstone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Packed(Box<[u8]>);

impl Packed {
    /// The key must not be longer than keys can be.
    pub(crate) fn new(key: &Key, version: Version, value: Option<&Value>, expires: Option<Moment>) -> Packed {
        let (tag, key) = row::tagged(key);
        let expires = expires.filter(|_| value.is_some());
        let rest = value.map_or(0, |value| value.len()) + expires.map_or(0, |_| MOMENT_BYTES);
        let mut bytes = Vec::with_capacity(KEY_AT + 1 + key.len() + rest);
        let length = u16::try_from(key.len() + 1).expect("keys were checked when they came in");
        let live = if value.is_some() { LIVE } else { 0 };
        let ends = if expires.is_some() { ENDS } else { 0 };
        bytes.extend_from_slice(&(length | live | ends).to_le_bytes());
        bytes.extend_from_slice(&version.epoch.to_le_bytes());
        bytes.extend_from_slice(&version.sequence.to_le_bytes());
        bytes.push(tag);
        bytes.extend_from_slice(key);
        if let Some(expires) = expires {
            bytes.extend_from_slice(&expires.as_millis().to_le_bytes());
        }
        bytes.extend_from_slice(value.map_or(&[], |value| value));
        Packed(bytes.into_boxed_slice())
    }

    fn number<const BYTES: usize>(&self, at: usize) -> [u8; BYTES] {
        let mut number = [0; BYTES];
        number.copy_from_slice(&self.0[at..at + BYTES]);
        number
    }

    fn length(&self) -> u16 {
        u16::from_le_bytes(self.number(LENGTH_AT))
    }

    fn key_end(&self) -> usize {
        KEY_AT + usize::from(self.length() & !(LIVE | ENDS))
    }

    fn value_at(&self) -> usize {
        self.key_end() + if self.length() & ENDS == 0 { 0 } else { MOMENT_BYTES }
    }

    /// When the value ends by itself.
    pub(crate) fn expires(&self) -> Option<Moment> {
        (self.length() & ENDS != 0)
            .then(|| Moment::from_millis(u64::from_le_bytes(self.number(self.key_end()))))
    }

    /// The key with its tag.
    pub(crate) fn key(&self) -> &[u8] {
        &self.0[KEY_AT..self.key_end()]
    }

    pub(crate) fn is_of(&self, key: &Key) -> bool {
        let (tag, bytes) = row::tagged(key);
        self.key().split_first() == Some((&tag, bytes))
    }

    pub(crate) fn version(&self) -> Version {
        let epoch = u64::from_le_bytes(self.number(EPOCH_AT));
        let sequence = u64::from_le_bytes(self.number(SEQUENCE_AT));
        Version { epoch, sequence }
    }

    pub(crate) fn value(&self) -> Option<&[u8]> {
        (self.length() & LIVE != 0).then(|| &self.0[self.value_at()..])
    }

    pub(crate) fn stored(&self) -> Stored {
        Stored { version: self.version(), value: self.value().map(Value::from), expires: self.expires() }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { version: self.version(), live: self.value().is_some(), expires: self.expires() }
    }

    pub(crate) fn weight(&self) -> Weight {
        // All but the head, the key's tag and the moment.
        let value = self.0.len() - self.value_at();
        Weight { live: self.value().is_some(), bytes: self.key_end() - KEY_AT - 1 + value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_takes_eight_bytes_and_none_takes_nothing() {
        let (key, value) = (Key::new(vec![7; KEY_BYTES_MAX]), Value::from("value"));
        let bytes = |expires| Packed::new(&key, Version::default(), Some(&value), expires).0.len();
        assert_eq!(bytes(None), KEY_AT + 1 + KEY_BYTES_MAX + value.len());
        assert_eq!(bytes(Some(Moment::from_millis(9))), bytes(None) + MOMENT_BYTES);
        let packed = Packed::new(&key, Version::default(), Some(&value), Some(Moment::from_millis(9)));
        assert_eq!(
            packed.weight().bytes,
            KEY_BYTES_MAX + value.len(),
            "what it takes to say so is not counted"
        );
        assert!(packed.is_of(&key));
    }
}
