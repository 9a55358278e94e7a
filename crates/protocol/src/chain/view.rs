//! The view: members and, for each range of identifiers, which nodes hold it and in which epoch.
//!
//! It is the state that the coordinator's group agrees on; [`super::command`] changes it, and nothing else does. Every
//! node has a copy, perhaps an old one. A view *names* replicas; whether a node may serve is a matter of leases.
//!
//! A range is *active* in one epoch at a time. While its chain is being changed there is also a [`Pending`] change,
//! which names the epochs that will follow; the active epoch stays in the view, wedged, until they are activated.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{Id, Space, in_half_open};
use crate::message::Range;
use crate::peer::Peer;
use crate::replication::Replication;
pub use crate::store_id::StoreId;

/// Counts the process starts of a store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// One term of one range under one chain. No two terms, of whatever range, have the same number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

/// Counts the writes of one range.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The one behind it.
    #[must_use]
    pub fn next(self) -> Sequence {
        Sequence(self.0.saturating_add(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A node that belongs to the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Its place and address.
    pub peer: Peer,
    /// Its life, as far as it is known.
    pub incarnation: Incarnation,
    /// Does it want to leave?
    pub leaving: bool,
}

/// A node's part in a chain: one life of one store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Link {
    /// Whose.
    pub store: StoreId,
    /// In which life.
    pub incarnation: Incarnation,
    /// Does it have everything (serving), or is it being filled (syncing)?
    pub serving: bool,
}

impl Link {
    /// Is it this life of this store?
    pub fn is(&self, store: StoreId, incarnation: Incarnation) -> bool {
        self.store == store && self.incarnation == incarnation
    }
}

/// A range that is active.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Active {
    /// Which identifiers.
    pub range: Range,
    /// Where its log begins: all serving links have everything up to there.
    pub base: Sequence,
    /// The epochs that it followed, and how far the log of each goes: that much of them was committed. An epoch in
    /// which nothing was stored before it was reopened is passed over: what its stores hold are those that it followed.
    pub from: Vec<(Epoch, Sequence)>,
    /// Serving links first, the head at the front; then syncing ones.
    pub chain: Vec<Link>,
    /// Has a change been prepared? Then its replicas are wedged, and only another change gets it going.
    pub wedged: bool,
    /// The index of the view that activated it.
    pub since: u64,
    /// Nobody who served before it was left: its only replica begins with what its store held.
    pub reopened: Option<Reopened>,
}

/// With what a range is opened again of which nobody was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reopened {
    /// What the store held of the epoch that was the last one.
    Copy,
    /// Nothing: all is lost.
    Empty,
    /// What the store held of the epochs that the last one had followed: of the last one nothing was stored there, so
    /// nothing was committed in it.
    Earlier,
}

impl Active {
    /// Who has everything, the head first.
    pub fn serving(&self) -> impl DoubleEndedIterator<Item = &Link> {
        self.chain.iter().filter(|link| link.serving)
    }

    /// Who orders writes.
    pub fn head(&self) -> Option<&Link> {
        self.serving().next()
    }

    /// Who commits writes.
    pub fn tail(&self) -> Option<&Link> {
        self.serving().next_back()
    }

    /// The link of this life of this store.
    pub fn link(&self, store: StoreId, incarnation: Incarnation) -> Option<&Link> {
        self.chain.iter().find(|link| link.is(store, incarnation))
    }
}

/// A range that will be active when the change is through.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Child {
    /// Its epoch.
    pub epoch: Epoch,
    /// Which identifiers.
    pub range: Range,
    /// Who is to be in its chain; `serving`: who will serve if it is at the base.
    pub chain: Vec<Link>,
}

/// A change of chains that is prepared: one range changes its chain or is split, or two become one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pending {
    /// The active epochs that end.
    pub parents: Vec<Epoch>,
    /// What follows, going up the ring.
    pub children: Vec<Child>,
}

/// The agreed state. See the [module](self).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct View {
    /// Counts the commands that made it.
    pub index: u64,
    /// The next epoch that is given out.
    pub next_epoch: Epoch,
    /// The size of the ring in bits.
    pub bits: u8,
    /// What the cluster promises.
    pub replication: Replication,
    /// Who belongs to it.
    pub members: BTreeMap<StoreId, Member>,
    /// Ranges, by their epochs. They cover the ring without overlaps.
    pub ranges: BTreeMap<Epoch, Active>,
    /// Changes under way, by the epoch of their first child.
    pub pending: BTreeMap<Epoch, Pending>,
    /// Stores that were forgotten: they may not come back.
    pub barred: BTreeSet<StoreId>,
    /// Ranges that may have lost acknowledged writes, with the epoch that ended so.
    pub losses: Vec<(Epoch, Range)>,
}

/// Views of one generation of the coordinator's group, at most.
const GENERATION: u64 = 1_000_000_000_000;
/// A rebuilt view leaves the rest of so many epochs out.
const EPOCHS: u64 = 1_000_000_000;

impl View {
    /// The number of a cluster's first view.
    pub const FIRST: u64 = 1;

    /// How often the coordinator's group was rebuilt from one node's view before this one.
    pub fn generation(&self) -> u64 {
        self.index / GENERATION
    }

    /// The first view of a group that is rebuilt from this one, because the quorum is lost. Views that followed this one
    /// may have been agreed on and be lost: every view of a later generation is newer than all of them, and none of
    /// their epochs is given out again.
    #[must_use]
    pub fn rebuilt(&self) -> View {
        let next = |number: u64, step: u64| (number / step).saturating_add(1).saturating_mul(step);
        View {
            index: next(self.index, GENERATION),
            next_epoch: Epoch(next(self.next_epoch.0, EPOCHS)),
            ..self.clone()
        }
    }

    /// A cluster of one node, which serves the whole ring.
    pub fn first(
        space: Space,
        replication: Replication,
        store: StoreId,
        incarnation: Incarnation,
        me: &Peer,
    ) -> View {
        let member = Member { peer: me.clone(), incarnation, leaving: false };
        let whole = Active {
            range: Range { low: me.id, high: me.id },
            base: Sequence(0),
            from: Vec::new(),
            chain: vec![Link { store, incarnation, serving: true }],
            wedged: false,
            since: View::FIRST,
            reopened: None,
        };
        View {
            index: View::FIRST,
            next_epoch: Epoch(2),
            bits: space.bits(),
            replication,
            members: BTreeMap::from([(store, member)]),
            ranges: BTreeMap::from([(Epoch(1), whole)]),
            pending: BTreeMap::new(),
            barred: BTreeSet::new(),
            losses: Vec::new(),
        }
    }

    /// Where a store is.
    pub fn peer(&self, store: StoreId) -> Option<&Peer> {
        self.members.get(&store).map(|member| &member.peer)
    }

    /// The range that holds an identifier.
    pub fn range_of(&self, id: Id) -> Option<(Epoch, &Active)> {
        let found = self.ranges.iter().find(|(_, active)| active.range.contains(id));
        found.map(|(epoch, active)| (*epoch, active))
    }

    /// The change under way that ends this epoch.
    pub fn change_of(&self, epoch: Epoch) -> Option<(Epoch, &Pending)> {
        let found = self.pending.iter().find(|(_, pending)| pending.parents.contains(&epoch));
        found.map(|(first, pending)| (*first, pending))
    }

    /// Does any chain, active or prepared, have this store in it?
    pub fn is_in_a_chain(&self, store: StoreId) -> bool {
        let active = self.ranges.values().flat_map(|active| &active.chain);
        let prepared = self.pending.values().flat_map(|pending| &pending.children).flat_map(|c| &c.chain);
        active.chain(prepared).any(|link| link.store == store)
    }

    /// All members in the order of the ring, beginning with the first at or behind the identifier.
    pub fn clockwise(&self, from: Id) -> Vec<(StoreId, &Member)> {
        let mut members: Vec<(StoreId, &Member)> = self.members.iter().map(|(s, m)| (*s, m)).collect();
        members.sort_by_key(|(_, member)| member.peer.id);
        let first = members.partition_point(|(_, member)| member.peer.id < from);
        if first < members.len() {
            members.rotate_left(first);
        }
        members
    }

    /// Who should have a range when all is well: the first so many members behind it that are not leaving.
    pub fn expected(&self, range: Range, copies: usize) -> Vec<StoreId> {
        let members = self.clockwise(range.high).into_iter();
        members.filter(|(_, member)| !member.leaving).map(|(store, _)| store).take(copies).collect()
    }

    /// The members that vote in the coordinator's group: 1 below 3 members, 3 from 3, 5 from 5 on. Those who vote
    /// already go on (`now`), who leaves does not count.
    pub fn voters(&self, now: &BTreeSet<StoreId>, usable: impl Fn(StoreId) -> bool) -> BTreeSet<StoreId> {
        let stays = |store: &&StoreId| self.members.get(store).is_some_and(|member| !member.leaving);
        let count = self.members.values().filter(|member| !member.leaving).count();
        let wanted = match count {
            0..=2 => 1,
            3 | 4 => 3,
            _ => 5,
        };
        let mut voters: BTreeSet<StoreId> =
            now.iter().filter(stays).filter(|store| usable(**store)).copied().take(wanted).collect();
        let others = self.members.keys().filter(stays).filter(|store| usable(**store));
        for store in others {
            if voters.len() < wanted {
                voters.insert(*store);
            }
        }
        // Better a silent voter than fewer: it may come back, and a group of two is no safer than one.
        for store in now.iter().filter(stays) {
            if voters.len() < wanted {
                voters.insert(*store);
            }
        }
        voters
    }

    /// Are the parts the whole, without gaps and overlaps? Both go up the ring, each part beginning where the one
    /// before it ends.
    pub(super) fn tiles(whole: &[Range], parts: &[Range]) -> bool {
        let joined = |ranges: &[Range]| ranges.windows(2).all(|pair| pair[0].high == pair[1].low);
        let (Some(first), Some(last)) = (whole.first(), whole.last()) else { return false };
        let (Some(begin), Some(end)) = (parts.first(), parts.last()) else { return false };
        let around = Range { low: first.low, high: last.high };
        let inside = |range: &Range| in_half_open(around.low, range.high, around.high);
        // Going up, every part ends farther from the beginning than the one before it.
        let ends: Vec<Id> = parts.iter().map(|part| part.high).collect();
        let rising =
            ends.windows(2).all(|pair| in_half_open(around.low, pair[0], pair[1]) && pair[0] != pair[1]);
        joined(whole)
            && joined(parts)
            && rising
            && begin.low == first.low
            && end.high == last.high
            && parts.iter().all(inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Address;

    #[test]
    fn a_rebuilt_view_is_newer_than_all_that_may_be_lost_and_gives_out_none_of_their_epochs() {
        let me = Peer::new(Id::from_u128(7), Address::new("a:1"));
        let first = View::first(Space::default(), Replication::default(), StoreId(1), Incarnation(1), &me);
        let lost = View { index: first.index + 100_000, next_epoch: Epoch(300_000), ..first.clone() };
        let rebuilt = first.rebuilt();
        assert_eq!((first.generation(), lost.generation(), rebuilt.generation()), (0, 0, 1));
        assert!(rebuilt.index > lost.index && rebuilt.next_epoch > lost.next_epoch);
        assert_eq!((&rebuilt.members, &rebuilt.ranges), (&first.members, &first.ranges));
        let again = View { index: rebuilt.index + 5, ..rebuilt.clone() }.rebuilt();
        assert_eq!(again.generation(), 2);
        assert!(again.next_epoch > rebuilt.next_epoch);
    }
}
