//! `--level`.

use crate::support::ring::Ring;

#[test]
fn any_replica_answers_where_the_majority_is_gone_and_only_those_who_take_any() {
    let mut ring = Ring::with_chains(3, 3, "memory");
    ring.run(&["put", "Berlin", "1", "--level", "linearizable"]).exits(0);
    ring.run(&["put", "Berlin", "2", "--level", "any"]).exits(0).remarks("changes nothing for put");
    for level in ["linearizable", "any"] {
        let got = ring.run(&["get", "Berlin", "--level", level]).exits(0);
        assert_eq!(got.out, "2");
        let entry = ring.run(&["get", "Berlin", "--level", level, "--entry", "1"]).exits(0);
        assert_eq!(entry.out, "2");
    }
    ring.run(&["get", "nowhere", "--level", "any"]).exits(3);
    ring.run(&["get", "Berlin", "--level", "eventual"]).exits(2).remarks("linearizable, any");
    for node in &mut ring.nodes[1..] {
        node.kill();
    }
    ring.run(&["get", "Berlin"]).exits(4);
    assert_eq!(ring.run(&["get", "Berlin", "--level", "any"]).exits(0).out, "2");
    let entry = ring.nodes[0].address.clone();
    assert_eq!(ring.run(&["get", "Berlin", "--level", "any", "--entry", &entry]).exits(0).out, "2");
}

#[test]
fn without_chains_any_is_the_one_copy() {
    let ring = Ring::start(2);
    ring.run(&["put", "Berlin", "1"]).exits(0);
    assert_eq!(ring.run(&["get", "Berlin", "--level", "any"]).exits(0).out, "1");
}
