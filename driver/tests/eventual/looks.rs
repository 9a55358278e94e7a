//! `lookup --replicas` and `status`.

use crate::support::ring::Ring;
use crate::support::{eventually, run};

#[test]
fn each_replica_says_what_it_has_of_a_key() {
    let mut ring = Ring::in_eventual_mode(4, 3, "sync");
    ring.run(&["put", "Berlin", "3.7 million", "--acks", "3"]).exits(0);
    let hash = blake3::hash(b"3.7 million").to_hex().to_string();
    let ran = ring.run(&["lookup", "Berlin", "--replicas"]).exits(0);
    ran.says("Berlin has id 0x").says("owner").says("replica").says(&hash[..8]).says("that answer agree");
    let json = ring.run(&["--json", "lookup", "Berlin", "--replicas"]).exits(0).json();
    let rows = json["replicas"].as_array().expect("a list");
    let roles: Vec<&str> = rows.iter().filter_map(|row| row["role"].as_str()).collect();
    assert_eq!(roles, ["owner", "replica", "replica"], "in the order of the ring");
    let owner = ring.run(&["--json", "lookup", "Berlin"]).exits(0).json();
    assert_eq!(rows[0]["address"], owner["owner"]);
    for row in rows {
        assert_eq!((row["hash"].as_str(), row["bytes"].as_u64()), (Some(&hash[..32]), Some(11)));
        assert_eq!((row["state"].as_str(), &row["version"]), (Some("clean"), &rows[0]["version"]));
    }
    // One that stops is replaced by the next one of the ring, which gets a copy.
    let gone = rows[1]["address"].clone();
    let place = ring.nodes.iter().position(|node| gone == node.address.as_str()).expect("it is one of them");
    ring.nodes[place].kill();
    let other = if place == 0 { 1 } else { 0 };
    eventually("another node is a replica", || {
        let ran = ring.run_at(other, &["--json", "lookup", "Berlin", "--replicas"]);
        let table = if ran.code == 0 { ran.json() } else { serde_json::Value::Null };
        let rows = table["replicas"].as_array().cloned().unwrap_or_default();
        rows.len() == 3 && rows.iter().all(|row| row["state"] == "clean" && row["address"] != gone)
    });
    ring.run_at(other, &["lookup", "nowhere", "--replicas"]).exits(0).says("absent");
}

#[test]
fn status_shows_who_keeps_what_and_who_is_missed() {
    let mut ring = Ring::in_eventual_mode(4, 3, "sync");
    let ran = ring.run(&["status"]).exits(0);
    ran.says("eventual: 3 replicas of every key").says("every key with all its replicas as far as is known");
    let dead = ring.nodes[2].address.clone();
    ring.nodes[2].kill();
    eventually("it is missed", || {
        let ran = ring.run(&["status"]);
        ran.code == 1
            && ran.out.contains(&format!("{dead}: held the arc"))
            && ran.out.contains("other replicas have its keys")
            && ran.out.contains("chordata forget")
    });
    let json = ring.run(&["--json", "status"]).exits(1).json();
    assert_eq!(json["dead"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["dead"][0]["address"], dead.as_str());
    // An address that was never one of its nodes is none of them.
    let inventory = ring.inventory();
    let text = std::fs::read_to_string(&inventory).unwrap() + "[[host]]\nname = \"new\"\nlisten_port = 1\n";
    let inventory = ring.file("more.toml", &text).display().to_string();
    run(ring.home(), &["-i", &inventory, "status"]).exits(1).says("new 127.0.0.1:1 is no member");
    ring.start_again(2, 3, "sync");
    ring.becomes_whole();
}
