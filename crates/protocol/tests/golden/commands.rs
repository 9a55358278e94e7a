//! The commands of scripts.

use std::str::FromStr;
use std::time::Duration;

use chordata_protocol::ring::Timer;
use chordata_protocol::{Address, Id, Key, Placement, Policy};

/// A node, by its address: `n8` has the id 8.
#[derive(Clone, Debug)]
pub(crate) struct Name(pub(crate) Address);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Name, String> {
        Ok(Name(Address::new(text)))
    }
}

/// A duration: `500ms`, `3s`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let bad = |_| format!("{text:?} is no duration: write 500ms or 3s");
        match text.strip_suffix("ms") {
            Some(digits) => Ok(Span(Duration::from_millis(digits.parse().map_err(bad)?))),
            None => {
                let digits = text.strip_suffix('s').unwrap_or_default();
                Ok(Span(Duration::from_secs(digits.parse().map_err(bad)?)))
            }
        }
    }
}

/// A timer of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimerName(pub(crate) Timer);

impl FromStr for TimerName {
    type Err = String;

    fn from_str(text: &str) -> Result<TimerName, String> {
        Ok(TimerName(match text {
            "stabilize" => Timer::Stabilize,
            "finger" => Timer::Finger,
            "refresh" => Timer::Refresh,
            "renumber" => Timer::Renumber,
            "handover" => Timer::HandOver,
            "join" => Timer::Join,
            "depart" => Timer::Depart,
            _ => return Err(format!("{text:?} is no timer")),
        }))
    }
}

/// A key: digits are a literal id, anything else is placed at its SHA-1.
#[derive(Clone, Debug)]
pub(crate) struct KeyName(pub(crate) Key);

impl FromStr for KeyName {
    type Err = String;

    fn from_str(text: &str) -> Result<KeyName, String> {
        Ok(KeyName(match text.parse() {
            Ok(number) => Key::Literal(Id::from_u128(number)),
            Err(_) => Key::new(text),
        }))
    }
}

/// Where a node wants to be: `bisect`, `hash`, or a fixed id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted(pub(crate) Placement);

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Wanted, String> {
        Ok(Wanted(match text {
            "bisect" => Placement::Bisect,
            "hash" => Placement::Hash,
            number => Placement::Fixed(Id::from_u128(number.parse().map_err(|_| format!("{text:?}?"))?)),
        }))
    }
}

#[derive(Debug, goldenscript::Command)]
pub(crate) enum Command {
    /// What all nodes are told; first in a script.
    Settings {
        #[arg(key, optional)]
        bits: Option<u8>,
        #[arg(key, optional)]
        successors: Option<usize>,
        #[arg(key, optional)]
        chunk: Option<usize>,
    },
    /// Makes a ring of these, and waits until everything in it is at rest.
    Ring(Vec<Name>),
    /// The first node of a ring.
    Start(Name),
    /// A node joins behind another; without `via`, where `place` said.
    Join {
        node: Name,
        #[arg(key, optional)]
        via: Option<Name>,
    },
    /// Asks a node for a place.
    Place {
        node: Name,
        #[arg(key)]
        via: Name,
        #[arg(key, optional)]
        at: Option<Wanted>,
    },
    /// The node leaves.
    Depart(Name),
    /// Nodes die.
    Crash(Vec<Name>),
    /// Lets a timer run out.
    Timer(Name, TimerName),
    /// Lets the timer `stabilize` run out.
    Stabilize(Vec<Name>),
    /// Every member stabilizes once, one after another; only changes are printed.
    Round,
    /// Delivers messages until none is in flight.
    Settle,
    /// Delivers the oldest message; those in flight to a node; those from one to another.
    Deliver(Option<Name>, Option<Name>),
    /// Loses the messages in flight from one node to another.
    Drop(Name, Name),
    /// Delays the messages in flight from one node to another.
    Delay(Name, Name),
    /// The delayed messages arrive.
    Arrive,
    /// A client found that a node does not answer, and says so to another.
    Silent(Name, Name),
    /// Lost and delayed questions time out; with names: all questions of a node, to another, also those in flight.
    Timeout(Option<Name>, Option<Name>),
    /// Lists the messages in flight.
    Flight,
    /// Lets time pass; only changes are printed.
    Run(Span),
    /// Lets time pass in which nothing happens.
    Wait(Span),
    /// Cuts these off from all others.
    Split(Vec<Name>),
    /// Undoes that.
    Heal,
    /// Stores a value, beginning at a node.
    Put(Name, KeyName, String),
    /// Removes a value, beginning at a node.
    Delete(Name, KeyName),
    /// Reads a value, beginning at a node.
    Get(Name, KeyName),
    /// Looks up who serves an identifier.
    Lookup {
        node: Name,
        target: u64,
        #[arg(optional)]
        policy: Option<Policy>,
    },
    /// Has all fingers of all nodes refreshed.
    RefreshAll(Name),
    /// Prints nodes as a table.
    State(#[arg(optional)] Vec<Name>),
    /// Prints the fingers of a node.
    Fingers(Name),
    /// Prints the keys of a node, served or not.
    Keys(Name),
    /// Is it one ordered ring in which each identifier has one server? If not, what is missing.
    Check,
    /// What a walk around the ring finds.
    Walk(Name),
}
