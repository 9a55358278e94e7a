//! Commands: the only ways in which the view changes. Deterministic, the same at every member of the group.
//!
//! A command names what it was decided on (epochs, lives); if that has changed meanwhile it is refused and changes
//! nothing but the index. So a leader that did not see the newest view when it proposed does no harm.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::view::{
    Active, Child, Epoch, Incarnation, Link, Member, Pending, Reopened, Sequence, StoreId, View,
};
use crate::id::{Id, Space, in_half_open};
use crate::message::{Placement, Range};
use crate::peer::{Address, Peer};

/// Losses that are remembered.
const LOSSES_MAX: usize = 64;

/// A change of the view.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// A store belongs to the cluster from now on, in this life, at this address. Asking twice does no harm. A store
    /// at the address of another one takes that one's place: what was there before is gone.
    Admit {
        /// Who.
        store: StoreId,
        /// In which life.
        incarnation: Incarnation,
        /// Where it is reached.
        address: Address,
        /// Where on the ring it wants to be.
        placement: Placement,
    },
    /// A member lives again, or elsewhere.
    Return {
        /// Who.
        store: StoreId,
        /// In which life.
        incarnation: Incarnation,
        /// Where it is reached.
        address: Address,
    },
    /// A member wants to leave.
    Leave(StoreId),
    /// A member that is in no chain has left.
    Remove(StoreId),
    /// A member will not come back: its store is barred, its places in chains are given to others.
    Forget(StoreId),
    /// Ends these epochs and names those that shall follow. Supersedes an earlier change of the same epochs.
    Prepare {
        /// The active epochs that end, going up the ring.
        parents: Vec<Epoch>,
        /// What shall follow, going up the ring.
        children: Vec<(Range, Vec<Link>)>,
    },
    /// The change is through.
    Activate {
        /// The epoch of its first child.
        change: Epoch,
        /// How far the log of each parent goes: all serving links of the children have it up to there.
        bases: Vec<Sequence>,
        /// The chain of each child.
        chains: Vec<Vec<Link>>,
    },
    /// Nobody who served the epoch lives: this store's copy is what there is.
    Reopen {
        /// The epoch that ended so.
        epoch: Epoch,
        /// Whose copy; it serves alone at first.
        store: StoreId,
        /// In which life.
        incarnation: Incarnation,
        /// How far the copy goes.
        base: Sequence,
        /// With what.
        with: Reopened,
        /// May acknowledged writes be missing?
        loss: bool,
    },
    /// Time passes: writes that were first sent before can be told from later ones.
    Tick,
    /// The only one who serves the epoch has records that it cannot read, and nobody else has them: they are lost.
    GiveUp(Epoch),
}

/// What a command did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Applied {
    /// To admit.
    Admitted {
        /// Its place.
        place: Id,
        /// The index of the first view that has it as a member.
        view: u64,
    },
    /// To admit: the place is somebody else's.
    Taken(Peer),
    /// To admit: the ring has no place left.
    Full,
    /// To admit and return: the store was forgotten.
    Barred,
    /// To prepare: the change, named by the epoch of its first child.
    Prepared(Epoch),
    /// To all others.
    Done,
    /// What the command was decided on has changed; it did nothing.
    Stale,
}

impl View {
    /// Carries a command out.
    pub fn apply(&mut self, command: &Command) -> Applied {
        self.index += 1;
        match command {
            Command::Admit { store, incarnation, address, placement } => {
                self.admit(*store, *incarnation, address, *placement)
            }
            Command::Return { store, incarnation, address } => self.returned(*store, *incarnation, address),
            Command::Leave(store) => match self.members.get_mut(store) {
                Some(member) => {
                    member.leaving = true;
                    Applied::Done
                }
                None => Applied::Stale,
            },
            Command::Remove(store) => {
                if self.is_in_a_chain(*store) || self.members.len() == 1 {
                    return Applied::Stale;
                }
                self.members.remove(store).map_or(Applied::Stale, |_| Applied::Done)
            }
            Command::Forget(store) => {
                if self.members.len() == 1 {
                    return Applied::Stale;
                }
                self.barred.insert(*store);
                self.members.remove(store).map_or(Applied::Stale, |_| Applied::Done)
            }
            Command::Prepare { parents, children } => self.prepare(parents, children),
            Command::Activate { change, bases, chains } => self.activate(*change, bases, chains),
            Command::Reopen { epoch, store, incarnation, base, with, loss } => {
                let link = Link { store: *store, incarnation: *incarnation, serving: true };
                self.reopen(*epoch, link, *base, *with, *loss)
            }
            Command::Tick => Applied::Done,
            Command::GiveUp(epoch) => match self.ranges.get(epoch) {
                Some(active) if active.serving().count() == 1 && !self.is_given_up(*epoch) => {
                    let range = active.range;
                    self.list_loss(*epoch, range);
                    Applied::Done
                }
                Some(_) | None => Applied::Stale,
            },
        }
    }

    fn admit(
        &mut self,
        store: StoreId,
        incarnation: Incarnation,
        address: &Address,
        placement: Placement,
    ) -> Applied {
        if self.barred.contains(&store) {
            return Applied::Barred;
        }
        if let Some(member) = self.members.get(&store) {
            let place = member.peer.id;
            self.returned(store, incarnation, address);
            return Applied::Admitted { place, view: self.index };
        }
        let before = self.members.iter().find(|(_, member)| member.peer.address == *address);
        let place = match before.map(|(old, member)| (*old, member.peer.id)) {
            Some((old, place)) => {
                self.members.remove(&old);
                self.barred.insert(old);
                Ok(place)
            }
            None => self.place(placement, address),
        };
        match place {
            Ok(id) => {
                let peer = Peer::new(id, address.clone());
                self.members.insert(store, Member { peer, incarnation, leaving: false });
                Applied::Admitted { place: id, view: self.index }
            }
            Err(refusal) => refusal,
        }
    }

    /// Where a newcomer is to be.
    fn place(&self, placement: Placement, address: &Address) -> Result<Id, Applied> {
        let space = Space::new(self.bits).unwrap_or_default();
        let taken = |id: Id| self.members.values().find(|member| member.peer.id == id);
        let wanted = match placement {
            Placement::Fixed(id) => {
                return match taken(id) {
                    Some(member) => Err(Applied::Taken(member.peer.clone())),
                    None if space.contains(id) => Ok(id),
                    None => Err(Applied::Stale),
                };
            }
            Placement::Hash => space.hash(address.as_str().as_bytes()),
            Placement::Bisect => self.widest_middle(space),
        };
        let mut id = wanted;
        for _ in 0..=self.members.len() {
            if taken(id).is_none() {
                return Ok(id);
            }
            id = space.next(id);
            if id == wanted {
                break;
            }
        }
        Err(Applied::Full)
    }

    fn widest_middle(&self, space: Space) -> Id {
        let mut places: Vec<Id> = self.members.values().map(|member| member.peer.id).collect();
        places.sort();
        let arcs = places.iter().zip(places.iter().cycle().skip(1));
        // Of equally wide arcs the lowest.
        let widest = arcs.min_by_key(|(low, high)| Reverse(space.distance(**low, **high)));
        widest.map_or(Id::ZERO, |(low, high)| space.middle(*low, *high))
    }

    fn returned(&mut self, store: StoreId, incarnation: Incarnation, address: &Address) -> Applied {
        if self.barred.contains(&store) {
            return Applied::Barred;
        }
        match self.members.get_mut(&store) {
            Some(member) if member.incarnation <= incarnation => {
                member.incarnation = incarnation;
                member.peer = Peer::new(member.peer.id, address.clone());
                Applied::Done
            }
            Some(_) | None => Applied::Stale,
        }
    }

    fn prepare(&mut self, parents: &[Epoch], children: &[(Range, Vec<Link>)]) -> Applied {
        let ranges: Option<Vec<Range>> =
            parents.iter().map(|parent| self.ranges.get(parent).map(|active| active.range)).collect();
        let Some(ranges) = ranges else { return Applied::Stale };
        let parts: Vec<Range> = children.iter().map(|(range, _)| *range).collect();
        if !View::tiles(&ranges, &parts) {
            return Applied::Stale;
        }
        let earlier: Vec<Epoch> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.parents.iter().any(|parent| parents.contains(parent)))
            .map(|(first, _)| *first)
            .collect();
        let same = |first: &Epoch| self.pending.get(first).is_some_and(|pending| pending.parents == parents);
        if !earlier.iter().all(same) || !self.keeps_somebody(parents, children) {
            return Applied::Stale;
        }
        for first in earlier {
            self.pending.remove(&first);
        }
        for parent in parents {
            if let Some(active) = self.ranges.get_mut(parent) {
                active.wedged = true;
            }
        }
        let first = self.next_epoch;
        let children = children
            .iter()
            .map(|(range, chain)| Child { epoch: self.take_epoch(), range: *range, chain: chain.clone() })
            .collect();
        self.pending.insert(first, Pending { parents: parents.to_vec(), children });
        Applied::Prepared(first)
    }

    /// Does every child keep a serving link of every parent that it has identifiers of?
    fn keeps_somebody(&self, parents: &[Epoch], children: &[(Range, Vec<Link>)]) -> bool {
        children.iter().all(|(range, chain)| {
            parents.iter().filter_map(|parent| self.ranges.get(parent)).all(|parent| {
                let kept = |link: &Link| {
                    link.serving && parent.serving().any(|old| old.is(link.store, link.incarnation))
                };
                !parent.range.overlaps(range) || chain.iter().any(kept)
            })
        })
    }

    fn take_epoch(&mut self) -> Epoch {
        let epoch = self.next_epoch;
        self.next_epoch = Epoch(epoch.0 + 1);
        epoch
    }

    fn activate(&mut self, change: Epoch, bases: &[Sequence], chains: &[Vec<Link>]) -> Applied {
        let sound = self.pending.get(&change).is_some_and(|pending| {
            pending.children.len() == chains.len()
                && pending.parents.len() == bases.len()
                && chains.iter().all(|chain| chain.first().is_some_and(|link| link.serving))
        });
        if !sound {
            return Applied::Stale;
        }
        let Some(pending) = self.pending.remove(&change) else { return Applied::Stale };
        let ended: Vec<(Epoch, Range, Sequence)> = pending
            .parents
            .iter()
            .zip(bases)
            .filter_map(|(parent, base)| Some((*parent, self.ranges.remove(parent)?.range, *base)))
            .collect();
        for (child, chain) in pending.children.into_iter().zip(chains) {
            let from: Vec<(Epoch, Sequence)> = ended
                .iter()
                .filter(|(_, range, _)| range.overlaps(&child.range))
                .map(|(parent, _, base)| (*parent, *base))
                .collect();
            let active = Active {
                range: child.range,
                base: from.iter().map(|(_, base)| *base).max().unwrap_or_default(),
                from,
                chain: chain.clone(),
                wedged: false,
                since: self.index,
                reopened: None,
            };
            self.ranges.insert(child.epoch, active);
        }
        Applied::Done
    }

    fn reopen(&mut self, epoch: Epoch, link: Link, base: Sequence, with: Reopened, loss: bool) -> Applied {
        let lives = self.members.get(&link.store).is_some_and(|m| m.incarnation == link.incarnation);
        if !lives {
            return Applied::Stale;
        }
        let Some(Active { range, from: earlier, .. }) = self.ranges.remove(&epoch) else {
            return Applied::Stale;
        };
        // A change of this range has nothing to start from any more. Its other ranges stay wedged till the next one.
        self.pending.retain(|_, pending| !pending.parents.contains(&epoch));
        let epoch_after = self.take_epoch();
        // The store may die again before it has stored anything of the new epoch. It is found by what it holds.
        let from = match with {
            Reopened::Earlier => earlier,
            Reopened::Copy | Reopened::Empty => vec![(epoch, base)],
        };
        let active = Active {
            range,
            base,
            from,
            chain: vec![link],
            wedged: false,
            since: self.index,
            reopened: Some(with),
        };
        self.ranges.insert(epoch_after, active);
        if loss {
            self.list_loss(epoch, range);
        }
        Applied::Done
    }

    fn list_loss(&mut self, epoch: Epoch, range: Range) {
        if self.losses.len() == LOSSES_MAX {
            self.losses.remove(0);
        }
        self.losses.push((epoch, range));
    }

    /// Is it accepted that what nobody can read any more of this active epoch is lost?
    pub fn is_given_up(&self, epoch: Epoch) -> bool {
        self.losses.iter().any(|(lost, _)| *lost == epoch)
    }

    /// Places of members that end ranges: those of members that are not leaving; all, if all are.
    pub(super) fn boundaries(&self) -> Vec<Id> {
        let all_leave = self.members.values().all(|member| member.leaving);
        let staying = self.members.values().filter(|member| all_leave || !member.leaving);
        let mut places: Vec<Id> = staying.map(|member| member.peer.id).collect();
        places.sort();
        places
    }

    /// The boundaries inside a range, going up from its low end, without its high end.
    pub(super) fn boundaries_within(&self, range: Range) -> Vec<Id> {
        let space = Space::new(self.bits).unwrap_or_default();
        let mut inside: Vec<Id> = self
            .boundaries()
            .into_iter()
            .filter(|place| in_half_open(range.low, *place, range.high) && *place != range.high)
            .filter(|place| *place != range.low)
            .collect();
        inside.sort_by_key(|place| space.distance(range.low, *place));
        inside
    }
}
