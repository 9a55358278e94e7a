//! Files follow their keys.

use crate::support::eventually;
use crate::support::ring::Ring;
use crate::tools::{MIB, all_over, content, fetched, is_whole, source, text};

const NAMES: [&str; 2] = ["large", "small"];

fn contents() -> [Vec<u8>; 2] {
    [content(11, 24 * MIB + 1), content(12, 1000)]
}

fn store(ring: &Ring) {
    for (name, bytes) in NAMES.iter().zip(contents()) {
        let path = source(ring, name, &bytes);
        ring.run(&["file", "put", text(&path)]).exits(0);
    }
}

/// Every replica has what it should, and the files are what they were.
fn all_are_there(ring: &Ring, through: usize) {
    for (name, bytes) in NAMES.iter().zip(contents()) {
        eventually(&format!("{name} is at all its replicas"), || is_whole(ring, name));
        assert_eq!(fetched(ring, through, name), bytes);
    }
}

/// Chunks at a node, by its own word.
fn chunks_at(ring: &Ring, node: usize) -> u64 {
    let there = ring.run_at(node, &["--json", "file", "ls"]).exits(0).json();
    there["files"].as_array().unwrap().iter().map(|row| row["chunks"].as_u64().unwrap()).sum()
}

fn follow(mut ring: Ring, is_eventual: bool) {
    store(&ring);
    all_are_there(&ring, 0);
    // One joins, and takes its share.
    ring.join_one(3);
    ring.becomes_whole();
    all_are_there(&ring, 4);
    assert!(chunks_at(&ring, 4) > 0);
    // One departs.
    ring.run_at(1, &["rpc", "depart"]).exits(0);
    ring.nodes.remove(1);
    ring.becomes_whole();
    all_are_there(&ring, 1);
    // One dies: what it had is read from others at once, and comes back to full strength when it is forgotten.
    let dead = ring.nodes[2].address.clone();
    ring.nodes[2].kill();
    ring.nodes.remove(2);
    for (name, bytes) in NAMES.iter().zip(contents()) {
        assert_eq!(fetched(&ring, 0, name), bytes, "with a dead replica");
    }
    eventually("the dead node is forgotten", || ring.run(&["forget", &dead, "--yes"]).code == 0);
    ring.becomes_whole();
    all_are_there(&ring, 2);
    // And what is stored now is stored.
    let path = source(&ring, "late", &content(13, 3 * MIB));
    ring.run(&["file", "put", text(&path)]).exits(0);
    eventually("it is whole", || is_whole(&ring, "late"));
    ring.run(&["file", "rm", "late", "large", "small"]).exits(0);
    let gone = || (0..ring.nodes.len()).all(|node| chunks_at(&ring, node) == 0);
    if is_eventual { eventually("nothing is left", gone) } else { assert!(gone()) }
}

#[test]
fn files_follow_their_keys_in_chains() {
    follow(Ring::with_chains(4, 3, "interval"), false);
}

#[test]
fn files_follow_their_keys_in_eventual_mode() {
    follow(Ring::in_eventual_mode(4, 3, "interval"), true);
}

/// A node that has just died takes no file out of the list: what it served is asked of whoever serves it next.
#[test]
fn a_list_has_all_files_although_a_node_has_just_died() {
    for mut ring in [Ring::with_chains(4, 3, "memory"), Ring::in_eventual_mode(4, 3, "memory")] {
        let names: Vec<String> = (0..24).map(|number| format!("file {number:02}")).collect();
        for name in &names {
            ring.run_with_input(&["file", "put", "-", "--name", name], name.as_bytes()).exits(0);
        }
        for name in &names {
            eventually("it is at all its replicas", || is_whole(&ring, name));
        }
        ring.nodes[2].kill();
        let listed = all_over(&ring, &["--json", "file", "ls"]).exits(0).json();
        let listed = listed["files"].as_array().unwrap().iter();
        let listed: Vec<&str> = listed.map(|file| file["name"].as_str().unwrap()).collect();
        assert_eq!(listed, names);
        all_over(&ring, &["file", "tidy", "--dry-run"]).exits(0).says("everything belongs to a file");
    }
}
