//! Chain replication under many seeds: no acknowledged write is lost, every answer is linearizable, and after the faults
//! every range has its full chain of equal copies.
//!
//! `CHORDATA_SEEDS=n` runs n seeds instead of the number that fits a development build.

#![allow(clippy::unwrap_used, reason = "tests")]

use chordata_sim::chain::run::run;

fn seeds() -> u64 {
    std::env::var("CHORDATA_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

#[test]
fn whatever_goes_wrong_chains_stay_linearizable_and_heal() {
    for seed in 1..=seeds() {
        if let Err(wrong) = run(seed, false) {
            panic!("{wrong}");
        }
    }
}

#[test]
fn a_seed_is_a_whole_run() {
    let runs = [1, 1, 2].map(|seed| run(seed, false).unwrap());
    assert_eq!(runs[0], runs[1], "the same seed twice is the same run");
    assert_ne!(runs[0].trace_hash, runs[2].trace_hash, "another seed is another run");
}
