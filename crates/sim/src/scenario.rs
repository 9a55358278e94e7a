//! What goes wrong, and when.
//!
//! Every scenario grows a ring, disturbs it while clients put and get, and then lets it rest. A run in which a
//! promised disturbance did not happen fails as well.

use crate::client::Counters;

/// A kind of run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scenario {
    /// Joins and departures only: at every moment one server for each identifier, and no write is lost.
    Graceful,
    /// Joins, departures, crashes of up to r-1 neighbours at once, returns: the ring closes again.
    Crashes,
    /// The same, and messages get lost, so that live nodes are taken for dead.
    Lossy,
    /// The network splits in two for half a minute: two rings, which become one.
    Partition,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Scenario; 4] =
        [Scenario::Graceful, Scenario::Crashes, Scenario::Lossy, Scenario::Partition];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Graceful => "graceful",
            Scenario::Crashes => "crashes",
            Scenario::Lossy => "lossy",
            Scenario::Partition => "partition",
        }
    }

    /// What must have happened in a run, at least this often.
    pub fn promises(self) -> &'static [(&'static str, u64)] {
        match self {
            Scenario::Graceful => {
                &[("joined", 20), ("departed", 5), ("hand-over", 25), ("operation done", 1000)]
            }
            Scenario::Crashes => {
                &[("joined", 55), ("departed", 1), ("crash", 5), ("claimed", 3), ("operation done", 500)]
            }
            Scenario::Lossy => &[("joined", 50), ("crash", 3), ("lost message", 50), ("operation done", 300)],
            Scenario::Partition => &[("joined", 50), ("lost message", 50), ("partition", 1)],
        }
    }
}

impl std::str::FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Scenario, String> {
        let found = Scenario::ALL.into_iter().find(|scenario| scenario.name() == text);
        found.ok_or_else(|| format!("{text:?} is no scenario: graceful, crashes, lossy or partition"))
    }
}

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What happened.
    pub counters: Counters,
    /// Sums up everything that happened.
    pub trace_hash: u64,
    /// Simulated seconds.
    pub seconds: u64,
}

/// What a ring is like: seeds take turns, so that small and crowded rings, short successor lists and hand-overs of
/// many parts are met as often as the default.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Size of the ring.
    pub bits: u8,
    /// Length of successor lists.
    pub successors: usize,
    /// Nodes before the ring is disturbed.
    pub nodes: usize,
    /// At most so many while it is.
    pub nodes_max: usize,
    /// Keys stored before anybody joins.
    pub bulk: u64,
    /// Bytes in a message of a hand-over.
    pub chunk_bytes: usize,
    /// Shortest and longest pause between two disturbances, in milliseconds.
    pub pace_ms: (u64, u64),
}

impl Shape {
    /// The shape of a run.
    pub fn of(scenario: Scenario, seed: u64) -> Shape {
        let usual = Shape {
            bits: 160,
            successors: 4,
            nodes: 50,
            nodes_max: 80,
            bulk: 200,
            chunk_bytes: 256 * 1024,
            pace_ms: (300, 3000),
        };
        // Hand-overs of many parts, of which several are under way at any moment.
        let hectic =
            Shape { nodes: 12, nodes_max: 24, bulk: 300, chunk_bytes: 256, pace_ms: (5, 400), ..usual };
        match (scenario, seed % 6) {
            (Scenario::Graceful, 0 | 3) => hectic,
            (Scenario::Graceful, 2) => Shape { bits: 6, nodes_max: 40, ..hectic },
            (Scenario::Graceful, 4) => Shape { successors: 1, pace_ms: (300, 3000), ..hectic },
            (Scenario::Graceful, 5) => Shape { successors: 2, pace_ms: (100, 1000), ..hectic },
            (_, 3) => Shape { bits: 16, ..usual },
            (_, 5) => Shape { successors: 8, ..usual },
            _ => usual,
        }
    }
}
