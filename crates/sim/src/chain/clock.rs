//! A node's clocks: one of its own origin and its own rate, within the drift that the lease allows for, and the time of
//! day, which is wrong by a little.
//!
//! A node's machines see only these. Nothing in the world compares the clocks of two nodes.

use std::time::Duration;

use chordata_protocol::{Moment, Time};

const MILLION: i128 = 1_000_000;

/// How wrong the time of day is at a node, at most, either way.
pub const WALL_SKEW: Duration = Duration::from_millis(400);
/// The time of day when a run begins, in milliseconds.
const WALL_START_MS: u64 = 1_700_000_000_000;

/// What a clock shows that is as fast as possible, at this true moment.
pub fn latest_wall(moment: Time) -> Moment {
    Moment::from_millis(WALL_START_MS + (moment + WALL_SKEW).as_micros() / 1000)
}

/// What a clock shows that is as slow as possible, at this true moment.
pub fn earliest_wall(moment: Time) -> Moment {
    let skew = u64::try_from(WALL_SKEW.as_millis()).unwrap_or(0);
    Moment::from_millis(WALL_START_MS + moment.as_micros() / 1000 - skew)
}

/// Shows `origin + true time * (1 + drift)`.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin_micros: u64,
    drift_ppm: i32,
    /// From 0, at the most wrong that it may be behind, to twice that.
    wall_micros: u64,
}

impl Clock {
    /// A clock with this origin, which gains so many microseconds in a second (or loses them, if negative).
    pub fn new(origin_micros: u64, drift_ppm: i32) -> Clock {
        Clock { origin_micros, drift_ppm, wall_micros: u64::try_from(WALL_SKEW.as_micros()).unwrap_or(0) }
    }

    /// The time of day is wrong by as much as a number from 0 (behind) to 1 (ahead) says.
    #[must_use]
    pub fn with_wall(self, place: f64) -> Clock {
        let micros = WALL_SKEW.as_secs_f64() * 2.0 * place.clamp(0.0, 1.0) * 1e6;
        Clock { wall_micros: micros as u64, ..self }
    }

    /// The time of day that it shows at this true moment.
    pub fn wall(&self, moment: Time) -> Moment {
        let behind = earliest_wall(moment).as_millis();
        Moment::from_millis(behind + self.wall_micros / 1000)
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
