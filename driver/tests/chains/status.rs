//! `status` of chains.

use crate::support::eventually;
use crate::support::ring::Ring;

#[test]
fn status_shows_roles_ranges_and_the_coordinator() {
    let ring = Ring::with_chains(4, 3, "memory");
    ring.run(&["put", "Berlin", "1"]).exits(0);
    // A chain that was full may still be brought into the order of the ring.
    ring.becomes_whole();
    let ran = ring
        .run(&["status"])
        .exits(0)
        .says("chains: 3 replicas of every key, durability memory")
        .says("coordinator: led by ")
        .says("HEAD → TAIL")
        .says("3 of 3")
        .says("1 head, 1 middle, 1 tail")
        .says("every range with all its replicas");
    assert!(!ran.out.contains("under-replicated") && !ran.out.contains("LOSS"), "{}", ran.out);
    let json = ring.run(&["--json", "status"]).exits(0).json();
    let chains = &json["chains"];
    assert_eq!((chains["replication"].as_u64(), chains["durability"].as_str()), (Some(3), Some("memory")));
    let ranges = chains["ranges"].as_array().expect("a list");
    assert_eq!(ranges.len(), 4);
    for range in ranges {
        let chain = range["chain"].as_array().expect("a list");
        assert_eq!(chain.len(), 3);
        assert!(chain.iter().all(|link| link["serving"] == true && link["answers"] == true));
        assert_eq!((range["lag"].as_u64(), range["changing"].as_bool()), (Some(0), Some(false)));
    }
    assert_eq!(chains["coordinator"]["voters"].as_array().map(Vec::len), Some(3));
    assert!(chains["coordinator"]["leader"]["address"].is_string());
    assert_eq!(chains["losses"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_dead_replica_is_told_with_what_it_held_and_what_can_be_done() {
    let mut ring = Ring::with_chains(4, 3, "memory");
    let dead = ring.nodes[3].address.clone();
    ring.nodes[3].kill();
    eventually("its chains go on without it", || {
        let ran = ring.run(&["status"]);
        ran.code == 1
            && ran.out.contains(&format!("{dead}: held the arc"))
            && ran.out.contains("2 of 3 under-replicated")
            && ran.out.contains("chordata forget")
    });
    let json = ring.run(&["--json", "status"]).exits(1).json();
    assert_eq!(json["dead"][0]["address"], dead.as_str());
    ring.run(&["put", "Berlin", "1"]).exits(0);
}

#[test]
fn a_cluster_of_single_copies_has_no_chains_to_show() {
    let ring = Ring::single(1);
    let json = ring.run(&["--json", "status"]).exits(0).json();
    assert!(json["chains"].is_null() && json["nodes"][0]["roles"].is_null());
}
