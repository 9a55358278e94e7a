//! Stale reads: a query that answers an older value than one whose insert was acknowledged before the query began.
//!
//! Requests overlap, so "older" is said with care. Insert A is older than insert B if A was acknowledged before B began.
//! An answer is stale if some insert of the key was acknowledged before the query began, and every insert that could have
//! left this answer is older than one of those. So what is counted is stale in any order in which overlapping requests
//! can have taken effect; in a linearizable store the count is 0. An insert whose outcome is not known may have taken
//! effect at any time, and makes nothing stale.

use std::collections::{BTreeSet, HashMap};

/// A moment, in the order of what this generator did and saw.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Moment(u64);

/// What an answer was worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// As new as can be asked for.
    Fresh,
    /// Older than what had been acknowledged.
    Stale,
    /// Of somebody else.
    Foreign,
}

#[derive(Debug)]
struct Write {
    value: String,
    began: Moment,
    acknowledged: Option<Moment>,
}

/// What was written under every key, as far as it can still be a fresh answer.
#[derive(Debug, Default)]
pub struct Oracle {
    now: u64,
    keys: HashMap<String, Vec<Write>>,
    /// When the queries began that have no answer yet.
    asked: BTreeSet<Moment>,
}

impl Oracle {
    fn next(&mut self) -> Moment {
        self.now += 1;
        Moment(self.now)
    }

    /// An insert is about to be sent.
    pub fn insert_begins(&mut self, key: &str, value: &str) -> Moment {
        let began = self.next();
        let write = Write { value: value.to_owned(), began, acknowledged: None };
        match self.keys.get_mut(key) {
            Some(writes) => writes.push(write),
            None => drop(self.keys.insert(key.to_owned(), vec![write])),
        }
        began
    }

    /// The insert that began then was acknowledged.
    pub fn acknowledged(&mut self, key: &str, began: Moment) {
        let now = self.next();
        // Queries that were asked earlier may still answer with what was there before.
        let horizon = self.asked.first().copied().unwrap_or(now);
        let Some(writes) = self.keys.get_mut(key) else { return };
        if let Some(write) = writes.iter_mut().find(|write| write.began == began) {
            write.acknowledged = Some(now);
        }
        if let Some(newest) = newest_before(writes, horizon) {
            writes.retain(|write| write.acknowledged.is_none_or(|end| end > newest));
        }
    }

    /// A query is about to be sent.
    pub fn query_begins(&mut self) -> Moment {
        let began = self.next();
        self.asked.insert(began);
        began
    }

    /// The query that began then has no answer.
    pub fn query_failed(&mut self, began: Moment) {
        self.asked.remove(&began);
    }

    /// The query that began then was answered so.
    pub fn judge(&mut self, key: &str, began: Moment, answer: Option<&[u8]>) -> Judgement {
        self.asked.remove(&began);
        let writes = self.keys.get(key).map_or(&[][..], Vec::as_slice);
        let newest = newest_before(writes, began);
        let mut same = writes.iter().filter(|write| Some(write.value.as_bytes()) == answer).peekable();
        match newest {
            // Also a value that is not known: it was there before, or was found to be too old.
            Some(newest) if !same.any(|write| write.acknowledged.is_none_or(|end| end > newest)) => {
                Judgement::Stale
            }
            None if answer.is_some() && same.peek().is_none() => Judgement::Foreign,
            _ => Judgement::Fresh,
        }
    }
}

/// When the newest insert began that was acknowledged before `moment`: what was acknowledged before *that* is too old.
fn newest_before(writes: &[Write], moment: Moment) -> Option<Moment> {
    let acknowledged = writes.iter().filter(|write| write.acknowledged.is_some_and(|end| end < moment));
    acknowledged.map(|write| write.began).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_last_is_fresh_and_what_was_before_is_stale() {
        let mut oracle = Oracle::default();
        for value in ["1", "2"] {
            let began = oracle.insert_begins("k", value);
            oracle.acknowledged("k", began);
        }
        for (answer, judgement) in [
            (Some("2"), Judgement::Fresh),
            (Some("1"), Judgement::Stale),
            (Some("from before"), Judgement::Stale),
            (None, Judgement::Stale),
        ] {
            let asked = oracle.query_begins();
            assert_eq!(oracle.judge("k", asked, answer.map(str::as_bytes)), judgement, "{answer:?}");
        }
    }

    #[test]
    fn of_a_key_that_was_not_written_anything_may_be_known() {
        let mut oracle = Oracle::default();
        let asked = oracle.query_begins();
        assert_eq!(oracle.judge("k", asked, None), Judgement::Fresh);
        let asked = oracle.query_begins();
        assert_eq!(oracle.judge("k", asked, Some(b"x")), Judgement::Foreign);
    }

    #[test]
    fn what_overlaps_may_be_answered_in_either_order() {
        let mut oracle = Oracle::default();
        let old = oracle.insert_begins("k", "0");
        oracle.acknowledged("k", old);
        let one = oracle.insert_begins("k", "1");
        let early = oracle.query_begins();
        let other = oracle.insert_begins("k", "2");
        oracle.acknowledged("k", other);
        oracle.acknowledged("k", one);
        let late = oracle.query_begins();
        for (asked, answer, judgement) in [
            (early, "0", Judgement::Fresh),
            (late, "1", Judgement::Fresh),
            (late, "2", Judgement::Fresh),
            (late, "0", Judgement::Stale),
        ] {
            assert_eq!(oracle.judge("k", asked, Some(answer.as_bytes())), judgement, "{answer}");
        }
    }

    #[test]
    fn an_insert_of_unknown_outcome_makes_nothing_stale_and_may_come_late() {
        let mut oracle = Oracle::default();
        let first = oracle.insert_begins("k", "1");
        oracle.acknowledged("k", first);
        oracle.insert_begins("k", "lost");
        let last = oracle.insert_begins("k", "3");
        oracle.acknowledged("k", last);
        for (answer, judgement) in
            [("lost", Judgement::Fresh), ("3", Judgement::Fresh), ("1", Judgement::Stale)]
        {
            let asked = oracle.query_begins();
            assert_eq!(oracle.judge("k", asked, Some(answer.as_bytes())), judgement, "{answer}");
        }
    }

    #[test]
    fn memory_is_bounded_by_what_can_still_be_fresh() {
        let mut oracle = Oracle::default();
        let slow = oracle.query_begins();
        for number in 0..1000 {
            let began = oracle.insert_begins("k", &number.to_string());
            oracle.acknowledged("k", began);
        }
        assert_eq!(oracle.judge("k", slow, Some(b"0")), Judgement::Fresh, "it began before all of them");
        for number in 1000..2000 {
            let began = oracle.insert_begins("k", &number.to_string());
            oracle.acknowledged("k", began);
        }
        assert!(oracle.keys["k"].len() <= 2, "{}", oracle.keys["k"].len());
        let asked = oracle.query_begins();
        assert_eq!(oracle.judge("k", asked, Some(b"0")), Judgement::Stale, "although it was forgotten");
    }

    mod against_every_order {
        //! One register, requests that take effect at one moment between beginning and end: nothing of it is stale.

        use proptest::prelude::*;

        use super::super::*;

        #[derive(Clone, Debug)]
        enum Step {
            Begin { is_insert: bool },
            TakesEffect(usize),
            End(usize),
        }

        fn step() -> impl Strategy<Value = Step> {
            prop_oneof![
                any::<bool>().prop_map(|is_insert| Step::Begin { is_insert }),
                (0..8_usize).prop_map(Step::TakesEffect),
                (0..8_usize).prop_map(Step::End),
            ]
        }

        enum Running {
            Insert { began: Moment, value: String, done: bool },
            Query { began: Moment, answer: Option<Option<String>> },
        }

        proptest! {
            #[test]
            fn a_linearizable_register_has_no_stale_reads(steps in prop::collection::vec(step(), 1..200)) {
                let mut oracle = Oracle::default();
                let mut register: Option<String> = None;
                let mut running: Vec<Running> = Vec::new();
                for (number, step) in steps.into_iter().enumerate() {
                    match step {
                        Step::Begin { is_insert: true } => {
                            let value = number.to_string();
                            let began = oracle.insert_begins("k", &value);
                            running.push(Running::Insert { began, value, done: false });
                        }
                        Step::Begin { is_insert: false } => {
                            let began = oracle.query_begins();
                            running.push(Running::Query { began, answer: None });
                        }
                        Step::TakesEffect(place) => match running.get_mut(place) {
                            Some(Running::Insert { value, done, .. }) if !*done => {
                                register = Some(value.clone());
                                *done = true;
                            }
                            Some(Running::Query { answer: answer @ None, .. }) => *answer = Some(register.clone()),
                            _ => {}
                        },
                        Step::End(place) if place < running.len() => match running.swap_remove(place) {
                            Running::Insert { began, done: true, .. } => oracle.acknowledged("k", began),
                            Running::Query { began, answer: Some(answer) } => {
                                let answer = answer.as_ref().map(|value| value.as_bytes());
                                prop_assert_eq!(oracle.judge("k", began, answer), Judgement::Fresh);
                            }
                            Running::Query { began, answer: None } => oracle.query_failed(began),
                            // An insert that is lost before it took effect.
                            Running::Insert { .. } => {}
                        },
                        Step::End(_) => {}
                    }
                }
            }
        }
    }
}
