//! `--acks`, `--level` and conditions.

use crate::support::ring::Ring;

#[test]
fn acks_say_how_many_replicas_have_a_write_and_are_asked_by_a_read() {
    let mut ring = Ring::in_eventual_mode(3, 3, "sync");
    ring.run(&["put", "Berlin", "1", "--acks", "3"]).exits(0);
    for place in 0..3 {
        let copy = ring.run_at(place, &["rpc", "copy", "Berlin"]).exits(0);
        assert!(copy.out.contains("\"bytes\": 1"), "it has it without waiting: {}", copy.out);
    }
    assert_eq!(ring.run(&["get", "Berlin", "--acks", "3"]).exits(0).out, "1");
    ring.run(&["put", "Berlin", "2", "--acks", "4"]).exits(2).remarks("ask for 1 to 3");
    ring.run(&["get", "Berlin", "--acks", "4"]).exits(2).remarks("ask for 1 to 3");
    ring.run(&["put", "Berlin", "2", "--acks", "0"]).exits(2);
    ring.run(&["delete", "Berlin", "--acks", "3"]).exits(0);
    ring.run(&["get", "Berlin", "--acks", "2"]).exits(3);
    let file =
        ring.file("some.txt", "put a 1\nget a\nput b 2\nget b\ndelete a\nget a\n").display().to_string();
    ring.run(&["replay", &file, "--acks", "3"]).exits(0);
    ring.run(&["replay", &file, "--acks", "4"]).exits(4).says("ask for 1 to 3");
    // Unless it is said otherwise, a replay can verify its answers.
    ring.run(&["replay", &file]).exits(0).remarks("every operation waits for 3 replicas");
    // With two of three gone only one copy can be stored.
    ring.nodes[1].kill();
    ring.nodes[2].kill();
    let few = ring.run(&["put", "Berlin", "3", "--acks", "2"]);
    assert!([2, 5].contains(&few.code), "{few:?}");
    ring.run(&["put", "Berlin", "4"]).exits(0);
    assert_eq!(ring.run(&["get", "Berlin"]).exits(0).out, "4");
}

#[test]
fn the_newest_is_not_promised_to_those_who_ask_for_it() {
    let ring = Ring::in_eventual_mode(2, 2, "memory");
    ring.run(&["put", "Berlin", "1", "--acks", "2"]).exits(0);
    assert_eq!(ring.run(&["get", "Berlin"]).exits(0).out, "1");
    for entry in [&[][..], &["--entry", "0"], &["--entry", "1"]] {
        let get = [&["get", "Berlin", "--level", "any"][..], entry].concat();
        assert_eq!(ring.run(&get).exits(0).out, "1");
    }
    ring.run(&["get", "Berlin", "--level", "linearizable"])
        .exits(2)
        .remarks("is in eventual mode")
        .remarks("--acks");
    ring.run(&["put", "Berlin", "2", "--level", "linearizable"]).exits(2).remarks("is in eventual mode");
    ring.run(&["put", "Berlin", "2", "--level", "any"]).exits(0).remarks("--acks N says how many");
    for swap in [
        &["put", "Berlin", "3", "--if-absent"][..],
        &["put", "Berlin", "3", "--if-version", "1.1"],
        &["delete", "Berlin", "--if-version", "1.1"],
        &["rpc", "compare_and_swap", "Berlin", "none", "3"],
    ] {
        ring.run(swap).exits(2).remarks("compare-and-swap needs one order of a key's writes");
    }
    let digest = ring.run(&["rpc", "digest", "0", "0"]).exits(0).json();
    assert_eq!((digest["count"].as_u64(), digest["damaged"].as_u64()), (Some(1), Some(0)));
    ring.run(&["get", "Berlin", "--help"]).exits(0).says("--acks <N>");
}

#[test]
fn acks_are_for_eventual_mode() {
    let chains = Ring::with_chains(1, 1, "memory");
    let file = chains.file("some.txt", "put a 1\n").display().to_string();
    for command in [&["put", "a", "1"][..], &["get", "a"], &["delete", "a"], &["replay", &file]] {
        let command = [command, &["--acks", "1"]].concat();
        chains.run(&command).exits(2).remarks("chains always store a write at every replica");
    }
    let few = chains.run(&["rpc", "digest", "0", "0"]).exits(2);
    few.remarks("only in eventual mode is a digest taken of a store as it is");
    let single = Ring::start_with(1, &["--consistency", "single"]);
    single.run(&["put", "a", "1", "--acks", "1"]).exits(2).remarks("keeps one copy of each key");
}
