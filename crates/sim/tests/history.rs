//! The checkers against a linearizable register, against mutations of what it answered, and against a search that
//! tries every order.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "history/brute_force.rs"]
mod brute_force;
#[path = "history/mutations.rs"]
mod mutations;
#[path = "history/register.rs"]
mod register;

use std::cell::RefCell;
use std::collections::BTreeMap;

use chordata_protocol::{Record, Version};
use chordata_sim::history::{Answer, History, Kind, Operation, Outcome, lost, once, versions, zones};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use mutations::{Damage, damage, disturb, rebuilt};
use register::{key, run, steps};

/// Small histories: little time for many operations, so that all overlap.
const SMALL: (usize, u64) = (7, 16);
/// How many small histories.
const CASES: u32 = 40_000;
/// Larger ones, which no search can check.
const LARGE: (usize, u64) = (120, 2000);

fn has_unknown_swap(operations: &[Operation]) -> bool {
    let swap = |operation: &&Operation| matches!(operation.kind, Kind::CompareAndSwap { .. });
    operations.iter().filter(swap).any(|operation| operation.outcome == Outcome::Unknown)
}

/// Runs the property on this many random inputs, and minimises an input that fails.
fn always<S: Strategy>(cases: u32, inputs: S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    if let Err(failed) = TestRunner::new(config).run(&inputs, property) {
        panic!("{failed}");
    }
}

/// How often the outcomes of a property came up, for seeing that it was worth something.
#[derive(Default)]
struct Counter(RefCell<BTreeMap<String, u32>>);

impl Counter {
    fn count(&self, name: &str) {
        *self.0.borrow_mut().entry(name.to_owned()).or_default() += 1;
    }

    fn at_least(&self, name: &str, count: u32) {
        let found = self.0.borrow().get(name).copied().unwrap_or(0);
        assert!(found >= count, "{name} came up {found} times only, of {:?}", self.0);
    }
}

/// A small history of a register, disturbed up to five times.
fn disturbed(only_puts_and_gets: bool) -> impl Strategy<Value = History> {
    let steps = steps(only_puts_and_gets, SMALL.0, SMALL.1, false);
    (steps, prop::collection::vec(any::<u64>(), 0..6)).prop_map(|(steps, disturbances)| {
        let mut operations = run(&steps).0.operations().to_vec();
        for how in disturbances {
            disturb(&mut operations, how);
        }
        rebuilt(&operations)
    })
}

#[test]
fn what_a_linearizable_register_answers_passes() {
    always(1000, steps(false, LARGE.0, LARGE.1, true), |steps| {
        let (history, end) = run(&steps);
        let end = [(key(), end)].into();
        for result in [versions::check(&history), once::check(&history), lost::check(&history, &end)] {
            prop_assert!(result.is_ok(), "{}", result.unwrap_err());
        }
        Ok(())
    });
}

#[test]
fn puts_and_gets_of_a_linearizable_register_pass_the_zone_check() {
    always(1000, steps(true, LARGE.0, LARGE.1, true), |steps| {
        let coverage = zones::check(&run(&steps).0);
        prop_assert!(coverage.is_ok(), "{}", coverage.unwrap_err());
        prop_assert_eq!(coverage.unwrap().checked, usize::from(!steps.is_empty()));
        Ok(())
    });
}

#[test]
fn what_breaks_the_witness_is_always_refused() {
    let counter = Counter::default();
    // The lost write needs a history in which no unknown removal explains it: short ones have none.
    for size in [12, LARGE.0] {
        let inputs = (steps(false, size, LARGE.1, true), any::<u64>());
        always(2000, inputs, |(steps, at)| {
            let (history, _) = run(&steps);
            for kind in Damage::ALL {
                let Some(damaged) = damage(&history, kind, at) else { continue };
                counter.count(&format!("{kind:?}"));
                prop_assert!(versions::check(&damaged).is_err(), "{kind:?} let through:\n{damaged}");
            }
            Ok(())
        });
    }
    for kind in Damage::ALL {
        counter.at_least(&format!("{kind:?}"), 300);
    }
}

#[test]
fn the_version_check_agrees_with_the_search() {
    let counter = Counter::default();
    always(CASES, disturbed(false), |history| {
        let truth = brute_force::explained_with_versions(history.operations());
        match versions::check(&history) {
            // The one leniency that `unknown` names.
            Ok(()) if !truth && has_unknown_swap(history.operations()) => counter.count("lenient"),
            Ok(()) => {
                counter.count("passed");
                prop_assert!(truth, "let through, though there is no order:\n{history}");
            }
            Err(failure) => {
                let kind = failure.sentence.split_once(": ").filter(|_| !failure.sentence.starts_with('#'));
                counter.count(kind.map_or("another sentence", |(kind, _)| kind));
                counter.count("refused");
                prop_assert!(!truth, "there is an order, but {failure}");
            }
        }
        Ok(())
    });
    counter.at_least("passed", CASES / 5);
    counter.at_least("refused", CASES / 10);
    for kind in ["a deleted value came back", "answers go back in time", "versions against real time"] {
        counter.at_least(kind, CASES / 5000);
    }
    for kind in
        ["a stale answer", "a write is lost", "effect twice", "seen too early", "one version, two writes"]
    {
        counter.at_least(kind, CASES / 200);
    }
}

#[test]
fn the_zone_check_agrees_with_the_search() {
    let counter = Counter::default();
    always(CASES, disturbed(true), |history| {
        let truth = brute_force::explained_by_values(history.operations());
        match zones::check(&history) {
            Ok(_) => {
                counter.count("passed");
                prop_assert!(truth, "let through, though there is no order:\n{history}");
            }
            Err(failure) => {
                counter.count("refused");
                if failure.sentence.starts_with("no order is possible") {
                    counter.count("zones");
                }
                prop_assert!(!truth, "there is an order, but {failure}");
            }
        }
        Ok(())
    });
    counter.at_least("passed", CASES / 5);
    counter.at_least("refused", CASES / 50);
    counter.at_least("zones", CASES / 100);
}

#[test]
fn what_once_and_lost_refuse_has_no_order() {
    let counter = Counter::default();
    // What is there in the end: what the register holds, or what some operation would have written.
    let inputs = (disturbed(false), prop::option::of((0..SMALL.0, 1..20u64)));
    always(CASES, inputs, |(history, end)| {
        let value = |at: usize| history.operations().get(at)?.value().cloned();
        let end = end.and_then(|(at, sequence)| {
            Some(Record { version: Version { epoch: 1, sequence }, value: value(at)?, expires: None })
        });
        let answer =
            end.clone().map_or(Answer::Absent { as_of: Version { epoch: 1, sequence: 39 } }, Answer::Found);
        let with_read = mutations::with_read(&history, answer);
        let truth = brute_force::explained_with_versions(history.operations());
        let truth_with_end = truth && brute_force::explained_with_versions(with_read.operations());
        let once = once::check(&history);
        let lost = lost::check(&history, &[(key(), end)].into());
        for (result, truth) in [(&once, truth), (&lost, truth_with_end)] {
            if let Err(failure) = result {
                prop_assert!(!truth, "there is an order, but {failure}");
                counter.count(&format!("{} alone", failure.checker));
            }
        }
        // Where the history itself is right and no unknown operation is about, only the end can be wrong.
        let certain = history.operations().iter().all(|operation| operation.outcome != Outcome::Unknown);
        if truth && certain {
            prop_assert_eq!(lost.is_ok(), truth_with_end, "{}", with_read);
            counter.count(if truth_with_end { "right end" } else { "wrong end" });
        }
        Ok(())
    });
    for name in ["once alone", "lost alone", "right end", "wrong end"] {
        counter.at_least(name, CASES / 50);
    }
}

#[test]
fn an_empty_history_passes() {
    let history = History::new();
    assert_eq!(versions::check(&history), Ok(()));
    assert_eq!(once::check(&history), Ok(()));
    assert_eq!(lost::check(&history, &BTreeMap::new()), Ok(()));
    assert_eq!(zones::check(&history), Ok(zones::Coverage::default()));
}
