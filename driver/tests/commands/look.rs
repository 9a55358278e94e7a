//! `nodes`, `lookup`, `fingers`, `status`.

use crate::support::eventually;
use crate::support::ring::Ring;

#[test]
fn nodes_are_listed_by_number_with_address_share_and_successor() {
    let ring = Ring::start(3);
    let ran = ring.run(&["nodes"]).exits(0).says("NUMBER").says("SUCCESSOR");
    assert_eq!(ran.out.lines().count(), 4);
    for (place, line) in ran.out.lines().skip(1).enumerate() {
        assert!(line.starts_with(&format!("{place} ")), "{line}");
    }
    for node in &ring.nodes {
        assert!(ran.out.contains(&node.address));
    }
    let json = ring.run(&["--json", "nodes"]).exits(0).json();
    let nodes = json["nodes"].as_array().expect("a list");
    let share: f64 = nodes.iter().map(|node| node["share"].as_f64().expect("a number")).sum();
    assert!((share - 1.0).abs() < 1e-9, "the shares are all of the ring");
    for (place, node) in nodes.iter().enumerate() {
        assert_eq!(node["successor"], nodes[(place + 1) % 3]["id"]);
    }
}

#[test]
fn a_lookup_says_who_serves_a_key_and_how_it_got_there_by_every_policy() {
    let ring = Ring::start(4);
    let expected = ring.run(&["--json", "lookup", "Berlin"]).exits(0).json()["owner"].clone();
    for policy in ["finger", "one-hop", "successor", "random"] {
        for from in 0..4 {
            let ran = ring.run_at(from, &["--json", "lookup", "Berlin", "--policy", policy]).exits(0);
            let found = ran.json();
            assert_eq!(found["owner"], expected, "by {policy} from {from}");
            let path = found["path"].as_array().expect("a list");
            assert_eq!(path[0]["peer"]["address"], ring.nodes[from].address.as_str());
            assert_eq!(path[path.len() - 1]["peer"]["address"], expected);
            assert_eq!(found["hops"].as_u64(), Some(path.len() as u64 - 1), "hops: nodes after the first");
        }
        ring.run(&["lookup", "Berlin", "--trace", "--policy", policy])
            .exits(0)
            .says("Berlin has id 0x")
            .says("is served by")
            .says("WHY THIS ONE")
            .says("STILL TO GO")
            .says("start");
    }
    let from = ring.run(&["--json", "lookup", "Berlin", "--from", "2"]).exits(0).json();
    let second = &ring.run(&["--json", "nodes"]).json()["nodes"][2]["address"];
    assert_eq!(&from["path"][0]["peer"]["address"], second);
    ring.run(&["lookup", "0", "--id"]).exits(0).says(&format!("served by {}", ring.nodes[0].address));
    ring.run(&["lookup", "@0x0"]).exits(0).says(&format!("served by {}", ring.nodes[0].address));
    ring.run(&["lookup", "Berlin", "--id"]).exits(2);
    ring.run(&["lookup", "Berlin", "--policy", "best"]).exits(2);
}

#[test]
fn fingers_are_shown_of_the_node_that_is_named() {
    let ring = Ring::start_with(3, &["--bits", "8"]);
    ring.run(&["rpc", "update_finger_table"]).exits(0);
    ring.run(&["fingers", "1"]).exits(0).says("ENTRIES").says("fingers of 127.0.0.1:");
    let json = ring.run(&["--json", "fingers", &ring.nodes[0].address]).exits(0).json();
    assert_eq!((json["bits"].as_u64(), json["node"].as_str()), (Some(8), Some(&*ring.nodes[0].address)));
    let rows = json["fingers"].as_array().expect("a list");
    assert_eq!((rows[0]["from"].as_u64(), rows[rows.len() - 1]["to"].as_u64()), (Some(0), Some(7)));
    ring.run(&["fingers", "3"]).exits(2).remarks("the ring has 3");
    ring.run(&["fingers", "127.0.0.1:1"]).exits(4);
}

#[test]
fn status_is_healthy_or_names_the_dead_with_the_arc_that_they_held() {
    let mut ring = Ring::start(3);
    ring.run(&["status"]).exits(0).says("healthy: 3 nodes");
    let json = ring.run(&["--json", "status"]).exits(0).json();
    assert_eq!((json["healthy"].as_bool(), json["nodes"].as_array().map(Vec::len)), (Some(true), Some(3)));
    let dead = ring.nodes[2].address.clone();
    ring.nodes[2].kill();
    eventually("the dead node is missed, with its arc", || {
        let ran = ring.run(&["status"]);
        ran.code == 1 && ran.out.contains(&format!("{dead}: held the arc")) && ran.out.contains("1 dead")
    });
    let json = ring.run(&["--json", "status"]).exits(1).json();
    assert_eq!(json["healthy"].as_bool(), Some(false));
    assert_eq!(json["dead"][0]["address"], dead.as_str());
    assert!(json["dead"][0]["share"].as_f64().is_some_and(|share| share > 0.0));
}
