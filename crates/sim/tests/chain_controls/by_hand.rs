//! Every sentence of every invariant, by hand: a small history that is right, and one thing that is not.

use std::sync::Arc;
use std::time::Duration;

use chordata_protocol::chain::message::{Action, Holding, LogEntry, Mutation, Write};
use chordata_protocol::chain::view::{Link, Reopened};
use chordata_protocol::chain::{
    ChainSettings, Command, Epoch, Incarnation, Sequence, StoreId, View, WriteId,
};
use chordata_protocol::replication::{Durability, Replication};
use chordata_protocol::{
    Address, Id, Key, Moment, Outcome, Peer, Range, Record, Space, Time, Value, Version,
};
use chordata_sim::chain::clock::Clock;
use chordata_sim::chain::disk::Disk;
use chordata_sim::chain::invariants::{Found, content, endings, leases, once, one_epoch};
use chordata_sim::chain::node::Node;
use chordata_sim::chain::table::Table;
use chordata_sim::chain::witness::{Life, Witness};
use chordata_store::Change;

const HEAD: Life = (StoreId(1), Incarnation(1));
const TAIL: Life = (StoreId(2), Incarnation(1));
const E1: Epoch = Epoch(1);
const E2: Epoch = Epoch(2);

#[track_caller]
fn says(found: Found, sentence: &str) {
    assert_eq!(found.unwrap_err(), sentence);
}

fn whole() -> Range {
    Range { low: Id::ZERO, high: Id::ZERO }
}

fn version(sequence: u64) -> Version {
    Version { epoch: 1, sequence }
}

fn id(key: &Key) -> Id {
    key.id(Space::default())
}

fn write(sequence: u64, value: &str) -> Write {
    let key = Key::new("k");
    let by = WriteId { client: 7, sequence, done_below: 0, first_sent: 1 };
    let outcome = Outcome::Written(version(sequence));
    Write { id: id(&key), key, mutation: Mutation::Put(Value::from(value), None), outcome, by: Some(by) }
}

fn entry(sequence: u64, value: &str) -> Arc<LogEntry> {
    let action = Action::Write(write(sequence, value));
    Arc::new(LogEntry { sequence: Sequence(sequence), action })
}

fn holding(epoch: Epoch, last: u64) -> Holding {
    Holding { epoch, range: whole(), complete: true, last: Sequence(last), floor: 0 }
}

fn view(durability: Durability) -> View {
    let replication = Replication { durability, ..Replication::default() };
    let peer = Peer::new(Id::ZERO, Address::new("n0:1"));
    View::first(Space::default(), replication, HEAD.0, HEAD.1, &peer)
}

/// Epoch 1 with a head and a tail, of which nothing is stored.
fn begun(durability: Durability) -> Witness {
    let mut witness = Witness::new(&view(durability));
    witness.epochs.get_mut(&E1).unwrap().serving.push(TAIL);
    witness
}

/// The head has stored #1 and #2, the tail #1.
fn stored(durability: Durability) -> Witness {
    let mut witness = begun(durability);
    for (life, sequence, value) in [(HEAD, 1, "a"), (TAIL, 1, "a"), (HEAD, 2, "b")] {
        witness.stored(life, &holding(E1, sequence), &[entry(sequence, value)]).unwrap();
        witness.durable(life, E1, Sequence(sequence));
    }
    witness
}

/// #1 is committed.
fn committed(durability: Durability) -> Witness {
    let mut witness = stored(durability);
    witness.acknowledges(version(1), Some((7, 1)), Outcome::Written(version(1))).unwrap();
    witness
}

/// A view in which epoch 2 follows, from this base, with both in its chain.
fn activated(durability: Durability, base: u64) -> (View, View, Command) {
    let mut before = view(durability);
    let link = |life: Life| Link { store: life.0, incarnation: life.1, serving: true };
    let chain = vec![link(HEAD), link(TAIL)];
    before.ranges.get_mut(&E1).unwrap().chain = chain.clone();
    before.apply(&Command::Prepare { parents: vec![E1], children: vec![(whole(), chain.clone())] });
    let command = Command::Activate { change: E2, bases: vec![Sequence(base)], chains: vec![chain] };
    let mut after = before.clone();
    after.apply(&command);
    (before, after, command)
}

#[test]
fn the_small_history_is_right() {
    for durability in [Durability::Sync, Durability::Interval, Durability::Memory] {
        let mut witness = committed(durability);
        witness.stored(TAIL, &holding(E1, 2), &[entry(2, "b")]).unwrap();
        witness.durable(TAIL, E1, Sequence(2));
        witness.acknowledges(version(2), Some((7, 2)), Outcome::Written(version(2))).unwrap();
        let (before, after, command) = activated(durability, 2);
        witness.agreed(Time::ZERO, &before, &after, &command).unwrap();
        let key = Key::new("k");
        let found = Record { version: version(2), value: Value::from("b"), expires: None };
        content::read(&witness, E2, id(&key), &key, Some(&found)).unwrap();
        one_epoch::serves(&mut witness, E2).unwrap();
    }
}

#[test]
fn committed_is_what_every_serving_replica_has() {
    let outcome = Outcome::Written(version(2));
    says(
        committed(Durability::Interval).acknowledges(version(2), Some((7, 2)), outcome),
        "#2 of epoch 1 is taken for committed, (s2, Incarnation(1)) has only #1",
    );
    let mut witness = committed(Durability::Sync);
    witness.stored(TAIL, &holding(E1, 2), &[entry(2, "b")]).unwrap();
    says(
        witness.acknowledges(version(2), Some((7, 2)), outcome),
        "#2 of epoch 1 is taken for committed, (s2, Incarnation(1)) has only #1 on disk",
    );
    let mut witness = committed(Durability::Interval);
    witness.epochs.get_mut(&E1).unwrap().ended = Some(Sequence(1));
    says(witness.seen_committed(E1, Sequence(2)), "epoch 1 ended at #1, and #2 is taken for committed");
    says(
        witness.seen_committed(E2, Sequence(2)),
        "something is committed in epoch 2, which was never agreed on",
    );
}

#[test]
fn content_is_what_is_committed() {
    let witness = committed(Durability::Interval);
    let (key, there) =
        (Key::new("k"), Record { version: version(1), value: Value::from("a"), expires: None });
    let (older, altered) = (
        Record { version: version(0), value: Value::from("0"), expires: None },
        Record { value: Value::from("x"), ..there },
    );
    let read = |found| content::read(&witness, E1, id(&key), &key, found);
    read(Some(&there)).unwrap();
    says(read(None), "a read of k in epoch 1 finds nothing, committed is 1.1 (a)");
    says(read(Some(&older)), "a read of k in epoch 1 finds 1.0 (0), committed is 1.1 (a)");
    says(read(Some(&altered)), "a read of k in epoch 1 finds 1.1 (x), committed is 1.1 (a)");
}

#[test]
fn a_value_ends_at_its_moment_and_no_other_one_does() {
    let (key, second) = (Key::new("k"), Time::from_micros(1_000_000));
    let wall = |moment: Time| Clock::new(0, 0).wall(moment);
    let moment = |millis: u64| Some(Moment::from_millis(wall(second).as_millis() + millis));
    let (lives, stays) = (Value::from("v~500"), Value::from("v"));
    endings::decided(&lives, moment(500), second).unwrap();
    endings::decided(&lives, moment(899), second).unwrap();
    endings::decided(&stays, None, second).unwrap();
    let written = wall(second).as_millis() - 400;
    says(
        endings::decided(&lives, moment(901), second),
        &format!("v~500 is to end at {} ms, and was written at {written} ms", written + 1301),
    );
    says(
        endings::decided(&lives, None, second),
        &format!("v~500 is to end never, and was written at {written} ms"),
    );
    assert!(endings::decided(&stays, moment(1), second).is_err());

    let mut model = Table::default();
    let mut holds = |version: Version, expires| {
        let record = Record { version, value: lives.clone(), expires };
        model.apply(vec![Change::Put(id(&key), key.clone(), record)]);
        endings::ended(&model, &write(9, "x"), self::version(1), second)
    };
    holds(version(1), moment(400)).unwrap();
    says(holds(version(1), moment(450)), "k of version 1.1 is ended 50 ms before its moment");
    says(holds(version(1), None), "k of version 1.1 is ended, and has no moment");
    says(holds(version(2), moment(0)), "k of version 1.1 is ended, and holds version 1.2");
    says(
        endings::ended(&Table::default(), &write(9, "x"), version(1), second),
        "k of version 1.1 is ended, and holds nothing",
    );
}

#[test]
fn who_begins_to_serve_has_what_is_committed() {
    let (key, mut witness) = (Key::new("k"), committed(Durability::Interval));
    let facts = witness.epochs.get_mut(&E1).unwrap();
    facts.base = facts.committed;
    let record = Record { version: version(1), value: Value::from("a"), expires: None };
    let put = |key: &Key, record: &Record| Change::Put(id(key), key.clone(), record.clone());
    let mut engine = Table::default();
    let mut began = |change: Option<Change>| {
        engine.apply(change.into_iter().collect());
        witness.began_serving(E1, &engine)
    };
    says(began(None), "a replica that begins to serve epoch 1 lacks k at 1.1");
    began(Some(put(&key, &record))).unwrap();
    let stray = Key::new("stray");
    says(
        began(Some(put(&stray, &record))),
        "a replica that begins to serve epoch 1 has stray at 1.1, which is gone",
    );
    began(Some(Change::Remove(id(&stray), stray))).unwrap();
    let older = Record { version: version(0), ..record.clone() };
    says(
        began(Some(put(&key, &older))),
        "a replica that begins to serve epoch 1 has k at 1.0 instead of 1.1",
    );
    let altered = Record { value: Value::from("x"), ..record };
    says(
        began(Some(put(&key, &altered))),
        "a replica that begins to serve epoch 1 has another value under k",
    );
    says(witness.began_serving(E2, &Table::default()), "epoch 2 is served, and was never agreed on");
}

#[test]
fn leases_are_by_the_own_clock() {
    let settings = ChainSettings::default();
    let disk = Disk::new(settings.space, Durability::Memory);
    let mut node = Node::vacant(Address::new("n0:1"), Clock::new(0, 0), disk);
    let peer = Peer::new(Id::ZERO, node.address.clone());
    node.start(settings.clone(), settings, peer, Vec::new(), 1);
    let process = node.process.as_mut().unwrap();
    says(leases::serves(process, Time::ZERO, E1), "epoch 1 is served without a lease");
    process.leases.insert(E1, Time::ZERO + Duration::from_secs(1));
    leases::serves(process, Time::ZERO, E1).unwrap();
    let late = Time::ZERO + Duration::from_micros(1_000_005);
    says(leases::serves(process, late, E1), "epoch 1 is served 5 us after the lease ran out");
}

#[test]
fn nothing_committed_is_lost_when_an_epoch_ends() {
    let (before, after, command) = activated(Durability::Interval, 0);
    says(
        committed(Durability::Interval).agreed(Time::ZERO, &before, &after, &command),
        "epoch 1 ended at #0, and was committed up to #1: acknowledged writes are lost",
    );
    let (before, after, command) = activated(Durability::Interval, 2);
    says(
        committed(Durability::Interval).agreed(Time::ZERO, &before, &after, &command),
        "(s2, Incarnation(1)) is to serve epoch 2 from #2 of epoch 1, and has #1",
    );
    let mut witness = committed(Durability::Sync);
    witness.stored(TAIL, &holding(E1, 2), &[entry(2, "b")]).unwrap();
    says(
        witness.agreed(Time::ZERO, &before, &after, &command),
        "(s2, Incarnation(1)) is to serve epoch 2 from #2 of epoch 1, and has only #1 on disk",
    );
    let (before, after, command) = activated(Durability::Interval, 3);
    says(
        committed(Durability::Interval).agreed(Time::ZERO, &before, &after, &command),
        "epoch 1 is committed up to #3, and nobody ever stored #3",
    );
    let mut nothing = after;
    nothing.ranges.clear();
    says(
        committed(Durability::Interval).agreed(Time::ZERO, &before, &nothing, &command),
        "epoch 1 ended, and nothing follows it",
    );
}

#[test]
fn losses_are_allowed_only_without_sync() {
    let reopened = |durability: Durability, loss: bool| {
        let before = view(durability);
        let (store, incarnation) = HEAD;
        let (epoch, base, with) = (E1, Sequence(0), Reopened::Copy);
        let command = Command::Reopen { epoch, store, incarnation, base, with, loss };
        let mut after = before.clone();
        after.apply(&command);
        committed(durability).agreed(Time::ZERO, &before, &after, &command)
    };
    says(reopened(Durability::Sync, true), "under sync the range of epoch 1 was reopened with losses");
    reopened(Durability::Interval, true).unwrap();
    reopened(Durability::Memory, true).unwrap();
    says(
        reopened(Durability::Memory, false),
        "epoch 1 ended at #0, and was committed up to #1: acknowledged writes are lost",
    );
}

#[test]
fn a_write_takes_one_place() {
    let mut witness = committed(Durability::Interval);
    let again = once::committed(&mut witness.effects, &write(1, "a"), version(2));
    says(again, "write 1 of client 7 on k is done twice, at 1.1 and at 1.2");
    let outcome = Outcome::Written(version(1));
    says(
        witness.acknowledges(version(1), Some((7, 9)), outcome),
        "write Some((7, 9)) is acknowledged at 1.1, where write Some((7, 1)) is",
    );
    says(
        witness.acknowledges(version(1), Some((7, 1)), Outcome::Deleted(None)),
        "write Some((7, 1)) at 1.1 had Written(Version { epoch: 1, sequence: 1 }), and its client is told \
         Deleted(None)",
    );
    says(
        witness.acknowledges(version(0), Some((7, 1)), outcome),
        "a write is acknowledged at 1.0, where there is none",
    );
    let nowhere = Version { epoch: 9, sequence: 1 };
    says(
        witness.acknowledges(nowhere, Some((7, 1)), outcome),
        "a write is acknowledged at 9.1, in an epoch that was never agreed on",
    );
}

#[test]
fn one_epoch_of_a_range_is_served() {
    let mut witness = committed(Durability::Interval);
    witness.stored(TAIL, &holding(E1, 2), &[entry(2, "b")]).unwrap();
    let (before, after, command) = activated(Durability::Interval, 2);
    witness.agreed(Time::ZERO, &before, &after, &command).unwrap();
    one_epoch::serves(&mut witness, E1).unwrap();
    one_epoch::serves(&mut witness, E2).unwrap();
    says(
        one_epoch::serves(&mut witness, E1),
        "epoch 1 is served, and so was a later one of the same identifiers before",
    );
    says(one_epoch::serves(&mut witness, Epoch(9)), "epoch 9 is served, and was never agreed on");
}

#[test]
fn logs_are_prefixes_of_those_above() {
    let mut witness = stored(Durability::Interval);
    says(
        witness.stored(TAIL, &holding(E1, 2), &[entry(2, "other")]),
        "(s2, Incarnation(1)) stores another #2 of epoch 1 than others",
    );
    says(
        witness.stored(TAIL, &holding(E1, 3), &[entry(3, "c")]),
        "(s2, Incarnation(1)) stores #3 of epoch 1 where #2 follows",
    );
    says(
        witness.stored(TAIL, &holding(E1, 3), &[entry(2, "b"), entry(3, "c")]),
        "(s2, Incarnation(1)) is not the head of epoch 1 and stores #3 first",
    );
    says(
        witness.stored(TAIL, &holding(E1, 3), &[entry(2, "b")]),
        "(s2, Incarnation(1)) has epoch 1 up to #3, the replica above only up to #2",
    );
    says(
        witness.stored(TAIL, &holding(E2, 1), &[entry(1, "a")]),
        "(s2, Incarnation(1)) stores entries of epoch 2, which was never agreed on",
    );
    let mut witness = begun(Durability::Interval);
    let facts = witness.epochs.get_mut(&E1).unwrap();
    facts.base = Sequence(5);
    facts.stored.insert(HEAD, Sequence(3));
    says(witness.stored(HEAD, &holding(E1, 4), &[entry(4, "d")]), "#4 of epoch 1 is at its base already");
}
