//! Members that never come back, and servers that somebody else took.

use crate::processes::{Site, samples};
use crate::support::eventually;

const NAMES: [&str; 5] = ["alice", "bob", "carol", "dave", "eve"];

#[test]
fn a_member_that_is_dead_for_good_cannot_leave_and_costs_no_record() {
    let mut site = Site::start(&NAMES, &samples());
    let report = site.report(&["setup-dht", "alice", "4", "1950"]);
    let records = report["records"].as_u64().unwrap();
    let asker = site.those("Free").remove(0);
    let dead = site.those("InDHT").remove(0);
    let place = site.standing(&dead)["seat"]["me"]["id"].as_str().unwrap().to_owned();
    site.peer(&dead).process.kill();
    let ran = site.peer_command(&["leave-dht", &dead]).exits(1);
    assert!(ran.out.starts_with(&format!("FAILURE: {dead} has not left the ring: ")), "{}", ran.out);
    assert!(ran.out.contains("does not answer"), "{}", ran.out);

    // It is still a member, but nobody can count on it: of the other three none may leave.
    assert!(site.those("InDHT").contains(&dead));
    let other = site.those("InDHT").into_iter().find(|name| *name != dead).unwrap();
    site.peer_command(&["leave-dht", &other]).exits(1).says("never fewer than 3");
    // Its records are with others, and the cluster is told to wait no longer.
    site.node_command("alice", &["rpc", "forget", &place]).exits(0);
    eventually("the ring is whole without it", || {
        let ran = site.node_command("alice", &["--json", "nodes"]);
        ran.code == 0 && ran.json()["nodes"].as_array().is_some_and(|nodes| nodes.len() == 3)
    });
    let keys = |site: &Site| site.peer_command(&["query-dht", &asker]).code;
    assert_eq!(keys(&site), 0, "of {records} records each is there");
    site.peer_command(&["join-dht", &asker]).exits(0);
    site.peer_command(&["leave-dht", "alice"]).exits(0);

    // Taken down, it is all that is left to be released; who will never see it again forgets it.
    let leader = site.those("Leader").remove(0);
    site.peer_command(&["teardown-dht", &leader]).exits(0).says(&format!("not reached: {dead}"));
    site.peer_command(&["deregister", &dead]).exits(0);
    site.peer_command(&["setup-dht", "alice", "4", "1951"]).exits(0);
    site.will_agree();
}

#[test]
fn a_server_that_was_put_into_another_ring_keeps_what_it_has_there() {
    let mut site = Site::start(&NAMES, &samples());
    site.peer_command(&["setup-dht", "alice", "4", "1950"]).exits(0);
    let (taken, owed) = (site.those("Free").remove(0), site.those("InDHT").remove(0));

    // Somebody founds a ring on a free peer and uses it: it cannot join, and stays as it is.
    let found = |site: &Site, name: &str| {
        site.node_command(name, &["rpc", "enter", "found", "chain", "3", "sync"]).exits(0);
        site.node_command(name, &["put", "Berlin", "3.7 million"]).exits(0);
    };
    let still = |site: &Site, name: &str| {
        assert_eq!(site.node_command(name, &["get", "Berlin"]).exits(0).out, "3.7 million");
    };
    found(&site, &taken);
    site.peer_command(&["join-dht", &taken]).exits(1).says("it is in another ring, of cluster");
    still(&site, &taken);
    site.peer_command(&["list"]).exits(0);

    // A peer that is still to be released from a ring that is gone: somebody else is quicker.
    site.peer(&owed).process.kill();
    site.peer_command(&["teardown-dht", "alice"]).exits(0).says(&format!("not reached: {owed}"));
    site.manager.kill();
    site.revive(&owed);
    eventually("it is back in the ring that is gone", || !site.standing(&owed)["seat"].is_null());
    site.node_command(&owed, &["rpc", "release"]).exits(0);
    found(&site, &owed);
    site.restart_manager();
    eventually("the debt is settled", || !site.peer_command(&["list"]).out.contains("to be released"));
    still(&site, &owed);
    still(&site, &taken);
}
