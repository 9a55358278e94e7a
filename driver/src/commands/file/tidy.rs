//! `file tidy`.

use std::time::Duration;

use chordata_files::{Reason, Tidied};
use serde::Serialize;

use super::files_of;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::report::{Report, table};

/// `file tidy`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TidyArguments {
    /// Uploads that began so long ago and are not finished are given up: 90s, 30m, 12h, 2d. In eventual mode nobody may be
    /// storing files with less than a day here
    #[arg(long, default_value = "24h", value_parser = parse_age)]
    age: Duration,
    /// Only show what would be removed
    #[arg(long)]
    dry_run: bool,
}

/// A number with a unit.
fn parse_age(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no age: a number with s, m, h or d behind it");
    let unit = text.chars().next_back().ok_or_else(bad)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(bad()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| bad())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(bad)
}

#[derive(Debug, Serialize)]
struct Shown {
    dry_run: bool,
    #[serde(flatten)]
    tidied: Tidied,
}

impl Report for Shown {
    fn text(&self) -> String {
        let Tidied { uploads, unjudged } = &self.tidied;
        if uploads.is_empty() && unjudged.is_empty() {
            return "everything belongs to a file\n".to_owned();
        }
        let rows = uploads.iter().map(|upload| {
            vec![
                upload.name.to_string(),
                upload.upload.to_string()[..12].to_owned(),
                age(upload.age_seconds),
                match upload.reason {
                    Reason::Leftover => "left over",
                    Reason::Unfinished => "unfinished",
                }
                .to_owned(),
                upload.pieces.to_string(),
                if upload.removed { "removed" } else { "stays" }.to_owned(),
            ]
        });
        let mut text = table(&["name", "upload", "age", "why", "pieces", "now"], rows);
        for (name, reason) in unjudged {
            text += &format!("{name} was not tidied: {reason}\n");
        }
        text
    }
}

fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

impl TidyArguments {
    /// Tidies.
    pub(super) async fn run(&self, context: &Context) -> Outcome {
        let connection = context.target.connect(context.output).await?;
        let tidied = Box::pin(files_of(&connection).tidy(self.age, self.dry_run)).await?;
        let is_whole = tidied.unjudged.is_empty();
        context.output.show(&Shown { dry_run: self.dry_run, tidied });
        if is_whole { Ok(()) } else { Err(Failure::Said) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_units() {
        assert_eq!(parse_age("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_age("2d"), Ok(Duration::from_secs(172_800)));
        assert_eq!(parse_age("0s"), Ok(Duration::ZERO));
        for bad in ["", "h", "12", "-1h", "1ü", "99999999999999999999d"] {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
    }
}
