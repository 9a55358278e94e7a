//! Kills in the middle: of the manager, and of peers.

use std::fmt::Write;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::processes::{Site, samples, tell};
use crate::support::{Ran, eventually};

const NAMES: [&str; 5] = ["alice", "bob", "carol", "dave", "eve"];

/// A year that takes a while to load.
fn long_table(directory: &Path) {
    let mut text = "EVENT_ID,STATE,CZ_NAME\n".to_owned();
    for number in 0..60_000 {
        let _ = writeln!(text, "{number},OKLAHOMA,\"{}\"", "somewhere far away ".repeat(10));
    }
    std::fs::write(directory.join("details-1950.csv"), text).unwrap();
    std::fs::copy(samples().join("details-1951.csv"), directory.join("details-1951.csv")).unwrap();
}

/// Gives a command in the background.
fn begin(site: &Site, arguments: &[&str]) -> std::thread::JoinHandle<Ran> {
    let (home, manager) = (site.home().to_owned(), site.manager.address.clone());
    let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    std::thread::spawn(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        tell(&home, &manager, &arguments)
    })
}

fn is_at(site: &Site, what: &str) {
    eventually(what, || site.working().is_some_and(|working| working.contains(what)));
}

#[test]
fn a_setup_whose_manager_is_killed_is_taken_back() {
    let tables = tempfile::tempdir().unwrap();
    long_table(tables.path());
    let mut site = Site::start(&NAMES, tables.path());
    for moment in ["of 4 peers are in the ring", "loading 1950"] {
        let setup = begin(&site, &["setup-dht", "alice", "4", "1950"]);
        is_at(&site, moment);
        site.restart_manager();
        // Whoever gave the command is told that nobody knows, and how to see.
        setup.join().unwrap().exits(5).says("FAILURE: ").says("chordata peer list");
        site.will_agree();
        assert_eq!(site.those("Free").len(), NAMES.len(), "{moment}: {}", site.manager_log());
        assert!(NAMES.iter().all(|name| site.is_erased(name)), "{moment}");
    }
    site.peer_command(&["setup-dht", "alice", "4", "1951"]).exits(0);
    site.will_agree();
}

#[test]
fn a_teardown_whose_manager_is_killed_is_ended_by_the_next() {
    let mut site = Site::start(&NAMES, &samples());
    site.peer_command(&["setup-dht", "alice", "4", "1951"]).exits(0);
    let slow = site.those("InDHT").remove(0);
    // One peer does not answer for a while, and so the teardown is not over.
    site.peer(&slow).process.signal(Signal::SIGSTOP);
    let teardown = begin(&site, &["teardown-dht", "alice"]);
    is_at(&site, "teardown-dht");
    eventually("the others are released", || site.is_erased("alice"));
    site.manager.kill();
    site.peer(&slow).process.signal(Signal::SIGCONT);
    site.restart_manager();
    teardown.join().unwrap().exits(5);
    site.will_agree();
    assert_eq!(site.those("Free").len(), NAMES.len(), "{}", site.manager_log());
    assert!(NAMES.iter().all(|name| site.is_erased(name)));
    site.peer_command(&["setup-dht", "bob", "5", "1950"]).exits(0);
}

#[test]
fn a_peer_that_was_dead_at_the_teardown_is_released_when_it_is_back() {
    let mut site = Site::start(&NAMES[..4], &samples());
    site.peer_command(&["setup-dht", "alice", "4", "1950"]).exits(0);
    site.peer("dave").process.kill();
    site.peer_command(&["teardown-dht", "alice"]).exits(0).says("not reached: dave");
    assert!(!site.is_erased("dave"), "it was dead");
    site.peer_command(&["list"]).exits(0).says("to be released");
    site.revive("dave");
    eventually("it is released", || site.is_erased("dave") && site.standing("dave")["seat"].is_null());
    eventually("the manager knows", || !site.peer_command(&["list"]).out.contains("to be released"));
    site.peer_command(&["setup-dht", "dave", "4", "1951"]).exits(0);
}

#[test]
fn peers_that_die_while_a_ring_is_built_leave_either_a_whole_ring_or_none() {
    let tables = tempfile::tempdir().unwrap();
    long_table(tables.path());
    let mut site = Site::start(&NAMES, tables.path());
    // The leader: nobody loads any more.
    let setup = begin(&site, &["setup-dht", "alice", "4", "1950"]);
    is_at(&site, "loading 1950");
    site.peer("alice").process.kill();
    setup.join().unwrap().exits(1).says("FAILURE: alice did not load 1950");
    assert_eq!(site.those("Free").len(), NAMES.len());
    site.revive("alice");
    eventually("it is released", || !site.peer_command(&["list"]).out.contains("to be released"));
    site.will_agree();
    // One that is about to enter.
    site.peer("eve").process.kill();
    let ran = site.peer_command(&["setup-dht", "alice", "5", "1951"]).exits(1);
    assert!(ran.out.contains("only 4 free peers can be used") && ran.out.contains("eve: "), "{}", ran.out);
    let report = site.report(&["setup-dht", "alice", "4", "1951"]);
    let names: Vec<&str> =
        report["peers"].as_array().unwrap().iter().map(|peer| peer["name"].as_str().unwrap()).collect();
    assert!(!names.contains(&"eve"), "{names:?}");
    // A dead peer cannot join; a member that died and came back is a member.
    site.peer_command(&["join-dht", "eve"]).exits(1).says("FAILURE: eve is not in the ring");
    site.revive("eve");
    site.peer("bob").process.kill();
    site.revive("bob");
    eventually("eve can join", || {
        let ran = site.peer_command(&["join-dht", "eve"]);
        // Shown only when the test fails.
        println!("{}", ran.out);
        ran.code == 0
    });
    site.will_agree();
    site.peer_command(&["teardown-dht", "alice"]).exits(0);
    assert!(NAMES.iter().all(|name| site.is_erased(name)));
}
