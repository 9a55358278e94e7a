//! What the demo shows.

use crate::support::{is_running, run};
use crate::{alone, pids};

#[test]
fn the_demo_gets_everything_right_on_five_servers_that_all_hold_keys_and_leaves_nothing() {
    let _alone = alone();
    let home = tempfile::tempdir().unwrap();
    let ran = run(home.path(), &["demo"])
        .exits(0)
        .says("30 of 30 gets right")
        .says("fingers of 127.0.0.1:")
        .says("(right)")
        .remarks("the ring of 5 servers is whole")
        .remarks("every one of the 5 servers held a key");
    for heading in ["NUMBER", "SHARE", "SUCCESSOR", "ENTERED AT", "ANSWERED BY", "HOPS"] {
        assert!(ran.out.contains(heading), "no column {heading}:\n{}", ran.out);
    }
    assert!(!ran.out.contains("WRONG"));
    for (key, value) in [("1", "1"), ("12", "2"), ("123456", "6"), ("767890", "10")] {
        let is_line = |line: &&str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.get(1..3) == Some(&["get", key]) && words.ends_with(&[value, "(right)"])
        };
        assert!(ran.out.lines().any(|line| is_line(&line)), "the classic get {key} is {value}:\n{}", ran.out);
    }
    let first = ran.out.lines().find(|line| line.starts_with("0 ")).expect("a node number 0");
    assert!(first.contains("00000000"), "the first server has id 0, so the picture is the same each time");
    let started = pids(&ran.err);
    assert_eq!(started.len(), 5, "{}", ran.err);
    assert!(!started.into_iter().any(is_running), "all servers were stopped");
}

#[test]
fn the_demo_works_with_1_2_and_8_servers() {
    let _alone = alone();
    let home = tempfile::tempdir().unwrap();
    for count in ["1", "2", "8"] {
        let plural = if count == "1" { "server" } else { "servers" };
        run(home.path(), &["demo", "--nodes", count])
            .exits(0)
            .says("30 of 30 gets right")
            .remarks(&format!("every one of the {count} {plural} held a key"));
    }
}

#[test]
fn the_demo_works_on_a_ring_of_8_bits() {
    let _alone = alone();
    let home = tempfile::tempdir().unwrap();
    run(home.path(), &["demo", "--bits", "8"])
        .exits(0)
        .says("30 of 30 gets right")
        .remarks("every one of the 5 servers held a key");
}

#[test]
fn as_json_the_demo_prints_nothing_else() {
    let _alone = alone();
    let home = tempfile::tempdir().unwrap();
    let ran = run(home.path(), &["--json", "demo", "--nodes", "2"]).exits(0);
    let lines = ran.json_lines();
    assert_eq!(lines.iter().filter(|line| line["operation"] == "get").count(), 30);
    assert!(lines.iter().any(|line| line["right"] == 30 && line["wrong"] == 0), "a summary");
    assert!(lines.iter().any(|line| line["nodes"].as_array().is_some_and(|nodes| nodes.len() == 2)));
}

#[test]
fn the_demo_shows_chains_and_who_holds_what() {
    let _alone = alone();
    let home = tempfile::tempdir().unwrap();
    for durability in ["memory", "sync"] {
        let chain = ["demo", "--consistency", "chain", "--replication", "2", "--durability", durability];
        run(home.path(), &chain)
            .exits(0)
            .says("30 of 30 gets right")
            .says(&format!("chains: 2 replicas of every key, durability {durability}"))
            .says("HEAD → TAIL")
            .says("2 of 2");
    }
}

#[test]
fn impossible_demos_are_refused_before_anything_starts() {
    let home = tempfile::tempdir().unwrap();
    for arguments in [
        &["demo", "--nodes", "0"][..],
        &["demo", "--nodes", "65"],
        &["demo", "--bits", "2"],
        &["demo", "--consistency", "chain", "--replication", "17"],
        &["demo", "--consistency", "chain", "--durability", "always"],
    ] {
        run(home.path(), arguments).exits(2);
    }
    let single = ["demo", "--consistency", "single", "--replication", "2"];
    run(home.path(), &single).exits(2).remarks("--consistency single keeps one");
    std::fs::write(home.path().join("bad.txt"), "put a\n").unwrap();
    let ran = run(home.path(), &["demo", "--input", "bad.txt"]).exits(2).remarks("bad.txt:1:6");
    assert_eq!(pids(&ran.err), [0; 0]);
}

#[test]
fn two_demos_at_once_do_not_get_into_each_others_way() {
    let _alone = alone();
    let demos: Vec<_> = (0..2)
        .map(|_| {
            std::thread::spawn(|| {
                let home = tempfile::tempdir().unwrap();
                run(home.path(), &["demo", "--nodes", "3"])
            })
        })
        .collect();
    for demo in demos {
        demo.join().unwrap().exits(0).says("30 of 30 gets right");
    }
}
