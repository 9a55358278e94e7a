//! Negative controls of the chain simulation: something is broken on purpose, and exactly the check that is there for it
//! finds it.
//!
//! First whole runs that are [sabotaged](chordata_sim::chain::sabotage), then every sentence of every invariant by hand:
//! a witness saw a small history that is right, and then one thing that is not.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "chain_controls/by_hand.rs"]
mod by_hand;

use chordata_sim::chain::run::run_sabotaged;
use chordata_sim::chain::sabotage::Sabotage;

/// Runs the seeds from 1 on sabotaged: so many at least must fail, and all that fail must say what is expected. The
/// durability takes turns: every third seed is `sync`.
#[track_caller]
fn finds(sabotage: Sabotage, seeds: u64, least: usize, is_expected: impl Fn(&str) -> bool) {
    let failures: Vec<(u64, String)> =
        (1..=seeds).filter_map(|seed| Some((seed, run_sabotaged(seed, sabotage).err()?))).collect();
    for (seed, wrong) in &failures {
        assert!(is_expected(wrong), "{sabotage:?}: seed {seed}: another check found it: {wrong}");
    }
    assert!(failures.len() >= least, "{sabotage:?}: found in {} runs only", failures.len());
}

#[test]
fn a_replica_that_loses_writes_is_found_by_what_it_serves() {
    // The invariant `content`, at a read and where a replica begins to serve.
    finds(Sabotage::LosesWrites, 12, 8, |wrong| {
        wrong.contains(": a read of ") || wrong.contains(": a replica that begins to serve epoch ")
    });
}

#[test]
fn a_damaged_record_that_is_served_is_found_by_what_is_served() {
    finds(Sabotage::ServesDamage, 36, 2, |wrong| wrong.contains(" finds ") && wrong.contains("(damaged "));
}

#[test]
fn a_newer_value_that_is_ended_in_place_of_an_older_one_is_found() {
    finds(Sabotage::EndsAnything, 12, 10, |wrong| {
        wrong.contains(" is ended, and has no moment") || wrong.contains(" before its moment")
    });
}

#[test]
fn a_value_that_is_ended_too_early_is_found() {
    finds(Sabotage::EndsEarly, 12, 12, |wrong| wrong.contains(" before its moment"));
}

#[test]
fn a_replica_that_ends_values_by_itself_is_found_by_what_it_serves() {
    // Clocks differ by less than a second: in that time somebody reads it there, or the chain changes.
    finds(Sabotage::EndsAnywhere, 12, 8, |wrong| {
        wrong.contains(": a read of ")
            || wrong.contains(": a replica that begins to serve epoch ")
            || wrong.contains(" lacks ")
    });
}

#[test]
fn a_replica_that_stores_something_else_is_found_by_the_prefixes() {
    finds(Sabotage::AltersEntries, 12, 8, |wrong| wrong.contains(" stores another #"));
}

#[test]
fn a_commit_before_every_replica_has_it_is_found() {
    finds(Sabotage::CommitsEarly, 12, 8, |wrong| wrong.contains(" is taken for committed, "));
}

#[test]
fn a_commit_before_it_is_on_every_disk_is_found_under_sync() {
    finds(Sabotage::SkipsSyncs, 12, 4, |wrong| {
        wrong.contains(" is taken for committed, ") && wrong.contains(" on disk\n")
    });
}

#[test]
fn a_lease_that_is_believed_in_for_too_long_is_found() {
    finds(Sabotage::StretchesLeases, 12, 8, |wrong| wrong.contains(" us after the lease ran out"));
}

#[test]
fn a_leader_that_does_not_wait_for_leases_is_found() {
    // Whoever goes on serving an epoch that is over also answers what was true then: one or the other is seen first.
    finds(Sabotage::IgnoresLeases, 12, 4, |wrong| {
        wrong.contains(" is served, and so was a later one of the same identifiers before")
            || wrong.contains(": a read of ")
            || wrong.contains(" is taken for committed")
    });
}

#[test]
fn a_change_that_leaves_committed_writes_behind_is_found() {
    finds(Sabotage::CutsLogs, 12, 12, |wrong| {
        wrong.contains(": acknowledged writes are lost") || wrong.contains(" is to serve epoch ")
    });
}

#[test]
fn a_loss_that_no_durability_allows_is_found() {
    finds(Sabotage::AllowsLosses, 12, 2, |wrong| wrong.contains("under sync the range of epoch "));
}

#[test]
fn a_write_without_its_name_is_found() {
    finds(Sabotage::DropsNames, 12, 12, |wrong| wrong.contains(", where write None is"));
}

#[test]
fn a_stale_answer_is_found_in_the_history() {
    // Keys that are only put and got show it to the zones as well, whatever the versions say.
    finds(Sabotage::AnswersStale, 6, 6, |wrong| {
        wrong.starts_with("versions: key ") && wrong.contains("\nzones: key ")
    });
}

#[test]
fn an_effect_that_a_client_was_denied_is_found_in_the_history() {
    finds(Sabotage::DeniesWrites, 6, 6, |wrong| wrong.contains("\nonce: key "));
}

#[test]
fn a_write_that_is_gone_in_the_end_is_found() {
    finds(Sabotage::LosesAtTheEnd, 6, 6, |wrong| wrong.starts_with("lost: key plain-"));
}

#[test]
fn a_copy_that_differs_in_the_quiet_is_found_by_the_audit() {
    finds(Sabotage::DiffersAtTheEnd, 6, 6, |wrong| {
        wrong.starts_with("quiet: ") && wrong.contains(" has another value under cold-")
    });
}

#[test]
fn a_run_in_which_nothing_goes_wrong_proves_nothing() {
    finds(Sabotage::Peace, 1, 1, |wrong| wrong.starts_with("only 0 faults, promised were 5"));
}
