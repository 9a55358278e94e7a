//! The simulated network: delay, loss, partitions.

use std::collections::BTreeSet;
use std::time::Duration;

use chordata_protocol::Address;

/// What the network does to messages at the moment.
#[derive(Clone, Debug)]
pub struct Network {
    /// Shortest delay of a message.
    pub delay_min: Duration,
    /// Longest delay of a message.
    pub delay_max: Duration,
    /// Share of messages that are lost, from 0 to 1.
    pub loss: f64,
    /// Addresses on the far side of a partition; nobody if there is none.
    pub far_side: BTreeSet<Address>,
}

impl Default for Network {
    fn default() -> Network {
        Network {
            delay_min: Duration::from_micros(200),
            delay_max: Duration::from_millis(20),
            loss: 0.0,
            far_side: BTreeSet::new(),
        }
    }
}

impl Network {
    /// Are the two on different sides of a partition?
    pub fn separates(&self, a: &Address, b: &Address) -> bool {
        self.far_side.contains(a) != self.far_side.contains(b)
    }

    /// How long the next message takes; none: it is lost.
    pub fn delay(&self, random: &mut fastrand::Rng, a: &Address, b: &Address) -> Option<Duration> {
        if self.separates(a, b) || (self.loss > 0.0 && random.f64() < self.loss) {
            return None;
        }
        let (low, high) = (self.delay_min.as_micros() as u64, self.delay_max.as_micros() as u64);
        Some(Duration::from_micros(random.u64(low..=high)))
    }
}
