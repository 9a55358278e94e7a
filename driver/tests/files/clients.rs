//! Clients that meet each other, and clients that are killed.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Instant;

use crate::support::ring::Ring;
use crate::support::{PATIENCE, chordata, eventually};
use crate::tools::{MIB, all_over, content, fetched, is_whole, pieces, source, text};

/// A command that is killed when this is dropped.
struct Running(Child);

impl Running {
    fn start(ring: &Ring, arguments: &[&str]) -> Running {
        let mut command = chordata(ring.home(), &["--node", &ring.nodes[0].address]);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Running(command.spawn().unwrap())
    }

    /// Bytes that it has read so far, of whatever.
    fn bytes_read(&self) -> usize {
        let io = std::fs::read_to_string(format!("/proc/{}/io", self.0.id())).unwrap_or_default();
        let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
        line.and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// kill -9 as soon as a condition is true.
    #[track_caller]
    fn kill_when(mut self, mut is_so: impl FnMut(&Running) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(&self) {
            assert!(self.0.try_wait().unwrap().is_none(), "it was too fast for the test");
            assert!(Instant::now() < deadline, "it is too slow for the test");
            std::thread::yield_now();
        }
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn length(path: &Path) -> usize {
    std::fs::metadata(path).map_or(0, |metadata| usize::try_from(metadata.len()).unwrap())
}

#[test]
fn of_puts_of_one_name_at_the_same_time_one_file_is_left_whole_with_its_chunks_only() {
    let ring = Ring::with_chains(4, 3, "memory");
    let sources: Vec<_> =
        (0..4).map(|number| source(&ring, &format!("from{number}"), &content(number, 4 * MIB))).collect();
    let codes: Vec<i32> = std::thread::scope(|scope| {
        let ring = &ring;
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let path = text(&sources[number]);
                scope.spawn(move || ring.run_at(number, &["file", "put", path, "--name", "x"]).code)
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(codes.contains(&0) && codes.iter().all(|code| [0, 1].contains(code)), "{codes:?}");
    let left = fetched(&ring, 1, "x");
    let winner = (0..4).find(|number| content(*number, 4 * MIB) == left);
    assert_eq!(codes[usize::try_from(winner.expect("one of them, whole")).unwrap()], 0);
    // The losers have removed what was theirs, and the winners what they replaced.
    assert_eq!(pieces(&ring).len(), 4);
    ring.run(&["file", "tidy", "--age", "0s", "--dry-run"]).exits(0).says("everything belongs to a file");
}

#[test]
fn a_killed_upload_is_invisible_and_goes_on() {
    let ring = Ring::with_chains(3, 3, "memory");
    let all = content(5, 48 * MIB);
    let path = source(&ring, "x", &all);
    Running::start(&ring, &["file", "put", text(&path)]).kill_when(|put| put.bytes_read() > 24 * MIB);
    ring.run(&["file", "get", "x"]).exits(3);
    assert_eq!(
        all_over(&ring, &["--json", "file", "ls"]).exits(0).json()["files"].as_array().unwrap().len(),
        0
    );
    let there = pieces(&ring).len();
    assert!(there > 4, "{there}");
    ring.run(&["file", "tidy", "--dry-run"]).exits(0).says("unfinished").says("stays");
    let stored = ring.run(&["--json", "file", "put", text(&path), "--resume"]).exits(0).json();
    let reused = usize::try_from(stored["reused"].as_u64().unwrap()).unwrap() / MIB;
    assert!(reused > 0 && reused <= there, "{reused} of {there}");
    assert_eq!(fetched(&ring, 1, "x"), all);
    assert_eq!(pieces(&ring).len(), 48);
}

#[test]
fn a_killed_upload_is_cleared_away_by_the_next_put_or_by_tidy() {
    let ring = Ring::with_chains(3, 2, "memory");
    let path = source(&ring, "x", &content(6, 40 * MIB));
    let kill_one =
        || Running::start(&ring, &["file", "put", text(&path)]).kill_when(|put| put.bytes_read() > 20 * MIB);
    kill_one();
    assert!(!pieces(&ring).is_empty());
    let other = source(&ring, "other", b"small");
    ring.run(&["file", "put", text(&other), "--name", "x"]).exits(0);
    assert_eq!(pieces(&ring).len(), 1);
    assert_eq!(fetched(&ring, 2, "x"), b"small");
    kill_one();
    assert!(pieces(&ring).len() > 1);
    ring.run(&["file", "tidy", "--age", "0s"]).exits(0).says("unfinished").says("removed");
    assert_eq!(pieces(&ring).len(), 1);
    assert!(is_whole(&ring, "x"));
}

#[test]
fn a_killed_upload_in_eventual_mode_is_invisible_goes_on_or_is_tidied() {
    let ring = Ring::in_eventual_mode(3, 2, "memory");
    let all = content(7, 40 * MIB);
    let path = source(&ring, "x", &all);
    Running::start(&ring, &["file", "put", text(&path)]).kill_when(|put| put.bytes_read() > 20 * MIB);
    ring.run(&["file", "get", "x"]).exits(3);
    let stored = ring.run(&["--json", "file", "put", text(&path)]).exits(0).json();
    assert!(stored["reused"].as_u64().unwrap() >= MIB as u64, "{stored}");
    eventually("all replicas have it", || is_whole(&ring, "x"));
    Running::start(&ring, &["file", "put", text(&path), "--no-resume"])
        .kill_when(|put| put.bytes_read() > 20 * MIB);
    let left = || pieces(&ring).len();
    eventually("chunks of the killed one are seen", || left() > 40);
    ring.run(&["file", "tidy"]).exits(0).says("unfinished").says("stays");
    eventually("they are tidied away", || {
        ring.run(&["file", "tidy", "--age", "0s"]);
        left() == 40
    });
    assert_eq!(fetched(&ring, 2, "x"), all);
}

#[test]
fn a_killed_download_goes_on() {
    let ring = Ring::with_chains(3, 2, "memory");
    let all = content(8, 48 * MIB);
    let path = source(&ring, "x", &all);
    ring.run(&["file", "put", text(&path)]).exits(0);
    let copy = ring.home().join("copy");
    let part = ring.home().join(".copy.chordata-part");
    Running::start(&ring, &["file", "get", "x", "-o", text(&copy)]).kill_when(|_| length(&part) > 8 * MIB);
    assert!(!copy.exists());
    let fetched = ring.run(&["--json", "file", "get", "x", "-o", text(&copy)]).exits(0).json();
    assert!(fetched["reused"].as_u64().unwrap() >= 8 * MIB as u64, "{fetched}");
    assert_eq!(std::fs::read(&copy).unwrap(), all);
    assert!(!part.exists());
}
