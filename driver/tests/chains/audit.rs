//! `audit`: finds nothing where nothing is wrong, also while keys are written, and finds what was planted.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chordata_protocol::{Id, Key, Range, Record, Value};
use chordata_store::{Change, DiskEngine, DiskSettings, Engine, RealFiles};

use crate::support::ring::Ring;
use crate::support::run;

fn fill(ring: &Ring, keys: usize) {
    let lines: String = (0..keys).map(|key| format!("put k{key} v{key}\n")).collect();
    let file = ring.file("fill.txt", &lines).display().to_string();
    ring.run(&["replay", &file, "--concurrency", "32"]).exits(0);
}

#[test]
fn a_sound_cluster_is_sound_also_while_it_is_written_to() {
    let ring = Ring::with_chains(4, 3, "memory");
    ring.run(&["audit"]).exits(0).says("sound: 4 ranges, 12 replicas, 0 keys compared");
    // More than one page in each range.
    fill(&ring, 6000);
    ring.run(&["audit"]).exits(0).says("sound: 4 ranges, 12 replicas, 6000 keys compared");
    let json = ring.run(&["--json", "audit"]).exits(0).json();
    assert_eq!((json["sound"].as_bool(), json["keys_compared"].as_u64()), (Some(true), Some(6000)));
    assert_eq!((json["replicas"].as_u64(), json["nodes"].as_u64()), (Some(12), Some(4)));
    let ranges = json["ranges"].as_array().expect("a list");
    assert!(
        ranges
            .iter()
            .all(|range| range["replicas"] == 3 && range["listed"] == 0 && range["sequence"].is_u64())
    );

    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                fill(&ring, 500);
                rounds += 1;
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

/// Puts another value under a key, with its version, behind the back of the server that the store belongs to.
fn corrupt(data: &Path) -> String {
    let files = RealFiles::new(data.join("store")).unwrap();
    let mut engine = DiskEngine::open(Arc::new(files), DiskSettings::default()).unwrap();
    let whole = Range { low: Id::ZERO, high: Id::ZERO };
    let mut first: Option<(Key, chordata_protocol::Version)> = None;
    engine
        .scan(whole, None, &mut |item| {
            first = Some((item.key.to_key(), item.version));
            ControlFlow::Break(())
        })
        .unwrap();
    let (key, version) = first.expect("the store has keys");
    let record = Record { version, value: Value::from("something else"), expires: None };
    let id = key.id(chordata_protocol::Space::default());
    engine.apply(vec![Change::Put(id, key.clone(), record)]).unwrap();
    let flush = engine.begin_flush().unwrap().expect("something waits");
    let flushed = flush.run().unwrap();
    engine.end_flush(flushed).unwrap();
    key.to_string()
}

#[test]
fn a_replica_that_holds_something_else_is_found() {
    let mut ring = Ring::with_chains(3, 3, "sync");
    fill(&ring, 3000);
    ring.run(&["audit"]).exits(0).says("3000 keys compared");
    ring.nodes[2].stop();
    let key = corrupt(&ring.home().join("2.data"));
    ring.start_again(2, 3, "sync");
    ring.becomes_whole();
    let ran = ring.run(&["audit"]).exits(1).says("DIFFERS").says("not sound").says("1 problem");
    assert!(ran.out.contains(&format!("{key}: ")), "{key} is named:\n{}", ran.out);
    let json = ring.run(&["--json", "audit"]).exits(1).json();
    assert_eq!(
        (json["problems"][0]["kind"].as_str(), json["problems"][0]["key"].as_str()),
        (Some("differs"), Some(&*key))
    );
    // It was found by the digests of smaller and smaller parts: most keys were never looked at one by one.
    let ranges = json["ranges"].as_array().expect("a list");
    let mut listed: Vec<u64> =
        ranges.iter().map(|range| range["listed"].as_u64().expect("a number")).collect();
    listed.sort_unstable();
    assert!(listed[2] > 0 && listed[2] <= 256 && listed[..2] == [0, 0], "{listed:?}");
    ring.run(&["lookup", &key, "--replicas"]).exits(1).says("THE SERVING REPLICAS DISAGREE");
    let other = if key == "k0" { "k1" } else { "k0" };
    ring.run(&["lookup", other, "--replicas"]).exits(0);
}

#[test]
fn a_missing_replica_is_a_problem_and_no_cluster_is_exit_code_4() {
    let mut ring = Ring::with_chains(3, 3, "memory");
    fill(&ring, 20);
    ring.nodes[2].kill();
    ring.run(&["audit"]).exits(1).says("CLUSTER").says("does not answer");
    for node in &mut ring.nodes {
        node.kill();
    }
    ring.run(&["audit"]).exits(4);
}

#[test]
fn without_chains_ring_and_ranges_are_checked() {
    let ring = Ring::single(3);
    ring.run(&["audit"]).exits(0).says("sound: 3 ranges; this cluster keeps one copy of each key");
    let json = ring.run(&["--json", "audit"]).exits(0).json();
    assert_eq!((json["replicated"].as_bool(), json["keys_compared"].as_u64()), (Some(false), Some(0)));
    let home = tempfile::tempdir().unwrap();
    run(home.path(), &["--node", "127.0.0.1:1", "audit"]).exits(4);
}
