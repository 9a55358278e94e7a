//! `forget` and `recover`.

use crate::support::eventually;
use crate::support::ring::{Node, Ring};

#[test]
fn a_node_that_died_for_good_is_forgotten_and_the_others_are_whole_without_it() {
    let mut ring = Ring::with_chains(4, 3, "memory");
    for key in 0..20 {
        ring.run(&["put", &format!("k{key}"), "v"]).exits(0);
    }
    let dead = ring.nodes[3].address.clone();
    ring.run(&["forget", &dead, "--yes"]).exits(1).remarks("runs and answers").remarks("depart");
    ring.nodes.pop().expect("there were four").kill();
    ring.run(&["forget", &dead]).exits(2).remarks("say --yes");
    ring.run(&["forget", "3", "--yes"]).exits(2).remarks("a dead node has no number");
    ring.run(&["forget", "127.0.0.1:1", "--yes"]).exits(2).remarks("its members are").remarks(&dead);
    eventually("it is forgotten, once the ring has noticed", || {
        ring.run(&["forget", &dead, "--yes"]).code == 0
    });
    ring.becomes_whole();
    for key in 0..20 {
        assert_eq!(ring.run(&["get", &format!("k{key}")]).exits(0).out, "v");
    }
    ring.run(&["audit"]).exits(0).says("3 ranges, 9 replicas, 20 keys compared");
}

#[test]
fn losses_are_accepted_by_an_operator_and_told_for_ever_after() {
    let mut ring = Ring::with_chains(3, 1, "memory");
    ring.run(&["recover"]).exits(0).says("nothing is to be recovered");
    let dead = ring.nodes[2].address.clone();
    let keys: Vec<String> = (0..30).map(|key| format!("k{key}")).collect();
    for key in &keys {
        ring.run(&["put", key, "v"]).exits(0);
    }
    ring.nodes.pop().expect("there were three").kill();
    eventually("nobody serves what it held", || {
        let ran = ring.run(&["status"]);
        ran.code == 1 && ran.out.contains("no replica of the range")
    });
    ring.run(&["recover"]).exits(2).remarks("may be lost for ever").remarks("say --yes");
    ring.run(&["recover", "--accept-loss"]).exits(0).says("served again, perhaps with losses");
    ring.run(&["status"]).says("LOSS").says("may have lost acknowledged writes");
    let missing = keys.iter().filter(|key| ring.run(&["get", key]).code == 3).count();
    assert!(missing > 0 && missing < keys.len(), "the keys of one of three nodes are gone: {missing}");
    ring.run(&["forget", &dead, "--yes"]).exits(0);
    ring.becomes_whole();
}

#[test]
fn clusters_without_replicas_have_nothing_to_forget_or_recover() {
    let ring = Ring::single(1);
    ring.run(&["recover", "--yes"]).exits(2).remarks("one copy of each key");
    ring.run(&["recover", "--quorum", "--yes"]).exits(2).remarks("one copy of each key");
    ring.run(&["forget", "127.0.0.1:1", "--yes"]).exits(2).remarks("one copy of each key");
}

#[test]
fn a_lost_quorum_is_rebuilt_from_the_node_that_is_left() {
    let mut ring = Ring::with_chains(3, 3, "sync");
    let keys: Vec<String> = (0..20).map(|key| format!("k{key}")).collect();
    for key in &keys {
        ring.run(&["put", key, "v"]).exits(0);
    }
    eventually("all three vote", || ring.run(&["status"]).out.contains("voters 0, 1, 2"));
    ring.run(&["recover", "--quorum", "--yes"]).exits(1).remarks("has a coordinator with a quorum");
    ring.run(&["recover", "--quorum", "--accept-loss"]).exits(2);
    let mut dead: Vec<_> = ring.nodes.drain(1..).collect();
    dead.iter_mut().for_each(Node::kill);
    // Its head may be one of the dead, or have taken it and not know what becomes of it.
    assert!([4, 5].contains(&ring.run(&["put", "k0", "w"]).code));
    ring.run(&["recover", "--quorum"])
        .exits(2)
        .remarks("has lost its quorum; 1 of 3 members answer")
        .remarks(&format!("does not answer: {}", dead[0].address))
        .remarks("say --yes");
    let ran =
        ring.run(&["recover", "--quorum", "--yes"]).exits(0).says("has rebuilt the coordinator's group");
    for node in &dead {
        assert!(ran.out.contains(&format!("chordata forget {}", node.address)), "{}", ran.out);
        ring.run(&["forget", &node.address, "--yes"]).exits(0);
    }
    ring.becomes_whole();
    for key in &keys[1..] {
        assert_eq!(ring.run(&["get", key]).exits(0).out, "v");
    }
    ring.run(&["put", "k0", "x"]).exits(0);
    ring.run(&["audit"]).exits(0).says("20 keys compared");
    ring.run(&["status"]).exits(0);
}
