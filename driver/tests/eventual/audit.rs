//! `audit`: finds nothing where nothing is wrong, also while keys are written, and tells what is missed.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::eventually;
use crate::support::ring::Ring;

fn fill(ring: &Ring, keys: usize, value: &str) {
    let lines: String = (0..keys).map(|key| format!("put k{key} {value}{key}\n")).collect();
    let file = ring.file("fill.txt", &lines).display().to_string();
    ring.run(&["replay", &file, "--concurrency", "32"]).exits(0);
}

fn becomes_sound(ring: &Ring, says: &str) {
    eventually("the audit finds nothing", || {
        let ran = ring.run(&["audit"]);
        println!("{}", ran.out);
        ran.code == 0 && ran.out.contains(says)
    });
}

#[test]
fn a_sound_cluster_is_sound_also_while_it_is_written_to() {
    let ring = Ring::in_eventual_mode(4, 3, "sync");
    ring.run(&["audit"]).exits(0).says("sound: 4 ranges, 12 replicas, 0 keys compared");
    // More than one page in each range.
    fill(&ring, 6000, "v");
    becomes_sound(&ring, "sound: 4 ranges, 12 replicas, 6000 keys compared");
    let json = ring.run(&["--json", "audit"]).exits(0).json();
    assert_eq!((json["consistency"].as_str(), json["replicated"].as_bool()), (Some("eventual"), Some(true)));
    let ranges = json["ranges"].as_array().expect("a list");
    assert!(ranges.iter().all(|range| range["replicas"] == 3 && range["wanted"] == 3));
    assert!(ranges.iter().all(|range| range["listed"] == 0 && range["sequence"].is_null()), "by digests");

    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                rounds += 1;
                fill(&ring, 500, &format!("w{rounds}-"));
            }
            rounds
        });
        for _ in 0..4 {
            let ran = ring.run(&["audit"]);
            stop.store(ran.code != 0, Ordering::Relaxed);
            ran.exits(0).says("6000 keys compared");
        }
        stop.store(true, Ordering::Relaxed);
        assert!(writer.join().unwrap() > 0, "keys were written meanwhile");
    });
}

#[test]
fn one_that_is_away_is_missed_and_has_everything_when_it_is_back() {
    let mut ring = Ring::in_eventual_mode(4, 3, "sync");
    fill(&ring, 300, "old");
    becomes_sound(&ring, "300 keys compared");
    let away = ring.nodes[3].address.clone();
    ring.nodes[3].kill();
    // The ring has gone on without it: each key has its replicas at the others.
    eventually("what is wrong is only that it is away", || {
        let ran = ring.run(&["audit"]);
        ran.code == 1
            && ran.out.contains(&format!("CLUSTER  {away} is away"))
            && ran.out.contains("not sound: 3 ranges, 9 replicas, 300 keys compared; 1 problem")
    });
    fill(&ring, 400, "new");
    ring.run(&["delete", "k0"]).exits(0);
    eventually("it is told that a delete waits", || {
        let json = ring.run(&["--json", "audit"]).exits(1).json();
        let remarks = json["remarks"].as_array().expect("a list").clone();
        remarks
            .iter()
            .any(|remark| remark.as_str() == Some(&format!("deletes wait for {away}, which is away")))
    });
    ring.start_again(3, 3, "sync");
    ring.becomes_whole();
    becomes_sound(&ring, "sound: 4 ranges, 12 replicas, 399 keys compared");
    for key in ["k1", "k250", "k399"] {
        ring.run(&["lookup", key, "--replicas"]).exits(0).says("the replicas that answer agree");
    }
}

#[test]
fn no_cluster_is_exit_code_4() {
    let mut ring = Ring::in_eventual_mode(1, 3, "memory");
    ring.run(&["audit"]).exits(0).says("sound: 1 range, 1 replica, 0 keys compared");
    ring.nodes[0].kill();
    ring.run(&["audit"]).exits(4);
}
