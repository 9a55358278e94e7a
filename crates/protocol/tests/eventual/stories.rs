//! Stories of a few nodes, step by step.

use std::collections::BTreeSet;
use std::time::Duration;

use chordata_protocol::eventual::{
    Caller, Change, ClientError, Durability, Effect, Event, Eventual, Member, Outcome, Remembered, Request,
    Response, Settings, Stamped, StoreId, Stores, Table, Timer,
};
use chordata_protocol::{Id, Key, Operation, Range, Space, Time, Version};

use crate::check::{History, left_over, lost, unequal};
use crate::disk::Disk;
use crate::world::World;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A ring of so many nodes that has come to rest.
fn ring(nodes: usize, durability: Durability) -> World {
    let mut world = World::new(7, durability);
    for _ in 0..nodes {
        world.add();
    }
    world.run(seconds(20));
    world
}

fn replicas(world: &World, key: &Key) -> Vec<StoreId> {
    world.table().replicas(key.id(world.space))
}

fn stranger(world: &World, key: &Key) -> StoreId {
    let replicas = replicas(world, key);
    world.up().into_iter().find(|store| !replicas.contains(store)).unwrap()
}

fn value(world: &World, store: StoreId, key: &Key) -> Option<Vec<u8>> {
    world.nodes[&store].disk.held(key)?.value.clone().map(|value| value.into_bytes())
}

fn found(world: &World, caller: Caller) -> Option<Vec<u8>> {
    match world.result(caller).expect("it is answered") {
        Ok(Outcome::Found(held)) => held.clone()?.value.map(|value| value.into_bytes()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_write_is_answered_when_its_copy_is_on_disk_and_reaches_all_replicas() {
    let mut world = ring(5, Durability::Sync);
    let key = Key::new("berlin");
    let owner = replicas(&world, &key)[0];
    let caller = world.write(owner, &key, Some(b"1".to_vec()), 1);
    assert!(world.result(caller).is_none(), "not before the disk has synced");
    world.run(Duration::from_millis(20));
    assert!(matches!(world.result(caller), Some(Ok(Outcome::Written(_)))));
    world.run(Duration::from_millis(100));
    for store in replicas(&world, &key) {
        assert_eq!(value(&world, store, &key), Some(b"1".to_vec()));
    }
}

#[test]
fn a_write_at_a_stranger_is_handed_to_the_replicas_and_dropped_there() {
    let mut world = ring(6, Durability::Sync);
    let key = Key::new("berlin");
    let stranger = stranger(&world, &key);
    let caller = world.write(stranger, &key, Some(b"1".to_vec()), 3);
    world.run(Duration::from_millis(200));
    assert!(matches!(world.result(caller), Some(Ok(Outcome::Written(_)))));
    assert_eq!(value(&world, stranger, &key), Some(b"1".to_vec()), "until all have confirmed");
    world.run(seconds(5));
    assert_eq!(value(&world, stranger, &key), None);
    assert!(replicas(&world, &key).iter().all(|store| value(&world, *store, &key).is_some()));
    let caller = world.read(stranger, &key, 1);
    world.run(seconds(1));
    assert_eq!(found(&world, caller), Some(b"1".to_vec()), "a stranger asks the replicas");
}

#[test]
fn a_write_that_gets_too_few_copies_says_how_many_and_spreads_later() {
    let mut world = ring(3, Durability::Sync);
    let key = Key::new("berlin");
    let alone = world.up()[0];
    world.nodes.get_mut(&alone).unwrap().side = 1;
    let caller = world.write(alone, &key, Some(b"1".to_vec()), 2);
    world.run(seconds(2));
    let refused = world.result(caller).expect("within the call timeout").clone().unwrap_err();
    assert!(matches!(refused, ClientError::FewerCopies { stored: 1, wanted: 2, .. }), "{refused}");
    assert!(world.counters().hints_kept > 0);
    world.nodes.get_mut(&alone).unwrap().side = 0;
    world.run(seconds(10));
    assert!(world.up().iter().all(|store| value(&world, *store, &key).is_some()));
    assert!(left_over(&world).is_empty(), "no hint is left");
}

#[test]
fn a_replica_that_was_down_gets_its_hints_when_it_returns_though_the_hinter_crashed() {
    let mut world = ring(3, Durability::Sync);
    let key = Key::new("berlin");
    let [one, two, _] = world.up()[..] else { panic!("three nodes") };
    world.nodes.get_mut(&two).unwrap().side = 1;
    world.write(one, &key, Some(b"1".to_vec()), 1);
    world.run(Duration::from_millis(1900));
    assert!(world.nodes[&one].disk.content.hints.contains(&(two, key.clone())));
    world.crash(one);
    world.start(one);
    assert!(world.nodes[&one].disk.content.hints.contains(&(two, key.clone())), "hints are on disk");
    world.nodes.get_mut(&two).unwrap().side = 0;
    let delivered = world.counters().hints_delivered;
    world.run(seconds(5));
    assert!(world.counters().hints_delivered > delivered);
    assert_eq!(value(&world, two, &key), Some(b"1".to_vec()));
}

#[test]
fn a_read_of_several_replicas_answers_the_newest_and_repairs_the_others() {
    let mut world = ring(3, Durability::Sync);
    let key = Key::new("berlin");
    let [one, two, three] = world.up()[..] else { panic!("three nodes") };
    world.write(one, &key, Some(b"old".to_vec()), 3);
    world.run(seconds(1));
    // A later write reaches one replica only: it is put into its store behind the protocol's back.
    let version = Version { epoch: world.machine(one).highest().epoch + 1, sequence: two.tag() };
    let later = Stamped { version, value: Some("new".into()), expires: None };
    let disk = &mut world.nodes.get_mut(&two).unwrap().disk;
    disk.store(vec![Change::Put(key.clone(), later.clone())]);
    world.ever.entry(key.clone()).or_default().insert(version, later);
    let caller = world.read(one, &key, 3);
    world.run(Duration::from_millis(100));
    assert_eq!(found(&world, caller), Some(b"new".to_vec()));
    world.run(Duration::from_millis(200));
    assert_eq!(value(&world, one, &key), Some(b"new".to_vec()));
    assert_eq!(value(&world, three, &key), Some(b"new".to_vec()));
    assert_eq!(world.counters().repairs, 2);
}

#[test]
fn what_cannot_be_done_is_refused_with_a_reason_and_changes_nothing() {
    let mut world = ring(3, Durability::Sync);
    let store = world.up()[0];
    let key = Key::new("berlin");
    let mut ask = |operation: Operation, acks, seen, key: &Key| {
        let key = key.clone();
        let caller = world.request(store, |caller| Event::Write { caller, key, operation, acks, seen });
        world.result(caller).expect("refused at once").clone().unwrap_err()
    };
    let swap = Operation::swap(None, None);
    assert_eq!(ask(swap, 1, None, &key), ClientError::NoCompareAndSwap);
    assert_eq!(ask(Operation::Delete, 4, None, &key), ClientError::TooManyAcks { wanted: 4, possible: 3 });
    let future = Version { epoch: (1_700_000_000_000 + 200_000) << 16, sequence: 1 };
    let refused = ask(Operation::Delete, 1, Some(future), &key);
    assert!(matches!(refused, ClientError::FromTheFuture { allowed_ms: 60_000, .. }), "{refused}");
    assert!(matches!(ask(Operation::Delete, 1, None, &Key::new("")), ClientError::BadInput(_)));
    assert!(matches!(ask(Operation::put(vec![0; 2 << 20]), 1, None, &key), ClientError::BadInput(_)));
    world.run(seconds(1));
    assert!(world.ever.is_empty());
}

#[test]
fn a_client_that_goes_from_node_to_node_has_its_last_write_win_though_clocks_differ() {
    let mut world = ring(5, Durability::Sync);
    let key = Key::new("berlin");
    let mut seen = None;
    for round in 0..40u32 {
        let up = world.up();
        let store = up[round as usize % up.len()];
        let key = key.clone();
        let operation = Operation::put(round.to_string());
        let caller = world.request(store, |caller| Event::Write { caller, key, operation, acks: 1, seen });
        world.run(Duration::from_millis(9));
        let Some(Ok(Outcome::Written(version))) = world.result(caller) else { panic!("it is written") };
        assert!(seen < Some(*version));
        seen = Some(*version);
    }
    world.run(seconds(5));
    assert!(unequal(&world).is_empty());
    let owner = replicas(&world, &key)[0];
    assert_eq!(value(&world, owner, &key), Some(b"39".to_vec()));
}

/// Twenty keys are written, a replica goes away, they are deleted.
fn deleted_while_one_is_away(world: &mut World) -> (StoreId, Vec<Key>, History) {
    let keys: Vec<Key> = (0..20).map(|number| Key::new(format!("key {number}"))).collect();
    let mut history = History::default();
    let first = world.up()[0];
    for key in &keys {
        let caller = world.write(first, key, Some(b"x".to_vec()), 1);
        history.began(caller, key);
    }
    world.run(seconds(20));
    let away = world.up()[1];
    assert!(keys.iter().any(|key| value(world, away, key).is_some()));
    world.crash(away);
    world.run(seconds(5));
    for key in &keys {
        let caller = world.write(first, key, None, 1);
        history.began(caller, key);
    }
    world.run(seconds(300));
    (away, keys, history)
}

#[test]
fn nothing_deleted_comes_back_with_a_replica_that_was_away_for_long() {
    let mut world = ring(5, Durability::Sync);
    let (away, _, history) = deleted_while_one_is_away(&mut world);
    assert_eq!(world.counters().collected, 0, "tombstones wait for the one that is away");
    let waiting: BTreeSet<StoreId> =
        world.up().iter().flat_map(|store| world.machine(*store).waiting_for()).collect();
    assert_eq!(waiting, BTreeSet::from([away]));
    world.start(away);
    world.run(seconds(30));
    assert!(unequal(&world).is_empty());
    assert!(lost(&world, &history).is_empty());
    world.run(seconds(30));
    assert!(left_over(&world).is_empty(), "{:#?}", left_over(&world));
    assert!(world.counters().collected >= 20);
    assert!(world.up().iter().all(|store| world.nodes[store].disk.content.records.is_empty()));
}

#[test]
fn a_forgotten_store_holds_nothing_up_and_brings_nothing_back() {
    let mut world = ring(5, Durability::Sync);
    let (away, keys, history) = deleted_while_one_is_away(&mut world);
    let teller = world.up()[0];
    world.handle(teller, Event::Forget(away));
    world.run(seconds(60));
    assert!(world.counters().collected >= 20, "{:?}", world.counters());
    world.start(away);
    let alone =
        value(&world, away, &keys[0]).is_some() || keys.iter().any(|key| value(&world, away, key).is_some());
    assert!(alone, "it still has what was deleted");
    world.run(seconds(60));
    assert!(world.machine(away).is_barred());
    assert!(world.counters().barred > 0);
    for store in world.up().into_iter().filter(|store| *store != away) {
        assert!(world.nodes[&store].disk.content.records.is_empty(), "nothing came back");
    }
    let caller = world.read(away, &keys[0], 1);
    assert_eq!(world.result(caller), Some(&Err(ClientError::Barred)));
    world.nodes.get_mut(&away).unwrap().member = false;
    assert!(lost(&world, &history).is_empty(), "{:#?}", lost(&world, &history));
}

/// The check that nothing comes back can fail: a store that was forgotten returns under another name, against the rule.
#[test]
fn a_forgotten_store_under_another_name_is_seen_by_the_check() {
    let mut world = ring(5, Durability::Sync);
    let (away, _, history) = deleted_while_one_is_away(&mut world);
    let teller = world.up()[0];
    world.handle(teller, Event::Forget(away));
    world.run(seconds(120));
    let disk = world.nodes[&away].disk.content.records.clone();
    world.nodes.get_mut(&away).unwrap().member = false;
    let again = world.add();
    let puts = disk.into_iter().map(|((_, key), (held, _))| Change::Put(key, held));
    world.nodes.get_mut(&again).unwrap().disk.store(puts.collect());
    world.run(seconds(60));
    assert!(!lost(&world, &history).is_empty(), "deleted keys came back, and the check says so");
}

#[test]
fn a_new_replica_asks_another_before_it_says_that_there_is_nothing() {
    let mut world = ring(3, Durability::Sync);
    let keys: Vec<Key> = (0..40).map(|number| Key::new(format!("key {number}"))).collect();
    let first = world.up()[0];
    for key in &keys {
        world.write(first, key, Some(b"x".to_vec()), 1);
    }
    world.run(seconds(20));
    let joined = world.add();
    while world.machine(joined).table().is_none_or(|table| table.members().len() < 4) {
        world.run(Duration::from_millis(1));
    }
    let mine: Vec<&Key> = keys.iter().filter(|key| replicas(&world, key).contains(&joined)).collect();
    let empty: Vec<&&Key> = mine.iter().filter(|key| value(&world, joined, key).is_none()).collect();
    assert!(!empty.is_empty(), "its copies are not there yet");
    let callers: Vec<_> = empty.iter().map(|key| world.read(joined, key, 1)).collect();
    world.run(seconds(2));
    for caller in callers {
        assert_eq!(found(&world, caller), Some(b"x".to_vec()));
    }
}

/// A machine with a store and a disk that syncs at once.
struct Lone {
    machine: Eventual,
    disk: Disk,
}

impl Lone {
    fn new(store: u128, members: &[u128], replicas: usize) -> Lone {
        let settings = Settings { durability: Durability::Stored, ..Settings::default() };
        let machine = Eventual::new(settings, StoreId(store), 3, Remembered::default());
        let mut lone = Lone { machine, disk: Disk::new(Space::default()) };
        let member = |store: &u128| Member { id: Id::from_u128(*store), store: StoreId(*store) };
        let table = Table::new(members.iter().map(member).collect(), replicas);
        lone.handle(Event::Members { table, forgotten: BTreeSet::new(), seen: None });
        lone
    }

    /// All effects, with those of the disk's syncs.
    fn handle(&mut self, event: Event) -> Vec<Effect> {
        let (mut events, mut all) = (vec![event], Vec::new());
        while let Some(event) = events.pop() {
            for effect in self.machine.handle(Time::ZERO, 1000, event, &self.disk.content) {
                match &effect {
                    Effect::Store(changes) => self.disk.store(changes.clone()),
                    Effect::Persist { token } => events.push(Event::Persisted { token: *token }),
                    _ => {}
                }
                all.push(effect);
            }
        }
        all
    }

    fn asked(&mut self, from: u128, request: Request) -> Vec<Effect> {
        self.handle(Event::Asked { caller: Caller(4), from: StoreId(from), request })
    }
}

/// Whoever asks it on behalf of a client must not take its word for it either.
#[test]
fn nobody_believes_a_new_replica_that_there_is_nothing() {
    let key = Key::new("berlin");
    let answered = |effects: Vec<Effect>| {
        effects.into_iter().find_map(|effect| match effect {
            Effect::Answer { response, .. } => Some(response),
            _ => None,
        })
    };
    let mut new = Lone::new(1, &[1, 2, 3], 3);
    assert_eq!(answered(new.asked(9, Request::Read(key.clone()))), Some(Response::Unfilled));
    let mut only = Lone::new(1, &[1], 3);
    assert_eq!(answered(only.asked(9, Request::Read(key))), Some(Response::Held(None)));

    let found =
        Stamped { version: Version { epoch: 5, sequence: 9 }, value: Some("1".into()), expires: None };
    for (second, expected) in [(Response::Held(Some(found.clone())), Some(found)), (Response::Unfilled, None)]
    {
        let mut asker = Lone::new(9, &[1, 2], 2);
        let read = Event::Read { caller: Caller(7), key: Key::new("berlin"), acks: 1, seen: None };
        let calls: Vec<_> = asker
            .handle(read)
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Call { token, request: Request::Read(_), .. } => Some(token),
                _ => None,
            })
            .collect();
        let done = |effects: Vec<Effect>| {
            effects.into_iter().find_map(|effect| match effect {
                Effect::Done { result, .. } => Some(result),
                _ => None,
            })
        };
        let first = Event::Reply { token: calls[0], result: Ok(Response::Unfilled) };
        assert_eq!(done(asker.handle(first)), None, "somebody may know more");
        let second = Event::Reply { token: calls[1], result: Ok(second) };
        assert_eq!(done(asker.handle(second)), Some(Ok(Outcome::Found(expected))));
    }
}

/// Two stores may take each other for replicas of a key, and offer it to each other at the same time: if each dropped
/// its copy since the other says that it has one, both would be gone.
#[test]
fn what_another_was_told_to_be_here_is_not_dropped_on_older_word() {
    let (key, version) = (Key::new("berlin"), Version { epoch: 5, sequence: 9 });
    let entries = vec![(key.clone(), Stamped { version, value: Some("1".into()), expires: None })];
    let offer = || Request::Offer(vec![(key.clone(), version)]);
    for vouches in [None, Some(offer()), Some(Request::Copy { entries: entries.clone(), durable: true })] {
        let mut lone = Lone::new(1, &[2, 3], 2);
        lone.asked(3, Request::Copy { entries: entries.clone(), durable: true });
        let offers: Vec<_> = lone
            .handle(Event::Timer(Timer::HandOff))
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Call { token, request: Request::Offer(_), .. } => Some(token),
                _ => None,
            })
            .collect();
        let is_dropped = |effects: &[Effect]| {
            let erases = |change: &Change| matches!(change, Change::Erase(_));
            effects
                .iter()
                .any(|effect| matches!(effect, Effect::Store(changes) if changes.iter().any(erases)))
        };
        let has_it = || Ok(Response::Offered { wanted: Vec::new(), newer: Vec::new() });
        assert!(!is_dropped(&lone.handle(Event::Reply { token: offers[0], result: has_it() })));
        if let Some(request) = vouches.clone() {
            lone.asked(3, request);
        }
        let effects = lone.handle(Event::Reply { token: offers[1], result: has_it() });
        assert_eq!(is_dropped(&effects), vouches.is_none(), "{vouches:?}");
    }
}

#[test]
fn a_departing_node_is_drained_when_all_it_had_is_with_its_replicas() {
    let mut world = ring(5, Durability::Sync);
    let keys: Vec<Key> = (0..40).map(|number| Key::new(format!("key {number}"))).collect();
    let leaver = world.up()[2];
    for key in &keys {
        world.write(leaver, key, Some(b"x".to_vec()), 1);
    }
    world.run(seconds(20));
    assert!(!world.nodes[&leaver].disk.content.records.is_empty());
    world.nodes.get_mut(&leaver).unwrap().member = false;
    world.run(seconds(10));
    assert!(world.machine(leaver).is_drained());
    assert!(world.nodes[&leaver].disk.content.records.is_empty());
    assert!(unequal(&world).is_empty());
    world.crash(leaver);
    world.run(seconds(5));
    let owner = |key: &Key| replicas(&world, key)[0];
    assert!(keys.iter().all(|key| value(&world, owner(key), key).is_some()));
}

#[test]
fn a_departing_node_that_reaches_nobody_is_not_drained() {
    let mut world = ring(5, Durability::Sync);
    let leaver = world.up()[2];
    for number in 0..40 {
        world.write(leaver, &Key::new(format!("key {number}")), Some(b"x".to_vec()), 1);
    }
    world.run(seconds(20));
    world.loss = 1000;
    world.nodes.get_mut(&leaver).unwrap().member = false;
    for _ in 0..20 {
        world.run(seconds(1));
        assert!(!world.machine(leaver).is_drained());
    }
    assert!(!world.nodes[&leaver].disk.content.records.is_empty());
    world.loss = 0;
    world.run(seconds(10));
    assert!(world.machine(leaver).is_drained());
}

/// What others rely on is answered from the disk: copies that count or are dropped elsewhere, and tombstones.
#[test]
fn what_others_rely_on_is_on_disk_before_it_is_answered() {
    let (key, version) = (Key::new("berlin"), Version { epoch: 5, sequence: 9 });
    let entries = vec![(key.clone(), Stamped { version, value: Some("1".into()), expires: None })];
    for (durability, request, expected) in [
        (Durability::Sync, Request::Copy { entries: entries.clone(), durable: false }, Response::Copied),
        (Durability::Stored, Request::Copy { entries, durable: true }, Response::Copied),
        (
            Durability::Stored,
            Request::Offer(vec![(key.clone(), version)]),
            Response::Offered { wanted: vec![key.clone()], newer: Vec::new() },
        ),
        (
            Durability::Stored,
            Request::Keep { tombstones: vec![(key, version)], stores: Stores::default() },
            Response::Kept(Stores { known: BTreeSet::from([StoreId(1)]), forgotten: BTreeSet::new() }),
        ),
    ] {
        let disk = Disk::new(Space::default());
        let settings = Settings { durability, ..Settings::default() };
        let mut machine = Eventual::new(settings, StoreId(1), 3, Remembered::default());
        let asked = Event::Asked { caller: Caller(4), from: StoreId(2), request: request.clone() };
        let effects = machine.handle(Time::ZERO, 1000, asked, &disk.content);
        let answered =
            |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Answer { .. }));
        assert!(!answered(&effects), "{} is answered at once", request.name());
        let persists = effects.iter().filter_map(|effect| match effect {
            Effect::Persist { token } => Some(*token),
            _ => None,
        });
        let after = persists
            .flat_map(|token| machine.handle(Time::ZERO, 1000, Event::Persisted { token }, &disk.content));
        let after: Vec<Effect> = after.collect();
        assert!(after.contains(&Effect::Answer { caller: Caller(4), response: expected }), "{after:?}");
    }
}

#[test]
fn a_store_that_is_known_as_forgotten_before_it_is_known_at_all_is_not_waited_for() {
    let mut world = ring(3, Durability::Sync);
    let key = Key::new("berlin");
    let [owner, other, away] = replicas(&world, &key)[..] else { panic!("three replicas") };
    let gone = StoreId(99 << 64 | 99);
    world.handle(owner, Event::Forget(gone));
    world.write(owner, &key, Some(b"1".to_vec()), 1);
    world.run(seconds(2));
    world.crash(away);
    world.write(owner, &key, None, 1);
    world.run(seconds(5));
    let waits: Vec<StoreId> = world.machine(owner).waiting_for().into_iter().collect();
    assert_eq!(waits, [away], "its tombstone waits");
    let stores = Stores { known: BTreeSet::from([gone]), forgotten: BTreeSet::new() };
    let request = Request::Keep { tombstones: Vec::new(), stores };
    world.gossip(owner, other, request);
    world.start(away);
    world.run(seconds(20));
    assert_eq!(left_over(&world), Vec::<String>::new());
}

#[test]
fn a_value_that_has_ended_is_seen_nowhere_and_goes_for_good() {
    let mut world = ring(5, Durability::Sync);
    let key = Key::new("berlin");
    let owner = replicas(&world, &key)[0];
    world.write(owner, &key, Some(b"for ever".to_vec()), 3);
    world.run(seconds(1));
    // One replica misses the write, and has the older value without an end.
    let absent = replicas(&world, &key)[2];
    world.crash(absent);
    world.run(seconds(3));
    let owner = replicas(&world, &key)[0];
    world.write_for(owner, &key, b"for a while".to_vec(), 10_000, 2);
    world.run(seconds(1));
    let caller = world.read(owner, &key, 1);
    assert_eq!(found(&world, caller), Some(b"for a while".to_vec()));

    world.run(seconds(13));
    for store in world.up() {
        let caller = world.read(store, &key, 1);
        world.run(Duration::from_millis(100));
        assert_eq!(found(&world, caller), None);
        assert_eq!(value(&world, store, &key), None, "its bytes are gone");
    }
    assert!(world.nodes[&owner].disk.held(&key).is_some_and(Stamped::is_tombstone), "as one is away");
    assert!(world.counters().ended > 0);

    world.start(absent);
    world.run(seconds(20));
    let caller = world.read(absent, &key, 1);
    world.run(Duration::from_millis(100));
    assert_eq!(found(&world, caller), None, "the older value does not come back");
    assert!(left_over(&world).is_empty(), "{:?}", left_over(&world));
}

#[test]
fn a_later_put_without_an_end_stays() {
    let mut world = ring(3, Durability::Sync);
    let key = Key::new("berlin");
    let owner = replicas(&world, &key)[0];
    world.write_for(owner, &key, b"for a while".to_vec(), 3000, 3);
    world.run(seconds(1));
    world.write(owner, &key, Some(b"for ever".to_vec()), 3);
    world.run(seconds(20));
    for store in world.up() {
        assert_eq!(value(&world, store, &key), Some(b"for ever".to_vec()));
    }
    assert_eq!(world.counters().ended, 0);
}

#[test]
fn that_values_end_moves_no_copies_though_clocks_differ() {
    let mut world = ring(3, Durability::Sync);
    let owner = world.up()[0];
    for round in 0..200u32 {
        world.write_for(owner, &Key::new(format!("key {round}")), b"x".to_vec(), 1500, 3);
        world.run(Duration::from_millis(300));
    }
    let counters = world.counters();
    assert!(counters.syncs > 20 && counters.ended > 400, "{counters:?}");
    assert_eq!((counters.pulled, counters.pushed), (0, 0), "replicas agree, whichever has come to it");
}

#[test]
fn a_node_has_all_of_a_range_when_it_keeps_it_and_has_compared_it() {
    let mut world = ring(5, Durability::Sync);
    let keys: Vec<Key> = (0..60).map(|number| Key::new(format!("key {number}"))).collect();
    for key in &keys {
        world.write(world.up()[0], key, Some(b"1".to_vec()), 1);
        world.run(Duration::from_millis(20));
    }
    world.run(seconds(10));
    let whole = Range { low: Id::ZERO, high: Id::ZERO };
    for store in world.up() {
        let (kept, machine) = (world.table().kept(store).unwrap(), world.machine(store));
        assert!(machine.has_all(kept) && !machine.has_all(whole), "of five, each keeps three parts");
        let beyond = Range { high: world.space.next(kept.high), ..kept };
        assert!(!machine.has_all(beyond));
    }
    let joined = world.add();
    let mut before = 0;
    loop {
        world.run(Duration::from_millis(5));
        let machine = world.machine(joined);
        let Some(kept) = machine.table().and_then(|table| table.kept(joined)) else { continue };
        let theirs: Vec<&Key> = keys.iter().filter(|key| kept.contains(key.id(world.space))).collect();
        let there = theirs.iter().filter(|key| value(&world, joined, key).is_some()).count();
        if machine.has_all(kept) {
            assert_eq!(there, theirs.len(), "it says so only when it is so");
            break;
        }
        before += 1;
        assert!(
            world.now < Time::from_micros(120_000_000),
            "it comes to have all: {there} of {}",
            theirs.len()
        );
    }
    assert!(before > 0, "it did not have all from the beginning");
    // Who is alone has all there is.
    let alone = ring(1, Durability::Stored);
    assert!(alone.machine(alone.up()[0]).has_all(whole));
}
