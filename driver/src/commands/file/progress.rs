//! How far a transfer has come: a bar with its rate where somebody watches, now and then a line where not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chordata_files::{Progress, Step};
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use super::{rate, size};
use crate::report::Output;

/// How often a line is written where nobody watches.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The progress of one transfer.
pub(super) struct Shown {
    bar: ProgressBar,
    state: Arc<Mutex<State>>,
}

struct State {
    began: Instant,
    said: Instant,
    /// Done now, and before.
    done: u64,
    reused: u64,
}

impl Shown {
    /// Of so many bytes, if that is known.
    pub(super) fn begin(output: Output, name: &str, total: Option<u64>) -> (Shown, Progress) {
        let bar = match total {
            _ if !output.is_watched() => ProgressBar::hidden(),
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        let template = match total {
            Some(_) => "{msg} {bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left",
            None => "{msg} {spinner} {binary_bytes} {binary_bytes_per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(name.to_owned());
        let now = Instant::now();
        let state = Arc::new(Mutex::new(State { began: now, said: now, done: 0, reused: 0 }));
        let (shown, name) = (Shown { bar: bar.clone(), state: Arc::clone(&state) }, name.to_owned());
        let lines = !output.is_watched();
        let tell = move |Step { bytes, reused }| {
            bar.inc(bytes);
            let mut state = state.lock();
            *(if reused { &mut state.reused } else { &mut state.done }) += bytes;
            if lines && state.said.elapsed() >= LINE_EVERY {
                state.said = Instant::now();
                let total = total.map_or(String::new(), |total| format!(" of {}", size(total)));
                let (all, rate) = (size(state.done + state.reused), rate(state.done, state.began.elapsed()));
                output.remark(&format!("{name}: {all}{total}, {rate}"));
            }
        };
        (shown, Arc::new(tell))
    }

    /// How long it took.
    pub(super) fn end(&self) -> Duration {
        self.bar.finish_and_clear();
        self.state.lock().began.elapsed()
    }
}
