//! Chain replication under many seeds: no acknowledged write is lost, every answer is linearizable, and after the faults
//! every range has its full chain of equal copies.
//!
//! `CHORDATA_SEEDS=n` runs n seeds instead of the number that fits a development build.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use chordata_sim::chain::run::run;

fn seeds() -> u64 {
    std::env::var("CHORDATA_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

/// What must have happened in a hundred seeds, at least so often: a rare thing that has stopped happening proves nothing.
const RARE: [(&str, u64); 6] = [
    ("record damaged", 40),
    ("damaged record fetched again", 20),
    ("reopened", 10),
    ("reopened with loss", 2),
    ("disk wiped", 20),
    ("power cut", 10),
];

#[test]
fn whatever_goes_wrong_chains_stay_linearizable_and_heal() {
    let mut happened: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 1..=seeds() {
        match run(seed, false) {
            Ok(report) => {
                for (event, _) in RARE {
                    *happened.entry(event).or_default() += report.counters.get(event);
                }
            }
            Err(wrong) => panic!("{wrong}"),
        }
    }
    for (event, in_a_hundred) in RARE {
        let least = in_a_hundred * (seeds() / 100);
        assert!(
            happened[event] >= least,
            "{event:?} happened {} times in {} seeds",
            happened[event],
            seeds()
        );
    }
}

#[test]
fn a_seed_is_a_whole_run() {
    let runs = [1, 1, 2].map(|seed| run(seed, false).unwrap());
    assert_eq!(runs[0], runs[1], "the same seed twice is the same run");
    assert_ne!(runs[0].trace_hash, runs[2].trace_hash, "another seed is another run");
}
