//! The same work on many hosts: what each says while it works, what came of it, and the recap.
//!
//! While it works every host has a line: one that changes on a terminal, one line each time elsewhere, none with
//! `--json`. What came of it is an [`Account`] a host; [`Recap`] is all of them, as a table with a last line that
//! counts, the failed ones listed with their reasons, or as JSON.

use std::future::Future;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

use super::failure::HostFailure;
use crate::failure::{Failure, Outcome};
use crate::report::{Output, Report, count, table};

/// The lines of all hosts.
pub(crate) struct Board {
    output: Output,
    bars: Option<MultiProgress>,
    width: usize,
}

/// The line of one host.
pub(crate) struct Line {
    host: String,
    bar: Option<ProgressBar>,
    /// Print lines; not with a bar, nor with `--json`.
    plain: bool,
}

impl Board {
    /// For hosts with these names.
    pub(crate) fn new<'n>(output: Output, names: impl IntoIterator<Item = &'n str>) -> Board {
        let width = names.into_iter().map(str::len).max().unwrap_or(0);
        Board { output, bars: output.is_watched().then(MultiProgress::new), width }
    }

    /// A host's line; it goes away with the value.
    pub(crate) fn line(&self, host: &str) -> Line {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}  {wide_msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(format!("{host:<width$}", width = self.width));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let plain = bar.is_none() && !self.output.json;
        Line { host: format!("{host:<width$}", width = self.width), bar, plain }
    }
}

impl Line {
    /// What the host is at, for a moment: only where the line changes in place.
    pub(crate) fn hint(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
    }

    /// What the host is at, for so long that people want to know.
    pub(crate) fn say(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None if self.plain => eprintln!("{}  {what}", self.host),
            None => {}
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Does a job for every item, so many at once; answers in the order of the items.
pub(crate) async fn each<T, R, F, Fut>(items: Vec<T>, at_once: usize, job: F) -> Vec<R>
where
    F: Fn(T) -> Fut,
    Fut: Future<Output = R>,
{
    let numbered = stream::iter(items).map(job).enumerate();
    // Not in order while they work: behind a dead host the others go on.
    let working = numbered.map(|(place, work)| async move { (place, work.await) });
    let mut answers: Vec<(usize, R)> = working.buffer_unordered(at_once.max(1)).collect().await;
    answers.sort_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// What came of a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HostState {
    /// Something was done (with `--dry-run`: would be).
    Changed,
    /// All was so already.
    Unchanged,
    /// See `error`.
    Failed,
}

/// What was done on a host, and what was so already.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Account {
    /// Its name.
    pub(crate) host: String,
    /// What came of it.
    pub(crate) state: HostState,
    /// What was done, and what was so already.
    pub(crate) actions: Vec<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Account {
    /// Of a host with which nothing was done yet.
    pub(crate) fn new(host: &str) -> Account {
        Account { host: host.to_owned(), state: HostState::Unchanged, actions: Vec::new(), error: None }
    }

    /// Something was done.
    pub(crate) fn did(&mut self, what: impl Into<String>) {
        self.actions.push(what.into());
        if self.state == HostState::Unchanged {
            self.state = HostState::Changed;
        }
    }

    /// Something was so already, or is worth knowing.
    pub(crate) fn found(&mut self, what: impl Into<String>) {
        self.actions.push(what.into());
    }

    /// It failed.
    pub(crate) fn failed(&mut self, reason: impl std::fmt::Display) {
        self.state = HostState::Failed;
        self.error = Some(reason.to_string());
    }

    /// Has it failed?
    pub(crate) fn has_failed(&self) -> bool {
        self.state == HostState::Failed
    }

    /// Takes note of a failure, if there was one.
    pub(crate) fn note<T>(&mut self, result: Result<T, HostFailure>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(failure) => {
                self.failed(failure);
                None
            }
        }
    }
}

/// What came of all hosts.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Recap {
    /// The command.
    pub(crate) command: &'static str,
    /// Was nothing really done?
    pub(crate) dry_run: bool,
    /// Each host.
    pub(crate) hosts: Vec<Account>,
    /// What is to be said of the whole: of the ring, or what to do next.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) remarks: Vec<String>,
    /// Did the whole fail, although no host did?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Recap {
    /// Of these hosts.
    pub(crate) fn new(command: &'static str, dry_run: bool, hosts: Vec<Account>) -> Recap {
        Recap { command, dry_run, hosts, remarks: Vec::new(), error: None }
    }

    fn number(&self, state: HostState) -> usize {
        self.hosts.iter().filter(|account| account.state == state).count()
    }

    /// The line that counts: `5 hosts: 3 changed, 2 unchanged, 0 failed`.
    pub(crate) fn counts(&self) -> String {
        let (changed, failed) = (self.number(HostState::Changed), self.number(HostState::Failed));
        let would = if self.dry_run { "would be " } else { "" };
        let nothing = if changed + failed == 0 { ": nothing to do" } else { "" };
        format!(
            "{}: {changed} {would}changed, {} unchanged, {failed} failed{nothing}",
            count(self.hosts.len(), "host"),
            self.number(HostState::Unchanged)
        )
    }

    /// Says nothing if all went well.
    ///
    /// # Errors
    /// When a host or the whole has failed: all reasons.
    pub(crate) fn judge(&self) -> Outcome {
        let failed = self.hosts.iter().filter_map(|account| Some((&account.host, account.error.as_ref()?)));
        let mut reasons: Vec<String> = failed.map(|(host, error)| format!("{host}: {error}")).collect();
        reasons.extend(self.error.clone());
        if reasons.is_empty() { Ok(()) } else { Err(Failure::failed(reasons.join("; "))) }
    }

    /// Shows it, and says whether the command has failed.
    ///
    /// # Errors
    /// When a host or the whole has failed; it was said.
    pub(crate) fn conclude(self, output: Output) -> Outcome {
        output.show(&self);
        if self.error.is_some() || self.number(HostState::Failed) > 0 { Err(Failure::Said) } else { Ok(()) }
    }
}

impl Report for Recap {
    fn text(&self) -> String {
        let rows = self.hosts.iter().map(|account| {
            let state = match account.state {
                HostState::Changed if self.dry_run => "would change",
                HostState::Changed => "changed",
                HostState::Unchanged => "unchanged",
                HostState::Failed => "FAILED",
            };
            vec![account.host.clone(), state.to_owned(), account.actions.join(", ")]
        });
        let mut text = table(&["host", "state", "what"], rows);
        text.push_str(&format!("{}\n", self.counts()));
        for account in &self.hosts {
            if let Some(error) = &account.error {
                text.push_str(&format!("{} failed: {error}\n", account.host));
            }
        }
        for remark in self.remarks.iter().chain(&self.error) {
            text.push_str(&format!("{remark}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recap() -> Recap {
        let (mut one, two, mut three) = (Account::new("h1"), Account::new("h2"), Account::new("h3"));
        one.did("started");
        three.did("uploaded");
        three.failed("no answer");
        Recap::new("up", false, vec![one, two, three])
    }

    #[test]
    fn the_recap_counts_and_lists_the_failed() {
        let text = recap().text();
        assert!(text.contains("3 hosts: 1 changed, 1 unchanged, 1 failed\nh3 failed: no answer\n"), "{text}");
        let json = serde_json::to_value(recap()).expect("JSON");
        assert_eq!(json["hosts"][2]["state"], "failed");
        assert_eq!(json["hosts"][0]["actions"][0], "started");
    }

    #[test]
    fn nothing_to_do_is_said() {
        let recap = Recap::new("up", false, vec![Account::new("h1")]);
        assert_eq!(recap.counts(), "1 host: 0 changed, 1 unchanged, 0 failed: nothing to do");
    }

    #[tokio::test]
    async fn answers_come_in_the_order_of_the_hosts_and_not_too_many_work_at_once() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let answers = each(vec![3, 1, 2], 2, |item| {
            let (now, most) = (&now, &most);
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                item * 10
            }
        });
        assert_eq!(answers.await, [30, 10, 20]);
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }
}
