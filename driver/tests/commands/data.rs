//! `put`, `get`, `delete`, `keys`.

use crate::support::ring::Ring;
use crate::support::{eventually, run};

#[test]
fn a_value_is_stored_printed_and_removed() {
    let ring = Ring::start(3);
    ring.run(&["put", "New York", "The Big Apple"]).exits(0).says("stored New York as version ");
    for place in 0..3 {
        let got = ring.run_at(place, &["get", "New York"]).exits(0);
        assert_eq!(got.out, "The Big Apple", "the value and nothing else, when nobody watches");
    }
    ring.run(&["delete", "New York"]).exits(0).says("deleted New York");
    let missing = ring.run(&["get", "New York"]).exits(3).remarks("there is no key New York");
    assert_eq!(missing.out, "");
    ring.run(&["delete", "New York"]).exits(3).remarks("there is no key New York");
}

#[test]
fn bytes_come_from_standard_input_and_go_to_standard_output_exactly() {
    let ring = Ring::start(2);
    let bytes: Vec<u8> = (0..=255).chain([b'\n', 0, b'\n']).cycle().take(100_000).collect();
    ring.run_with_input(&["put", "binary", "-"], &bytes).exits(0);
    let got = ring.run(&["get", "binary"]).exits(0);
    assert!(got.bytes == bytes, "{} bytes instead of {}", got.bytes.len(), bytes.len());
    ring.run_with_input(&["put", "nothing", "-"], b"").exits(0);
    assert_eq!(ring.run(&["get", "nothing"]).exits(0).bytes, b"");
    ring.run(&["put", "negative", "-5"]).exits(0);
    assert_eq!(ring.run(&["get", "negative"]).exits(0).out, "-5");
}

#[test]
fn what_cannot_be_stored_is_exit_code_2_and_says_why() {
    let ring = Ring::start(1);
    ring.run(&["put", "", "v"]).exits(2).remarks("the key is empty");
    ring.run(&["put", &"k".repeat(5000), "v"]).exits(2).remarks("the key has 5000 bytes");
    ring.run(&["get", &"k".repeat(5000)]).exits(2).remarks("the key has 5000 bytes");
    ring.run_with_input(&["put", "k", "-"], &vec![b'v'; 1024 * 1024 + 1]).exits(2).remarks("1 MiB");
    ring.run(&["put", "@0xg", "v"]).exits(2).remarks("is not an id");
    ring.run(&["put", "k", "v", "--if-version", "new"]).exits(2).remarks("EPOCH.SEQUENCE");
    assert_eq!(ring.keys(), 0);
    ring.run_with_input(&["put", "k", "-"], &vec![b'v'; 1024 * 1024]).exits(0);
}

#[test]
fn a_value_with_a_time_to_live_says_when_it_ends_and_is_gone_then() {
    let ring = Ring::start(1);
    ring.run(&["put", "k", "v", "--ttl", "1500ms"]).exits(0).says("stored k");
    let found = ring.run(&["--json", "get", "k"]).exits(0).json();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let expires = u128::from(found["expires"].as_u64().expect("milliseconds since 1970"));
    assert!(expires.abs_diff(now) < 1500 + 60_000, "{found}");
    ring.run(&["lookup", "k", "--replicas"]).exits(0).says("ends ");
    eventually("it is gone", || ring.run(&["get", "k"]).code == 3);
    ring.run(&["put", "k", "v", "--ttl", "1s"]).exits(0);
    ring.run(&["put", "k", "v"]).exits(0);
    assert!(ring.run(&["--json", "get", "k"]).exits(0).json()["expires"].is_null());
    for (wrong, why) in [("30", "a number and a unit"), ("0s", "1 ms to"), ("1w", "a number and a unit")] {
        ring.run(&["put", "k", "v", "--ttl", wrong]).exits(2).remarks(why);
    }
}

#[test]
fn conditions_hold_or_nothing_changes() {
    let ring = Ring::start(2);
    ring.run(&["put", "k", "1", "--if-absent"]).exits(0);
    ring.run(&["put", "k", "2", "--if-absent"]).exits(1).says("nothing was changed");
    let version = ring.run(&["--json", "get", "k"]).exits(0).json()["version"].clone();
    let version = version.as_str().expect("a version is text").to_owned();
    ring.run(&["put", "k", "3", "--if-version", "900.900"]).exits(1).says(&version);
    assert_eq!(ring.run(&["get", "k"]).out, "1");
    ring.run(&["put", "k", "3", "--if-version", &version]).exits(0);
    ring.run(&["delete", "k", "--if-version", &version]).exits(1).says("nothing was changed");
    assert_eq!(ring.run(&["get", "k"]).out, "3");
}

#[test]
fn requests_go_through_the_entry_that_is_named_by_every_policy() {
    let ring = Ring::start(3);
    for policy in ["finger", "one-hop", "successor", "random"] {
        for entry in [ring.nodes[2].address.as_str(), "1"] {
            let key = format!("{policy} {entry}");
            ring.run(&["put", &key, "v", "--entry", entry, "--policy", policy, "--trace"])
                .exits(0)
                .says("WHY THIS ONE");
            let got = ring.run(&["get", &key, "--entry", entry, "--policy", policy, "--trace"]).exits(0);
            assert_eq!(got.out, "v", "the way is shown elsewhere");
            assert!(got.err.contains("WHY THIS ONE"), "{}", got.err);
        }
    }
    ring.run(&["get", "k", "--entry", "9"]).exits(2).remarks("no node number 9");
    ring.run(&["get", "k", "--policy", "best"]).exits(2);
}

#[test]
fn keys_are_listed_by_prefix_by_node_and_up_to_a_limit() {
    let ring = Ring::start(3);
    let text: String = (0..40).map(|number| format!("put {}{number} v\n", ["a", "b"][number % 2])).collect();
    ring.file("forty.txt", &text);
    ring.run(&["replay", "forty.txt", "--quiet"]).exits(0);
    let lines = |arguments: &[&str]| {
        let ran = ring.run(arguments).exits(0);
        let mut lines: Vec<String> = ran.out.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    // `--node ADDRESS` names one of its nodes here: without an inventory, the keys of that one.
    let by_node: Vec<Vec<String>> = (0..3)
        .map(|place| {
            let ran = ring.run_at(place, &["keys"]).exits(0);
            ran.out.lines().map(str::to_owned).collect()
        })
        .collect();
    let mut all: Vec<String> = by_node.concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 40, "each key is at one node");
    assert!(by_node.iter().all(|keys| !keys.is_empty() && keys.len() < 40));

    let inventory = ring.inventory();
    let everywhere = run(ring.home(), &["-i", &inventory, "keys"]).exits(0);
    assert_eq!(everywhere.out.lines().count(), 40);
    let of_one = run(ring.home(), &["-i", &inventory, "keys", "--node", "n1"]).exits(0);
    assert_eq!(of_one.out.lines().map(str::to_owned).collect::<Vec<_>>(), by_node[1]);
    let prefixed = run(ring.home(), &["-i", &inventory, "keys", "--prefix", "a"]).exits(0);
    assert_eq!(prefixed.out.lines().filter(|key| key.starts_with('a')).count(), 20);
    assert_eq!(prefixed.out.lines().count(), 20);
    let few = run(ring.home(), &["-i", &inventory, "keys", "--limit", "7"]).exits(0);
    assert_eq!(few.out.lines().count(), 7);
    assert!(lines(&["keys", "--limit", "1"]).len() == 1);
    let json = run(ring.home(), &["-i", &inventory, "--json", "keys"]).exits(0).json_lines();
    assert!(json.iter().all(|row| row["key"].is_string() && row["node"].is_string()) && json.len() == 40);
}
