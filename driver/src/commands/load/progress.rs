//! How far it has come: a line that changes on a terminal, a line from time to time elsewhere, none with `--json`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::reading::Feed;
use crate::report::Output;

/// Between two lines where there is no terminal.
const LINES_EVERY: Duration = Duration::from_secs(10);

/// See the [module](self).
pub(super) struct Progress {
    output: Output,
    bar: Option<ProgressBar>,
    /// What is done with rows.
    done: &'static str,
    read: Arc<AtomicU64>,
    length: Option<u64>,
    began: Instant,
    said: Instant,
}

impl Progress {
    pub(super) fn new(output: Output, feed: &Feed, done: &'static str) -> Progress {
        let (read, length) = feed.extent();
        let bar = output.is_watched().then(|| {
            let (bar, template) = match length {
                Some(length) => (ProgressBar::new(length), "{bar:30} {percent}%  {msg}  {eta} left"),
                None => (ProgressBar::new_spinner(), "{spinner} {msg}"),
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let now = Instant::now();
        Progress { output, bar, done, read, length, began: now, said: now }
    }

    /// So many rows are done.
    pub(super) fn show(&mut self, rows: u64) {
        let rate = rows as f64 / self.began.elapsed().as_secs_f64().max(1e-3);
        if let Some(bar) = &self.bar {
            bar.set_position(self.read.load(Ordering::Relaxed));
            bar.set_message(format!("{rows} rows {}, {rate:.0}/s", self.done));
        } else if self.said.elapsed() >= LINES_EVERY {
            self.said = Instant::now();
            let read = self.read.load(Ordering::Relaxed);
            let part = self
                .length
                .map(|length| format!(", {:.0} % of the file", 100.0 * read as f64 / length as f64));
            self.output.remark(&format!(
                "{rows} rows {} ({rate:.0}/s{})",
                self.done,
                part.unwrap_or_default()
            ));
        }
    }

    /// That was all.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
