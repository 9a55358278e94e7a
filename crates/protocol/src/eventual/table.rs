//! Who keeps copies of what: the ring's members in order, and the replicas of a key.
//!
//! The replicas of a key are its owner, the first member at or behind its identifier, and the next k-1 distinct
//! members. So a member keeps one arc: from behind the k-th member before it up to itself; the whole ring if there are
//! at most k members.

use std::collections::BTreeSet;

use crate::id::Id;
use crate::message::Range;
pub use crate::store_id::StoreId;

/// A member of the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its place.
    pub id: Id,
    /// Its store.
    pub store: StoreId,
}

/// The members as one node sees them. The caller makes it from the ring's state: membership, successors, predecessor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    members: Vec<Member>,
    replicas: usize,
}

impl Table {
    /// Of these members; k is `replicas`, at least 1. Of two members with one place or one store the first is kept.
    pub fn new(mut members: Vec<Member>, replicas: usize) -> Table {
        members.sort_by_key(|member| (member.id, member.store));
        members.dedup_by_key(|member| member.id);
        let mut stores = BTreeSet::new();
        members.retain(|member| stores.insert(member.store));
        Table { members, replicas: replicas.max(1) }
    }

    /// The members by place.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Is this store a member?
    pub fn has(&self, store: StoreId) -> bool {
        self.position(store).is_some()
    }

    fn position(&self, store: StoreId) -> Option<usize> {
        self.members.iter().position(|member| member.store == store)
    }

    /// Copies that a key has: k, or fewer in a smaller ring.
    pub fn copies(&self) -> usize {
        self.replicas.min(self.members.len())
    }

    /// The replicas of an identifier, its owner first.
    pub fn replicas(&self, id: Id) -> Vec<StoreId> {
        let owner = self.members.partition_point(|member| member.id < id);
        self.replicas_from(owner)
    }

    fn replicas_from(&self, owner: usize) -> Vec<StoreId> {
        let around = (0..self.copies()).map(|step| self.members[(owner + step) % self.members.len()].store);
        around.collect()
    }

    /// Does the store keep a copy of what has this identifier?
    pub fn is_replica(&self, store: StoreId, id: Id) -> bool {
        self.replicas(id).contains(&store)
    }

    /// The place `steps` members before this one.
    fn place_before(&self, position: usize, steps: usize) -> Id {
        let count = self.members.len();
        self.members[(position + count - steps % count) % count].id
    }

    /// What a member owns.
    pub fn owned(&self, store: StoreId) -> Option<Range> {
        let position = self.position(store)?;
        Some(Range { low: self.place_before(position, 1), high: self.members[position].id })
    }

    /// What a member keeps copies of.
    pub fn kept(&self, store: StoreId) -> Option<Range> {
        let position = self.position(store)?;
        Some(Range { low: self.place_before(position, self.copies()), high: self.members[position].id })
    }

    /// What both keep copies of: none, one arc, or two.
    pub fn shared(&self, one: StoreId, other: StoreId) -> Vec<Range> {
        let (Some(one), Some(other)) = (self.position(one), self.position(other)) else { return Vec::new() };
        let count = self.members.len();
        if one == other {
            return Vec::new();
        }
        if count <= self.replicas {
            let high = self.members[one.min(other)].id;
            return vec![Range { low: high, high }];
        }
        let ahead = |first: usize, second: usize| {
            let distance = (second + count - first) % count;
            (distance < self.replicas).then(|| Range {
                low: self.place_before(second, self.replicas),
                high: self.members[first].id,
            })
        };
        ahead(one, other).into_iter().chain(ahead(other, one)).collect()
    }

    /// The arcs of which a store keeps no copies, each with its replicas. All arcs if it is no member.
    pub fn foreign(&self, store: StoreId) -> Vec<(Range, Vec<StoreId>)> {
        let arcs = (0..self.members.len()).map(|owner| {
            let range = Range { low: self.place_before(owner, 1), high: self.members[owner].id };
            (range, self.replicas_from(owner))
        });
        arcs.filter(|(_, replicas)| !replicas.contains(&store)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(places: &[u128], replicas: usize) -> Table {
        let member = |(number, place): (usize, &u128)| Member {
            id: Id::from_u128(*place),
            store: StoreId(number as u128),
        };
        Table::new(places.iter().enumerate().map(member).collect(), replicas)
    }

    #[test]
    fn arcs_agree_with_the_replicas_of_every_point() {
        for (places, k) in [
            (vec![3], 3),
            (vec![3, 9], 3),
            (vec![0, 5, 15], 3),
            (vec![1, 4, 8, 12], 3),
            (vec![1, 4, 8, 12, 15], 3),
            (vec![1, 2, 4, 8, 12, 13, 15], 3),
            (vec![1, 4, 8, 12], 1),
            (vec![1, 4, 8, 12], 2),
        ] {
            let table = table(&places, k);
            let stores = || (0..places.len() as u128).map(StoreId);
            for id in (0..16).map(Id::from_u128) {
                let replicas = table.replicas(id);
                assert_eq!(replicas.len(), k.min(places.len()));
                for store in stores() {
                    let kept = table.kept(store).unwrap().contains(id);
                    assert_eq!(kept, replicas.contains(&store), "{id:?} at {store:?} of {places:?}");
                    assert_eq!(table.owned(store).unwrap().contains(id), replicas[0] == store);
                    let foreign = table.foreign(store);
                    let away: Vec<_> = foreign.iter().filter(|(range, _)| range.contains(id)).collect();
                    assert_eq!(away.len(), usize::from(!kept));
                    assert!(away.iter().all(|(_, holders)| *holders == replicas));
                    for other in stores().filter(|other| *other != store) {
                        let arcs = table.shared(store, other);
                        let hits = arcs.iter().filter(|range| range.contains(id)).count();
                        let both = kept && replicas.contains(&other);
                        assert_eq!(
                            hits,
                            usize::from(both),
                            "{id:?} at {store:?} and {other:?} of {places:?}"
                        );
                        assert_eq!(arcs, table.shared(store, other));
                    }
                }
            }
        }
    }

    #[test]
    fn the_same_arcs_are_shared_both_ways() {
        let table = table(&[1, 2, 4, 8], 3);
        for (one, other) in (0..4).flat_map(|one| (0..4).map(move |other| (one, other))) {
            let mut there = table.shared(StoreId(other), StoreId(one));
            there.reverse();
            assert_eq!(table.shared(StoreId(one), StoreId(other)), there);
        }
    }
}
