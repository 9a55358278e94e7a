//! Auditing a cluster: are all copies there, and are they the same?
//!
//! 1. The ring and the chains as their nodes describe them: what [`View::problems`] finds. What is only passing is
//!    looked at again a few times.
//! 2. The ranges of the chains cover the ring, without gaps and overlaps.
//! 3. The serving replicas of each range are compared at one place of its log: by digests first, then, where those
//!    differ, key by key. What is written meanwhile does not disturb that, and replicas that agree cost one pass over
//!    their keys at each node and a few messages.
//! 4. No node has keys of ranges in whose chains it is not.
//!
//! The audit changes nothing and stops nobody; writes go on meanwhile. A range whose chain changes under the audit is
//! begun again.
//!
//! In eventual mode there is no log, and replicas may differ for a while: see [`live`].

mod compare;
mod foreign;
mod live;

use std::time::Duration;

use chordata_protocol::chain::view::Active;
use chordata_protocol::chain::{Epoch, Sequence, View as ChainView};
use chordata_protocol::{Address, Consistency, Key, Range};
use chordata_rpc::service::{CopiesOptions, CopiesPage, KeyCopy};
use chordata_rpc::within;

use crate::look::View;
use crate::{Client, Failure};
use compare::Stop;
pub(crate) use compare::mark_name;

/// How long one node may take for one question.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How often what may be passing is looked at, and the pause between.
const LOOKS: (u32, Duration) = (8, Duration::from_millis(250));
/// How often a range whose chain changes is begun again.
const ROUNDS: u32 = 4;
/// Problems that are told; the others are counted.
const PROBLEMS_MAX: usize = 200;

/// What an audit found.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// How the cluster keeps its data. None: every key is there once, and only the ring was audited.
    pub consistency: Option<Consistency>,
    /// Nodes that answered.
    pub nodes: usize,
    /// Each range, in the order of the ring.
    pub ranges: Vec<RangeAudit>,
    /// What is wrong, most important first within its kind.
    pub problems: Vec<Problem>,
    /// Problems beyond those that are told.
    pub more_problems: u64,
    /// What is not wrong, and worth knowing.
    pub remarks: Vec<String>,
}

/// What was found of a range.
#[derive(Clone, Debug)]
pub struct RangeAudit {
    /// Its epoch; none where there are no chains.
    pub epoch: Option<Epoch>,
    /// Which identifiers.
    pub range: Range,
    /// Replicas that were compared.
    pub replicas: usize,
    /// Replicas that there should be.
    pub wanted: usize,
    /// Up to this write of its log all of them had everything, and nothing behind it; none where there are no chains.
    pub sequence: Option<Sequence>,
    /// Keys that were compared.
    pub keys: u64,
    /// Of these: keys that were compared one by one, as the digests of the part with them differed.
    pub listed: u64,
}

/// Which kind of thing is wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ProblemKind {
    /// Nodes, the ring or its chains are not as they should be.
    Cluster,
    /// The ranges do not cover the ring once.
    Coverage,
    /// A range could not be compared.
    NotCompared,
    /// Replicas of a key differ.
    Differs,
    /// A record is damaged.
    Damaged,
    /// A node has keys that it should not have.
    Foreign,
}

impl ProblemKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            ProblemKind::Cluster => "cluster",
            ProblemKind::Coverage => "coverage",
            ProblemKind::NotCompared => "not-compared",
            ProblemKind::Differs => "differs",
            ProblemKind::Damaged => "damaged",
            ProblemKind::Foreign => "foreign",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Which kind.
    pub kind: ProblemKind,
    /// In which range, if it is about one.
    pub range: Option<Range>,
    /// With which key, if it is about one.
    pub key: Option<Key>,
    /// A sentence.
    pub text: String,
}

impl Audit {
    /// Was nothing wrong?
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn problem(&mut self, kind: ProblemKind, range: Option<Range>, key: Option<Key>, text: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { kind, range, key, text });
        } else {
            self.more_problems += 1;
        }
    }
}

impl Client {
    /// Audits the cluster. See the [module](self).
    ///
    /// # Errors
    /// When no node answers at all.
    pub async fn audit(&self) -> Result<Audit, Failure> {
        let view = self.settled_view().await;
        if view.nodes.is_empty() {
            let reason = view.silent.into_iter().next().map(|(_, failure)| failure);
            return Err(reason.unwrap_or(Failure::NoNodes).of_reading());
        }
        let mut audit = Audit { nodes: view.nodes.len(), ..Audit::default() };
        for text in view.problems() {
            audit.problem(ProblemKind::Cluster, None, None, text);
        }
        match view.chains() {
            Some(chains) => {
                audit.consistency = Some(Consistency::Chain);
                for text in uncovered(chains) {
                    audit.problem(ProblemKind::Coverage, None, None, text);
                }
                self.compare(&mut audit, chains.clone()).await;
                self.foreign(&mut audit, &view).await;
            }
            None if view.is_eventual() => {
                audit.consistency = Some(Consistency::Eventual);
                Box::pin(self.audit_live(&mut audit, &view)).await;
            }
            None => audit.ranges = single(&view),
        }
        audit.problems.sort_by_key(|problem| problem.kind);
        Ok(audit)
    }

    /// How the cluster is, when what is only passing is over.
    async fn settled_view(&self) -> View {
        let mut view = self.view().await;
        for _ in 1..LOOKS.0 {
            if view.is_whole() {
                break;
            }
            tokio::time::sleep(LOOKS.1).await;
            view = self.view().await;
        }
        view
    }

    /// Compares the replicas of every range; those that change meanwhile again.
    async fn compare(&self, audit: &mut Audit, mut view: ChainView) {
        let mut to_do: Vec<(Epoch, Active)> = view.ranges.clone().into_iter().collect();
        for round in 1..=ROUNDS {
            let mut stopped: Vec<(Range, Stop)> = Vec::new();
            for (epoch, active) in &to_do {
                match Box::pin(self.compare_range(audit, &view, *epoch, active)).await {
                    Ok(range) => audit.ranges.push(range),
                    Err(stop) => stopped.push((active.range, stop)),
                }
            }
            if stopped.is_empty() {
                break;
            }
            if round == ROUNDS {
                for (range, stop) in stopped {
                    let text = format!("its replicas could not be compared: {}", stop.text());
                    audit.problem(ProblemKind::NotCompared, Some(range), None, text);
                }
                break;
            }
            tokio::time::sleep(LOOKS.1 * 2).await;
            if let Some(newer) = self.view().await.chains() {
                view = newer.clone();
            }
            let ranges = view.ranges.iter();
            let again =
                ranges.filter(|(_, active)| stopped.iter().any(|(range, _)| range.overlaps(&active.range)));
            to_do = again.map(|(epoch, active)| (*epoch, active.clone())).collect();
            audit.ranges.retain(|done| to_do.iter().all(|(_, active)| !active.range.overlaps(&done.range)));
        }
        audit.ranges.sort_by_key(|done| done.range.high);
    }

    /// What a node itself has of a key.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn copy(&self, node: &Address, key: Key) -> Result<KeyCopy, Failure> {
        let answer = self.pool().client(node).copy(within(ANSWER_WITHIN), key).await;
        Ok(answer.map_err(|error| Failure::from_call(error).of_reading())??)
    }

    /// One page of what a node itself has.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn copies(&self, node: &Address, options: CopiesOptions) -> Result<CopiesPage, Failure> {
        let answer = self.pool().client(node).copies(within(ANSWER_WITHIN), options).await;
        Ok(answer.map_err(|error| Failure::from_call(error).of_reading())??)
    }
}

/// Replicas that each range should have.
fn wanted(view: &ChainView) -> usize {
    let present = view.members.values().filter(|member| !member.leaving).count();
    view.replication.copies().min(present)
}

/// Ranges in the order of the ring.
fn in_order(view: &ChainView) -> Vec<&Active> {
    let mut ranges: Vec<&Active> = view.ranges.values().collect();
    ranges.sort_by_key(|active| active.range.high);
    ranges
}

/// Where the ranges do not cover the ring exactly once.
fn uncovered(view: &ChainView) -> Vec<String> {
    let ranges = in_order(view);
    let pairs = ranges.iter().zip(ranges.iter().cycle().skip(1));
    let wrong = pairs.filter(|(one, next)| one.range.high != next.range.low);
    wrong
        .map(|(one, next)| {
            let (end, begin) = (one.range.high, next.range.low);
            format!("a range ends at {end:?}, and the next one begins behind {begin:?}")
        })
        .collect()
}

/// What the nodes of a cluster without chains serve.
fn single(view: &View) -> Vec<RangeAudit> {
    let members = view.members();
    let serving = members.iter().filter_map(|status| Some((status.serving?, status.keys)));
    let ranges = serving.map(|(range, keys)| RangeAudit {
        epoch: None,
        range,
        replicas: 1,
        wanted: 1,
        sequence: None,
        keys,
        listed: 0,
    });
    ranges.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chordata_protocol::chain::view::{Link, Member};
    use chordata_protocol::chain::{Incarnation, StoreId};
    use chordata_protocol::{Id, Peer, Replication, Space};

    use super::*;

    pub(super) fn id(place: u64) -> Id {
        Space::default().parse(&place.to_string()).unwrap()
    }

    pub(super) fn store(number: u128) -> StoreId {
        StoreId(number)
    }

    /// Nodes 1 to 4 at 100 to 400; the range of each has it and its successor.
    pub(super) fn four() -> ChainView {
        let peer = |number: u64| Peer::new(id(number * 100), Address::new(&format!("h{number}:1")));
        let replication = Replication { factor: 2, ..Replication::default() };
        let first = peer(1);
        let mut view = ChainView::first(Space::default(), replication, store(1), Incarnation(1), &first);
        let member = |number| Member { peer: peer(number), incarnation: Incarnation(1), leaving: false };
        view.members = (1..=4).map(|number| (store(number.into()), member(number))).collect();
        let template = view.ranges.values().next().cloned().unwrap();
        let range = |number: u64| {
            let low = if number == 1 { id(400) } else { id(number * 100 - 100) };
            let link = |store| Link { store, incarnation: Incarnation(1), serving: true };
            let chain = vec![link(store(number.into())), link(store(u128::from(number % 4 + 1)))];
            let active = Active { range: Range { low, high: id(number * 100) }, chain, ..template.clone() };
            (Epoch(number), active)
        };
        view.ranges = (1..=4).map(range).collect::<BTreeMap<Epoch, Active>>();
        view
    }

    #[test]
    fn ranges_that_cover_the_ring_are_fine_and_a_gap_is_named() {
        let mut view = four();
        assert_eq!(uncovered(&view), Vec::<String>::new());
        view.ranges.remove(&Epoch(2));
        assert_eq!(uncovered(&view).len(), 1);
        let whole = ChainView::first(
            Space::default(),
            Replication::default(),
            store(1),
            Incarnation(1),
            &Peer::new(id(7), Address::new("h:1")),
        );
        assert_eq!(uncovered(&whole), Vec::<String>::new());
    }
}
