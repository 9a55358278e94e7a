//! The driver's log of operations: one line for each command that changed, or tried to change, something.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::state::State;

/// Who runs the driver, `user@machine`.
pub(crate) fn user_at_machine() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::effective()).ok().flatten();
    let user = user.map_or_else(|| "somebody".to_owned(), |user| user.name);
    let machine = nix::unistd::gethostname().ok();
    let machine = machine.map_or_else(|| "somewhere".to_owned(), |name| name.to_string_lossy().into_owned());
    format!("{user}@{machine}")
}

/// Adds a line. A log that cannot be written is said, and stops nothing.
pub(crate) fn note(state: &State, command: &str, cluster: &str, result: &str) {
    let result = result.replace(char::is_control, " ");
    let line = format!("{}\t{}\t{command}\t{cluster}\t{result}", now(), user_at_machine());
    if let Err(failure) = state.audit(&line) {
        eprint!("the log of operations was not written: ");
        failure.tell();
    }
}

fn now() -> String {
    utc(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// Seconds since 1970 as `2026-11-03T10:00:00Z`: a year is counted through, a few dozen of them at most.
fn utc(seconds: u64) -> String {
    let (mut day, second) = (seconds / 86_400, seconds % 86_400);
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_around_leap_days_are_right() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc(seconds), date);
        }
    }
}
