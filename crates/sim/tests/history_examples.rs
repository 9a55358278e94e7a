//! What the checkers say, by example: each story is a few lines of history, and the sentence that a person reads.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chordata_protocol::{Key, Record, Value, Version};
use chordata_sim::history::{Answer, Failure, History, Kind, Outcome, Seen, lost, once, versions, zones};

fn v(sequence: u64) -> Version {
    Version { epoch: 1, sequence }
}

fn put(value: &str) -> Kind {
    Kind::Put(Value::from(value))
}

fn swap(expected: Option<u64>, value: Option<&str>) -> Kind {
    Kind::CompareAndSwap { expected: expected.map(v), value: value.map(Value::from) }
}

fn record(sequence: u64, value: &str) -> Record {
    Record { version: v(sequence), value: Value::from(value), expires: None }
}

fn found(sequence: u64, value: &str) -> Outcome {
    Outcome::Done(Answer::Found(record(sequence, value)))
}

fn absent(sequence: u64) -> Outcome {
    Outcome::Done(Answer::Absent { as_of: v(sequence) })
}

fn written(sequence: u64) -> Outcome {
    Outcome::Done(Answer::Written(v(sequence)))
}

fn deleted(sequence: u64) -> Outcome {
    Outcome::Done(Answer::Deleted { version: v(sequence), existed: true })
}

fn conflict(sequence: u64) -> Outcome {
    Outcome::Done(Answer::Conflict(Seen::Version(v(sequence))))
}

/// A history of one key: what was asked, from when to when, what came of it.
fn history(operations: &[(Kind, u64, u64, Outcome)]) -> History {
    let mut history = History::new();
    for (client, (kind, invoked, returned, outcome)) in operations.iter().enumerate() {
        let number = history.invoke(client as u64, Key::new("k"), kind.clone(), *invoked);
        history.close(number, *returned, outcome.clone());
    }
    history
}

#[track_caller]
fn says<T: std::fmt::Debug>(result: Result<T, Failure>, operations: &[usize], sentence: &str) {
    let failure = result.unwrap_err();
    assert_eq!(failure.sentence, sentence);
    assert_eq!(failure.operations, operations);
    let marked = failure.history.lines().filter(|line| line.starts_with('>')).count();
    assert_eq!(marked, operations.len(), "{failure}");
}

#[test]
fn a_failure_is_printed_with_the_history_of_its_key() {
    let history = history(&[
        (put("x"), 0, 10, written(1)),
        (put("y"), 20, 30, written(5)),
        (Kind::Get, 40, 50, found(1, "x")),
    ]);
    let expected =
        "versions: key k: a stale answer: #2 (get -> found 1.1 \"x\") was invoked after #1 (put \"y\" -> \
                    written 1.5) had returned
  #0              0 ..         10 us  client 0: put \"x\" -> written 1.1
> #1             20 ..         30 us  client 1: put \"y\" -> written 1.5
> #2             40 ..         50 us  client 2: get -> found 1.1 \"x\"
";
    assert_eq!(versions::check(&history).unwrap_err().to_string(), expected);
    assert!(zones::check(&history).is_err(), "the values alone show it as well");
}

#[test]
fn a_deleted_value_does_not_come_back() {
    let history = history(&[
        (put("x"), 0, 10, written(1)),
        (Kind::Delete, 20, 30, deleted(2)),
        (Kind::Get, 40, 50, absent(9)),
        (Kind::Get, 60, 70, found(1, "x")),
    ]);
    says(
        versions::check(&history),
        &[1, 3],
        "a deleted value came back: #3 (get -> found 1.1 \"x\") was invoked after #1 (delete -> deleted 1.2) had returned",
    );
}

#[test]
fn an_acknowledged_write_is_not_lost() {
    let story = |delete: Outcome| {
        history(&[
            (put("x"), 0, 10, written(1)),
            (Kind::Delete, 5, 10, delete),
            (Kind::Get, 20, 30, absent(4)),
        ])
    };
    says(
        versions::check(&story(Outcome::NotDone)),
        &[0, 2],
        "a write is lost: #2 (get -> absent as of 1.4), but #0 (put \"x\" -> written 1.1) had stored a value before \
         that, and no delete, acknowledged or unknown, can have removed it",
    );
    assert_eq!(versions::check(&story(Outcome::Unknown)), Ok(()), "an unknown delete explains it");
    says(
        lost::check(&story(Outcome::NotDone), &BTreeMap::new()),
        &[0],
        "a write is lost: #0 (put \"x\" -> written 1.1) stored a value at 1.1, but in the end the key is absent, and no \
         delete, acknowledged or unknown, can have removed it",
    );
    assert_eq!(lost::check(&story(Outcome::Unknown), &BTreeMap::new()), Ok(()));
}

#[test]
fn an_unknown_delete_explains_one_absence_only() {
    let history = history(&[
        (put("x"), 0, 10, written(1)),
        (Kind::Delete, 0, 10, Outcome::Unknown),
        (Kind::Get, 20, 30, absent(2)),
        (put("y"), 40, 50, written(4)),
        (Kind::Get, 60, 70, absent(5)),
    ]);
    assert!(versions::check(&history).unwrap_err().sentence.starts_with("a write is lost: #4"));
}

#[test]
fn an_unknown_delete_explains_nothing_that_returned_before_it_began() {
    let history = history(&[
        (put("x"), 0, 10, written(1)),
        (Kind::Get, 20, 30, absent(2)),
        (Kind::Delete, 31, 40, Outcome::Unknown),
    ]);
    assert!(versions::check(&history).unwrap_err().sentence.starts_with("a write is lost: #1"));
}

#[test]
fn an_unknown_write_may_take_effect_long_after_its_client_gave_up_but_once() {
    let until = |last: Outcome| {
        history(&[
            (put("x"), 0, 10, Outcome::Unknown),
            (put("y"), 20, 30, written(1)),
            (Kind::Get, 40, 50, found(1, "y")),
            (Kind::Get, 60, 70, found(2, "x")),
            (put("z"), 80, 90, written(3)),
            (Kind::Get, 95, 99, last),
        ])
    };
    assert_eq!(versions::check(&until(found(3, "z"))), Ok(()));
    assert_eq!(zones::check(&until(found(3, "z"))).unwrap().checked, 1);
    let twice = "effect twice: the value of #0 (put \"x\" -> unknown) is known under 1.2, and #5 (get -> found 1.4 \"x\") \
                 holds it under 1.4";
    says(versions::check(&until(found(4, "x"))), &[5, 0], twice);
    says(once::check(&until(found(4, "x"))), &[5, 0], twice);
    assert!(zones::check(&until(found(4, "x"))).is_err());
}

#[test]
fn what_was_refused_is_never_seen() {
    let history = history(&[(put("x"), 0, 10, Outcome::NotDone), (Kind::Get, 20, 30, found(1, "x"))]);
    let sentence =
        "#1 (get -> found 1.1 \"x\") holds the value of #0 (put \"x\" -> not done), which had no effect";
    says(versions::check(&history), &[1, 0], sentence);
    says(once::check(&history), &[1, 0], sentence);
    assert!(zones::check(&history).is_err());
}

#[test]
fn a_compare_and_swap_replaces_exactly_what_it_expected() {
    let history = history(&[
        (put("x"), 0, 10, written(1)),
        (put("y"), 0, 10, written(2)),
        (swap(Some(1), Some("z")), 0, 10, written(3)),
    ]);
    says(
        versions::check(&history),
        &[2, 1],
        "#2 (swap 1.1 for \"z\" -> written 1.3) took effect at 1.3, but what was there then was 1.2, written by #1 \
         (put \"y\" -> written 1.2)",
    );
}

#[test]
fn two_compare_and_swaps_do_not_replace_one_version() {
    let history = history(&[
        (put("x"), 0, 10, written(1)),
        (swap(Some(1), Some("y")), 0, 10, written(2)),
        (swap(Some(1), None), 0, 10, deleted(3)),
    ]);
    says(
        once::check(&history),
        &[1, 2],
        "#1 (swap 1.1 for \"y\" -> written 1.2) and #2 (swap 1.1 for nothing -> deleted 1.3) both replaced 1.1",
    );
    assert!(versions::check(&history).is_err());
}

#[test]
fn a_conflict_shows_a_version_that_somebody_wrote() {
    let story = |put_outcome: Outcome| {
        history(&[(put("x"), 0, 10, put_outcome), (swap(None, Some("y")), 20, 30, conflict(3))])
    };
    assert_eq!(versions::check(&story(Outcome::Unknown)), Ok(()));
    says(
        versions::check(&story(written(2))),
        &[1],
        "#1 (swap absent for \"y\" -> conflict with 1.3) needs somebody to have stored a value, and no unknown operation can have",
    );
    let same = history(&[(put("x"), 0, 10, written(3)), (swap(Some(3), None), 20, 30, conflict(3))]);
    says(versions::check(&same), &[1], "#1 (swap 1.3 for nothing -> conflict with 1.3) contradicts itself");
}

#[test]
fn an_unknown_compare_and_swap_explains_only_what_it_expected() {
    // The swap that timed out removes 1.1, which was replaced: it cannot have removed 1.2.
    let story = |expected: u64| {
        history(&[
            (put("x"), 0, 10, written(1)),
            (put("y"), 20, 30, written(2)),
            (swap(Some(expected), None), 20, 30, Outcome::Unknown),
            (Kind::Get, 40, 50, absent(4)),
        ])
    };
    assert_eq!(versions::check(&story(2)), Ok(()));
    assert!(versions::check(&story(1)).unwrap_err().sentence.starts_with("a write is lost: #3"));
}

#[test]
fn an_unknown_delete_may_make_room_for_an_unknown_swap_from_absent() {
    let story = |delete: Outcome| {
        history(&[
            (put("x"), 0, 10, written(1)),
            (Kind::Delete, 20, 30, delete),
            (swap(None, Some("y")), 20, 30, Outcome::Unknown),
            (swap(Some(1), Some("z")), 40, 50, conflict(3)),
        ])
    };
    assert_eq!(versions::check(&story(Outcome::Unknown)), Ok(()));
    assert!(versions::check(&story(Outcome::NotDone)).unwrap_err().sentence.starts_with("#3"));
}

#[test]
fn versions_follow_real_time_also_between_writes_that_nobody_read() {
    let history = history(&[(put("x"), 0, 10, written(7)), (put("y"), 11, 20, written(6))]);
    says(
        versions::check(&history),
        &[0, 1],
        "versions against real time: #1 (put \"y\" -> written 1.6) was invoked after #0 (put \"x\" -> written 1.7) had returned",
    );
    assert_eq!(zones::check(&history).unwrap().checked, 1, "the values alone do not show it");
}

#[test]
fn zones_name_the_operations_that_allow_no_order() {
    // Two readers see two concurrent puts in different orders.
    let history = history(&[
        (put("x"), 0, 100, written(1)),
        (put("y"), 0, 100, written(2)),
        (Kind::Get, 10, 20, found(1, "x")),
        (Kind::Get, 30, 40, found(2, "y")),
        (Kind::Get, 50, 60, found(1, "x")),
    ]);
    says(
        zones::check(&history).map(|_| ()),
        &[0, 1, 2, 4, 3],
        "no order is possible: the value of #0 comes before that of #1, since #2 (get -> found 1.1 \"x\") had returned \
         before #3 (get -> found 1.2 \"y\") was invoked; and that of #1 before that of #0, since #3 (get -> found 1.2 \
         \"y\") had returned before #4 (get -> found 1.1 \"x\") was invoked",
    );
}

#[test]
fn the_final_state_is_the_last_write_or_an_unknown_one() {
    let history = history(&[
        (put("x"), 0, 10, written(1)),
        (put("y"), 20, 30, written(2)),
        (put("z"), 20, 30, Outcome::Unknown),
    ]);
    let end = |record: Record| BTreeMap::from([(Key::new("k"), Some(record))]);
    assert_eq!(lost::check(&history, &end(record(2, "y"))), Ok(()));
    assert_eq!(lost::check(&history, &end(record(5, "z"))), Ok(()));
    says(
        lost::check(&history, &end(record(1, "x"))),
        &[1],
        "#1 (put \"y\" -> written 1.2) stored a value at 1.2, but the final state is still that of 1.1",
    );
    says(
        lost::check(&history, &end(record(3, "w"))),
        &[],
        "the final state holds the value \"w\", which nobody wrote",
    );
    let other = BTreeMap::from([(Key::new("other"), Some(record(1, "x")))]);
    assert_eq!(lost::check(&History::new(), &other).unwrap_err().key, Key::new("other"));
}

#[test]
fn a_history_that_cannot_be_checked_is_refused() {
    let repeated = history(&[(put("x"), 0, 10, written(1)), (put("x"), 20, 30, written(2))]);
    let backwards = history(&[(Kind::Get, 5, 4, absent(0))]);
    let confused = history(&[(Kind::Get, 5, 6, written(1))]);
    let sentences = [
        (repeated, "#0 (put \"x\" -> written 1.1) and #1 (put \"x\" -> written 1.2)"),
        (backwards, "#0 (get -> absent as of 1.0) returned before it was invoked"),
        (confused, "#0 (get -> written 1.1) contradicts itself"),
    ];
    for (history, start) in sentences {
        for result in [versions::check(&history), once::check(&history), zones::check(&history).map(|_| ())] {
            let sentence = result.unwrap_err().sentence;
            assert!(sentence.starts_with(start), "{sentence}");
        }
    }
}

#[test]
fn zones_count_the_keys_that_they_leave_out() {
    let history = history(&[(put("x"), 0, 10, written(1)), (Kind::Delete, 20, 30, deleted(2))]);
    assert_eq!(zones::check(&history), Ok(zones::Coverage { checked: 0, left_out: 1 }));
}

#[test]
fn a_hundred_thousand_operations_on_one_key_take_seconds_at_most() {
    // Eight clients in turn, a put and three gets each; one put in eight times out, and takes effect with the next one.
    let mut history = History::new();
    let (mut at, mut number, mut last) = (0, 0, None);
    while history.operations().len() < 100_000 {
        number += 1;
        let value = format!("v{number}");
        let times_out = number % 8 == 0;
        let written_by = history.invoke(number % 8, Key::new("k"), put(&value), at);
        history.close(written_by, at + 15, if times_out { Outcome::Unknown } else { written(2 * number) });
        last = Some(record(2 * number, &value));
        for reader in 0..3 {
            let read = history.invoke(reader, Key::new("k"), Kind::Get, at + 12);
            history.close(read, at + 17 + reader, found(2 * number, &value));
        }
        at += 16;
    }
    let end = BTreeMap::from([(Key::new("k"), last)]);
    // And on another key: puts, each removed by a delete that timed out, and a get that finds nothing.
    let mut removed = History::new();
    for number in 0..33_000 {
        let (at, version) = (number * 10, number * 3 + 1);
        let written_by = removed.invoke(0, Key::new("r"), put(&format!("r{number}")), at);
        removed.close(written_by, at + 2, written(version));
        removed.invoke(1, Key::new("r"), Kind::Delete, at + 3);
        let read = removed.invoke(2, Key::new("r"), Kind::Get, at + 4);
        removed.close(read, at + 6, absent(version + 1));
    }
    let begun = Instant::now();
    assert_eq!(versions::check(&history), Ok(()));
    assert_eq!(zones::check(&history).unwrap().checked, 1);
    assert_eq!(once::check(&history), Ok(()));
    assert_eq!(lost::check(&history, &end), Ok(()));
    let took = begun.elapsed();
    assert_eq!(versions::check(&removed), Ok(()));
    println!("33 thousand unknown deletes that must have happened: {:?}", begun.elapsed() - took);
    println!("100 thousand operations: {took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}: the checkers are no longer O(n log n)");
}
