//! Several who command one manager at once: each command is carried out whole, or refused.

use crate::processes::{Site, samples, tell};
use crate::support::Ran;

const NAMES: [&str; 6] = ["alice", "bob", "carol", "dave", "eve", "frank"];

/// Gives these commands at the same time.
fn at_once(site: &Site, commands: &[Vec<&str>]) -> Vec<Ran> {
    std::thread::scope(|scope| {
        let running: Vec<_> = commands
            .iter()
            .map(|command| scope.spawn(|| tell(site.home(), &site.manager.address, command)))
            .collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

#[test]
fn of_several_setups_at_once_one_succeeds_and_all_else_waits_or_is_refused() {
    let site = Site::start(&NAMES, &samples());
    let setups: Vec<Vec<&str>> = NAMES[..4].iter().map(|name| vec!["setup-dht", name, "3", "1950"]).collect();
    let ran = at_once(&site, &setups);
    assert_eq!(ran.iter().filter(|ran| ran.code == 0).count(), 1, "{ran:?}");
    for refused in ran.iter().filter(|ran| ran.code != 0) {
        assert_eq!(refused.code, 1);
        // Whoever comes second finds a ring, or its leader in it.
        assert!(
            refused.out.contains("set up already") || refused.out.contains("not Free"),
            "{}",
            refused.out
        );
    }
    site.will_agree();

    // Joins, departures and questions, crossing each other.
    let (free, members) = (site.those("Free"), site.those("InDHT"));
    let mut commands: Vec<Vec<&str>> = free.iter().map(|name| vec!["join-dht", name.as_str()]).collect();
    commands.extend(members.iter().map(|name| vec!["leave-dht", name.as_str()]));
    commands.extend(free.iter().map(|name| vec!["query-dht", name.as_str()]));
    commands.extend(free.iter().map(|name| vec!["deregister", name.as_str()]));
    let ran = at_once(&site, &commands);
    assert!(ran.iter().all(|ran| matches!(ran.code, 0 | 1)), "{ran:?}");
    assert!(ran.iter().all(|ran| ran.out.starts_with("SUCCESS\n") || ran.out.starts_with("FAILURE: ")));
    site.will_agree();
    let in_ring = site.those("InDHT").len() + site.those("Leader").len();
    assert!(in_ring >= 3 && site.those("Leader").len() == 1, "{:?}", site.states());

    // Two teardowns: one does it.
    let leader = site.those("Leader").remove(0);
    let ran = at_once(&site, &[vec!["teardown-dht", leader.as_str()], vec!["teardown-dht", leader.as_str()]]);
    let mut codes: Vec<i32> = ran.iter().map(|ran| ran.code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 1], "{ran:?}");
    site.will_agree();
}
