//! The commands one after another, as somebody gives them who reads the answers.

use crate::processes::{Site, samples, tell};

const NAMES: [&str; 5] = ["alice", "bob", "carol", "dave", "eve"];

/// Event ids of a sample.
fn events(year: u16) -> Vec<String> {
    let text = std::fs::read(samples().join(format!("details-{year}.csv"))).unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines = text.split(['\r', '\n']).filter(|line| !line.is_empty()).skip(1);
    lines.map(|line| line.split(',').next().unwrap().to_owned()).collect()
}

#[test]
fn a_ring_is_set_up_queried_changed_and_taken_down() {
    let mut site = Site::start(&NAMES, &samples());
    let events = events(1950);
    assert!(events.len() >= 15);

    // Setting up.
    let ran = site.peer_command(&["setup-dht", "alice", "4", "1950"]).exits(0);
    assert_eq!(ran.out.lines().next(), Some("SUCCESS"));
    let ran = ran.says(&format!("{} storm events of 1950 on 4 peers", events.len())).says("Leader");
    let rows: Vec<Vec<&str>> =
        ran.out.lines().skip(3).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((rows.len(), rows[0][0], rows[0][1]), (4, "alice", "Leader"), "{}", ran.out);
    let records: usize = rows.iter().map(|row| row[2].parse::<usize>().unwrap()).sum();
    assert_eq!(records, events.len(), "each record is one peer's");
    site.will_agree();
    assert_eq!(site.those("InDHT").len(), 3);
    let free = site.those("Free").remove(0);

    // Asking.
    let ran =
        site.peer_command(&["query-dht", &free, &events[0]]).exits(0).says("EVENT_TYPE").says("Tornado");
    assert_eq!(ran.out.lines().next(), Some("SUCCESS"));
    let path = ran.out.lines().find_map(|line| line.strip_prefix("path: ")).expect("it shows the path");
    assert!(path.split(" -> ").all(|name| NAMES.contains(&name) && name != free), "{path}");
    let found = site.report(&["query-dht", &free, &events[1]]);
    assert_eq!(found["fields"]["EVENT_ID"], events[1].as_str());
    assert_eq!(found["fields"]["YEAR"], "1950");
    let lot = site.report(&["query-dht", &free]);
    assert!(events.contains(&lot["event"].as_str().unwrap().to_owned()), "{lot}");
    let ran = site.peer_command(&["query-dht", &free, "424242"]).exits(1);
    assert_eq!(ran.out, "FAILURE: Storm event 424242 not found in the DHT\n");
    site.peer_command(&["query-dht", "alice", &events[0]])
        .exits(1)
        .says("FAILURE: alice is Leader, not Free");

    // Joining and leaving, the leader too: everything stays there.
    site.peer_command(&["join-dht", &free]).exits(0).says("SUCCESS").says("is in the DHT");
    site.peer_command(&["leave-dht", "alice"]).exits(0).says("alice is Free");
    let leader = site.those("Leader").remove(0);
    assert_ne!(leader, "alice");
    let member = site.those("InDHT").remove(0);
    site.peer_command(&["leave-dht", &member]).exits(0).says(&format!("{leader} leads"));
    site.will_agree();
    site.peer_command(&["leave-dht", &leader]).exits(1).says("never fewer than 3");
    for event in &events {
        site.peer_command(&["query-dht", "alice", event]).exits(0);
    }
    assert!(site.is_erased("alice"), "what it had is with others");

    // Taking down, and the next year.
    let other = site.those("InDHT").remove(0);
    site.peer_command(&["teardown-dht", &other]).exits(1).says(&format!("FAILURE: {other} does not lead"));
    site.peer_command(&["teardown-dht", &leader]).exits(0).says("SUCCESS").says("records gone");
    assert_eq!(site.those("Free").len(), NAMES.len());
    assert!(NAMES.iter().all(|name| site.is_erased(name)), "also on disk");
    site.will_agree();
    site.peer_command(&["teardown-dht", &leader]).exits(1).says("there is no DHT");
    site.peer_command(&["query-dht", "alice"]).exits(1).says("there is no DHT");
    site.peer_command(&["deregister", "eve"]).exits(0).says("SUCCESS");
    site.peer_command(&["setup-dht", "bob", "5", "1996"]).exits(1).says("only 4 peers are free");
    site.peer_command(&["setup-dht", "bob", "3", "1996"]).exits(0).says("1996 on 3 peers");
    // A value with a comma and a letter outside of ASCII came through whole.
    let asker = site.those("Free").remove(0);
    let event = self::events(1996)[7].clone();
    let found = site.report(&["query-dht", &asker, &event]);
    assert_eq!(found["fields"]["CZ_NAME"], "OAK GROVE, NORTH");
    let event = self::events(1996)[11].clone();
    let found = site.report(&["query-dht", &asker, &event]);
    assert_eq!(found["fields"]["CZ_NAME"], "PI\u{d1}ON");

    // A manager that starts again knows all of it.
    let before = site.states();
    site.restart_manager();
    assert_eq!(site.states(), before);
    site.peer_command(&["teardown-dht", "bob"]).exits(0);
}

#[test]
fn peers_are_registered_by_hand_and_refused_with_the_reason() {
    let mut site = Site::start(&["alice"], &samples());
    let port = site.add("bob", &samples(), false).port.to_string();
    let first = site.peers[0].port.to_string();
    let register = |site: &Site, name: &str, manager_port: &str, peer_port: &str| {
        site.peer_command(&["register", name, "127.0.0.1", manager_port, peer_port])
    };
    register(&site, "alice", &port, &port).exits(1).says("FAILURE: alice is registered already");
    register(&site, "bob", &first, &port).exits(1).says("each peer has its own");
    register(&site, "bob", &port, "1").exits(1).says("not 1");
    register(&site, "carol", &port, &port).exits(1).says("calls itself bob, not carol");
    register(&site, "bob", "1", &port).exits(1).says("FAILURE: no server on standby is at 127.0.0.1:1");
    let ran = register(&site, "bob", &port, &port).exits(0);
    assert_eq!(ran.out.lines().next(), Some("SUCCESS"));
    assert_eq!(site.those("Free"), ["alice", "bob"]);
    site.peer_command(&["deregister", "carol"]).exits(1).says("FAILURE: no peer is registered as carol");
    site.peer_command(&["deregister", "bob"]).exits(0);
    register(&site, "bob", &port, &port).exits(0);

    // Usage, and a manager that is not there.
    site.peer_command(&["setup-dht", "alice", "three", "1950"]).exits(2);
    site.peer_command(&["setup-dht", "alice", "2", "1950"])
        .exits(1)
        .says("FAILURE: a DHT has at least 3 peers");
    site.peer_command(&["setup-dht", "alice", "3", "1950"]).exits(1).says("only 2 peers are free");
    tell(site.home(), "nowhere", &["list"]).exits(2);
    let ran = tell(site.home(), &format!("127.0.0.1:{port}"), &["list"]).exits(4);
    assert!(ran.out.starts_with("FAILURE: no manager at"), "{}", ran.out);
    let failed = site.peer_command(&["--json", "query-dht", "alice"]).exits(1).json();
    assert_eq!(failed["outcome"], "failure");
    assert!(failed["reason"].as_str().unwrap().contains("no DHT"));
}
