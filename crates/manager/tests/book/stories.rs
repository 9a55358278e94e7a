//! What each command does, and what it refuses.

use chordata_manager::book::Effect;
use chordata_rpc::manager::{Command, PeerState, Report};
use chordata_rpc::service::ClusterId;

use crate::world::{Fate, RECORDS, Server, World};

const NAMES: [&str; 5] = ["alice", "bob", "carol", "dave", "eve"];

fn setup(name: &str, size: u32) -> Command {
    Command::SetupDht { name: name.to_owned(), size, year: 1950 }
}

fn leave(name: &str) -> Command {
    Command::LeaveDht { name: name.to_owned() }
}

fn join(name: &str) -> Command {
    Command::JoinDht { name: name.to_owned() }
}

fn teardown(name: &str) -> Command {
    Command::TeardownDht { name: name.to_owned() }
}

#[track_caller]
fn refuses(world: &mut World, command: Command, reason: &str) {
    let before = world.book.clone();
    let refused = world.works(command).unwrap_err().to_string();
    assert!(refused.contains(reason), "{refused}");
    assert_eq!(world.book, before);
}

#[test]
fn a_name_and_a_port_belong_to_one_peer() {
    let mut world = World::of(&NAMES, 1);
    let register = |name: &str, manager_port, peer_port, by_itself| Command::Register {
        name: name.to_owned(),
        host: "h".to_owned(),
        manager_port,
        peer_port,
        by_itself,
    };
    refuses(&mut world, register("alice", 5000, 5001, false), "registered already");
    refuses(&mut world, register("alice", 5000, 5001, true), "registered already");
    refuses(&mut world, register("frank", 5000, 1001, false), "each peer has its own");
    refuses(&mut world, register("two words", 5000, 5000, false), "is no name");
    refuses(&mut world, register("frank", 0, 5000, false), "1 to 65535");
    // A server that starts again says the same again.
    assert!(matches!(world.works(register("alice", 1000, 1000, true)), Ok(Report::Registered(_))));
    refuses(&mut world, register("alice", 1000, 1000, false), "registered already");
    // Nobody is there.
    refuses(&mut world, register("frank", 5000, 5000, false), "no server on standby");
}

#[test]
fn a_ring_has_a_leader_and_others_by_lot() {
    let mut chosen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let mut world = World::of(&NAMES, seed);
        let Report::SetUp { records, peers, year } = world.works(setup("alice", 3)).unwrap() else {
            panic!()
        };
        assert_eq!((records, year, peers.len()), (RECORDS, 1950, 3));
        assert_eq!((peers[0].name.as_str(), peers[0].state), ("alice", PeerState::Leader));
        assert!(peers[1..].iter().all(|peer| peer.state == PeerState::InDHT));
        chosen.extend(peers[1..].iter().map(|peer| peer.name.clone()));
        world.agrees();
    }
    assert_eq!(chosen.len(), 4, "each of the others is chosen sometimes");
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut world = World::of(&NAMES, 1);
    refuses(&mut world, setup("alice", 2), "at least 3");
    refuses(&mut world, setup("frank", 3), "no peer is registered as frank");
    refuses(&mut world, setup("alice", 6), "only 5 peers are free");
    refuses(&mut world, leave("alice"), "there is no DHT");
    refuses(&mut world, join("alice"), "there is no DHT");
    refuses(&mut world, teardown("alice"), "there is no DHT");
    let query =
        |name: &str, event: &str| Command::QueryDht { name: name.to_owned(), event: Some(event.to_owned()) };
    refuses(&mut world, query("alice", "7"), "there is no DHT");

    world.works(setup("alice", 3)).unwrap();
    let members = world.book.members();
    let free = NAMES.iter().find(|name| !members.contains(&(**name).to_owned())).unwrap();
    let other = members.iter().find(|name| *name != "alice").unwrap();
    refuses(&mut world, setup(free, 3), "set up already, with the year 1950");
    refuses(&mut world, leave(free), "is Free");
    refuses(&mut world, leave(other), "never fewer than 3");
    refuses(&mut world, join(other), "is InDHT, not Free");
    refuses(&mut world, teardown(other), "alice does");
    refuses(&mut world, Command::Deregister { name: "alice".to_owned() }, "is Leader, not Free");
    refuses(&mut world, query("alice", "7"), "is Leader, not Free");
    refuses(&mut world, query(free, "8"), "Storm event 8 not found in the DHT");
    assert!(matches!(world.works(query(free, "7")), Ok(Report::Found { .. })));
}

#[test]
fn when_the_leader_leaves_its_successor_leads() {
    let mut world = World::of(&NAMES, 1);
    world.works(setup("alice", 4)).unwrap();
    let heir = world.book.members().into_iter().find(|name| name != "alice").unwrap();
    let left = world.works(leave("alice")).unwrap();
    assert_eq!(left, Report::Left { name: "alice".to_owned(), leader: heir.clone() });
    assert_eq!(world.book.leader(), Some(&heir));
    world.agrees();
    world.works(join("alice")).unwrap();
    world.works(teardown(&heir)).unwrap();
    assert!(world.book.members().is_empty() && world.book.dht.is_none());
    world.agrees();
}

#[test]
fn a_setup_that_fails_anywhere_is_taken_back() {
    for fails_at in 0..8 {
        for fate in [Fate::Fails, Fate::SeemsToFail, Fate::KilledBefore, Fate::KilledAfter] {
            let mut world = World::of(&NAMES, 1);
            let mut count = 0;
            let outcome = world.command(setup("alice", 4), |_| {
                count += 1;
                if count - 1 == fails_at { fate } else { Fate::Works }
            });
            if fails_at < 7 {
                assert!(outcome.is_none_or(|outcome| outcome.is_err()), "{fate:?} at {fails_at}");
                assert!(world.book.members().is_empty());
                assert!(world.servers.values().all(|server| server.seat.is_none()), "{fate:?} at {fails_at}");
                world.works(setup("alice", 4)).unwrap();
            }
            world.agrees();
        }
    }
}

#[test]
fn a_teardown_is_ended_by_the_next_manager() {
    for fate in [Fate::KilledBefore, Fate::KilledAfter] {
        let mut world = World::of(&NAMES, 1);
        world.works(setup("alice", 4)).unwrap();
        let mut killed = false;
        let outcome = world.command(teardown("alice"), |_| {
            if std::mem::replace(&mut killed, true) { Fate::Works } else { fate }
        });
        assert!(outcome.is_none());
        assert!(world.book.members().is_empty() && world.book.dht.is_none());
        assert!(world.servers.values().all(|server| server.seat.is_none()));
        world.agrees();
    }
}

#[test]
fn who_is_dead_at_a_teardown_is_released_when_it_is_back() {
    let mut world = World::of(&NAMES, 1);
    world.works(setup("alice", 5)).unwrap();
    world.servers.get_mut("bob").unwrap().dead = true;
    let Report::TornDown { released, silent } = world.works(teardown("alice")).unwrap() else { panic!() };
    assert_eq!((released.len(), &silent[..]), (4, &["bob".to_owned()][..]));
    world.agrees();
    refuses(&mut world, setup("bob", 3), "still to be released");
    world.settle();
    assert!(world.book.owed.contains_key("bob"), "it does not answer yet");
    // The others can be used meanwhile.
    world.works(setup("alice", 4)).unwrap();
    refuses(&mut world, join("bob"), "still to be released");
    world.servers.get_mut("bob").unwrap().dead = false;
    world.settle();
    assert!(world.book.owed.is_empty() && world.servers["bob"].seat.is_none());
    world.works(join("bob")).unwrap();
    world.agrees();
}

#[test]
fn a_peer_that_left_and_died_before_the_manager_knew_is_free_when_it_is_back() {
    let mut world = World::of(&NAMES, 1);
    world.works(setup("alice", 5)).unwrap();
    // It leaves, the manager is killed before it knows, and the next one cannot reach it.
    let mut fates = [Fate::Works, Fate::KilledAfter, Fate::Fails].into_iter();
    assert!(world.command(leave("alice"), |_| fates.next().unwrap_or(Fate::Works)).is_none());
    world.agrees();
    assert!(world.book.doubtful.contains_key("alice"));
    // It does not count any more: one more may leave, not two.
    world.works(leave("bob")).unwrap();
    refuses(&mut world, leave("carol"), "never fewer than 3");
    world.settle();
    assert!(world.book.doubtful.is_empty());
    assert_eq!(world.book.members(), ["carol", "dave", "eve"]);
    world.agrees();
}

#[test]
fn a_server_that_somebody_else_put_into_a_ring_keeps_its_place_there() {
    let elsewhere = Some(ClusterId([9; 16]));
    // It is still to be released from a ring that is gone, and comes back in another one.
    let mut world = World::of(&NAMES, 1);
    world.works(setup("alice", 4)).unwrap();
    let absent = world.book.members().into_iter().find(|name| name != "alice").unwrap();
    let free = NAMES.iter().find(|name| !world.book.members().contains(&(**name).to_owned())).unwrap();
    world.servers.get_mut(&absent).unwrap().dead = true;
    world.works(teardown("alice")).unwrap();
    assert_eq!(world.book.owed.keys().collect::<Vec<_>>(), [&absent]);
    world.servers.insert(absent.clone(), Server { dead: false, seat: elsewhere });
    world.settle();
    assert_eq!(world.servers[&absent].seat, elsewhere, "it was not meant");
    assert!(world.book.owed.is_empty(), "it owes nothing to the ring that is gone");

    // It cannot join, nor is it released because it could not.
    world.servers.get_mut(*free).unwrap().seat = elsewhere;
    let others: Vec<&str> = NAMES.into_iter().filter(|name| *name != absent && name != free).collect();
    world.works(setup(others[0], 3)).unwrap();
    assert!(world.works(join(free)).is_err());
    assert_eq!(world.servers[*free].seat, elsewhere);
    assert!(world.book.owed.is_empty());

    // One that may have left, and is elsewhere by now, is free.
    world.servers.get_mut(*free).unwrap().seat = None;
    world.works(join(free)).unwrap();
    let gone = others[1];
    world.servers.get_mut(gone).unwrap().dead = true;
    assert!(world.works(leave(gone)).is_err());
    world.servers.insert(gone.to_owned(), Server { dead: false, seat: elsewhere });
    world.settle();
    world.settle();
    assert_eq!(world.book.peers[gone].state, PeerState::Free);
    assert_eq!(world.servers[gone].seat, elsewhere);
}

#[test]
fn a_dead_free_peer_is_not_chosen_if_there_are_others() {
    let mut world = World::of(&NAMES, 1);
    world.servers.get_mut("bob").unwrap().dead = true;
    world.works(setup("alice", 4)).unwrap();
    assert_eq!(world.book.members(), ["alice", "carol", "dave", "eve"]);
    let leader = world.book.leader().unwrap().clone();
    world.works(teardown(&leader)).unwrap();
    refuses(&mut world, setup("alice", 5), "only 4 free peers can be used");
    refuses(&mut world, setup("bob", 3), "bob: ");
}

#[test]
fn the_first_effect_of_a_setup_looks_and_changes_nothing() {
    let mut world = World::of(&NAMES, 1);
    let mut first = None;
    let _ = world.command(setup("alice", 3), |effect| {
        first.get_or_insert_with(|| effect.clone());
        Fate::Works
    });
    assert!(matches!(first, Some(Effect::Look(servers)) if servers.len() == 5));
}
