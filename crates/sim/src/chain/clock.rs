//! A node's clock: its own origin and its own rate, within the drift that the lease allows for.
//!
//! A node's machines see only this clock. Nothing in the world compares the clocks of two nodes.

use std::time::Duration;

use chordata_protocol::Time;

const MILLION: i128 = 1_000_000;

/// Shows `origin + true time * (1 + drift)`.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin_micros: u64,
    drift_ppm: i32,
}

impl Clock {
    /// A clock with this origin, which gains so many microseconds in a second (or loses them, if negative).
    pub fn new(origin_micros: u64, drift_ppm: i32) -> Clock {
        Clock { origin_micros, drift_ppm }
    }

    /// What it shows at this true moment.
    pub fn shows(&self, moment: Time) -> Time {
        let elapsed = i128::from(moment.as_micros()) * (MILLION + i128::from(self.drift_ppm)) / MILLION;
        Time::from_micros(self.origin_micros + u64::try_from(elapsed).unwrap_or(0))
    }

    /// How long it truly takes until it has gone on by so much.
    pub fn takes(&self, span: Duration) -> Duration {
        let micros = i128::try_from(span.as_micros()).unwrap_or(i128::MAX / MILLION);
        let true_micros = micros * MILLION / (MILLION + i128::from(self.drift_ppm));
        Duration::from_micros(u64::try_from(true_micros).unwrap_or(u64::MAX) + 1)
    }
}
