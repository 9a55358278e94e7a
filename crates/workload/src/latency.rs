//! How long requests took: a histogram of microseconds with two significant digits, so that a percentile is right to one
//! per cent, kept in files as pairs of a value and how often it occurred.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest time that is told apart: a minute.
const MICROSECONDS_MAX: u64 = 60_000_000;
const DIGITS: u8 = 2;

/// A histogram of times.
#[derive(Clone, PartialEq, Debug)]
pub struct Latency {
    histogram: Histogram<u64>,
}

impl Default for Latency {
    fn default() -> Latency {
        let histogram = Histogram::new_with_bounds(1, MICROSECONDS_MAX, DIGITS);
        Latency { histogram: histogram.expect("these bounds are possible") }
    }
}

impl Latency {
    /// One more.
    pub fn record(&mut self, took: Duration) {
        self.record_many(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), 1);
    }

    fn record_many(&mut self, microseconds: u64, count: u64) {
        let value = microseconds.clamp(1, MICROSECONDS_MAX);
        // Within its bounds recording does not fail.
        self.histogram.record_n(value, count).expect("a value within the bounds");
    }

    /// Those of another one too.
    pub fn add(&mut self, other: &Latency) {
        self.histogram.add(&other.histogram).expect("all have the same bounds");
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The time that `percent` of all did not exceed, in microseconds; none: there are none.
    pub fn percentile(&self, percent: f64) -> Option<u64> {
        (self.count() > 0).then(|| self.histogram.value_at_percentile(percent))
    }

    /// The longest, in microseconds; none: there are none.
    pub fn max(&self) -> Option<u64> {
        (self.count() > 0).then(|| self.histogram.max())
    }
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let recorded = self.histogram.iter_recorded();
        serializer.collect_seq(recorded.map(|at| (at.value_iterated_to(), at.count_since_last_iteration())))
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Latency, D::Error> {
        let mut latency = Latency::default();
        for (value, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            latency.record_many(value, count);
        }
        Ok(latency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_one_per_cent_also_from_a_file() {
        let mut latency = Latency::default();
        assert_eq!((latency.percentile(50.0), latency.max()), (None, None));
        (1..=1000).for_each(|number| latency.record(Duration::from_micros(number * 10)));
        latency.record(Duration::from_secs(3600));
        let text = serde_json::to_string(&latency).expect("it is JSON");
        let back: Latency = serde_json::from_str(&text).expect("it is read back");
        assert_eq!(back.count(), 1001);
        for (percent, expected) in [(50.0, 5_010), (99.0, 9_910), (100.0, 60_000_000)] {
            for latency in [&latency, &back] {
                let found = latency.percentile(percent).expect("there are some");
                assert!(found.abs_diff(expected) <= expected / 100, "{percent}: {found}");
            }
        }
        let mut both = back;
        both.add(&latency);
        assert_eq!(both.count(), 2002);
    }
}
