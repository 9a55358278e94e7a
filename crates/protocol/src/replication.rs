//! How a cluster keeps its data: how many copies, how consistent, how durable. Set once, carried to whoever joins.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Which guarantee clients have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// Chain replication: linearizable, also under partitions; the minority side refuses.
    #[default]
    Chain,
    /// Always answers, always converges.
    Eventual,
}

/// When a write is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Never: lost with the process.
    Memory,
    /// Within a second.
    #[default]
    Interval,
    /// Before the answer, at every copy that the answer counts.
    Sync,
}

/// Gives an enum of names its text form, both ways.
macro_rules! names {
    ($kind:ident, $what:literal, $($variant:ident = $name:literal),+) => {
        impl $kind {
            /// All of them, in the order in which help lists them.
            pub const ALL: [$kind; [$($name),+].len()] = [$($kind::$variant),+];

            /// Its name in settings.
            pub fn name(self) -> &'static str {
                match self { $($kind::$variant => $name),+ }
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $kind {
            type Err = String;

            fn from_str(text: &str) -> Result<$kind, String> {
                let found = $kind::ALL.into_iter().find(|kind| kind.name() == text);
                found.ok_or_else(|| format!("{text:?} is no {}: {}", $what, [$($name),+].join(", ")))
            }
        }
    };
}

names!(Consistency, "consistency model", Chain = "chain", Eventual = "eventual");
names!(Durability, "durability", Memory = "memory", Interval = "interval", Sync = "sync");

/// How a cluster keeps its data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Replication {
    /// Which guarantee.
    pub consistency: Consistency,
    /// Copies of each key, k: the owner and the next k-1 nodes.
    pub factor: u8,
    /// When a write is on disk.
    pub durability: Durability,
    /// Chain: may any replica whose copy is clean answer a read (CRAQ), or only the last serving one?
    pub clean_reads: bool,
}

impl Default for Replication {
    fn default() -> Replication {
        Replication {
            consistency: Consistency::default(),
            factor: 3,
            durability: Durability::default(),
            clean_reads: true,
        }
    }
}

impl Replication {
    /// Copies, at least one.
    pub fn copies(&self) -> usize {
        usize::from(self.factor).max(1)
    }

    /// Serving replicas below which puts are refused, in a cluster of so many members: 2 from three members on.
    pub fn replicas_min(&self, members: usize) -> usize {
        if members >= 3 { self.copies().min(2) } else { 1 }
    }
}

/// The lease under which a chain's node serves, and what is derived from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lease {
    /// L: how long a grant lasts.
    pub lasts: Duration,
    /// Rho, in parts per thousand: by how much two clocks may run apart.
    pub drift_permille: u16,
}

impl Default for Lease {
    fn default() -> Lease {
        Lease { lasts: Duration::from_secs(1), drift_permille: 10 }
    }
}

impl Lease {
    /// How long the holder may use it, from when it sent the heartbeat: L(1 - rho).
    pub fn usable(&self) -> Duration {
        self.lasts * (1000 - u32::from(self.drift_permille.min(999))) / 1000
    }

    /// How long the giver waits until it certainly has run out: L(1 + rho).
    pub fn certainly_over(&self) -> Duration {
        self.lasts * (1000 + u32::from(self.drift_permille)) / 1000
    }
}
