//! What a load has done, or would do.

use std::path::PathBuf;
use std::time::Duration;

use chordata_loaders::Item;
use chordata_protocol::{Space, Value};
use serde::Serialize;

use super::arguments::Job;
use super::pump::row;
use crate::report::{self, Report};

/// Problems that are shown; all are in the file of rejects.
pub(super) const SHOWN: usize = 10;
/// Rows that a dry run shows.
const FIRST: usize = 5;
/// As much of a value as a dry run shows.
const LETTERS: usize = 60;

/// What became of rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub(super) struct Counts {
    /// Stored (with a dry run: they would be).
    pub(super) loaded: u64,
    /// An earlier load has dealt with them, or they had ended by themselves before they were stored.
    pub(super) skipped: u64,
    /// Rejected.
    pub(super) failed: u64,
    /// Bytes of keys and values that were stored.
    pub(super) bytes: u64,
}

impl Counts {
    /// Rows of which it is known what became of them.
    pub(super) fn rows(&self) -> u64 {
        self.loaded + self.failed
    }
}

/// A row that was rejected.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Problem {
    pub(super) position: String,
    pub(super) reason: String,
}

#[derive(Clone, Debug, Serialize)]
struct First {
    key: String,
    value: String,
}

/// See the [module](self).
#[derive(Debug, Serialize)]
pub(super) struct LoadReport {
    command: &'static str,
    source: String,
    format: &'static str,
    dry_run: bool,
    #[serde(flatten)]
    pub(super) counts: Counts,
    seconds: f64,
    rows_per_second: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    first: Vec<First>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) problems: Vec<Problem>,
    /// The file of rejects, if there are any.
    pub(super) rejects: Option<PathBuf>,
}

impl LoadReport {
    pub(super) fn new(job: &Job, dry_run: bool) -> LoadReport {
        LoadReport {
            command: "load",
            source: job.source.name(),
            format: job.source.format(),
            dry_run,
            counts: Counts::default(),
            seconds: 0.0,
            rows_per_second: 0.0,
            first: Vec::new(),
            problems: Vec::new(),
            rejects: None,
        }
    }

    /// Takes note of a row that is only looked at.
    pub(super) fn look(&mut self, item: Item, space: Space) {
        match row(item, space) {
            Ok(row) if row.has_ended() => self.counts.skipped += 1,
            Ok(row) => {
                self.counts.loaded += 1;
                self.counts.bytes += (row.key.size() + row.value.len()) as u64;
                if self.first.len() < FIRST {
                    self.first.push(First { key: row.key.to_string(), value: shown(&row.value) });
                }
            }
            Err((problem, _)) => {
                self.counts.failed += 1;
                if self.problems.len() < SHOWN {
                    self.problems.push(problem);
                }
            }
        }
    }

    /// Takes note of how long it took.
    pub(super) fn took(&mut self, time: Duration) {
        self.seconds = time.as_secs_f64();
        self.rows_per_second = self.counts.rows() as f64 / self.seconds.max(1e-3);
    }
}

/// A value, or its beginning.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LETTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl Report for LoadReport {
    fn text(&self) -> String {
        let mut text = String::new();
        if !self.first.is_empty() {
            let rows = self.first.iter().map(|row| vec![row.key.clone(), row.value.clone()]);
            text.push_str(&report::table(&["key", "value"], rows));
        }
        for problem in &self.problems {
            text.push_str(&format!("{}: {}\n", problem.position, problem.reason));
        }
        let shown = self.problems.len() as u64;
        if self.counts.failed > shown && shown > 0 {
            text.push_str(&format!("... and {} more\n", self.counts.failed - shown));
        }
        let Counts { loaded, skipped, failed, bytes } = self.counts;
        let would = if self.dry_run { "would be " } else { "" };
        let time = report::duration(Duration::from_secs_f64(self.seconds));
        text.push_str(&format!(
            "{}: {loaded} {would}loaded ({bytes} bytes), {skipped} skipped, {failed} failed, in {time} ({:.0} rows/s)\n",
            self.source, self.rows_per_second
        ));
        if let Some(path) = &self.rejects {
            text.push_str(&format!("rejected rows and why: {}\n", path.display()));
        }
        text
    }
}
