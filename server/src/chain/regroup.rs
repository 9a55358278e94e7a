//! When the quorum of the coordinator's group is lost for good: a node rebuilds the group from the newest view, and
//! the others leave the old one.
//!
//! **Rebuilding** is an operator's word ([`Node::chain_recover_quorum`]). The node is the only voter of the new group,
//! which begins with a view of the next *generation* ([`View::rebuilt`]). It refuses while anybody that answers it was
//! lately led, has a newer view, or is rebuilding too; of two that try at the same time at least one sees the other.
//!
//! **Leaving the old group** needs no word: whoever is told a view of a later generation than its own group has agreed
//! on knows that the group is given up, removes its Raft state, and can be made a voter of the new one. The messages of
//! the two groups refuse each other by their lineage.

use std::time::Duration;

use chordata_consensus::{Recovery, Storage, StoreError, forget, recover_quorum};
use chordata_protocol::chain::{Occasion, View};
use chordata_protocol::{Address, Peer, StoreId};
use chordata_rpc::service::{ChainStatus, Error};
use chordata_rpc::within;
use futures::future::join_all;
use tracing::{error, info, warn};

use super::group::{Agreed, Agreement};
use super::{Chain, Group, Machine, OverPool};
use crate::node::Node;

/// Nobody may have been led for so long: many times what an election takes.
const UNLED_FOR: Duration = Duration::from_secs(5);
/// How long another member may take to say how it is.
const STATUS_WITHIN: Duration = Duration::from_secs(3);

/// What is to become of the group's state on this node.
enum Then {
    /// A group of this node alone begins with this view.
    Rebuild(View),
    /// It is removed, until a leader of the new group adds this node.
    Forget,
}

/// A node is marked as one that replaces its part in the group, until this is dropped.
struct Regrouping(Node);

impl Regrouping {
    fn begin(node: &Node) -> Option<Regrouping> {
        let begun = node.with_chain(|chain, _| !std::mem::replace(&mut chain.regrouping, true));
        begun.filter(|begun| *begun).map(|_| Regrouping(node.clone()))
    }
}

impl Drop for Regrouping {
    fn drop(&mut self) {
        self.0.with_chain(|chain, _| chain.regrouping = false);
    }
}

impl Node {
    /// The group, if the node has one and has not stopped.
    pub(crate) fn own_group(&self) -> Option<Group> {
        self.with_chain(|chain, _| chain.group.clone())
    }

    /// Watches the group from now on.
    pub(crate) fn watch_over(&self, group: Group) {
        let watching = tokio::spawn(self.clone().watch_group(group));
        let former = self.with_chain(|chain, _| chain.watching.replace(watching));
        if let Some(former) = former.flatten() {
            former.abort();
        }
    }

    /// Leaves a group that was given up: the cluster has a view of a later generation.
    pub(super) fn compare_generations(&self, chain: &mut Chain) {
        let newest = chain.member.view().map_or(0, |view| view.generation());
        let mine = chain.group.read(|machine, _| machine.view().map(|view| view.generation()));
        if chain.regrouping || mine.is_none_or(|mine| mine >= newest) {
            return;
        }
        chain.regrouping = true;
        let node = self.clone();
        tokio::spawn(async move {
            let _mark = Regrouping(node.clone());
            info!(node = %node.me().address, "the coordinator's group was rebuilt elsewhere: this node leaves the old one");
            if let Err(reason) = node.replace_group(Then::Forget).await {
                error!(node = %node.me().address, reason, "this node has no part in the coordinator's group");
            }
        });
    }

    /// Rebuilds the group from this node's view, if that is the one with this index. The first index of the new group.
    pub(crate) async fn chain_recover_quorum(&self, newest: u64) -> Result<u64, Error> {
        let unavailable = |reason: String| Error::Unavailable(reason);
        let mark = Regrouping::begin(self)
            .ok_or_else(|| unavailable("this node is replacing its part in the group already".to_owned()))?;
        let now = self.now();
        let own = self.with_chain(|chain, _| (chain.member.view().cloned(), chain.status(now)));
        let (view, own) = own.ok_or(Error::NotMember)?;
        let view = view.ok_or_else(|| unavailable("this node has no view of the cluster".to_owned()))?;
        if view.index != newest {
            let index = view.index;
            return Err(unavailable(format!("this node's view is number {index}, not {newest}: look again")));
        }
        if !view.members.contains_key(&own.store) {
            return Err(unavailable("this node is no member of the cluster".to_owned()));
        }
        must_be_unled(&self.me().address, &own, newest, false)?;
        let others = self.ask_members(&view).await;
        for (peer, status) in &others {
            must_be_unled(&peer.address, status, newest, true)?;
        }
        // Asking took a while: a leader may have come back meanwhile.
        let now = self.now();
        let own = self.with_chain(|chain, _| chain.status(now)).ok_or(Error::NotMember)?;
        let index = own.view.as_ref().map_or(0, |view| view.index);
        if index != newest {
            return Err(unavailable(format!(
                "this node has heard of view number {index} meanwhile: look again"
            )));
        }
        must_be_unled(&self.me().address, &own, newest, false)?;
        let answering: Vec<StoreId> =
            others.iter().map(|(_, status)| status.store).chain([own.store]).collect();
        if can_elect(&own.voters, &answering) {
            let reason = "most of the voters answer, and can elect a leader: wait, or start those anew that do not \
                          vote; if some are not to come back, stop them first";
            return Err(unavailable(reason.to_owned()));
        }
        let rebuilt = view.rebuilt();
        let index = rebuilt.index;
        warn!(
            node = %self.me().address,
            "rebuilds the coordinator's group from view {newest}, by an operator's word: it goes on with view {index}"
        );
        let node = self.clone();
        // Whoever asked may go away: the work is ended all the same.
        let work = tokio::spawn(async move {
            let _mark = mark;
            node.replace_group(Then::Rebuild(rebuilt)).await
        });
        match work.await {
            Ok(Ok(())) => Ok(index),
            Ok(Err(reason)) => Err(Error::Unavailable(reason)),
            Err(ended) => Err(Error::Unknown(ended.to_string())),
        }
    }

    /// How the other members are that answer.
    async fn ask_members(&self, view: &View) -> Vec<(Peer, ChainStatus)> {
        let others = view.members.values().map(|member| &member.peer);
        let others = others.filter(|peer| peer.address != self.me().address);
        let asked = others.map(|peer| async move {
            let status = self.pool().client(&peer.address).status(within(STATUS_WITHIN)).await;
            Some((peer.clone(), status.ok()?.ok()?.chain?))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Ends this node's part in its group and begins another one. An error: what failed; the node then has its old part
    /// again, or, if that is not possible either, none.
    async fn replace_group(&self, then: Then) -> Result<(), String> {
        let parts = self.with_chain(|chain, _| {
            (chain.group.clone(), chain.group_settings.clone(), chain.watching.take())
        });
        let Some((group, settings, watching)) = parts else { return Err("the node has stopped".to_owned()) };
        let (index, term) = (*group.applied().borrow(), group.leader().borrow().term);
        if let Some(watching) = watching {
            watching.abort();
            // It must not depose the leader that this node becomes.
            let _aborted = watching.await;
        }
        self.chain_occasion(Occasion::Deposed);
        group.shutdown().await;
        let (id, address) = (settings.id, self.me().address.as_str().to_owned());
        let rebuilt = match then {
            Then::Rebuild(view) => Some(view),
            Then::Forget => None,
        };
        let written = match (settings.storage.clone(), &rebuilt) {
            (Storage::Memory, _) => Ok(()),
            (Storage::Directory(directory), Some(view)) => {
                let state = chordata_consensus::Machine::snapshot(&Agreed::on(view.clone()));
                let recovery = Recovery { id, address: address.clone(), state, index, term };
                blocking(move || recover_quorum(&directory, &recovery)).await
            }
            (Storage::Directory(directory), None) => blocking(move || forget(&directory, id)).await,
        };
        let in_memory = settings.storage == Storage::Memory;
        let transport = OverPool(self.pool().clone());
        let group = Group::start(settings, Machine::default(), transport).await;
        let group = group.map_err(|error| error.to_string())?;
        if let Some(view) = rebuilt.filter(|_| in_memory) {
            group.bootstrap(&address).await.map_err(|error| error.to_string())?;
            let found = Agreement::Found(Box::new(view));
            group.propose(found).await.map_err(|error| error.to_string())?;
        }
        self.with_chain(|chain, _| chain.group = group.clone());
        self.watch_over(group.clone());
        self.chain_agreed(&group);
        written
    }
}

async fn blocking(work: impl FnOnce() -> Result<(), StoreError> + Send + 'static) -> Result<(), String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(ended) => Err(ended.to_string()),
    }
}

/// Are those that answer a majority of the voters?
fn can_elect(voters: &[StoreId], answering: &[StoreId]) -> bool {
    let votes = voters.iter().filter(|voter| answering.contains(voter)).count();
    votes * 2 > voters.len()
}

/// Nobody that answers may have been led lately, know more, or rebuild the group itself.
fn must_be_unled(address: &Address, status: &ChainStatus, newest: u64, other: bool) -> Result<(), Error> {
    let index = status.view.as_ref().map_or(0, |view| view.index);
    let reason = if status.unled_for < UNLED_FOR {
        format!(
            "{address} was answered by the coordinator {:.1} s ago, or started then: wait, and recover only if no \
             coordinator comes back",
            status.unled_for.as_secs_f64()
        )
    } else if index > newest {
        format!("{address} has a newer view, number {index}: recover there")
    } else if other && status.regrouping {
        format!("{address} replaces its part in the group at this moment")
    } else {
        return Ok(());
    };
    Err(Error::Unavailable(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_of_the_voters_that_answers_can_elect() {
        let stores =
            |numbers: &[u128]| numbers.iter().map(|number| StoreId(*number)).collect::<Vec<StoreId>>();
        let voters = stores(&[1, 2, 3, 4, 5]);
        assert!(can_elect(&voters, &stores(&[1, 3, 5, 9])));
        assert!(!can_elect(&voters, &stores(&[1, 3, 7, 8, 9])), "others do not vote");
        assert!(!can_elect(&stores(&[1, 2]), &stores(&[2])), "half is not most");
        assert!(!can_elect(&[], &stores(&[2])), "nobody is known to vote");
    }
}
