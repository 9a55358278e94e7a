//! `rpc`: every method by its name.

use serde_json::Value as Json;

use crate::support::eventually;
use crate::support::ring::Ring;

fn call(ring: &Ring, arguments: &[&str]) -> Json {
    ring.run(&[&["rpc"][..], arguments].concat()).exits(0).json()
}

#[test]
fn the_seven_methods_that_name_the_system() {
    let ring = Ring::single(3);
    assert_eq!(call(&ring, &["update_numbers"])["count"], 3);
    let refresh = call(&ring, &["update_finger_table"]);
    assert_eq!((refresh["nodes"].as_u64(), refresh["refreshed"].as_u64()), (Some(3), Some(3)));

    let put = call(&ring, &["put", "k", "v"]);
    assert!(put["result"]["Written"].is_string(), "{put}");
    assert_eq!(call(&ring, &["get", "k"])["result"]["value"], "v");
    assert_eq!(call(&ring, &["get", "other"])["result"], Json::Null);

    let info = call(&ring, &["get_conn_info"]);
    let nodes = info["value"].as_array().expect("a list").clone();
    assert_eq!((nodes.len(), info["stale"].as_bool()), (3, Some(false)));
    for (number, node) in nodes.iter().enumerate() {
        let number = number.to_string();
        for attribute in ["address", "port", "id", "successor"] {
            let got = call(&ring, &["get_node", &number, attribute])["value"].clone();
            let expected = node[attribute].as_str().map_or(node[attribute].to_string(), str::to_owned);
            assert_eq!(got, expected.as_str(), "{attribute} of {number}");
        }
    }
    ring.run(&["rpc", "get_node", "3", "port"]).exits(2).remarks("the ring has 3, numbered from 0");
    ring.run(&["rpc", "get_node", "0", "colour"]).exits(2).remarks("address, host, port, id");
    ring.run(&["rpc", "get_node", "one", "port"]).exits(2);

    let granted = call(&ring, &["connect", "127.0.0.1:9"]);
    assert!(granted["id"].is_string() && granted["successor"].is_object(), "{granted}");
    let first = nodes[0]["id"].as_str().expect("an id");
    ring.run(&["rpc", "connect", "127.0.0.1:9", first]).exits(2).remarks("is taken by");
}

#[test]
fn the_other_methods() {
    let mut ring = Ring::start(3);
    let swapped = call(&ring, &["compare_and_swap", "k", "none", "1"]);
    let version = &swapped["result"]["Written"];
    let version = version.as_str().expect("a version is text").to_owned();
    assert!(call(&ring, &["compare_and_swap", "k", "none", "2"])["result"]["Conflict"].is_string());
    assert!(call(&ring, &["compare_and_swap", "k", &version, "none"])["result"]["Deleted"].is_string());
    assert_eq!(call(&ring, &["delete", "k"])["result"]["Deleted"], Json::Null);
    assert_eq!(call(&ring, &["put_many", "a", "1", "b", "2"]).as_array().map(Vec::len), Some(2));
    let got = call(&ring, &["get_many", "a", "nothing", "b"]);
    assert_eq!((&got[0]["value"], &got[1], &got[2]["value"]), (&"1".into(), &Json::Null, &"2".into()));
    assert!(call(&ring, &["scan"])["entries"].is_array());
    assert_eq!(call(&ring, &["find", "0"]), "Owner", "the first server has id 0");
    for policy in ["finger", "one-hop", "successor", "random"] {
        let trip = call(&ring, &["lookup", "@0x0", policy]);
        assert_eq!(trip["owner"]["address"], ring.nodes[0].address.as_str());
    }
    assert!(call(&ring, &["fingers"]).is_array());
    assert_eq!(call(&ring, &["status"])["me"]["address"], ring.nodes[0].address.as_str());

    ring.run_at(2, &["rpc", "depart"]).exits(0);
    eventually("the process of who departed has ended", || ring.nodes[2].has_ended());
    ring.nodes.remove(2);
    ring.becomes_whole();
    assert_eq!(ring.run(&["get", "a"]).exits(0).out, "1", "its keys were handed over");
}

#[test]
fn the_last_node_does_not_depart() {
    let mut ring = Ring::start(1);
    ring.run(&["rpc", "depart"]).exits(4).remarks("last node");
    assert!(!ring.nodes[0].has_ended());
}

#[test]
fn wrong_names_and_arguments_are_exit_code_2_with_what_is_right() {
    let ring = Ring::start(1);
    ring.run(&["rpc", "get_nod", "0", "id"]).exits(2).remarks("did you mean").remarks("get_node NUMBER");
    ring.run(&["rpc", "methods"]).exits(0).says("update_finger_table");
    for arguments in [
        &["put", "k"][..],
        &["get"],
        &["get_node", "0"],
        &["get_conn_info", "x"],
        &["connect"],
        &["put_many", "a", "1", "b"],
        &["get_many"],
        &["find"],
        &["depart", "now"],
    ] {
        let usage = format!("usage: chordata rpc {}", arguments[0]);
        ring.run(&[&["rpc"][..], arguments].concat()).exits(2).remarks(&usage);
    }
    ring.run(&["rpc", "find", "0xg"]).exits(2);
    ring.run(&["rpc", "find", "0", "best"]).exits(2).remarks("no routing policy");
    ring.run(&["rpc", "compare_and_swap", "k", "1", "v"]).exits(2).remarks("EPOCH.SEQUENCE");
}
