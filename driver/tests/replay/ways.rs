//! How the file is sent: entries, several at once, fresh keys, JSON.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::INPUT;
use crate::support::ring::Ring;
use crate::support::run;

/// The servers at which operations entered, in their order.
fn entered(lines: &[Json]) -> Vec<String> {
    let records = lines.iter().filter(|line| line.get("line").is_some());
    records.map(|line| line["entered"].as_str().expect("an address").to_owned()).collect()
}

#[test]
fn operations_enter_where_it_is_said() {
    let ring = Ring::start(3);
    ring.file("input.txt", INPUT);
    let inventory = ring.inventory();
    let nodes: Vec<String> = ring.nodes.iter().map(|node| node.address.clone()).collect();
    let all: BTreeSet<String> = nodes.iter().cloned().collect();
    let replay = |entry: &str| {
        let ran = run(ring.home(), &["-i", &inventory, "--json", "replay", "--entry", entry]).exits(0);
        entered(&ran.json_lines())
    };
    let around = replay("round-robin");
    assert_eq!(around.len(), 60);
    assert_eq!(around.iter().cloned().collect::<BTreeSet<_>>(), all);
    assert!(around.iter().zip(&around[3..]).all(|(one, later)| one == later), "in turn: {around:?}");

    let random = replay("random");
    assert_eq!(random.iter().cloned().collect::<BTreeSet<_>>(), all, "60 lots reach all three");
    assert!(random.iter().zip(&random[3..]).any(|(one, later)| one != later), "not in turn");

    assert_eq!(replay("first"), vec![around[0].clone(); 60], "number 0");
    assert_eq!(around[0], nodes[0], "the first server has id 0");
    assert_eq!(replay("n2"), vec![nodes[2].clone(); 60], "a name of the inventory");
    assert_eq!(replay(&nodes[1]), vec![nodes[1].clone(); 60], "an address");
    assert_eq!(replay("0"), vec![nodes[0].clone(); 60], "a number");
    run(ring.home(), &["-i", &inventory, "replay", "--entry", "3"]).exits(2).remarks("no node number 3");
}

#[test]
fn several_at_once_keep_the_order_of_each_key() {
    let ring = Ring::start(3);
    let mut text = String::new();
    for round in 0..10 {
        for key in 0..8 {
            text += &format!("put key{key} {round}\n");
        }
    }
    for key in 0..8 {
        text += &format!("get key{key}\ndelete key{key}\nget key{key}\nput key{key} last\nget key{key}\n");
    }
    ring.file("orders.txt", &text);
    for entry in ["round-robin", "random", "first"] {
        let arguments = ["replay", "orders.txt", "--concurrency", "8", "--entry", entry, "--quiet"];
        ring.run(&arguments).exits(0).says("24 of 24 gets right");
    }
    for key in 0..8 {
        assert_eq!(ring.run(&["get", &format!("key{key}")]).exits(0).out, "last");
    }
}

#[test]
fn fresh_keys_leave_what_is_stored_alone() {
    let ring = Ring::start(1);
    ring.run(&["put", "a", "old"]).exits(0);
    ring.file("fresh.txt", "put a new\nget a\n");
    for _ in 0..2 {
        let ran = ring.run(&["replay", "fresh.txt", "--fresh"]).exits(0).says("1 of 1 gets right");
        let said = ran.err.split_whitespace().find(|word| word.starts_with("replay-"));
        let prefix = said.unwrap_or_else(|| panic!("the prefix is not told: {}", ran.err));
        assert_eq!(ring.run(&["get", &format!("{prefix}a")]).exits(0).out, "new");
    }
    assert_eq!(ring.run(&["get", "a"]).exits(0).out, "old");
    assert_eq!(ring.keys(), 3, "each replay had keys of its own");
}

#[test]
fn fresh_replays_do_not_touch_literal_ids_either() {
    let ring = Ring::start(1);
    ring.run(&["put", "@42", "old"]).exits(0);
    ring.file("fresh.txt", "put @42 new\nget @42\n");
    ring.run(&["replay", "fresh.txt", "--fresh"]);
    assert_eq!(
        ring.run(&["get", "@42"]).exits(0).out,
        "old",
        "\"nothing that is stored already is touched\""
    );
}

#[test]
fn as_json_there_is_a_record_for_each_operation_and_a_summary() {
    let ring = Ring::start(2);
    ring.file("three.txt", "put a 1\nget a\nget b\n");
    let ran = ring.run(&["--json", "replay", "three.txt", "--trace"]).exits(0);
    let lines = ran.json_lines();
    assert_eq!(lines.len(), 4, "{}", ran.out);
    for (line, operation, verdict) in [(1, "put", "stored"), (2, "get", "right"), (3, "get", "unjudged")] {
        let record = &lines[line - 1];
        assert_eq!(record["line"], line);
        assert_eq!(record["operation"], operation);
        assert_eq!(record["verdict"], verdict);
        for field in ["key", "id", "entered", "owner", "hops", "timeouts", "elapsed", "path"] {
            assert!(record.get(field).is_some_and(|value| !value.is_null()), "{field} is missing: {record}");
        }
    }
    let summary = &lines[3];
    for (field, value) in
        [("operations", 3), ("puts", 1), ("gets", 2), ("right", 1), ("wrong", 0), ("unjudged", 1)]
    {
        assert_eq!(summary[field], value, "{field}: {summary}");
    }
}

#[test]
fn every_policy_finds_everything_and_a_trace_shows_the_way() {
    let ring = Ring::start(4);
    ring.file("input.txt", INPUT);
    for policy in ["finger", "one-hop", "successor", "random"] {
        ring.run(&["replay", "--policy", policy, "--trace", "--fresh"])
            .exits(0)
            .says("30 of 30 gets right")
            .says("WHY THIS ONE");
    }
    ring.run(&["replay", "--policy", "shortest"]).exits(2).remarks("no routing policy");
    ring.run(&["replay", "--concurrency", "0"]).exits(2);
}

#[test]
fn a_ring_that_is_gone_is_exit_code_4() {
    let mut ring = Ring::start(1);
    ring.file("input.txt", INPUT);
    ring.nodes[0].kill();
    ring.run(&["replay"]).exits(4);
}
