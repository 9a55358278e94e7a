//! What came of a job.

use serde::{Deserialize, Serialize};

use crate::facts::Facts;
use crate::job::VERSION;
use crate::latency::Latency;

/// Sentences about failures that are kept.
pub const SENTENCES_MAX: usize = 10;

/// What came of a job.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// [`VERSION`].
    pub version: u32,
    /// From the first request to the last answer; of several generators the longest.
    pub seconds: f64,
    /// For each entry node.
    pub entries: Vec<ByEntry>,
    /// Of mixed requests: answers that were older than what had been acknowledged before they were asked for.
    pub stale: Option<u64>,
    /// The first failures, in words.
    pub failures: Vec<String>,
    /// Processor time of the generator; of several the sum.
    pub generator_seconds: Option<f64>,
    /// The machines that the generators ran on.
    pub generators: Vec<Facts>,
}

/// What was asked of an entry node.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ByEntry {
    /// The node.
    pub name: String,
    /// Keys or requests that were begun: the first so many of its own.
    pub begun: u64,
    /// Inserts.
    pub insert: Count,
    /// Queries.
    pub query: Count,
}

/// How requests of one kind ended.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Count {
    /// Answered: stored, or a value found.
    pub done: u64,
    /// Answered: there is no such key.
    pub missing: u64,
    /// Of `done`: with a value that the experiment did not store.
    pub other: u64,
    /// Not carried out.
    pub failed: u64,
    /// Inserts whose outcome is not known.
    pub unknown: u64,
    /// How long those took that were answered, in microseconds.
    pub latency: Latency,
}

impl Count {
    /// Those that were answered.
    pub fn answered(&self) -> u64 {
        self.done + self.missing
    }

    /// Those that were not.
    pub fn unanswered(&self) -> u64 {
        self.failed + self.unknown
    }

    /// Those of another one too.
    pub fn add(&mut self, other: &Count) {
        self.done += other.done;
        self.missing += other.missing;
        self.other += other.other;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.latency.add(&other.latency);
    }
}

impl Measured {
    /// Of several generators that ran at once.
    pub fn merge(parts: Vec<Measured>) -> Measured {
        let mut whole = Measured {
            version: VERSION,
            seconds: 0.0,
            entries: Vec::new(),
            stale: None,
            failures: Vec::new(),
            generator_seconds: Some(0.0),
            generators: Vec::new(),
        };
        for part in parts {
            whole.seconds = whole.seconds.max(part.seconds);
            for entry in part.entries {
                match whole.entries.iter_mut().find(|known| known.name == entry.name) {
                    Some(known) => {
                        known.begun += entry.begun;
                        known.insert.add(&entry.insert);
                        known.query.add(&entry.query);
                    }
                    None => whole.entries.push(entry),
                }
            }
            whole.stale = match (whole.stale, part.stale) {
                (None, None) => None,
                (one, other) => Some(one.unwrap_or(0) + other.unwrap_or(0)),
            };
            whole.failures.extend(part.failures);
            whole.failures.truncate(SENTENCES_MAX);
            whole.generator_seconds =
                whole.generator_seconds.zip(part.generator_seconds).map(|(one, other)| one + other);
            whole.generators.extend(part.generators);
        }
        whole
    }

    /// All inserts.
    pub fn inserts(&self) -> Count {
        self.sum(|entry| &entry.insert)
    }

    /// All queries.
    pub fn queries(&self) -> Count {
        self.sum(|entry| &entry.query)
    }

    fn sum(&self, of: impl Fn(&ByEntry) -> &Count) -> Count {
        self.entries.iter().fold(Count::default(), |mut sum, entry| {
            sum.add(of(entry));
            sum
        })
    }

    /// Requests that were answered, each second.
    pub fn per_second(&self) -> f64 {
        let answered = |entry: &ByEntry| entry.insert.answered() + entry.query.answered();
        let answered: u64 = self.entries.iter().map(answered).sum();
        if self.seconds > 0.0 { answered as f64 / self.seconds } else { 0.0 }
    }

    /// Requests that were not answered.
    pub fn unanswered(&self) -> u64 {
        self.entries.iter().map(|entry| entry.insert.unanswered() + entry.query.unanswered()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, seconds: f64, done: u64, stale: Option<u64>) -> Measured {
        let insert = Count { done, failed: 1, ..Count::default() };
        Measured {
            version: VERSION,
            seconds,
            entries: vec![ByEntry { name: name.to_owned(), begun: done, insert, ..ByEntry::default() }],
            stale,
            failures: vec![format!("{name} failed"); 6],
            generator_seconds: Some(0.5),
            generators: vec![Facts::default()],
        }
    }

    #[test]
    fn the_whole_is_the_sum_over_the_longest_time() {
        let whole = Measured::merge(vec![
            part("a", 1.0, 100, Some(1)),
            part("b", 2.0, 200, Some(2)),
            part("a", 1.0, 100, None),
        ]);
        assert_eq!(whole.inserts().done, 400);
        assert_eq!((whole.entries.len(), whole.entries[0].begun), (2, 200));
        assert_eq!((whole.stale, whole.unanswered(), whole.failures.len()), (Some(3), 3, SENTENCES_MAX));
        assert!((whole.per_second() - 200.0).abs() < 1e-9, "{}", whole.per_second());
        assert_eq!(whole.generator_seconds, Some(1.5));
        assert_eq!(Measured::merge(vec![part("a", 1.0, 1, None)]).stale, None);
    }
}
