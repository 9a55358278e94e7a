//! The simulated network between nodes, and between clients and nodes: delay, reordering, loss, duplication, cuts.
//!
//! Cuts are directed: `a` may not reach `b` while `b` reaches `a`, and while both reach `c`. Messages of one pair
//! overtake each other freely.

use std::collections::BTreeSet;
use std::time::Duration;

/// Where clients are: they reach every node, but for loss.
pub const OUTSIDE: usize = usize::MAX;

/// Share of messages that take longer than the longest usual delay.
const LATE_SHARE: f64 = 0.002;

/// What the network does to messages at the moment.
#[derive(Clone, Debug)]
pub struct Network {
    /// Longest usual delay, in microseconds.
    pub delay_max_us: u64,
    /// Longest delay of a late message, in microseconds.
    pub late_max_us: u64,
    /// Share of messages that are lost, from 0 to 1.
    pub loss: f64,
    /// Share of requests that arrive twice, from 0 to 1.
    pub duplicated: f64,
    /// Which slots cannot send to which.
    cut: BTreeSet<(usize, usize)>,
}

impl Network {
    /// A network without faults.
    pub fn new(delay_max_us: u64, late_max_us: u64) -> Network {
        Network { delay_max_us, late_max_us, loss: 0.0, duplicated: 0.0, cut: BTreeSet::new() }
    }

    /// Does what `from` sends get to `to`, but for loss?
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        from == to || !self.cut.contains(&(from, to))
    }

    /// Are no cuts there?
    pub fn is_whole(&self) -> bool {
        self.cut.is_empty()
    }

    /// In both directions?
    pub fn connects(&self, a: usize, b: usize) -> bool {
        self.reaches(a, b) && self.reaches(b, a)
    }

    /// Nothing gets from the one to the other from now on.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    /// All cuts are mended.
    pub fn mend(&mut self) {
        self.cut.clear();
    }

    /// How long a message takes that is not lost.
    pub fn takes(&self, random: &mut fastrand::Rng) -> Duration {
        let late = random.f64() < LATE_SHARE;
        let longest = if late { self.late_max_us } else { self.delay_max_us };
        Duration::from_micros(random.u64(100..=longest.max(100)))
    }

    /// How long the next message takes; none: it is lost.
    pub fn delay(&self, random: &mut fastrand::Rng, from: usize, to: usize) -> Option<Duration> {
        if from == to {
            return Some(Duration::from_micros(random.u64(5..50)));
        }
        if !self.reaches(from, to) || (self.loss > 0.0 && random.f64() < self.loss) {
            return None;
        }
        Some(self.takes(random))
    }

    /// Does this request arrive a second time?
    pub fn duplicates(&self, random: &mut fastrand::Rng) -> bool {
        self.duplicated > 0.0 && random.f64() < self.duplicated
    }
}
