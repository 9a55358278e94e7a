//! Golden traces: small scripts of events, and the whole ring's reaction to each.
//!
//! A script in `tests/scripts` is a story: what is given, what happens, and behind `---` everything that the nodes
//! do about it, a line for each event and below it a line for each effect. The rings are real
//! ([`Ring`](chordata_protocol::ring::Ring)); the world around them is explicit: a message arrives when the script
//! delivers it, a timer runs out when the script says so. [`commands`] lists what a script can do, [`words`] how
//! things are written down. `n8` is the node with the id 8; `pad9` is a pad of a successor list.
//!
//! Not printed: timers that come back by themselves (stabilize, finger, refresh, renumber), unless they are to run
//! out sooner. Printed though no effect: the successor list when it has changed, and, with `!!`, identifiers that two
//! nodes begin to serve.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p chordata-protocol --test golden` writes what happens now into the scripts.
//! What is golden was read against Zave's protocol (2017); read the difference before it becomes golden.

#[path = "golden/client.rs"]
mod client;
#[path = "golden/clock.rs"]
mod clock;
#[path = "golden/commands.rs"]
mod commands;
#[path = "golden/perform.rs"]
mod perform;
#[path = "golden/report.rs"]
mod report;
#[path = "golden/store.rs"]
mod store;
#[path = "golden/table.rs"]
mod table;
#[path = "golden/walks.rs"]
mod walks;
#[path = "golden/words.rs"]
mod words;
#[path = "golden/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::path::Path;

use chordata_protocol::Space;
use chordata_protocol::ring::RingSettings;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");

fn run(name: &str) {
    let space = Space::new(6).expect("a ring of 64 identifiers");
    let mut world = world::World::new(RingSettings { space, ..RingSettings::default() });
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
            assert_eq!(listed, there, "a script in tests/scripts is listed in golden.rs");
        }
    };
}

scripts! {
    adjacent_failures
    all_successors_dead
    claim_two_without_keys
    depart
    depart_both_of_two
    depart_last
    depart_three_at_once
    depart_two_neighbours
    depart_unheard
    finger_refresh
    fingers_of_the_paper
    handover_late_part
    handover_lost_answer
    handover_lost_answer_and_another
    handover_put_in_copy
    handover_put_waits
    handover_refused
    handover_source_dies
    handover_target_dies
    join_a_ring_of_five
    join_a_ring_of_one
    join_a_ring_of_two
    join_behind_a_leaver
    join_behind_a_leaver_later
    join_busy
    lookup_past_the_dead
    lookup_policies
    partition
    places_at_once
    places_bisect
    places_fixed_and_hash
    places_handed_over
    places_kept_by_their_server
    rectify
    rectify_several_notify
    restart_before_anybody_noticed
    restart_under_its_id
    silence
    stabilize
    stabilize_busy
    stabilize_busy_both_ways
    two_joiners_farther_first
    two_joiners_nearer_first
    walk
}
