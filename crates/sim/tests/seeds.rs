//! The ring protocol under many seeds: safety while it is disturbed, liveness after a quiet time.
//!
//! `CHORDATA_SEEDS=n` runs n seeds of each scenario instead of the few that fit a development build.

use chordata_sim::run::run;
use chordata_sim::scenario::Scenario;

fn seeds() -> u64 {
    std::env::var("CHORDATA_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

fn all_seeds(scenario: Scenario) {
    for seed in 1..=seeds() {
        if let Err(wrong) = run(scenario, seed, false) {
            panic!("{} seed {seed}: {wrong}", scenario.name());
        }
    }
}

#[test]
fn with_joins_and_departures_one_node_serves_each_identifier_and_no_write_is_lost() {
    all_seeds(Scenario::Graceful);
}

#[test]
fn after_crashes_of_up_to_r_minus_one_neighbours_the_ring_closes() {
    all_seeds(Scenario::Crashes);
}

#[test]
fn after_lost_messages_and_live_nodes_taken_for_dead_the_ring_closes() {
    all_seeds(Scenario::Lossy);
}

#[test]
fn two_rings_that_a_partition_made_become_one() {
    all_seeds(Scenario::Partition);
}

#[test]
fn a_seed_is_a_whole_run() {
    let runs = [1, 1, 2].map(|seed| run(Scenario::Graceful, seed, false).unwrap());
    assert_eq!(runs[0], runs[1], "the same seed twice is the same run");
    assert_ne!(runs[0].trace_hash, runs[2].trace_hash, "another seed is another run");
}
