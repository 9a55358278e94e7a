//! One operation at a time on a node, with its holder's name; and the list of what was done.
//!
//! The lock is the kernel's, on the open file `lock` of the node's directory: it ends with the processes that have
//! that file open, so a crash never leaves it behind. What the file says is for people only. The lock is passed on
//! to the process that becomes the server until that has written its pid file ([`super::hold`]).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::error::{AgentError, Doing};
use super::node::{LOCK_MARK, NodeDirectory};

/// How often a held lock is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Who asks.
#[derive(Debug, Clone, clap::Args)]
pub struct HolderArguments {
    /// Who does this, in the words that others are told while they wait (default: USER@HOST)
    #[arg(long, value_name = "TEXT")]
    holder: Option<String>,
}

/// Who asks, and how long it waits for others.
#[derive(Debug, Clone, clap::Args)]
pub struct LockArguments {
    #[command(flatten)]
    pub(super) who: HolderArguments,
    /// How long to wait for another operation on this node to end
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = super::seconds)]
    lock_timeout: Duration,
}

impl HolderArguments {
    /// The holder as one line.
    fn name(&self) -> String {
        let holder = self.holder.clone().unwrap_or_else(|| {
            let unknown = || "somebody".to_owned();
            let user = super::probe::user_name().unwrap_or_else(unknown);
            let host = super::probe::host_name().unwrap_or_else(unknown);
            format!("{user}@{host}")
        });
        holder.replace(char::is_control, " ")
    }
}

/// The lock of a node, held until this is dropped.
#[derive(Debug)]
pub(super) struct NodeLock {
    file: File,
}

impl NodeLock {
    /// Takes the lock of a node that exists.
    ///
    /// # Errors
    /// Locked, with the holder's words, when it is not free in time. NotConfigured when `configure` never made
    /// this directory.
    pub(super) fn take(
        node: &NodeDirectory,
        verb: &str,
        arguments: &LockArguments,
    ) -> Result<NodeLock, AgentError> {
        NodeLock::acquire(node, verb, arguments, false)
    }

    /// Takes the lock of a node whose directory was just made.
    pub(super) fn take_new(
        node: &NodeDirectory,
        verb: &str,
        arguments: &LockArguments,
    ) -> Result<NodeLock, AgentError> {
        NodeLock::acquire(node, verb, arguments, true)
    }

    fn acquire(
        node: &NodeDirectory,
        verb: &str,
        arguments: &LockArguments,
        create: bool,
    ) -> Result<NodeLock, AgentError> {
        let deadline = Instant::now() + arguments.lock_timeout;
        loop {
            let path = node.lock();
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(create).mode(0o600);
            let mut file = match options.open(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound && !create => {
                    return Err(AgentError::NotConfigured(node.path().to_owned()));
                }
                opened => opened.doing("open", &path)?,
            };
            match file.try_lock() {
                Ok(()) => {
                    // `erase` may have removed the file while we waited: a lock on it would protect nothing.
                    let here = file.metadata().doing("look at", &path)?.ino();
                    if std::fs::metadata(&path).is_ok_and(|named| named.ino() == here) {
                        introduce(&mut file, verb, arguments).doing("write", &path)?;
                        return Ok(NodeLock { file });
                    }
                }
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    let holder = read_holder(&mut file).unwrap_or_else(|| "another operation".into());
                    return Err(AgentError::Locked { node: node.path().to_owned(), holder });
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(RETRY),
                Err(TryLockError::Error(error)) => return Err(error).doing("lock", &path),
            }
        }
    }

    /// The same lock for a child process: it is free when both have let go.
    pub(super) fn share(&self) -> Result<File, AgentError> {
        self.file
            .try_clone()
            .map_err(|source| AgentError::System { doing: "pass the lock on".into(), source })
    }
}

/// Writes who holds the lock, over what was there: never empty in between.
fn introduce(file: &mut File, verb: &str, arguments: &LockArguments) -> std::io::Result<()> {
    let text = format!("{LOCK_MARK} lock\n{} ({verb}, since {})\n", arguments.who.name(), now());
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

fn read_holder(file: &mut File) -> Option<String> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(4096).read_to_string(&mut text).ok()?;
    text.lines().nth(1).map(str::to_owned)
}

/// Adds a line to the node's audit log: time, holder, verb, result, with tabs between.
///
/// Best effort: what was done is done, also on a full disk. Where there is no node directory there is no line.
pub(super) fn audit(node: &NodeDirectory, who: &HolderArguments, verb: &str, result: &str) {
    if !node.is_ours() {
        return;
    }
    let result: String = result.replace(char::is_control, " ").chars().take(500).collect();
    let line = format!("{}\t{}\t{verb}\t{result}\n", now(), who.name());
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(node.audit());
    if let Err(error) = opened.and_then(|mut file| file.write_all(line.as_bytes())) {
        eprintln!("the audit log {} was not written: {error}", node.audit().display());
    }
}

/// The wall clock as text, in UTC.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    utc(since.as_secs())
}

/// Seconds since 1970 as `2026-11-03T10:00:00Z`.
///
/// Days to dates after Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`: years
/// begin in March, so that the leap day is a year's last.
pub fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For what must succeed: another test's fork may hold a copy of the open file until its exec.
    const LONG: u64 = 60_000;

    fn arguments(holder: &str, milliseconds: u64) -> LockArguments {
        let who = HolderArguments { holder: Some(holder.into()) };
        LockArguments { who, lock_timeout: Duration::from_millis(milliseconds) }
    }

    fn node() -> (tempfile::TempDir, NodeDirectory) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let node = NodeDirectory::new(directory.path()).expect("a path");
        (directory, node)
    }

    #[test]
    fn the_second_is_told_who_holds_the_lock_and_gets_it_afterwards() {
        let (_directory, node) = node();
        let held = NodeLock::take_new(&node, "start", &arguments("ann@desk", LONG)).expect("free");
        let refused = NodeLock::take(&node, "stop", &arguments("bob@desk", 30)).expect_err("held");
        assert!(refused.to_string().contains("ann@desk (start, since 20"), "{refused}");
        drop(held);
        NodeLock::take(&node, "stop", &arguments("bob@desk", LONG)).expect("free again");
    }

    #[test]
    fn a_shared_lock_is_held_until_both_let_go() {
        let (_directory, node) = node();
        let held = NodeLock::take_new(&node, "start", &arguments("ann", LONG)).expect("free");
        let shared = held.share().expect("shareable");
        drop(held);
        NodeLock::take(&node, "start", &arguments("bob", 0)).expect_err("still held");
        drop(shared);
        NodeLock::take(&node, "start", &arguments("bob", LONG)).expect("free again");
    }

    #[test]
    fn waiting_for_a_lock_that_is_erased_does_not_end_with_the_erased_one() {
        let (_directory, node) = node();
        let held = NodeLock::take_new(&node, "erase", &arguments("ann", LONG)).expect("free");
        let waiting = {
            let node = node.clone();
            std::thread::spawn(move || NodeLock::take(&node, "start", &arguments("bob", LONG)))
        };
        std::fs::remove_file(node.lock()).expect("removable");
        drop(held);
        let outcome = waiting.join().expect("no panic");
        assert!(matches!(outcome, Err(AgentError::NotConfigured(_))), "{outcome:?}");
    }

    #[test]
    fn audit_lines_are_one_line_each() {
        let (_directory, node) = node();
        audit(&node, &arguments("ann", 0).who, "start", "no directory of ours: no line");
        assert!(!node.audit().exists());
        drop(NodeLock::take_new(&node, "start", &arguments("ann", LONG)).expect("free"));
        audit(&node, &arguments("ann\nroot", 0).who, "start", "done");
        audit(&node, &arguments("bob", 0).who, "stop", "failed:\nlines");
        let text = std::fs::read_to_string(node.audit()).expect("written");
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0][1..], ["ann root", "start", "done"]);
        assert_eq!(lines[1][1..], ["bob", "stop", "failed: lines"]);
    }

    #[test]
    fn dates_around_leap_days_are_right() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(utc(4_102_444_799), "2099-12-31T23:59:59Z");
    }
}
