//! The server's log: the words that say it is ready, its last lines, and following it as it grows.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::error::{AgentError, Doing};
use super::node::NodeDirectory;

/// How often a followed log is looked at.
const FOLLOW: Duration = Duration::from_millis(200);
/// A longer line is not one that says "ready".
const LONGEST_LINE: usize = 64 * 1024;
/// How much of a log is read at a time.
const BLOCK: u64 = 64 * 1024;

/// `logs`: prints a node's log as it is, not as JSON.
#[derive(Debug, clap::Args)]
pub struct LogsArguments {
    /// Directory of the node
    #[arg(long, value_name = "DIRECTORY")]
    node_dir: PathBuf,
    /// How many of the last lines to print first
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    lines: usize,
    /// Go on printing what is added, until standard input or output is closed
    #[arg(long)]
    follow: bool,
}

/// Prints the last lines of the log, and with `--follow` what comes after. Errors go to standard error.
pub(super) fn run(arguments: &LogsArguments) -> ExitCode {
    let printed = NodeDirectory::new(&arguments.node_dir).and_then(|node| print(&node.log(), arguments));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn print(path: &Path, arguments: &LogsArguments) -> Result<(), AgentError> {
    let mut file = File::open(path).doing("open", path)?;
    let start = start_of_last_lines(&mut file, arguments.lines).doing("read", path)?;
    file.seek(SeekFrom::Start(start)).doing("read", path)?;
    let mut output = io::stdout().lock();
    if copy(&mut file, &mut output).is_err() || !arguments.follow {
        return Ok(());
    }
    let input_closed = watch_standard_input();
    while let Err(RecvTimeoutError::Timeout) = input_closed.recv_timeout(FOLLOW) {
        if was_cut_or_replaced(&mut file, path) {
            // Between a log's removal and its making anew there is nothing to follow yet.
            let Ok(new) = File::open(path) else { continue };
            file = new;
        }
        if copy(&mut file, &mut output).is_err() {
            break;
        }
    }
    Ok(())
}

/// Copies what there is. An error is the reader's end: there is nobody left to print for.
fn copy(file: &mut File, output: &mut impl Write) -> io::Result<()> {
    io::copy(file, output)?;
    output.flush()
}

/// Whether the path leads to another file than the open one, or the open one is shorter than what was read.
fn was_cut_or_replaced(file: &mut File, path: &Path) -> bool {
    let (Ok(open), Ok(read)) = (file.metadata(), file.stream_position()) else { return true };
    open.len() < read || fs::metadata(path).map_or(true, |named| named.ino() != open.ino())
}

/// A channel that closes when standard input does: over SSH that is when the session ends.
pub(super) fn watch_standard_input() -> mpsc::Receiver<()> {
    let (open, closed) = mpsc::channel();
    std::thread::spawn(move || {
        let _open = open;
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    });
    closed
}

/// Bytes in a file; none when there is no file.
pub(super) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Where the last `count` lines begin. A last line without its end counts as one.
fn start_of_last_lines(file: &mut (impl Read + Seek), count: usize) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    if count == 0 {
        return Ok(length);
    }
    let mut ends_seen = 0;
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        file.take(end - start).read_to_end(&mut block)?;
        for (place, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = start + place as u64 + 1;
            // The end of the last line is not the beginning of another.
            if after < length {
                ends_seen += 1;
                if ends_seen == count {
                    return Ok(after);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

/// The last lines written since `offset`, each cut at 300 characters.
pub(super) fn tail(path: &Path, offset: u64, count: usize) -> Vec<String> {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let offset = if length < offset { 0 } else { offset };
        file.seek(SeekFrom::Start(offset.max(length.saturating_sub(BLOCK))))?;
        let mut bytes = Vec::new();
        file.take(BLOCK).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let first = lines.len().saturating_sub(count);
    lines[first..].iter().map(|line| line.chars().take(300).collect()).collect()
}

/// Waits for the server's word in its log: a line `ready ID ADDRESS ...` after a given place.
#[derive(Debug)]
pub(super) struct ReadyWatch {
    path: PathBuf,
    offset: u64,
    line: Vec<u8>,
}

/// What the log says so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// The line that says so.
    Ready(String),
    /// Not said yet.
    NotYet,
    /// The log was cut since: the line may have been in what is gone.
    Unknown,
}

impl ReadyWatch {
    /// Watches what is written after `offset`.
    pub(super) fn new(path: PathBuf, offset: u64) -> ReadyWatch {
        ReadyWatch { path, offset, line: Vec::new() }
    }

    /// Reads what is new.
    pub(super) fn look(&mut self) -> Readiness {
        let Ok(mut file) = File::open(&self.path) else { return Readiness::NotYet };
        if file.metadata().is_ok_and(|metadata| metadata.len() < self.offset) {
            return Readiness::Unknown;
        }
        if file.seek(SeekFrom::Start(self.offset)).is_err() {
            return Readiness::NotYet;
        }
        let mut block = vec![0; BLOCK as usize];
        loop {
            match file.read(&mut block) {
                Ok(0) | Err(_) => return Readiness::NotYet,
                Ok(count) => {
                    self.offset += count as u64;
                    if let Some(line) = self.take_in(&block[..count]) {
                        return Readiness::Ready(line);
                    }
                }
            }
        }
    }

    fn take_in(&mut self, bytes: &[u8]) -> Option<String> {
        for byte in bytes {
            if *byte != b'\n' {
                if self.line.len() < LONGEST_LINE {
                    self.line.push(*byte);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line);
            let mut words = line.split_whitespace();
            if line.starts_with("ready ") && words.by_ref().count() >= 3 {
                return Some(line.trim_end().to_owned());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn the_last_lines_begin_where_they_should() {
        let start =
            |text: &str, count| start_of_last_lines(&mut Cursor::new(text), count).expect("in memory");
        assert_eq!(start("a\nb\nc\n", 2), 2);
        assert_eq!(start("a\nb\nc", 2), 2);
        assert_eq!(start("a\nb\nc\n", 3), 0);
        assert_eq!(start("a\nb\nc\n", 99), 0);
        assert_eq!(start("a\nb\nc\n", 0), 6);
        assert_eq!(start("", 3), 0);
    }

    #[test]
    fn the_last_lines_are_found_over_several_blocks() {
        let long = "x".repeat(BLOCK as usize);
        let text = format!("first\n{long}\nlast\n");
        let start = start_of_last_lines(&mut Cursor::new(&text), 2).expect("in memory");
        assert_eq!(&text[start as usize..], format!("{long}\nlast\n"));
    }

    #[test]
    fn only_a_ready_line_after_the_offset_counts() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("log");
        fs::write(&path, "ready 0x1 127.0.0.1:1 of an earlier run\n").expect("write");
        let mut watch = ReadyWatch::new(path.clone(), length(&path));
        assert_eq!(watch.look(), Readiness::NotYet);

        let mut log = fs::OpenOptions::new().append(true).open(&path).expect("open");
        log.write_all(b"2026-11-03 INFO ready soon, says a log line\nready\nrea").expect("write");
        assert_eq!(watch.look(), Readiness::NotYet);
        log.write_all(b"dy 0x2 127.0.0.1:2").expect("write");
        assert_eq!(watch.look(), Readiness::NotYet, "the line has no end yet");
        log.write_all(b" \r\n").expect("write");
        assert_eq!(watch.look(), Readiness::Ready("ready 0x2 127.0.0.1:2".into()));
    }

    #[test]
    fn a_log_that_was_cut_makes_readiness_unknown() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("log");
        fs::write(&path, "ready 0x1 a:1\n").expect("write");
        let mut watch = ReadyWatch::new(path.clone(), length(&path));
        fs::write(&path, "").expect("cut");
        assert_eq!(watch.look(), Readiness::Unknown);
    }

    #[test]
    fn the_tail_is_of_this_run_and_short() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("log");
        let long = "y".repeat(1000);
        fs::write(&path, format!("old\n\nnew 1\n\nnew 2\n{long}\n")).expect("write");
        assert_eq!(tail(&path, 5, 2), ["new 2".to_owned(), "y".repeat(300)]);
        assert_eq!(tail(&path, 5, 9).len(), 3);
        assert!(tail(&directory.path().join("absent"), 0, 9).is_empty());
    }
}
