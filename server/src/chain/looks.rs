//! What people and other parts see of a node's chains.

use chordata_consensus::NodeId;
use chordata_protocol::chain::view::Active;
use chordata_protocol::chain::{Epoch, Replica, StoreId};
use chordata_protocol::message::{Candidate, Found};
use chordata_protocol::{Id, Peer, Policy, Range};
use chordata_rpc::service::{ChainStatus, Error, Page, ReplicaStatus, Role, ScanOptions};

use super::Chain;
use crate::node::Node;
use crate::service::page;

fn role(replica: &Replica) -> Role {
    match (replica.is_serving(), replica.is_head(), replica.is_tail()) {
        (false, ..) => Role::Syncing,
        (true, true, true) => Role::Only,
        (true, true, false) => Role::Head,
        (true, false, true) => Role::Tail,
        (true, false, false) => Role::Middle,
    }
}

impl Chain {
    /// How it is.
    pub(crate) fn status(&self, now: chordata_protocol::Time) -> ChainStatus {
        let replicas = self.member.replicas().map(|replica| self.replica_status(replica, now));
        let voters = self.group.members().borrow().voters.keys().map(|NodeId(id)| StoreId(*id)).collect();
        ChainStatus {
            store: self.member.store(),
            incarnation: self.member.incarnation(),
            view: self.member.view().map(|view| (**view).clone()),
            leader: self.member.leader().cloned(),
            voters,
            unled_for: self.member.unled_for(now),
            regrouping: self.regrouping,
            replicas: replicas.collect(),
        }
    }

    fn replica_status(&self, replica: &Replica, now: chordata_protocol::Time) -> ReplicaStatus {
        ReplicaStatus {
            epoch: replica.epoch(),
            range: replica.range(),
            role: role(replica),
            last: replica.last(),
            committed: replica.committed(),
            wedged: replica.is_wedged(),
            unreadable: replica.unreadable() as u64,
            leased: self.member.leased_until(replica.epoch()).is_some_and(|until| now < until),
        }
    }

    /// The replica that holds an identifier, if this node has one, and how it is.
    pub(crate) fn replica_at(
        &self,
        id: Id,
        now: chordata_protocol::Time,
    ) -> Option<(&Replica, ReplicaStatus)> {
        self.member.replica_of(id).map(|replica| (replica, self.replica_status(replica, now)))
    }

    /// The ranges whose last serving replica this node is, beginning with its own place's.
    pub(crate) fn tail_ranges(&self, space: chordata_protocol::Space, me: Id) -> Vec<Range> {
        let tails = self.member.replicas().filter(|replica| replica.is_tail() && !replica.is_wedged());
        let mut ranges: Vec<Range> = tails.map(Replica::range).collect();
        ranges.sort_by_key(|range| space.distance(range.high, me));
        ranges
    }

    /// Does this node have the last serving replica of all these identifiers, and a lease for it?
    pub(crate) fn is_tail_of(
        &self,
        wanted: &Range,
        space: chordata_protocol::Space,
        now: chordata_protocol::Time,
    ) -> bool {
        self.member.replica_of(wanted.high).is_some_and(|replica| {
            let leased = self.member.leased_until(replica.epoch()).is_some_and(|until| now < until);
            leased && replica.is_tail() && !replica.is_wedged() && replica.range().covers(wanted, space)
        })
    }

    /// The range that this node orders and that ends at its place or holds it; none: it is not the head there.
    pub(crate) fn own_range(&self, me: Id) -> Option<Range> {
        self.member.replica_of(me).filter(|replica| replica.is_head()).map(Replica::range)
    }

    /// The range of an identifier and its head, as far as this node's view goes.
    pub(crate) fn located(&self, id: Id) -> Option<(Range, Peer)> {
        let view = self.member.view()?;
        let (_, active): (Epoch, &Active) = view.range_of(id)?;
        Some((active.range, view.peer(active.head()?.store)?.clone()))
    }
}

impl Node {
    /// Some of the keys of the ranges whose last serving replica this node is, one range after another.
    pub(crate) fn chain_page(&self, options: &ScanOptions) -> Option<Result<Page, Error>> {
        let (space, me) = (self.space(), self.me().id);
        self.with_chain(|chain, engine| {
            let ranges = chain.tail_ranges(space, me);
            let at = options.after.as_ref().map(|key| key.id(space));
            let first = at.and_then(|id| ranges.iter().position(|range| range.contains(id))).unwrap_or(0);
            let mut after = options.after.clone();
            let mut read =
                Page { entries: Vec::new(), more: false, after: None, range: ranges.first().copied() };
            for (place, range) in ranges.iter().enumerate().skip(first) {
                let page = page(engine, *range, options, after.take(), space, None);
                read = page.map_err(|error| self.store_failed(&error))?;
                if read.more {
                    break;
                }
                if !read.entries.is_empty() {
                    read.more = place + 1 < ranges.len();
                    read.after = read.entries.last().map(|(key, ..)| key.clone()).filter(|_| read.more);
                    break;
                }
            }
            Ok(read)
        })
    }

    /// The range of an identifier and its head, as far as this node's view goes.
    pub(crate) fn chain_located(&self, id: Id) -> Option<(Range, Peer)> {
        self.with_chain(|chain, _| chain.located(id)).flatten()
    }

    /// The replicas of an identifier, serving ones first, as far as this node's view goes.
    pub(crate) fn chain_named(&self, id: Id) -> Vec<Peer> {
        let named = self.with_chain(|chain, _| {
            let view = chain.member.view()?;
            let (_, active) = view.range_of(id)?;
            Some(active.chain.iter().filter_map(|link| view.peer(link.store)).cloned().collect())
        });
        named.flatten().unwrap_or_default()
    }

    /// What chains say about who owns an identifier, before the ring is asked.
    pub(crate) fn chain_find(&self, target: Id, policy: Policy) -> Option<Found> {
        self.with_chain_and_ring(|chain, ring| {
            if chain.member.is_head_of(target) {
                return Found::Owner;
            }
            let Found::Next(mut next) = ring.find(target, policy) else { return Found::Owner };
            // Where the ring's owner is not the head, the view names it; elsewhere the ring leads on.
            let mine = ring.predecessor().id;
            let owns = chordata_protocol::id::in_half_open(mine, target, ring.me().id);
            if owns || chain.member.replica_of(target).is_some() {
                let named: Vec<Candidate> = chain.member.candidates(target, true);
                next.retain(|candidate| named.iter().all(|other| other.peer != candidate.peer));
                next.splice(0..0, named);
            }
            Found::Next(next)
        })
    }
}
