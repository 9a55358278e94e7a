//! What is stored: keys, versions, records, and the closed list of operations on them.
//!
//! A key is bytes whose place is their SHA-1, or a literal identifier whose place is itself (`@0x2a`, for teaching
//! and for input files that say which value goes under which id). [`Operation`] is everything that a client can ask
//! to be changed; every front end translates to it and none has a write path of its own.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::expiry::{Moment, TTL_DAYS_MAX, Ttl};
use crate::id::{Id, Space};

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 4 * 1024;
/// The longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// The name of a value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// 1 B to 4 KiB of any bytes; placed at their SHA-1.
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A literal identifier; placed at itself.
    Literal(Id),
}

/// A value's bytes: at most 1 MiB.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Value(Vec<u8>);

/// Text for people (bytes that are no text escaped), bytes on the wire.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer).map(|text| Value(text.into_bytes()))
        } else {
            serde_bytes::ByteBuf::deserialize(deserializer).map(|bytes| Value(bytes.into_vec()))
        }
    }
}

impl Value {
    /// The bytes, by value.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Is it one that can be stored?
    ///
    /// # Errors
    /// When it has more than 1 MiB.
    pub fn check(&self) -> Result<(), BadInput> {
        if self.0.len() > VALUE_BYTES_MAX { Err(BadInput::ValueTooLong(self.0.len())) } else { Ok(()) }
    }
}

impl<B: Into<Vec<u8>>> From<B> for Value {
    fn from(bytes: B) -> Value {
        Value(bytes.into())
    }
}

impl std::ops::Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Shows text as itself, other bytes escaped.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_bytes(&self.0, f)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

fn show_bytes(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => f.write_str(text),
        Ok(_) | Err(_) => write!(f, "{}", bytes.escape_ascii()),
    }
}

/// Why a key or value cannot be stored. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum BadInput {
    /// A key of no bytes.
    #[error("the key is empty: a key has 1 to {KEY_BYTES_MAX} bytes")]
    EmptyKey,
    /// A key over 4 KiB.
    #[error("the key has {0} bytes: at most {KEY_BYTES_MAX} are possible")]
    KeyTooLong(usize),
    /// A literal id that the ring does not have.
    #[error("the id {0} is outside this ring of {1} bits")]
    IdOutsideRing(String, u8),
    /// A value over 1 MiB.
    #[error(
        "the value has {0} bytes: at most {VALUE_BYTES_MAX} (1 MiB) are possible; split larger content over several keys"
    )]
    ValueTooLong(usize),
    /// More keys in one request than the frame limit can carry.
    #[error("{0} keys in one request: at most {1} are possible")]
    TooManyKeys(usize, usize),
    /// No time to live, or one that never ends.
    #[error("a time to live is 1 ms to {TTL_DAYS_MAX} days: {0} ms is not")]
    TtlOutOfRange(u64),
    /// A compare-and-swap that removes, with a time to live.
    #[error("only a value has a time to live, and this removes one")]
    TtlWithoutValue,
}

impl Key {
    /// A key of these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Key {
        Key::Bytes(bytes.into())
    }

    /// Reads what a person types: `@0x2a` or `@42` is a literal id, `@@x` is the key `@x`, all else is itself.
    ///
    /// # Errors
    /// When a literal id is not a number or not in the ring.
    pub fn parse(text: &str, space: Space) -> Result<Key, crate::id::IdError> {
        match text.strip_prefix('@') {
            Some(rest) if rest.starts_with('@') => Ok(Key::new(rest)),
            Some(literal) => space.parse(literal).map(Key::Literal),
            None => Ok(Key::new(text)),
        }
    }

    /// Where it is placed.
    pub fn id(&self, space: Space) -> Id {
        match self {
            Key::Bytes(bytes) => space.hash(bytes),
            Key::Literal(id) => *id,
        }
    }

    /// Bytes that it takes on the wire, roughly.
    pub fn size(&self) -> usize {
        match self {
            Key::Bytes(bytes) => bytes.len(),
            Key::Literal(_) => crate::id::ID_BYTES,
        }
    }

    /// Is it possible on this ring?
    ///
    /// # Errors
    /// When it is empty, too long, or a literal id outside the ring.
    pub fn check(&self, space: Space) -> Result<(), BadInput> {
        match self {
            Key::Bytes(bytes) if bytes.is_empty() => Err(BadInput::EmptyKey),
            Key::Bytes(bytes) if bytes.len() > KEY_BYTES_MAX => Err(BadInput::KeyTooLong(bytes.len())),
            Key::Literal(id) if !space.contains(*id) => {
                Err(BadInput::IdOutsideRing(id.to_literal(), space.bits()))
            }
            Key::Bytes(_) | Key::Literal(_) => Ok(()),
        }
    }
}

/// Shows it as a person would type it: text as itself, other bytes escaped, literal ids with `@`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Literal(id) => write!(f, "@{}", id.to_literal()),
            Key::Bytes(bytes) => {
                if bytes.first() == Some(&b'@') {
                    f.write_str("@")?;
                }
                show_bytes(bytes, f)
            }
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// Orders the values of a key: a later write has a higher version.
///
/// The epoch grows whenever a range of keys changes its server, the sequence with every write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Version {
    /// Which term of ownership.
    pub epoch: u64,
    /// Which write within it.
    pub sequence: u64,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.sequence)
    }
}

/// Text for people, as conditions take it; two numbers on the wire.
impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            (self.epoch, self.sequence).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Version, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            return text.parse().map_err(serde::de::Error::custom);
        }
        let (epoch, sequence) = <(u64, u64)>::deserialize(deserializer)?;
        Ok(Version { epoch, sequence })
    }
}

impl std::str::FromStr for Version {
    type Err = String;

    /// Reads what `Display` writes: `3.17`.
    fn from_str(text: &str) -> Result<Version, String> {
        let bad = || format!("{text:?} is not a version: write EPOCH.SEQUENCE, as put and get show it");
        let (epoch, sequence) = text.split_once('.').ok_or_else(bad)?;
        Ok(Version {
            epoch: epoch.parse().map_err(|_| bad())?,
            sequence: sequence.parse().map_err(|_| bad())?,
        })
    }
}

/// A stored value with its version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// When it was written, in the order of the key's writes.
    pub version: Version,
    /// The bytes.
    pub value: Value,
    /// When it ends by itself; none: never.
    pub expires: Option<Moment>,
}

impl Record {
    /// One that does not end by itself.
    pub fn new(version: Version, value: Value) -> Record {
        Record { version, value, expires: None }
    }

    /// How long it still has, by a clock that shows this; none: it does not end by itself. One that has nothing left may
    /// still be there for a moment: it is there until it is ended.
    pub fn remaining(&self, now: Moment) -> Option<Duration> {
        self.expires.map(|expires| expires.since(now))
    }
}

/// A key with what it now holds: a record, or nothing (it was deleted).
pub type Entry = (Key, Option<Record>);

/// What a client can ask to be changed. Decided by the key's owner, in one order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Operation {
    /// Stores the value, whatever was there.
    Put {
        /// What shall be there then.
        value: Value,
        /// For how long; none: for ever. An earlier time to live is over with the value that had it.
        ttl: Option<Ttl>,
    },
    /// Removes the value, if there is one.
    Delete,
    /// Stores the value (none: removes it) only if the key's version is the expected one (none: only if the key is
    /// absent).
    CompareAndSwap {
        /// What must be there now.
        expected: Option<Version>,
        /// What shall be there then.
        value: Option<Value>,
        /// For how long; none: for ever. Not without a value.
        ttl: Option<Ttl>,
    },
}

impl Operation {
    /// Stores a value for ever.
    pub fn put(value: impl Into<Value>) -> Operation {
        Operation::Put { value: value.into(), ttl: None }
    }

    /// Stores a value for ever (none: removes it) if the key has this version (none: is absent).
    pub fn swap(expected: Option<Version>, value: Option<Value>) -> Operation {
        Operation::CompareAndSwap { expected, value, ttl: None }
    }

    /// The value that it would store.
    pub fn value(&self) -> Option<&Value> {
        match self {
            Operation::Put { value, .. } => Some(value),
            Operation::Delete => None,
            Operation::CompareAndSwap { value, .. } => value.as_ref(),
        }
    }

    /// How long the value that it would store lives; none: for ever.
    pub fn ttl(&self) -> Option<Ttl> {
        match self {
            Operation::Put { ttl, .. } | Operation::CompareAndSwap { ttl, .. } => *ttl,
            Operation::Delete => None,
        }
    }

    /// Is it possible?
    ///
    /// # Errors
    /// When the value is too long, or the time to live is none that a value can have.
    pub fn check(&self) -> Result<(), BadInput> {
        self.value().map_or(Ok(()), Value::check)?;
        self.ttl().map_or(Ok(()), Ttl::check)?;
        if self.ttl().is_some() && self.value().is_none() {
            return Err(BadInput::TtlWithoutValue);
        }
        Ok(())
    }
}

/// What became of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// The key now has this version.
    Written(Version),
    /// The key is gone; it had this version (none: it was absent).
    Deleted(Option<Version>),
    /// A compare-and-swap found this version instead (none: the key is absent) and changed nothing.
    Conflict(Option<Version>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_keys_are_shown_as_they_were_typed() {
        let space = Space::default();
        for text in ["12", "a b", "@0x2a", "@@home", "ключ"] {
            assert_eq!(Key::parse(text, space).unwrap().to_string(), text);
        }
        assert_eq!(Key::parse("@42", space).unwrap(), Key::parse("@0x2A", space).unwrap(), "one id, one key");
        assert_ne!(Key::parse("@@0x2a", space).unwrap(), Key::parse("@0x2a", space).unwrap());
        assert_eq!(Key::new([0xff, b'a', 0]).to_string(), "\\xffa\\x00");
    }

    #[test]
    fn limits_are_named() {
        let space = Space::new(3).unwrap();
        assert_eq!(Key::new("").check(space), Err(BadInput::EmptyKey));
        assert_eq!(Key::new(vec![0; 4096]).check(space), Ok(()));
        assert_eq!(Key::new(vec![0; 5000]).check(space), Err(BadInput::KeyTooLong(5000)));
        assert!(Key::Literal(Id::from_u128(8)).check(space).is_err());
        assert_eq!(Value::from(vec![0; VALUE_BYTES_MAX]).check(), Ok(()));
        assert!(Value::from(vec![0; VALUE_BYTES_MAX + 1]).check().is_err());
    }

    #[test]
    fn only_a_value_can_live_for_a_while() {
        let ttl =
            |millis: u64| postcard::from_bytes::<Ttl>(&postcard::to_allocvec(&millis).unwrap()).unwrap();
        let put = |ttl| Operation::Put { value: Value::from("x"), ttl };
        assert_eq!(put(None).check(), Ok(()));
        assert_eq!(put(Some(ttl(1))).check(), Ok(()));
        assert_eq!(put(Some(ttl(0))).check(), Err(BadInput::TtlOutOfRange(0)), "the wire can carry anything");
        assert!(put(Some(ttl(u64::MAX))).check().unwrap_err().to_string().contains("1 ms to 36500 days"));
        let removes = Operation::CompareAndSwap { expected: None, value: None, ttl: Some(ttl(5)) };
        assert_eq!(removes.check(), Err(BadInput::TtlWithoutValue));
        assert!(Operation::put(vec![0; VALUE_BYTES_MAX + 1]).check().is_err());
    }

    #[test]
    fn versions_read_back() {
        let version = Version { epoch: 3, sequence: 17 };
        assert_eq!(version.to_string().parse(), Ok(version));
        assert!("3".parse::<Version>().is_err());
    }
}
