//! Linearizability of unique puts and gets, from values and times alone (Gibbons and Korach, *Testing Shared Memories*,
//! 1997, section 4.2).
//!
//! It ignores the versions, and so needs no trust in them: a second opinion beside [`super::versions`]. A *cluster* is a
//! put with the gets that found its value. With `finish`, the earliest return in a cluster, and `start`, the latest
//! invocation in it, cluster a must come before cluster b when `a.finish < b.start`. The history is linearizable
//! exactly if no get precedes its own put and no two clusters must each come before the other. A cluster with
//! `finish < start` must be in force all that time (a forward zone); two of those must not overlap, and none may
//! hold a whole backward zone `[start, finish]`. Sorting finds that in O(n log n).
//!
//! A put with an unknown outcome has no return; if nobody read its value it is left out. Gets that found nothing are
//! the cluster of the beginning, since nothing is deleted here.

use std::collections::BTreeMap;

use chordata_protocol::{Key, Value};

use super::failure::{Failure, Wrong};
use super::operation::{Answer, Kind, Operation, Outcome, shown};
use super::record::History;

/// How much could be checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Coverage {
    /// Keys with nothing but puts and gets: checked.
    pub checked: usize,
    /// Keys that also have deletes or compare-and-swaps: not checked.
    pub left_out: usize,
}

/// A put (none: the beginning) with the gets that found its value.
#[derive(Clone, Debug, Default)]
struct Cluster<'a> {
    put: Option<&'a Operation>,
    /// Whichever returned first, and when; none: before everything.
    finish: Option<(u64, &'a Operation)>,
    /// Whichever was invoked last, and when; none: before everything.
    start: Option<(u64, &'a Operation)>,
}

/// Checks every key that has only puts and gets.
///
/// # Errors
/// When a history is not linearizable, or cannot be checked since two puts have one value.
pub fn check(history: &History) -> Result<Coverage, Failure> {
    let mut coverage = Coverage::default();
    for (key, operations) in history.by_key() {
        if operations.iter().all(|operation| matches!(operation.kind, Kind::Put(_) | Kind::Get)) {
            check_key(key, &operations)?;
            coverage.checked += 1;
        } else {
            coverage.left_out += 1;
        }
    }
    Ok(coverage)
}

fn check_key(key: &Key, operations: &[&Operation]) -> Result<(), Failure> {
    let whole = || {
        let (mut forward, backward): (Vec<Cluster<'_>>, Vec<Cluster<'_>>) =
            clusters(operations)?.into_iter().partition(Cluster::is_forward);
        forward.sort_by_key(Cluster::finish);
        for pair in forward.windows(2) {
            compatible(&pair[0], &pair[1])?;
        }
        for cluster in &backward {
            // Forward zones do not overlap now, so of those that finish before its start the last reaches furthest.
            let before = forward.partition_point(|other| other.finish() < cluster.start());
            if let Some(other) = before.checked_sub(1).map(|last| &forward[last]) {
                compatible(other, cluster)?;
            }
        }
        Ok(())
    };
    whole().map_err(|wrong: Wrong| wrong.of("zones", key, operations))
}

/// Groups the operations. Left out is what has no effect and no answer.
fn clusters<'a>(operations: &[&'a Operation]) -> Result<Vec<Cluster<'a>>, Wrong> {
    let mut beginning = Cluster::default();
    let mut by_value: BTreeMap<&Value, Cluster<'a>> = BTreeMap::new();
    for operation in operations {
        operation.check().map_err(|sentence| Wrong::new(sentence, &[operation]))?;
        let Kind::Put(value) = &operation.kind else { continue };
        let mut cluster = Cluster { put: Some(operation), ..Cluster::default() };
        cluster.start = Some((operation.invoked, operation));
        cluster.finish = Some((operation.end().unwrap_or(u64::MAX), operation));
        if let Some(other) = by_value.insert(value, cluster).and_then(|other| other.put) {
            let sentence =
                format!("{other} and {operation} put the same value: such a history cannot be checked");
            return Err(Wrong::new(sentence, &[other, operation]));
        }
    }
    for operation in operations {
        match operation.answer() {
            Some(Answer::Absent { .. }) => {
                beginning.start = beginning.start.max_by_time(Some((operation.invoked, operation)));
            }
            Some(Answer::Found(record)) => match by_value.get_mut(&record.value) {
                Some(cluster) => cluster.read(operation)?,
                None => {
                    let sentence =
                        format!("{operation} found the value {}, which nobody put", shown(&record.value));
                    return Err(Wrong::new(sentence, &[operation]));
                }
            },
            _ => {}
        }
    }
    let known = |cluster: &Cluster<'_>| cluster.finish().is_some_and(|finish| finish != u64::MAX);
    let mut clusters: Vec<Cluster<'a>> = by_value.into_values().filter(known).collect();
    clusters.extend(beginning.start.is_some().then_some(beginning));
    Ok(clusters)
}

/// The later of two moments with their operations.
trait Later {
    fn max_by_time(self, other: Self) -> Self;
}

impl Later for Option<(u64, &Operation)> {
    fn max_by_time(self, other: Self) -> Self {
        if other.map(|(at, _)| at) > self.map(|(at, _)| at) { other } else { self }
    }
}

impl<'a> Cluster<'a> {
    fn finish(&self) -> Option<u64> {
        self.finish.map(|(at, _)| at)
    }

    fn start(&self) -> Option<u64> {
        self.start.map(|(at, _)| at)
    }

    fn is_forward(&self) -> bool {
        self.finish() < self.start()
    }

    /// A get found the value.
    fn read(&mut self, get: &'a Operation) -> Result<(), Wrong> {
        let end = get.end().unwrap_or(u64::MAX);
        if let Some(put) = self.put {
            let wrong = if put.outcome == Outcome::NotDone {
                Some(format!("{get} found the value of {put}, which had no effect"))
            } else if end < put.invoked {
                Some(format!("{get} had returned before {put} was invoked, whose value it found"))
            } else {
                None
            };
            if let Some(sentence) = wrong {
                return Err(Wrong::new(sentence, &[get, put]));
            }
        }
        self.start = self.start.max_by_time(Some((get.invoked, get)));
        if self.finish().is_some_and(|finish| end < finish) {
            self.finish = Some((end, get));
        }
        Ok(())
    }

    fn name(&self) -> String {
        self.put.map_or_else(|| "the beginning".to_owned(), |put| format!("#{}", put.number))
    }
}

/// Not each of them must come before the other.
fn compatible(one: &Cluster<'_>, other: &Cluster<'_>) -> Result<(), Wrong> {
    if one.finish() >= other.start() || other.finish() >= one.start() {
        return Ok(());
    }
    let precedes = |first: &Cluster<'_>, second: &Cluster<'_>| match (first.finish, second.start) {
        (Some((_, finish)), Some((_, start))) => format!("{finish} had returned before {start} was invoked"),
        (None, Some((_, start))) => format!("it is before {start}"),
        (_, None) => "nothing is before it".to_owned(),
    };
    let sentence = format!(
        "no order is possible: the value of {one_name} comes before that of {other_name}, since {}; and that of \
         {other_name} before that of {one_name}, since {}",
        precedes(one, other),
        precedes(other, one),
        one_name = one.name(),
        other_name = other.name(),
    );
    let ends = [one.put, other.put].into_iter().flatten();
    let ends = ends
        .chain([one.finish, one.start, other.finish, other.start].into_iter().flatten().map(|(_, by)| by));
    Err(Wrong::new(sentence, &ends.collect::<Vec<_>>()))
}
