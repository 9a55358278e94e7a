//! `forget` and `recover`.

use crate::support::ring::Ring;
use crate::support::{eventually, run};

#[test]
fn a_node_that_died_for_good_is_forgotten_and_deletes_wait_for_it_no_more() {
    let mut ring = Ring::in_eventual_mode(4, 3, "sync");
    let inventory = ring.inventory();
    for key in 0..20 {
        ring.run(&["put", &format!("k{key}"), "v", "--acks", "3"]).exits(0);
    }
    let dead = ring.nodes[3].address.clone();
    ring.run(&["forget", &dead, "--yes"]).exits(1).remarks("runs and answers").remarks("depart");
    ring.nodes.pop().expect("there were four").kill();
    ring.run(&["forget", &dead]).exits(2).remarks("say --yes");
    ring.run(&["forget", "3", "--yes"]).exits(2).remarks("a dead node has no number");
    ring.run(&["forget", "127.0.0.1:1", "--yes"]).exits(2).remarks("its nodes are").remarks(&dead);
    ring.run(&["delete", "k0"]).exits(0);
    // By its name; the ring may not have noticed yet that it is gone: that is waited for.
    run(ring.home(), &["-i", &inventory, "forget", "n3", "--yes"]).exits(0).says("is forgotten");
    ring.becomes_whole();
    let json = ring.run(&["--json", "status"]).exits(0).json();
    assert_eq!(json["copies"]["awaited"].as_array().map(Vec::len), Some(0));
    run(ring.home(), &["-i", &inventory, "status"]).exits(0).says("n3").says("is no member");
    ring.run(&["forget", &dead, "--yes"]).exits(2).remarks("is no member of the cluster");
    for key in 1..20 {
        assert_eq!(ring.run(&["get", &format!("k{key}")]).exits(0).out, "v");
    }
    eventually("its keys have other replicas", || {
        let ran = ring.run(&["audit"]);
        ran.code == 0 && ran.out.contains("3 ranges, 9 replicas, 19 keys compared")
    });
    ring.run(&["get", "k0"]).exits(3);
}

#[test]
fn there_is_nothing_to_recover() {
    let mut ring = Ring::in_eventual_mode(3, 3, "memory");
    ring.run(&["put", "Berlin", "1", "--acks", "3"]).exits(0);
    for arguments in
        [&["recover", "--yes"][..], &["recover", "--accept-loss"], &["recover", "--quorum", "--yes"]]
    {
        ring.run(arguments)
            .exits(2)
            .remarks("nothing to recover in eventual mode")
            .remarks("chordata forget");
    }
    for node in &mut ring.nodes[1..] {
        node.kill();
    }
    // The last one of three answers at once, and takes writes.
    assert_eq!(ring.run(&["get", "Berlin"]).exits(0).out, "1");
    ring.run(&["put", "Berlin", "2"]).exits(0);
    assert_eq!(ring.run(&["get", "Berlin"]).exits(0).out, "2");
}

#[test]
fn nobody_misses_a_node_that_departs_or_lost_what_it_had_in_memory() {
    let mut ring = Ring::in_eventual_mode(4, 2, "memory");
    for key in 0..20 {
        ring.run(&["put", &format!("k{key}"), "v", "--acks", "2"]).exits(0);
    }
    ring.nodes[2].kill();
    ring.start_again(2, 2, "memory");
    ring.becomes_whole();
    ring.run(&["delete", "k0"]).exits(0);
    ring.run_at(3, &["rpc", "depart"]).exits(0);
    let _gone = ring.nodes.pop().expect("there were four");
    ring.becomes_whole();
    eventually("its keys have other replicas, and nothing waits", || {
        let ran = ring.run(&["--json", "audit"]);
        let json = if ran.code == 0 { ran.json() } else { return false };
        json["keys_compared"] == 19 && json["remarks"].as_array().is_some_and(Vec::is_empty)
    });
}

#[test]
fn a_store_whose_disk_was_wiped_is_forgotten_by_its_name() {
    let mut ring = Ring::in_eventual_mode(3, 3, "sync");
    ring.run(&["put", "Berlin", "1", "--acks", "3"]).exits(0);
    let address = ring.nodes[2].address.clone();
    let json = ring.run_at(2, &["--json", "status"]).exits(0).json();
    let place =
        json["nodes"].as_array().expect("a list").iter().position(|row| row["address"] == address.as_str());
    let store = json["copies"]["nodes"][place.expect("it is one of them")]["store"].clone();
    let store = store.as_str().expect("a name");
    ring.run(&["forget", store, "--yes"]).exits(1).remarks("runs and answers");
    ring.nodes[2].kill();
    std::fs::remove_dir_all(ring.home().join("2.data")).unwrap();
    ring.start_again(2, 3, "sync");
    ring.becomes_whole();
    ring.run(&["status"]).says(&format!("store {store} (once at {address}) is away"));
    eventually("it has its copies, and the audit remarks that the other store is missed", || {
        let ran = ring.run(&["audit"]);
        ran.code == 0
            && ran.out.contains(&format!("store {store} (once at {address}) is away"))
            && ran.out.contains("3 ranges, 9 replicas, 1 key compared")
    });
    ring.run(&["forget", &address, "--yes"]).exits(1).remarks("runs and answers");
    ring.run(&["delete", "Berlin"]).exits(0);
    ring.run(&["forget", &"0".repeat(32), "--yes"]).exits(2).remarks("those that are:").remarks(store);
    ring.run(&["forget", store]).exits(2).remarks("say --yes");
    ring.run(&["forget", store, "--yes"]).exits(0).says(&format!("store {store} is forgotten"));
    let ran = ring.run(&["status"]).exits(0);
    assert!(!ran.out.contains(store), "{}", ran.out);
    ring.run(&["audit"]).exits(0);
}
