//! One operation of a history: who asked for what, from when to when, and what it is known to have done.
//!
//! An operation whose answer never came is [`Outcome::Unknown`], never "it did not happen": it may take effect at any
//! moment after it was invoked, also long after its client gave up. Only a certain refusal is [`Outcome::NotDone`].

use std::fmt;

use chordata_protocol::{Key, Record, Value, Version};

/// Characters of a value that are printed.
const VALUE_SHOWN_MAX: usize = 40;

/// One operation on one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Its place in the history, from 0: what failures name it by.
    pub number: usize,
    /// Who asked.
    pub client: u64,
    /// About which key.
    pub key: Key,
    /// What was asked.
    pub kind: Kind,
    /// When, in microseconds of the caller's clock.
    pub invoked: u64,
    /// When the client knew the outcome or gave up, in microseconds; none: never.
    pub returned: Option<u64>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What can be asked. Values are unique among everything that writes to one key, so a value names its write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Stores the value.
    Put(Value),
    /// Reads.
    Get,
    /// Removes what is there.
    Delete,
    /// Stores the value (none: removes it) if the key's version is the expected one (none: if the key is absent).
    CompareAndSwap {
        /// What must be there.
        expected: Option<Version>,
        /// What shall be there then.
        value: Option<Value>,
    },
}

/// What is known of an operation's effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It took effect between its invocation and its return, and answered this.
    Done(Answer),
    /// It had no effect and never will.
    NotDone,
    /// It may have taken effect, may yet, or may never.
    Unknown,
}

/// What a finished operation answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A put or a compare-and-swap wrote its value under this version.
    Written(Version),
    /// A delete, or a compare-and-swap to nothing, was ordered at this version.
    Deleted {
        /// The position that it took in the order of writes.
        version: Version,
        /// Was there something? If not, the deletion changed nothing and is taken as an answer "absent as of".
        existed: bool,
    },
    /// A get found this.
    Found(Record),
    /// A get found nothing.
    Absent {
        /// Every write of the key up to this version had happened, and the last of them was a delete, or there
        /// was none.
        as_of: Version,
    },
    /// A compare-and-swap found another version than the expected one, and changed nothing.
    Conflict(Seen),
}

/// What a failed compare-and-swap found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// A value of this version.
    Version(Version),
    /// Nothing.
    Absent {
        /// As in [`Answer::Absent`].
        as_of: Version,
    },
}

/// What an operation that is done did to its key or learned of it, in the terms of the version order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role<'a> {
    /// It made the key hold its value, under this version.
    Writes(Version),
    /// It made the key absent, at this version.
    Deletes(Version),
    /// It saw a value of this version (a failed compare-and-swap sees the version alone).
    Sees(Version, Option<&'a Value>),
    /// It saw that the key was absent as of this version.
    Misses(Version),
}

/// What a client asks of the real store, as a history notes it.
impl From<chordata_protocol::Operation> for Kind {
    fn from(operation: chordata_protocol::Operation) -> Kind {
        match operation {
            chordata_protocol::Operation::Put { value, .. } => Kind::Put(value),
            chordata_protocol::Operation::Delete => Kind::Delete,
            chordata_protocol::Operation::CompareAndSwap { expected, value, .. } => {
                Kind::CompareAndSwap { expected, value }
            }
        }
    }
}

impl Operation {
    /// The value that it would store.
    pub fn value(&self) -> Option<&Value> {
        match &self.kind {
            Kind::Put(value) => Some(value),
            Kind::CompareAndSwap { value, .. } => value.as_ref(),
            Kind::Get | Kind::Delete => None,
        }
    }

    /// Would it remove what is there?
    pub fn is_removal(&self) -> bool {
        matches!(self.kind, Kind::Delete | Kind::CompareAndSwap { value: None, .. })
    }

    /// The answer, if it is done.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Done(answer) => Some(answer),
            Outcome::NotDone | Outcome::Unknown => None,
        }
    }

    /// When its effect had certainly happened, in microseconds; none: there is no such moment.
    pub(super) fn end(&self) -> Option<u64> {
        self.answer().and(self.returned)
    }

    /// Its role in the order, if it is done.
    pub(super) fn role(&self) -> Option<Role<'_>> {
        Some(match self.answer()? {
            Answer::Written(version) => Role::Writes(*version),
            Answer::Deleted { version, existed: true } => Role::Deletes(*version),
            Answer::Deleted { version, existed: false } => Role::Misses(*version),
            Answer::Found(record) => Role::Sees(record.version, Some(&record.value)),
            Answer::Conflict(Seen::Version(version)) => Role::Sees(*version, None),
            Answer::Absent { as_of } | Answer::Conflict(Seen::Absent { as_of }) => Role::Misses(*as_of),
        })
    }

    /// Can an operation of this kind have answered so, at this time?
    ///
    /// # Errors
    /// What contradicts itself.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.returned.is_some_and(|returned| returned < self.invoked) {
            return Err(format!("{self} returned before it was invoked"));
        }
        let Some(answer) = self.answer() else { return Ok(()) };
        if self.returned.is_none() {
            return Err(format!("{self} is done and never returned"));
        }
        let possible = match (&self.kind, answer) {
            (Kind::Put(_), Answer::Written(_))
            | (Kind::Get, Answer::Found(_) | Answer::Absent { .. })
            | (Kind::Delete, Answer::Deleted { .. })
            | (Kind::CompareAndSwap { value: Some(_), .. }, Answer::Written(_)) => true,
            (Kind::CompareAndSwap { expected, value: None }, Answer::Deleted { existed, .. }) => {
                *existed == expected.is_some()
            }
            (Kind::CompareAndSwap { expected, .. }, Answer::Conflict(seen)) => match seen {
                Seen::Version(version) => *expected != Some(*version),
                Seen::Absent { .. } => expected.is_some(),
            },
            _ => false,
        };
        if possible { Ok(()) } else { Err(format!("{self} contradicts itself")) }
    }
}

/// A value as far as a person wants to read it.
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= VALUE_SHOWN_MAX {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(VALUE_SHOWN_MAX).collect();
    format!("{start:?}... ({} bytes)", value.len())
}

/// What was asked: `put "x"`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let swapped = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".into(), shown);
        match self {
            Kind::Put(value) => write!(f, "put {}", shown(value)),
            Kind::Get => f.write_str("get"),
            Kind::Delete => f.write_str("delete"),
            Kind::CompareAndSwap { expected: Some(version), value } => {
                write!(f, "swap {version} for {}", swapped(value))
            }
            Kind::CompareAndSwap { expected: None, value } => write!(f, "swap absent for {}", swapped(value)),
        }
    }
}

/// What came of it: `written 1.4`, `unknown`.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::NotDone => f.write_str("not done"),
            Outcome::Unknown => f.write_str("unknown"),
            Outcome::Done(Answer::Written(version)) => write!(f, "written {version}"),
            Outcome::Done(Answer::Deleted { version, existed: true }) => write!(f, "deleted {version}"),
            Outcome::Done(Answer::Deleted { version, existed: false }) => {
                write!(f, "deleted nothing {version}")
            }
            Outcome::Done(Answer::Found(record)) => {
                write!(f, "found {} {}", record.version, shown(&record.value))
            }
            Outcome::Done(Answer::Absent { as_of }) => write!(f, "absent as of {as_of}"),
            Outcome::Done(Answer::Conflict(Seen::Version(version))) => write!(f, "conflict with {version}"),
            Outcome::Done(Answer::Conflict(Seen::Absent { as_of })) => {
                write!(f, "conflict, absent as of {as_of}")
            }
        }
    }
}

/// As sentences name it: `#7 (put "x" -> written 1.4)`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} ({} -> {})", self.number, self.kind, self.outcome)
    }
}
