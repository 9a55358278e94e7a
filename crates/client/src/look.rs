//! Looking at the ring: all nodes, and how each is.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use chordata_protocol::chain::View as ChainView;
use chordata_protocol::{Address, Successor};
use chordata_rpc::service::{Page, ScanOptions, Status};
use chordata_rpc::within;
use futures::stream::{self, StreamExt};

use crate::{Client, Failure, status_of};

/// How long one node may take to say how it is.
const STATUS_WITHIN: Duration = Duration::from_secs(3);
/// Nodes asked at once.
const AT_ONCE: usize = 16;

/// Every node of a ring that could be found, and those that were named but do not answer.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// How each is, in the order of their ids.
    pub nodes: Vec<Status>,
    /// Those that did not answer, and why.
    pub silent: Vec<(Address, Failure)>,
}

impl View {
    /// The members among them, in ring order from the lowest id.
    pub fn members(&self) -> Vec<&Status> {
        self.nodes.iter().filter(|status| status.member).collect()
    }

    /// What is not as it is after a quiet time, a sentence each. None: the ring is whole.
    pub fn problems(&self) -> Vec<String> {
        let members = self.members();
        let mut problems: Vec<String> = self
            .silent
            .iter()
            .map(|(address, failure)| format!("{address} does not answer: {failure}"))
            .collect();
        for status in self.nodes.iter().filter(|status| !status.member) {
            problems.push(format!("{} is not in the ring", status.me.address));
        }
        for (place, status) in members.iter().enumerate() {
            let me = &status.me.address;
            let before = members[(place + members.len() - 1) % members.len()];
            let behind = members[(place + 1) % members.len()];
            if status.predecessor != before.me {
                problems
                    .push(format!("{me} has {} before it, not {}", status.predecessor, before.me.address));
            }
            if status.successors.first().and_then(Successor::node) != Some(&behind.me) {
                problems.push(format!("{me} does not have {} behind it", behind.me.address));
            }
            match status.serving {
                _ if status.chain.is_some() => {}
                None => problems.push(format!("{me} waits for its keys")),
                Some(range) if range.low != before.me.id => problems.push(format!("{me} is moving keys")),
                Some(_) => {}
            }
            if status.stale || status.number != u32::try_from(place).ok() {
                problems.push(format!("{me} is not numbered as it stands"));
            }
        }
        problems.extend(self.chain_problems());
        problems
    }

    /// The newest view of chains that any of the nodes has; none: the cluster has no chains.
    pub fn chains(&self) -> Option<&ChainView> {
        let chains = self.nodes.iter().filter_map(|status| status.chain.as_ref());
        chains.filter_map(|chain| chain.view.as_ref()).max_by_key(|view| view.index)
    }

    /// What is not as it should be of the chains.
    fn chain_problems(&self) -> Vec<String> {
        let Some(view) = self.chains() else { return Vec::new() };
        let present = view.members.values().filter(|member| !member.leaving).count();
        let wanted = view.replication.copies().min(present);
        let mut problems = Vec::new();
        for (epoch, active) in &view.ranges {
            let name = format!("the range ({:?}, {:?}]", active.range.low, active.range.high);
            let serving = active.serving().count();
            if serving < wanted {
                problems.push(format!("{name} is under-replicated: {serving} of {wanted} replicas serve"));
            }
            if view.change_of(*epoch).is_some() || active.wedged {
                problems.push(format!("the chain of {name} is being changed"));
            }
        }
        for member in view.members.values() {
            if !self.nodes.iter().any(|status| status.me.id == member.peer.id) {
                problems.push(format!("{} is a member, but does not answer", member.peer));
            }
        }
        problems
    }

    /// Is it one ring, in order, everything served and numbered?
    pub fn is_whole(&self) -> bool {
        !self.members().is_empty() && self.problems().is_empty()
    }
}

impl Client {
    /// Asks every node that can be found, starting from those given to `connect`.
    pub async fn view(&self) -> View {
        let first = self.shared.entries.lock().clone();
        self.view_from(first).await
    }

    /// The same, starting from these.
    pub async fn view_from(&self, first: Vec<Address>) -> View {
        let mut seen: BTreeMap<Address, ()> = first.iter().map(|address| (address.clone(), ())).collect();
        let mut to_ask: VecDeque<Address> = first.into();
        let mut view = View::default();
        while !to_ask.is_empty() {
            let batch: Vec<Address> = to_ask.drain(..).collect();
            let answers = stream::iter(batch).map(|address| async move {
                let status = status_of(&self.shared.pool, &address, STATUS_WITHIN).await;
                (address, status)
            });
            let answers: Vec<_> = answers.buffer_unordered(AT_ONCE).collect().await;
            for (address, answer) in answers {
                match answer {
                    Ok(status) => {
                        let neighbours = status.successors.iter().filter_map(Successor::node);
                        for peer in neighbours.chain([&status.predecessor]) {
                            if status.member && seen.insert(peer.address.clone(), ()).is_none() {
                                to_ask.push_back(peer.address.clone());
                            }
                        }
                        if view.nodes.iter().all(|known| known.me != status.me) {
                            view.nodes.push(status);
                        }
                    }
                    Err(failure) => view.silent.push((address, failure)),
                }
            }
        }
        view.nodes.sort_by_key(|status| status.me.id);
        view.silent.sort_by(|a, b| a.0.cmp(&b.0));
        view
    }

    /// One page of the keys that a node serves.
    ///
    /// # Errors
    /// When it does not answer or is not in the ring.
    pub async fn scan(&self, node: &Address, options: ScanOptions) -> Result<Page, Failure> {
        let answer = self.shared.pool.client(node).scan(within(STATUS_WITHIN), options).await;
        Ok(answer.map_err(|error| Failure::from_call(error).of_reading())??)
    }
}
