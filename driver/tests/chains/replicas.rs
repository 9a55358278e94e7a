//! `lookup --replicas`.

use crate::support::eventually;
use crate::support::ring::Ring;

#[test]
fn each_replica_says_what_it_has_of_a_key() {
    let mut ring = Ring::with_chains(3, 3, "memory");
    ring.run(&["put", "Berlin", "3.7 million"]).exits(0);
    eventually("the news of the commit has reached the head", || {
        let table = ring.run(&["--json", "lookup", "Berlin", "--replicas"]).exits(0).json();
        table["replicas"].as_array().is_some_and(|rows| rows.iter().all(|row| row["state"] == "clean"))
    });
    let hash = blake3::hash(b"3.7 million").to_hex().to_string();
    ring.run(&["lookup", "Berlin", "--replicas"])
        .exits(0)
        .says("Berlin has id 0x")
        .says("head")
        .says("middle")
        .says("tail")
        .says(&hash[..8])
        .says("the serving replicas that answer agree");
    let json = ring.run(&["--json", "lookup", "Berlin", "--replicas"]).exits(0).json();
    let rows = json["replicas"].as_array().expect("a list");
    let roles: Vec<&str> = rows.iter().filter_map(|row| row["role"].as_str()).collect();
    assert_eq!(roles, ["head", "middle", "tail"], "in the order of the chain");
    for row in rows {
        assert_eq!((row["hash"].as_str(), row["bytes"].as_u64()), (Some(&hash[..32]), Some(11)));
        assert_eq!((&row["version"], &row["epoch"]), (&rows[0]["version"], &json["epoch"]));
    }
    let absent = ring.run(&["--json", "lookup", "nowhere", "--replicas"]).exits(0).json();
    assert!(absent["replicas"].as_array().expect("a list").iter().all(|row| row["state"] == "absent"));
    ring.run(&["lookup", "Berlin", "--replicas", "--trace"]).exits(2);

    let dead = ring.nodes[2].address.clone();
    ring.nodes[2].kill();
    ring.run(&["lookup", "Berlin", "--replicas"]).exits(0).says("clean");
    let json = ring.run(&["--json", "lookup", "Berlin", "--replicas"]).exits(0).json();
    for row in
        json["replicas"].as_array().expect("a list").iter().filter(|row| row["address"] == dead.as_str())
    {
        assert!(row["state"].as_str().is_some_and(|state| state.starts_with("no answer")), "{row}");
    }
}

#[test]
fn without_chains_the_one_copy_is_shown() {
    let ring = Ring::single(2);
    ring.run(&["put", "Berlin", "1"]).exits(0);
    ring.run(&["lookup", "Berlin", "--replicas"]).exits(0).says("owner").says("one copy of each key");
}
