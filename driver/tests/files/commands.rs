//! What each command says, and with which exit code.

use crate::support::ring::Ring;
use crate::tools::{MIB, all_over, content, fetched, pieces, source, text};

#[test]
fn files_are_stored_listed_shown_fetched_and_removed() {
    let ring = Ring::with_chains(3, 2, "interval");
    let all = content(1, 5 * MIB + 17);
    let path = source(&ring, "big.bin", &all);
    ring.run(&["file", "put", text(&path)]).exits(0).says("stored big.bin").says("6 chunks").says("/s");
    ring.run(&["file", "put", text(&path), "--name", "two/b", "--content-type", "x/y"]).exits(0);
    let hash = blake3::hash(&all).to_hex().to_string();
    let listed = all_over(&ring, &["--json", "file", "ls"]).exits(0).json();
    let files = listed["files"].as_array().unwrap();
    assert_eq!(files.len(), 2);
    assert_eq!((files[0]["name"].as_str(), files[0]["hash"].as_str()), (Some("big.bin"), Some(&*hash)));
    assert_eq!((files[0]["size"].as_u64(), files[0]["chunks"].as_u64()), (Some(all.len() as u64), Some(6)));
    all_over(&ring, &["file", "ls"]).exits(0).says("big.bin").says(&hash[..12]).says("5.00 MiB");
    all_over(&ring, &["file", "ls", "two/"]).exits(0).says("two/b");
    let stat = ring.run(&["--json", "file", "stat", "two/b", "--check"]).exits(0).json();
    let nodes = stat["nodes"].as_array().unwrap();
    let chunks: u64 = nodes.iter().map(|node| node["chunks"].as_u64().unwrap()).sum();
    assert_eq!(chunks, 12, "two copies of six");
    assert_eq!(nodes.iter().filter(|node| node["manifest"] == true).count(), 2);
    assert_eq!(stat["content_type"], "x/y");
    // Every node says itself what it has, and the key of the manifest is one like any other.
    let mut held = 0;
    for number in 0..3 {
        let there = ring.run_at(number, &["--json", "file", "ls"]).exits(0).json();
        let rows = there["files"].as_array().unwrap().clone();
        held += rows.iter().map(|row| row["chunks"].as_u64().unwrap()).sum::<u64>();
    }
    assert_eq!(held, 24);
    all_over(&ring, &["file", "ls", "--node", "1"]).exits(0).says("files stored at").says("two/b");
    ring.run(&["lookup", ".chordata/file/big.bin", "--replicas"]).exits(0);
    assert_eq!(fetched(&ring, 2, "two/b"), all);
    let remarked = ring.run(&["file", "get", "two/b", "-o", "-"]).exits(0).remarks("verified");
    assert_eq!(remarked.bytes, all);
    ring.run(&["file", "get", "two/b"]).exits(0);
    assert_eq!(std::fs::read(ring.home().join("b")).unwrap(), all);
    ring.run(&["file", "rm", "big.bin", "two/b"]).exits(0).says("removed two/b");
    assert_eq!(pieces(&ring), Vec::<String>::new());
    assert_eq!(ring.keys(), 0);
    ring.run(&["file", "get", "two/b"]).exits(3).remarks("there is no file two/b");
}

#[test]
fn standard_input_is_stored_as_it_comes() {
    let ring = Ring::with_chains(3, 3, "memory");
    let all = content(2, 2 * MIB + 5);
    ring.run_with_input(&["file", "put", "-", "--name", "stream"], &all).exits(0).says("3 chunks");
    assert_eq!(ring.run(&["file", "get", "stream", "-o", "-"]).exits(0).bytes, all);
    ring.run_with_input(&["file", "put", "-", "--name", "empty"], b"").exits(0);
    assert_eq!(fetched(&ring, 1, "empty"), b"");
}

#[test]
fn bad_input_is_refused_and_changes_nothing() {
    let ring = Ring::single(1);
    let path = source(&ring, "x", b"x");
    ring.run(&["file", "put", text(&path)]).exits(0);
    ring.run(&["file", "put", text(&path), "--if-absent"]).exits(1).remarks("is there already");
    ring.run(&["file", "put", "missing"]).exits(2).remarks("missing");
    ring.run(&["file", "put", text(ring.home())]).exits(2).remarks("no regular file");
    ring.run(&["file", "put", "-"]).exits(2).remarks("--name");
    ring.run(&["file", "put", text(&path), "--name", "a\nb"]).exits(2).remarks("control character");
    ring.run(&["file", "rm", "nobody"]).exits(3);
    ring.run(&["file", "stat", "nobody"]).exits(3);
    ring.run(&["file", "tidy", "--age", "soon"]).exits(2).remarks("no age");
    ring.run(&["file", "tidy"]).exits(0).says("everything belongs to a file");
    assert_eq!(fetched(&ring, 0, "x"), b"x");
    ring.run(&["file", "put", text(&path), "--name", ".."]).exits(0);
    ring.run(&["file", "get", ".."]).exits(2).remarks("say where to with -o");
    crate::support::run(ring.home(), &["--node", "127.0.0.1:1", "file", "ls"]).exits(4);
}

#[test]
fn a_corrupted_chunk_is_found_and_nothing_of_it_is_given_out() {
    let ring = Ring::with_chains(3, 3, "memory");
    let path = source(&ring, "x", &content(3, 4 * MIB));
    ring.run(&["file", "put", text(&path)]).exits(0);
    let spoiled = pieces(&ring).into_iter().find(|key| key.contains(".c00000002.")).unwrap();
    ring.run(&["put", &spoiled, "something else"]).exits(0);
    let copy = ring.home().join("copy");
    ring.run(&["file", "get", "x", "-o", text(&copy)])
        .exits(1)
        .remarks("damaged: chunk 2 is not what was stored");
    assert!(!copy.exists());
    ring.run(&["file", "stat", "x", "--check"]).exits(1).says("MISSING OR WRONG");
    let written = ring.run(&["file", "get", "x", "-o", "-"]).exits(1).remarks("not the whole file").bytes;
    assert!(content(3, 2 * MIB).starts_with(&written), "what was written is right");
    // Putting it again mends it.
    ring.run(&["file", "put", text(&path)]).exits(0).says("replaced");
    ring.run(&["file", "stat", "x", "--check"]).exits(0);
    assert_eq!(fetched(&ring, 0, "x"), content(3, 4 * MIB));
}
