//! Values that end by themselves: how long one lives ([`Ttl`]), and the moment at which it ends ([`Moment`]).
//!
//! # Who decides
//!
//! A client says how long, relative to when its write is decided; the node that decides the write turns that into a
//! moment, by its own wall clock, once. The moment is a part of the record from then on, wherever that goes, and a
//! retry finds the write that was decided and not a later moment. The clock itself is never read here: it is an argument.
//!
//! | mode | turns the time to live into a moment | ends the value |
//! |---|---|---|
//! | chain | the head | the head: by a delete in the log, only of that version ([`chain`](crate::chain)) |
//! | eventual | the node that gives the stamp | every replica: from the moment on the record *is* a tombstone ([`eventual`](crate::eventual)) |
//! | single | the owner | the owner |
//!
//! In chain and single mode everybody sees a value until it is ended, and nobody afterwards: what a reader sees hangs on
//! one order of writes and not on clocks. How early or late it is ended hangs on clocks: by no more than those of
//! the nodes that decided the write and its end differ.

use std::fmt;
use std::ops::Add;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::key::{BadInput, Key};

/// The longest time to live, in days: a hundred years of 365.
pub const TTL_DAYS_MAX: u64 = 100 * 365;
const TTL_MS_MAX: u64 = TTL_DAYS_MAX * 86_400_000;

/// A moment of the time of day: milliseconds since the beginning of 1970, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Moment(u64);

impl Moment {
    /// So many milliseconds after the beginning of 1970.
    pub const fn from_millis(millis: u64) -> Moment {
        Moment(millis)
    }

    /// Milliseconds since the beginning of 1970.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long after `earlier`; nothing if it is not after it.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Ttl> for Moment {
    type Output = Moment;

    fn add(self, ttl: Ttl) -> Moment {
        Moment(self.0.saturating_add(ttl.0))
    }
}

/// How long a value lives: 1 ms to a hundred years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Ttl(u64);

impl Ttl {
    /// So many milliseconds.
    ///
    /// # Errors
    /// When it is none, or longer than a hundred years.
    pub fn from_millis(millis: u64) -> Result<Ttl, BadInput> {
        let ttl = Ttl(millis);
        ttl.check().map(|()| ttl)
    }

    /// As long as this; what is left of a millisecond counts as one.
    ///
    /// # Errors
    /// As [`Ttl::from_millis`].
    pub fn new(duration: Duration) -> Result<Ttl, BadInput> {
        Ttl::from_millis(u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }

    /// In milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Is it one? What came over the wire may be none.
    ///
    /// # Errors
    /// When it is nothing, or longer than a hundred years.
    pub fn check(self) -> Result<(), BadInput> {
        if (1..=TTL_MS_MAX).contains(&self.0) { Ok(()) } else { Err(BadInput::TtlOutOfRange(self.0)) }
    }
}

impl TryFrom<Duration> for Ttl {
    type Error = BadInput;

    fn try_from(duration: Duration) -> Result<Ttl, BadInput> {
        Ttl::new(duration)
    }
}

/// Units of a typed time to live, in milliseconds.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl FromStr for Ttl {
    type Err = String;

    /// Reads what people type: a number with `ms`, `s`, `m`, `h` or `d`.
    fn from_str(text: &str) -> Result<Ttl, String> {
        let bad = || {
            format!("{text:?} is no time to live: write a number and a unit, as in 500ms, 30s, 5m, 2h or 7d")
        };
        let digits = text.find(|sign: char| !sign.is_ascii_digit()).ok_or_else(bad)?;
        let (number, unit) = text.split_at(digits);
        let (_, factor) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
        let number: u64 = number.parse().map_err(|_| bad())?;
        Ttl::from_millis(number.saturating_mul(factor)).map_err(|error| error.to_string())
    }
}

/// As it would be typed, in the largest unit that needs no fraction.
impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.into_iter().rev().find(|(_, factor)| self.0.is_multiple_of(*factor));
        let (unit, factor) = whole.unwrap_or(UNITS[0]);
        write!(f, "{}{unit}", self.0 / factor)
    }
}

/// That what a key holds ends at a moment. Ordered by the moment: the earliest comes first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ending {
    /// When.
    pub at: Moment,
    /// The key's place.
    pub id: Id,
    /// The key.
    pub key: Key,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_shown_the_same_way() {
        for text in ["1ms", "500ms", "30s", "90m", "2h", "7d", "36500d"] {
            assert_eq!(text.parse::<Ttl>().unwrap().to_string(), text);
        }
        assert_eq!("60s".parse::<Ttl>().unwrap().to_string(), "1m");
        assert_eq!("1500ms".parse::<Ttl>().unwrap().as_millis(), 1500);
        for text in ["", "30", "s", "-1s", "1.5s", "1w", "1 s", "99999999999999999999s"] {
            assert!(text.parse::<Ttl>().unwrap_err().contains("is no time to live"), "{text}");
        }
        for text in ["0s", "36501d", "18446744073709551615h"] {
            assert!(text.parse::<Ttl>().unwrap_err().contains("a time to live is"), "{text}");
        }
    }

    #[test]
    fn a_part_of_a_millisecond_is_one_and_nothing_is_refused() {
        assert_eq!(Ttl::new(Duration::from_micros(1)).unwrap().as_millis(), 1);
        assert_eq!(Ttl::new(Duration::from_micros(2001)).unwrap().as_millis(), 3);
        assert_eq!(Ttl::new(Duration::ZERO), Err(BadInput::TtlOutOfRange(0)));
        assert!(Ttl::new(Duration::MAX).is_err());
    }

    #[test]
    fn a_moment_is_never_behind_the_end_of_time() {
        let ttl = Ttl::from_millis(10).unwrap();
        assert_eq!(Moment::from_millis(5) + ttl, Moment::from_millis(15));
        assert_eq!(Moment::from_millis(u64::MAX) + ttl, Moment::from_millis(u64::MAX));
        assert_eq!(Moment::from_millis(5).since(Moment::from_millis(9)), Duration::ZERO);
    }
}
