//! Loading goes on while nodes join, leave and die.

use std::process::Stdio;

use crate::support::ring::Ring;
use crate::support::{chordata, eventually};

/// Rows enough that the load outlasts what is done to the nodes: it is also held back by its source.
const ROWS: usize = 60_000;

#[test]
fn loading_goes_on_while_nodes_join_leave_and_die() {
    let mut ring = Ring::with_chains(4, 3, "memory");
    let node = ring.nodes[0].address.clone();
    let mut load =
        chordata(ring.home(), &["--node", &node, "--json", "load", "csv", "-", "--in-flight", "2"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
    let mut input = load.stdin.take().expect("it was piped");
    let (next, steps) = std::sync::mpsc::channel::<()>();
    // A part of the rows before each step, the rest behind the last: rows are on their way at each of them.
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        writeln!(input, "k,v").unwrap();
        for row in 0..ROWS {
            if row % (ROWS / 4) == ROWS / 8 {
                input.flush().unwrap();
                steps.recv().unwrap();
            }
            writeln!(input, "key {row},value {row}").unwrap();
        }
    });
    let keys =
        |ring: &Ring| ring.run(&["--json", "nodes"]).exits(0).json()["nodes"][0]["keys"].as_u64().unwrap();
    eventually("rows are stored", || keys(&ring) > 0);
    next.send(()).unwrap();
    ring.join(4, 3, "memory");
    next.send(()).unwrap();
    ring.run_at(1, &["rpc", "depart"]).exits(0);
    next.send(()).unwrap();
    ring.nodes[2].kill();
    next.send(()).unwrap();
    writer.join().unwrap();
    let output = load.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["loaded"], &report["failed"]), (&ROWS.into(), &0.into()));

    let dead = ring.nodes[2].address.clone();
    ring.run(&["forget", &dead, "--yes"]).exits(0);
    eventually("all replicas agree again", || ring.run(&["audit"]).code == 0);
    let dumped = ring.run(&["dump"]).exits(0);
    let mut rows: Vec<usize> = dumped
        .json_lines()
        .iter()
        .map(|line| {
            let number = line["key"].as_str().unwrap().strip_prefix("key ").unwrap().to_owned();
            assert_eq!(line["value"].as_str().unwrap(), format!("value {number}"));
            number.parse().unwrap()
        })
        .collect();
    rows.sort_unstable();
    assert!(rows.iter().copied().eq(0..ROWS), "{} keys of {ROWS}", rows.len());
}
