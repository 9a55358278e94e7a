//! When nobody who served a range lives: from whose copy it is opened again, as far as the durability promises that
//! this is all, or an operator accepts that it may not be.

use super::Heard;
use super::knowledge::Eyes;
use crate::chain::command::Command;
use crate::chain::message::{Heartbeat, Holding};
use crate::chain::plan::{Health, Knowledge};
use crate::chain::view::{Active, Epoch, Link, Reopened, Sequence, View};
use crate::replication::Durability;

impl Eyes<'_> {
    /// How a range is opened again of which no serving life is left, if it can be.
    pub(super) fn reopening(&self, view: &View, epoch: Epoch, active: &Active) -> Option<Command> {
        let serving: Vec<&Link> = active.serving().collect();
        if !serving.iter().all(|link| self.has_ended(view, link) || self.lease_is_over(link, epoch)) {
            return None;
        }
        let accepted = self.now < self.term.loss_accepted_until;
        // Who is no member any more will not come back with its copy.
        let over = |link: &Link| self.has_ended(view, link) || !view.members.contains_key(&link.store);
        let all_ended = serving.iter().all(|link| over(link));
        let all_back = serving.iter().all(|link| self.is_back(view, link));
        let durability = self.settings.replication.durability;
        let complete = |heard: &Heard| {
            let serves = serving.iter().any(|link| link.store == heard.beat.store);
            if serves { complete_copy(epoch, active, heard) } else { None }
        };
        let some = |heard: &Heard| some_copy(active, heard);
        match durability {
            Durability::Sync => self.best(view, complete).map(|(heard, (of, base))| {
                let with = if of == epoch { Reopened::Copy } else { Reopened::Earlier };
                reopen(epoch, heard, base.max(active.base), with, false)
            }),
            Durability::Interval if all_ended && all_back => self.longest(view, epoch, active, some),
            Durability::Memory if all_ended => self.empty(view, epoch, active),
            Durability::Interval | Durability::Memory => None,
        }
        .or_else(|| if accepted { self.longest(view, epoch, active, some) } else { None })
    }

    /// The copy that goes farthest; nothing, if nobody has one.
    fn longest(
        &self,
        view: &View,
        epoch: Epoch,
        active: &Active,
        copy: impl Fn(&Heard) -> Option<(Epoch, Sequence)>,
    ) -> Option<Command> {
        let best = self.best(view, copy);
        let found =
            best.map(|(heard, (_, base))| reopen(epoch, heard, base.max(active.base), Reopened::Copy, true));
        found.or_else(|| self.empty(view, epoch, active))
    }

    /// Of the members that are here, in a life that is agreed on, the one with the best copy.
    fn best(
        &self,
        view: &View,
        copy: impl Fn(&Heard) -> Option<(Epoch, Sequence)>,
    ) -> Option<(&Heard, (Epoch, Sequence))> {
        let here = self.term.heard.values().filter(|heard| self.is_here(view, heard));
        let copies = here.filter_map(|heard| Some((heard, copy(heard)?)));
        copies.max_by_key(|(_, copy)| *copy)
    }

    fn is_here(&self, view: &View, heard: &Heard) -> bool {
        let member = view.members.get(&heard.beat.store);
        let agreed = member.is_some_and(|member| member.incarnation == heard.beat.incarnation);
        agreed && self.health(heard.beat.store) == Health::Alive
    }

    /// Is the store of a life that has ended here again, or will it never be?
    fn is_back(&self, view: &View, link: &Link) -> bool {
        let heard = self.term.heard.get(&link.store);
        !view.members.contains_key(&link.store) || heard.is_some_and(|heard| self.is_here(view, heard))
    }

    /// Nothing is left: the first living member that should have the range begins anew.
    fn empty(&self, view: &View, epoch: Epoch, active: &Active) -> Option<Command> {
        let members = view.clockwise(active.range.high);
        let here = members.into_iter().filter(|(_, member)| !member.leaving);
        let mut here = here.filter_map(|(store, _)| self.term.heard.get(&store));
        let heard = here.find(|heard| self.is_here(view, heard))?;
        Some(reopen(epoch, heard, active.base, Reopened::Empty, true))
    }
}

fn reopen(epoch: Epoch, heard: &Heard, base: Sequence, with: Reopened, loss: bool) -> Command {
    let Heartbeat { store, incarnation, .. } = heard.beat;
    Command::Reopen { epoch, store, incarnation, base, with, loss }
}

/// What a store that has come back holds of an epoch, if that is certainly everything: of the epoch itself, or, if no
/// write of it was stored there, all of the epochs that it followed.
fn complete_copy(epoch: Epoch, active: &Active, heard: &Heard) -> Option<(Epoch, Sequence)> {
    let held = |wanted: Epoch| {
        heard.beat.holdings.iter().find(|holding| holding.epoch == wanted && holding.complete)
    };
    if let Some(holding) = held(epoch) {
        return Some((epoch, holding.last));
    }
    let all = |(parent, base): &(Epoch, Sequence)| held(*parent).is_some_and(|holding| holding.last >= *base);
    (!active.from.is_empty() && active.from.iter().all(all)).then_some((Epoch(0), active.base))
}

/// The newest that a store that has come back holds of a range, be it from long ago.
fn some_copy(active: &Active, heard: &Heard) -> Option<(Epoch, Sequence)> {
    let covers = |holding: &&Holding| {
        let Holding { range, complete, .. } = holding;
        let inside = range.low == range.high
            || (range.contains(active.range.high)
                && (range.low == active.range.low || range.contains(active.range.low)));
        *complete && inside
    };
    let copies = heard.beat.holdings.iter().filter(covers);
    copies.map(|holding| (holding.epoch, holding.last)).max()
}
