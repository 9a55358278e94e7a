//! What the leader wants of a range: which change of its chain comes next, if any.
//!
//! Pure functions of the view and of what the leader has heard. The rules, in words: who is silent or lives anew is
//! dropped at once; the first k members behind the range that are alive should have it, newcomers are appended and
//! filled; who is filled serves; who is not needed goes when enough others serve; full chains come back to the order
//! of the ring, so that heads are spread. A range with another member's place in it is split there; one that ends where
//! no member is any more is joined to the next.

use super::message::{Copy, Report};
use super::view::{Active, Epoch, Incarnation, Link, StoreId, View};
use crate::id::Id;
use crate::message::Range;

/// Entries that a newcomer may be behind to be promoted.
const NEAR_MAX: u64 = 4096;

/// How a member is, as the leader sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// It was heard lately.
    Alive,
    /// It was not heard yet by this leader, which has not led for long: nothing is known against it.
    Unheard,
    /// It is silent, and may come back at any moment.
    Lapsed,
    /// It has been silent for so long that others take its place.
    Gone,
}

/// What the leader knows.
pub trait Knowledge {
    /// How a member is.
    fn health(&self, store: StoreId) -> Health;
    /// What this life of a store said last about an epoch.
    fn report(&self, link: &Link, epoch: Epoch) -> Option<Report>;
    /// The newest life of a store that was heard.
    fn life(&self, store: StoreId) -> Option<Incarnation>;
    /// Must this store not be in one chain with that one, since they do not reach each other?
    fn is_cut(&self, store: StoreId, other: StoreId) -> bool;
}

/// Children of a change, as [`Command::Prepare`](super::Command::Prepare) names them.
pub type Children = Vec<(Range, Vec<Link>)>;

/// A range with its epoch.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its state.
    pub active: &'a Active,
}

/// Does the link name a life that is alive, as far as is known?
pub fn is_valid(view: &View, known: &impl Knowledge, link: &Link) -> bool {
    let lives = view.members.get(&link.store).is_some_and(|m| m.incarnation == link.incarnation);
    // A newer life was heard, but is not agreed on yet.
    let over = known.life(link.store).is_some_and(|newest| newest > link.incarnation);
    lives && !over && matches!(known.health(link.store), Health::Alive | Health::Unheard)
}

/// Who should have a range now: the first k members behind it that are not leaving, not gone, and reach each other. If
/// there is nobody else, those who are leaving have it still.
pub fn desired(view: &View, known: &impl Knowledge, high: Id) -> Vec<StoreId> {
    let copies = view.replication.copies();
    let there = |leaving: bool| -> Vec<StoreId> {
        let members = view.clockwise(high).into_iter();
        members
            .filter(|(store, member)| (leaving || !member.leaving) && known.health(*store) != Health::Gone)
            .map(|(store, _)| store)
            .collect()
    };
    let mut candidates = there(false);
    if candidates.is_empty() {
        candidates = there(true);
    }
    // Of two that do not reach each other the one that is to go makes room for the next.
    loop {
        let window = &candidates[..copies.min(candidates.len())];
        let alive = |store: &StoreId| known.health(*store) == Health::Alive;
        let goes = window.iter().copied().find(|store| {
            window.iter().any(|other| other != store && alive(other) && known.is_cut(*store, *other))
        });
        match goes {
            Some(store) if candidates.len() > 1 => candidates.retain(|candidate| *candidate != store),
            Some(_) | None => break,
        }
    }
    // Whoever is silent keeps its place for a while; but not while puts are refused for want of it.
    let least = view.replication.replicas_min(view.members.len());
    let rest = candidates.split_off(copies.min(candidates.len()));
    let alive = |store: &StoreId| matches!(known.health(*store), Health::Alive | Health::Unheard);
    let lacking = least.saturating_sub(candidates.iter().filter(|store| alive(store)).count());
    candidates.extend(rest.into_iter().filter(|store| alive(store)).take(lacking));
    candidates
}

/// The change of this range's chain that comes next; none: it is as it should be, or nothing can be done. `force`:
/// there must be a change, be it to the same chain. Merges are for [`merge`].
pub fn change(view: &View, known: &impl Knowledge, subject: Subject<'_>, force: bool) -> Option<Children> {
    let Subject { epoch, active } = subject;
    let copy = |link: &Link| known.report(link, epoch).map(|report| report.copy);
    // One that was to serve, and found that it cannot, is no better than a dead one.
    let usable =
        |link: &&Link| is_valid(view, known, link) && !(link.serving && copy(link) == Some(Copy::Broken));
    let mut valid: Vec<Link> = active.chain.iter().filter(usable).copied().collect();
    // One with a record that it cannot read is filled anew, if somebody else serves meanwhile.
    let damaged = |link: &Link| link.serving && copy(link) == Some(Copy::Damaged);
    if valid.iter().any(|link| link.serving && !damaged(link)) {
        valid.retain(|link| !damaged(link));
    }
    if !valid.iter().any(|link| link.serving) {
        return None;
    }
    let served = active.serving().filter_map(|link| known.report(link, epoch));
    let farthest = served.map(|report| report.last).max().unwrap_or_default();
    // Who is far behind would hold the others up when the chain changes.
    let near = |link: &Link| {
        let last = known.report(link, epoch).map_or(0, |report| report.last.0);
        farthest.0.saturating_sub(last) <= NEAR_MAX
    };
    let with: Vec<(Link, bool)> = valid
        .into_iter()
        .map(|link| {
            let promoted = !link.serving && copy(&link) == Some(Copy::Synced) && near(&link);
            (Link { serving: link.serving || promoted, ..link }, promoted)
        })
        .collect();
    let broken = with.iter().any(|(link, _)| !link.serving && copy(link) == Some(Copy::Broken));
    let promotes = with.iter().any(|(_, promoted)| *promoted);
    let dropped = with.len() < active.chain.len();
    let links: Vec<Link> = with.into_iter().map(|(link, _)| link).collect();
    let splits: Vec<Id> = splits(view, known, active.range);
    let mut different = force || broken || promotes || dropped || !splits.is_empty();
    let mut low = active.range.low;
    let mut children = Vec::new();
    for high in splits.iter().copied().chain([active.range.high]) {
        let chain = chain_of(view, known, high, &links, active);
        different |= chain != active.chain;
        children.push((Range { low, high }, chain));
        low = high;
    }
    let served = children.iter().all(|(_, chain)| chain.iter().any(|link| link.serving));
    (different && served).then_some(children)
}

/// The chain of a child with these members so far.
fn chain_of(view: &View, known: &impl Knowledge, high: Id, links: &[Link], active: &Active) -> Vec<Link> {
    let desired = desired(view, known, high);
    let order = |link: &Link| {
        let members = view.clockwise(high);
        members.iter().position(|(store, _)| *store == link.store).unwrap_or(usize::MAX)
    };
    let wanted = |link: &Link| desired.contains(&link.store);
    // Only who serves now is certain to serve then.
    let serves = |link: &&Link| active.serving().any(|old| old.is(link.store, link.incarnation));
    let serving_wanted = links.iter().filter(serves).filter(|link| wanted(link)).count();
    let enough = serving_wanted >= desired.len();
    // Who is cut off from the one above it goes at once, if somebody stays.
    let cut = |link: &Link| links.iter().any(|other| known.is_cut(link.store, other.store));
    let stays =
        |link: &&Link| wanted(link) || (link.serving && !enough && !(cut(link) && serving_wanted > 0));
    let mut serving: Vec<Link> = links.iter().filter(|link| link.serving).filter(stays).copied().collect();
    // Back to the order of the ring when the chain is full, or changes anyhow.
    let old: Vec<StoreId> = active.serving().map(|link| link.store).collect();
    let same = serving.len() == old.len() && serving.iter().all(|link| old.contains(&link.store));
    if enough || !same {
        serving.sort_by_key(order);
    }
    let mut syncing: Vec<Link> = links.iter().filter(|link| !link.serving).filter(stays).copied().collect();
    for store in &desired {
        let there = serving.iter().chain(&syncing).any(|link| link.store == *store);
        let member = view.members.get(store).filter(|_| known.health(*store) == Health::Alive && !there);
        let link = member.map(|m| Link { store: *store, incarnation: m.incarnation, serving: false });
        // A life that is over is not asked for; the next one will be, when it is agreed on.
        syncing.extend(link.filter(|link| is_valid(view, known, link)));
    }
    serving.into_iter().chain(syncing).collect()
}

/// Places of living members inside a range, where it is to be split.
fn splits(view: &View, known: &impl Knowledge, range: Range) -> Vec<Id> {
    let alive = |place: &Id| {
        view.members
            .iter()
            .any(|(store, member)| member.peer.id == *place && known.health(*store) == Health::Alive)
    };
    view.boundaries_within(range).into_iter().filter(alive).collect()
}

/// Two neighbouring ranges that are to become one: the first ends where no member is any more, and both are full, and
/// served by the same nodes.
pub fn merge(view: &View, known: &impl Knowledge, subject: Subject<'_>) -> Option<(Vec<Epoch>, Children)> {
    let Subject { epoch, active } = subject;
    if view.boundaries().contains(&active.range.high) || active.range.low == active.range.high {
        return None;
    }
    let (next_epoch, next) = view.ranges.iter().find(|(_, next)| next.range.low == active.range.high)?;
    let untouched = |epoch: Epoch, active: &Active| {
        let all = active.chain.iter().all(|link| link.serving && is_valid(view, known, link));
        all && !active.wedged && view.change_of(epoch).is_none()
    };
    let mut mine: Vec<StoreId> = active.chain.iter().map(|link| link.store).collect();
    let mut theirs: Vec<StoreId> = next.chain.iter().map(|link| link.store).collect();
    mine.sort();
    theirs.sort();
    if mine != theirs || !untouched(epoch, active) || !untouched(*next_epoch, next) {
        return None;
    }
    let range = Range { low: active.range.low, high: next.range.high };
    Some((vec![epoch, *next_epoch], vec![(range, next.chain.clone())]))
}
