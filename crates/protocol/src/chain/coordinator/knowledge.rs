//! What the leader knows, as the plan asks for it: who is alive, what was reported, which leases have run out, and so
//! how far the logs go that a change ends.

use super::Term;
use crate::chain::message::{Copy, LevelOrder, Report};
use crate::chain::plan::{self, Health, Knowledge};
use crate::chain::settings::ChainSettings;
use crate::chain::view::{Active, Child, Epoch, Incarnation, Link, Pending, Sequence, StoreId, View};
use crate::time::Time;

/// A parent of a change, when nobody can serve or commit in it any more.
pub(super) struct Closed {
    pub(super) epoch: Epoch,
    pub(super) base: Sequence,
    pub(super) from: StoreId,
}

/// What the leader knows, for the plan.
pub(super) struct Eyes<'a> {
    pub(super) term: &'a Term,
    pub(super) now: Time,
    pub(super) settings: &'a ChainSettings,
}

impl Knowledge for Eyes<'_> {
    fn health(&self, store: StoreId) -> Health {
        match self.term.lapsed.get(&store) {
            Some(since) if self.now.since(*since) > self.settings.substitute_after => Health::Gone,
            Some(_) => Health::Lapsed,
            None if self.term.heard.contains_key(&store) => Health::Alive,
            None => Health::Unheard,
        }
    }

    fn report(&self, link: &Link, epoch: Epoch) -> Option<Report> {
        let heard = self.term.heard.get(&link.store)?;
        let mine = heard.beat.incarnation == link.incarnation;
        heard.beat.reports.iter().find(|report| mine && report.epoch == epoch).copied()
    }

    fn life(&self, store: StoreId) -> Option<Incarnation> {
        self.term.heard.get(&store).map(|heard| heard.beat.incarnation)
    }

    fn is_cut(&self, store: StoreId, other: StoreId) -> bool {
        self.term.cuts.contains_key(&(store, other))
    }
}

impl Eyes<'_> {
    /// Does it live, and have what it is to serve?
    pub(super) fn can_serve(&self, view: &View, epoch: Epoch, link: &Link) -> bool {
        let broken = self.report(link, epoch).is_some_and(|report| report.copy == Copy::Broken);
        plan::is_valid(view, self, link) && !broken
    }

    /// Has the only one who serves records that it cannot read, so that nobody can be filled, and does an operator accept
    /// that they are lost?
    pub(super) fn gives_up(&self, view: &View, epoch: Epoch, active: &Active) -> bool {
        let mut serving = active.serving();
        let (Some(link), None) = (serving.next(), serving.next()) else { return false };
        let damaged = self.report(link, epoch).is_some_and(|report| report.copy == Copy::Damaged);
        damaged && self.now < self.term.loss_accepted_until && !view.is_given_up(epoch)
    }

    /// Have all leases run out that could name this epoch for this life?
    pub(super) fn lease_is_over(&self, link: &Link, epoch: Epoch) -> bool {
        let over = self.settings.lease.certainly_over();
        let mine = self.term.granted.get(&(link.store, link.incarnation, epoch));
        let given = mine.copied().unwrap_or(self.term.since).max(self.term.since);
        self.now.since(given) > over
    }

    /// Has this life certainly ended?
    pub(super) fn has_ended(&self, view: &View, link: &Link) -> bool {
        let newer = |incarnation: Incarnation| incarnation > link.incarnation;
        let agreed = view.members.get(&link.store).is_some_and(|member| newer(member.incarnation));
        agreed || self.term.heard.get(&link.store).is_some_and(|heard| newer(heard.beat.incarnation))
    }

    pub(super) fn wedged_report(&self, link: &Link, epoch: Epoch, change: Epoch) -> Option<Report> {
        self.report(link, epoch).filter(|report| report.wedged == Some(change))
    }

    /// For each parent how far its log goes, once nobody can serve or commit in it any more.
    pub(super) fn closed(
        &self,
        view: &View,
        change: Epoch,
        pending: &Pending,
        actives: &[(Epoch, &Active)],
    ) -> Option<Vec<Closed>> {
        actives
            .iter()
            .map(|(epoch, active)| {
                let silenced = active.chain.iter().all(|link| {
                    self.wedged_report(link, *epoch, change).is_some()
                        || self.has_ended(view, link)
                        || self.lease_is_over(link, *epoch)
                });
                let kept = |link: &&Link| {
                    let children = pending.children.iter().filter(|c| c.range.overlaps(&active.range));
                    children.clone().all(|c| c.chain.iter().any(|to| to.is(link.store, link.incarnation)))
                };
                // Who has died since has nothing to give; what was committed the others have as well.
                let longest = active
                    .serving()
                    .filter(|link| plan::is_valid(view, self, link))
                    .filter(kept)
                    .filter_map(|link| Some((self.wedged_report(link, *epoch, change)?.last, link.store)))
                    .max_by_key(|(last, _)| *last);
                let (base, from) = longest.filter(|_| silenced)?;
                Some(Closed { epoch: *epoch, base, from })
            })
            .collect()
    }

    /// Is there somebody who is to serve, lives, and has not reported yet that it can?
    pub(super) fn awaits_report(
        &self,
        view: &View,
        change: Epoch,
        pending: &Pending,
        actives: &[(Epoch, &Active)],
    ) -> bool {
        pending.children.iter().any(|child| {
            let parents = actives.iter().filter(|(_, active)| active.range.overlaps(&child.range));
            let silent = |link: &Link| {
                let reports = parents.clone().map(|(epoch, _)| self.wedged_report(link, *epoch, change));
                reports.into_iter().any(|report| report.is_none_or(|report| report.copy == Copy::Syncing))
            };
            child.chain.iter().any(|link| link.serving && plan::is_valid(view, self, link) && silent(link))
        })
    }

    /// Those of the new chains who could fetch what they lack. Second: are all of them newcomers?
    pub(super) fn behind(
        &self,
        change: Epoch,
        pending: &Pending,
        parents: &[Closed],
    ) -> (Vec<(StoreId, LevelOrder)>, bool) {
        let (mut orders, mut newcomers_only) = (Vec::new(), true);
        for link in pending.children.iter().flat_map(|child| &child.chain) {
            for parent in parents {
                let Some(report) = self.wedged_report(link, parent.epoch, change) else { continue };
                let from = self.term.view.peer(parent.from);
                let behind = report.durable < parent.base && report.copy != Copy::Broken;
                let (Some(from), true) = (from, behind && plan::is_valid(&self.term.view, self, link)) else {
                    continue;
                };
                newcomers_only &= !link.serving;
                let order = LevelOrder { epoch: parent.epoch, change, from: from.clone(), base: parent.base };
                orders.push((link.store, order));
            }
        }
        (orders, newcomers_only)
    }

    /// The chain of a child: serving are those at the base with a complete copy; who died meanwhile is left out.
    pub(super) fn final_chain(
        &self,
        view: &View,
        change: Epoch,
        child: &Child,
        parents: &[Closed],
    ) -> Vec<Link> {
        let mine: Vec<&Closed> = parents
            .iter()
            .filter(|parent| {
                view.ranges.get(&parent.epoch).is_some_and(|active| active.range.overlaps(&child.range))
            })
            .collect();
        let complete = |link: &Link| {
            mine.iter().all(|parent| {
                self.wedged_report(link, parent.epoch, change).is_some_and(|report| {
                    let there = report.last == parent.base && report.durable >= parent.base;
                    there && matches!(report.copy, Copy::Serving | Copy::Synced | Copy::Damaged)
                })
            })
        };
        let links = child.chain.iter().map(|link| Link { serving: link.serving && complete(link), ..*link });
        let living: Vec<Link> = links.filter(|link| plan::is_valid(view, self, link)).collect();
        let (mut chain, syncing): (Vec<Link>, Vec<Link>) = living.into_iter().partition(|link| link.serving);
        chain.extend(syncing);
        chain
    }
}
