//! Looking at the ring: all nodes, how each is, and what each replica of a key has.

mod eventual;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use chordata_protocol::chain::View as ChainView;
use chordata_protocol::chain::view::{Epoch, Link};
use chordata_protocol::{Address, Consistency, Key, Peer, Range, Record, Successor};
use chordata_rpc::service::{Answer, KeyCopy, Level, Options, Page, Role, Route, ScanOptions, Status};
use chordata_rpc::within;
use futures::future::join_all;
use futures::stream::{self, StreamExt};

use crate::{Client, Failure, Routing, status_of};

/// How long one node may take to say how it is.
const STATUS_WITHIN: Duration = Duration::from_secs(3);
/// Nodes asked at once.
const AT_ONCE: usize = 16;
/// How long one replica may take to answer a read that takes any.
const ANY_WITHIN: Duration = Duration::from_secs(2);

/// The replicas of a key, each asked what it has.
#[derive(Clone, Debug)]
pub struct Replicas {
    /// How the cluster keeps keys; none: there is one copy of each.
    pub consistency: Option<Consistency>,
    /// The epoch of the key's range; none: the cluster has no chains.
    pub epoch: Option<Epoch>,
    /// In the order of the chain, or of the ring from the owner on; with whether the chain names it as serving.
    pub replicas: Vec<(Peer, bool, Result<KeyCopy, Failure>)>,
}

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
            .filter(|(address, _)| self.belongs(address))
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
        problems.extend(self.member_problems());
        problems
    }

    /// Is this address one of the cluster's, as far as that can be known? Where there are chains their members are agreed
    /// on, and who was forgotten is none; in eventual mode it is one of a member, or of a store that is away; elsewhere
    /// every address that was named may be one.
    pub fn belongs(&self, address: &Address) -> bool {
        match self.chains() {
            Some(view) => view.members.values().any(|member| member.peer.address == *address),
            None => !self.is_eventual() || self.missed().any(|(_, peer)| peer.address == *address),
        }
    }

    /// The newest view of chains that any of the nodes has; none: the cluster has no chains.
    pub fn chains(&self) -> Option<&ChainView> {
        let chains = self.nodes.iter().filter_map(|status| status.chain.as_ref());
        chains.filter_map(|chain| chain.view.as_ref()).max_by_key(|view| view.index)
    }

    /// Ranges of whose serving replicas none answers in the life in which it served: nobody reads or writes their keys.
    pub fn unserved(&self) -> Vec<Range> {
        let Some(view) = self.chains() else { return Vec::new() };
        let lives = |link: &Link| {
            let chains = self.nodes.iter().filter_map(|status| status.chain.as_ref());
            chains.into_iter().any(|chain| link.is(chain.store, chain.incarnation))
        };
        let without = view.ranges.values().filter(|active| !active.serving().any(lives));
        without.map(|active| active.range).collect()
    }

    /// Ranges whose only serving replica has records that it cannot read: nobody can be filled from it.
    pub fn damaged_at_last(&self) -> Vec<Range> {
        let Some(view) = self.chains() else { return Vec::new() };
        let alone = view.ranges.iter().filter(|(_, active)| active.serving().count() == 1);
        let damaged = alone.filter(|(epoch, active)| {
            let statuses = self.nodes.iter().filter_map(|status| status.chain.as_ref());
            let mut serving =
                statuses.filter(|chain| active.serving().any(|link| link.is(chain.store, chain.incarnation)));
            serving.any(|chain| {
                chain.replicas.iter().any(|replica| replica.epoch == **epoch && replica.unreadable > 0)
            })
        });
        damaged.map(|(_, active)| active.range).collect()
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
            // The view names who is to serve; a life that has ended does not, however new the view is.
            for link in active.serving().filter(|link| !self.serves(*epoch, link)) {
                let peer = view.peer(link.store).map_or_else(|| link.store.to_string(), ToString::to_string);
                problems.push(format!("{peer} does not serve {name} at the moment"));
            }
        }
        for Range { low, high } in self.damaged_at_last() {
            problems.push(format!(
                "the only replica of the range ({low:?}, {high:?}] has records that it cannot read: see `chordata recover`"
            ));
        }
        for Range { low, high } in self.unserved() {
            problems.push(format!("no replica of the range ({low:?}, {high:?}] that could serve answers"));
        }
        for member in view.members.values() {
            if !self.nodes.iter().any(|status| status.me.id == member.peer.id) {
                problems.push(format!("{} is a member, but does not answer", member.peer));
            }
        }
        problems
    }

    /// Does the life of a store that a chain names have its replica, and a lease for it?
    fn serves(&self, epoch: Epoch, link: &Link) -> bool {
        let chains = self.nodes.iter().filter_map(|status| status.chain.as_ref());
        let mut lives = chains.filter(|chain| link.is(chain.store, chain.incarnation));
        lives.any(|chain| {
            let mine = chain.replicas.iter().find(|replica| replica.epoch == epoch);
            mine.is_some_and(|replica| replica.leased && !replica.wedged && replica.role != Role::Syncing)
        })
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

    /// Asks every replica of a key what it has of it. With single copies: the one node that serves the key.
    ///
    /// # Errors
    /// Bad input, or nobody says who has it.
    pub async fn replicas_of(&self, key: &Key) -> Result<Replicas, Failure> {
        key.check(self.space())?;
        let id = key.id(self.space());
        let view = self.view().await;
        let (epoch, peers) = match view.chains() {
            Some(chains) => {
                let (epoch, active) = chains.range_of(id).ok_or_else(no_range)?;
                let peer = |link: &Link| Some((chains.peer(link.store)?.clone(), link.serving));
                (Some(epoch), active.chain.iter().filter_map(peer).collect())
            }
            None if view.is_eventual() => {
                let replicas = view.replicas(id);
                (None, replicas.into_iter().map(|peer| (peer, true)).collect())
            }
            None => {
                let located = Box::pin(self.locate(id, chordata_protocol::Policy::Finger)).await?;
                (None, vec![(located.owner, true)])
            }
        };
        let asked = peers.into_iter().map(|(peer, serving): (Peer, bool)| async move {
            let copy = self.copy(&peer.address, key.clone()).await;
            (peer, serving, copy)
        });
        Ok(Replicas { consistency: self.consistency(), epoch, replicas: join_all(asked).await })
    }

    /// What any replica of a key has: perhaps an older value, or one that will not last. Answers as long as one of them
    /// can be reached.
    ///
    /// # Errors
    /// Bad input, or none of them could be reached.
    pub async fn get_any(&self, key: Key) -> Result<Answer<Option<Record>>, Failure> {
        key.check(self.space())?;
        let trace = self.shared.config.trace;
        let read = async |node: &Address, route: Route, limit: Duration| {
            let options = Options { route, trace, level: Level::Any, ..Options::default() };
            let answer = self.pool().client(node).get(within(limit), key.clone(), options).await;
            Ok::<_, Failure>(answer.map_err(|error| Failure::from_call(error).of_reading())??)
        };
        // In eventual mode every read is one of any replica, or of as many as the client wants.
        if matches!(self.shared.config.routing, Routing::Entry(_)) || self.shared.spread.is_some() {
            return Box::pin(self.read(key, Level::Any)).await;
        }
        let entries = self.shared.entries.lock().clone();
        let (_, status) = Box::pin(crate::first_to_answer(self.pool(), &entries, STATUS_WITHIN)).await?;
        let Some(view) = status.chain.and_then(|chain| chain.view) else {
            return Box::pin(self.get(key)).await;
        };
        let (_, active) = view.range_of(key.id(self.space())).ok_or_else(no_range)?;
        let mut peers: Vec<&Peer> = active.chain.iter().filter_map(|link| view.peer(link.store)).collect();
        // Not always the same one: any of them will do.
        if !peers.is_empty() {
            let first = fastrand::usize(..peers.len());
            peers.rotate_left(first);
        }
        let mut failure = no_range();
        for peer in peers {
            match read(&peer.address, Route::Direct, ANY_WITHIN).await {
                Ok(answer) => return Ok(answer),
                Err(reason) => failure = reason,
            }
        }
        Err(failure)
    }

    /// The same for many keys: the node that requests begin at, or the first that answers, asks the replicas; an answer
    /// per key, in their order.
    pub async fn get_many_any(&self, keys: Vec<Key>) -> Vec<Result<Option<Record>, Failure>> {
        if matches!(self.shared.config.routing, Routing::Entry(_)) || self.shared.spread.is_some() {
            return self.read_many(keys, Level::Any).await;
        }
        let entries = self.shared.entries.lock().clone();
        let first = Box::pin(crate::first_to_answer(self.pool(), &entries, STATUS_WITHIN)).await;
        let (place, status) = match first {
            Ok(first) => first,
            Err(failure) => return vec![Err(failure); keys.len()],
        };
        if status.chain.is_none() {
            return self.get_many(keys).await;
        }
        let entry = Routing::Entry(chordata_protocol::Policy::Finger);
        self.through(entries[place].clone(), entry, false).read_many(keys, Level::Any).await
    }

    /// One page of the keys that a node serves. It has no entries only if there are none behind `after`.
    ///
    /// # Errors
    /// When it does not answer or is not in the ring.
    pub async fn scan(&self, node: &Address, mut options: ScanOptions) -> Result<Page, Failure> {
        loop {
            let answer = self.shared.pool.client(node).scan(within(STATUS_WITHIN), options.clone()).await;
            let page = answer.map_err(|error| Failure::from_call(error).of_reading())??;
            if !page.entries.is_empty() || page.after.is_none() {
                return Ok(page);
            }
            // The node has passed by keys that are not wanted.
            options.after = page.after;
        }
    }
}

pub(crate) fn no_range() -> Failure {
    Failure::Unavailable("no node says which replicas the key has".to_owned())
}
