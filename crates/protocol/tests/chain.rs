//! Golden traces of chain replication: small scripts of events, and the whole cluster's reaction to each.
//!
//! A script in `tests/chain_scripts` is a story: what is given, what happens, and behind `---` what the nodes do about
//! it, a line for each event and below it a line for each effect; in `settle` and `run` only what matters, a line for
//! each, with the node's name. The members and coordinators are real
//! ([`Member`](chordata_protocol::chain::Member), [`Coordinator`](chordata_protocol::chain::Coordinator)); the world
//! around them is explicit: messages, processes, disks, clocks and the group that agrees on the view do what the script
//! says. [`commands`] lists what a script can do, [`words`] how things are written down: `n8` is the node with the
//! id 8, `n8/2` its second life, `n8'` the second store at that address; `e4` an epoch, `#12` a sequence; in a chain
//! `n8 n24 +n40` the last one is being filled.
//!
//! After every event it is looked at whether two epochs of a range serve, whether every replica's log is a prefix of
//! that of the one above it, whether what is committed is at every serving replica (under `sync`: on its disk), whether
//! reads are as new as what was acknowledged before, and whether a write that is sent twice is answered alike; lines
//! with `!!` say what is not so.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p chordata-protocol --test chain` writes what happens now into the scripts. What
//! is golden was read against the [module](chordata_protocol::chain); read the difference before it becomes golden.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "chain/check.rs"]
mod check;
#[path = "chain/client.rs"]
mod client;
#[path = "chain/clock.rs"]
mod clock;
#[path = "chain/commands.rs"]
mod commands;
#[path = "chain/effects.rs"]
mod effects;
#[path = "chain/engine.rs"]
mod engine;
#[path = "chain/group.rs"]
mod group;
#[path = "chain/perform.rs"]
mod perform;
#[path = "chain/report.rs"]
mod report;
#[path = "chain/table.rs"]
mod table;
#[path = "chain/words.rs"]
mod words;
#[path = "chain/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::path::Path;

use chordata_protocol::Space;
use chordata_protocol::chain::ChainSettings;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/chain_scripts");

fn run(name: &str) {
    let space = Space::new(6).expect("a ring of 64 identifiers");
    let mut world = world::World::new(ChainSettings { space, ..ChainSettings::default() });
    let outcome = goldenscript::run(&mut world, Path::new(SCRIPTS).join(name));
    outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
}

macro_rules! scripts {
    ($($name:ident)*) => {
        $(#[test] fn $name() { run(stringify!($name)); })*

        #[test]
        fn every_script_is_run() {
            let listed: BTreeSet<String> = [$(stringify!($name).to_owned()),*].into();
            let files = std::fs::read_dir(SCRIPTS).expect("the scripts");
            let there: BTreeSet<String> =
                files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned()).collect();
            assert_eq!(listed, there, "a script in tests/chain_scripts is listed in chain.rs");
        }
    };
}

scripts! {
    clean_and_dirty_reads
    cut_off_tail
    damaged_at_the_last
    damaged_record
    depart_and_merge
    deposed_leader
    empty_range_power_cut
    expiry
    expiry_head_dies
    expiry_waits
    forgotten_store
    head_dies
    join_splits
    late_grant
    late_heartbeat
    late_report
    leader_changes_in_prepare
    link_is_cut
    link_stays_cut
    lost_and_late_frames
    marks
    middle_dies
    newcomer
    newcomer_falls_behind
    old_results
    overloaded
    paused_head
    power_cut_interval
    power_cut_memory
    power_cut_sync
    proposal_lost
    reads_at_the_tail
    recover_with_loss
    reopened_twice
    restart_alone
    sent_twice
    slow_disk_in_a_change
    slowest_disk
    superseded
    swap_waits
    tail_dies
    too_few_replicas
    two_changes_at_once
    wiped_store
    write_and_read
}
