//! Eventual mode as all nodes together describe it: who keeps what, and who is missed.

use std::collections::{BTreeMap, BTreeSet};

use chordata_protocol::{Address, Consistency, Id, Peer, StoreId};
use chordata_rpc::service::{EventualStatus, Status};

use super::View;

impl View {
    /// Does the cluster keep its data in eventual mode?
    pub fn is_eventual(&self) -> bool {
        let mut modes = self.nodes.iter().map(|status| status.settings.consistency());
        modes.any(|mode| mode == Some(Consistency::Eventual))
    }

    fn parts(&self) -> impl Iterator<Item = (&Status, &EventualStatus)> {
        self.nodes.iter().filter_map(|status| Some((status, status.eventual.as_deref()?)))
    }

    /// The replicas of an identifier in eventual mode: its owner and the next distinct members.
    pub fn replicas(&self, id: Id) -> Vec<Peer> {
        let members = self.members();
        let copies = members.first().and_then(|status| status.settings.replication);
        let count = copies.map_or(1, |kept| kept.copies()).min(members.len());
        let owner = members.partition_point(|status| status.me.id < id);
        (0..count).map(|step| members[(owner + step) % members.len()].me.clone()).collect()
    }

    /// Stores that were members in eventual mode, may come back and do not answer now, with their place, where any node
    /// knows it. Who was forgotten is none of them.
    pub fn away(&self) -> BTreeMap<StoreId, Option<Peer>> {
        let forgotten: BTreeSet<&StoreId> = self.parts().flat_map(|(_, part)| &part.forgotten).collect();
        let present: BTreeSet<&StoreId> = self.parts().map(|(_, part)| &part.store).collect();
        let mut away: BTreeMap<StoreId, Option<Peer>> = BTreeMap::new();
        for (store, peer) in self.parts().flat_map(|(_, part)| &part.away) {
            if !forgotten.contains(store) && !present.contains(store) {
                let known = away.entry(*store).or_default();
                *known = known.take().or_else(|| peer.clone());
            }
        }
        away
    }

    /// Places at which nobody answers whom nodes still take for members, or whose store is away.
    pub fn missed(&self) -> impl Iterator<Item = (Option<StoreId>, Peer)> {
        let away = self.away().into_iter().filter_map(|(store, peer)| Some((Some(store), peer?)));
        let mut missed: BTreeMap<Address, (Option<StoreId>, Peer)> = BTreeMap::new();
        for (store, peer) in away {
            missed.insert(peer.address.clone(), (store, peer));
        }
        for peer in self.parts().flat_map(|(_, part)| &part.members) {
            missed.entry(peer.address.clone()).or_insert_with(|| (None, peer.clone()));
        }
        missed.retain(|address, _| !self.answers(address));
        missed.into_values()
    }

    /// What people know a store that is away by: its address, unless nobody knows it or another store answers there.
    pub fn name_of(&self, store: StoreId, peer: Option<&Peer>) -> String {
        match peer {
            Some(peer) if self.answers(&peer.address) => format!("store {store} (once at {})", peer.address),
            Some(peer) => peer.address.to_string(),
            None => format!("store {store}"),
        }
    }

    /// Does a node at this address answer?
    pub fn answers(&self, address: &Address) -> bool {
        self.nodes.iter().any(|status| status.me.address == *address)
    }

    /// Nodes that give copies to others than those that are in the ring: while it lasts, some keys have fewer replicas.
    pub(super) fn member_problems(&self) -> Vec<String> {
        let ring: BTreeSet<&Peer> = self.members().into_iter().map(|status| &status.me).collect();
        let mut problems = Vec::new();
        for (status, part) in self.parts().filter(|(status, _)| status.member) {
            let members: BTreeSet<&Peer> = part.members.iter().collect();
            let named = |peers: Vec<&Peer>| {
                peers.into_iter().map(|peer| peer.address.to_string()).collect::<Vec<String>>().join(", ")
            };
            let without: Vec<&Peer> = ring.difference(&members).copied().collect();
            let beside: Vec<&Peer> = members.difference(&ring).copied().collect();
            let me = &status.me.address;
            if !without.is_empty() {
                problems.push(format!("{me} does not give copies to {} yet", named(without)));
            }
            if !beside.is_empty() {
                problems.push(format!("{me} still counts on {}, not in the ring", named(beside)));
            }
        }
        problems
    }

    /// Copies that are known to be on their way: keys that members are still to get, and stores for which deletes wait.
    /// None of either: every key has its replicas, as far as is known.
    pub fn pending(&self) -> Pending {
        let away = self.away();
        let mut waiting: BTreeSet<StoreId> =
            self.parts().flat_map(|(_, part)| &part.awaited).map(|(store, _)| *store).collect();
        waiting.retain(|store| away.contains_key(store));
        let hints = self.parts().map(|(status, part)| (status.me.address.clone(), part.hints));
        Pending {
            hints: hints.filter(|(_, hints)| *hints > 0).collect(),
            deletes_wait_for: waiting
                .into_iter()
                .map(|store| self.name_of(store, away.get(&store).and_then(Option::as_ref)))
                .collect(),
        }
    }
}

/// What is still on its way in eventual mode.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pending {
    /// Keys that a node is still to bring to members that did not answer.
    pub hints: Vec<(Address, u64)>,
    /// Who is away and must learn of deletes: see [`View::name_of`].
    pub deletes_wait_for: Vec<String>,
}

impl Pending {
    /// A sentence each.
    pub fn remarks(&self) -> Vec<String> {
        let hints = self.hints.iter().map(|(address, hints)| {
            let keys = if *hints == 1 { "copy" } else { "copies" };
            format!("{address} still has {hints} {keys} for nodes that did not answer")
        });
        let waiting =
            self.deletes_wait_for.iter().map(|who| format!("deletes wait for {who}, which is away"));
        hints.chain(waiting).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chordata_protocol::chain::Incarnation;
    use chordata_protocol::eventual::Counters;
    use chordata_protocol::{Lease, Range, Replication};
    use chordata_rpc::service::{ClusterId, ClusterSettings};

    use super::*;

    fn peer(number: u64) -> Peer {
        let id = chordata_protocol::Space::default().parse(&(number * 100).to_string()).unwrap();
        Peer::new(id, Address::new(&format!("h{number}:1")))
    }

    fn node(number: u64, members: &[u64]) -> Status {
        let replication =
            Replication { factor: 2, consistency: Consistency::Eventual, ..Replication::default() };
        let eventual = EventualStatus {
            store: StoreId(number.into()),
            incarnation: Incarnation(1),
            members: members.iter().map(|number| peer(*number)).collect(),
            kept: None,
            tombstones: 0,
            hints: 0,
            awaited: Vec::new(),
            away: Vec::new(),
            forgotten: Vec::new(),
            counters: Counters::default(),
        };
        Status {
            me: peer(number),
            settings: ClusterSettings {
                cluster: ClusterId([0; 16]),
                bits: 160,
                successors: 4,
                replication: Some(replication),
                lease: Lease::default(),
            },
            version: String::new(),
            uptime: Duration::ZERO,
            number: None,
            stale: false,
            member: true,
            predecessor: peer(number),
            successors: Vec::new(),
            serving: Some(Range { low: peer(number).id, high: peer(number).id }),
            share: 1.0,
            handing_over: false,
            http: None,
            keys: 0,
            bytes: 0,
            known: 0,
            silent: Vec::new(),
            chain: None,
            eventual: Some(Box::new(eventual)),
        }
    }

    fn part(view: &mut View, place: usize) -> &mut EventualStatus {
        view.nodes[place].eventual.as_mut().unwrap()
    }

    #[test]
    fn the_replicas_are_the_owner_and_those_behind_it() {
        let view = View { nodes: vec![node(1, &[]), node(2, &[]), node(3, &[])], ..View::default() };
        let at = |number: u64| {
            let peers = view.replicas(peer(number).id);
            peers.iter().map(|peer| peer.address.to_string()).collect::<Vec<String>>()
        };
        assert_eq!(
            (at(2), at(3), at(4)),
            (
                vec!["h2:1".to_owned(), "h3:1".to_owned()],
                vec!["h3:1".to_owned(), "h1:1".to_owned()],
                vec!["h1:1".to_owned(), "h2:1".to_owned()],
            )
        );
    }

    #[test]
    fn whoever_gives_copies_to_others_than_the_ring_is_a_problem() {
        let mut view = View { nodes: vec![node(1, &[1, 2]), node(2, &[1, 2])], ..View::default() };
        assert_eq!(view.member_problems(), Vec::<String>::new());
        part(&mut view, 0).members = vec![peer(1), peer(3)];
        let problems = view.member_problems();
        assert_eq!(problems.len(), 2);
        assert!(problems[0].contains("h1:1 does not give copies to h2:1"), "{problems:?}");
        assert!(problems[1].contains("h1:1 still counts on h3:1"), "{problems:?}");
        // Who is on its way into the ring, or out of it, has no say.
        view.nodes[0].member = false;
        view.nodes[1].eventual.as_mut().unwrap().members = vec![peer(2)];
        assert_eq!(view.member_problems(), Vec::<String>::new());
    }

    #[test]
    fn who_is_away_belongs_to_the_cluster_until_it_is_forgotten() {
        let mut view = View { nodes: vec![node(1, &[1, 2]), node(2, &[1, 2])], ..View::default() };
        let gone = (StoreId(3), Some(peer(3)));
        assert!(!view.belongs(&peer(3).address));
        part(&mut view, 0).away = vec![(StoreId(3), None)];
        part(&mut view, 1).away = vec![gone.clone()];
        part(&mut view, 1).awaited = vec![gone.clone()];
        assert!(view.belongs(&peer(3).address));
        assert_eq!(view.away(), BTreeMap::from([gone]));
        assert_eq!(view.pending().deletes_wait_for, ["h3:1"]);
        // One has heard that it is forgotten, the other has not yet.
        part(&mut view, 0).forgotten = vec![StoreId(3)];
        assert!(view.away().is_empty() && view.pending() == Pending::default());
        assert!(!view.belongs(&peer(3).address));
        // It is back; or another store has its place, and is not taken for it.
        part(&mut view, 0).forgotten.clear();
        view.nodes.push(node(3, &[1, 2, 3]));
        assert!(view.missed().next().is_none() && view.away().is_empty());
        part(&mut view, 2).store = StoreId(4);
        assert!(view.missed().next().is_none() && view.away().contains_key(&StoreId(3)));
        let name = "store 00000000000000000000000000000003 (once at h3:1)";
        assert_eq!(view.pending().deletes_wait_for, [name]);
    }

    #[test]
    fn one_that_died_a_moment_ago_is_missed_while_nodes_still_count_on_it() {
        let view = View { nodes: vec![node(1, &[1, 2, 3])], ..View::default() };
        let missed: Vec<Peer> = view.missed().map(|(_, peer)| peer).collect();
        assert_eq!(missed, [peer(2), peer(3)]);
        assert!(view.belongs(&peer(2).address) && !view.belongs(&peer(4).address));
    }

    #[test]
    fn copies_that_are_on_their_way_are_told() {
        let mut view = View { nodes: vec![node(1, &[1, 2]), node(2, &[1, 2])], ..View::default() };
        assert_eq!(view.pending().remarks(), Vec::<String>::new());
        part(&mut view, 1).hints = 1;
        assert_eq!(view.pending().remarks(), ["h2:1 still has 1 copy for nodes that did not answer"]);
    }
}
