//! Moments as people and programs write them: `2026-11-20T17:05:09Z`, and `20261120-170509` in names of files.

use std::time::{SystemTime, UNIX_EPOCH};

/// A moment of UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Moment {
    seconds: u64,
}

impl Moment {
    pub(super) fn now() -> Moment {
        Moment { seconds: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() }
    }

    /// Year, month, day: by the calendar of 400 years, which begins with a March.
    fn date(self) -> (u64, u64, u64) {
        const DAYS_OF_400_YEARS: u64 = 146_097;
        let days = self.seconds / 86_400 + 719_468;
        let era = days / DAYS_OF_400_YEARS;
        let day = days % DAYS_OF_400_YEARS;
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        (era * 400 + year + u64::from(month <= 2), month, day)
    }

    fn time(self) -> (u64, u64, u64) {
        let seconds = self.seconds % 86_400;
        (seconds / 3600, seconds / 60 % 60, seconds % 60)
    }

    /// RFC 3339.
    pub(super) fn text(self) -> String {
        let ((year, month, day), (hour, minute, second)) = (self.date(), self.time());
        format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// For a file's name.
    pub(super) fn stamp(self) -> String {
        let ((year, month, day), (hour, minute, second)) = (self.date(), self.time());
        format!("{year}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_by_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (1_795_194_309, "2026-11-20T17:05:09Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Moment { seconds }.text(), text);
        }
        assert_eq!(Moment { seconds: 1_795_194_309 }.stamp(), "20261120-170509");
    }
}
