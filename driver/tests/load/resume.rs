//! A load that is broken off goes on where it was.

use std::io::Write;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::ring::Ring;
use crate::support::{chordata, eventually};

/// Rows in many batches: the first are noted long before the last are read.
const ROWS: usize = 300_000;

fn file(ring: &Ring) {
    let mut text = std::io::BufWriter::new(std::fs::File::create(ring.home().join("rows.csv")).unwrap());
    writeln!(text, "k,v").unwrap();
    for row in 0..ROWS {
        // A row in a hundred cannot be stored.
        let key = if row % 100 == 7 { String::new() } else { format!("key {row}") };
        writeln!(text, "{key},{row:0100}").unwrap();
    }
}

/// The state of the load, if there is one.
fn state(ring: &Ring) -> Option<std::path::PathBuf> {
    let files = std::fs::read_dir(ring.home().join("state/chordata/loads")).ok()?;
    files.flatten().map(|file| file.path()).find(|path| path.extension().is_some_and(|kind| kind == "json"))
}

/// Begins a load, and breaks it off when it has noted that some rows are done.
fn break_off(ring: &Ring, how: Signal) -> std::process::Output {
    let node = ring.nodes[0].address.clone();
    let mut command =
        chordata(ring.home(), &["--node", &node, "load", "csv", "rows.csv", "--in-flight", "1"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the load has noted how far it is", || state(ring).is_some());
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), how).unwrap();
    child.wait_with_output().unwrap()
}

fn noted(ring: &Ring) -> u64 {
    let state = std::fs::read(state(ring).expect("there is one")).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    state["rows"].as_u64().unwrap()
}

fn ends_whole(ring: &Ring, noted: u64) {
    let report = ring.run(&["--json", "load", "csv", "rows.csv", "--resume"]).exits(1).json();
    assert_eq!(report["skipped"], noted, "{report}");
    assert_eq!(report["failed"], (ROWS / 100) as u64, "of all rows: the file of rejects has them all");
    let rejects = std::fs::read_to_string(ring.home().join("rows.csv.rejects.ndjson")).unwrap();
    assert_eq!(rejects.lines().count(), ROWS / 100, "none twice, none left out");
    assert_eq!(ring.keys() as usize, ROWS - ROWS / 100);
    assert_eq!(ring.run(&["get", &format!("key {}", ROWS - 1)]).exits(0).out, format!("{:0100}", ROWS - 1));
    assert_eq!(state(ring), None, "there is nothing to come back to any more");
}

#[test]
fn after_a_crash_it_goes_on_behind_what_was_acknowledged() {
    let ring = Ring::single(2);
    file(&ring);
    break_off(&ring, Signal::SIGKILL);
    let rows = noted(&ring);
    assert!(rows > 0 && (rows as usize) < ROWS, "{rows}");
    ends_whole(&ring, rows);
}

#[test]
fn an_interrupted_load_says_how_to_go_on_and_a_changed_file_cannot() {
    let ring = Ring::single(2);
    file(&ring);
    let output = break_off(&ring, Signal::SIGINT);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("interrupted") && said.contains("--resume"), "{said}");
    let rows = noted(&ring);
    let path = ring.home().join("rows.csv");
    let whole = std::fs::read(&path).unwrap();
    let changed = path.metadata().unwrap().modified().unwrap();
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"one more,1\n").unwrap();
    ring.run(&["load", "csv", "rows.csv", "--resume"]).exits(2).remarks("has changed since");
    std::fs::write(&path, whole).unwrap();
    std::fs::File::open(&path).unwrap().set_modified(changed).unwrap();
    // What was rejected so far stays where it is, and is not made up.
    let rejects = ring.home().join("rows.csv.rejects.ndjson");
    let written = std::fs::read(&rejects).unwrap();
    assert!(rows > 7 && !written.is_empty(), "some rows were rejected");
    let resume = ["load", "csv", "rows.csv", "--resume"];
    let ran = ring.run(&[&resume[..], &["--rejects", "other.ndjson"]].concat()).exits(2);
    ran.remarks("rows.csv.rejects.ndjson").remarks("leave --rejects out");
    assert!(!ring.home().join("other.ndjson").exists());
    std::fs::write(&rejects, &written[..10]).unwrap();
    ring.run(&resume).exits(2).remarks("are not there any more").remarks("it has 10 bytes");
    assert_eq!(std::fs::read(&rejects).unwrap(), &written[..10], "nothing was made up");
    std::fs::write(&rejects, written).unwrap();
    ends_whole(&ring, rows);
}
