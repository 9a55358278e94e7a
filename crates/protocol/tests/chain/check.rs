//! What must always hold, looked at after every event, and what must hold when all is quiet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chordata_protocol::chain::message::{KeptResult, LogEntry};
use chordata_protocol::chain::{Epoch, Replica, Sequence, StoreId};
use chordata_protocol::{Durability, Key, Outcome, Record, Version};

use crate::words;
use crate::world::{Life, Node, World};

/// What was seen from outside.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    logs: BTreeMap<(Epoch, Sequence), Arc<LogEntry>>,
    forks: Vec<String>,
    acknowledged: BTreeMap<Key, Version>,
    told: BTreeMap<(u128, u64), (Outcome, Version)>,
    /// The view that a client knew when it sent a write first.
    pub(crate) first_sent: BTreeMap<(u128, u64), u64>,
    /// What was wrong last.
    wrong: BTreeSet<String>,
}

impl Oracle {
    /// A replica has stored these: the same entries as every other replica of the epoch.
    pub(crate) fn stored(&mut self, epoch: Epoch, entries: &[Arc<LogEntry>]) {
        for entry in entries {
            let there = self.logs.entry((epoch, entry.sequence)).or_insert_with(|| Arc::clone(entry));
            if there != entry {
                self.forks.push(format!("!! there are two entries {:?} of {epoch:?}", entry.sequence));
            }
        }
    }

    /// A client was told that the key has this version, or had it when it was removed.
    pub(crate) fn acknowledged(&mut self, key: &Key, version: Version) {
        let known = self.acknowledged.entry(key.clone()).or_insert(version);
        *known = (*known).max(version);
    }

    /// What a read that begins now must not be older than.
    pub(crate) fn least(&self, key: &Key) -> Option<Version> {
        self.acknowledged.get(key).copied()
    }

    /// What a write did, as its client is told; what it was told before, if that was something else.
    pub(crate) fn told(&mut self, write: (u128, u64), outcome: Outcome, at: Version) -> Option<String> {
        let before = self.told.insert(write, (outcome, at)).filter(|before| *before != (outcome, at));
        before.map(|(outcome, at)| format!("{} (at {at})", words::outcome(&outcome)))
    }
}

/// What one replica has: whose, its keys, the results, the end of its log.
type Copy<'a> = (String, Vec<(&'a Key, &'a Record)>, Vec<(&'a (u128, u64), &'a KeptResult)>, Sequence);

fn of(node: &Node) -> String {
    words::life(node.store, node.incarnation)
}

impl World {
    /// All replicas that live.
    fn replicas(&self) -> Vec<(&Node, &Life, &Replica)> {
        let living = self.living().into_iter();
        living
            .flat_map(|(node, life)| life.member.replicas().map(move |replica| (node, life, replica)))
            .collect()
    }

    /// Of these lives in the order of the chain.
    fn along(&self, replica: &Replica) -> Vec<(&Node, &Replica)> {
        let epoch = replica.epoch();
        let found = replica.chain().iter().filter_map(|(link, _)| {
            let (node, life) =
                self.living().into_iter().find(|(node, _)| link.is(node.store, node.incarnation))?;
            let mine = life.member.replicas().find(|replica| replica.epoch() == epoch)?;
            Some((node, mine))
        });
        found.collect()
    }

    /// Says what has begun to be wrong.
    pub(crate) fn report_violations(&mut self) {
        let mut wrong: BTreeSet<String> = self.two_epochs();
        wrong.extend(self.broken_prefixes());
        let forks = std::mem::take(&mut self.oracle.forks);
        let fresh: Vec<String> = wrong.difference(&self.oracle.wrong).cloned().collect();
        self.oracle.wrong = wrong;
        for line in forks.into_iter().chain(fresh) {
            self.report.say(line);
        }
    }

    /// Two epochs that both serve an identifier.
    fn two_epochs(&self) -> BTreeSet<String> {
        let serves = |(_, life, replica): &(&Node, &Life, &Replica)| {
            let leased = life.member.leased_until(replica.epoch()).is_some_and(|until| self.now < until);
            leased && replica.is_serving() && !replica.is_wedged()
        };
        let all: Vec<(&Node, &Life, &Replica)> = self.replicas().into_iter().filter(serves).collect();
        let mut wrong = BTreeSet::new();
        for (one, _, mine) in &all {
            for (other, _, theirs) in &all {
                if mine.epoch() < theirs.epoch() && mine.range().overlaps(&theirs.range()) {
                    let (a, b) = (mine.epoch(), theirs.epoch());
                    wrong.insert(format!("!! {} serves {a:?}, {} serves {b:?} already", of(one), of(other)));
                }
            }
        }
        wrong
    }

    /// Replicas that are ahead of the one above them, and commits that are not everywhere.
    fn broken_prefixes(&self) -> BTreeSet<String> {
        let mut wrong = BTreeSet::new();
        for (one, _, mine) in self.replicas() {
            let epoch = mine.epoch();
            for pair in self.along(mine).windows(2) {
                let ((above, upper), (below, lower)) = (pair[0], pair[1]);
                // Who is wedged may have been levelled past one that is not kept.
                if lower.last() > upper.last() && !lower.is_wedged() {
                    wrong.insert(format!("!! {epoch:?}: {} is ahead of {} above it", of(below), of(above)));
                }
            }
            for (node, other) in self.along(mine).into_iter().filter(|(_, other)| other.is_serving()) {
                let on_disk = node.disk.holdings.get(&epoch).map(|holding| holding.last);
                let lacks = other.last() < mine.committed()
                    || (self.settings.replication.durability == Durability::Sync
                        && self.oracle.logs.contains_key(&(epoch, mine.committed()))
                        && on_disk.is_none_or(|last| last < mine.committed()));
                if lacks {
                    let committed = mine.committed();
                    wrong.insert(format!(
                        "!! {epoch:?}: {} lacks {committed:?}, which {} has committed",
                        of(node),
                        of(one)
                    ));
                }
            }
        }
        wrong
    }

    // When all is quiet.

    /// What is not as it should be.
    fn problems(&self) -> Vec<String> {
        let Some(view) = self.agreed() else { return vec!["there is no view".to_owned()] };
        let mut problems: Vec<String> =
            view.pending.values().map(|p| format!("{} goes on", words::pending(p))).collect();
        let mut ends: Vec<_> =
            view.ranges.values().map(|active| (active.range.high, active.range.low)).collect();
        ends.sort();
        for (at, (_, low)) in ends.iter().enumerate() {
            if ends[(at + ends.len() - 1) % ends.len()].0 != *low {
                problems.push(format!("no range ends at {}, where one begins", words::number(*low)));
            }
        }
        let copies = view.replication.copies();
        let lives = |store: &StoreId| self.living().iter().any(|(node, _)| node.store == *store);
        for (epoch, active) in &view.ranges {
            let range = words::range(&active.range);
            let stores: Vec<_> = active.chain.iter().map(|link| link.store).collect();
            let mut expected = view.expected(active.range, view.members.len());
            expected.retain(lives);
            expected.truncate(copies);
            if stores != expected || active.chain.iter().any(|link| !link.serving) {
                let names = words::join(expected.iter().map(|store| words::store(*store)), " ");
                problems
                    .push(format!("{epoch:?} {range}: {} is not yet {names}", words::chain(&active.chain)));
            }
            problems.extend(self.unequal(*epoch));
        }
        problems
    }

    /// What is not equal along the chain of an epoch, or not quiet.
    fn unequal(&self, epoch: Epoch) -> Vec<String> {
        let Some(active) = self.agreed().and_then(|view| view.ranges.get(&epoch)) else { return Vec::new() };
        let mut problems = Vec::new();
        let mut first: Option<Copy<'_>> = None;
        for link in &active.chain {
            let name = words::life(link.store, link.incarnation);
            let living = self.living();
            let found = living.iter().find(|(node, _)| link.is(node.store, node.incarnation));
            let Some((_, life)) = found else {
                problems.push(format!("{epoch:?}: {name} does not live"));
                continue;
            };
            let Some(replica) = life.member.replicas().find(|replica| replica.epoch() == epoch) else {
                problems.push(format!("{epoch:?}: {name} has no replica"));
                continue;
            };
            let leased = life.member.leased_until(epoch).is_some_and(|until| self.now < until);
            if replica.is_wedged() || !leased || replica.dirty() > 0 {
                problems.push(format!("{epoch:?}: {name} is not at rest"));
            }
            if link.serving && replica.committed() != replica.last() {
                problems.push(format!("{epoch:?}: {name} has not committed everything"));
            }
            let keys = life.engine.within(self.settings.space, active.range);
            let results: Vec<_> =
                life.engine.results.iter().filter(|(_, kept)| active.range.contains(kept.id)).collect();
            match &first {
                None => first = Some((name, keys, results, replica.last())),
                Some((other, ..)) => {
                    let (_, theirs, told, last) = first.as_ref().expect("just seen");
                    if *theirs != keys {
                        problems.push(format!("{epoch:?}: {name} has other keys than {other}"));
                    }
                    if *told != results {
                        problems.push(format!("{epoch:?}: {name} has other results than {other}"));
                    }
                    if *last != replica.last() {
                        problems.push(format!("{epoch:?}: {name} is not as far as {other}"));
                    }
                }
            }
        }
        problems
    }

    /// Keys that a node has of ranges whose chain it is not in.
    fn strangers(&self) -> Vec<String> {
        let Some(view) = self.agreed() else { return Vec::new() };
        let mut lines = Vec::new();
        for (node, life) in self.living() {
            let foreign: Vec<String> = life
                .engine
                .all()
                .filter(|(key, _)| {
                    let id = key.id(self.settings.space);
                    !view
                        .range_of(id)
                        .is_some_and(|(_, active)| active.chain.iter().any(|link| link.store == node.store))
                })
                .map(|(key, _)| words::key(key))
                .collect();
            if !foreign.is_empty() {
                lines.push(format!("{} still has {}", of(node), foreign.join(" ")));
            }
        }
        lines
    }

    pub(crate) fn check(&self) -> String {
        let mut problems = self.problems();
        problems.extend(self.strangers());
        if !problems.is_empty() {
            return problems.join("\n");
        }
        let Some(view) = self.agreed() else { return String::new() };
        let keys: BTreeSet<&Key> =
            self.living().iter().flat_map(|(_, life)| life.engine.all().map(|(key, _)| key)).collect();
        let copies = view.replication.copies().min(self.living().len());
        let lost = if view.losses.is_empty() { "" } else { "; writes may have been lost" };
        format!(
            "{} ranges, each on {copies} nodes; {} keys, all copies equal{lost}",
            view.ranges.len(),
            keys.len()
        )
    }
}
