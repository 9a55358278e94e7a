//! Any commands in any order, any failures, a kill between any two steps: the book and the servers agree in the end.

use chordata_manager::book::PEERS_MIN;
use chordata_rpc::manager::{Command, Report};
use proptest::prelude::*;

use crate::world::{Fate, World};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

#[derive(Clone, Debug)]
enum Act {
    Command(Command),
    Die(usize),
    Revive(usize),
    Settle,
}

fn name() -> impl Strategy<Value = String> {
    (0..NAMES.len()).prop_map(|place| NAMES[place].to_owned())
}

fn act() -> impl Strategy<Value = Act> {
    let command = prop_oneof![
        3 => (name(), 2..6_u32).prop_map(|(name, size)| Command::SetupDht { name, size, year: 1950 }),
        3 => name().prop_map(|name| Command::LeaveDht { name }),
        3 => name().prop_map(|name| Command::JoinDht { name }),
        2 => name().prop_map(|name| Command::TeardownDht { name }),
        1 => (name(), any::<bool>()).prop_map(|(name, known)| {
            Command::QueryDht { name, event: known.then(|| "8".to_owned()) }
        }),
        1 => name().prop_map(|name| Command::Deregister { name }),
    ];
    prop_oneof![
        10 => command.prop_map(Act::Command),
        1 => (0..NAMES.len()).prop_map(Act::Die),
        2 => (0..NAMES.len()).prop_map(Act::Revive),
        1 => Just(Act::Settle),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Works),
        1 => Just(Fate::Fails),
        1 => Just(Fate::SeemsToFail),
        1 => Just(Fate::KilledBefore),
        1 => Just(Fate::KilledAfter),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn book_and_servers_agree_whatever_happens(
        acts in prop::collection::vec(act(), 1..40),
        fates in prop::collection::vec(fate(), 1..60),
        seed in any::<u64>(),
    ) {
        let mut world = World::of(&NAMES, seed);
        // Sooner or later something works: nobody is killed for ever.
        let mut fates = fates.into_iter().chain([Fate::Works; 3]).cycle();
        for act in acts {
            match act {
                Act::Command(command) => {
                    let before = world.book.clone();
                    let outcome = world.command(command.clone(), |_| fates.next().unwrap());
                    match outcome {
                        Some(Ok(Report::SetUp { peers, .. })) => {
                            let Command::SetupDht { name, size, .. } = &command else { panic!("{command:?}") };
                            prop_assert_eq!(peers.len(), *size as usize);
                            prop_assert_eq!(&peers[0].name, name, "the leader comes first");
                            prop_assert_eq!(world.book.members().len(), *size as usize);
                        }
                        Some(Ok(Report::TornDown { .. })) => prop_assert!(world.book.members().is_empty()),
                        Some(Err(_)) => {
                            // What is refused changes nothing but who is owed a release.
                            prop_assert_eq!(&world.book.peers, &before.peers);
                            prop_assert_eq!(&world.book.dht, &before.dht);
                        }
                        Some(Ok(_)) | None => {}
                    }
                }
                Act::Die(place) => world.servers.get_mut(NAMES[place]).unwrap().dead = true,
                Act::Revive(place) => {
                    let name = NAMES[place];
                    world.servers.get_mut(name).unwrap().dead = false;
                    // One that was deregistered while it was owed a release is somebody else's business.
                    let server = world.servers.get_mut(name).unwrap();
                    if !world.book.peers.contains_key(name) {
                        server.seat = None;
                        let _ = world.works(world.registration(name));
                    }
                }
                Act::Settle => world.settle(),
            }
            world.agrees();
            let members = world.book.members().len();
            prop_assert!(members == 0 || members >= PEERS_MIN);
        }
        // In the end everybody is there: whoever is owed a release gets it, and all can be taken down.
        for server in world.servers.values_mut() {
            server.dead = false;
        }
        world.settle();
        prop_assert!(world.book.owed.is_empty() && world.book.doubtful.is_empty());
        world.agrees();
        if let Some(leader) = world.book.leader().cloned() {
            world.works(Command::TeardownDht { name: leader }).unwrap();
        }
        world.agrees();
        prop_assert!(world.book.peers.keys().all(|name| world.servers[name].seat.is_none()));
    }
}
