//! Results of writes, kept so that a write that is sent again has no second effect.
//!
//! The idea is that of Lee et al., "Implementing linearizability at large scale and low latency" (RIFL, SOSP 2015): a
//! result is kept with the data, at every replica, until the client says that it has it. Clients that never say so are
//! dealt with by the *floor*: results of writes that were first sent before a certain view are dropped by an entry of
//! the log, and such writes are refused from then on, since nobody could tell any more whether they were done. For the
//! same reason a write that its client has long had an answer to is refused: it was sent twice, and comes late. Up to
//! where that is, is kept with the client's last result.

use std::collections::BTreeMap;

use super::message::{Done, KeptResult, Write};
use crate::key::Version;
use crate::message::Range;

/// Names a result: client and sequence.
pub type ResultId = (u128, u64);

/// The results of one range.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Results {
    floor: u64,
    kept: BTreeMap<ResultId, KeptResult>,
    /// Up to where each client has had all its answers, whatever the place of the keys.
    done: BTreeMap<u128, Done>,
}

impl Done {
    fn join(&mut self, other: Done) {
        self.below = self.below.max(other.below);
        self.first_sent = self.first_sent.max(other.first_sent);
    }
}

impl Results {
    /// From what was kept on disk.
    pub fn new(floor: u64, kept: BTreeMap<ResultId, KeptResult>) -> Results {
        let mut results = Results { floor, kept, done: BTreeMap::new() };
        results.count_done();
        results
    }

    /// Writes first sent below this view are refused.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The result of a write that was done.
    pub fn get(&self, client: u128, sequence: u64) -> Option<&KeptResult> {
        self.kept.get(&(client, sequence))
    }

    /// Has the client had an answer to all its writes up to and with this one?
    pub fn is_done(&self, client: u128, sequence: u64) -> bool {
        self.done.get(&client).is_some_and(|done| sequence < done.below)
    }

    fn count_done(&mut self) {
        for ((client, _), result) in &self.kept {
            let done = Done { below: result.done_below, first_sent: result.first_sent };
            self.done.entry(*client).or_default().join(done);
        }
        let floor = self.floor;
        self.done.retain(|_, done| done.first_sent >= floor);
    }

    /// The first so many behind this one.
    pub fn page(&self, after: Option<ResultId>, count: usize) -> (Vec<(ResultId, KeptResult)>, bool) {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let mut rest = self.kept.range((from, std::ops::Bound::Unbounded));
        let page = rest.by_ref().take(count).map(|(id, result)| (*id, *result)).collect();
        (page, rest.next().is_none())
    }

    /// Up to where each client has had all its answers.
    pub fn done(&self) -> Vec<(u128, Done)> {
        self.done.iter().map(|(client, done)| (*client, *done)).collect()
    }

    /// The view of the oldest one.
    pub fn oldest_view(&self) -> Option<u64> {
        self.kept.values().map(|kept| kept.first_sent).min()
    }

    /// Keeps the result of a write; those that its client has are dropped and returned.
    pub fn record(&mut self, write: &Write, at: Version) -> Vec<ResultId> {
        let Some(by) = write.by else { return Vec::new() };
        let done_below = by.done_below.min(by.sequence);
        let done = (by.client, 0)..(by.client, done_below);
        let forgotten: Vec<ResultId> = self.kept.range(done).map(|(id, _)| *id).collect();
        for id in &forgotten {
            self.kept.remove(id);
        }
        let mark = Done { below: done_below, first_sent: by.first_sent };
        self.done.entry(by.client).or_default().join(mark);
        let result = KeptResult::new(write, by, at);
        self.kept.insert((by.client, by.sequence), result);
        forgotten
    }

    /// Raises the floor; what is below is dropped and returned.
    pub fn raise(&mut self, floor: u64) -> Vec<ResultId> {
        self.floor = self.floor.max(floor);
        let floor = self.floor;
        let below = self.kept.iter().filter(|(_, kept)| kept.first_sent < floor);
        let forgotten: Vec<ResultId> = below.map(|(id, _)| *id).collect();
        for id in &forgotten {
            self.kept.remove(id);
        }
        if !forgotten.is_empty() {
            self.count_done();
        }
        forgotten
    }

    /// Takes over what another replica has.
    pub fn adopt(&mut self, results: &[(ResultId, KeptResult)], done: &[(u128, Done)], floor: u64) {
        self.floor = self.floor.max(floor);
        for (client, done) in done {
            self.done.entry(*client).or_default().join(*done);
        }
        for (id, result) in results {
            if result.first_sent >= self.floor {
                self.kept.entry(*id).or_insert(*result);
            }
        }
        self.count_done();
    }

    /// Those whose keys are in a range, and the floor.
    #[must_use]
    pub fn within(&self, range: Range) -> Results {
        let kept = self.kept.iter().filter(|(_, kept)| range.contains(kept.id));
        let kept = kept.map(|(id, kept)| (*id, *kept)).collect();
        Results { floor: self.floor, kept, done: self.done.clone() }
    }

    /// Takes everything of another range in.
    pub fn join(&mut self, other: &Results) {
        self.floor = self.floor.max(other.floor);
        self.kept.extend(other.kept.iter().map(|(id, kept)| (*id, *kept)));
        for (client, done) in &other.done {
            self.done.entry(*client).or_default().join(*done);
        }
        let floor = self.floor;
        self.kept.retain(|_, kept| kept.first_sent >= floor);
        self.count_done();
    }
}
